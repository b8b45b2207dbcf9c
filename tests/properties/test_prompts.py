import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmci.prompts import load_prompts
from pytest_llmci.slugs import slug

TEXTS = st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prompts")


@given(TEXTS, st.booleans())
def test_texts_survive(folder: Path, texts: list[str], ascii_only: bool) -> None:
    """Whatever text a JSON, YAML, JSON Lines or CSV file holds is the text of the prompt, character by character."""
    rows = [{"id": str(number), "prompt": text} for number, text in enumerate(texts)]
    table = io.StringIO(newline="")
    csv.writer(table).writerows([["id", "prompt"], *([row["id"], row["prompt"]] for row in rows)])
    contents = {
        "p.json": json.dumps(rows, ensure_ascii=ascii_only),
        "p.jsonl": "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows),
        "p.csv": table.getvalue(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content.encode())
        assert [prompt.text for prompt in load_prompts(str(folder / name), "test")] == texts


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5
    )
)
def test_lines_survive(folder: Path, lines: list[str]) -> None:
    """Each line of a text file that is not blank is one prompt, character by character."""
    unique = list({slug(line): line for line in lines if line.strip()}.values())
    assume(unique)
    path = folder / "p.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\n\n".join(unique).encode())
    assert [prompt.text for prompt in load_prompts(str(path), "test")] == unique
