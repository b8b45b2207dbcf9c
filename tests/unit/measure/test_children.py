from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmci.measure.base import Reading, RoundFacts
from pytest_llmci.measure.children import ChildrenInstrument, has_children
from pytest_llmci.measure.profile import profile
from pytest_llmci.records import Completion, Missing

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells")
FACTS = RoundFacts(wall_ns=1, token_ns=(), completion=Completion(text="", finish_reason="stop"), threads=1)
MIB = 1 << 20
SERVER = """
import subprocess, sys
if sys.argv[1:]:
    code = "import sys; print(flush=True); sys.stdin.read()"
    inner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    inner.stdout.readline()
for line in sys.stdin:
    block = bytearray(int(line))
    block[::4096] = b"1" * len(block[::4096])
    del block
    print("done", flush=True)
"""


class Server:
    """A child that takes memory for a moment when it is asked to."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.take(1)

    def take(self, size: int) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{size}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.end()


def peak_during(*work: object, instrument: ChildrenInstrument | None = None) -> Reading:
    instrument = instrument or ChildrenInstrument()
    instrument.start()
    for step in work:
        assert callable(step)
        step()
    instrument.stop()
    return instrument.read(FACTS)["children_peak_rss"]


def test_a_process_without_children_has_none() -> None:
    code = (
        "from pytest_llmci.measure.children import *\ni = ChildrenInstrument()\ni.start()\ni.stop()\n"
        "print(has_children(), i.read(None))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False {'children_peak_rss': 0}"


def test_a_spike_in_a_child_is_seen_and_is_over_in_the_next_round(server: Server) -> None:
    assert has_children()
    quiet = peak_during()
    spike = peak_during(lambda: server.take(48 * MIB))
    again = peak_during()
    assert not isinstance(quiet, Missing) and not isinstance(spike, Missing) and not isinstance(again, Missing)
    assert quiet > 4 * MIB
    assert spike - quiet == pytest.approx(48 * MIB, abs=2 * MIB)
    assert abs(again - quiet) < 2 * MIB


def test_it_is_not_in_the_peak_of_the_process_itself(server: Server) -> None:
    with profile() as measured:
        server.take(64 * MIB)
    assert measured.peak_rss_delta < 8 * MIB


def test_grandchildren_count() -> None:
    alone, with_child = Server(), Server("child")
    try:
        both = peak_during()
        with_child.end()
        one = peak_during()
    finally:
        alone.end()
    assert not isinstance(both, Missing) and not isinstance(one, Missing)
    assert both > 2.4 * one


@pytest.mark.parametrize("how", ["began", "ended", "both"])
def test_who_comes_or_goes_has_no_known_peak(server: Server, how: str) -> None:
    guests: list[subprocess.Popen[bytes]] = []
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]

    def begin() -> None:
        guests.append(subprocess.Popen(sleeping))

    def end() -> None:
        guest = guests.pop()
        guest.kill()
        guest.wait()

    try:
        if how == "ended":
            begin()
        found = peak_during(*{"began": [begin], "ended": [end], "both": [begin, lambda: time.sleep(0.1), end]}[how])
    finally:
        while guests:
            end()
    assert isinstance(found, Missing)
    assert "began or ended" in found.reason


def alone(code: str) -> str:
    """What a process without children of its own prints of rounds."""
    before = "import os, sys\nfrom pytest_llmci.measure.children import *\ninstrument = ChildrenInstrument()\n"
    done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_process_that_had_no_child_is_not_asked_again_before_a_round() -> None:
    found = alone(
        "from pytest_llmci.measure import children\nasked = []\nknown = children.has_children\n"
        "children.has_children = lambda: asked.append(1) or known()\n"
        "for _ in range(3):\n    instrument.start()\n    instrument.stop()\nprint(len(asked), instrument.read(None))"
    )
    assert found == "4 {'children_peak_rss': 0}\n"


@pytest.mark.parametrize("came_and_went", [True, False], ids=["ended before", "still there"])
def test_a_child_that_began_between_two_rounds(came_and_went: bool) -> None:
    wait = "os.waitpid(child, 0)" if came_and_went else ""
    found = alone(f"""
import time
def round_():
    instrument.start()
    instrument.stop()
    return instrument.read(None)["children_peak_rss"]
print(round_())
child = os.fork()
if child == 0:
    time.sleep({0 if came_and_went else 60})
    os._exit(0)
{wait}
value = round_()
print(getattr(value, "reason", value))
print(round_() > 0)
if not {came_and_went}:
    os.kill(child, 9)
    os.waitpid(child, 0)
print(round_())
""")
    first, next_, later, last = found.splitlines()
    assert first == last == "0"
    if came_and_went:
        assert (next_, later) == ("0", "False")
    else:  # whether its memory is that of the round cannot be known
        assert "began right before it" in next_
        assert later == "True"


def test_a_dead_child_that_nobody_waited_for_takes_nothing(server: Server) -> None:
    server.process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, server.process.pid, os.WEXITED | os.WNOWAIT)
    assert peak_during() == 0
    server.process.wait()


def test_a_mark_that_cannot_be_reset_is_a_reason(server: Server, tmp_path: Path) -> None:
    task = tmp_path / str(os.getpid()) / "task" / "1"
    task.mkdir(parents=True)
    (task / "children").write_text(f"{server.process.pid} ")
    found = peak_during(instrument=ChildrenInstrument(str(tmp_path)))
    assert found == Missing("the high-water mark of a child process cannot be reset: No such file or directory")


def test_our_own_sampler_is_no_child_of_the_model() -> None:
    code = """
from pytest_llmci.measure.children import ChildrenInstrument, has_children
from pytest_llmci.measure.memory import ChosenSource, SampledPeak
from pytest_llmci.measure.profile import profile
from pytest_llmci.measure.region import Meter
meter = Meter(choose=lambda files: ChosenSource(source=SampledPeak.start(files), refused=()))
with profile(meter=meter):
    pass
instrument = ChildrenInstrument(meter=meter)
instrument.start()
instrument.stop()
print(has_children(), instrument.read(None))
meter.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True {'children_peak_rss': 0}"


def test_elsewhere_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_during() == Missing("peaks of child processes are known on Linux only")
