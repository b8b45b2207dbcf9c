"""What the plots of a run draw: its rounds as arrays, a model each, and what is read only if a plot asks for it.

Plain data that anything else may render as well. Everything comes from the report; token times, which a report does not
keep, from the log; the history from the runs beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..engine.comparisons.history import History, read_history
from ..engine.reports.columns import Block
from ..engine.reports.costs import prices_of
from ..engine.reports.report import ModelSummary, SessionReport
from ..errors import ConfigError
from ..metrics import MetricDef
from ..records import Price, RoundsRecord
from ..store.log import LOG_NAME, LogReader
from ..store.runfolder import list_runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..stats.location import Floats
    from ..stats.samples import Ints

METRICS: Final = (
    "latency", "ttft", "itl", "decode_tokens_per_s", "output_tokens", "prompt_tokens", "peak_rss", "cpu_percent",
)  # fmt: skip
"""Those that plots draw."""
MOST_POSITIONS: Final = 512
"""Positions in an answer of which gaps are kept."""
MOST_RUNS: Final = 60
"""Of a history: the newest."""
MOST_HISTORY_BYTES: Final = 24 * 2**20
"""Of their logs together, so that the end of a session does not wait for all that was ever measured."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a model is worth."""

    value: float
    """Per cent."""
    published: str
    """Who published it; empty where it was measured in this run."""


@dataclass(frozen=True, kw_only=True)
class ModelRounds:
    """Every measured round of one model that counts. Arrays run over the rounds."""

    model: str
    """Alias."""
    cell: Ints
    """Number of the cell that the round belongs to, from 0."""
    noisy: NDArray[np.bool_]
    columns: Mapping[str, Floats] = field(repr=False)
    """Metric -> SI; NaN where the round has none."""
    score: Score | None

    def __len__(self) -> int:
        return len(self.cell)

    def mean(self, metric: str) -> float | None:
        """Over the rounds that have it; None where none has."""
        import numpy as np

        values = self.columns[metric]
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else None


@dataclass(frozen=True, kw_only=True)
class TokenGaps:
    """Gaps before each token of a model's answers, over all rounds that count. Arrays run over positions, the second token first."""

    model: str
    median: Floats
    """Seconds."""
    low: Floats
    """First quartile."""
    high: Floats
    """Third quartile."""
    n: Ints
    """Rounds that got so far."""
    chunked: bool
    """Whether the source groups tokens: a gap is then that between chunks."""


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """The runs beside this one."""

    history: History | None
    left_out: int
    """Older runs that were not read."""
    note: str = ""
    """Why there is none."""


