"""``llmci compare RUN_A RUN_B``: what became of the cells that both runs measured.

With ``--metrics``: two ``metrics.json`` against tolerances, where there are no runs to compare.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from ..clock import SystemClock
from ..engine.comparisons import metrics_diff
from ..engine.comparisons.compare_runs import compare_runs
from ..engine.comparisons.comparison import Accept
from ..engine.comparisons.explain_runs import json_data, markdown, text_lines
from ..engine.comparisons.metrics_diff import compare_metrics, parse_tolerance, read_side
from ..errors import ConfigError
from ..garbage import collector_paused
from ..given import parse_smallest_change
from ..settings import BASELINES_FOLDER
from ..store.accepted import accepting
from ..store.runfolder import resolve_run
from . import Command
from .main import EXIT_FAILED, printable
from .screen import UNLIMITED, columns, text_columns

EXIT_INCONCLUSIVE: Final = 2


class Judged(Protocol):
    """What an exit status can be taken from."""

    @property
    def failed(self) -> bool: ...

    @property
    def undecided(self) -> bool: ...


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="older runs, then the one to judge: folders, latest, latest~1, or beginnings of ids."
        " A single one is compared with the run before it",
    )
    add_judging(parser)
    parser.add_argument(
        "--metric",
        metavar="NAME",
        dest="metrics",
        action="append",
        default=[],
        help="judge this metric alone; may be given several times"
        " (default: the times that suit each model, memory, lengths, checks)",
    )
    parser.add_argument(
        "--metrics",
        dest="by_metrics",
        action="store_true",
        help="compare two metrics.json by --tolerance instead of two runs by statistics: files, folders, runs, or git:REV[:FILE]."
        " A metric that is worse by more than its tolerance, or lost, fails",
    )
    parser.add_argument(
        "--tolerance",
        metavar="METRIC=5%",
        dest="tolerances",
        action="append",
        default=[],
        help="with --metrics: how much worse a metric may be, relative or in its unit (latency=5%%, peak_rss=20MB, model.ttft=1ms);"
        " globs; 5%% alone is for all; may be given several times, the last that fits holds",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all results as JSON")
    form.add_argument("--markdown", action="store_true", help="a section for a step summary or a comment")
    parser.add_argument(
        "--rows", metavar="N", type=int, default=20, help="changed cells to show (default: %(default)s)"
    )


_FAIL_ON: Final = {
    "regression": "exit status 1 where something became worse or is not measured any more",
    "inconclusive": "so, and 2 where something could not be told",
    "never": "0",
}


def add_judging(parser: ArgumentParser, policies: Sequence[str] = tuple(_FAIL_ON)) -> None:
    """The arguments that say what is judged, and what fails."""
    parser.add_argument(
        "--fail-on",
        choices=policies,
        default="regression",
        help=f"{'; '.join(f'{policy}: {_FAIL_ON[policy]}' for policy in policies)} (default: %(default)s)",
    )
    parser.add_argument(
        "--detect",
        metavar="METRIC=5%",
        action="append",
        default=[],
        help="smallest change that must be found, which gates the metric; 5%% alone is for all times (default: 5%%)",
    )
    parser.add_argument(
        "--baselines",
        metavar="DIR",
        type=Path,
        default=Path(BASELINES_FOLDER),
        help="folder whose accepted.toml says which regressions are meant (default: %(default)s)",
    )


def meant(options: Namespace) -> Accept:
    """Says which regressions are accepted."""
    return accepting(options.baselines, SystemClock().utc().date())


def smallest_changes(texts: Sequence[str]) -> dict[str, float]:
    """Metric -> share, of ``--detect``.

    :raises ConfigError: if one cannot be read.
    """
    return dict(parse_smallest_change(text, "--detect") for item in texts for text in item.split(",") if text.strip())


def exit_status(found: Judged, fail_on: str) -> int:
    """0, 1 or 2, as ``--fail-on`` wants it."""
    if fail_on == "never":
        return 0
    if found.failed:
        return EXIT_FAILED
    return EXIT_INCONCLUSIVE if found.undecided and fail_on == "inconclusive" else 0


def _run_metrics(options: Namespace) -> int:
    if len(options.runs) != 2:
        raise ConfigError(f"compare --metrics: {len(options.runs)} given; write the old and the new one.")
    if options.detect or options.markdown:
        raise ConfigError("compare --metrics: takes neither --detect nor --markdown; write --tolerance, --json.")
    old, new = [read_side(text, options.output) for text in options.runs]
    found = compare_metrics(old, new, [parse_tolerance(text) for text in options.tolerances], options.metrics)
    if options.json:
        print(json.dumps(metrics_diff.json_data(found)))
    else:
        for line in metrics_diff.text_lines(found, most=max(1, options.rows), columns=columns(UNLIMITED)):
            print(printable(line))
    return exit_status(found, options.fail_on)


def _run(options: Namespace) -> int:
    if options.by_metrics:
        return _run_metrics(options)
    if options.tolerances:
        raise ConfigError("compare: --tolerance is of --metrics; the smallest change between two runs is --detect.")
    texts = options.runs if len(options.runs) > 1 else ["latest~1", *options.runs]
    if len(options.runs) == 1 and options.runs[0] != "latest":
        raise ConfigError(f"compare: '{options.runs[0]}' alone is one run: name the older one before it.")
    *older, candidate = [resolve_run(text, options.output) for text in texts]
    with collector_paused():
        found = compare_runs(
            older, candidate, detect=smallest_changes(options.detect), only=options.metrics, accepted=meant(options)
        )
    if options.json:
        print(json.dumps(json_data(found)))  # indented, a large one takes seconds
    elif options.markdown:
        print(markdown(found))
    else:
        for line in text_lines(found, most=max(1, options.rows), columns=columns(), room=text_columns()):
            print(printable(line))
    return exit_status(found, options.fail_on)


COMMAND = Command(configure=_configure, run=_run)
