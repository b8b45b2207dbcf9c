"""Which files a process of the reference imports: its import path, and the proof afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from ...errors import ConfigError
from ...records import Json
from ...runner.import_path import is_library
from ...store.checkout import Checkout
from .reference import Reference


def moved_path(sys_path: Sequence[str], checkout: Checkout, *, worktree_first: bool) -> tuple[str, ...]:
    """The import path with every entry in the repository replaced by its counterpart in the worktree.

    Each stays where it was, so that both sides prefer the same module where two have one name. What an editable install finds
    by a hook of the import system is found in the worktree first, too.

    :param worktree_first: put the worktree's entries before all others: an interpreter of another environment has installs of
        its own, which may be of this repository.
    """
    entries: list[str] = []
    for entry in chain(sys_path, _editable_folders()):
        is_folder = os.path.isabs(entry) or os.path.isdir(
            entry
        )  # others are names that a hook of an import system knows
        stays = not is_folder or _belongs_to_an_environment(Path(entry), checkout.root)
        moved = None if stays else checkout.inside(Path(entry))
        if moved is not None:
            entries.append(str(moved))
        elif entry in sys_path:
            entries.append(entry)
    if worktree_first:
        entries.sort(key=lambda entry: not Path(entry).is_relative_to(checkout.folder))
    return tuple(dict.fromkeys(entries))


def _editable_folders() -> Iterator[str]:
    """Folders in which the finders of setuptools' editable installs look: ``MAPPING`` of package to its folder."""
    for name, module in list(sys.modules.items()):
        mapping = getattr(module, "MAPPING", None) if name.startswith("__editable__") else None
        for package, place in mapping.items() if isinstance(mapping, dict) else ():
            if Path(place).stem == package.rpartition(".")[2]:
                yield str(Path(place).parents[package.count(".")])


def _belongs_to_an_environment(entry: Path, root: Path) -> bool:
    """Whether an entry is a library folder, or lies in a virtual environment that the repository contains."""
    if is_library(str(entry)):
        return True
    around = [entry, *entry.parents]
    return any(
        (folder / "pyvenv.cfg").is_file() or (folder / "conda-meta").is_dir()
        for folder in around
        if folder.is_relative_to(root)
    )


def own_modules(reference: Reference) -> tuple[str, ...]:
    """The packages and modules of the worktree that a process may import, without those that Python has itself."""
    found = {
        file.parent.name if file.name == "__init__.py" else file.stem
        for place in _places(reference)
        for file in chain(place.glob("*.py"), place.glob("*/__init__.py"))
    }
    return tuple(sorted(found - sys.stdlib_module_names - {"__init__"}))


def prove_origin(info: Mapping[str, Json], reference: Reference, root: Path) -> None:
    """Refuse a process of the reference that imported a module of the repository from elsewhere than the worktree.

    :param info: what the process said when it had loaded (``module_files``), or ``{"module_files": ...}`` of a later call of
        ``pytest_llmci.runner.origin:modules_now``.
    :param root: top of the repository.
    :raises ConfigError: naming the first such module; what was measured with it is no comparison.
    """
    files = info.get("module_files")
    if reference.folder is None or not isinstance(files, dict):
        return
    worktree, root = reference.folder.resolve(), root.resolve()
    for module, file in files.items():
        path = Path(str(file))
        if path.is_relative_to(worktree):
            continue
        if _is_own(path, root) or _has(module, _places(reference)):
            raise ConfigError(
                f"{reference.name}: its module '{module}' was loaded from {path}, not from the files of that commit, so that nothing would"
                " have been compared; have both sides find it in the repository (pythonpath in the settings of pytest) or uninstall the"
                " copy that comes first."
            )


def _places(reference: Reference) -> list[Path]:
    """Folders of the worktree in which modules may lie."""
    if reference.folder is None:
        return []
    worktree = reference.folder.resolve()
    places = [worktree, worktree / "src", *(Path(entry) for entry in reference.sys_path or ())]
    return [place for place in places if place.is_relative_to(worktree)]


def _is_own(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) and not _belongs_to_an_environment(path.parent, root)


def _has(module: str, places: Sequence[Path]) -> bool:
    """Whether one of the folders holds a module of that name."""
    stem = Path(*module.split("."))
    return any((place / stem / "__init__.py").is_file() or (place / f"{stem}.py").is_file() for place in places)
