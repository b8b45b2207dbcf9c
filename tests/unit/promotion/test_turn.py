from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping

import pytest

from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import SinkError
from pytest_llmci.promotion.turn import LEASE_S, PATIENCE_S, PREFIX, Turn, taking_turns


class Board:
    """Tags in memory. Each request is a step of whoever the script lets go next."""

    def __init__(self, step: Callable[[], None] = lambda: None) -> None:
        self.tags: dict[str, str] = {"team": "a"}
        self._step = step

    def read(self) -> Mapping[str, str]:
        self._step()
        return dict(self.tags)

    def write(self, key: str, value: str) -> None:
        self._step()
        self.tags[key] = value

    def delete(self, key: str) -> None:
        self._step()
        self.tags.pop(key, None)


class Baton:
    """Lets one of several threads run at a time, and chooses the next at random at every step."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._condition = threading.Condition()
        self._alive: list[int] = []
        self._current: int | None = None

    def step(self) -> None:
        me = threading.get_ident()
        with self._condition:
            self._pass_on()
            self._condition.wait_for(lambda: self._current == me)

    def run(self, works: list[Callable[[], None]]) -> list[BaseException]:
        failed: list[BaseException] = []

        def body(work: Callable[[], None]) -> None:
            me = threading.get_ident()
            with self._condition:
                self._condition.wait_for(lambda: self._current == me)
            try:
                work()
            except (AssertionError, SinkError) as error:
                failed.append(error)
            with self._condition:
                self._alive.remove(me)
                self._pass_on()

        threads = [threading.Thread(target=body, args=(work,), daemon=True) for work in works]
        with self._condition:
            for thread in threads:
                thread.start()
                assert thread.ident is not None
                self._alive.append(thread.ident)
            self._pass_on()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        return failed

    def _pass_on(self) -> None:
        self._current = self._random.choice(self._alive) if self._alive else None
        self._condition.notify_all()


class SteppingClock(FakeClock):
    """Waiting is a step, too."""

    def __init__(self, baton: Baton) -> None:
        super().__init__()
        self._baton = baton

    def sleep(self, seconds: float) -> None:
        self._baton.step()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_order_of_requests_nobody_is_alone_with_another(seed: int) -> None:
    baton = Baton(seed)
    board, clock = Board(baton.step), SteppingClock(baton)
    inside: list[int] = []
    done: list[int] = []

    def work(number: int) -> None:
        with taking_turns(board, clock=clock):
            inside.append(number)
            for _ in range(4):
                assert inside == [number]
                baton.step()
            inside.remove(number)
            done.append(number)

    assert baton.run([lambda number=number: work(number) for number in range(4)]) == []  # type: ignore[misc]  # its number
    assert sorted(done) == [0, 1, 2, 3]
    assert board.tags == {"team": "a"}  # nothing is left behind


def test_a_turn_is_given_up_when_its_owner_fails() -> None:
    board = Board()

    def fail() -> None:
        with taking_turns(board, clock=FakeClock()):
            assert len(board.tags) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert board.tags == {"team": "a"}


@pytest.mark.parametrize("left", ["choosing", "1 0", "nonsense"])
def test_one_who_died_is_waited_for_no_longer_than_the_lease(left: str) -> None:
    board, clock = Board(), FakeClock()
    board.tags[PREFIX + "dead"] = left
    with taking_turns(board, clock=clock):
        waited = clock.now_ns() / 1e9
        assert (waited > LEASE_S) == (left != "nonsense") or PREFIX + "dead" not in board.tags
    assert waited < LEASE_S + 1


class Living(Board):
    """Somebody is inside, and renews the turn whenever anybody looks."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def read(self) -> Mapping[str, str]:
        self._looks += 1
        self.tags[PREFIX + "a"] = f"1 {self._looks}"
        return super().read()


def test_one_who_lives_is_waited_for_and_not_for_ever() -> None:
    clock = FakeClock()
    with pytest.raises(SinkError, match="1 other promotion of this model under way: try again later"):
        Turn(Living(), clock).take()
    assert PATIENCE_S < clock.now_ns() / 1e9 < PATIENCE_S + 1


def test_who_was_away_for_too_long_changes_nothing() -> None:
    board, clock = Board(), FakeClock()
    turn = Turn(board, clock)
    turn.take()
    clock.sleep(LEASE_S / 2 + 1)
    with pytest.raises(SinkError, match="nothing was changed; run it again"):
        turn.renew()
    turn = Turn(Board(), clock)
    turn.take()
    turn._tags.delete(turn._key)  # taken away by somebody who waited
    with pytest.raises(SinkError, match="may have gone on"):
        turn.renew()


def test_renewing_keeps_the_turn() -> None:
    board, clock = Board(), FakeClock()
    with taking_turns(board, clock=clock) as turn:
        for _ in range(10):
            clock.sleep(LEASE_S / 2 - 1)
            turn.renew()
        assert len({key for key in board.tags if key.startswith(PREFIX)}) == 1


def test_who_chose_too_slowly_does_not_jump_the_queue() -> None:
    clock = FakeClock()

    class Slow(Board):
        def read(self) -> Mapping[str, str]:
            clock.sleep(LEASE_S / 2 + 1)
            return super().read()

    with pytest.raises(SinkError, match="run it again"):
        Turn(Slow(), clock).take()
