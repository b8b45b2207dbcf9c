"""The rounds of one cell as a small picture: a dot each, noisy ones as crosses, a line at the median."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from ..units import format_duration

WIDTH: Final = 360
HEIGHT: Final = 64
_LEFT, _RIGHT, _TOP, _BOTTOM = 4.0, 4.0, 6.0, 6.0


def rounds_chart(seconds: Sequence[float], noisy: Sequence[bool]) -> str:
    """An ``<svg>`` of numbers alone; empty where there is no round.

    The axis begins at zero, so that a small spread looks small.

    :param noisy: of each round.
    """
    if not seconds:
        return ""
    top = max(*seconds, 1e-12)
    step = (WIDTH - _LEFT - _RIGHT) / len(seconds)
    marks = [
        _mark(_LEFT + (place + 0.5) * step, _height(value, top), is_noisy)
        for place, (value, is_noisy) in enumerate(zip(seconds, noisy, strict=True))
    ]
    middle = _height(median(seconds), top)
    crosses = sum(noisy)
    told = f"{len(seconds)} rounds" if len(seconds) != 1 else "1 round"
    label = f"latency of {told}, {format_duration(min(seconds))} to {format_duration(max(seconds))}, axis from 0" + (
        f"; {crosses} noisy" if crosses else ""
    )
    return (
        f'<svg class="rounds-chart" role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}">'
        f'<path class="axis" d="M{_LEFT} {HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'
        f'<path class="middle" d="M{_LEFT} {middle:.1f}H{WIDTH - _RIGHT}"/>{"".join(marks)}</svg>'
    )


def _height(value: float, top: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * max(value, 0.0) / top


def _mark(x: float, y: float, is_noisy: bool) -> str:
    if is_noisy:
        return f'<path class="noisy" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
