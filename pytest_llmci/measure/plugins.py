"""Instruments of other packages: found, checked, and kept from spoiling a round by their own failure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, Protocol, cast

from ..errors import ConfigError
from ..metrics import MetricDef
from ..records import Missing
from ..registry import Registry
from . import FUSED, INSTRUMENTS
from .base import Instrument, Reading, nothing_to_note


class InstrumentFactory(Protocol):
    """The class of an instrument."""

    metrics: tuple[MetricDef, ...]

    def __call__(self) -> Instrument: ...


_OURS: Final = frozenset(entry.target.partition(":")[0] for entry in INSTRUMENTS)


def plugin_instruments(registry: Registry) -> Iterator[tuple[str, InstrumentFactory]]:
    """The registered instruments that are not fused, by name.

    :raises ConfigError: if one is no instrument.
    :raises MissingExtraError: if one needs a package that is not installed.
    """
    fused = {entry.target for entry in FUSED}
    for entry in registry.entries("instrument"):
        if entry.target in fused:
            continue
        found = registry.load("instrument", entry.name, "instruments")
        metrics = getattr(found, "metrics", None)
        if (
            not callable(found)
            or not isinstance(metrics, tuple)
            or not all(isinstance(each, MetricDef) for each in metrics)
        ):
            raise ConfigError(
                f"instrument '{entry.name}': {entry.target} must be a class with 'metrics', a tuple of MetricDef;"
                " see pytest_llmci.measure.base.Instrument."
            )
        yield entry.name, cast("InstrumentFactory", found)


def _only_reads(factory: InstrumentFactory) -> bool:
    return all(getattr(factory, step, None) is nothing_to_note for step in ("start", "stop"))


class GuardedInstrument:
    """An instrument whose failure makes its own metrics missing, and nothing else: who calls it catches what it raises."""

    def __init__(self, name: str, factory: InstrumentFactory) -> None:
        """Build the instrument.

        :raises ConfigError: with what it raised.
        """
        self.name = name
        self._metrics = tuple(metric.name for metric in factory.metrics)
        self.is_built_in = getattr(factory, "__module__", "") in _OURS
        """Whether it gives what it declares, so that its numbers need no check."""
        self.only_reads = _only_reads(factory)
        """Whether it has nothing to do around a round."""
        self.failure = ""
        """Why it tells nothing of this round; empty if it does."""
        try:
            self.instrument = factory()
        except Exception as error:
            raise ConfigError(f"instrument '{name}' cannot be built: {type(error).__name__}: {error}") from error

    def fail(self, error: Exception) -> None:
        """Its metrics are missing in this round."""
        self.failure = f"instrument '{self.name}' failed: {type(error).__name__}: {error}"

    def checked(self, given: Mapping[str, Reading]) -> Mapping[str, Reading]:
        """A reading of each metric that it declares, and no other one."""
        return {name: self._checked(given.get(name)) for name in self._metrics}

    def nothing(self) -> Mapping[str, Reading]:
        """Why each of its metrics is missing; the next round may succeed."""
        failure, self.failure = self.failure, ""
        return dict.fromkeys(self._metrics, Missing(failure))

    def _checked(self, value: Reading | None) -> Reading:
        if isinstance(value, Missing):
            return value
        if value is None:
            return Missing(f"instrument '{self.name}' gave no value")
        if type(value) not in {int, float} or not math.isfinite(value):  # a bool is no measurement
            return Missing(f"instrument '{self.name}' gave {value!r}, which is not a number")
        return value
