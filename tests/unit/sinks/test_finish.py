from __future__ import annotations

import gc
from pathlib import Path
from typing import ClassVar

import pytest
from sample_run import usual_records, write_log

from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import SinkError
from pytest_llmci.registry import Registry
from pytest_llmci.sinks import finish, register
from pytest_llmci.sinks.csv import CsvSink
from pytest_llmci.store.manifest import read_manifest


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


def test_it_rests_while_the_report_is_made(run: Path, registry: Registry) -> None:
    states: list[bool] = []

    def read(folder: Path) -> SessionReport:
        states.append(gc.isenabled())
        return build_report(folder)

    assert finish.finish_run(run, registry, [], read=read).report.folder == run
    assert states == [False]


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
        if self._target == "full":
            raise SinkError("mine.txt: cannot be written: the disk is full")
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


def test_a_reason_of_our_own_is_told_without_the_name_of_its_class(run: Path, registry: Registry) -> None:
    registry.add("sink", "leaving", f"{__name__}:Leaving")
    done = finish.finish_run(run, registry, ["leaving:full"])
    assert done.warnings == ["sink 'leaving:full': mine.txt: cannot be written: the disk is full"]


class Noting:
    """A sink that writes a file into the run, or notes what is there if it takes the whole run."""

    seen: ClassVar[list[list[str]]] = []

    def __init__(self, target: str) -> None:
        self.target = target

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        manifest = read_manifest(folder)
        self.seen.append([entry.path for entry in manifest.files] if manifest else [])
        (folder / self.target).write_text("x")
        return [folder / self.target]


class Last(Noting):
    whole_run = True


def test_sinks_that_take_the_whole_run_come_last_and_find_the_manifest(
    run: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCI_SIGNING_KEY", "a key")
    Noting.seen.clear()
    registry.add("sink", "last", f"{__name__}:Last")
    registry.add("sink", "noting", f"{__name__}:Noting")
    done = finish.finish_run(run, registry, ["last:b.txt", "noting:a.txt"])
    assert done.warnings == []
    files = ["log.jsonl", "metrics.json", "results.csv", "results.json", "summary.csv"]
    assert Noting.seen == [[], ["a.txt", *files]]
    manifest = read_manifest(done.saved)
    assert manifest is not None
    assert manifest.fits_key(b"a key")
    assert (manifest.log_lines, manifest.log_digest) == (done.report.lines, done.report.digest)
