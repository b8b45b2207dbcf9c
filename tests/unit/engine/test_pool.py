from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_llmci import backends
from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.observer import Silent
from pytest_llmci.engine.pool import DEATHS_IN_A_ROW, Pool, error_info
from pytest_llmci.errors import (
    ConfigError,
    GenerationError,
    LLMCIError,
    ModelGivenUp,
    ModelLoadError,
    WorkerCrashed,
    WorkerError,
    WorkerProtocolError,
    WorkerTimeout,
)
from pytest_llmci.records import ErrorInfo, ModelSpec, Role, WorkerRecord
from pytest_llmci.registry import Registry
from pytest_llmci.runner.host import Loaded
from pytest_llmci.runner.inline_worker import InlineWorker
from pytest_llmci.runner.model_worker import Limits, ModelWorker, WorkerSetup


def spec(alias: str, **options: str) -> ModelSpec:
    return ModelSpec(alias=alias, backend="echo", text=f"{alias}=echo", options=options)


A, B, C = spec("a"), spec("b"), spec("c")


class FakeWorker:
    """Loads as it is told to; can die."""

    isolation = "worker"
    pid = 4711

    def __init__(self, name: str, outcome: Exception | None) -> None:
        self.log = f"/somewhere/workers/{name}.log"
        self.alive = True
        self.closed = 0
        self._outcome = outcome

    def load(self) -> Loaded:
        if self._outcome is not None:
            raise self._outcome
        return Loaded(values={"load_time": 2_000_000_000}, reasons={"x": "y"}, info={"python": "3.12.1"})

    def close(self) -> None:
        self.alive = False
        self.closed += 1


class Watcher(Silent):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def loading(self, spec: ModelSpec) -> None:
        self.seen.append(f"loading {spec.alias}")

    def loaded(self, spec: ModelSpec, seconds: float | None) -> None:
        self.seen.append((spec.alias, seconds))


class Bed:
    """A pool whose workers are fakes, with what it emitted."""

    def __init__(self, tmp_path: Path, *outcomes: Exception | None, isolation: Any = "worker") -> None:
        registry = Registry()
        backends.register(registry)
        self.records: list[WorkerRecord] = []
        self.workers: list[FakeWorker] = []
        self.watcher = Watcher()
        self._outcomes = list(outcomes)
        setup = WorkerSetup(registry=registry, limits=Limits(), cache_dir=str(tmp_path), log_folder=tmp_path)
        self.pool = Pool(
            setup, isolation, clock=FakeClock(), observer=self.watcher, emit=self.records.append, new_uid=lambda: f"u{len(self.records)}"
        )  # fmt: skip
        if isolation == "worker":
            self.pool._build = self._build  # type: ignore[method-assign]  # no processes here

    def _build(self, spec: ModelSpec, role: Role, number: int) -> ModelWorker:
        worker = FakeWorker(f"{spec.alias}-{number}", self._outcomes.pop(0) if self._outcomes else None)
        self.workers.append(worker)
        return cast("ModelWorker", worker)

    @property
    def living(self) -> list[str]:
        return [Path(worker.log).stem for worker in self.workers if worker.alive]


