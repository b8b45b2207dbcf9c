"""One loaded model and everything that can be asked of it, in whatever process that is."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from ..backends.base import Backend, LoadContext, LoadedModel, OnBatch, OnCompletion, OnScores
from ..errors import BackendError, ConfigError, GenerationError, ModelLoadError
from ..measure.anchor import Anchor, why_no_anchor
from ..measure.profile import Measured, Probe, SharedInstruments, profile
from ..measure.region import PROCESS_METER, Figures, Region
from ..records import (
    Completion,
    GenerationSettings,
    Json,
    Missing,
    ModelSpec,
    Prompt,
    Role,
    RoundRecord,
    RunRequest,
    ScoreRequest,
)
from ..registry import Registry, import_target
from .import_path import library_folders
from .jobs import generate_each, score_each
from .loop import MeasuringLoop, Progress, text_is_unicode
from .memory_pass import MemoryPass
from .origin import module_files
from .own_cost import own_cost
from .placement import pinned_cpus

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What became of loading: metrics of scope ``worker`` as stored, and what the backend says of the model."""

    values: dict[str, float]
    reasons: dict[str, str]
    info: dict[str, Json]


class ModelHost:
    """Loads one model and serves it; used from one thread."""

    def __init__(
        self,
        registry: Registry,
        *,
        threads: int,
        cache_dir: str,
        progress: Progress,
        isolated: bool,
        role: Role = "timing",
        anchor: bool = False,
        instruments: SharedInstruments | None = None,
    ) -> None:
        """:param anchor: whether a frozen model is timed beside the measured rounds, where that tells of this one.
        :param instruments: those of this process, where several models live in it one after the other; by default the model's own.
        """
        self._registry = registry
        self._instruments = instruments or SharedInstruments()
        self._wants_anchor = anchor and role in ("timing", "reference")
        self._threads = threads
        self._cache_dir = cache_dir
        self._progress = progress
        self._isolated = isolated
        self._role = role
        self._backend: Backend | None = None
        self._loop: MeasuringLoop | None = None
        self._profiles: dict[int, profile] = {}
        self._profiles_begun = 0
        self._spec: ModelSpec | None = None

    def load(self, spec: ModelSpec, say: Say) -> Loaded:
        """Make the model ready.

        :raises ModelLoadError: or another BackendError or ConfigError, each with one line.
        """
        self._spec = spec
        if self._isolated:
            library_folders()  # remembered: a backend may give up the rights that it takes to find out
        self._progress.enter("importing")
        begin = time.perf_counter_ns()
        factory: Any = self._registry.load("backend", spec.backend, f"model '{spec.text}'")
        made: list[Backend] = []
        try:
            return self._load(factory, made, spec, say, begin)
        except BaseException:
            for backend in made:  # what it holds already, such as a connection, would last as long as this process
                with suppress(Exception):  # it never became ready, and why is what has to be told
                    backend.close()
            raise

    def _load(self, factory: Any, made: list[Backend], spec: ModelSpec, say: Say, begin: int) -> Loaded:
        """:param made: gets the backend as soon as there is one."""
        try:
            backend: Backend = factory(spec)
            made.append(backend)
            prepare = getattr(backend, "prepare", None)
            if prepare is not None:
                prepare()
            imported = time.perf_counter_ns()
            self._progress.enter("loading")
            region = Region(pauses_collector=False)
            region.begin()
            try:
                loaded: object = backend.load(LoadContext(threads=self._threads, cache_dir=self._cache_dir, say=say))
            finally:
                region.end()
        except (BackendError, ConfigError, MemoryError):
            raise
        except Exception as error:  # a backend is foreign code: whatever it raises becomes one line
            raise ModelLoadError(
                f"{spec.text}: {type(error).__name__}: {_one_line(error)}", kind="unexpected"
            ) from error
        described = _checked(loaded, spec)
        self._backend = backend
        probe = Probe(self._registry, instruments=self._instruments.of(self._registry))
        # Built after what the load is measured by, and before any round: a constant of every peak that comes.
        anchor = self._anchor(described, factory) if self._wants_anchor else None
        elsewhere = _elsewhere(factory, spec)
        self._loop = MeasuringLoop(
            backend, probe, threads=self._threads, progress=self._progress, isolated=self._isolated,
            before_round=MemoryPass().before_round if self._role == "memory" else None,
            unmeasurable=elsewhere, anchor=anchor,
        )  # fmt: skip
        self._progress.enter("idle")
        cost = own_cost(self._registry, self._progress)
        figures = region.figures()
        values = {"import_time": imported - begin, "load_time": max(0, figures.wall_ns - described.record_ns), **cost}
        process: dict[str, Json] = {"threads": self._threads, "cpus": pinned_cpus(spec), **self._origin(spec)}
        if anchor is not None:
            process |= anchor.facts
        known = _describe(described, values, figures, process)
        return _without_elsewhere(known, elsewhere) if elsewhere else known

    def _anchor(self, loaded: LoadedModel, factory: object) -> Anchor:
        return Anchor(
            why_no_anchor(
                isolated=self._isolated, threads=self._threads, device=loaded.info.get("device"),
                computes_here=not getattr(factory, "is_remote", False),
            )
        )  # fmt: skip

    def _origin(self, spec: ModelSpec) -> dict[str, Json]:
        """The user's modules, in a process that has no others than those the model needs."""
        if not self._isolated:
            return {}
        targets = [self._registry.get("backend", spec.backend, f"model '{spec.text}'").target]
        if spec.backend == "py":
            targets.append(spec.target)
        files: dict[str, Json] = {**module_files(target.partition(":")[0] for target in targets)}
        return {"module_files": files} if files else {}

    def run(self, request: RunRequest, on_round: Callable[[RoundRecord], None]) -> None:
        """Carry out a block of rounds.

        :raises GenerationError: if an inference could not be carried out.
        """
        loop = self._loaded_loop()
        try:
            if request.load is None:
                loop.run(request, on_round)
                return
            from ..load.drive import run_load

            loop.was_asked()
            run_load(self._loaded_backend(), request, on_round, progress=self._progress, isolated=self._isolated)
        except (BackendError, MemoryError):
            raise
        except Exception as error:
            raise self._in_one_line(error) from error

    @contextmanager
    def _one_line_each(self) -> Iterator[None]:
        """Whatever a backend raises while it answers becomes one line."""
        try:
            yield
        except (BackendError, MemoryError):
            raise
        except Exception as error:
            raise self._in_one_line(error) from error

    def _in_one_line(self, error: Exception) -> GenerationError:
        return GenerationError(f"{self._name()}: {type(error).__name__}: {_one_line(error)}", kind="unexpected")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self._progress.enter(name)
        try:
            yield
        finally:
            self._progress.enter("idle")

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        """One inference whose text is shown as it comes; not measured.

        :raises GenerationError: if the backend cannot stream, or the inference fails.
        """
        stream = getattr(self._loaded_backend(), "stream", None)
        if stream is None:
            raise GenerationError(
                f"{self._name()}: this backend cannot stream; use llm.generate().", kind="unsupported"
            )
        self._loaded_loop().was_asked()
        arrived = 0

        def count(text: str) -> None:
            nonlocal arrived
            arrived += 1
            self._progress.tokens(arrived)
            on_text(text)

        with self._phase("streaming"), self._one_line_each():
            completion: Completion = stream(prompt, settings, count)
        return completion

    def score(self, context: str, continuation: str) -> list[float]:
        """Natural log-probability of each token of ``continuation`` after ``context``.

        :raises GenerationError: if the backend knows no log-probabilities.
        """
        score = getattr(self._loaded_backend(), "score", None)
        if score is None:
            raise GenerationError(f"{self._name()}: this backend knows no log-probabilities.", kind="unsupported")
        self._loaded_loop().was_asked()
        with self._phase("scoring"), self._one_line_each():
            found: Sequence[float] = score(context, continuation)
            return [float(value) for value in found]

    def score_many(self, requests: Sequence[ScoreRequest], batch: int, on_scores: OnScores) -> None:
        """The log-probability of each continuation of each question; handed over as they come, in any order.

        :param batch: questions that are worked on at once, at most, where the backend can.
        :raises GenerationError: if the backend knows no log-probabilities, or a question cannot be scored.
        """
        backend = self._loaded_backend()
        many: Any = getattr(backend, "score_many", None)
        one: Any = getattr(backend, "score", None)
        if many is None and one is None:
            raise GenerationError(f"{self._name()}: this backend knows no log-probabilities.", kind="unsupported")
        self._loaded_loop().was_asked()
        with self._phase("scoring many"), self._one_line_each():
            begins = self._batch_begins("scoring many")
            if many is not None:
                many(requests, batch, on_batch=begins, on_scores=on_scores)
            else:
                score_each(one, requests, on_batch=begins, on_scores=on_scores)

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, on_completion: OnCompletion
    ) -> None:  # fmt: skip
        """Answers that are not measured; handed over as they come, in any order.

        :param stop: an answer ends before the first of these that it holds.
        :param batch: prompts that are worked on at once, at most, where the backend can.
        :raises GenerationError: if a prompt cannot be answered.
        """
        backend = self._loaded_backend()
        many = getattr(backend, "generate_many", None)
        self._loaded_loop().was_asked()

        def hand_over(number: int, completion: Completion) -> None:
            on_completion(number, text_is_unicode(completion))

        with self._phase("generating many"), self._one_line_each():
            begins = self._batch_begins("generating many")
            if many is not None:
                many(prompts, settings, stop, batch, on_batch=begins, on_completion=hand_over)
            else:
                generate_each(backend, prompts, settings, stop, on_batch=begins, on_completion=hand_over)

    def _batch_begins(self, phase: str) -> OnBatch:
        """Tells from outside which requests are being worked on: the time limit counts from there."""

        def begins(numbers: Sequence[int]) -> None:
            self._progress.enter(phase, numbers[0])
            self._progress.tokens(len(numbers))

        return begins

    def call(self, target: str, arguments: Sequence[object]) -> object:
        """Run ``package.module:function(backend, *arguments)`` next to the model.

        :raises GenerationError: with the function's own complaint.
        """
        backend = self._loaded_backend()
        self._loaded_loop().was_asked()
        with self._phase("calling"):
            try:
                function: Any = import_target(target, "llm.call")
                return function(backend, *arguments)
            except (BackendError, ConfigError, MemoryError):
                raise
            except Exception as error:  # foreign code
                raise GenerationError(
                    f"llm.call('{target}'): {type(error).__name__}: {_one_line(error)}", kind="call"
                ) from error

    def profile_start(self) -> int:
        """Start the instruments around whatever follows.

        :returns: which ones: blocks of several threads may end in any order.
        """
        context = profile()
        context.__enter__()
        self._profiles_begun += 1
        self._profiles[self._profiles_begun] = context
        return self._profiles_begun

    def profile_stop(self, number: int) -> Measured:
        """Stop the instruments that :meth:`profile_start` started under that number."""
        context = self._profiles.pop(number, None)
        if context is None:
            raise GenerationError(f"{self._name()}: no profile {number} was started in this process.", kind="profile")
        context.__exit__(None, None, None)
        return context.measured

    def close(self) -> None:
        """Let go of the model."""
        backend, self._backend, self._loop = self._backend, None, None
        if backend is not None:
            backend.close()

    def _loaded_backend(self) -> Backend:
        if self._backend is None:
            raise ModelLoadError(f"{self._name()}: the model is not loaded.", kind="unloaded")
        return self._backend

    def _loaded_loop(self) -> MeasuringLoop:
        if self._loop is None:
            raise ModelLoadError(f"{self._name()}: the model is not loaded.", kind="unloaded")
        return self._loop

    def _name(self) -> str:
        return self._spec.text if self._spec else "model"


