"""A whole session on a machine that does not tell everything: what is missing has its reason, the rest is as elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bench import Bench

from pytest_llmci.clock import SystemClock
from pytest_llmci.measure.profile import profile

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the oddities are Linux's")
MIB = 1 << 20
MODEL = "echo+alloc=64MiB+alloc_ms=1000"
SOURCES = """
import ctypes, os, time
from pytest_llmci.backends.echo import EchoBackend
from pytest_llmci.measure import builtin_metrics, sampler

class Locked(EchoBackend):
    def prepare(self):
        builtin_metrics()  # imports what nobody may not read any more
        if os.getuid() == 0:  # root may look into everything, so it becomes nobody
            os.setuid(65534)
        else:
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE

class BackInTime(EchoBackend):
    def generate(self, prompt, settings, stamp):
        real, time.perf_counter_ns = time.perf_counter_ns, lambda: real() - 3_600_000_000_000
        return super().generate(prompt, settings, stamp)
"""
REGISTERS = """
def pytest_llmci_register(registry):
    registry.add("backend", "locked", "sources:Locked")
    registry.add("backend", "backintime", "sources:BackInTime")
"""


def in_namespace(bench: Bench, mount: str, *args: str) -> subprocess.CompletedProcess[str]:
    """A session where the mounts of that shell command hold; skips where that is not allowed."""
    words = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount in a namespace of its own")
    session = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--llmci-suite=inference", "--llmci-rounds=2"]
    command = [*words, *session, f"--llm-models={MODEL}", "--llm-prompts=prompts.yaml", *args]
    return subprocess.run(command, cwd=bench.path, capture_output=True, check=False, text=True)


def the_block(bench: Bench) -> dict[str, Any]:
    """The first block of rounds; both prompts had all of theirs."""
    blocks = bench.records("rounds")
    assert [(block["n"], block["error"]) for block in blocks] == [(2, None)] * 2
    assert all(blocks[0]["reasons"].values())
    return blocks[0]


@linux_only
def test_a_read_only_proc_gives_sampled_peaks(bench: Bench) -> None:
    mount = "mount --bind /proc /proc && mount -o remount,bind,ro /proc"
    done = in_namespace(bench, mount, "--llmci-budget=peak_rss <= 1GiB")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 passed" in done.stdout and "peak RAM" in done.stdout
    block = the_block(bench)
    assert (block["memory_method"], block["peak_rss_resolution_bytes"]) == ("sampler", None)
    for peak, before in zip(block["values"]["peak_rss"], block["values"]["rss_before"], strict=True):
        assert peak - before == pytest.approx(64 * MIB, abs=2 * MIB)
    (worker,) = bench.records("worker")
    assert worker["info"]["memory_refused"] == ["high-water mark: /proc/self/clear_refs: Read-only file system"]


@linux_only
def test_without_proc_all_but_memory_is_measured(bench: Bench) -> None:
    done = in_namespace(bench, "mount -t tmpfs none /proc")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 passed" in done.stdout
    block = the_block(bench)
    assert block["memory_method"] == ""
    assert "/proc/self/clear_refs: No such file" in block["reasons"]["peak_rss"]
    assert {"latency", "ttft", "cpu_time", "cpu_percent"} <= block["values"].keys()
    assert {"rss_before", "run_delay", "run_delay_all", "steal", "net_time"} <= block["reasons"].keys()


@linux_only
def test_a_budget_on_a_peak_that_is_not_known_fails_with_the_reason(bench: Bench) -> None:
    done = in_namespace(bench, "mount -t tmpfs none /proc", "--llmci-budget=peak_rss <= 1GiB")
    assert done.returncode == 1
    assert "2 failed" in done.stdout
    assert "/proc/self/clear_refs: No such file or directory" in done.stdout


@linux_only
def test_a_process_that_may_not_be_looked_into_falls_back(bench: Bench) -> None:
    bench.write("conftest.py", REGISTERS)
    bench.write("sources.py", SOURCES)
    bench.suite("locked+alloc=64MiB+alloc_ms=1000").assert_outcomes(passed=2)
    block = the_block(bench)
    (worker,) = bench.records("worker")
    refused = worker["info"]["memory_refused"]
    assert refused[0] == "high-water mark: /proc/self/clear_refs: Permission denied"
    assert block["memory_method"] in ("sampler", "lifetime")
    assert len(refused) == 1 + (block["memory_method"] == "lifetime")  # nobody may not start the process that looks
    assert min(block["values"]["peak_rss"]) > 64 * MIB
    assert {"latency", "cpu_time", "run_delay"} <= block["values"].keys()


@linux_only
def test_where_the_best_way_is_open_nothing_was_refused(bench: Bench) -> None:
    with profile() as measured:
        pass
    if measured.memory_method != "hwm":
        pytest.skip("this machine refuses the high-water mark")
    bench.suite("echo")
    assert [worker["info"]["memory_refused"] for worker in bench.records("worker")] == [[]]
    assert the_block(bench)["memory_method"] == "hwm"


def test_a_clock_that_goes_back_in_an_inference_gives_no_time_and_fails_its_budget(bench: Bench) -> None:
    bench.write("conftest.py", REGISTERS)
    bench.write("sources.py", SOURCES)
    bench.suite("backintime").assert_outcomes(passed=2)
    block = the_block(bench)
    for metric in ("latency", "ttft", "itl", "tokens_per_s"):
        assert block["reasons"][metric] == "the clock went back during the inference"
        assert metric not in block["values"]
    assert {"cpu_time", "output_tokens"} <= block["values"].keys()
    gated = bench.suite("backintime", "--llmci-max-latency=1s")
    gated.assert_outcomes(failed=2)
    gated.stdout.fnmatch_lines(["BudgetExceeded: latency.median <= 1s: latency is missing: the clock went back*"])


def test_a_calendar_that_goes_back_spoils_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [datetime(2026, 1, 1, tzinfo=UTC)]

    def earlier(self: SystemClock) -> datetime:
        moments.append(moments[-1] - timedelta(minutes=7))
        return moments[-1]

    monkeypatch.setattr(SystemClock, "utc", earlier)
    for _ in range(2):
        bench.suite("echo").assert_outcomes(passed=2)
        assert len(moments) > 2
        assert min(the_block(bench)["values"]["latency"]) > 0
    logs = sorted((bench.path / "llmci-results").glob("2*/log.jsonl"))
    assert len(logs) == 2
    # The copy is that of the run that ended last, though the calendar says that it began first.
    assert (bench.latest / "log.jsonl").read_bytes() == logs[0].read_bytes()
