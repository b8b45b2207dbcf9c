"""The shipped schema is that of the table, and agrees with the reader on every document below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from pytest_llmci.prompts.rows import KEYS as ROW_KEYS
from pytest_llmci.testfiles.keys import KEYS, known_keys, table
from pytest_llmci.testfiles.nodes import Faults
from pytest_llmci.testfiles.read import read_tests
from pytest_llmci.testfiles.schema import packaged_path, schema, schema_text

RIGHT = [
    "prompts: Hi.",
    "name: 7\nprompts: Hi.",
    "name: a\ndescription: text\nmodels: echo\nprompts: [paper, cases.csv, {prompt: Hi., tags: [a], reference: x, max_new_tokens: 4}]",
    "prompts: [{id: 7, messages: [{role: user, content: Hi.}], checks: [json]}]",
    "prompts: [{template: 'Name {{a}}.', variables: {a: [x, y]}, system: Be brief.}]",
    "checks: []\nbudgets: [latency <= 2s, peak_rss <= 8GiB]\nrounds: 1\nmax_rounds: 2\nwarmup: 0\nmax_new_tokens: 1\ntemperature: 0.7\nseed: 3",
    "timed: false\nmarks: [slow, {skip: why}]\nx-any: {thing: [1]}\ntests: [{name: a, rounds: 2}, {name: b, checks: json}]",
]
WRONG = [
    "round: 3", "rounds: 0", "rounds: 1.5", "rounds: x", "warmup: -1", "temperature: -0.1", "timed: 1", "models: []", "models: [1]",
    "budgets: {a: b}", "checks: [5]", "checks: ['']", "marks: [{slow: x}]", "marks: [{skip: a, xfail: b}]", "marks: [a b]", "prompts: [1]",
    "prompts: [{promt: Hi.}]", "prompts: [{prompt: 5}]", "prompts: [{prompt: Hi., max_new_tokens: 0}]", "prompts: []", "tests: []",
    "tests: [a]", "tests: [{rounds: 1}]", "tests: [{name: a b}]", "tests: [{name: a, tests: [{name: b}]}]", "name: a/b", "name: true", "name: 0.5", "- a", "description: [a]",
    "prompts: [{messages: [{role: nobody, content: x}]}]", "prompts: [{messages: []}]",
]  # fmt: skip


def is_right(text: str) -> bool:
    faults = Faults()
    read_tests(text, "test_it.llm.yaml", faults)
    return not faults


def fits(text: str) -> bool:
    return bool(Draft202012Validator(schema()).is_valid(yaml.safe_load(text)))


def test_the_shipped_file_is_that_of_the_table() -> None:
    """If it is not: python tools/testfile_schema.py."""
    assert Path(packaged_path()).read_text("utf-8") == schema_text()
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("text", RIGHT)
def test_what_the_reader_takes_fits(text: str) -> None:
    assert is_right(text) and fits(text)


@pytest.mark.parametrize("text", WRONG)
def test_what_the_reader_refuses_does_not_fit(text: str) -> None:
    assert not is_right(text) and not fits(text)


def test_every_key_is_described_in_its_place() -> None:
    found = schema()
    assert list(found["properties"]) == known_keys("file")
    assert list(found["$defs"]["test"]["properties"]) == known_keys("test")
    assert set(known_keys("file")) | set(known_keys("test")) == set(KEYS)
    properties: dict[str, Any] = found["properties"] | found["$defs"]["test"]["properties"]
    for name, key in KEYS.items():
        assert properties[name]["description"] == key.help
        assert f"| `{name}` |" in table()
    row = found["$defs"]["prompt"]["anyOf"][1]["properties"]
    assert tuple(row) == ROW_KEYS
