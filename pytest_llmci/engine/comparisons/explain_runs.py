"""A comparison of stored runs as text, as Markdown and as JSON data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from ...metrics import MetricDef
from ...records import ComparisonResult, Json, Missing, to_json
from ...text import how_many, one_line, wrapped
from ...units import format_duration
from ..reports.markdown import COMPARED_TEXTS, escaped, table
from .compare_questions import METRIC
from .compare_runs import LEAST_ROUNDS
from .exact import LENGTH
from .explain_comparison import MOST_TOLD, WIDTH, compared_lines, percent, wide_rows
from .runs_comparison import CHECKS, WHOLE_CELL, RunsComparison
from .slowdown import Slowdown, one_line_of
from .stored_run import StoredRun

_LABEL: Final = 12
_SHOWN: Final = 5
_LOAD: Final = "load_time"
_ROWS_IN_MARKDOWN: Final = 50
_TALLY: Final = ("regressed", "lost coverage", "inconclusive", "not comparable", "new", "pass")
PSEUDO_METRICS: Final = {
    CHECKS: MetricDef(name=CHECKS, unit="1", direction="higher", definition="Share of cells that passed their checks."),
    WHOLE_CELL: MetricDef(name=WHOLE_CELL, unit="1", direction="none", definition="All of a cell."),
}
"""What stands in the column of metrics and is none."""


def known_metrics(found: RunsComparison) -> dict[str, MetricDef]:
    """The metrics of the candidate, and what stands beside them."""
    return {**found.metrics, **PSEUDO_METRICS}


def text_lines(found: RunsComparison, *, most: int = 20, columns: int = WIDTH, room: int = WIDTH) -> Iterator[str]:
    """What changed first, then what did not, then how much could have been seen.

    :param most: rows of single cells.
    :param columns: that the table may fill.
    :param room: columns that texts may fill.
    """
    for run, label in _sides(found):
        line = f"{label:<{_LABEL}}{one_line(run.name)}  {_when(run)}"
        yield from [line] if columns >= WIDTH else labelled(label, f"{run.name}, {_when(run)}", columns)
    yield ""
    yield from compared_lines(
        [(cell.id, cell.results) for cell in found.cells], found.models, known_metrics(found), most=most, width=columns
    )
    yield ""
    for label, text in facts(found):
        yield from labelled(label, text, room)
    yield ""
    yield from wrapped(headline(found), room, rest="  ")


def headline(found: RunsComparison) -> str:
    """``1 regressed, 2 inconclusive, 17 pass``; what was decided of a model as a whole beside it."""
    counts = found.counts
    parts = [f"{counts[verdict]} {verdict}" for verdict in _TALLY if counts.get(verdict)]
    whole = dict.fromkeys(alias for alias, result in found.models if _failed(result))
    more = f"; regressed as a whole: {_listed(list(whole))}" if whole else ""
    return f"{how_many(len(found.cells), 'cell')}: {', '.join(parts)}{more}"


def facts(found: RunsComparison) -> Iterator[tuple[str, str]]:
    """Label and text of what surrounds the numbers."""
    if any(map(len, (*found.base, found.candidate))):  # timed cells
        yield "how", _how(found)
    yield from _answers(found)
    for cell, where in found.slowdowns:
        yield "where", f"{cell}: {one_line_of(where)}"
    if found.changed:
        yield "changed", "; ".join(found.changed)
    else:
        yield "changed", "nothing that is known of"
    if found.hardware:
        yield "hardware", f"{'; '.join(found.hardware)}: times are not compared"
    yield from _outputs(found)
    yield from _lengths(found)
    yield from _could_see(found)
    yield from _loading(found)
    for note in found.notes:
        yield "note", note
    if found.undecided and not found.hardware and found.candidate.imported:
        yield "decide", f"llmci import with the files of {LEAST_ROUNDS} or more runs of the tool on each side"
    elif found.undecided and not found.hardware:
        yield "decide", "pytest --llmci --llmci-versus=... measures both sides in turn, and sees far smaller changes"


def _answers(found: RunsComparison) -> Iterator[tuple[str, str]]:
    """Of each benchmark task, which questions were lost and won, and what could have been seen."""
    for cell in found.cells:
        for result in cell.results:
            if result.metric == METRIC:
                yield "answers", f"{cell.id}: {result.reason}"


def _sides(found: RunsComparison) -> list[tuple[StoredRun, str]]:
    return [*((run, "before") for run in found.base), (found.candidate, "now")]


def _when(run: StoredRun) -> str:
    parts = [run.started[:16].replace("T", " ") + " UTC"]
    parts += [f"commit {run.commit[:10]}"] if run.commit else []
    parts += [how_many(len(run), "cell")] if len(run) or not run.answers else []
    parts += [how_many(len(run.answers), "benchmark task")] if run.answers else []
    return ", ".join(parts)


def _how(found: RunsComparison) -> str:
    rounds = sorted({result.rounds for result in _times(found) if result.rounds})
    if found.by_run:
        return f"at least {rounds[0]} runs of the tool on each side: their spread is the noise; what changed between them is not in it"
    many = f"{rounds[0]}" if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}" if rounds else "no"
    text = f"{many} round{'' if many == '1' else 's'} a cell, stored numbers of"
    if found.mode == "history":
        return f"{text} several sessions, whose spread tells how much they differ"
    if found.mode == "anchored":
        return f"{text} two sessions, each divided by the time of the same frozen model beside it: what slows down both cancels"
    return f"{text} two sessions: what differs between sessions of one machine counts as noise"


def _outputs(found: RunsComparison) -> Iterator[tuple[str, str]]:
    known = [cell for cell in found.cells if cell.outputs_changed is not None]
    changed = found.changed_outputs
    if changed:
        yield "outputs", f"{len(changed)} of {how_many(len(known), 'cell')} answer otherwise: {_listed(changed)}"
    elif known:
        yield "outputs", f"the same in {how_many(len(known), 'cell')}"
    checked = [result for _, result in found.models if result.metric == CHECKS]
    if checked:
        before, now = (
            sum(round((share or 0) * result.rounds) for share, result in side)
            for side in ([(each.base, each) for each in checked], [(each.candidate, each) for each in checked])
        )
        yield "checks", f"{now} of {how_many(sum(each.rounds for each in checked), 'cell')} passed, before {before}"


def _lengths(found: RunsComparison) -> Iterator[tuple[str, str]]:
    longer = [cell.id for cell in found.cells for result in cell.results if result.metric == LENGTH and result.change]
    if longer:
        yield "lengths", f"{how_many(len(longer), 'cell')} answered at another length: times are not compared there"


def _could_see(found: RunsComparison) -> Iterator[tuple[str, str]]:
    """Per metric the change that a usual cell, and a model as a whole, could have shown."""
    for metric in dict.fromkeys(result.metric for result in _times(found)):
        cells = [result.visible for result in _times(found) if result.metric == metric and result.visible is not None]
        whole = [result.visible for _, result in found.models if result.metric == metric and result.visible is not None]
        asked = next(result.detect for result in _times(found) if result.metric == metric)
        if cells:
            cell, model = median(cells), median(whole or [math.inf])
            of_model = f", of a whole model {percent(model, sign=False)}" if model <= MOST_TOLD else ""
            wanted = f"; you asked for {percent(asked, sign=False)}" if asked else ""
            size = (
                f"of {percent(cell, sign=False)} or more"
                if cell <= MOST_TOLD
                else f"up to {percent(MOST_TOLD, sign=False)}"
            )
            yield (
                "sees",
                f"{'a' if cell <= MOST_TOLD else 'no'} change of {metric} {size} in a usual cell{of_model}{wanted}",
            )


def _loading(found: RunsComparison) -> Iterator[tuple[str, str]]:
    """What starting the models took: shown, and gated only where it is named."""
    judged = {alias for alias, result in found.models if result.metric == _LOAD}
    told = []
    for alias, now in found.candidate.models.items():
        before = found.base[-1].models.get(alias)
        sides = [list(side.starts.get(_LOAD, ())) for side in (before, now) if side is not None]
        if len(sides) == 2 and all(sides) and alias not in judged and not found.hardware:
            was, is_now = map(median, sides)
            change = f" ({percent(is_now / was - 1)})" if was else ""
            starts = "/".join(str(len(side)) for side in sides)
            told.append(
                f"{one_line(alias)} {format_duration(was)} -> {format_duration(is_now)}{change}, {starts} starts"
            )
    if told:
        yield (
            "load time",
            f"{'; '.join(told[:_SHOWN])}{f'; {len(told) - _SHOWN} more' if len(told) > _SHOWN else ''}: not gated",
        )


def _times(found: RunsComparison) -> Iterator[ComparisonResult]:
    return (result for cell in found.cells for result in cell.results if result.mode != "exact")


def _failed(result: ComparisonResult) -> bool:
    return result.verdict == "regressed" and not result.accepted


def labelled(label: str, text: str, room: int) -> list[str]:
    """A fact with its label, in as many lines as it takes."""
    return wrapped(one_line(text), room, first=f"{label:<{_LABEL}}", rest=" " * _LABEL)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# ---------------------------------------------------------------------------------------------------------- Markdown


def markdown(found: RunsComparison) -> str:
    """A section for a step summary or a comment on a pull request: the verdict, changed rows, the rest folded away."""
    state = "failed" if found.failed else "undecided" if found.undecided else "passed"
    lines = [f"### LLM comparison {state}: {escaped(headline(found))}", ""]
    rows = wide_rows([(cell.id, cell.results) for cell in found.cells], found.models, known_metrics(found))
    lines += table(
        ("cell", "metric", "before", "now", "change", "interval", "verdict"),
        rows,
        left=COMPARED_TEXTS,
        most=_ROWS_IN_MARKDOWN,
    )
    lines += ["<details><summary>What was compared</summary>", ""]
    lines += [f"- {label}: {escaped(run.name)}, {escaped(_when(run))}" for run, label in _sides(found)]
    lines += [f"- {label}: {escaped(text)}" for label, text in facts(found)]
    return "\n".join([*lines, "", "</details>"])


# -------------------------------------------------------------------------------------------------------------- JSON


def json_data(found: RunsComparison) -> dict[str, Json]:
    """All results; shares are relative, 0.05 is 5 %."""
    counts: dict[str, Json] = dict(found.counts)
    slowdowns = dict(found.slowdowns)
    return {
        "verdict": found.verdict,
        "counts": counts,
        "mode": found.mode,
        "base": [_run(run) for run in found.base],
        "candidate": _run(found.candidate),
        "cells": [
            {
                "cell": cell.id,
                "model": cell.model,
                "prompt_id": cell.prompt_id,
                "verdict": cell.verdict,
                "outputs_changed": cell.outputs_changed,
                "comparisons": [to_json(result) for result in cell.results],
                **({"slowdown": _split(slowdowns[cell.id])} if cell.id in slowdowns else {}),
            }
            for cell in found.cells
        ],
        "models": [{"model": alias, **to_json(result)} for alias, result in found.models],
        "changed": list(found.changed),
        "hardware": list(found.hardware),
        "notes": list(found.notes),
    }


def _split(found: Slowdown) -> dict[str, Json]:
    """Seconds; what cannot be told is null."""
    parts: dict[str, Json] = {
        part.name: None if isinstance(part.change, Missing) else part.change for part in found.parts
    }
    return {"before": found.before, "now": found.now, "not told apart": found.untold, **parts}


def _run(run: StoredRun) -> dict[str, Json]:
    return {"run_id": run.run_id, "started": run.started, "commit": run.commit or None, "folder": str(run.folder)}
