import pytest

from pytest_llmci.checks.base import Check, CheckInput
from pytest_llmci.checks.containment import Contains
from pytest_llmci.checks.emptiness import NonEmpty
from pytest_llmci.checks.json_text import IsJson
from pytest_llmci.checks.lengths import MaxWords
from pytest_llmci.checks.pattern import Regex
from pytest_llmci.checks.specials import SpecialTokens
from pytest_llmci.checks.validity import Valid
from pytest_llmci.records import CheckResult, Prompt


def judge(check: Check, text: str, *, finish: str = "stop", special_only: bool = False) -> CheckResult:
    prompt = Prompt(id="p", text="?")
    return check(CheckInput(text=text, finish_reason=finish, special_only=special_only, prompt=prompt))


@pytest.mark.parametrize("text", ["a", "  .\n", "你", "🎉", "\u200bx"])
def test_non_empty(text: str) -> None:
    assert judge(NonEmpty(), text).passed


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000", "\u200b\u200d", "\x00\x07"])
def test_empty(text: str) -> None:
    result = judge(NonEmpty(), text)
    assert not result.passed
    assert result.message.startswith("the output is empty: expected text, found ")


@pytest.mark.parametrize("text", ["hello</s>", "a < b and b > c", "[PADDING]", "<p>", ""])
def test_more_than_special_tokens(text: str) -> None:
    assert judge(SpecialTokens(), text).passed


@pytest.mark.parametrize("text", ["<|endoftext|>", "</s></s>", " <pad>\n<pad>", "[PAD] [SEP]", "<｜end▁of▁sentence｜>"])
def test_only_special_tokens(text: str) -> None:
    result = judge(SpecialTokens(), text)
    assert not result.passed
    assert "only special tokens" in result.message


def test_special_tokens_that_the_source_left_out_of_the_text() -> None:
    assert not judge(SpecialTokens(), "", special_only=True).passed


@pytest.mark.parametrize("text", ["{}", ' [1, 2.5e3, "a"]\n', '"text"', "null", "9" * 5000])
def test_json(text: str) -> None:
    assert judge(IsJson(), text).passed


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "there is nothing to parse"),
        ('{"a": 1', "line 1, column 8"),
        ("{'a': 1}", "line 1, column 2"),
        ("NaN", "NaN is not JSON"),
        ("[1, -Infinity]", "-Infinity is not JSON"),
        ('Sure: {"a": 1}', "line 1, column 1"),
        ('```json\n{"a": 1}\n```', "it stands in a code fence"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_not_json(text: str, fault: str) -> None:
    result = judge(IsJson(), text)
    assert not result.passed
    assert result.message.startswith("expected JSON, found ")
    assert fault in result.message


def test_contains() -> None:
    assert judge(Contains("Paris"), "It is Paris.").passed
    assert judge(Contains("a:b"), "x a:b y").passed
    result = judge(Contains("Paris"), "It is\nLyon.")
    assert result.message == 'expected "Paris" in the output, found "It is Lyon."'
    assert "in another case" in judge(Contains("Paris"), "PARIS").message


def test_regex() -> None:
    assert judge(Regex(r"\b\d{4}\b"), "in 1969.").passed
    assert not judge(Regex(r"\A\d+\Z"), "in 1969.").passed
    assert judge(Regex("(?i)paris"), "PARIS").passed
    assert judge(Regex("a:b"), "a:b").passed
    assert judge(Regex(r"\d+"), "none").message == r'expected a match of "\d+", found "none"'


def test_max_words() -> None:
    assert judge(MaxWords("3"), "one two three").passed
    assert judge(MaxWords("3"), "").passed
    assert judge(MaxWords("3"), "one two  three\nfour").message == (
        'expected at most 3 words, found 4: "one two three four"'
    )


@pytest.mark.parametrize("check", [IsJson(), Contains("Paris"), Regex("Paris")], ids=lambda check: type(check).__name__)
def test_a_cut_off_output_says_so_first(check: Check) -> None:
    cut, whole = judge(check, '{"a": ', finish="length"), judge(check, '{"a": ', finish="stop")
    assert cut.message.startswith("the output was cut off at the token limit")
    assert cut.message.endswith(whole.message)


def test_too_many_words_are_not_explained_by_a_cut() -> None:
    assert "cut off" not in judge(MaxWords("1"), "one two", finish="length").message


def test_long_and_hostile_outputs_are_quoted_short_and_clean() -> None:
    text = "\x1b[2J\u202eevil\x00 " * 50_000
    for check in (IsJson(), Contains("Paris"), Regex("Paris"), MaxWords("1")):
        message = judge(check, text).message
        assert len(message) < 200
        assert message.isprintable()


def test_valid_is_all_three() -> None:
    assert judge(Valid(), "Hello there.").passed
    assert "only special tokens" in judge(Valid(), "", special_only=True).message
    assert "the output is empty" in judge(Valid(), " ").message
    assert "endless repetition" in judge(Valid(), "no " * 100).message
    assert judge(Valid(), "").name == "valid"
