"""Carries out one block of a cell in its model's process, and records it, whatever became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

from ..clock import Clock, utc_text
from ..errors import LLMCIError, WorkerError
from ..prompts.fit import fitted
from ..records import ErrorInfo, Fill, ModelSpec, Prompt, Role, RoundRecord, RunRequest
from ..runner.token_counts import tokens_of
from ..text import one_line
from .apart import Apart
from .blocks import Origin, failed_in_memory_pass, failed_in_sample
from .current_test import CurrentTest
from .observer import Observer
from .pool import LiveModel, Pool, error_info
from .recorder import Recorder
from .schedule import CellMeasurement

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


class BlockRunner:
    """Rounds that are measured, those of a memory pass, samples, and single calls."""

    def __init__(
        self, pool: Pool, recorder: Recorder, apart: Apart, *, clock: Clock, observer: Observer, time_limit_s: float | None,
        out_of_time: Callable[[], bool],
    ) -> None:  # fmt: skip
        """:param out_of_time: whether the time limit of the session is over."""
        self.pool = pool
        self.recorder = recorder
        self._apart = apart
        self._clock = clock
        self._observer = observer
        self._time_limit_s = time_limit_s
        self._out_of_time = out_of_time
        self._fits: dict[tuple[str, str, Fill], Prompt] = {}
        """(Spec, prompt id, what was asked for) -> the prompt of that length."""

    def run(
        self, measurement: CellMeasurement, request: RunRequest, origin: Origin, planned: int, test: CurrentTest
    ) -> None:
        """Carry out one block, in one's turn, and record it, whatever became of it.

        :param test: the one that asked; when the turn comes, another one may run.
        """
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

        def failed(error: ErrorInfo) -> None:
            if origin == "memory":
                measurement.memory_error = failed_in_memory_pass(error)
            elif origin == "sample":
                measurement.error = failed_in_sample(error, request, planned)
            else:
                measurement.error = error

        role: Role = "memory" if origin == "memory" else "timing"
        try:
            live = self.pool.get(cell.model, role)
            if request.prompt.is_open:
                request = self._closed_request(measurement, request, live)
        except LLMCIError as error:
            failed(error_info(error))
            started = utc_text(self._clock.utc())
            self.recorder.block(measurement, request, rounds, origin, None, test=test, started=started)
            return
        if origin != "memory":
            measurement.worker_values, measurement.worker_reasons = live.record.values, live.record.reasons
            measurement.worker = live.record
        contended, came_ns, started = False, self._clock.now_ns(), ""
        try:
            is_timed = origin == "memory" or (origin == "measured" and measurement.plan.timed)
            with self._apart.alone() if is_timed else self._apart.aside() as contended:
                started, began = utc_text(self._clock.utc()), self._clock.now_ns()
                for part in self._parts(request, origin):
                    live.worker.run(part, on_round)
            self.pool.lived(cell.model, role)
        except WorkerError as error:
            self.pool.died(cell.model, error, role)
            failed(error_info(error))
        except LLMCIError as error:
            failed(error_info(error))
        except BaseException as error:  # Ctrl-C or another plugin's time-out: what was measured is not lost
            failed(
                ErrorInfo(
                    kind="interrupted",
                    message=f"interrupted: {type(error).__name__}: {one_line(str(error))}".removesuffix(": "),
                )
            )
            started = started or self._utc_at(came_ns)
            self.recorder.block(
                measurement, request, rounds, origin, live, test=test, started=started, contended=contended
            )
            raise
        started = started or self._utc_at(came_ns)
        self.recorder.block(measurement, request, rounds, origin, live, test=test, started=started, contended=contended)

    def _utc_at(self, moment_ns: int) -> str:
        """The time of day at a moment of the session's clock."""
        return utc_text(self._clock.utc() - timedelta(microseconds=(self._clock.now_ns() - moment_ns) // 1000))

    def _closed_request(self, measurement: CellMeasurement, request: RunRequest, live: LiveModel) -> RunRequest:
        """The request, and its cell, with as much filler as the model's own tokenizer asks for."""
        prompt = self.fitted(measurement.cell.model, request.prompt, live)
        measurement.cell = replace(measurement.cell, prompt=prompt)
        return replace(request, prompt=prompt)

    def fitted(self, model: ModelSpec, prompt: Prompt, live: LiveModel) -> Prompt:
        """A prompt whose length in tokens is open, with as much filler as the model's own tokenizer asks for; worked out once a model.

        :raises LLMCIError: if no text has that length, or the model's process died.
        """
        assert prompt.fill is not None  # that is what makes it open
        known = (model.text, prompt.id, prompt.fill)
        if known not in self._fits:
            try:
                self._fits[known] = fitted(prompt, partial(tokens_of, live.worker), model.alias)
            except WorkerError as error:
                self.pool.died(model, error, live.record.role)
                raise
        return self._fits[known]

    def _parts(self, request: RunRequest, origin: Origin) -> Iterable[RunRequest]:
        """What a block asks for: at once, but a memory pass under a time limit round by round."""
        if origin != "memory" or self._time_limit_s is None:
            return (request,)
        return self._while_there_is_time(request)

    def _while_there_is_time(self, request: RunRequest) -> Iterator[RunRequest]:
        """Its rounds one by one, no more once the time is over."""
        for number in range(request.rounds):
            if number and self._out_of_time():
                return
            yield replace(
                request, rounds=1, warmup=request.warmup if not number else 0, first_round=request.first_round + number
            )
