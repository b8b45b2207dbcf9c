"""What is said of a run in MLflow: tags, parameters, numbers and a table, as plain data. Nothing is asked or sent here.

Numbers are those of ``summary.csv``, under the same names: the paper's (``avg_latency``, ...), then ``<metric>.<statistic>``
in SI units; ``prompt/<metric>`` is the median of each prompt, with the prompt's position as its step. Every metric of every
prompt stands in the table.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from ..engine.comparisons.stored_run import StoredCell, StoredRun
from ..engine.reports.report import CellSummary, ModelSummary, SessionReport
from ..metrics import MetricDef
from ..records import ErrorInfo, Json
from ..secrets import without_credentials
from ..store.comparability import Part, machine_part
from ..text import one_line
from . import layout

STATISTICS: Final = ("min", "median", "mean", "std", "p95", "max")
"""Of those that a sample carries, as in ``summary.csv``; how many numbers it has is in the files."""
WIDE_STATISTICS: Final = ("median", "max")
"""Of a wide session."""
CHARTED: Final = (
    "latency",
    "ttft",
    "tokens_per_s",
    "output_tokens",
    "peak_rss",
    "cpu_time",
    "cpu_percent",
    "score",
    "energy",
)
"""Metrics with a number for each prompt beside the table: a store takes a tenth of a millisecond for each."""
PAPER: Final = {
    "avg_latency": ("latency", "mean"),
    "min_latency": ("latency", "min"),
    "max_latency": ("latency", "max"),
    "std_latency": ("latency", "std"),
    "avg_memory": ("peak_rss", "mean"),
    "avg_cpu": ("cpu_percent", "mean"),
    "benchmark_score": ("score", "mean"),
}
"""The paper's key -> metric and statistic; SI, as in ``summary.csv``."""
COUNTS: Final = (
    "cells", "valid_cells", "failed_cells", "inconclusive_cells", "rounds", "noisy_rounds", "length_mismatches", "worker_starts",
    "worker_deaths",
)  # fmt: skip
_TABLE_HEAD: Final = (
    "step", "prompt_id", "prompt", "output", "latency_ms", "memory_mb", "cpu_percent", "hash", "cell", "test", "verdict", "error",
    "missed", "rounds",
)  # fmt: skip
WIDE: Final = 200
"""From so many models on, single prompts are in the tables alone, other statistics than median and maximum in ``summary.csv``, and
the dataset is the session's: it would take minutes."""
_SHOWN: Final = 20
"""Failures that the description lists."""
Status: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, slots=True)
class Point:
    """One number."""

    key: str
    value: float
    step: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptData:
    """The prompts that were answered, as a dataset: told apart by a digest, without their texts."""

    name: str
    digest: str
    """Of the prompts' sha256, in the order of their ids: 32 hex digits."""
    source: str
    profile: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContents:
    """What is said of a session, or of one model."""

    name: str
    model: str
    """Alias; empty for the session."""
    status: Status
    started_ms: int
    ended_ms: int
    tags: dict[str, str]
    params: dict[str, str]
    points: tuple[Point, ...] = field(repr=False)
    prompts: PromptData | None = None
    table: str = field(default="", repr=False)
    """JSON; empty for none."""
    long_texts: str = field(default="", repr=False)
    """JSON: whole texts of tags and params that MLflow would cut; empty for none."""


class Facts:
    """What all parts are made of.

    :param stored: the same log, read for comparing.
    """

    def __init__(self, report: SessionReport, stored: StoredRun) -> None:
        self.report, self.stored = report, stored
        self.cells: dict[str, list[StoredCell]] = {}
        """Alias -> what was stored of its cells."""
        for found in stored.cells.values():
            for cell in found:
                self.cells.setdefault(cell.model, []).append(cell)


