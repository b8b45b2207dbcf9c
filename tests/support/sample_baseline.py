"""An invented baseline, and the machines that it and others were saved on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sample_run import header, rounds, verdict, worker

from pytest_llmci.records import LogRecord
from pytest_llmci.store.baseline_log import baseline_of_log
from pytest_llmci.store.baseline_record import BaselineRecord
from pytest_llmci.store.comparability import machine_part

MACHINE: dict[str, Any] = {"machine": "x86_64", "cpu_model": "A processor", "cores_allowed": 2, "kernel": "6.1"}
LATER: dict[str, Any] = {**MACHINE, "cpu_model": "Another", "cores_allowed": 8}
NOW = datetime(2026, 7, 1, tzinfo=UTC)
HERE = machine_part(MACHINE)


def baseline(
    *cells: str,
    name: str = "main",
    facts: dict[str, Any] = MACHINE,
    days_old: float = 1,
    latency_ms: float = 100,
    **info: Any,
) -> BaselineRecord:
    blocks = [rounds(cell, prompt_id=cell, latencies_ms=(latency_ms,) * 2) for cell in cells or ("tcp",)]
    records: list[LogRecord] = [header(environment=facts), worker(info=info), *blocks, verdict(prompt_id="tcp")]
    return baseline_of_log(records, name, saved=NOW - timedelta(days=days_old))
