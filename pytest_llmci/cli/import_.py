"""``llmci import FILE...``: results of other tools as a run folder, for reports, comparisons and gates."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..clock import SystemClock
from ..engine.imported import ImportedFile, ImportedRun, write_imported
from ..importers import IMPORTERS, read_files, register
from ..registry import Registry
from ..sinks import register as register_sinks
from ..sinks.finish import finish_run
from ..specs import check_alias
from ..text import how_many
from . import Command
from .main import EXIT_FAILED, printable


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        type=Path,
        help="results of another tool; several make one run, and those of the same run of the tool are its repetitions",
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        default="",
        help=f"what wrote them: {', '.join(entry.name for entry in IMPORTERS)} (default: recognised)",
    )
    parser.add_argument(
        "--model",
        metavar="ALIAS",
        default="",
        help="name of the model, which pairs it with the same model in another run (default: from the file)",
    )


def _run(options: Namespace) -> int:
    if options.model:
        check_alias(options.model, "import: --model")
    registry = Registry()
    register(registry)
    register_sinks(registry)
    files = read_files(options.files, registry, name=options.format)
    command = ["llmci", "import", *map(str, options.files), *(["--model", options.model] if options.model else [])]
    run = write_imported(files, options.output, SystemClock(), command=command, alias=options.model)
    finished = finish_run(run.folder, registry, ())
    for line in [*_told(files, run), f"saved {run.folder} and {finished.saved}", *finished.warnings]:
        print(printable(line))
    return EXIT_FAILED if run.failed else 0


def _told(files: list[ImportedFile], run: ImportedRun) -> list[str]:
    lines = []
    for file in files:
        rounds = sum(cell.rounds for cell in file.cells if not cell.error)
        tool = f"{file.format} ({file.tool})" if file.tool else file.format
        lines.append(f"{file.name}: {tool}, {how_many(len(file.cells), 'result')}, {how_many(rounds, 'round')}")
    notes = dict.fromkeys((file.format, note) for file in files for note in file.notes)
    lines += [f"note, {name}: {note}" for name, note in notes]
    return [*lines, *(f"FAILED {cell}: {reason}" for cell, reason in run.failed.items())]


COMMAND = Command(configure=_configure, run=_run)
