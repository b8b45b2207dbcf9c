"""``llmci verify RUN``: prove that a run's log is what was written."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..store.log import LOG_NAME, verify_log
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


def _run(options: Namespace) -> int:
    found = verify_log(resolve_run(options.run_text, options.output) / LOG_NAME)
    print(printable(f"{'ok' if found.ok else 'FAILED'}: {found.message}"))
    return 0 if found.ok else EXIT_FAILED


COMMAND = Command(configure=_configure, run=_run)
