"""Small files in the shapes in which other tools write theirs, with numbers of our own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def save(path: Path, data: Any) -> Path:
    """Write JSON."""
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def save_lines(path: Path, records: Sequence[Any]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def pytest_benchmark(data: Sequence[float] | None = (0.011, 0.012, 0.013), **stats: Any) -> dict[str, Any]:
    """A saved run with one benchmark."""
    numbers: dict[str, Any] = {
        "min": 0.011,
        "max": 0.013,
        "mean": 0.012,
        "median": 0.0121,
        "stddev": 0.001,
        "rounds": 3,
    }
    numbers |= {"data": list(data)} if data is not None else {}
    return {
        "machine_info": {
            "node": "box", "machine": "x86_64", "release": "6.1.0", "python_version": "3.12.1", "cpu": {"brand_raw": "Example CPU 9"},
        },
        "commit_info": {"id": "c0ffee", "dirty": False},
        "benchmarks": [
            {
                "fullname": "tests/test_a.py::test_one[7]", "name": "test_one[7]", "params": {"x": 7},
                "options": {"timer": "perf_counter", "disable_gc": False, "warmup": False, "min_rounds": 5}, "stats": {**numbers, **stats},
            }
        ],
        "datetime": "2026-02-03T04:05:06+00:00",
        "version": "5.1.0",
    }  # fmt: skip


def llama_bench(n_prompt: int = 512, n_gen: int = 0, scale: float = 1.0, **more: Any) -> dict[str, Any]:
    """One test of llama-bench with five repetitions."""
    times = [int(scale * each) for each in (200_000_000, 202_000_000, 199_000_000, 201_000_000, 203_000_000)]
    tokens = n_prompt + n_gen
    return {
        "build_commit": "abc1234", "build_number": 9, "cpu_info": "Example CPU 9", "gpu_info": "Example GPU", "backends": "CUDA",
        "model_filename": "models/small-q4.gguf", "model_type": "small Q4_0", "model_n_params": 1000, "n_batch": 2048, "n_threads": 8,
        "flash_attn": False, "n_prompt": n_prompt, "n_gen": n_gen, "n_depth": 0, "test_time": "2026-02-03T04:05:06Z",
        "avg_ns": sum(times) // 5, "stddev_ns": 1_500_000, "avg_ts": tokens / 0.201, "stddev_ts": 2.5, "samples_ns": times,
        "samples_ts": [tokens * 1e9 / each for each in times], **more,
    }  # fmt: skip


def vllm_serve(scale: float = 1.0, *, completed: int = 4, detailed: bool = False, **more: Any) -> dict[str, Any]:
    """A serving run of four requests of 16 tokens."""
    asked = 4
    found: dict[str, Any] = {
        "date": "20260203-040506", "endpoint_type": "openai", "model_id": "org/Served-7B", "tokenizer_id": "org/Served-7B",
        "num_prompts": asked, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 2, "duration": 2.0 * scale,
        "completed": completed, "total_input_tokens": 100 * completed, "total_output_tokens": 16 * completed,
        "request_throughput": completed / (2.0 * scale), "request_goodput": None, "output_throughput": 16 * completed / (2.0 * scale),
        "total_token_throughput": 116 * completed / (2.0 * scale),
    }  # fmt: skip
    for name, middle in (("ttft", 100.0), ("tpot", 20.0), ("itl", 20.0)):
        found |= {f"{which}_{name}_ms": middle * scale for which in ("mean", "median", "p99")} | {f"std_{name}_ms": 1.0}
    if detailed:
        found |= {
            "input_lens": [100] * asked, "output_lens": [16 if n < completed else 0 for n in range(asked)],
            "ttfts": [scale * (0.1 + n / 1000) for n in range(asked)],
            "itls": [[0.02 * scale] * 15 if n < completed else [] for n in range(asked)],
            "generated_texts": ["text"] * asked, "errors": ["" if n < completed else "Traceback\nboom: no" for n in range(asked)],
        }  # fmt: skip
    return {**found, **more}
