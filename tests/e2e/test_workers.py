"""One model cannot hurt the session: crashes, hangs and hunger become failed tests with evidence, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import Bench, unwrapped
from waiting import PATIENCE_S, comes_true, runs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups are POSIX")


def test_a_crash_is_a_failed_test_with_evidence_and_the_matrix_goes_on(bench: Bench) -> None:
    result = bench.suite("echo+crash=SIGSEGV+only_prompt=first+at=1+token=3", "--llmci-warmup=0", "--llmci-rounds=3")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "WorkerCrashed: echo died of a segmentation fault (SIGSEGV)",
            "*when *round 2 of 3, 3 tokens into the answer",
            "*kept *1 finished round, in log.jsonl; not used in any median",
            "*stderr *workers/echo-1.log",
            "*next *any further cell of the model gets a new process",
        ]
    )
    crashed, healthy = bench.records("rounds")
    assert (crashed["n"], crashed["error"]["kind"]) == (1, "crashed")
    assert (healthy["n"], healthy["error"]) == (3, None)
    assert len(bench.records("worker")) == 2
    assert (bench.latest / "workers" / "echo-1.log").exists()


def test_a_kill_without_proof_is_not_called_out_of_memory(bench: Bench) -> None:
    result = bench.suite("echo+crash=SIGKILL", "-k", "first")
    result.stdout.fnmatch_lines(["WorkerCrashed: echo was killed by SIGKILL, cause unknown"])
    result.stdout.no_fnmatch_line("*out of memory*")


def test_after_two_deaths_in_a_row_the_rest_fails_fast(bench: Bench) -> None:
    result = bench.run("--llm-models=echo+crash=exit:3", "--llmci-suite=inference", "--llmci-rounds=1")
    result.assert_outcomes(failed=10)
    assert len(bench.records("worker")) == 2
    given_up = "ModelGivenUp: not run: echo died 2 times in a row, last: echo ended by itself with exit status 3"
    assert unwrapped(result).count(given_up) == 8
    assert len(bench.records("rounds")) == 10


def test_what_was_not_run_claims_no_round_and_no_death(bench: Bench) -> None:
    result = bench.run("--llm-models=b=echo,a=echo+crash=exit:3+token=4", "--llmci-suite=inference", "--llmci-rounds=2")
    result.assert_outcomes(failed=10, passed=10)
    text = result.stdout.str()
    assert text.count("  when ") == text.count("WorkerCrashed: a ended by itself with exit status 3") == 2
    given_up = "ModelGivenUp: not run: a died 2 times in a row, last: a ended by itself with exit status 3"
    assert unwrapped(result).count(given_up) == 8
    assert "2 processes were lost." in " ".join(text.split()), "wherever the line is broken"
    kinds = [block["error"]["kind"] for block in bench.records("rounds") if block["model"] == "a"]
    assert kinds == ["crashed"] * 2 + ["given_up"] * 8


def test_a_load_that_fails_is_tried_once(bench: Bench) -> None:
    result = bench.suite("echo+load_fail=no such weights", "--llmci-rounds=1")
    result.assert_outcomes(failed=2)
    assert len(bench.records("worker")) == 1
    result.stdout.fnmatch_lines(["*no such weights*"])


@pytest.mark.parametrize("how", ["sleep", "spin", "gil"])
def test_a_hang_is_killed_at_the_limit(bench: Bench, how: str) -> None:
    result = bench.suite(f"echo+hang={how}+only_prompt=first", "--llmci-timeout=2s", "--llmci-rounds=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["WorkerTimeout: echo did not finish an inference within 2 s and was killed", "*limit*--llmci-timeout"]
    )
    assert not runs(bench.records("worker")[0]["pid"])


def test_a_load_that_hangs_is_killed_at_its_own_limit(bench: Bench) -> None:
    result = bench.suite("echo+hang=sleep+at=load", "--llmci-load-timeout=2s", "-k", "first")
    result.stdout.fnmatch_lines(["WorkerTimeout: echo did not finish loading within 2 s and was killed"])


def test_the_limit_of_an_inference_is_not_one_of_the_block(bench: Bench) -> None:
    bench.suite("echo+ttft=300ms", "--llmci-timeout=3s", "--llmci-rounds=11", "-k", "first").assert_outcomes(passed=1)


def test_the_memory_limit_names_itself(bench: Bench) -> None:
    result = bench.suite("echo+alloc=400MiB+alloc_ms=20s", "--llmci-memory-limit=200MiB", "-k", "first")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["WorkerCrashed: echo was stopped: it used * MiB, the limit is 200 MiB"])


def test_what_the_model_prints_does_not_disturb(bench: Bench) -> None:
    bench.suite("echo+stdout=NOISE", "-s").assert_outcomes(passed=2)
    assert "NOISE" in (bench.latest / "workers" / "echo-1.log").read_text()


def test_inline_runs_in_this_process_and_says_so(bench: Bench) -> None:
    bench.suite("echo", "--llmci-isolation=inline", fresh=True).assert_outcomes(passed=2)
    worker = bench.records("worker")[0]
    assert worker["isolation"] == "inline"
    assert {block["memory_isolated"] for block in bench.records("rounds")} == {False}


def _heed_ctrl_c() -> None:
    """Whoever runs in the background has Ctrl-C turned off, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _start(bench: Bench, *args: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--llmci-suite=inference",
        "--llm-prompts=prompts.yaml",
        *args,
    ]
    with open(bench.path / "output.txt", "wb") as output:
        return subprocess.Popen(
            command,
            cwd=bench.path,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_heed_ctrl_c,  # noqa: PLW1509  # one system call
        )


