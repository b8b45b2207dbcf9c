"""Rules that hold for every comparison, whatever was measured."""

import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmci.stats.compare import Effect, GateSettings, Verdicts, decide

SIZES = st.floats(0.5, 2.0)
ORDER = {"regressed": 0, "inconclusive": 1, "pass": 2}


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[str], list[int]]:
    """Base, candidate, models and pairs of up to 5 cells and 12 rounds."""
    cells, rounds = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    noise = draw(st.sampled_from([0.0, 0.001, 0.03, 0.3]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    changes = np.array(draw(st.lists(SIZES, min_size=cells, max_size=cells)))
    base = np.exp(rng.normal(0, noise, (cells, rounds)))
    candidate = changes[:, None] * np.exp(rng.normal(0, noise, (cells, rounds)))
    models = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=cells, max_size=cells))
    pairs = draw(st.lists(st.integers(0, 3), min_size=rounds, max_size=rounds))
    return base, candidate, models, pairs


def judge(given: tuple[np.ndarray, np.ndarray, list[str], list[int]], settings: GateSettings | None = None) -> Verdicts:
    base, candidate, models, pairs = given
    return decide(base, candidate, settings or GateSettings(), models=models, pairs=pairs)


def every(found: Verdicts) -> list[Effect]:
    return [*found.cells, *found.models, found.total]


@given(comparisons())
def test_swapping_the_sides(given: tuple[np.ndarray, np.ndarray, list[str], list[int]]) -> None:
    """The effect changes its sign, a regression turns into an improvement, and never do both directions fail one cell."""
    base, candidate, models, pairs = given
    one, other = judge(given), judge((candidate, base, models, pairs))
    for left, right in zip(every(one), every(other), strict=True):
        assert math.isclose((1 + left.effect) * (1 + right.effect), 1.0, rel_tol=1e-9)
        assert not (left.verdict == "regressed" and right.verdict == "regressed")
        assert (left.verdict == "regressed") == right.improved
        assert left.improved == (right.verdict == "regressed")


@given(comparisons(), st.integers(-20, 20))
def test_another_unit(given: tuple[np.ndarray, np.ndarray, list[str], list[int]], power: int) -> None:
    """Measuring both sides in another unit decides nothing."""
    base, candidate, models, pairs = given
    one, other = judge(given), judge((base * 2.0**power, candidate * 2.0**power, models, pairs))
    assert one.verdict == other.verdict
    for left, right in zip(every(one), every(other), strict=True):
        assert left.verdict == right.verdict
        assert math.isclose(left.p_value, right.p_value, rel_tol=1e-6, abs_tol=1e-12)


@given(comparisons(), st.randoms(use_true_random=False))
def test_order_of_cells(
    given: tuple[np.ndarray, np.ndarray, list[str], list[int]], random: "np.random.Generator"
) -> None:
    """In which order cells are given decides nothing."""
    base, candidate, models, pairs = given
    order = list(range(len(base)))
    random.shuffle(order)
    one, other = judge(given), judge((base[order], candidate[order], [models[i] for i in order], pairs))
    assert one.verdict == other.verdict
    assert [one.cells[i].verdict for i in order] == [effect.verdict for effect in other.cells]
    assert {effect.name: effect.verdict for effect in one.models} == {
        effect.name: effect.verdict for effect in other.models
    }


@given(
    st.integers(10, 24),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.002, 0.03, 0.2]),
    st.floats(1.1, 1e6),
    st.integers(0, 10**6),
    st.integers(1, 5),
)
def test_one_stall(rounds: int, cells: int, noise: float, stall: float, seed: int, pairs: int) -> None:
    """However long one round is stalled, unchanged cells of ten rounds and more do not fail.

    Noise is symmetric here, round by round, so that nothing else points to a change.
    """
    rng = np.random.default_rng(seed)
    half = rng.normal(0, noise, (cells, rounds // 2))
    middle = np.zeros((cells, rounds % 2))
    differences = rng.permuted(np.concatenate([half, -half, middle], axis=1), axis=1)
    candidate = np.exp(differences)
    candidate[rng.integers(cells), rng.integers(rounds)] *= stall
    numbers = [number * pairs // rounds for number in range(rounds)]
    assert decide(np.ones(candidate.shape), candidate, GateSettings(), pairs=numbers).verdict != "regressed"


@given(comparisons(), st.floats(0.0001, 0.4), st.floats(1.0, 1000.0))
def test_more_alpha_never_takes_a_failure_back(
    given: tuple[np.ndarray, np.ndarray, list[str], list[int]], alpha: float, less: float
) -> None:
    """What fails at a strict level fails at every looser one."""
    loose, strict = judge(given, GateSettings(alpha=alpha)), judge(given, GateSettings(alpha=alpha / less))
    for left, right in zip(every(loose), every(strict), strict=True):
        assert ORDER[left.verdict] <= ORDER[right.verdict]


@given(comparisons(), st.sampled_from(["interleaved", "saved", "anchored", "history"]))
def test_rows_equal_a_rectangle(given: tuple[np.ndarray, np.ndarray, list[str], list[int]], mode: str) -> None:
    """Cells one by one, with pair numbers one by one, are the array of all of them."""
    base, candidate, models, pairs = given
    settings = GateSettings(mode=mode)  # type: ignore[arg-type]  # one of the literals above
    stored = [base, base] if mode == "history" else base
    rows = [[list(row) for row in base]] * 2 if mode == "history" else [list(row) for row in base]
    array = decide(stored, candidate, settings, models=models, pairs=pairs)
    lists = decide(rows, [list(row) for row in candidate], settings, models=models, pairs=[pairs] * len(base))
    assert array == lists


@given(comparisons(), st.floats(0.001, 0.03))
def test_more_tolerance_never_makes_a_failure(
    given: tuple[np.ndarray, np.ndarray, list[str], list[int]], tolerance: float
) -> None:
    """What passes without tolerance passes with it."""
    strict, loose = judge(given), judge(given, GateSettings(tolerance=tolerance))
    for left, right in zip(every(strict), every(loose), strict=True):
        assert not (left.verdict != "regressed" and right.verdict == "regressed")


@given(comparisons())
def test_limits_enclose_the_effect(given: tuple[np.ndarray, np.ndarray, list[str], list[int]]) -> None:
    """The interval holds the effect; a failing one lies above zero, a passing one below what must be found."""
    for effect in every(judge(given)):
        assume(effect.low is not None)
        assert effect.low is not None and effect.high is not None
        assert effect.low <= effect.effect <= effect.high
        assert effect.verdict != "regressed" or effect.low > 0
        assert effect.verdict != "pass" or effect.high < 0.05
