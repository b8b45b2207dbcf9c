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


def vllm_latency(**more: Any) -> dict[str, Any]:
    """Three batches."""
    return {"avg_latency": 2.0, "latencies": [1.9, 2.0, 2.1], "percentiles": {"50": 2.0, "90": 2.08, "99": 2.1}, **more}


def vllm_throughput(**more: Any) -> dict[str, Any]:
    """Eight requests of 64 tokens in four seconds."""
    return {"elapsed_time": 4.0, "num_requests": 8, "total_num_tokens": 512, "requests_per_second": 2.0, "tokens_per_second": 128.0, **more}  # fmt: skip


def lm_eval_old(limit: int | None = None) -> dict[str, Any]:
    """The form of version 0.3 and before."""
    return {
        "results": {
            "arc_small": {"acc": 0.25, "acc_stderr": 0.02, "acc_norm": 0.0, "acc_norm_stderr": 0.0},
            "prose": {"ppl": 12.5, "ppl_stderr": 0.5, "likelihood_difference": 3.0, "likelihood_difference_stderr": 0.1},
        },
        "versions": {"arc_small": 0, "prose": 1},
        "config": {
            "model": "hf-causal", "model_args": "use_accelerate=True,pretrained=org/Tiny-14M,revision=step7", "num_fewshot": 5,
            "device": "cpu", "limit": limit,
        },
    }  # fmt: skip


def lm_eval_new(limit: float | None = None, **more: Any) -> dict[str, Any]:
    """The form since version 0.4."""
    return {
        "results": {"gsm_small": {"alias": "gsm_small", "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": 0.05, "odd,none": 3.0, "odd_stderr,none": "N/A"}},
        "group_subtasks": {}, "configs": {}, "versions": {"gsm_small": 3.0}, "n-shot": {"gsm_small": 8},
        "higher_is_better": {"gsm_small": {"exact_match": True, "odd": False}},
        "n-samples": {"gsm_small": {"original": 1319, "effective": 100}},
        "config": {"model": "hf", "model_args": {"pretrained": "org/Tiny-14M", "dtype": "bfloat16"}, "batch_size": "1", "limit": limit},
        "git_hash": "abc", "date": 1_770_000_000.5, "pretty_env_info": "OS: Linux\nModel name:   Example CPU 9\n",
        "lm_eval_version": "0.4.9", "model_name": "org/Tiny-14M", **more,
    }  # fmt: skip


def llmperf_summary(**more: Any) -> dict[str, Any]:
    """Ten requests."""
    found: dict[str, Any] = {
        "version": "2023-08-31", "model": "org/Chat-7B", "mean_input_tokens": 550, "stddev_input_tokens": 0, "mean_output_tokens": 150,
        "stddev_output_tokens": 0, "num_concurrent_requests": 5,
    }  # fmt: skip
    for field, middle in (
        ("ttft_s", 0.25), ("end_to_end_latency_s", 3.0), ("request_output_throughput_token_per_s", 50.0), ("number_output_tokens", 150.0),
    ):  # fmt: skip
        for statistic in ("mean", "quantiles_p50", "quantiles_p99", "min", "max"):
            found[f"results_{field}_{statistic}"] = middle
        found[f"results_{field}_stddev"] = 0.0
    return found | {
        "results_number_output_tokens_min": "150", "results_num_requests_started": 10, "results_number_errors": 0,
        "results_error_code_frequency": "{}", "results_mean_output_throughput_token_per_s": 200.0, "results_num_completed_requests": 10,
        "results_num_completed_requests_per_min": 90.0, "framework": "house", "timestamp": 1_770_000_000, **more,
    }  # fmt: skip


def llmperf_request(latency: float = 3.0, *, error: int | None = None) -> dict[str, Any]:
    """One request."""
    return {
        "error_code": error, "error_msg": "slow down" if error else "", "inter_token_latency_s": 0.02, "ttft_s": 0.25,
        "end_to_end_latency_s": latency, "request_output_throughput_token_per_s": 50.0, "number_total_tokens": 700,
        "number_output_tokens": 150, "number_input_tokens": 550,
    }  # fmt: skip


def mlperf(result: str = "VALID", mode: str = "PerformanceOnly") -> str:
    """A summary of the scenario Server."""
    return f"""================================================
MLPerf Results Summary
================================================
SUT name : OurSUT
Scenario : Server
Mode     : {mode}
Completed samples per second    : 8.25
Completed tokens per second: 2475.5
Result is : {result}
  Performance constraints satisfied : {"Yes" if result == "VALID" else "NO"}
  Min duration satisfied : Yes

================================================
Additional Stats
================================================
Min latency (ns)                : 900000000
Mean latency (ns)               : 4000000000
50.00 percentile latency (ns)   : 3900000000
99.00 percentile latency (ns)   : 9000000000
Mean First Token latency (ns)               : 250000000
99.00 percentile first token latency (ns)   : 800000000
Mean Time to Output Token (ns)               : 30000000

================================================
Test Parameters Used
================================================
target_qps : 8.5
min_duration (ms): 600000
qsl_rng_seed : 17
"""


