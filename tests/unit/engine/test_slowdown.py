from __future__ import annotations

from pathlib import Path

import pytest
from sample_run import METRICS, rounds, verdict, worker, write_log

from pytest_llmci.engine.comparison import CellSamples
from pytest_llmci.engine.report import build_report
from pytest_llmci.engine.slowdown import Slowdown, of_blocks, rows, slowdown, slowdown_lines
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import Missing

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


def test_a_finished_run_tells_the_same_from_its_log(tmp_path: Path) -> None:
    """Blocks of the reference and of the candidate, of those pairs in which both are whole."""

    def plain(uid: str, latencies: list[float], origin: str, pair: int) -> object:
        return rounds(uid, latencies_ms=latencies, origin=origin, pair=pair)  # ttft is a tenth of the latency

    records = [
        worker(),
        plain("b0", [100, 100], "reference", 0),
        plain("c0", [150, 150], "measured", 0),
        plain("c1", [999], "measured", 1),
        verdict(),
    ]
    tail = MetricDef(name="return_tail", unit="s", direction="lower", definition="Tail.", stored="ns")
    for record in records[1:4]:
        record.values["return_tail"] = [0] * record.n  # type: ignore[attr-defined]
    write_log(tmp_path, records, metrics=[*METRICS, tail])  # type: ignore[arg-type]
    blocks = build_report(tmp_path).blocks
    by_origin = {origin: [block for block in blocks if block.origin == origin] for origin in ("reference", "measured")}
    found = of_blocks(by_origin["reference"], by_origin["measured"], {**METRIC_TABLE, "return_tail": tail})
    assert isinstance(found, Slowdown)
    assert (round(found.before, 6), round(found.now, 6), found.samples) == (0.1, 0.15, (2, 2))
    assert parts(found)["prefill"] == 0.005 and parts(found)["decode rate"] == 0.045
    assert isinstance(of_blocks([], by_origin["measured"], METRIC_TABLE), Missing)
