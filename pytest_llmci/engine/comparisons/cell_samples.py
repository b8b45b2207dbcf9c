"""What each side of a comparison measured of a cell, a number a sample; and how it is made of blocks of a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean, median
from typing import cast

from ...measure.memory import GROWTH
from ...metrics import MetricDef
from ...records import RoundsRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPass:
    """What one side's memory pass measured of one cell; nothing where there was none."""

    growth: tuple[float, ...] = ()
    """:data:`GROWTH` in bytes, one a round that has it."""
    methods: frozenset[str] = frozenset()

    def with_block(self, block: RoundsRecord) -> MemoryPass:
        """The same with what another block of the pass measured, unless it ended early."""
        if block.error is not None:
            return self
        more = [value for value in block.values.get(GROWTH, ()) if value is not None and isfinite(value)]
        return MemoryPass(growth=(*self.growth, *more), methods=self.methods | memory_methods([block]))


@dataclass(frozen=True, kw_only=True, slots=True)
class CellSamples:
    """What one side measured of one cell, a number a sample."""

    values: Mapping[str, list[float]]
    """Metric -> SI, in the order of measuring; metrics that any sample lacks are left out."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Metric -> why it was left out."""
    pairs: tuple[int, ...] = ()
    """The fresh pair of processes of each sample."""
    characters: float | None = None
    """Median length of the outputs, for models whose tokens nobody counts."""
    outputs: tuple[str, ...] = ()
    """sha256 of the distinct outputs, in the order of their first appearance."""
    memory_methods: frozenset[str] = frozenset()
    contended: bool = False
    anchor: str = ""
    """The frozen model that was timed beside the rounds; empty where there was none."""
    memory_pass: MemoryPass = field(default_factory=MemoryPass)

    @property
    def n(self) -> int:
        """How many samples there are."""
        return len(self.pairs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """One cell on both sides."""

    base: CellSamples
    candidate: CellSamples
    older: tuple[CellSamples, ...] = ()
    """For ``history``: what sessions before that of the base measured."""

    @property
    def sessions(self) -> tuple[CellSamples, ...]:
        """All stored sessions."""
        return (*self.older, self.base)


def samples_of(blocks: Sequence[RoundsRecord], metrics: Mapping[str, MetricDef]) -> CellSamples:
    """The numbers of whole blocks, rounds that make one sample together taken as their mean.

    :param metrics: those that are wanted and vary from round to round.
    """
    values: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for name, metric in metrics.items():
        columns = [_samples(block, name) for block in blocks]
        if any(column is None for column in columns):
            reasons[name] = next(
                (block.reasons[name] for block in blocks if name in block.reasons), f"{name} was not measured"
            )
        else:
            found = [value for column in columns for value in column or ()]
            values[name] = [value / 1e9 for value in found] if metric.stored == "ns" else found
    lengths = [len(block.outputs[place]) for block in blocks for place in block.output_of_round]
    return CellSamples(
        values=values,
        reasons=reasons,
        pairs=tuple(block.pair or 0 for block in blocks for _ in range(block.n // block.repeats)),
        characters=median(lengths) if lengths else None,
        outputs=tuple(dict.fromkeys(sha256 for block in blocks for sha256 in block.output_sha256)),
        memory_methods=memory_methods(blocks),
        contended=any(block.contended for block in blocks),
        anchor=anchor_of(block.anchor for block in blocks),
    )


def memory_methods(blocks: Iterable[RoundsRecord]) -> frozenset[str]:
    """How the peaks of several blocks were measured."""
    return frozenset(name for block in blocks for name in block.memory_method.split("+") if name)


def anchor_of(names: Iterable[str]) -> str:
    """The frozen model of several blocks; empty where any had none, or they had different ones."""
    found = set(names)
    return found.pop() if len(found) == 1 else ""


def _samples(block: RoundsRecord, metric: str) -> list[float] | None:
    """One number a sample; None if any sample has none. Of answers taken together those that could be measured count."""
    column = block.values.get(metric)
    if column is None:
        return None
    if block.repeats == 1:
        return None if None in column else cast("list[float]", column)
    found: list[float] = []
    for start in range(0, block.n, block.repeats):
        known = [value for value in column[start : start + block.repeats] if value is not None]
        if not known:
            return None
        found.append(fmean(known))
    return found


def met(
    base: Sequence[RoundsRecord], candidate: Sequence[RoundsRecord]
) -> tuple[list[RoundsRecord], list[RoundsRecord]]:
    """The blocks of those pairs of processes in which both sides finished equally many rounds."""
    whole = {block.pair: block for block in base if block.error is None and block.n}
    both = [
        (whole[block.pair], block)
        for block in candidate
        if block.error is None and block.pair in whole and whole[block.pair].n == block.n
    ]
    return [one for one, _ in both], [other for _, other in both]
