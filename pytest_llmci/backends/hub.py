"""Where the files of a Hugging Face repository lie on this machine. Standard library only: the parent asks too."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath

from ..records import ModelSpec
from .cache import files_below, git_sha1

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PATH_START = re.compile(r"(\.{1,2}[/\\]|[/\\~]|[A-Za-z]:[/\\])|\.{1,2}\Z")
_NOT_IN_A_NAME = re.compile(r"[^\w\-./]", re.ASCII)
LONGEST_NAME = 96
"""Characters of a repository's name, and of its owner's."""


def hub_cache_dir(environ: Mapping[str, str]) -> Path:
    """The folder in which ``huggingface_hub`` keeps what it downloads.

    :param environ: the environment to read, normally ``os.environ``.
    """
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(name):
            return _expanded(environ[name])
    if environ.get("HF_HOME"):
        return _expanded(environ["HF_HOME"]) / "hub"
    shared = environ.get("XDG_CACHE_HOME")
    return (_expanded(shared) if shared else Path("~/.cache").expanduser()) / "huggingface" / "hub"


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()


def looks_like_path(target: str) -> bool:
    """True where a target can only be meant as a file or folder, whether or not it is there.

    >>> looks_like_path("./model"), looks_like_path("model.gguf"), looks_like_path("openai/gpt")
    (True, True, False)
    """
    return _PATH_START.match(target) is not None or target.lower().endswith(".gguf")


def is_local(target: str) -> bool:
    """True where the target is a path, or names a folder that is there (as transformers itself decides)."""
    return looks_like_path(target) or Path(target).is_dir()


def is_commit(revision: str) -> bool:
    """True for a full commit hash, which nobody can move."""
    return _COMMIT.match(revision) is not None


def commit_of(cached_file: str) -> str:
    """The commit that a file in the hub cache belongs to (``.../snapshots/<commit>/...``); empty if not to be seen."""
    parts = PurePath(cached_file).parts
    for name, following in itertools.pairwise(parts):
        if name == "snapshots" and is_commit(following):
            return following
    return ""


def snapshot_files(snapshot: Path, sha256: Callable[[Path], str]) -> dict[str, str]:
    """Path in a snapshot -> checksum of the file: git's sha1 of small ones, sha256 of large ones.

    The large ones are taken at their names, as the hub's client keeps each under its checksum; the small ones are read.

    :param sha256: of a file's bytes, where the cache names it otherwise: without links, or behind some mirrors of the hub.
    :raises OSError: if a file cannot be read.
    """
    found = {}
    for path in files_below(snapshot):
        blob = path.readlink().name if path.is_symlink() else ""
        known = _SHA256.match(blob) or (is_commit(blob) and git_sha1(path) == blob)
        found[path.relative_to(snapshot).as_posix()] = blob if known else sha256(path)
    return found


def download_folders(spec: ModelSpec, environ: Mapping[str, str]) -> list[str]:
    """Folders that grow while the model downloads (files named ``*.incomplete``, then whole ones); none for local ones.

    :param environ: the environment of the model's process.
    """
    if not spec.target or is_local(spec.target):
        return []
    return [str(hub_cache_dir(environ) / f"models--{spec.target.replace('/', '--')}" / "blobs")]


def bytes_in(folders: Iterable[str]) -> int:
    """Bytes of all files directly in the folders; what is not there, or vanishes meanwhile, counts nothing."""
    total = 0
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat().st_size
    return total


def why_no_repository(target: str) -> str:
    """Why a text cannot be the name of a repository, by the rules of ``huggingface_hub``; empty if it can.

    Standard library only, so that it is known before anything is imported or asked.

    >>> why_no_repository("org/name"), why_no_repository("org/a b")
    ('', "its name holds ' ', and may hold ASCII letters, digits, '-', '_' and '.' alone")
    """
    if target.count("/") > 1:
        return f"its name has {target.count('/')} slashes, and may have one"
    foreign = _NOT_IN_A_NAME.search(target)
    if foreign:
        return f"its name holds {foreign[0]!r}, and may hold ASCII letters, digits, '-', '_' and '.' alone"
    for part in target.split("/"):
        if not part:
            return "a name is missing beside the slash"
        if len(part) > LONGEST_NAME:
            return f"'{part[:20]}...' has {len(part)} characters, and may have {LONGEST_NAME}"
        if part[0] in "-." or part[-1] in "-.":
            return "a name neither begins nor ends with '-' or '.'"
    for wrong in ("--", ".."):
        if wrong in target:
            return f"no name holds '{wrong}'"
    return "no name ends with '.git'" if target.endswith(".git") else ""
