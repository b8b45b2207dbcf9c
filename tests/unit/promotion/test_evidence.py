from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample_run import header, verdict
from stored_runs import block, judged, simple, started, write_run

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.comparisons.stored_run import read_run
from pytest_llmci.errors import ConfigError, LogTamperedError
from pytest_llmci.promotion.base import Evidence, Finding
from pytest_llmci.promotion.evidence import compare_with_champion, one_model, own_evidence, whole_run
from pytest_llmci.records import BudgetResult, CheckResult, ErrorInfo, GateRecord, GenerationSettings, LogRecord
from pytest_llmci.store.log import LOG_NAME, LogWriter
from pytest_llmci.store.manifest import seal
from pytest_llmci.store.recovery import recover

BUDGET: dict[str, Any] = {
    "budget": "latency.median <= 2s", "origin": "marker", "metric": "latency", "statistic": "median", "operator": "<=", "limit": 2.0,
    "observed": 1.0, "rounds": 10, "reason": "",
}  # fmt: skip


def told(folder: Path, alias: str = "a") -> dict[str, tuple[str, str]]:
    found = own_evidence(folder, read_run(folder), alias, whole_run(folder))
    return {each.name: (each.standing, each.text) for each in found}


def test_a_run_that_passed_holds_in_every_point(tmp_path: Path) -> None:
    budget = BudgetResult(verdict="pass", **BUDGET)
    records = [started(), block(), judged(budgets=[budget]), GateRecord(name="coverage", outcome="passed", message="")]
    found = told(write_run(tmp_path, 1, records))
    assert {standing for standing, _ in found.values()} == {"holds"}
    assert found["cells"] == ("holds", "1 cell, 10 measured rounds")
    assert [found[name][1] for name in ("checks", "budgets", "gates")] == ["1 of 1 passed"] * 3
    assert found["ended"] == ("holds", "its session passed (exit status 0)")


@pytest.mark.parametrize(
    ("records", "name", "standing", "words"),
    [
        ([judged(passed=False, verdict="failed")], "checks", "fails", "1 of 1 failed (valid of a-tcp)"),
        ([judged(passed=False, verdict="failed")], "verdicts", "fails", "1 of 1 cell failed: a-tcp"),
        ([judged(budgets=[BudgetResult(verdict="failed", **BUDGET)])], "budgets", "fails", "1 of 1 failed (latency.median <= 2s of a-tcp)"),
        ([judged(verdict="inconclusive", budgets=[BudgetResult(verdict="inconclusive", **BUDGET)])], "budgets", "undecided",
         "1 of 1 undecided (latency.median <= 2s of a-tcp)"),
        ([judged(verdict="inconclusive")], "verdicts", "undecided", "could not be told: a-tcp"),
        ([judged(), GateRecord(name="coverage", outcome="failed", message="")], "gates", "fails", "1 of 1 failed (coverage)"),
        ([judged(), GateRecord(name="a", model="a", outcome="failed", message="")], "gates", "fails", "1 of 1 failed (a)"),
        ([judged(), GateRecord(name="b", model="b", outcome="failed", message="")], "gates", "holds", "there were none"),
        ([judged(passed=False, verdict="failed"), verdict("v2", "a", "tcp", checks=[CheckResult(name="valid", passed=True, message="")], attempt=1)], "checks", "holds", "1 of 1 passed"),
    ],
)  # fmt: skip
def test_what_speaks_against_it(tmp_path: Path, records: list[LogRecord], name: str, standing: str, words: str) -> None:
    assert told(write_run(tmp_path, 1, [started(), block(), *records]))[name] == (standing, words)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({"manifest_sha256": "a"}, {"manifest_sha256": "b"}, "manifest_sha256"),
        ({"snapshot_files": ["1  config.json", "2  w"]}, {"snapshot_files": ["1  config.json", "3  w", "4  new"]}, "w"),
        ({"snapshot_files": ["1  config.json"]}, {"snapshot_files": ["1  config.json", "4  fetched.later"]}, ""),
        ({"revision": "c"}, {"revision": "c"}, ""),
    ],
)
@pytest.mark.parametrize("role", ["timing", "reference"])
def test_weights_that_changed_between_two_processes_are_no_evidence(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], changed: str, role: Any
) -> None:
    records = [started(info=before, uid="w0", role=role), started(info=after), block(), judged()]
    found = told(write_run(tmp_path, 1, records))
    if changed and role == "timing":
        standing, text = found["weights"]
        assert standing == "fails" and text.startswith(f"its processes loaded different weights ({changed}): ")
    else:
        assert "weights" not in found


def test_the_failure_of_another_model_is_not_held_against_this_one_but_the_session_is(tmp_path: Path) -> None:
    records = [
        started(),
        block(),
        judged(),
        started("b"),
        block(model="b"),
        judged(model="b", passed=False, verdict="failed"),
    ]
    folder = tmp_path / "20260102T000000Z-000001"
    write_run(tmp_path, 1, records)
    assert "verdicts" not in told(folder)
    log = folder / LOG_NAME
    kept = log.read_bytes().splitlines(keepends=True)[:-1]
    log.write_bytes(b"".join(kept))
    recover(folder, clock=FakeClock())
    assert told(folder)["log"][0] == told(folder)["ended"][0] == "fails"
    assert told(folder)["ended"][1] == "its session did not come to an end"


def test_a_session_that_failed_says_its_exit_status(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 1, simple())
    run = read_run(folder)
    (folder / LOG_NAME).unlink()
    writer = LogWriter(folder / LOG_NAME, clock=FakeClock())
    writer.append(header(run_id=run.run_id))
    for record in simple():
        writer.append(record)
    writer.close(1)
    assert told(folder)["ended"] == (
        "fails",
        "its session failed (exit status 1): measure this model in a session that passes",
    )


