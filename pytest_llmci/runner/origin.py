"""Where the modules of a model's process came from: what proves that one side of a comparison ran the code that it is said to have run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from .import_path import library_folders

MOST_MODULES = 1000
"""That are recorded; a process with more of its user's own has something else wrong with it."""
_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_PACKAGE = os.path.realpath(os.path.dirname(os.path.dirname(__file__)))


def module_files(named: Iterable[str] = (), owned: Iterable[str] = ()) -> dict[str, str]:
    """The files of the modules that have been imported and are the user's: neither a library's nor ours.

    :param named: modules, together with the packages around them, that are listed wherever they are.
    :param owned: packages and modules without a dot: all that is in them is listed wherever it is.
    :returns: name -> absolute path with links resolved, in the order of the names.
    """
    libraries = tuple(os.path.realpath(folder) + os.sep for folder in library_folders())
    wanted = {name.rsplit(".", depth)[0] for name in named for depth in range(name.count(".") + 1)}
    tops = frozenset(owned)
    found: dict[str, str] = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name in ("__main__", "__mp_main__"):
            continue
        path = os.path.realpath(file)
        if not os.path.isabs(file) and not os.path.exists(path):
            continue  # no file at all: torch.ops says '_ops.py'
        is_asked_for = name in wanted or name.partition(".")[0] in tops
        # Debian's sitecustomize stands in the standard library as a link to /etc.
        is_library = path.startswith(libraries) or os.path.dirname(file) == _STANDARD_LIBRARY
        if path.startswith(_PACKAGE + os.sep) or (is_library and not is_asked_for):
            continue
        found[name] = path
        if len(found) == MOST_MODULES:
            break
    return found


def modules_now(_backend: object, *owned: str) -> dict[str, str]:
    """:func:`module_files` for ``llm.call``: what was imported only by an answer is among them."""
    return module_files(owned=owned)
