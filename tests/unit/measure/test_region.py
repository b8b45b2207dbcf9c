from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.errors import MeasurementError
from pytest_llmci.measure import region as region_module
from pytest_llmci.measure.base import Reading
from pytest_llmci.measure.memory import ChosenSource, HighWaterMark, LifetimePeak, MemoryFiles, MemoryPaths, NoPeak
from pytest_llmci.measure.noise import RunDelay, ThreadDelay, run_delay_ns
from pytest_llmci.measure.profile import profile
from pytest_llmci.measure.region import PROCESS_METER, Meter, Region
from pytest_llmci.records import Missing


@pytest.fixture(autouse=True)
def _collector_as_it_was() -> Iterator[None]:
    was = gc.isenabled()
    yield
    (gc.enable if was else gc.disable)()
    assert PROCESS_METER.open_regions == []


def test_the_collector_is_off_inside_and_back_after() -> None:
    gc.enable()
    with profile():
        assert not gc.isenabled()
        with profile():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with profile():
        pass
    assert not gc.isenabled()


def test_the_collector_is_back_after_ends_out_of_order() -> None:
    gc.enable()
    first, second = profile(), profile()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()  # the second still measures
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_no_collection_happens_in_the_block() -> None:
    collections: list[str] = []

    def note(phase: str, _info: object) -> None:
        collections.append(phase)

    gc.enable()
    gc.callbacks.append(note)
    try:
        with profile():
            collections.clear()  # one may have been due while the block began
            rubbish = [[index] for index in range(20_000)]
            during = list(collections)
        assert during == []
        again = [[index] for index in range(20_000)]
        assert collections  # without the block they do happen
        del rubbish, again
    finally:
        gc.callbacks.remove(note)


def test_a_block_that_raises_is_measured_and_the_error_comes_through() -> None:
    gc.enable()
    with pytest.raises(ZeroDivisionError), profile() as measured:
        1 / 0  # noqa: B018
    assert measured.wall_time > 0
    assert gc.isenabled()


def test_an_error_while_beginning_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.enable()

    def interrupt() -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(region_module, "process_usage", interrupt)
    context = profile()
    with pytest.raises(KeyboardInterrupt):
        context.__enter__()
    assert gc.isenabled()
    monkeypatch.undo()
    with context as measured:
        pass
    assert measured.wall_time > 0


def test_an_error_while_ending_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.enable()

    def interrupt() -> bytes:
        raise KeyboardInterrupt

    context = profile()
    context.__enter__()
    time.sleep(0.001)  # leaves the CPU, so that the end asks how long it waited for one
    with monkeypatch.context() as patch:
        patch.setattr(ThreadDelay, "raw", lambda self: interrupt())
        with pytest.raises(KeyboardInterrupt):
            context.__exit__(None, None, None)
    assert gc.isenabled()


CALM: dict[str, Any] = {
    "ru_utime": 1.0, "ru_stime": 0.0, "ru_maxrss": 9_000, "ru_minflt": 70, "ru_majflt": 3, "ru_nvcsw": 11, "ru_nivcsw": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "sizes", "delays"),
    [
        ({}, {}, 1, 1),
        ({}, {"ru_minflt": 71}, 2, 1),
        ({}, {"ru_majflt": 4}, 2, 1),
        ({}, {"ru_maxrss": 9_004}, 2, 1),
        ({}, {"ru_nvcsw": 12}, 1, 2),
        ({}, {"ru_nivcsw": 6}, 1, 2),
        ({"ru_minflt": 0, "ru_majflt": 0, "ru_nvcsw": 0, "ru_nivcsw": 0}, {}, 2, 2),
    ],
    ids=["nothing", "faults", "page-ins", "a higher mark", "sleeps", "preemptions", "a sandbox that counts nothing"],
)
def test_the_end_asks_only_for_what_may_have_changed(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, int], after: dict[str, int], sizes: int, delays: int
) -> None:
    begin = CALM | before
    usages = iter([begin, begin, begin | after])
    asked: list[str] = []

    class Files(MemoryFiles):
        def sizes(self) -> bytes:
            asked.append("sizes")
            return b"9 2000 5 1 0 5 0\n"

    def raw() -> bytes:
        asked.append("delay")
        return b"9 8 7\n"

    meter = Meter(choose=lambda files: ChosenSource(source=LifetimePeak(files), refused=()))
    meter._files = Files(MemoryPaths())
    meter.memory()
    monkeypatch.setattr(ThreadDelay, "raw", lambda self: raw())
    monkeypatch.setattr(region_module, "process_usage", lambda: SimpleNamespace(**next(usages)))
    region = Region(meter)
    region.begin()
    region.end()
    assert (asked.count("sizes"), asked.count("delay")) == (sizes, delays)
    figures = region.figures()
    assert (figures.run_delay_ns, figures.rss_before) == (0, 2000 * mmap.PAGESIZE)
    meter.close()


