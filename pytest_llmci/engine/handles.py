"""``llm``: the handle that tests hold. It never holds the model itself, so no traceback can keep one alive."""

from __future__ import annotations

import asyncio
import operator
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..errors import ConfigError, WorkerCrashed
from ..measure.profile import Measured
from ..records import Completion, GenerationSettings, Json, ModelSpec, Prompt
from ..runner.wire import pack_arguments
from .results import Generation, as_exception
from .session import BenchSession, prompt_of

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
STREAM_GRACE_S = 0.5
"""Longest wait for the rest of a stream that nobody reads; after it the model's process is ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Log-probability of a continuation."""

    logprobs: tuple[float, ...]
    """Natural logarithm, one for each token of the continuation."""

    @property
    def total(self) -> float:
        """Of the whole continuation."""
        return sum(self.logprobs)

    @property
    def per_token(self) -> float:
        """Mean over its tokens."""
        return self.total / max(1, len(self.logprobs))


@dataclass(frozen=True, kw_only=True, slots=True)
class CallDefaults:
    """What ``llm.generate()`` does where the test says nothing."""

    generation: GenerationSettings
    checks: tuple[str, ...]


class LLM:
    """One model. It is loaded when it is first asked something, in its own process; a failure is raised there."""

    def __init__(self, session: BenchSession, spec: ModelSpec, defaults: Callable[[], CallDefaults]) -> None:
        self._session = session
        self._spec = spec
        self._defaults = defaults

    @property
    def name(self) -> str:
        """Alias of the model."""
        return self._spec.alias

    @property
    def spec(self) -> ModelSpec:
        """What was asked for."""
        return self._spec

    @property
    def info(self) -> Mapping[str, Json]:
        """What the model source says of the loaded model: revision, dtype, parameters, versions. Loads it."""
        return MappingProxyType(self._session.pool.get(self._spec).record.info)

    def generate(
        self, prompt: str | Prompt | Sequence[Mapping[str, str]], *, max_new_tokens: int | None = None, temperature: float | None = None,
        seed: int | None = None,
    ) -> Generation:  # fmt: skip
        """One inference, under the instruments: recorded and checked, not gated on time.

        :param prompt: text (goes raw), ``llm_prompt``, or messages (go through the chat template).
        :raises LLMCIError: if the model failed.
        """
        __tracebackhide__ = True
        settings = self._settings(max_new_tokens, temperature, seed)
        measurement = self._session.call_once(self._spec, prompt_of(prompt), settings, self._defaults().checks)
        if measurement.error is not None:
            raise as_exception(measurement.error)
        return Generation(measurement, self._session.metrics, self._session.judge)

    async def agenerate(
        self, prompt: str | Prompt | Sequence[Mapping[str, str]], *, max_new_tokens: int | None = None, temperature: float | None = None,
        seed: int | None = None,
    ) -> Generation:  # fmt: skip
        """:meth:`generate` for asynchronous tests; the event loop goes on meanwhile, the model answers one at a time."""
        return await asyncio.to_thread(self._exclusive_generate, prompt, max_new_tokens, temperature, seed)

    def _exclusive_generate(
        self,
        prompt: str | Prompt | Sequence[Mapping[str, str]],
        max_new_tokens: int | None,
        temperature: float | None,
        seed: int | None,
    ) -> Generation:
        with self._session.one_at_a_time:
            return self.generate(prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)

    def stream(
        self, prompt: str | Prompt | Sequence[Mapping[str, str]], *, max_new_tokens: int | None = None, temperature: float | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """The pieces of an answer as they arrive; not measured.

        :raises GenerationError: if the model source cannot stream.
        """
        settings, asked = self._settings(max_new_tokens, temperature, seed), prompt_of(prompt)
        worker = self._session.pool.get(self._spec).worker
        pieces: queue.SimpleQueue[str | Completion | BaseException] = queue.SimpleQueue()

        def run() -> None:
            try:
                pieces.put(self._session.ask(self._spec, lambda model: model.stream(asked, settings, pieces.put)))
            except BaseException as error:  # noqa: BLE001  # handed to the thread that reads
                pieces.put(error)

        thread = threading.Thread(target=run, name="llmci-stream", daemon=True)
        thread.start()
        try:
            while isinstance(piece := pieces.get(), str):
                yield piece
        except (
            BaseException
        ):  # Ctrl-C, or nobody wants the rest: a short answer may end by itself, a long one is cut off
            thread.join(STREAM_GRACE_S)
            if thread.is_alive():
                worker.abandon()
            raise
        finally:
            thread.join()
        if isinstance(piece, BaseException):
            raise piece

    def score(self, context: str, continuation: str) -> Score:
        """Log-probability of ``continuation`` after ``context``.

        :raises GenerationError: if the model source knows no log-probabilities.
        """
        return Score(logprobs=tuple(self._session.ask(self._spec, lambda worker: worker.score(context, continuation))))

    def call(self, target: str, *arguments: object) -> object:
        """Run ``package.module:function(backend, *arguments)`` in the model's process.

        Arguments and result are JSON data or numeric arrays; nothing is pickled. The module must be importable there, without
        pytest. ``backend`` is the loaded model source, for example with ``model`` and ``tokenizer`` of transformers.

        :raises ConfigError: if an argument cannot cross into that process; the model is not asked then.
        :raises LLMCIError: if the call failed there.
        """
        packed = pack_arguments(arguments)
        return self._session.ask(self._spec, lambda worker: worker.call(target, packed))

    @contextmanager
    def profile(self) -> Iterator[Measured]:
        """Measure whatever the block asks of this model, with the instruments inside the model's process."""
        worker = self._session.pool.get(self._spec).worker
        measured = Measured(None)
        worker.profile_start()
        yield measured
        if not worker.alive:
            raise WorkerCrashed(
                f"{self._spec.alias}: the model's process ended inside the block; what it measured is lost"
            )
        measured.adopt(worker.profile_stop())
        self._session.measured += 1

    def _settings(self, max_new_tokens: int | None, temperature: float | None, seed: int | None) -> GenerationSettings:
        base = self._defaults().generation
        return replace(
            base,
            max_new_tokens=base.max_new_tokens
            if max_new_tokens is None
            else _whole(max_new_tokens, "max_new_tokens", 1),
            temperature=base.temperature if temperature is None else _temperature(temperature),
            seed=base.seed if seed is None else _whole(seed, "seed", 0),
        )

    def __repr__(self) -> str:
        return f"<llm {self._spec.alias}: {self._spec.text}>"


def _whole(value: object, name: str, least: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # whatever the test handed over
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ConfigError(f"llm: {name}={value!r} must be a whole number of at least {least}.")
    return number


def _temperature(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # as above
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf") or isinstance(value, (bool, str)):
        raise ConfigError(f"llm: temperature={value!r} must be 0 (greedy) or a greater number.")
    return number
