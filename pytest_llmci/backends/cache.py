"""What the user cache directory is good for: digests of large files, and a lock between processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_REMEMBERED_FROM_BYTES = 2**20  # hashing less takes under a millisecond
_CHUNK_BYTES = 2**20


def file_sha256(path: Path, cache_dir: Path) -> str:
    """Hex sha256 of a file's bytes.

    The digest of a large file is remembered under its size, inode and times of change, since hashing gigabytes at each
    start of a model's process would count as load time. A file cannot be changed without a new ctime.

    :param cache_dir: where digests are remembered; unwritable is as good as empty.
    :raises OSError: if the file cannot be read.
    """
    if path.stat().st_size < _REMEMBERED_FROM_BYTES:
        return hash_file(path)
    known = _remembered(_memory_of(path, cache_dir), _stamp(path))
    if known is not None:
        return known
    digest = hash_file(path)
    remember_sha256(path, digest, cache_dir)
    return digest


def remember_sha256(path: Path, digest: str, cache_dir: Path) -> None:
    """Note a digest that is known already; where the cache cannot be written, nothing happens."""
    with contextlib.suppress(OSError):
        write_atomically(_memory_of(path, cache_dir), json.dumps({"stat": _stamp(path), "sha256": digest}))


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _memory_of(path: Path, cache_dir: Path) -> Path:
    return cache_dir / "digests" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()}.json"


def _remembered(memory: Path, stamp: list[int]) -> str | None:
    try:
        data = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict) or data.get("stat") != stamp:
        return None
    digest = data.get("sha256")
    return digest if isinstance(digest, str) else None


def hash_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read now."""
    return _digest_of(path, hashlib.sha256())


def git_sha1(path: Path) -> str:
    """What git calls a file of these bytes, read now."""
    return _digest_of(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))


def _digest_of(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def folder_sha256(folder: Path, cache_dir: Path) -> str:
    """One hex sha256 for a folder: over the sorted lines ``<sha256>  <relative path>`` of its files, hidden ones not.

    :raises OSError: if a file cannot be read.
    """
    lines = []
    for path in files_below(folder):
        relative = path.relative_to(folder)
        if not any(part.startswith(".") or part == "__pycache__" for part in relative.parts):
            lines.append(f"{file_sha256(path, cache_dir)}  {relative.as_posix()}\n")
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and of those below it, sorted; folders that are links are entered too, unless one leads back up."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        above = {parent.resolve() for parent in (here, *here.parents)}
        folders[:] = [each for each in folders if (here / each).resolve() not in above]
        found += [here / name for name in names if (here / name).is_file()]
    return sorted(found)


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees all of it or none.

    :raises OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock that dies with the process; no lock where the system has no ``fcntl``.

    :param path: the lock file, made if needed and left there.
    :param waiting: called once if another process holds it.
    :raises OSError: if the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            import fcntl
        except ImportError:
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks: entries appear by renaming, so the worst is work done twice
        yield  # closing the file lets go
