"""Entry point of the ``llmci`` command.

Exit status: 0 all is well, 1 a check failed, or a log or weights are not what was written, 4 bad input or another error. An error is
one line on stderr, never a traceback.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from ..errors import LLMCIError, LogTamperedError, WeightsChangedError
from ..registry import import_target
from ..secrets import Secrets
from ..settings import OUTPUT_FOLDER
from ..text import wrapped
from ..version import version
from . import COMMANDS, Command

EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 4  # as pytest's usage errors; argparse's own 2 means inconclusive here
EXIT_INTERRUPTED: Final = 130
HELP_COLUMNS: Final = 78
"""Of what a command does, where its help is not filled by argparse."""
EXIT_PIPE: Final = 141  # as a shell gives for SIGPIPE


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message.removesuffix('.')}. Try: {self.prog} --help\n")


def build_parser(named: Sequence[str]) -> ArgumentParser:
    """The parser. Only commands in ``named`` are imported and know their arguments; all are listed in the help."""
    parser = _Parser(prog="llmci", description="Work with the results of pytest-llmci.")
    parser.add_argument("--version", action="version", version=f"pytest-llmci {version()}")
    shared = _Parser(add_help=False)
    shared.add_argument(
        "--output",
        metavar="DIR",
        type=_folder,
        default=Path(OUTPUT_FOLDER),
        help="folder of the runs (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (target, summary) in COMMANDS.items():
        command = _load(name, target) if name in named else None
        parents = [] if command is not None and command.own_output else [shared]
        own = commands.add_parser(
            name,
            help=summary,
            description="\n".join(wrapped(f"{summary[0].upper()}{summary[1:]}.", HELP_COLUMNS)),
            parents=parents,
        )
        if command is not None:
            command.configure(own)
            own.set_defaults(run=command.run)
    return parser


def _folder(text: str) -> Path:
    return Path(os.path.expanduser(text))  # the shell leaves --output=~/runs alone


def _load(name: str, target: str) -> Command:
    command = import_target(target, f"llmci {name}")
    assert isinstance(command, Command)  # the table is ours
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    :param argv: without the program's name; ``sys.argv`` if None.
    :returns: the exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = build_parser(arguments).parse_args(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except SystemExit as leaving:  # of argparse: help, version, bad usage
        return leaving.code if isinstance(leaving.code, int) else 0
    except (LogTamperedError, WeightsChangedError) as error:
        return _fail(error, EXIT_FAILED)
    except LLMCIError as error:
        return _fail(error, EXIT_BAD_INPUT)
    except BrokenPipeError:  # whoever read the output has left, as ``head`` does: no error of ours
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what Python still holds goes nowhere at its end
        return EXIT_PIPE
    except OSError as error:
        return _fail(error, EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _fail(error: Exception, status: int) -> int:
    print(f"llmci: error: {printable(Secrets.of(os.environ).hide(str(error)))}", file=sys.stderr)
    return status


def printable(text: str) -> str:
    """The text in one line, with escapes for what could steer a terminal or is not in its encoding."""
    flat = " ".join(text.split("\n"))
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in flat)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


if __name__ == "__main__":
    sys.exit(main())
