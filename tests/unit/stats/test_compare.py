import re
from dataclasses import replace

import numpy as np
import pytest

from pytest_llmci.stats.compare import GateSettings, Verdicts, decide

ROUNDS, CELLS = 20, 4
PAIRS = np.arange(ROUNDS) // 5
MODELS = ["small", "small", "large", "large"]
NAMES = ["small-plan", "small-hello", "large-plan", "large-hello"]


def times(sd: float = 0.03, *, cells: int = CELLS, rounds: int = ROUNDS, seed: int = 1) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, sd, (cells, rounds)))


BASE = times(seed=2)


def judge(candidate: np.ndarray, settings: GateSettings | None = None) -> Verdicts:
    return decide(BASE, candidate, settings or GateSettings(), models=MODELS, pairs=PAIRS, names=NAMES)


def test_nothing_changed() -> None:
    found = judge(times())
    assert found.verdict == "pass"
    assert {effect.verdict for effect in (*found.cells, *found.models, found.total)} == {"pass"}
    assert not any(effect.undecided or effect.improved or effect.note for effect in found.cells)


def test_everything_is_slower() -> None:
    found = judge(times() * 1.1)
    assert found.verdict == "regressed"
    assert [effect.name for effect in found.cells] == NAMES
    assert [effect.name for effect in found.models] == ["small", "large"]
    assert found.total.effect == pytest.approx(0.10, abs=0.02)
    assert found.total.p_value < 0.001
    assert found.cells[0].low is not None and found.cells[0].high is not None
    assert found.cells[0].low < found.cells[0].effect < found.cells[0].high


def test_one_cell_is_slower() -> None:
    candidate = times()
    candidate[2] *= 1.15
    found = judge(candidate)
    assert found.verdict == "regressed"
    assert [effect.verdict for effect in found.cells] == ["pass", "pass", "regressed", "pass"]


def test_a_model_is_slower_by_less_than_a_cell_can_show() -> None:
    candidate = np.concatenate([times(cells=10, rounds=10, seed=3) * 1.05, times(cells=10, rounds=10, seed=4)])
    models, pairs = ["new"] * 10 + ["old"] * 10, np.arange(10) // 2
    found = decide(times(cells=20, rounds=10, seed=5), candidate, GateSettings(), models=models, pairs=pairs)
    assert found.verdict == "regressed"
    assert [effect.verdict for effect in found.models] == ["regressed", "pass"]
    assert found.models[0].p_value < 0.01 * min(effect.p_value for effect in found.cells)


def test_improvements_never_fail_and_are_told() -> None:
    found = judge(times() * 0.85)
    assert found.verdict == "pass"
    assert all(effect.improved for effect in found.cells)
    assert found.total.improved and found.total.p_value > 0.9


def test_an_improvement_is_proven_before_it_is_told() -> None:
    assert not any(effect.improved for effect in judge(times(0.2) * 0.97).cells)


def test_noise_is_inconclusive_and_says_what_it_could_have_seen() -> None:
    found = judge(times(0.3))
    assert found.verdict == "inconclusive"
    assert found.cells[0].visible is not None and found.cells[0].visible > 0.2
    quiet = judge(times(0.005)).cells[0].visible
    assert quiet is not None and quiet < found.cells[0].visible


def test_less_than_half_of_detect_never_fails_however_certain() -> None:
    base = times(1e-6)
    slower = {size: decide(base, base * (1 + size), GateSettings(), pairs=np.arange(20)) for size in (0.024, 0.03)}
    assert [slower[size].cells[0].p_value < 0.01 for size in (0.024, 0.03)] == [True, True]
    assert [slower[size].verdict for size in (0.024, 0.03)] == ["pass", "regressed"]


def test_changes_within_the_tolerance_are_none() -> None:
    candidate = times(0.005) * 1.06
    tolerant = GateSettings(detect=0.10, tolerance=0.08)
    assert judge(candidate).verdict == "regressed"
    assert judge(candidate, tolerant).verdict == "pass"


