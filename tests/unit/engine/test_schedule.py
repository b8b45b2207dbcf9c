from __future__ import annotations

from typing import Any

import pytest
from sample_run import CRASH, rounds

from pytest_llmci.engine.schedule import CellMeasurement, CellPlan, Schedule, check_input
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import Cell, ErrorInfo, GenerationSettings, Missing, ModelSpec, Prompt, RoundsRecord
from pytest_llmci.stats.budget_expression import parse_budget

LATENCY = MetricDef(name="latency", unit="s", direction="lower", definition="", stored="ns")
LOAD = MetricDef(name="load_time", unit="s", direction="lower", definition="", stored="ns", scope="worker")

GROWTH = MetricDef(name="peak_rss_delta", unit="B", direction="lower", definition="", scope="memory")


def cell(prompt: str = "tcp", model: str = "a") -> Cell:
    return Cell(
        id=f"{model}-{prompt}", model=ModelSpec(alias=model, backend="echo"), prompt=Prompt(id=prompt, text="x")
    )


def plan(**changes: Any) -> CellPlan:
    facts: dict[str, Any] = {
        "rounds": 5, "max_rounds": 20, "warmup": 1, "block": 5, "generation": GenerationSettings()
    }  # fmt: skip
    return CellPlan(**{**facts, **changes})


def measured(*blocks: RoundsRecord, **changes: Any) -> CellMeasurement:
    return CellMeasurement(cell=cell(), plan=plan(), blocks=list(blocks), **changes)


# ---------------------------------------------------------------------------------------------------- what was measured


def test_a_check_gets_the_numbers_of_the_round_that_gave_the_output() -> None:
    block = rounds(values={"latency": [100_000_000, 300_000_000]}, latencies_ms=(100, 300))
    values = check_input(cell(), block, 1, [LATENCY, LOAD]).values
    assert values == {"latency": 0.3}  # that of a start is of no round
    assert "load_time" not in values
    assert len(values) == 1
    gone = check_input(cell(), rounds(values={}, latencies_ms=(1,)), 0, iter([LATENCY])).values
    assert [dict(gone), dict(gone)] == [{"latency": Missing("latency was not measured")}] * 2  # asked twice


def test_values_run_over_all_whole_blocks_in_order_and_in_si_units() -> None:
    measurement = measured(
        rounds("r1", latencies_ms=(100, 120)), rounds("r2", latencies_ms=(90,)), rounds("r3", latencies_ms=(1,), error=CRASH)
    )  # fmt: skip
    assert measurement.values(LATENCY) == [0.1, 0.12, 0.09]
    assert measurement.rounds == 3
    assert len(measurement.whole_blocks) == 2


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (rounds(values={"latency": [1, None, 2]}, reasons={"latency": "it was lost"}), "it was lost"),
        (rounds(values={}), "latency was not measured"),
    ],
)
def test_one_missing_round_makes_the_metric_missing(block: RoundsRecord, reason: str) -> None:
    assert measured(rounds(), block).values(LATENCY) == Missing(reason)


def test_without_any_round_the_reason_is_the_failure() -> None:
    assert measured().values(LATENCY) == Missing("no round was measured")
    assert measured(error=CRASH).values(LATENCY) == Missing(f"no round was measured: {CRASH.message}")


def test_a_metric_of_the_process_has_one_value() -> None:
    measurement = measured(rounds(), worker_values={"load_time": 1_500_000_000})
    assert measurement.values(LOAD) == [1.5]
    assert measured(worker_reasons={"load_time": "inline"}).values(LOAD) == Missing("inline")
    assert measured().values(LOAD) == Missing("load_time was not measured")


def test_a_zero_is_a_value() -> None:
    assert measured(rounds(values={"latency": [0, 0, 0]})).values(LATENCY) == [0, 0, 0]


def test_noisy_rounds_are_counted_in_whole_blocks() -> None:
    noisy = rounds("r1", noisy=["steal", "", "steal"])
    assert measured(noisy, rounds("r2", noisy=["steal", "", ""], error=CRASH)).noisy_rounds == 2


def test_each_distinct_output_is_checked_once_with_its_own_finish_reason() -> None:
    one = rounds("r1", outputs=["A", "B"], output_of_round=[0, 1, 0], finish_reasons=["stop", "length", "stop"])
    two = rounds("r2", outputs=["B", "C"], output_of_round=[0, 1, 1], finish_reasons=["stop", "stop", "stop"])
    found = [(output.text, output.finish_reason) for output in measured(one, two).outputs()]
    assert found == [("A", "stop"), ("B", "length"), ("C", "stop")]


