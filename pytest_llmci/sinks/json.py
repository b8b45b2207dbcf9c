"""``results.json``: the run as one JSON document, and ``metrics.json``: model -> metric -> number.

``results.json`` follows ``store/schema/results.schema.json``. Quantities are SI (seconds, bytes). It is written piece
by piece, one cell a line; single rounds stand in ``results.csv`` and in the log. ``metrics.json`` is flat enough for
``dvc metrics show`` and ``dvc metrics diff``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from ..engine.answers import TaskSummary
from ..engine.reports.columns import Block
from ..engine.reports.report import CellSummary, ModelSummary, SessionReport
from ..errors import SinkError
from ..metrics import MetricDef
from ..records import BenchmarkRecord, Json, JsonObject, LoadRecord, json_view, to_json
from ..stats.summary import Summary, summarise
from ..store.encoding import RECORDS_TOO, dump_quickly, spelled
from ..store.encoding import dump as _dump
from ..store.runfolder import replacing

RESULTS_VERSION: Final = 1
"""Of the form of results.json; a field that is added does not change it."""
_AT_ONCE: Final = 256
"""Items of a list that are handed to the file together."""


class JsonSink:
    """Writes both files.

    :param target: the folder to write to; empty for the run folder.
    """

    def __init__(self, target: str = "") -> None:
        self._target = target

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        place = Path(os.path.expanduser(self._target)) if self._target else folder
        results, metrics = place / "results.json", place / "metrics.json"
        try:
            place.mkdir(parents=True, exist_ok=True)
            with replacing(results) as stream:
                _write_results(stream, report)
            with replacing(metrics) as stream:
                write_metrics(stream, report)
        except OSError as error:
            raise SinkError(f"{place}: the JSON files cannot be written: {error.strerror or error}.") from error
        return [results, metrics]


def write_metrics(stream: IO[str], report: SessionReport) -> None:
    """Write what stands in metrics.json: a line a model, for a readable diff."""
    stream.write("{\n" + ",\n".join(f"  {_dump(model.alias)}: {_medians(model)}" for model in report.models) + "\n}\n")


def _write_results(stream: IO[str], report: SessionReport) -> None:
    stream.write("{" + ",\n".join(f"{_dump(key)}:{_dump(value)}" for key, value in _head(report).items()))
    said = {model.alias: _said(model) for model in report.models}
    writer = _CellWriter(report.metrics, said)
    gates = (
        {key: value for key, value in to_json(gate).items() if key not in ("type", "uid", "reasons")}
        for gate in report.gates
    )
    _write_list(stream, "models", (_model(model, said[model.alias]) for model in report.models))
    _write_list(stream, "cells", map(writer.line, report.cells))
    _write_list(stream, "tasks", map(_dump, map(_task, report.tasks)))
    defs = {metric.name: metric for metric in report.metrics}
    if report.loads:
        _write_list(stream, "loads", (_dump(_load(each, defs)) for each in report.loads))
    _write_list(stream, "gates", map(_dump, gates))
    _write_list(stream, "benchmarks", map(_dump, map(_benchmark, report.benchmarks)))
    stream.write("}\n")


def _write_list(stream: IO[str], name: str, items: Iterable[str]) -> None:
    stream.write(f",\n{_dump(name)}:[")
    rest, separator = iter(items), "\n"
    while some := [*islice(rest, _AT_ONCE)]:
        stream.write(separator + ",\n".join(some))
        separator = ",\n"
    stream.write("\n]")


def _head(report: SessionReport) -> JsonObject:
    header, footer = report.header, report.footer
    command: list[Json] = list(header.command)
    return {
        "results_version": RESULTS_VERSION,
        "run": {
            "id": header.run_id,
            "version": header.version,
            "command": command,
            "started": header.started,
            "finished": footer.finished if footer else None,
            "exit_status": footer.exit_status if footer else None,
            "recovered": report.recovered,
            "provenance": report.provenance,
            "replayed_run": report.replayed_run or None,
            "log_lines": report.lines,
            "log_digest": report.digest,
        },
        "settings": header.settings,
        "environment": header.environment,
        "metrics": [to_json(metric) for metric in header.metrics],
    }


def _model(model: ModelSummary, said: Mapping[str, str]) -> str:
    """:param said: what is written of the metrics that it has nothing of."""
    head: JsonObject = {
        "alias": model.alias,
        "spec": model.spec,
        "cells": len(model.cells),
        "valid_cells": model.valid_cells,
        "checked_cells": model.checked_cells,
        "failed_cells": model.failed_cells,
        "inconclusive_cells": model.inconclusive_cells,
        "rounds": model.rounds,
        "length_mismatches": model.length_mismatches,
        "noisy_rounds": model.noisy_rounds,
        "worker_starts": model.starts,
        "worker_deaths": model.deaths,
        "published_score": json_view(model.published) if model.published else None,
        "price": json_view(model.price) if model.price else None,
        "info": model.info,
    }
    statistics = model.statistics
    parts = [
        f"{_key(name)}:{said[name] if name in said else _sample_form(tuple(statistics[name])) % texts}"
        for name, texts in model.spelt.items()
    ]
    return f'{_dump(head)[:-1]},"metrics":{{{",".join(parts)}}}}}'


@lru_cache(maxsize=64)
def _sample_form(statistics: tuple[str, ...]) -> str:
    """How a sample is written that carries these."""
    return "{" + ",".join(f"{_dump(name)}:%s" for name in statistics) + "}"


def _said(model: ModelSummary) -> dict[str, str]:
    """Metric -> what is written of it, for those that the model has nothing of."""
    return {
        name: _no_number(str(getattr(model.summaries[name].median, "reason", "")))
        for name, numbers in model.statistics.items()
        if not numbers["n"]
    }


def _task(task: TaskSummary) -> JsonObject:
    rates: JsonObject = {
        metric: {"value": rate.value, "stderr": rate.stderr, "n": rate.n} for metric, rate in task.rates.items()
    }
    answers = task.answers
    return {
        "cell": task.cell,
        "model": task.model,
        "task": task.name,
        "test": task.test,
        "verdict": task.verdict,
        "error": to_json(task.error) if task.error else None,
        "asked": json_view(task.facts) if task.facts else None,
        "answered": answers.answered if answers else 0,
        "resumed": answers.resumed if answers else 0,
        "truncated": answers.truncated if answers else 0,
        "metrics": rates,
        "budgets": [json_view(budget) for budget in task.budgets],
        "comparisons": [json_view(comparison) for comparison in task.comparisons],
    }


def _cell(cell: CellSummary, *, plain: bool = True) -> dict[str, Any]:
    """What stands before its metrics.

    :param plain: False leaves its checks the records that they are.
    """
    return {
        "id": cell.id,
        "model": cell.model,
        "prompt_id": cell.prompt_id,
        "test": cell.test,
        "verdict": cell.verdict,
        "attempt": cell.attempt,
        "rounds": cell.rounds,
        "length_mismatches": cell.length_mismatches,
        "noisy_rounds": cell.noisy_rounds,
        "provenance": cell.provenance,
        "error": to_json(cell.error) if cell.error else None,
        "checks": [json_view(check) for check in cell.checks] if plain else cell.checks,
        "samples": json_view(cell.samples) if cell.samples else None,
        "budgets": [json_view(budget) for budget in cell.budgets],
        "comparisons": [json_view(comparison) for comparison in cell.comparisons],
        "slowdown": json_view(cell.slowdown) if cell.slowdown else None,
        "prompt": cell.prompt,
        "templated": cell.templated,
        "variables": {**cell.variables},
        "outputs": [output._asdict() for output in cell.outputs],
    }


def _cell_head(cell: CellSummary) -> str:
    if not (cell.budgets or cell.comparisons or cell.samples):  # without those it holds no fraction
        quick = dump_quickly(_cell(cell, plain=False), RECORDS_TOO)
        if quick is not None:
            return quick.decode("ascii")
    return _dump(_cell(cell))


class _CellWriter:
    """Writes cells with their metrics last, which are most of a cell and most of them one number or none.

    :param said: alias -> the metrics that its model has nothing of, with what the model's entry says of them: cells say it again only
        where they have another reason.
    """

    def __init__(self, metrics: Sequence[MetricDef], said: Mapping[str, Mapping[str, str]]) -> None:
        self._keys = {metric.name: _dump(metric.name) for metric in metrics if metric.of_rounds}
        self._in_ns = {metric.name for metric in metrics if metric.stored == "ns"}
        known: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._said = {alias: known.setdefault(tuple(of_model.items()), of_model) for alias, of_model in said.items()}
        """The same object for equal ones."""
        self._forms: dict[tuple[int, int, int], tuple[str, list[tuple[int, int]]]] = {}
        """(Layout, reasons, what the model says) of a cell that is one round -> what is written of every such cell, and where its
        numbers go: the position of each in its block, and what it is divided by. All three objects live as long as the report."""

    def line(self, cell: CellSummary) -> str:
        """One cell as JSON."""
        block = cell.columns.one_round()
        metrics = self._one_round(cell, block) if block is not None and cell.rounds == 1 else self._metrics(cell)
        return f'{_cell_head(cell)[:-1]},"metrics":{{{metrics}}}}}'

    def _metrics(self, cell: CellSummary) -> str:
        samples, said = cell.columns.samples(), self._said.get(cell.model, {})
        parts = ((name, key, _of_sample(cell, name, samples.get(name, []))) for name, key in self._keys.items())
        return ",".join([f"{key}:{part}" for name, key, part in parts if part != said.get(name)])

    def _one_round(self, cell: CellSummary, block: Block) -> str:
        """:meth:`_metrics` of a cell with a single round: the case of a wide matrix."""
        flat = block.numbers.tolist()
        said = self._said.get(cell.model, _NOTHING)
        known = id(block.layout), id(cell.columns.reasons), id(said)
        if known not in self._forms:
            self._forms[known] = self._form(cell, block, said)
        form, places = self._forms[known]
        texts = spelled([flat[at] / divisor for at, divisor in places])
        if "" in texts:  # not finite
            return self._metrics(cell)
        return form % tuple([_one_number(text) for text in texts])

    def _form(self, cell: CellSummary, block: Block, said: Mapping[str, str]) -> tuple[str, list[tuple[int, int]]]:
        parts: list[str] = []
        places: list[tuple[int, int]] = []
        for name, key in self._keys.items():
            escaped = key.replace("%", "%%")
            if name in block.layout:
                parts.append(f"{escaped}:%s")
                places.append((block.layout[name], 10**9 if name in self._in_ns else 1))
            elif (reason := _no_numbers(cell.why_missing(name))) != said.get(name):
                parts.append(f"{escaped}:{reason.replace('%', '%%')}")
        return ",".join(parts), places


_NOTHING: Final[Mapping[str, str]] = {}


def _one_number(text: str) -> str:
    return f'{{"n":1,"min":{text},"median":{text},"mean":{text},"max":{text}}}'


def _of_sample(cell: CellSummary, name: str, values: list[float]) -> str:
    if len(values) == 1 and math.isfinite(values[0]):
        return _one_number(spelled(values)[0])
    return _dump(_numbers(cell.summarised(name, values))) if values else _no_numbers(cell.why_missing(name))


def _load(record: LoadRecord, defs: Mapping[str, MetricDef]) -> JsonObject:
    """A run under load, or a step of a sweep, without its single requests: those are in requests.csv."""
    run = record.run
    values: JsonObject = {name: defs[name].to_si(value) for name, value in run.values.items() if name in defs}
    reasons: JsonObject = {**run.reasons}
    messages: JsonObject = {**run.messages}
    return {
        "cell": record.cell,
        "model": record.model,
        "test": record.test,
        "scenario": record.scenario,
        "round": record.round,
        "step": run.step,
        "rate": run.rate,
        "concurrency": run.concurrency,
        "served": run.served,
        "kept": run.kept,
        "requests": len(run.intended_ns),
        "failed": sum(map(bool, run.failures)),
        "failures": messages,
        "values": values,
        "reasons": reasons,
    }


def _benchmark(record: BenchmarkRecord) -> JsonObject:
    cells: list[Json] = [*record.cells]
    models: list[Json] = [*record.models]
    return {
        "test": record.test,
        "tool": record.tool,
        "cells": cells,
        "models": models,
        "iterations": record.iterations,
        "group": record.group,
        "seconds": _numbers(summarise(record.round_s, of="this benchmark", reason=record.reason)),
    }


@lru_cache(maxsize=256)  # the same few reasons in cell after cell
def _no_numbers(reason: str) -> str:
    return _dump(_numbers(summarise([], reason=reason)))


@lru_cache(maxsize=256)
def _no_number(reason: str) -> str:
    nothing: JsonObject = {"n": 0, "reason": reason}
    return _dump(nothing)


def _numbers(summary: Summary) -> JsonObject:
    """The statistics that the sample carries, the others left out; for an empty sample the reason."""
    if not summary.ordered:
        return {"n": 0, "reason": str(getattr(summary.median, "reason", ""))}
    return dict(summary.numbers())


def _medians(model: ModelSummary) -> str:
    """Metric -> median over the model's rounds or starts, and its counts of cells; what is missing is left out."""
    medians = [
        f"{_key(name)}:{texts[list(model.statistics[name]).index('median')]}"
        for name, texts in model.spelt.items()
        if "median" in model.statistics[name]
    ]
    counts = {
        "cells": len(model.cells), "valid_cells": model.valid_cells, "failed_cells": model.failed_cells,
        "inconclusive_cells": model.inconclusive_cells,
    }  # fmt: skip
    if not model.checked_cells:  # none valid of none judged is no 0
        del counts["valid_cells"]
    return "{" + ",".join([*medians, *(f"{_key(name)}:{number}" for name, number in counts.items())]) + "}"


_key = lru_cache(maxsize=1024)(_dump)
"""The name of a metric in quotes."""
