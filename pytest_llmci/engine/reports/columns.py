"""The numbers of a run, packed: eight bytes a number, whatever its size."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

from ...metrics import MetricDef, Scope
from ...quick_records import quickly_made
from ...records import ErrorInfo, Provenance, RoundsRecord


class MetricTable:
    """The metrics of a run, and the layouts in which blocks hold their numbers: blocks of one kind share one."""

    __slots__ = ("_last", "_layouts", "_reasons", "defs", "in_ns", "text")

    def __init__(self, defs: Iterable[MetricDef]) -> None:
        self.defs = {definition.name: definition for definition in defs}
        self.in_ns = frozenset(definition.name for definition in self.defs.values() if definition.stored == "ns")
        """Metrics in nanoseconds, which are divided to become SI."""
        self._layouts: dict[tuple[str, ...], dict[str, int]] = {}
        self._reasons: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        self._last: dict[str, str] = {}
        self.text: Callable[[str], str] = _Texts().__getitem__
        """Gives the same object for equal texts: ids come again in every line."""

    def leave_out(self, scope: Scope) -> None:
        """Forget the metrics of a scope, of which the run has none."""
        self.defs = {name: metric for name, metric in self.defs.items() if metric.scope != scope}

    def layout(self, names: tuple[str, ...]) -> dict[str, int]:
        """Metric -> position; the same object for the same names."""
        layout = self._layouts.get(names)
        if layout is None:
            layout = self._layouts[names] = {name: position for position, name in enumerate(names)}
        return layout

    def reasons(self, reasons: dict[str, str]) -> dict[str, str]:
        """The same object for equal reasons, of which there are few in a run."""
        if reasons != self._last:  # mostly they are those of the block before, in the same order
            self._last = self._reasons.setdefault(tuple(reasons.items()), reasons)
        return self._last


class _Texts(dict[str, str]):
    """Each text under itself, without a call of a function of ours for those that are there."""

    def __missing__(self, text: str) -> str:
        self[text] = text
        return text


_NO_VARIABLES: Final[dict[str, str]] = {}  # one for all blocks: there may be a million


@quickly_made
@dataclass(frozen=True, slots=True)
class Block:
    """One block of rounds as a report keeps it. What the fields hold is said at :class:`~pytest_llmci.records.RoundsRecord`."""

    uid: str
    cell: str
    model: str
    prompt_id: str
    prompt: str
    test: str
    attempt: int
    origin: Literal["measured", "memory", "call", "reference", "sample"]
    worker: str
    first_round: int
    n: int
    outputs: tuple[str, ...]
    md5: tuple[str, ...]
    output_sha256: tuple[str, ...]
    output_of_round: tuple[int, ...]
    finish_reasons: tuple[str, ...]
    noisy: tuple[str, ...]
    reasons: dict[str, str]
    error: ErrorInfo | None
    layout: dict[str, int]
    """Metric -> its position among the columns in ``numbers``."""
    numbers: array[float]
    """As stored, one column of ``n`` after the other; NaN where a round has none."""
    gaps: bool
    """True if there is such a round."""
    seed: int
    provenance: Provenance
    templated: bool
    variables: dict[str, str]
    pair: int | None = None
    load: str = ""
    repeats: int = 1
    warmup_failed: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: RoundsRecord, table: MetricTable) -> Block:
        """Pack a record."""
        flat: list[Any] = [*chain.from_iterable(record.values.values())]
        gaps = None in flat
        numbers = array("d", [math.nan if value is None else value for value in flat] if gaps else flat)
        text = table.text
        return cls(
            record.uid, text(record.cell), text(record.model), text(record.prompt_id), text(record.prompt), text(record.test),
            record.attempt, record.origin, text(record.worker), record.first_round, record.n, tuple(record.outputs),
            tuple(record.md5), tuple(record.output_sha256), tuple(record.output_of_round),
            tuple(map(text, record.finish_reasons)), tuple(map(text, record.noisy)), table.reasons(record.reasons),
            record.error, table.layout(tuple(record.values)), numbers, gaps, record.generation.seed, record.provenance,
            record.templated, record.variables or _NO_VARIABLES, record.pair, text(record.load), record.repeats,
            tuple(record.warmup_failed),
        )  # fmt: skip

    def column(self, metric: str) -> list[float | None]:
        """The numbers of a metric as stored, one a round; None where it is missing."""
        position = self.layout.get(metric)
        if position is None:
            return [None] * self.n
        part: list[float | None] = self.numbers[position * self.n : (position + 1) * self.n].tolist()  # type: ignore[assignment]  # without gaps it holds no None
        return [None if value is None or math.isnan(value) else value for value in part] if self.gaps else part


class Columns:
    """The numbers of some blocks one behind the other."""

    __slots__ = ("_blocks", "_in_ns", "reasons", "rounds")

    def __init__(self, table: MetricTable) -> None:
        self._in_ns = table.in_ns
        self._blocks: tuple[Block, ...] = ()
        self.rounds = 0
        """Measured rounds taken; those of a memory pass are not counted."""
        self.reasons: dict[str, str] = {}
        """Metric -> why it is missing, where it is missing in any round."""

    @property
    def in_ns(self) -> frozenset[str]:
        """Metrics that blocks hold in nanoseconds."""
        return self._in_ns

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Whose numbers these are, in the order of measuring; those of a memory pass among them."""
        return self._blocks

    def add(self, block: Block) -> None:
        """Take the numbers of a block."""
        self._blocks += (block,)
        if block.origin == "measured":
            self.rounds += block.n
        if not self.reasons:
            self.reasons = block.reasons
        elif block.reasons is not self.reasons:
            self.reasons = {**block.reasons, **self.reasons}

    def values(self, metric: str) -> list[float]:
        """What was measured of a metric, in SI and in the order of measuring; missing rounds are left out."""
        found = [value for block in self._blocks for value in block.column(metric) if value is not None]
        return [value / 1e9 for value in found] if metric in self._in_ns else found

    def samples(self) -> dict[str, list[float]]:
        """Metric -> :meth:`values`, for every metric that any round has: all of them in one go."""
        found: dict[str, list[float]] = {}
        in_ns = self._in_ns
        for block in self._blocks:
            n, flat = block.n, block.numbers.tolist()
            if n == 1 and not block.gaps:  # by far the most frequent case in a wide matrix
                for name, stored in zip(block.layout, flat, strict=True):
                    value = stored / 1e9 if name in in_ns else stored
                    if name in found:
                        found[name].append(value)
                    else:
                        found[name] = [value]
                continue
            for name, position in block.layout.items():
                part = flat[position * n : position * n + n]
                if block.gaps:
                    part = [value for value in part if not math.isnan(value)]
                if name in in_ns:
                    part = [value / 1e9 for value in part]
                if name in found:
                    found[name] += part
                else:
                    found[name] = part
        return found

    def one_round(self) -> Block | None:
        """The block, where there is one alone and it is a single round that has every number of its layout."""
        blocks = self._blocks
        return blocks[0] if len(blocks) == 1 and blocks[0].n == 1 and not blocks[0].gaps else None


def samples_of(parts: Sequence[Columns]) -> dict[str, list[float]]:
    """Metric -> its values in SI over all parts, in their order, for every metric that any of them has."""
    blocks = [part.one_round() for part in parts]
    first = blocks[0] if blocks else None
    if first is not None and all(block is not None and block.layout is first.layout for block in blocks):
        in_ns = parts[0].in_ns  # the case of a wide matrix: a table that is turned round
        rows = zip(*[block.numbers.tolist() for block in blocks if block is not None], strict=True)
        return {
            name: [value / 1e9 for value in row] if name in in_ns else list(row)
            for name, row in zip(first.layout, rows, strict=True)
        }
    found: dict[str, list[float]] = {}
    for part in parts:
        for name, values in part.samples().items():
            if name in found:
                found[name] += values
            else:
                found[name] = values
    return found
