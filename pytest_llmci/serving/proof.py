"""That the weights on this machine are those that were measured and promoted: every byte is read, no remembered digest counts."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final

from ..backends.cache import files_below, folder_sha256, git_sha1, hash_file, remember_sha256
from ..backends.hub import is_commit
from ..backends.packages import Foreign
from ..errors import ConfigError, WeightsChangedError
from ..promotion.pointer import ModelPointer
from ..promotion.weights import place_of

_SHOWN: Final = 16
_SHA1: Final = 40
_HUB: Final = ("transformers", "hf")
Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proven:
    """Weights that are what was promoted."""

    folder: Path
    """With config, tokenizer and weights."""
    how: str
    """How it is known, for people."""
    sha256: str
    """Of the weights; empty where the hub's own checksums were used."""
    stamps: Mapping[Path, Stamp] = field(repr=False)
    """What the system says of each file that a server reads, when it was hashed."""
    files: Mapping[str, Path] = field(default_factory=dict, repr=False)
    """Path in the folder -> the file itself, where a server must read no others; empty: it may read all of the folder."""

    def lay_out(self, place: Path) -> Path:
        """Make the place what a server is given: a link to the folder, or a folder of links to the files that were proven alone.

        :returns: the folder to load from.
        :raises OSError: if no link can be made there.
        """
        if not self.files:
            place.symlink_to(self.folder, target_is_directory=True)
            return self.folder
        for name, file in self.files.items():
            link = place / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
        return place

    def check_again(self, where: str) -> None:
        """Refuse what was written to since it was hashed, as while a server read it.

        :raises WeightsChangedError: naming the file.
        """
        now = _stamps(self.files.values() if self.files else _read_from(self.folder))
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
        return _prove_snapshot(pointer, where, say)
    if not pointer.sha256:
        raise ConfigError(
            f"{where}: {pointer.run_id} recorded no hash of '{spec.text}': nothing can be proven. Measure and promote it again."
        )
    if not place.exists():
        raise ConfigError(
            f"{where}: {place} (looked in {Path.cwd()}) is not there; '{spec.text}' was measured from it."
        )
    stamps = _stamps(_read_from(place))
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
    return Proven(folder=folder, how=how, sha256=found, stamps=_stamps(_read_from(folder)))


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


def _prove_snapshot(pointer: ModelPointer, where: str, say: Callable[[str], None]) -> Proven:
    """A commit of a hub repository in the hub's cache: the files that were measured, each by the checksum that was noted then."""
    from ..backends.packages import require

    if not is_commit(pointer.revision):
        raise ConfigError(
            f"{where}: {pointer.run_id} recorded neither a hash nor a commit of '{pointer.spec.text}': nothing can be proven."
        )
    _check_paths(pointer, where)
    hub = require("huggingface_hub", where)
    try:
        folder = _snapshot(pointer, hub)
    except Exception as error:  # the hub raises what requests, its own code and the system raise
        raise ConfigError(
            f"{where}: {pointer.spec.target}@{pointer.revision[:12]} cannot be had from the hub or its cache: {type(error).__name__}."
        ) from error
    say(f"hashing {folder}")
    try:
        return _proven_files(pointer, where, folder) if pointer.files else _proven_names(pointer, folder)
    except OSError as error:
        raise ConfigError(f"{where}: {error.filename}: cannot be read: {error.strerror or error}.") from error


def _snapshot(pointer: ModelPointer, hub: Foreign) -> Path:
    """Where the commit lies; the hub is asked only for what is not there."""
    which = {"revision": pointer.revision}
    if pointer.files:
        with contextlib.suppress(FileNotFoundError):  # the hub's own error for it is one
            folder = Path(hub.snapshot_download(pointer.spec.target, **which, local_files_only=True))
            if all((folder / name).is_file() for name in pointer.files):
                return folder
    wanted = [glob.escape(name) for name in pointer.files] or None
    return Path(hub.snapshot_download(pointer.spec.target, **which, allow_patterns=wanted))


def _proven_files(pointer: ModelPointer, where: str, folder: Path) -> Proven:
    """What was there when it was measured, and nothing else."""
    for path in (folder / name for name in pointer.files):
        if not path.is_file():
            raise ConfigError(
                f"{where}: {path} is not there, and {pointer.run_id} measured it; without HF_HUB_OFFLINE it is downloaded."
            )
    files = {name: (folder / name).resolve() for name in sorted(pointer.files)}
    stamps = _stamps(files.values())
    for name, path in files.items():
        found = _checksum(path, len(pointer.files[name]))
        if found != pointer.files[name]:
            raise WeightsChangedError(
                f"refused: {folder / name} is not what was promoted: checksum {found[:_SHOWN]} on this machine,"
                f" {pointer.files[name][:_SHOWN]} measured by {pointer.run_id}. Delete it and its blob from the hub's cache, and start"
                " again."
            )
    how = f"commit {pointer.revision[:12]} of {pointer.spec.target}, {len(files)} files by the checksums that {pointer.run_id} measured"
    return Proven(folder=folder, how=how, sha256="", stamps=stamps, files=files)


def _proven_names(pointer: ModelPointer, folder: Path) -> Proven:
    """A version from before the files were noted: each of them is whole by the name that it has in the cache, and no more is known."""
    files = files_below(folder)
    stamps = _stamps(files)
    for path in files:
        blob = path.resolve().name
        if not path.is_symlink() or _checksum(path, len(blob)) != blob:
            raise WeightsChangedError(
                f"refused: {path} is not what {pointer.spec.target}@{pointer.revision[:12]} holds by the checksum of the hub. Delete it"
                " from the hub's cache, and start again."
            )
    how = (
        f"commit {pointer.revision[:12]} of {pointer.spec.target}, {len(files)} files whole by the hub's checksums; not proven: that they"
        f" are those that were measured, of which {pointer.run_id} noted none (measure and promote again)"
    )
    return Proven(folder=folder, how=how, sha256="", stamps=stamps)


def _check_paths(pointer: ModelPointer, where: str) -> None:
    for name in pointer.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ConfigError(f"{where}: {pointer.run_id} names '{name}', which is no path in a repository.")


def _checksum(path: Path, digits: int) -> str:
    """Of a file, of the kind that has so many digits: git's sha1 of small ones, sha256 of large ones."""
    return git_sha1(path) if digits == _SHA1 else hash_file(path)


def _read_from(place: Path) -> list[Path]:
    """What a server may read: the file, or all of the folder."""
    return [place] if place.is_file() else files_below(place)


def _stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp:
    """All zero where it is not there any more."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
