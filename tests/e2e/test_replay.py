"""``--llmci-replay RUN``: checks and budgets judged again on what a run stored, without any model."""

from __future__ import annotations

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, unwrapped
from harness_task import write_harness_task

from pytest_llmci.cli.main import main
from pytest_llmci.errors import StoreError
from pytest_llmci.store.baseline_log import baseline_of_log

TESTS = """
import pytest

@pytest.mark.llmci(rounds=3, max_rounds=9, budgets=["latency.median <= 20ms", "peak_rss <= 8GiB", "load_time <= 60s"], max_new_tokens=20)
def test_cell(llm_result):
    assert llm_result.rounds >= 3
    assert llm_result.output.text

@pytest.mark.llmci(budgets="latency.median <= 1us", rounds=5, max_new_tokens=20)
def test_too_slow(llm_result):
    pass

@pytest.mark.llmci(checks="contains:nowhere", rounds=2, max_new_tokens=20)
def test_check(llm_result):
    pass

@pytest.mark.llmci(samples=20, temperature=0.7, rounds=1, max_new_tokens=20, budgets="output_tokens == 20")
def test_samples(llm_result):
    assert llm_result.samples

def test_calls(llm):
    assert llm.generate("Say hello", max_new_tokens=5).output_tokens == 5
    assert llm.generate("Say goodbye", max_new_tokens=5).text != llm.generate("Say hello", max_new_tokens=5).text
    assert llm.info
"""
MODELS = "--llm-models=echo+ttft=2ms,dying=echo+crash=SIGKILL+only_prompt=second"


@pytest.fixture
def own(bench: Bench) -> Bench:
    bench.write("test_own.py", TESTS)
    return bench


def measured(bench: Bench, *more: str) -> None:
    bench.run(
        MODELS,
        "--llm-prompts=prompts.yaml",
        "--llmci-suite=inference",
        "--llmci-rounds=2",
        "--llmci-max-new-tokens=20",
        "test_own.py",
        *more,
    )


def records(bench: Bench, *, replayed: bool, kind: str = "verdict") -> list[dict[str, Any]]:
    folder = bench.path / "llmci-results" / ("replays/latest" if replayed else "latest")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [line for line in lines if line["type"] == kind]


def told(bench: Bench, *, replayed: bool) -> dict[tuple[str, str, int], Any]:
    """What was decided on each cell of each test, in full."""
    found: dict[tuple[str, str, int], Any] = {}
    for line in records(bench, replayed=replayed):
        key = (line["test"], line["cell"], sum(known[:2] == (line["test"], line["cell"]) for known in found))
        found[key] = {
            name: line[name]
            for name in ("verdict", "checks", "budgets", "error", "rounds", "noisy_rounds", "samples", "attempt")
        }
    return found


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "xdist"])
def test_a_replay_gives_every_verdict_of_the_run_again(own: Bench, parallel: tuple[str, ...]) -> None:
    measured(own)
    result = own.run("--llmci-replay=latest", "--llmci-suite=inference", "test_own.py", *parallel)
    before, after = (told(own, replayed=replayed) for replayed in (False, True))
    assert len(before) > 15
    assert {each["verdict"] for each in before.values()} >= {"pass", "failed"}
    assert after == before
    assert result.ret == 1
    lines = records(own, replayed=True, kind="rounds")
    assert {line["provenance"] for line in lines} == {"replayed"}
    assert [
        line["outputs"]
        for line in sorted(lines, key=lambda each: (each["test"], each["cell"], each["origin"], each["first_round"]))
    ] == [
        line["outputs"]
        for line in sorted(
            records(own, replayed=False, kind="rounds"),
            key=lambda each: (each["test"], each["cell"], each["origin"], each["first_round"]),
        )
    ]


def test_the_run_says_what_was_asked_and_the_session_what_is_asserted(bench: Bench) -> None:
    bench.suite("echo", "--llmci-max-new-tokens=12").assert_outcomes(passed=2)
    result = bench.run("--llmci-replay=latest", "--llmci-budget=output_tokens == 13")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([
        "llmci: replaying run *, measured 20*", "inference::echo FF *",
        "=* llmci: 1 model, replayed from * =*", "Replayed: run *, judged again. Nothing was measured.",
    ])  # fmt: skip
    bench.run("--llmci-replay=latest", "--llmci-budget=output_tokens == 12").assert_outcomes(passed=2)
    bench.write(
        "prompts.yaml",
        "- {id: first, prompt: Name a colour., checks: 'contains:nowhere'}\n- {id: second, prompt: Name a river.}\n",
    )
    bench.run("--llmci-replay=latest").assert_outcomes(passed=1, failed=1)
    assert len(list((bench.path / "llmci-results").glob("2*"))) == 1  # the run alone is a run; replays are kept apart


