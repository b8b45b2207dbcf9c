"""What a server makes of a rising rate of requests: percentiles of the latency, and the goodput, over what was offered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..load.scenario import limits_text, parse_scenario
from ..records import LoadRecord
from ..units import format_rate
from .base import FAINT, INK, entitle, finite, labels
from .rows import sentences, set_axis, value_axis
from .scatter import MOST_COLOURS, STYLES, Style, frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .run_data import RunData

LINES: Final = {"p50": "-", "p95": "--", "p99": ":"}
LEAST_RATES: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One run at one rate, SI; None: missing."""

    rate: float
    latency: dict[str, float | None]
    goodput: float | None
    throughput: float | None
    kept: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A model's runs by rising rate."""

    model: str
    points: tuple[Point, ...]
    max_rate: float | None
    """Of a sweep what it found, of several the median."""
    objective: str


@dataclass(frozen=True, kw_only=True)
class LoadOverRate:
    """Curves in the order of the models."""

    curves: tuple[Curve, ...]
    name: str = "load-over-rate"
    inches: tuple[float, float] = (10.0, 4.8)

    @classmethod
    def of(cls, data: RunData) -> LoadOverRate | None:
        """Of a run; None where nothing was offered at a rate."""
        runs: dict[str, list[LoadRecord]] = {}
        for each in data.report.loads:
            if each.run.rate is not None:
                runs.setdefault(each.model, []).append(each)
        if not runs:
            return None
        best: dict[str, list[float]] = {}
        for cell in data.report.cells:
            if cell.load:
                best.setdefault(cell.model, []).extend(cell.values("max_rate"))
        return cls(curves=tuple(_curve(model, found, sorted(best.get(model, ()))) for model, found in runs.items()))

    def lacking(self) -> str:
        if any(len({point.rate for point in curve.points}) >= LEAST_RATES for curve in self.curves):
            return ""
        return (
            "it takes several rates: a sweep, --llmci-load='rate=1..64 ttft<=500ms', or several --llmci-load='rate=...'"
        )

    def draw(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        shown = self.curves[:MOST_COLOURS]
        rates = [[point.rate for point in curve.points] for curve in shown]
        times = [found for curve in shown for point in curve.points if (found := finite([*point.latency.values()]))]
        flows = [[value] for curve in shown for point in curve.points if (value := self._flow(point)) is not None]
        across, up, flow = (
            value_axis(rates, "1/s"),
            value_axis(times or [[1.0]], "s"),
            value_axis(flows or [[1.0]], "1/s"),
        )
        every = sorted({rate for each in rates for rate in each})
        right.plot(every, every, color=FAINT, linewidth=1, zorder=1)
        for curve, style in zip(shown, STYLES, strict=False):
            for name, line in LINES.items():
                points = [
                    (point, value / up.factor) for point in curve.points if (value := point.latency[name]) is not None
                ]
                _line(left, points, style, line, marked=name == "p50")
            points = [(point, value) for point in curve.points if (value := self._flow(point)) is not None]
            _line(right, points, style, "-", marked=True)
        for axes, scale, words in (
            (left, up, "latency"),
            (right, flow, "requests that kept the objective" if self._has_goodput else "answered requests"),
        ):
            frame(axes)
            set_axis(axes, "x", across, "offered requests")
            set_axis(axes, "y", scale, words)
            for curve, style in zip(shown, STYLES, strict=False):
                if curve.max_rate is not None:
                    axes.axvline(curve.max_rate, color=style.colour, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        _legend(right, [curve.model for curve in shown])
        entitle(figure, "Latency and goodput over the offered rate", self._caption(len(shown)))

    def _flow(self, point: Point) -> float | None:
        return point.goodput if self._has_goodput else point.throughput

    @property
    def _has_goodput(self) -> bool:
        return any(point.goodput is not None for curve in self.curves for point in curve.points)

    def _caption(self, shown: int) -> str:
        objectives = list(dict.fromkeys(curve.objective for curve in self.curves if curve.objective))
        found = [
            f"{curve.model} {format_rate(curve.max_rate)} /s" for curve in self.curves if curve.max_rate is not None
        ]
        return sentences(
            "Latency from the intended sending: median solid, p95 dashed, p99 dotted where a run has enough requests.",
            f"Objective: {', '.join(objectives)}." if objectives else "",
            f"Dotted upright: highest rate that kept it ({', '.join(found)})." if found else "",
            "Hollow: missed the objective. Grey: all that is offered.",
            f"{len(self.curves) - shown} more models are not shown." if len(self.curves) > shown else "",
        )


def _curve(model: str, runs: Sequence[LoadRecord], best: Sequence[float]) -> Curve:
    points = sorted((_point(each) for each in runs), key=lambda point: point.rate)
    scenario = parse_scenario(runs[0].scenario, "log")
    return Curve(
        model=model, points=tuple(points), max_rate=best[len(best) // 2] if best else None,
        objective=" ".join(limits_text(scenario.objective)),
    )  # fmt: skip


def _point(record: LoadRecord) -> Point:
    values = record.run.values
    times = {name: values.get(f"request_latency_{name}") for name in LINES}
    return Point(
        rate=record.run.rate or 0.0, goodput=values.get("goodput"), throughput=values.get("request_throughput"), kept=record.run.kept,
        latency={name: None if value is None else value / 1e9 for name, value in times.items()},
    )  # fmt: skip


def _line(axes: Axes, points: Sequence[tuple[Point, float]], style: Style, line: str, *, marked: bool) -> None:
    axes.plot(
        [point.rate for point, _ in points],
        [value for _, value in points],
        color=style.colour,
        linestyle=line,
        linewidth=1.4,
    )
    for point, value in points if marked else ():
        face = "white" if point.kept is False else style.colour
        axes.plot([point.rate], [value], style.marker, color=style.colour, markerfacecolor=face, markersize=5, zorder=3)


def _legend(axes: Axes, models: Sequence[str]) -> None:
    for text, style in zip(labels(models, 26), STYLES, strict=False):
        axes.plot([], [], color=style.colour, marker=style.marker, markersize=5, label=text)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8, borderaxespad=0, labelcolor=INK)
