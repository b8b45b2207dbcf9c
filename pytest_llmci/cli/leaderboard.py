"""``llmci leaderboard describe|select``: what a table of published scores holds, and which of its models are worth measuring."""

from __future__ import annotations

import json
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..leaderboard.describe import describe
from ..leaderboard.describe_text import description_json, description_lines
from ..leaderboard.figures import figures
from ..leaderboard.read import read_leaderboard
from ..plots.base import save
from ..text import shown_path
from . import Command
from .main import printable

FIGURES: Final = "leaderboard-figures"
_FILE_HELP: Final = (
    "CSV file in UTF-8 with a row a model: the Kaggle table (model_name_for_query, Average score, ARC, ..., #Params (B)), an export of"
    " the Open LLM Leaderboard, or any table with a column of models and one of scores"
)


def _configure(parser: ArgumentParser) -> None:
    shared = type(parser)(add_help=False)
    shared.add_argument("file", metavar="FILE", type=_path, help=_FILE_HELP)
    shared.add_argument("--json", action="store_true", help="as JSON")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    describing = actions.add_parser(
        "describe", parents=[shared], help="statistics, correlations, missing and repeated rows, and four figures"
    )
    describing.add_argument(
        "--unique",
        action="store_true",
        help="each model once, instead of every row: 16 or 32 bits before fewer, then the newest",
    )
    describing.add_argument(
        "--figures",
        metavar="DIR",
        type=_path,
        default=Path(FIGURES),
        help="where the figures go (default: %(default)s)",
    )
    describing.add_argument(
        "--no-figures", dest="figures", action="store_const", const=None, default=SUPPRESS, help="draw none"
    )


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _run(options: Namespace) -> int:
    for line in {"describe": _describe}[options.action](options):
        print(printable(line))
    return 0


def _describe(options: Namespace) -> Iterator[str]:
    found = describe(read_leaderboard(options.file), unique=options.unique)
    drawn = [path for plot in figures(found) for path in save(plot, options.figures)] if options.figures else []
    if options.json:
        yield from json.dumps(description_json(found, map(str, drawn)), indent=1).splitlines()
        return
    yield from description_lines(found)
    if drawn:
        names = ", ".join(dict.fromkeys(path.stem for path in drawn))
        yield f"Figures, as PNG and SVG, in {shown_path(options.figures)}: {names}"


COMMAND = Command(configure=_configure, run=_run, own_output=True)
