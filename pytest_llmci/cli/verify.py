"""``llmci verify RUN``: prove that a run folder is what its session wrote."""

from __future__ import annotations

import os
from argparse import ArgumentParser, BooleanOptionalAction, Namespace

from ..proof.verify import REBUILT_UP_TO, verify_run
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
    parser.epilog = (
        f"Where {SIGNING_KEY} is set, the run must be signed with that key. Exit status: 0 the run is what was written, 1 it is"
        " not, and the first thing that differs is named, 4 it cannot be read."
    )


def _run(options: Namespace) -> int:
    found = verify_run(
        resolve_run(options.run_text, options.output), key=signing_key(os.environ), rebuild=options.rebuild
    )
    print(printable(f"{'ok' if found.ok else 'FAILED'}: {found.message}"))
    if not found.ok:
        return EXIT_FAILED
    for line in (*found.shown, *(f"note: {text}" for text in found.notes)):
        print(printable(f"    {line}"))
    return 0


COMMAND = Command(configure=_configure, run=_run)