@pytest.mark.parametrize(
    ("most", "block", "looks"), [(5, 5, 1), (6, 5, 2), (10, 5, 2), (11, 5, 3), (20, 5, 4), (7, 1, 3)]
)
def test_looks_at_the_growing_sample(most: int, block: int, looks: int) -> None:
    assert plan(max_rounds=most, block=block).looks == looks


# ------------------------------------------------------------------------------------------------------- the schedule


class Meter:
    """Measures at once, and notes how many rounds were asked for."""

    def __init__(self, undecided_until: int = 0, out_after: int | None = None, fails: ErrorInfo | None = None) -> None:
        self.asked: list[int] = []
        self.looks: list[int] = []
        self._undecided_until = undecided_until
        self._out_after = out_after
        self._fails = fails
        self.memory_passes = 0
        self.schedule = Schedule(self.measure, self.measure_memory, self.undecided, self.out_of_time)

    def measure(self, measurement: CellMeasurement, count: int) -> None:
        self.asked.append(count)
        measurement.error = self._fails
        measurement.blocks.append(rounds(latencies_ms=(1,) * count, error=self._fails))

    def measure_memory(self, measurement: CellMeasurement) -> None:
        self.memory_passes += 1
        measurement.memory_blocks.append(
            rounds(origin="memory", values={"peak_rss_delta": [7.0] * measurement.plan.memory_rounds})
        )

    def undecided(self, measurement: CellMeasurement) -> bool:
        self.looks.append(measurement.look)
        return measurement.rounds < self._undecided_until

    def out_of_time(self) -> bool:
        return self._out_after is not None and len(self.asked) >= self._out_after


def test_a_decided_cell_gets_the_planned_rounds() -> None:
    meter = Meter()
    assert meter.schedule.measure(cell(), plan()).rounds == 5
    assert meter.asked == [5]


def test_an_undecided_cell_gets_more_until_it_is_decided() -> None:
    meter = Meter(undecided_until=8)
    measurement = meter.schedule.measure(cell(), plan(block=2))
    assert meter.asked == [5, 2, 2]
    assert meter.looks == [1, 2, 3]
    assert (measurement.rounds, measurement.out_of_time) == (9, False)


def test_never_more_than_the_most() -> None:
    meter = Meter(undecided_until=1000)
    measurement = meter.schedule.measure(cell(), plan(max_rounds=12))
    assert meter.asked == [5, 5, 2]
    assert measurement.look == measurement.plan.looks == 3


@pytest.mark.parametrize(("after", "asked", "measured_rounds"), [(0, [], 0), (1, [5], 5), (2, [5, 5], 10)])
def test_time_that_is_over_ends_it_between_blocks(after: int, asked: list[int], measured_rounds: int) -> None:
    meter = Meter(undecided_until=1000, out_after=after)
    measurement = meter.schedule.measure(cell(), plan())
    assert (meter.asked, measurement.rounds, measurement.out_of_time) == (asked, measured_rounds, True)


def test_a_decided_cell_is_not_out_of_time() -> None:
    meter = Meter(out_after=1)
    assert not meter.schedule.measure(cell(), plan()).out_of_time


def test_after_a_failure_there_are_no_more_rounds() -> None:
    meter = Meter(undecided_until=1000, fails=CRASH)
    measurement = meter.schedule.measure(cell(), plan())
    assert (meter.asked, measurement.rounds, measurement.error) == ([5], 0, CRASH)


def test_a_group_counts_what_is_left() -> None:
    schedule = Meter().schedule
    asked = {"t1": cell("tcp"), "t2": cell("dns"), "t3": cell("tcp", "b"), "t4": cell("tcp")}
    schedule.select({test: (each, plan()) for test, each in asked.items()})
    assert (list(schedule.group("a")), schedule.selected) == (["t1", "t2", "t4"], 4)
    assert (schedule.left_in_group("a"), schedule.left_in_group("b"), schedule.left_in_group("c")) == (2, 1, 0)
    schedule.measure(cell("tcp"), plan())
    schedule.measure(cell("tcp"), plan())
    assert (schedule.left_in_group("a"), schedule.left_in_group("b")) == (1, 1)


