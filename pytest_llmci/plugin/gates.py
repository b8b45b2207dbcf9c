"""Verdicts over the whole session, emitted by the controller after the run loop as ordinary test reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

from ..records import GateRecord, LogRecord, RoundsRecord, VerdictRecord, WorkerRecord

GATE_FILE = "llmci"


@dataclass(slots=True)
class Seen:
    """What the records told, for the gates."""

    models: set[str] = field(default_factory=set)
    """Aliases with a finished inference."""
    tried: set[str] = field(default_factory=set)
    """Aliases that were at least tried; their failures are failed tests already."""
    inferences: int = 0
    inconclusive: int = 0

    def note(self, record: LogRecord) -> None:
        """Take one record in."""
        if isinstance(record, RoundsRecord):
            self.tried.add(record.model)
            self.inferences += record.n
            if record.n:
                self.models.add(record.model)
        elif isinstance(record, WorkerRecord):
            self.tried.add(record.model)
        elif isinstance(record, VerdictRecord):
            self.tried.add(record.model)
            self.inconclusive += record.verdict == "inconclusive"


def judge_coverage(
    seen: Seen, collected: Mapping[str, Any], *, profiles: int, store_error: str | None, out_of_time: bool
) -> GateRecord:
    """Missing data is never a pass.

    :param collected: what :meth:`.coverage.Collected.to_json` says, from this process or a parallel worker; empty if nobody did.
    :param profiles: blocks that were profiled without an inference.
    """
    faults: list[str] = []
    if store_error:
        faults.append(f"results were lost: {store_error}")
    if not seen.inferences and not profiles and not seen.tried and not out_of_time:
        faults.append("nothing was measured: " + _why_nothing(collected))
        if _suite_was_emptied(collected):
            return GateRecord(name="coverage", outcome="failed", message="; ".join(faults))  # the rest follows from it
    removed = collected.get("removed", {})
    faults += [
        f"no test used the model '{alias}'"
        + (f": pytest_llmci_modify_cells removed its {_count(removed[alias], 'cell')}" if alias in removed else "")
        for alias in collected.get("unused_models", ())
    ]
    faults += [
        f"the tests of the model '{alias}' ran without asking it anything"
        for alias in collected.get("selected_models", ())
        if alias not in seen.tried and seen.tried
    ]
    faults += [f"no cell meets the budget {budget}" for budget in collected.get("unmatched_budgets", ())]
    if not faults:
        return GateRecord(
            name="coverage", outcome="passed", message=f"{seen.inferences} inferences of {len(seen.models)} models"
        )
    return GateRecord(name="coverage", outcome="failed", message="; ".join(faults))


def _suite_was_emptied(collected: Mapping[str, Any]) -> bool:
    return bool(collected.get("removed")) and not collected.get("cells") and not collected.get("all_deselected")


def _why_nothing(collected: Mapping[str, Any]) -> str:
    """What happened, and what to do about it."""
    cells, selected = collected.get("cells", 0), collected.get("selected", 0)
    if _suite_was_emptied(collected):
        return (
            f"pytest_llmci_modify_cells removed {_all(sum(collected['removed'].values()), 'cell')} of the suite"
            " (let it leave some, or take --llmci-suite away)"
        )
    gone, by = collected.get("all_deselected", 0), collected.get("deselected_by", ())
    if gone:
        what = _all(gone, "cell") if gone == cells else _all(gone, "test") + " of a model"
        hint = f" (without {'it' if len(by) == 1 else 'them'}, --collect-only -q lists what there is)" if by else ""
        return f"{' and '.join(by) or 'a plugin or conftest.py'} deselected {what}{hint}"
    if not cells:
        return "no test uses the fixtures llm, llm_result or llm_profile, and no --llmci-suite was asked for"
    if not selected:
        return f"{_all(cells, 'cell')} {'was' if cells == 1 else 'were'} deselected (-k, -m, --lf, --deselect)"
    if selected == 1:
        return "the selected cell did not run to its end"
    return f"none of the {selected} selected cells ran to its end"


def _all(number: int, noun: str) -> str:
    return f"the only {noun}" if number == 1 else f"all {number} {noun}s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def emit_gate(config: pytest.Config, gate: GateRecord) -> None:
    """Let terminal, JUnit and exit status see a gate: ``llmci::gate[name]``."""
    nodeid = f"{GATE_FILE}::gate[{gate.name}]"
    location = (GATE_FILE, None, f"gate[{gate.name}]")
    config.hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
    for when in ("setup", "call", "teardown"):
        config.hook.pytest_runtest_logreport(report=_report(nodeid, location, when, gate))
    config.hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)


def _report(nodeid: str, location: tuple[str, None, str], when: Any, gate: GateRecord) -> pytest.TestReport:
    outcome: Any = gate.outcome if when == "call" else "passed"
    longrepr: Any = None
    if outcome == "failed":
        lines = [f"Gate {gate.name} failed:\n", *(f"  {fault}\n" for fault in gate.message.split("; "))]
        longrepr = ReprExceptionInfo(
            reprtraceback=ReprTraceback(reprentries=[ReprEntryNative(lines=lines)], extraline=None, style="native"),
            reprcrash=ReprFileLocation(path=GATE_FILE, lineno=1, message=gate.message),
        )
    elif outcome == "skipped":
        longrepr = (GATE_FILE, 1, f"Skipped: {gate.message}")
    return pytest.TestReport(
        nodeid=nodeid,
        location=location,
        keywords={"llmci": 1},
        outcome=outcome,
        longrepr=longrepr,
        when=when,
        duration=0.0,
    )
