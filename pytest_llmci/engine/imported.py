"""Results of another tool as a run folder of ours, so that reports, comparisons and gates work on them.

A tool's run is one *start* (a ``worker`` record) and one block of rounds in one cell. A file with a number a request or a
repetition gives as many rounds. One with statistics alone gives one round, whose metrics are those statistics
(``ttft_p99``), and says of the metric itself (``ttft``) that samples are missing. Nothing here computes a number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from ..clock import Clock, utc_text
from ..errors import ConfigError
from ..measure import builtin_metrics
from ..metrics import Direction, MetricDef
from ..records import (
    SCHEMA_VERSION,
    ErrorInfo,
    GenerationSettings,
    HeaderRecord,
    Json,
    LogRecord,
    ModelSpec,
    RoundsRecord,
    VerdictRecord,
    WorkerRecord,
)
from ..slugs import slug
from ..store.log import LOG_NAME, LogWriter
from ..store.runfolder import create_run_folder
from ..units import Unit
from ..version import version

BACKEND: Final = "imported"
"""What stands for the model source of an imported model."""
ONLY_AGGREGATES: Final = "the file has only aggregates"
EXIT_FAILED: Final = 1
STATISTICS: Final = ("mean", "median", "std", "min", "max", "p25", "p75", "p90", "p95", "p99")
"""Statistics of a tool that are kept, each as a metric of its own: ``<metric>_<statistic>``."""
SAMPLED: Final = (
    "latency", "ttft", "itl", "tpot", "tokens_per_s", "prefill_tokens_per_s", "decode_tokens_per_s", "cpu_time", "prompt_tokens",
    "output_tokens",
)  # fmt: skip
"""Metrics of ours that a tool may have a number a round for, or statistics of."""
_LENGTH_APART: Final = 0.10
"""Of the mean length of the answers: repetitions of one run do not differ by more."""


def _run_metric(name: str, unit: Unit, direction: Direction, definition: str) -> MetricDef:
    return MetricDef(
        name=name, unit=unit, direction=direction, definition=definition, source="as the tool wrote it", group="imported"
    )  # fmt: skip


OF_A_RUN: Final = (
    _run_metric("duration", "s", "none", "Wall time of the tool's whole run."),
    _run_metric("request_throughput", "1/s", "higher", "Requests completed in the run, over its duration."),
    _run_metric("output_throughput", "1/s", "higher", "Tokens generated in the run, over its duration."),
    _run_metric("total_throughput", "1/s", "higher", "Tokens of prompts and answers of the run, over its duration."),
    _run_metric("sample_size", "1", "none", "Requests or repetitions that the tool's statistics were computed from."),
    _run_metric("requests", "1", "none", "Requests that the tool sent."),
    _run_metric("failed_requests", "1", "lower", "Requests that ended in an error."),
    _run_metric("incomplete_requests", "1", "none", "Requests that the tool cut short itself, as at its time limit."),
    _run_metric("task_score", "1", "higher", "Share of one benchmark task's questions answered rightly, by one of its measures."),
    _run_metric("limited_score", "1", "higher", "The same over a part of the task's questions: not the task's score."),
    _run_metric("perplexity", "1", "lower", "Perplexity, or bits or nats a byte or word, of one benchmark task."),
    _run_metric("score_stderr", "1", "none", "Standard error of the score or perplexity, as the tool estimated it."),
    _run_metric("questions", "1", "none", "Questions that the score was computed from."),
)  # fmt: skip
"""Metrics that stand for a whole run of a tool."""


@lru_cache(maxsize=1)
def known_metrics() -> dict[str, MetricDef]:
    """Every metric that an import may hold, by name."""
    own = {metric.name: metric for metric in builtin_metrics()}
    found = {name: replace(own[name], source="as the tool measured it", excludes="") for name in SAMPLED}
    found |= {f"{name}_{statistic}": _statistic(found[name], statistic) for name in SAMPLED for statistic in STATISTICS}
    return found | {metric.name: metric for metric in OF_A_RUN}


def _statistic(metric: MetricDef, statistic: str) -> MetricDef:
    return replace(
        metric, name=f"{metric.name}_{statistic}", label="", stored="si", group="imported", deterministic=False,
        direction="none" if statistic == "std" else metric.direction,
        definition=f"The {statistic} of {metric.name} over one run of the tool, as the tool computed it.",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------- what a reader gives


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedCell:
    """One run of a tool on one thing."""

    model: str
    """As the file names it; empty where it does not."""
    prompt_id: str
    """What pairs it with the same thing in another import."""
    about: str
    """What was run, as people read it."""
    asked: Mapping[str, Json]
    """The settings that make it another quantity: they must agree for a comparison."""
    values: Mapping[str, Sequence[float | None]]
    """Metric -> a number a round, SI; all columns are of one length."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Metric -> why it is missing."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Metric -> the field it was read from and its unit there, such as ``mean_ttft_ms [ms]``."""
    judged_by: Sequence[str] = ()
    """Metrics that a comparison gates where it has no latency."""
    info: Mapping[str, Json] = field(default_factory=dict)
    """What is known of the model and its settings beyond :attr:`asked`: dtype, quantization, device."""
    build: str = ""
    """Version or commit of the software on trial."""
    python: str = ""
    started: str = ""
    """UTC, ISO 8601; empty where the file does not say."""
    error: str = ""
    """Why the run counts as failed; its numbers then count as nothing."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Evidence of the failure."""

    @property
    def rounds(self) -> int:
        """Numbers a column."""
        return max(map(len, self.values.values()), default=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedFile:
    """What was read of one file."""

    name: str
    size: int
    md5: str
    sha256: str
    format: str
    tool: str
    """The tool's name and version, as far as the file says."""
    cells: Sequence[ImportedCell]
    machine: Mapping[str, Json] = field(default_factory=dict)
    """Facts of the environment, by the names that a header has for them."""
    notes: Sequence[str] = ()
    """What was left out, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedRun:
    """The folder that came of it."""

    folder: Path
    failed: Mapping[str, str]
    """Cell id -> why its run counts as failed."""
    cells: int


# ---------------------------------------------------------------------------------------------------------- writing


@dataclass(frozen=True, kw_only=True, slots=True)
class _Placed:
    cell: ImportedCell
    file: ImportedFile
    alias: str
    prompt_id: str

    @property
    def id(self) -> str:
        return f"{self.alias}-{self.prompt_id}"

    @property
    def key(self) -> tuple[str, str]:
        return self.alias, self.prompt_id


def write_imported(
    files: Sequence[ImportedFile], output: Path, clock: Clock, *, command: Sequence[str], alias: str = ""
) -> ImportedRun:
    """Write a run folder's log.

    :param command: as the user typed it, for the header.
    :param alias: of the only model; empty: from the name that the file has for it.
    :raises ConfigError: if files contradict each other, or ``alias`` is for several models.
    :raises StoreError: if the log cannot be written.
    """
    placed = _placed(files, alias)
    _refuse_contradictions(placed)
    environment = _environment(files)
    folder = create_run_folder(output, clock)
    now = utc_text(clock.utc())
    log = LogWriter(folder / LOG_NAME, clock=clock)
    log.append(_header(folder.name, placed, environment, command, now))
    failed: dict[str, str] = {}
    done: dict[tuple[str, str], int] = {}
    for number, each in enumerate(placed):
        for record in _records(each, number, done.get(each.key, 0), now):
            log.append(record)
        done[each.key] = done.get(each.key, 0) + each.cell.rounds
    for record in _verdicts(placed, done):
        log.append(record)
        if record.error is not None:
            failed[record.cell] = record.error.message
    log.close(EXIT_FAILED if failed else 0)
    return ImportedRun(folder=folder, failed=failed, cells=len(done))


def _placed(files: Sequence[ImportedFile], alias: str) -> list[_Placed]:
    models = {cell.model: file for file in files for cell in file.cells}
    if alias and len(models) > 1:
        names = ", ".join(sorted(name or "one without a name" for name in models)[:5])
        raise ConfigError(f"import: --model {alias} is one name for {len(models)} models ({names}): import them apart.")
    return [
        _Placed(
            cell=cell, file=file, prompt_id=slug(cell.prompt_id) or "run",
            alias=alias or slug(cell.model.rstrip("/").rpartition("/")[2], longest=60) or file.format,
        )
        for file in files
        for cell in file.cells
    ]  # fmt: skip


def _refuse_contradictions(placed: Sequence[_Placed]) -> None:
    """Files that give one cell are repetitions of one run, and have to look like it."""
    seen: dict[tuple[str, str], _Placed] = {}
    for each in placed:
        there = seen.setdefault(each.key, each)
        if there is each:
            continue
        apart = "import them into a run each, or name the models apart with --model"
        if there.cell.model != each.cell.model:
            both = f"models '{there.cell.model}' and '{each.cell.model}'"
            raise ConfigError(f"import: {both} are both called {each.alias}: {apart}.")
        for name in sorted(there.cell.asked.keys() | each.cell.asked.keys()):
            before, now = there.cell.asked.get(name), each.cell.asked.get(name)
            if before != now:
                raise ConfigError(
                    f"import: {there.file.name} and {each.file.name} both hold {each.id}, but {name} is {before} and {now}: {apart}."
                )
        lengths = [_only(one.cell, "output_tokens_mean") for one in (there, each)]
        if lengths[0] and lengths[1] and abs(lengths[1] - lengths[0]) > _LENGTH_APART * lengths[0]:
            raise ConfigError(
                f"import: {there.file.name} and {each.file.name} both hold {each.id}, but their answers have {lengths[0]:.0f} and"
                f" {lengths[1]:.0f} tokens: {apart}."
            )


def _only(cell: ImportedCell, metric: str) -> float | None:
    column = cell.values.get(metric, ())
    return column[0] if len(column) == 1 else None


def _environment(files: Sequence[ImportedFile]) -> dict[str, Json]:
    """What the files say of the machine: nothing of the one that imports them."""
    found: dict[str, Json] = {}
    told: dict[str, str] = {}
    for file in files:
        for name, value in file.machine.items():
            if name in found and found[name] != value:
                raise ConfigError(
                    f"import: {told[name]} and {file.name} are of different machines or checkouts ({name}: {found[name]} and {value}):"
                    " import them into a run each."
                )
            found[name], told[name] = value, file.name
    return found


def _header(
    run_id: str, placed: Sequence[_Placed], environment: dict[str, Json], command: Sequence[str], now: str
) -> HeaderRecord:
    known = known_metrics()
    used = {name for each in placed for name in (*each.cell.values, *each.cell.reasons)}
    sources: list[Json] = [
        {
            "name": file.name, "bytes": file.size, "md5": file.md5, "sha256": file.sha256, "format": file.format, "tool": file.tool or None,
            "notes": list(file.notes),
        }
        for file in {each.file.sha256: each.file for each in placed}.values()
    ]  # fmt: skip
    judged: list[Json] = list(dict.fromkeys(name for each in placed for name in each.cell.judged_by))
    return HeaderRecord(
        schema_version=SCHEMA_VERSION, run_id=run_id, started=min((each.cell.started for each in placed if each.cell.started), default=now),
        version=version(), command=list(command),
        settings={"provenance": "imported", "imported_at": now, "files": sources, "judged_by": judged},
        environment=environment, metrics=[metric for name, metric in known.items() if name in used],
    )  # fmt: skip


def _records(each: _Placed, number: int, first_round: int, now: str) -> Iterator[LogRecord]:
    cell, file = each.cell, each.file
    uid = f"w{number}"
    info: dict[str, Json] = {
        **cell.info,
        "asked": {"tool": file.format, **cell.asked},
        "units": dict(cell.units),
        "file": file.name,
        "judged_by": list(cell.judged_by),
    }
    options = {"build": cell.build} if cell.build else {}
    yield WorkerRecord(
        uid=uid, model=each.alias, started=cell.started or now, pid=0, isolation="worker", python=cell.python, info=info,
        spec=ModelSpec(
            alias=each.alias, backend=BACKEND, target=cell.model, options=options,
            text=f"{each.alias}={BACKEND}:{cell.model or file.format}",
        ),
    )  # fmt: skip
    known, n = known_metrics(), 0 if cell.error else cell.rounds
    values = {
        name: [None if value is None else _stored(value, known[name]) for value in column]
        for name, column in cell.values.items()
        if n and any(value is not None for value in column)
    }
    yield RoundsRecord(
        uid=f"r{number}", cell=each.id, model=each.alias, prompt_id=each.prompt_id, prompt=cell.about,
        prompt_sha256=hashlib.sha256(cell.about.encode("utf-8", "surrogatepass")).hexdigest(), test=f"import::{each.id}",
        origin="measured", worker=uid, block=number, first_round=first_round, started=cell.started or now,
        generation=GenerationSettings(max_new_tokens=0), n=n, values=values, reasons=dict(cell.reasons), token_ns=[], outputs=[],
        output_of_round=[], md5=[], output_sha256=[], finish_reasons=[""] * n, noisy=[""] * n, memory_isolated=False,
        error=_failure(cell), provenance="imported",
    )  # fmt: skip


def _stored(value: float, metric: MetricDef) -> float:
    """As the log keeps it: nanoseconds keep three places, as repetitions of a small function take a few of them."""
    return round(value * 1e9, 3) if metric.stored == "ns" else value


def _failure(cell: ImportedCell) -> ErrorInfo | None:
    return ErrorInfo(kind="imported", message=cell.error, facts=dict(cell.facts)) if cell.error else None


def _verdicts(placed: Sequence[_Placed], done: Mapping[tuple[str, str], int]) -> Iterator[VerdictRecord]:
    """One a cell: failed where any of its runs is."""
    by_key: dict[tuple[str, str], list[_Placed]] = {}
    for each in placed:
        by_key.setdefault(each.key, []).append(each)
    for number, (key, runs) in enumerate(by_key.items()):
        error = next((found for each in runs if (found := _failure(each.cell))), None)
        yield VerdictRecord(
            uid=f"v{number}", cell=runs[0].id, model=key[0], prompt_id=key[1], test=f"import::{runs[0].id}",
            verdict="failed" if error else "pass", error=error, rounds=done[key],
        )  # fmt: skip
