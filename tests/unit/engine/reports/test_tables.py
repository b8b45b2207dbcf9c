from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_run import header, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.engine.reports.retries import retry_text
from pytest_llmci.engine.reports.tables import MOST_MODELS, summary_lines
from pytest_llmci.engine.schedule import OUT_OF_TIME
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import BudgetResult, CheckResult, ComparisonResult, ErrorInfo, GateRecord, LogRecord
from pytest_llmci.store.log import LOG_NAME, LogWriter


def write_whole_log(folder: Path, records: list[LogRecord]) -> None:
    """A log whose header defines all that the table shows."""
    writer = LogWriter(folder / LOG_NAME, clock=FakeClock())
    for record in (header(metrics=list(builtin_metrics())), *records):
        writer.append(record)
    writer.close(0)
    writer.release()


def lines_of(
    folder: Path, records: list[LogRecord], *, width: int = 80, gated: bool = True, hints: bool = False
) -> list[str]:
    write_whole_log(folder, records)
    report = build_report(folder)
    return summary_lines(report, report.folder, width=width, gated=gated, hints=hints)


def told(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def two_models() -> list[LogRecord]:
    return [
        worker("w1", "slow"), rounds("r1", "slow"), verdict("v1", "slow"),
        worker("w2", "quick", values={}), rounds("r2", "quick", latencies_ms=(10, 10, 10), worker="w2"), verdict("v2", "quick"),
    ]  # fmt: skip


def test_verdicts_that_are_opinions_are_told_from_those_of_rules(tmp_path: Path) -> None:
    rule = CheckResult(name="valid", passed=True, message="")
    opinion = CheckResult(name="judge:{}", passed=True, message="", judged_by="big")
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    found = lines_of(
        tmp_path / "with", [worker("w1", "a"), rounds("r1", "a"), verdict("v1", "a", checks=[rule, opinion])]
    )
    assert "valid: 1 of 2 verdicts on outputs is an opinion of big." in found
    found = lines_of(tmp_path / "without", [worker("w1", "a"), rounds("r1", "a"), verdict("v1", "a", checks=[rule])])
    assert not any(line.startswith("valid:") for line in found)


def test_one_line_a_model_under_its_headings(tmp_path: Path) -> None:
    found = lines_of(tmp_path, two_models())
    assert [line.split() for line in found[:3]] == [
        ["model", "latency", "slowest", "1st", "token", "tokens/s", "peak", "RAM", "load", "valid"],
        ["slow", "110", "ms", "120", "ms", "11", "ms", "n/a", "238", "MiB", "1.50", "s", "1/1"],
        ["quick", "*10", "ms", "10", "ms", "1", "ms", "n/a", "238", "MiB", "n/a", "1/1"],
    ]
    assert len({len(line) for line in found[:3]}) == 1
    assert found[3] == "latency: median of 3 rounds a model. * best"


def test_models_with_unlike_numbers_of_rounds_are_told_the_range(tmp_path: Path) -> None:
    more: list[LogRecord] = [
        rounds("r3", "quick", latencies_ms=(10,), worker="w2"),
        worker("w3", "dead"),
        verdict("v3", "dead", verdict="failed", rounds=0, error=ErrorInfo(kind="crash", message="killed")),
    ]
    found = lines_of(tmp_path, [*two_models(), *more])
    assert found[4] == "latency: median of 3 to 4 rounds a model. * best"


def test_where_no_time_was_kept_no_rounds_of_a_latency_are_told(tmp_path: Path) -> None:
    reason = "its test says timed=False"
    untimed = rounds("r1", "a", values={"peak_rss": [1, 2, 3]}, reasons={"latency": reason})
    found = lines_of(tmp_path, [worker("w1", "a"), untimed, verdict("v1", "a")])
    assert found[2] == f"No latency: {reason}."


def test_a_single_model_is_not_the_best_of_one(tmp_path: Path) -> None:
    found = lines_of(tmp_path, two_models()[:3])
    assert "*" not in "".join(found)
    assert found[2] == "latency: median of 3 rounds."


def test_a_model_none_of_whose_answers_is_valid_is_not_the_best(tmp_path: Path) -> None:
    empty = CheckResult(name="valid", passed=False, message="the output is empty")
    invalid = verdict("v2", "quick", verdict="failed", checks=[empty])
    found = lines_of(tmp_path, [*two_models()[:-1], invalid])
    assert "*" not in "".join(found)
    assert found[2].split()[-1] == "0/1"


def test_whether_a_template_was_applied_is_told_of_what_was_answered(tmp_path: Path) -> None:
    failed = ErrorInfo(kind="server_died", message="gone")
    dead: list[LogRecord] = [
        worker("w3", "dead"), rounds("r3", "dead", latencies_ms=(), worker="w3", error=failed),
        verdict("v3", "dead", verdict="failed", rounds=0, error=failed),
    ]  # fmt: skip
    (tmp_path / "all").mkdir()
    (tmp_path / "some").mkdir()
    through: list[LogRecord] = [
        worker("w1", "slow"),
        rounds("r1", "slow", templated=True),
        verdict("v1", "slow"),
    ]
    assert "chat template: applied in the cell." in lines_of(tmp_path / "all", [*through, *dead])
    said = "chat template: applied in 1 of 2 cells; the others went to the model as they are."
    assert said in told(lines_of(tmp_path / "some", [*through, *two_models()[3:], *dead]))


def test_noise_and_deaths_are_told(tmp_path: Path) -> None:
    found = lines_of(tmp_path, usual_records())
    assert "1 of 6 rounds was noisy. 1 process was lost." in " ".join(found)


def test_the_own_cost_is_in_every_summary(tmp_path: Path) -> None:
    costs = {"own_latency": 22_000}
    (tmp_path / "one").mkdir()
    found = lines_of(tmp_path / "one", [worker("w1", "a", values=costs), rounds("r1", "a"), verdict("v1", "a")])
    told = found.index("Own cost: 22 µs in 50 tokens, 0.02 % of a median latency.")
    assert found[told - 1] == "latency: median of 3 rounds."
    records: list[LogRecord] = [
        *(worker("w1", "a", values=costs), rounds("r1", "a"), verdict("v1", "a")),
        *(
            worker("w2", "b", values={"own_latency": 30_000}),
            rounds("r2", "b", latencies_ms=(3, 3, 3), worker="w2"),
            verdict("v2", "b"),
        ),
    ]
    assert "Own cost: 30 µs in 50 tokens, at most 1 % of a median latency." in " ".join(lines_of(tmp_path, records))


def test_an_own_cost_like_the_answers_own_time_is_no_share(tmp_path: Path) -> None:
    start = worker("w1", "a", values={"own_latency": 22_000})
    quick = rounds("r1", "a", latencies_ms=(0.02, 0.02, 0.02))
    found = " ".join(lines_of(tmp_path, [start, quick, verdict("v1", "a")]))
    assert "Own cost: 22 µs in 50 tokens, as much as the fastest answers take." in found


def test_answers_of_another_length_are_told(tmp_path: Path) -> None:
    other = rounds("r1", "a", values={"latency": [1, 2, 1], "output_tokens": [5, 7, 5]})
    found = " ".join(lines_of(tmp_path, [worker("w1", "a"), other, verdict("v1", "a")]))
    assert "1 of 3 answers differs in length from the cell's others: compare latency_per_token." in found


@pytest.mark.parametrize("width", [80, 100])
def test_long_names_are_cut_in_the_middle_to_fit(tmp_path: Path, width: int) -> None:
    name = "a-very-long-name-of-a-model-" + "x" * 60 + "-the-end"
    found = lines_of(tmp_path, [worker("w1", name), rounds("r1", name), verdict("v1", name)], width=width)
    assert max(map(len, found[:2])) <= width
    assert ".." in found[1] and found[1].startswith("a-ver") and "end " in found[1]


def test_more_models_than_fit_are_counted(tmp_path: Path) -> None:
    records: list[LogRecord] = []
    for number in range(MOST_MODELS + 2):
        records += [worker(f"w{number}", f"m{number}"), rounds(f"r{number}", f"m{number}", worker=f"w{number}")]
    found = lines_of(tmp_path, records)
    assert found[MOST_MODELS + 1] == "... and 2 more models, in summary.csv"


def test_hints_are_for_a_first_run_without_any_gate(tmp_path: Path) -> None:
    text = "\n".join(lines_of(tmp_path, two_models(), gated=False, hints=True))
    assert "Nothing was gated: no budget and nothing to compare with." in text and "--llmci-max-latency=2s" in text


@pytest.mark.parametrize(("gated", "hints"), [(True, True), (False, False)])
def test_no_hints_otherwise(tmp_path: Path, gated: bool, hints: bool) -> None:
    assert "Nothing was gated" not in "\n".join(lines_of(tmp_path, two_models(), gated=gated, hints=hints))


def test_what_was_only_called_is_not_a_measurement(tmp_path: Path) -> None:
    calls: list[LogRecord] = [
        worker("w1", "a"),
        rounds("r1", "a", latencies_ms=(5,), origin="call"),
        rounds("r2", "a", "dns", (5,), origin="call"),
    ]
    text = "\n".join(lines_of(tmp_path, calls))
    assert "No cell was measured: no llm_result" in text
    said = "2 single calls in test bodies: recorded and checked, not gated on time, not in this table."
    assert said in " ".join(text.split())
    assert max(map(len, text.splitlines()[:-1])) <= 80


def test_what_was_interrupted_was_asked_for(tmp_path: Path) -> None:
    stopped = ErrorInfo(kind="interrupted", message="interrupted: KeyboardInterrupt: ")
    text = "\n".join(lines_of(tmp_path, [worker("w1", "a"), rounds("r1", "a", latencies_ms=(), error=stopped)]))
    assert "No cell was measured to its end." in text


def test_an_undecided_cell_is_no_pass_and_says_what_it_lacks(tmp_path: Path) -> None:
    budget = BudgetResult(
        budget="latency <= 1s", origin="x", metric="latency", statistic="median", operator="<=", limit=1.0, verdict="inconclusive",
        observed=1.1, rounds=3, reason="too close",
    )  # fmt: skip
    records: list[LogRecord] = [
        worker("w1", "a"),
        rounds("r1", "a"),
        verdict("v1", "a", verdict="inconclusive", budgets=[budget]),
    ]
    text = "\n".join(lines_of(tmp_path, records))
    assert "INCONCLUSIVE is not a pass: 1 of 1 cell could not be decided.\n  a-tcp: latency <= 1s: too close" in text


@pytest.mark.parametrize(("known", "end"), [("", "regressed."), ("a bigger model", "regressed, which is accepted.")])
def test_cells_whose_model_failed_by_stored_numbers_ask_for_nothing_more(tmp_path: Path, known: str, end: str) -> None:
    alone = ComparisonResult(
        metric="net_time", mode="saved", verdict="inconclusive", against="main", base=1.0, candidate=1.2, change=0.2, rounds=5
    )  # fmt: skip
    whole = replace(alone, verdict="regressed", base=None, candidate=None, accepted=known)
    gate = GateRecord(
        name="regression-a", outcome="passed" if known else "failed", message="", model="a", comparisons=[whole]
    )
    found = verdict("v1", "a", verdict="inconclusive", comparisons=[alone])
    text = told(lines_of(tmp_path, [worker("w1", "a"), rounds("r1", "a"), found, gate]))
    assert f"1 of 1 cell was not decided alone: its model as a whole {end}" in text
    assert "INCONCLUSIVE is not a pass" not in text and "--llmci-inconclusive=fail" not in text


def test_what_the_model_as_a_whole_does_not_answer_stays_open(tmp_path: Path) -> None:
    alone = ComparisonResult(
        metric="ttft", mode="saved", verdict="inconclusive", against="main", base=1.0, candidate=1.2, change=0.2, rounds=5
    )  # fmt: skip
    gate = GateRecord(
        name="regression-a", outcome="failed", message="", model="a",
        comparisons=[replace(alone, metric="net_time", verdict="regressed")],
    )  # fmt: skip
    found = verdict("v1", "a", verdict="inconclusive", comparisons=[alone])
    text = told(lines_of(tmp_path, [worker("w1", "a"), rounds("r1", "a"), found, gate]))
    assert "INCONCLUSIVE is not a pass: 1 of 1 cell could not be decided." in text


def compared(**changes: Any) -> list[LogRecord]:
    result = ComparisonResult(
        metric="latency", mode="interleaved", verdict="inconclusive", against="main", base=1.0, candidate=1.1, change=0.1, rounds=20
    )  # fmt: skip
    found = replace(result, **changes)
    return [worker("w1", "a"), rounds("r1", "a"), verdict("v1", "a", verdict="inconclusive", comparisons=[found])]


@pytest.mark.parametrize(
    ("changes", "said", "not_said"),
    [
        ({"rounds": 5}, "more rounds may decide: --llmci-max-rounds=40", "longer"),
        ({"rounds": 40}, "more rounds may decide: --llmci-max-rounds=80", "longer"),
        ({"rounds": 20, "pairs": 1, "by_block": "x"}, "more rounds may decide: --llmci-max-rounds=80", "longer"),
        ({"rounds": 20, "pairs": 1}, "more rounds may decide: --llmci-max-rounds=40", "longer"),
        ({"reason": OUT_OF_TIME}, "more time may decide: a longer --llmci-time-limit", "more rounds may"),
        ({"change": None, "reason": "missing"}, "The last 3 runs", "may decide"),
        ({"verdict": "not comparable", "reason": "the reference died"}, "INCONCLUSIVE", "The last 3 runs"),
    ],
)  # fmt: skip
def test_what_may_decide_is_what_could(tmp_path: Path, changes: dict[str, Any], said: str, not_said: str) -> None:
    write_whole_log(tmp_path, compared(**changes))
    report = build_report(tmp_path)
    text = "\n".join(summary_lines(report, report.folder, width=80, gated=True, hints=False, streak=3))
    assert said in text and not_said not in text


def test_the_place_of_the_files_is_as_the_user_would_type_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "out" / "run"
    folder.mkdir(parents=True)
    assert "Saved in out/run (results.csv" in told(lines_of(folder, two_models()))
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    report = build_report(folder)
    lines = summary_lines(report, folder, width=80, gated=True, hints=False)
    assert f"Saved in {folder} (results.csv" in told(lines)
    assert all(len(line) <= 80 or len(line.split()[-1]) > 60 for line in lines)  # a path stays whole


def test_what_further_sinks_wrote_is_named_with_the_files_of_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    lines_of(folder, two_models())
    report = build_report(folder)

    def last_lines(*further: Path) -> list[str]:
        return summary_lines(report, folder, width=80, gated=True, hints=False, further=further)[-2:]

    assert last_lines(folder / "plots" / "a.svg", tmp_path / "there.tsv") == [
        "Saved in run (results.csv, summary.csv, log.jsonl, plots/a.svg)",
        "Also written: there.tsv",
    ]
    assert last_lines(*[folder / f"{number}.svg" for number in range(7)]) == [
        "Saved in run (results.csv, summary.csv, log.jsonl, 0.svg, 1.svg, 2.svg, 3.svg,",
        "  4.svg and 2 more)",
    ]


def test_answers_that_came_at_a_further_attempt_are_counted_and_shown(tmp_path: Path) -> None:
    busy = "attempt 1 failed: b: the server limits the rate, HTTP 429 (it asks to wait 1 s): Slow down; really"
    notes = ["", f"{busy}; attempt 2 failed: b: the server failed, HTTP 500", f"late; {busy}"]
    quiet, put_off = (rounds(name, name, worker=f"w-{name}", latencies_ms=(10, 10, 10)) for name in "ab")
    quiet = replace(quiet, values={**quiet.values, "retries": [0, 0, 0]})
    put_off = replace(put_off, values={**put_off.values, "retries": [0, 2, 1]}, noisy=notes)
    for name, blocks in (("one", [put_off]), ("both", [quiet, put_off]), ("none", [quiet])):
        (tmp_path / name).mkdir()
        records: list[LogRecord] = []
        for block in blocks:
            records += [worker(f"w-{block.model}", block.model), block, verdict(f"v-{block.model}", block.model)]
        text = " ".join(lines_of(tmp_path / name, records))
        assert {
            "one": "Retries: 2 of 3 answers came at a further attempt, after 3 that failed (2 x HTTP 429, 1 x HTTP 500)."
            in text,
            "both": "Retries: 2 of 6 answers came at a further attempt, after 3 that failed (2 x HTTP 429, 1 x HTTP 500; b 3)."
            in text,
            "none": "Retries" not in text,
        }[name], text


def test_what_was_put_off_beside_the_rounds_that_count_is_told_apart(tmp_path: Path) -> None:
    busy, gone = "attempt 1 failed: the server limits the rate, HTTP 429", "attempt 1 failed: nothing answers"
    again = "attempt 2 failed: the server failed, HTTP 500"
    quiet = rounds(values={"latency": [1, 1], "retries": [0, 0]}, latencies_ms=(10, 10))
    late = replace(quiet, values={**quiet.values, "retries": [0, 1]}, noisy=["", busy])
    reference = replace(late, uid="r2", origin="reference")
    sample = replace(
        quiet, uid="r3", origin="sample", values={**quiet.values, "retries": [1, 2]}, noisy=[gone, f"{busy}; {again}"]
    )
    warm = replace(quiet, uid="r4", warmup_failed=[busy, again, gone])
    before = {
        "reference": [quiet, reference],
        "sample": [quiet, sample],
        "warm": [warm],
        "all": [late, replace(reference, warmup_failed=[busy])],
        "superseded": [replace(warm, attempt=0), replace(quiet, uid="r5", attempt=1)],
    }
    found = {}
    for name, blocks in before.items():
        (tmp_path / name).mkdir()
        write_log(tmp_path / name, [worker(), *blocks, verdict()])
        found[name] = retry_text(build_report(tmp_path / name)).removesuffix(
            " Their time, and the waits, are in no latency."
        )
    assert found == {
        "reference": "Retries: 0 of 2 answers came at a further attempt, and 1 of 2 of the reference after 1 (1 x HTTP 429).",
        "sample": "Retries: 0 of 2 answers came at a further attempt, and 2 of 2 of samples after 3 (1 x no answer, 1 x HTTP 429, 1 x HTTP 500).",
        "warm": "Retries: 0 of 2 answers came at a further attempt, and 2 at warm-ups after 3 (1 x HTTP 429, 1 x HTTP 500, 1 x no answer).",
        "all": "Retries: 1 of 2 answer came at a further attempt, after 1 that failed (1 x HTTP 429), and 1 of 2 of the reference after 1"
        " (1 x HTTP 429), and 1 at warm-ups after 1 (1 x HTTP 429).",
        "superseded": "",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["a model", "a load"])
def test_the_ways_to_a_gate_stand_one_below_the_other_and_on_one_line_each(tmp_path: Path, kind: str) -> None:
    asked: dict[str, Any] = {"load": "rate=4 requests=20"} if kind == "a load" else {}
    records: list[LogRecord] = [worker("w1", "a"), rounds("r1", "a", **asked), verdict("v1", "a")]
    ways = [line for line in lines_of(tmp_path, records, gated=False, hints=True) if line.startswith("  add  ")]
    assert any("request_latency_p95" in line for line in ways) == bool(asked)
    columns = {re.search("(?<=  )(fail|what|keep) ", line).start() for line in ways}  # type: ignore[union-attr]  # each has one
    assert len(ways) >= 2 and len(columns) == 1 and max(map(len, ways)) <= 80


def test_no_hints_where_nothing_was_measured_that_a_gate_could_judge(tmp_path: Path) -> None:
    stopped: list[LogRecord] = [worker("w1", "a")]
    calls: list[LogRecord] = [rounds("r1", "a", origin="call"), verdict("v1", "a", rounds=0)]
    for name, records in {"stopped": stopped, "calls": calls}.items():
        (tmp_path / name).mkdir()
        found = lines_of(tmp_path / name, records, gated=False, hints=True)
        assert found[0].startswith("model ")
        assert "Nothing was gated" not in "\n".join(found)


@pytest.mark.parametrize(
    ("noise", "told_so"),
    [(["x"], "The only round was noisy."), (["", "x", ""], "1 of 3 rounds was noisy."), (["x"] * 3, "All 3 rounds were noisy.")],
)  # fmt: skip
def test_noisy_rounds_are_counted_in_words_that_fit_their_number(
    tmp_path: Path, noise: list[str], told_so: str
) -> None:
    record = rounds("r1", "a", latencies_ms=(1,) * len(noise), noisy=noise)
    assert told_so in told(lines_of(tmp_path, [worker("w1", "a"), record, verdict("v1", "a", rounds=len(noise))]))


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (80, "model latency slowest 1st token tokens/s peak RAM load valid"),
        (61, "model latency slowest 1st token tokens/s peak RAM valid"),
        (60, "model latency 1st token tokens/s peak RAM valid"),
        (40, "model latency peak RAM valid"),
        (20, "model latency valid"),
    ],
)
def test_a_narrow_screen_does_without_some_columns(tmp_path: Path, width: int, headings: str) -> None:
    found = lines_of(tmp_path, two_models(), width=width)
    assert " ".join(found[0].split()) == headings
    assert max(map(len, found[:3])) <= max(width, 23)


@pytest.mark.parametrize(("policy", "hinted"), [("warn", True), ("fail", False)])
def test_how_to_make_it_red_is_told_where_it_is_not(tmp_path: Path, policy: str, hinted: bool) -> None:
    open_one = BudgetResult(
        budget="latency <= 1s", origin="x", metric="latency", statistic="median", operator="<=", limit=1, verdict="inconclusive",
        observed=1, rounds=3, reason="too close",
    )  # fmt: skip
    writer = LogWriter(tmp_path / LOG_NAME, clock=FakeClock())
    records: list[LogRecord] = [
        worker("w1", "a"),
        rounds("r1", "a"),
        verdict("v1", "a", verdict="inconclusive", budgets=[open_one]),
    ]
    for record in (header(metrics=list(builtin_metrics()), settings={"inconclusive": policy}), *records):
        writer.append(record)
    writer.close(0)
    writer.release()
    report = build_report(tmp_path)
    text = "\n".join(summary_lines(report, report.folder, width=80, gated=True, hints=False))
    assert "1 of 1 cell could not be decided" in text
    assert ("--llmci-inconclusive=fail makes it red" in text) == hinted
