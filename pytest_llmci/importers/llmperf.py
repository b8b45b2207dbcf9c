"""LLMPerf: its summary as one cell, its list of single requests as one round a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..engine.imported import ImportedCell
from .base import Imported, Numbers, count, mapping, number, plain, requests_failed, text, utc_of
from .source import Source

_SUMMARY: Final = frozenset({"results_num_requests_started", "results_ttft_s_mean"})
_REQUEST: Final = frozenset({"error_code", "ttft_s", "end_to_end_latency_s"})
_ASKED: Final = (
    "mean_input_tokens", "stddev_input_tokens", "mean_output_tokens", "stddev_output_tokens", "num_concurrent_requests",
)  # fmt: skip
_DISTRIBUTIONS: Final = (
    ("ttft", "ttft_s", "s"), ("latency", "end_to_end_latency_s", "s"), ("tokens_per_s", "request_output_throughput_token_per_s", "/s"),
    ("prompt_tokens", "number_input_tokens", ""), ("output_tokens", "number_output_tokens", ""),
)  # fmt: skip
_STATISTICS: Final = {
    "mean": "mean", "min": "min", "max": "max", "stddev": "std", "quantiles_p50": "median", "quantiles_p25": "p25", "quantiles_p75": "p75",
    "quantiles_p90": "p90", "quantiles_p95": "p95", "quantiles_p99": "p99",
}  # fmt: skip
_NOTE: Final = "inter_token_latency_s is left out: it has the wait for the first token in it, which itl has not"


class LlmPerf:
    """Reads ``*_summary.json`` and ``*_individual_responses.json``."""

    def recognises(self, source: Source) -> bool:
        if source.kind != "json":
            return False
        if isinstance(source.document, list):
            return mapping(source.first).keys() >= _REQUEST
        return mapping(source.document).keys() >= _SUMMARY

    def read(self, source: Source) -> Imported:
        found = source.document
        if isinstance(found, list):
            return Imported(cells=[_requests([mapping(each) for each in found], source.stem)], tool="LLMPerf", notes=[_NOTE])  # fmt: skip
        summary = mapping(found)
        return Imported(cells=[_summary(summary)], tool=f"LLMPerf {text(summary.get('version'))}".strip(), notes=[_NOTE])  # fmt: skip


def _summary(found: Mapping[str, object]) -> ImportedCell:
    numbers = Numbers()
    for metric, field, unit in _DISTRIBUTIONS:
        for called, statistic in _STATISTICS.items():
            name = f"results_{field}_{called}"
            if name in found:
                numbers.take(f"{metric}_{statistic}", found[name], unit, name, zero=statistic == "std")
    field = "results_mean_output_throughput_token_per_s"
    numbers.take("output_throughput", found.get(field), "tok/s", field)
    a_minute = number(found.get("results_num_completed_requests_per_min"))
    per_second = None if a_minute is None else a_minute / 60
    numbers.take("request_throughput", per_second, "/s", "results_num_completed_requests_per_min / 60")
    started, completed, errors = (
        count(found.get(f"results_{name}"))
        for name in ("num_requests_started", "num_completed_requests", "number_errors")
    )
    numbers.take("requests", started, "", "results_num_requests_started", zero=True)
    if started is not None and completed is not None and errors is not None:
        cut = max(0, started - completed - errors)
        numbers.take("incomplete_requests", cut, "", "started - completed - errors", zero=True)
    numbers.take("failed_requests", errors, "", "results_number_errors", zero=True)
    numbers.take("sample_size", completed, "", "results_num_completed_requests", zero=True)
    numbers.only_aggregates("latency", "ttft", "tokens_per_s", "output_tokens")
    asked = {name: plain(found.get(name)) for name in _ASKED}
    told = ", ".join(f"{name} {value}" for name, value in asked.items())
    name = f"in{asked['mean_input_tokens']}-out{asked['mean_output_tokens']}-c{asked['num_concurrent_requests']}"
    return ImportedCell(
        model=text(found.get("model")), prompt_id=name, about=f"LLMPerf: {told}",
        asked={**asked, **{name: plain(found[name]) for name in ("framework",) if name in found}}, values=numbers.values,
        reasons=numbers.reasons, units=numbers.units, judged_by=("output_throughput", "latency_median", "ttft_median"),
        started=utc_of(found.get("timestamp")), error=requests_failed(started, completed, errors),
        facts={"errors": text(found.get("results_error_code_frequency"))} if errors else {},
    )  # fmt: skip


def _requests(found: list[Mapping[str, object]], stem: str) -> ImportedCell:
    good = [each for each in found if each.get("error_code") is None]
    bad = [each for each in found if each.get("error_code") is not None]
    numbers = Numbers()
    for metric, field, unit in _DISTRIBUTIONS:
        numbers.take_column(metric, [each.get(field) for each in good], unit, field)
    first = f"{bad[0].get('error_code')}: {text(bad[0].get('error_msg'))[:300]}" if bad else ""
    return ImportedCell(
        model="", prompt_id=stem, about=f"LLMPerf: single requests of {stem}", asked={"requests": len(found)}, values=numbers.values,
        reasons=numbers.reasons, units=numbers.units, error=requests_failed(len(found), len(good), len(bad)),
        facts={"first error": first} if first else {},
    )  # fmt: skip
