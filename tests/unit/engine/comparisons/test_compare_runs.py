from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stored_runs import block, judged, simple, started, write_run

from pytest_llmci.engine.comparisons.compare_runs import compare_runs, compare_stored
from pytest_llmci.engine.comparisons.explain_runs import facts
from pytest_llmci.engine.comparisons.runs_comparison import CHECKS, WHOLE_CELL, ComparedCell, RunsComparison
from pytest_llmci.engine.comparisons.stored_run import read_run
from pytest_llmci.errors import ConfigError
from pytest_llmci.records import ComparisonResult, ErrorInfo, GenerationSettings, LogRecord, RoundsRecord, WorkerRecord

CRASH = ErrorInfo(kind="crashed", message="killed by SIGKILL", facts={})


def compared(tmp_path: Path, before: list[Any], now: list[Any], **options: Any) -> RunsComparison:
    machines = [options.pop(name, None) for name in ("before_on", "now_on")]
    folders = [
        write_run(tmp_path, number, records, environment=machine)
        for number, (records, machine) in enumerate(zip((before, now), machines, strict=True))
    ]
    return compare_runs(folders[:1], folders[1], **options)


def cell(found: RunsComparison, name: str = "a-tcp") -> ComparedCell:
    return next(cell for cell in found.cells if cell.id == name)


def result(found: RunsComparison, metric: str, name: str = "a-tcp") -> ComparisonResult:
    return next(result for result in cell(found, name).results if result.metric == metric)


# ------------------------------------------------------------------------------------------------------------- times


def test_a_run_against_one_like_it_does_not_fail(tmp_path: Path) -> None:
    found = compared(tmp_path, simple(), simple(seed=1))
    assert (found.failed, found.mode, len(found.cells)) == (False, "saved", 2)
    net = result(found, "net_time")
    assert (net.mode, net.against, net.rounds) == ("saved", found.base[0].name, 10)
    assert net.visible is not None and 0.1 < net.visible < 0.6  # sessions differ by more than rounds do
    assert {each.metric for each in cell(found).results} == {"output_tokens", "cpu_time", "net_time", "peak_rss"}


def test_a_gross_slowdown_is_found_and_a_gain_is_none(tmp_path: Path) -> None:
    slower = compared(tmp_path / "slower", simple(), simple(seed=1, factor=1.6))
    assert slower.failed and result(slower, "net_time").verdict == "regressed"
    assert [(alias, each.metric, each.verdict) for alias, each in slower.models if each.metric != CHECKS] == [
        ("a", "cpu_time", "regressed"), ("a", "net_time", "regressed")
    ]  # fmt: skip
    faster = compared(tmp_path / "faster", simple(), simple(seed=1, factor=0.5))
    assert not faster.failed and result(faster, "net_time").improved


def test_the_time_that_a_busier_machine_explains_is_not_held_against_the_candidate(tmp_path: Path) -> None:
    def busy(factor: float) -> list[Any]:
        return simple(seed=1, factor=1.25, values={"latency": [round(1.25e9 * factor)] * 10})

    quiet, loaded = (compared(tmp_path / str(factor), simple(), busy(factor)) for factor in (1.05, 4.0))
    assert (result(loaded, "net_time").visible or 0) > 1.3 * (result(quiet, "net_time").visible or 0)


def test_on_another_machine_times_are_not_compared_and_all_else_is(tmp_path: Path) -> None:
    now = simple(seed=1, factor=3.0, values={"peak_rss": [2e9] * 10})
    found = compared(tmp_path, simple(), now, now_on={"cpu_model": "B"})
    time = result(found, "cpu_time")
    assert (time.verdict, time.reason) == ("not comparable", "other hardware: cpu_model: A -> B")
    assert result(found, "peak_rss").verdict == "regressed"
    assert found.hardware == ("cpu_model: A -> B",)


