"""That the weights on this machine are those that were measured and promoted: every byte is read, no remembered digest counts."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ..backends.cache import folder_sha256, hash_file, remember_sha256
from ..backends.hub import is_commit
from ..errors import ConfigError, WeightsChangedError
from ..promotion.pointer import ModelPointer
from ..promotion.weights import place_of

_SHOWN: Final = 16
_PIECE: Final = 1 << 20
_SHA1: Final = 40
_HUB: Final = ("transformers", "hf")
Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proven:
    """Weights that are what was promoted."""

    folder: Path
    """What a server is given: config, tokenizer and weights."""
    how: str
    """How it is known, for people."""
    sha256: str
    """Of the weights; empty where the hub's own checksums were used."""
    stamps: Mapping[Path, Stamp] = field(repr=False)
    """What the system says of each file that a server reads, when it was hashed."""

    def check_again(self, where: str) -> None:
        """Refuse what was written to since it was hashed, as while a server read it.

        :raises WeightsChangedError: naming the file.
        """
        now = _stamps(self.folder)
        for path in sorted({*now, *self.stamps}):
            if now.get(path) != self.stamps.get(path):
                raise WeightsChangedError(f"{where}: {path} was changed while the server loaded it. Start again.")


def prove(pointer: ModelPointer, where: str, cache_dir: Path, say: Callable[[str], None]) -> Proven:
    """Hash what is on this machine, and compare it with what was promoted.

    :param where: what is served, for messages.
    :param cache_dir: where conversions of GGUF files are kept.
    :param say: gets a line when something slow begins.
    :raises WeightsChangedError: if it is something else.
    :raises ConfigError: if there is nothing to prove it by, no weights are here, or no server takes such a model.
    """
    spec = pointer.spec
    if spec.backend not in (*_HUB, "smollm2"):
        raise ConfigError(
            f"{where}: '{spec.text}' has no weights that a server could load; model sources with weights are served only."
        )
    place = place_of(spec)
    if place is None:
        return _prove_snapshot(pointer, where)
    if not pointer.sha256:
        raise ConfigError(
            f"{where}: {pointer.run_id} recorded no hash of '{spec.text}': nothing can be proven. Measure and promote it again."
        )
    if not place.exists():
        raise ConfigError(
            f"{where}: {place} (looked in {Path.cwd()}) is not there; '{spec.text}' was measured from it."
        )
    stamps = _stamps(place)
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-proof-") as nothing:  # remembers no digest
            say(f"hashing {place}")
            found = folder_sha256(place, Path(nothing)) if place.is_dir() else hash_file(place)
    except OSError as error:
        raise ConfigError(f"{where}: {place}: cannot be read: {error.strerror or error}.") from error
    if found != pointer.sha256:
        raise WeightsChangedError(
            f"refused: {place} is not what was promoted: sha256 {found[:_SHOWN]} on this machine, {pointer.sha256[:_SHOWN]} measured by"
            f" {pointer.run_id}. Restore it, or measure and promote what is there."
        )
    how = f"sha256 of the {pointer.sha256_of} {found[:_SHOWN]}, as {pointer.run_id} measured it"
    if place.is_dir():
        return Proven(
            folder=place.resolve(),
            how=how,
            sha256=found,
            stamps={place.resolve() / path.relative_to(place): stamp for path, stamp in stamps.items()},
        )
    folder = _converted(place, pointer, where, cache_dir, say)
    return Proven(folder=folder, how=how, sha256=found, stamps=_stamps(folder))


def _converted(file: Path, pointer: ModelPointer, where: str, cache_dir: Path, say: Callable[[str], None]) -> Path:
    """The unpacked form of a GGUF file, as the model was measured, whole by the list of its files."""
    from ..backends.gguf import convert_in_child, ensure_converted, is_whole
    from ..backends.packages import require_installed

    require_installed(("torch", "transformers"), where)
    remember_sha256(
        file, pointer.sha256, cache_dir
    )  # it was just hashed: what the cache remembers may be of other bytes
    dtype = str(pointer.facts.get("dtype") or "float32")
    made = ensure_converted(
        file,
        dtype=dtype,
        version=f"tf{version('transformers')}",
        cache_dir=cache_dir,
        say=say,
        convert=convert_in_child,
    )
    if made.temporary:
        shutil.rmtree(made.folder, ignore_errors=True)
        raise ConfigError(
            f"{where}: {file} cannot be unpacked into {cache_dir}; set LLMCI_CACHE_DIR to a folder with room."
        )
    with tempfile.TemporaryDirectory(prefix="llmci-proof-") as nothing:
        if not is_whole(made.folder, Path(nothing)):
            raise WeightsChangedError(
                f"{where}: {made.folder} is not what was unpacked from {file}. Delete it, and start again."
            )
    return made.folder


def _prove_snapshot(pointer: ModelPointer, where: str) -> Proven:
    """A commit of a hub repository in the hub's cache, whose files are named by their checksums."""
    from ..backends.packages import require

    commit = pointer.revision
    if not is_commit(commit):
        raise ConfigError(
            f"{where}: {pointer.run_id} recorded neither a hash nor a commit of '{pointer.spec.text}': nothing can be proven."
        )
    hub = require("huggingface_hub", where)
    try:
        folder = Path(hub.snapshot_download(pointer.spec.target, revision=commit))
    except Exception as error:  # the hub raises what requests, its own code and the system raise
        raise ConfigError(
            f"{where}: {pointer.spec.target}@{commit[:12]} cannot be had from the hub or its cache: {type(error).__name__}."
        ) from error
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        blob = path.resolve().name
        if not path.is_symlink() or _checksum(path, blob) != blob:
            raise WeightsChangedError(
                f"refused: {path} is not what {pointer.spec.target}@{commit[:12]} holds by the checksum of the hub. Delete it from the"
                " hub's cache, and start again."
            )
    how = f"commit {commit[:12]} of {pointer.spec.target}, {len(files)} files by the hub's checksums"
    return Proven(folder=folder, how=how, sha256="", stamps=_stamps(folder))


def _checksum(path: Path, name: str) -> str:
    """Of a file, of the kind that its name has: git's sha1 of small ones, sha256 of large ones."""
    if len(name) != _SHA1:
        return hash_file(path)
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _stamps(place: Path) -> dict[Path, Stamp]:
    paths = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
