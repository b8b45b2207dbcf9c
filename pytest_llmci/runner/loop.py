"""The one timing loop. It runs where the model is: in its own process, or in pytest's under ``--llmci-isolation=inline``."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from operator import sub
from typing import Any, Protocol

from ..backends.base import Backend
from ..errors import GenerationError, TryAgain
from ..measure.anchor import Anchor
from ..measure.base import Reading
from ..measure.profile import Probe
from ..records import Completion, GenerationSettings, Missing, Prompt, RoundRecord, RunRequest
from .attempts import attempts_in, told
from .progress import TOKENS_AT, ProgressPage


class Progress(Protocol):
    """Told where the loop stands."""

    def enter(self, phase: str, block_round: int = 0) -> None: ...

    def tokens(self, count: int) -> None: ...


class NoProgress:
    """For runs in this process, where nobody needs to look from outside."""

    def enter(self, phase: str, block_round: int = 0) -> None:
        pass

    def tokens(self, count: int) -> None:
        pass


NOT_BESIDE = "the frozen model is timed beside rounds under the schedule"
NOT_BESIDE_EACH = "the frozen model is timed once beside answers that are taken together"


class MeasuringLoop:
    """Warm-up, then measured rounds of one prompt on one backend."""

    def __init__(
        self, backend: Backend, probe: Probe, *, threads: int, progress: Progress, isolated: bool,
        before_round: Callable[[], None] | None = None, unmeasurable: Mapping[str, str] | None = None,
        anchor: Anchor | None = None, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        """:param before_round: called before each round, outside of what is measured.
        :param unmeasurable: metric -> why it is missing whatever an instrument reads here: the model runs elsewhere.
        :param anchor: times the frozen model beside rounds; None where nobody asked for it.
        :param sleep: waits between two attempts.
        """
        self._unmeasurable = dict(unmeasurable or {})
        self._anchor = anchor
        self._anchor_first = False
        self._sleep = sleep
        self._before_round = before_round
        self._backend = backend
        self._timed: Callable[..., Any] | None = getattr(backend, "generate_timed", None)
        self._probe = probe
        self._threads = threads
        self._progress = progress
        self._isolated = isolated
        self._was_asked = False
        self._first_ns: int | None = None
        """Time of the process's first inference, until it has been handed over."""

    def run(self, request: RunRequest, on_round: Callable[[RoundRecord], None]) -> None:
        """Carry out a block; ``on_round`` gets each round as it ends, outside of what is timed.

        :raises GenerationError: if an inference could not be carried out; the rounds before it have been handed over.
        """
        failed: list[str] = []
        for number in range(request.warmup):
            self._progress.enter("warm-up", number)
            failed += attempts_in(self.measure(request.prompt, request.generation).noisy)
        if self._isolated:
            # The probe keeps the collector off while it measures; what the warm-up left is collected before, not between.
            # In pytest's own process a collection walks everybody's objects, so it is left to its own rhythm there.
            gc.collect()
            gc.freeze()
        for number in range(request.rounds):
            self._progress.enter("measuring", number)
            record = self._with_first(self._round(request, number))
            on_round(record if number or not failed else dataclasses.replace(record, warmup_failed=tuple(failed)))
        self._progress.enter("idle")

    def _round(self, request: RunRequest, number: int) -> RoundRecord:
        """One measured round, the frozen model before it or after it in turn, never within what is measured."""
        if self._anchor is None:
            return self.measure(request.prompt, request.generation)
        if not request.anchor_every or number % request.anchor_every:
            reason = NOT_BESIDE_EACH if request.anchor_every else NOT_BESIDE
            return _beside(self.measure(request.prompt, request.generation), self._anchor.missing(reason))
        self._anchor_first = not self._anchor_first
        if self._anchor_first:
            found = self._anchor.time()
            return _beside(self.measure(request.prompt, request.generation), found)
        record = self.measure(request.prompt, request.generation)
        return _beside(record, self._anchor.time())

    def was_asked(self) -> None:
        """Something else than :meth:`run` used the model: what comes is no first inference."""
        self._was_asked = True

    def _asked(self, stamps: list[int]) -> tuple[Callable[..., Any], Callable[..., None]]:
        """What answers, and what it tells of its tokens: that one is there, or when each was."""
        if self._timed is not None:
            return self._timed, _noter(stamps, self._progress)
        return self._backend.generate, _stamper(stamps, self._progress)

    def _with_first(self, record: RoundRecord) -> RoundRecord:
        if self._first_ns is None or "first_inference_time" in self._unmeasurable:
            return record
        first, self._first_ns = self._first_ns, None
        return dataclasses.replace(record, worker_values={"first_inference_time": first})

    def measure(self, prompt: Prompt, settings: GenerationSettings) -> RoundRecord:
        """One inference under the instruments; an attempt that failed and may be repeated is told, never timed."""
        failed: list[TryAgain] = []
        while True:
            try:
                return self._attempt(prompt, settings, failed)
            except TryAgain as again:
                if len(failed) >= again.attempts:
                    tried = f" ({len(failed) + 1} attempts)" if failed else ""
                    raise GenerationError(f"{again}{tried}", kind=again.kind) from again
                failed.append(again)
                self._sleep(again.wait_s)
                self._progress.tokens(0)

    def _attempt(self, prompt: Prompt, settings: GenerationSettings, failed: Sequence[TryAgain]) -> RoundRecord:
        is_first, self._was_asked = not self._was_asked, True
        stamps: list[int] = []
        generate, stamp = self._asked(stamps)
        probe = self._probe
        if self._before_round is not None:
            self._before_round()
        probe.start()
        begin = time.perf_counter_ns()
        try:
            produced = generate(prompt, settings, stamp)
        finally:
            end = time.perf_counter_ns()
            probe.stop()
        if is_first:
            self._first_ns = end - begin
        completion = text_is_unicode(self._backend.complete(produced))
        if failed:
            completion = dataclasses.replace(completion, retries=len(failed))
        token_ns = _gaps(begin, stamps)
        reading = probe.read(wall_ns=end - begin, token_ns=token_ns, completion=completion, threads=self._threads)
        values, reasons = reading.values, reading.reasons
        if self._unmeasurable or completion.unobserved:
            values, reasons = _without(values, reasons, self._unmeasurable | completion.unobserved)
        return RoundRecord(
            values=values,
            reasons=reasons,
            token_ns=token_ns,
            completion=completion,
            noisy="; ".join([*filter(None, [reading.noisy]), *told(failed)]) if failed else reading.noisy,
            memory_method=reading.memory_method,
            peak_rss_resolution_bytes=reading.peak_rss_resolution_bytes,
        )


