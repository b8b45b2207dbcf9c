from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pytest_llmci.stats.noise import Noise, PairOfProcesses, split_noise

OWN, COMMON, PROCESS, SESSION = 0.02, 0.03, 0.01, 0.04


def simulated(
    rng: np.random.Generator,
    *,
    sessions: int,
    pairs: int,
    rounds: int,
    stalls: float = 0.0,
    session_sd: float = SESSION,
) -> Iterator[PairOfProcesses]:
    """Two cells, whose rounds are disturbed alike on both sides and each on its own."""
    for session in range(sessions):
        kept = rng.normal(0, session_sd)
        for pair in range(pairs):
            for cell in range(2):
                common = kept + cell + rng.normal(0, COMMON, rounds)
                sides = [
                    np.exp(
                        common + rng.normal(0, PROCESS) + rng.normal(0, OWN, rounds) + 2 * (rng.random(rounds) < stalls)
                    )
                    for _ in range(2)
                ]
                yield PairOfProcesses(
                    cell=str(cell), session=session, pair=pair, base=tuple(sides[0]), candidate=tuple(sides[1])
                )


def parts(noise: Noise) -> tuple[float | None, ...]:
    return tuple(part.sd for part in (noise.round, noise.ratio, noise.process, noise.session))


TRUE = (np.hypot(OWN, COMMON), np.sqrt(2) * OWN, PROCESS, SESSION)


def test_each_part_is_told_as_large_as_it_is() -> None:
    found = split_noise(simulated(np.random.default_rng(1), sessions=60, pairs=4, rounds=5))
    assert parts(found) == pytest.approx(TRUE, rel=0.2)


def test_few_sessions_are_right_on_average_and_their_limits_hold() -> None:
    rng = np.random.default_rng(2)
    found = [split_noise(simulated(rng, sessions=3, pairs=2, rounds=3)) for _ in range(200)]
    squares = np.mean([[(sd or 0.0) ** 2 for sd in parts(one)] for one in found], axis=0)
    assert np.sqrt(squares) == pytest.approx(TRUE, rel=0.15)
    limits = [[one.process.most, one.session.most] for one in found]
    assert (np.array(limits, dtype=float) > [PROCESS, SESSION]).mean(axis=0) == pytest.approx([1, 1], abs=0.06)
    assert (found[0].process.freedom, found[0].session.freedom) == (6, 2)


def test_rounds_and_processes_are_not_taken_for_sessions() -> None:
    rng = np.random.default_rng(5)
    found = [
        split_noise(simulated(rng, sessions=30, pairs=1, rounds=3, session_sd=0.0)).session.sd or 0.0 for _ in range(5)
    ]
    assert float(np.mean(found)) < 0.007, "the means of sessions differ by 0.022"


def test_stalls_do_not_swell_the_rounds_part() -> None:
    rng = np.random.default_rng(3)
    found = split_noise(simulated(rng, sessions=20, pairs=4, rounds=5, stalls=0.03))
    assert found.ratio.sd is not None and found.ratio.sd < 1.8 * TRUE[1]


def test_what_cannot_be_told_says_why() -> None:
    one = PairOfProcesses(cell="a", session=0, pair=0, base=(1.0, 1.1), candidate=(1.0, 1.2))
    found = split_noise([one])
    assert found.session.sd is None and found.session.reason == "it takes at least two sessions"
    assert found.process.sd is not None
    single = PairOfProcesses(cell="a", session=0, pair=0, base=(1.0,), candidate=(1.0,))
    assert split_noise([single]).process.reason == "each process measured a single round"


def test_numbers_that_do_not_vary_have_no_noise() -> None:
    same = [
        PairOfProcesses(cell="a", session=session, pair=0, base=(5.0,) * 3, candidate=(5.0,) * 3) for session in (0, 1)
    ]
    assert parts(split_noise(same)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("base", "candidate", "message"),
    [
        ((1.0,), (1.0, 2.0), "1 and 2 rounds"),
        ((), (), "0 and 0 rounds"),
        ((0.0,), (1.0,), "positive"),
        ((float("nan"),), (1.0,), "positive"),
    ],
)
def test_numbers_that_are_none(base: tuple[float, ...], candidate: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_noise([PairOfProcesses(cell="a", session=0, pair=0, base=base, candidate=candidate)])


def test_nothing_at_all() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        split_noise([])
