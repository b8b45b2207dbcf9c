from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_run import rounds, usual_records, verdict, worker, write_log

from pytest_llmci.engine.comparisons.slowdown import PARTS
from pytest_llmci.engine.reports.headlines import verdict_line
from pytest_llmci.engine.reports.markdown import escaped, table
from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.engine.reports.run_markdown import run_markdown
from pytest_llmci.records import (
    CheckResult,
    ComparisonResult,
    ErrorInfo,
    LogRecord,
    PublishedScore,
    SlowdownPart,
    SlowdownResult,
)


def report(folder: Path, records: list[LogRecord]) -> SessionReport:
    folder.mkdir(exist_ok=True)
    write_log(folder, records)
    return build_report(folder)


def failing(count: int, message: str = "expected more") -> list[LogRecord]:
    records: list[LogRecord] = [worker()]
    for number in range(count):
        records.append(rounds(f"r{number}", prompt_id=f"p{number}"))
        check = CheckResult(name="contains:x", passed=False, message=message)
        records.append(verdict(f"v{number}", prompt_id=f"p{number}", verdict="failed", checks=[check]))
    return records


def test_the_verdict_comes_first_and_each_failure_says_why(tmp_path: Path) -> None:
    text = run_markdown(report(tmp_path, usual_records()))
    assert text.startswith("### llmci: 1 of ")
    assert "| failed | why |" in text and "killed by SIGKILL, cause unknown" in text
    assert text.rstrip().endswith("</details>")


def test_a_slower_cell_says_where_its_time_went(tmp_path: Path) -> None:
    worse = ComparisonResult(
        metric="latency", mode="saved", verdict="regressed", against="main", base=0.1, candidate=0.15, change=0.5
    )
    parts = [SlowdownPart(name=name, change=0.05 if name == "prefill" else 0.0) for name in PARTS]
    split = SlowdownResult(against="main", before=0.1, now=0.15, samples_before=3, samples_now=3, parts=parts)
    slower = verdict(verdict="failed", comparisons=[worse], slowdown=split)
    text = run_markdown(report(tmp_path, [worker(), rounds(), slower]))
    zero = "0.0 ms (0.0 %)"
    assert f"| a-tcp | +50.0 ms (+50.0 %) | {zero} | {zero} | {zero} | {zero} | +50.0 ms (+50.0 %) |" in text
    assert "| mean time of a call | prefill | decode rate | output length | harness | noise | whole |" in text


def test_the_command_can_be_given_to_a_shell(tmp_path: Path) -> None:
    write_log(tmp_path, [worker(), rounds(), verdict()], command=["pytest", "-k", "tcp or river"])
    assert "- command: pytest -k 'tcp or river'\n" in run_markdown(build_report(tmp_path))


def test_an_opinion_is_marked(tmp_path: Path) -> None:
    check = CheckResult(name="judge:x", passed=False, message="no", judged_by="smollm2")
    text = run_markdown(report(tmp_path, [worker(), rounds(), verdict(verdict="failed", checks=[check])]))
    assert "judge:x (judged by smollm2): no" in text


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], "nothing was judged"),
        ([worker(), rounds(), verdict()], "1 cell passed"),
        (failing(2), "2 of 2 cells failed"),
        ([worker(), rounds(), verdict(verdict="inconclusive")], "1 of 1 cell undecided, none failed"),
    ],
)
def test_the_headline_counts_cells(tmp_path: Path, records: list[LogRecord], expected: str) -> None:
    assert verdict_line(report(tmp_path, records)) == expected


def test_what_models_say_is_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> | @team `code` [link](http://x) **bold**\n# title"
    text = run_markdown(report(tmp_path, failing(1, hostile)))
    assert "<script>" not in text and "@team" not in text and "\n# title" not in text
    assert "&lt;script&gt;" in text and r"\[link\]" in text and r"\*\*bold" in text


@given(st.integers(1, 130), st.integers(600, 70_000), st.text(max_size=200))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_text_is_never_longer_than_it_may_be_and_says_what_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, count: int, longest: int, message: str
) -> None:
    text = run_markdown(report(tmp_path_factory.mktemp("run"), failing(count, message)), longest=longest)
    assert len(text.encode()) <= longest
    shown = sum(line.startswith("| a-p") for line in text.splitlines())
    assert shown == count or f"{count - shown} more rows are left out." in text or "cut here" in text


def test_a_table_has_as_many_cells_in_each_row_as_headings() -> None:
    lines = table(("a", "b"), [("x|y", "OK"), ("z", "LOST")], left=(0,), most=5)
    assert lines == ["| a | b |", "|---|--:|", "| x&#124;y | **OK** |", "| z | **LOST** |", ""]
    assert table(("a",), [("1",), ("2",)], left=(0,), most=1)[-2:] == ["1 more rows are left out.", ""]
    assert table(("a",), [], left=(0,), most=1) == []


@given(st.text())
def test_an_escaped_text_is_one_line_without_markup(text: str) -> None:
    found = escaped(text)
    assert "\n" not in found and "<" not in found and "|" not in found and "@" not in found


def test_a_published_score_stands_in_brackets_with_its_source(tmp_path: Path) -> None:
    published = PublishedScore(value=31, source="board.csv", name="a")
    text = run_markdown(report(tmp_path, [worker(published=published), rounds(), verdict()]))
    assert "| score |" in text and "| (31) |" in text
    assert r"in brackets as published (board.csv), not measured here." in text
    assert "score" not in run_markdown(report(tmp_path / "plain", [worker(), rounds(), verdict()]))


def test_a_missing_p95_says_why(tmp_path: Path) -> None:
    text = run_markdown(report(tmp_path, [worker(), rounds(), verdict()]))
    assert "\n\nn/a: p95 needs 20 rounds; this model has 3.\n" in text
    many = rounds(latencies_ms=[100 + number for number in range(20)])
    assert "n/a: p95" not in run_markdown(report(tmp_path / "many", [worker(), many, verdict()]))


def test_a_killed_session_is_named(tmp_path: Path) -> None:
    write_log(tmp_path, [worker(error=ErrorInfo(kind="load", message="no such model"))], footer=False)
    assert verdict_line(build_report(tmp_path)).endswith("(the session was killed)")


@pytest.mark.parametrize(("change", "told_so"), [(0.1, True), (0.5, False)])
def test_a_change_that_is_not_that_of_the_medians_is_explained(tmp_path: Path, change: float, told_so: bool) -> None:
    found = ComparisonResult(
        metric="latency",
        mode="interleaved",
        verdict="regressed",
        against="main",
        base=0.1,
        candidate=0.15,
        change=change,
    )
    text = run_markdown(report(tmp_path, [worker(), rounds(), verdict(verdict="failed", comparisons=[found])]))
    assert ("change: of rounds that ran in turn" in text) == told_so