def session_contents(facts: Facts) -> RunContents:
    """What is said of the session."""
    report = facts.report
    numbers = _Numbers()
    for name in COUNTS:
        numbers.add(name, sum(_counts(model)[name] for model in report.models))
    numbers.add("models", len(report.models))
    failures = [line for model in report.models for line in _failures(model)]
    prompts = _prompt_data(facts, facts.cells.values())
    texts = _Texts()
    texts.tags(_common_tags(facts))
    texts.tag(layout.RUN_ID_TAG, report.header.run_id)
    texts.tag(layout.STATE_TAG, _state(report.models, facts))
    texts.tag(layout.PROMPTS_TAG, prompts.digest if prompts else "")
    texts.tag("mlflow.source.name", "pytest-llmci")  # people see what follows its last slash
    texts.tag(layout.COMMAND_TAG, shlex.join(report.header.command))
    texts.tag("mlflow.source.type", "JOB" if report.header.environment.get("ci") else "LOCAL")
    texts.tag("mlflow.note.content", _description(facts, failures))
    texts.tag(layout.FAILED_TAG, "\n".join(failures))
    texts.tag(layout.GATES_TAG, "\n".join(f"{gate.name}: {gate.outcome}: {gate.message}" for gate in report.gates))
    texts.tag(layout.NOT_FINITE_TAG, "\n".join(numbers.not_finite))
    for name, value in _session_params(report):
        texts.param(name, value)
    return texts.contents(
        name=report.header.run_id, model="", status=_session_status(report), report=report, numbers=numbers,
        prompts=prompts,
    )  # fmt: skip


def model_contents(facts: Facts, model: ModelSummary, steps: Mapping[str, int]) -> RunContents:
    """What is said of one model.

    :param steps: of :func:`prompt_steps`.
    """
    report = facts.report
    placed = list(_placed(model.cells, steps))
    numbers = _Numbers()
    is_wide = len(report.models) >= WIDE
    numbers.take_model(model, WIDE_STATISTICS if is_wide else STATISTICS)
    if not is_wide:
        numbers.take_prompts(placed, report.metrics)
    own = facts.cells.get(model.alias, [])
    prompts = _prompt_data(facts, [own])
    gates = [gate for gate in report.gates if gate.model == model.alias]
    texts = _Texts()
    texts.tags(_common_tags(facts))
    texts.tag(layout.OF_RUN_TAG, report.header.run_id)
    texts.tag(layout.MODEL_TAG, model.alias)
    texts.tag(layout.STATE_TAG, _state((model,), facts))
    texts.tags(_comparability(facts, model, own))
    texts.tag(layout.PROMPTS_TAG, prompts.digest if prompts else "")
    texts.tag(layout.FAILED_TAG, "\n".join(_failures(model)))
    texts.tag(layout.GATES_TAG, "\n".join(f"{gate.name}: {gate.outcome}: {gate.message}" for gate in gates))
    texts.tag(layout.MISSING_TAG, "\n".join(_missing(model)))
    texts.tag(layout.NOT_FINITE_TAG, "\n".join(numbers.not_finite))
    texts.tag("mlflow.loggedArtifacts", json.dumps([{"path": layout.TABLE, "type": "table"}]))
    for name, value in _model_params(facts, model, own):
        texts.param(name, value)
    failed = model.failed_cells or model.deaths or any(gate.outcome == "failed" for gate in gates)
    unjudged = report.recovered and any(cell.verdict is None for cell in model.cells)
    return texts.contents(
        name=model.alias, model=model.alias, status="KILLED" if unjudged else "FAILED" if failed else "FINISHED",
        report=report, numbers=numbers, prompts=None if is_wide else prompts, table=_table(placed, report.metrics),
    )  # fmt: skip


def prompt_steps(report: SessionReport) -> dict[str, int]:
    """Prompt id -> its position in the session, which is its step in every model."""
    return {name: number for number, name in enumerate(dict.fromkeys(cell.prompt_id for cell in report.cells))}


def _placed(cells: Iterable[CellSummary], steps: Mapping[str, int]) -> Iterator[tuple[int, CellSummary]]:
    """Each cell with its step; a prompt that several tests ask gets further steps behind all others."""
    taken: set[int] = set()
    more = len(steps)
    for cell in cells:
        step = steps[cell.prompt_id]
        if step in taken:
            step, more = more, more + 1
        taken.add(step)
        yield step, cell


# ------------------------------------------------------------------------------------------------------------- numbers


