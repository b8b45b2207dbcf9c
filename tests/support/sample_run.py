"""Records of an invented run, and a run folder made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.blocks import output_md5
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import (
    BenchmarkRecord,
    CheckResult,
    ErrorInfo,
    GenerationSettings,
    HeaderRecord,
    LogRecord,
    ModelSpec,
    QuestionsRecord,
    RoundsRecord,
    ShardRecord,
    TaskFacts,
    VerdictRecord,
    WorkerRecord,
)
from pytest_llmci.store.log import LOG_NAME, LogWriter

METRICS = (
    MetricDef(name="latency", unit="s", direction="lower", definition="Request to last token.", stored="ns"),
    MetricDef(name="ttft", unit="s", direction="lower", definition="Request to first token.", stored="ns"),
    MetricDef(name="peak_rss", unit="B", direction="lower", definition="High-water mark."),
    MetricDef(name="cpu_percent", unit="%", direction="none", definition="Of the allowed cores."),
    MetricDef(name="output_tokens", unit="1", direction="none", definition="Tokens.", deterministic=True),
    MetricDef(name="gpu_peak_allocated", unit="B", direction="lower", definition="Peak."),
    MetricDef(name="load_time", unit="s", direction="lower", definition="Until ready.", stored="ns", scope="worker"),
    MetricDef(name="peak_rss_delta", unit="B", direction="lower", definition="Growth.", scope="memory"),
    MetricDef(
        name="first_inference_time", unit="s", direction="lower", definition="First.", stored="ns", scope="worker"
    ),
    MetricDef(name="model_footprint", unit="B", direction="lower", definition="Parameters.", scope="worker"),
)


def header(**changes: Any) -> HeaderRecord:
    facts: dict[str, Any] = {
        "schema_version": 1,
        "run_id": "20260101T000000Z-abcdef",
        "started": "2026-01-01T00:00:00.000Z",
        "version": "0.1.0",
        "command": ["pytest", "--llmci"],
        "settings": {"rounds": 3, "models": ["a"]},
        "environment": {"python": "3.11.7", "cpu_quota_cores": None},
        "metrics": list(METRICS),
    }
    return HeaderRecord(**{**facts, **changes})


def worker(uid: str = "w1", model: str = "a", **changes: Any) -> WorkerRecord:
    facts: dict[str, Any] = {
        "spec": ModelSpec(alias=model, backend="echo", text=f"{model}=echo"),
        "started": "2026-01-01T00:00:01.000Z",
        "pid": 4711,
        "isolation": "worker",
        "values": {"load_time": 1_500_000_000, "model_footprint": 1000},
        "info": {"revision": "main"},
    }
    return WorkerRecord(**{"uid": uid, "model": model, **facts, **changes})


def rounds(
    uid: str = "r1",
    model: str = "a",
    prompt_id: str = "tcp",
    latencies_ms: Sequence[float] = (100, 120, 110),
    **changes: Any,
) -> RoundsRecord:
    n = len(latencies_ms)
    outputs = changes.get("outputs", ["An answer."] if n else [])
    prompt = changes.get("prompt", "What is TCP?")
    facts: dict[str, Any] = {
        "uid": uid,
        "cell": f"{model}-{prompt_id}",
        "model": model,
        "prompt_id": prompt_id,
        "prompt": prompt,
        "prompt_sha256": _sha256(prompt),
        "test": f"inference::{model}-{prompt_id}",
        "origin": "measured",
        "worker": "w1",
        "block": 0,
        "first_round": 0,
        "started": "2026-01-01T00:00:02.000Z",
        "generation": GenerationSettings(max_new_tokens=50),
        "n": n,
        "values": {
            "latency": [round(value * 1e6) for value in latencies_ms],
            "ttft": [round(value * 1e5) for value in latencies_ms],
            "peak_rss": [250_000_000 + index for index in range(n)],
            "cpu_percent": [90.5] * n,
            "output_tokens": [50] * n,
        },
        "reasons": {"gpu_peak_allocated": "no GPU"},
        "token_ns": [[round(value * 1e5), round(value * 9e5)] for value in latencies_ms],
        "outputs": outputs,
        "output_of_round": [0] * n,
        "md5": [output_md5(model, prompt, text) for text in outputs],
        "output_sha256": [_sha256(text) for text in outputs],
        "finish_reasons": ["length"] * n,
        "noisy": [""] * n,
    }
    return RoundsRecord(**{**facts, **changes})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def verdict(uid: str = "v1", model: str = "a", prompt_id: str = "tcp", **changes: Any) -> VerdictRecord:
    facts: dict[str, Any] = {
        "uid": uid,
        "cell": f"{model}-{prompt_id}",
        "model": model,
        "prompt_id": prompt_id,
        "test": f"inference::{model}-{prompt_id}",
        "verdict": "pass",
        "checks": [CheckResult(name="valid", passed=True, message="ok")],
        "rounds": 3,
    }
    return VerdictRecord(**{**facts, **changes})


def benchmark(uid: str = "b1", **changes: Any) -> BenchmarkRecord:
    facts: dict[str, Any] = {
        "test": "test_it.py::test_it[a]",
        "tool": "pytest-benchmark 5.3.1",
        "cells": ["a-tcp"],
        "models": ["a"],
        "round_s": [0.2, 0.1, 0.3],
    }
    return BenchmarkRecord(**{"uid": uid, **facts, **changes})


def shard(**changes: Any) -> ShardRecord:
    facts: dict[str, Any] = {
        "uid": "shard", "index": 1, "of": 2, "plan": "0123456789abcdef", "models": ["a", "b"], "shards": [1, 2], "cells": [2, 2],
        "costs": [1.0, 2.5],
    }  # fmt: skip
    return ShardRecord(**{**facts, **changes})


def task_facts(**changes: Any) -> TaskFacts:
    facts: dict[str, Any] = {
        "suite": "arc_easy", "name": "arc_easy", "title": "ARC-Easy, test", "subject": "", "version": "1.0", "kind": "choice",
        "metrics": ["acc", "acc_norm"], "main": "acc_norm", "shots": 0, "questions": 4, "rows": 4, "size": 2376, "whole": False,
        "label": "4 of 2376 questions", "source": "some.jsonl", "source_sha256": "5", "questions_sha256": "q", "prompt_sha256": "p",
    }  # fmt: skip
    return TaskFacts(**{**facts, **changes})


def questions(
    uid: str = "q1",
    model: str = "a",
    *,
    right: Sequence[bool] = (True, False, True, True),
    first: int = 0,
    **changes: Any,
) -> QuestionsRecord:
    """Answers to that many questions; the right choice is the first of two."""
    n = len(right)
    task = changes.pop("task", None) or task_facts()
    facts: dict[str, Any] = {
        "cell": f"{model}-{task.name}", "model": model, "test": f"{task.suite}::{model}", "worker": "w1",
        "started": "2026-01-01T00:00:02.000Z", "task": task, "origin": "measured", "n": n, "index": list(range(first, first + n)),
        "doc_sha256": [_sha256(f"document {number}") for number in range(first, first + n)], "gold": [[0]] * n,
        "prediction": [0 if good else 1 for good in right], "logprobs": [[-1.0, -2.0] if good else [-2.0, -1.0] for good in right],
        "outputs": [], "truncated": [0] * n, "values": {metric: [float(good) for good in right] for metric in task.metrics},
    }  # fmt: skip
    return QuestionsRecord(**{"uid": uid, **facts, **changes})


CRASH = ErrorInfo(kind="crashed", message="killed by SIGKILL, cause unknown", facts={"when": "round 2 of 5"})


def write_log(folder: Path, records: Iterable[LogRecord], *, footer: bool = True, **of_header: Any) -> Path:
    """A log of a header and these records; without a footer it is what a killed session leaves."""
    path = folder / LOG_NAME
    writer = LogWriter(path, clock=FakeClock())
    writer.append(header(**of_header))
    for record in records:
        writer.append(record)
    if footer:
        writer.close(0)
    writer.release()
    return path


def usual_records() -> list[LogRecord]:
    """Two models, one of them with a crash."""
    return [
        worker("w1", "a"),
        rounds("r1", "a", "tcp"),
        verdict("v1", "a", "tcp"),
        rounds("r2", "a", "dns", (200, 210, 190), noisy=["", "stolen time", ""]),
        verdict("v2", "a", "dns", verdict="inconclusive"),
        worker("w2", "b"),
        rounds("r3", "b", "tcp", (50,), error=CRASH, worker="w2"),
        verdict("v3", "b", "tcp", verdict="failed", checks=[], error=CRASH, rounds=0),
    ]
