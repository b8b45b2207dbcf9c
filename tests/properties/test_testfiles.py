"""Whatever stands in a test file, the reader says all that is wrong in single lines with a place, and agrees with the schema."""

from __future__ import annotations

import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pytest_llmci.testfiles.keys import KEYS
from pytest_llmci.testfiles.nodes import Faults
from pytest_llmci.testfiles.read import read_tests
from pytest_llmci.testfiles.schema import schema

VALIDATOR = Draft202012Validator(schema())
OF_MEANING = (
    "has the id",
    "stands in line",
    "a name of its own",
    "cannot be part of a test's name",
    "both 'prompt'",
    "neither 'prompt'",
)
"""Faults that no schema sees: they are about two places of a file, or about ids."""
TEXTS = st.sampled_from(
    ["a", "paper", "cases.csv", "Say hi.", "json", "max_words:3", "latency <= 2s", "a b", "", " ", "x-y"]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.floats(-1, 2), TEXTS)
ROWS = st.dictionaries(
    st.sampled_from(["id", "prompt", "tags", "checks", "max_new_tokens", "promt"]),
    st.one_of(SCALARS, st.lists(TEXTS, max_size=2)),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(st.one_of(SCALARS, ROWS), max_size=3),
    ROWS,
    st.dictionaries(st.sampled_from(["skip", "json", "slow"]), SCALARS, max_size=2),
)
LEVELS = st.dictionaries(st.sampled_from([*KEYS, "round", "x-a"]), VALUES, max_size=4)
DOCUMENTS = st.one_of(
    LEVELS, st.builds(lambda top, tests: {**top, "tests": tests}, LEVELS, st.lists(LEVELS, max_size=3)), VALUES
)
PLACE = re.compile(r"test_it\.llm\.yaml:\d+:\d+: ")


def faults_of(text: str) -> list[str]:
    faults = Faults()
    read_tests(text, "test_it.llm.yaml", faults)
    return faults.lines()


@settings(max_examples=300)
@given(DOCUMENTS)
def test_reader_and_schema_agree(document: Any) -> None:
    """A document without faults fits the schema, and one that fits has only faults that no schema sees."""
    found = faults_of(yaml.safe_dump(document, sort_keys=False))
    fits = VALIDATOR.is_valid(document)
    if not found:
        assert fits
    if fits:
        assert all(any(words in line for words in OF_MEANING) for line in found), found


@settings(max_examples=300)
@given(st.text(max_size=60) | st.text(alphabet=": -[]{}&*!|>'\"#,\n?<ab1", max_size=40))
def test_any_text_is_read_or_its_faults_have_places(text: str) -> None:
    for line in faults_of(text):
        assert PLACE.match(line) and "\n" not in line
