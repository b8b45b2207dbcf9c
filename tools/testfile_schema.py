"""Writes what is made of tables: the packaged JSON Schema of a test file, and the tables of docs/yaml-tests.md."""

from __future__ import annotations

from pathlib import Path

from pytest_llmci.testfiles.keys import table as keys_table
from pytest_llmci.testfiles.promptfoo.assertions import table as assertions_table
from pytest_llmci.testfiles.schema import packaged_path, schema_text

DOC = Path(__file__).resolve().parent.parent / "docs" / "yaml-tests.md"


def renewed(text: str) -> str:
    """The page with the tables of today."""
    for name, table in (("keys", keys_table()), ("assertions", assertions_table())):
        begin, end = f"<!-- {name}: python tools/testfile_schema.py -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        text = before + begin + table + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    Path(packaged_path()).write_text(schema_text(), "utf-8")
    DOC.write_text(renewed(DOC.read_text("utf-8")), "utf-8")
