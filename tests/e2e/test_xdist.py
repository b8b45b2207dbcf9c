"""Parallel sessions: each model on one worker, no row lost, timed work exclusive."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Collection

import pytest
from bench import Bench

from pytest_llmci.engine.comparisons.stored_run import read_run
from pytest_llmci.store.verify import verify_log

pytest.importorskip("xdist")


def test_each_model_is_loaded_by_one_worker(bench: Bench) -> None:
    result = bench.suite("a=echo,b=echo,c=echo,d=echo", "-n2")
    result.assert_outcomes(passed=8)
    assert sorted(worker["model"] for worker in bench.records("worker")) == ["a", "b", "c", "d"]
    assert len(bench.records("rounds")) == 8
    assert {record["uid"].split("-")[0] for record in bench.records("rounds")} == {"gw0", "gw1"}


def test_functions_and_foreign_tests_run_too(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_foreign(n): pass\n"
        "@pytest.mark.llmci(rounds=1)\ndef test_cell(llm_result): assert llm_result.output.text\ndef test_call(llm): llm.generate('hi')\n",
    )
    result = bench.run("--llm-models=a=echo,b=echo", "--llm-prompts=prompts.yaml", "-n2")
    result.assert_outcomes(passed=12)
    assert sorted(worker["model"] for worker in bench.records("worker")) == ["a", "b"]


def test_a_prompt_that_is_called_like_a_model_leads_no_test_astray(bench: Bench) -> None:
    bench.write("named.yaml", "- {id: about-tiny, prompt: Name a colour.}\n- {id: z-tiny, prompt: Name a river.}\n")
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.fixture(params=['ab', 'tiny'])\ndef way(request): pass\n"
        "@pytest.mark.llmci(rounds=1)\n@pytest.mark.parametrize('n', ['tiny', 'ab'])\ndef test_cell(llm_result, way, n): pass\n",
    )
    result = bench.run(
        "--llm-models=ab=echo,tiny=echo",
        "--llm-prompts=named.yaml",
        "--llmci-suite=inference",
        "--llmci-rounds=1",
        "-n2",
        ".",
    )
    result.assert_outcomes(passed=20)
    assert sorted(worker["model"] for worker in bench.records("worker")) == ["ab", "tiny"]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("place", ["first", "second"])
def test_a_worker_that_dies_loses_no_row(bench: Bench, workers: int, place: str) -> None:
    bench.write(
        "test_it.py",
        f"import os, pytest\n@pytest.mark.llmci(rounds=1)\ndef test_cell(llm_result, llm_prompt, request):\n"
        f"    if 'b-{place}' in request.node.name: os._exit(9)\n",
    )
    result = bench.run("--llm-models=a=echo,b=echo,c=echo", "--llm-prompts=prompts.yaml", f"-n{workers}", fresh=True)
    result.assert_outcomes(passed=5, failed=1)
    assert {block["cell"] for block in bench.records("rounds")} == {
        f"{m}-{p}" for m in "abc" for p in ("first", "second")
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_tests_that_nobody_ran_fail_the_coverage_gate(bench: Bench, workers: int) -> None:
    """A worker that is not replaced takes its tests along; pytest-xdist alone would not say that they are missing."""
    bench.write(
        "test_it.py",
        "import os, pytest\n@pytest.mark.llmci(rounds=1)\ndef test_cell(llm_result, request):\n"
        "    if 'a-first' in request.node.name: os._exit(9)\n",
    )
    result = bench.run(
        "--llm-models=a=echo,b=echo,c=echo",
        "--llm-prompts=prompts.yaml",
        f"-n{workers}",
        "--max-worker-restart=0",
        fresh=True,
    )
    ran = sum(count for outcome, count in result.parseoutcomes().items() if outcome in ("passed", "failed")) - 1
    assert ran < 6
    (gate,) = bench.records("gate")
    assert gate["outcome"] == "failed"
    lost = "1 test" if ran == 5 else f"{6 - ran} tests"
    assert f"{lost} never ran: a parallel worker was lost and not replaced" in gate["message"]


def test_a_model_that_crashes_costs_one_test(bench: Bench) -> None:
    result = bench.suite("a=echo,b=echo+crash=SIGKILL+only_prompt=first,c=echo", "-n2")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["WorkerCrashed: b was killed by SIGKILL, cause unknown"])


@pytest.mark.parametrize("mode", ["loadgroup", "loadscope", "loadfile"])
def test_modes_that_lose_tests_are_refused_in_one_line(bench: Bench, mode: str) -> None:
    result = bench.suite("echo", "-n2", f"--dist={mode}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--dist={mode}: pytest-xdist up to 3.8 hangs*"])


def test_timed_work_does_not_overlap(bench: Bench) -> None:
    bench.write(
        "clocked.py",
        "import time\ndef answer(prompt):\n    begin = time.monotonic()\n    time.sleep(0.03)\n    return f'answer {begin} {time.monotonic()}'\n",
    )
    bench.suite("a=py:clocked:answer,b=py:clocked:answer", "-n2", "--llmci-rounds=4", "--llmci-warmup=0")
    spans = sorted(
        tuple(map(float, text.split()[1:])) for block in bench.records("rounds") for text in block["outputs"]
    )
    assert len(spans) == 16
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_timed_work_of_separate_sessions_does_not_overlap(bench: Bench) -> None:
    """Two processes of pytest that know nothing of each other, one of them with parallel workers, on one machine."""
    bench.write(
        "clocked.py",
        "import time\ndef answer(prompt):\n    begin = time.monotonic()\n    time.sleep(0.03)\n    return f'answer {begin} {time.monotonic()}'\n",
    )
    command = [
        sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "--llmci-suite=inference", "--llm-prompts=prompts.yaml",
        "--llmci-rounds=4", "--llmci-warmup=0", "--llm-models=a=py:clocked:answer,b=py:clocked:answer",
    ]  # fmt: skip
    sessions = [
        subprocess.Popen([*command, *more], cwd=bench.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for more in (("--llmci-output=one",), ("--llmci-output=two", "-n2"))
    ]
    assert [session.wait(300) for session in sessions] == [0, 0]
    spans = []
    for name in ("one", "two"):
        for line in (bench.path / name / "latest" / "log.jsonl").read_text("utf-8").splitlines():
            spans += [tuple(map(float, text.split()[1:])) for text in json.loads(line).get("outputs", ())]
    assert len(spans) == 32
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(sorted(spans)))


def test_checks_and_tests_of_the_users_run_beside_each_other(bench: Bench) -> None:
    """Each waits for the other: one after the other, neither would end well."""
    bench.write(
        "meet.py",
        "import time\nfrom pathlib import Path\nhere = Path(__file__).parent\n"
        "def other(mine, theirs):\n    (here / mine).touch()\n    until = time.monotonic() + 60\n"
        "    while not (here / theirs).exists() and time.monotonic() < until:\n        time.sleep(0.01)\n"
        "    return (here / theirs).exists()\n"
        "def check(output):\n    mine = output.model.alias\n    return other(mine, {'a': 'b', 'b': 'a'}[mine])\n",
    )
    bench.write(
        "test_own.py",
        "from meet import other\ndef test_one(): assert other('one', 'two')\ndef test_two(): assert other('two', 'one')\n",
    )
    bench.write("conftest.py", "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\n")
    result = bench.suite(
        "a=echo,b=echo", "-n2", "--llmci-check=python:meet:check", "-k", "first or own", ".", fresh=True
    )
    result.assert_outcomes(passed=4)


def test_several_gateways_each_take_whole_models(bench: Bench) -> None:
    result = bench.suite("a=echo,b=echo,c=echo,d=echo", "--tx=3*popen", "--dist=load", fresh=True)
    result.assert_outcomes(passed=8)
    assert sorted(worker["model"] for worker in bench.records("worker")) == ["a", "b", "c", "d"]
    assert len({record["uid"].split("-")[0] for record in bench.records("rounds")}) > 1


def test_overlapping_time_decides_nothing(bench: Bench) -> None:
    result = bench.suite(
        "a=echo+ttft=5ms,b=echo+ttft=5ms",
        "-n2",
        "--llmci-timing=parallel",
        "--llmci-max-latency=1ms",
        "--llmci-budget=output_tokens <= 50",
    )
    assert result.ret == 0
    assert {block["contended"] for block in bench.records("rounds")} == {True}
    result.stdout.fnmatch_lines(["*other timed work ran at the same time*"])


def test_a_lock_that_cannot_be_held_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(bench.path))
    bench.suite("a=echo,b=echo", "-n2", "--llmci-max-latency=1ns", "-k", "first")
    reasons = {verdict["budgets"][0]["reason"] for verdict in bench.records("verdict")}
    (reason,) = reasons
    assert reason.startswith(
        f"other timed work may have run at the same time: the lock file {bench.path} cannot be used: Is a directory; name"
    )


def test_coverage_is_judged_on_the_controller(bench: Bench) -> None:
    bench.write("test_it.py", "def test_foreign(): pass\n")
    result = bench.run("--llm-models=echo", "-n2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*gate[[]coverage[]]*nothing was measured*"])
    result = bench.suite("echo", "-n2", "--llmci-max-latency=other*:2s")
    result.stdout.fnmatch_lines(["*gate[[]coverage[]]*no cell matches the budget*"])


def test_usage_errors_show_once(bench: Bench) -> None:
    result = bench.suite("echo", "-n2", "--llmci-budget=latncy <= 1s")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    bench.write("test_it.py", "def test_it(llm_result): pass\n")
    result = bench.run("--llm-models=echo", "-n2")
    assert result.ret != 0
    text = result.stdout.str() + result.stderr.str()
    assert "no prompts: give --llm-prompts" in text
    assert "INTERNALERROR" not in text
    assert [path.name for path in (bench.path / "llmci-results").iterdir()] == [".gitignore"]


def test_works_without_a_shared_file_system(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        "from pytest_llmci.plugin.armed import ArmedPlugin\nArmedPlugin.join_parallel_session = lambda self, facts: None\n",
    )
    bench.suite("a=echo,b=echo", "-n2", fresh=True).assert_outcomes(passed=4)
    assert len(bench.records("rounds")) == 4
    assert len(bench.records("verdict")) == 4


def test_an_output_folder_that_cannot_be_made_is_a_usage_error(bench: Bench) -> None:
    bench.write("file", "not a folder")
    result = bench.suite("echo", "-n2", "--llmci-output=file/below", fresh=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "--llmci-output" in text
    assert "INTERNALERROR" not in text


@pytest.mark.parametrize("options", [("-q",), ("--junitxml=junit.xml",)], ids=["quiet", "junit"])
def test_cells_on_their_short_way_are_reported_whole(bench: Bench, options: tuple[str, ...]) -> None:
    alone = tuple(f"-pno:{name}" for name in ("anyio", "benchmark", "hypothesispytest", "rerunfailures", "timeout"))
    result = bench.suite("a=echo,b=echo,c=echo", "-n2", "--llmci-isolation=inline", *alone, *options)
    result.assert_outcomes(passed=6)
    result.stdout.re_match_lines([r"\.{6} +\[100%\]"])
    if options != ("-q",):
        assert (bench.path / "junit.xml").read_text().count("<testcase ") == 6
    assert len(bench.records("verdict")) == 6
    assert verify_log(bench.latest / "log.jsonl").ok


ELSEWHERE = "import os, platform\nif os.environ.get('PYTEST_XDIST_WORKER') in {workers}:\n    platform.node = platform.machine = lambda: 'elsewhere'\n"
"""What a worker behind --tx ssh=... finds: another machine than the controller's."""


