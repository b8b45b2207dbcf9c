"""vLLM's benchmarks without a server, ``latency`` and ``throughput``: one cell a file, since only its name says what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..engine.imported import ImportedCell
from .base import Imported, Numbers, count, mapping, requests_failed
from .source import Source

_LATENCY: Final = frozenset({"avg_latency", "percentiles"})
_THROUGHPUT: Final = frozenset({"elapsed_time", "num_requests", "tokens_per_second"})
_PERCENTILES: Final = {"25": "p25", "50": "median", "75": "p75", "90": "p90", "99": "p99"}
_NOTE: Final = "what was asked is in the file's name alone: files of one name are compared"


class VllmOffline:
    """Reads ``vllm bench latency --output-json`` and ``vllm bench throughput --output-json``."""

    def recognises(self, source: Source) -> bool:
        keys = mapping(source.document).keys() if source.kind == "json" else set[str]()
        return keys >= _LATENCY or keys >= _THROUGHPUT

    def read(self, source: Source) -> Imported:
        found = mapping(source.document)
        cell = _latency(found, source.stem) if found.keys() >= _LATENCY else _throughput(found, source.stem)
        return Imported(cells=[cell], tool="vLLM", notes=[_NOTE])


def _latency(found: Mapping[str, object], stem: str) -> ImportedCell:
    numbers = Numbers()
    latencies = found.get("latencies")
    if isinstance(latencies, list) and latencies:
        numbers.take_column("latency", latencies, "s", "latencies")
    else:
        numbers.take("latency_mean", found.get("avg_latency"), "s", "avg_latency")
        for field, statistic in _PERCENTILES.items():
            numbers.take(f"latency_{statistic}", mapping(found.get("percentiles")).get(field), "s", f"percentiles.{field}")  # fmt: skip
        numbers.only_aggregates("latency")
    return ImportedCell(
        model="", prompt_id=stem, about=f"vllm bench latency: {stem}, one round a batch", asked={"benchmark": "latency"},
        values=numbers.values, reasons=numbers.reasons, units=numbers.units, judged_by=("latency_mean",),
        error="" if numbers.values else "no time of it can have been measured",
    )  # fmt: skip


def _throughput(found: Mapping[str, object], stem: str) -> ImportedCell:
    numbers = Numbers()
    numbers.take("duration", found.get("elapsed_time"), "s", "elapsed_time")
    numbers.take("request_throughput", found.get("requests_per_second"), "/s", "requests_per_second")
    numbers.take("total_throughput", found.get("tokens_per_second"), "tok/s", "tokens_per_second")
    numbers.take("requests", found.get("num_requests"), "", "num_requests", zero=True)
    numbers.only_aggregates("latency")
    failed = requests_failed(None, count(found.get("num_requests")), None)
    return ImportedCell(
        model="", prompt_id=stem, about=f"vllm bench throughput: {stem}", asked={"benchmark": "throughput"}, values=numbers.values,
        reasons=numbers.reasons, units=numbers.units, judged_by=("total_throughput",),
        error=failed or ("" if "total_throughput" in numbers.values else "it has no throughput that can have been measured"),
    )  # fmt: skip
