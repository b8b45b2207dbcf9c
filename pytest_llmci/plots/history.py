"""A metric over the runs of a folder, a panel for each model, with the runs at which its level changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..engine.comparisons.history import Series
from ..text import how_many
from .base import BLUE, FAINT, INK, VERMILION, entitle, label
from .rows import sentences
from .scatter import frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .run_data import RunData

MOST_PANELS: Final = 8
_TICKS: Final = 6


@dataclass(frozen=True, kw_only=True)
class MetricHistory:
    """One series a model, those that changed first."""

    series: tuple[Series, ...] = field(repr=False)
    runs: tuple[str, ...]
    """Ids, oldest first."""
    models: int
    """How many have a series, shown or not."""
    left_out: int = 0
    """Older runs that were not read."""
    skipped: int = 0
    """Runs that cannot be read."""
    why: str = ""
    name: str = "history"

    @classmethod
    def of(cls, data: RunData) -> MetricHistory:
        """The latency of a run's models over the runs beside it."""
        found = data.history
        if found.history is None:
            return cls(series=(), runs=(), models=0, why=found.note)
        history = found.history
        mine = {model.alias for model in data.report.models}
        series = [
            each for each in history.series if each.model in mine and sum(p.value is not None for p in each.points) > 1
        ]
        runs = tuple(run.run_id for run in history.runs)
        return cls(
            series=chosen(series), runs=runs, models=len(series), left_out=found.left_out, skipped=len(history.skipped),
            why="" if series else "no model of this run is in an older one beside it",
        )  # fmt: skip

    @property
    def inches(self) -> tuple[float, float]:
        return (8.5, 1.5 + 1.75 * len(self.series))

    def lacking(self) -> str:
        return "" if self.series else self.why

    def draw(self, figure: Figure) -> None:
        panels = figure.subplots(len(self.series), 1, sharex=True, squeeze=False)[:, 0]
        place = {run: number for number, run in enumerate(self.runs)}
        for axes, series in zip(panels, self.series, strict=True):
            _panel(axes, series, place)
        ticks = sorted({round(number * (len(self.runs) - 1) / (_TICKS - 1)) for number in range(_TICKS)})
        panels[-1].set_xticks(ticks, [_when(self.runs[tick]) for tick in ticks], fontsize=8)
        panels[-1].set_xlim(-0.5, len(self.runs) - 0.5)
        panels[-1].set_xlabel("run, oldest first (UTC)")
        heading = self.series[0].metric.heading
        entitle(
            figure,
            f"History: {heading}",
            sentences(
                "Dots: median over all rounds of a run; lines join runs that are alike. Hollow: another machine, other prompts or"
                " settings than the newest run.",
                _note_words(self.series),
                f"The {MOST_PANELS} of {self.models:,} models, those that changed first."
                if len(self.series) < self.models
                else "",
                f"{how_many(self.left_out, 'older run')} not shown." if self.left_out else "",
                f"{how_many(self.skipped, 'run')} cannot be read." if self.skipped else "",
            ),
        )


def chosen(series: Sequence[Series]) -> tuple[Series, ...]:
    """As many as there are panels: changed ones first, by the size of the change, the others in their order."""
    ordered = sorted(series, key=lambda each: -max((abs(change.change) for _, change in each.changes), default=0.0))
    return tuple(ordered[:MOST_PANELS])


def _panel(axes: Axes, series: Series, place: dict[str, int]) -> None:
    from ..units import axis_scale

    known = [(place[point.run.run_id], point) for point in series.points if point.value is not None]
    highest = max(point.value or 0.0 for _, point in known)
    factor, unit = axis_scale(highest, series.metric.unit)
    alike = [(x, (point.value or 0.0) / factor) for x, point in known if point.alike]
    other = [(x, (point.value or 0.0) / factor) for x, point in known if not point.alike]
    frame(axes)
    axes.plot([x for x, _ in alike], [y for _, y in alike], "o-", color=BLUE, markersize=4, linewidth=1)
    if other:
        axes.plot([x for x, _ in other], [y for _, y in other], "o", color="white", markeredgecolor=FAINT, markersize=4)
    for point, change in series.changes:
        x = place[point.run.run_id]
        worse = series.is_worse(change)
        axes.axvline(x - 0.5, color=VERMILION if worse else INK, linestyle="--", linewidth=1.4)
        axes.annotate(
            f"{change.change * 100:+.3g} % {'worse' if worse else 'better'}", (x - 0.5, 1), xycoords=("data", "axes fraction"),
            xytext=(3, -3), textcoords="offset points", va="top", fontsize=8, color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )  # fmt: skip
    axes.set_ylim(0, max(y for _, y in alike + other) * 1.25)
    axes.set_ylabel(unit or series.metric.heading)
    axes.set_title(label(series.model, 60), fontsize=9.5)


def _when(run: str) -> str:
    """A run's time as people read it: ``20261129T031415Z-abc123`` -> 11-29 and below it 03:14."""
    digits = run[:15]
    if len(digits) < 13 or not digits[:8].isdigit():
        return label(run, 12)
    return f"{digits[4:6]}-{digits[6:8]}\n{digits[9:11]}:{digits[11:13]}"


def _note_words(series: Sequence[Series]) -> str:
    notes = list(dict.fromkeys(each.note for each in series if each.note))
    changed = sum(bool(each.changes) for each in series)
    if not notes:
        return f"Dashed: a level began ({how_many(changed, 'model')})." if changed else "No level changed."
    return (
        f"No change points: {notes[0]}."
        if not changed
        else f"Dashed: a level began. Not looked for everywhere: {notes[0]}."
    )
