"""How failures look in pytest's report: the explanation, without our frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

from ..engine.explain import Explained
from ..errors import StoreError


def failure_repr(item: pytest.Item, error: BaseException) -> ReprExceptionInfo | None:
    """The text of a failure that explains itself; None for any other exception.

    Built from parts that survive the way from a parallel worker to the controller.
    """
    if not isinstance(error, (Explained, StoreError)):
        return None
    text = str(error) if isinstance(error, Explained) else f"{type(error).__name__}: {error}"
    headline = error.headline if isinstance(error, Explained) else text
    path, number, _ = item.location
    entry = ReprEntryNative(lines=[line + "\n" for line in text.splitlines()])
    return ReprExceptionInfo(
        reprtraceback=ReprTraceback(reprentries=[entry], extraline=None, style="native"),
        reprcrash=ReprFileLocation(path=str(path), lineno=(number or 0) + 1, message=headline),
    )


def explain_in_report(item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> None:
    """Replace the traceback of a failure that explains itself."""
    if call.excinfo is None or not report.failed:
        return
    found = failure_repr(item, call.excinfo.value)
    if found is not None:
        report.longrepr = found


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
