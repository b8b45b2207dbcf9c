from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol

import pytest
from waiting import went_round

from pytest_llmci.measure.memory import (
    PAGE,
    HighWaterMark,
    LifetimePeak,
    MemoryFiles,
    MemoryPaths,
    choose_source,
    counter_resolution_bytes,
    memory_values,
)
from pytest_llmci.measure.profile import profile
from pytest_llmci.measure.region import Meter
from pytest_llmci.records import Missing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

MIB = 1 << 20


class Spike(Protocol):
    def __call__(self, size: int, *, hold_lock: bool = False) -> None: ...


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Meter]:
    meter = Meter(MemoryPaths(clear_refs=str(tmp_path / "absent")))
    yield meter
    meter.close()


def _near(value: object, truth: int) -> bool:
    assert isinstance(value, int)
    return abs(value - truth) < 2 * MIB  # the counters' error and what the interpreter itself took meanwhile


@pytest.mark.parametrize("hold_lock", [False, True])
def test_a_spike_is_found_to_its_size(spike: Spike, hold_lock: bool) -> None:
    with profile() as measured:
        spike(64 * MIB, hold_lock=hold_lock)
    assert measured.memory_method == "hwm"
    assert _near(measured.peak_rss_delta, 64 * MIB)
    assert measured.peak_rss == measured.rss_before + measured.peak_rss_delta
    assert measured.peak_rss_resolution > 0


def test_an_earlier_spike_is_not_in_it(spike: Spike) -> None:
    spike(128 * MIB)
    with profile() as measured:
        spike(16 * MIB)
    assert _near(measured.peak_rss_delta, 16 * MIB)


def test_memory_that_stays_is_the_peak() -> None:
    with profile() as measured:
        kept = b"x" * (32 * MIB)
    assert _near(measured.peak_rss_delta, 32 * MIB)
    del kept


def test_nested_blocks_know_each_their_own_peak(spike: Spike) -> None:
    with profile() as outer:
        spike(96 * MIB)
        with profile() as inner:
            spike(24 * MIB)
        with profile() as second:
            pass
    assert _near(inner.peak_rss_delta, 24 * MIB)
    assert _near(second.peak_rss_delta, 0)
    assert _near(outer.peak_rss_delta, 96 * MIB)


def test_the_peak_of_an_inner_block_is_the_outer_ones_too(spike: Spike) -> None:
    with profile() as outer, profile() as inner:
        spike(48 * MIB)
    assert _near(inner.peak_rss_delta, 48 * MIB)
    assert _near(outer.peak_rss_delta, 48 * MIB)


def test_a_peak_after_an_inner_block_is_the_outer_ones(spike: Spike) -> None:
    with profile() as outer:
        with profile() as inner:
            spike(8 * MIB)
        spike(40 * MIB)
    assert _near(inner.peak_rss_delta, 8 * MIB)
    assert _near(outer.peak_rss_delta, 40 * MIB)


def test_where_the_reset_is_refused_another_process_looks(refused: Meter, spike: Spike) -> None:
    with profile(meter=refused) as measured:
        block = bytearray(64 * MIB)
        block[:] = b"\1" * len(block)  # twice the size at its highest
        assert went_round(refused.helper_pid)
        del block
    assert measured.memory_method == "sampler"
    assert isinstance(measured.peak_rss_delta, int)
    assert measured.peak_rss_delta > 62 * MIB
    assert isinstance(measured.peak_rss_resolution, Missing)
    assert "No such file" in refused.chosen().refused[0]


def test_a_kernel_that_ignores_the_reset_is_found_out(tmp_path: Path) -> None:
    ignoring = tmp_path / "clear_refs"
    ignoring.touch()
    files = MemoryFiles(MemoryPaths(clear_refs=str(ignoring)))
    with pytest.raises(OSError, match="ignores it"):
        HighWaterMark(files)
    assert ignoring.read_bytes().startswith(b"5")
    chosen = choose_source(files)
    chosen.source.close()
    files.close()
    assert chosen.source.method == "sampler"


def test_a_spike_that_shows_and_stays_is_found_out() -> None:
    class Stays(MemoryFiles):
        marks: ClassVar[list[int]] = [100 * MIB, 164 * MIB, 164 * MIB] + [
            164 * MIB
        ] * 6  # before, with, after; three tries

        def hwm(self) -> int:
            return self.marks.pop(0)

    files = Stays(MemoryPaths())
    with pytest.raises(OSError, match="ignores it"):
        HighWaterMark(files)
    files.close()