class _Numbers:
    """Points, and what could not become one."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.not_finite: list[str] = []
        self.renamed: dict[str, str] = {}

    def add(self, name: str, value: float, step: int = 0) -> None:
        if not math.isfinite(value):
            self.not_finite.append(f"{name}: {value}" + (f" (step {step})" if name.startswith("prompt/") else ""))
            return
        made = layout.key(name)
        if made != name:
            self.renamed[made] = name
        self.points.append(Point(made, float(value), step))

    def take_model(self, model: ModelSummary, statistics: Iterable[str]) -> None:
        numbers = model.statistics
        for name, (metric, statistic) in PAPER.items():
            value = numbers.get(metric, {}).get(statistic)
            if value is not None:
                self.add(name, value)
        for name, count in _counts(model).items():
            self.add(name, count)
        for metric, found in numbers.items():
            for statistic in statistics:
                if statistic in found:
                    self.add(f"{metric}.{statistic}", found[statistic])

    def take_prompts(self, placed: Iterable[tuple[int, CellSummary]], metrics: Iterable[MetricDef]) -> None:
        names = [metric.name for metric in metrics if metric.name in CHARTED]
        for step, cell in placed:
            for name, value in _medians(cell, names).items():
                self.add(f"prompt/{name}", value, step)


def _medians(cell: CellSummary, names: Iterable[str]) -> dict[str, float]:
    samples = cell.columns.samples()
    found = {}
    for name in names:
        values = samples.get(name)
        if values:
            found[name] = values[0] if len(values) == 1 else cell.summarised(name, values).numbers()["median"]
    return found


def _counts(model: ModelSummary) -> dict[str, int]:
    numbers = (
        len(model.cells), model.valid_cells, model.failed_cells, model.inconclusive_cells, model.rounds, model.noisy_rounds,
        model.length_mismatches, model.starts, model.deaths,
    )  # fmt: skip
    return dict(zip(COUNTS, numbers, strict=True))


# --------------------------------------------------------------------------------------------------------------- texts


class _Texts:
    """Tags and params within MLflow's limits; what is longer is cut where one sees it, and kept whole elsewhere."""

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}
        self._params: dict[str, str] = {}
        self._long: dict[str, str] = {}
        self._renamed: dict[str, str] = {}

    def tags(self, found: Mapping[str, str]) -> None:
        for name, value in found.items():
            self.tag(name, value)

    def tag(self, name: str, value: str) -> None:
        """Empty ones are left out."""
        if value:
            self._tags[name] = self._kept(name, value, layout.MOST_TAG)

    def param(self, name: str, value: str) -> None:
        made = layout.key(name)
        if made != name:
            self._renamed[made] = name
        self._params.setdefault(made, self._kept(made, value, layout.MOST_PARAM))

    def _kept(self, name: str, value: str, most: int) -> str:
        value = without_credentials(value).replace("\x00", "")
        short = layout.cut(value, most)
        if short != value:
            self._long[name] = value
        return short

    def contents(
        self, *, name: str, model: str, status: Status, report: SessionReport, numbers: _Numbers, prompts: PromptData | None,
        table: str = "",
    ) -> RunContents:  # fmt: skip
        renamed = {**numbers.renamed, **self._renamed}
        self.tag(layout.RENAMED_TAG, json.dumps(renamed) if renamed else "")
        self.tag(layout.CUT_TAG, ", ".join(self._long) + f": whole in {layout.LONG_TEXTS}" if self._long else "")
        started = _milliseconds(report.header.started)
        return RunContents(
            name=name, model=model, status=status, started_ms=started,
            ended_ms=_milliseconds(report.footer.finished) if report.footer else started,
            tags=self._tags, params=self._params, points=tuple(numbers.points), prompts=prompts, table=table,
            long_texts=json.dumps(self._long, indent=1) if self._long else "",
        )  # fmt: skip


def _milliseconds(moment: str) -> int:
    try:
        return max(0, round(datetime.fromisoformat(moment).timestamp() * 1000))
    except ValueError:  # of a log that another tool wrote
        return 0


def _common_tags(facts: Facts) -> dict[str, str]:
    report = facts.report
    found = {
        layout.LOG_TAG: report.digest,
        layout.LINES_TAG: str(report.lines),
        layout.VERSION_TAG: report.header.version,
        layout.ENVIRONMENT_TAG: machine_part(report.header.environment).digest,
        "llmci.recovered": "true" if report.recovered else "",
        "llmci.exit_status": _exit_status(report),
        "llmci.provenance": "" if report.provenance == "live" else report.provenance,
        "llmci.replayed_run": report.replayed_run,
    }
    git = report.header.environment.get("git")
    if isinstance(git, dict):
        found["mlflow.source.git.commit"] = str(git.get("commit") or "")
        found["mlflow.source.git.branch"] = str(git.get("branch") or "")
        found["llmci.git.dirty"] = str(bool(git.get("dirty"))).lower()
    ci = report.header.environment.get("ci")
    if isinstance(ci, dict):
        found.update({f"llmci.ci.{name}": str(value) for name, value in ci.items() if value})
    return found


