"""Which models of a leaderboard are worth measuring: the highest scores within limits, and why every other model lost.

What is not known is never taken for met: without a size a model is not under any limit, without a licence it has none of those asked
for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from ..errors import ConfigError, UnknownNameError
from ..slugs import slug
from ..units import format_bytes
from .repeats import find_repeated, is_full_precision, one_a_model, same_model
from .sizes import Size, format_size, size_of
from .table import Entry, Leaderboard

Dtype = Literal["float32", "bfloat16", "float16"]
BYTES: Final[dict[Dtype, int]] = {"float32": 4, "bfloat16": 2, "float16": 2}
OVERHEAD_BYTES: Final = 512 * 2**20
"""Python, torch, transformers and a short context: what a process of a model of no size to speak of takes, rounded up."""
Group = Literal["flagged", "gated", "unavailable", "adapters", "packed"]
GROUPS: Final[dict[Group, str]] = {
    "flagged": "flagged by the board",
    "gated": "gated: its weights need an agreement",
    "unavailable": "not on the hub any more",
    "adapters": "adapter or delta weights, which need another model",
    "packed": "packed weights (GPTQ, AWQ, GGML), which transformers does not load as they are",
}
"""What is left out unless it is asked for, with the reason."""
_PACKED: Final = re.compile(r"(?i)(?:^|[^a-z])(gptq|awq|ggml|exl2)(?:$|[^a-z])")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?\Z", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is asked for."""

    max_params_b: float | None = None
    max_memory_bytes: int | None = None
    min_score: float | None = None
    licenses: tuple[str, ...] = ()
    """Names or globs, any of which will do; empty for any licence or none."""
    types: tuple[str, ...] = ()
    by: str = ""
    """Title of the score that ranks; empty for the average."""
    dtype: Dtype = "float32"
    """What the models are to be loaded in."""
    include: frozenset[Group] = frozenset()
    top: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """An estimate, in bytes, of what a model's process needs."""

    low: float
    high: float

    def __str__(self) -> str:
        low, high = format_bytes(self.low), format_bytes(self.high)
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why a model is not among the chosen."""

    kind: str
    """The same for all models that lost for it."""
    detail: str = ""
    """Of this model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A model of the board, measured against what is asked for."""

    entry: Entry
    score: float | None
    """That which ranks, per cent."""
    size: Size | None
    memory: Memory | None
    reasons: tuple[Reason, ...]
    """Why it cannot be chosen; empty if it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A model to measure."""

    candidate: Candidate
    rank: int
    spec: str
    """For ``--llm-models``."""
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What became of every model."""

    board: Leaderboard
    wanted: Wanted
    by: str
    """Title of the score that ranks."""
    models: int
    chosen: tuple[Chosen, ...]
    lower: tuple[Candidate, ...]
    """Within every limit, and with a lower score than the chosen; the best first."""
    lost: tuple[Candidate, ...]
    """The others, in the order of the file."""

    def lost_by_first_reason(self) -> dict[str, list[Candidate]]:
        """Kind of reason -> the models that lost for it first, the most frequent kind first, the best models first."""
        found: dict[str, list[Candidate]] = {}
        for candidate in sorted(self.lost, key=_by_score):
            found.setdefault(candidate.reasons[0].kind, []).append(candidate)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def select(board: Leaderboard, wanted: Wanted) -> Selection:
    """Choose models from a board; each model counts once, by :data:`~pytest_llmci.leaderboard.repeats.RULE`.

    :raises ConfigError: if something is asked for that the file does not tell.
    """
    by = _ranking(board, wanted.by)
    _check_columns(board, wanted)
    doubtful = {
        same_model(each.model)
        for each in find_repeated(board.entries)
        if any(entry.flagged for entry in (each.kept, *each.others))
    }
    candidates = [_candidate(entry, board, wanted, by, doubtful) for entry in one_a_model(board.entries)]
    fit = sorted((candidate for candidate in candidates if not candidate.reasons), key=_by_score)
    specs = _specs([candidate.entry for candidate in fit[: wanted.top]], wanted.dtype)
    return Selection(
        board=board,
        wanted=wanted,
        by=by,
        models=len(candidates),
        chosen=tuple(
            Chosen(candidate=candidate, rank=rank, spec=spec, why=_why(candidate, rank, fit, by))
            for rank, (candidate, spec) in enumerate(zip(fit, specs, strict=False), 1)
        ),
        lower=tuple(fit[wanted.top :]),
        lost=tuple(candidate for candidate in candidates if candidate.reasons),
    )


def _ranking(board: Leaderboard, asked: str) -> str:
    titles = {title.casefold(): title for title in (board.average, *board.benchmarks)}
    if not asked:
        return board.average
    if asked.casefold() not in titles:
        raise UnknownNameError.build("--by", "score", asked, titles.values())
    return titles[asked.casefold()]


def _check_columns(board: Leaderboard, wanted: Wanted) -> None:
    for asked, role, option in ((wanted.licenses, "license", "--license"), (wanted.types, "type", "--type")):
        if asked and role not in board.has:
            raise ConfigError(
                f"{option}: {board.path} has no column for it, so that no model could meet it; leave it out."
            )


