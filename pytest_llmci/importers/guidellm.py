"""GuideLLM: one cell a benchmark of its report, and one more, ``-requests``, with the requests that it kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..engine.imported import ImportedCell
from ..errors import ConfigError
from ..records import Json
from .base import Imported, Numbers, count, mapping, plain, requests_failed, text, utc_of
from .source import Source

_DISTRIBUTIONS: Final = (
    ("latency", "request_latency", "s"), ("ttft", "time_to_first_token_ms", "ms"), ("itl", "inter_token_latency_ms", "ms"),
    ("output_tokens", "output_token_count", ""), ("prompt_tokens", "prompt_token_count", ""),
)  # fmt: skip
_OF_A_REQUEST: Final = (
    ("latency", "request_latency", "s"), ("ttft", "time_to_first_token_ms", "ms"), ("itl", "inter_token_latency_ms", "ms"),
    ("prompt_tokens", "prompt_tokens", ""), ("output_tokens", "output_tokens", ""),
)  # fmt: skip
_RATES: Final = (
    ("request_throughput", "requests_per_second", "/s"), ("output_throughput", "output_tokens_per_second", "tok/s"),
    ("total_throughput", "tokens_per_second", "tok/s"),
)  # fmt: skip
_STATISTICS: Final = {"mean": "mean", "median": "median", "std_dev": "std", "min": "min", "max": "max"}
_PERCENTILES: Final = ("p25", "p75", "p90", "p95", "p99")
_STRATEGY: Final = ("type_", "streams", "rate", "max_concurrency")
_NOTE: Final = (
    "time_per_output_token_ms is left out: it has the first token in it, which tpot has not; texts are left out"
)


class GuideLlm:
    """Reads ``guidellm benchmark --output-path benchmarks.json`` of versions from 0.2."""

    def recognises(self, source: Source) -> bool:
        found = mapping(source.document) if source.kind == "json" else {}
        benchmarks = found.get("benchmarks")
        first = mapping(benchmarks[0]) if isinstance(benchmarks, list) and benchmarks else {}
        return "machine_info" not in found and "requests_per_second" in mapping(first.get("metrics"))

    def read(self, source: Source) -> Imported:
        report = mapping(source.document)
        benchmarks = report.get("benchmarks")
        version = text(mapping(report.get("metadata")).get("guidellm_version"))
        cells: list[ImportedCell] = []
        notes = [_NOTE]
        for place, each in enumerate(benchmarks if isinstance(benchmarks, list) else [], start=1):
            benchmark = mapping(each)
            if not mapping(benchmark.get("metrics")):
                raise ConfigError(
                    f"import: {source.path}: benchmark {place} has no metrics: GuideLLM writes them for all."
                )
            whole = _whole(benchmark, mapping(report.get("args")))
            cells.append(whole)
            requests = None if whole.error else _requests(benchmark, whole)
            if requests is not None:
                cells.append(requests)
        return Imported(cells=cells, tool=f"GuideLLM {version}".strip(), notes=notes)


def _totals(benchmark: Mapping[str, object]) -> Mapping[str, object]:
    """Requests by how they ended: versions have them in one place or another."""
    metrics = mapping(benchmark.get("metrics"))
    places = (
        metrics.get("request_totals"), benchmark.get("request_totals"), mapping(benchmark.get("scheduler_metrics")).get("requests_made"),
        mapping(benchmark.get("run_stats")).get("requests_made"),
    )  # fmt: skip
    return next((found for each in places if (found := mapping(each))), {})


def _whole(benchmark: Mapping[str, object], args: Mapping[str, object]) -> ImportedCell:
    metrics, totals = mapping(benchmark.get("metrics")), _totals(benchmark)
    good, errored, cut = (count(totals.get(name)) for name in ("successful", "errored", "incomplete"))
    numbers = Numbers()
    for metric, field, unit in _RATES:
        # The mean over time is the rate of the run; the other statistics are of moments in it.
        numbers.take(metric, _successful(metrics, field).get("mean"), unit, f"{field}.successful.mean")
    for metric, field, unit in _DISTRIBUTIONS:
        _distribution(numbers, metric, _successful(metrics, field), unit, f"{field}.successful")
    numbers.take("duration", benchmark.get("duration"), "s", "duration")
    numbers.take("requests", count(totals.get("total")), "", "total", zero=True)
    numbers.take("sample_size", good, "", "successful", zero=True)
    numbers.take("failed_requests", errored, "", "errored", zero=True)
    numbers.take("incomplete_requests", cut, "", "incomplete", zero=True)
    numbers.only_aggregates("latency", "ttft", "itl", "output_tokens")
    asked = _asked(benchmark, args)
    told = ", ".join(
        f"{name.removesuffix('_')} {value}" for name, value in asked.items() if value is not None and name in _STRATEGY
    )
    total = None if good is None else good + (errored or 0) + (cut or 0)
    return ImportedCell(
        model=_model(benchmark, args), prompt_id="-".join(str(asked[name]) for name in _STRATEGY if asked.get(name) is not None),
        about=f"GuideLLM: {told}", asked=asked, values=numbers.values, reasons=numbers.reasons, units=numbers.units,
        judged_by=("output_throughput", "latency_median", "ttft_median"), started=utc_of(benchmark.get("start_time")),
        error=requests_failed(total, good, errored) or _nothing_made(numbers), facts=_evidence(benchmark),
    )  # fmt: skip


def _nothing_made(numbers: Numbers) -> str:
    return "" if "request_throughput" in numbers.values else "it has no throughput that can have been measured"


def _successful(metrics: Mapping[str, object], field: str) -> Mapping[str, object]:
    """The statistics of the requests that ended well."""
    return mapping(mapping(metrics.get(field)).get("successful"))


def _distribution(numbers: Numbers, metric: str, found: Mapping[str, object], unit: str, where: str) -> None:
    if count(found.get("count")) == 0:  # all of its statistics are noughts that stand for nothing
        numbers.reasons[f"{metric}_mean"] = f"{where} is of no request"
        return
    for field, statistic in _STATISTICS.items():
        if field in found:
            numbers.take(f"{metric}_{statistic}", found[field], unit, f"{where}.{field}", zero=field == "std_dev")
    for name in _PERCENTILES:
        percentiles = mapping(found.get("percentiles"))
        if name in percentiles:
            numbers.take(f"{metric}_{name}", percentiles[name], unit, f"{where}.percentiles.{name}")


def _asked(benchmark: Mapping[str, object], args: Mapping[str, object]) -> dict[str, Json]:
    config, old = mapping(benchmark.get("config")), mapping(benchmark.get("args"))
    strategy = mapping(config.get("strategy")) or mapping(old.get("strategy"))
    found = {name: plain(strategy[name]) for name in _STRATEGY if name in strategy}
    found |= {} if strategy else {"rate": plain(config.get("rate"))}
    data = args.get("data") or mapping(benchmark.get("request_loader")).get("data")
    return {**found, "data": plain(data), "warmup": plain(config.get("warmup") or old.get("warmup_duration"))}


def _model(benchmark: Mapping[str, object], args: Mapping[str, object]) -> str:
    config = mapping(benchmark.get("config"))
    places = (
        args.get("model"), config.get("model"), mapping(config.get("backend")).get("model"),
        mapping(benchmark.get("worker")).get("backend_model"),
    )  # fmt: skip
    return next((found for each in places if (found := text(each))), "")


def _evidence(benchmark: Mapping[str, object]) -> dict[str, str]:
    errored = mapping(benchmark.get("requests")).get("errored")
    first = mapping(errored[0]) if isinstance(errored, list) and errored else {}
    error = text(first.get("error")) or text(mapping(first.get("info")).get("error"))
    return {"first error": error[:300]} if error else {}


def _requests(benchmark: Mapping[str, object], whole: ImportedCell) -> ImportedCell | None:
    """Every request that ended well and that the report keeps as a round: it may be a sample of them."""
    kept = mapping(benchmark.get("requests")).get("successful")
    rows: Sequence[Mapping[str, object]] = [mapping(each) for each in kept] if isinstance(kept, list) else []
    numbers = Numbers()
    for metric, field, unit in _OF_A_REQUEST:
        if any(field in row for row in rows):
            numbers.take_column(metric, [row.get(field) for row in rows], unit, f"requests.successful.{field}")
    if not numbers.values:
        return None
    return ImportedCell(
        model=whole.model, prompt_id=f"{whole.prompt_id}-requests", about=f"{whole.about}: single requests", asked=whole.asked,
        values=numbers.values, reasons=numbers.reasons, units=numbers.units, started=whole.started,
    )  # fmt: skip
