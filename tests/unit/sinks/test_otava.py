from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sample_run import CRASH, header, rounds, verdict, worker

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import SinkError
from pytest_llmci.records import LogRecord
from pytest_llmci.sinks.otava import OtavaSink
from pytest_llmci.store.log import LOG_NAME, LogWriter

GIT = {"git": {"commit": "abc123", "branch": "main", "dirty": False}}


def one_model(alias: str = "a", *latencies_ms: float) -> list[LogRecord]:
    return [
        worker(f"w-{alias}", alias),
        rounds(f"r-{alias}", alias, latencies_ms=latencies_ms or (100, 120, 110)),
        verdict(f"v-{alias}", alias),
    ]


def run(output: Path, number: int, records: list[LogRecord], *, exit_status: int | None = 0) -> SessionReport:
    folder = output / f"2026010{number}T000000Z-00000{number}"
    folder.mkdir(parents=True)
    writer = LogWriter(folder / LOG_NAME, clock=FakeClock())
    writer.append(header(run_id=folder.name, started=f"2026-01-0{number}T00:00:00.000Z", environment=GIT))
    for record in records:
        writer.append(record)
    writer.close(exit_status)
    return build_report(folder)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_a_run_is_a_row(tmp_path: Path) -> None:
    report = run(tmp_path, 1, one_model())
    assert OtavaSink().write(report, report.folder) == [tmp_path / "otava.csv"]
    (row,) = read(tmp_path / "otava.csv")
    assert list(row)[:6] == ["time", "run", "commit", "branch", "a.cells", "a.latency"]
    assert (row["time"], row["commit"], row["branch"]) == ("2026-01-01T00:00:00.000Z", "abc123", "main")
    assert (float(row["a.latency"]), row["a.cells"]) == (0.11, "1")
    assert "a.gpu_peak_allocated" not in row  # not measured
    assert "a.cpu_percent" not in row  # neither way is better


def test_the_history_grows_in_the_order_of_time_and_a_run_is_in_it_once(tmp_path: Path) -> None:
    sink = OtavaSink(str(tmp_path / "deep" / "history.csv"))
    first, second = run(tmp_path, 1, one_model("a", 100)), run(tmp_path, 2, one_model("a", 200))
    for report in (second, first, second, first):
        sink.write(report, report.folder)
    rows = read(tmp_path / "deep" / "history.csv")
    assert [(row["run"][:8], float(row["a.latency"])) for row in rows] == [("20260101", 0.1), ("20260102", 0.2)]
    before = (tmp_path / "deep" / "history.csv").read_bytes()
    sink.write(first, first.folder)
    assert (tmp_path / "deep" / "history.csv").read_bytes() == before


def test_a_later_model_gets_columns_and_older_rows_stay_empty_there(tmp_path: Path) -> None:
    for report in (run(tmp_path, 1, one_model("a")), run(tmp_path, 2, [*one_model("a"), *one_model("b")])):
        OtavaSink().write(report, report.folder)
    old, new = read(tmp_path / "otava.csv")
    assert (old["b.latency"], float(new["b.latency"])) == ("", 0.11)


def test_a_file_a_model_where_the_target_says_so(tmp_path: Path) -> None:
    report = run(tmp_path, 1, [*one_model("a"), *one_model("b", 50)])
    files = OtavaSink(str(tmp_path / "{model}.csv")).write(report, report.folder)
    assert files == [tmp_path / "a.csv", tmp_path / "b.csv"]
    assert float(read(tmp_path / "b.csv")[0]["latency"]) == 0.05


def failing(alias: str = "b") -> list[LogRecord]:
    return [
        worker("w-f", alias),
        rounds("r-f", alias, latencies_ms=(1,)),
        rounds("r-g", alias, "dns", latencies_ms=(1,), error=CRASH),
        verdict("v-f", alias),
        verdict("v-g", alias, "dns", verdict="failed", error=CRASH),
    ]


def test_a_run_with_an_unmeasured_cell_gets_no_row_and_says_so(tmp_path: Path) -> None:
    report = run(tmp_path, 1, [*one_model(), *failing()], exit_status=1)
    with pytest.raises(SinkError, match=r"got no row, as Otava cannot read a gap: not every cell of b was measured"):
        OtavaSink().write(report, report.folder)
    assert not (tmp_path / "otava.csv").exists()
    with pytest.raises(SinkError, match="not every cell of b"):
        OtavaSink(str(tmp_path / "{model}.csv")).write(report, report.folder)
    assert (tmp_path / "a.csv").exists()
    assert not (tmp_path / "b.csv").exists()


@pytest.mark.parametrize("exit_status", [None, 2])
def test_a_run_that_was_stopped_gets_no_row(tmp_path: Path, exit_status: int | None) -> None:
    report = run(tmp_path, 1, one_model(), exit_status=exit_status)
    with pytest.raises(SinkError, match="it was stopped before its end"):
        OtavaSink().write(report, report.folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("my,own\r\n1,2\r\n", "line 1 is not of a history"),
        ("time,run,commit,branch,x\r\n1,2,3\r\n", "line 2 is not of a history"),
        ('time,run,commit,branch\r\n"1,2,3\r\n', "is no CSV file"),
    ],
)
def test_what_is_not_ours_is_left_alone(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text, newline="")
    report = run(tmp_path, 1, one_model())
    with pytest.raises(SinkError, match=message):
        OtavaSink(str(path)).write(report, report.folder)
    assert path.read_text().splitlines() == text.splitlines()


@pytest.mark.skipif(shutil.which("otava") is None, reason="needs apache-otava")
def test_the_real_otava_finds_a_step_under_the_documented_settings(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "other-tools.md").read_text("utf-8")
    settings = re.findall(r"```yaml\n(tests:.*?)```", text, re.DOTALL)[0]
    (tmp_path / "otava.yaml").write_text(settings.replace("      tokens_per_s: {direction: 1}\n", ""))
    sink = OtavaSink(str(tmp_path / "history" / "{model}.csv"))
    for number in range(20):
        latency = (100 if number < 10 else 150) + number % 3
        folder = tmp_path / f"{number}"
        folder.mkdir()
        writer = LogWriter(folder / LOG_NAME, clock=FakeClock())
        started = f"2026-10-{number + 1:02}T00:00:00.000Z"
        writer.append(header(run_id=f"run-{number}", started=started, environment=GIT))
        for record in one_model("smollm2", latency):
            writer.append(record)
        writer.close(0)
        sink.write(build_report(folder), folder)
    done = subprocess.run(
        ["otava", "analyze", "smollm2", "--branch", "main", "--since", "2026-09-01"], env={**os.environ, "OTAVA_CONFIG": "otava.yaml"},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    before, _, after = done.stdout.partition("+4")  # per cent, between the tenth run and the eleventh
    assert ("run-9" in before, "run-10" in before, "run-10" in after) == (True, False, True), done.stdout


ADD = """
import sys
from pathlib import Path
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.sinks.otava import OtavaSink

folder = Path(sys.argv[1])
OtavaSink(sys.argv[2]).write(build_report(folder), folder)
"""


def test_sessions_that_end_together_all_get_their_rows(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    folders = [run(tmp_path, number, one_model()).folder for number in range(1, 5)]
    history = tmp_path / "history.csv"
    started = [subprocess.Popen([sys.executable, "-c", ADD, str(folder), str(history)]) for folder in folders]
    assert [process.wait() for process in started] == [0] * 4
    assert [row["run"] for row in read(history)] == [folder.name for folder in folders]
