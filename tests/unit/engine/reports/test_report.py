from __future__ import annotations

from pathlib import Path

import pytest
from sample_run import header, rounds, usual_records, worker, write_log

from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import UnknownNameError
from pytest_llmci.records import LogRecord, Missing
from pytest_llmci.store.encoding import spelled
from pytest_llmci.store.verify import verify_log


def report_of(folder: Path, records: list[LogRecord], *, footer: bool = True) -> SessionReport:
    write_log(folder, records, footer=footer)
    return build_report(folder)


def test_a_run_in_numbers(tmp_path: Path) -> None:
    report = report_of(tmp_path, usual_records())
    assert report.header == header()
    assert [model.alias for model in report.models] == ["a", "b"]
    model = report.model("a")
    assert (model.spec, model.starts, model.deaths) == ("a=echo", 1, 0)
    assert model.info == {"revision": "main"}
    assert (len(model.cells), model.valid_cells, model.checked_cells) == (2, 2, 2)
    assert (model.failed_cells, model.inconclusive_cells) == (0, 1)
    assert (model.rounds, model.noisy_rounds) == (6, 1)
    assert (model.load_time, model.footprint) == (1.5, 1000)
    latency = model.summary("latency")
    assert (latency.n, latency.min, latency.median, latency.max) == (6, 0.1, 0.155, 0.21)
    assert report.count("rounds") == 6
    assert report.count("failed") == 1
    assert report.footer is not None
    assert report.digest == verify_log(tmp_path / "log.jsonl").digest


def test_values_are_si_and_in_the_order_of_measuring(tmp_path: Path) -> None:
    cell = report_of(tmp_path, [rounds(latencies_ms=(120, 100, 110))]).cells[0]
    assert cell.values("latency") == [0.12, 0.1, 0.11]
    assert cell.values("peak_rss") == [250_000_000, 250_000_001, 250_000_002]
    assert cell.summary("latency").median == 0.11


def test_missing_numbers_keep_their_reason(tmp_path: Path) -> None:
    block = rounds(latencies_ms=(100, 110))
    values: dict[str, list[float | None]] = {**block.values, "ttft": [None, 10_000_000]}
    report = report_of(tmp_path, [rounds(latencies_ms=(100, 110), values=values)])
    cell = report.cells[0]
    assert cell.values("ttft") == [0.01]
    assert cell.summary("gpu_peak_allocated").median == Missing("no GPU")
    assert cell.summary("unknown").median == Missing("unknown was not measured")
    assert cell.summary("latency").p95 == Missing("p95 needs 20 rounds; this cell has 2")
    assert report.models[0].summary("gpu_peak_allocated").mean == Missing("no GPU")
    assert report.models[0].summary("latency").p95 == Missing("p95 needs 20 rounds; this model has 2")
    assert isinstance(report.models[0].load_time, Missing)


def test_statistics_are_spelt_in_the_fewest_digits_that_read_back(tmp_path: Path) -> None:
    report = report_of(tmp_path, [rounds("r1", values={"latency": [100, 300, 100], "ttft": [None] * 3})])
    model = report.model("a")
    assert {name: dict(zip(model.statistics[name], texts, strict=True)) for name, texts in model.spelt.items()} == {
        name: {statistic: text(number) for statistic, number in numbers.items()}
        for name, numbers in model.statistics.items()
    }
    assert model.spelt["latency"] == ("3", "1e-7", "1e-7", "1.6666666666666665e-7", "1.1547005383792515e-7", "3e-7")
    assert model.spelt["ttft"] == ("0",)


def text(number: float) -> str:
    return spelled([number])[0]


def test_answers_of_another_length_are_counted(tmp_path: Path) -> None:
    other = rounds("r1", values={"output_tokens": [5, 7, 5]})
    report = report_of(tmp_path, [worker(), other, rounds("r2", cell="a-udp", prompt_id="udp")])
    assert [cell.length_mismatches for cell in report.cells] == [1, 0]
    assert report.model("a").length_mismatches == report.count("other_length") == 1


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    report = report_of(tmp_path, usual_records())
    with pytest.raises(UnknownNameError, match="unknown model 'c'. Known: a, b"):
        report.model("c")
    with pytest.raises(UnknownNameError, match="unknown metric 'latencyy'. Did you mean 'latency'"):
        report.models[0].summary("latencyy")


def test_all_metrics_in_one_go_are_those_one_by_one(tmp_path: Path) -> None:
    block = rounds(latencies_ms=(100, 110))
    values: dict[str, list[float | None]] = {**block.values, "ttft": [None, 10_000_000]}
    more = rounds("r2", latencies_ms=(90,), block=1, first_round=2)
    records: list[LogRecord] = [worker("w1", "a"), rounds(latencies_ms=(100, 110), values=values), more]
    model = report_of(tmp_path, records).models[0]
    cell = model.cells[0]
    assert cell.columns.samples() == {name: cell.values(name) for name in (*values, *more.values)}
    assert {name: list(summary.ordered) for name, summary in model.summaries.items()} == {
        name: sorted(model.values(name)) for name in model.metrics
    }
    assert model.statistics["latency"] == model.summary("latency").numbers()
    assert model.summary("latency").ordered == (0.09, 0.1, 0.11)


def test_of_the_files_of_a_commit_people_are_shown_the_number(tmp_path: Path) -> None:
    files = [f"{'a' * 64}  part-{number}.safetensors" for number in range(300)]
    start = worker("a", info={"revision": "c" * 40, "snapshot_files": files})
    model = report_of(tmp_path, [start, rounds()]).model("a")
    assert model.info["snapshot_files"] == files
    assert model.facts == {"revision": "c" * 40, "snapshot_files": 300}
