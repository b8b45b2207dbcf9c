"""Invented runs of any size to draw: latencies, token times, memory, CPU, some noisy rounds."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sample_run import rounds, verdict, worker, write_log

from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.plots.run_data import RunData
from pytest_llmci.records import LogRecord, PublishedScore

PLOTTED = (
    "latency", "ttft", "itl", "decode_tokens_per_s", "output_tokens", "prompt_tokens", "peak_rss", "cpu_percent",
)  # fmt: skip


def run_records(
    names: Sequence[str], *, prompts: int = 3, n: int = 4, tokens: int = 12, spread: float = 8.0, scores: bool = True,
    without: Collection[str] = (), every_noisy: int = 5, fixed_length: bool = False,
) -> list[LogRecord]:  # fmt: skip
    """The lines of a run.

    :param spread: slowest over fastest model.
    :param without: metrics that are not measured.
    :param every_noisy: each so-manieth round of a model is noisy; 0 for none.
    """
    rng = random.Random(7)
    found: list[LogRecord] = []
    for number, name in enumerate(names):
        base = 5e7 * spread ** (number / max(1, len(names) - 1))
        published = PublishedScore(value=25.0 + 3 * number, source="board.csv", name=name) if scores else None
        found.append(worker(f"w{number}", name, published=published))
        for prompt in range(prompts):
            found += [
                _block(number, name, prompt, base, rng, n, tokens, without, every_noisy, fixed_length),
                verdict(f"v{number}-{prompt}", name, f"p{prompt}"),
            ]
    return found


def _block(
    number: int, name: str, prompt: int, base: float, rng: random.Random, n: int, tokens: int, without: Collection[str],
    every_noisy: int, fixed_length: bool,
) -> LogRecord:  # fmt: skip
    lengths = [tokens if fixed_length else rng.randint(3, tokens) for _ in range(n)]
    times = [
        [round(0.2 * base), *(round(base / tokens * rng.gauss(1, 0.03)) for _ in range(length - 1))]
        for length in lengths
    ]
    values: dict[str, list[Any]] = {
        "latency": [sum(row) for row in times],
        "ttft": [row[0] for row in times],
        "itl": [round(sum(row[1:]) / (len(row) - 1)) for row in times],
        "decode_tokens_per_s": [(len(row) - 1) * 1e9 / sum(row[1:]) for row in times],
        "output_tokens": lengths,
        "prompt_tokens": [8 + prompt] * n,
        "peak_rss": [4e8 * (1 + number % 7) + 4096 * rng.randrange(100) for _ in range(n)],
        "cpu_percent": [rng.uniform(60, 99) for _ in range(n)],
    }
    first = prompt * n
    return rounds(
        f"r{number}-{prompt}", name, f"p{prompt}", [1.0] * n, worker=f"w{number}", token_source="tokenizer",
        values={key: column for key, column in values.items() if key not in without},
        reasons={key: f"no way to see {key}" for key in without}, token_ns=times if "itl" not in without else [[]] * n,
        noisy=["waited" if every_noisy and (first + place) % every_noisy == 0 else "" for place in range(n)],
    )  # fmt: skip


def written_run(folder: Path, names: Sequence[str], **how: Any) -> RunData:
    """What plots take, of a run folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_log(folder, run_records(names, **how), metrics=list(builtin_metrics()), run_id=folder.name)
    return RunData(build_report(folder))
