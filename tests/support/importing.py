"""Reading files of other tools in tests."""

from __future__ import annotations

from pathlib import Path

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.imported import ImportedFile, write_imported
from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.importers import read_files, register
from pytest_llmci.registry import Registry


def table() -> Registry:
    """All formats."""
    registry = Registry()
    register(registry)
    return registry


def read(*paths: Path, name: str = "") -> list[ImportedFile]:
    """What the files say."""
    return read_files(paths, table(), name=name)


def imported(folder: Path, *paths: Path, alias: str = "") -> SessionReport:
    """The report of the run that the files make."""
    run = write_imported(read(*paths), folder / "runs", FakeClock(), command=["llmci", "import"], alias=alias)
    return build_report(run.folder)
