"""How failures look in pytest's report: the explanation, without our frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

from ..engine.reports.explain import Explained
from ..errors import LLMCIError, MissingValue, StoreError
from ..redaction import WITHHELD, Redactor


def failure_repr(item: pytest.Item, error: BaseException) -> ReprExceptionInfo | None:
    """The text of a failure that explains itself; None for any other exception.

    Where a test has no source, as a cell of a suite, nor does it help to see where it was when pytest-timeout ended it.
    Built from parts that survive the way from a parallel worker to the controller.
    """
    ended = isinstance(error, pytest.fail.Exception) and not isinstance(item, pytest.Function)
    if not ended and not isinstance(error, (Explained, StoreError)):
        return None
    text = str(error) if isinstance(error, Explained) else f"{type(error).__name__}: {error}"
    headline = error.headline if isinstance(error, Explained) else text
    path, number, _ = item.location
    entry = ReprEntryNative(lines=[line + "\n" for line in text.splitlines()])
    return ReprExceptionInfo(
        reprtraceback=ReprTraceback(reprentries=[entry], extraline=None, style="native"),
        reprcrash=ReprFileLocation(path=str(path), lineno=(number or 0) + 1, message=headline),
    )


def explain_in_report(
    item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport, *, redact: bool = False, beside: str = ""
) -> None:
    """Replace the traceback of a failure that explains itself.

    :param redact: whether any other traceback makes way for its place and class, as pytest shows in it what was compared.
    :param beside: what is told below it then.
    """
    if call.excinfo is None or not report.failed:
        return
    found = failure_repr(item, call.excinfo.value)
    if found is not None:
        report.longrepr = found
    elif redact:
        report.longrepr = _place_alone(item, call.excinfo, beside)
    elif isinstance(call.excinfo.value, (LLMCIError, MissingValue)):
        _shorten_headline(report.longrepr, type(call.excinfo.value))


def _shorten_headline(failure: Any, kind: type[BaseException]) -> None:
    """Without the module of our exception: it fills the line of pytest's summary before the reason is told."""
    crash = getattr(failure, "reprcrash", None)
    if crash is not None:
        crash.message = crash.message.removeprefix(f"{kind.__module__}.")


def _place_alone(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], beside: str) -> ReprExceptionInfo:
    """Where a test failed and with what, without a word of what it had in its hands."""
    path, number, _ = item.location
    inside = [entry for entry in excinfo.traceback if entry.path == item.path]
    line = inside[-1].lineno + 1 if inside else (number or 0) + 1
    text = f"{excinfo.typename}: {WITHHELD}"
    lines = [f"{path}:{line}: {text}\n", *(f"{each}\n" for each in beside.splitlines())]
    return ReprExceptionInfo(
        reprtraceback=ReprTraceback(reprentries=[ReprEntryNative(lines=lines)], extraline=None, style="native"),
        reprcrash=ReprFileLocation(path=str(path), lineno=line, message=text),
    )


def hide_in_report(report: pytest.TestReport, redactor: Redactor) -> None:
    """Take secrets out of everything that pytest, JUnit files and other plugins will show of a test of ours.

    What it printed is a section, which may quote any text: where texts are withheld there is none.
    """
    report.sections = [] if redactor.redact else [(name, redactor.text(text)) for name, text in report.sections]
    if report.longrepr is None:
        return
    if isinstance(report.longrepr, str):
        report.longrepr = redactor.text(report.longrepr)
    elif isinstance(report.longrepr, tuple):
        path, line, text = report.longrepr
        report.longrepr = (path, line, redactor.text(text))
    else:
        _hide_in_repr(report.longrepr, redactor.text)


def _hide_in_repr(failure: Any, hide: Callable[[str], str]) -> None:
    """In place, in all parts that a traceback of pytest's is made of."""
    links = getattr(failure, "chain", None) or [
        (getattr(failure, "reprtraceback", None), getattr(failure, "reprcrash", None), None)
    ]
    for traceback, crash, _ in links:
        for entry in getattr(traceback, "reprentries", ()):
            _hide_in_entry(entry, hide)
        if crash is not None:
            crash.message = hide(crash.message)
    if getattr(failure, "reprcrash", None) is not None:
        failure.reprcrash.message = hide(failure.reprcrash.message)
    failure.sections = [(name, hide(text), mark) for name, text, mark in getattr(failure, "sections", ())]


def _hide_in_entry(entry: Any, hide: Callable[[str], str]) -> None:
    entry.lines = [hide(line) for line in entry.lines]
    if getattr(entry, "reprfuncargs", None) is not None:
        entry.reprfuncargs.args = [(name, hide(str(value))) for name, value in entry.reprfuncargs.args]
    if getattr(entry, "reprlocals", None) is not None:
        entry.reprlocals.lines = [hide(line) for line in entry.reprlocals.lines]
    if getattr(entry, "reprfileloc", None) is not None:
        entry.reprfileloc.message = hide(entry.reprfileloc.message)


def rewrite_failure(report: pytest.TestReport, rewrite: Callable[[str], str]) -> None:
    """Change each line of a failure that explains itself; any other is left alone."""
    failure = report.longrepr
    if not isinstance(failure, ReprExceptionInfo) or failure.reprcrash is None:
        return
    entries = failure.reprtraceback.reprentries
    if all(isinstance(entry, ReprEntryNative) for entry in entries):
        for entry in entries:
            entry.lines = [rewrite(line) for line in entry.lines]
        failure.reprcrash.message = rewrite(failure.reprcrash.message)
