"""What was measured under load, as the terminal shows it: one line a cell, the scenarios of a model together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ...load.scenario import in_words, parse_scenario, scenario_id
from ...records import LoadRecord, Missing, Number
from ...text import one_line, shortened, wrapped
from ...units import format_duration, format_rate
from .report import CellSummary, SessionReport

MOST_CELLS: Final = 50
NARROWEST_NAME: Final = 12
_TOKENS: Final = "tok/s"
_TOO_SLOW: Final = "the generator itself"


def under_load(report: SessionReport) -> list[CellSummary]:
    """The cells that were measured so."""
    return [cell for cell in report.cells if cell.load]


def load_lines(report: SessionReport, width: int) -> list[str]:
    """The table with its footnotes; empty where nothing was measured under load."""
    cells = under_load(report)
    if not cells:
        return []
    shown = [cell for cell in cells if cell.rounds][:MOST_CELLS]
    if not shown:
        return ["load: no run came to its end."]
    lines = ["", *_table(shown, width)]
    if len(cells) > MOST_CELLS:
        lines.append(f"... and {len(cells) - MOST_CELLS} more, in summary.csv")
    for text in _notes(report, shown):
        lines += wrapped(text, width, rest="  ")
    return lines


def load_rows(cells: Sequence[CellSummary]) -> tuple[list[str], list[list[str]]]:
    """The columns that these cells have numbers for, model and load first: their headings, and a row a cell."""
    columns: list[tuple[str, Callable[[CellSummary], str]]] = [
        ("model", lambda cell: one_line(cell.model)),
        ("load", _load_of),
        *([("max rate", _of("max_rate", format_rate))] if _any(cells, "max_rate") else []),
        ("req/s", _of("request_throughput", format_rate)),
        (_TOKENS, _of("output_throughput", format_rate)),
        ("latency", _of("request_latency_p50", format_duration)),
        ("p95", _of("request_latency_p95", format_duration)),
        ("1st token", _of("request_ttft_p50", format_duration)),
        *([("goodput", _of("goodput", format_rate))] if _any(cells, "goodput") else []),
        *([("errors", _of("error_rate", lambda value: f"{format_rate(value)} %"))] if _failed(cells) else []),
    ]
    return [title for title, _ in columns], [[read(cell) for _, read in columns] for cell in cells]


def _load_of(cell: CellSummary) -> str:
    """The scenario in words; of a test of its own also what was asked."""
    words = in_words(parse_scenario(cell.load, "log"))
    return (
        words
        if cell.id.removeprefix(f"{cell.model}-") == scenario_id(parse_scenario(cell.load, "log"))
        else f"{one_line(cell.prompt_id)}: {words}"
    )


def _table(cells: list[CellSummary], width: int) -> list[str]:
    headings, found = load_rows(cells)
    rows = [headings, *found]
    for spare in (_TOKENS, "1st token"):  # of what the files hold as well
        if sum(_widths(rows)[1:]) + 2 * len(rows[0]) + NARROWEST_NAME > width and spare in rows[0]:
            place = rows[0].index(spare)
            rows = [row[:place] + row[place + 1 :] for row in rows]
    widths = _widths(rows)
    widths[0] = min(widths[0], max(NARROWEST_NAME, width - sum(widths[1:]) - 2 * (len(widths) - 1)))
    return [
        "  ".join(
            shortened(text, wide).ljust(wide) if place < 2 else text.rjust(wide)
            for place, (text, wide) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _of(metric: str, write: Callable[[float], str]) -> Callable[[CellSummary], str]:
    def read(cell: CellSummary) -> str:
        value: Number = cell.summary(metric).median
        return "n/a" if isinstance(value, Missing) else write(value)

    return read


def _any(cells: Sequence[CellSummary], metric: str) -> bool:
    return any(cell.values(metric) for cell in cells)


def _failed(cells: Sequence[CellSummary]) -> bool:
    return any(value for cell in cells for value in cell.values("error_rate"))


def _notes(report: SessionReport, cells: list[CellSummary]) -> list[str]:
    runs = sum(cell.rounds for cell in cells)
    requests = sum(len(each.run.intended_ns) for each in report.loads)
    of = "1 run" if runs == 1 else f"the runs of a cell, {runs} in all"
    asked = f", {requests:,} requests" if requests else ""  # a replay has none
    found = [f"load: median of {of}{asked}; times count from when a request was to be sent."]
    in_line = dict.fromkeys(one_line(each.model) for each in report.loads if each.run.served == "one at a time")
    if in_line:
        found.append(
            f"{', '.join(in_line)} {'answers' if len(in_line) == 1 else 'answer'} one request at a time: the others wait in line."
        )
    failures: dict[str, str] = {}
    for each in report.loads:
        for kind, message in each.run.messages.items():
            failures.setdefault(kind, message)
    found += [f"failed requests ({kind}): {one_line(message)[:200]}" for kind, message in failures.items()]
    return [*found, *_saturated(cells), *(_sweep(each) for each in _last_steps(report))]


def _saturated(cells: list[CellSummary]) -> list[str]:
    """Cells whose numbers would be the generator's and not the server's."""
    found = {}
    for cell in cells:
        reasons = [text for text in cell.columns.reasons.values() if _TOO_SLOW in text]
        if reasons:
            found[cell.id] = f"{one_line(cell.id)}: {reasons[0]}."
    return list(found.values())


def _last_steps(report: SessionReport) -> list[tuple[LoadRecord, list[LoadRecord]]]:
    """Of each sweep its steps, with the first of them."""
    sweeps: dict[tuple[str, int], list[LoadRecord]] = {}
    for each in report.loads:
        if ".." in each.scenario:
            sweeps.setdefault((each.block, each.round), []).append(each)
    return [(steps[0], steps) for steps in sweeps.values()]


def _sweep(found: tuple[LoadRecord, list[LoadRecord]]) -> str:
    first, steps = found
    words = {True: "kept", False: "missed", None: "unknown"}
    told = [f"{format_rate(step.run.rate or 0)} {words[step.run.kept]}" for step in steps]
    return f"{one_line(first.cell)}, requests/s that kept the objective or not: {', '.join(told)}."
