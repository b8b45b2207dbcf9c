"""The ``llmci`` command: one file a subcommand, imported when it is called. Works where pytest is absent."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What a subcommand's file offers."""

    configure: Callable[[ArgumentParser], None]
    """Adds its arguments; ``--output`` is there already, unless it has its own."""
    run: Callable[[Namespace], int]
    """Does it and returns the exit status: 0, or 1 where a check failed. Errors are raised."""
    own_output: bool = False
    """Whether it has no ``--output`` for the folder of the runs: none, or one of its own."""


COMMANDS: dict[str, tuple[str, str]] = {
    "api": (
        "pytest_llmci.cli.api:COMMAND",
        "runs over HTTP for other programs: cells, verdicts, comparisons; read only",
    ),
    "baseline": (
        "pytest_llmci.cli.baseline:COMMAND",
        "list, show and prune baselines, or accept a change for the worse",
    ),
    "calibrate": (
        "pytest_llmci.cli.calibrate:COMMAND",
        "compare an unchanged model with itself: false alarms, noise, what can be seen, settings",
    ),
    "compare": ("pytest_llmci.cli.compare:COMMAND", "judge a run against one or several older ones"),
    "dashboard": (
        "pytest_llmci.cli.dashboard:COMMAND",
        "runs in a browser: list, comparison, history, a session as it runs",
    ),
    "doctor": (
        "pytest_llmci.cli.doctor:COMMAND",
        "check the instruments on this machine, and tell what it can measure",
    ),
    "history": ("pytest_llmci.cli.history:COMMAND", "many runs over time, and the newest against the last release"),
    "import": (
        "pytest_llmci.cli.import_:COMMAND",
        "make a run of results of other tools, for reports, comparisons and gates",
    ),
    "init": (
        "pytest_llmci.cli.init:COMMAND",
        "write settings and prompts, a workflow for GitHub Actions, a stage of DVC, test files without Python",
    ),
    "leaderboard": (
        "pytest_llmci.cli.leaderboard:COMMAND",
        "describe a table of published scores, or select models worth measuring from it",
    ),
    "merge": ("pytest_llmci.cli.merge:COMMAND", "make one proven run of the shards of a matrix"),
    "promote": (
        "pytest_llmci.cli.promote:COMMAND",
        "register a run's model with MLflow, and give it an alias if it has earned it",
    ),
    "prompts": (
        "pytest_llmci.cli.prompts:COMMAND",
        "list prompt sets, tell every fault in them, and count tokens",
    ),
    "recommend": (
        "pytest_llmci.cli.recommend:COMMAND",
        "which model of a run to take under limits of score, latency, memory and cost, and why the others lost",
    ),
    "report": ("pytest_llmci.cli.report:COMMAND", "rebuild the derived files of a run, or send it to a sink"),
    "reproduce": (
        "pytest_llmci.cli.reproduce:COMMAND",
        "run the recorded cells again, and say whether the same comes out",
    ),
    "rollback": (
        "pytest_llmci.cli.rollback:COMMAND",
        "give an alias of MLflow's registry back to the version before",
    ),
    "serve": (
        "pytest_llmci.cli.serve:COMMAND",
        "start a server for the model that an alias of MLflow's registry stands for, once its weights are proven",
    ),
    "verify": ("pytest_llmci.cli.verify:COMMAND", "prove that a run folder is what its session wrote"),
}
"""Name -> where its :class:`Command` is, and one line for the help."""
