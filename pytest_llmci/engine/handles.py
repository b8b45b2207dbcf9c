"""``llm``: the handle that tests hold. It never holds the model itself, so no traceback can keep one alive."""

from __future__ import annotations

import contextvars
import operator
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Any, Final, TypeVar

from ..errors import ConfigError, LLMCIError, WorkerError
from ..measure.profile import Measured
from ..records import (
    TEST_BODY,
    Completion,
    ContinuationScore,
    GenerationSettings,
    Json,
    ModelSpec,
    Prompt,
    ScoreRequest,
)
from ..runner.model_worker import ModelWorker
from ..runner.wire import pack_arguments
from ..slugs import slug
from ..text import how_many
from .pool import error_info
from .results import Generation, as_exception
from .schedule import CellMeasurement
from .session import BenchSession
from .turns import UNWANTED, Request, Withdrawn

T = TypeVar("T")

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
SCORED_AT_ONCE: Final = 16
"""Questions, where ``--llmci-batch`` says nothing: scores do not depend on it, memory hardly does."""
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
    """What ``llm.generate()`` does where its arguments say nothing."""

    generation: GenerationSettings
    checks: tuple[str, ...]


class LLM:
    """One model. It is loaded when it is first asked something, in its own process; a failure is raised there."""

    def __init__(
        self, session: BenchSession, spec: ModelSpec, defaults: Callable[[Prompt | None], CallDefaults]
    ) -> None:
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
        info = self._session.load(self._spec).info
        self._session.uses.requests += 1
        return MappingProxyType(info)

    def generate(
        self, prompt: str | Prompt | Sequence[Mapping[str, str]], *, max_new_tokens: int | None = None, temperature: float | None = None,
        seed: int | None = None,
    ) -> Generation:  # fmt: skip
        """One inference, under the instruments: recorded and checked, not gated on time. Threads wait for each other.

        :param prompt: text (goes raw), ``llm_prompt``, or messages (go through the chat template).
        :raises LLMCIError: if the model failed.
        """
        asked = self._session.prompt(prompt)
        defaults = self._defaults(asked)
        settings = _settings(defaults.generation, max_new_tokens, temperature, seed)
        return self._generated(self._session.call_once(self._spec, asked, settings, defaults.checks))

    def _generated(self, measurement: CellMeasurement) -> Generation:
        if measurement.error is not None:
            raise as_exception(measurement.error)
        return Generation(measurement, self._session.metrics, self._session.judge)

    async def agenerate(
        self, prompt: str | Prompt | Sequence[Mapping[str, str]], *, max_new_tokens: int | None = None, temperature: float | None = None,
        seed: int | None = None,
    ) -> Generation:  # fmt: skip
        """:meth:`generate` for asynchronous tests; the event loop goes on meanwhile, the model answers one at a time.

        Where the task that waits is cancelled, the answer is cut off: the model's process is ended, the next request gets
        a new one.
        """
        asked = self._session.prompt(prompt)
        defaults = self._defaults(asked)
        settings = _settings(defaults.generation, max_new_tokens, temperature, seed)
        turn = self._session.request()
        call = lambda: self._session.call_once(self._spec, asked, settings, defaults.checks, turn)  # noqa: E731  # one use
        return self._generated(await _aside(call, turn.withdraw))

    def stream(
        self, prompt: str | Prompt | Sequence[Mapping[str, str]], *, max_new_tokens: int | None = None, temperature: float | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """The pieces of an answer as they arrive; not measured.

        Whatever else is asked meanwhile waits until the answer has arrived, read or not. Who leaves early cuts it off: a
        long answer's process is ended, and the next request gets a new one.

        :raises GenerationError: if the model source cannot stream.
        """
        asked = self._session.prompt(prompt)
        settings = _settings(self._defaults(asked).generation, max_new_tokens, temperature, seed)
        try:
            self._session.load(self._spec)  # here: only a process that the main thread started dies with it
        except WorkerError as error:
            raise as_exception(error_info(error)) from None
        asked = self._session.fit(self._spec, asked)
        about, turn = replace(asked, id=f"stream-{asked.id}"), self._session.request()
        pieces: queue.SimpleQueue[str | Completion | BaseException] = queue.SimpleQueue()

        def arrived(text: str) -> None:
            if turn.withdrawn:  # a model in pytest's own process cannot be killed, but it can be stopped here
                raise Withdrawn(UNWANTED)
            pieces.put(text)

        def run() -> None:
            try:
                pieces.put(self._ask(lambda model: model.stream(asked, settings, arrived), about, turn))
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
            if thread is not threading.current_thread():  # which it is where its garbage collection finds the generator
                thread.join(STREAM_GRACE_S)
            turn.withdraw()
            raise
        if isinstance(piece, BaseException):
            raise piece

    def score(self, context: str, continuation: str) -> Score:
        """Log-probability of ``continuation`` after ``context``.

        :raises GenerationError: if the model source knows no log-probabilities.
        """
        about = _about("score", self._session.prompt(continuation).id, f"llm.score({context!r}, {continuation!r})")
        return Score(logprobs=tuple(self._ask(lambda worker: worker.score(context, continuation), about)))

    def score_many(
        self, requests: Sequence[ScoreRequest], *, batch: int | None = None,
        on_result: Callable[[int, Sequence[ContinuationScore]], None] | None = None,
    ) -> list[list[ContinuationScore]]:  # fmt: skip
        """How likely the model finds each continuation of each question; several questions at once where the model source can.

        A context that is too long loses its beginning, as :attr:`ContinuationScore.truncated` tells.

        :param batch: questions that are worked on at once, at most; by default ``--llmci-batch``.
        :param on_result: gets the number of a question and its scores as soon as they are known, in any order: what it has
            got is not lost if the model dies.
        :raises GenerationError: if the model source knows no log-probabilities, or naming the question that cannot be scored.
        """
        for number, request in enumerate(requests, start=1):
            _check_request(number, request)
        found: list[list[ContinuationScore]] = [[] for _ in requests]

        def keep(number: int, scores: Sequence[ContinuationScore]) -> None:
            found[number] = [*scores]
            if on_result is not None:
                on_result(number, found[number])

        size = self._batch(batch, SCORED_AT_ONCE)
        about = _about("score", "many", f"llm.score_many: {how_many(len(requests), 'question')}")
        if requests:
            self._ask(lambda worker: worker.score_many(requests, size, keep), about)
        return found

    def generate_many(
        self, prompts: Sequence[str | Prompt | Sequence[Mapping[str, str]]], *, stop: Sequence[str] = (), batch: int | None = None,
        max_new_tokens: int | None = None, temperature: float | None = None, seed: int | None = None,
        on_result: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:  # fmt: skip
        """Answers to many prompts, several at once where the model source can; neither measured nor recorded.

        :param stop: an answer ends before the first of these texts that it holds.
        :param batch: prompts that are worked on at once, at most; by default ``--llmci-batch``.
        :param on_result: gets the number of a prompt and its answer as soon as it is known, in any order.
        :raises GenerationError: naming the prompt that cannot be answered.
        """
        asked = [self._session.prompt(prompt) for prompt in prompts]
        settings = _settings(self._defaults(None).generation, max_new_tokens, temperature, seed)
        found: dict[int, Completion] = {}

        def keep(number: int, completion: Completion) -> None:
            found[number] = completion
            if on_result is not None:
                on_result(number, completion)

        size = self._batch(batch, 1)
        about = _about("generate", "many", f"llm.generate_many: {how_many(len(asked), 'prompt')}")
        if asked:
            self._ask(lambda worker: worker.generate_many(asked, settings, tuple(stop), size, keep), about)
        return [found[number] for number in range(len(asked))]

    def call(self, target: str, *arguments: object) -> object:
        """Run ``package.module:function(backend, *arguments)`` in the model's process.

        Arguments and result are JSON data or numeric arrays; nothing is pickled. The module must be importable there, without
        pytest. ``backend`` is the loaded model source, for example with ``model`` and ``tokenizer`` of transformers.

        :raises ConfigError: if an argument cannot cross into that process; the model is not asked then.
        :raises LLMCIError: if the call failed there.
        """
        packed = pack_arguments(arguments)
        about = _about("call", slug(target), f"llm.call({target!r})")
        return self._ask(lambda worker: worker.call(target, packed), about)

    def _ask(self, request: Callable[[ModelWorker], T], about: Prompt, turn: Request | None = None) -> T:
        try:
            return self._session.ask(self._spec, request, about, turn)
        except WorkerError as error:
            raise as_exception(error_info(error)) from None  # with the evidence below it

    def profile(self) -> AbstractContextManager[Measured]:
        """Measure whatever the block asks of this model, with the instruments inside the model's process."""
        return _ProfiledBlock(self._session, self._spec)

    def _batch(self, asked: int | None, otherwise: int) -> int:
        return (self._session.settings.batch or otherwise) if asked is None else _whole(asked, "batch", 1)

    def __repr__(self) -> str:
        return f"<llm {self._spec.alias}: {self._spec.text}>"


def _settings(
    base: GenerationSettings, max_new_tokens: int | None, temperature: float | None, seed: int | None
) -> GenerationSettings:
    return replace(
        base,
        max_new_tokens=base.max_new_tokens if max_new_tokens is None else _whole(max_new_tokens, "max_new_tokens", 1),
        temperature=base.temperature if temperature is None else _temperature(temperature),
        seed=base.seed if seed is None else _whole(seed, "seed", 0),
    )


class _ProfiledBlock:
    """A block under the instruments of a model's process; what other threads ask of it meanwhile is in the numbers, too."""

    def __init__(self, session: BenchSession, spec: ModelSpec) -> None:
        self._session = session
        self._spec = spec
        self._measured = Measured(None)

    def __enter__(self) -> Measured:
        try:
            self._started = self._session.profile_start(self._spec)
        except WorkerError as error:
            raise as_exception(error_info(error)) from None
        return self._measured

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None, /
    ) -> None:
        if error is not None:
            self._drop(error)
            return
        try:
            self._measured.adopt(self._session.profile_stop(self._started))
        except WorkerError as lost:
            raise as_exception(error_info(lost)) from None

    def _drop(self, error: BaseException) -> None:
        """The block failed: its own failure is the one to tell, and nobody will read the numbers."""
        if not isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):  # then nothing is waited for any more
            with suppress(LLMCIError):
                self._session.profile_stop(self._started)


