"""Prove that a run folder is what its session wrote, and name the first thing that is not.

In this order: the chain of the log with its footer; the manifest in itself and its signature; that the log is the one it
was made for; every file that it lists; the hashes of outputs; and that the derived files follow from the log. Up to the
files memory is constant. The last two need as much as a report, so that they are left out for a log of very many lines
unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeAlias

from ..errors import SchemaVersionError, StoreError
from ..store.log import LOG_NAME
from ..store.manifest import (
    MANIFEST_NAME,
    SIGNING_KEY,
    FileEntry,
    Manifest,
    describe_file,
    list_files,
    read_manifest,
)
from ..store.verify import Verification, verify_log
from ..text import how_many
from ..version import version
from .derived import DERIVED, Derivation, derive

REBUILT_UP_TO: Final = 50_000
"""Lines of a log up to which derived files are made anew unless that is asked for or refused."""
_NAMED: Final = 5

Signature: TypeAlias = Literal["none", "valid", "unchecked", "wrong"]
"""``none``: not signed; ``unchecked``: signed, and no key was given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What :func:`verify_run` found."""

    run: Path
    log: Verification
    manifest: Manifest | None
    """None where the folder has none, or none that can be read."""
    signature: Signature
    difference: str
    """The first thing that is not what was written, in one line; empty if there is none."""
    rebuilt: bool = False
    """Whether derived files were made anew."""
    shown: tuple[str, ...] = ()
    """What was proven besides the log, a line each."""
    notes: tuple[str, ...] = ()
    """What was not, and why, a line each."""

    @property
    def ok(self) -> bool:
        """True if nothing differs and the log is whole."""
        return not self.difference

    @property
    def doubts(self) -> tuple[str, ...]:
        """What vouches for the run less than it might, a line each."""
        return tuple(_doubts(self.manifest, self.signature))

    @property
    def message(self) -> str:
        """The finding in one line."""
        return self.difference or self.log.message


def verify_run(folder: Path, *, key: bytes | None = None, rebuild: bool | None = None) -> Proof:
    """Check a run folder.

    :param key: to check the signature with; a run that is not signed then fails.
    :param rebuild: whether derived files are made anew; None: up to :data:`REBUILT_UP_TO` lines.
    :raises SchemaVersionError: if log or manifest were written by a newer version.
    :raises StoreError: if the log cannot be read.
    """
    manifest, unreadable = _manifest(folder)
    with ThreadPoolExecutor(1) as pool:  # files are hashed on another core while the chain is walked
        listed = {entry.path: entry for entry in (manifest.files if manifest else ())}
        of_log = listed.pop(LOG_NAME, None)
        hashed = {path: pool.submit(_hashed, folder, entry) for path, entry in listed.items()}
        try:
            log = verify_log(folder / LOG_NAME)
            signature = _signature(manifest, key)
            difference = (
                ("" if log.ok else log.message)
                or unreadable
                or _in_manifest(folder, manifest, log)
                or _in_signature(folder, manifest, signature, key)
            )
            if difference:
                return Proof(run=folder, log=log, manifest=manifest, signature=signature, difference=difference)
            wanted = log.lines <= REBUILT_UP_TO if rebuild is None else rebuild
            if (
                wanted and of_log is not None
            ):  # its digest vouches for every byte; read again, a large one takes seconds
                hashed[LOG_NAME] = pool.submit(_hashed, folder, of_log)
            changed = _first_changed(hashed)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    derivation, unreadable = _derivation(folder) if wanted else (None, "")
    name, text = changed or ("", "")
    if unreadable:
        difference = unreadable
    elif changed:
        difference = f"{folder / name} {_named_place(name, text, derivation)}"
    elif derivation is not None:
        difference = _in_derived(folder, derivation, sealed=manifest is not None)
    return Proof(
        run=folder, log=log, manifest=manifest, signature=signature, difference=difference,
        rebuilt=derivation is not None, shown=tuple(_shown(manifest, signature, derivation)),
        notes=tuple(_notes(folder, manifest, signature, derivation)),
    )  # fmt: skip


def _derivation(folder: Path) -> tuple[Derivation | None, str]:
    """What the log gives, or why it gives nothing though its chain is whole: somebody computed it anew."""
    try:
        return derive(folder), ""
    except SchemaVersionError:
        raise
    except StoreError as error:
        return None, str(error)


def _manifest(folder: Path) -> tuple[Manifest | None, str]:
    try:
        return read_manifest(folder), ""
    except SchemaVersionError:
        raise
    except StoreError as error:
        return None, str(error)


def _signature(manifest: Manifest | None, key: bytes | None) -> Signature:
    if manifest is None or not manifest.signature:
        return "none"
    if key is None:
        return "unchecked"
    return "valid" if manifest.fits_key(key) else "wrong"


def _in_manifest(folder: Path, manifest: Manifest | None, log: Verification) -> str:
    if manifest is None:
        return ""
    path = folder / MANIFEST_NAME
    if manifest.digest() != manifest.run_digest:
        return f"{path}: its run digest does not fit what it lists"
    outside = next((entry.path for entry in manifest.files if not _is_inside(entry.path)), None)
    if outside is not None:
        return f"{path}: names '{outside}', which is no file of the run folder"
    if (manifest.log_digest, manifest.log_lines) != (log.digest, log.lines):
        return (
            f"{folder / LOG_NAME} is whole, but not the one that {MANIFEST_NAME} was made for: digest {log.digest[:16]} of"
            f" {log.lines} lines instead of {manifest.log_digest[:16]} of {manifest.log_lines}"
        )
    return ""


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path


def _in_signature(folder: Path, manifest: Manifest | None, signature: Signature, key: bytes | None) -> str:
    if signature == "wrong":
        return f"{folder / MANIFEST_NAME}: the signature is not that of the key in {SIGNING_KEY}"
    if key is not None and signature == "none":
        what = f"{folder / MANIFEST_NAME} is not signed" if manifest else f"{folder} has no {MANIFEST_NAME}"
        return f"{what}, and {SIGNING_KEY} is set, so that a signature is expected"
    return ""


def _hashed(folder: Path, entry: FileEntry) -> str:
    """How a file is not what its entry says, in a few words; empty if it is."""
    if not _is_inside(entry.path):
        return ""  # told of before
    path = folder / entry.path
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != entry.size:
        return f"is not what {MANIFEST_NAME} says: {size} bytes instead of {entry.size}"
    found = describe_file(folder, entry.path)
    for name in ("sha256", "md5"):
        is_, was = getattr(found, name), getattr(entry, name)
        if is_ != was:
            return f"is not what {MANIFEST_NAME} says: {name} {is_[:16]} instead of {was[:16]}"
    return ""


def _first_changed(hashed: dict[str, Future[str]]) -> tuple[str, str] | None:
    """Path and what is wrong with it of the first file that changed; derived files before others."""
    order = sorted(hashed, key=lambda path: (DERIVED.index(path) if path in DERIVED else len(DERIVED), path))
    return next(((path, text) for path in order if (text := hashed[path].result())), None)


def _named_place(name: str, text: str, derivation: Derivation | None) -> str:
    place = derivation.differences.get(name, "") if derivation else ""
    return f"is not what was written: {place}" if place else text


def _in_derived(folder: Path, derivation: Derivation, *, sealed: bool) -> str:
    """What does not follow from the log; nothing where another version may have written it otherwise."""
    if derivation.wrong_hash:
        return f"{folder}: {derivation.wrong_hash}"
    if sealed and derivation.version != version():
        return ""
    return next(
        (f"{folder / name} does not follow from the log: {place}" for name, place in derivation.differences.items()), ""
    )


def _shown(manifest: Manifest | None, signature: Signature, derivation: Derivation | None) -> Iterator[str]:
    if manifest is not None:
        yield f"{how_many(len(manifest.files), 'file')} as {MANIFEST_NAME} says"
    if derivation is not None:
        same = [name for name in DERIVED if name not in derivation.differences and name not in derivation.missing]
        if same:
            yield f"{_listed(same)} follow{'s' if len(same) == 1 else ''} from the log"
        if not derivation.redacted:
            yield f"{how_many(derivation.outputs, 'output')} with the hashes of their texts"
    if manifest is not None:
        signed = {"valid": f", signed with the key in {SIGNING_KEY}", "none": ", not signed"}.get(signature, ", signed")
        yield f"run digest {manifest.run_digest}{signed}"


def _notes(
    folder: Path, manifest: Manifest | None, signature: Signature, derivation: Derivation | None
) -> Iterator[str]:
    yield from _doubts(manifest, signature)
    if manifest and (more := sorted(set(list_files(folder)) - {entry.path for entry in manifest.files})):
        yield f"not in {MANIFEST_NAME}: {_listed(more)}"
    if derivation is None:
        yield "derived files were not made anew and output hashes not computed: --rebuild does"
        return
    if derivation.redacted:
        yield "the run keeps no texts: hashes of outputs cannot be computed"
    if derivation.missing and manifest is None:
        yield f"missing: {_listed(derivation.missing)}; llmci report writes them"
    if derivation.differences:
        yield (
            f"{_listed(list(derivation.differences))}: as pytest-llmci {derivation.version} wrote them; this version,"
            f" {version()}, writes them otherwise"
        )


def _doubts(manifest: Manifest | None, signature: Signature) -> Iterator[str]:
    if manifest is None:
        yield f"no {MANIFEST_NAME}: no file but the log vouches for itself; llmci report writes one"
    if signature == "unchecked":
        yield f"the signature could not be checked: {SIGNING_KEY} is not set"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown
