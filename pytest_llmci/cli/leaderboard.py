"""``llmci leaderboard describe|select``: what a table of published scores holds, and which of its models are worth measuring."""

from __future__ import annotations

import json
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ..errors import ConfigError, UnknownNameError
from ..leaderboard.cells import parse_score, parse_size
from ..leaderboard.describe import describe
from ..leaderboard.describe_text import description_json, description_lines
from ..leaderboard.figures import figures
from ..leaderboard.read import read_leaderboard
from ..leaderboard.select import BYTES, GROUPS, Group, Wanted, select
from ..leaderboard.select_text import selection_file, selection_json, selection_lines
from ..plots.base import save
from ..text import shown_path
from ..units import parse_quantity
from . import Command
from .main import EXIT_FAILED, printable

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

    selecting = actions.add_parser(
        "select", parents=[shared], help="models worth measuring, as a list for --llm-models"
    )
    selecting.add_argument("--max-params", metavar="2B", default="", help="most parameters: 2B, 350M")
    selecting.add_argument(
        "--max-memory", metavar="4GiB", default="", help="most memory, by an estimate of what the process needs"
    )
    selecting.add_argument(
        "--dtype",
        choices=tuple(BYTES),
        default="float32",
        help="what they will be loaded in (default: %(default)s, as on a CPU)",
    )
    selecting.add_argument("--min-score", metavar="40", default="", help="lowest score, in per cent")
    selecting.add_argument(
        "--license",
        metavar="GLOB[,GLOB]",
        dest="licenses",
        action="append",
        default=[],
        help="apache-2.0, mit, 'cc-by-*'; any of them will do",
    )
    selecting.add_argument(
        "--type",
        metavar="GLOB[,GLOB]",
        dest="types",
        action="append",
        default=[],
        help="pretrained, 'chat*', as the file has them",
    )
    selecting.add_argument(
        "--by", metavar="SCORE", default="", help="score that ranks, such as ARC (default: the average)"
    )
    selecting.add_argument("--top", metavar="N", type=int, default=5, help="how many (default: %(default)s)")
    selecting.add_argument(
        "--include", metavar="GROUP[,GROUP]", action="append", default=[],
        help=f"what is left out unless it is named here: {', '.join(GROUPS)}",
    )  # fmt: skip
    selecting.add_argument("--save", metavar="FILE.yaml", type=_path, help="write the list for --llm-models=@FILE.yaml")


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _run(options: Namespace) -> int:
    if options.action == "select":
        return _select(options)
    for line in _describe(options):
        print(printable(line))
    return 0


# ------------------------------------------------------------------------------------------------------------ describe


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


# -------------------------------------------------------------------------------------------------------------- select


def _select(options: Namespace) -> int:
    """Exit status 1 where no model is within the limits."""
    wanted = _wanted(options)
    found = select(read_leaderboard(options.file), wanted)
    if options.save and found.chosen:
        options.save.write_text(selection_file(found), encoding="utf-8")
    if options.json:
        print(json.dumps(selection_json(found), indent=1))
    else:
        for line in selection_lines(found):
            print(printable(line))
        if options.save and found.chosen:
            print(printable(f"Saved: pytest --llm-models=@{shown_path(options.save)}"))
    return 0 if found.chosen else EXIT_FAILED


def _wanted(options: Namespace) -> Wanted:
    include = [_group(text) for text in _commas(options.include)]
    if options.top < 1:
        raise ConfigError(f"--top: {options.top} is too small; write a whole number of at least 1.")
    return Wanted(
        max_params_b=_params(options.max_params) if options.max_params else None,
        max_memory_bytes=_bytes(options.max_memory) if options.max_memory else None,
        min_score=_score(options.min_score) if options.min_score else None,
        licenses=tuple(_commas(options.licenses)),
        types=tuple(_commas(options.types)),
        by=options.by,
        dtype=options.dtype,
        include=frozenset(include),
        top=options.top,
    )


def _commas(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _group(text: str) -> Group:
    for group in GROUPS:
        if group == text:
            return group
    raise UnknownNameError.build("--include", "group", text, GROUPS)


def _params(text: str) -> float:
    try:
        size = parse_size(text)
    except ValueError:
        size = None
    if size is None:
        raise ConfigError(f"--max-params: '{text}' is no number of parameters; write it like 2B or 350M.")
    return size


def _bytes(text: str) -> int:
    value = int(parse_quantity(text, "B", "--max-memory"))
    if value <= 0:
        raise ConfigError(f"--max-memory: '{text}' must be more than zero; write it like 4GiB.")
    return value


def _score(text: str) -> float:
    try:
        parsed = parse_score(text)
    except ValueError:
        parsed = None
    if parsed is None or not 0 <= parsed[0] <= 100:
        raise ConfigError(f"--min-score: '{text}' is no score in per cent; write a number from 0 to 100.")
    return parsed[0]


COMMAND = Command(configure=_configure, run=_run, own_output=True)