async def _aside(work: Callable[[], T], withdraw: Callable[[], None]) -> T:
    """Do something in a thread of its own while the event loop goes on.

    Not ``asyncio.to_thread``: a loop waits for the end of those threads when it closes, so that Ctrl-C would wait for a
    model that hangs.

    :param withdraw: called where the task is cancelled: nobody waits for ``work`` any more.
    """
    import asyncio  # who has an event loop has it already; nobody else needs to load it

    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[T], None] | Callable[[BaseException], None], value: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(lambda: None if outcome.done() else settled(value))

    def run() -> None:
        try:
            value = work()
        except Withdrawn:
            return  # the task has gone on without it
        except BaseException as error:  # noqa: BLE001  # handed to the task that waits
            settle(outcome.set_exception, error)
        else:
            settle(outcome.set_result, value)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="llmci-agenerate", daemon=True).start()
    try:
        return await outcome
    finally:
        withdraw()  # of what has ended this is without effect


def _about(what: str, name: str, shown: str) -> Prompt:
    """What the row of a request that the process died of shows as its prompt."""
    return Prompt(id=f"{what}-{name}", text=shown, source=TEST_BODY)


def _check_request(number: int, request: ScoreRequest) -> None:
    if not isinstance(request, ScoreRequest):
        raise ConfigError(
            f"llm.score_many: request {number} is of type {type(request).__name__};"
            " expected a ScoreRequest(context=..., continuations=...)."
        )
    if not request.continuations:
        raise ConfigError(f"llm.score_many: request {number} has no continuations; give at least one.")
    if request.rolling and request.context:
        raise ConfigError(f"llm.score_many: request {number} is rolling and has a context; leave one of them away.")


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
