"""Reads a leaderboard from a CSV file: the Kaggle table, the Open LLM Leaderboard, or any table of models and scores.

Nothing is dropped or guessed in silence: what was assumed, and every kind of cell that could not be read, is a note.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from ..delimited import Line, read_table
from ..errors import ConfigError
from ..text import how_many, one_line
from .cells import parse_count, parse_flag, parse_score, parse_size, parse_time, plain_text
from .columns import Columns, find_columns
from .table import Entry, Leaderboard, Scale

NO_MODELS: Final = frozenset({"baseline", "random baseline", "human baseline", "human"})
"""Names of rows that boards show beside the models."""
MOST_SHOWN: Final = 3
"""Cells that a note quotes."""
INVERTED_FROM: Final = 20
"""Rows from which on a column may be seen to say the opposite of its title."""
T = TypeVar("T")


def read_leaderboard(path: Path, origin: str = "") -> Leaderboard:
    """Read a table of published scores.

    :param origin: the option that names the file, for messages; empty where the user named nothing else.
    :raises ConfigError: in one line, if the file cannot be read, is no table, or has no models or scores.
    """
    try:
        return _read(path)
    except ConfigError as error:
        if not origin:
            raise
        raise ConfigError(f"{origin}: {error}") from error


def _read(path: Path) -> Leaderboard:
    header, body = read_table(path, "a row a model")
    return _Reading(path, find_columns(header.cells, str(path))).table(body)


# ----------------------------------------------------------------------------------------------------------- the cells


class _Reading:
    """Turns rows into entries and keeps count of what could not be read."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._path = path
        self._columns = columns
        self._bad: dict[str, list[str]] = {}
        self._notes: list[str] = []

    def table(self, body: Sequence[Line]) -> Leaderboard:
        roles, columns = self._columns.roles, self._columns
        rows = self._of_models(body)
        if not rows:
            raise ConfigError(
                f"{self._path}: the column '{columns.title('model')}' is empty in every row; expected names."
            )
        scores, scale = self._scores(rows)
        flagged = self._flags(rows, "flagged")
        entries = [
            self._entry(row, own, is_flagged) for row, own, is_flagged in zip(rows, scores, flagged, strict=True)
        ]
        average = columns.title("average") if "average" in roles else "Average"
        if "average" not in roles:
            entries = [_averaged(entry, tuple(columns.scores)) for entry in entries]
            self._notes.append(
                f"no column of averages: computed from {_listed(list(columns.scores))} where a row has all of them"
            )
        sizes = [entry.size_b for entry in entries if entry.size_b is not None]
        self._note_sizes(rows, sizes)
        return Leaderboard(
            path=self._path,
            entries=tuple(entries),
            benchmarks=tuple(columns.scores),
            average=average,
            size=columns.title("size") if "size" in roles else "",
            likes=_likes(columns.title("likes")) if "likes" in roles else "",
            has=frozenset(roles),
            scale=scale,
            whole_sizes=bool(sizes) and all(size.is_integer() for size in sizes),
            not_read=columns.not_read,
            notes=(*self._notes, *self._bad_cells()),
        )

    def _of_models(self, body: Sequence[Line]) -> list[Line]:
        names = [plain_text(row.cells[self._columns.roles["model"]]) for row in body]
        nameless = [str(row.number) for row, name in zip(body, names, strict=True) if not name]
        if nameless:
            self._notes.append(
                f"{how_many(len(nameless), 'row')} without a model's name left out: line {_listed(nameless)}"
            )
        others = [
            f"'{name}' (line {row.number})"
            for row, name in zip(body, names, strict=True)
            if name.casefold() in NO_MODELS
        ]
        if others:
            self._notes.append(f"no model, left out: {_listed(others)}")
        return [row for row, name in zip(body, names, strict=True) if name and name.casefold() not in NO_MODELS]

    def _entry(self, row: Line, scores: dict[str, float], flagged: bool | None) -> Entry:
        return Entry(
            line=row.number,
            model=one_line(self._cell(row, "model")),
            average=scores.pop("", None),
            scores=scores,
            size_b=self._read(row, "size", lambda text: parse_size(text, self._columns.size_unit)),
            likes=self._read(row, "likes", parse_count),
            type=self._cell(row, "type"),
            precision=self._cell(row, "precision"),
            license=self._cell(row, "license").strip("[]'\" "),  # some exports hold Python lists
            revision=self._cell(row, "revision"),
            weights=self._cell(row, "weights"),
            time=parse_time(self._cell(row, "date")),
            on_hub=self._read(row, "on_hub", parse_flag),
            flagged=flagged,
            gated=self._read(row, "gated", parse_flag),
        )

    def _cell(self, row: Line, role: str) -> str:
        position = self._columns.roles.get(role)
        return "" if position is None else plain_text(row.cells[position])

    def _read(self, row: Line, role: str, parse: Callable[[str], T | None]) -> T | None:
        position = self._columns.roles.get(role)
        if position is None:
            return None
        return self._parsed(row, position, self._columns.title(role), parse)

    def _parsed(self, row: Line, position: int, title: str, parse: Callable[[str], T | None]) -> T | None:
        try:
            return parse(row.cells[position])
        except (ValueError, OverflowError):
            self._refuse(row, title, row.cells[position])
            return None

    def _refuse(self, row: Line, title: str, text: str) -> None:
        self._bad.setdefault(title, []).append(f"'{one_line(text)[:30]}' (line {row.number})")

    def _bad_cells(self) -> list[str]:
        return [
            f"{title}: {how_many(len(cells), 'cell')} cannot be read, counted as missing: {_listed(cells)}"
            for title, cells in self._bad.items()
        ]

    # ---------------------------------------------------------------------------------------------------------- scores

    def _scores(self, rows: Sequence[Line]) -> tuple[list[dict[str, float]], Scale]:
        """Title -> per cent for each row, the average under the empty title; and how the file writes them."""
        places = dict(self._columns.scores)
        if "average" in self._columns.roles:
            places[""] = self._columns.roles["average"]
        names = {title: title or self._columns.title("average") for title in places}
        read = {
            title: [self._parsed(row, position, names[title], parse_score) for row in rows]
            for title, position in places.items()
        }
        bare = {title: [cell[0] for cell in column if cell and not cell[1]] for title, column in read.items()}
        highest = max((max(values) for values in bare.values() if values), default=100.0)
        scale: Scale = "fraction" if highest <= 1 else "per cent"
        if scale == "fraction" and any(any(values) for values in bare.values()):
            self._notes.append("no score is above 1: read as fractions and shown in per cent")
        small = [names[title] for title, values in bare.items() if len(values) > 1 and 0 < max(values) <= 1]
        if scale == "per cent" and small:
            self._notes.append(f"{_listed(small)}: no value above 1, where others go to {highest:g}; read as per cent")
        found: list[dict[str, float]] = [{} for _ in rows]
        for title, column in read.items():
            for row, own, cell in zip(rows, found, column, strict=True):
                value = None if cell is None else cell[0] if cell[1] or scale == "per cent" else round(cell[0] * 100, 9)
                if value is None:
                    continue
                if 0 <= value <= 100:
                    own[title] = value
                else:
                    self._refuse(row, names[title], row.cells[places[title]])
        return found, scale

    # ----------------------------------------------------------------------------------------------------- other notes

    def _flags(self, rows: Sequence[Line], role: str) -> list[bool | None]:
        """A column of exceptions. The archive of the Open LLM Leaderboard writes True for what is *not* flagged."""
        said = [self._read(row, role, parse_flag) for row in rows]
        yes, given = sum(value is True for value in said), sum(value is not None for value in said)
        if given < INVERTED_FROM or yes <= 0.9 * given:
            return said
        self._notes.append(
            f"{self._columns.title(role)} is true in {yes:,} of {given:,} rows: read as 'not {role}', which leaves {given - yes:,}"
        )
        return [None if value is None else not value for value in said]

    def _note_sizes(self, rows: Sequence[Line], sizes: Sequence[float]) -> None:
        if "size" not in self._columns.roles:
            return
        title, unknown = self._columns.title("size"), len(rows) - len(sizes)
        if unknown:
            self._notes.append(
                f"{title}: {how_many(unknown, 'row')} with 0, less or nothing, which boards write where they do not know; counted as"
                " missing"
            )
        if sizes and all(size.is_integer() for size in sizes) and max(sizes) > 1:
            self._notes.append(f"{title}: whole billions only, so that 6 stands for anything from 6 up to 7")


def _likes(title: str) -> str:
    return title if "like" in title.casefold() else f"{title} likes"  # the hub's own title ends in a heart


def _averaged(entry: Entry, benchmarks: tuple[str, ...]) -> Entry:
    if any(name not in entry.scores for name in benchmarks):
        return entry
    return replace(entry, average=sum(entry.scores.values()) / len(benchmarks))


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - MOST_SHOWN
    return ", ".join(texts[:MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
