"""The server's process: in a group of its own that ends with us, however we end; and what is known of it from outside."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..clock import Clock
from ..errors import ConfigError, ServingError
from ..runner.guard import Guard
from ..secrets import is_secret_name
from ..text import one_line
from ..units import format_duration

LOOK_EVERY_S: Final = 0.05
STOP_GRACE_S: Final = 10.0
"""A server that was asked to stop finishes its answers; one that has not by then is killed."""
_TAIL_BYTES: Final = 8192
_LONGEST: Final = 300
_FRAME: Final = " │┃║|"
"""Sides of a frame around an error."""
_FAULT: Final = re.compile(r"(?:[\w./ -]+: )?[\w.]*(?:[Ee]rror|ERROR|Exception): *\S")
"""``Error: ...``, ``vllm serve: error: ...``, ``ValueError: ...``."""
_QUIET: Final = {
    "HF_HUB_OFFLINE": "1",  # a request may name any model: none is fetched
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_WAIT_POLICY: Final = "OMP_WAIT_POLICY"


def free_port(host: str, port: int, where: str) -> int:
    """The port, if a server can listen there; one that is free, where it is 0.

    :raises ConfigError: if it is taken, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(
                    socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
                )  # as servers do: a port that was just left is free
            probe.bind(place)
            probe.listen(1)
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"{where}: nothing can listen at {host} port {port}: {reason}. Give another --port, or 0 for a free one."
        ) from error


class ServerProcess:
    """A server that was started."""

    def __init__(
        self, command: Sequence[str], more: Mapping[str, str], *, home: Path, log: Path, clock: Clock
    ) -> None:  # fmt: skip
        """:param home: a private folder of the server, removed with it.

        :raises ConfigError: if the log cannot be written.
        :raises ServingError: if it cannot be started.
        """
        self._clock, self._log = clock, log
        self._guard = Guard()
        self.started_ns = clock.now_ns()
        try:
            output = log.open("wb")
        except OSError as error:
            raise ConfigError(f"--log: {log}: cannot be written: {error.strerror or error}.") from error
        try:
            with output:
                self._process = subprocess.Popen(
                    command, cwd=home, env={**server_environment(os.environ), **more}, stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, start_new_session=os.name == "posix",
                )  # fmt: skip
        except OSError as error:
            raise ServingError(f"{command[0]}: cannot be started: {error.strerror or error}.") from error
        self.pid = self._process.pid
        if os.name == "posix":
            self._guard.add(self.pid, str(home))

    @property
    def status(self) -> int | None:
        """Its exit status; None while it lives."""
        return self._process.poll()

    def wait_until_listening(self, port: int, until_ns: int) -> None:
        """Until one of its processes listens at the port: what somebody else answers there is not what we started.

        :raises ServingError: if it dies, or time is up.
        """
        while True:
            self.check_alive()
            if self._listens(port):
                return
            self.check_time(until_ns, "does not listen")
            self._clock.sleep(LOOK_EVERY_S)

    def check_alive(self) -> None:
        """:raises ServingError: if it has died, with the last thing that it said."""
        status = self.status
        if status is None:
            return
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with exit status {status}"
        raise ServingError(f"the server {how}{self.said}")

    def check_time(self, until_ns: int, what: str) -> None:
        """:raises ServingError: if time is up."""
        now = self._clock.now_ns()
        if now >= until_ns:
            spent = format_duration((now - self.started_ns) / 1e9)
            raise ServingError(f"the server {what} after {spent}; --timeout gives it more{self.said}")

    @property
    def said(self) -> str:
        """What it said in the end, to be put at the end of a message: the last line that names a fault, else the last one that holds a
        word. Some draw a frame around an error, others list all options behind it.
        """
        try:
            with self._log.open("rb") as output:
                output.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
                lines = [one_line(line).strip(_FRAME) for line in output.read().decode("utf-8", "replace").splitlines()]
        except OSError:
            return "; what it said cannot be read."
        last = next((line for line in reversed(lines) if any(map(str.isalnum, line))), "")
        fault = next((line for line in reversed(lines) if _FAULT.match(line)), last)
        if not last:
            return "; it said nothing."
        return f". {'Its last line' if fault == last else 'It said'}: {fault[:_LONGEST]}"

    def wait(self) -> int:
        """Until it ends by itself."""
        return self._process.wait()

    def stop(self) -> None:
        """End it and all that it started."""
        for number, grace in ((signal.SIGTERM, STOP_GRACE_S), (_KILL, STOP_GRACE_S)):
            self._signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
                break
        self._signal(_KILL)  # whoever of its group is left
        self._guard.drop(self.pid)
        self._guard.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.pid, number)
            else:
                self._process.terminate()

    def _listens(self, port: int) -> bool:
        import psutil

        for process in self._family():
            with contextlib.suppress(psutil.Error):
                for each in process.net_connections(kind="tcp"):
                    if each.status == psutil.CONN_LISTEN and each.laddr.port == port:
                        return True
        return False

    def _family(self) -> Iterator[Any]:
        import psutil

        with contextlib.suppress(psutil.Error):
            own = psutil.Process(self.pid)
            yield own
            yield from own.children(recursive=True)


_KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def server_environment(base: Mapping[str, str]) -> dict[str, str]:
    """What a server inherits: no keys, nothing of ours, no network of the hub.

    Its threads wait without spinning unless ``base`` says otherwise: the two of ``transformers serve`` took 19 times as long for a
    token on two cores as they took so, which is also how the model was measured.
    """
    kept = {name: value for name, value in base.items() if not is_secret_name(name) and not name.startswith("LLMCI_")}
    return {_WAIT_POLICY: "PASSIVE", **kept, **_QUIET}
