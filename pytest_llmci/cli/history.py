"""``llmci history``: many runs over time; with ``--gate`` the newest against the last release."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

from ..engine.comparisons.explain_history import (
    history_json,
    history_lines,
    judgement_json,
    judgement_lines,
    judgement_markdown,
)
from ..engine.comparisons.history import DEFAULT_METRICS, choose_runs, read_history
from ..engine.comparisons.release_gate import judge_newest
from ..errors import ConfigError
from ..garbage import collector_paused
from . import Command
from .compare import add_judging, exit_status, meant, smallest_changes
from .main import printable
from .screen import UNLIMITED, columns, text_columns


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="folders, latest, latest~1, or beginnings of ids (default: all runs in the output folder)",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        dest="metrics",
        action="append",
        default=[],
        help="metric to show, and with --gate to judge alone; may be given several times"
        f" (default: {DEFAULT_METRICS[0]}; with --gate what llmci compare judges)",
    )
    parser.add_argument(
        "--model", metavar="ALIAS", dest="models", action="append", default=[], help="model to show, or a glob"
    )
    parser.add_argument("--rows", metavar="N", type=int, default=30, help="newest runs to show (default: %(default)s)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all numbers as JSON")
    form.add_argument("--markdown", action="store_true", help="with --gate: a section for a step summary")
    parser.add_argument("--gate", action="store_true", help="judge the newest run against the last release")
    parser.add_argument(
        "--release",
        metavar="RUN|TAG",
        default="",
        help="with --gate: the release (default: the newest older run whose commit has a git tag, else the oldest run)",
    )
    add_judging(parser)


def _run(options: Namespace) -> int:
    if not options.gate and (options.release or options.markdown or options.detect):
        raise ConfigError("history: --release, --markdown and --detect are for --gate: add it.")
    if options.gate and options.models:
        raise ConfigError("history: --model is for the table; the gate judges all models.")
    folders = choose_runs(options.runs, options.output)
    return _gate(options, folders) if options.gate else _show(options, folders)


def _show(options: Namespace, folders: list[Path]) -> int:
    with collector_paused():
        history = read_history(folders, options.metrics or DEFAULT_METRICS, options.models)
    if options.json:
        print(json.dumps(history_json(history), indent=1))
    else:
        room = columns(UNLIMITED)
        _print(history_lines(history, most=max(1, options.rows), columns=room, room=text_columns()))
    return 0


def _gate(options: Namespace, folders: list[Path]) -> int:
    detect = smallest_changes(options.detect)
    wanted = (*options.metrics, *(name for name in detect if name))
    with collector_paused():
        history = read_history(folders, wanted or DEFAULT_METRICS, options.models)
        judged = judge_newest(
            history.runs,
            release=options.release,
            output=options.output,
            detect=detect,
            only=options.metrics,
            accepted=meant(options),
        )
    if options.json:
        print(json.dumps(judgement_json(judged), indent=1))
    elif options.markdown:
        print(judgement_markdown(judged))
    else:
        _print(judgement_lines(judged, most=max(1, options.rows), columns=columns(), room=text_columns()))
    return exit_status(judged, options.fail_on)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(printable(line))


COMMAND = Command(configure=_configure, run=_run)
