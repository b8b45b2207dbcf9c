from __future__ import annotations

import pytest
import yaml
from jsonschema import Draft202012Validator

from pytest_llmci.testfiles.keys import KEYS, Key
from pytest_llmci.testfiles.nodes import Faults
from pytest_llmci.testfiles.read import FileTest, InlinePrompt, Text, decoded, read_tests
from pytest_llmci.testfiles.schema import schema

FILE = "test_chat.llm.yaml"


def read(text: str) -> tuple[FileTest, ...]:
    faults = Faults()
    tests = read_tests(text, FILE, faults)
    assert faults.lines() == []
    return tests


def faults_of(text: str) -> list[str]:
    faults = Faults()
    read_tests(text, FILE, faults)
    return [line.removeprefix(f"{FILE}:") for line in faults.lines()]


def test_a_file_without_tests_is_one_test_called_like_it() -> None:
    (test,) = read("prompts: [Name a colour.]\n")
    assert test.name == "test_chat" and test.models is None and test.checks is None and test.values == {}
    (test,) = read("name: colours\nprompts: Name a colour.\n")
    assert test.name == "colours"


def test_every_key_is_read() -> None:
    (test,) = read(
        "models: [echo, other=echo]\nrounds: 3\nmax_rounds: 9\nwarmup: 0\nmax_new_tokens: 7\ntemperature: 0.5\nseed: 0\ntimed: no\n"
        "checks: non_empty\nbudgets: [peak_rss <= 8GiB]\nmarks: [slow, {skip: too dear}]\ndescription: text\n"
        "prompts: [paper, cases.csv, {id: a, prompt: Hi., checks: [json]}]\n"
    )
    assert test.models is not None and [model.text for model in test.models] == ["echo", "other=echo"]
    assert test.values == {
        "rounds": 3, "max_rounds": 9, "warmup": 0, "max_new_tokens": 7, "temperature": 0.5, "seed": 0, "timed": False,
    }  # fmt: skip
    assert test.checks is not None and [check.text for check in test.checks] == ["non_empty"]
    (test,) = read(
        "checks: [{max_words: 40}, {not: {contains: x}}]\nprompts: [{prompt: Hi., checks: {json_schema: {type: object}}}]\n"
    )
    assert [check.text for check in test.checks or ()] == ["max_words:40", "not:contains:x"]
    (row,) = test.prompts or ()
    assert isinstance(row, InlinePrompt) and row.prompt.checks == ('json_schema:{"type":"object"}',)


def test_every_list_is_read() -> None:
    (test,) = read(
        "models: echo\nmarks: [slow, {skip: too dear}]\nprompts: [paper, cases.csv, {id: a, prompt: Hi., checks: [json]}]\n"
    )
    assert [(mark.name, mark.reason) for mark in test.marks] == [("slow", None), ("skip", "too dear")]
    assert test.prompts is not None
    named, file, row = test.prompts
    assert isinstance(named, Text) and isinstance(file, Text) and isinstance(row, InlinePrompt)
    assert (named.text, file.text, row.prompt.id, row.prompt.checks) == ("paper", "cases.csv", "a", ("json",))
    assert row.prompt.source == f"{FILE}, line 3"


def test_the_test_comes_before_the_file_and_what_is_added_adds_up() -> None:
    first, second, third = read(
        "rounds: 3\nwarmup: 1\nchecks: [non_empty]\nbudgets: [peak_rss <= 8GiB]\nmarks: [slow]\nprompts: [Hi.]\n"
        "tests:\n"
        "  - {name: first, rounds: 5, checks: [json], budgets: [load_time <= 9s], marks: [gpu]}\n"
        "  - {name: second, prompts: [Ho.]}\n"
        "  - {name: third, checks: []}\n"
    )
    assert first.values == {"rounds": 5, "warmup": 1} and second.values == {"rounds": 3, "warmup": 1}
    assert [[check.text for check in test.checks or ()] for test in (first, second)] == [
        ["non_empty", "json"],
        ["non_empty"],
    ]
    assert third.checks == ()
    assert [budget.text for budget in first.budgets] == ["peak_rss <= 8GiB", "load_time <= 9s"]
    assert [mark.name for mark in first.marks] == ["slow", "gpu"]
    texts = [
        [entry.prompt.text for entry in test.prompts or () if isinstance(entry, InlinePrompt)]
        for test in (first, second)
    ]
    assert texts == [["Hi."], ["Ho."]]


