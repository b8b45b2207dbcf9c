"""What GitHub Actions shows of a session: a summary on the job's page, and an annotation for each failure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..text import one_line

if TYPE_CHECKING:
    from ..engine.reports.report import SessionReport

SUMMARY_BYTES: Final = 1 << 20
"""Of all that a step writes to its summary; GitHub shows nothing of a longer one."""
MOST_ANNOTATIONS: Final = 10
"""Errors of a step that GitHub shows."""
_TITLE: Final = "pytest-llmci"


def write_summary(report: SessionReport, environment: Mapping[str, str]) -> str:
    """Add the run to the file that ``GITHUB_STEP_SUMMARY`` names, if there is one.

    :returns: a warning where that failed; empty otherwise.
    """
    name = environment.get("GITHUB_STEP_SUMMARY")
    if not name:
        return ""
    from ..engine.reports.run_markdown import run_markdown

    path = Path(name)
    try:
        before = path.stat().st_size if path.exists() else 0
        room = SUMMARY_BYTES - before - 1
        if room < 1000:
            return f"GITHUB_STEP_SUMMARY: {path} is full: nothing was added"
        with path.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(("\n" if before else "") + run_markdown(report, longest=room))
    except OSError as error:
        return f"GITHUB_STEP_SUMMARY: {path}: cannot be written: {error.strerror or error}"
    return ""


def failure_annotations(report: SessionReport, environment: Mapping[str, str]) -> list[str]:
    """Workflow commands that mark what failed, in GitHub Actions; none where nothing did."""
    if environment.get("GITHUB_ACTIONS") != "true":
        return []
    from ..engine.reports.headlines import headlines

    metrics = {metric.name: metric for metric in report.metrics}
    found = [
        (cell.test, f"{cell.id}: {'; '.join(headlines(cell, metrics)) or 'failed'}")
        for cell in report.cells
        if cell.verdict == "failed"
    ]
    found += [
        (task.test, f"{task.cell}: {'; '.join(headlines(task, metrics)) or 'failed'}")
        for task in report.tasks
        if task.verdict == "failed"
    ]
    found += [("", f"{gate.name}: {gate.message}") for gate in report.gates if gate.outcome == "failed"]
    shown = found if len(found) <= MOST_ANNOTATIONS else found[: MOST_ANNOTATIONS - 1]
    lines = [_command(test, text) for test, text in shown]
    if len(found) > len(shown):
        lines.append(
            _command("", f"{len(found) - len(shown)} more failures are in the summary and in the log of the job")
        )
    return lines


def _command(test: str, text: str) -> str:
    file = test.partition("::")[0]
    place = f"file={_property(file)}," if file.endswith((".py", ".yaml", ".yml")) else ""
    return f"::error {place}title={_property(_TITLE)}::{_data(one_line(text))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
