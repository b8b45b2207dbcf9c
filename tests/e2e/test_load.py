"""Models under load: the suite, specs, markers, files, gates."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from bench import Bench, unwrapped
from timing import on_real_time

pytestmark = on_real_time

FAST = "echo+tokens=4+ttft=4ms+itl=1ms"
SHORT = ("--llmci-max-new-tokens=4", "--llm-prompts=prompts.yaml")


def load(bench: Bench, *args: str, models: str = FAST, fresh: bool = False) -> pytest.RunResult:
    more = () if any(arg.startswith("--llmci-rounds") for arg in args) else ("--llmci-rounds=2",)
    return bench.run(f"--llm-models={models}", "--llmci-suite=load", *SHORT, *more, *args, fresh=fresh)


def cell(bench: Bench, name: str) -> Any:
    return next(each for each in bench.results()["cells"] if each["id"] == name)


def test_the_suite_measures_each_load_and_says_so_everywhere(bench: Bench) -> None:
    result = load(
        bench, "--llmci-load=rate=50 requests=20 ttft<=100ms", "--llmci-load=concurrency=2 requests=20", "--llmci-load=offline requests=4",
        "--llmci-sink=markdown:out.md",
    )  # fmt: skip
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    result.stdout.fnmatch_lines([
        "model * load * req/s *latency*",
        "echo   server at 50 /s *",
        "echo   2 users *",
        "echo   offline *",
        "load: median of the runs of a cell, 6 in all, 88 requests; times count from*",
        "echo answers one request at a time: the others wait in line.",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*tokens/s   peak RAM*")  # nothing else was measured
    metrics = cell(bench, "echo-server-50")["metrics"]
    assert metrics["request_throughput"]["n"] == 2 and metrics["goodput"]["median"] > 5
    assert metrics["error_rate"]["max"] == 0 and "p95" not in metrics["latency"]
    loads = bench.results()["loads"]
    assert [(each["cell"], each["requests"], each["failed"], each["served"]) for each in loads[:2]] == [
        ("echo-server-50", 20, 0, "one at a time")
    ] * 2
    rows = list(csv.DictReader(io.StringIO((bench.latest / "requests.csv").read_text("utf-8"))))
    assert len(rows) == 88 and {row["cell"] for row in rows} == {"echo-server-50", "echo-closed-loop-2", "echo-offline"}
    assert all(float(row["latency"]) >= float(row["ttft"]) > 0 for row in rows)
    runs = bench.records("load")
    assert len(runs) == 6 and [run["round"] for run in runs[:2]] == [0, 1]
    assert runs[0]["run"]["intended_ns"] != runs[1]["run"]["intended_ns"]
    results = (bench.latest / "results.csv").read_text("utf-8").splitlines()
    assert "request_latency_p50" in results[0] and len(results) == 7
    assert "| echo | server at 50 /s |" in (bench.path / "out.md").read_text("utf-8")


def test_a_run_without_load_has_no_column_of_it(bench: Bench) -> None:
    bench.suite("echo").assert_outcomes(passed=2)
    for name in ("results.csv", "summary.csv", "results.json"):
        assert "request_latency" not in (bench.latest / name).read_text("utf-8")
    assert not (bench.latest / "requests.csv").exists()


def test_the_suite_alone_takes_the_loads_that_need_no_knowledge(bench: Bench) -> None:
    result = load(bench, "--llmci-rounds=1", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["load::echo-single-stream", "load::echo-closed-loop-8", "load::echo-offline"])


def test_the_same_seed_gives_the_same_arrivals_and_another_one_others(bench: Bench) -> None:
    found = []
    for seed in ("1", "1", "2"):
        load(bench, "--llmci-load=rate=200 requests=10", "--llmci-rounds=1", f"--llmci-seed={seed}").assert_outcomes(
            passed=1
        )
        found.append(bench.records("load")[0]["run"]["intended_ns"])
    assert found[0] == found[1] != found[2]


def test_a_sweep_records_each_step_and_its_result_is_gated(bench: Bench) -> None:
    result = load(
        bench, "--llmci-load=rate=20..400 requests=30 ttft<=50ms resolution=40%", "--llmci-budget=max_rate.max >= 10000"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BudgetExceeded: max_rate * is under 10,000 /s*"])
    result.stdout.fnmatch_lines(["echo-sweep-20-400, requests/s that kept the objective or not: 20 kept, 40 kept*"])
    steps = [line["run"] for line in bench.records("load")]
    first = [step for step in steps if step["step"] < len(steps)]
    assert [step["rate"] for step in first][:2] == [20, 40] and {step["kept"] for step in first} == {True, False}
    best = cell(bench, "echo-sweep-20-400")["metrics"]["max_rate"]["max"]
    assert 40 <= best < 400 and best in [step["rate"] for step in steps if step["kept"]]


def test_a_budget_on_the_highest_rate_is_for_sweeps_alone(bench: Bench) -> None:
    both = (
        "--llmci-load=rate=20..40 requests=10 ttft<=5s", "--llmci-load=concurrency=2 requests=4", "--llmci-budget=max_rate >= 20",
    )  # fmt: skip
    load(bench, *both, "--llmci-rounds=1").assert_outcomes(passed=2)
    alone = load(bench, *both[1:], "--llmci-rounds=1")
    alone.assert_outcomes(passed=1, failed=1)
    alone.stdout.fnmatch_lines(["*no cell matches the budget max_rate >= 20 (from --llmci-budget)*"])


@pytest.mark.parametrize(
    ("file", "text", "origin", "option"),
    [
        ("pytest.ini", "[pytest]\nllmci_budget = latency <= 9s\n", "pytest.ini: llmci_budget", "llmci_budget"),
        (
            "pyproject.toml",
            "[tool.llmci]\nmax_latency = '9s'\n",
            "pyproject.toml: [tool.llmci] max_latency",
            "llmci_max_latency",
        ),
    ],
    ids=["pytest", "table"],
)
def test_budgets_of_the_settings_on_single_answers_may_be_left_out(
    bench: Bench, file: str, text: str, origin: str, option: str
) -> None:
    bench.write(file, text)
    args = ("--llmci-load=concurrency=2 requests=4", "--llmci-rounds=1")
    lost = load(bench, *args)
    lost.assert_outcomes(passed=1, failed=1)
    assert f"(from {origin}, all of which -o {option}= leaves out)" in unwrapped(lost)
    for nothing in ("", " "):
        load(bench, *args, "-o", f"{option}={nothing}").assert_outcomes(passed=1)


def test_where_no_run_came_to_its_end_there_is_no_table(bench: Bench) -> None:
    result = load(bench, "--llmci-load=concurrency=2 requests=4", models="echo+fail=no")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*== llmci: 1 model ==*", "load: no run came to its end."], consecutive=True)
    result.stdout.no_fnmatch_line("*score.arc_challenge*")


def test_a_spec_says_the_load_of_all_cells_of_its_model(bench: Bench) -> None:
    result = load(bench, models=f"a={FAST}+concurrency=2+requests=4,b={FAST}+rate=100+requests=4")
    result.assert_outcomes(passed=2)
    assert [each["id"] for each in bench.results()["cells"]] == ["a-closed-loop-2", "b-server-100"]
    bench.suite(f"a={FAST}+concurrency=2+requests=4", "--llmci-max-new-tokens=4").assert_outcomes(passed=2)
    assert [each["id"] for each in bench.results()["cells"]] == ["a-first", "a-second"]
    assert {line["scenario"] for line in bench.records("load")} == {"closed-loop concurrency=2 requests=4"}


TEST = """
import pytest

