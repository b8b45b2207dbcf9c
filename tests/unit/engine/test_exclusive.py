from __future__ import annotations

import os
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
    assert said == ["waiting for another session on this machine to finish timing"]


def test_a_short_wait_is_not_worth_a_word(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, clock = locks
    said: list[str] = []
    with ExitStack() as held_by_one:
        held_by_one.enter_context(one.held(quiet, said.append))
        with two.held(lambda: held_by_one.close() if clock.now_ns() > 500_000_000 else None, said.append):
            pass
    assert said == []


def test_within_itself_it_does_not_wait_and_frees_only_at_the_end(
    locks: tuple[MachineLock, MachineLock, FakeClock],
) -> None:
    one, two, _ = locks

    def give_up() -> None:
        raise TimeoutError

    with one.held(quiet, silent):
        with one.held(give_up, silent):
            pass
        with pytest.raises(TimeoutError), two.held(give_up, silent):
            pass
    with two.held(give_up, silent) as held:
        assert held


def test_it_is_free_after_a_failure(locks: tuple[MachineLock, MachineLock, FakeClock]) -> None:
    one, two, _ = locks
    with pytest.raises(KeyError), one.held(quiet, silent):
        raise KeyError
    with two.held(lambda: pytest.fail("it waits"), silent):
        pass


def test_where_it_cannot_work_it_says_so_and_nobody_waits(tmp_path: Path) -> None:
    lock = MachineLock(tmp_path, FakeClock())  # a folder
    assert not lock.works
    with lock.held(quiet, silent) as held:
        assert not held
    lock.close()


def test_all_users_of_the_machine_may_lock(tmp_path: Path) -> None:
    lock = MachineLock(tmp_path / "lock", FakeClock())
    assert lock.works
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o666
    lock.close()


def test_the_place_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", "/there/lock")
    assert lock_path() == Path("/there/lock")
    monkeypatch.delenv("LLMCI_LOCK_FILE")
    assert lock_path() == Path(tempfile.gettempdir()) / "llmci-timing.lock"
