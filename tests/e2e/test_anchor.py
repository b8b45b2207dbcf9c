"""``--llmci-anchor``: stored times beside those of a frozen model."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from bench import Bench
from timing import on_real_time

pytestmark = on_real_time

pytest.importorskip("numpy")
FIXED = ("--llmci-rounds=6", "--llmci-max-rounds=6")
WORK = """
def answer(prompt):
    total = 0
    for number in range({amount}):
        total += number % 7
    return f"an answer to {{prompt}}: {{total % 3}}"
"""
"""Work and no sleep: what slows the process down slows it down."""
OWN = ("latency", "cpu_time", "net_time")
FROZEN = ("anchor_cpu_time", "anchor_net_time")


def work(bench: Bench, amount: int, *args: str) -> pytest.RunResult:
    bench.write("work.py", WORK.format(amount=amount))
    return bench.suite("work=py:work:answer", *FIXED, *args, fresh=True)


def times(bench: Bench) -> list[dict[str, Any]]:
    """The results on CPU and net time of all cells."""
    found = [result for record in bench.records("verdict") for result in record["comparisons"]]
    return [result for result in found if result["metric"] in OWN]


def change_baseline(bench: Bench, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every cell of the stored session."""
    (path,) = (bench.path / "llmci-baselines" / "main").glob("*.json")
    data = json.loads(path.read_text("utf-8"))
    for cell in data["sessions"][-1]["cells"]:
        change(cell)
    path.write_text(json.dumps(data), "utf-8")


def faster(*metrics: str) -> Callable[[dict[str, Any]], None]:
    """As if the machine had been three times as fast for these, in the session that is stored."""

    def change(cell: dict[str, Any]) -> None:
        for name in metrics:
            cell["samples"][name] = [round(value / 3) for value in cell["samples"][name]]

    return change


def without_frozen(cell: dict[str, Any]) -> None:
    del cell["protocol"]["anchor"]
    for name in FROZEN:
        del cell["samples"][name]


