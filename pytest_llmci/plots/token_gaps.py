"""Gap before each token over its position in the answer: whether a model gets slower as its answer grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import entitle
from .rows import cut_words, lacking_words, run_noise, sentences, set_axis, value_axis
from .run_data import MOST_POSITIONS, TokenGaps
from .scatter import MOST_COLOURS, STYLES, frame, name_models

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .run_data import RunData


@dataclass(frozen=True, kw_only=True)
class GapsOverPosition:
    """Lines by rising mean gap; as many models as there are colours."""

    gaps: tuple[TokenGaps, ...]
    models: int
    """How many have gaps, shown or not."""
    without: int = 0
    noise: str = ""
    """How many rounds are noisy, in a sentence."""
    why: str = ""
    name: str = "itl-over-position"
    inches: tuple[float, float] = (9.0, 4.8)

    @classmethod
    def of(cls, data: RunData) -> GapsOverPosition:
        """Of a run."""
        having = sorted(data.measured("itl"), key=lambda model: model.mean("itl") or 0.0)
        gaps = data.token_gaps([model.model for model in having[:MOST_COLOURS]])
        return cls(
            gaps=tuple(gaps), models=len(having), without=data.without("itl"), noise=run_noise(data),
            why="" if gaps else data.why_missing("itl"),
        )  # fmt: skip

    def lacking(self) -> str:
        return "" if self.gaps else self.why

    def draw(self, figure: Figure) -> None:
        import numpy as np

        axes = figure.add_subplot()
        frame(axes)
        # the bands set the axis: single stalls would press everything else to its floor
        scale = value_axis([np.concatenate([gap.median, gap.high[:1]]) for gap in self.gaps], "s")
        longest = 1
        for gap, style in zip(self.gaps, STYLES, strict=False):
            positions = np.arange(2, len(gap.median) + 2)
            longest = max(longest, int(positions[-1]))
            axes.fill_between(positions, scale(gap.low), scale(gap.high), color=style.colour, alpha=0.18, linewidth=0)
            axes.plot(
                positions, scale(gap.median), color=style.colour, linestyle=style.line, linewidth=1.6,
                marker=style.marker if len(positions) < 8 else "",
            )  # fmt: skip
        set_axis(axes, "y", scale, "gap before the token")
        axes.set_xlim(1, max(longest + 1, 3))
        axes.set_xlabel("position in the answer, from the second token on")
        name_models(axes, [gap.model for gap in self.gaps], lines=True)
        most, least = max(int(gap.n[0]) for gap in self.gaps), min(int(gap.n[-1]) for gap in self.gaps)
        reached = (
            f"{most:,} of a model at the start of its line, at least {least:,} at its end"
            if most > least
            else f"{most:,} of each model"
        )
        entitle(
            figure,
            "Time between tokens",
            sentences(
                f"Lines: median over the rounds that got so far ({reached}). Bands: quartiles.",
                self.noise,
                _chunk_words([gap.model for gap in self.gaps if gap.chunked]),
                cut_words(len(self.gaps), self.models, "with the shortest mean gap"),
                f"Positions up to {MOST_POSITIONS + 1}." if longest > MOST_POSITIONS else "",
                lacking_words(self.without, "gaps"),
            ),
        )


def _chunk_words(models: list[str]) -> str:
    return f"Of {', '.join(models)} the gaps are those between chunks of tokens." if models else ""
