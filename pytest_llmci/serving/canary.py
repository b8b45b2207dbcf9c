"""A few prompts with checks, put to a server before it counts as ready: an ordinary session of pytest against its address."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..engine.reports.headlines import verdict_line
from ..engine.reports.report_builder import build_report
from ..errors import ServingError
from ..records import Json
from ..store.runfolder import list_runs
from .serve import Serving

CANARY: Final = "canary"
"""Folder, in that of the runs, of the runs of canaries."""
_FAILED: Final = 1
"""Exit status of a session in which something did not pass; any other but 0 says that it could not be run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """What came of it."""

    passed: bool
    run: str
    """Name of its run folder."""
    verdict: str
    """One line."""

    @property
    def data(self) -> dict[str, Json]:
        """For JSON."""
        return {"passed": self.passed, "run": self.run, "verdict": self.verdict}


def command(served: Serving, prompts: Sequence[str], output: Path, more: Sequence[str]) -> list[str]:
    """The session. Prompts are sent as they are, without the line against caches, which may change an answer; what
    could not be told is no pass.

    :param prompts: sets or files.
    :param output: folder of the runs.
    :param more: options of pytest, which come last.
    """
    spec = f"{served.promoted.pointer.model}=openai:{served.address.own_url}#{served.model}+prompt_cache=keep"
    return [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--llm-models={spec}", "--llmci-suite=inference",
        *(f"--llm-prompts={each}" for each in prompts), "--llmci-rounds=1", "--llmci-warmup=0", "--llmci-inconclusive=fail",
        f"--llmci-output={output}", *more,
    ]  # fmt: skip


def run_canary(served: Serving, prompts: Sequence[str], output: Path, more: Sequence[str]) -> Canary:
    """Run it; what it prints goes to our stderr.

    :raises ServingError: if it could not be run, so that nothing is known.
    """
    output = (
        output / CANARY / f"{served.model}-{served.address.port}"
    )  # its own: 'latest' stays what was measured, and another canary apart
    before = set(list_runs(output))
    done = subprocess.run(
        command(served, prompts, output, more), stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False
    )
    fresh = [run for run in list_runs(output) if run not in before]
    if done.returncode not in (0, _FAILED) or not fresh:
        raise ServingError(
            f"the canary could not be run: pytest ended with exit status {done.returncode}; it says why above."
        )
    return Canary(passed=done.returncode == 0, run=fresh[-1].name, verdict=verdict_line(build_report(fresh[-1])))
