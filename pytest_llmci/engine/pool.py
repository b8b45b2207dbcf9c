"""The models that are alive. One by default: the pool evicts before it loads, so that no model's memory meets another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from ..clock import Clock, utc_text
from ..errors import (
    BackendError,
    ConfigError,
    LLMCIError,
    ModelGivenUp,
    WorkerCrashed,
    WorkerError,
    WorkerProtocolError,
    WorkerTimeout,
)
from ..records import ErrorInfo, ModelSpec, Role, WorkerRecord
from ..runner.guard import Guard
from ..runner.inline_worker import InlineWorker
from ..runner.model_worker import ModelWorker, WorkerSetup
from ..runner.worker import WorkerProcess
from ..settings import Isolation
from ..specs import ModelNames
from .observer import Observer

DEATHS_IN_A_ROW = 2
"""After that many the remaining cells of a model fail at once: a third death would teach nothing."""

_AFTER_TOO_MANY: Final[Mapping[Role, str]] = {
    "timing": "the model's remaining cells are not run; fix the cause or leave the model out",
    "memory": "the model's remaining cells get no memory pass; fix the cause or leave the passes out",
    "reference": "the model's remaining cells are not compared; fix the reference or leave the comparison out",
    "judge": "it judges no more; fix the cause or leave the check out",
}
_ASKED_FOR: Final[Mapping[Role, str]] = {
    "timing": "cell",
    "memory": "memory pass",
    "reference": "comparison",
    "judge": "judgement",
}

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


@dataclass(slots=True)
class LiveModel:
    """A loaded model and the record of its start."""

    worker: ModelWorker
    record: WorkerRecord


class Pool:
    """Hands out loaded models and counts their deaths."""

    def __init__(
        self, setup: WorkerSetup, isolation: Isolation, *, clock: Clock, observer: Observer, emit: Callable[[WorkerRecord], None],
        new_uid: Callable[[], str], reference_setup: WorkerSetup | None = None,
    ) -> None:  # fmt: skip
        """:param reference_setup: of what models are compared with, where that needs another import path."""
        self._setup = setup
        self._reference_setup = reference_setup or setup
        self._isolation: Isolation = isolation
        self._clock = clock
        self._observer = observer
        self._emit = emit
        self._new_uid = new_uid
        self._guard = Guard()
        self._names = ModelNames()
        self._live: dict[tuple[str, Role], LiveModel] = {}
        self._capacity = 1
        """Models, not processes: that of a memory pass lives beside the one that is timed, idle while the other works."""
        self._starts: dict[str, int] = {}
        self._deaths: dict[tuple[str, Role], int] = {}
        self._hopeless: dict[tuple[str, Role], LLMCIError] = {}
        self.between_models: Callable[[], None] = lambda: None
        """Called before a model is loaded while no other one is alive."""
        self.around_load: Callable[[], AbstractContextManager[object]] = nullcontext
        """Holds while a model is loaded."""

    def get(self, spec: ModelSpec, role: Role = "timing", pair: int | None = None) -> LiveModel:
        """The model, loaded.

        :param pair: of which fresh pair of processes it is, where two sides are compared.
        :raises BackendError: or ConfigError, if it cannot be loaded; the answer is remembered, nothing is tried twice.
            ConfigError also if its alias is that of another model.
        :raises WorkerError: if its process died, now or twice in a row before.
        """
        if role != "reference":  # that has the alias of its model
            self._names.note(spec, "this process")
        key = spec.alias, role
        live = self._live.pop(key, None)
        if live is not None:
            if live.worker.alive:
                self._live[key] = live  # the most recently used is evicted last
                return live
            live.worker.close()
        if key in self._hopeless:
            raise self._hopeless[key].with_traceback(None)  # it would grow, and keep old frames alive
        self._evict_down_to(self._capacity - 1, but=spec.alias)
        if not self._live:
            self.between_models()
        return self._start(spec, role, pair)

    def _start(self, spec: ModelSpec, role: Role, pair: int | None) -> LiveModel:
        with self.around_load():
            live = self._live[spec.alias, role] = self._loaded(spec, role, pair)
        self._emit(live.record)
        if role == "timing" and not pair:
            load_ns = live.record.values.get("load_time")
            self._observer.loaded(spec, None if load_ns is None else load_ns / 1e9)
        return live

    def _loaded(self, spec: ModelSpec, role: Role, pair: int | None) -> LiveModel:
        number = self._starts[spec.alias] = self._starts.get(spec.alias, 0) + 1
        record_of = partial(
            WorkerRecord, uid=self._new_uid(), model=spec.alias, spec=spec, started=utc_text(self._clock.utc()),
            isolation=self._isolation, role=role, pair=pair,
        )  # fmt: skip
        self._observer.loading(spec)
        worker: ModelWorker | None = None
        try:
            with self._observer.uncharged():
                worker = self._build(spec, role, number)
                loaded = worker.load()
        except WorkerError as error:
            self._record_failure(record_of, worker, error)
            self.died(spec, error, role)
            raise
        except (BackendError, ConfigError) as error:
            self._record_failure(record_of, worker, error)
            self._hopeless[spec.alias, role] = error
            if worker is not None:
                worker.close()
            raise
        except BaseException:
            if worker is not None:
                worker.close()
            raise
        record = record_of(
            pid=worker.pid, python=str(loaded.info.get("python", "")), values=loaded.values, reasons=loaded.reasons,
            info=loaded.info, log=_relative_log(worker.log),
        )  # fmt: skip
        return LiveModel(worker, record)

    def _build(self, spec: ModelSpec, role: Role, number: int) -> ModelWorker:
        if self._isolation == "inline":
            return InlineWorker(spec, self._setup)
        setup = self._reference_setup if role == "reference" else self._setup
        return WorkerProcess(spec, setup, role, clock=self._clock, guard=self._guard, number=number)

    def _record_failure(
        self, record_of: Callable[..., WorkerRecord], worker: ModelWorker | None, error: LLMCIError
    ) -> None:
        pid, log = (worker.pid, _relative_log(worker.log)) if worker else (0, "")
        self._emit(record_of(pid=pid, log=log, error=error_info(error)))

    def lived(self, spec: ModelSpec, role: Role = "timing") -> None:
        """The model finished what it was asked: its deaths no longer follow each other."""
        self._deaths.pop((spec.alias, role), None)

    def died(self, spec: ModelSpec, error: WorkerError, role: Role = "timing") -> None:
        """The model's process is gone. After two deaths in a row the model is given up, or its memory pass is."""
        live = self._live.pop((spec.alias, role), None)
        if live is not None:
            live.worker.close()
        deaths = self._deaths[spec.alias, role] = self._deaths.get((spec.alias, role), 0) + 1
        if deaths >= DEATHS_IN_A_ROW:
            error.facts["next"] = _AFTER_TOO_MANY[role]
            self._hopeless[spec.alias, role] = ModelGivenUp(
                f"not run: {spec.alias} died {deaths} times in a row, last: {error}", _of_the_last_death(error.facts)
            )
        else:
            error.facts["next"] = f"any further {_ASKED_FOR[role]} of the model gets a new process"

    @contextmanager
    def room_for(self, count: int) -> Iterator[None]:
        """Let that many models live at once meanwhile."""
        before, self._capacity = self._capacity, max(count, self._capacity)
        try:
            yield
        finally:
            self._capacity = before
            self._evict_down_to(before)

    def make_room(self, count: int) -> None:
        """Let that many models live at once from now on."""
        self._capacity = max(count, self._capacity)

    def release(self, spec: ModelSpec, role: Role | None = None) -> None:
        """End the model's processes, or that of one role: who asks next gets a fresh one."""
        for key in [key for key in self._live if key[0] == spec.alias and role in (None, key[1])]:
            self._live.pop(key).worker.close()

    def _evict_down_to(self, count: int, *, but: str = "") -> None:
        """End models until that many are left, besides one that is not counted; the least recently used go first."""
        while len(others := {alias: None for alias, _ in self._live if alias != but}) > count:
            self._evict(next(iter(others)))

    def _evict(self, alias: str) -> None:
        for key in [key for key in self._live if key[0] == alias]:
            self._live.pop(key).worker.close()

    def close(self) -> None:
        """End every model."""
        self._evict_down_to(0)
        self._guard.close()


_KINDS: Final[dict[type[LLMCIError], str]] = {
    WorkerCrashed: "crashed",
    WorkerTimeout: "timeout",
    WorkerProtocolError: "protocol",
    ModelGivenUp: "given_up",
}


def error_info(error: LLMCIError) -> ErrorInfo:
    """The error as a record."""
    kind = getattr(error, "kind", None) or _KINDS.get(type(error), "tool")
    facts = dict(error.facts) if isinstance(error, WorkerError) else {}
    return ErrorInfo(kind=str(kind), message=str(error), facts=facts)


def _of_the_last_death(facts: Mapping[str, str]) -> dict[str, str]:
    """The evidence as it holds for a cell that was never asked: where the process stood, and what was kept, are another's."""
    kept = {"last death" if label == "when" else label: text for label, text in facts.items()}
    kept.pop("kept", None)
    return kept


def _relative_log(log: str) -> str:
    return f"workers/{Path(log).name}" if log else ""
