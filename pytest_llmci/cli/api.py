"""``llmci api``: the runs of a folder, or of an MLflow store, over HTTP for other programs; read only, and for this machine alone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from typing import Final

from ..dashboard.source import open_source
from ..errors import ConfigError
from ..registry import missing_package
from ..serving.base import bracketed
from ..serving.process import free_port
from ..serving.serve import LOOPBACK, is_loopback
from ..settings import OUTPUT_FOLDER
from . import Command
from .main import printable

EXTRA: Final = "pytest-llmci[serve]"
WHERE: Final = "api"


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Answers runs, cells, verdicts, gates and comparisons as JSON, for programs; GET and HEAD only. The page at / describes every"
        " address and needs no other host; /openapi.json is the same for machines. Ctrl-C ends it."
    )
    parser.add_argument(
        "source", metavar="DIR|URI", nargs="?", default=OUTPUT_FOLDER,
        help="folder of the runs, or address of an MLflow store, such as http://127.0.0.1:5000 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--host", default=LOOPBACK, help="address to listen at; it asks for no password (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8600, help="0: one that is free (default: %(default)s)")


def _run(options: Namespace) -> int:
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise missing_package("llmci api", package, EXTRA)
    if not 0 <= options.port < 65536:
        raise ConfigError(
            f"--port: {options.port} is no port; give a number from 1 to 65535, or 0 for one that is free."
        )
    source = open_source(options.source, WHERE)
    port = free_port(options.host, options.port, WHERE)
    source.check()
    import uvicorn

    from ..api.app import build_app

    own = is_loopback(options.host)
    print(printable(f"llmci: http://{bracketed(options.host)}:{port} (Ctrl-C ends it)"), flush=True)
    if not own:
        print("llmci: whoever reaches this address reads all prompts and answers", flush=True)
    app = build_app(source, ("127.0.0.1", "localhost", "::1", options.host) if own else ())
    try:
        uvicorn.run(app, host=options.host, port=port, log_level="warning", access_log=False, server_header=False)
    except KeyboardInterrupt:
        return 0
    return 0


COMMAND = Command(configure=_configure, run=_run, own_output=True)
