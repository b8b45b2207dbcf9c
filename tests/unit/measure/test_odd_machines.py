"""Machines on which a measurement is not what it is elsewhere, made as real as this one allows: each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci.measure import region as region_module
from pytest_llmci.measure.profile import profile
from pytest_llmci.records import Missing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the oddities are Linux's")

MIB = 1 << 20
NOBODY = 65534
SPIKE = """
import json, os, sys, time
from waiting import went_round
from pytest_llmci.measure import region, sampler
from pytest_llmci.measure.cpu import allowed_cores
from pytest_llmci.measure.profile import profile
from pytest_llmci.store.environment import environment
exec(sys.argv[1])
with profile() as measured:
    block = bytearray(64 << 20)
    block[::4096] = b"x" * (len(block) // 4096)
    time.sleep(0.2)
    if sampling := region.PROCESS_METER.helper_pid:
        assert went_round(sampling)
    del block
print(json.dumps({**measured.to_json(), "refused": region.PROCESS_METER.chosen().refused, "cores": allowed_cores()}))
"""


def spike(prepare: str = "", before: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a process says of a spike of 64 MiB.

    :param prepare: code that makes the process odd; it runs before anything is measured.
    :param before: words before the command.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*before, sys.executable, "-W", "error", "-c", SPIKE, prepare]
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found["values"]) | set(found["reasons"]) >= {"wall_time", "cpu_time", "peak_rss", "run_delay", "steal"}
    assert all(found["reasons"].values())
    assert found["values"]["wall_time"] >= 200_000_000
    assert found["values"]["cpu_time"] > 0
    return found


def delta(found: dict[str, Any]) -> float:
    value: float = found["values"]["peak_rss_delta"]
    return value


def in_namespace(*commands: str) -> tuple[str, ...]:
    """Words that run a command where the mounts of these shell commands hold; skips where that is not allowed."""
    script = " && ".join((*commands, 'exec "$@"'))
    words = ("unshare", "--mount", "sh", "-c", script, "sh")
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount in a namespace of its own")
    return words


def test_a_read_only_proc_is_looked_at_by_another_process() -> None:
    found = spike(before=in_namespace("mount --bind /proc /proc", "mount -o remount,bind,ro /proc"))
    assert found["memory_method"] == "sampler"
    assert found["refused"] == ["high-water mark: /proc/self/clear_refs: Read-only file system"]
    assert found["peak_rss_resolution_bytes"] is None
    assert delta(found) == pytest.approx(64 * MIB, abs=2 * MIB)


def test_without_proc_the_times_remain() -> None:
    found = spike(before=in_namespace("mount -t tmpfs none /proc"))
    assert found["memory_method"] == ""
    reason = found["reasons"]["peak_rss"]
    assert all(path in reason for path in ("/proc/self/clear_refs", "/proc/self/statm", "/proc/self/status"))
    assert "/proc" in found["reasons"]["rss_before"]
    assert "/proc/thread-self/schedstat" in found["reasons"]["run_delay"]
    assert "/proc/stat" in found["reasons"]["steal"]
    assert found["values"]["cpu_percent"] == pytest.approx(100 * found["values"]["cpu_cores_used"] / found["cores"])


# Nobody may run root's own interpreter on some machines; the process that looks is then another Python, or none at all.
SAMPLER_PYTHON = """
sys.executable = next((path for path in (sys.executable, "/usr/bin/python3") if os.access(path, os.X_OK)), "/no/python")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_process_that_became_somebody_else_falls_back() -> None:
    found = spike(f"os.setgid({NOBODY}); os.setuid({NOBODY})\n{SAMPLER_PYTHON}")
    assert found["refused"][0] == "high-water mark: /proc/self/clear_refs: Permission denied"
    if found["memory_method"] == "lifetime":  # no Python that nobody may run
        assert found["refused"][1].startswith("sampler: ")
        assert found["values"]["peak_rss"] > 64 * MIB
        assert "whole life" in found["reasons"]["peak_rss_delta"]
    else:
        assert found["memory_method"] == "sampler"
        assert delta(found) == pytest.approx(64 * MIB, abs=2 * MIB)


def test_where_no_process_may_be_started_the_lifetime_is_left() -> None:
    found = spike(
        "sys.executable = '/no/python'; region.PROCESS_METER._paths = region.MemoryPaths(clear_refs='/no/clear_refs')"
    )
    assert found["memory_method"] == "lifetime"
    assert found["refused"] == [
        "high-water mark: /no/clear_refs: No such file or directory",
        "sampler: /no/python: No such file or directory",
    ]
    assert found["values"]["peak_rss"] > 64 * MIB


def test_a_process_that_may_not_be_looked_into_falls_back() -> None:
    found = spike("import ctypes; assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0")  # PR_SET_DUMPABLE
    if os.getuid() == 0:  # root may all the same
        assert (found["memory_method"], found["refused"]) == ("hwm", [])
    else:
        assert found["memory_method"] == "sampler"
        assert found["refused"] == ["high-water mark: /proc/self/clear_refs: Permission denied"]
    assert delta(found) == pytest.approx(64 * MIB, abs=2 * MIB)


@pytest.mark.parametrize("refused", [False, True])
def test_one_core(refused: bool) -> None:
    prepare = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    if refused:
        prepare += "\nregion.PROCESS_METER._paths = region.MemoryPaths(clear_refs='/no/clear_refs')"
    found = spike(prepare)
    assert found["memory_method"] == ("sampler" if refused else "hwm")
    assert delta(found) == pytest.approx(64 * MIB, abs=2 * MIB)
    assert found["cores"] <= 1
    assert found["values"]["cpu_percent"] == pytest.approx(100 * found["values"]["cpu_cores_used"] / found["cores"])


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A control group of version 1 or 2 that allows half a core; skips where none can be made."""
    made: list[Path] = []
    try:
        for mount, limits in (
            ("cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"}),
            (".", {"cpu.max": "50000 100000"}),
        ):
            group = Path("/sys/fs/cgroup", mount, f"llmci-test-{os.getpid()}")
            try:
                group.mkdir()
                made.append(group)
                for name, limit in limits.items():
                    (group / name).write_text(limit, "ascii")
            except OSError:
                continue
            yield group
            return
        pytest.skip("no control group with a quota can be made here")
    finally:
        for group in made:
            group.rmdir()


def test_a_real_quota_is_what_per_cent_are_of(half_a_core: Path) -> None:
    enter = f"with open({str(half_a_core / 'cgroup.procs')!r}, 'w') as file: file.write(str(os.getpid()))"
    found = spike(f"{enter}\nassert environment()['cpu_quota_cores'] == 0.5")
    assert found["cores"] == 0.5
    assert found["values"]["cpu_percent"] == pytest.approx(200 * found["values"]["cpu_cores_used"])


ALLOCATING = """
import json, threading, time
from pytest_llmci.measure.profile import profile
kept, stop = [], threading.Event()
def allocate():
    while not stop.is_set():
        if len(kept) < 400:  # one that is far behind must not have it fill the machine
            block = bytearray(1 << 20)
            block[::4096] = b"x" * 256
            kept.append(block)
        time.sleep(0.001)
thread = threading.Thread(target=allocate)
thread.start()
while len(kept) < 20:
    time.sleep(0.001)
least, most = -len(kept) - 1, -len(kept)
with profile() as measured:
    most_before = len(kept) + 1
    while len(kept) < 60:
        time.sleep(0.001)
    at_end = len(kept)
after = len(kept) + 1
running = thread.is_alive()
stop.set()
thread.join()
print(json.dumps({**measured.to_json(), "least": at_end - most_before, "most": after + most, "running": running}))
"""


def test_a_thread_that_still_allocates_when_the_block_ends() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", ALLOCATING]
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["running"] and found["memory_method"] == "hwm"
    assert (found["least"] - 2) * MIB < delta(found) < (found["most"] + 2) * MIB
    assert found["values"]["involuntary_switches"] >= 0


def test_a_clock_that_goes_back_gives_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5_000_000_000, 2_000_000_000, 1_000_000_000, 0])
    monkeypatch.setattr(region_module, "perf_counter_ns", lambda: next(times, 0))
    with profile() as measured:
        pass
    for value in (measured.wall_time, measured.cpu_cores_used, measured.cpu_percent, measured.steal):
        assert isinstance(value, Missing) and "went back" in value.reason
    assert measured.peak_rss >= measured.rss_before
    assert measured.noisy == ""
