"""From a finished run's log to the baseline that it makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Final, NoReturn

from ..clock import SystemClock, utc_text
from ..errors import StoreError
from ..metrics import BESIDE, MetricDef
from ..records import (
    HeaderRecord,
    LogRecord,
    Prompt,
    QuestionsRecord,
    RoundsRecord,
    VerdictRecord,
    WorkerRecord,
    to_json,
)
from .baseline_file import check_name
from .baseline_record import (
    SCHEMA,
    BaselineCell,
    BaselineMemory,
    BaselineModel,
    BaselineRecord,
    BaselineSession,
    BaselineTask,
    Origin,
)
from .comparability import Part, environment_part, prompt_sha256, protocol_part, subject_part
from .log import LOG_NAME, LogReader
from .machines import environment_of

DIGITS: Final = 6
"""Significant digits of a number that varies: a ten-thousandth of the smallest change that is looked for."""
RUN_SETTINGS: Final = (
    "suites", "rounds", "max_rounds", "warmup", "block", "max_new_tokens", "seed", "temperature", "threads", "isolation",
    "timing", "memory", "anchor",
)  # fmt: skip
"""Settings of a session that its numbers depend on."""
LOCK_FILES: Final = (
    "requirements*.txt", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml", "pylock.*.toml",
)  # fmt: skip
"""Files in a project's root that say which packages it runs with, as globs."""


def baseline_of_log(
    source: Path | Iterable[LogRecord], name: str, *, prompts: Iterable[Prompt] = (), project: Path | None = None,
    saved: datetime | None = None,
) -> BaselineRecord:  # fmt: skip
    """The baseline that a finished run makes.

    :param source: a run folder, or the records of its log.
    :param name: of the baseline.
    :param prompts: the rows that were asked; one that is not among them is taken to be raw text, as a log cannot tell.
    :param project: the root in which lock files are looked for; None for none.
    :param saved: now, if None.
    :raises ConfigError: if the name is none.
    :raises StoreError: if the log cannot be read, or no block of it may enter a baseline, and why not.
    """
    check_name(name, "baseline")
    gathered = _Gathered()
    for record in LogReader(source / LOG_NAME) if isinstance(source, Path) else source:
        gathered.take(record)
    return gathered.build(name, prompts, project, utc_text(saved or SystemClock().utc()))


class _Measured:
    """The blocks that count of one cell in one test."""

    def __init__(self) -> None:
        self.attempt = 0
        self.blocks: list[RoundsRecord] = []
        self.memory: list[RoundsRecord] = []
        """Of the memory pass."""