def _checked(loaded: object, spec: ModelSpec) -> LoadedModel:
    """What a backend's ``load`` returned, if it can be recorded.

    :raises ModelLoadError: naming the method and the entry at fault.
    """
    if not isinstance(loaded, LoadedModel) or not isinstance(loaded.info, Mapping):
        raise ModelLoadError(
            f"{spec.text}: load() of backend '{spec.backend}' returned {type(loaded).__name__}, not a LoadedModel with a mapping as info.",
            kind="backend",
        )
    for name, value in loaded.info.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise ModelLoadError(
                f"{spec.text}: info['{name}'] of backend '{spec.backend}' cannot be recorded ({_one_line(error)});"
                " use text, numbers, booleans, None, lists and dicts.",
                kind="backend",
            ) from error
    return loaded


def _elsewhere(factory: Any, spec: ModelSpec) -> dict[str, str]:
    """Metric -> why it is missing, for a model that does not run in this process: its client's numbers are not its own."""
    return dict(factory.unmeasurable(spec)) if getattr(factory, "is_remote", False) else {}


def _without_elsewhere(loaded: Loaded, elsewhere: Mapping[str, str]) -> Loaded:
    values = {name: value for name, value in loaded.values.items() if name not in elsewhere}
    known = {name: why for name, why in elsewhere.items() if name in loaded.values or name in loaded.reasons}
    if "start_time" in elsewhere:
        known["start_time"] = elsewhere["start_time"]
    return Loaded(values=values, reasons=loaded.reasons | known, info=loaded.info)


_NOTHING_ASKED: Final = (
    "no first inference was measured in this process so far; the record of its first rounds tells it"
)


def _describe(loaded: LoadedModel, values: dict[str, float], figures: Figures, process: Mapping[str, Json]) -> Loaded:
    """:param figures: of the loading."""
    reasons = {"first_inference_time": _NOTHING_ASKED, "cold_start_time": _NOTHING_ASKED}
    peak = figures.peak_rss
    if isinstance(peak, Missing):
        reasons["load_peak_rss"] = peak.reason
    else:
        values["load_peak_rss"] = peak
    if loaded.footprint_bytes is None:
        reasons["model_footprint"] = loaded.footprint_reason or "this model source has no weights to count"
    else:
        values["model_footprint"] = loaded.footprint_bytes
    info = {**loaded.info, **process}
    info["memory_method"] = figures.memory_method
    info["peak_rss_resolution_bytes"] = figures.peak_rss_resolution_bytes
    info["memory_refused"] = [*PROCESS_METER.chosen().refused]
    info["context_length"] = loaded.context_length
    info["pid"] = os.getpid()
    info["python"] = sys.version.split()[0]
    return Loaded(values=values, reasons=reasons, info=info)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