def test_clocks_that_tie() -> None:
    ones = np.ones((3, 10))
    assert decide(ones, ones, GateSettings()).cells[0].effect == 0.0
    assert decide(ones, ones, GateSettings(), pairs=np.arange(10)).verdict == "pass"
    assert decide(ones, 1.3 * ones, GateSettings(), pairs=np.arange(10)).verdict == "regressed"


@pytest.mark.parametrize("mode", ["interleaved", "saved"])
@pytest.mark.parametrize("rounds", [1, 2])
def test_fewer_than_three_rounds_decide_nothing(mode: str, rounds: int) -> None:
    settings = GateSettings(mode="interleaved" if mode == "interleaved" else "saved")
    found = decide(np.ones((2, rounds)), 9 * np.ones((2, rounds)), settings)
    assert found.verdict == "inconclusive"
    cell = found.cells[0]
    assert (cell.low, cell.high, cell.visible, cell.p_value, cell.improved) == (None, None, None, 1.0, False)
    assert cell.effect == pytest.approx(8.0)
    assert cell.note == f"{rounds} round{'s' if rounds > 1 else ''}: fewer than 3 decide nothing"
    assert found.total.note == cell.note


def test_a_cell_with_one_round_leaves_the_others_alone() -> None:
    base, candidate = [list(row) for row in BASE], [list(row) for row in times() * 1.1]
    base[0], candidate[0] = base[0][:1], candidate[0][:1]
    pairs = [[0], *[PAIRS.tolist()] * 3]
    found = decide(base, candidate, GateSettings(), models=MODELS, pairs=pairs)
    assert found.cells[0].verdict == "inconclusive"
    assert found.verdict == "regressed"
    assert found.models[0].rounds == 1  # the fewest of its cells


def test_rates_fall() -> None:
    rates = GateSettings(higher_is_better=True)
    found = judge(times() / 1.1, rates)
    assert found.verdict == "regressed"
    assert found.total.effect == pytest.approx(1 / 1.1 - 1, abs=0.02)
    assert judge(times() * 1.1, rates).verdict == "pass"
    assert judge(times() * 1.2, rates).total.improved
    drop, rise = judge(times(), rates).total.visible, judge(times()).total.visible
    assert drop is not None and rise is not None
    assert 0 < drop < 1 and (1 - drop) * (1 + rise) == pytest.approx(1.0, abs=0.003)


def test_an_early_look_needs_more_and_certifies_less() -> None:
    candidate = times(0.06, seed=11)
    last, early = judge(candidate), judge(candidate, GateSettings(look=0, looks=4, last=False))
    for now, then in zip(last.cells, early.cells, strict=True):
        assert now.low is not None and then.low is not None and then.low < now.low
        assert now.visible is not None and then.visible is not None and then.visible > now.visible
    assert any(effect.undecided for effect in early.cells)
    assert [effect.undecided for effect in early.cells] == [effect.verdict == "inconclusive" for effect in early.cells]


def test_what_certifies_a_pass_is_the_upper_limit() -> None:
    for look, last in ((0, False), (3, True)):
        for effect in judge(times(0.06), GateSettings(look=look, looks=4, last=last)).cells:
            assert effect.high is not None
            assert (effect.verdict == "pass") == (effect.high < 0.05)


def test_a_smaller_alpha_asks_for_more_proof() -> None:
    candidate = times(0.06, seed=21)
    candidate[1] *= 1.075
    p = judge(candidate).cells[1].p_value
    assert 1e-4 < p < 0.01
    assert judge(candidate).cells[1].verdict == "regressed"
    assert judge(candidate, GateSettings(alpha=p / 2)).cells[1].verdict != "regressed"


def test_one_pair_of_processes_proves_less_than_four() -> None:
    candidate = times(seed=13) * 1.06
    one = decide(BASE, candidate, GateSettings(), models=MODELS)
    four = judge(candidate)
    assert one.total.pairs == 1 and four.total.pairs == 4
    assert one.total.p_value > 10 * four.total.p_value


