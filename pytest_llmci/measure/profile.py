"""The instruments in use: :class:`Probe` around each round, :class:`profile` around any code.

::

    with profile() as measured:
        work()
    assert measured.cpu_time < 1          # seconds
    assert measured.peak_rss < 2 * 2**30  # bytes; what could not be measured fails here with its reason
"""

from __future__ import annotations

import difflib
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, TypeVar

from ..errors import MeasurementError, StoreError
from ..metrics import MetricDef
from ..quick_records import quickly_made
from ..records import Completion, Missing, Number, from_json, to_json
from ..registry import Registry
from ..units import format_quantity
from .base import CLOCK_WENT_BACK, NothingRead, Reading, RoundFacts
from .cpu import CpuInstrument, cpu_values, net_time
from .latency import latency_values
from .memory import MemoryInstrument, memory_values
from .noise import NoiseInstrument, noise_values, noisy_reason
from .plugins import GuardedInstrument, plugin_instruments
from .region import PROCESS_METER, Figures, Meter, Region

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines

P = ParamSpec("P")
T = TypeVar("T")


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeReading:
    """What the instruments say of one stretch of time."""

    values: dict[str, float]
    """Metric -> number in the unit in which the log stores it: times in integer nanoseconds."""
    reasons: dict[str, str]
    """Metric -> why it could not be measured."""
    noisy: str = ""
    """Why it counts as noisy; empty if it does not."""
    memory_method: str = ""
    """``hwm``, ``sampler`` or ``lifetime``; empty where no peak is known."""
    peak_rss_resolution_bytes: int | None = None
    """How far the peak may be off; None where that has no bound, as with a sampler."""


def _set_apart(found: dict[str, Any], reasons: dict[str, str]) -> dict[str, float]:
    """Move what could not be measured to the reasons; what is left are numbers."""
    for name in [name for name, value in found.items() if isinstance(value, Missing)]:
        reasons[name] = found.pop(name).reason
    return found


def _reading(values: dict[str, float], reasons: dict[str, str], wall_ns: int, figures: Figures) -> ProbeReading:
    has_peak = "peak_rss" in values
    return ProbeReading(
        values=values,
        reasons=reasons,
        noisy=noisy_reason(values, wall_ns),
        memory_method=figures.memory_method if has_peak else "",
        peak_rss_resolution_bytes=figures.peak_rss_resolution_bytes if has_peak else None,
    )


class Instruments:
    """Those that run around the region, built-in and plugins' alike, as one process has them: built once, asked for every round.

    Building them opens files of the kernel and looks for devices, which takes as long as a dozen short rounds.
    """

    def __init__(self, registry: Registry) -> None:
        """Build them.

        :raises ConfigError: if one cannot be used.
        """
        self._all = [GuardedInstrument(name, factory) for name, factory in plugin_instruments(registry)]
        self.wake()

    def wake(self) -> None:
        """Ask every one again."""
        self.asked = self._all
        self.around = [each for each in self.asked if not each.only_reads]
        """Those that have something to do before and after a round."""
        self.asleep: dict[str, str] = {}
        """Metrics of those that are not asked, and why they have none."""
        self.alarms: set[str] = set()
        """Modules whose import may change that."""

    def let_sleep(self, instrument: GuardedInstrument, given: NothingRead, until: str) -> None:
        """Do not ask one again that has nothing to measure here."""
        self.asked = [each for each in self.asked if each is not instrument]
        self.around = [each for each in self.around if each is not instrument]
        self.asleep |= given.reasons
        if until:
            self.alarms.add(until)


class SharedInstruments:
    """The instruments of this process for all models that live in it."""

    def __init__(self) -> None:
        self._built: Instruments | None = None

    def of(self, registry: Registry) -> Instruments:
        """Those of the session's registry, built when they are asked for first.

        :raises ConfigError: if one cannot be used.
        """
        if self._built is None:
            self._built = Instruments(registry)
        return self._built


