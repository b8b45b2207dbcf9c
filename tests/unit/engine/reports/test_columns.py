"""The numbers of a run, packed."""

from __future__ import annotations

import pytest
from sample_run import METRICS, rounds

from pytest_llmci.engine.reports.columns import Block, Columns, MetricTable, samples_of


def test_a_column_comes_back_with_its_gaps() -> None:
    record = rounds(latencies_ms=(100, 110), outputs=["one", "two"], output_of_round=[0, 1])
    values: dict[str, list[float | None]] = {**record.values, "ttft": [None, 10_000_000]}
    block = Block.of(rounds(latencies_ms=(100, 110), values=values), MetricTable(METRICS))
    assert block.column("latency") == [100_000_000, 110_000_000]
    assert block.column("ttft") == [None, 10_000_000]
    assert block.column("never_heard_of") == [None, None]
    assert block.gaps


def test_what_is_equal_is_kept_once() -> None:
    table = MetricTable(METRICS)
    one, two = (Block.of(rounds(uid, prompt=f"ask {len(uid)}"), table) for uid in ("r1", "r2"))
    assert one.prompt is two.prompt
    assert one.layout is two.layout
    assert one.reasons is two.reasons


def test_reasons_of_several_blocks_are_joined() -> None:
    columns = Columns(table := MetricTable(METRICS))
    columns.add(Block.of(rounds("r1", reasons={"ttft": "no stream"}), table))
    columns.add(Block.of(rounds("r2", reasons={"peak_rss": "no /proc", "ttft": "later"}), table))
    assert columns.reasons == {"ttft": "no stream", "peak_rss": "no /proc"}
    assert columns.rounds == 6


@pytest.mark.parametrize("latencies_ms", [(100,), (100, 110)])
def test_all_samples_at_once_are_those_of_each_metric(latencies_ms: tuple[int, ...]) -> None:
    columns = Columns(table := MetricTable(METRICS))
    columns.add(Block.of(rounds("r1", latencies_ms=latencies_ms), table))
    columns.add(Block.of(rounds("r2", latencies_ms=latencies_ms), table))
    samples = columns.samples()
    assert samples == {name: columns.values(name) for name in samples}
    assert samples["latency"] == [latency / 1000 for latency in latencies_ms] * 2


@pytest.mark.parametrize("odd", ["none", "two rounds", "another layout", "a gap", "nothing"])
def test_samples_of_several_cells_follow_each_other(odd: str) -> None:
    table = MetricTable(METRICS)
    parts = []
    for number, latency in enumerate((100, 110, 120)):
        columns = Columns(table)
        record = rounds(
            f"r{number}", latencies_ms=(latency, latency) if odd == "two rounds" and number == 2 else (latency,)
        )
        if odd == "another layout" and number == 1:
            record.values.pop("ttft")
        if odd == "a gap" and number == 1:
            record.values["ttft"] = [None]
        if odd != "nothing" or number != 1:
            columns.add(Block.of(record, table))
        parts.append(columns)
    found = samples_of(parts)
    names = dict.fromkeys(name for part in parts for name in part.samples())
    assert found == {name: [value for part in parts for value in part.values(name)] for name in names}
    assert [*found] == [*names]
    assert found["latency"][0] == 0.1
    assert samples_of([]) == {}
