"""``llmci rollback NAME``: the alias goes back to the version that had it before."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace

from ..promotion.rollback import rollback
from ..secrets import Secrets
from ..tracking.connection import connect
from . import Command
from .main import printable
from .promote import add_registry


def _configure(parser: ArgumentParser) -> None:
    add_registry(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; it is kept in the tags of both versions")


def _run(options: Namespace) -> int:
    connection = connect(options.uri, "rollback --mlflow", reads=True)
    reason = Secrets.of(os.environ).hide(options.reason)
    done = rollback(connection, options.name, alias=options.alias, reason=reason, dry_run=options.dry_run)
    if options.json:
        print(json.dumps(done.data, indent=1))
        return 0
    place = f"{done.name}@{done.alias}"
    if done.dry_run:
        lines = [f"would be ROLLED BACK: {place} from version {done.before} to version {done.now}; nothing was written"]
    else:
        lines = [f"ROLLED BACK: {place} is version {done.now} again; version {done.before} is withdrawn"]
    lines += [f"  because {done.reason}"] if done.reason else []
    for line in [*lines, *(f"  {line}" for line in done.way_back)]:
        print(printable(line))
    return 0


COMMAND = Command(configure=_configure, run=_run, own_output=True)
