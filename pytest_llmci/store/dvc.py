"""DVC's files, read and written without DVC: pointers (``NAME.dvc``), stages (``dvc.yaml``, ``dvc.lock``), cache and remotes.

A pointer of a file holds the md5 of its bytes, one of a folder the md5 of its listing with ``.dir`` behind it: the JSON of
``[{"md5": ..., "relpath": ...}, ...]`` by path, as it lies in the cache.
"""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any, Final

from ..errors import StoreError
from .manifest import FileEntry

POINTER_SUFFIX: Final = ".dvc"
STAGES_NAME: Final = "dvc.yaml"
LOCK_NAME: Final = "dvc.lock"
_DIR: Final = ".dir"
_SPECIAL: Final = frozenset(":{}[],&*#?|-<>=!%@`'\" \t")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """What DVC keeps of a file or a folder."""

    path: Path
    """Where it lies when it is checked out."""
    md5: str
    """Without ``.dir``."""
    is_folder: bool
    said_in: Path
    """The pointer or lock file that says so."""


def pointer_text(name: str, files: Sequence[FileEntry]) -> str:
    """The text of ``NAME.dvc`` for a folder, as ``dvc add NAME`` writes it.

    :param name: of the folder, beside the pointer.
    :param files: all that it holds.
    """
    if not name or set(name) & _SPECIAL or not name.isascii():
        raise ValueError(f"{name!r} is no plain name")  # YAML would want quotes
    return (
        f"outs:\n- md5: {folder_md5(files)}{_DIR}\n  size: {sum(entry.size for entry in files)}\n  nfiles: {len(files)}\n"
        f"  hash: md5\n  path: {name}\n"
    )


def folder_md5(files: Sequence[FileEntry]) -> str:
    """What DVC takes for the md5 of a folder with these files."""
    return md5(_listing(files), usedforsecurity=False).hexdigest()


def _listing(files: Sequence[FileEntry]) -> bytes:
    rows = [{"md5": entry.md5, "relpath": entry.path} for entry in sorted(files, key=lambda entry: entry.path)]
    return json.dumps(rows, sort_keys=True).encode("ascii")


def read_pointer(path: Path) -> list[Tracked]:
    """What a ``.dvc`` file tracks.

    :raises StoreError: if it is none.
    """
    outs = _mapping(path).get("outs")
    found = [_tracked(path, out, path.parent) for out in outs] if isinstance(outs, list) else []
    if not found:
        raise StoreError(f"{path} is no pointer of DVC: it has no outs.")
    return found


def read_lock(path: Path) -> list[Tracked]:
    """What the stages of a ``dvc.lock`` gave.

    :raises StoreError: if it cannot be read as one.
    """
    stages = _mapping(path).get("stages")
    lists = [stage.get("outs") or [] for stage in stages.values()] if isinstance(stages, dict) else []
    return [_tracked(path, out, path.parent) for outs in lists for out in outs]


def _tracked(path: Path, out: Any, folder: Path) -> Tracked:
    value = out.get("md5") if isinstance(out, dict) else None
    if not isinstance(value, str) or not isinstance(out.get("path"), str):
        raise StoreError(f"{path}: an entry without md5 and path, as 'dvc add' writes them.")
    return Tracked(
        path=folder / out["path"], md5=value.removesuffix(_DIR), is_folder=value.endswith(_DIR), said_in=path
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise StoreError(f"{path}: is no YAML: {' '.join(str(error).split())}.") from error
    return data if isinstance(data, dict) else {}


# ------------------------------------------------------------------------------------------------------------ repository


def repository_of(path: Path) -> Path | None:
    """The folder of the DVC repository that holds a path; None where there is none."""
    return next((folder for folder in _upwards(path) if (folder / ".dvc").is_dir()), None)


def _upwards(path: Path) -> Iterator[Path]:
    full = Path(os.path.abspath(path))  # not through links, as DVC
    yield full
    yield from full.parents


def stage_that_makes(path: Path) -> str:
    """``FILE: stage`` of the stage whose output a path is; empty where no stage in the folders above it makes it.

    :raises StoreError: if one of their ``dvc.yaml`` cannot be read.
    """
    top, full = repository_of(path), Path(os.path.abspath(path))
    for folder in _upwards(path.parent):
        file = folder / STAGES_NAME
        stages = _mapping(file).get("stages") if file.is_file() else None
        for name, stage in stages.items() if isinstance(stages, dict) else ():
            if full in _outputs(stage, folder):
                return f"{file}: stage {name}"
        if folder == top:
            break
    return ""


def _outputs(stage: Any, folder: Path) -> set[Path]:
    body = stage.get("do", stage) if isinstance(stage, dict) else {}
    entries = body.get("outs") or [] if isinstance(body, dict) else []
    names = [next(iter(entry), "") if isinstance(entry, dict) else entry for entry in entries]
    place = folder / str(body.get("wdir") or ".") if isinstance(body, dict) else folder
    return {Path(os.path.normpath(place / str(name))) for name in names}


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """A place where DVC keeps files by their md5."""

    name: str
    """``cache``, or ``remote 'NAME'``."""
    folder: Path

    def file(self, value: str, *, is_folder: bool = False) -> Path:
        """Where the file of that md5 lies, or the listing of the folder."""
        return self.folder / "files" / "md5" / value[:2] / f"{value[2:]}{_DIR if is_folder else ''}"

    def listing(self, value: str) -> dict[str, str] | None:
        """Path -> md5 of the files of a folder; None where the listing is not there.

        :raises StoreError: if it is not what its name says.
        """
        path = self.file(value, is_folder=True)
        if not path.is_file():
            return None
        content = path.read_bytes()
        if md5(content, usedforsecurity=False).hexdigest() != value:
            raise StoreError(f"{path}: DVC's {self.name} holds a listing whose md5 is not its name")
        return {row["relpath"]: row["md5"] for row in json.loads(content)}


def storages(repository: Path) -> list[Storage]:
    """The cache of a DVC repository and its remotes on this machine.

    :raises StoreError: if its configuration cannot be read.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    folder = repository / ".dvc"
    try:
        parser.read([folder / "config", folder / "config.local"], encoding="utf-8")
    except (configparser.Error, OSError, ValueError) as error:
        raise StoreError(f"{folder / 'config'}: cannot be read: {' '.join(str(error).split())}.") from error
    cache = parser.get("cache", "dir", fallback="cache")
    found = [Storage(name="cache", folder=folder / cache)]
    for section in parser.sections():
        kind, _, name = section.strip("'").partition(" ")
        url = parser.get(section, "url", fallback="")
        if kind == "remote" and url and "://" not in url:
            found.append(Storage(name=f"remote {name.strip(chr(34))!r}", folder=folder / os.path.expanduser(url)))
    return [storage for storage in found if storage.folder.is_dir()]
