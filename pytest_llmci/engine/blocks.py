"""One block of rounds as the log keeps it: the rounds turned into columns."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from ..metrics import MetricDef
from ..records import Completion, ErrorInfo, Json, RoundRecord, RoundsRecord, RunRequest
from ..runner.attempts import attempts_in
from .schedule import CellMeasurement

NOT_TIMED: Final = "its test says timed=False, so that other work may have run beside it"
_SPOILT_UNITS: Final = frozenset({"s", "1/s", "cores", "%", "J", "1/J"})
"""Of times, and of what is counted over a time."""
Origin: TypeAlias = Literal["measured", "memory", "call", "reference", "sample"]


def block_record(
    measurement: CellMeasurement, request: RunRequest, rounds: Sequence[RoundRecord], *, uid: str, test: str, attempt: int, origin: Origin,
    worker: str, started: str, contended: bool, isolated: bool, late: dict[str, float],
    error: ErrorInfo | None, facts: Mapping[str, Json] | None = None,
) -> RoundsRecord:  # fmt: skip
    """The rounds of a block turned into columns.

    :param facts: what is known of the process that measured it.
    :param late: metrics of scope ``worker`` that the block made known.
    """
    cell = measurement.cell
    shown = cell.prompt.shown
    load = request.load
    answers = [record.completion for record in rounds]
    texts = [] if load else [answer.text for answer in answers]
    outputs = list(dict.fromkeys(texts))
    place = {text: index for index, text in enumerate(outputs)}
    last = rounds[-1] if rounds else None
    methods = dict.fromkeys([record.memory_method for record in rounds if record.memory_method])
    reasons: dict[str, str] = {}
    for record in rounds:
        reasons.update(record.reasons)
    return RoundsRecord(
        uid=uid, cell=cell.id, model=cell.model.alias, prompt_id=cell.prompt.id, prompt=shown,
        prompt_sha256=_sha256(shown), test=test, attempt=attempt,
        origin=origin, worker=worker, block=len(measurement.blocks),
        first_round=request.first_round, started=started, generation=request.generation, n=len(rounds),
        values=_columns(rounds),
        reasons=reasons,
        token_ns=[list(record.token_ns) for record in rounds],
        outputs=outputs, output_of_round=[place[text] for text in texts],
        md5=[output_md5(cell.model.alias, shown, text) for text in outputs],
        output_sha256=[hashlib.sha256(text.encode("utf-8")).hexdigest() for text in outputs],
        finish_reasons=[answer.finish_reason for answer in answers], noisy=[record.noisy for record in rounds],
        special_only=any(answer.special_only for answer in answers),
        token_source=last.completion.token_source if last else "", templated=last.completion.templated if last else False,
        memory_method="+".join(methods), peak_rss_resolution_bytes=last.peak_rss_resolution_bytes if last else None,
        memory_isolated=isolated, contended=contended, error=error, worker_values=late,
        messages=list(cell.prompt.messages), variables=dict(cell.prompt.variables), output_token_ids=_token_ids(answers, outputs),
        anchor=str((facts or {}).get("anchor") or "") if origin in ("measured", "reference") else "",
        load=load.text if load else "", warmup_failed=[each for record in rounds[:1] for each in record.warmup_failed],
    )  # fmt: skip


def _token_ids(answers: Iterable[Completion], outputs: Iterable[str]) -> list[list[int]]:
    """Of each distinct output the tokens of the first round that gave it; empty where no round tells any."""
    if not any(answer.token_ids for answer in answers):
        return []
    found: dict[str, list[int]] = {}
    for answer in answers:
        found.setdefault(answer.text, list(answer.token_ids))
    return [found[text] for text in outputs] if any(found.values()) else []


_UNTIL_READY: Final = ("start_time", "import_time", "load_time")


def learnt(rounds: Iterable[RoundRecord], known: Mapping[str, float]) -> dict[str, float]:
    """Metrics of scope ``worker`` that these rounds made known; the time of a cold start with that of the first inference.

    :param known: what the record of the process's start holds.
    """
    late = {name: value for record in rounds for name, value in record.worker_values.items()}
    if "first_inference_time" in late and all(name in known for name in _UNTIL_READY):
        late["cold_start_time"] = late["first_inference_time"] + sum(known[name] for name in _UNTIL_READY)
    return late


def failed_in_memory_pass(error: ErrorInfo) -> ErrorInfo:
    """A failure that says where it happened, and how to do without."""
    facts = {**error.facts, "where": "the memory pass, after the rounds; --llmci-memory=off leaves it out"}
    return ErrorInfo(kind=error.kind, message=f"memory pass: {error.message}", facts=facts)


def failed_in_sample(error: ErrorInfo, request: RunRequest, planned: int) -> ErrorInfo:
    """A failure that says which sample it was."""
    which = f"{request.first_round + 1} of up to {planned}, with seed {request.generation.seed}, after the rounds"
    return ErrorInfo(kind=error.kind, message=error.message, facts={**error.facts, "sample": which})


def of_memory_alone(record: RoundsRecord, metrics: Collection[str]) -> RoundsRecord:
    """A block of the memory pass without what its slow allocator makes of times."""
    return replace(
        record,
        values={name: column for name, column in record.values.items() if name in metrics},
        reasons={name: reason for name, reason in record.reasons.items() if name in metrics},
        token_ns=[[] for _ in record.token_ns],
        noisy=["; ".join(attempts_in(note)) if note else "" for note in record.noisy],
    )


def without_times(record: RoundsRecord, metrics: Mapping[str, MetricDef]) -> RoundsRecord:
    """A block of a cell that is not timed, without what other work beside it spoils: memory and counts of tokens stay."""
    spoilt = {
        name for name in record.values
        if name in metrics and (metrics[name].unit in _SPOILT_UNITS or metrics[name].group == "noise")
    }  # fmt: skip
    return replace(
        record,
        values={name: column for name, column in record.values.items() if name not in spoilt},
        reasons={**record.reasons, **dict.fromkeys(spoilt, NOT_TIMED)},
        token_ns=[[] for _ in record.token_ns],
        noisy=["; ".join(attempts_in(note)) if note else "" for note in record.noisy],
    )


def _columns(rounds: Sequence[RoundRecord]) -> dict[str, list[float | None]]:
    """Metric -> its number in each round, for each metric that any round has."""
    if len(rounds) == 1:
        return {name: [value] for name, value in rounds[0].values.items()}
    names = dict.fromkeys([name for record in rounds for name in (*record.values, *record.reasons)])
    columns = {name: [record.values.get(name) for record in rounds] for name in names}
    return {name: column for name, column in columns.items() if any(value is not None for value in column)}


@lru_cache(maxsize=256)  # a set of prompts goes to one model after the other
def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def output_md5(model: str, prompt: str, output: str) -> str:
    """md5 over model, prompt and output joined without separators, as the paper took it. An identity, not a safeguard."""
    return hashlib.md5((model + prompt + output).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
