"""``llmci promote NAME``: a run's model becomes a version of MLflow's registry, and takes the alias if it has earned it."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Final

from ..garbage import collector_paused
from ..promotion.base import DEFAULT_ALIAS, POLICIES
from ..promotion.promote import Promotion, Wanted, promote
from ..store.manifest import signing_key
from ..store.runfolder import resolve_run
from ..text import wrapped
from ..tracking.connection import connect
from . import Command
from .compare import EXIT_INCONCLUSIVE, add_judging, meant, smallest_changes
from .main import EXIT_FAILED, printable

WIDTH: Final = 100
_MARKS: Final = {"holds": "ok", "fails": "FAILS", "undecided": "?"}


def add_registry(parser: ArgumentParser) -> None:
    """The arguments that say which alias of which model in which store."""
    parser.add_argument("name", metavar="NAME", help="registered model of MLflow")
    parser.add_argument("--alias", default=DEFAULT_ALIAS, help="alias of the registered model (default: %(default)s)")
    parser.add_argument(
        "--mlflow", metavar="URI", dest="uri", default="",
        help="MLflow's store or server (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here)",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    parser.add_argument("--json", action="store_true", help="all of it as JSON")


def _configure(parser: ArgumentParser) -> None:
    add_registry(parser)
    parser.add_argument(
        "--run", metavar="RUN", dest="run_text", default="latest",
        help="run folder, latest, latest~1, or the beginning of a run's id (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--model", metavar="ALIAS", default="", help="which model of the run, where it has several")
    parser.add_argument(
        "--upload",
        action="store_true",
        help="upload the model's local weights as well (default: the version points at its source)",
    )
    add_judging(parser, policies=POLICIES)


def _run(options: Namespace) -> int:
    wanted = Wanted(
        name=options.name,
        folder=resolve_run(options.run_text, options.output),
        alias=options.alias,
        model=options.model,
        policy=options.fail_on,
        detect=smallest_changes(options.detect),
        accepted=meant(options),
        upload=options.upload,
        dry_run=options.dry_run,
        key=signing_key(os.environ),
    )
    said: list[str] = []
    with collector_paused():
        done = promote(lambda: connect(options.uri, "promote --mlflow", reads=options.dry_run), wanted, say=said.append)
    if options.json:
        print(json.dumps(done.data, indent=1))
    else:
        for line in [*said, *_lines(done)]:
            print(printable(line))
    if not done.refused:
        return 0
    return EXIT_FAILED if done.evidence.failures else EXIT_INCONCLUSIVE


def _lines(done: Promotion) -> Iterator[str]:
    yield f"{done.pointer.run_id}: {done.pointer.spec.text}"
    for each in done.evidence.findings:
        yield from wrapped(each.text, WIDTH, first=f"  {_MARKS[each.standing]:<6}{each.name:<10}", rest=" " * 18)
    yield from _outcome(done)


def _outcome(done: Promotion) -> Iterator[str]:
    place = f"{done.name}@{done.alias}"
    before = f"stays version {done.before}" if done.before is not None else "stands for no version"
    match done.outcome:
        case "promoted":
            yield f"PROMOTED: {place} is version {done.version} now" + (
                f", before version {done.before}" if done.before else ""
            )
            if done.created:
                yield f"registered model {done.name} is new"
        case "already":
            yield f"{place} is version {done.version} already: nothing to do"
        case "would promote":
            yield (
                f"would be PROMOTED to {place}"
                + (f", now version {done.before}" if done.before else "")
                + "; nothing was written"
            )
        case "refused":
            yield f"REFUSED: {place} {before}. This is recorded as version {done.version} (validation_status: refused)"
        case "would refuse":
            yield f"would be REFUSED: {place} {before}; nothing was written"


COMMAND = Command(configure=_configure, run=_run)
