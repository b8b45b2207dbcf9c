import csv
import io
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmci.errors import ConfigError
from pytest_llmci.prompts import load_prompts
from pytest_llmci.prompts.base import Row
from pytest_llmci.prompts.rows import Surroundings, to_prompts
from pytest_llmci.prompts.template import parse_template
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


@given(st.text(alphabet="{}% ab\n'\"", max_size=30), st.text(max_size=20))
def test_a_template_is_filled_as_it_reads_or_refused(text: str, value: str) -> None:
    """What holds neither two opening braces nor a statement is left alone; a value arrives as it is, whatever it holds."""
    assume("{{" not in text and "{%" not in text and not text.endswith("{"))
    assert parse_template(text, "x").filled({}) == text
    assert parse_template(f"{text}{{{{a}}}} {text}", "x").filled({"a": value}) == f"{text}{value} {text}"


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True),
    st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True),
)
def test_every_combination_has_an_id_of_its_own(first: list[str], second: list[str]) -> None:
    """Whatever the values are: their product is read completely, no two prompts share an id, and the values are found again."""
    row = Row(position="row 1", value={"id": "t", "template": "x{{a}}-{{b}}", "variables": {"a": first, "b": second}})
    faults: list[ConfigError] = []
    found = to_prompts(row, Surroundings(file="f"), faults)
    assert not faults
    assert [tuple(prompt.variables.values()) for prompt in found] == list(itertools.product(first, second))
    assert len({prompt.id for prompt in found}) == len(found)
    assert all(prompt.id.isascii() and not set("[]@=/ ") & set(prompt.id) for prompt in found)