def test_stored_times_of_another_server_are_not_compared(tmp_path: Path) -> None:
    """The client's machine is the same on both sides."""

    def behind(address: str, version: str, seed: int = 0) -> list[Any]:
        info = {"source": "endpoint", "server": address, "server_version": version, "prompt_prefix": "none"}
        return [started(info=info), *simple(seed=seed)[1:]]

    found = compared(tmp_path / "other", behind("http://a:80", "1.0"), behind("http://b:80", "1.1", seed=1))
    time = result(found, "cpu_time")
    assert (time.verdict, time.reason) == ("not comparable", "another server: http://a:80 -> http://b:80")
    assert found.hardware == ("server: http://a:80 -> http://b:80",)
    assert found.changed == ("server: http://a:80 -> http://b:80", "server_version: 1.0 -> 1.1")
    newer = compared(tmp_path / "newer", behind("http://a:80", "1.0"), behind("http://a:80", "1.1", seed=1))
    assert result(newer, "cpu_time").verdict != "not comparable"
    assert newer.changed == ("server_version: 1.0 -> 1.1",)


def test_one_round_says_so_whichever_side_has_it(tmp_path: Path) -> None:
    texts = {}
    for before, now in ((1, 10), (10, 1), (1, 1)):
        found = compared(tmp_path / f"{before}-{now}", simple(n=before), simple(seed=1, n=now))
        texts[before, now] = (result(found, "net_time").verdict, result(found, "net_time").reason)
    assert texts == {
        (1, 10): ("inconclusive", "the reference has 1 round: fewer than 3 decide nothing"),
        (10, 1): ("inconclusive", "1 round: fewer than 3 decide nothing"),
        (1, 1): ("inconclusive", "either side has 1 round: fewer than 3 decide nothing"),
    }


def test_missing_and_infinite_numbers_are_no_pass_and_say_why(tmp_path: Path) -> None:
    gap = simple(["tcp"], values={"ttft": [1e8] * 9 + [None]}, reasons={"ttft": "no token came"})
    found = compared(tmp_path / "gap", gap, simple(["tcp"], seed=1), detect={"ttft": 0.1})
    ttft = result(found, "ttft")
    assert (ttft.verdict, ttft.reason) == ("inconclusive", "missing on the side of the reference: no token came")
    infinite = simple(["tcp"], seed=1, values={"ttft": [float("nan")] * 10})
    found = compared(tmp_path / "nan", simple(["tcp"]), infinite, detect={"ttft": 0.1})
    reason = result(found, "ttft").reason
    assert reason == "missing on the side of the candidate: the measured number was not finite"


def test_clocks_that_tie_are_not_judged(tmp_path: Path) -> None:
    ties = {name: [0] * 10 for name in ("net_time", "cpu_time")}
    found = compared(tmp_path, simple(values=ties), simple(values=ties))
    assert {each.verdict for each in cell(found).results if each.mode != "exact"} <= {"inconclusive", "pass"}
    assert not found.failed


