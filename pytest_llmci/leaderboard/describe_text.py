"""The description of a leaderboard as lines for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ..records import Json, JsonObject
from ..text import how_many, one_line, shortened, shown_path, wrapped
from .describe import STATISTICS, Column, Correlation, Description
from .repeats import RULE
from .sizes import format_size

MOST_MISSING: Final = 2
MOST_NAMED: Final = 5
"""Models that are named of a kind of fault; JSON has all."""
_WIDTH: Final = 110


def description_lines(found: Description) -> list[str]:
    """The table, the correlations, and what is missing, repeated or contradictory."""
    board = found.board
    rows, used = len(board.entries), len(found.entries)
    head = f"{shown_path(board.path)}: {how_many(rows, 'row')}, {how_many(found.models, 'model')}; scores in per cent"
    lines = wrapped(head + (f"; {how_many(used, 'row')} described, each model once" if used < rows else ""), _WIDTH)
    lines += ["", *_statistics(found.columns), "", *_correlations(found), *_size_and_average(found)]
    lines += ["", *_missing(found), *_repeated(found), *_wrong_sizes(found)]
    notes = [*board.notes, *([f"columns not read: {', '.join(board.not_read)}"] if board.not_read else [])]
    for note in notes:
        lines += wrapped(f"note: {one_line(note)}", _WIDTH, rest="      ")
    return lines


# -------------------------------------------------------------------------------------------------------------- tables


def _statistics(columns: Sequence[Column]) -> list[str]:
    rows = [["column", "n", "missing", *STATISTICS]]
    rows += [
        [shortened(column.title, 24), f"{column.n:,}", f"{column.missing:,}", *map(_number, _in_order(column))]
        for column in columns
    ]
    return _aligned(rows)


def _in_order(column: Column) -> list[float | None]:
    return [column.statistics.get(name) for name in STATISTICS]


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.3f}" if abs(value) < 1000 else f"{value:,.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    return [
        row[0].ljust(widths[0])
        + "".join(f"  {cell.rjust(wide)}" for cell, wide in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _correlations(found: Description) -> list[str]:
    titles = [column.title for column in found.columns]
    if len(titles) < 2:
        return ["Correlations: none, as there is one column of numbers."]
    counts = [each.n for each in found.correlations]
    rows = f"{min(counts):,} to {max(counts):,}" if min(counts) < max(counts) else f"{counts[0]:,}"
    lines = [f"Correlations: Pearson's r over the rows that have both ({rows})"]
    table = [["", *(shortened(title, 13) for title in titles[:-1])]]
    for number, title in enumerate(titles[1:], 1):
        cells = [_r(found.correlation(other, title)) for other in titles[:number]]
        table.append([shortened(title, 24), *cells, *[""] * (len(titles) - 1 - number)])
    return lines + [line.rstrip() for line in _aligned(table)]


def _r(found: Correlation | None) -> str:
    return "n/a" if found is None or found.r is None else f"{found.r:+.2f}"


def _size_and_average(found: Description) -> list[str]:
    board = found.board
    pair = found.correlation(board.size, board.average) if board.size else None
    if pair is None or pair.r is None:
        return []
    text = f"{board.size} against {board.average}: r = {pair.r:.3f} over {how_many(pair.n, 'row')}"
    if found.size_r_with_zeros is not None:
        text += f" ({found.size_r_with_zeros:.3f} if an unknown size counted as 0, as in a plain spreadsheet)"
    return wrapped(text, _WIDTH, rest="  ")


# --------------------------------------------------------------------------------------------------------------- faults


def _missing(found: Description) -> list[str]:
    if not found.missing:
        return ["Missing: nothing"]
    lines = ["Missing:"]
    room = max(map(len, found.missing))
    for name, entries in found.missing.items():
        named = ", ".join(f"{entry.model} (line {entry.line})" for entry in entries[:MOST_MISSING])
        more = len(entries) - MOST_MISSING
        text = f"{how_many(len(entries), 'row')}: {named}{f' and {more:,} more' if more > 0 else ''}"
        lines += wrapped(text, _WIDTH, first=f"  {name.ljust(room)}  ", rest=" " * (room + 4))
    return lines


def _repeated(found: Description) -> list[str]:
    if not found.repeated:
        return ["Repeated: none"]
    more = sum(len(each.others) for each in found.repeated)
    lines = wrapped(
        f"Repeated: {how_many(len(found.repeated), 'model')} in several rows, {how_many(more, 'row')} too many; where one counts it is"
        f" {RULE}",
        _WIDTH, rest="  ",
    )  # fmt: skip
    furthest = sorted(found.repeated, key=lambda each: -(each.spread or 0))
    for each in furthest[:MOST_NAMED]:
        places = ", ".join(str(entry.line) for entry in sorted((each.kept, *each.others), key=lambda entry: entry.line))
        apart = f", averages {each.spread:.2f} apart" if each.spread is not None else ""
        lines.append(f"  {each.model}: lines {places}{apart}; line {each.kept.line} counts")
    return [*lines, *_more(len(found.repeated))]


def _wrong_sizes(found: Description) -> list[str]:
    wrong = found.wrong_sizes
    if not wrong:
        return []
    lines = [f"Sizes that contradict the name: {how_many(len(wrong), 'row')}"]
    if found.size_factor is not None:
        text = f"most names give {found.size_factor:.2f} times what {found.board.size} gives: that column is probably in another unit"
        lines += wrapped(text, _WIDTH, first="  ", rest="  ")
    lines += [
        f"  {entry.model} (line {entry.line}): {format_size(entry.size_b or 0)}, its name says {format_size(named)}"
        for entry, named in wrong[:MOST_NAMED]
    ]
    return [*lines, *_more(len(wrong))]


def _more(count: int) -> list[str]:
    return [f"  ... and {count - MOST_NAMED:,} more (--json names all)"] if count > MOST_NAMED else []


# ----------------------------------------------------------------------------------------------------------------- JSON


def description_json(found: Description, figures: Iterable[str]) -> JsonObject:
    """All of it, with every model that is named.

    :param figures: files that were drawn.
    """
    board = found.board
    notes: list[Json] = list(board.notes)
    files: list[Json] = list(figures)
    columns: dict[str, Json] = {
        column.title: {"n": column.n, "missing": column.missing, **column.statistics} for column in found.columns
    }
    missing: dict[str, Json] = {
        name: [{"model": entry.model, "line": entry.line} for entry in entries]
        for name, entries in found.missing.items()
    }
    return {
        "file": str(board.path),
        "rows": len(board.entries),
        "rows_described": len(found.entries),
        "models": found.models,
        "written_as": board.scale,
        "columns": columns,
        "correlations": [
            {"one": each.one, "other": each.other, "n": each.n, "r": each.r} for each in found.correlations
        ],
        "size_average_r_with_unknown_as_0": found.size_r_with_zeros,
        "missing": missing,
        "repeated": [
            {
                "model": each.model,
                "lines": [entry.line for entry in (each.kept, *each.others)],
                "counts": each.kept.line,
                "spread": each.spread,
            }
            for each in found.repeated
        ],
        "sizes_that_contradict_the_name": [
            {"model": entry.model, "line": entry.line, "file_b": entry.size_b, "name_b": named}
            for entry, named in found.wrong_sizes
        ],
        "size_factor": found.size_factor,
        "columns_not_read": list(board.not_read),
        "notes": notes,
        "figures": files,
    }
