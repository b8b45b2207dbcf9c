"""``llmci baseline list|show|accept|prune``: what a team has committed to compare with."""

from __future__ import annotations

import json
import re
import statistics
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from ..clock import SystemClock
from ..errors import ConfigError
from ..records import to_json
from ..settings import BASELINE_NAME, BASELINES_FOLDER
from ..store.accepted import (
    EXPIRES_AFTER,
    Accepted,
    accept,
    parse_date,
    parse_up_to,
    proven_regressions,
    read_accepted,
    size_to_accept,
)
from ..store.baseline_file import load
from ..store.baseline_folder import OLD_AFTER, BaselineFile, find, list_baselines, prune, renewal
from ..store.baseline_record import BaselineCell, BaselineRecord
from ..store.runfolder import resolve_run
from ..text import shown_path
from ..units import format_quantity
from . import Command
from .main import printable

_DAYS: Final = re.compile(r"(\d{1,5})d?\Z")
_SHOWN: Final = ("latency", "cpu_time", "peak_rss")


def _configure(parser: ArgumentParser) -> None:
    shared = type(parser)(add_help=False)
    shared.add_argument("--output", metavar="DIR", type=Path, default=SUPPRESS, help=SUPPRESS)
    shared.add_argument(
        "--baselines", metavar="DIR", type=_folder, default=Path(BASELINES_FOLDER),
        help="folder of the baselines (default: %(default)s)",
    )  # fmt: skip
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = actions.add_parser("list", parents=[shared], help="what there is, by name and environment")
    listing.add_argument("--json", action="store_true", help="as JSON")

    showing = actions.add_parser("show", parents=[shared], help="what is in a baseline")
    showing.add_argument("name", metavar="NAME", help="name of a baseline, or path of a file or folder")
    showing.add_argument("--json", action="store_true", help="as JSON")

    accepting = actions.add_parser("accept", parents=[shared], help="accept a change for the worse that is meant")
    accepting.add_argument("cell", metavar="CELL", help="id of a cell, alias of a model as a whole, or a glob")
    accepting.add_argument("--reason", required=True, help="why it is meant")
    accepting.add_argument("--metric", help="default: those that the run proved to have regressed")
    accepting.add_argument(
        "--up-to", metavar="PERCENT", help="such as 10%%; default: the most that the regression may be, by that run"
    )
    accepting.add_argument(
        "--run", metavar="RUN", dest="run_text", default="latest", help="which run that is (default: %(default)s)"
    )
    accepting.add_argument(
        "--expires", metavar="DATE", help=f"last day, as 2026-09-30 (default: in {EXPIRES_AFTER.days} days)"
    )
    accepting.add_argument("--by", default="", metavar="WHO", help="who accepts it")

    pruning = actions.add_parser("prune", parents=[shared], help="take old sessions out, and files with no other")
    pruning.add_argument(
        "--older-than",
        metavar="90d",
        default=f"{OLD_AFTER.days}d",
        help="what counts as old, in days (default: %(default)s)",
    )
    pruning.add_argument("--name", default="", metavar="NAME", help="of this baseline only")
    pruning.add_argument("--dry-run", action="store_true", help="say what would go, and leave it")


def _folder(text: str) -> Path:
    return Path(text).expanduser()


def _run(options: Namespace) -> int:
    run = {"list": _list, "show": _show, "accept": _accept, "prune": _prune}[options.action]
    for line in run(options):
        print(printable(line))
    return 0


def _today() -> date:
    return SystemClock().utc().date()


# --------------------------------------------------------------------------------------------------------------- list


def _list(options: Namespace) -> Iterator[str]:
    files = list_baselines(options.baselines)
    if options.json:
        yield from json.dumps(list(map(_summary, files)), indent=1).splitlines()
        return
    if not files:
        yield f"{shown_path(options.baselines)} holds no baseline. Make one: {renewal(BASELINE_NAME)}"
    yield from _table(
        [("baseline", "saved", "sessions", "cells", "machine", "file"), *map(_row, files)] if files else []
    )
    yield from _accepted_lines(options.baselines)


def _summary(file: BaselineFile) -> dict[str, Any]:
    record = file.record
    told: dict[str, Any] = {"name": file.name, "path": str(file.path), "error": file.error or None}
    if record is None:
        return told
    return {
        **told, "environment": record.environment, "environment_digest": record.environment_digest,
        "sessions": [{"saved": each.saved, "run_id": each.run_id, "cells": len(each.cells)} for each in record.sessions],
    }  # fmt: skip


def _row(file: BaselineFile) -> tuple[str, ...]:
    record = file.record
    if record is None:
        return (file.name, "unreadable", "", "", "", file.error)
    newest = record.newest
    machine = f"{record.environment.get('cpu_model') or '?'}, {record.environment.get('cores_allowed') or '?'} cores"
    sessions, cells = str(len(record.sessions)), str(len(newest.cells))
    return (file.name, newest.saved[:10], sessions, cells, machine, shown_path(file.path))


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _accepted_lines(root: Path) -> Iterator[str]:
    accepted, today = read_accepted(root), _today()
    for entry in accepted.entries:
        yield f"{'expired' if entry.expired(today) else 'accepted'}: {entry}"


