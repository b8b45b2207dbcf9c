"""What a metric is. The definitions themselves stand beside the instruments that measure them, in ``measure/``.

Metadata travels with the data: the header of every log carries the ``MetricDef``s in force, so budgets, statistics, sinks
and the CLI read unit and direction from there and never import ``measure/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from .units import Unit

Direction = Literal["lower", "higher", "none"]
Scope = Literal["round", "memory", "worker", "task", "load"]
"""One value a measured round; a round of the separate memory pass; a start of the model's process; a benchmark task; a run of many
requests under load."""
STATISTICS = ("n", "min", "median", "mean", "std", "p90", "p95", "p99", "max")
"""The statistics that a budget, an attribute or a column may name."""
BESIDE: Final[Mapping[str, str]] = {"cpu_time": "anchor_cpu_time", "net_time": "anchor_net_time"}
"""Time of a round -> the time of the same kind of the frozen model beside it (``--llmci-anchor``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricDef:
    """Name, unit and meaning of one measured quantity."""

    name: str
    """As users write it everywhere: marker, attribute, budget, column. Lower case, ``[a-z][a-z0-9_]*``."""
    unit: Unit
    """SI unit in which the API, the budgets and the CSV columns speak."""
    direction: Direction
    """Which way is better; ``none`` is never gated by itself and never called best."""
    definition: str
    """One sentence: what it is."""
    excludes: str = ""
    """What one might expect to be in it and is not."""
    source: str = ""
    """The system interface or event it is read from."""
    stored: Literal["ns", "si"] = "si"
    """``ns``: integer nanoseconds in the log; ``si``: the SI value itself."""
    deterministic: bool = False
    """True where equal runs give equal numbers (tokens, bytes of tensors, peak memory): limits compare directly."""
    scope: Scope = "round"
    label: str = ""
    """Short column heading for people; the name where empty."""
    group: str = "other"
    """Heading under which docs and reports list it."""

    @property
    def of_rounds(self) -> bool:
        """Whether rounds have it: those under the schedule, also under load, or those of the memory pass."""
        return self.scope in ("round", "memory", "load")

    @property
    def is_compared(self) -> bool:
        """Whether both sides of a comparison have one value a round."""
        return self.scope in ("round", "load")

    @property
    def heading(self) -> str:
        """Column heading for people."""
        return self.label or self.name.replace("_", " ")

    def to_si(self, stored: float) -> float:
        """The SI value of a number as the log stores it."""
        return stored / 1e9 if self.stored == "ns" else stored
