"""Which shard of a matrix measures which model: balanced by predicted cost, and the same when models are added.

The rule is rendezvous hashing with bounded loads. Every model ranks the shards by a hash of its name and their number. Models
choose in turn, the dearest first and equally dear ones in the order of a hash of their names: each takes the first shard of its ranking
that has room, and where none has, the one with the least to do. Room is the mean cost of a shard, a tenth added and rounded up
to a power of 1.25; costs are rounded to such powers, too. So

*   no shard gets more than 1.375 means, or one mean and one model;
*   a model that is added takes a place that its own hash chooses, and others move only where it takes the last of the room;
*   small changes of a cost, or of the number of models, change nothing.

The rule needs names and costs alone, so that machines which do not know of each other come to the same result.

    Mirrokni, Thorup, Zadimoghaddam (2018): Consistent hashing with bounded loads; Thaler, Ravishankar (1998): rendezvous.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, Final

from ..errors import ConfigError
from ..records import HeaderRecord
from ..store.log import LOG_NAME, LogReader
from ..store.runfolder import list_runs, resolve_run
from .estimate import estimate_seconds, read_metrics

STEP: Final = 1.25
"""Costs and room are powers of it."""
SLACK: Final = 1.1
"""How much more than the mean a shard may always hold."""
MOST_OVER_MEAN: Final = SLACK * STEP
"""Of a shard that holds several models, as a multiple of the mean cost."""
_LOOKED_AT: Final = 50  # runs in which a whole one is looked for


def assign(costs: Mapping[str, float], of: int) -> dict[str, int]:
    """Model -> its shard, from 1.

    :param costs: alias -> predicted cost in any unit, more than zero.
    :param of: number of shards.
    """
    rounded = {alias: STEP ** _power(cost) for alias, cost in costs.items()}
    room = room_of(rounded.values(), of)
    load = [0.0] * of
    found = {}
    for alias in sorted(rounded, key=lambda alias: (-rounded[alias], _hash(alias), alias)):
        ranking = sorted(range(of), key=lambda shard: _hash(f"{alias}/{shard + 1}"))
        fits = (shard for shard in ranking if load[shard] + rounded[alias] <= room)
        shard = next(fits, None)
        if shard is None:
            shard = min(ranking, key=load.__getitem__)
        load[shard] += rounded[alias]
        found[alias] = shard + 1
    return {alias: found[alias] for alias in costs}


def room_of(costs: Collection[float], of: int) -> float:
    """What a shard may hold before others are asked; costs as they are rounded."""
    mean = math.fsum(costs) / of
    return STEP ** math.ceil(math.log(mean * SLACK, STEP) - 1e-9) if mean > 0 else 0.0


def _power(cost: float) -> int:
    return round(math.log(cost, STEP))


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]


def shard_of_file(path: str, of: int) -> int:
    """Where tests without a model run, those of a file together: a shard from 1."""
    return min(range(of), key=lambda shard: _hash(f"{path}/{shard + 1}")) + 1


# -------------------------------------------------------------------------------------------------------------- costs


def predicted_costs(
    answers: Mapping[str, int], tokens: Mapping[str, int | None], history: Mapping[str, Any], sizes: Mapping[str, float]
) -> dict[str, float]:
    """Model -> predicted cost: seconds where it ran before, else by its size, else that of the median model.

    :param answers: alias -> answers that it will give.
    :param tokens: alias -> length of an answer where it is fixed.
    :param history: metrics of an earlier run, see :func:`.estimate.read_history`.
    :param sizes: alias -> size of the model in any unit, where it is known.
    """
    seconds = {
        alias: found
        for alias, count in answers.items()
        if (found := estimate_seconds(dict(history), alias, answers=count, tokens=tokens.get(alias)))
    }
    work = {alias: sizes[alias] * answers[alias] for alias in answers if sizes.get(alias) and answers[alias]}
    ratios = [seconds[alias] / work[alias] for alias in seconds if alias in work]
    scale = median(ratios) if ratios else None
    if seconds and scale is None:
        work = {}  # nothing tells how many seconds a size stands for
    known = {**{alias: amount * (scale or 1.0) for alias, amount in work.items()}, **seconds}
    an_answer = median(cost / max(1, answers[alias]) for alias, cost in known.items()) if known else 1.0
    return {alias: known.get(alias) or an_answer * max(1, count) for alias, count in answers.items()}


def read_costs(asked: str, output: Path, base: Path, origin: str) -> tuple[dict[str, Any], str]:
    """What models took before, and where that is written.

    :param asked: a run, or a file like a run's ``metrics.json``; empty for the newest run in ``output`` that is no shard.
    :param base: what a relative file starts from.
    :returns: metrics by model, empty where nothing is known; and a name for their source.
    :raises ConfigError: if what was asked for cannot be read.
    """
    if asked:
        file = base / asked
        found = read_metrics(file if file.is_file() else resolve_run(asked, output) / "metrics.json")
        if not found:
            raise ConfigError(
                f"{origin}: '{asked}' holds no metrics of models; name a run, or a file like the metrics.json of one."
            )
        return found, asked
    for run in list_runs(output)[: -_LOOKED_AT - 1 : -1]:
        if is_whole(run) and (found := read_metrics(run / "metrics.json")):
            return found, run.name
    return {}, ""


def is_whole(run: Path) -> bool:
    """Whether a run is neither a shard nor one that measured nothing itself; false where its log cannot be read."""
    from ..errors import LLMCIError

    try:
        header = next(iter(LogReader(run / LOG_NAME, ("header",))), None)
    except LLMCIError:
        return False
    return (
        isinstance(header, HeaderRecord) and not header.settings.get("shard") and not header.settings.get("provenance")
    )


def plan_digest(of: int, models: Iterable[tuple[str, int, int]]) -> str:
    """16 hex digits that are equal where shards agree on what each of them does.

    :param models: alias, shard and number of cells, in any order.
    """
    text = "\n".join([str(of), *(f"{alias}\t{shard}\t{cells}" for alias, shard, cells in sorted(models))])
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
