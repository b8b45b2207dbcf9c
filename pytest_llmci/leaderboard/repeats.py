"""Models that stand in several rows, as evaluated in another precision or at another commit: which row counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from .table import Entry

RULE: Final = "the one in 16 or 32 bits, of those the newest, else the lower average"
"""Which row of a repeated model is kept, for people. The highest would be chosen by luck."""
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_FULL: Final = ("float16", "bfloat16", "float32", "fp16", "bf16", "fp32", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """A model with several rows."""

    model: str
    kept: Entry
    others: tuple[Entry, ...]

    @property
    def spread(self) -> float | None:
        """Between the highest and the lowest average; None where fewer than two rows have one."""
        averages = [entry.average for entry in (self.kept, *self.others) if entry.average is not None]
        return max(averages) - min(averages) if len(averages) > 1 else None


def same_model(name: str) -> str:
    """Names that differ in case alone are one repository on the hub."""
    return name.casefold()


def find_repeated(entries: Iterable[Entry]) -> list[Repeated]:
    """Every model that has more than one row, in the order of the file."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(same_model(entry.model), []).append(entry)
    return [
        Repeated(
            model=group[0].model, kept=(kept := choose(group)), others=tuple(entry for entry in group if entry is not kept)
        )
        for group in groups.values()
        if len(group) > 1
    ]  # fmt: skip


def choose(entries: Sequence[Entry]) -> Entry:
    """The row of a model that counts, by :data:`RULE`."""
    return max(entries, key=_preference)


def _preference(entry: Entry) -> tuple[bool, bool, datetime, float, int]:
    return (
        entry.average is not None,
        is_full_precision(entry.precision),
        entry.time or _LONG_AGO,
        -(entry.average if entry.average is not None else 0.0),
        -entry.line,
    )


def is_full_precision(precision: str) -> bool:
    """Whether a model was evaluated with the weights that it has; where nothing is said, it was."""
    return precision.strip().casefold().removeprefix("torch.") in _FULL


def one_a_model(entries: Iterable[Entry]) -> list[Entry]:
    """Each model once, in the order of the file."""
    entries = list(entries)
    dropped = {id(entry) for repeated in find_repeated(entries) for entry in repeated.others}
    return [entry for entry in entries if id(entry) not in dropped]
