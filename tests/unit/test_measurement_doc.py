from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_llmci.engine.planted import NOT_PLANTED, TRUTHS
from pytest_llmci.engine.planted.base import Finding, State
from pytest_llmci.measure import builtin_metrics

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "measurement.md"
SPIKE = next(truth.name for truth in TRUTHS if "peak_rss" in truth.metrics)
FACTS = {
    "cpu_model": "Some CPU", "cores_allowed": 2, "memory_total_bytes": 8 << 30, "clock_source": "tsc", "kernel": "6.8",
    "libc": "glibc 2.36", "implementation": "CPython", "python": "3.11.7", "packages": {"torch": "2.6"},
    "load_average": [0.25, 0, 0],
}  # fmt: skip


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measurement_doc", ROOT / "tools" / "measurement_doc.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finding(error: float, state: State = "ok", metric: str = "peak_rss", truth: str = SPIKE) -> Finding:
    planted = 90 << 20
    return Finding(
        truth=truth, metric=metric, state=state, planted=planted, reported=planted + error, tolerance=786_432
    )


def test_the_page_has_a_row_for_every_metric_and_truth_and_no_other(tool: ModuleType) -> None:
    assert tool.faults(PAGE.read_text("utf-8")) == [], "run: python tools/measurement_doc.py"


def test_every_metric_has_a_row(tool: ModuleType) -> None:
    rows = list(tool.table([]))
    for metric in builtin_metrics():
        assert any(row.startswith(f"| `{metric.name}` |") for row in rows), metric.name
    assert {row.count("|") for row in rows} == {rows[0].count("|")}


def test_a_metric_without_a_truth_says_why(tool: ModuleType) -> None:
    rows = list(tool.table([]))
    for name, reason in NOT_PLANTED.items():
        assert any(row.startswith(f"| `{name}` | not planted: {reason} |") for row in rows)


def test_a_row_tells_the_median_and_the_worst_of_all_plantings(tool: ModuleType) -> None:
    found = [finding(error * 1024) for error in (-8, 64, -128)]
    row = next(row for row in tool.table(found) if SPIKE in row)
    assert row == f"| `peak_rss` | {SPIKE} | 90 MiB | 90 MiB | -8 KiB | -128 KiB (768 KiB) | 3 |"


@pytest.mark.parametrize(("state", "count"), [("off", "2, 1 off"), ("disturbed", "2, 1 disturbed")])
def test_what_was_not_right_is_counted_and_not_hidden(tool: ModuleType, state: State, count: str) -> None:
    row = next(row for row in tool.table([finding(0), finding(9e6, state)]) if SPIKE in row)
    assert row.endswith(f"| {count} |")


def test_what_could_not_be_planted_here_says_why(tool: ModuleType) -> None:
    lost = Finding(truth=SPIKE, metric="peak_rss", state="not measured", reason="needs Linux")
    row = next(row for row in tool.table([lost]) if SPIKE in row)
    assert row == f"| `peak_rss` | {SPIKE} | not measured: needs Linux | | | | |"


def test_the_machine_and_the_command_stand_below(tool: ModuleType) -> None:
    text = tool.section([], FACTS, "python tools/measurement_doc.py")
    assert text.startswith(tool.BEGIN) and text.endswith(tool.END)
    assert "`python tools/measurement_doc.py` on\nSome CPU, 2 cores, 8 GiB of memory, clock tsc, Linux 6.8" in text
    assert "CPython 3.11.7, torch 2.6; load average at the begin 0.25." in text


def test_stale_pages_are_found_out(tool: ModuleType) -> None:
    page = tool.section([], FACTS, "x")
    assert tool.faults(page) == []
    first = next(row for row in tool.table([]) if row.startswith("| `steal`"))
    assert any("no row for | `steal`" in fault for fault in tool.faults(page.replace(first + "\n", "")))
    assert any("`stale`" in fault for fault in tool.faults(page.replace("| `steal` |", "| `stale` |")))
    assert any("header" in fault for fault in tool.faults(page.replace(tool.HEADER, "| metric |")))
    assert any("markers" in fault for fault in tool.faults("no table"))


@pytest.mark.parametrize(("change", "status"), [("", 0), ("`steal`", 1)])
def test_checking_measures_and_writes_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, status: int
) -> None:
    page = tmp_path / "measurement.md"
    text = tool.section([], FACTS, "x")
    page.write_text(text.replace(change, "`stale`") if change else text, "utf-8")
    before = page.read_bytes()
    monkeypatch.setattr(tool, "TARGET", page)
    monkeypatch.setattr(sys, "argv", ["measurement_doc.py", "--check"])
    assert tool.main() == status
    assert page.read_bytes() == before


def test_writing_changes_nothing_outside_of_the_markers(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "measurement.md"
    page.write_text(f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n", "utf-8")
    asked: list[tuple[int, int]] = []

    def measure(rounds: int, long_rounds: int) -> list[Finding]:
        asked.append((rounds, long_rounds))
        return [finding(0)]

    monkeypatch.setattr(tool, "TARGET", page)
    monkeypatch.setattr(tool, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["measurement_doc.py", "--rounds", "2"])
    assert tool.main() == 0
    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{tool.BEGIN}\n") and text.endswith(f"{tool.END}\nafter\n")
    assert "\nold\n" not in text and f"| `peak_rss` | {SPIKE} | 90 MiB |" in text
    assert "`python tools/measurement_doc.py --rounds 2` on" in text
    assert asked == [(2, 2)]
