"""``llmci dashboard``: the runs of a folder, or of an MLflow store, in a browser; read only, and for this machine alone."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ..dashboard.source import open_source
from ..errors import ConfigError
from ..registry import missing_package
from ..settings import OUTPUT_FOLDER
from . import Command

EXTRA: Final = "pytest-llmci[dashboard]"
APP: Final = Path(__file__).parent.parent / "dashboard" / "app.py"
LOOPBACK: Final = "127.0.0.1"
_OPTIONS: Final = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "browser.gatherUsageStats": "false",
    "logger.hideWelcomeMessage": "true",
    "logger.level": "warning",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
}
"""Of Streamlit: nothing is sent anywhere, nothing is watched, no traceback is shown in the browser, the address is told once."""


_EPILOG: Final = """\
pages
  Runs      every run, the newest first; one of them with its models, cells
            and answers
  Compare   any two runs, as llmci compare judges them
  History   a metric over the runs, by model or by prompt, with change points
  Plots     the figures of a run
  Live      the session that is running, read again every two seconds

It reads and never writes, loads nothing from other hosts and sends nothing.
Ctrl-C ends it. Exit status: 0, or 4 where the folder or the store cannot be
read. It needs pip install "pytest-llmci[dashboard]". More: docs/dashboard.md
"""


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="DIR|URI", nargs="?", default=OUTPUT_FOLDER,
        help="folder of the runs, or address of an MLflow store: http://127.0.0.1:5000, sqlite:///mlflow.db (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help="address to listen at. The dashboard asks for no password: whoever reaches it reads all prompts and answers"
        " (default: %(default)s)",
    )
    parser.add_argument("--port", type=int, default=8501, help="port to listen at, 1 to 65535 (default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = _EPILOG


def _run(options: Namespace) -> int:
    if find_spec("streamlit") is None:
        raise missing_package("llmci dashboard", "streamlit", EXTRA)
    if not 0 < options.port < 65536:
        raise ConfigError(f"--port: {options.port} is no port; give a number from 1 to 65535.")
    open_source(options.source).check()
    print(f"llmci: http://{options.host}:{options.port} (Ctrl-C ends it)", flush=True)
    if options.host != LOOPBACK:
        print("llmci: whoever reaches this address reads all prompts and answers", flush=True)
    _become(command(options), _environment())
    return 0


def _become(arguments: list[str], environment: dict[str, str]) -> None:
    """Run the server in this process's place, so that it ends with what ends the command."""
    os.execve(arguments[0], arguments, environment)  # noqa: S606  # no shell is wanted


def command(options: Namespace) -> list[str]:
    """What starts the server."""
    told = {**_OPTIONS, "server.address": options.host, "server.port": str(options.port)}
    if options.open:
        told["server.headless"] = "false"
    flags = [part for name, value in told.items() for part in (f"--{name}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(APP), *flags, "--", options.source]


def _environment() -> dict[str, str]:
    """With the folder of this package on the path, which is not installed where it runs from a checkout."""
    here = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))}


COMMAND = Command(configure=_configure, run=_run, own_output=True)