@dataclass(frozen=True)
class RunData:
    """A run as plots take it."""

    report: SessionReport = field(repr=False)

    @cached_property
    def defs(self) -> dict[str, MetricDef]:
        """Metric -> its definition, of those that the run has."""
        return {metric.name: metric for metric in self.report.metrics}

    @cached_property
    def models(self) -> tuple[ModelRounds, ...]:
        """In the order of the log; those of which nothing was measured have no rounds."""
        blocks: dict[str, list[Block]] = {}
        for block in self.report.blocks:
            if self.report.status(block) == "ok":
                blocks.setdefault(block.model, []).append(block)
        return tuple(self._rounds(model, blocks.get(model.alias, [])) for model in self.report.models)

    def _rounds(self, model: ModelSummary, blocks: list[Block]) -> ModelRounds:
        import numpy as np

        cells: dict[tuple[str, str], int] = {}
        numbers = [cells.setdefault((block.test, block.cell), len(cells)) for block in blocks]
        return ModelRounds(
            model=model.alias,
            cell=np.repeat(np.array(numbers, dtype=np.intp), [block.n for block in blocks]),
            noisy=np.array([bool(mark) for block in blocks for mark in block.noisy], dtype=np.bool_),
            columns={name: self._column(name, blocks) for name in METRICS},
            score=_score(model),
        )

    def _column(self, metric: str, blocks: list[Block]) -> Floats:
        import numpy as np

        parts = []
        for block in blocks:
            at = block.layout.get(metric)
            if at is None or metric not in self.defs:
                parts.append(np.full(block.n, np.nan))
            else:
                parts.append(np.frombuffer(block.numbers, dtype=np.float64)[at * block.n : (at + 1) * block.n])
        column = np.concatenate(parts) if parts else np.empty(0)
        return column / 1e9 if metric in self.defs and self.defs[metric].stored == "ns" else column

    def measured(self, metric: str) -> list[ModelRounds]:
        """The models of which at least one round has that metric."""
        import numpy as np

        return [model for model in self.models if np.isfinite(model.columns[metric]).any()]

    def why_missing(self, metric: str) -> str:
        """Why no model has a metric, in a sentence without a full stop."""
        if not any(map(len, self.models)):
            return "no round was measured"
        if metric not in self.defs:
            return f"this run does not know the metric {metric}"
        reasons = [reason for cell in self.report.cells if (reason := cell.why_missing(metric))]
        return f"{metric} was not measured: {reasons[0]}" if reasons else f"{metric} was not measured"

    def without(self, metric: str) -> int:
        """How many models were asked and have no number of that metric."""
        return len(self.models) - len(self.measured(metric))

    @cached_property
    def prices(self) -> tuple[Price, ...]:
        """What machines and tokens cost: as the session named them, else the packaged table."""
        return tuple(prices_of(self.report))

    def token_gaps(self, models: Sequence[str]) -> list[TokenGaps]:
        """The gaps of those models, read from the log; models of which no token was seen to arrive are left out."""
        ok = {block.uid for block in self.report.blocks if block.model in models and self.report.status(block) == "ok"}
        found: dict[str, tuple[list[list[int]], set[str]]] = {}
        for record in _rounds_of(self.report.folder, ok):
            gaps, sources = found.setdefault(record.model, ([], set()))
            gaps.extend(times[1 : MOST_POSITIONS + 1] for times in record.token_ns if len(times) > 1)
            sources.add(record.token_source)
        return [_gaps(model, *found[model]) for model in models if model in found and found[model][0]]

    @cached_property
    def history(self) -> RunHistory:
        """This run and the newest of those beside it, up to this one."""
        return read_beside(self.report.folder.parent, self.report.header.run_id)


def _score(model: ModelSummary) -> Score | None:
    measured = model.statistics.get("score", {}).get("mean")
    if measured is not None:
        return Score(value=measured, published="")
    published = model.published
    return Score(value=published.value, published=published.source) if published else None


def _rounds_of(folder: Path, uids: set[str]) -> Iterator[RoundsRecord]:
    """Each of these blocks once."""
    left = set(uids)
    for record in LogReader(folder / LOG_NAME, (RoundsRecord.TYPE,)):
        if isinstance(record, RoundsRecord) and record.uid in left:
            left.remove(record.uid)
            yield record


def _gaps(model: str, rows: list[list[int]], sources: set[str]) -> TokenGaps:
    import numpy as np

    longest = max(map(len, rows))
    table = np.full((len(rows), longest), np.nan)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    low, middle, high = np.nanpercentile(table / 1e9, [25, 50, 75], axis=0)
    return TokenGaps(
        model=model, median=middle, low=low, high=high, n=np.isfinite(table).sum(axis=0), chunked="chunks" in sources,
    )  # fmt: skip


def read_beside(output: Path, run_id: str) -> RunHistory:
    """The history of a folder of runs up to one of them, as far as it is read."""
    runs = [run for run in list_runs(output) if run.name <= run_id]
    if not any(run.name == run_id for run in runs):
        return RunHistory(history=None, left_out=0, note="the run lies in no folder of runs, so that it has no history")
    if len(runs) < 2:
        return RunHistory(history=None, left_out=0, note="this is the first run in its folder; a history needs two")
    chosen: list[Path] = []
    size = 0
    for run in reversed(runs):
        size += (run / LOG_NAME).stat().st_size
        if len(chosen) >= 2 and (size > MOST_HISTORY_BYTES or len(chosen) >= MOST_RUNS):
            break
        chosen.append(run)
    try:
        return RunHistory(history=read_history(chosen), left_out=len(runs) - len(chosen))
    except ConfigError as error:
        return RunHistory(history=None, left_out=0, note=str(error))