def _beside(record: RoundRecord, found: Mapping[str, Reading]) -> RoundRecord:
    """The round with what was timed beside it."""
    values, reasons = dict(record.values), dict(record.reasons)
    for name, value in found.items():
        if isinstance(value, Missing):
            reasons[name] = value.reason
        else:
            values[name] = value
    return dataclasses.replace(record, values=values, reasons=reasons)


def _without(
    values: dict[str, float], reasons: dict[str, str], unmeasurable: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Numbers and reasons, with those numbers missing that say nothing of the model."""
    known = {name: why for name, why in unmeasurable.items() if name in values or name in reasons}
    return {name: value for name, value in values.items() if name not in known}, reasons | known


def _stamper(stamps: list[int], progress: Progress) -> Callable[[], None]:
    append = stamps.append
    now = time.perf_counter_ns
    if isinstance(progress, NoProgress):
        return lambda: append(now())

    if isinstance(progress, ProgressPage):
        integers = progress.integers  # a call for each token would cost as much as its stamp

        def stamp_on_page() -> None:
            append(now())
            integers[TOKENS_AT] = len(stamps)

        return stamp_on_page

    def stamp() -> None:
        append(now())
        progress.tokens(len(stamps))

    return stamp


def _noter(stamps: list[int], progress: Progress) -> Callable[[int], None]:
    def note(at_ns: int) -> None:
        stamps.append(at_ns)
        progress.tokens(len(stamps))

    return note


def _gaps(begin: int, stamps: list[int]) -> tuple[int, ...]:
    """Time to the first token, then each gap; they sum to the time of the last token exactly."""
    return (stamps[0] - begin, *map(sub, stamps[1:], stamps)) if stamps else ()


def text_is_unicode(completion: Completion) -> Completion:
    """Half a surrogate pair has no UTF-8 form and no hash; it is replaced, as a decoder would have done."""
    try:
        completion.text.encode("utf-8")
    except UnicodeEncodeError:
        return dataclasses.replace(
            completion, text=completion.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    return completion
