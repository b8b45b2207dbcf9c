from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from waiting import comes_true

from pytest_llmci.engine.turns import OVER, WITHIN, Turns, Withdrawn
from pytest_llmci.errors import LLMCIError

LONG_S = 120.0
"""Nothing here takes so long; a test that waits for it has failed."""


def aside(work: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    """Run in another thread; what it raised is in the list afterwards."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # looked at by the test
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


def in_line(turns: Turns, count: int) -> None:
    """Wait until that many have come."""
    assert comes_true(lambda: len(turns._line) == count), f"{len(turns._line)} in line, not {count}"


def test_one_has_the_turn_and_the_others_follow_in_the_order_of_coming() -> None:
    turns = Turns()
    order: list[int] = []

    def ask(number: int) -> None:
        with turns.request():
            order.append(number)

    with turns.request():
        threads = []
        for number in range(3):
            threads.append(aside(lambda number=number: ask(number))[0])  # type: ignore[misc]  # mypy sees a lambda without arguments
            in_line(turns, number + 2)
        assert order == []
    for thread in threads:
        thread.join(LONG_S)
    assert order == [0, 1, 2]


def test_many_threads_never_overlap() -> None:
    turns = Turns()
    inside: list[int] = []

    def ask(number: int) -> int:
        with turns.request():
            inside.append(number)
            alone = inside == [number]
            inside.remove(number)
            return alone

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_a_thread_that_asks_within_its_own_request_is_refused() -> None:
    turns = Turns()
    with turns.request():
        with pytest.raises(LLMCIError) as caught:
            turns.request().__enter__()
        assert str(caught.value) == WITHIN
    with turns.request():
        pass


def test_one_that_fails_gives_its_turn_away() -> None:
    turns = Turns()
    with pytest.raises(KeyboardInterrupt), turns.request():
        raise KeyboardInterrupt
    with turns.request():
        pass


def test_a_request_that_waits_can_be_withdrawn() -> None:
    turns = Turns()
    request = turns.request()
    with turns.request():
        thread, raised = aside(request.__enter__)
        in_line(turns, 2)
        request.withdraw()
        thread.join(LONG_S)
        turns.check()  # the one that has its turn goes on
    assert [type(error) for error in raised] == [Withdrawn]
    with turns.request():
        pass


def test_a_request_that_runs_learns_that_it_was_withdrawn() -> None:
    turns = Turns()
    turns.check()
    with turns.request() as request:
        turns.check()
        aside(request.withdraw)[0].join(LONG_S)
        with pytest.raises(Withdrawn):
            turns.check()
    request.withdraw()
    turns.check()
    with turns.request():
        turns.check()


def test_at_the_end_all_are_sent_away_and_the_running_one_ends() -> None:
    turns = Turns()
    running = threading.Event()

    def run() -> None:
        with turns.request():
            running.set()
            while True:
                turns.check()

    def wait() -> None:
        with turns.request():
            raise AssertionError("it must not get its turn")

    threads = [aside(run)]
    assert running.wait(LONG_S)
    threads.append(aside(wait))
    in_line(turns, 2)
    turns.close(LONG_S)
    for thread, raised in threads:
        thread.join(LONG_S)
        assert [str(error) for error in raised] == [OVER]
    with pytest.raises(LLMCIError, match="the session has ended"):
        turns.request().__enter__()


def test_whoever_closes_from_within_a_request_does_not_wait_for_itself() -> None:
    turns = Turns()
    with turns.request():
        turns.close(LONG_S)
    assert turns.closed


def test_one_that_does_not_end_is_not_waited_for_longer_than_said() -> None:
    turns = Turns()
    release, running = threading.Event(), threading.Event()

    def run() -> None:
        with turns.request():
            running.set()
            release.wait(LONG_S)

    thread, _ = aside(run)
    assert running.wait(LONG_S)
    turns.close(0.01)
    release.set()
    thread.join(LONG_S)
