"""Times of a process's start on two sides."""

from __future__ import annotations

import pytest

from pytest_llmci.engine.comparisons.comparison import gated_times
from pytest_llmci.engine.comparisons.rules import Rules
from pytest_llmci.engine.comparisons.starts import compare_starts, starts_shown
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import ComparisonResult

METRICS = {metric.name: metric for metric in builtin_metrics()}
FOUR = [1.00, 1.03, 0.98, 1.01]


def rules(**changes: object) -> Rules:
    return Rules(**{"against": "old", "alpha": 0.01, "detect": {"load_time": 0.2}, **changes})  # type: ignore[arg-type]  # as given


def judged(base: list[float], candidate: list[float], tests: int = 3, **changes: object) -> ComparisonResult:
    (found,) = compare_starts({"load_time": base}, {"load_time": candidate}, rules(**changes), METRICS, tests=tests)
    return found


def test_each_pair_of_starts_is_one_round() -> None:
    slower = judged(FOUR, [1.8 * value * noise for value, noise in zip(FOUR, (1.01, 0.99, 1.0, 1.02), strict=True)])
    assert (slower.verdict, slower.mode, slower.rounds, slower.pairs) == ("regressed", "interleaved", 4, 4)
    assert slower.change == pytest.approx(0.8, abs=0.05)
    assert (slower.base, slower.detect) == (1.005, 0.2)
    same = judged(FOUR, [1.01, 1.02, 0.99, 1.0])
    assert same.verdict == "pass"
    quicker = judged(FOUR, [value / 2 for value in FOUR])
    assert (quicker.verdict, quicker.improved) == ("pass", True)


def test_alpha_is_shared_with_the_other_times() -> None:
    candidate = [1.15 * value * noise for value, noise in zip(FOUR, (1.02, 0.985, 1.0, 1.01), strict=True)]
    alone, shared = (judged(FOUR, candidate, tests=tests) for tests in (1, 8))
    assert alone.visible is not None and shared.visible is not None
    assert alone.visible < shared.visible
    assert (alone.p_value, alone.change) == (shared.p_value, shared.change)


@pytest.mark.parametrize("count", [1, 2])
def test_few_starts_decide_nothing(count: int) -> None:
    found = judged(FOUR[:count], [9.0] * count)
    starts = "1 start" if count == 1 else "2 starts"
    assert (found.verdict, found.reason) == ("inconclusive", f"{starts} on a side: fewer than 3 decide nothing")
    assert (found.base, found.candidate, found.visible) == (sum(FOUR[:count]) / count, 9.0, None)


def test_what_cannot_be_judged_says_why() -> None:
    assert judged([], FOUR).reason == "missing on the side of the reference"
    assert judged(FOUR, []).reason == "missing on the side of the candidate"
    assert judged(FOUR, [0.0, 1.0, 1.0, 1.0]).reason == "a start was too short to be measured"
    other = judged(FOUR, FOUR, why_no_times="other hardware: cores: 2 -> 4")
    assert (other.verdict, other.reason) == ("not comparable", "other hardware: cores: 2 -> 4")


def test_stored_starts_need_no_partner_and_know_that_sessions_differ() -> None:
    stored = judged([1.0, 1.01, 0.99], [value * 1.3 for value in FOUR], mode="saved")
    assert (stored.verdict, stored.mode, stored.rounds, stored.pairs) == ("inconclusive", "saved", 3, 0)
    assert stored.visible is not None and stored.visible > 0.5
    assert judged([1.0, 1.01, 0.99], [value * 4 for value in FOUR], mode="saved").verdict == "regressed"


def test_only_named_times_of_starts_are_gated_and_never_as_rounds() -> None:
    sides = {"load_time": FOUR, "import_time": FOUR}
    both = compare_starts(sides, sides, rules(detect={"import_time": 0.3, "load_time": 0.2}), METRICS, tests=4)
    assert [result.metric for result in both] == ["import_time", "load_time"]
    assert compare_starts(sides, sides, rules(detect={"": 0.1}), METRICS, tests=2) == []
    assert gated_times([], rules()) == ("latency",)
    assert gated_times([], rules(only=("load_time",))) == ()


def test_medians_are_shown_where_both_sides_have_any() -> None:
    found = starts_shown({"load_time": FOUR, "import_time": []}, {"load_time": [2.0], "import_time": [1.0]})
    assert found == {"load_time": (1.005, 2.0)}
