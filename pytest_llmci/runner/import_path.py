"""Where a model's process looks for modules: pytest's import path, or of it only what is the user's."""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_ZIPPED_LIBRARY = re.compile(r"python3\d+\.zip\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportPath:
    """Entries around those that the model's interpreter has by itself."""

    before: tuple[str, ...]
    behind: tuple[str, ...] = ()


def import_path_for(entries: Sequence[str], *, same_interpreter: bool) -> ImportPath:
    """What of pytest's import path a model's process is given.

    The same interpreter finds what pytest finds. Another one has libraries of its own, and ours would be of another version
    or not load at all: it gets the user's entries alone, on the side of the libraries where they were.

    :param entries: pytest's import path.
    """
    if same_interpreter:
        return ImportPath(before=tuple(entries))
    libraries, scripts = library_folders(), _normal(sysconfig.get_path("scripts"))
    before: list[str] = []
    behind: list[str] = []
    side = before
    for entry in entries:
        place = _normal(entry)
        if _is_library(place, libraries):
            side = behind
        elif place != scripts:  # where the command pytest lies, which its interpreter put there
            side.append(entry)
    return ImportPath(before=tuple(before), behind=tuple(behind))


def merged(path: ImportPath, own: Sequence[str]) -> list[str]:
    """The import path of a model's process.

    :param own: what its interpreter has by itself; the last one is our private directory, which stays last.
    """
    *libraries, ours = own
    found = dict.fromkeys([*path.before, *libraries, *path.behind])
    found.pop(ours, None)
    return [*found, ours]


@lru_cache(maxsize=1)
def library_folders() -> tuple[str, ...]:
    """Folders that hold the libraries of this interpreter and of its environment.

    Not simply all below ``sys.prefix``: where that is ``/usr``, a user's program may lie in ``/usr/src``.
    """
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = site.getsitepackages([sys.prefix, sys.base_prefix])
    return tuple({_normal(folder) for folder in (*named, *installed, site.getusersitepackages())})


def is_library(entry: str) -> bool:
    """Whether an entry of the import path belongs to this interpreter or its environment."""
    return _is_library(_normal(entry), library_folders())


def _is_library(place: str, libraries: tuple[str, ...]) -> bool:
    return bool(_ZIPPED_LIBRARY.search(place)) or any(
        place == folder or place.startswith(folder + os.sep) for folder in libraries
    )


def _normal(entry: str) -> str:
    return os.path.normcase(os.path.abspath(entry))
