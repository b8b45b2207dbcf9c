"""What a planted truth is: something done on purpose, known by another way than the instrument's, and what came of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from ...backends.base import Backend, LoadContext, LoadedModel, Stamp
from ...errors import LLMCIError
from ...measure import register
from ...measure.memory import explain
from ...measure.profile import Probe
from ...metrics import MetricDef
from ...records import Completion, GenerationSettings, Missing, Number, Prompt, RoundRecord
from ...registry import Registry
from ...runner.loop import MeasuringLoop, NoProgress

State = Literal["ok", "off", "disturbed", "not measured", "not planted"]
"""``not measured``: the instrument gave no number here, or the truth could not be planted; ``not planted``: nobody tried."""
PROMPT: Final = Prompt(id="planted", text="How far can you be trusted?")
SLEW: Final = 0.0005  # the system may run its clock faster or slower than the raw one by so much (adjtimex)
BLUNT_SHARE: Final = 0.1  # a truth that is not known better than that proves nothing
TRIES: Final = 3  # a neighbour may spoil one or two


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """One planted number and what the instrument said of it, both in SI units."""

    metric: str
    planted: float
    reported: Number
    tolerance: float
    """How far they may be apart: the resolution of the instrument and the uncertainty of the truth itself."""
    doubt: str = ""
    """What else could have moved the number; empty if nothing can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A sighting, judged."""

    truth: str
    """What was planted."""
    metric: str
    state: State
    planted: float | None = None
    reported: float | None = None
    tolerance: float | None = None
    reason: str = ""
    """Why it is not ``ok``."""

    @property
    def error(self) -> float | None:
        """Reported less planted."""
        return None if self.reported is None or self.planted is None else self.reported - self.planted


Plant = Callable[[], Sequence[Sighting] | Missing]
"""Does it once; :class:`Missing` where it cannot be done here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """Something that can be planted."""

    name: str
    metrics: tuple[str, ...]
    """What it tells of."""
    plant: Plant
    quick: bool = True
    """False where it takes more than two seconds."""


def examine(truth: Truth) -> list[Finding]:
    """Plant it and judge what was reported; again, a few times, where something else disturbed it.

    :returns: one finding a sighting, or one a metric where it cannot be planted.
    """
    findings: list[Finding] = []
    for _ in range(TRIES):
        seen = _planted(truth)
        if isinstance(seen, Missing):
            return [_unmeasured(truth.name, metric, seen.reason) for metric in truth.metrics]
        findings = [judge(truth.name, sighting) for sighting in seen]
        if all(finding.state != "disturbed" for finding in findings):
            break
    return findings


def _planted(truth: Truth) -> Sequence[Sighting] | Missing:
    try:
        return truth.plant()
    except (OSError, LLMCIError) as error:  # no right, no room, no process: nothing of the instruments
        return Missing(f"it could not be planted: {explain(error)}")


def judge(truth: str, sighting: Sighting) -> Finding:
    """What a sighting says of the instrument."""
    reported = sighting.reported
    if isinstance(reported, Missing):
        return _unmeasured(truth, sighting.metric, reported.reason)
    state: State = "ok"
    reason = ""
    is_near = abs(reported - sighting.planted) <= sighting.tolerance
    if is_near and sighting.tolerance > BLUNT_SHARE * abs(sighting.planted):
        state, reason = "disturbed", "the truth itself could not be told well enough: the machine was busy"
    elif not is_near:
        state, reason = ("disturbed", sighting.doubt) if sighting.doubt else ("off", "")
    return Finding(
        truth=truth, metric=sighting.metric, state=state, planted=sighting.planted, reported=reported,
        tolerance=sighting.tolerance, reason=reason,
    )  # fmt: skip


def _unmeasured(truth: str, metric: str, reason: str) -> Finding:
    return Finding(truth=truth, metric=metric, state="not measured", reason=reason)


# ------------------------------------------------------------------------------------------- around what is planted


class Acting:
    """A backend that only does what it is told."""

    def __init__(self, act: Callable[[Stamp], None]) -> None:
        self._act = act

    def load(self, context: LoadContext) -> LoadedModel:
        return LoadedModel()

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> None:
        self._act(stamp)

    def complete(self, produced: object) -> Completion:
        return Completion(text="", finish_reason="stop")

    def close(self) -> None:
        pass


def measure(act: Callable[[Stamp], None], *, before: Callable[[], None] = lambda: None) -> RoundRecord:
    """Do something where an inference would be, under all built-in instruments, after one warm-up.

    :param act: called for the warm-up as well.
    :param before: called right before each of the two.
    """
    return measure_backend(Acting(act), before=before)[0]


def measure_backend(
    backend: Backend,
    settings: GenerationSettings | None = None,
    *,
    rounds: int = 1,
    before: Callable[[], None] = lambda: None,
) -> list[RoundRecord]:
    """Rounds of a backend in this process, as a session measures them, after one warm-up.

    :param backend: loaded.
    :param before: called right before each round.
    """
    registry = Registry()
    register(registry)
    loop = MeasuringLoop(backend, Probe(registry), threads=1, progress=NoProgress(), isolated=False)
    found = []
    for _ in range(1 + rounds):
        before()
        found.append(loop.measure(PROMPT, settings or GenerationSettings()))
    return found[1:]


@lru_cache(maxsize=1)
def metric_table() -> dict[str, MetricDef]:
    """Name -> definition of all that is measured without plugins."""
    from ...measure import builtin_metrics

    return {metric.name: metric for metric in builtin_metrics()}


def reported(record: RoundRecord, metric: str) -> Number:
    """What a round says of a metric, in SI units."""
    if metric in record.values:
        return metric_table()[metric].to_si(record.values[metric])
    return Missing(record.reasons.get(metric, "no instrument tells of it"))


def burn(cpu_s: float) -> None:
    """Spend about that much CPU time in this thread, without the interpreter's lock and without waiting."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", max(1, round(cpu_s * _turns_per_s())))


@lru_cache(maxsize=1)
def _turns_per_s() -> float:
    begin = time.thread_time()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000)
    return 20_000 / max(1e-6, time.thread_time() - begin)


def worst(tries: Iterable[Sighting]) -> Sighting:
    """The one that is furthest off, or one that is missing."""
    found = list(tries)
    return next(
        (each for each in found if isinstance(each.reported, Missing)),
        max(found, key=lambda each: 0 if isinstance(each.reported, Missing) else abs(each.reported - each.planted)),
    )
