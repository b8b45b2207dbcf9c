"""One observation a fresh pair of processes."""

from __future__ import annotations

import math
import random

import pytest

from pytest_llmci.stats.compare import GateSettings
from pytest_llmci.stats.starts import decide_starts

SETTINGS = GateSettings(detect=0.2)


def test_the_interval_is_that_of_a_t_test_of_logarithms() -> None:
    from scipy.special import stdtrit

    logs = [0.30, 0.34, 0.27, 0.31]
    found = decide_starts([1.0] * 4, [math.exp(each) for each in logs], SETTINGS)
    middle, mean = 0.305, sum(logs) / 4
    variance = sum((each - middle) ** 2 for each in logs) / 3
    error = math.sqrt((1.57 + 2 / 4) * variance / 4)
    reach = -float(stdtrit(3, 0.05)) * error
    assert found.effect == pytest.approx(math.expm1(middle)) and mean == pytest.approx(middle)
    assert [found.low, found.high] == pytest.approx([math.expm1(middle - reach), math.expm1(middle + reach)])
    assert (found.verdict, found.rounds, found.pairs) == ("regressed", 4, 4)


def test_rates_fall_for_the_worse() -> None:
    fell = decide_starts([10.0, 10.1, 9.9, 10.0], [5.0, 5.1, 4.9, 5.0], GateSettings(detect=0.2, higher_is_better=True))
    assert (fell.verdict, fell.improved) == ("regressed", False)
    assert fell.low is not None and fell.high is not None and fell.low < fell.effect < fell.high < 0
    assert fell.effect == pytest.approx(-0.5, abs=0.01)


def test_one_pair_that_disagrees_is_no_proof_however_far_the_others_are() -> None:
    assert decide_starts([1.0] * 4, [2.0, 2.0, 2.0, 0.99], SETTINGS).verdict == "inconclusive"


def test_small_changes_never_fail_however_sure() -> None:
    assert decide_starts([1.0] * 4, [1.05, 1.0501, 1.0499, 1.05], SETTINGS).verdict == "pass"


@pytest.mark.parametrize("spread", [0.003, 0.1])
@pytest.mark.parametrize("pairs", [3, 4, 8])
def test_false_alarms_stay_under_alpha(spread: float, pairs: int) -> None:
    rng = random.Random(f"{spread} {pairs}")
    settings = GateSettings(detect=0.0005, alpha=0.05)  # small enough not to be what keeps it from failing
    failed = sum(
        decide_starts([1.0] * pairs, [math.exp(rng.gauss(0, spread)) for _ in range(pairs)], settings).verdict
        == "regressed"
        for _ in range(1500)
    )
    assert failed <= 1500 * 0.05 + 3 * math.sqrt(1500 * 0.05)


def test_what_was_found_is_at_least_what_is_called_visible_in_most_cases() -> None:
    rng = random.Random(5)
    base = [[math.exp(rng.gauss(0, 0.02)) for _ in range(4)] for _ in range(400)]
    seen = [decide_starts([1.0] * 4, values, SETTINGS).visible or 0.0 for values in base]
    change = sorted(seen)[len(seen) // 2]
    found = sum(
        decide_starts([1.0] * 4, [(1 + change) * value for value in values], SETTINGS).verdict == "regressed"
        for values in base
    )
    assert found / len(base) > 0.85


@pytest.mark.parametrize(
    ("base", "candidate"), [([1.0], [1.0, 2.0]), ([1.0, 0.0, 1.0], [1.0] * 3), ([1.0] * 3, [math.nan] * 3)]
)
def test_what_cannot_be_compared_is_refused(base: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match="pairs|positive"):
        decide_starts(base, candidate, SETTINGS)
