from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from sides import METRICS, PAIRS, RULES, found, side

from pytest_llmci.engine.comparisons.cell_samples import CellSamples, Sides
from pytest_llmci.engine.comparisons.comparison import compare_model, gated_times
from pytest_llmci.engine.comparisons.explain_comparison import compared_lines, doubt, percent, regression_title, worded
from pytest_llmci.engine.comparisons.rules import Rules
from pytest_llmci.records import ComparisonResult

# ------------------------------------------------------------------------------------------------------ which metrics


def test_cpu_and_net_time_are_gated_together_at_half_of_alpha_each() -> None:
    sides = [Sides(base=side(1), candidate=side(2))]
    assert gated_times(sides, RULES) == ("cpu_time", "net_time")
    # p is the same for both; halving alpha is what keeps each from deciding alone
    slower = found(side(2, 1.08))
    assert [slower[name].verdict for name in ("cpu_time", "net_time")] == ["regressed", "regressed"]


def test_added_sleep_is_seen_though_it_takes_no_cpu() -> None:
    asleep = side(2, values={"net_time": [1.9 * 1.1] * 20})
    assert {name: found(asleep)[name].verdict for name in ("cpu_time", "net_time")} == {
        "cpu_time": "pass", "net_time": "regressed"
    }  # fmt: skip


def test_a_helper_thread_that_burns_cpu_is_seen_though_the_answer_takes_no_longer() -> None:
    busy = side(2, values={"cpu_time": [1.8 * 1.5] * 20})
    assert {name: found(busy)[name].verdict for name in ("cpu_time", "net_time")} == {
        "cpu_time": "regressed", "net_time": "pass"
    }  # fmt: skip


def test_a_model_that_hardly_computes_is_judged_by_net_time_alone() -> None:
    idle = side(1, values={"cpu_time": [0.01] * 20})
    assert gated_times([Sides(base=idle, candidate=idle)], RULES) == ("net_time",)
    threads = replace(idle, values={name: column for name, column in idle.values.items() if name != "net_time"})
    assert gated_times([Sides(base=threads, candidate=threads)], RULES) == ("latency",)


def test_several_threads_have_no_net_time_and_devices_are_judged_by_the_wall_clock() -> None:
    threads = replace(side(1), values={k: v for k, v in side(1).values.items() if k != "net_time"})
    assert gated_times([Sides(base=threads, candidate=threads)], RULES) == ("cpu_time",)
    assert gated_times([Sides(base=side(1), candidate=side(1))], replace(RULES, on_cpu=False)) == ("latency",)


