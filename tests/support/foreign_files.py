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