class _Gathered:
    """What the records of a log say that a baseline needs."""

    def __init__(self) -> None:
        self.header: HeaderRecord | None = None
        self.workers: dict[str, WorkerRecord] = {}
        self.late: dict[str, dict[str, float]] = {}
        """Start of a process -> what its blocks made known later."""
        self.pairs: dict[tuple[str, str], _Measured] = {}
        self.verdicts: dict[tuple[str, str], VerdictRecord] = {}
        self.answers: dict[tuple[str, str], list[QuestionsRecord]] = {}
        self.contended = 0
        self._uids: set[str] = set()

    def take(self, record: LogRecord) -> None:
        if isinstance(record, HeaderRecord):
            if record.settings.get("provenance") == "replayed":
                raise StoreError(
                    f"run {record.run_id} is a replay and measured nothing: save {record.settings.get('replayed_run')} instead."
                )
            self.header = record
        elif (
            isinstance(record, (WorkerRecord, RoundsRecord, QuestionsRecord, VerdictRecord))
            and record.uid not in self._uids
        ):
            self._uids.add(record.uid)
            if isinstance(record, WorkerRecord):
                if record.role == "timing" and record.error is None:
                    self.workers[record.uid] = record
            elif isinstance(record, RoundsRecord):
                self._take_block(record)
            elif isinstance(record, QuestionsRecord):
                self.answers.setdefault((record.test, record.cell), []).append(record)
            else:
                self._take_verdict(record)

    def _take_block(self, block: RoundsRecord) -> None:
        if block.origin not in ("measured", "memory") or not block.n:
            return
        measured = self.pairs.setdefault((block.test, block.cell), _Measured())
        if block.attempt > measured.attempt:
            measured.attempt, measured.blocks, measured.memory = block.attempt, [], []
        if block.origin == "memory":
            if block.attempt == measured.attempt and block.error is None:
                measured.memory.append(replace(block, token_ns=[], outputs=[], md5=[]))
            return
        self.contended += block.contended
        if block.attempt == measured.attempt and block.error is None and not block.contended:
            measured.blocks.append(replace(block, token_ns=[], outputs=[], md5=[]))  # the larger part of a log
            self.late.setdefault(block.worker, {}).update(block.worker_values)

    def _take_verdict(self, verdict: VerdictRecord) -> None:
        key = (verdict.test, verdict.cell)
        there = self.verdicts.get(key)
        if there is None or verdict.attempt >= there.attempt:
            self.verdicts[key] = verdict

    def build(self, name: str, prompts: Iterable[Prompt], project: Path | None, saved: str) -> BaselineRecord:
        if self.header is None:
            raise StoreError("a log without a header makes no baseline.")
        self._claim()
        found = {key: self._known(measured.blocks) for key, measured in self.pairs.items()}
        kept = {key: blocks for key, blocks in found.items() if blocks}
        tasks = self._tasks()
        if not kept and not tasks:
            self._refuse()
        rows = _Rows(prompts)
        defs = {metric.name: metric for metric in self.header.metrics}
        cells = [
            replace(self._cell(key[0], blocks, defs, rows), memory_pass=_memory_pass(self.pairs[key].memory, defs))
            for key, blocks in kept.items()
        ]
        aliases = dict.fromkeys([*(cell.model for cell in cells), *(task.model for task in tasks)])
        models = self._models(aliases, defs)
        environment = self._environment(set(aliases))
        held = {metric for cell in cells for metric in cell.samples}
        held |= {metric for cell in cells if cell.memory_pass is not None for metric in cell.memory_pass.samples}
        held |= {metric for model in models for metric in model.values}
        return BaselineRecord(
            schema=SCHEMA, name=name, environment=dict(environment.facts), environment_digest=environment.digest,
            metrics=[_in_short(metric) for metric in self.header.metrics if metric.name in held], prompts=dict(sorted(rows.used.items())),
            sessions=[
                BaselineSession(
                    saved=saved, run_id=self.header.run_id, version=self.header.version, origin=_origin(self.header, project),
                    models=models, cells=sorted(cells, key=lambda cell: (cell.model, cell.id, cell.test)),
                    tasks=sorted(tasks, key=lambda task: (task.model, task.id, task.test)),
                )
            ],
        )  # fmt: skip

    def _tasks(self) -> list[BaselineTask]:
        """Those of the last attempt, answered to their end without an error."""
        found = []
        for (test, cell), records in self.answers.items():
            verdict = self.verdicts.get((test, cell))
            last = max(record.attempt for record in records)
            task = _task([record for record in records if record.attempt == last and record.worker in self.workers])
            if task is not None and (verdict is None or verdict.error is None):
                found.append(task)
        return found

    def _known(self, blocks: Iterable[RoundsRecord]) -> list[RoundsRecord]:
        """Blocks with a whole sample, of a process that is in the log."""
        return [block for block in blocks if block.worker in self.workers and _samples_of(block)]

    def _claim(self) -> None:
        """Give blocks that one test asked for on behalf of others to the tests that judge them."""
        unclaimed = {key[1]: key for key in self.pairs if key not in self.verdicts}
        for key in [key for key in self.verdicts if key not in self.pairs]:
            lender = unclaimed.pop(key[1], None)
            if lender is not None:
                self.pairs[key] = self.pairs.pop(lender)

    def _refuse(self) -> NoReturn:
        if self.contended:
            raise StoreError(
                "other timed work may have run at the same time as every block: measure without --llmci-timing=parallel."
            )
        raise StoreError("no cell has a finished block of measured rounds.")

    def _environment(self, models: set[str]) -> Part:
        assert self.header is not None
        cards = sorted(
            {str(worker.info["device_name"]) for worker in self._of(models) if worker.info.get("device_name")}
        )
        accelerator = {"device_name": ", ".join(cards) or None}
        places = {
            worker.model: environment_part(environment_of(self.header, worker.model, worker), accelerator)
            for worker in self._of(models)
        }
        first = min(places, default="")
        for other, place in places.items():
            if different := places[first].differences(place):
                raise StoreError(
                    f"{first} and {other} were measured on different machines ({different[0]}): a baseline is of one; measure each"
                    " machine's models in a session of their own."
                )
        return places[first] if first else environment_part(self.header.environment, accelerator)

    def _of(self, models: Iterable[str]) -> list[WorkerRecord]:
        wanted = set(models)
        return [worker for worker in self.workers.values() if worker.model in wanted]

    def _models(self, aliases: Iterable[str], defs: Mapping[str, MetricDef]) -> list[BaselineModel]:
        assert self.header is not None
        found = []
        for alias in sorted(aliases):
            starts = self._of([alias])
            columns: dict[str, list[float]] = {}
            for start in starts:
                for metric, value in {**start.values, **self.late.get(start.uid, {})}.items():
                    if metric in defs:
                        columns.setdefault(metric, []).append(_rounded(value, defs[metric]))
            subject = subject_part(starts[-1], environment_of(self.header, alias, starts[-1]))
            found.append(BaselineModel(alias=alias, spec=starts[-1].spec, subject=dict(subject.facts), values=columns))
        return found

    def _cell(self, test: str, blocks: list[RoundsRecord], defs: Mapping[str, MetricDef], rows: _Rows) -> BaselineCell:
        first, last = blocks[0], blocks[-1]
        reasons: dict[str, str] = {}
        places: list[int] = []
        for block in blocks if not first.load else ():  # a run of many requests has no output
            for index, reason in zip(block.output_of_round, block.finish_reasons, strict=True):
                reasons.setdefault(block.output_sha256[index], reason)
            outputs = [block.output_sha256[block.output_of_round[each.start]] for each in _samples_of(block)]
            places += [list(reasons).index(output) for output in outputs]
        verdict = self.verdicts.get((test, first.cell))
        return BaselineCell(
            id=first.cell, model=first.model, prompt=rows.key(first), test=test, generation=first.generation,
            protocol=dict(protocol_part(last, self.workers[last.worker]).facts),
            rounds=sum(len(_samples_of(block)) for block in blocks), samples=_columns(blocks, defs),
            processes=_processes(blocks), repeats=last.repeats,
            noisy_rounds=sum(any(block.noisy[each]) for block in blocks for each in _samples_of(block)),
            outputs=list(reasons), output_of_round=places, finish_reasons=list(reasons.values()),
            checks={check.name: check.passed for check in verdict.checks} if verdict else {},
        )  # fmt: skip