# --------------------------------------------------------------------------------------------------------------- show


def _show(options: Namespace) -> Iterator[str]:
    records = [(path, load(path)) for path in find(options.baselines, options.name)]
    if options.json:
        plain = [{"path": str(path), **to_json(record)} for path, record in records]
        yield from json.dumps(plain, indent=1).splitlines()
        return
    for path, record in records:
        yield from _shown(path, record)


def _shown(path: Path, record: BaselineRecord) -> Iterator[str]:
    yield f"{record.name}: {shown_path(path)}"
    facts = [f"{name} {value}" for name, value in record.environment.items() if value is not None]
    yield f"  machine   {', '.join(facts)}"
    for session in record.sessions:
        origin = session.origin
        at = f"commit {origin.commit[:12]}{' (changed)' if origin.dirty else ''}" if origin.commit else "no commit"
        yield f"  session   {session.saved[:16]}Z, run {session.run_id}, {at}, {len(session.cells)} cells"
    for model in record.newest.models:
        yield f"  model     {model.alias}: {model.spec.text}"
    for name, digest in record.newest.origin.lock_files.items():
        yield f"  lock      {name} {digest[:12]}"
    rows: list[tuple[str, ...]] = [("cell", "rounds", "processes", *_SHOWN)]
    rows += [
        (cell.id, str(cell.rounds), str(len(cell.processes)), *(_median(record, cell, metric) for metric in _SHOWN))
        for cell in record.newest.cells
    ]
    yield from (f"  {line}" for line in _table(rows))


def _median(record: BaselineRecord, cell: BaselineCell, metric: str) -> str:
    values = record.values(cell, metric)
    unit = next((each.unit for each in record.metrics if each.name == metric), None)
    return format_quantity(statistics.median(values), unit) if values and unit else "n/a"


# ------------------------------------------------------------------------------------------------------------- accept


def _accept(options: Namespace) -> Iterator[str]:
    today = _today()
    if not options.reason.strip():
        raise ConfigError("--reason: the text is empty; say why the change is meant.")
    expires = parse_date(options.expires, "--expires") if options.expires else today + EXPIRES_AFTER
    if expires < today:
        raise ConfigError(
            f"--expires: {expires} has passed; give a day to come, or leave it out for {EXPIRES_AFTER.days} days."
        )
    size = parse_up_to(options.up_to, "--up-to") if options.up_to else None
    model = Accepted(
        cell=options.cell, metric=options.metric or "", up_to=size or 0.0, reason=options.reason.strip(), expires=expires,
        by=options.by, when=today,
    )  # fmt: skip
    entries = [model] if options.metric and size else _of_run(options, model)
    path = accept(options.baselines, entries)
    for entry in entries:
        yield f"accepted: {entry}"
    cells = {cell.id for file in list_baselines(options.baselines) if file.record for cell in file.record.newest.cells}
    if cells and not any(fnmatchcase(cell, options.cell) for cell in cells):
        yield f"note: no baseline has a cell that '{options.cell}' names"
    yield f"wrote {shown_path(path)}: commit it"


def _of_run(options: Namespace, model: Accepted) -> list[Accepted]:
    """An entry for each regression that the run proved."""
    run = resolve_run(options.run_text, options.output)
    entries = []
    for cell, regression in proven_regressions(run, options.cell, options.metric or "*"):
        size = model.up_to or size_to_accept(regression)
        if size:
            entries.append(replace(model, cell=cell, metric=regression.metric, up_to=size))
    if not entries:
        what = f"{options.metric} of '{options.cell}'" if options.metric else f"'{options.cell}'"
        raise ConfigError(
            f"run {shown_path(run)} proved no regression of {what}: give --metric and --up-to, or another --run."
        )
    return list(dict.fromkeys(entries))


# -------------------------------------------------------------------------------------------------------------- prune


def _prune(options: Namespace) -> Iterator[str]:
    match = _DAYS.match(options.older_than)
    if match is None:
        raise ConfigError(f"--older-than: '{options.older_than}' is no number of days; write it like 90d.")
    age = timedelta(days=int(match[1]))
    found = prune(options.baselines, age, name=options.name, dry_run=options.dry_run)
    for each in found:
        what = f"the {len(each.sessions)} oldest of its sessions" if not each.deleted else "the whole file"
        verb = "would take out" if options.dry_run else "took out"
        yield f"{shown_path(each.path)}: {verb} {what}"
    if not found:
        yield f"nothing is older than {age.days} days"
    expired = read_accepted(options.baselines).expired(_today())
    for entry in expired:
        yield f"expired, take it out of accepted.toml: {entry}"


COMMAND = Command(configure=_configure, run=_run)
