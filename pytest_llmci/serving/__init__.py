"""A promoted model behind an existing server: its weights are proven, then the server is started and asked before it counts as ready.

The table names the servers; :func:`server_of` chooses one.
"""

from __future__ import annotations

from typing import Final

from ..errors import ConfigError, UnknownNameError
from ..registry import import_target
from .base import Server

SERVERS: Final[dict[str, str]] = {
    "vllm": "pytest_llmci.serving.vllm:VllmServer",
    "transformers": "pytest_llmci.serving.transformers_serve:TransformersServer",
}
"""Name -> where it is. ``auto`` takes the first one that is installed."""
AUTO: Final = "auto"


def server_of(name: str, where: str) -> Server:
    """The server of that name; with ``auto`` the first one that is installed.

    :param where: the option that names it, for messages.
    :raises UnknownNameError: if there is none of that name.
    :raises ConfigError: if it is not installed.
    """
    if name not in (AUTO, *SERVERS):
        raise UnknownNameError.build(where, "server", name, (AUTO, *SERVERS))
    lacking: list[str] = []
    for each in SERVERS if name == AUTO else (name,):
        server = _server(each)
        missing = server.missing()
        if not missing:
            return server
        lacking.append(f"{each}: {missing}")
    raise ConfigError(f"{where}: no server is installed ({'; '.join(lacking)}).")


def _server(name: str) -> Server:
    factory = import_target(SERVERS[name], f"server '{name}'")
    assert callable(factory)  # the table is ours
    server: Server = factory()
    return server
