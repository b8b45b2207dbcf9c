"""``manifest.json``: what every file of a run folder was when the run was finished, and one digest over all of it.

A file has its size, its sha256 and the md5 that DVC gives it. The run digest is sha256 over the rest of the manifest as
JSON with sorted keys and no spaces, so that anybody can compute it; a signature is HMAC-SHA256 of its 64 hex digits under
a key from the environment. The key is in no file and in no message.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..errors import SchemaVersionError, StoreError
from ..records import from_json, to_json
from .log import LOG_NAME
from .runfolder import replacing
from .spool import SPOOL_NAME

MANIFEST_NAME: Final = "manifest.json"
MANIFEST_VERSION: Final = 1
SIGNING_KEY: Final = "LLMCI_SIGNING_KEY"
"""The environment variable that holds the key."""
_PIECE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file of the run folder."""

    path: str
    """Relative to the run folder, with ``/``."""
    size: int
    """Bytes."""
    md5: str
    """As DVC gives it."""
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a run folder held."""

    manifest_version: int
    run: str
    """Id of the run."""
    log_lines: int
    """With the footer."""
    log_digest: str
    """Digest of the log's last line, which vouches for all of its bytes."""
    files: tuple[FileEntry, ...]
    """By path; neither the manifest itself, nor the spool, nor hidden files."""
    run_digest: str
    """As the file says it; :meth:`digest` computes it."""
    signature: str
    """Empty where the run is not signed."""

    def digest(self) -> str:
        """The run digest, computed."""
        data = {key: value for key, value in to_json(self).items() if key not in ("run_digest", "signature")}
        text = json.dumps(data, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def sealed(self, key: bytes | None) -> Manifest:
        """With its digest, and signed where there is a key."""
        digest = self.digest()
        return replace(self, run_digest=digest, signature=sign(digest, key) if key else "")

    def fits_key(self, key: bytes) -> bool:
        """Whether the signature is that of the computed digest."""
        return hmac.compare_digest(self.signature, sign(self.digest(), key))

    def entry(self, path: str) -> FileEntry | None:
        """The file of that path; None where it is not listed."""
        return next((entry for entry in self.files if entry.path == path), None)


def sign(digest: str, key: bytes) -> str:
    """HMAC-SHA256 of a run digest's 64 hex digits, as hex digits."""
    return hmac.new(key, digest.encode("ascii"), hashlib.sha256).hexdigest()


def signing_key(environment: Mapping[str, str]) -> bytes | None:
    """The key that the environment holds; None where it holds none."""
    text = environment.get(SIGNING_KEY, "").strip()
    return text.encode("utf-8", "surrogateescape") or None


def list_files(folder: Path) -> list[str]:
    """The files that a manifest of that folder lists, by path."""
    return sorted(path.relative_to(folder).as_posix() for path in _walk(folder) if not _apart(path, folder))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path


def _apart(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return parts[0] in (MANIFEST_NAME, SPOOL_NAME) or any(part.startswith(".") for part in parts)


def describe_file(folder: Path, path: str) -> FileEntry:
    """Size and hashes of a file. Memory: a megabyte.

    :raises StoreError: if it cannot be read.
    """
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    try:
        with (folder / path).open("rb", buffering=0) as stream:
            while piece := stream.read(_PIECE):
                md5.update(piece)
                sha256.update(piece)
                size += len(piece)
    except OSError as error:
        raise StoreError(f"{folder / path}: cannot be read: {error.strerror or error}.") from error
    return FileEntry(path=path, size=size, md5=md5.hexdigest(), sha256=sha256.hexdigest())


def seal(folder: Path, *, run: str, log_lines: int, log_digest: str, key: bytes | None = None) -> Manifest:
    """Write the manifest of a finished run over all files that it has now.

    :param key: to sign it with; None for no signature.
    :raises StoreError: if a file cannot be read or the manifest not be written.
    """
    files = tuple(describe_file(folder, path) for path in list_files(folder))
    manifest = Manifest(
        manifest_version=MANIFEST_VERSION, run=run, log_lines=log_lines, log_digest=log_digest, files=files,
        run_digest="", signature="",
    )  # fmt: skip
    return _write(folder, manifest.sealed(key))


def renew(
    folder: Path, written: Iterable[Path], *, run: str, log_lines: int, log_digest: str, log_changed: bool,
    key: bytes | None = None,
) -> str:  # fmt: skip
    """Bring a manifest up to date with files that were written since; where there is none, :func:`seal`.

    Entries of all other files stay, so that a file which somebody else changed is still found. A manifest that is signed
    stays as it is where it cannot be signed again; one that is not signed does not become so.

    :param written: files that were written just now; those outside of the folder are passed over.
    :param log_changed: whether the log itself was, as when it was recovered.
    :returns: why it was left as it is, in one line; empty where it is up to date.
    :raises StoreError: if it cannot be read or written.
    """
    there = read_manifest(folder)
    if there is None:
        seal(folder, run=run, log_lines=log_lines, log_digest=log_digest, key=key)
        return ""
    names = _inside(folder, written) | ({LOG_NAME} if log_changed else set())
    entries = {entry.path: entry for entry in there.files}
    entries.update({name: describe_file(folder, name) for name in names})
    fresh = replace(there, files=tuple(entries[path] for path in sorted(entries)))
    if log_changed:
        fresh = replace(fresh, log_lines=log_lines, log_digest=log_digest)
    if fresh.digest() == there.run_digest:
        return ""
    if there.signature and key is None:
        return f"{MANIFEST_NAME} is signed and was left as it is: set {SIGNING_KEY} to sign what was written now"
    if there.signature and key is not None and not there.fits_key(key):
        return f"{MANIFEST_NAME} was left as it is: its signature is not that of {SIGNING_KEY}; try llmci verify"
    _write(folder, fresh.sealed(key if there.signature else None))
    return ""


def _inside(folder: Path, written: Iterable[Path]) -> set[str]:
    top = folder.resolve()
    paths = [path.resolve() for path in written]
    listed: Collection[str] = list_files(folder)
    return {path.relative_to(top).as_posix() for path in paths if path.is_relative_to(top)} & set(listed)


def _write(folder: Path, manifest: Manifest) -> Manifest:
    path = folder / MANIFEST_NAME
    data = to_json(manifest)
    lines = ",\n".join(_dump(entry) for entry in data.pop("files"))
    try:
        with replacing(path) as stream:  # a file a line: a readable diff
            stream.write(f'{_dump(data)[:-1]},"files":[\n{lines}\n]}}\n')
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}.") from error
    return manifest


_dump: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a run folder; None where it has none.

    :raises SchemaVersionError: if a newer version wrote it.
    :raises StoreError: if it cannot be read as one.
    """
    path = folder / MANIFEST_NAME
    try:
        data: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise StoreError(
            f"{path} is no manifest of a run: {error}; llmci report writes a new one if it is gone."
        ) from None
    if not isinstance(data, dict):
        raise StoreError(f"{path} is no manifest of a run; llmci report writes a new one if it is gone.")
    version = data.get("manifest_version")
    if isinstance(version, int) and version > MANIFEST_VERSION:
        raise SchemaVersionError(
            f"{path} was written by a newer pytest-llmci (manifest version {version}, this one reads up to"
            f" {MANIFEST_VERSION}): pip install -U pytest-llmci"
        )
    if "signature" not in data and "run_digest" in data:
        raise StoreError(
            f"{path} lacks the key 'signature', which every manifest has, empty where it is not signed: it was changed after it was written"
        )
    try:
        return from_json(Manifest, data)
    except StoreError as error:
        raise StoreError(f"{path} is no manifest of a run: {error}") from None