@pytest.mark.skipif(not hasattr(mmap, "MAP_POPULATE"), reason="needs Linux")
def test_a_few_pages_that_nobody_touched_are_seen_where_the_mark_does_not_move() -> None:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    with profile() as measured:
        block = mmap.mmap(-1, 4 * mmap.PAGESIZE, flags=flags)
    block.close()
    assert measured.peak_rss_delta >= 4 * mmap.PAGESIZE


def test_a_reading_of_waits_holds_until_a_thread_leaves_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    switches, waited, asked, spent_s = [11], [0], [0], [0.0]

    def raw() -> bytes:
        asked[0] += 1
        spent_s[0] += 1  # asking costs
        return b"9 %d 7\n" % waited[0]

    def usage() -> SimpleNamespace:
        return SimpleNamespace(**CALM | {"ru_utime": spent_s[0], "ru_nvcsw": switches[0], "ru_nivcsw": 0})

    def block(*, leaves: bool = False) -> tuple[Reading, int]:
        """What a block says of its wait, and how often it was asked for."""
        asked[0] = 0
        region = Region(meter)
        region.begin()
        if leaves:
            switches[0] += 1
            waited[0] += 500
        region.end()
        assert region.figures().cpu_ns == 0  # and is not the block's
        return region.figures().run_delay_ns, asked[0]

    meter = Meter(choose=lambda files: ChosenSource(source=NoPeak("no"), refused=()))
    monkeypatch.setattr(ThreadDelay, "raw", lambda self: raw())
    monkeypatch.setattr(region_module, "process_usage", usage)
    try:
        assert [block() for _ in range(4)] == [
            (0, 1),
            (0, 1),
            (0, 0),
            (0, 0),
        ]  # the second proves that nothing lay between
        assert block(leaves=True) == (500, 1)
        assert [block() for _ in range(3)] == [(0, 1), (0, 0), (0, 0)]
        switches[0] += 1
        waited[0] += 7_000  # between two blocks: in neither
        assert [block(), block(), block()] == [(0, 1), (0, 1), (0, 0)]
        switches[0] += 1
        waited[0] += 7_000
        assert block(leaves=True) == (500, 2)
        switches[0] = 0  # a sandbox that counts nothing
        assert [block(), block(), block()] == [(0, 2)] * 3
    finally:
        meter.close()