def test_a_session_has_its_times_round_by_round_and_keeps_them(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-anchor", "--llmci-save-baseline", *FIXED)
    assert result.ret == 0
    (worker,) = bench.records("worker")
    for block in bench.records("rounds"):
        assert block["anchor"] == worker["info"]["anchor"]
        assert all(len(block["values"][name]) == 6 for name in FROZEN)
        assert min(block["values"]["anchor_cpu_time"]) > 1e6 > max(block["values"]["cpu_time"])
    with (bench.latest / "results.csv").open(encoding="utf-8", newline="") as file:
        assert all(float(row["anchor_cpu_time"]) > 1e-3 for row in csv.DictReader(file))
    (path,) = (bench.path / "llmci-baselines" / "main").glob("*.json")
    session = json.loads(path.read_text("utf-8"))["sessions"][0]
    assert session["origin"]["settings"]["anchor"] is True
    for cell in session["cells"]:
        assert cell["protocol"]["anchor"] == worker["info"]["anchor"]
        assert all(len(cell["samples"][name]) == 6 for name in FROZEN)


def test_nobody_who_did_not_ask_has_a_column_of_it(bench: Bench) -> None:
    assert bench.suite("echo", "--llmci-save-baseline").ret == 0
    assert "anchor_cpu_time" not in (bench.latest / "results.csv").read_text("utf-8")
    (path,) = (bench.path / "llmci-baselines" / "main").glob("*.json")
    assert '"anchor": "' not in path.read_text("utf-8")


def test_a_slower_machine_is_not_held_against_the_model(bench: Bench) -> None:
    """Where the plain times regress threefold, the same times beside the frozen model do not."""
    assert work(bench, 600_000, "--llmci-anchor", "--llmci-save-baseline").ret == 0
    change_baseline(bench, faster(*OWN, *FROZEN))
    result = work(bench, 600_000, "--llmci-anchor", "--llmci-baseline")
    assert result.ret == 0
    found = times(bench)
    assert {(each["mode"], each["verdict"] == "regressed") for each in found} == {("anchored", False)}
    assert len(found) == 4
    assert all(each["candidate"] > 2 * each["base"] and abs(each["change"]) < 1 for each in found)
    result.stdout.re_match_lines([r"llmci: baseline main: stored numbers, as it was saved outside of a git.*"])
    assert "divided by that of the frozen model beside it" in " ".join(result.stdout.str().split())

    change_baseline(bench, without_frozen)
    result = work(bench, 600_000, "--llmci-anchor", "--llmci-baseline")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {each["mode"] for each in times(bench)} == {"saved"}
    told = " ".join(result.stdout.str().split())
    assert "times as they were measured: this session alone has those of a frozen model" in told


def test_a_slower_model_is(bench: Bench) -> None:
    assert work(bench, 300_000, "--llmci-anchor", "--llmci-save-baseline").ret == 0
    result = work(bench, 1_500_000, "--llmci-anchor", "--llmci-baseline")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {(each["mode"], each["verdict"]) for each in times(bench)} == {("anchored", "regressed")}
    result.stdout.re_match_lines(
        [
            r"RegressionDetected: .* slower than main.*",
            r" +how +6 rounds a side, stored numbers, each divided by the time of the.*",
            r" +beside +\w+_time: measured \+\d+\.\d %, the frozen model beside it [+-]\d+\.\d.*",
        ]
    )


def test_a_session_without_it_takes_stored_times_as_they_are(bench: Bench) -> None:
    assert work(bench, 100_000, "--llmci-anchor", "--llmci-save-baseline").ret == 0
    result = work(bench, 100_000, "--llmci-baseline")
    told = " ".join(result.stdout.str().split())
    assert "times as they were measured: it alone has those of a frozen model beside them (--llmci-anchor)" in told
    assert {each["mode"] for each in times(bench)} == {"saved"}
    assert all("the candidate has none of its times" in each["reason"] for each in times(bench))
    memory = [
        each for record in bench.records("verdict") for each in record["comparisons"] if each["metric"] == "peak_rss"
    ]
    assert {each["verdict"] for each in memory} == {"not comparable"}


def test_stored_runs_are_compared_beside_it_as_well(bench: Bench) -> None:
    for _ in range(2):
        assert work(bench, 100_000, "--llmci-anchor").ret == 0
    compare = (sys.executable, "-m", "pytest_llmci.cli.main", "compare", "latest~1", "latest")
    told = " ".join(bench.pytester.run(*compare).stdout.str().split())
    assert "each divided by the time of the same frozen model beside it" in told
    assert work(bench, 100_000).ret == 0
    told = " ".join(bench.pytester.run(*compare).stdout.str().split())
    assert "times of work: as measured, not beside the frozen model: the candidate has none of its times" in told


def test_both_sides_of_a_session_that_measures_in_turn_have_it(bench: Bench) -> None:
    """It tells them nothing, and the session may become a baseline all the same."""
    result = bench.suite("echo=echo+ttft=20ms", "--llmci-versus=echo+ttft=20ms", "--llmci-anchor", *FIXED, fresh=True)
    assert result.ret == 0
    blocks = [block for block in bench.records("rounds") if block["origin"] in ("measured", "reference")]
    assert {block["origin"] for block in blocks} == {"measured", "reference"}
    for block in blocks:
        column = block["values"]["anchor_cpu_time"]
        assert [value is not None for value in column] == [i % block["repeats"] == 0 for i in range(block["n"])]
    assert {each["mode"] for each in times(bench)} == {"interleaved"}


def test_where_it_cannot_be_it_is_missing_with_the_reason(bench: Bench) -> None:
    assert bench.suite("echo", "--llmci-anchor", "--llmci-isolation=inline").ret == 0
    for block in bench.records("rounds"):
        assert "own process (--llmci-isolation=worker)" in block["reasons"]["anchor_cpu_time"]
        assert block["anchor"] == ""


def test_a_plan_tells_what_it_costs(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-anchor", "--llmci-plan")
    result.stdout.fnmatch_lines(["--llmci-anchor: about 25 ms for the frozen model beside each round, some MiB*"])
    assert "--llmci-anchor" not in bench.suite("echo", "--llmci-plan").stdout.str()


def test_settings_may_ask_for_it(bench: Bench) -> None:
    bench.write("pyproject.toml", "[tool.llmci]\nanchor = true\n")
    assert bench.suite("echo").ret == 0
    assert "anchor_cpu_time" in (bench.latest / "results.csv").read_text("utf-8")
