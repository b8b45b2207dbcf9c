from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.exclusive import MachineLock, lock_path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs locks on files")


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[MachineLock, MachineLock, FakeClock]]:
    """Two sessions' locks on one file, and the second one's clock."""
    clock = FakeClock()
    one, two = MachineLock(tmp_path / "lock", FakeClock()), MachineLock(tmp_path / "lock", clock)
    yield one, two, clock
    one.close()
    two.close()


def quiet() -> None:
    pass


def silent(text: str) -> None:
    pass


def test_a_free_lock_is_held_at_once(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, clock = locks
    said: list[str] = []
    with one.held(quiet, said.append) as held:
        assert held and one.works
    with two.held(quiet, said.append) as held:
        assert held
    assert (clock.now_ns(), said) == (0, [])


def test_the_second_one_waits_and_says_so_once(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, clock = locks
    said: list[str] = []
    with ExitStack() as held_by_one:
        held_by_one.enter_context(one.held(quiet, said.append))

        def tick() -> None:
            if clock.now_ns() > 3_000_000_000:
                held_by_one.close()

        with two.held(tick, said.append) as held:
            assert held
            assert clock.now_ns() > 3_000_000_000
    assert said == ["waiting for the machine"]


def test_a_short_wait_is_not_worth_a_word(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, clock = locks
    said: list[str] = []
    with ExitStack() as held_by_one:
        held_by_one.enter_context(one.held(quiet, said.append))
        with two.held(lambda: held_by_one.close() if clock.now_ns() > 500_000_000 else None, said.append):
            pass
    assert said == []


@pytest.mark.parametrize(
    ("holder", "waiter", "told"), [("s", "s", False), ("s", "other", True), ("s", "", True), ("", "s", True)]
)
def test_a_wait_for_ones_own_session_is_not_told(tmp_path: Path, holder: str, waiter: str, told: bool) -> None:
    clock = FakeClock()
    earlier = MachineLock(tmp_path / "lock", FakeClock(), "other")
    one, two = MachineLock(tmp_path / "lock", FakeClock(), holder), MachineLock(tmp_path / "lock", clock, waiter)
    said: list[str] = []
    with earlier.held(quiet, silent):
        pass
    with ExitStack() as held_by_one:
        held_by_one.enter_context(one.held(quiet, silent))
        with two.held(lambda: held_by_one.close() if clock.now_ns() > 3_000_000_000 else None, said.append):
            pass
    assert bool(said) == told
    for lock in (earlier, one, two):
        lock.close()


def test_within_itself_it_does_not_wait_and_frees_only_at_the_end(
    locks: tuple[MachineLock, MachineLock, FakeClock],
) -> None:
    one, two, _ = locks
    with one.held(quiet, silent):
        with one.held(give_up, silent):
            pass
        with pytest.raises(TimeoutError), two.held(give_up, silent):
            pass
    with two.held(give_up, silent) as held:
        assert held


def give_up() -> None:
    raise TimeoutError


def is_kept_waiting(lock: MachineLock) -> bool:
    """Whether it gives up at its first look because somebody else is before it."""
    try:
        with lock.held(give_up, silent):
            return False
    except TimeoutError:
        return True


def test_who_has_let_go_comes_after_those_who_wait(tmp_path: Path) -> None:
    clock = FakeClock()
    one, two = MachineLock(tmp_path / "lock", clock), MachineLock(tmp_path / "lock", clock)
    overtook: list[bool] = []
    with ExitStack() as held_by_one:
        held_by_one.enter_context(one.held(quiet, silent))

        def let_go_and_try_again() -> None:
            clock.sleep(1)
            held_by_one.close()
            overtook.append(not is_kept_waiting(one))

        with two.held(let_go_and_try_again, silent):
            pass
    assert overtook == [False]
    assert not is_kept_waiting(one)
    one.close()
    two.close()


def test_short_work_is_done_in_one_turn(tmp_path: Path) -> None:
    """Else each block of a quick model would cost the time between two looks of whoever waits."""
    clock = FakeClock()
    one, two = MachineLock(tmp_path / "lock", clock), MachineLock(tmp_path / "lock", clock)
    seen: list[tuple[bool, bool]] = []
    with ExitStack() as held_by_one:
        held_by_one.enter_context(one.held(quiet, silent))

        def let_go_and_take_it_again() -> None:
            held_by_one.close()
            is_same_turn = clock.now_ns() < 200_000_000
            try:
                held_by_one.enter_context(one.held(give_up, silent))
                seen.append((is_same_turn, True))
            except TimeoutError:
                seen.append((is_same_turn, False))
            clock.sleep(0.06)

        with two.held(let_go_and_take_it_again, silent):
            pass
    assert seen == [(True, True)] * 3 + [(False, False)]
    one.close()
    two.close()


def test_who_dies_while_waiting_keeps_nobody_waiting(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from pytest_llmci.clock import SystemClock; from pytest_llmci.engine.exclusive import MachineLock\n"
        "lock = MachineLock(pathlib.Path(sys.argv[1]), SystemClock())\n"
        "with lock.held(lambda: print('waiting', flush=True), print): pass"
    )
    one, two = (MachineLock(tmp_path / "lock", FakeClock()) for _ in range(2))
    with one.held(quiet, silent):
        waiter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE)
        assert waiter.stdout is not None and waiter.stdout.readline() == b"waiting\n"
        waiter.kill()
        waiter.wait()
        waiter.stdout.close()
    assert not is_kept_waiting(two)
    one.close()
    two.close()


def test_it_is_free_after_a_failure(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, _ = locks
    with pytest.raises(KeyError), one.held(quiet, silent):
        raise KeyError
    with two.held(lambda: pytest.fail("it waits"), silent):
        pass


def test_where_it_cannot_work_it_says_so_and_nobody_waits(tmp_path: Path) -> None:
    lock = MachineLock(tmp_path, FakeClock())  # a folder
    assert not lock.works
    assert lock.fault == f"the lock file {tmp_path} cannot be used: Is a directory; name another with LLMCI_LOCK_FILE"
    with lock.held(quiet, silent) as held:
        assert not held
    lock.close()


def test_a_file_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux forbids just that for other users' files in ``/tmp``."""
    for name in ("lock", "lock.next"):
        (tmp_path / name).touch()
    flags: list[int] = []
    opened = os.open

    def watched(path: Path, mode: int, *more: int) -> int:
        flags.append(mode)
        return opened(path, mode, *more)

    monkeypatch.setattr(os, "open", watched)
    lock = MachineLock(tmp_path / "lock", FakeClock())
    assert lock.works
    assert len(flags) == 2 and not any(mode & os.O_CREAT for mode in flags)
    lock.close()


def test_all_users_of_the_machine_may_lock(tmp_path: Path) -> None:
    lock = MachineLock(tmp_path / "lock", FakeClock())
    assert lock.works
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("lock", "lock.next")] == [0o666, 0o666]
    lock.close()


def test_the_place_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", "/there/lock")
    assert lock_path() == Path("/there/lock")
    monkeypatch.delenv("LLMCI_LOCK_FILE")
    assert lock_path() == Path(tempfile.gettempdir()) / "llmci-timing.lock"


def test_work_that_is_not_timed_goes_on_together(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, clock = locks
    with one.held(quiet, silent, alone=False), two.held(give_up, silent, alone=False) as held:
        assert held
    assert clock.now_ns() == 0


def test_it_waits_for_what_is_timed_and_is_waited_for(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, clock = locks
    said: list[str] = []
    with one.held(quiet, silent, alone=False):
        assert is_kept_waiting(two)
    with ExitStack() as held_by_one:
        held_by_one.enter_context(one.held(quiet, silent))

        def tick() -> None:
            if clock.now_ns() > 2_000_000_000:
                held_by_one.close()

        with two.held(tick, said.append, alone=False) as held:
            assert held
    assert said == ["waiting for timed work"]


def test_those_who_work_together_do_not_keep_out_who_wants_to_be_alone(tmp_path: Path) -> None:
    """Else it would wait for as long as they follow each other."""
    one, two, three = (MachineLock(tmp_path / "lock", FakeClock()) for _ in range(3))
    seen: list[bool] = []
    with ExitStack() as held_by_one:
        held_by_one.enter_context(one.held(quiet, silent, alone=False))

        def another_comes() -> None:
            try:
                with three.held(give_up, silent, alone=False):
                    seen.append(True)
            except TimeoutError:
                seen.append(False)
            held_by_one.close()

        with two.held(another_comes, silent) as held:
            assert held
    assert seen == [False]
    for lock in (one, two, three):
        lock.close()


def test_within_itself_the_stricter_holds_until_the_end(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, _ = locks

    def others_may_come() -> bool:
        try:
            with two.held(give_up, silent, alone=False):
                return True
        except TimeoutError:
            return False

    with one.held(quiet, silent, alone=False):
        assert others_may_come()
        with one.held(give_up, silent):
            assert not others_may_come()
        assert not others_may_come()
    assert others_may_come()
    with one.held(quiet, silent), one.held(give_up, silent, alone=False):
        assert not others_may_come()


def test_within_a_turn_the_lock_is_taken_without_a_wait(tmp_path: Path) -> None:
    clock = FakeClock()
    one, two = MachineLock(tmp_path / "lock", clock), MachineLock(tmp_path / "lock", clock)
    assert not one.take(), "no turn has begun"
    with one.held(quiet, silent):
        pass
    assert one.take()
    with pytest.raises(TimeoutError), two.held(give_up, silent):
        pytest.fail("it is held")
    one.give_back()
    with two.held(give_up, silent) as held:
        assert held
        assert not one.take(), "another session has it"
    clock.sleep(3600)
    assert not one.take(), "the turn is over: who waits comes first"
