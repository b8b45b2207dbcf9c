"""Time to the first token against the rate of the further ones: what a model does before it answers, and while it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import entitle
from .rows import lacking_words, sentences, set_axis, value_axis
from .scatter import (
    OTHER,
    Cloud,
    clouds_of,
    draw_clouds,
    frame,
    grey_words,
    name_models,
    noisy_words,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .run_data import RunData


@dataclass(frozen=True, kw_only=True)
class TtftDecode:
    """Clouds by rising time to the first token."""

    clouds: tuple[Cloud, ...]
    without: int = 0
    why: str = ""
    name: str = "ttft-against-decode-rate"
    inches: tuple[float, float] = (9.0, 5.0)

    @classmethod
    def of(cls, data: RunData) -> TtftDecode:
        """Of a run."""
        clouds = sorted(clouds_of(data, "ttft", "decode_tokens_per_s"), key=lambda cloud: cloud.middle[0])
        without = len(data.models) - len(clouds)
        missing = next((metric for metric in ("ttft", "decode_tokens_per_s") if not data.measured(metric)), "ttft")
        return cls(clouds=tuple(clouds), without=without, why="" if clouds else data.why_missing(missing))

    def lacking(self) -> str:
        return "" if self.clouds else self.why

    def draw(self, figure: Figure) -> None:
        axes = figure.add_subplot()
        frame(axes)
        across = value_axis([cloud.x for cloud in self.clouds], "s")
        up = value_axis([cloud.y for cloud in self.clouds], "1/s")
        draw_clouds(axes, self.clouds, across.factor, up.factor)
        for cloud, style in styled(self.clouds):
            x, y = cloud.middle
            grey = style is OTHER
            axes.plot(
                [x / across.factor], [y / up.factor], "o" if grey else style.marker, color=style.colour, markersize=4 if grey else 9,
                markeredgecolor="white" if grey else "black", markeredgewidth=0.8, zorder=4,
            )  # fmt: skip
        set_axis(axes, "x", across, "time to the first token")
        set_axis(axes, "y", up, "tokens after the first")
        name_models(axes, [cloud.model for cloud in self.clouds])
        entitle(
            figure,
            "Before the answer, and during it",
            sentences(
                "Dots: every round; large marks: medians of each model, over all prompts. Left and up is better.",
                noisy_words(self.clouds),
                grey_words(len(self.clouds), "shortest time to the first token"),
                lacking_words(self.without, "both numbers"),
            ),
        )