class Probe:
    """All instruments around one inference, round after round. Used from one thread; one round at a time.

    The built-in instruments share one :class:`~pytest_llmci.measure.region.Region`; those of plugins are started before
    it and stopped after it, so that what they cost is not measured.
    """

    def __init__(
        self, registry: Registry, *, meter: Meter = PROCESS_METER, instruments: Instruments | None = None
    ) -> None:  # fmt: skip
        """Build the instruments.

        :param registry: the session's names; the built-in instruments are used whether or not it lists them.
        :param instruments: those of this process, where another model of it has had them built.
        :raises ConfigError: if a registered instrument cannot be used.
        """
        self._meter = meter
        self._memory = MemoryInstrument()
        self._instruments = instruments or Instruments(registry)
        self._region = Region(meter)

    def start(self) -> None:
        """Begin a round. Nothing that belongs to the round may stand between this and the request."""
        instruments = self._instruments
        for module in instruments.alarms:
            if module in sys.modules:
                instruments.wake()
                break
        for plugin in instruments.around:
            plugin.failure = ""
            try:
                plugin.instrument.start()
            except Exception as error:  # noqa: BLE001  # foreign code: a round is not lost to somebody's extra instrument
                plugin.fail(error)
        self._region = region = Region(self._meter)
        region.begin()

    def stop(self) -> None:
        """End the round, whether it succeeded or raised.

        :raises MeasurementError: without a :meth:`start` before it.
        """
        try:
            self._region.end()
        finally:
            for plugin in reversed(self._instruments.around):
                if plugin.failure:
                    continue
                try:
                    plugin.instrument.stop()
                except Exception as error:  # noqa: BLE001  # as above
                    plugin.fail(error)

    def read(self, *, wall_ns: int, token_ns: tuple[int, ...], completion: Completion, threads: int) -> ProbeReading:
        """The numbers of the round that was stopped last; done when time no longer counts.

        :param wall_ns: from the request to the return of the call, in nanoseconds.
        :param token_ns: time to the first token, then the gap before each further one.
        :param completion: what the inference produced.
        :param threads: CPU threads that may compute; 0 where it is not known.
        :raises MeasurementError: if no round has been stopped.
        """
        figures = self._region.figures()
        facts = RoundFacts(
            wall_ns=wall_ns,
            token_ns=token_ns,
            completion=completion,
            threads=threads,
            run_delay_ns=figures.run_delay_ns,
        )
        instruments = self._instruments
        reasons = instruments.asleep.copy()
        values = _set_apart(
            {
                **latency_values(facts),
                **self._memory.read(figures),
                **cpu_values(figures.cpu_ns, figures.wall_ns),
                "net_time": net_time(wall_ns, figures.run_delay_ns, threads),
                **noise_values(figures),
            },
            reasons,
        )
        for plugin in instruments.asked:
            if not plugin.failure:
                try:
                    given = plugin.instrument.read(facts)
                    if not plugin.is_built_in:
                        given = plugin.checked(given)
                    elif isinstance(given, NothingRead):
                        if given.until is not None:
                            instruments.let_sleep(plugin, given, given.until)
                        reasons.update(given.reasons)
                        continue
                    values.update(_set_apart({**given}, reasons))
                    continue
                except Exception as error:  # noqa: BLE001  # as above
                    plugin.fail(error)
            _set_apart({**plugin.nothing()}, reasons)
        return _reading(values, reasons, wall_ns, figures)


# ------------------------------------------------------------------------------------------------------- for any code

WALL_TIME: Final = MetricDef(
    name="wall_time",
    unit="s",
    direction="lower",
    stored="ns",
    group="time",
    definition="Time from the begin of the block to its end.",
    source="perf_counter_ns",
)
_DEFS: Final[dict[str, MetricDef]] = {
    metric.name: metric
    for metric in (WALL_TIME, *CpuInstrument.metrics, *MemoryInstrument.metrics, *NoiseInstrument.metrics)
    if metric.name != "net_time"  # nobody knows how many threads any code uses
}


def _read_region(region: Region) -> ProbeReading:
    figures = region.figures()
    wall_ns = figures.wall_ns
    wall = wall_ns if wall_ns >= 0 else CLOCK_WENT_BACK
    found: dict[str, Reading] = {
        "wall_time": wall,
        **cpu_values(figures.cpu_ns, wall_ns),
        **memory_values(figures.peak_rss, figures.rss_before, figures.memory_method),
        **noise_values(figures),
    }
    reasons: dict[str, str] = {}
    return _reading(_set_apart(found, reasons), reasons, wall_ns, figures)


