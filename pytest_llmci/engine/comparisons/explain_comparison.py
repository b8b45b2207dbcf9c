"""What a comparison found, in the words and columns that people read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from ...metrics import MetricDef
from ...records import ComparisonResult, RoundsRecord
from ...text import clipped, how_many, one_line, shortened, wrapped
from ...units import format_quantity
from ..schedule import CellMeasurement
from .cell_samples import met, samples_of

WIDTH: Final = 80
_BESIDE: Final = ("latency", "ttft", "decode_tokens_per_s")
"""Shown beside what is gated, to say where a change lies."""
_BESIDE_OF_STARTS: Final = ("load_time",)
"""So too, of the processes' starts: medians."""
_WORDS: Final = {
    "pass": "ok",
    "regressed": "REGRESSED",
    "inconclusive": "INCONCLUSIVE",
    "not comparable": "NOT COMPARABLE",
    "new": "new",
    "lost coverage": "LOST COVERAGE",
}
_HOW: Final = {
    "interleaved": "interleaved, same machine",
    "anchored": "stored numbers, each divided by the time of the same frozen model beside it",
    "saved": "stored numbers of another session",
    "history": "stored numbers of several sessions",
    "exact": "numbers that do not vary",
}
VISIBLY: Final = 0.01
"""Of the reference: by so much more or less people see that a change is not that of the two medians beside it."""
_CHANGE: Final = {
    "interleaved": "of rounds that ran in turn, each against its neighbour in time; the medians are of all rounds, and the machine was not"
    " equally fast throughout",
    "anchored": "of times divided by those of the frozen model beside them; the medians are the times as they were",
}
_CHANGE_OF_STORED: Final = (
    "the middle of the differences between any round and any stored one, which scatter; the medians are each side's own"
)
MEANING: Final = {"net_time": "latency less the time spent waiting for a CPU"}
"""What a reader may not know of a metric that decides."""
MOST_TOLD: Final = 10.0
"""The largest change that is named as one that could be seen: from there on a few rounds see nothing."""
NO_LIMIT: Final = "no limit"
"""In the place of an endless change, as at the end of an interval."""
NOT_TOLD: Final = "n/a"
"""In the place of what is no number."""
BEYOND: Final = "any number of times"
"""An endless change in a sentence: so much slower."""
MANY_PER_CENT: Final = 1000.0
"""From here on a change is told as a factor."""


def percent(change: float, *, sign: bool = True) -> str:
    """A change in per cent; as a factor where it is tenfold or more.

    >>> percent(0.081), percent(-0.0001), percent(2.5), percent(248.12)
    ('+8.1 %', '0.0 %', '+250 %', '249x')
    >>> percent(0.05, sign=False), percent(38.31, sign=False)
    ('5 %', '3,831 %')
    >>> percent(math.inf), percent(math.nan)
    ('no limit', 'n/a')
    """
    if not math.isfinite(change):
        return NOT_TOLD if math.isnan(change) else NO_LIMIT
    number = 100 * change
    if not sign:
        return f"{abs(number):.3g} %" if abs(number) < 999.5 else f"{abs(number):,.0f} %"
    if number >= MANY_PER_CENT:
        return f"{1 + change:,.0f}x"
    text = f"{number:+.1f}" if abs(number) < 100 else f"{number:+.0f}"
    return ("0.0" if float(text) == 0 else text) + " %"


def worded(result: ComparisonResult, metric: MetricDef) -> str:
    """``net time 8.1 % slower``, ``net time 264x slower``."""
    change = result.change or 0.0
    better = (change < 0) == (metric.direction != "higher")
    if (metric.unit == "s" and metric.group != "cpu") or metric.name == "net_time":
        word = "faster" if better else "slower"
    elif metric.unit in ("B", "s"):
        word = "less" if better else "more"
    else:
        word = "lower" if change < 0 else "higher"
    much = percent(change, sign=100 * change >= MANY_PER_CENT) if math.isfinite(change) else BEYOND
    return f"{metric.heading} {much} {word}"