def _task(records: list[QuestionsRecord]) -> BaselineTask | None:
    """None where a question has no answer."""
    measured = [record for record in records if record.origin == "measured"]
    facts = measured[0].task if measured else None
    if facts is None:
        return None
    right = {i: v for record in measured for i, v in zip(record.index, record.values[facts.main], strict=True)}
    given = {i: v for record in measured for i, v in _given(record)}
    again = [(i, v) for record in records if record.origin == "replay" for i, v in _given(record)]
    if len(right) != facts.questions:
        return None
    return BaselineTask(
        id=measured[0].cell, model=measured[0].model, task=facts.name, test=measured[0].test, main=facts.main, label=facts.label,
        questions_sha256=facts.questions_sha256, prompt_sha256=facts.prompt_sha256,
        right=[float(f"{right[index]:.{DIGITS}g}") for index in sorted(right)],
        deterministic=all(given.get(index) == value for index, value in again) if again else None,
    )  # fmt: skip


def _given(record: QuestionsRecord) -> list[tuple[int, object]]:
    return list(zip(record.index, record.outputs or record.logprobs, strict=True))


def _in_short(metric: MetricDef) -> MetricDef:
    return replace(metric, definition="", excludes="", source="", label="", group="other")


def _is_kept(metric: MetricDef) -> bool:
    """What has a better direction, counts of tokens, and what times are taken beside."""
    if metric.name in BESIDE.values():
        return True
    return metric.is_compared and (metric.direction != "none" or (metric.deterministic and metric.unit == "1"))


def _samples_of(block: RoundsRecord) -> list[slice]:
    """The rounds of each whole sample."""
    return [slice(start, start + block.repeats) for start in range(0, block.n - block.repeats + 1, block.repeats)]


