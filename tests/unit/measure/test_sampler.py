from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import gone, runs, times_asleep, went_round

from pytest_llmci.measure import sampler as sampler_module
from pytest_llmci.measure.cpu import affinity_count
from pytest_llmci.measure.memory import MemoryPaths
from pytest_llmci.measure.profile import profile
from pytest_llmci.measure.region import Meter
from pytest_llmci.measure.sampler import Sampler
from pytest_llmci.records import Missing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

MIB = 1 << 20


@pytest.fixture
def sampler() -> Iterator[Sampler]:
    fd = os.open("/proc/self/statm", os.O_RDONLY)
    started = Sampler(fd)
    yield started
    started.close()
    os.close(fd)


def test_it_sees_the_memory_of_the_process_that_started_it(sampler: Sampler) -> None:
    sampler.mark(go_on=True)
    block = bytearray(b"\1") * (64 * MIB)
    assert went_round(sampler.pid)
    size = len(block)
    del block
    high = sampler.mark(go_on=True)
    low = sampler.mark(go_on=False)
    assert high - low > size - 2 * MIB


def test_each_segment_has_its_own_peak(sampler: Sampler) -> None:
    sampler.mark(go_on=True)
    block = bytearray(b"\1") * (64 * MIB)
    assert went_round(sampler.pid)
    del block
    first = sampler.mark(go_on=True)
    assert went_round(sampler.pid)
    second = sampler.mark(go_on=False)
    assert first - second > 60 * MIB


def test_it_is_bare_and_sleeps_when_idle(sampler: Sampler) -> None:
    arguments = Path(f"/proc/{sampler.pid}/cmdline").read_bytes().split(b"\0")
    assert arguments[1:4] == [b"-I", b"-S", os.path.abspath(sampler_module.__file__).encode()]
    sampler.mark(go_on=False)
    begin, before = time.monotonic(), times_asleep(sampler.pid)
    time.sleep(0.2)
    slept, wall_s = times_asleep(sampler.pid) - before, time.monotonic() - begin
    assert slept <= 2 + wall_s  # once a second it looks for its parent; looking every millisecond it would be 200


@pytest.mark.skipif(affinity_count() < 2, reason="needs two CPUs")
def test_it_does_not_share_the_one_core_of_a_pinned_process() -> None:
    allowed = os.sched_getaffinity(0)
    fd = os.open("/proc/self/statm", os.O_RDONLY)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        started = Sampler(fd)
    finally:
        os.sched_setaffinity(0, allowed)
        os.close(fd)
    found = os.sched_getaffinity(started.pid)
    started.close()
    assert len(found) > 1


def test_it_ends_when_it_is_closed(sampler: Sampler) -> None:
    pid = sampler.pid
    sampler.close()
    assert not runs(pid)
    sampler.close()
    with pytest.raises(OSError, match="ended"):
        sampler.mark(go_on=True)


def test_it_ends_with_its_parent_even_if_killed() -> None:
    code = """
import os, time
from pytest_llmci.measure.sampler import Sampler
sampler = Sampler(os.open("/proc/self/statm", os.O_RDONLY))
sampler.mark(go_on=True)
print(sampler.pid, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
    assert gone(pid)


@pytest.mark.parametrize("looking", [True, False])
def test_it_ends_with_its_parent_though_a_third_process_holds_the_pipe(looking: bool) -> None:
    code = f"""
import os, time
from pytest_llmci.measure.sampler import Sampler
sampler = Sampler(os.open("/proc/self/statm", os.O_RDONLY))
sampler.mark(go_on={looking})
third = os.fork()
if third == 0:
    os.close(1)
    time.sleep(600)
    os._exit(0)
print(sampler.pid, third, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid, third = map(int, parent.stdout.readline().split())
        parent.kill()
    try:
        assert gone(pid)
        assert runs(third)
    finally:
        os.kill(third, signal.SIGKILL)


def test_a_killed_sampler_leaves_the_peak_missing_and_is_replaced(tmp_path: Path) -> None:
    meter = Meter(MemoryPaths(clear_refs=str(tmp_path / "absent")))
    with profile(meter=meter):
        pass
    source = meter.chosen().source
    pid = source._sampler.pid  # type: ignore[attr-defined]  # a SampledPeak, by the path given above
    with profile(meter=meter) as measured:
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
    assert isinstance(measured.peak_rss, Missing)
    assert "sampler has ended" in measured.peak_rss.reason or "Broken pipe" in measured.peak_rss.reason
    assert measured.memory_method == ""
    with profile(meter=meter) as again:
        pass
    meter.close()
    assert again.memory_method == "sampler"
    assert again.peak_rss >= again.rss_before


def test_an_interpreter_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    fd = os.open("/proc/self/statm", os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    try:
        with pytest.raises(OSError, match=r"nonexistent|No such file"):
            Sampler(fd)
        assert len(os.listdir("/proc/self/fd")) == before  # nothing is left open
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)
