from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_llmci.engine.comparisons.explain_comparison import (
    change_words,
    compared_lines,
    comparison_block,
    doubt,
    regression_title,
    shown_results,
)
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import ComparisonResult

METRICS = {metric.name: metric for metric in builtin_metrics()}


def result(change: float = 0.008, now: float = 1.027, **facts: Any) -> ComparisonResult:
    """One whose medians say +2.7 % and that was found to be +0.8 %."""
    usual: dict[str, Any] = {
        "metric": "net_time", "mode": "interleaved", "verdict": "inconclusive", "against": "main", "base": 1.0, "candidate": now,
        "change": change, "low": -0.01, "high": 0.02, "visible": 0.06, "detect": 0.05, "rounds": 10, "pairs": 2,
    }  # fmt: skip
    return ComparisonResult(**{**usual, **facts})


def test_a_change_that_is_visibly_not_that_of_the_medians_is_explained() -> None:
    text = " ".join(" ".join(compared_lines([("a-tcp", [result()])], [], METRICS)).split())
    assert "1 s 1.03 s +0.8 %" in text
    assert (
        "change: of rounds that ran in turn, each against its neighbour in time; the medians are of all rounds" in text
    )
    block = " ".join(" ".join(comparison_block([result()], None, METRICS)).split())
    assert "change of rounds that ran in turn, each against its neighbour in time" in block


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"mode": "interleaved"}, "of rounds that ran in turn"),
        ({"mode": "anchored"}, "of times divided by those of the frozen model"),
        ({"mode": "saved"}, "the middle of the differences between any round and any stored one"),
        ({"mode": "history"}, "the middle of the differences between any round and any stored one"),
        ({"now": 1.017}, ""),
        ({"now": 1.019}, "of rounds that ran in turn"),
        ({"now": 0.997}, "of rounds that ran in turn"),
        ({"mode": "exact"}, ""),
        ({"change": None}, ""),
        ({"base": None}, ""),
        ({"candidate": None}, ""),
        ({"base": 0.0}, ""),
    ],
)
def test_nothing_is_explained_that_nobody_sees(facts: dict[str, Any], words: str) -> None:
    found = change_words([result(**facts)])
    assert found.startswith(words) and bool(found) == bool(words)


def test_an_endless_change_is_told_in_words() -> None:
    endless = result(change=math.inf, high=math.inf, visible=math.nan)
    assert (
        regression_title(endless, METRICS["net_time"])
        == "net time any number of times slower than main (-1.0 % to no limit)"
    )
    assert doubt(endless) == (
        "net_time against main: could be any number of times worse; this sees no change up to 1,000 %, you asked for 5 %"
    )
    text = " ".join([*compared_lines([("a-tcp", [endless])], [], METRICS), *comparison_block([endless], None, METRICS)])
    assert "infx" not in text and "nan" not in text


def test_each_kind_of_comparison_is_explained_once() -> None:
    found = change_words([result(), result(), result(mode="anchored")])
    assert (found.count("in turn"), found.count("frozen model")) == (1, 1)


def test_what_has_no_row_is_not_explained() -> None:
    passed = result(verdict="pass")
    assert "change:" not in " ".join(compared_lines([("a-tcp", [passed])], [], METRICS))
    assert shown_results([("a-tcp", [passed])], [("a", result())]) == [result()]


def test_on_a_narrow_screen_the_columns_stand_closer() -> None:
    found = [result(against="openai-compatible-server"), result(metric="peak_rss", base=2.0**30, now=1.5 * 2**30)]
    wide, narrow = (comparison_block(found, None, METRICS, room) for room in (80, 74))
    assert max(map(len, wide)) in range(75, 81)
    assert max(map(len, narrow)) <= 74
    assert [line.split() for line in narrow[:3]] == [line.split() for line in wide[:3]]