def doubt(result: ComparisonResult) -> str:
    """Why a result is no pass, and what it could still hide."""
    parts = [result.reason] if result.reason else []
    worst = max((abs(limit) for limit in (result.low, result.high) if limit is not None), default=None)
    if result.verdict == "inconclusive" and worst is not None:
        parts.append(f"could be {f'up to {percent(worst, sign=False)}' if math.isfinite(worst) else BEYOND} worse")
    if result.visible is not None and result.detect is not None:
        parts.append(f"this sees {seen(result.visible)}, you asked for {percent(result.detect, sign=False)}")
    return f"{result.metric} against {one_line(result.against)}: {'; '.join(parts) or result.verdict}"


def seen(visible: float) -> str:
    """
    The smallest change that would have been found.

    >>> seen(0.12), seen(12345678.0)
    ('a change of 12 % or more', 'no change up to 1,000 %')
    """
    if not visible <= MOST_TOLD:
        return f"no change up to {percent(MOST_TOLD, sign=False)}"
    return f"a change of {percent(visible, sign=False)} or more"


def interval(result: ComparisonResult) -> str:
    """``5.1 % to 11.1 %``; empty where there is none."""
    if result.low is None or result.high is None:
        return ""
    return f"{percent(result.low)} to {percent(result.high)}"


def regression_title(result: ComparisonResult, metric: MetricDef) -> str:
    """``net time 8.1 % slower than origin/main (+5.1 % to +11.1 %)``."""
    limits = interval(result)
    return f"{worded(result, metric)} than {one_line(result.against)}" + (f" ({limits})" if limits else "")


def comparison_block(
    results: Sequence[ComparisonResult], measurement: CellMeasurement | None, metrics: Mapping[str, MetricDef],
    room: int = WIDTH,
) -> list[str]:  # fmt: skip
    """The table of one cell and how it came about; on a narrow screen its columns stand closer."""
    against = results[0].against
    rows = [_row(result, metrics[result.metric]) for result in results if result.metric in metrics]
    if measurement is not None:
        rows = [*_beside(measurement, {result.metric for result in results}, metrics), *rows]
    names = ("", clipped(one_line(against), 22), "now", "change", "looked for", "")
    widths = [max(len(row[column]) for row in (names, *rows)) for column in range(5)]
    last = max(len(row[5]) for row in rows) if rows else 0
    gap = " " * (3 if 2 + sum(widths) + 3 * 5 + last <= room else 1)
    lines = [
        "  "
        + gap.join(
            [row[0].ljust(widths[0]), *(text.rjust(wide) for text, wide in zip(row[1:5], widths[1:], strict=True))]
        )
        + f"{gap}{row[5]}".rstrip()
        for row in (names, *rows)
    ]
    words = change_words(results)
    facts = [*_facts(results, measurement), *([("change", words)] if words else [])]
    told = [line for label, text in facts for line in _labelled(label, text, room)]
    return [*(line.rstrip() for line in lines), "", *told]


def _row(result: ComparisonResult, metric: MetricDef) -> tuple[str, str, str, str, str, str]:
    base, now = (
        "n/a" if value is None else format_quantity(value, metric.unit) for value in (result.base, result.candidate)
    )
    change = "n/a" if result.change is None else percent(result.change)
    looked_for = percent(result.detect, sign=False) if result.detect else ""
    return metric.heading, base, now, change, looked_for, _WORDS[result.verdict]


def _beside(
    measurement: CellMeasurement, gated: set[str], metrics: Mapping[str, MetricDef]
) -> list[tuple[str, str, str, str, str, str]]:
    wanted = {name: metrics[name] for name in _BESIDE if name in metrics and name not in gated}
    blocks = met(measurement.reference_blocks, measurement.blocks)
    if not all(blocks):
        return []
    base, now = (samples_of(side, wanted).values for side in blocks)
    rows = []
    for name, metric in wanted.items():
        if base.get(name) and now.get(name):
            before, after = median(base[name]), median(now[name])
            change = percent(after / before - 1) if before else "n/a"
            shown = [format_quantity(value, metric.unit) for value in (before, after)]
            rows.append((metric.heading, *shown, change, "", ""))
    for name in _BESIDE_OF_STARTS:
        if name in measurement.starts and name in metrics:
            before, after = measurement.starts[name]
            shown = [format_quantity(value, metrics[name].unit) for value in (before, after)]
            rows.append((metrics[name].heading, *shown, percent(after / before - 1) if before else "n/a", "", ""))
    return rows  # type: ignore[return-value]  # six texts each


