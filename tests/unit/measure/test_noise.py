from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmci.measure.base import CLOCK_WENT_BACK
from pytest_llmci.measure.cpu import cgroup_quota
from pytest_llmci.measure.noise import TICK_NS, RunDelay, Steal, noisy_reason, run_delay_ns
from pytest_llmci.records import Missing

SECOND = 1_000_000_000


def test_a_quiet_round_is_not_noisy() -> None:
    quiet = {"run_delay": 1_000_000, "involuntary_switches": 3, "major_faults": 0, "steal": 0}
    assert noisy_reason(quiet, SECOND, cpus=2) == ""


@pytest.mark.parametrize(
    ("metric", "least", "words"),
    [
        ("run_delay", SECOND // 20 + 1, "waited for a CPU 5%"),
        ("steal", SECOND // 10 + 1, "hypervisor took 100 ms"),
        ("major_faults", 51, "51 pages"),
        ("involuntary_switches", 101, "preempted 101 times"),
    ],
)
def test_each_limit_at_and_above(metric: str, least: int, words: str) -> None:
    assert noisy_reason({metric: least - 1}, SECOND, cpus=2) == ""
    assert words in noisy_reason({metric: least}, SECOND, cpus=2)


def test_all_reasons_are_named() -> None:
    reason = noisy_reason({"run_delay": SECOND // 2, "major_faults": 1000}, SECOND, cpus=2)
    assert reason == "waited for a CPU 50% of the time; 1000 pages were read from disk"


def test_one_tick_of_steal_is_within_the_resolution() -> None:
    assert noisy_reason({"steal": TICK_NS}, TICK_NS, cpus=1) == ""
    assert noisy_reason({"steal": 2 * TICK_NS}, TICK_NS, cpus=1)


def test_a_short_round_may_meet_a_few_preemptions() -> None:
    assert noisy_reason({"involuntary_switches": 4}, 1_000_000, cpus=2) == ""
    assert noisy_reason({"involuntary_switches": 5}, 1_000_000, cpus=2)


def test_what_is_missing_is_passed_over() -> None:
    assert noisy_reason({}, SECOND) == ""
    assert noisy_reason({"run_delay": 5}, 0) == ""


def test_schedstat_is_read_by_its_second_field() -> None:
    assert run_delay_ns(b"100 20 3\n", b"900 70 9\n") == 50


@pytest.mark.parametrize("after", [b"", b"0 0 0\n", b"not a number"])
def test_no_run_queue_statistics_is_missing_and_not_zero(after: bytes) -> None:
    assert isinstance(run_delay_ns(b"0 0 0\n", after), Missing)


def test_no_schedstat_file(tmp_path: Path) -> None:
    assert RunDelay(str(tmp_path / "absent")).raw() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_each_thread_reads_its_own_run_delay() -> None:
    delay = RunDelay()
    own = int(delay.raw().split()[2])
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(int(delay.raw().split()[2])))
    thread.start()
    thread.join()
    assert 0 < found[0] < own  # times on a CPU: a new thread has hardly run, this one imported pytest


def test_a_thread_so_young_that_its_cpu_time_is_not_booked_yet() -> None:
    assert run_delay_ns(b"0 10 1\n", b"0 30 2\n") == 20


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.skipif(cgroup_quota() is not None, reason="a throttled process waits without being on a run queue")
def test_run_delay_is_the_wall_time_that_a_neighbour_took(burn: Callable[[float], None]) -> None:
    allowed = os.sched_getaffinity(0)
    neighbour = subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
    delay, steal = RunDelay(), Steal()
    shares: list[tuple[float, float, float]] = []
    try:
        os.sched_setaffinity(neighbour.pid, {min(allowed)})
        os.sched_setaffinity(0, {min(allowed)})
        for _ in range(20):
            begin = time.perf_counter_ns()
            taken, waited, cpu = steal.begin(begin), delay.raw(), time.thread_time_ns()
            burn(0.1)
            cpu, waits = time.thread_time_ns() - cpu, run_delay_ns(waited, delay.raw())
            end = time.perf_counter_ns()
            stolen, wall = steal.end(taken, begin, end), end - begin
            assert not isinstance(waits, Missing)
            hidden = 0 if isinstance(stolen, Missing) else stolen  # a hypervisor took it while the thread ran: no wait
            shares.append((waits / wall, (waits + cpu) / wall, hidden / wall))
            if shares[-1][0] > 0.25 and 0.85 - shares[-1][2] < shares[-1][1] < 1.02:
                break
        else:  # each time the machine stood still for 30 ms or more
            pytest.fail(f"shares of the wall time, of waits, known, and stolen: {shares}")
    finally:
        os.sched_setaffinity(0, allowed)
        neighbour.kill()
        neighbour.wait()


def test_steal_is_counted_in_ticks(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 100 9 10\n", "ascii")
    steal = Steal(str(stat))
    begin = steal.begin(0)
    stat.write_text("cpu  1 2 3 4 5 6 7 103 9 10\n", "ascii")
    assert steal.end(begin, 0, 5 * TICK_NS) == 3 * TICK_NS


def test_a_block_shorter_than_a_tick_has_no_steal_to_tell(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 100 9 10\n", "ascii")
    steal = Steal(str(stat))
    value = steal.end(steal.begin(0), 0, TICK_NS - 1)
    assert isinstance(value, Missing)
    assert "10 ms tick" in value.reason


def test_a_steal_sample_from_before_the_clock_went_back_is_not_used_again(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 100 9 10\n", "ascii")
    steal = Steal(str(stat))
    assert steal.begin(50 * TICK_NS).ticks == 100
    stat.write_text("cpu  1 2 3 4 5 6 7 130 9 10\n", "ascii")
    begin = steal.begin(2 * TICK_NS)
    assert begin.ticks == 130
    assert steal.end(begin, 2 * TICK_NS, 0) == CLOCK_WENT_BACK


def test_an_old_steal_sample_is_not_used_again(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 100 9 10\n", "ascii")
    steal = Steal(str(stat))
    assert steal.begin(0).ticks == 100
    stat.write_text("cpu  1 2 3 4 5 6 7 200 9 10\n", "ascii")
    assert steal.begin(TICK_NS).ticks == 100
    assert steal.begin(TICK_NS + 1).ticks == 200


def test_a_count_of_steal_that_went_back_is_missing(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 100 9 10\n", "ascii")
    steal = Steal(str(stat))
    begin = steal.begin(0)
    stat.write_text("cpu  1 2 3 4 5 6 7 99 9 10\n", "ascii")
    value = steal.end(begin, 0, SECOND)
    assert isinstance(value, Missing) and "went back" in value.reason


def test_no_stat_file(tmp_path: Path) -> None:
    steal = Steal(str(tmp_path / "absent"))
    value = steal.end(steal.begin(0), 0, SECOND)
    assert isinstance(value, Missing)