def _processes_of(bench: Bench) -> list[int]:
    """Model processes whose working directory is this test's, and their children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, place = (entry / "cmdline").read_bytes(), (entry / "cwd").resolve()
            except OSError:
                continue
            if place == bench.path and (b"llmci_worker" in command or b"sleep" in command) and runs(int(entry.name)):
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("hang", ["sleep", "gil"])
def test_nobody_outlives_pytest(bench: Bench, how: signal.Signals, hang: str) -> None:
    session = _start(bench, f"--llm-models=echo+hang={hang}+child=600s+at=1", "--llmci-rounds=3")
    try:
        assert comes_true(lambda: len(_processes_of(bench)) >= 2)
        time.sleep(0.3)
        session.send_signal(how)
        session.wait(PATIENCE_S)
        assert comes_true(lambda: not _processes_of(bench))
    finally:
        session.kill()


def test_ctrl_c_leaves_a_log_that_verifies(bench: Bench) -> None:
    bench.write(
        "stuck.py",
        "import time\nfrom pathlib import Path\n"
        "def answer(prompt):\n    if 'river' in prompt:\n        Path('begun').touch()\n        time.sleep(600)\n    return 'red'\n",
    )
    session = _start(bench, "--llm-models=py:stuck:answer", "--llmci-rounds=1")
    assert comes_true((bench.path / "begun").exists)
    session.send_signal(signal.SIGINT)
    session.wait(PATIENCE_S)
    output = (bench.path / "output.txt").read_text()
    assert "KeyboardInterrupt" in output
    assert "INTERNALERROR" not in output
    from pytest_llmci.cli.main import main

    assert main(["verify", str(bench.latest)]) == 0
    kinds = [block["error"] and block["error"]["kind"] for block in bench.records("rounds")]
    assert kinds == [None, "interrupted"]


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "parallel"])
def test_ctrl_c_before_anything_was_measured_leaves_no_run(bench: Bench, workers: tuple[str, ...]) -> None:
    if workers:
        pytest.importorskip("xdist")
    session = _start(bench, "--llm-models=echo+hang=sleep+at=load", *workers)
    results = bench.path / "llmci-results"
    assert comes_true(lambda: any(log.stat().st_size for log in results.glob("*/log.jsonl")))
    session.send_signal(signal.SIGINT)
    session.wait(PATIENCE_S)
    output = (bench.path / "output.txt").read_text()
    assert "KeyboardInterrupt" in output
    assert "INTERNALERROR" not in output
    assert [path.name for path in results.iterdir()] == [".gitignore"]
