"""Runs as their logs would tell them, for what compares them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sample_run import header, rounds, verdict, worker

from pytest_llmci.clock import FakeClock
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import CheckResult, GenerationSettings, LogRecord
from pytest_llmci.store.log import LOG_NAME, LogWriter

MACHINE: dict[str, Any] = {
    "machine": "x86_64", "cpu_model": "A", "cpu_flags_sha256": "f", "cores_allowed": 2, "cpu_quota_cores": None,
    "kernel": "6.1.0", "git": {"commit": "1" * 40, "branch": "main", "dirty": False},
}  # fmt: skip
INFO = {"threads": 1, "cpus": None, "device": "cpu", "dtype": "float32", "revision": "r1"}


def block(
    prompt_id: str = "tcp", *, model: str = "a", factor: float = 1.0, n: int = 10, seed: int = 0, tokens: int = 50,
    values: dict[str, Any] | None = None, **changes: Any,
) -> LogRecord:  # fmt: skip
    """One block of a model that takes a second for an answer, give or take half a per cent."""
    rng = random.Random(f"{seed}{model}{prompt_id}")
    net = [1e9 * factor * rng.gauss(1, 0.005) for _ in range(n)]
    measured = {
        "latency": [round(1.05 * value) for value in net],
        "net_time": [round(value) for value in net],
        "cpu_time": [round(0.98 * value) for value in net],
        "ttft": [round(0.1 * value) for value in net],
        "peak_rss": [1e9] * n,
        "output_tokens": [tokens] * n,
    }
    facts: dict[str, Any] = {
        "uid": f"r-{model}-{prompt_id}", "latencies_ms": [1.0] * n, "prompt": f"What is {prompt_id}?", "worker": f"w-{model}",
        "generation": GenerationSettings(max_new_tokens=50), "memory_method": "hwm", "token_source": "tokenizer",
        "values": {**measured, **(values or {})}, "reasons": {},
    }  # fmt: skip
    return rounds(model=model, prompt_id=prompt_id, **{**facts, **changes})


def judged(prompt_id: str = "tcp", *, model: str = "a", passed: bool = True, **changes: Any) -> LogRecord:
    check = CheckResult(name="valid", passed=passed, message="")
    return verdict(f"v-{model}-{prompt_id}", model, prompt_id, **{"checks": [check], **changes})


def started(model: str = "a", *, info: dict[str, Any] | None = None, **changes: Any) -> LogRecord:
    return worker(str(changes.pop("uid", f"w-{model}")), model, **{"info": {**INFO, **(info or {})}, **changes})


def write_run(
    output: Path, number: int, records: Iterable[LogRecord], *, environment: dict[str, Any] | None = None
) -> Path:
    """A run folder; runs started in the order of their numbers, a day apart."""
    run_id = f"2026{number // 28 + 1:02}{number % 28 + 1:02}T000000Z-{number:06x}"
    folder = output / run_id
    folder.mkdir(parents=True)
    writer = LogWriter(folder / LOG_NAME, clock=FakeClock())
    started = f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}T00:00:00.000Z"
    writer.append(
        header(
            run_id=run_id,
            started=started,
            environment={**MACHINE, **(environment or {})},
            metrics=list(builtin_metrics()),
        )
    )
    for record in records:
        writer.append(record)
    writer.close(0)
    writer.release()
    return folder


def simple(
    prompts: Sequence[str] = ("tcp", "dns"), *, model: str = "a", info: dict[str, Any] | None = None, **changes: Any
) -> list[LogRecord]:
    """One model with a verdict a cell."""
    blocks = [block(prompt, model=model, **changes) for prompt in prompts]
    return [started(model, info=info), *blocks, *(judged(prompt, model=model) for prompt in prompts)]