def test_a_worker_on_another_machine_says_so(bench: Bench) -> None:
    bench.write("conftest.py", ELSEWHERE.format(workers=("gw1",)))
    result = bench.suite("a=echo+itl=1ms,b=echo+itl=1ms", "-n2", "--llmci-save-baseline=main", fresh=True)
    machines = {each["model"]: each["info"].get("machine", {}).get("machine") for each in bench.records("worker")}
    assert sorted(machines.values(), key=str) == [None, "elsewhere"]
    (there,) = [model for model, machine in machines.items() if machine]
    result.stdout.fnmatch_lines([f"Measured on other machines: {there} (*"])
    assert "were measured on different machines (machine: " in " ".join(result.stdout.str().split())
    assert read_run(bench.latest).models[there].environment.facts["machine"] == "elsewhere"


def test_what_was_measured_elsewhere_is_gone_on_with_there(bench: Bench) -> None:
    bench.write("conftest.py", ELSEWHERE.format(workers=("gw0", "gw1")))
    bench.suite("a=echo,b=echo", "-n2", fresh=True).assert_outcomes(passed=4)
    bench.suite("a=echo,b=echo", "-n2", "--llmci-resume", fresh=True).assert_outcomes(passed=4)
    assert all(block["resumed_from"] for block in bench.records("rounds"))
    bench.suite("a=echo,b=echo", "--llmci-resume", fresh=True).assert_outcomes(passed=4)
    assert not any(block.get("resumed_from") for block in bench.records("rounds"))


