"""Verdicts over the whole session, emitted by the controller after the run loop as ordinary test reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

from ..engine.reports.explain import WIDTH
from ..engine.seen import Seen, what_there_is
from ..records import GateRecord
from ..text import how_many, wrapped
from .junit import of_gate

GATE_FILE = "llmci"


def judge_coverage(
    seen: Seen, collected: Mapping[str, Any], *, store_error: str | None, never_run: int = 0, replayed: str = ""
) -> GateRecord:
    """Missing data is never a pass, whatever ``--llmci-inconclusive`` lets an undecided cell do.

    Where tests of ours failed, they say themselves why there is no data, and the session is red without the gate. Where some were
    never collected, nobody knows which models and budgets they are for: what such a session lacks is no fault.

    :param collected: what :meth:`.coverage.Collected.to_json` says, from this process or a parallel worker; empty if nobody did.
    :param never_run: tests that the parallel workers collected and no worker ran.
    :param replayed: name of the run that was judged again; empty where the session measured. Which models such a run lacks is no fault.
    """
    faults: list[str] = []
    if never_run:
        tests = "1 test" if never_run == 1 else f"{never_run} tests"
        faults.append(f"{tests} never ran: a parallel worker was lost and not replaced (--max-worker-restart)")
    if store_error:
        faults.append(f"results were lost: {store_error}")
    idle = str(collected.get("idle_shard") or "")
    if seen.nothing and not seen.failed_tests and not idle:
        faults.append(
            f"nothing was replayed: run {replayed} holds nothing of what the tests ask for"
            if replayed
            else "nothing was measured: " + _why_nothing(seen, collected)
        )
        if _suite_was_emptied(collected):
            return _failed(faults, seen)  # the rest follows from it
    removed, left_out_by = collected.get("removed", {}), collected.get("left_out_by", ())
    faults += [
        f"no test used the model '{alias}'"
        + (f": pytest_llmci_modify_cells removed its {how_many(removed[alias], 'cell')}" if alias in removed else "")
        for alias in collected.get("unused_models", ())
        if not replayed
        if alias in removed or not left_out_by
    ]
    faults += [
        f"the tests of the model '{alias}' ran without asking it anything"
        for alias in collected.get("selected_models", ())
        if alias not in seen.tried and seen.tried and not never_run and not replayed
    ]
    faults += collected.get("lost_cells", ())
    if not left_out_by:
        faults += [f"no cell matches the budget {budget}" for budget in collected.get("unmatched_budgets", ())]
    if not faults:
        part = f" ({' and '.join(left_out_by)} left tests out: of these alone)" if left_out_by else ""
        again = f", replayed from run {replayed}" if replayed and not seen.nothing else ""
        done = idle if idle and seen.nothing else what_there_is(seen)
        return GateRecord(name="coverage", outcome="passed", message=done + again + part, counts=seen.counts)
    return _failed(faults, seen)


def _failed(faults: Sequence[str], seen: Seen) -> GateRecord:
    return GateRecord(
        name="coverage", outcome="failed", message="; ".join(faults), reasons=list(faults), counts=seen.counts
    )


def _suite_was_emptied(collected: Mapping[str, Any]) -> bool:
    return bool(collected.get("removed")) and not collected.get("cells") and not collected.get("all_deselected")


def _why_nothing(seen: Seen, collected: Mapping[str, Any]) -> str:
    """What happened, and what to do about it."""
    cells, selected, tests = collected.get("cells", 0), collected.get("selected", 0), collected.get("tests", 0)
    if seen.inconclusive:
        first = "the only cell" if selected == 1 else f"the first of {selected} cells"
        return f"the time was over (--llmci-time-limit) before {first} had a round (allow more)"
    if seen.tried:
        who = f"the model '{min(seen.tried)}'" if len(seen.tried) == 1 else f"any of {len(seen.tried)} models"
        return f"no answer of {who} (a test that is expected to fail, xfail, measures nothing)"
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
    if tests and not cells:
        return (
            "the only test of ours asked no model anything"
            if tests == 1
            else f"none of {tests} tests of ours asked a model anything"
        )
    if not cells:
        return "no test uses the fixtures llm, llm_result or llm_profile, and no --llmci-suite was asked for"
    if not selected:
        by_ids = "node ids" in collected.get("left_out_by", ())
        how = "left out by node ids" if by_ids else "deselected (-k, -m, --lf, --deselect)"
        return f"{_all(cells, 'cell')} {'was' if cells == 1 else 'were'} {how}"
    if selected == 1:
        return "the selected cell did not run to its end"
    return f"none of the {selected} selected cells ran to its end"


def _all(number: int, noun: str) -> str:
    return f"the only {noun}" if number == 1 else f"all {number} {noun}s"


def emit_gate(session: pytest.Session, gate: GateRecord, room: int) -> None:
    """Let terminal, JUnit and exit status see a gate: ``llmci::gate[name]``. It is one test more than was collected.

    :param room: columns of the terminal.
    """
    config = session.config
    nodeid, location = _place(gate)
    config.hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
    session.testscollected += 1  # of which pytest shows a share from here on; the line before has got its own
    for when in ("setup", "call", "teardown"):
        config.hook.pytest_runtest_logreport(report=_report(nodeid, location, when, gate, room))
    config.hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)


def forget_failure(config: pytest.Config, gate: GateRecord) -> None:
    """Let ``--lf`` alone see the gate pass: no failure to be repeated, as it would be for ever because nobody is told of a pass."""
    last_failed: Any = config.pluginmanager.getplugin("lfplugin")
    if last_failed is not None:
        last_failed.pytest_runtest_logreport(report=_report(*_place(gate), "call", replace(gate, outcome="passed")))


def _place(gate: GateRecord) -> tuple[str, tuple[str, None, str]]:
    """Node id and location."""
    return f"{GATE_FILE}::gate[{gate.name}]", (GATE_FILE, None, f"gate[{gate.name}]")


def _report(
    nodeid: str, location: tuple[str, None, str], when: Any, gate: GateRecord, room: int = WIDTH
) -> pytest.TestReport:
    outcome: Any = gate.outcome if when == "call" else "passed"
    longrepr: Any = None
    if outcome == "failed":
        reasons = gate.reasons or [gate.message]
        faults = [line for reason in reasons for line in wrapped(reason, room, first="  ", rest="    ")]
        lines = [f"Gate {gate.name} failed:\n", *(f"{fault}\n" for fault in faults)]
        if any(each.verdict == "regressed" and not each.accepted for each in gate.comparisons):
            lines.append(f'  if meant: llmci baseline accept "{gate.model}*" --reason "..."\n')
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
        user_properties=of_gate(gate),
    )
