from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from inline_session import Bed

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.exclusive import MachineLock
from pytest_llmci.engine.observer import Silent
from pytest_llmci.records import Cell, ModelSpec, RoundsRecord, WorkerRecord


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))
    made = Bed(tmp_path)
    yield made
    made.session.close()


def test_a_memory_pass_ends_with_the_time_limit_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))

    class Slow(Silent):
        def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
            own.clock.sleep(4)

    own = Bed(tmp_path, Slow(), time_limit_s=10.0)
    measurement = own.measure("a=echo:one two", rounds=1, max_rounds=1, memory_rounds=5)
    own.session.close()
    assert measurement.rounds == 1
    assert [(block.origin, block.n, block.error) for block in measurement.memory_blocks] == [("memory", 2, None)]
    assert not measurement.out_of_time


def test_a_memory_pass_without_a_time_limit_is_one_request(bed: Bed) -> None:
    measurement = bed.measure("a=echo:one two", rounds=1, max_rounds=1, memory_rounds=3)
    assert [(block.origin, block.n) for block in measurement.memory_blocks] == [("memory", 3)]


def test_a_failed_inference_is_held_and_not_raised(bed: Bed) -> None:
    measurement = bed.measure("a=echo:x+fail=broken+at=2")
    assert measurement.error is not None and measurement.error.kind == "scripted"
    (block,) = measurement.blocks
    assert (block.n, block.error) == (1, measurement.error)
    assert bed.session.conclude(measurement).verdict == "failed"


def test_a_model_that_cannot_be_loaded_leaves_a_row(bed: Bed) -> None:
    measurement = bed.measure("a=echo+load_fail=gone")
    assert measurement.error is not None and "gone" in measurement.error.message
    assert bed.kinds == ["worker", "rounds"]
    assert (measurement.blocks[0].n, measurement.blocks[0].worker) == (0, "")
    assert bed.session.measured == 0


def test_an_interruption_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))

    class Impatient(Silent):
        def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
            if done == 2:
                raise KeyboardInterrupt

    bed = Bed(tmp_path, Impatient())
    with pytest.raises(KeyboardInterrupt):
        bed.measure("a=echo")
    block = bed.records[-1]
    assert isinstance(block, RoundsRecord) and block.n == 2
    assert block.error is not None and (block.error.kind, block.error.message) == (
        "interrupted",
        "interrupted: KeyboardInterrupt",
    )
    bed.session.close()


def test_load_and_wait_are_not_charged_and_a_block_starts_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))
    other = MachineLock(tmp_path / "lock", FakeClock())

    class Watch(Silent):
        def __init__(self) -> None:
            self.told: list[str] = []

        @contextmanager
        def uncharged(self) -> Iterator[None]:
            self.told.append("not charged")
            yield
            self.told.append("charged")

        def loading(self, spec: ModelSpec) -> None:
            self.told.append("loading")

        def loaded(self, spec: ModelSpec, seconds: float | None) -> None:
            self.told.append("loaded")
            held_by_other.enter_context(other.held(lambda: None, lambda text: None))

        def tick(self) -> None:
            if self.told[-1] == "not charged":
                self.told.append("waited")
                bed.clock.sleep(5)
                held_by_other.close()

        def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
            self.told.append("round")

    watch = Watch()
    bed = Bed(tmp_path, watch)
    with ExitStack() as held_by_other:
        held_by_other.enter_context(other.held(lambda: None, lambda text: None))
        bed.measure("a=echo", rounds=1)
    assert watch.told == [
        "not charged", "waited", "charged", "loading", "not charged", "charged", "loaded",
        "not charged", "waited", "charged", "round",
    ]  # fmt: skip
    start, block = bed.records
    assert isinstance(start, WorkerRecord) and start.started >= "2026-01-01T00:00:05"
    assert isinstance(block, RoundsRecord) and block.started >= "2026-01-01T00:00:10"
    bed.session.close()
    other.close()


def test_a_block_that_was_interrupted_before_it_began_tells_when_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))
    other = MachineLock(tmp_path / "lock", FakeClock())

    class Impatient(Silent):
        def tick(self) -> None:
            own.clock.sleep(5)
            raise KeyboardInterrupt

    own = Bed(tmp_path, Impatient())
    own.session.pool.get(own.model("a=echo"))
    own.clock.sleep(1)
    with other.held(lambda: None, lambda text: None), pytest.raises(KeyboardInterrupt):
        own.measure("a=echo", rounds=1)
    block = own.records[-1]
    assert isinstance(block, RoundsRecord) and block.started == "2026-01-01T00:00:01.000Z"
    own.session.close()
    other.close()