# ------------------------------------------------------------------------------------------------------ the memory pass


def test_the_memory_pass_comes_once_after_the_last_round() -> None:
    meter = Meter(undecided_until=8)
    measurement = meter.schedule.measure(cell(), plan(block=2, memory_rounds=3))
    assert (meter.memory_passes, meter.asked) == (1, [5, 2, 2])
    assert measurement.rounds == 9
    assert measurement.values(GROWTH) == [7.0, 7.0, 7.0]
    assert (plan(memory_rounds=3).answers, plan().answers) == (10, 6)


@pytest.mark.parametrize(
    ("meter", "rounds_of_the_pass"),
    [(Meter(), 0), (Meter(fails=CRASH), 3), (Meter(out_after=1), 3), (Meter(out_after=0), 3)],
    ids=["not asked for", "model failed", "out of time after the rounds", "out of time before them"],
)
def test_no_memory_pass_without_reason_or_time(meter: Meter, rounds_of_the_pass: int) -> None:
    measurement = meter.schedule.measure(cell(), plan(memory_rounds=rounds_of_the_pass))
    assert meter.memory_passes == 0
    assert measurement.out_of_time == (meter._out_after is not None)


def test_peaks_of_different_methods_are_not_put_together() -> None:
    peak = MetricDef(name="peak_rss", unit="B", direction="lower", definition="")
    blocks = [rounds(values={"peak_rss": [1, 2, 3]}, memory_method=name) for name in ("hwm", "hwm+sampler", "")]
    assert measured(blocks[0], blocks[2]).values(peak) == [1, 2, 3, 1, 2, 3]
    mixed = measured(*blocks).values(peak)
    assert isinstance(mixed, Missing)
    assert mixed.reason == "its rounds were measured by different methods (hwm, sampler), which cannot be compared"


def test_growth_is_of_the_memory_pass_alone() -> None:
    timed = rounds(values={"latency": [1, 2, 3]}, reasons={"peak_rss_delta": "elsewhere"})
    passed = rounds("m1", origin="memory", values={"peak_rss_delta": [5.0, 6.0, 5.0]})
    lost = rounds("m2", origin="memory", values={"peak_rss_delta": [1.0, 1.0, 1.0]}, error=CRASH)
    assert measured(timed).values(GROWTH) == Missing("elsewhere")
    assert measured(timed, memory_blocks=[passed, lost]).values(GROWTH) == [5.0, 6.0, 5.0]
    assert measured(timed, memory_blocks=[lost]).values(GROWTH) == Missing("elsewhere")
    assert measured(timed, memory_error=CRASH).values(GROWTH) == Missing(CRASH.message)
    planned = CellMeasurement(cell=cell(), plan=plan(memory_rounds=3), blocks=[timed])
    assert planned.values(GROWTH) == Missing("the memory pass was not reached")
    assert measured(timed, memory_blocks=[passed]).rounds == 3


# ------------------------------------------------------------------------------------ rounds that waited for a CPU


class BusyMeter(Meter):
    """Of the first block the given rounds wait for a CPU."""

    def __init__(self, waited: int) -> None:
        super().__init__()
        self._waited = waited

    def measure(self, measurement: CellMeasurement, count: int) -> None:
        first = not measurement.blocks
        super().measure(measurement, count)
        waits = [1e9 if first and number < self._waited else 0.0 for number in range(count)]
        values = {"latency": [2e9] * count, "run_delay": waits}
        measurement.blocks[-1] = rounds(latencies_ms=(1,) * count, values=values)


@pytest.mark.parametrize(
    ("waited", "most", "text", "asked"),
    [
        (2, 20, "latency <= 5s", [5, 2]),
        (5, 8, "latency <= 5s", [5, 3]),
        (0, 20, "latency <= 5s", [5]),
        (2, 20, "cpu_time <= 5s", [5]),
        (2, 20, "latency.max <= 5s", [5]),
    ],
)
def test_rounds_that_waited_too_long_are_measured_again(waited: int, most: int, text: str, asked: list[int]) -> None:
    meter = BusyMeter(waited)
    known = {metric.name: metric for metric in builtin_metrics()}
    measurement = meter.schedule.measure(cell(), plan(max_rounds=most, budgets=(parse_budget(text, "x", known),)))
    assert meter.asked == asked
    assert measurement.rounds == sum(asked), "those that waited stay"
