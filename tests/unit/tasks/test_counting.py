"""From log-probabilities and texts to rates; the numbers beside them are those of lm-evaluation-harness."""

from __future__ import annotations

import math

import pytest

from pytest_llmci.tasks.base import Question
from pytest_llmci.tasks.counting import (
    chosen,
    count_acc,
    count_acc_norm,
    count_mc1,
    count_mc2,
    count_numbers,
    last_number,
    pooled,
    rate,
    strict_number,
)


def question(*gold: int, lengths: tuple[int, ...] = (), answer: str = "") -> Question:
    return Question(index=0, where="", doc_sha256="", asked=(), gold=gold, lengths=lengths, answer=answer)


def test_acc_takes_the_most_probable_choice_and_the_first_of_equal_ones() -> None:
    assert count_acc(question(1), [-3.0, -1.0, -2.0]) == {"acc": 1.0}
    assert count_acc(question(2), [-3.0, -1.0, -2.0]) == {"acc": 0.0}
    assert chosen([-1.0, -1.0]) == 0
    assert chosen("text") == -1


def test_acc_norm_divides_by_characters() -> None:
    counted = count_acc_norm(question(1, lengths=(2, 20)), [-3.0, -10.0])
    assert counted == {"acc": 0.0, "acc_norm": 1.0}  # -1.5 against -0.5 a character


def test_mc1_and_mc2() -> None:
    assert count_mc1(question(0), [-1.0, -2.0]) == {"mc1": 1.0}
    two = count_mc2(question(0, 1), [math.log(0.2), math.log(0.1), math.log(0.3)])["mc2"]
    assert two == pytest.approx(0.5)
    assert count_mc2(question(0), [-4000.0, -4000.0]) == {"mc2": 0.5}  # where probabilities themselves would all be 0


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("So 3 + 4 = 7.\n#### 7", 1.0, 1.0),
        ("#### 1,007 and no more", 0.0, 0.0),
        ("It makes $7.", 0.0, 1.0),
        ("I do not know", 0.0, 0.0),
        ("#### 7.", 1.0, 1.0),
        ("#### 7\nThen 8", 1.0, 0.0),
    ],
)
def test_numbers_are_taken_strictly_and_flexibly(text: str, strict: float, flexible: float) -> None:
    counted = count_numbers(question(answer="3 + 4 = 7\n#### 7"), text)
    assert counted == {"exact_match": strict, "exact_match_flexible": flexible}


def test_what_counts_as_a_number() -> None:
    assert strict_number("#### -1,234.5 apples") == "-1,234.5"
    assert strict_number("none") == last_number("none") == "[invalid]"
    assert last_number("first 12 then $3,000") == "$3,000"


def test_the_standard_error_is_that_of_the_sample() -> None:
    found = rate([1.0] * 30 + [0.0] * 70)
    assert found.value == pytest.approx(0.3)
    assert found.stderr == pytest.approx(math.sqrt(0.3 * 0.7 / 99))
    assert rate([1.0]).stderr is None
    with pytest.raises(ValueError, match="no question"):
        rate([])


def test_subjects_count_by_their_questions() -> None:
    small, large = rate([1.0, 0.0]), rate([1.0] * 6 + [0.0] * 2)
    both = pooled([small, large])
    assert both.value == pytest.approx(0.7) and both.n == 10
    within = (1 * (small.stderr or 0) ** 2 * 2 + 7 * (large.stderr or 0) ** 2 * 8) / 8
    assert both.stderr == pytest.approx(math.sqrt(within / 10))
    assert pooled([small]) is small
    assert pooled([rate([1.0]), rate([0.0])]).stderr is None