def test_anchors_and_merged_keys_are_followed() -> None:
    first, second = read(
        "x-shared: &shared {rounds: 4, checks: [json]}\n"
        "tests:\n  - {<<: *shared, name: first}\n  - <<: *shared\n    name: second\n    rounds: 2\n"
    )
    assert (first.values, second.values) == ({"rounds": 4}, {"rounds": 2})
    assert [check.text for check in first.checks or ()] == ["json"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1:1: the file is empty; write at least prompts, or named tests under 'tests'."),
        ("- a\n", "1:1: expected a mapping with keys such as 'prompts', found a list."),
        ("a: [\n", "2:1: not valid YAML: expected the node content, but found '<stream end>'."),
        ("round: 3\n", "1:1: round: unknown key 'round'. Did you mean 'rounds'?"),
        ("rounds: 3\nrounds: 4\n", "2:1: rounds: the key 'rounds' stands twice, first in line 1; remove one."),
        ("rounds: 2.5\n", "1:9: rounds: expected a whole number, found a number (2.5)."),
        ("rounds: '5'\n", "1:9: rounds: expected a whole number, found '5'."),
        ("rounds: true\n", "1:9: rounds: expected a whole number, found a truth value (true)."),
        ("rounds: 0\n", "1:9: rounds: 0 is too small; write a whole number of at least 1."),
        ("temperature: .nan\n", "1:14: temperature: expected a number, found a number (.nan)."),
        ("warmup:\n", "1:8: warmup: expected a whole number, found nothing."),
        ("timed: 1\n", "1:8: timed: expected true or false, found a number (1)."),
        ("models: []\n", "1:9: models: the list is empty; write at least one entry, or take the key away."),
        ("models: [1]\n", "1:10: models[1]: expected a text, found a number (1); put it in quotes."),
        ("budgets: {latency: 2s}\n", "1:10: budgets: expected a text, found a mapping."),
        ("checks: [json, ' ']\n", "1:16: checks[2]: the text is empty."),
        ("checks: [5]\n", "1:10: checks[1]: expected a check such as max_words:40 or {max_words: 40}, found a number (5)."),
        ("checks: [{json: , not: x}]\n", "1:10: checks[1]: expected a check, found a mapping of 2 keys;"),
        ("checks: [{contains: 2001-01-01}]\n", "1:10: checks[1]: contains: the argument of a check must be text, numbers, lists and mappings"),
        ("checks: [{contains: a, contains: b}]\n", "1:24: checks[1].contains: the key 'contains' stands twice, first in line 1; remove one."),
        ("marks: [{slow: x}]\n", "1:10: marks[1].slow: unknown key 'slow'. Known: skip, xfail."),
        ("marks: [a b]\n", "1:9: marks[1]: 'a b' is no name of a marker; write slow, or {skip: REASON}, {xfail: REASON}."),
        ("marks: [{skip: }]\n", "1:15: marks[1].skip: expected the reason as a text, found nothing."),
        ("prompts: [Hi., {prompt: Ho., tag: x}]\n", "1:30: prompts[2].tag: unknown key 'tag'. Did you mean 'tags'?"),
        ("prompts: [{promt: Ho., prompt: x}]\n", "1:12: prompts[1].promt: unknown key 'promt'. Did you mean 'prompt'?"),
        ("prompts: [{id: a}]\n", "1:11: prompts[1]: neither 'prompt' nor 'messages' is given; write one of them."),
        ("prompts: [Hi., Hi.]\n", "1:16: prompts[2]: the prompt of line 1 has the id 'Hi' as well; give one of them another id."),
        ("tests: {name: a}\n", "1:8: tests: expected a list of tests, each with its 'name', found a mapping."),
        ("tests: [a]\n", "1:9: tests[1]: expected a mapping with 'name', found a text."),
        ("tests: [{rounds: 3}]\n", "1:9: tests[1]: the key 'name' is missing; it is the first part of the test's id."),
        ("tests: [{name: a b}]\n", "1:16: tests[1].name: 'a b' cannot be part of a test's id; use ASCII letters, digits, '.', '_' and '-', such as 'a-b'."),
        ("tests: [{name: a}, {name: a}]\n", "1:21: tests[2].name: a test called 'a' stands in line 1; rename one."),
        ("tests: [{name: a, tests: []}]\n", "1:19: tests[1].tests: unknown key 'tests'."),
        ("name: a\ntests: [{name: b}]\n", "1:1: name: each of the tests has a name of its own; take this one away."),
        ("rounds: !!python/object:os.system 3\n", "1:9: rounds: expected a whole number, found os.system (3)."),
        ("prompts: [{prompt: 2001-01-01}]\n", "1:12: prompts[1].prompt: expected text, found a date."),
    ],
)  # fmt: skip
def test_each_fault_has_its_place(text: str, told: str) -> None:
    (found,) = faults_of(text)
    assert found.startswith(told)