MODULE = "def answer(prompt):\n    return 'A model that is gone by then, ' + prompt\n"


def test_no_model_is_loaded_so_that_it_may_be_gone(bench: Bench) -> None:
    bench.write("gone.py", MODULE)
    bench.write("test_it.py", "def test_it(llm_result):\n    assert 'gone by then' in llm_result.output.text\n")
    bench.write(
        "conftest.py",
        """
import sys
def pytest_sessionfinish():
    open("loaded.txt", "w").write(" ".join({"gone", "torch", "transformers", "subprocess_of_llmci"} & set(sys.modules)))
""",
    )
    bench.run(
        "--llm-models=py:gone:answer", "--llm-prompts=prompts.yaml", "--llmci-rounds=2", fresh=True
    ).assert_outcomes(passed=2)
    (bench.path / "gone.py").unlink()
    shutil.rmtree(bench.path / "__pycache__", ignore_errors=True)
    bench.run("--llmci-replay=latest", fresh=True).assert_outcomes(passed=2)
    assert (bench.path / "loaded.txt").read_text() == ""
    assert not list((bench.path / "llmci-results/replays/latest/workers").iterdir())
    bench.write("test_it.py", "def test_it(llm_result):\n    assert 'something else' in llm_result.output.text\n")
    bench.run("--llmci-replay=latest", fresh=True).assert_outcomes(failed=2)


def test_a_new_test_gets_the_cells_of_another_that_asked_the_same(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(llm_result):\n    pass\n")
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml").assert_outcomes(passed=2)
    bench.write("test_new.py", "def test_new(llm_result):\n    assert llm_result.output.passes('max_words:5')\n")
    bench.run("--llmci-replay=latest").assert_outcomes(passed=2, failed=2)


@pytest.mark.parametrize(
    ("prompts", "test", "more", "why"),
    [
        ("- {id: first, prompt: Name a tree.}", "llm_result", (), "echo-first: its prompt has changed since run * (sha256 *, now *)"),
        ("- {id: third, prompt: Name a tree.}", "llm_result", (), "run * has no cell echo-third"),
        ("- {id: first, prompt: Name a colour.}", "llm_result", ("--llmci-max-new-tokens=9",), "echo-first: it was asked with other settings in run *: max_new_tokens 256, now 9"),
        ("- {id: first, prompt: Name a colour.}", "llm_result", ("--llmci-temperature=0.7", "--llmci-samples=4"), "echo-first: it was asked with other settings in run *: temperature 0.0, now 0.7"),
        ("- {id: first, prompt: Name a colour.}", "llm_result", ("--llm-models=echo+tokens=9",), "echo-first: 'echo' was another model in run *: echo, now echo+tokens=9"),
        ("- {id: first, prompt: Name a colour.}", "llm_result", ("--llm-models=other=echo",), "run * has no cell other-first"),
    ],
)  # fmt: skip
def test_what_is_not_the_same_is_not_judged(
    bench: Bench, prompts: str, test: str, more: tuple[str, ...], why: str
) -> None:
    bench.write("test_it.py", f"def test_it({test}):\n    pass\n")
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml").assert_outcomes(passed=2)
    bench.write("prompts.yaml", prompts + "\n")
    result = bench.run("--llmci-replay=latest", *more)
    result.stdout.fnmatch_lines(["1 test not replayed, as run * does not hold what is asked for:", f"  {why}"])
    assert "holds nothing of what the tests ask for" in unwrapped(result)
    assert result.ret == 1  # the coverage gate
    strict = bench.run("--llmci-replay=latest", "--llmci-inconclusive=fail", *more)
    strict.stdout.fnmatch_lines([f"*not replayed: {why}"])
    strict.assert_outcomes(errors=1)


def test_a_part_that_is_not_held_is_skipped_and_told(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(llm_result):\n    pass\n")
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml").assert_outcomes(passed=2)
    bench.write("prompts.yaml", "- {id: first, prompt: Name a colour.}\n- {id: second, prompt: Name a stream.}\n")
    result = bench.run("--llmci-replay=latest")
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["  echo-second: its prompt has changed since run *"])


def test_redacted_outputs_cannot_be_replayed(bench: Bench) -> None:
    bench.suite("echo", "--llmci-redact")
    result = bench.run("--llmci-replay=latest")
    result.stdout.fnmatch_lines(["  echo-first: its outputs in run * are withheld (--llmci-redact)"])
    assert result.ret == 1


def test_samples_that_the_run_lacks(bench: Bench) -> None:
    bench.suite("echo", "--llmci-temperature=0.7")
    result = bench.run("--llmci-replay=latest", "--llmci-samples=20")
    result.stdout.fnmatch_lines(["  echo-first: run * holds no samples of it"])
    bench.suite("echo", "--llmci-temperature=0.7", "--llmci-samples=5")
    result = bench.run("--llmci-replay=latest", "--llmci-samples=20")
    result.stdout.fnmatch_lines(["  echo-first: run * holds no more after 5 of 20*"])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("llm.generate('Name a stone')", "llm.generate: run * holds no answer of echo to the prompt Name-a-stone"),
        ("llm.generate('Say hello', max_new_tokens=7)", "llm.generate: run * holds the prompt Say-hello with other settings: max_new_tokens 5, now 7"),
        ("llm.score('a', 'b')", "llm.score needs the model, and run * is replayed without one (--llmci-replay)"),
        ("llm.call('json:dumps')", "llm.call needs the model, *"),
        ("list(llm.stream('Say hello'))", "llm.stream needs the model, *"),
        ("llm.profile().__enter__()", "llm.profile needs the model, *"),
    ],
)  # fmt: skip
def test_what_needs_the_model_is_said_in_one_line(bench: Bench, body: str, why: str) -> None:
    bench.write("test_it.py", "def test_it(llm):\n    llm.generate('Say hello', max_new_tokens=5)\n")
    bench.run("--llm-models=echo").assert_outcomes(passed=1)
    bench.write(
        "test_it.py", f"def test_it(llm):\n    assert llm.generate('Say hello', max_new_tokens=5).text\n    {body}\n"
    )
    result = bench.run("--llmci-replay=latest")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"  {why}"])


