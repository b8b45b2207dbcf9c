from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.plugin.xdist import make_scheduler, model_scope

ALIASES = ["tiny-chat", "tiny"]


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("inference::tiny-tcp", "model tiny"),
        ("inference::tiny-chat-tcp", "model tiny-chat"),
        ("test_a.py::test_x[tiny]", "model tiny"),
        ("test_a.py::test_x[tiny-tcp]", "model tiny"),
        ("test_b.py::TestC::test_x[tiny-tcp]", "model tiny"),
        ("test_a.py::test_x[1-tiny-tcp]", "model tiny"),
        ("test_a.py::test_x[tcp-tiny]", "model tiny"),
        ("test_a.py::test_x[tiny-chat]", "model tiny-chat"),
        ("test_a.py::test_x[destiny]", "test_a.py::test_x"),
        ("test_a.py::test_x[tinyish-1]", "test_a.py::test_x"),
        ("test_a.py::test_x[other-1]", "test_a.py::test_x"),
        ("test_a.py::test_tiny", "test_a.py::test_tiny"),
        ("test_a.py::test_x", "test_a.py::test_x"),
    ],
)
def test_a_model_is_one_work_unit(nodeid: str, scope: str) -> None:
    assert model_scope(nodeid, ALIASES) == scope


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("inference::ab-about-tiny", "model ab"),
        ("test_a.py::test_x[ab-z-tiny]", "model ab"),
        ("test_a.py::test_x[tiny-ab-1]", "model tiny"),
        ("test_a.py::test_x[ab-tiny-chat]", "model ab"),
        ("test_a.py::test_x[1-tiny-chat-ab]", "model tiny-chat"),
    ],
)
def test_the_model_comes_first_in_an_id(nodeid: str, scope: str) -> None:
    assert model_scope(nodeid, ["ab", "tiny", "tiny-chat"]) == scope


def test_without_models_every_test_is_its_own_unit_and_parameters_stay_together() -> None:
    assert model_scope("a.py::test_x[1]", []) == model_scope("a.py::test_x[2]", []) == "a.py::test_x"
    assert model_scope("a.py::test_y", []) == "a.py::test_y"


def test_thousands_of_models_cost_no_more_than_two() -> None:
    class Asked(frozenset[str]):
        """Counts how often it is looked into."""

        times = 0

        def __contains__(self, alias: object) -> bool:
            Asked.times += 1
            return super().__contains__(alias)

    aliases = Asked(f"m-{number}" for number in range(5000))
    assert model_scope("inference::m-4711-tcp-udp", aliases) == "model m-4711"
    assert Asked.times < 20


class Worker:
    """What the scheduler sees of an xdist worker; a dead one cannot be sent anything."""

    shutting_down = False
    gateway = SimpleNamespace(id="gw")

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.is_dead = False

    def send_runtest_some(self, indices: list[int]) -> None:
        if self.is_dead:
            raise OSError("cannot send (already closed?)")
        self.sent += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_what_cannot_be_sent_to_a_dead_worker_goes_to_another() -> None:
    remote = pytest.importorskip("xdist.remote")
    options = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(getvalue=lambda name: ["2*popen"], option=options)
    tests = [f"inference::{model}-{prompt}" for model in "abc" for prompt in "pq"]
    scheduler = make_scheduler(config, remote.Producer("x", enabled=False), "abc")
    first, second = Worker(), Worker()
    for worker in (first, second):
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    assert (first.sent, second.sent) == ([0, 1], [2, 3])
    first.is_dead = True
    scheduler.mark_test_complete(first, 0)  # it did one, and nobody knows yet that it died
    assert scheduler.remove_node(first) == tests[1]
    assert second.sent == [2, 3]
    scheduler.mark_test_complete(second, 2)
    assert second.sent == [2, 3, 4, 5]


def test_what_is_done_is_not_counted_again_for_every_test_that_ends() -> None:
    remote = pytest.importorskip("xdist.remote")
    options = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(getvalue=lambda name: ["1*popen"], option=options)
    tests = [f"inference::m{model}-{prompt}" for model in range(50) for prompt in "pq"]
    scheduler = make_scheduler(config, remote.Producer("x", enabled=False), [f"m{model}" for model in range(50)])
    worker = Worker()
    scheduler.add_node(worker)
    scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    for number in range(len(tests)):
        assert len(scheduler.assigned_work[worker]) <= 3
        scheduler.mark_test_complete(worker, number)
    assert worker.sent == list(range(len(tests)))
    assert scheduler.tests_finished and not scheduler.has_pending
    assert scheduler.remove_node(worker) is None


def test_several_tests_end_at_once_and_those_of_a_dead_worker_are_not_taken_for_its_last() -> None:
    remote = pytest.importorskip("xdist.remote")
    options = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(getvalue=lambda name: ["1*popen"], option=options)
    tests = [f"inference::{model}-{prompt}" for model in "ab" for prompt in "pqrs"]
    scheduler = make_scheduler(config, remote.Producer("x", enabled=False), "ab")
    worker = Worker()
    scheduler.add_node(worker)
    scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    scheduler.mark_test_complete(worker, [0, 1])
    assert worker.sent == [0, 1, 2, 3]
    scheduler.mark_test_complete(worker, [2])
    assert worker.sent == [*range(8)]
    scheduler.note_ended(worker, [tests[3], tests[4]])
    assert scheduler.remove_node(worker) == tests[5]
