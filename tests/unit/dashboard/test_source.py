from __future__ import annotations

from pathlib import Path

import pytest
from sample_run import usual_records, worker, write_log

from pytest_llmci.cli.report import rebuild
from pytest_llmci.dashboard.source import FolderSource, open_source
from pytest_llmci.errors import ConfigError
from pytest_llmci.store.log import LOG_NAME, LogWriter


def run(output: Path, name: str, *, footer: bool = True) -> Path:
    folder = output / name
    folder.mkdir(parents=True)
    write_log(folder, usual_records(), footer=footer, run_id=name, environment={"git": {"commit": "abcdef1234567"}})
    if footer:
        rebuild(folder, ("json",), lambda _: None)
    return folder


FIRST, SECOND, THIRD = (f"2026010{day}T000000Z-abcdef" for day in (1, 2, 3))


def test_runs_are_listed_newest_first_with_what_became_of_them(tmp_path: Path) -> None:
    for name in (FIRST, SECOND):
        run(tmp_path, name)
    run(tmp_path, THIRD, footer=False)
    newest, second, first = FolderSource(tmp_path).rows()
    assert [row.id for row in (newest, second, first)] == [THIRD, SECOND, FIRST]
    assert (newest.state, second.state) == ("killed", "passed")
    assert second.commit.startswith("abcdef") and second.metrics["a"]["latency"] > 0 and newest.metrics == {}


def test_a_session_that_goes_on_is_running_and_then_not_any_more(tmp_path: Path) -> None:
    folder = tmp_path / FIRST
    folder.mkdir()
    done = write_log(folder, [worker()], footer=False)
    text = done.read_bytes()
    done.unlink()
    writer = LogWriter(folder / LOG_NAME)
    try:
        (folder / LOG_NAME).write_bytes(text)
        source = FolderSource(tmp_path)
        assert source.rows()[0].state == "running"
    finally:
        writer.release()
    assert source.rows()[0].state == "killed"


def test_a_run_is_read_again_only_where_its_log_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(tmp_path, FIRST)
    source = FolderSource(tmp_path)
    before = source.rows()
    assert source.rows()[0] is before[0]
    with (folder / LOG_NAME).open("ab") as log:
        log.write(b"{}\n")
    assert source.rows()[0] is not before[0] and source.rows()[0].state == "killed"


def test_a_place_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no folder '.*nowhere'"):
        open_source(str(tmp_path / "nowhere"))
    assert open_source(str(tmp_path)).rows() == []


def test_a_damaged_header_and_damaged_metrics_hide_no_run(tmp_path: Path) -> None:
    folder = run(tmp_path, FIRST)
    (folder / "metrics.json").write_text("{")
    (row,) = FolderSource(tmp_path).rows()
    assert row.metrics == {}
    (folder / LOG_NAME).write_bytes(b"nonsense\n")
    (row,) = FolderSource(tmp_path).rows()
    assert (row.started, row.state) == ("", "killed")


def test_what_reads_makes_no_store(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    for address in (f"sqlite:///{tmp_path}/typo.db", f"sqlite:///{tmp_path}/nowhere/typo.db"):
        with pytest.raises(ConfigError, match=r"^api: there is no store of MLflow at '.*typo.db'; give the one that"):
            open_source(address, "api")
    assert not list(tmp_path.iterdir())
