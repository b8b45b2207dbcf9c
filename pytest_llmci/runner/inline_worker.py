"""A model that lives in pytest's own process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..backends.base import OnCompletion, OnScores
from ..measure.profile import Measured
from ..records import Completion, GenerationSettings, ModelSpec, Prompt, RoundRecord, RunRequest, ScoreRequest
from . import wire
from .host import Loaded, ModelHost
from .loop import NoProgress
from .model_worker import WorkerSetup
from .placement import threads_of

_NO_PROCESS: Final = "inline: the model lives in pytest's own process"
_NOBODY_WATCHES: Final = NoProgress()
__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


class InlineWorker:
    """The same loop in this process: cheap, and not isolated."""

    isolation = "inline"
    log = ""

    def __init__(self, spec: ModelSpec, setup: WorkerSetup) -> None:
        self.pid = os.getpid()
        self._spec = spec
        self._setup = setup
        threads = threads_of(spec, setup.threads)
        self._host = ModelHost(
            setup.registry, threads=threads, cache_dir=setup.cache_dir, progress=_NOBODY_WATCHES, isolated=False,
            anchor=setup.anchor, instruments=setup.instruments,
        )  # fmt: skip
        self.alive = True

    def load(self) -> Loaded:
        loaded = self._host.load(self._spec, self._setup.say)
        reasons = {**loaded.reasons, "start_time": _NO_PROCESS, "cold_start_time": _NO_PROCESS}
        return Loaded(values=loaded.values, reasons=reasons, info=loaded.info)

    def run(self, request: RunRequest, on_round: Callable[[RoundRecord], None]) -> None:
        self._host.run(request, on_round)

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        return self._host.stream(prompt, settings, on_text)

    def score(self, context: str, continuation: str) -> list[float]:
        return self._host.score(context, continuation)

    def score_many(self, requests: Sequence[ScoreRequest], batch: int, on_scores: OnScores) -> None:
        self._host.score_many(requests, batch, on_scores)

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, on_completion: OnCompletion
    ) -> None:  # fmt: skip
        self._host.generate_many(prompts, settings, stop, batch, on_completion)

    def call(self, target: str, packed: list[object]) -> object:
        passed: Any = wire.unpack_value(packed)
        return wire.unpack_value(wire.pack_value(self._host.call(target, passed)))

    def profile_start(self) -> int:
        return self._host.profile_start()

    def profile_stop(self, number: int) -> Measured:
        return self._host.profile_stop(number)

    def close(self) -> None:
        self.alive = False
        self._host.close()