def _facts(results: Sequence[ComparisonResult], measurement: CellMeasurement | None) -> list[tuple[str, str]]:
    """Label and text, one below the other."""
    facts = []
    decisive = next((result for result in results if result.mode != "exact"), results[0])
    if measurement is not None and measurement.reference_blocks and measurement.blocks:
        facts.append(("outputs", _outputs(measurement.reference_blocks, measurement.blocks)))
    if decisive.rounds:
        pairs = f" in {how_many(decisive.pairs, 'fresh pair')} of processes" if decisive.mode == "interleaved" else ""
        facts.append(("how", f"{how_many(decisive.rounds, 'round')} a side{pairs}, {_HOW[decisive.mode]}"))
    if decisive.shared:
        facts.append(("shared", shared_words(decisive.shared)))
    if decisive.by_block:
        facts.append(("unit", by_block_words(decisive.by_block)))
    for result in results:
        if result.visible is not None and result.mode != "exact":
            facts.append(("sees", f"{seen(result.visible)} in {result.metric}"))
        if result.reason and result.mode == "anchored":
            facts.append(("beside", f"{result.metric}: {result.reason}"))
        elif result.reason and result.verdict not in ("pass", "regressed"):
            facts.append(("why", f"{result.metric}: {result.reason}"))
    for name, meaning in MEANING.items():
        if any(result.metric == name for result in results):
            facts.append((name.replace("_", " "), meaning))
    if measurement is not None and measurement.changed:
        facts.append(("changed", "; ".join(measurement.changed)))
    return facts


def change_words(results: Iterable[ComparisonResult]) -> str:
    """Why changes are not those of the medians beside them; empty where nobody sees a difference."""
    modes = {result.mode for result in results if _differs_visibly(result)}
    told = [words for mode, words in _CHANGE.items() if mode in modes]
    return "; ".join([*told, *([_CHANGE_OF_STORED] if modes - set(_CHANGE) else [])])


def _differs_visibly(result: ComparisonResult) -> bool:
    if result.mode == "exact" or not result.base or result.candidate is None or result.change is None:
        return False
    return abs(result.candidate / result.base - 1 - result.change) >= VISIBLY


def _outputs(base: Sequence[RoundsRecord], candidate: Sequence[RoundsRecord]) -> str:
    before, after = ({sha256 for block in side for sha256 in block.output_sha256} for side in (base, candidate))
    if before == after:
        return "the same on both sides"
    return "others than those of the reference" if not before & after else "partly others than those of the reference"


def _labelled(label: str, text: str, room: int) -> list[str]:
    return wrapped(one_line(text), room, first=f"  {label:<10} ", rest=" " * 13)


# --------------------------------------------------------------------------------------------- all cells of a session


def shared_words(place: str) -> str:
    """What it means for a comparison that both sides compute in one place."""
    return f"both sides are on {one_line(place)}: what one of them leaves behind there, the other meets"


def by_block_words(why: str) -> str:
    """What it means for a comparison that rounds in a row are one value of its test."""
    return f"a block of rounds, not a round, counts as one value: {one_line(why)}"


def compared_lines(
    cells: Sequence[tuple[str, Sequence[ComparisonResult]]], whole: Sequence[tuple[str, ComparisonResult]],
    metrics: Mapping[str, MetricDef], *, most: int = 20, width: int = WIDTH,
) -> list[str]:  # fmt: skip
    """The cells that changed first, those that did not as one number.

    :param cells: cell id -> what was found of it.
    :param whole: model -> one metric of it as a whole.
    """
    ranked = sorted(
        ((_rank(result), cell, result) for cell, results in cells for result in results if _is_shown(result)),
        key=lambda each: each[0],
    )
    told = {cell for _, cell, _ in ranked}
    rows = [_wide_row(cell, result, metrics) for _, cell, result in ranked[:most]]
    of_models = sorted(
        ((alias, result) for alias, result in whole if _is_shown(result)), key=lambda each: _rank(each[1])
    )
    rows += [_wide_row(f"{alias} as a whole", result, metrics) for alias, result in of_models[:most]]
    spare, least = ((), _NARROWEST_CELL) if width >= WIDTH else (_SPARE, SHORTEST_NAME)
    lines = aligned(fitted([_WIDE_HEADINGS, *rows], width, spare, least=least)) if rows else []
    left_out = max(0, len(ranked) - most) + max(0, len(of_models) - most)
    if left_out:
        lines.append(f"... and {left_out} more")
    silent = [results for cell, results in cells if cell not in told]
    if silent:
        bound = max((result.detect or 0 for results in silent for result in results), default=0)
        lines.append(
            f"{how_many(len(silent), 'more cell' if rows else 'cell')}: pass"
            + (f" (no change for the worse above {percent(bound, sign=False)})" if bound else "")
        )
    shown = [result for _, _, result in ranked[:most]] + [result for _, result in of_models[:most]]
    if words := change_words(shown):
        lines += wrapped(f"change: {words}.", width)
    return lines


