"""What the client of `openai:` sees beside the server's own log, and what it costs.

    python -m benchmarks.endpoint [--requests 100] [--check]

A scripted server in a process of its own streams 16 tokens, the first after 20 ms, each further one after 5 ms, and logs when it
sent each. Both clocks are CLOCK_MONOTONIC. TTFT of the server: from when it had read the request to its first chunk; ours: from
before the request was made. The differences of medians and of single requests are told; on a busy machine look at the medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.pairs import machine_line
from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.openai.backend import OpenAIBackend
from pytest_llmci.records import GenerationSettings, Prompt
from pytest_llmci.specs import parse_spec

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from stub_server import read_log, stub_process

MODEL = "say-16-20-5"
TTFT_MS, ITL_MS, CPU_MS = 1.0, 0.2, 1.0


def main() -> int:
    """Measure, print, and judge under ``--check``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    ours: list[list[int]] = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stub.jsonl"
        with stub_process(log) as url:
            backend = OpenAIBackend(parse_spec(f"openai:{url}#{MODEL}", ["openai"], "benchmark"))
            backend.prepare()
            backend.load(LoadContext(threads=1, cache_dir="", say=print))
            prompt, settings = Prompt(id="p", text="Say hello."), GenerationSettings(max_new_tokens=16)
            backend.complete(backend.generate_timed(prompt, settings, lambda _: None))
            cpu = time.process_time()
            for _ in range(options.requests):
                stamps = [time.perf_counter_ns()]
                backend.complete(backend.generate_timed(prompt, settings, stamps.append))
                ours.append(stamps)
            cpu_ms = (time.process_time() - cpu) * 1e3 / options.requests
            backend.close()
        played = read_log(log)[-options.requests :]
    ttft = [(mine[1] - mine[0]) / 1e6 - (theirs.first_ms() or 0.0) for mine, theirs in zip(ours, played, strict=True)]
    gaps = statistics.median((b - a) / 1e6 for mine in ours for a, b in pairwise(mine[1:]))
    sent = statistics.median(gap for theirs in played for gap in theirs.gaps_ms())
    print(machine_line())
    print(f"{options.requests} requests of 16 tokens")
    print(
        f"TTFT, ours minus the server's: median {statistics.median(ttft):+.3f} ms, largest {max(ttft):+.3f} ms (target {TTFT_MS:g})"
    )
    print(
        f"median gap: ours {gaps:.3f} ms, the server's {sent:.3f} ms, difference {gaps - sent:+.3f} ms (target {ITL_MS:g})"
    )
    print(f"CPU of the client: {cpu_ms:.2f} ms a request (target {CPU_MS:g})")
    met = abs(statistics.median(ttft)) <= TTFT_MS and abs(gaps - sent) <= ITL_MS and cpu_ms <= CPU_MS
    return 0 if met or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