def test_what_is_asked_for_is_gated_beside_it_with_its_own_size() -> None:
    rules = replace(RULES, detect={"latency": 0.10, "": 0.03, "peak_rss": 0.5})
    sides = Sides(base=side(1), candidate=side(2))
    assert gated_times([sides], rules) == ("cpu_time", "net_time", "latency")
    results = found(side(2), rules=rules)
    assert {name: result.detect for name, result in results.items()} == {
        "output_tokens": 0.0, "cpu_time": 0.03, "net_time": 0.03, "latency": 0.10, "peak_rss": 0.5
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------- what keeps from it


@pytest.mark.parametrize(
    ("candidate", "verdict", "reason"),
    [
        (side(2, values={"output_tokens": [40.0] * 20}), "not comparable", "the answers differ in length: 50 -> 40 tokens"),
        (side(2, contended=True), "inconclusive", "other timed work ran at the same time"),
        (side(2, values={"net_time": [0.0] * 20}), "inconclusive", "a round of the candidate was too short to be measured"),
        (CellSamples(values={"net_time": [], "cpu_time": []}), "inconclusive", "the candidate finished no round"),
    ],
)  # fmt: skip
def test_why_a_time_cannot_be_judged(candidate: CellSamples, verdict: str, reason: str) -> None:
    result = found(candidate)["net_time"]
    assert (result.verdict, result.reason) == (verdict, reason)


def test_a_metric_that_one_side_lacks_is_no_pass() -> None:
    base = replace(
        side(1), values={k: v for k, v in side(1).values.items() if k != "latency"}, reasons={"latency": "lost"}
    )
    result = found(side(2), base, replace(RULES, on_cpu=False))["latency"]
    assert (result.verdict, result.reason) == ("inconclusive", "missing on the side of the reference: lost")


# --------------------------------------------------------------------------------------------------------- one family


def test_cells_of_a_model_are_judged_together_and_as_a_whole() -> None:
    cells = {f"cell-{n}": Sides(base=side(n), candidate=side(n + 50, 1.06)) for n in range(5)}
    comparison = compare_model(cells, RULES, METRICS)
    assert [(result.metric, result.verdict) for result in comparison.model] == [
        ("cpu_time", "regressed"), ("net_time", "regressed")
    ]  # fmt: skip
    assert comparison.regressed


def test_what_was_decided_at_an_earlier_look_stands() -> None:
    cells = {name: Sides(base=side(1), candidate=side(2)) for name in ("early", "late")}
    stands = [replace(found(side(2))["net_time"], reason="earlier")]
    comparison = compare_model(cells, RULES, METRICS, look=0, last=False, stands={"early": stands})
    assert comparison.cells["early"] == stands
    assert "early" not in comparison.undecided


# -------------------------------------------------------------------------------------------------------------- words


def result(**changes: Any) -> ComparisonResult:
    facts: dict[str, Any] = {
        "metric": "net_time", "mode": "interleaved", "verdict": "regressed", "against": "main", "base": 1.42, "candidate": 1.53,
        "change": 0.081, "low": 0.064, "high": 0.099, "visible": 0.04, "detect": 0.05,
    }  # fmt: skip
    return ComparisonResult(**{**facts, **changes})


def test_words_of_a_change() -> None:
    assert worded(result(), METRICS["net_time"]) == "net time 8.1 % slower"
    assert worded(result(change=263.0), METRICS["net_time"]) == "net time 264x slower"
    assert worded(result(change=-0.2), METRICS["latency"]) == "latency 20 % faster"
    assert worded(result(), METRICS["cpu_time"]) == "CPU time 8.1 % more"
    assert worded(result(change=-0.1), METRICS["tokens_per_s"]) == "tokens/s 10 % lower"
    assert worded(result(change=0.1), METRICS["peak_rss"]) == "peak RAM 10 % more"
    assert regression_title(result(), METRICS["net_time"]) == "net time 8.1 % slower than main (+6.4 % to +9.9 %)"
    assert percent(0.1234) == "+12.3 %"
    assert (percent(9.994), percent(10.0), percent(248.12)) == ("+999 %", "11x", "249x")


def test_what_an_undecided_result_could_hide() -> None:
    unsure = result(verdict="inconclusive", change=0.049, low=-0.03, high=0.128, visible=0.13)
    assert doubt(unsure) == (
        "net_time against main: could be up to 12.8 % worse; this sees a change of 13 % or more, you asked for 5 %"
    )


def test_changed_cells_come_first_and_the_others_are_a_number() -> None:
    lines = compared_lines(
        [
            ("calm", [result(verdict="pass", change=0.01)]),
            ("unsure", [result(verdict="inconclusive")]),
            ("worse", [result()]),
            ("better", [result(verdict="pass", improved=True, base=1.5, candidate=1.2, change=-0.2)]),
        ],
        [("model", result())],
        METRICS,
    )
    assert [line.split("  ")[0] for line in lines] == [
        "cell",
        "worse",
        "unsure",
        "better",
        "model as a whole",
        "1 more cell: pass (no change for the worse above 5 %)",
    ]
    assert lines[1].split("  ")[0] == "worse" and lines[1].endswith("+6.4 % .. +9.9 %  REGRESSED")


def test_long_names_are_cut_so_that_a_row_fits_the_screen() -> None:
    lines = compared_lines([("falcon-rw-1b-french-greeting-in-the-morning", [result()])], [], METRICS)
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("falcon-") and ".." in lines[1].split()[0]


def test_a_rate_of_nought_is_not_called_too_short() -> None:
    rules = replace(RULES, mode="saved", on_cpu=False, only=("tokens_per_s",))
    rates = [CellSamples(values={"tokens_per_s": [rate] * 3}, pairs=(0, 0, 0)) for rate in (0.0, 5.0)]
    assert (
        found(rates[0], rates[1], rules)["tokens_per_s"].reason
        == "a round of the candidate has no tokens_per_s above nought"
    )


# ------------------------------------------------------------------------------------------------ the frozen model

SAVED = Rules(
    against="main", alpha=0.01, mode="saved", shifts={"cpu": 0.05, "net": 0.05}, anchored_shifts={"cpu": 0.05 / 3, "net": 0.05 / 3},
)  # fmt: skip
FROZEN = "decoder 1, numpy 2.4.6, openblas 0.3.31"


def beside(
    seed: int, factor: float = 1.0, *, machine: float = 1.0, frozen: str = FROZEN, **changes: Any
) -> CellSamples:
    """A side whose machine slows model and frozen model down alike, and whose model is slower by a factor."""
    rng = random.Random(seed + 100)
    own = side(seed, factor * machine)
    times = {
        name: [0.02 * machine * rng.gauss(1, 0.005) for _ in PAIRS] for name in ("anchor_cpu_time", "anchor_net_time")
    }
    return replace(own, values={**own.values, **times, **changes.pop("values", {})}, anchor=frozen, **changes)


def times(candidate: CellSamples, base: CellSamples, rules: Rules = SAVED) -> dict[str, ComparisonResult]:
    results = found(candidate, base, rules)
    return {name: results[name] for name in ("cpu_time", "net_time")}


def test_a_slowdown_that_a_saved_baseline_cannot_tell_is_found_beside_a_frozen_model() -> None:
    as_it_is = times(side(2, 1.2), side(1))
    assert {(each.verdict, each.mode) for each in as_it_is.values()} == {("inconclusive", "saved")}
    divided = times(beside(2, 1.2), beside(1))
    assert {(each.verdict, each.mode) for each in divided.values()} == {("regressed", "anchored")}
    for name, each in divided.items():
        assert each.change == pytest.approx(0.2, abs=0.02)
        assert each.visible is not None and each.visible < 0.6 * (as_it_is[name].visible or 0)
        assert each.reason.startswith("measured +") and "the frozen model beside it" in each.reason


@pytest.mark.parametrize("machine", [0.4, 0.6, 1.5, 2.5])
def test_what_slows_the_frozen_model_down_alike_never_fails(machine: float) -> None:
    """The same session effect makes a comparison of the plain numbers fail, or call it a gain."""
    plain = times(side(2, machine), side(1))
    assert machine < 1.6 or any(each.verdict == "regressed" for each in plain.values())
    for seed in range(2, 12):
        for each in times(beside(seed, machine=machine), beside(1)).values():
            assert each.verdict != "regressed"
            assert not each.improved
            assert each.change == pytest.approx(0, abs=0.01)
            assert each.base is not None and each.candidate is not None
            assert each.candidate / each.base == pytest.approx(
                machine, rel=0.02
            )  # what was measured stays what is told


@pytest.mark.parametrize(
    ("base", "candidate", "why"),
    [
        (beside(1), side(2), "the candidate has none of its times"),
        (side(1), beside(2), "the reference has none of its times"),
        (beside(1), beside(2, frozen="decoder 2, numpy 3, mkl 1"), f"not the same on both sides ({FROZEN} -> decoder 2, numpy 3, mkl 1)"),
        (beside(1), beside(2, values={"anchor_cpu_time": [0.0] * 20, "anchor_net_time": [0.0] * 20}), "a round lacks its time"),
        (beside(1), beside(2, values={"cpu_time": [1.0] * 20}), "waiting, which a frozen model does not"),
    ],
)  # fmt: skip
def test_why_times_are_compared_as_they_are(base: CellSamples, candidate: CellSamples, why: str) -> None:
    for each in times(candidate, base).values():
        assert each.mode == "saved"
        assert each.reason == f"as measured, not beside the frozen model: {why}" or why in each.reason


def test_where_nobody_timed_one_there_is_no_word_of_it() -> None:
    assert {each.reason for each in times(side(2), side(1)).values()} == {""}


def test_a_cell_without_it_keeps_its_whole_model_from_it() -> None:
    """They are one family, judged by one rule."""
    cells = {"a": Sides(base=beside(1), candidate=beside(2)), "b": Sides(base=side(1), candidate=beside(2))}
    comparison = compare_model(cells, SAVED, METRICS)
    assert {each.mode for each in comparison.model} == {"saved"}
    both = compare_model({**cells, "b": cells["a"]}, SAVED, METRICS)
    assert {each.mode for each in both.model} == {"anchored"}


def test_rounds_that_met_in_turn_and_times_of_the_wall_clock_are_never_divided() -> None:
    rules = replace(SAVED, detect={"latency": 0.05})
    results = found(beside(2), beside(1), rules)
    assert (results["latency"].mode, results["latency"].reason) == ("saved", "")
    assert {each.mode for each in times(beside(2), beside(1), RULES).values()} == {"interleaved"}


def test_several_sessions_speak_for_themselves() -> None:
    sides = Sides(base=beside(1), candidate=beside(2), older=(beside(3), beside(4)))
    comparison = compare_model({"cell": sides}, replace(SAVED, mode="history"), METRICS)
    result = next(each for each in comparison.cells["cell"] if each.metric == "cpu_time")
    assert (result.mode, result.reason) == (
        "history", "as measured, not beside the frozen model: what several sessions differ by is known from themselves"
    )  # fmt: skip


def test_the_load_of_the_machine_widens_ratios_by_their_own_share() -> None:
    rules = replace(SAVED, shifts={"cpu": 0.3, "net": 0.3}, anchored_shifts={"cpu": 0.1, "net": 0.1})
    wide, narrow = times(beside(2), beside(1), rules), times(beside(2), beside(1))
    mistaken = times(beside(2), beside(1), replace(rules, anchored_shifts={"cpu": 0.3, "net": 0.3}))
    for name in ("cpu_time", "net_time"):
        assert (narrow[name].visible or 0) < (wide[name].visible or 0) < (mistaken[name].visible or 0)


def test_memory_of_a_process_that_held_it_is_not_compared_with_one_that_did_not() -> None:
    result = found(beside(2), side(1), SAVED)["peak_rss"]
    assert (result.verdict, result.reason) == (
        "not comparable", "the process of the candidate alone held the frozen model (--llmci-anchor)"
    )  # fmt: skip
    assert found(beside(2), beside(1), SAVED)["peak_rss"].verdict == "pass"
