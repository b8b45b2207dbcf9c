"""Arrivals: a Poisson process that can be repeated."""

from __future__ import annotations

import math
from itertools import pairwise

from pytest_llmci.load.arrivals import poisson_ns, prompt_order


def test_the_gaps_are_exponential_with_the_mean_of_the_rate() -> None:
    times = poisson_ns(20_000, 50.0, seed=1)
    gaps = [after - before for before, after in pairwise([0, *times])]
    mean = sum(gaps) / len(gaps)
    assert abs(mean / 2e7 - 1) < 0.03
    for share in (0.1, 0.5, 0.9):  # of an exponential distribution: -mean * log(1 - share)
        below = sum(gap <= -mean * math.log1p(-share) for gap in gaps) / len(gaps)
        assert abs(below - share) < 0.01
    windows = [sum(1 for time in times if start <= time < start + 10**9) for start in range(0, 300 * 10**9, 10**9)]
    average = sum(windows) / len(windows)
    assert abs(sum((count - average) ** 2 for count in windows) / len(windows) / average - 1) < 0.25  # variance = mean


def test_a_seed_gives_the_same_pattern_at_every_rate_and_another_seed_another_one() -> None:
    slow, fast = poisson_ns(100, 2.0, seed=7), poisson_ns(100, 200.0, seed=7)
    assert all(abs(one - 100 * other) <= 100 for one, other in zip(slow, fast, strict=True))
    assert poisson_ns(100, 2.0, seed=7) == slow != poisson_ns(100, 2.0, seed=8)


def test_every_prompt_is_asked_before_one_comes_again() -> None:
    order = prompt_order(25, 10, seed=3)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10)) and len(set(order[20:])) == 5
    assert prompt_order(25, 10, seed=3) == order != prompt_order(25, 10, seed=4)
