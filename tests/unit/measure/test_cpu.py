from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmci.measure import cpu
from pytest_llmci.measure.base import CLOCK_WENT_BACK
from pytest_llmci.measure.cpu import (
    LEAST_WALL_NS,
    ClockUsage,
    allowed_cores,
    cgroup_quota,
    cpu_time_ns,
    cpu_values,
    net_time,
    process_usage,
)
from pytest_llmci.records import Missing


def _tree(folder: Path, membership: str, files: dict[str, str]) -> float | None:
    (folder / "cgroup").write_text(membership, "ascii")
    for name, text in files.items():
        path = folder / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "ascii")
    return cgroup_quota(str(folder / "cgroup"), str(folder / "fs"))


def test_a_burn_of_known_cpu_time_is_found(burn: Callable[[float], None]) -> None:
    before, truth = process_usage(), time.process_time_ns()
    burn(0.1)
    after, truth = process_usage(), time.process_time_ns() - truth
    assert cpu_time_ns(before, after) == pytest.approx(truth, rel=0.02, abs=1_000_000)
    assert cpu_time_ns(before, after) >= 100_000_000


def test_the_cpu_time_of_all_threads_is_in_it() -> None:
    def work() -> None:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 100_000)  # without the interpreter lock

    threads = [threading.Thread(target=work) for _ in range(2)]
    before, truth, own = process_usage(), time.process_time_ns(), time.thread_time_ns()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after, truth, own = process_usage(), time.process_time_ns() - truth, time.thread_time_ns() - own
    spent = cpu_time_ns(before, after)
    assert spent == pytest.approx(truth, rel=0.02, abs=5_000_000)
    assert spent > 2 * own  # not the calling thread's alone


def test_cpu_time_is_whole_microseconds() -> None:
    assert cpu_time_ns(ClockUsage(1.000001, 2.0), ClockUsage(1.000004, 2.000002)) == 5_000


def test_cores_and_per_cent_are_of_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "allowed_cores", lambda: 3.0)
    values = cpu_values(3_000_000, 2_000_000)
    assert values == {"cpu_time": 3_000_000, "cpu_cores_used": 1.5, "cpu_percent": 50.0}


@pytest.mark.parametrize("wall_ns", [0, LEAST_WALL_NS - 1])
def test_a_block_too_short_for_the_cpu_clock_has_no_share(wall_ns: int) -> None:
    values = cpu_values(3_000, wall_ns)
    assert values["cpu_time"] == 3_000
    assert isinstance(values["cpu_cores_used"], Missing)
    assert isinstance(values["cpu_percent"], Missing)
    assert cpu_values(3_000, LEAST_WALL_NS)["cpu_cores_used"] == 0.015


def test_a_clock_that_went_back_is_not_taken_for_a_short_block() -> None:
    values = cpu_values(3_000, -1)
    assert values["cpu_time"] == 3_000
    assert values["cpu_cores_used"] == values["cpu_percent"] == net_time(-1, 0, 1) == CLOCK_WENT_BACK


def test_net_time_is_wall_without_the_wait() -> None:
    assert net_time(1_000, 300, 1) == 700


@pytest.mark.parametrize(("threads", "words"), [(2, "may use 2"), (0, "not known")])
def test_net_time_of_several_threads_is_missing(threads: int, words: str) -> None:
    value = net_time(1_000, 300, threads)
    assert isinstance(value, Missing)
    assert words in value.reason


def test_net_time_without_run_delay_says_why() -> None:
    assert net_time(1_000, Missing("no schedstat"), 1) == Missing("no schedstat")
    assert isinstance(net_time(1_000, 1_001, 1), Missing)


def test_version_2_quota_of_the_own_group(tmp_path: Path) -> None:
    assert _tree(tmp_path, "0::/a/b\n", {"a/b/cpu.max": "150000 100000"}) == 1.5


def test_the_tightest_ancestor_counts(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "cpu.max": "200000 100000"}
    assert _tree(tmp_path, "0::/a/b\n", files) == 0.5


def test_inside_a_container_only_the_root_is_there(tmp_path: Path) -> None:
    assert _tree(tmp_path, "0::/docker/0123\n", {"cpu.max": "200000 100000"}) == 2.0


def test_version_1_quota(tmp_path: Path) -> None:
    files = {"cpu,cpuacct/job/cpu.cfs_quota_us": "250000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}
    assert _tree(tmp_path, "4:memory:/x\n2:cpu,cpuacct:/job\n0::/\n", files) == 2.5


def test_version_1_without_a_limit(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    assert _tree(tmp_path, "1:cpu:/\n", files) is None


def test_no_control_groups(tmp_path: Path) -> None:
    assert cgroup_quota(str(tmp_path / "absent"), str(tmp_path)) is None


def test_this_process_may_use_something() -> None:
    assert allowed_cores() > 0
