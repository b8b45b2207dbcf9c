"""What a server is to us: a command that listens at an address and speaks OpenAI's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What is to be served, and where."""

    name: str
    """What requests call the model; also the name of a link to its folder in ``home``."""
    home: Path
    """A private folder: the working directory of the server."""
    folder: Path
    """With config, tokenizer and weights."""
    host: str
    port: int
    dtype: str = ""
    """That the model was measured in; empty: as the weights are."""
    attention: str = ""
    """Implementation; empty: the server's own choice."""
    device: str = "auto"
    remote_code: bool = False
    arguments: tuple[str, ...] = ()
    """More of the server's own, as they are."""


class Server(Protocol):
    """One kind of server."""

    takes_device: bool
    """Whether it can be told on which device to compute."""

    @property
    def name(self) -> str:
        """Kind and version, for people."""

    def missing(self) -> str:
        """What has to be installed; empty if nothing."""

    def command(self, launch: Launch) -> list[str]:
        """What starts it in the foreground."""

    def environment(self, launch: Launch, /) -> Mapping[str, str]:
        """Variables that it needs beside those of this process; what they name lies in the private folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int
    asked: str = field(default="", repr=False)
    """The host that a client of this machine asks: a loopback address where ``host`` stands for all of them."""

    @property
    def url(self) -> str:
        """With the path below which OpenAI's protocol lies."""
        return f"http://{bracketed(self.host)}:{self.port}/v1"

    @property
    def own_url(self) -> str:
        """The same for a client of this machine."""
        return f"http://{bracketed(self.asked or self.host)}:{self.port}/v1"


def bracketed(host: str) -> str:
    """A host as it stands in an address.

    >>> bracketed("::1"), bracketed("127.0.0.1")
    ('[::1]', '127.0.0.1')
    """
    return f"[{host}]" if ":" in host else host
