"""What the client of `openai:` sees beside the server's own log, and what it costs.

    python -m benchmarks.endpoint [--requests 100] [--beside 8] [--check]

A scripted server in a process of its own streams 16 tokens, the first after 20 ms, each further one after 5 ms, and logs when it
sent each. Both clocks are CLOCK_MONOTONIC. TTFT of the server: from when it had read the request to its first chunk; ours: from
before the request was made. The differences of medians and of single requests are told; on a busy machine look at the medians.

``--beside N`` takes N turns of 20 requests each with ours, with httpx's client and the same reader of answers, and with ours again as a
control.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.pairs import machine_line
from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.openai.backend import OpenAIBackend
from pytest_llmci.backends.openai.stream import AnswerReader
from pytest_llmci.records import GenerationSettings, Prompt
from pytest_llmci.specs import parse_spec

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from stub_server import read_log, stub_process

MODEL = "say-16-20-5"
TTFT_MS, ITL_MS, CPU_MS = 1.0, 0.2, 1.0


TURN = 20
PROMPT, SETTINGS = Prompt(id="p", text="Say hello."), GenerationSettings(max_new_tokens=16)


def beside(backend: OpenAIBackend, turns: int) -> None:
    """CPU time of ours and of httpx's client, in turn."""
    builder = backend.request_builder
    assert builder is not None
    httpx: Any = importlib.import_module("httpx")

    def ours() -> None:
        stamps: list[int] = []
        backend.complete(backend.generate_timed(PROMPT, SETTINGS, stamps.append))

    def theirs() -> None:
        request = builder.generation(PROMPT, SETTINGS)
        reader = AnswerReader(chat=request.is_chat, url=request.url, max_tokens=request.max_tokens)
        with client.stream("POST", request.url, content=request.body) as response:
            reader.head(response.status_code, response.headers)
            for data in response.iter_raw():
                reader.feed(data, time.perf_counter_ns())
        backend.complete(reader.end(time.perf_counter_ns()))

    sides: dict[str, Callable[[], None]] = {"ours": ours, "httpx": theirs, "ours again": ours}
    found: dict[str, list[float]] = {side: [] for side in sides}
    with httpx.Client(headers=builder.endpoint.headers(), trust_env=False, timeout=60) as client:
        for _ in range(turns):
            for side, ask in sides.items():
                ask()
                cpu = time.process_time()
                for _ in range(TURN):
                    ask()
                found[side].append((time.process_time() - cpu) * 1e3 / TURN)
    for side, values in found.items():
        print(f"{side:<10} {statistics.median(values):.2f} ms CPU a request ({min(values):.2f} to {max(values):.2f})")


def main() -> int:
    """Measure, print, and judge under ``--check``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--beside", type=int, default=0, metavar="TURNS")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    ours: list[list[int]] = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stub.jsonl"
        with stub_process(log) as url:
            backend = OpenAIBackend(parse_spec(f"openai:{url}#{MODEL}", ["openai"], "benchmark"))
            backend.prepare()
            backend.load(LoadContext(threads=1, cache_dir="", say=print))
            backend.complete(backend.generate_timed(PROMPT, SETTINGS, lambda _: None))
            cpu = time.process_time()
            for _ in range(options.requests):
                stamps = [time.perf_counter_ns()]
                backend.complete(backend.generate_timed(PROMPT, SETTINGS, stamps.append))
                ours.append(stamps)
            cpu_ms = (time.process_time() - cpu) * 1e3 / options.requests
            time.sleep(0.5)  # the server writes the last lines of its log
            played = read_log(log)[-options.requests :]
            if options.beside:
                beside(backend, options.beside)
            backend.close()
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
