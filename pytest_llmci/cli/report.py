"""``llmci report RUN``: rebuild the derived files of a run from its log, or send it to other sinks."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..clock import SystemClock
from ..cost.chosen import choose_prices
from ..engine.reports.costs import REQUESTS_A_DAY, cost_rows, cost_table, prices_of
from ..engine.reports.report_builder import build_report
from ..errors import ConfigError, StoreError
from ..registry import Registry
from ..settings import Sourced
from ..sinks import DEFAULT_SINKS, SINKS, open_sinks, register, wants_whole_run
from ..sinks.apart import RESULT, STEP
from ..sinks.base import Listener, Silent, listen
from ..store.manifest import renew, signing_key
from ..store.recovery import recover
from ..store.runfolder import list_runs, publish_latest, resolve_run
from ..text import wrapped
from . import Command
from .main import printable

HELP_WIDTH: Final = 100


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run_text",
        metavar="RUN",
        nargs="?",
        default="latest",
        help="run folder, latest, latest~1, or the beginning of a run's id (default: %(default)s)",
    )
    parser.add_argument(
        "--sink",
        metavar="NAME[:TARGET]",
        dest="sinks",
        action="append",
        help=f"where to write; may be given several times (default: {', '.join(DEFAULT_SINKS)})",
    )
    parser.add_argument(
        "--plots",
        dest="sinks",
        action="append_const",
        const="plots",
        help="draw the figures of the run, as --sink plots does",
    )
    parser.add_argument(
        "--progress",
        action="store_true",
        help="print a line 'step: ...' for each request that a server has answered",
    )
    parser.add_argument(
        "--cost",
        action="store_true",
        help="print what the models cost at each price, and write nothing",
    )
    parser.add_argument(
        "--prices",
        metavar="NAME|FILE[#NAME]",
        action="append",
        help="for --cost: prices of the packaged table, or TOML or CSV files (default: the session's, else all packaged ones)",
    )
    parser.add_argument(
        "--requests-a-day",
        metavar="N",
        type=_count,
        default=REQUESTS_A_DAY,
        help="scenario for --cost (default: %(default)s)",
    )
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["sinks, also for pytest --llmci-sink:", *_listed_sinks()])


def _listed_sinks() -> list[str]:
    return [
        line
        for entry in SINKS
        for line in wrapped(entry.summary, HELP_WIDTH, first=f"  {entry.name:<18}", rest=" " * 20)
    ]


def rebuild(
    run: Path, sinks: Sequence[str], say: Callable[[str], None], listener: Listener | None = None
) -> list[Path]:
    """Close the log if its session was killed, write it to the sinks, and bring the manifest up to date.

    :param sinks: ``NAME`` or ``NAME:TARGET``.
    :param say: gets one line where the log had to be recovered, or the manifest could not be renewed.
    :param listener: of sinks that talk to a server.
    :returns: the files written.
    :raises ConfigError: for a sink that is not known.
    :raises StoreError: if the log cannot be read or recovered; LogTamperedError if it is not what was written.
    :raises SinkError: if a destination refuses.
    """
    registry = Registry()
    register(registry)
    opened = dict(zip(dict.fromkeys(sinks), open_sinks(sinks, registry, "--sink"), strict=True))
    last = [sink for text, sink in opened.items() if wants_whole_run(text, registry)]
    for sink in opened.values():
        listen(sink, listener or Silent())
    recovery = recover(run)
    if recovery.done:
        say(f"{run.name}: {recovery.message}")
        missing = [
            text for text in DEFAULT_SINKS if text not in opened
        ]  # what lies there may be of the log before it was cut
        opened = {**dict(zip(missing, open_sinks(missing, registry, "--sink"), strict=True)), **opened}
    report = build_report(run)
    written = [path for sink in opened.values() if sink not in last for path in sink.write(report, run)]
    kept = renew(
        run, written, run=report.header.run_id, log_lines=report.lines, log_digest=report.digest, log_changed=recovery.done,
        key=signing_key(os.environ),
    )  # fmt: skip
    if kept:
        say(f"note: {kept}")
    return written + [path for sink in last for path in sink.write(report, run)]


def _run(options: Namespace) -> int:
    run = resolve_run(options.run_text, options.output)
    if options.cost:
        return _print_cost(run, options)
    if options.prices:
        raise ConfigError("--prices is for --cost; add it.")
    lines: list[str] = []
    listener = _Printing(progress=options.progress)
    try:
        written = rebuild(run, options.sinks or DEFAULT_SINKS, lines.append, listener)
        lines += [f"wrote {path}" for path in written]
        if lines and list_runs(run.parent)[-1:] == [run]:
            lines.append(_copied(run))
    finally:  # told when all is done: who reads the output may leave at any line
        for line in [*lines, *listener.results]:
            print(printable(line))
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _print_cost(run: Path, options: Namespace) -> int:
    report = build_report(run)
    prices = prices_of(report)
    if options.prices:
        asked = [Sourced(text=text, origin="--prices") for text in options.prices]
        prices = choose_prices(asked, lambda _: Path()).prices
    rows = cost_rows(report, prices, requests=options.requests_a_day)
    for line in cost_table(rows, requests=options.requests_a_day, width=HELP_WIDTH, today=SystemClock().utc().date()):
        print(printable(line))
    return 0


class _Printing:
    """Prints steps as they are made, and keeps results for the end; MLflow's own prints never get here."""

    def __init__(self, *, progress: bool) -> None:
        self.results: list[str] = []
        self._progress = progress
        self._out = sys.stdout

    def step(self, text: str) -> None:
        if self._progress:
            print(f"{STEP}{printable(text)}", file=self._out, flush=True)

    def result(self, text: str) -> None:
        self.results.append(RESULT + text if self._progress else text)


def _copied(run: Path) -> str:
    try:
        return f"copied to {publish_latest(run)}"
    except StoreError as error:  # the run itself is whole
        return f"not copied: {error}"


COMMAND = Command(configure=_configure, run=_run)
