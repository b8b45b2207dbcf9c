"""MLPerf LoadGen: ``mlperf_log_summary.txt`` as one cell; a result that is not VALID has failed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ..engine.imported import ImportedCell
from .base import Imported, Numbers
from .source import Source

_TITLE: Final = "MLPerf Results Summary"
_ENTRY: Final = re.compile(r"([^:=]+?)\s*:\s*(.*)")
_RATES: Final = {
    "samples per second": ("request_throughput", "/s"), "completed samples per second": ("request_throughput", "/s"),
    "tokens per second": ("output_throughput", "tok/s"), "completed tokens per second": ("output_throughput", "tok/s"),
}  # fmt: skip
_TIMES: Final = {"latency": "latency", "first token latency": "ttft", "time to output token": "tpot"}
_STATISTICS: Final = {
    "min": "min", "max": "max", "mean": "mean", "50.00 percentile": "median", "90.00 percentile": "p90", "95.00 percentile": "p95",
    "99.00 percentile": "p99", "90th percentile": "p90",
}  # fmt: skip
_TIME: Final = re.compile(rf"({'|'.join(map(re.escape, _STATISTICS))}) ({'|'.join(_TIMES)}) \(ns\)")
_NO_MODEL: Final = "the file names no model: --model ALIAS gives it one"
_NOT_ASKED: Final = re.compile(r".*_seed\b")


class MlPerf:
    """Reads the summary that LoadGen writes beside its detailed log."""

    def recognises(self, source: Source) -> bool:
        if source.kind != "text":
            return False
        with source.path.open(encoding="utf-8", errors="replace") as stream:
            return _TITLE in stream.read(400)

    def read(self, source: Source) -> Imported:
        results, parameters = _entries(source.text)
        return Imported(cells=[_cell(results, parameters)], tool="MLPerf LoadGen", notes=[_NO_MODEL])


def _entries(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Names in lower case -> text: of the results, and of the parameters behind them."""
    results, _, parameters = text.partition("Test Parameters Used")
    found = []
    for part in (results, parameters):
        matches = (_ENTRY.fullmatch(line.strip().removeprefix("* ")) for line in part.splitlines())
        found.append({match[1].strip().lower(): match[2].strip() for match in matches if match})
    return found[0], found[1]


def _cell(results: Mapping[str, str], parameters: Mapping[str, str]) -> ImportedCell:
    numbers = Numbers()
    for name, value in results.items():
        if name in _RATES:
            metric, unit = _RATES[name]
            numbers.take(metric, value, unit, name)
        elif match := _TIME.fullmatch(name):
            numbers.take(f"{_TIMES[match[2]]}_{_STATISTICS[match[1]]}", value, "ns", name)
    numbers.only_aggregates("latency", "ttft", "tpot")
    scenario, mode = results.get("scenario", ""), results.get("mode", "")
    verdict = results.get("result is", "")
    missed = [name for name, value in results.items() if name.endswith("satisfied") and value.lower() == "no"]
    error = "" if verdict == "VALID" else f"LoadGen calls the result {verdict or 'nothing'}, not VALID"
    if not error and "performance" not in mode.lower():
        error = f"the mode was {mode or 'not said'}: only a performance run has times that count"
    asked = {name: value for name, value in parameters.items() if not _NOT_ASKED.match(name)}
    return ImportedCell(
        model="", prompt_id=f"{scenario}-{mode}".strip("-"), about=f"MLPerf {scenario}, {mode}", asked=asked, values=numbers.values,
        reasons=numbers.reasons, units=numbers.units, judged_by=("output_throughput", "request_throughput", "latency_p90"),
        info={"sut": results.get("sut name") or None}, error=error, facts={"not satisfied": ", ".join(missed)} if missed else {},
    )  # fmt: skip
