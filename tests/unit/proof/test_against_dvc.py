from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample_run import rounds, usual_records, worker, write_log

from pytest_llmci.cli.main import main
from pytest_llmci.cli.report import rebuild
from pytest_llmci.errors import ConfigError
from pytest_llmci.proof.against_dvc import against_dvc
from pytest_llmci.records import LogRecord
from pytest_llmci.store.manifest import describe_file

NAME = "20260101T000000Z-abcdef"


def make_run(folder: Path, records: list[LogRecord]) -> Path:
    folder.mkdir(parents=True)
    write_log(folder, records)
    rebuild(folder, ["csv", "json"], print)
    rebuild(folder, ["dvc"], print)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, and what DVC tracks of it in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMCI_SIGNING_KEY", raising=False)
    return make_run(tmp_path / "llmci-results" / NAME, usual_records())


def _into_cache(run: Path, cache: Path) -> None:
    """As ``dvc commit`` does."""
    rows = []
    for path in sorted(path for path in Path("llmci-dvc/run").rglob("*") if path.is_file()):
        entry = describe_file(Path("llmci-dvc/run"), path.name)
        rows.append({"md5": entry.md5, "relpath": entry.path})
        place = cache / "files" / "md5" / entry.md5[:2] / entry.md5[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    value = Path("llmci-dvc/run.dvc").read_text().split("md5: ")[1].split(".dir")[0]
    place = cache / "files" / "md5" / value[:2] / f"{value[2:]}.dir"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(rows, sort_keys=True))


def test_the_same_run_without_a_repository(run: Path) -> None:
    found = against_dvc(run)
    assert found.difference == ""
    assert found.shown[0].startswith("llmci-dvc/run.dvc tracks this run (6 files, md5 ")
    assert found.shown[1:] == (
        "llmci-dvc/metrics.json is that of this run",
        "llmci-dvc/plots.csv is that of this run",
        "llmci-dvc/run holds the same 6 files",
    )
    assert found.notes == ("no DVC repository here: neither cache nor remote was looked at",)


def test_a_repository_that_holds_nothing_yet(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("")
    assert [note.partition(":")[0] for note in against_dvc(run).notes] == [
        "DVC holds nothing here yet, neither in its cache nor in a remote on this machine"
    ]


def test_cache_and_remote(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("['remote \"here\"']\n    url = ../remote\n")
    (tmp_path / "remote").mkdir()
    assert [note.split(" does not hold")[0] for note in against_dvc(run).notes] == ["DVC's remote 'here'"]
    _into_cache(run, tmp_path / ".dvc" / "cache")
    _into_cache(run, tmp_path / "remote")
    assert against_dvc(run).shown[-2:] == (
        "DVC's cache holds all of it, byte for byte",
        "DVC's remote 'here' holds all of it, byte for byte",
    )
    value = describe_file(run, "results.csv").md5
    kept = tmp_path / "remote" / "files" / "md5" / value[:2] / value[2:]
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    difference = against_dvc(run).difference
    assert difference.startswith("DVC's remote 'here' holds other bytes than were put there for results.csv: ")
    kept.unlink()
    found = against_dvc(run)
    assert found.notes == ("DVC's remote 'here' does not hold results.csv yet: dvc push",)


def test_the_first_file_of_another_run_is_named(run: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "llmci-results" / "20260102T000000Z-abcdef", [worker(), rounds()])
    difference = against_dvc(run).difference
    assert difference.startswith("llmci-dvc/run.dvc has another log.jsonl than this run: md5 ")
    (tmp_path / "llmci-dvc" / "run" / "log.jsonl").write_text("gone")  # then nothing tells which file it is
    assert "which file differs is not known, as DVC's cache has no listing" in against_dvc(run).difference


def test_a_pointer_beside_the_run_or_in_it(run: Path) -> None:
    pointer = run.with_name(f"{NAME}.dvc")
    md5 = describe_file(run, "log.jsonl").md5
    (run / "log.jsonl.dvc").write_text(f"outs:\n- md5: {md5}\n  size: 1\n  hash: md5\n  path: log.jsonl\n")
    assert against_dvc(run).shown == (f"{run / 'log.jsonl.dvc'} tracks log.jsonl of this run (md5 {md5})",)
    (run / "log.jsonl.dvc").write_text(f"outs:\n- md5: {'ab' * 16}\n  path: log.jsonl\n")
    assert "log.jsonl.dvc has another log.jsonl than this run: md5 abababababab there" in against_dvc(run).difference
    (run / "log.jsonl.dvc").write_text(f"outs:\n- md5: {'ab' * 16}\n  path: other\n")
    assert "tracks other, which" in against_dvc(run).difference
    (run / "log.jsonl.dvc").unlink()
    pointer.write_text(Path("llmci-dvc/run.dvc").read_text().replace("path: run", f"path: {NAME}"))
    assert against_dvc(run).shown[0].startswith(f"{pointer} tracks this run")
    assert against_dvc(run, "llmci-dvc/run.dvc").shown[0].startswith("llmci-dvc/run.dvc tracks this run")


def test_where_nothing_tracks_a_run(run: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"neither nowhere/run\.dvc nor a dvc\.lock tracks a run; write it with: llmci report"
    ):
        against_dvc(run, "nowhere")
    with pytest.raises(ConfigError, match=r"there is no pointer 'gone\.dvc'"):
        against_dvc(run, "gone.dvc")


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["verify", "--against", "dvc"]) == 0
    assert "    llmci-dvc/plots.csv is that of this run\n" in capsys.readouterr().out
    plots = Path("llmci-dvc/plots.csv")
    plots.write_text(plots.read_text().replace("0.11", "0.01"))
    assert main(["verify", "--against", "dvc"]) == 1
    assert capsys.readouterr().out == (
        "FAILED: llmci-dvc/plots.csv is not that of this run: row 1, column latency: 0.01 where the run has 0.11\n"
    )
    assert main(["verify", "--against", "git"]) == 4
    assert "--against: 'git' is no copy of a run; write dvc" in capsys.readouterr().err
