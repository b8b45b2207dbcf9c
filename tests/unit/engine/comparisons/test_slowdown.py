from __future__ import annotations

import pytest
from sample_run import METRICS, rounds

from pytest_llmci.engine.comparisons.cell_samples import CellSamples
from pytest_llmci.engine.comparisons.slowdown import (
    Slowdown,
    of_measurement,
    of_record,
    recorded,
    rows,
    slowdown,
    slowdown_lines,
)
from pytest_llmci.engine.schedule import CellMeasurement, CellPlan, StoredSide
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import (
    Cell,
    Comparability,
    ComparisonResult,
    GenerationSettings,
    Missing,
    Mode,
    ModelSpec,
    Prompt,
    RoundsRecord,
    SlowdownResult,
    from_json,
    to_json,
)

METRIC_TABLE = {metric.name: metric for metric in METRICS}


def side(ttft: float, gap: float, tokens: int, *, tail: float = 0.0, wait: float = 0.0, n: int = 3) -> CellSamples:
    """Every phase as long as it is without waits; these are spread over all of them evenly."""
    net = ttft + gap * (tokens - 1) + tail
    stretch = 1 + wait / net
    return CellSamples(
        values={
            "latency": [(net - tail) * stretch] * n,
            "ttft": [ttft * stretch] * n,
            "return_tail": [tail * stretch] * n,
            "output_tokens": [float(tokens)] * n,
            "net_time": [net] * n,
        }
    )


def parts(found: Slowdown | Missing) -> dict[str, object]:
    assert isinstance(found, Slowdown)
    return {
        part.name: part.change.reason if isinstance(part.change, Missing) else round(part.change, 9)
        for part in found.parts
    }


BASE = side(0.1, 0.01, 51)
NOTHING = {"prefill": 0.0, "decode rate": 0.0, "output length": 0.0, "harness": 0.0, "noise": 0.0}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (side(0.15, 0.01, 51), {"prefill": 0.05}),
        (side(0.1, 0.012, 51), {"decode rate": 0.1}),
        (side(0.1, 0.01, 61), {"output length": 0.1}),
        (side(0.1, 0.01, 51, tail=0.03), {"harness": 0.03}),
        (side(0.1, 0.01, 51, wait=0.2), {"noise": 0.2}),
        (side(0.1, 0.02, 101), {"decode rate": 0.75, "output length": 0.75}),
        (side(0.05, 0.01, 51), {"prefill": -0.05}),
    ],
)
def test_a_planted_change_is_found_in_its_part_alone(now: CellSamples, expected: dict[str, float]) -> None:
    assert parts(slowdown(BASE, now)) == {**NOTHING, **expected}


def without(samples: CellSamples, *metrics: str) -> CellSamples:
    return CellSamples(
        values={name: column for name, column in samples.values.items() if name not in metrics},
        reasons=dict.fromkeys(metrics, "nobody told"),
    )


def test_without_counted_tokens_rate_and_length_are_told_together() -> None:
    found = slowdown(BASE, without(side(0.1, 0.012, 51), "output_tokens"))
    assert isinstance(found, Slowdown) and found.untold == pytest.approx(0.1)
    why = "output_tokens of the candidate: nobody told"
    assert parts(found) == {**NOTHING, "decode rate": why, "output length": why}
    assert rows(found)[-2] == ("not told apart", "+100.0 ms", "+16.7 %", "the missing parts together")


def test_without_token_times_all_but_the_waits_is_told_together() -> None:
    blind = without(BASE, "ttft", "return_tail")
    found = slowdown(blind, side(0.2, 0.01, 51, wait=0.3))
    assert isinstance(found, Slowdown) and found.untold == pytest.approx(0.1)
    assert parts(found)["noise"] == 0.3 and parts(found)["prefill"] == "ttft of the reference: nobody told"


def test_without_net_time_the_waits_stay_in_their_phases() -> None:
    found = slowdown(BASE, without(side(0.1, 0.01, 51, wait=0.6), "net_time"))
    assert parts(found)["noise"] == "net_time of the candidate: nobody told"
    assert parts(found)["prefill"] == pytest.approx(0.1) and parts(found)["decode rate"] == pytest.approx(0.5)


def test_without_a_latency_there_is_nothing_to_split() -> None:
    assert slowdown(BASE, CellSamples(values={}, reasons={"latency": "the clock went back"})) == Missing(
        "the candidate has no latency: the clock went back"
    )


