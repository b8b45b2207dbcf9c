"""Many runs over time, and a judgement against a release, as text and as JSON data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ...metrics import MetricDef
from ...records import ComparisonResult, Json, to_json
from ...text import one_line, shortened, width, wrapped
from ...units import format_quantity
from .explain_comparison import WIDTH, aligned, compared_lines, fitted, percent
from .explain_runs import PSEUDO_METRICS, facts, headline, json_data, labelled, markdown
from .history import History, Point, Series
from .release_gate import OUTPUTS, ReleaseJudgement, rollback_lines

_DRIFT: Final = {
    OUTPUTS: MetricDef(name=OUTPUTS, unit="1", direction="higher", definition="Cells that answer as the release did.")
}


_SPARE: Final = (1, 3, 2)
"""Columns of the table, in the order in which a narrow terminal does without them."""
_INDENT: Final = 2


def history_lines(history: History, *, most: int = 30, columns: int = 1_000, room: int = WIDTH) -> Iterator[str]:
    """A table a model and metric, a line a run, the newest last, and what changed.

    :param most: runs of each table.
    :param columns: that the table may fill, if it can.
    :param room: columns that texts may fill.
    """
    for series in history.series:
        what = f": median {series.metric.heading}"
        yield shortened(one_line(series.model), columns - len(what)) + what
        begins = {point.run.run_id: change for point, change in series.changes}
        shown = series.points[-most:]
        rows, told = [("date", "commit", "run", "rounds", "median")], [""]
        for point in shown:
            change = begins.get(point.run.run_id)
            mark = (
                ""
                if change is None
                else f"{percent(change.change)} {'worse' if series.is_worse(change) else 'better'} from here on"
            )
            notes = (
                mark,
                f"changed: {', '.join(point.changed)}" if point.changed else "",
                f"({point.reason})" if point.reason else "",
            )
            rows.append(_facts(point, series.metric))
            told.append("; ".join(filter(None, notes)))
        yield from _table(rows, told, columns)
        if len(series.points) > most:
            yield f"  ... and {len(series.points) - most} older"
        yield from wrapped(_verdict(series), room, first="  ", rest="  ")
        yield ""
    for reason in history.skipped:
        yield from wrapped(f"left out: {reason}", room)


def _table(rows: Sequence[tuple[str, ...]], notes: Sequence[str], columns: int) -> Iterator[str]:
    """Each row with its note behind it, or below where that does not fit."""
    kept = fitted(rows, columns - _INDENT, _SPARE, least=len(rows[-1][0]))
    lines = aligned([(*row, "") for row in kept])
    behind = max(map(len, lines)) + 2
    for line, note in zip(lines, notes, strict=True):
        whole = f"{'':<{_INDENT}}{line:<{behind if note else 0}}{note}"
        if width(whole) <= columns:
            yield whole
        else:
            yield f"{'':<{_INDENT}}{line}"
            yield from wrapped(note, columns, first=" " * 2 * _INDENT, rest=" " * 2 * _INDENT)


def _facts(point: Point, metric: MetricDef) -> tuple[str, str, str, str, str]:
    value = "n/a" if point.value is None else format_quantity(point.value, metric.unit)
    return (
        point.run.started[:16].replace("T", " "),
        point.run.commit[:10],
        one_line(point.run.run_id),
        str(point.rounds),
        value,
    )


def _verdict(series: Series) -> str:
    if series.note:
        return f"no change points: {series.note}"
    if not series.changes:
        return "no change point"
    number = len(series.changes)
    return f"{number} change point{'' if number == 1 else 's'}; a level counts once it has lasted"


def history_json(history: History) -> dict[str, Json]:
    """All points; times in seconds."""
    return {
        "series": [
            {
                "model": series.model,
                "metric": series.metric.name,
                "unit": series.metric.unit,
                "points": [_point(point) for point in series.points],
                "changes": [
                    {
                        "run_id": point.run.run_id, "commit": point.run.commit or None, "before": change.before, "after": change.after,
                        "change": change.change, "worse": series.is_worse(change),
                    }
                    for point, change in series.changes
                ],
                "note": series.note,
            }
            for series in history.series
        ],
        "skipped": list(history.skipped),
    }  # fmt: skip


def _point(point: Point) -> dict[str, Json]:
    return {
        "run_id": point.run.run_id, "started": point.run.started, "commit": point.run.commit or None, "median": point.value,
        "rounds": point.rounds, "alike": point.alike, "reason": point.reason, "changed": list(point.changed),
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- the gate


def judgement_lines(
    judged: ReleaseJudgement, *, most: int = 20, columns: int = WIDTH, room: int = WIDTH
) -> Iterator[str]:
    """What changed since the release, and, where the run fails, the way back.

    :param columns: that the table may fill.
    :param room: columns that texts may fill.
    """
    found, release = judged.found, judged.release.runs[-1]
    commit = f", commit {release.commit[:10]}" if release.commit else ""
    yield from wrapped(f"{found.candidate.name} against the release {release.name}{commit}: {judged.release.why}", room)
    yield ""
    whole = [*found.models, *judged.drift]
    metrics = {**found.metrics, **PSEUDO_METRICS, **_DRIFT}
    yield from compared_lines(
        [(cell.id, cell.results) for cell in found.cells], whole, metrics, most=most, width=columns
    )
    yield ""
    for label, text in [
        *facts(found),
        *(("drift", _drift(alias, result)) for alias, result in judged.drift if result.reason),
    ]:
        yield from labelled(label, text, room)
    yield ""
    state = "FAILED" if judged.failed else "undecided" if judged.undecided else "ok"
    yield from wrapped(f"{state}: {headline(found)}", room, rest="  ")
    if judged.failed:
        yield "To go back to the release:"
        yield from (f"  {line}" for line in rollback_lines(judged))


def judgement_markdown(judged: ReleaseJudgement) -> str:
    """The same for a step summary."""
    lines = [markdown(judged.found), ""]
    lines += [f"- drift: {_drift(alias, result)}" for alias, result in judged.drift if result.reason]
    if judged.failed:
        lines += ["", "To go back to the release:", "```", *rollback_lines(judged), "```"]
    return "\n".join(lines)


def _drift(alias: str, result: ComparisonResult) -> str:
    return f"{alias}: {result.reason}"


def judgement_json(judged: ReleaseJudgement) -> dict[str, Json]:
    """The comparison with what the gate adds."""
    return {
        **json_data(judged.found),
        "failed": judged.failed,
        "release": {"run_id": judged.release.runs[-1].run_id, "why": judged.release.why},
        "drift": [{"model": alias, **to_json(result)} for alias, result in judged.drift],
        "rollback": list(rollback_lines(judged)) if judged.failed else [],
    }
