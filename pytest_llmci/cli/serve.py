"""``llmci serve NAME@ALIAS``: a promoted model behind an existing server, once its weights are proven and it has answered."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..errors import ConfigError, ServingError
from ..promotion.champion import promoted
from ..prompts import load_prompts
from ..serving import AUTO, SERVERS
from ..serving.canary import Canary, run_canary
from ..serving.serve import DEFAULT_PORT, DEFAULT_TIMEOUT_S, LOOPBACK, WHERE, Serving, Wanted, is_loopback, serving
from ..specs import split_list
from ..tracking.connection import connect
from ..units import format_duration, parse_duration_s
from . import Command
from .main import EXIT_FAILED, EXIT_INTERRUPTED, printable

_ENDING: Final = ("SIGTERM", "SIGHUP")
"""Signals that end the server as Ctrl-C does."""


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Looks up the version that an alias of MLflow's registry stands for, hashes the weights on this machine and refuses"
        " them if they are not what was measured and promoted, starts a server of OpenAI's protocol on them, asks it for one token"
        " twice, puts the canary to it if one is given, and says where it is ready. Ctrl-C or SIGTERM ends it. Exit status:"
        " 0 ended so, 1 refused (other weights, or the canary failed), 4 bad input, or the server died or was not ready in time."
    )
    parser.add_argument("name", metavar="NAME[@ALIAS]", help="registered model and alias (default alias: champion)")
    parser.add_argument(
        "--mlflow", metavar="URI", dest="uri", default="",
        help="MLflow's store or server (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here)",
    )  # fmt: skip
    parser.add_argument(
        "--server", choices=(AUTO, *SERVERS), default=AUTO,
        help="vllm where its command is on the path, else transformers (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--host", default=LOOPBACK, help="address to listen at; the server asks for no password (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: one that is free (default: %(default)s)")
    parser.add_argument(
        "--device",
        default="",
        help="of transformers serve: cpu, cuda, ... (default: as the model's spec says, else the server's choice)",
    )
    parser.add_argument(
        "--timeout", metavar="10m", default=f"{DEFAULT_TIMEOUT_S:g}s",
        help="from the start of the server until it has answered (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--canary", metavar="NAME|FILE", action="append", default=[],
        help="prompts with checks that must pass before it is ready: a session of the suite inference against the server, kept as a run"
        " below --output; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--canary-options",
        metavar="OPTIONS",
        default="",
        help="more options of that session, such as '--llmci-max-latency=2s'",
    )
    parser.add_argument(
        "--server-options",
        metavar="OPTIONS",
        default="",
        help="more options of the server, such as '--continuous-batching'",
    )
    parser.add_argument(
        "--log",
        metavar="FILE",
        type=Path,
        default=None,
        help="keep the server's output (default: only its last line, where it dies)",
    )
    parser.add_argument("--check", action="store_true", help="end when it is ready: for a test of the whole way")
    parser.add_argument("--json", action="store_true", help="when it is ready, one line of JSON instead of text")


class _Ended(Exception):
    """A signal asks us to end."""


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind as Ctrl-C does, so that the server is stopped."""

    def leave(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # once is enough: the server is being stopped
        raise _Ended

    numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(options: Namespace) -> int:
    wanted = _wanted(options)
    ready = False
    try:
        with _ending_on_signals():
            found = promoted(connect(options.uri, f"{WHERE} --mlflow", reads=True), options.name, WHERE)
            version, pointer = found.version, found.pointer
            _say(f"{version.shown}: {pointer.spec.text}")
            if not is_loopback(options.host):
                _say(f"whoever reaches {options.host} may use the model: the server asks for no password")
            with serving(found, wanted, say=_say) as served:
                _say(_times(served))
                canary = _canary(served, options)
                if canary is not None and not canary.passed:
                    _say(f"refused: the canary failed: {canary.verdict} (run {canary.run})")
                    return EXIT_FAILED
                ready = True
                _tell(served, canary, options)
                if not options.check:
                    status = served.process.wait()
                    raise ServingError(f"the server ended by itself, with exit status {status}{served.process.said}")
    except (_Ended, KeyboardInterrupt):
        return 0 if ready else EXIT_INTERRUPTED
    return 0


def _wanted(options: Namespace) -> Wanted:
    if not 0 <= options.port < 65536:
        raise ConfigError(
            f"--port: {options.port} is no port; give a number from 1 to 65535, or 0 for one that is free."
        )
    if options.canary_options and not options.canary:
        raise ConfigError("--canary-options: there is no canary; give its prompts with --canary.")
    for each in (part for text in options.canary for part in split_list(text)):
        load_prompts(each, "--canary", Path.cwd())  # what is wrong with it is said before a server is started
    return Wanted(
        host=options.host, port=options.port, server=options.server, device=options.device,
        timeout_s=parse_duration_s(options.timeout, "--timeout"), log=options.log,
        arguments=tuple(_words(options.server_options, "--server-options")),
    )  # fmt: skip


def _words(text: str, where: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{where}: '{text}' cannot be split into words: {error}.") from error


def _canary(served: Serving, options: Namespace) -> Canary | None:
    if not options.canary:
        return None
    _say(f"canary: {', '.join(options.canary)}")
    found = run_canary(served, options.canary, options.output, _words(options.canary_options, "--canary-options"))
    if found.passed:
        _say(f"canary passed: {found.verdict} (run {found.run})")
    return found


def _times(served: Serving) -> str:
    cold, warm, start = (
        format_duration(each) for each in (served.first_request_s, served.second_request_s, served.started_s)
    )
    return f"first request, cold: {cold} for one token; the second: {warm}; the server took {start} to listen"


def _tell(served: Serving, canary: Canary | None, options: Namespace) -> None:
    if options.json:
        print(json.dumps({**served.data, "canary": canary.data if canary else None}), flush=True)
        return
    ending = "" if options.check else " (Ctrl-C ends it)"
    print(printable(f"READY: {served.address.url}, model '{served.model}'{ending}"), flush=True)


def _say(text: str) -> None:
    print(printable(f"llmci: {text}"), file=sys.stderr, flush=True)


COMMAND = Command(configure=_configure, run=_run)