def test_lines_fit_the_screen_and_tell_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    lines = slowdown_lines(slowdown(BASE, side(0.15, 0.012, 51)), 80)
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert text.startswith("where prefill +50.0 ms +8.3 % until the first token decode rate +100.0 ms +16.7 %")
    assert "whole +150.0 ms +25.0 % mean time of a call, 600 ms before, 750 ms now" in text
    assert "not known: no reason at all" in slowdown_lines(Missing("no reason at all"), 80)[0]


def measured(*results: ComparisonResult, **facts: object) -> CellMeasurement:
    """A cell whose blocks take 150 ms, the first token a tenth of it, with a second pair that has no reference."""
    cell = Cell(id="a-tcp", model=ModelSpec(alias="a", backend="echo"), prompt=Prompt(id="tcp", text="What is TCP?"))
    plan = CellPlan(rounds=2, max_rounds=2, warmup=0, block=2, generation=GenerationSettings())
    blocks = [timed("c0", [150, 150], pair=0), timed("c1", [999], pair=1)]
    return CellMeasurement(cell=cell, plan=plan, blocks=blocks, comparisons=[*results], **facts)  # type: ignore[arg-type]


def timed(uid: str, latencies: list[float], *, pair: int, origin: str = "measured") -> RoundsRecord:
    block = rounds(uid, latencies_ms=latencies, pair=pair, origin=origin)  # ttft is a tenth of the latency
    block.values["return_tail"] = [0] * block.n
    return block


def worse(against: str, mode: Mode = "interleaved", verdict_: Comparability = "regressed") -> ComparisonResult:
    return ComparisonResult(
        metric="latency", mode=mode, verdict=verdict_, against=against, base=0.1, candidate=0.15, change=0.5
    )


WITH_TAIL = {**METRIC_TABLE, "return_tail": MetricDef(name="return_tail", unit="s", direction="lower", definition="Tail.", stored="ns")}  # fmt: skip
STORED = StoredSide(against="main", samples=side(0.1, 0.01, 51))


def test_a_cell_is_split_against_what_was_measured_beside_it() -> None:
    """Of those pairs alone in which both sides are whole."""
    beside = [timed("b0", [100, 100], origin="reference", pair=0)]
    found = of_measurement(measured(worse("bf16"), against="bf16", reference_blocks=beside), WITH_TAIL)
    assert found is not None and found.against == "bf16"
    assert (found.samples_before, found.samples_now) == (2, 2) and found.before == pytest.approx(0.1)
    split = parts(of_record(found))
    assert split["prefill"] == 0.005 and split["decode rate"] == 0.045


def test_a_cell_that_is_slower_than_a_stored_run_is_split_against_that_one() -> None:
    """Also where it was measured beside another reference, than which it is not slower."""
    beside = [timed("b0", [150, 150], origin="reference", pair=0)]
    results = (worse("bf16", verdict_="pass"), worse("main", "saved"))
    found = of_measurement(measured(*results, against="bf16", reference_blocks=beside, stored_base=STORED), WITH_TAIL)
    assert found is not None and found.against == "main"
    assert (found.samples_before, found.samples_now) == (3, 3)
    both = (worse("bf16"), worse("main", "saved"))
    first = of_measurement(measured(*both, against="bf16", reference_blocks=beside, stored_base=STORED), WITH_TAIL)
    assert first is not None and first.against == "bf16"


def test_what_did_not_become_slower_is_not_split_and_what_has_no_reference_says_so() -> None:
    assert of_measurement(measured(worse("main", "saved", "pass")), WITH_TAIL) is None
    found = of_measurement(measured(worse("main", "saved"), against="main"), WITH_TAIL)
    assert found is not None and found.before is None and found.reason.endswith("holds no samples of this cell")


@pytest.mark.parametrize(
    "now", [side(0.2, 0.01, 51, wait=0.3), without(side(0.1, 0.02, 51), "output_tokens"), CellSamples(values={})]
)
def test_a_log_keeps_all_that_people_are_told(now: CellSamples) -> None:
    found = slowdown(BASE, now)
    kept = of_record(from_json(SlowdownResult, to_json(recorded(found, "main"))))
    assert slowdown_lines(kept, 80) == slowdown_lines(found, 80)
