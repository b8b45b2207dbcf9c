"""``llmci verify RUN``: prove that a run folder is what its session wrote."""

from __future__ import annotations

import os
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable
from pathlib import Path

from ..errors import ConfigError
from ..proof.against import Against
from ..proof.against_dvc import against_dvc
from ..proof.against_mlflow import against_mlflow
from ..proof.verify import REBUILT_UP_TO, Proof, verify_run
from ..store.manifest import SIGNING_KEY, signing_key
from ..store.runfolder import resolve_run
from . import Command
from .main import EXIT_FAILED, printable


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run_text",
        metavar="RUN",
        nargs="?",
        default="latest",
        help="run folder, latest, latest~1, or the beginning of a run's id (default: %(default)s)",
    )
    parser.add_argument(
        "--rebuild",
        action=BooleanOptionalAction,
        default=None,
        help="make derived files anew from the log and compare them, and compute the hashes of outputs"
        f" (default: where the log has at most {REBUILT_UP_TO:,} lines)",
    )
    parser.add_argument(
        "--against",
        metavar="dvc[:PATH]|mlflow[:ID]",
        action="append",
        default=[],
        help="compare the run with a copy as well. dvc: what DVC tracks; PATH is a .dvc file or a folder of the sink dvc"
        " (default: pointers beside the run, else llmci-dvc). mlflow: a run in the store that MLFLOW_TRACKING_URI names"
        " (default: the one that was uploaded from this folder). May be given several times",
    )
    parser.epilog = (
        f"Where {SIGNING_KEY} is set, the run must be signed with that key. Exit status: 0 the run is what was written, 1 it is"
        " not, and the first thing that differs is named, 4 it cannot be read."
    )


def _run(options: Namespace) -> int:
    copies = [_copy(text) for text in options.against]
    run = resolve_run(options.run_text, options.output)
    found = verify_run(run, key=signing_key(os.environ), rebuild=options.rebuild)
    if not found.ok:
        return _failed(found.message)
    shown, notes = [*found.shown], [*found.notes]
    for compare in copies:
        other = compare(run, found)
        if other.difference:
            return _failed(other.difference)
        shown += other.shown
        notes += other.notes
    print(printable(f"ok: {found.message}"))
    for line in (*shown, *(f"note: {text}" for text in notes)):
        print(printable(f"    {line}"))
    return 0


def _failed(text: str) -> int:
    print(printable(f"FAILED: {text}"))
    return EXIT_FAILED


def _copy(text: str) -> Callable[[Path, Proof], Against]:
    """What compares a run with the copy that ``--against`` names."""
    kind, _, target = text.partition(":")
    if kind == "dvc":
        return lambda run, found: against_dvc(run, target, plots=found.rebuilt)
    if kind == "mlflow":
        return lambda run, found: against_mlflow(run, found.log, target)
    raise ConfigError(f"--against: '{text}' is no copy of a run; write dvc, dvc:PATH, mlflow or mlflow:RUN_ID.")


COMMAND = Command(configure=_configure, run=_run)