def test_a_model_is_loaded_once_and_its_start_is_recorded(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    live = bed.pool.get(A)
    assert bed.pool.get(A) is live
    assert bed.records == [live.record] == [
        WorkerRecord(
            uid="u0", model="a", spec=A, started="2026-01-01T00:00:00.000Z", pid=4711, isolation="worker", python="3.12.1",
            values={"load_time": 2_000_000_000}, reasons={"x": "y"}, info={"python": "3.12.1"}, log="workers/a-1.log",
        )
    ]  # fmt: skip
    assert bed.watcher.seen == ["loading a", ("a", 2.0)]


def test_another_model_of_the_same_name_is_refused(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.pool.get(A)
    written_otherwise = ModelSpec(alias="a", backend="echo", text="a = echo")
    assert bed.pool.get(written_otherwise) is bed.pool.get(A)
    with pytest.raises(ConfigError, match="two models are called 'a'"):
        bed.pool.get(spec("a", ttft="1ms"))


def test_one_model_lives_at_a_time(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    for model in (A, B, A):
        bed.pool.get(model)
        assert len(bed.living) == 1
    assert bed.living == ["a-2"]
    bed.pool.close()
    assert bed.living == []


def test_the_old_one_is_gone_before_the_new_one_is_built(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.pool.get(A)
    built = bed._build

    def check(spec: ModelSpec, role: Role, number: int) -> ModelWorker:
        assert bed.living == []
        return built(spec, role, number)

    bed.pool._build = check  # type: ignore[method-assign]  # as above
    bed.pool.get(B)


def test_between_two_models_none_is_alive(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    living: list[list[str]] = []
    bed.pool.between_models = lambda: living.append(bed.living)
    for model in (A, A, B):
        bed.pool.get(model)
    assert living == [[], []]
    with bed.pool.room_for(2):
        bed.pool.get(A)
    assert living == [[], []]  # B lives


def test_room_for_two_keeps_the_most_recent_and_shrinks_again(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    with bed.pool.room_for(2):
        for model in (A, B, A, C):
            bed.pool.get(model)
        assert bed.living == ["a-1", "c-1"]
        with bed.pool.room_for(1):
            bed.pool.get(A)
        assert bed.living == ["a-1", "c-1"]
    assert bed.living == ["a-1"]


def test_one_that_is_no_longer_alive_is_started_anew(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.pool.get(A)
    bed.workers[0].alive = False
    bed.pool.get(A)
    assert bed.living == ["a-2"]


@pytest.mark.parametrize("error", [ModelLoadError("no such model", kind="not_found"), ConfigError("bad key")])
def test_a_load_that_fails_is_remembered_and_not_tried_again(tmp_path: Path, error: LLMCIError) -> None:
    bed = Bed(tmp_path, error)
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            bed.pool.get(A)
        assert caught.value is error
    assert len(bed.workers) == bed.workers[0].closed == 1
    (record,) = bed.records
    assert record.error == error_info(error)
    assert (record.log, record.values) == ("workers/a-1.log", {})
    bed.pool.get(B)


def test_an_interrupted_load_leaves_no_process_and_is_tried_again(tmp_path: Path) -> None:
    bed = Bed(tmp_path, cast("Exception", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bed.pool.get(A)
    assert bed.living == [] and bed.records == []
    bed.pool.get(A)


def test_after_two_deaths_in_a_row_a_model_is_given_up(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    for number in range(DEATHS_IN_A_ROW):
        bed.pool.get(A)
        error = WorkerCrashed("a was killed by SIGKILL", {"when": "round 1 of 5", "kept": "1 round", "stderr": "a.log"})
        bed.pool.died(A, error)
        if number == 0:
            assert error.facts["next"] == "any further cell of the model gets a new process"
    with pytest.raises(
        WorkerCrashed, match="^not run: a died 2 times in a row, last: a was killed by SIGKILL$"
    ) as caught:
        bed.pool.get(A)
    assert isinstance(caught.value, ModelGivenUp)
    assert {"when", "kept"}.isdisjoint(caught.value.facts)  # of this cell there is neither
    assert (caught.value.facts["last death"], caught.value.facts["stderr"]) == ("round 1 of 5", "a.log")
    assert caught.value.facts["next"].startswith("the model's remaining cells are not run")
    assert len(bed.workers) == 2
    bed.pool.get(B)


def test_an_answer_between_two_deaths_starts_the_count_anew(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    for _ in range(3):
        bed.pool.get(A)
        bed.pool.lived(A)
        bed.pool.died(A, WorkerCrashed("a died"))
    bed.pool.get(A)
    assert len(bed.workers) == 4


def test_deaths_of_one_model_are_not_anothers(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.pool.died(A, WorkerCrashed("a died"))
    bed.pool.died(B, WorkerCrashed("b died"))
    bed.pool.get(A)
    bed.pool.get(B)


def test_a_process_that_dies_while_loading_counts_and_is_recorded(tmp_path: Path) -> None:
    bed = Bed(tmp_path, WorkerTimeout("a is late", {"when": "while loading"}), WorkerCrashed("a died"))
    for kind in (WorkerTimeout, WorkerCrashed, WorkerCrashed):
        with pytest.raises(kind):
            bed.pool.get(A)
    assert len(bed.workers) == 2
    assert [record.error.kind for record in bed.records if record.error] == ["timeout", "crashed"]
    assert [record.log for record in bed.records] == ["workers/a-1.log", "workers/a-2.log"]


def test_inline_models_live_here(tmp_path: Path) -> None:
    bed = Bed(tmp_path, isolation="inline")
    live = bed.pool.get(A)
    assert isinstance(live.worker, InlineWorker)
    assert (live.record.pid, live.record.isolation, live.record.log) == (os.getpid(), "inline", "")
    with pytest.raises(ModelLoadError, match="gone"):
        bed.pool.get(spec("d", load_fail="gone"))
    assert bed.records[-1].error == ErrorInfo(kind="scripted", message="d=echo: gone")
    bed.pool.close()
    assert not live.worker.alive


@pytest.mark.parametrize(
    ("error", "info"),
    [
        (WorkerCrashed("m", {"when": "now"}), ErrorInfo(kind="crashed", message="m", facts={"when": "now"})),
        (WorkerTimeout("m"), ErrorInfo(kind="timeout", message="m")),
        (GenerationError("m", kind="context"), ErrorInfo(kind="context", message="m")),
        (WorkerProtocolError("m"), ErrorInfo(kind="protocol", message="m")),
        (ModelGivenUp("m"), ErrorInfo(kind="given_up", message="m")),
        (WorkerError("m"), ErrorInfo(kind="tool", message="m")),
        (ConfigError("m"), ErrorInfo(kind="tool", message="m")),
    ],
)
def test_an_error_as_a_record(error: LLMCIError, info: ErrorInfo) -> None:
    assert error_info(error) == info