def guidellm(good: int = 4, errored: int = 0, incomplete: int = 1, **more: Any) -> dict[str, Any]:
    """A report with one benchmark of two streams."""

    def spread(middle: float) -> dict[str, Any]:
        statistics = {"mean": middle, "median": middle, "std_dev": 0.0, "min": middle, "max": middle, "count": good}
        return {
            "successful": {**statistics, "percentiles": {"p50": middle, "p95": middle, "p99": middle}},
            "errored": {"mean": 0.0},
        }

    request = {
        "request_latency": 2.0,
        "time_to_first_token_ms": 100.0,
        "inter_token_latency_ms": 20.0,
        "prompt_tokens": 64,
        "output_tokens": 96,
    }
    totals = {"successful": good, "errored": errored, "incomplete": incomplete, "total": good + errored + incomplete}
    benchmark = {
        "config": {"strategy": {"type_": "concurrent", "streams": 2}}, "start_time": 1_770_000_000.0, "duration": 10.0,
        "metrics": {
            "request_totals": totals, "requests_per_second": spread(0.5), "output_tokens_per_second": spread(48.0),
            "tokens_per_second": spread(80.0), "request_latency": spread(2.0), "time_to_first_token_ms": spread(100.0),
            "inter_token_latency_ms": spread(20.0), "time_per_output_token_ms": spread(21.0), "output_token_count": spread(96.0),
            "prompt_token_count": spread(64.0),
        },
        "requests": {
            "successful": [{**request, "request_latency": 2.0 + n / 10} for n in range(good)],
            "errored": [{"request_latency": 0.001, "error": "refused"}] * errored,
            "incomplete": [{"request_latency": 0.5}] * incomplete,
        },
        **more,
    }  # fmt: skip
    return {
        "metadata": {"version": 1, "guidellm_version": "0.5.0"}, "args": {"model": "org/Guided-8B", "data": ["prompt_tokens=64"]},
        "benchmarks": [benchmark],
    }  # fmt: skip


def aiperf(good: int = 20, bad: int = 0, **more: Any) -> dict[str, Any]:
    """A summary."""

    def spread(middle: float, unit: str) -> dict[str, Any]:
        return {
            "unit": unit,
            "avg": middle,
            "p50": middle,
            "p99": middle * 2,
            "std": 0.0,
            "min": middle,
            "max": middle,
            "count": good,
        }

    return {
        "schema_version": "1.5", "aiperf_version": "0.9.0", "benchmark_id": "b1", "start_time": "2026-02-03T04:05:06.000000Z",
        "was_cancelled": False, "request_latency": spread(2600.0, "ms"), "time_to_first_token": spread(250.0, "ms"),
        "inter_token_latency": spread(20.0, "ms"), "output_sequence_length": spread(100.0, "tokens"),
        "request_throughput": {"unit": "requests/sec", "avg": 1.5}, "output_token_throughput": {"unit": "tokens/sec", "avg": 150.0},
        "request_count": {"unit": "requests", "avg": float(good)}, "benchmark_duration": {"unit": "sec", "avg": 13.5},
        "error_summary": [{"error_details": {"code": 503, "type": "Busy", "message": "no room"}, "count": bad}] if bad else [],
        "input_config": {"endpoint": {"model_names": ["org/Perf-8B"]}, "loadgen": {"concurrency": 4, "request_count": good + bad}}, **more,
    }  # fmt: skip


def aiperf_request(
    latency_ms: float = 300.0, *, phase: str = "profiling", error: str = "", cancelled: bool = False
) -> dict[str, Any]:
    """One line of the export of single requests."""
    metrics = {
        "request_latency": {"value": latency_ms, "unit": "ms"}, "time_to_first_token": {"value": 100.0, "unit": "ms"},
        "inter_token_latency": {"value": 20.0, "unit": "ms"}, "input_sequence_length": {"value": 64, "unit": "tokens"},
        "output_sequence_length": {"value": 11, "unit": "tokens"},
    }  # fmt: skip
    failed = {"code": 500, "type": error, "message": "boom"} if error else None
    return {
        "metadata": {"session_num": 1, "request_start_ns": 1, "benchmark_phase": phase, "was_cancelled": cancelled},
        "metrics": metrics, "error": failed,
    }  # fmt: skip


def every_document() -> dict[str, Any]:
    """Format -> a document of it, for all formats in JSON."""
    return {
        "pytest-benchmark": pytest_benchmark(), "llama-bench": [llama_bench()], "vllm-serve": vllm_serve(detailed=True),
        "vllm-offline": vllm_latency(), "lm-eval": lm_eval_new(), "guidellm": guidellm(), "aiperf": aiperf(), "llmperf": llmperf_summary(),
    }  # fmt: skip