def wide_rows(
    cells: Sequence[tuple[str, Sequence[ComparisonResult]]], whole: Sequence[tuple[str, ComparisonResult]],
    metrics: Mapping[str, MetricDef],
) -> list[tuple[str, ...]]:  # fmt: skip
    """What changed or could not be told, of cells and whole models, the worst first.

    :returns: cell, metric, before, now, change, interval and verdict of each.
    """
    named = [(cell, result) for cell, results in cells for result in results]
    named += [(f"{alias} as a whole", result) for alias, result in whole]
    shown = sorted(((name, result) for name, result in named if _is_shown(result)), key=lambda each: _rank(each[1]))
    return [_wide_row(name, result, metrics) for name, result in shown]


def shown_results(
    cells: Iterable[tuple[str, Sequence[ComparisonResult]]], whole: Iterable[tuple[str, ComparisonResult]]
) -> list[ComparisonResult]:
    """Those that :func:`wide_rows` has a row for."""
    found = [result for _, results in cells for result in results] + [result for _, result in whole]
    return list(filter(_is_shown, found))


_WIDE_HEADINGS: Final = ("cell", "metric", "before", "now", "change", "interval", "verdict")
_NARROWEST_CELL: Final = 16
SHORTEST_NAME: Final = 8
"""Columns of it, in a terminal of less than 80."""


_SPARE: Final = (5, 2, 3)
"""Columns of the wide table, in the order in which a narrow terminal does without them."""


def fitted(rows: Sequence[tuple[str, ...]], width: int, spare: Sequence[int], *, least: int) -> list[tuple[str, ...]]:
    """The rows without as many columns, and with names so short, that a line fits the screen, if it can.

    :param spare: columns that can be left out, the first one first.
    :param least: columns that a name is left with; names stand in the first column.
    """
    left, kept = list(spare), list(range(len(rows[0])))
    widths = [max(len(row[column]) for row in rows) for column in kept]
    while left and min(widths[0], least) + sum(widths[column] + 2 for column in kept[1:]) > width:
        kept.remove(left.pop(0))
    room = max(least, width - sum(widths[column] + 2 for column in kept[1:]))
    return [(shortened(row[0], room), *(row[column] for column in kept[1:])) for row in rows]


def _is_shown(result: ComparisonResult) -> bool:
    return result.verdict != "pass" or result.improved or bool(result.accepted)


def _rank(result: ComparisonResult) -> tuple[int, float]:
    order = ("regressed", "lost coverage", "inconclusive", "not comparable", "new", "pass")
    return order.index(result.verdict), -abs(result.change or 0.0)


def _wide_row(name: str, result: ComparisonResult, metrics: Mapping[str, MetricDef]) -> tuple[str, ...]:
    metric = metrics.get(result.metric)
    unit, heading = (metric.unit, metric.heading) if metric else ("1", result.metric)
    shown = ["" if value is None else format_quantity(value, unit) for value in (result.base, result.candidate)]
    limits = f"{percent(result.low)} .. {percent(result.high)}" if None not in (result.low, result.high) else ""  # type: ignore[arg-type]  # neither is None
    verdict = "accepted" if result.accepted else "improved" if result.improved else _WORDS[result.verdict]
    change = "" if result.change is None else percent(result.change)
    return one_line(name), heading, *shown, change, limits, verdict


def aligned(rows: Sequence[Sequence[str]], *, left: int = 2) -> list[str]:
    """Rows of texts in columns, the first ones and the last one to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    at_left = {*range(left), len(widths) - 1}
    return [
        "  ".join(
            text.ljust(wide) if column in at_left else text.rjust(wide)
            for column, (text, wide) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
