"""Facts of a machine, of settings and of a model as pairs of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ..records import Json
from ..text import one_line
from ..units import format_bytes, format_duration

MOST_VALUE: Final = 500
"""Characters of a value of the environment."""


def flat(facts: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as pairs of a dotted name and a text; quantities by the unit that ends their name.

    >>> list(flat({"git": {"dirty": True}, "load": [1, 2], "none": None}))
    [('git.dirty', 'yes'), ('load', '1, 2'), ('none', 'n/a')]
    >>> list(flat({"parts_ns": {"imports": 4391268871}, "limit_bytes": 2**30}))
    [('parts.imports', '4.39 s'), ('limit', '1 GiB')]
    """
    for name, value in facts.items():
        full = f"{prefix}{name}"
        unit = next((unit for unit in _WRITERS if f"{full}.".find(f"_{unit}.") > 0), "")
        if isinstance(value, dict):
            yield from flat(value, f"{full}.")
        elif unit and isinstance(value, (int, float)) and not isinstance(value, bool):
            yield one_line(f"{full}.".replace(f"_{unit}.", ".")[:-1]), _WRITERS[unit](value)
        else:
            yield one_line(full), cut(_plain(value))


_WRITERS: Final[Mapping[str, Callable[[float], str]]] = {
    "ns": lambda value: format_duration(value / 1e9),
    "bytes": format_bytes,
}
"""End of a name -> how its number is written."""


def _plain(value: Json) -> str:
    if value is None or value in ("", []):
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return one_line(str(value))


def cut(text: str) -> str:
    """The text, up to :data:`MOST_VALUE` characters of it."""
    return text if len(text) <= MOST_VALUE else f"{text[: MOST_VALUE - 3]}..."