@pytest.mark.parametrize(("block_ns", "off_ns"), [(17_000_000, 0), (300_000, 2_000)], ids=["long", "short"])
@pytest.mark.parametrize("place", ["begin", "end", "both"])
def test_what_a_thread_waits_while_it_is_asked_is_not_the_blocks(
    monkeypatch: pytest.MonkeyPatch, block_ns: int, off_ns: int, place: str
) -> None:
    """The kernel takes getrusage for the end of a thread's turn, where a neighbour wants its CPU."""
    now, waited, switches, preempts = [0], [0], [11], [False]

    def wait(ns: int) -> None:
        now[0] += ns
        waited[0] += ns
        switches[0] += 1

    def usage() -> SimpleNamespace:
        if preempts[0]:
            preempts[0] = False
            wait(8_000_000)
        now[0] += 300
        return SimpleNamespace(**CALM | {"ru_nvcsw": switches[0], "ru_nivcsw": 0})

    def raw() -> bytes:
        now[0] += 500
        return b"9 %d 7\n" % waited[0]

    def clock() -> int:
        return now[0]

    meter = Meter(choose=lambda files: ChosenSource(source=NoPeak("no"), refused=()))
    monkeypatch.setattr(ThreadDelay, "raw", lambda self: raw())
    monkeypatch.setattr(region_module, "process_usage", usage)
    monkeypatch.setattr(region_module, "perf_counter_ns", clock)
    try:
        for _ in range(3):  # the later ones have a reading that might still hold
            region = Region(meter)
            preempts[0] = place != "end"
            region.begin()
            wait(100_000)
            now[0] += block_ns - 100_000
            preempts[0] = place != "begin"
            region.end()
            figures = region.figures()
            assert figures.wall_ns == block_ns
            assert isinstance(figures.run_delay_ns, int) and 0 <= 100_000 - figures.run_delay_ns <= off_ns
    finally:
        meter.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_wait_of_a_short_block_is_what_lies_between_readings_of_its_own(burn: Callable[[float], None]) -> None:
    allowed = os.sched_getaffinity(0)
    neighbour = subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
    delay = RunDelay()
    waits: list[float] = []
    too_low = 0
    try:
        for pid in (neighbour.pid, 0):
            os.sched_setaffinity(pid, {min(allowed)})
        # Most blocks meet no neighbour and some do; on a crowded machine both may take more blocks to be seen.
        while len(waits) < 300 or (len(waits) < 30_000 and not (min(waits) == 0 < max(waits))):
            outer = delay.raw()
            with profile() as measured:
                inner = delay.raw()
                burn(0.0005)
                least = run_delay_ns(inner, delay.raw())
            most = run_delay_ns(outer, delay.raw())
            waited = measured.reading().values["run_delay"]
            assert not isinstance(least, Missing) and not isinstance(most, Missing)
            assert waited <= most
            too_low += waited < least
            waits.append(waited)
    finally:
        os.sched_setaffinity(0, allowed)
        neighbour.kill()
        neighbour.wait()
    assert 0 in waits and max(waits) > 0
    assert too_low <= len(waits) / 20  # where a wait came before the reading, a little more than it is taken off


def test_a_region_begins_and_ends_once() -> None:
    region = Region()
    with pytest.raises(MeasurementError, match="after it has begun"):
        region.end()
    region.begin()
    with pytest.raises(MeasurementError, match="begins only once"):
        region.begin()
    region.end()
    with pytest.raises(MeasurementError, match="ends once"):
        region.end()


def test_threads_that_measure_at_once_do_not_claim_each_others_peak() -> None:
    inside, leave = threading.Event(), threading.Event()
    found = []

    def other() -> None:
        with profile() as measured:
            inside.set()
            leave.wait()
        found.append(measured)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with profile() as measured:
        pass
    leave.set()
    thread.join()
    for each in (measured, *found):
        for name in ("peak_rss", "peak_rss_delta", "peak_rss_resolution"):
            value = getattr(each, name)
            assert isinstance(value, Missing), name
            assert "another thread measured at the same time" in value.reason
        assert each.memory_method == ""
        assert each.rss_before > 0
        assert each.wall_time > 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_peak_is_worked_out_at_the_look_unless_the_mark_was_reset_within(monkeypatch: pytest.MonkeyPatch) -> None:
    if not isinstance(PROCESS_METER.chosen().source, HighWaterMark):
        pytest.skip("the high-water mark cannot be reset here")
    asked: list[int] = []
    known = HighWaterMark.peak_between

    def note(mark: HighWaterMark, first_kib: int, rss: int, last_kib: int) -> int:
        asked.append(first_kib)
        return known(mark, first_kib, rss, last_kib)

    monkeypatch.setattr(HighWaterMark, "peak_between", note)
    with profile() as alone:
        pass
    assert asked == []
    assert alone.peak_rss > 0
    assert len(asked) == 1
    with profile() as outer, profile() as inner:
        pass
    asked.clear()
    assert outer.peak_rss > 0
    assert asked == []  # in steps, each with the drift that the mark had then
    assert inner.peak_rss <= outer.peak_rss