class Measured:
    """What a block of code took. Numbers are SI; one that could not be measured is a ``Missing`` that knows why.

    Known only after the block has ended: reading one before raises :class:`~pytest_llmci.errors.MeasurementError`.
    """

    __slots__ = ("_data", "_region")

    _data: ProbeReading | None
    _region: Region | None

    wall_time: Number
    """Seconds from the begin of the block to its end."""
    cpu_time: Number
    """Seconds of CPU time, all threads of the process, without children."""
    cpu_cores_used: Number
    """CPU time divided by wall time."""
    cpu_percent: Number
    """Cores used, in per cent of the cores that the process may use."""
    peak_rss: Number
    """Highest resident memory of the process during the block, in bytes; child processes are not in it."""
    rss_before: Number
    """Resident memory at the begin, in bytes."""
    peak_rss_delta: Number
    """``peak_rss - rss_before``, in bytes."""
    peak_rss_resolution: Number
    """How far ``peak_rss`` may be off at most, in bytes; missing for a sampler, whose error has no bound."""
    memory_method: str
    """``hwm``, ``sampler`` or ``lifetime``; empty where no peak is known."""
    run_delay: Number
    """Seconds that the thread was ready to run and had no CPU."""
    involuntary_switches: Number
    """Times that a thread of the process lost its CPU."""
    major_faults: Number
    """Pages that were read from disk."""
    steal: Number
    """Seconds of CPU time that the hypervisor gave to others, over all CPUs."""
    noisy: str
    """Why the block counts as disturbed; empty if it does not."""

    def __init__(self, region: Region | None = None, data: ProbeReading | None = None) -> None:
        """Built by those who measure; empty until its region has ended, or until :meth:`adopt`."""
        self._region = region
        self._data = data

    def __getattr__(self, name: str) -> Number | str:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in _READERS:
            raise AttributeError(_unknown(name))
        data = self.reading()
        if name == "noisy":
            return data.noisy
        if name == "memory_method":
            return data.memory_method
        if name == "peak_rss_resolution":
            return _resolution(data)
        if name in data.values:
            return _DEFS[name].to_si(data.values[name])
        return Missing(data.reasons.get(name, "it was not measured"))

    def __dir__(self) -> list[str]:
        return [*_READERS, "adopt", "from_json", "reading", "to_json"]

    def __repr__(self) -> str:
        if self._data is None and (self._region is None or not self._region.ended):
            return f"<{type(self).__name__}: the block has not ended>"
        data = self.reading()
        known = [f"{name}={_shown(_DEFS[name], value)}" for name, value in data.values.items()]
        return f"<{type(self).__name__}: {', '.join(known + [f'{name}=n/a' for name in data.reasons])}>"

    def reading(self) -> ProbeReading:
        """All of it as stored: times in nanoseconds.

        :raises MeasurementError: if the block has not ended.
        """
        # Built at the first look, not at the end of the block: arithmetic between two blocks is nobody's time.
        if self._data is None:
            if self._region is None:
                raise MeasurementError("the measured block has not ended: read its numbers after the 'with' block")
            self._data = _read_region(self._region)
            self._region = None
        return self._data

    def adopt(self, other: Measured) -> None:
        """Become what was measured elsewhere, as by the instruments in a model's process.

        :raises MeasurementError: if the other's block has not ended.
        """
        self._data = other.reading()

    def to_json(self) -> dict[str, Any]:
        """Plain data that :meth:`from_json` reads in another process.

        :raises MeasurementError: if the block has not ended.
        """
        return to_json(self.reading())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measured:
        """What :meth:`to_json` wrote.

        :raises StoreError: if it is something else.
        """
        reading = from_json(ProbeReading, data)
        unknown = (reading.values.keys() | reading.reasons.keys()) - _DEFS.keys()
        if unknown:
            raise StoreError(f"Measured: unknown quantity '{min(unknown)}'.")
        return cls(None, reading)


_READERS: Final = tuple(Measured.__annotations__.keys() - {"_data", "_region"})


def _shown(metric: MetricDef, stored: float) -> str:
    return format_quantity(metric.to_si(stored), metric.unit)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _READERS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"a measured block has no '{name}'.{hint} Known: {', '.join(sorted(_READERS))}."


def _resolution(data: ProbeReading) -> Number:
    if "peak_rss" not in data.values:
        return Missing(data.reasons.get("peak_rss", "the peak was not measured"))
    if data.peak_rss_resolution_bytes is None:
        return Missing("a sampler may miss a short spike altogether: its error has no bound")
    return data.peak_rss_resolution_bytes


@dataclass(slots=True)
class profile:  # noqa: N801  # used like a function: with profile() as measured
    """Measure any code in this process: ``with profile() as measured: ...``.

    Gives a :class:`Measured` whose numbers can be read after the block, also when the block raised. Blocks may be
    nested, and an object may be used for one block after another. The garbage collector is off inside. What a forked
    child does is not in it. Two threads that measure at once share one high-water mark: their peaks are missing, with
    that reason.
    """

    meter: Meter = field(default=PROCESS_METER, repr=False, kw_only=True)
    """Keeper of the process's high-water mark; another one only in tests."""
    _region: Region | None = field(default=None, init=False, repr=False)
    _measured: Measured | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Measured:
        if self._region is not None:
            raise MeasurementError("this profile() is in use; nest another one")
        region = Region(self.meter)
        measured = self._measured = Measured(region)
        self._region = region
        try:
            region.begin()
        except BaseException:
            self._region = None
            raise
        return measured

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        region = self._region
        if region is None:
            raise MeasurementError("this profile() was not entered")
        self._region = None
        region.end()

    @property
    def measured(self) -> Measured:
        """What the last block took.

        :raises MeasurementError: if there was none.
        """
        if self._measured is None:
            raise MeasurementError("this profile() was not entered")
        return self._measured


class MeasuredCall(Measured, Generic[T]):
    """What a call took, and what it returned."""

    __slots__ = ("value",)

    value: T
    """What the function returned."""

    def __init__(self, region: Region, value: T) -> None:
        super().__init__(region)
        self.value = value


def llm_profile(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> MeasuredCall[T]:
    """Measure one call: ``llm_profile(work, 1, key=2).cpu_time``.

    :returns: the numbers, with what the function returned as ``value``; what it raises comes through.
    :raises MeasurementError: if it returned a coroutine or generator, of which nothing has run yet.
    """
    region = Region()
    region.begin()
    try:
        value = fn(*args, **kwargs)
    finally:
        region.end()
    if isinstance(value, (types.CoroutineType, types.GeneratorType)):
        value.close()
        raise MeasurementError(
            f"llm_profile: {getattr(fn, '__name__', fn)} returned a {type(value).__name__} of which nothing has run;"
            " measure the code that runs it with 'with profile():'."
        )
    return MeasuredCall(region, value)
