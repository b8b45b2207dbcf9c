"""The whole session without pytest: what the plugin and the CLI adapt."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ..clock import Clock, utc_text
from ..errors import ConfigError, LLMCIError, WorkerError
from ..matrix import cell_id
from ..metrics import MetricDef
from ..records import (
    Cell,
    ErrorInfo,
    GenerationSettings,
    LogRecord,
    ModelSpec,
    Prompt,
    RoundRecord,
    RoundsRecord,
    RunRequest,
    VerdictRecord,
)
from ..registry import Registry
from ..runner.worker import Limits, ModelWorker, WorkerSetup
from ..settings import Settings
from ..slugs import slug
from ..stats.budget_expression import Budget
from ..text import one_line
from .exclusive import MachineLock, lock_path
from .judge import Judge
from .observer import Observer
from .pool import LiveModel, Pool, error_info
from .schedule import CellMeasurement, CellPlan, Schedule

T = TypeVar("T")

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


@dataclass(slots=True)
class CurrentTest:
    """The test that is running, and what was recorded for it."""

    id: str
    attempt: int = 0
    calls: list[CellMeasurement] = field(default_factory=list)
    """Single inferences that the test's body asked for."""


class BenchSession:
    """Measures cells, records what came of them, judges them."""

    def __init__(
        self, settings: Settings, registry: Registry, metrics: Mapping[str, MetricDef], *, clock: Clock, observer: Observer,
        emit: Callable[[LogRecord], None], log_folder: Path, sys_path: Sequence[str], process: str = "main",
    ) -> None:  # fmt: skip
        self.settings = settings
        self.registry = registry
        self.metrics = metrics
        self.judge = Judge(registry)
        self.test = CurrentTest("")
        self.measured = 0
        """Inferences and profiles recorded so far."""
        self.one_at_a_time = threading.Lock()
        """For asynchronous tests: a model answers one request at a time."""
        self._clock = clock
        self._observer = observer
        self._emit = emit
        self._process = process
        self._serial = 0
        self._lock = MachineLock(lock_path(), clock)
        self._began_ns = clock.now_ns()
        limits = Limits(
            inference_s=settings.timeout_s, load_s=settings.load_timeout_s, memory_bytes=settings.memory_limit_bytes
        )
        setup = WorkerSetup(
            registry=registry, limits=limits, cache_dir=str(user_cache_dir()), log_folder=log_folder, threads=settings.threads,
            sys_path=sys_path, say=observer.say, tick=observer.tick,
        )  # fmt: skip
        self.pool = Pool(setup, settings.isolation, clock=clock, observer=observer, emit=emit, new_uid=self.new_uid)
        self.schedule = Schedule(self._measure_block, self.judge.undecided, self._out_of_time)

    def new_uid(self) -> str:
        """An identifier that no other record of the run has."""
        self._serial += 1
        return f"{self._process}-{self._serial}"

    # --------------------------------------------------------------------------------------------- measured under a plan

    def measure(self, cell: Cell, plan: CellPlan) -> CellMeasurement:
        """Measure a cell as its plan says; failures of the model are held in the result and not raised."""
        return self.schedule.measure(cell, plan)

    def conclude(self, measurement: CellMeasurement) -> VerdictRecord:
        """Judge a cell and record the verdict."""
        verdict = self.judge.verdict(measurement, uid=self.new_uid(), test=self.test.id, attempt=self.test.attempt)
        self._emit(verdict)
        return verdict

    def _measure_block(self, measurement: CellMeasurement, rounds: int) -> None:
        plan = measurement.plan
        done = measurement.rounds
        request = RunRequest(
            cell=measurement.cell.id, prompt=measurement.cell.prompt, generation=plan.generation, rounds=rounds,
            warmup=plan.warmup if not measurement.blocks else 0, first_round=done,
        )  # fmt: skip
        self._run(measurement, request, "measured", planned=max(plan.rounds, done + rounds))

    def _run(self, measurement: CellMeasurement, request: RunRequest, origin: str, planned: int) -> None:
        """Carry out one block and record it, whatever became of it."""
        cell = measurement.cell
        rounds: list[RoundRecord] = []
        began = self._clock.now_ns()

        def on_round(record: RoundRecord) -> None:
            nonlocal began
            rounds.append(record)
            now = self._clock.now_ns()
            parts = 1 + request.warmup if len(rounds) == 1 else 1  # the warm-up went before the first round
            self._observer.round_ended(cell, request.first_round + len(rounds), planned, (now - began) / 1e9 / parts)
            began = now

        try:
            live = self.pool.get(cell.model)
        except LLMCIError as error:
            measurement.error = error_info(error)
            self._record_block(
                measurement, request, rounds, origin, None, started=utc_text(self._clock.utc()), contended=False
            )
            return
        measurement.worker_values, measurement.worker_reasons = live.record.values, live.record.reasons
        contended = False
        started = utc_text(self._clock.utc())
        try:
            if self.settings.timing == "exclusive" and origin == "measured":
                with self._lock.held(self._observer.tick, self._observer.say) as held:
                    contended = not held and self._process != "main"
                    began = self._clock.now_ns()
                    live.worker.run(request, on_round)
            else:
                contended = self.settings.timing == "parallel" and self._process != "main"
                live.worker.run(request, on_round)
            self.pool.lived(cell.model)
        except WorkerError as error:
            self.pool.died(cell.model, error)
            measurement.error = error_info(error)
        except LLMCIError as error:
            measurement.error = error_info(error)
        except BaseException as error:  # Ctrl-C or another plugin's time-out: what was measured is not lost
            measurement.error = ErrorInfo(
                kind="interrupted", message=f"interrupted: {type(error).__name__}: {one_line(str(error))}"
            )
            self._record_block(measurement, request, rounds, origin, live, started=started, contended=contended)
            raise
        self._record_block(measurement, request, rounds, origin, live, started=started, contended=contended)

    def _record_block(
        self, measurement: CellMeasurement, request: RunRequest, rounds: Sequence[RoundRecord], origin: str, live: LiveModel | None,
        *, started: str, contended: bool,
    ) -> None:  # fmt: skip
        record = block_record(
            measurement, request, rounds, uid=self.new_uid(), test=self.test.id, attempt=self.test.attempt,
            origin="call" if origin == "call" else "measured", worker=live.record.uid if live else "", started=started,
            contended=contended, isolated=self.settings.isolation == "worker",
        )  # fmt: skip
        measurement.blocks.append(record)
        if rounds:
            self.measured += 1
        self._emit(record)

    def _out_of_time(self) -> bool:
        limit = self.settings.time_limit_s
        return limit is not None and (self._clock.now_ns() - self._began_ns) / 1e9 > limit

    # ----------------------------------------------------------------------------------------- asked by a test's body

    def call_once(
        self, model: ModelSpec, prompt: Prompt, generation: GenerationSettings, checks: tuple[str, ...]
    ) -> CellMeasurement:
        """One inference that a test's body asked for: recorded and checked, not gated on time.

        :raises LLMCIError: if the model failed.
        """
        cell = Cell(id=cell_id(model, prompt), model=model, prompt=prompt)
        plan = CellPlan(rounds=1, max_rounds=1, warmup=0, block=1, generation=generation, checks=checks)
        measurement = CellMeasurement(cell=cell, plan=plan)
        request = RunRequest(cell=cell.id, prompt=prompt, generation=generation, rounds=1, warmup=0)
        self.test.calls.append(measurement)
        self._run(measurement, request, "call", planned=1)
        return measurement

    def ask(self, spec: ModelSpec, request: Callable[[ModelWorker], T]) -> T:
        """Ask a model something that is not an inference; the pool learns of it if the process dies.

        :raises LLMCIError: if the model failed.
        """
        live = self.pool.get(spec)
        try:
            answer = request(live.worker)
        except WorkerError as error:
            self.pool.died(spec, error)
            raise
        self.pool.lived(spec)
        return answer

    def close(self) -> None:
        """End every model."""
        self.pool.close()
        self._lock.close()


