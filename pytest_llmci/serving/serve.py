"""``llmci serve``: a promoted model proven, started, asked, and only then called ready."""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..backends.load_options import read_options
from ..backends.transformers import TransformersBackend
from ..clock import Clock, SystemClock
from ..engine.cache_dir import user_cache_dir
from ..errors import ConfigError, ServingError
from ..promotion.champion import Promoted
from ..records import Json
from . import AUTO, server_of
from .base import Address, Launch
from .process import LOOK_EVERY_S, ServerProcess, free_port
from .proof import Proven, prove
from .request import NotYet, Reply, ask

WHERE: Final = "serve"
LOOPBACK: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000
DEFAULT_TIMEOUT_S: Final = 600.0
AGAIN_S: Final = 60.0
_ALL: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104  # recognised, not listened at
"""Stands for every address of the machine -> the one that this machine asks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How it is to be served."""

    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    """0: one that is free."""
    server: str = AUTO
    device: str = ""
    """Empty: as the model's spec says, else the server's choice."""
    timeout_s: float = DEFAULT_TIMEOUT_S
    """From the start of the server until it has answered."""
    log: Path | None = None
    """Where the server's output goes; None: nowhere that stays."""
    arguments: tuple[str, ...] = ()
    """More of the server's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A server that answers."""

    promoted: Promoted
    proven: Proven
    server: str
    """Kind and version."""
    model: str
    """What requests call it."""
    address: Address
    started_s: float
    """From the start of its process until it listened."""
    first_request_s: float
    """One token, cold: from sending the first request that was answered to the last byte of the answer."""
    second_request_s: float
    """The same again."""
    process: ServerProcess = field(repr=False)

    @property
    def data(self) -> dict[str, Json]:
        """For JSON."""
        version, pointer = self.promoted.version, self.promoted.pointer
        return {
            "name": version.name, "version": version.number, "spec": pointer.spec.text, "run_id": pointer.run_id,
            "sha256": self.proven.sha256, "proof": self.proven.how, "folder": str(self.proven.folder), "server": self.server,
            "model": self.model, "url": self.address.url, "pid": self.process.pid, "started_s": self.started_s,
            "first_request_s": self.first_request_s, "second_request_s": self.second_request_s,
        }  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens there.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("example.org")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def serving(
    found: Promoted, wanted: Wanted, *, say: Callable[[str], None] = lambda _: None, clock: Clock | None = None,
    cache_dir: Path | None = None,
) -> Iterator[Serving]:  # fmt: skip
    """Serve a promoted model; the server ends with the block, and with this process however that ends.

    :param say: gets a line for each step.
    :param cache_dir: where conversions are kept; the user's cache if None.
    :raises WeightsChangedError: if the weights are not what was promoted.
    :raises ConfigError: if it cannot be served, the port is taken or no server is installed.
    :raises ServingError: if the server dies, or is not ready in time.
    """
    clock = clock or SystemClock()
    server = server_of(wanted.server, f"{WHERE} --server")
    if wanted.device and not server.takes_device:
        raise ConfigError(
            f"{WHERE} --device: {server.name} computes on the kind of device that it was built for; leave --device out, or give"
            " --server=transformers."
        )
    address = _address(wanted)
    proven = prove(found.pointer, WHERE, cache_dir or user_cache_dir(), say)
    say(proven.how)
    home = Path(tempfile.mkdtemp(prefix="llmci-serve-"))
    try:
        launch = _launch(found, wanted, proven, address, home)
        say(f"starting {server.name}")
        process = ServerProcess(
            server.command(launch),
            server.environment(launch),
            home=home,
            log=wanted.log or home / "server.log",
            clock=clock,
        )
        try:
            until = process.started_ns + round(wanted.timeout_s * 1e9)
            process.wait_until_listening(address.port, until)
            started_s = (clock.now_ns() - process.started_ns) / 1e9
            first = _first(process, address, launch.name, clock, until)
            proven.check_again(WHERE)
            second = _again(process, address, launch.name, clock, first)
            yield Serving(
                promoted=found, proven=proven, server=server.name, model=launch.name, address=address, started_s=started_s,
                first_request_s=first.seconds, second_request_s=second.seconds, process=process,
            )  # fmt: skip
        finally:
            process.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _address(wanted: Wanted) -> Address:
    port = free_port(wanted.host, wanted.port, WHERE)
    return Address(host=wanted.host, port=port, asked=_ALL.get(wanted.host, wanted.host))


def _launch(found: Promoted, wanted: Wanted, proven: Proven, address: Address, home: Path) -> Launch:
    spec, facts = found.pointer.spec, found.pointer.facts
    options = read_options(spec, TransformersBackend.OPTIONS)
    name = found.version.name
    try:
        folder = proven.lay_out(home / name)
    except OSError as error:
        raise ConfigError(f"{WHERE}: no link can be made in {home}: {error.strerror or error}.") from error
    dtype = facts.get("dtype")
    return Launch(
        name=name, home=home, folder=folder, host=address.host, port=address.port, dtype=dtype if isinstance(dtype, str) else "",
        attention=options.attention, device=wanted.device or options.device, remote_code=options.remote_code, arguments=wanted.arguments,
    )  # fmt: skip


def _first(process: ServerProcess, address: Address, model: str, clock: Clock, until: int) -> Reply:
    """The first request that is answered."""
    while True:
        try:
            return ask(address, model, clock, max(0.1, (until - clock.now_ns()) / 1e9))
        except NotYet:
            process.check_alive()
            process.check_time(until, "does not answer a request for one token")
            clock.sleep(LOOK_EVERY_S)


def _again(process: ServerProcess, address: Address, model: str, clock: Clock, first: Reply) -> Reply:
    """The same request once more; it gets as long as the first one took, and a minute."""
    try:
        return ask(address, model, clock, first.seconds + AGAIN_S, first.path)
    except NotYet as error:
        process.check_alive()
        raise ServingError(f"the server answered once and then no more: {error}{process.said}") from error