ALONE = tuple(f"-pno:{name}" for name in ("anyio", "benchmark", "hypothesispytest", "rerunfailures", "timeout"))
"""Other plugins that listen to reports."""
NOTES_WAITING = """\
from pathlib import Path
from pytest_llmci.plugin import holding
from pytest_llmci.plugin.holding import Holding

holding.SHORT_S, holding.LONGEST_S = 60, 600  # however busy the machine is
keep = Holding.keep

def noted(self, held):
    waits = keep(self, held)
    if waits:
        with Path(__file__).with_name("waiting.txt").open("a") as stream:
            print(held.nodeid, file=stream)
    return waits

Holding.keep = noted
"""


def waited(bench: Bench) -> list[str]:
    return sorted(line.partition("::")[2] for line in (bench.path / "waiting.txt").read_text().splitlines())


def test_reports_of_short_cells_travel_together(bench: Bench) -> None:
    bench.write("conftest.py", NOTES_WAITING)
    result = bench.suite("a=echo,b=echo", "-n2", "--llmci-isolation=inline", "--durations=9", *ALONE, fresh=True)
    result.assert_outcomes(passed=4)
    assert waited(bench) == ["a-first", "b-first"]
    result.stdout.re_match_lines([r"\.{4} +\[100%\]"])
    assert {record["test"] for record in bench.records("verdict")} == {
        f"inference::{model}-{prompt}" for model in "ab" for prompt in ("first", "second")
    }