def prompt_of(text_or_prompt: str | Prompt | Sequence[Mapping[str, str]]) -> Prompt:
    """What a test handed to ``llm.generate`` as a prompt with an id.

    :raises ConfigError: if it is neither text, a prompt nor a list of messages.
    """
    from ..records import Message

    if isinstance(text_or_prompt, Prompt):
        return text_or_prompt
    if isinstance(text_or_prompt, str):
        return Prompt(id=slug(text_or_prompt), text=text_or_prompt, source="test body")
    try:
        messages = tuple(Message(role=entry["role"], content=entry["content"]) for entry in text_or_prompt)
        if not messages or not all(isinstance(text, str) for each in messages for text in (each.role, each.content)):
            raise TypeError
    except (TypeError, KeyError) as error:
        raise ConfigError(
            f"llm.generate: expected text, a prompt or a list of {{'role': ..., 'content': ...}}, got {type(text_or_prompt).__name__}."
        ) from error
    prompt = Prompt(id="-", messages=messages, source="test body")
    return replace(prompt, id=slug(prompt.shown))


def block_record(
    measurement: CellMeasurement, request: RunRequest, rounds: Sequence[RoundRecord], *, uid: str, test: str, attempt: int, origin: str,
    worker: str, started: str, contended: bool, isolated: bool,
) -> RoundsRecord:  # fmt: skip
    """The rounds of a block turned into columns."""
    cell = measurement.cell
    shown = cell.prompt.shown
    outputs = list(dict.fromkeys([record.completion.text for record in rounds]))
    place = {text: index for index, text in enumerate(outputs)}
    last = rounds[-1] if rounds else None
    return RoundsRecord(
        uid=uid, cell=cell.id, model=cell.model.alias, prompt_id=cell.prompt.id, prompt=shown,
        prompt_sha256=_sha256(shown), test=test, attempt=attempt,
        origin="call" if origin == "call" else "measured", worker=worker, block=len(measurement.blocks),
        first_round=request.first_round, started=started, generation=request.generation, n=len(rounds),
        values=_columns(rounds),
        reasons={name: reason for record in rounds for name, reason in record.reasons.items()},
        token_ns=[list(record.token_ns) for record in rounds],
        outputs=outputs, output_of_round=[place[record.completion.text] for record in rounds],
        md5=[output_md5(cell.model.alias, shown, text) for text in outputs],
        output_sha256=[hashlib.sha256(text.encode("utf-8")).hexdigest() for text in outputs],
        finish_reasons=[record.completion.finish_reason for record in rounds], noisy=[record.noisy for record in rounds],
        special_only=any(record.completion.special_only for record in rounds),
        token_source=last.completion.token_source if last else "", templated=last.completion.templated if last else False,
        memory_method=last.memory_method if last else "", peak_rss_resolution_bytes=last.peak_rss_resolution_bytes if last else None,
        memory_isolated=isolated, contended=contended, error=measurement.error,
    )  # fmt: skip


def _columns(rounds: Sequence[RoundRecord]) -> dict[str, list[float | None]]:
    """Metric -> its number in each round, for each metric that any round has."""
    if len(rounds) == 1:
        return {name: [value] for name, value in rounds[0].values.items()}
    names = dict.fromkeys([name for record in rounds for name in (*record.values, *record.reasons)])
    columns = {name: [record.values.get(name) for record in rounds] for name in names}
    return {name: column for name, column in columns.items() if any(value is not None for value in column)}


@lru_cache(maxsize=256)  # a set of prompts goes to one model after the other
def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def output_md5(model: str, prompt: str, output: str) -> str:
    """md5 over model, prompt and output joined without separators, as the paper took it. An identity, not a safeguard."""
    return hashlib.md5((model + prompt + output).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def matching(budgets: Iterable[Budget], alias: str) -> tuple[Budget, ...]:
    """The budgets that apply to a model."""
    return tuple(budget for budget in budgets if budget.applies_to(alias))


def user_cache_dir() -> Path:
    """Where conversions are kept: ``LLMCI_CACHE_DIR``, else the user's cache directory."""
    given = os.environ.get("LLMCI_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "llmci"