def test_a_kernel_that_shows_no_mark_is_found_out(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmRSS:\t1024 kB\n", "ascii")
    meter = Meter(MemoryPaths(status=str(status), statm=str(tmp_path / "absent")))
    with profile(meter=meter) as measured:
        pass
    meter.close()
    assert measured.memory_method == ""
    assert isinstance(measured.peak_rss, Missing)
    assert "has no VmHWM" in measured.peak_rss.reason
    assert isinstance(measured.rss_before, Missing)


def test_the_lifetime_peak_says_that_it_is_one(tmp_path: Path, spike: Spike) -> None:
    spike(64 * MIB)
    files = MemoryFiles(MemoryPaths())
    meter = Meter(MemoryPaths(clear_refs=str(tmp_path / "absent"), statm=str(tmp_path / "absent")))
    with profile(meter=meter) as measured:
        pass
    assert measured.memory_method == "lifetime"
    assert measured.peak_rss == pytest.approx(files.hwm(), abs=MIB)
    assert isinstance(measured.peak_rss_delta, Missing)
    files.close()
    meter.close()


def test_the_lifetime_peak_has_no_growth() -> None:
    values = memory_values(300, 100, "lifetime")
    assert values["peak_rss"] == 300
    assert isinstance(values["peak_rss_delta"], Missing)
    assert memory_values(300, 100, "hwm")["peak_rss_delta"] == 200


def test_vmhwm_is_found_behind_a_long_list_of_groups(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Groups:\t" + "100000 " * 2000 + "\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n", "ascii")
    files = MemoryFiles(MemoryPaths(status=str(status)))
    assert files.hwm() == 12345 * 1024
    assert LifetimePeak(files).peak(0) == 12345 * 1024
    files.close()


def test_the_mark_that_exec_handed_down_is_not_taken_for_the_own_one() -> None:
    code = """
import mmap, resource, subprocess, sys
block = mmap.mmap(-1, 200 << 20)
for at in range(0, len(block), 4096):
    block[at] = 1
program = '''
import mmap, resource
from pytest_llmci.measure.profile import profile
inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with profile() as measured:
    block = mmap.mmap(-1, 32 << 20)
    for at in range(0, len(block), 4096):
        block[at] = 1
    block.close()
print(inherited * 1024, measured.peak_rss, measured.peak_rss_delta)
'''
print(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, env=environment)
    inherited, peak, delta = map(int, done.stdout.split())
    assert inherited > 200 * MIB  # or this test shows nothing
    assert peak < 100 * MIB
    assert _near(delta, 32 * MIB)


class _Files(MemoryFiles):
    """A kernel's answers, written by hand."""

    def __init__(self, hwm: int) -> None:
        self.mark = hwm
        self.asked = 0

    def hwm(self) -> int:
        self.asked += 1
        return self.mark


def _mark(files: MemoryFiles, *, corrected: bool = True) -> HighWaterMark:
    real = MemoryFiles(MemoryPaths())
    mark = HighWaterMark(real, corrected=corrected)
    mark._files = files
    mark._drift_limit = MIB
    mark._lag = 0
    real.close()
    mark.close()
    return mark


def sizes(rss: int) -> bytes:
    """As the kernel writes them."""
    return b"9000 %d 800 1 0 700 0\n" % (rss // PAGE)


def test_the_known_drift_is_subtracted() -> None:
    mark = _mark(_Files(hwm=10_000 * 1024))
    mark.learn(10_000, sizes(10_000 * 1024 + 204_800))  # the approximate counter is 200 KiB short
    assert mark.peak(50_000) == 50_000 * 1024 + 204_800


def test_half_a_batch_is_added_where_the_mark_has_risen() -> None:
    mark = _mark(_Files(hwm=10_000 * 1024))
    mark._lag = 64 * 1024
    mark.learn(10_000, sizes(10_000 * 1024))
    assert mark.peak(50_000) == 50_064 * 1024
    assert mark.peak(10_000) == 10_000 * 1024


def test_the_drift_is_left_in_where_asked() -> None:
    mark = _mark(_Files(hwm=10_000 * 1024), corrected=False)
    mark.learn(10_000, sizes(10_000 * 1024 + 204_800))
    assert mark.peak(50_000) == 50_000 * 1024


def test_a_drift_beyond_the_counters_bound_is_not_believed() -> None:
    mark = _mark(_Files(hwm=10_000 * 1024))
    mark.learn(10_000, sizes(10_000 * 1024 - 2 * MIB))
    assert mark.peak(50_000) == 50_000 * 1024


def test_an_inherited_mark_is_passed_over_and_settled_once() -> None:
    files = _Files(hwm=8_000 * 1024)
    mark = _mark(files)
    mark.learn(900_000, sizes(8_000 * 1024))
    files.mark = 9_000 * 1024
    assert mark.peak(900_000) == 9_000 * 1024
    asked = files.asked
    mark.learn(900_000, sizes(8_000 * 1024))
    assert files.asked == asked
    mark.learn(950_000, sizes(950_000 * 1024))  # above what was inherited it is the own one
    assert mark.peak(960_000) == 960_000 * 1024


def test_a_lower_level_is_settled_anew() -> None:
    files = _Files(hwm=50_000 * 1024)
    mark = _mark(files)
    mark.learn(50_000, sizes(50_000 * 1024))
    assert mark.peak(60_000) == 60_000 * 1024
    files.mark = 20_000 * 1024  # memory went down, and 30,000 turns out to be inherited
    mark.learn(30_000, sizes(20_000 * 1024))
    files.mark = 21_000 * 1024
    assert mark.peak(30_000) == 21_000 * 1024


def test_the_resolution_grows_with_the_cpus() -> None:
    assert counter_resolution_bytes(4) == 4 * counter_resolution_bytes(1) > 0


def test_files_that_were_closed_under_us_are_not_written_to(tmp_path: Path) -> None:
    code = """
import os, sys
from pytest_llmci.measure.profile import profile
with profile():
    pass
os.closerange(3, 100)
users = [os.open(os.path.join(sys.argv[1], str(n)), os.O_RDWR | os.O_CREAT) for n in range(20)]
for _ in range(2):
    with profile() as measured:
        block = bytearray(32 << 20)
        block[::4096] = bytes(len(block) // 4096)
        del block
print(measured.memory_method, measured.peak_rss_delta, measured.reading().reasons.get("run_delay", "-"))
print([os.fstat(fd).st_size for fd in users] == [0] * 20)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=True, text=True, env=environment
    )
    first, untouched = done.stdout.splitlines()
    method, delta, delay = first.split(maxsplit=2)
    assert (method, delay) == ("hwm", "-")
    assert _near(int(delta), 32 * MIB)
    assert untouched == "True"