def _columns(blocks: list[RoundsRecord], defs: Mapping[str, MetricDef]) -> dict[str, list[float | None]]:
    """The samples of all blocks one behind the other, of each metric that any of them has."""
    columns: dict[str, list[float | None]] = {}
    for metric in defs.values():
        if not _is_kept(metric):
            continue
        column: list[float | None] = []
        for block in blocks:
            values = block.values.get(metric.name, [None] * block.n)
            column += [_sample(values[each], metric) for each in _samples_of(block)]
        if any(value is not None for value in column):
            columns[metric.name] = column
    return columns


def _memory_pass(blocks: list[RoundsRecord], defs: Mapping[str, MetricDef]) -> BaselineMemory | None:
    samples = {}
    for metric in (metric for metric in defs.values() if metric.scope == "memory"):
        found = [value for block in blocks for value in block.values.get(metric.name, ()) if value is not None]
        if found:
            samples[metric.name] = [_rounded(value, metric) for value in found]
    methods = sorted({name for block in blocks for name in block.memory_method.split("+") if name})
    return BaselineMemory(method="+".join(methods), samples=samples) if samples else None


def _sample(values: list[float | None], metric: MetricDef) -> float | None:
    """Of rounds taken together those that could be measured count."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return _rounded(known[0] if len(set(known)) == 1 else fmean(known), metric)


def _rounded(value: float, metric: MetricDef) -> float:
    """To :data:`DIGITS` significant digits; counts and sizes are exact.

    >>> _rounded(1234567891, MetricDef(name="t", unit="s", direction="lower", definition="", stored="ns"))
    1234570000
    """
    if isinstance(value, int) and metric.stored != "ns":
        return value
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


def _processes(blocks: list[RoundsRecord]) -> list[int]:
    counts: dict[str, int] = {}
    for block in blocks:
        counts[block.worker] = counts.get(block.worker, 0) + len(_samples_of(block))
    return [count for count in counts.values() if count]


class _Rows:
    """The prompt rows that the cells of a baseline refer to."""

    def __init__(self, known: Iterable[Prompt]) -> None:
        self._known: dict[tuple[str, str], Prompt] = {}
        for row in known:
            self._known.setdefault((row.id, prompt_sha256(row)), row)
        self.used: dict[str, Prompt] = {}

    def key(self, block: RoundsRecord) -> str:
        row = self._known.get((block.prompt_id, block.prompt_sha256))
        row = row or _row_of(block)
        text = json.dumps(to_json(row), sort_keys=True)
        key = f"{row.id}@{sha256(text.encode('ascii')).hexdigest()[:8]}"
        self.used[key] = row
        return key


def _row_of(block: RoundsRecord) -> Prompt:
    """What a log alone tells of a row."""
    if block.prompt_withheld == "redacted":
        return Prompt(id=block.prompt_id, sha256=block.prompt_sha256)
    digest = block.prompt_sha256 if block.prompt_withheld else ""
    if block.messages:
        return Prompt(id=block.prompt_id, messages=tuple(block.messages), sha256=digest, variables=block.variables)
    return Prompt(id=block.prompt_id, text=block.prompt, sha256=digest, variables=block.variables)


def _origin(header: HeaderRecord, project: Path | None) -> Origin:
    git, packages = header.environment.get("git"), header.environment.get("packages")
    facts = git if isinstance(git, dict) else {}
    return Origin(
        commit=str(facts["commit"]) if facts.get("commit") else None,
        dirty=bool(facts.get("dirty")),
        lock_files=lock_files(project) if project else {},
        command=header.command,
        settings={name: header.settings[name] for name in RUN_SETTINGS if name in header.settings},
        python=str(header.environment.get("python") or ""),
        packages=packages if isinstance(packages, dict) else {},
    )


def lock_files(project: Path) -> dict[str, str]:
    """Name -> sha256 of each :data:`LOCK_FILES` in a project's root; what cannot be read is left out."""
    found = {}
    for path in sorted({path for glob in LOCK_FILES for path in project.glob(glob)}):
        try:
            found[path.name] = sha256(path.read_bytes()).hexdigest()
        except OSError:
            continue
    return found
