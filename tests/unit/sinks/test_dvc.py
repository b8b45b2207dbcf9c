from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from sample_run import rounds, usual_records, verdict, worker, write_log

from pytest_llmci.cli.report import rebuild
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import SinkError
from pytest_llmci.sinks.dvc import DvcSink
from pytest_llmci.store.dvc import folder_md5, read_pointer
from pytest_llmci.store.manifest import describe_file


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "20260101T000000Z-abcdef"
    (folder / "spool").mkdir(parents=True)
    (folder / "spool" / "gw0.jsonl").write_text("x")
    (folder / ".hidden").write_text("x")
    write_log(folder, usual_records())
    rebuild(folder, ["csv", "json"], print)
    return folder


def test_what_lies_in_the_folder(run: Path, tmp_path: Path) -> None:
    written = DvcSink().write(build_report(run), run)
    place = Path("llmci-dvc")
    assert written == [place / name for name in ("metrics.json", "plots.csv", "run.dvc", "dvc.yaml")]
    assert (place / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()
    copied = sorted(path.name for path in (place / "run").iterdir())
    assert copied == sorted(path.name for path in run.iterdir() if path.name not in ("spool", ".hidden"))
    assert (place / ".gitignore").read_text() == "/run\n"
    (tracked,) = read_pointer(place / "run.dvc")
    assert tracked.md5 == folder_md5([describe_file(place / "run", name) for name in copied])


def test_a_row_a_cell_with_the_medians(run: Path) -> None:
    DvcSink("there").write(build_report(run), run)
    with open("there/plots.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["cell"] for row in rows] == ["a-tcp", "a-dns", "b-tcp"]
    assert (rows[0]["model"], rows[0]["prompt_id"], rows[0]["rounds"], rows[0]["latency"]) == ("a", "tcp", "3", "0.11")
    assert rows[1]["latency"] == "0.2"
    assert (rows[2]["rounds"], rows[2]["latency"]) == ("0", "")  # never finished: a gap and no zero
    assert "gpu_peak_allocated" not in rows[0]


def test_dvc_is_told_of_metrics_and_of_plots_that_have_numbers(run: Path) -> None:
    DvcSink("there").write(build_report(run), run)
    told = yaml.safe_load(Path("there/dvc.yaml").read_text())
    assert told["metrics"] == ["metrics.json"]
    assert [next(iter(plot)) for plot in told["plots"]] == ["llmci-latency", "llmci-peak-rss"]  # no tokens_per_s here
    assert told["plots"][0]["llmci-latency"]["x"] == {"plots.csv": "latency"}


def test_plots_of_the_team_stay(run: Path) -> None:
    Path("there").mkdir()
    Path("there/dvc.yaml").write_text("plots: []\n")
    Path("there/.gitignore").write_text("*.tmp")
    DvcSink("there").write(build_report(run), run)
    DvcSink("there").write(build_report(run), run)
    assert Path("there/dvc.yaml").read_text() == "plots: []\n"
    assert Path("there/.gitignore").read_text() == "*.tmp\n/run\n"


def test_where_a_stage_makes_the_run_dvc_tracks_it_itself(run: Path) -> None:
    Path("dvc.yaml").write_text("stages: {llmci: {cmd: x, outs: [there/run]}}\n")
    assert DvcSink("there").write(build_report(run), run) == [Path("there/metrics.json"), Path("there/plots.csv")]
    assert not Path("there/run.dvc").exists()
    assert not Path("there/dvc.yaml").exists()


def test_a_run_takes_the_place_of_the_one_before_and_of_nothing_else(run: Path, tmp_path: Path) -> None:
    DvcSink("there").write(build_report(run), run)
    other = tmp_path / "20260102T000000Z-abcdef"
    other.mkdir()
    write_log(other, [worker(), rounds(), verdict()])
    DvcSink("there").write(build_report(other), other)
    assert (Path("there/run/log.jsonl")).read_bytes() == (other / "log.jsonl").read_bytes()
    assert list(json.loads(Path("there/metrics.json").read_text())) == ["a"]
    Path("mine/run").mkdir(parents=True)
    with pytest.raises(
        SinkError, match="mine/run is no copy of a run and was left alone: rename it, or give another folder"
    ):
        DvcSink("mine").write(build_report(run), run)


def test_a_folder_that_cannot_be_made(run: Path) -> None:
    Path("file").write_text("x")
    with pytest.raises(SinkError, match="file") as raised:
        DvcSink("file").write(build_report(run), run)
    assert "\n" not in str(raised.value)
    Path("dvc.yaml").write_text("a: [")
    with pytest.raises(SinkError, match="is no YAML"):
        DvcSink("there").write(build_report(run), run)