def test_calls_come_in_the_order_of_the_run_and_their_failures_too(bench: Bench) -> None:
    body = "def test_it(llm):\n    assert [llm.generate('Say hello', max_new_tokens=5, seed=seed, temperature=1).text for seed in (1, 2)]\n"
    bench.write("test_it.py", body)
    bench.write("test_dead.py", "def test_dead(llm_open):\n    llm_open('dead=echo+crash=SIGKILL').generate('Hi')\n")
    bench.run("--llm-models=echo")
    texts = [line["outputs"] for line in records(bench, replayed=False, kind="rounds")]
    bench.run("--llmci-replay=latest").assert_outcomes(passed=1, failed=1)
    assert [line["outputs"] for line in records(bench, replayed=True, kind="rounds")] == texts


def test_replayed_numbers_are_marked_everywhere(bench: Bench) -> None:
    bench.suite("echo")
    run = records(bench, replayed=False, kind="header")[0]["run_id"]
    bench.run("--llmci-replay=latest", "--junitxml=junit.xml", "--llmci-sink=otava", "--llmci-sink=pytest-benchmark:b.json").stdout.fnmatch_lines([
        f"warning: sink 'otava' was left out: it keeps measurements, and these are those of run {run}",
        "warning: sink 'pytest-benchmark:b.json' was left out: *",
    ])  # fmt: skip
    folder = bench.path / "llmci-results/replays/latest"
    header = records(bench, replayed=True, kind="header")[0]
    assert (header["settings"]["provenance"], header["settings"]["replayed_run"]) == ("replayed", run)
    assert header["environment"] == records(bench, replayed=False, kind="header")[0]["environment"]
    for kind in ("worker", "rounds", "verdict"):
        assert {line["provenance"] for line in records(bench, replayed=True, kind=kind)} == {"replayed"}
        assert {line["provenance"] for line in records(bench, replayed=False, kind=kind)} == {"live"}
    results = json.loads((folder / "results.json").read_text())
    assert (results["run"]["provenance"], results["run"]["replayed_run"]) == ("replayed", run)
    assert {cell["provenance"] for cell in results["cells"]} == {"replayed"}
    for name in ("results.csv", "summary.csv"):
        with (folder / name).open(newline="") as stream:
            assert {row["provenance"] for row in csv.DictReader(stream)} == {"replayed"}
        with (bench.latest / name).open(newline="") as stream:
            assert {row["provenance"] for row in csv.DictReader(stream)} == {"live"}
    properties = [entry.attrib for entry in ET.parse(bench.path / "junit.xml").iter("property")]
    assert properties.count({"name": "llmci.provenance", "value": "replayed"}) == 2
    assert not (bench.path / "llmci-results/otava.csv").exists()