@pytest.mark.llmci(load="rate=200 requests=20 ttft<=1s", rounds=3, budgets=["request_latency_p50 <= 1s", "goodput >= 1"])
def test_under_load(llm_result):
    assert llm_result.error_rate.max == 0
    assert llm_result.request_latency_p95.median < 1
    assert llm_result.kept_share.min == 100

def test_alone(llm_result):
    assert llm_result.latency.median > 0
"""


def test_a_marker_asks_the_tests_prompt_under_load(bench: Bench) -> None:
    bench.write("test_it.py", TEST)
    bench.run(f"--llm-models={FAST}", "--llmci-rounds=2", *SHORT, "--llmci-budget=latency <= 10s").assert_outcomes(
        passed=4
    )
    by_test = {each["test"]: each for each in bench.results()["cells"]}
    under = by_test["test_it.py::test_under_load[echo-first]"]
    assert [budget["metric"] for budget in under["budgets"]] == ["request_latency_p50", "goodput"]
    assert [budget["metric"] for budget in by_test["test_it.py::test_alone[echo-first]"]["budgets"]] == ["latency"]
    assert under["checks"] == [] and under["rounds"] == 3


def test_a_test_file_has_the_key(bench: Bench) -> None:
    bench.write(
        "test_it.llm.yaml",
        "models: [echo+tokens=4]\nload: concurrency=2 requests=4\nrounds: 2\nprompts: [{id: p, prompt: Hello}]\n",
    )
    bench.run("--llmci", "--llmci-max-new-tokens=4").assert_outcomes(passed=1)
    assert len(bench.records("load")) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--llmci-load=rate=0"], "--llmci-load: rate=0: a rate is above nought"),
        (["--llmci-load=rate=1..8"], "a sweep looks for the highest rate that keeps an objective"),
        (["--llmci-load=ofline"], "unknown load 'ofline'. Did you mean 'offline'?"),
        (["--llmci-objective=ttft"], "--llmci-objective: 'ttft' is no limit"),
        (
            ["--llmci-load=concurrency=2", "--llmci-load=concurrency=2 requests=50"],
            "would both be called closed-loop-2",
        ),
    ],
)
def test_a_load_that_makes_no_sense_ends_the_session_with_one_line(bench: Bench, args: list[str], message: str) -> None:
    result = load(bench, *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message.replace('[', '[[]')}*"])


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('load="rate=4", checks=["json"]', "checks= is about single answers"),
        ('load="rate=4", timed=False', "timed= is about single answers"),
        ('load="rate=4", samples=4, temperature=0.7', "samples= is about single answers"),
        ("load=4", "load=4 must be text"),
    ],
)
def test_what_does_not_go_with_load_is_refused(bench: Bench, marker: str, message: str) -> None:
    bench.write("test_it.py", f"import pytest\n@pytest.mark.llmci({marker})\ndef test_a(llm_result): pass\n")
    result = bench.run(f"--llm-models={FAST}", *SHORT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


def test_loads_without_their_suite_and_specs_that_clash(bench: Bench) -> None:
    result = bench.run(f"--llm-models={FAST}", "--llmci-load=rate=4", *SHORT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*it is for the suite load: add --llmci-suite=load*"])
    result = load(bench, models="echo+rate=2+concurrency=3")
    result.stderr.fnmatch_lines(["*model 'echo+rate=2+concurrency=3': a load has a rate*"])


def test_a_budget_of_load_that_no_cell_is_under_is_lost_coverage(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-budget=goodput >= 3")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*goodput >= 3*"])


def test_failures_are_counted_and_told_and_nothing_answered_fails(bench: Bench) -> None:
    result = load(
        bench,
        "--llmci-load=single-stream requests=4",
        "--llmci-budget=error_rate.max <= 10%",
        models=f"a={FAST}+fail=no+only_prompt=river",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*error_rate*50 % is over 10 %*", "a *50 %", "failed requests (scripted):*"])
    result = load(bench, "--llmci-load=single-stream requests=4", "--llmci-warmup=0", models=f"a={FAST}+fail=no")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*none of 4 requests was answered; the first failure*"])


def test_a_model_that_dies_under_load_leaves_a_row_that_says_where(bench: Bench) -> None:
    result = load(bench, "--llmci-load=single-stream requests=9", models=f"a={FAST}+crash=SIGKILL+at=5")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*under load, after * of the run*"])
    (block,) = bench.records("rounds")
    assert block["error"]["kind"] == "crashed" and block["n"] == 0


def test_a_slower_model_is_found_and_a_baseline_is_kept(bench: Bench) -> None:
    args = ("--llmci-load=concurrency=2 requests=8", "--llmci-rounds=3")
    load(bench, *args, "--llmci-save-baseline=b", models=f"m={FAST}").assert_outcomes(passed=1)
    same = load(bench, *args, "--llmci-baseline=b", models=f"m={FAST}")
    same.stdout.fnmatch_lines(["m-closed-loop-2  requests/s *"])
    other = load(bench, "--llmci-load=concurrency=3 requests=8", "--llmci-baseline=b", models=f"m={FAST}")
    other.stdout.no_fnmatch_line("*requests/s *REGRESSED*")  # another load is another cell
    slower = load(
        bench, *args, "--llmci-versus=echo+tokens=4+ttft=4ms+itl=1ms", models="m=echo+tokens=4+ttft=9ms+itl=1ms"
    )
    slower.assert_outcomes(failed=1)
    slower.stdout.fnmatch_lines(["m-closed-loop-2  requests/s *REGRESSED"])


def test_what_is_derived_is_proven_and_redacted(bench: Bench) -> None:
    from pytest_llmci.cli.main import main

    load(
        bench,
        "--llmci-load=single-stream requests=4",
        "--llmci-redact",
        models=f"a={FAST}+fail=the_secret_river+only_prompt=river",
    ).assert_outcomes(passed=1)
    log = (bench.latest / "log.jsonl").read_text("utf-8")
    assert "the_secret_river" not in log.partition('"type":"load"')[2]
    assert main(["verify", str(bench.latest)]) == 0
    path = bench.latest / "requests.csv"
    path.write_bytes(path.read_bytes().replace(b",0,", b",7,", 1))
    assert main(["verify", str(bench.latest)]) != 0


def test_parallel_workers_hand_their_runs_over(bench: Bench) -> None:
    pytest.importorskip("xdist")
    result = load(bench, "--llmci-load=single-stream requests=4", "-n2", models=f"a={FAST},b={FAST}", fresh=True)
    result.assert_outcomes(passed=2)
    assert {line["model"] for line in bench.records("load")} == {"a", "b"} and len(bench.records("load")) == 4


def test_inline(bench: Bench) -> None:
    load(bench, "--llmci-load=rate=200 requests=5", "--llmci-isolation=inline").assert_outcomes(passed=1)
    assert len(bench.records("load")) == 2


def test_a_sweep_is_drawn(bench: Bench) -> None:
    pytest.importorskip("matplotlib")
    load(
        bench, "--llmci-load=rate=20..80 requests=20 ttft<=200ms resolution=50%", "--llmci-sink=plots"
    ).assert_outcomes(passed=1)
    picture = (bench.latest / "plots" / "load-over-rate.svg").read_text("utf-8")
    assert "Latency and goodput over the offered rate" in picture and "requests that kept the objective" in picture


def test_a_server_is_offered_requests_at_once(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("httptools")
    from stub_server import read_log, stub_process

    log = tmp_path_factory.mktemp("stub") / "log.jsonl"
    with stub_process(log, "--spin", "0", "--models", "say-4-60-2") as url:
        args = ("--llmci-load=rate=60 requests=30 ttft<=5s", "--llmci-rounds=1")
        result = load(bench, *args, models=f"s=openai:{url}#say-4-60-2")
        result.assert_outcomes(passed=1)
    (run,) = (line["run"] for line in bench.records("load"))
    assert run["served"] == "at once" and run["failures"] == [""] * 30 and run["tokens"] == [4] * 30
    at_once = [
        sum(sent <= at < end for sent, end in zip(run["sent_ns"], run["ended_ns"], strict=True))
        for at in run["sent_ns"]
    ]
    assert max(at_once) >= 3  # 60 a second, each of them 66 ms
    assert (
        run["values"]["kept_share"] == 100
        if "kept_share" in run["values"]
        else "generator itself" in run["reasons"]["kept_share"]
    )
    assert len([played for played in read_log(log) if played.body.get("stream")]) >= 30
    result.stdout.no_fnmatch_line("*one request at a time*")
