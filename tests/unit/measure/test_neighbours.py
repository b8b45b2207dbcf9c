from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_llmci.measure.base import RoundFacts
from pytest_llmci.measure.neighbours import NeighboursInstrument
from pytest_llmci.records import Completion, Missing

DONE = Completion(text="", finish_reason="stop")
FACTS = RoundFacts(wall_ns=1, token_ns=(), completion=DONE, threads=1, run_delay_ns=1_000_000)

needs_tasks = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


class Machine:
    """The kernel's files, written by hand."""

    def __init__(self, root: Path) -> None:
        self.tasks = root / "task"
        self.pressure = root / "pressure"
        self.tasks.mkdir()
        self.instrument = NeighboursInstrument(str(self.tasks), str(self.pressure))

    def threads(self, **waited_ns: int) -> None:
        for name, waited in waited_ns.items():
            (self.tasks / name).mkdir(exist_ok=True)
            (self.tasks / name / "schedstat").write_text(f"1000 {waited} 7\n")

    def pressed(self, total_us: int) -> None:
        self.pressure.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total_us}\nfull avg10=0 total=1\n")


def test_waits_are_summed_over_all_threads_and_pressure_is_in_nanoseconds(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.threads(main=500, helper=70)
    machine.pressed(1_000)
    machine.instrument.start()
    machine.threads(main=800, helper=90, young=5)
    machine.pressed(1_250)
    machine.instrument.stop()
    assert machine.instrument.read(FACTS) == {"run_delay_all": 1_000_000 + 300 + 20 + 5, "cpu_pressure": 250_000}


def test_a_thread_that_ended_is_left_out(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.threads(main=500, helper=70)
    machine.instrument.start()
    (machine.tasks / "helper" / "schedstat").unlink()
    (machine.tasks / "helper").rmdir()
    machine.threads(main=600)
    machine.instrument.stop()
    assert machine.instrument.read(FACTS)["run_delay_all"] == 1_000_100
    machine.instrument.start()
    machine.instrument.stop()
    assert machine.instrument.read(FACTS)["run_delay_all"] == 1_000_000


def test_what_the_system_does_not_tell_is_missing_with_its_reason(tmp_path: Path) -> None:
    instrument = NeighboursInstrument(str(tmp_path / "nowhere"), str(tmp_path / "nothing"))
    instrument.start()
    instrument.stop()
    found = instrument.read(FACTS)
    assert set(found) == {metric.name for metric in NeighboursInstrument.metrics}
    for name, reason in (("run_delay_all", "schedstat"), ("cpu_pressure", "pressure")):
        value = found[name]
        assert isinstance(value, Missing)
        assert reason in value.reason


def test_a_wait_of_the_own_thread_that_is_not_known_leaves_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.threads(helper=70)
    machine.instrument.start()
    machine.instrument.stop()
    facts = RoundFacts(wall_ns=1, token_ns=(), completion=DONE, threads=1, run_delay_ns=Missing("no schedstat"))
    assert machine.instrument.read(facts)["run_delay_all"] == Missing("no schedstat")


def test_waits_of_other_threads_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (machine.tasks / "helper").mkdir()
    machine.instrument.start()
    machine.instrument.stop()
    assert isinstance(machine.instrument.read(FACTS)["run_delay_all"], Missing)
    machine.threads(helper=70)
    (machine.tasks / "helper" / "schedstat").write_text("nothing")
    machine.instrument.stop()
    assert isinstance(machine.instrument.read(FACTS)["run_delay_all"], Missing)


@needs_tasks
def test_helper_threads_that_fight_for_the_lock_are_seen() -> None:
    instrument = NeighboursInstrument()
    stop = threading.Event()
    helpers = [threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)]) for _ in range(2)]
    instrument.start()
    for helper in helpers:
        helper.start()
    time.sleep(0.05)
    instrument.stop()
    stop.set()
    for helper in helpers:
        helper.join()
    found = instrument.read(FACTS)["run_delay_all"]
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    assert found >= 0
    assert len(instrument._files) >= 2


# ----------------------------------------------------------------------------------------- threads are not listed twice


@contextmanager
def waiting_thread() -> Iterator[str]:
    """A thread that waits; its number. It is gone from /proc afterwards."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        yield str(thread.native_id)
    finally:
        stop.set()
        thread.join()
        while Path(f"/proc/self/task/{thread.native_id}").exists():
            time.sleep(0.001)


@needs_tasks
def test_the_same_threads_are_not_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    instrument = NeighboursInstrument()
    instrument.start()

    def refuse(_folder: str) -> list[str]:
        raise AssertionError("listed again")

    monkeypatch.setattr(os, "listdir", refuse)
    instrument.stop()
    assert instrument.read(FACTS)["run_delay_all"] is not None


@needs_tasks
def test_a_thread_in_the_place_of_another_is_seen() -> None:
    instrument = NeighboursInstrument()
    with waiting_thread() as first:
        instrument.start()
    with waiting_thread() as second:
        instrument.stop()
    assert first in instrument._before
    assert first not in instrument._after
    assert second in instrument._after


@needs_tasks
def test_who_generates_in_another_thread_has_other_threads_beside_it() -> None:
    instrument = NeighboursInstrument()
    beside: list[set[str]] = []
    go_on = threading.Event()

    def look() -> None:
        instrument.start()
        beside.append(set(instrument._before))

    def look_later() -> None:
        go_on.wait()
        look()

    other = threading.Thread(target=look_later)
    other.start()
    look()
    go_on.set()  # the same threads live in both looks
    other.join()
    assert (str(threading.get_native_id()) in beside[0], str(other.native_id) in beside[0]) == (False, True)
    assert (str(threading.get_native_id()) in beside[1], str(other.native_id) in beside[1]) == (True, False)


@needs_tasks
def test_a_forked_child_reads_its_own_threads() -> None:
    instrument = NeighboursInstrument()
    instrument.start()
    child = os.fork()
    if child == 0:
        instrument.stop()
        os._exit(0 if not instrument._after and instrument.read(FACTS)["run_delay_all"] == 1_000_000 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