def test_a_cell_without_an_answer_is_no_evidence(tmp_path: Path) -> None:
    crash = ErrorInfo(kind="crashed", message="killed by SIGKILL", facts={})
    dead = [block(n=0, error=crash), judged(verdict="failed", checks=[], error=crash, rounds=0)]
    found = told(write_run(tmp_path, 1, [started(), block("dns"), judged("dns"), *dead]))
    assert found["cells"] == ("fails", "1 of 2 cells gave no answer (a-tcp)")
    assert found["verdicts"] == ("fails", "1 of 2 cells failed: a-tcp: killed by SIGKILL")


def test_a_log_that_was_changed_or_cut_off_is_evidence_of_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 1, simple())
    log = folder / LOG_NAME
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'"float32"', b'"float16"', 1))
    with pytest.raises(LogTamperedError, match="refused: the run does not verify: .*line 2"):
        whole_run(folder)
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(LogTamperedError, match="refused: .*its session was killed or the end was cut off"):
        whole_run(folder)
    log.unlink()
    writer = LogWriter(log, clock=FakeClock())
    writer.append(header())
    with pytest.raises(ConfigError, match="is still being written: promote it when its session has ended"):
        whole_run(folder)
    writer.close(0)


# ------------------------------------------------------------------------------------------- against what is in use


def against(
    tmp_path: Path, before: list[LogRecord], now: list[LogRecord], *, alias: str = "a", on: dict[str, Any] | None = None
) -> list[Finding]:
    runs = [
        one_model(read_run(write_run(tmp_path, 1, before)), alias, "a"),
        one_model(read_run(write_run(tmp_path, 2, now, environment=on)), "a", "a"),
    ]
    return compare_with_champion(runs[1], runs[0], name="version 3")[0]


def test_a_gross_slowdown_is_worse_and_says_what_changed(tmp_path: Path) -> None:
    (found,) = against(tmp_path, simple(), simple(factor=1.6, info={"dtype": "bfloat16"}))
    assert found.standing == "fails"
    assert found.text.startswith("worse than version 3: ")
    assert "changed: dtype: float32 -> bfloat16" in found.text


def test_one_that_is_faster_is_not_worse_whatever_it_is_called(tmp_path: Path) -> None:
    (found,) = against(tmp_path, simple(model="older"), simple(factor=0.4), alias="older")
    assert (found.standing, found.text.startswith("not worse than version 3 (2 cells: 2 pass)")) == ("holds", True)


def test_one_round_decides_nothing(tmp_path: Path) -> None:
    (found,) = against(tmp_path, simple(), simple(n=1))
    assert (found.standing, found.text.startswith("not proven to be as good as version 3")) == ("undecided", True)


def test_another_question_or_another_machine_is_no_comparison(tmp_path: Path) -> None:
    (found,) = against(tmp_path / "asked", simple(), simple(generation=GenerationSettings(max_new_tokens=7)))
    assert found.standing == "fails"
    assert (
        "not comparable with version 3: nothing can be compared" in found.text
        and "max_new_tokens: 50 -> 7" in found.text
    )
    (found,) = against(tmp_path / "machine", simple(), simple(), on={"cpu_model": "B"})
    assert (found.standing, found.text) == (
        "fails", "not comparable with version 3: other hardware: cpu_model: A -> B; measure both on one machine"
    )  # fmt: skip
    partly = [started(), block("dns"), block(generation=GenerationSettings(max_new_tokens=7)), judged(), judged("dns")]
    (found,) = against(tmp_path / "partly", simple(), partly)
    assert found.text == "not comparable with version 3: something else was asked: prompt tcp: max_new_tokens: 50 -> 7"


def test_a_cell_that_is_not_measured_any_more_is_worse(tmp_path: Path) -> None:
    (found,) = against(tmp_path, simple(), simple(["tcp"]))
    assert found.standing == "fails" and "prompt dns is not measured any more" in found.text


def test_what_refuses() -> None:
    holds = Finding(name="log", standing="holds", text="")
    fails = Finding(name="ended", standing="fails", text="")
    open_one = Finding(name="champion", standing="undecided", text="")
    assert Evidence(findings=(holds, open_one)).approved
    assert not Evidence(findings=(holds, open_one), policy="inconclusive").approved
    both = Evidence(findings=(fails, open_one), policy="inconclusive")
    assert both.reasons == (fails,)
    assert Evidence(findings=(holds, open_one), policy="inconclusive").reasons == (open_one,)


def test_any_file_that_was_changed_and_a_missing_signature_are_no_evidence(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 1, simple())
    log = whole_run(folder).log
    (folder / "notes.txt").write_text("as it was")
    seal(folder, run=folder.name, log_lines=log.lines, log_digest=log.digest)
    assert told(folder)["log"][1].endswith("2 files as manifest.json says")
    with pytest.raises(LogTamperedError, match="refused: the run does not verify: .* is not signed, and .* is set"):
        whole_run(folder, b"key")
    (folder / "notes.txt").write_text("as it is ")
    with pytest.raises(
        LogTamperedError, match=r"refused: the run does not verify: .*notes.txt is not what manifest.json says: sha256"
    ):
        whole_run(folder)
    (folder / "notes.txt").write_text("as it was")
    seal(folder, run=folder.name, log_lines=log.lines, log_digest=log.digest, key=b"key")
    found = {each.name: each.text for each in own_evidence(folder, read_run(folder), "a", whole_run(folder, b"key"))}
    assert found["log"].endswith(", signed")
