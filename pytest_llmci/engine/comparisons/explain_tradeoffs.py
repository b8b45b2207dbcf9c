"""A recommendation in words: the model, what it costs to take it, and why each other one lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ...records import Json, JsonObject
from ...text import one_line, shortened, wrapped
from ...units import format_bytes, format_duration, format_rate
from .tradeoffs import CRITERIA, HIGHER, Criterion, Estimate, Limits, Lost, Recommendation, Standing

MOST_MODELS: Final = 50
"""Rows of the table; ``--json`` has all."""
_LONGEST_NAME: Final = 32


def _usd(request: float) -> str:
    return f"{format_rate(1000 * request)} USD"


SHOW: Final[Mapping[Criterion, Callable[[float], str]]] = {
    "score": format_rate,
    "latency": format_duration,
    "memory": format_bytes,
    "cost": _usd,
}
TITLES: Final[Mapping[Criterion, str]] = {
    "score": "score", "latency": "p95 latency", "memory": "peak memory", "cost": "1,000 requests",
}  # fmt: skip
_ADJECTIVES: Final[Mapping[Criterion, str]] = {
    "score": "scores lower", "latency": "is slower", "memory": "takes more memory", "cost": "is dearer (1,000 requests)",
}  # fmt: skip


def recommendation_lines(found: Recommendation, standings: Sequence[Standing], width: int) -> list[str]:
    """For people."""
    lines = [*_verdict(found, width), "", *_table(found, standings), ""]
    return [
        *lines,
        *(line for lost in found.lost[:MOST_MODELS] for line in wrapped(_why(lost, found), width, rest="  ")),
        *_notes(standings, width),
    ]


def _verdict(found: Recommendation, width: int) -> list[str]:
    asked = _limits(found.limits)
    if found.chosen is None:
        return wrapped(f"No model is within the limits ({asked})." if asked else "No model was measured.", width)
    name = one_line(found.chosen.model)
    why = f"of those within the limits ({asked}), " if asked else ""
    lines = wrapped(f"Take {name}: {why}the best by {', then '.join(found.order)}.", width)
    if found.unsure:
        lines += wrapped(
            f"By less than noise within the limit of {', '.join(found.unsure)}: measure more rounds to be sure.", width
        )
    return lines


def _limits(limits: Limits) -> str:
    asked = [(name, limit) for name in CRITERIA if (limit := limits.of(name)) is not None]
    return ", ".join(f"{TITLES[name]} {'>=' if name in HIGHER else '<='} {SHOW[name](limit)}" for name, limit in asked)


def _table(found: Recommendation, standings: Sequence[Standing]) -> list[str]:
    shown: list[Criterion] = [name for name in CRITERIA if any(name in each.estimates for each in standings)]
    rows = [["model", *(TITLES[name] for name in shown), "Pareto set"]]
    first = sorted(
        standings, key=lambda each: (found.chosen is None or each.model != found.chosen.model, bool(each.dominated_by))
    )
    for each in first[:MOST_MODELS]:
        numbers = [_number(each, name) for name in shown]
        rows.append([shortened(one_line(each.model), _LONGEST_NAME), *numbers, "no" if each.dominated_by else "yes"])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(wide) if not place else cell.rjust(wide)
            for place, (cell, wide) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return (
        lines
        if len(standings) <= MOST_MODELS
        else [*lines, f"... and {len(standings) - MOST_MODELS} more models, in --json"]
    )


def _number(standing: Standing, criterion: Criterion) -> str:
    estimate = standing.estimates.get(criterion)
    if estimate is None:
        return "n/a"
    text = SHOW[criterion](estimate.value)
    return f"({text})" if criterion == "score" and estimate.note else text


def _why(lost: Lost, found: Recommendation) -> str:
    standing = lost.standing
    name = one_line(standing.model)
    reasons = [
        f"{TITLES[each]} {_told(standing.estimates[each], each)}, limit {SHOW[each](found.limits.of(each) or 0.0)}"
        for each in lost.over
    ]
    reasons += [f"{each} is not known: {one_line(standing.missing[each])}" for each in lost.unknown]
    if reasons:
        return f"{name}: {'; '.join(reasons)}."
    chosen = found.chosen
    assert chosen is not None  # a model within the limits loses to one
    if lost.behind is None:
        return f"{name}: ties with {one_line(chosen.model)} in all that counts; its numbers are not better."
    theirs, own = chosen.estimates[lost.behind], standing.estimates.get(lost.behind)
    if own is None:
        return f"{name}: its {lost.behind} is not known: {one_line(standing.missing[lost.behind])}."
    whole = f"; {one_line(standing.dominated_by)} is nowhere worse" if standing.dominated_by else ""
    return f"{name}: {_ADJECTIVES[lost.behind]}: {_told(own, lost.behind)} against {_told(theirs, lost.behind)}{whole}."


def _told(estimate: Estimate, criterion: Criterion) -> str:
    text = SHOW[criterion](estimate.value)
    if estimate.low < estimate.high and criterion != "memory":
        text += f" ({SHOW[criterion](estimate.low)} to {SHOW[criterion](estimate.high)})"
    return text


def _notes(standings: Sequence[Standing], width: int) -> list[str]:
    notes: dict[str, list[str]] = {}
    for each in standings:
        for name, estimate in each.estimates.items():
            if estimate.note:
                notes.setdefault(f"{name}: {one_line(estimate.note)}", []).append(one_line(each.model))
    texts = [f"{note}: {', '.join(models[:5])}{' ...' if len(models) > 5 else ''}." for note, models in notes.items()]
    texts.append("A range in brackets is a 95 % interval; two that overlap tie. --json has all of them.")
    return ["", *(line for text in texts for line in wrapped(text, width, rest="  "))]


def recommendation_json(found: Recommendation, standings: Sequence[Standing]) -> JsonObject:
    """For programs: SI units, USD of one request."""
    lost: list[Json] = [
        {
            "model": each.standing.model, "over": list(each.over), "unknown": list(each.unknown), "behind_in": each.behind,
            "dominated_by": each.standing.dominated_by or None,
        }
        for each in found.lost
    ]  # fmt: skip
    return {
        "recommended": found.chosen.model if found.chosen else None,
        "unsure": list(found.unsure),
        "order": list(found.order),
        "limits": {name: found.limits.of(name) for name in CRITERIA},
        "pareto_set": [each.model for each in standings if not each.dominated_by],
        "models": {each.model: _numbers(each) for each in standings},
        "lost": lost,
    }


def _numbers(standing: Standing) -> JsonObject:
    known: JsonObject = {
        name: {"value": estimate.value, "low": estimate.low, "high": estimate.high, "note": estimate.note}
        for name, estimate in standing.estimates.items()
    }
    return {**known, **{name: {"missing": reason} for name, reason in standing.missing.items()}}