def _exit_status(report: SessionReport) -> str:
    status = report.footer.exit_status if report.footer else None
    return "" if status is None else str(status)


def _comparability(facts: Facts, model: ModelSummary, cells: Iterable[StoredCell]) -> dict[str, str]:
    """Digests of what must agree and of what is on trial; a model that never answered has none of them."""
    stored = facts.stored.models.get(model.alias)
    if stored is None:
        return {}
    protocols: dict[str, Json] = {cell.prompt_id: cell.protocol.digest for cell in cells if cell.protocol is not None}
    found = {layout.ENVIRONMENT_TAG: stored.environment.digest, layout.SUBJECT_TAG: stored.subject.digest}
    if protocols:
        found[layout.PROTOCOL_TAG] = Part(protocols).digest
        both: dict[str, Json] = {"environment": stored.environment.digest, "protocol": found[layout.PROTOCOL_TAG]}
        found[layout.COMPARABILITY_TAG] = Part(both).digest
    return found


def _failures(model: ModelSummary) -> Iterator[str]:
    for cell in model.cells:
        if cell.verdict == "failed" or cell.error is not None:
            yield f"{cell.id}: {one_line(_why_failed(cell))}"


def _why_failed(cell: CellSummary) -> str:
    if cell.error is not None:
        return _error_text(cell.error)
    reasons = [f"{check.name}: {check.message}" for check in cell.checks if not check.passed]
    reasons += [f"{budget.budget}: {budget.reason}" for budget in cell.budgets if budget.verdict == "failed"]
    regressed = [result for result in cell.comparisons if result.verdict == "regressed"]
    reasons += [f"{result.metric} regressed against {result.against}" for result in regressed]
    return "; ".join(reasons) or "the test failed"


def _error_text(error: ErrorInfo) -> str:
    return f"{error.kind}: {error.message.removeprefix(f'{error.kind}: ')}"


def _missing(model: ModelSummary) -> Iterator[str]:
    for name, summary in model.summaries.items():
        if not summary.n:
            yield f"{name}: {one_line(str(getattr(summary.median, 'reason', '')))}"


def _state(models: Iterable[ModelSummary], facts: Facts) -> str:
    models = tuple(models)
    aliases = {model.alias for model in models}
    verdicts = {cell.verdict for model in models for cell in model.cells}
    gates = [gate for gate in facts.report.gates if not gate.model or gate.model in aliases]
    if len(models) == 1 and len(facts.report.models) > 1:
        gates = [gate for gate in gates if gate.model]
    footer = facts.report.footer
    stopped = len(models) == len(facts.report.models) and footer is not None and footer.exit_status not in (0, None)
    if stopped or "failed" in verdicts or any(gate.outcome == "failed" for gate in gates):
        return "failed"
    if "inconclusive" in verdicts:
        return "inconclusive"
    return "pass" if "pass" in verdicts else "not judged"


def _session_status(report: SessionReport) -> Status:
    status = report.footer.exit_status if report.footer else None
    if report.recovered or report.footer is None or status == 2:
        return "KILLED"
    failed = report.count("failed") or any(gate.outcome == "failed" for gate in report.gates)
    return "FAILED" if failed or status not in (0, None) else "FINISHED"


def _description(facts: Facts, failures: list[str]) -> str:
    """Markdown, shown above all else."""
    report = facts.report
    aliases = ", ".join(f"`{one_line(model.alias)}`" for model in report.models[:_SHOWN])
    more = f" and {len(report.models) - _SHOWN} more" if len(report.models) > _SHOWN else ""
    counts = f"{len(report.cells)} cells, {report.count('rounds')} rounds, {report.count('failed')} failed"
    lines = [
        f"**{_state(report.models, facts)}**: {aliases}{more}; {counts}, {report.count('inconclusive')} inconclusive."
    ]
    if report.recovered:
        lines.append("The session was killed; what it had written was recovered.")
    if failures:
        shown = "\n".join(failures[:_SHOWN]).replace("```", "'''")
        rest = f"\n... and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        lines.append(f"Failed:\n\n```\n{shown}{rest}\n```")
    return "\n\n".join(lines)


