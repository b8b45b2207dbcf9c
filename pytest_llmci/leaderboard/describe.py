"""What a leaderboard holds: the descriptive statistics, the correlations, what is missing and what stands there twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..registry import missing_package
from .repeats import Repeated, find_repeated, one_a_model
from .sizes import common_factor, contradictions
from .table import Entry, Leaderboard

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTRA: Final = "pytest-llmci[report]"
STATISTICS: Final = ("mean", "std", "min", "25%", "50%", "75%", "max")
"""Of a column, as pandas names them: ``std`` of a sample, quartiles by linear interpolation."""
LEAST_PAIRS: Final = 3
"""Rows below which a correlation says nothing: any two points lie on a line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """The numbers of one column over the rows that have one."""

    title: str
    n: int
    missing: int
    statistics: dict[str, float]
    """Statistic -> number; what the sample cannot carry is left out, as all is where nothing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """Pearson's r of two columns over the rows that have both."""

    one: str
    other: str
    n: int
    r: float | None
    """None for fewer than three rows, or where one of the columns is constant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """All that is told of a leaderboard."""

    board: Leaderboard
    entries: tuple[Entry, ...]
    """The rows that are described."""
    models: int
    """Different ones among all rows of the file."""
    columns: tuple[Column, ...]
    correlations: tuple[Correlation, ...]
    """Each pair of columns once."""
    missing: dict[str, tuple[Entry, ...]]
    """Title of a column of numbers, or the role of one of texts, such as ``license`` -> the rows that have nothing in it."""
    repeated: tuple[Repeated, ...]
    wrong_sizes: tuple[tuple[Entry, float], ...]
    """Rows whose size is not what the model's name says, with that."""
    size_factor: float | None
    """By which the names exceed the file throughout, if they do."""
    size_r_with_zeros: float | None
    """r of size and average if an unknown size counted as 0, as a plain spreadsheet has it; None where none is unknown."""

    def correlation(self, one: str, other: str) -> Correlation | None:
        """That of two columns, in either order."""
        return next((each for each in self.correlations if {each.one, each.other} == {one, other}), None)


def numbers(entry: Entry, board: Leaderboard) -> dict[str, float | None]:
    """Title -> value, for each column of numbers that the board has."""
    found = {board.average: entry.average, **{name: entry.scores.get(name) for name in board.benchmarks}}
    if board.size:
        found[board.size] = entry.size_b
    if board.likes:
        found[board.likes] = entry.likes
    return found


def describe(board: Leaderboard, *, unique: bool = False) -> Description:
    """Describe a leaderboard.

    :param unique: each model once, by :data:`~pytest_llmci.leaderboard.repeats.RULE`; else every row counts.
    :raises MissingExtraError: without pandas.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise missing_package("llmci leaderboard describe", error.name or "pandas", EXTRA) from error
    entries = one_a_model(board.entries) if unique else list(board.entries)
    frame = pandas.DataFrame([numbers(entry, board) for entry in entries], dtype=float)
    wrong = contradictions(entries, board)
    repeated = find_repeated(board.entries)
    return Description(
        board=board,
        entries=tuple(entries),
        models=len(board.entries) - sum(len(each.others) for each in repeated),
        columns=tuple(_column(frame[title], str(title)) for title in frame.columns),
        correlations=tuple(_correlations(frame)),
        missing=_missing(entries, board),
        repeated=tuple(repeated),
        wrong_sizes=tuple(wrong),
        size_factor=common_factor(wrong),
        size_r_with_zeros=_size_r_with_zeros(frame, board),
    )


def _column(series: Any, title: str) -> Column:
    told, n = series.describe(), int(series.count())
    found = {name: float(told[name]) for name in STATISTICS if n > 1 or (n and name != "std")}
    return Column(title=title, n=n, missing=len(series) - n, statistics=found)


def _correlations(frame: Any) -> list[Correlation]:
    titles = list(frame.columns)
    matrix = frame.corr(method="pearson", min_periods=LEAST_PAIRS)
    present = frame.notna().astype(int)
    pairs = present.T @ present
    return [
        Correlation(one=str(one), other=str(other), n=int(pairs.loc[one, other]), r=_finite(matrix.loc[one, other]))
        for number, one in enumerate(titles)
        for other in titles[number + 1 :]
    ]


def _finite(value: float) -> float | None:
    return float(value) if value == value else None  # noqa: PLR0124  # NaN alone differs from itself


def _size_r_with_zeros(frame: Any, board: Leaderboard) -> float | None:
    if not board.size or not frame[board.size].isna().any():
        return None
    return _finite(frame[board.size].fillna(0).corr(frame[board.average], min_periods=LEAST_PAIRS))


_TEXTS: Final[tuple[str, ...]] = ("type", "precision", "license", "revision")
"""Roles of columns of texts."""


def _missing(entries: Sequence[Entry], board: Leaderboard) -> dict[str, tuple[Entry, ...]]:
    values = [numbers(entry, board) for entry in entries]
    found = {
        title: tuple(entry for entry, own in zip(entries, values, strict=True) if own[title] is None)
        for title in values[0]
    }
    texts = {
        role: tuple(entry for entry in entries if not getattr(entry, role)) for role in _TEXTS if role in board.has
    }
    every: dict[str, tuple[Entry, ...]] = {**found, **texts}
    return {name: rows for name, rows in every.items() if rows}
