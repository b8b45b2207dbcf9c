"""``llmci reproduce RUN``: run the recorded cells again, and say whether the same comes out."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from .. import backends, measure
from ..clock import SystemClock
from ..engine.observer import Silent
from ..errors import ConfigError
from ..promotion.reproduce import ReproducedCell, Reproduction, reproduce
from ..records import Cell, ModelSpec
from ..redaction import Redactor
from ..registry import Registry
from ..secrets import Secrets
from ..specs import split_options
from ..store.comparability import Difference
from ..store.runfolder import resolve_run
from ..text import one_line
from ..units import format_duration
from . import Command
from .main import EXIT_FAILED, printable

EVERY_S: Final = 5.0
"""Between two signs of life while one answer is awaited."""
MOST_FACTS: Final = 12


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Runs the cells that a run recorded again with the recorded prompts and settings: model, revision, options, seed, length,"
        " temperature, threads. Says for each whether the output is identical, and if not, the first token that differs; and what is not"
        " the same in the environment. Nothing is written and no time is compared. Exit status: 0 all identical, 1 something differs or"
        " could not be run, 4 bad input."
    )
    parser.add_argument(
        "run_text",
        metavar="RUN",
        nargs="?",
        default="latest",
        help="run folder, latest, latest~1, or the beginning of a run's id (default: %(default)s)",
    )
    parser.add_argument(
        "--cell",
        metavar="ID",
        dest="cells",
        action="append",
        default=[],
        help="this cell alone, such as smollm2-tcp-udp; may be given several times",
    )
    parser.add_argument(
        "--with",
        metavar="+KEY=VALUE",
        dest="options",
        action="append",
        default=[],
        help="give every model this option beside its own, to see what it changes, such as +dtype=bfloat16; may be given several times",
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON; progress goes to stderr as ever")


class Progress(Silent):
    """Lines on stderr."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._doing = ""
        self._began_ns = self._said_ns = self._clock.now_ns()

    def loading(self, spec: ModelSpec) -> None:
        self._begin(f"loading {spec.alias}")

    def say(self, text: str) -> None:
        self._begin(one_line(text))

    def loaded(self, spec: ModelSpec, seconds: float | None) -> None:
        self._begin(f"{spec.alias} answers")

    def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
        self._begin(f"{cell.id}: answer {done} of {planned}")

    def tick(self) -> None:
        now = self._clock.now_ns()
        if now - self._said_ns >= EVERY_S * 1e9:
            self._said_ns = now
            _say(f"{self._doing}, {format_duration((now - self._began_ns) / 1e9)} so far")

    def _begin(self, text: str) -> None:
        self._doing, self._began_ns = text, self._clock.now_ns()
        self._said_ns = self._began_ns
        _say(text)


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


def _run(options: Namespace) -> int:
    run = resolve_run(options.run_text, options.output)
    registry = Registry()
    backends.register(registry)
    measure.register(registry)
    found = reproduce(
        run, registry, clock=SystemClock(), observer=Progress(), redactor=Redactor(Secrets.of(os.environ)),
        sys_path=list(dict.fromkeys([os.getcwd(), *(entry or os.getcwd() for entry in sys.path)])), cells=options.cells,
        options=_options(options.options),
    )  # fmt: skip
    if options.json:
        print(json.dumps({**asdict(found), "identical": found.identical}, indent=2))
    else:
        for line in text_lines(found):
            print(printable(line))
    return 0 if found.identical else EXIT_FAILED


def _options(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, options = split_options(f"model{text if text.startswith('+') else '+' + text}", "--with")
        if name != "model" or not options:
            raise ConfigError(f"--with: '{text}' is no option; write it as in a model's spec, such as +dtype=bfloat16.")
        found.update(options)
    return found


def text_lines(found: Reproduction) -> list[str]:
    """What people read."""
    counts = {
        outcome: sum(cell.outcome == outcome for cell in found.cells)
        for outcome in ("identical", "differs", "not reproduced")
    }
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    lines = [f"run {found.run_id}: {told}"]
    for cell in found.cells:
        lines += ["", *_cell_lines(cell)]
    lines += ["", *_facts("environment", "the same as in the run", found.environment)]
    return lines


def _cell_lines(cell: ReproducedCell) -> list[str]:
    lines = [f"{cell.cell}: {cell.outcome}{f', as {cell.reason}' if cell.reason else ''}"]
    if cell.rounds_again:
        once = "all of one output" if cell.outputs == 1 else f"{cell.outputs} outputs"
        sampled = f", temperature {cell.temperature:g}, seed {cell.seed}" if cell.temperature else ""
        lines.append(f"  rounds     {cell.rounds_again} again of {cell.rounds} ({once}{sampled})")
    first = cell.first_difference
    if first is not None:
        where = f"{first.unit} {first.position}" + (f" of round {first.round}" if cell.rounds_again > 1 else "")
        lines += [f"  first      {where}", f"  recorded   {first.recorded!r}", f"  now        {first.now!r}"]
    return lines + (_facts("  model", "", cell.subject) if cell.subject else [])


def _facts(label: str, same: str, differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return [f"{label:<12} {same}"]
    shown = [str(each) for each in differences[:MOST_FACTS]]
    shown += [f"and {len(differences) - MOST_FACTS} more (--json)"] if len(differences) > MOST_FACTS else []
    return [f"{label if number == 0 else '':<12} {text}" for number, text in enumerate(shown)]


COMMAND = Command(configure=_configure, run=_run)
