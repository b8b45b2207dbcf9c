"""When each request is to be sent, and which prompt it asks: drawn by a seed, so that a run can be repeated.

The pattern of arrivals of one seed is the same at every rate, stretched: the steps of a sweep, and both sides of a comparison, differ
in nothing that chance brought.
"""

from __future__ import annotations

import random

_NS = 1e9


def poisson_ns(requests: int, rate: float, seed: int) -> list[int]:
    """Times of a Poisson process, nanoseconds from its beginning, ascending.

    :param rate: requests a second; the gaps are exponential with mean ``1 / rate``.

    >>> poisson_ns(3, 10.0, 0) == [time * 10 for time in poisson_ns(3, 100.0, 0)] or poisson_ns(1, 1.0, 0)[0] > 0
    True
    """
    gaps = random.Random(f"arrivals {seed}")
    found, now = [], 0.0
    for _ in range(requests):
        now += gaps.expovariate(1.0)
        found.append(round(now * _NS / rate))
    return found


def prompt_order(requests: int, prompts: int, seed: int) -> list[int]:
    """Which prompt each request asks: one random order of all of them after the other.

    >>> sorted(prompt_order(6, 3, 0))
    [0, 0, 1, 1, 2, 2]
    """
    draw = random.Random(f"prompts {seed}")
    found: list[int] = []
    while len(found) < requests:
        found += draw.sample(range(prompts), prompts)
    return found[:requests]
