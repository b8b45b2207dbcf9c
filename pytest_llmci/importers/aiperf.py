"""AIPerf (and GenAI-Perf, its forerunner): its summary as one cell, ``profile_export.jsonl`` as one round a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..engine.imported import ImportedCell
from ..records import Json
from .base import Imported, Numbers, count, mapping, number, plain, requests_failed, text, utc_of
from .source import Source

_DISTRIBUTIONS: Final = {
    "latency": "request_latency", "ttft": "time_to_first_token", "tpot": "inter_token_latency",
    "tokens_per_s": "e2e_output_token_throughput",
    "prompt_tokens": "input_sequence_length", "output_tokens": "output_sequence_length",
}  # fmt: skip
"""Our metric -> theirs. Their inter token latency is the time behind the first token over the tokens behind it: tpot."""
_RATES: Final = {
    "request_throughput": "request_throughput", "output_throughput": "output_token_throughput",
    "total_throughput": "total_token_throughput",
}  # fmt: skip
_STATISTICS: Final = {
    "avg": "mean", "p50": "median", "std": "std", "min": "min", "max": "max", "p25": "p25", "p75": "p75", "p90": "p90", "p95": "p95",
    "p99": "p99",
}  # fmt: skip
_UNITS: Final = {
    "requests/sec": "/s", "tokens/sec": "tok/s", "tokens/sec/user": "tok/s", "tokens": "", "requests": "", "sec": "s", "seconds": "s",
}  # fmt: skip
_LOAD: Final = ("concurrency", "request_rate", "request_count", "benchmark_duration", "num_sessions")


class AiPerf:
    """Reads ``profile_export_aiperf.json`` and ``profile_export.jsonl``."""

    def recognises(self, source: Source) -> bool:
        if source.kind == "text":
            return False
        first = mapping(source.first)
        return _is_request(first) or _is_summary(first)

    def read(self, source: Source) -> Imported:
        if _is_request(mapping(source.first)):
            return _requests(source)
        found = mapping(source.first)
        return Imported(cells=[_summary(found)], tool=f"AIPerf {text(found.get('aiperf_version'))}".strip(), machine={})


def _is_request(first: Mapping[str, object]) -> bool:
    return "metrics" in first and "request_start_ns" in mapping(first.get("metadata"))


def _is_summary(first: Mapping[str, object]) -> bool:
    blocks = [mapping(first.get(name)) for name in ("request_latency", "request_throughput")]
    return all("unit" in block and "avg" in block for block in blocks)


def _unit(block: Mapping[str, object]) -> str:
    written = text(block.get("unit"))
    return _UNITS.get(written, written)


def _summary(found: Mapping[str, object]) -> ImportedCell:
    numbers = Numbers()
    for metric, field in _RATES.items():
        block = mapping(found.get(field))
        numbers.take(metric, block.get("avg"), _unit(block), field)
    for metric, field in _DISTRIBUTIONS.items():
        block = mapping(found.get(field))
        for called, statistic in _STATISTICS.items():
            if called in block:
                numbers.take(
                    f"{metric}_{statistic}", block[called], _unit(block), f"{field}.{called}", zero=called == "std"
                )
    duration = mapping(found.get("benchmark_duration"))
    numbers.take("duration", duration.get("avg"), _unit(duration), "benchmark_duration")
    good, bad = (count(mapping(found.get(name)).get("avg")) for name in ("request_count", "error_request_count"))
    bad = bad if bad is not None else _summed_errors(found)
    numbers.take("sample_size", good, "", "request_count", zero=True)
    numbers.take("failed_requests", bad, "", "error_request_count", zero=True)
    numbers.only_aggregates("latency", "ttft", "tpot", "output_tokens")
    error = "the run was cancelled" if found.get("was_cancelled") is True else ""
    config = mapping(found.get("input_config"))
    asked = _load(config)
    told = [f"{name} {value}" for name, value in asked.items() if value is not None]
    return ImportedCell(
        model=_model(config), prompt_id="-".join(["profile", *(each.replace(" ", "-") for each in told)]),
        about=f"aiperf profile: {', '.join(told) or 'load unknown'}", asked=asked, values=numbers.values, reasons=numbers.reasons,
        units=numbers.units, judged_by=("output_throughput", "latency_median", "ttft_median"), started=utc_of(found.get("start_time")),
        build="", error=error or requests_failed(None if good is None else good + (bad or 0), good, bad), facts=_evidence(found),
    )  # fmt: skip


def _summed_errors(found: Mapping[str, object]) -> int | None:
    summary = found.get("error_summary")
    counts = [count(mapping(each).get("count")) for each in summary] if isinstance(summary, list) else []
    return sum(each or 0 for each in counts) if isinstance(summary, list) else None


def _evidence(found: Mapping[str, object]) -> dict[str, str]:
    summary = found.get("error_summary")
    first = mapping(mapping(summary[0]).get("error_details")) if isinstance(summary, list) and summary else {}
    told = " ".join(part for part in (text(first.get("type")), text(first.get("message"))) if part)
    return {"first error": told[:300]} if told else {}


def _load(config: Mapping[str, object]) -> dict[str, Json]:
    """What the load was: the settings by these names, wherever in the configuration they stand."""
    found: dict[str, Json] = dict.fromkeys(_LOAD)
    pending: list[Any] = [config]
    while pending:
        part = pending.pop(0)
        if isinstance(part, dict):
            for name, value in part.items():
                if name in found and found[name] is None and number(value) is not None:
                    found[name] = plain(value)
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return found


def _model(config: Mapping[str, object]) -> str:
    places = (
        mapping(config.get("endpoint")).get("model_names"),
        config.get("models"),
        config.get("model"),
        config.get("model_names"),
    )
    for each in places:
        item = each[0] if isinstance(each, list) and each else mapping(each).get("items", each)
        item = item[0] if isinstance(item, list) and item else item
        name = text(item) or text(mapping(item).get("name"))
        if name:
            return name
    return ""


def _requests(source: Source) -> Imported:
    columns: dict[str, list[object]] = {metric: [] for metric in _DISTRIBUTIONS}
    units: dict[str, str] = {}
    asked = good = bad = cut = 0
    first = ""
    for record in source.records():
        each, metadata = mapping(record), mapping(mapping(record).get("metadata"))
        if metadata.get("benchmark_phase") == "warmup":
            continue
        asked += 1
        error = mapping(each.get("error"))
        if metadata.get("was_cancelled") is True:
            cut += 1
        elif error:
            bad += 1
            first = first or f"{text(error.get('type'))} {text(error.get('message'))}".strip()[:300]
        else:
            good += 1
            for metric, field in _DISTRIBUTIONS.items():
                block = mapping(mapping(each.get("metrics")).get(field))
                columns[metric].append(block.get("value"))
                if block:
                    units.setdefault(metric, _unit(block))
    numbers = Numbers()
    for metric, column in columns.items():
        if metric in units:
            numbers.take_column(metric, column, units[metric], _DISTRIBUTIONS[metric])
    cell = ImportedCell(
        model="", prompt_id=f"{source.stem}-requests", about=f"aiperf profile: single requests of {source.stem}", asked={},
        values=numbers.values, reasons=numbers.reasons, units=numbers.units, error=requests_failed(asked, good, bad),
        facts={"first error": first} if first else {},
    )  # fmt: skip
    notes = ["requests of the warm-up are left out"]
    notes += [f"{cut} of {asked} requests, which the tool cancelled itself, are left out"] if cut else []
    return Imported(cells=[cell], tool="AIPerf", notes=notes)