def test_a_replay_is_compared_with_nothing_and_becomes_no_baseline(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.suite("echo")
    bench.run("--llmci-replay=latest")
    replay = str(bench.path / "llmci-results/replays/latest")
    assert main(["compare", str(bench.latest), replay]) == 4
    assert "is a replay of 2" in capsys.readouterr().err
    with pytest.raises(StoreError, match="is a replay and measured nothing: save 2"):
        baseline_of_log(Path(replay), "main")
    assert main(["verify", replay]) == 0
    assert main(["report", replay]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--llmci-replay=latest", "--llmci-save-baseline"), "--llmci-save-baseline: replayed numbers are no measurement: *"),
        (("--llmci-replay=latest", "--llmci-update-baseline=x"), "--llmci-update-baseline: replayed numbers are no measurement: *"),
        (("--llmci-replay=latest", "--llmci-baseline"), "--llmci-baseline: replayed numbers are no measurement: *"),
        (("--llmci-replay=latest", "--llmci-versus=echo+tokens=3"), "--llmci-versus: replayed numbers are no measurement: *"),
        (("--llmci-replay=nonsense",), "--llmci-replay: no run 'nonsense' in *"),
        (("--llmci-replay=",), "--llmci-replay: the value is empty; name a run, such as latest."),
        (("--llmci-replay=llmci-results/replays/latest",), "--llmci-replay: run * is a replay itself: give the run that was measured, *"),
        (("-o", "llmci_replay=latest", "--llmci"), "*llmci_replay: it would keep every session from measuring; *"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(bench: Bench, arguments: tuple[str, ...], message: str) -> None:
    bench.suite("echo")
    bench.run("--llmci-replay=latest").assert_outcomes(passed=2)
    result = bench.run(*arguments)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_a_baseline_of_the_settings_is_left_alone(bench: Bench) -> None:
    bench.suite("echo", "--llmci-save-baseline")
    (place,) = (bench.path / "llmci-baselines").rglob("*.json")
    kept = place.read_bytes()
    bench.write("pytest.ini", "[pytest]\nllmci_baseline = main\n")
    result = bench.run("--llmci-replay=latest")
    result.assert_outcomes(passed=2)
    assert "Compared with" not in result.stdout.str()
    assert place.read_bytes() == kept


def test_a_damaged_log_is_not_replayed(bench: Bench) -> None:
    bench.suite("echo")
    for log in (bench.path / "llmci-results").glob("*/log.jsonl"):
        log.write_text(log.read_text().replace("Name a colour.", "Name a flavour."))
    result = bench.run("--llmci-replay=latest")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --llmci-replay: *"])


LENGTHS = (
    "generate:\n"
    "  - {id: scale, template: 'Sum up: {{filler}}. Why?', tokens: [12, 20]}\n"
    "  - {id: chat, messages: [{role: system, content: Be brief.}, {role: user, content: '{{filler}}'}], tokens: [16]}\n"
)
ASKS = "def test_asks(llm, llm_prompt):\n    assert llm.generate(llm_prompt, max_new_tokens=4).text\n"


def test_prompts_of_a_length_in_tokens_are_those_of_the_run(bench: Bench) -> None:
    bench.write("lengths.yaml", LENGTHS)
    bench.write("test_asks.py", ASKS)
    settings = ("--llm-models=echo", "--llm-prompts=lengths.yaml", "--llmci-suite=inference", "test_asks.py")
    bench.run(*settings).assert_outcomes(passed=6)
    before = {line["prompt_sha256"] for line in records(bench, replayed=False, kind="rounds")}
    bench.run("--llmci-replay=latest", *settings).assert_outcomes(passed=6)
    assert {line["prompt_sha256"] for line in records(bench, replayed=True, kind="rounds")} == before
    assert {line["provenance"] for line in records(bench, replayed=True, kind="worker")} == {"replayed"}
    bench.write("lengths.yaml", LENGTHS.replace("Why?", "Who?"))
    result = bench.run("--llmci-replay=latest", *settings, "-rs")
    result.assert_outcomes(passed=2, skipped=4)
    result.stdout.fnmatch_lines(["SKIPPED * test_asks.py:1: not replayed: *"])
    result.stdout.fnmatch_lines(["  echo-scale-12t: its prompt has changed since run *"])


ROWS = "".join(f'{{"query": "What is {n}?", "choices": ["one {n}", "two {n}"], "gold": {n % 2}}}\n' for n in range(70))


@pytest.mark.parametrize("parallel", [(), ("-n1",)], ids=["alone", "parallel"])
def test_a_benchmark_is_judged_again_from_its_answers(bench: Bench, parallel: tuple[str, ...]) -> None:
    bench.write("mine.jsonl", ROWS)
    bench.run("--llm-models=echo", "--llmci-suite=mine.jsonl", "--llmci-limit=66").assert_outcomes(passed=1)
    [before] = bench.results()["tasks"]
    again = bench.run("--llmci-replay=latest", *parallel, fresh=bool(parallel))
    again.assert_outcomes(passed=1)
    folder = bench.path / "llmci-results" / "replays" / "latest"
    [after] = json.loads((folder / "results.json").read_text("utf-8"))["tasks"]
    assert after["metrics"] == before["metrics"] and after["answered"] == 66
    lines = records(bench, replayed=True, kind="questions")
    assert [line["n"] for line in lines] == [64, 2] and {line["provenance"] for line in lines} == {"replayed"}
    assert {line["provenance"] for line in records(bench, replayed=True, kind="verdict")} == {"replayed"}
    with (folder / "questions.csv").open(newline="", encoding="utf-8") as table:
        assert {row["provenance"] for row in csv.DictReader(table)} == {"replayed"}
    gate = bench.run("--llmci-replay=latest", "--llmci-budget=score.mine >= 99", *parallel, fresh=bool(parallel))
    gate.assert_outcomes(failed=1)
    gate.stdout.fnmatch_lines(["BudgetExceeded: score.mine * % < 99 %"])


def test_a_benchmark_that_is_not_in_the_run_is_not_judged(bench: Bench) -> None:
    bench.write("mine.jsonl", ROWS)
    bench.write("yours.jsonl", ROWS)
    bench.run("--llm-models=echo", "--llmci-suite=mine.jsonl").assert_outcomes(passed=1)
    other = bench.run("--llmci-replay=latest", "--llmci-suite=mine.jsonl,yours.jsonl")
    other.assert_outcomes(passed=1, skipped=1)
    other.stdout.fnmatch_lines(["  run * holds no answers of echo to yours"])
    limited = bench.run("--llmci-replay=latest", "--llmci-suite=mine.jsonl", "--llmci-limit=3")
    limited.stdout.fnmatch_lines(["  echo-mine: run * asked other questions (a limit, another file, or changed rows)*"])
    model = bench.run("--llmci-replay=latest", "--llm-models=echo=echo:nut", "--llmci-suite=mine.jsonl")
    model.stdout.fnmatch_lines(["  echo-mine: 'echo' was another model in run *: echo, now echo=echo:nut"])
    bench.write("mine.jsonl", ROWS.replace("What", "Who"))
    changed = bench.run("--llmci-replay=latest", "--llmci-suite=mine.jsonl")
    changed.stdout.fnmatch_lines(["  echo-mine: run * asked other questions*another prompt*"])


def test_a_benchmark_that_failed_fails_again(bench: Bench) -> None:
    bench.write("mine.jsonl", ROWS)
    bench.run("--llm-models=echo+crash=SIGKILL", "--llmci-suite=mine.jsonl").assert_outcomes(failed=1)
    again = bench.run("--llmci-replay=latest")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*SIGKILL*"])


@pytest.mark.slow
def test_a_task_of_the_harness_is_judged_on_its_stored_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(bench.path / "hub"))
    write_harness_task(bench, ROWS)
    asked = ("--llmci-suite=colours.yaml", "--llm-models=echo")
    bench.run(*asked, fresh=True).assert_outcomes(passed=1)
    before = bench.results()["tasks"][0]["metrics"]
    result = bench.run(*asked, "--llmci-replay=latest", "--llmci-budget=score.colours >= 99", fresh=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BudgetExceeded: score.colours *< 99 %"])
    replayed = json.loads((bench.path / "llmci-results" / "replays" / "latest" / "results.json").read_text("utf-8"))
    assert replayed["tasks"][0]["metrics"] == before
    limited = bench.run(*asked, "--llmci-replay=latest", "--llmci-limit=7", fresh=True)
    limited.assert_outcomes(skipped=1, failed=1)  # the gate: nothing was judged
