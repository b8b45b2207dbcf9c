"""A process that promotes one run under many names, each at the moment at which its rival does the same with another run.

``python rival.py URI RUN_FOLDER CACHE MEETING_FOLDER OWN_NAME RIVAL_NAME ROUNDS``; prints the outcome of each round as a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pytest_llmci.errors import LLMCIError
from pytest_llmci.promotion.promote import Wanted, promote
from pytest_llmci.tracking.connection import connect

PATIENCE_S = 120.0


def main(uri: str, folder: str, cache: str, meeting: str, own: str, rival: str, rounds: str) -> None:
    connection = connect(uri, "rival")
    connection.client.search_experiments()  # so that neither is late for want of an import
    for number in range(int(rounds)):
        Path(meeting, f"{own}-{number}").touch()
        begun = time.monotonic()
        while not Path(meeting, f"{rival}-{number}").exists():
            if time.monotonic() - begun > PATIENCE_S:
                raise SystemExit(f"{rival} did not come")
            time.sleep(0.001)
        try:
            done = promote(lambda: connection, Wanted(name=f"model-{number}", folder=Path(folder), cache=Path(cache)))
            told: dict[str, object] = {"outcome": done.outcome, "version": done.version, "before": done.before}
        except LLMCIError as error:
            told = {"outcome": "error", "message": str(error)}
        sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