def test_what_is_asked_for_is_judged_alone_or_beside(tmp_path: Path) -> None:
    alone = compared(tmp_path / "alone", simple(), simple(seed=1), only=["ttft"])
    assert [each.metric for each in cell(alone).results] == ["ttft"]
    assert {each.metric for _, each in alone.models} == {"ttft"}
    beside = compared(tmp_path / "beside", simple(), simple(seed=1), detect={"ttft": 0.4, "": 0.2})
    assert (result(beside, "ttft").detect, result(beside, "net_time").detect) == (0.4, 0.2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("latenzy", "compare: unknown metric 'latenzy'. Did you mean 'latency'?"),
        ("cpu_percent", "compare: cpu_percent cannot be judged: neither more nor less of it is better."),
        ("model_footprint", "compare: model_footprint cannot be judged: it is not measured round by round."),
    ],
)
def test_metrics_that_cannot_be_judged(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compared(tmp_path, simple(), simple(), only=[name])
    assert str(raised.value).startswith(words)


def loaded(seconds: Sequence[float], **changes: Any) -> list[Any]:
    """A run whose model was started so many times."""
    (first, *rest), usual = seconds, simple(**changes)
    start = started(values={"load_time": first * 1e9})
    assert isinstance(start, WorkerRecord)
    more = [replace(start, uid=f"w{number}", values={"load_time": each * 1e9}) for number, each in enumerate(rest)]
    return [start, *more, *usual[1:]]


def test_load_time_is_judged_where_it_is_named_and_starts_suffice(tmp_path: Path) -> None:
    few = compared(tmp_path / "few", loaded([1.0]), loaded([9.0], seed=1), detect={"load_time": 0.2})
    whole = {result.metric: result for _, result in few.models}
    assert whole["load_time"].reason == "1 start on a side: fewer than 3 decide nothing"
    assert (whole["load_time"].base, whole["load_time"].candidate, few.failed) == (1.0, 9.0, False)
    many = compared(tmp_path / "many", loaded([1, 1.01, 0.99]), loaded([5, 5.1, 4.9], seed=1), only=["load_time"])
    assert [(result.metric, result.verdict) for _, result in many.models] == [("load_time", "regressed")]
    assert many.failed
    assert [cell.results for cell in many.cells] == [(), ()]


def test_load_time_is_shown_and_not_gated_unless_it_is_named(tmp_path: Path) -> None:
    found = compared(tmp_path, loaded([1, 1.01, 0.99]), loaded([5, 5.1, 4.9], seed=1))
    assert not found.failed
    assert "load_time" not in {result.metric for _, result in found.models}
    assert dict(facts(found))["load time"] == "a 1 s -> 5 s (+400 %), 3/3 starts: not gated"


def test_a_cell_apart_is_judged_and_does_not_count_for_its_model(tmp_path: Path) -> None:
    slow = [started(), block("tcp", factor=3), block("dns", seed=1), *simple()[3:]]
    runs = [read_run(write_run(tmp_path, number, records)) for number, records in enumerate((simple(), slow))]
    usual, apart = (compare_stored(runs[:1], runs[1], apart=names) for names in ((), ("a-tcp",)))
    assert {result.metric for _, result in usual.models} == {"cpu_time", "net_time", CHECKS}
    assert {result.metric for _, result in apart.models} == {CHECKS}
    assert (result(apart, "net_time").verdict, result(apart, "net_time", "a-dns").verdict) == (
        "regressed",
        "inconclusive",
    )


# ----------------------------------------------------------------------------------------------------- which cells


def test_new_cells_pass_and_lost_ones_fail(tmp_path: Path) -> None:
    found = compared(tmp_path, simple(["tcp", "dns"]), simple(["tcp", "udp"], seed=1))
    assert {cell.id: cell.verdict for cell in found.cells if cell.id != "a-tcp"} == {
        "a-udp": "new", "a-dns": "lost coverage"
    }  # fmt: skip
    assert found.failed
    assert result(found, WHOLE_CELL, "a-dns").reason == f"{found.candidate.name} did not measure it"


def test_a_cell_that_crashed_is_lost_and_one_that_crashed_before_is_new(tmp_path: Path) -> None:
    dead = [started(), block(n=0, error=CRASH), judged(verdict="failed", checks=[], error=CRASH, rounds=0)]
    both = [*dead, block("dns"), judged("dns")]
    found = compared(tmp_path / "now", simple(), both)
    assert result(found, WHOLE_CELL).verdict == "lost coverage"
    assert result(found, WHOLE_CELL).reason == "killed by SIGKILL"
    found = compared(tmp_path / "before", both, simple())
    assert result(found, WHOLE_CELL).verdict == "new"
    assert not found.failed


def test_no_common_cell_is_an_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no cell is in both runs. .* has a-tcp; .* has b-tcp"):
        compared(tmp_path, simple(["tcp"]), simple(["tcp"], model="b"))


def test_what_differs_in_every_cell_is_one_error(tmp_path: Path) -> None:
    other: dict[str, Any] = {"generation": GenerationSettings(max_new_tokens=100)}
    with pytest.raises(ConfigError, match=r"all 2 common cells of .* differ in max_new_tokens: 50 -> 100\."):
        compared(tmp_path / "tokens", simple(), simple(**other))
    with pytest.raises(ConfigError, match=r"differ in prompt_sha256\."):
        compared(tmp_path / "prompts", simple(), [started(), block(prompt_sha256="x"), block("dns", prompt_sha256="y")])


def test_what_differs_in_one_cell_is_a_row_with_the_field(tmp_path: Path) -> None:
    now = [started(), block(prompt_sha256="x"), block("dns"), judged(), judged("dns")]
    found = compared(tmp_path, simple(), now)
    whole = result(found, WHOLE_CELL)
    asked = hashlib.sha256(b"What is tcp?").hexdigest()
    assert (whole.verdict, whole.reason) == ("not comparable", f"prompt_sha256: {asked} -> x")
    assert cell(found, "a-dns").verdict != "not comparable"


def test_another_method_of_measuring_memory_hides_no_time(tmp_path: Path) -> None:
    found = compared(tmp_path, simple(), simple(seed=1, memory_method="sampler"))
    assert result(found, "peak_rss").verdict == "not comparable"
    assert result(found, "net_time").verdict in ("pass", "inconclusive")


def of_memory_pass(growth: float, **changes: Any) -> LogRecord:
    return block(uid="m1", origin="memory", values={"peak_rss_delta": [growth] * 10}, **changes)


def test_memory_passes_of_both_runs_are_compared(tmp_path: Path) -> None:
    before = [*simple(["tcp"]), of_memory_pass(20e6)]
    found = compared(tmp_path / "same", before, [*simple(["tcp"], seed=1), of_memory_pass(20e6)])
    assert (result(found, "peak_rss_delta").verdict, cell(found).results[0].rounds) == ("pass", 10)
    grown = compared(tmp_path / "grown", before, [*simple(["tcp"], seed=1), of_memory_pass(30e6)])
    assert (grown.failed, result(grown, "peak_rss_delta").verdict) == (True, "regressed")
    only = compared(
        tmp_path / "only", before, [*simple(["tcp"], seed=1), of_memory_pass(30e6)], only=["peak_rss_delta"]
    )
    assert {each.metric for each in cell(only).results} == {"peak_rss_delta"}
    ended = of_memory_pass(30e6, error=CRASH)
    without = compared(tmp_path / "ended", before, [*simple(["tcp"], seed=1), ended])
    assert "peak_rss_delta" not in {each.metric for each in cell(without).results}


def test_a_cell_of_several_tests_is_paired_by_test(tmp_path: Path) -> None:
    def run(factor: float) -> list[Any]:
        one, other = block("tcp", uid="r1", test="t::one"), block("tcp", uid="r2", test="t::other", factor=factor)
        return [started(), one, other]

    found = compared(tmp_path, run(1.0), run(2.0))
    assert {cell.id: cell.verdict == "regressed" for cell in found.cells} == {
        "a-tcp (t::one)": False, "a-tcp (t::other)": True
    }  # fmt: skip


def test_only_the_last_attempt_counts(tmp_path: Path) -> None:
    now = [started(), block(uid="r1", factor=3.0), block(uid="r2", attempt=1), block("dns"), judged(), judged("dns")]
    found = compared(tmp_path, simple(), now)
    assert (result(found, "net_time").rounds, result(found, "net_time").change) == (10, 0.0)


def test_rounds_of_a_reference_and_of_the_memory_pass_are_not_the_candidates(tmp_path: Path) -> None:
    others = [
        block(uid=f"x{number}", origin=origin, factor=5.0) for number, origin in enumerate(("reference", "memory"))
    ]
    found = compared(tmp_path, simple(), [*simple(seed=1), *others])
    assert result(found, "net_time").rounds == 10
    assert not found.failed


# ---------------------------------------------------------------------------------------------------------- answers


def outputs(*texts: str) -> dict[str, Any]:
    return {
        "outputs": list(texts), "md5": ["0"] * len(texts), "output_sha256": list(texts),
        "output_of_round": [number % len(texts) for number in range(10)],
    }  # fmt: skip


def test_changed_answers_are_counted_and_no_regression(tmp_path: Path) -> None:
    now = [started(), block(**outputs("other")), block("dns"), judged(), judged("dns")]
    found = compared(tmp_path, simple(), now)
    assert (found.changed_outputs, found.failed) == (("a-tcp",), False)


def test_a_lost_check_fails_where_answers_repeat_to_the_letter(tmp_path: Path) -> None:
    now = [started(), block(), block("dns"), judged(passed=False), judged("dns")]
    found = compared(tmp_path / "census", simple(), now)
    checks = next(each for _, each in found.models if each.metric == CHECKS)
    assert (checks.verdict, checks.base, checks.candidate) == ("regressed", 1.0, 0.5)
    assert checks.reason == "1 of 2 lost (a-tcp), 0 won"
    assert found.failed
    varied = [started(), block(**outputs("x", "y")), block("dns"), judged(), judged("dns")]
    found = compared(tmp_path / "varied", varied, now)
    checks = next(each for _, each in found.models if each.metric == CHECKS)
    assert (checks.verdict, found.failed) == ("inconclusive", False)
    assert checks.reason == "1 of 2 lost (a-tcp), 0 won; answers vary, so this may be luck"


def test_other_lengths_are_reported_as_length(tmp_path: Path) -> None:
    found = compared(tmp_path, simple(), simple(seed=1, tokens=60, factor=1.2))
    assert result(found, "net_time").reason == "the answers differ in length: 50 -> 60 tokens"
    assert result(found, "output_tokens").verdict == "not comparable"
    assert not found.failed


# --------------------------------------------------------------------------------------------- what is on trial


def test_what_changed_is_told_once_where_all_models_share_it(tmp_path: Path) -> None:
    before = [*simple(), *simple(model="b")]
    now = [*simple(), *simple(model="b", info={"dtype": "bfloat16"})]
    git = {"git": {"commit": "2" * 40, "branch": "main", "dirty": False}}
    found = compared(tmp_path, before, now, now_on=git)
    assert found.changed == (f"commit: {'1' * 40} -> {'2' * 40}", "b: dtype: float32 -> bfloat16")


def test_an_accepted_regression_is_none(tmp_path: Path) -> None:
    asked = []

    def accept(cell: str, result: ComparisonResult) -> str:
        asked.append((cell, result.metric))
        return "a larger cache is meant"

    found = compared(tmp_path, simple(["tcp"]), simple(["tcp"], values={"peak_rss": [2e9] * 10}), accepted=accept)
    assert asked == [("a-tcp", "peak_rss")]
    assert (result(found, "peak_rss").accepted, found.failed) == ("a larger cache is meant", False)


# ------------------------------------------------------------------------------------------------ several older runs


def history(tmp_path: Path, factors: list[float], now: float, **other: Any) -> RunsComparison:
    folders = [write_run(tmp_path, n, simple(seed=n, factor=factor), **other) for n, factor in enumerate(factors)]
    candidate = write_run(tmp_path, 20, simple(seed=20, factor=now))
    return compare_runs(folders, candidate)


def test_several_older_runs_tell_how_much_sessions_differ(tmp_path: Path) -> None:
    steady = history(tmp_path / "steady", [1.0, 1.001, 0.999, 1.0, 1.001, 1.0, 0.999, 1.0], 1.35)
    assert (steady.mode, result(steady, "net_time").mode, result(steady, "net_time").against) == (
        "history",
        "history",
        "8 runs",
    )
    assert steady.failed
    wild = history(tmp_path / "wild", [1.0, 1.2, 0.8, 1.1, 0.9, 1.15, 0.85, 1.0], 1.35)
    assert not wild.failed
    assert (result(wild, "net_time").visible or 0) > 1.5 * (result(steady, "net_time").visible or 0)


def test_the_order_of_older_runs_is_that_of_their_start(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, n, simple(["tcp"] if n == 0 else ["tcp", "dns"])) for n in range(2)]
    candidate = write_run(tmp_path, 2, simple(["tcp", "dns"], seed=2))
    one, other = compare_runs(folders, candidate), compare_runs(folders[::-1], candidate)
    assert [run.name for run in one.base] == [run.name for run in other.base]
    assert cell(one, "a-dns").verdict != "new"


def test_older_runs_that_do_not_fit_are_left_out_and_named(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path, 0, simple(), environment={"cpu_model": "B"}),
        write_run(tmp_path, 1, simple(["tcp"])),
        write_run(tmp_path, 2, simple(seed=2)),
    ]
    found = compare_runs(folders, write_run(tmp_path, 3, simple(seed=3)))
    names = [folder.name for folder in folders]
    assert found.mode == "saved"
    assert found.notes == (
        f"{names[0]} was left out for a: other hardware: cpu_model: B -> A",
        f"{names[1]} was left out for a: it has no comparable rounds of a-dns",
    )


def test_no_older_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name one before the candidate"):
        compare_runs([], write_run(tmp_path, 0, simple()))


def test_blocks_of_one_cell_are_joined(tmp_path: Path) -> None:
    one = block(uid="r1")
    assert isinstance(one, RoundsRecord)
    more = replace(one, uid="r9", block=1)
    found = compared(tmp_path, [*simple(), more], [*simple(seed=1), more])
    assert result(found, "net_time").rounds == 20