def _by_score(candidate: Candidate) -> tuple[float, float, str]:
    """The best first; of equals the smaller one."""
    size = candidate.size.high_b if candidate.size else float("inf")
    return (-(candidate.score if candidate.score is not None else -1.0), size, candidate.entry.model)


# ---------------------------------------------------------------------------------------------------------- one model


def _candidate(entry: Entry, board: Leaderboard, wanted: Wanted, by: str, doubtful: Iterable[str]) -> Candidate:
    score = entry.average if by == board.average else entry.scores.get(by)
    size = size_of(entry, board)
    memory = memory_of(size, wanted.dtype) if size else None
    reasons = [
        *_by_group(entry, wanted, is_flagged=bool(entry.flagged) or same_model(entry.model) in doubtful),
        *_by_score_limit(score, wanted, by),
        *_by_size(size, memory, wanted),
        *_by_text(entry, wanted),
    ]
    return Candidate(entry=entry, score=score, size=size, memory=memory, reasons=tuple(reasons))


def memory_of(size: Size, dtype: Dtype) -> Memory:
    """What a process that loads the model in that dtype needs: its parameters, and :data:`OVERHEAD_BYTES`."""
    low, high = (billions * 1e9 * BYTES[dtype] + OVERHEAD_BYTES for billions in (size.low_b, size.high_b))
    return Memory(low=low, high=high)


def _by_group(entry: Entry, wanted: Wanted, *, is_flagged: bool) -> list[Reason]:
    is_in: dict[Group, bool] = {
        "flagged": is_flagged,
        "gated": bool(entry.gated),
        "unavailable": entry.on_hub is False,
        "adapters": entry.weights.casefold() in ("adapter", "delta"),
        "packed": bool(_PACKED.search(entry.model) or _PACKED.search(entry.precision)),
    }
    reasons = [Reason(kind=GROUPS[group]) for group, held in is_in.items() if held and group not in wanted.include]
    if not _REPOSITORY.match(entry.model):
        reasons.append(Reason(kind="named unlike any repository of the hub"))
    return reasons


def _by_score_limit(score: float | None, wanted: Wanted, by: str) -> list[Reason]:
    if score is None:
        return [Reason(kind=f"{by} not known")]
    if wanted.min_score is not None and score < wanted.min_score:
        return [Reason(kind=f"{by} under {wanted.min_score:g}")]
    return []


def _by_size(size: Size | None, memory: Memory | None, wanted: Wanted) -> list[Reason]:
    if wanted.max_params_b is None and wanted.max_memory_bytes is None:
        return []
    if size is None or memory is None:
        return [Reason(kind="size not known")]
    reasons = []
    source = f", {size.source}" if size.source else ""
    if wanted.max_params_b is not None and size.high_b > wanted.max_params_b:
        reasons.append(Reason(kind=f"over {format_size(wanted.max_params_b)} parameters", detail=f"{size}{source}"))
    if wanted.max_memory_bytes is not None and memory.high > wanted.max_memory_bytes:
        limit = format_bytes(wanted.max_memory_bytes)
        reasons.append(Reason(kind=f"over {limit} of memory by estimate", detail=f"{memory}{source}"))
    return reasons


def _by_text(entry: Entry, wanted: Wanted) -> list[Reason]:
    reasons = []
    for what, text, globs in (("licence", entry.license, wanted.licenses), ("type", entry.type, wanted.types)):
        if globs and not text:
            reasons.append(Reason(kind=f"{what} not known"))
        elif globs and not any(fnmatchcase(text.casefold(), glob.casefold()) for glob in globs):
            reasons.append(Reason(kind=f"{what} other than {', '.join(globs)}", detail=text))
    return reasons


# ---------------------------------------------------------------------------------------------------------- the chosen


def _why(candidate: Candidate, rank: int, fit: Sequence[Candidate], by: str) -> str:
    behind = (fit[0].score or 0.0) - (candidate.score or 0.0)  # those that fit have one
    parts = [f"highest {by} of {len(fit):,}" if rank == 1 else f"{behind:.2f} below the first"]
    if candidate.size and candidate.size.source:
        parts.append(
            f"size {candidate.size.source}" if candidate.size.source.startswith("from") else candidate.size.source
        )
    if not is_full_precision(candidate.entry.precision):
        parts.append(f"score of {candidate.entry.precision}")
    return "; ".join(parts)


def _specs(entries: Sequence[Entry], dtype: Dtype) -> list[str]:
    """A spec each, with the commit that was evaluated; models of one name in two organisations get aliases."""
    stems = [slug(entry.model.rpartition("/")[2], longest=60) for entry in entries]
    specs = []
    for entry, stem in zip(entries, stems, strict=True):
        alias = f"{slug(entry.model.replace('/', '-'), longest=60)}=" if stems.count(stem) > 1 else ""
        commit = f"@{entry.revision}" if _COMMIT.match(entry.revision) else ""
        specs.append(f"{alias}{entry.model}{commit}{'' if dtype == 'float32' else f'+dtype={dtype}'}")
    return specs
