from __future__ import annotations

import pytest

from pytest_llmci.leaderboard.cells import (
    parse_count,
    parse_flag,
    parse_number,
    parse_score,
    parse_size,
    parse_time,
    plain_text,
    size_in_name,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("52.15", 52.15), ("52,15", 52.15), (" 1 234,5 ", 1234.5), ("1,234.5", 1234.5), ("1.234,5", 1234.5), ("1'234", 1234), ("-3", -3),
        ("1.234.567", 1234567), ("6.74e9", 6.74e9), ("１２", 12), ("12,345", 12.345),
    ],
)  # fmt: skip
def test_numbers_in_the_usual_conventions(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "abc", "1,2,x", "inf", "nan", "1e999", "--"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_number(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1,234", 1234), ("4632", 4632), ("1,5", 1.5), ("-1", None), ("", None), ("N/A", None)]
)
def test_counts_have_thousands(text: str, value: float | None) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("52.1%", (52.1, True)), ("52.1 %", (52.1, True)), ("0.5", (0.5, False)), ("NaN", None), ("-", None), ("?", None)],
)
def test_scores_keep_their_per_cent_sign(text: str, value: tuple[float, bool] | None) -> None:
    assert parse_score(text) == value


@pytest.mark.parametrize(
    ("text", "billions"),
    [
        ("7B", 7), ("7 b", 7), ("1.1", 1.1), ("125M", 0.125), ("560 M params", 0.56), ("1.5T", 1500), ("-1", None), ("0", None),
        ("0.0", None), ("nan", None), ("", None), ("Unknown", None), ("124,439,808", 0.124439808), ("6738415616", 6.738415616),
        ("6.74e9", 6.74), ("8x7B", 56), ("1,1", 1.1), ("350k", 0.00035),
    ],
)  # fmt: skip
def test_sizes_as_people_write_them(text: str, billions: float | None) -> None:
    assert parse_size(text) == (None if billions is None else pytest.approx(billions))


def test_sizes_of_a_column_in_millions() -> None:
    assert parse_size("125", "m") == 0.125
    assert parse_size("7B", "m") == 7


@pytest.mark.parametrize("text", ["large", "7Q", "B", "123456", "1e5"])
def test_sizes_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("meta/Llama-2-7b-hf", 7), ("org/opt-iml-max-1.3b", 1.3), ("EleutherAI/gpt-neo-125M", 0.125), ("x/model-8bit", None),
        ("x/open_llama_7b_400bt", 7), ("PY007/TinyLlama-1.1B-step-50K-105b", 1.1), ("x/1.1bee", None), ("gpt2-xl", None),
        ("7b-org/gpt2", None), ("mistral/Mixtral-8x7B-v0.1", 56), ("bigscience/bloom-1b7", None), ("x/0b", None),
    ],
)  # fmt: skip
def test_sizes_in_names(name: str, billions: float | None) -> None:
    assert size_in_name(name) == billions


def test_flags() -> None:
    assert [parse_flag(text) for text in ("True", "no", "1", "0.0", "manual", "", "✅")] == [
        *(True, False, True, False, True, None, True)
    ]
    with pytest.raises(ValueError):
        parse_flag("maybe")


def test_times_have_a_zone() -> None:
    one, other = parse_time("2023-10-16T12:48:18Z"), parse_time("2023-10-16T12:48:18.500000")
    assert one and other and one < other
    assert parse_time("yesterday") is None


def test_texts_lose_tags_and_leading_symbols() -> None:
    assert plain_text('<a target="_blank" href="https://x/y">org/model</a>') == "org/model"
    assert plain_text("🔶 fine-tuned") == "fine-tuned"
    assert plain_text(" None ") == ""
    assert plain_text("a < b") == "a < b"
