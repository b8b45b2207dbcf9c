from __future__ import annotations

import gc
from pathlib import Path

import pytest
from sample_run import usual_records, write_log

from pytest_llmci.errors import SinkError
from pytest_llmci.registry import Registry
from pytest_llmci.sinks import finish, register
from pytest_llmci.sinks.csv import CsvSink


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "20260101T000000Z-000000"
    folder.mkdir()
    write_log(folder, usual_records())
    return folder


@pytest.fixture
def registry() -> Registry:
    table = Registry()
    register(table)
    return table


def test_the_collector_rests_while_the_files_are_written(
    run: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[bool] = []
    write = CsvSink.write

    def watched(self: CsvSink, *arguments: object) -> list[Path]:
        states.append(gc.isenabled())
        return write(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(CsvSink, "write", watched)
    finish.finish_run(run, registry, [f"csv:{run.parent / 'there'}"])
    assert states == [False, True]  # what was asked for beyond the files of every run may be foreign code
    assert gc.isenabled()


def test_the_collector_goes_on_after_a_failure(run: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> list[Path]:
        raise SinkError("the disk is full")

    monkeypatch.setattr(CsvSink, "write", refuse)
    with pytest.raises(SinkError, match="the disk is full"):
        finish.finish_run(run, registry, [])
    assert gc.isenabled()


@pytest.mark.parametrize(("many", "frozen"), [(1, True), (1000, False)])
def test_only_a_large_report_is_kept_out_of_sight(
    run: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, many: int, frozen: bool
) -> None:
    monkeypatch.setattr(finish, "MANY_CELLS", many)
    before = gc.get_freeze_count()
    try:
        finish.finish_run(run, registry, [])
        assert (gc.get_freeze_count() > before) is frozen
    finally:
        if frozen:
            gc.unfreeze()


class Leaving:
    def __init__(self, target: str) -> None:
        self._target = target

    def write(self, report: object, folder: Path) -> list[Path]:
        if self._target == "leave":
            raise SystemExit("no\nmore")
        if self._target == "nothing":
            return None  # type: ignore[return-value]  # foreign code
        return [folder / "mine.txt"]


def test_a_sink_that_wants_to_leave_is_a_warning(run: Path, registry: Registry) -> None:
    registry.add("sink", "leaving", f"{__name__}:Leaving")
    done = finish.finish_run(run, registry, ["leaving:leave", "leaving:nothing", "leaving"])
    assert done.warnings == [
        "sink 'leaving:leave': SystemExit: no more",
        "sink 'leaving:nothing': TypeError: 'NoneType' object is not iterable",
    ]
    assert done.further == [run / "mine.txt"]
    assert done.saved.name == "latest"