def test_threads_that_measure_one_after_the_other_know_their_peaks() -> None:
    found = []

    def work() -> None:
        with profile() as measured:
            pass
        found.append(measured)

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert all(measured.memory_method and measured.peak_rss > 0 for measured in found)


def test_many_threads_at_once_leave_nothing_behind() -> None:
    gc.enable()
    errors = []

    def work() -> None:
        try:
            for _ in range(200):
                with profile() as outer, profile():
                    pass
                assert outer.wall_time > 0
        except BaseException as error:  # noqa: BLE001  # shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert gc.isenabled()


def test_run_delay_of_a_block_that_changed_threads_is_missing() -> None:
    region = Region()
    thread = threading.Thread(target=region.begin)
    thread.start()
    thread.join()
    region.end()
    value = region.figures().run_delay_ns
    assert isinstance(value, Missing)
    assert "another thread" in value.reason


_FORK = """
import json, mmap, os, sys
from pytest_llmci.measure.profile import profile
import gc

def spike(size):
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, size, 4096):
        block[at] = 1
    block.close()

ballast = bytearray(b"x") * (128 << 20)
with profile():
    pass  # the parent's files are open
read, write = os.pipe()
with profile() as outer:
    child = os.fork()
    if child == 0:
        del ballast
        collector = gc.isenabled()
        with profile() as own:
            spike(48 << 20)
if child == 0:
    os.write(write, json.dumps({
        "collector": collector,
        "outer": outer.to_json(),
        "wall": outer.wall_time > 0,
        "own": own.to_json(),
    }).encode())
    os._exit(0)
os.close(write)
with os.fdopen(read) as answers:
    answer = json.load(answers)
os.waitpid(child, 0)
spike(1 << 20)
print(json.dumps(answer | {"parent": outer.to_json()}))
"""


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform != "linux", reason="needs fork and /proc")
def test_a_forked_child_measures_itself_and_not_its_parent() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", _FORK]
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment)
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    own, outer, parent = answer["own"]["values"], answer["outer"], answer["parent"]["values"]
    assert abs(own["peak_rss_delta"] - (48 << 20)) < 2 << 20
    assert own["peak_rss"] < parent["peak_rss"]  # its ballast is gone, the parent's is not
    assert abs(parent["peak_rss_delta"]) < 2 << 20  # what the child took is not the parent's
    assert set(outer["values"]) == {"wall_time"}
    assert all("forked" in reason for reason in outer["reasons"].values())
    assert {"cpu_time", "peak_rss", "run_delay", "rss_before", "steal"} <= set(outer["reasons"])
    assert answer["collector"] is True


def test_cpu_time_is_that_of_the_block(burn: Callable[[float], None]) -> None:
    burn(0.05)
    outer = time.process_time()
    with profile() as measured:
        inner = time.process_time()
        burn(0.1)
        inner = time.process_time() - inner
    outer = time.process_time() - outer
    burn(0.05)
    rounding = 1e-5  # of whole microseconds, twice two
    assert inner >= 0.1
    assert inner - rounding <= measured.cpu_time <= outer + rounding


def test_a_block_counts_its_preemptions_and_page_ins() -> None:
    with profile() as measured:
        pass
    assert measured.involuntary_switches >= 0
    assert measured.major_faults >= 0


def test_an_unfinished_region_is_not_read() -> None:
    region = Region()
    with pytest.raises(MeasurementError, match="has not ended"):
        region.figures()
    region.begin()
    with contextlib.ExitStack() as stack:
        stack.callback(region.end)
        with pytest.raises(MeasurementError, match="has not ended"):
            region.figures()


def test_a_region_may_leave_the_collector_alone() -> None:
    region = Region(pauses_collector=False)
    region.begin()
    assert gc.isenabled()
    region.end()
    assert gc.isenabled()
