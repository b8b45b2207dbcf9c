"""Latency against the length of the answer: who is slow, and who only says more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..text import how_many
from .base import entitle
from .rows import lacking_words, sentences, set_axis, value_axis
from .scatter import Cloud, clouds_of, draw_clouds, frame, grey_words, name_models, noisy_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .run_data import RunData


@dataclass(frozen=True, kw_only=True)
class LatencyLength:
    """Clouds by rising latency a token."""

    clouds: tuple[Cloud, ...]
    without: int = 0
    why: str = ""
    name: str = "latency-against-length"
    inches: tuple[float, float] = (9.0, 5.0)

    @classmethod
    def of(cls, data: RunData) -> LatencyLength:
        """Of a run."""
        clouds = sorted(clouds_of(data, "output_tokens", "latency"), key=_slowness)
        missing = next(
            (metric for metric in ("latency", "output_tokens") if not data.measured(metric)), "output_tokens"
        )
        without = len(data.models) - len(clouds)
        return cls(clouds=tuple(clouds), without=without, why="" if clouds else data.why_missing(missing))

    def lacking(self) -> str:
        if not self.clouds:
            return self.why
        lengths = {float(length) for cloud in self.clouds for length in (cloud.x.min(), cloud.x.max())}
        if len(lengths) > 1:
            return ""
        return f"every answer has {how_many(round(lengths.pop()), 'token')}, as where the length is fixed: latency tells all"

    def draw(self, figure: Figure) -> None:
        axes = figure.add_subplot()
        frame(axes)
        across, up = (
            value_axis([cloud.x for cloud in self.clouds], "1"),
            value_axis([cloud.y for cloud in self.clouds], "s"),
        )
        draw_clouds(axes, self.clouds, across.factor, up.factor)
        set_axis(axes, "x", across, "output tokens")
        set_axis(axes, "y", up, "latency")
        name_models(axes, [cloud.model for cloud in self.clouds])
        entitle(
            figure,
            "Latency and length of the answer",
            sentences(
                "Dots: every round.",
                noisy_words(self.clouds),
                grey_words(len(self.clouds), "least latency a token"),
                lacking_words(self.without, "both numbers"),
            ),
        )


def _slowness(cloud: Cloud) -> float:
    import numpy as np

    return float(np.median(cloud.y / np.maximum(cloud.x, 1)))