def test_stored_numbers_see_only_gross_changes() -> None:
    saved = GateSettings(mode="saved")
    assert judge(times() * 1.1, saved).verdict == "inconclusive"
    assert judge(times() * 1.5, saved).verdict == "regressed"
    assert judge(times() * 1.5, replace(saved, metric="wall")).verdict == "inconclusive"
    assert judge(times() * 1.5, replace(saved, environment_shift=0.3)).verdict == "inconclusive"
    assert judge(times() * 1.18, saved).verdict == "inconclusive"
    assert judge(times() * 1.18, replace(saved, mode="anchored")).verdict == "regressed"


def test_a_stored_side_with_too_few_rounds_is_named() -> None:
    (cell,) = decide(np.ones((1, 2)), np.ones((1, 20)), GateSettings(mode="saved")).cells
    assert (cell.verdict, cell.rounds) == ("inconclusive", 2)
    assert cell.note == "2 rounds: fewer than 3 decide nothing"


def test_history_of_calm_sessions_sees_more_than_one() -> None:
    sessions = [times(seed=seed) for seed in range(30, 42)]
    candidate = times(seed=50) * 1.18
    assert decide(sessions, candidate, GateSettings(mode="history"), models=MODELS).verdict == "regressed"
    alone = decide(sessions[:1], candidate, GateSettings(mode="history"), models=MODELS)
    assert alone.verdict == "inconclusive"
    assert alone.cells == decide(sessions[0], candidate, GateSettings(mode="saved"), models=MODELS).cells


def test_more_rounds_cannot_settle_what_the_session_hides() -> None:
    early = GateSettings(look=0, looks=4, last=False)
    assert all(effect.undecided for effect in judge(times(0.5), early).cells)
    stored = replace(early, mode="saved")
    found = judge(times(), stored)
    assert found.verdict == "inconclusive" and not any(effect.undecided for effect in found.cells)
    # an estimate far off may still turn out to be one
    far = [effect for effect in judge(times(1.5) * 2, stored).cells if effect.effect > 0.5]
    assert far and all(effect.undecided == (effect.verdict == "inconclusive") for effect in far)
    assert any(effect.undecided for effect in far)
    too_few = decide(np.ones((1, 2)), np.ones((1, 2)), stored)
    assert too_few.cells[0].undecided


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"detect": 0.0}, "detect=0: give a share between 0 and 1"),
        ({"detect": 5.0}, "detect=5: give a share between 0 and 1, such as 0.05 for 5 %"),
        ({"tolerance": 0.05}, "tolerance=0.05: give a share from 0 to under detect (0.05)"),
        ({"tolerance": -0.1}, "tolerance=-0.1"),
        ({"alpha": 0.0}, "alpha=0"),
        ({"look": 1}, "look=1 of looks=1: looks count from 0"),
        ({"environment_shift": -1.0}, "environment_shift=-1"),
        ({"environment_shift": float("inf")}, "environment_shift=inf"),
    ],
)
def test_impossible_settings(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        GateSettings(**given)  # type: ignore[arg-type]  # a table of single fields


def test_names_and_models_are_one_a_cell() -> None:
    with pytest.raises(ValueError, match="models has 1 entries for 4 cells"):
        decide(BASE, BASE, GateSettings(), models=["a"])
    with pytest.raises(ValueError, match="names has 1 entries for 4 cells"):
        decide(BASE, BASE, GateSettings(), names=["a"])


def test_no_stored_session() -> None:
    with pytest.raises(ValueError, match="history has no stored session"):
        decide([], BASE, GateSettings(mode="history"))


def test_rounds_that_are_sessions_of_their_own_carry_all_the_noise_there_is() -> None:
    base, candidate = times(0.005, cells=1, rounds=5, seed=3), 1.1 * times(0.005, cells=1, rounds=5, seed=4)
    of_one_session = GateSettings(mode="saved", metric="wall")
    assert decide(base, candidate, of_one_session).verdict == "inconclusive"
    assert decide(base, candidate, replace(of_one_session, session=0.0)).verdict == "regressed"
    assert decide(base, candidate / 1.1, replace(of_one_session, session=0.0)).verdict == "pass"


def test_a_session_that_is_no_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="session=-1: give a finite logarithm"):
        GateSettings(session=-1.0)
