"""``llm``: the handle that tests hold. It never holds the model itself, so no traceback can keep one alive."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..measure.profile import Measured
from ..records import Completion, GenerationSettings, Json, ModelSpec, Prompt
from .results import Generation, as_exception
from .session import BenchSession, prompt_of


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
        return self.total / len(self.logprobs)


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
        worker = self._session.pool.get(self._spec).worker
        settings = self._settings(max_new_tokens, temperature, seed)
        pieces: queue.SimpleQueue[str | Completion | BaseException] = queue.SimpleQueue()

        def run() -> None:
            try:
                pieces.put(worker.stream(prompt_of(prompt), settings, pieces.put))
            except BaseException as error:  # noqa: BLE001  # handed to the thread that reads
                pieces.put(error)

        thread = threading.Thread(target=run, name="llmci-stream", daemon=True)
        thread.start()
        try:
            while isinstance(piece := pieces.get(), str):
                yield piece
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
        """
        return self._session.ask(self._spec, lambda worker: worker.call(target, arguments))

    @contextmanager
    def profile(self) -> Iterator[Measured]:
        """Measure whatever the block asks of this model, with the instruments inside the model's process."""
        worker = self._session.pool.get(self._spec).worker
        measured = Measured(None)
        worker.profile_start()
        try:
            yield measured
        finally:
            measured.adopt(worker.profile_stop())
            self._session.measured += 1

    def _settings(self, max_new_tokens: int | None, temperature: float | None, seed: int | None) -> GenerationSettings:
        base = self._defaults().generation
        return replace(
            base,
            max_new_tokens=base.max_new_tokens if max_new_tokens is None else max_new_tokens,
            temperature=base.temperature if temperature is None else temperature,
            seed=base.seed if seed is None else seed,
        )

    def __repr__(self) -> str:
        return f"<llm {self._spec.alias}: {self._spec.text}>"
