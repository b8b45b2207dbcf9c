"""A user's directory in which whole sessions run, and a look at what they left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from package_state import package_state

TWO_PROMPTS = "- {id: first, prompt: Name a colour.}\n- {id: second, prompt: Name a river.}\n"
"""Saved as prompts.yaml in every user's directory."""


def unwrapped(result: pytest.RunResult) -> str:
    """What a session printed, every run of white space as one blank: texts that were wrapped are whole again."""
    return " ".join(str(result.stdout).split())


class Bench:
    """A user's directory."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *args: str, fresh: bool = False) -> pytest.RunResult:
        """A session; ``fresh`` in a process of its own."""
        arguments = ("-p", "no:randomly", "-p", "no:cacheprovider", *args)
        return self.pytester.runpytest_subprocess(*arguments) if fresh else self.run_here(*arguments)

    def run_here(self, *args: str) -> pytest.RunResult:
        """A session in this process with nothing but these arguments; it finds the package as if it had just been imported."""
        with package_state().restored():
            return self.pytester.runpytest_inprocess(*args)

    def suite(self, models: str, *args: str, fresh: bool = False) -> pytest.RunResult:
        """A session of the built-in suite over two prompts; few rounds unless the test asks for more."""
        more = () if any(a.startswith("--llmci-rounds") for a in args) else ("--llmci-rounds=2",)
        return self.run(
            f"--llm-models={models}", "--llmci-suite=inference", "--llm-prompts=prompts.yaml", *more, *args, fresh=fresh
        )

    @property
    def latest(self) -> Path:
        return self.path / "llmci-results" / "latest"

    def results(self) -> Any:
        """The newest results.json."""
        return json.loads((self.latest / "results.json").read_text("utf-8"))

    def planned_rounds(self) -> list[int]:
        """Rounds of each block, without blocks that a busy machine had measured again; see docs/reading-results.md."""
        found: list[int] = []
        waited: dict[str, int] = {}
        for block in self.records("rounds"):
            again = waited.get(block["cell"], 0)
            if again and block["n"] == again:
                waited[block["cell"]] = 0
                continue
            delays, latencies = (block["values"].get(name, ()) for name in ("run_delay", "latency"))
            waited.setdefault(block["cell"], sum(d > 0.2 * t for d, t in zip(delays, latencies, strict=False)))
            found.append(block["n"])
        return found

    def records(self, kind: str = "") -> list[dict[str, Any]]:
        """The lines of the newest log."""
        lines = [json.loads(line) for line in (self.latest / "log.jsonl").read_text("utf-8").splitlines()]
        return [line for line in lines if line["type"] == kind or not kind]
