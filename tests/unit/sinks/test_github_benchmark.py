from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sample_run import METRICS, header, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.metrics import MetricDef
from pytest_llmci.sinks.github_benchmark import GithubBenchmarkSink
from pytest_llmci.store.log import LOG_NAME, LogWriter

RATE = MetricDef(name="tokens_per_s", unit="1/s", direction="higher", definition="Rate.", label="tokens/s")


def entries(folder: Path, target: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    smaller, bigger = GithubBenchmarkSink(target).write(build_report(folder), folder)
    assert bigger.name == f"{smaller.stem}-bigger.json"
    smaller_entries, bigger_entries = (
        {entry["name"]: entry for entry in json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)}
        for path in (smaller, bigger)
    )
    return smaller_entries, bigger_entries


def with_rate(folder: Path) -> None:
    writer = LogWriter(folder / LOG_NAME, clock=FakeClock())
    block = rounds()
    writer.append(header(metrics=[*METRICS, RATE]))
    writer.append(worker())
    writer.append(rounds(values={**block.values, "tokens_per_s": [40, 50, 60]}))
    writer.append(verdict())
    writer.close(0)


def test_each_file_has_one_direction(tmp_path: Path) -> None:
    with_rate(tmp_path)
    smaller, bigger = entries(tmp_path)
    assert set(bigger) == {"a: tokens/s"}
    assert bigger["a: tokens/s"]["value"] == 50
    assert {"a: latency", "a: ttft", "a: peak rss", "a: load time", "a: unmeasured cells"} <= set(smaller)
    assert "a: cpu percent" not in smaller  # neither way is better


def test_an_entry_is_what_the_action_reads(tmp_path: Path) -> None:
    with_rate(tmp_path)
    smaller, _ = entries(tmp_path)
    latency = smaller["a: latency"]
    assert (latency["value"], latency["unit"]) == (0.11, "s")
    found = re.match(r"(?P<prefix>(\+-|±)\s*)(?P<value>\d.+)", latency["range"])  # as the action takes it apart
    assert found is not None
    assert float(found["value"]) == pytest.approx(0.01)
    assert latency["extra"].startswith("median of rounds: 3, cells: 1\n")
    assert "range" not in smaller["a: load time"]  # one start has no deviation
    assert smaller["a: unmeasured cells"]["value"] == 0


def test_what_was_not_measured_is_absent(tmp_path: Path) -> None:
    with_rate(tmp_path)
    assert "a: gpu peak allocated" not in entries(tmp_path)[0]


def test_a_model_with_an_unmeasured_cell_has_no_median(tmp_path: Path) -> None:
    write_log(tmp_path, usual_records())
    smaller, bigger = entries(tmp_path, str(tmp_path / "there" / "b.json"))
    assert [name for name in smaller if name.startswith("b:")] == ["b: unmeasured cells"]
    assert smaller["b: unmeasured cells"]["value"] == 1
    assert bigger == {}
