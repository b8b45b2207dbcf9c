"""Whatever stands in a test file, the reader says all that is wrong in single lines with a place, and agrees with the schema."""

from __future__ import annotations

import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pytest_llmci.testfiles.keys import KEYS, Kind, known_keys
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
TEXTS = st.sampled_from(["a", "Say hi.", "json", "max_words:3", "latency <= 2s", "a b", "x-y"])
WRONG: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 0.5, "", " ", [], [1], {}, {"slow": "x"}, {"skip": 1}, {"a": 1, "b": 2}, "a b"]
)
ROW_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["a", "b", 3]), "prompt": TEXTS, "tags": TEXTS | st.lists(TEXTS, max_size=2), "checks": st.lists(TEXTS, max_size=2),
    "max_new_tokens": st.integers(1, 9), "messages": st.just([{"role": "user", "content": "Hi"}]), "reference": TEXTS,
}  # fmt: skip


def mostly(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Now and then something else."""
    return st.integers(0, 11).flatmap(lambda number: WRONG if number == 0 else right)


ROWS = st.fixed_dictionaries(
    {"prompt": mostly(TEXTS)}, optional={name: mostly(each) for name, each in ROW_VALUES.items() if name != "prompt"}
)
CHECKS = TEXTS | st.sampled_from([{"max_words": 3}, {"not": {"contains": "x"}}])
BY_KIND: dict[Kind, st.SearchStrategy[Any]] = {
    "text": TEXTS, "texts": TEXTS | st.lists(TEXTS, min_size=1, max_size=2), "name": st.sampled_from(["a", "b", "c-d"]),
    "prompts": TEXTS | st.lists(TEXTS | ROWS, min_size=1, max_size=3), "checks": CHECKS | st.lists(CHECKS, max_size=2), "whole": st.integers(-1, 9),
    "number": st.floats(-0.5, 2) | st.integers(0, 2), "yes_no": st.booleans(),
    "load": st.sampled_from(["rate=2", "concurrency=2", "single-stream", "offline", "rate=1..8", "none"]),
    "marks": st.lists(st.sampled_from(["slow", {"skip": "x"}, {"xfail": "y"}]), min_size=1, max_size=2),
}  # fmt: skip


def level(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A file or a test of these keys, few at a time, so that many are right."""
    keys = {name: mostly(BY_KIND[KEYS[name].kind]) for name in names if name != "tests"} | {"round": st.just(1)}
    pairs = [st.tuples(st.just(name), value) for name, value in keys.items()]
    return st.lists(st.one_of(pairs), max_size=3).map(dict)


NAMED = st.builds(
    lambda name, rest: {**rest, **name},
    st.fixed_dictionaries({}, optional={"name": BY_KIND["name"]}),
    level(known_keys("test")),
)
FILES = level(known_keys("file"))
DOCUMENTS = st.one_of(
    FILES, st.builds(lambda top, tests: {**top, "tests": tests}, FILES, st.lists(NAMED, max_size=2)), WRONG
)
PLACE = re.compile(r"test_it\.llm\.yaml:\d+:\d+: ")


def faults_of(text: str) -> list[str]:
    faults = Faults()
    read_tests(text, "test_it.llm.yaml", faults)
    return faults.lines()


@settings(max_examples=400)
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
