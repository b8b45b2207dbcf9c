"""What the search for secrets adds to writing one block of rounds, which is what a session does most.

    python -m benchmarks.redaction [--blocks 2000]

A block of five rounds of 50 tokens and an answer of 50 words is written to a log as a session writes it, and without the
search; CPU time of this process, in turn. A third side redacts all texts. Twelve secrets are known.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import GenerationSettings, HeaderRecord, LogRecord, RoundsRecord
from pytest_llmci.redaction import Redactor
from pytest_llmci.secrets import Secrets
from pytest_llmci.store.log import LogWriter, Protect

ROUNDS, TOKENS, METRICS = 5, 50, 30
TURNS = 15


def block(number: int) -> RoundsRecord:
    """What the suite writes for one cell."""
    words = " ".join(f"word{(number + index) % 97}" for index in range(TOKENS))
    return RoundsRecord(
        uid=f"main-{number}", cell=f"model-{number}", model="model", prompt_id=f"p{number}", prompt="What are the key differences of both?",
        prompt_sha256="0" * 64, test=f"inference::model-{number}", origin="measured", worker="main-1", block=0, first_round=0,
        started="2026-01-01T00:00:00.000Z", generation=GenerationSettings(), n=ROUNDS,
        values={f"metric_{index}": [1234567.0 + index] * ROUNDS for index in range(METRICS)},
        reasons={f"other_{index}": "this machine has none" for index in range(6)},
        token_ns=[[1_234_567 + index for index in range(TOKENS)]] * ROUNDS, outputs=[words], output_of_round=[0] * ROUNDS, md5=["0" * 32],
        output_sha256=["0" * 64], finish_reasons=["length"] * ROUNDS, noisy=[""] * ROUNDS,
    )  # fmt: skip


HEADER = HeaderRecord(
    schema_version=1,
    run_id="r",
    started="",
    version="",
    command=[],
    settings={},
    environment={},
    metrics=list[MetricDef](),
)


def cpu_s(protect: Protect | None, blocks: Sequence[LogRecord]) -> float:
    """CPU time of writing all of them."""
    with tempfile.TemporaryDirectory() as folder:
        writer = LogWriter(Path(folder) / "log.jsonl", protect=protect)
        writer.append(HEADER)
        began = time.process_time()
        for each in blocks:
            writer.append(each)
        took = time.process_time() - began
        writer.release()
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=2000)
    count: int = parser.parse_args().blocks
    blocks = [block(number) for number in range(count)]
    known = Secrets({f"planted-secret-{number:04d}": f"KEY_{number}" for number in range(12)})
    sides: dict[str, Protect | None] = {
        "without": None,
        "searched": Redactor(known).record,
        "redacted": Redactor(known, redact=True).record,
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(TURNS):
        for name, protect in sides.items():
            found[name].append(cpu_s(protect, blocks))
    bare = median(found["without"])
    for name, times in found.items():
        each = median(times) / count * 1e6
        ratio = median(time / base for time, base in zip(times, found["without"], strict=True))
        print(f"{name:<9} {each:7.1f} us a block  {ratio:5.2f} x")
    print(f"the search adds {(median(found['searched']) - bare) / count * 1e6:.1f} us to a block of {ROUNDS} rounds")


if __name__ == "__main__":
    main()
