"""From answers to what they add to each metric, and from those to a rate with its standard error.

Metrics are those of lm-evaluation-harness: ``acc`` takes the choice with the highest log-probability, ``acc_norm`` the one
with the highest log-probability per character. What it calls ``acc`` of ``truthfulqa_mc2`` is ``mc2`` here: the share of
the probability that falls on right answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .base import Answer, Question


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A metric over questions."""

    value: float
    """Mean, 0 to 1."""
    stderr: float | None
    """Standard error of the mean; None for fewer than two questions."""
    n: int


def rate(values: Sequence[float]) -> Rate:
    """The mean, and the standard error from the spread of the sample, as the harness gives them.

    :raises ValueError: if there is none.

    >>> rate([1, 0, 1, 1])
    Rate(value=0.75, stderr=0.25, n=4)
    """
    n = len(values)
    if not n:
        raise ValueError("no question was answered")
    mean = math.fsum(values) / n
    if n < 2:
        return Rate(value=mean, stderr=None, n=n)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Rate(value=mean, stderr=spread / math.sqrt(n), n=n)


def pooled(rates: Sequence[Rate]) -> Rate:
    """Over the subjects of a benchmark: every question counts the same; the spread is that within the subjects.

    Source: ``pooled_sample_stderr`` of lm-evaluation-harness, the pooled variance of samples of unequal size.
    """
    if len(rates) == 1:
        return rates[0]
    n = sum(each.n for each in rates)
    value = math.fsum(each.value * each.n for each in rates) / n
    if any(each.stderr is None for each in rates) or n <= len(rates):
        return Rate(value=value, stderr=None, n=n)
    within = math.fsum((each.n - 1) * (each.stderr or 0.0) ** 2 * each.n for each in rates) / (n - len(rates))
    return Rate(value=value, stderr=math.sqrt(within / n), n=n)


def chosen(answer: Answer) -> int:
    """The choice with the highest log-probability, the first of several; -1 where the answer was generated."""
    return -1 if isinstance(answer, str) else _best(answer)


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def count_acc(question: Question, answer: Answer) -> dict[str, float]:
    """``acc``."""
    return {"acc": float(_best(_numbers(answer)) in question.gold)}


def count_acc_norm(question: Question, answer: Answer) -> dict[str, float]:
    """``acc`` and ``acc_norm``."""
    scores = _numbers(answer)
    per_character = [score / length for score, length in zip(scores, question.lengths, strict=True)]
    return {**count_acc(question, answer), "acc_norm": float(_best(per_character) in question.gold)}


def count_mc1(question: Question, answer: Answer) -> dict[str, float]:
    """``mc1``: whether the only right answer is the most probable one."""
    return {"mc1": float(_best(_numbers(answer)) in question.gold)}


def count_mc2(question: Question, answer: Answer) -> dict[str, float]:
    """``mc2``: the share of the probability of all answers that falls on right ones."""
    scores = _numbers(answer)
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]  # the largest is 1, so that the sum never vanishes
    return {"mc2": math.fsum(weights[place] for place in question.gold) / math.fsum(weights)}


def _numbers(answer: Answer) -> Sequence[float]:
    assert not isinstance(answer, str)
    return answer


_STRICT: Final = re.compile(r"#### (\-?[0-9\.\,]+)")
_NUMBER: Final = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED: Final = tuple(map(re.compile, (",", r"\$", r"(?s).*#### ", r"\.$")))
INVALID: Final = "[invalid]"
"""Taken from an answer that holds no number."""


def count_numbers(question: Question, answer: Answer) -> dict[str, float]:
    """``exact_match`` of the number behind ``####``, and ``exact_match_flexible`` of the last number in the answer."""
    assert isinstance(answer, str)
    right = _comparable(question.answer)
    return {
        "exact_match": float(_comparable(strict_number(answer)) == right),
        "exact_match_flexible": float(_comparable(last_number(answer)) == right),
    }


def strict_number(text: str) -> str:
    """The number behind ``####``."""
    found = _STRICT.search(text)
    return found[1].strip() if found else INVALID


def last_number(text: str) -> str:
    """The last thing in a text that looks like a number."""
    found = _NUMBER.findall(text)
    return next(filter(None, found[-1])).strip() if found else INVALID


def _comparable(text: str) -> str:
    for ignored in _IGNORED:
        text = ignored.sub("", text)
    return text.lower()