def test_all_faults_are_told_in_the_order_of_the_file() -> None:
    found = faults_of("tests:\n  - name: a\n    rounds: x\n    warmup: y\nround: 1\nmodels: [1]\n")
    assert [line.split(" ")[0] for line in found] == ["3:13:", "4:13:", "5:1:", "6:10:"]


def test_bytes_that_are_no_utf_8_are_a_fault_in_their_line() -> None:
    faults = Faults()
    assert decoded(b"a: b\nc: \xff\n", FILE, faults) is None
    assert faults.lines() == [f"{FILE}:2:1: not valid UTF-8 (byte 0xff); save the file as UTF-8."]
    assert decoded(b"\xef\xbb\xbfrounds: 1", FILE, Faults()) == "rounds: 1"


def test_a_fault_is_one_line_without_control_characters() -> None:
    (found,) = faults_of('"a\\x1b[31m\\nb": 1\n')
    assert "\x1b" not in found and "\n" not in found and "unknown key" in found


def test_a_row_with_variables_is_several_prompts() -> None:
    (test,) = read(
        "prompts:\n  - template: Name {{a}} {{b}}.\n    variables: {a: [one, two], b: x}\n    checks: [{contains: '{{b}}'}]\n    tags: t\n"
    )
    rows = [entry for entry in test.prompts or () if isinstance(entry, InlinePrompt)]
    assert [row.prompt.text for row in rows] == ["Name one x.", "Name two x."]
    assert [row.prompt.checks for row in rows] == [("contains:x",)] * 2
    assert {row.place.line for row in rows} == {2} and rows[0].checks[0].place.line == 4
    assert faults_of("prompts: [{template: 'Name {{c}}.', variables: {a: x}}]\n")[0].startswith(
        "1:12: prompts[1].template: "
    )


def test_generated_prompts_stand_among_the_others() -> None:
    text = (
        "prompts:\n  - Hi.\n  - generate:\n      - {id: s, template: 'Sum up {{filler}}', words: [10, 20]}\n"
        "      - {id: t, template: '{{filler}}', tokens: 16, checks: [json]}\n"
    )
    (test,) = read(text)
    rows = [row for row in test.prompts or () if isinstance(row, InlinePrompt)]
    assert [row.prompt.id for row in rows] == ["Hi", "s-10w", "s-20w", "t-16t"]
    assert rows[3].prompt.is_open and [check.text for check in rows[3].checks] == ["json"]
    assert Draft202012Validator(schema()).is_valid(yaml.safe_load(text))
    wrong = "prompts:\n  - generate:\n      - {id: s, template: 'Sum up {{filler}}', word: 10}\n"
    assert next(line.partition(": ")[0] for line in faults_of(wrong)) == "3:9"
    assert "unknown key 'word'. Did you mean 'words'?" in faults_of(wrong)[1]
    assert not Draft202012Validator(schema()).is_valid(yaml.safe_load(wrong))


def test_bounds_of_numbers_are_kept_by_reader_and_schema_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    share = Key(kind="number", help="a share", above=0, most=1)
    monkeypatch.setattr("pytest_llmci.testfiles.read.KEYS", {**KEYS, "temperature": share})
    monkeypatch.setattr("pytest_llmci.testfiles.schema.KEYS", {**KEYS, "temperature": share})
    validator = Draft202012Validator(schema())
    for value, told in (
        (0, "0 is too small; write a number above 0."),
        (1.5, "1.5 is too large; write a number of at most 1."),
    ):
        assert faults_of(f"temperature: {value}\n") == [f"1:14: temperature: {told}"]
        assert not validator.is_valid({"temperature": value})
    assert read("temperature: 1\n")[0].values == {"temperature": 1} and validator.is_valid({"temperature": 1})
