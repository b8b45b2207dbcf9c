"""Writes what is made of the table of keys of a test file: the packaged JSON Schema and the table of docs/yaml-tests.md."""

from __future__ import annotations

from pathlib import Path

from pytest_llmci.testfiles.keys import table
from pytest_llmci.testfiles.schema import packaged_path, schema_text

DOC = Path(__file__).parents[1] / "docs" / "yaml-tests.md"
BEGIN, END = "<!-- keys: python tools/testfile_schema.py -->\n", "<!-- end of keys -->\n"


def renewed(text: str) -> str:
    """The page with the table of today."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    Path(packaged_path()).write_text(schema_text(), "utf-8")
    DOC.write_text(renewed(DOC.read_text("utf-8")), "utf-8")