# -------------------------------------------------------------------------------------------------------------- params


def _session_params(report: SessionReport) -> Iterator[tuple[str, str]]:
    yield from _flat("", report.header.settings)
    facts = {name: value for name, value in report.header.environment.items() if name not in ("git", "ci", "packages")}
    yield from _flat("environment.", facts)
    packages = report.header.environment.get("packages")
    yield from _flat("packages.", packages if isinstance(packages, dict) else {})


def _model_params(facts: Facts, model: ModelSummary, cells: Iterable[StoredCell]) -> Iterator[tuple[str, str]]:
    yield "model", model.alias
    yield "spec", model.spec
    stored = facts.stored.models.get(model.alias)
    if stored is not None:
        yield "backend", stored.spec.backend
        yield "target", stored.spec.target
        yield from (("options." + name, value) for name, value in stored.spec.options.items())
    yield from _flat("", model.facts)  # revision, dtype, quantization, hashes, versions, threads
    if stored is not None:
        yield "revision", stored.spec.revision or "default"
    asked: dict[str, dict[str, None]] = {}
    for cell in cells:
        for name, value in (cell.protocol.facts if cell.protocol is not None else {}).items():
            if name != "prompt_sha256":
                asked.setdefault(name, {})[_param_text(value)] = None
    yield from ((name, ", ".join(values)) for name, values in asked.items())


def _flat(prefix: str, found: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        yield prefix + name, _param_text(value)


def _param_text(value: Json) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _prompt_data(facts: Facts, groups: Iterable[Iterable[StoredCell]]) -> PromptData | None:
    hashes = {
        cell.prompt_id: str(cell.protocol.facts.get("prompt_sha256"))
        for cells in groups
        for cell in cells
        if cell.protocol is not None
    }
    if not hashes:
        return None
    whole = sha256("\n".join(f"{name} {hashes[name]}" for name in sorted(hashes)).encode("utf-8", "surrogatepass"))
    sets = facts.report.header.settings.get("prompts")
    name = ", ".join(map(str, sets)) if isinstance(sets, list) and sets else "prompts of the tests"
    suites = facts.report.header.settings.get("suites")
    if not sets and suites:
        name = "paper"  # what a suite asks unless told otherwise
    return PromptData(
        name=layout.cut(without_credentials(name), 200),
        digest=whole.hexdigest()[:32],
        source=json.dumps({"sets": name, "prompts": len(hashes)}),
        profile=json.dumps({"num_rows": len(hashes)}),
    )


# --------------------------------------------------------------------------------------------------------------- table


def _table(placed: Iterable[tuple[int, CellSummary]], metrics: Iterable[MetricDef]) -> str:
    """One row a cell, in the form of MLflow's ``log_table``; numbers are medians, None where there is none."""
    names = [metric.name for metric in metrics if metric.of_rounds]
    own = [name for name in names if name not in _TABLE_HEAD]
    rows = [_row(step, cell, _medians(cell, names), own) for step, cell in placed]
    return json.dumps({"columns": [*_TABLE_HEAD, *own, "missing"], "data": rows}, ensure_ascii=True, allow_nan=False)


def _row(step: int, cell: CellSummary, medians: Mapping[str, float], own: Iterable[str]) -> list[Json]:
    output = cell.outputs[0] if cell.outputs else None
    latency, memory = _finite(medians.get("latency")), _finite(medians.get("peak_rss"))
    reasons = {name: cell.why_missing(name) for name in own if name not in medians}
    return [
        step, cell.prompt_id, cell.prompt, output.text if output else None,
        None if latency is None else latency * 1e3, None if memory is None else memory / 1e6, _finite(medians.get("cpu_percent")),
        output.md5 if output else None, cell.id, cell.test, cell.verdict,
        _error_text(cell.error) if cell.error else None, "" if cell.error or cell.verdict != "failed" else _why_failed(cell),
        cell.rounds, *(_finite(medians.get(name)) for name in own),
        "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
    ]  # fmt: skip


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