FOUR_PROMPTS = "".join(f"- {{id: {name}, prompt: Say {name}.}}\n" for name in ("one", "two", "three", "four"))
NOTES_CALLS = """
def pytest_sessionstart(session):
    for plugin in session.config.pluginmanager.get_plugins():
        if type(plugin).__name__ == "WorkerInteractor":
            plugin.run_one_test = noted_call(plugin.run_one_test)

def noted_call(run_one_test):
    def noted():
        with Path(__file__).with_name("calls.txt").open("a") as stream:
            print("call", file=stream)
        run_one_test()
    return noted
"""


@pytest.mark.parametrize(("beside", "calls"), [("", range(4, 8)), ("\ndef pytest_runtest_protocol(): pass\n", [8])])
def test_cells_whose_reports_wait_run_within_one_call(bench: Bench, beside: str, calls: Collection[int]) -> None:
    bench.write("conftest.py", NOTES_WAITING + NOTES_CALLS + beside)
    bench.write("four.yaml", FOUR_PROMPTS)
    result = bench.run(
        "--llm-models=a=echo,b=echo", "--llmci-suite=inference", "--llm-prompts=four.yaml", "-n2", "--llmci-isolation=inline",
        "--llmci-rounds=1", "--llmci-warmup=0", *ALONE, fresh=True,
    )  # fmt: skip
    result.assert_outcomes(passed=8)
    # each of the last two of a model waits for the next unit; so do others where the worker was quicker than the news of its tests
    assert len((bench.path / "calls.txt").read_text().splitlines()) in calls
    assert len(bench.records("verdict")) == 8


def test_a_report_that_waits_survives_the_death_of_its_worker(bench: Bench) -> None:
    bench.write("conftest.py", NOTES_WAITING)
    bench.write("four.yaml", FOUR_PROMPTS)
    models = "a=echo,b=echo+crash=SIGKILL+only_prompt=three"
    result = bench.run(
        f"--llm-models={models}", "--llmci-suite=inference", "--llm-prompts=four.yaml", "-n2", "--llmci-isolation=inline",
        "--llmci-rounds=1", "--llmci-warmup=0", *ALONE, fresh=True,
    )  # fmt: skip
    result.assert_outcomes(passed=7, failed=1)
    assert {"b-one", "b-two"} <= set(waited(bench))
    result.stdout.fnmatch_lines(["*crashed while running 'inference::b-three'*"])
    verdicts = {record["test"].partition("::")[2]: record["verdict"] for record in bench.records("verdict")}
    assert verdicts.pop("b-three") == "failed"
    assert [*verdicts.values()] == ["pass"] * 7
    gates = {gate["name"]: gate["outcome"] for gate in bench.records("gate")}
    assert gates["coverage"] == "passed"


def test_a_report_that_waits_is_told_where_its_worker_is_stopped(bench: Bench) -> None:
    stops = (
        "from pytest_llmci.plugin.running import Running\n\nlets_wait = Running.lets_wait\n\n"
        "def stopped(self, item, *given):\n    item.session.shouldstop = 'enough'\n    return lets_wait(self, item, *given)\n\n"
        "Running.lets_wait = stopped\n"
    )
    bench.write("conftest.py", NOTES_WAITING + stops)
    result = bench.suite("a=echo", "-n1", "--llmci-isolation=inline", *ALONE, fresh=True)
    assert waited(bench) == ["a-first"]
    assert result.parseoutcomes().get("passed") == 1
