"""Whether what DVC tracks is this run: pointers or lock files, the files in git beside them, the copy, the cache, remotes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..engine.reports.report_builder import build_report
from ..errors import ConfigError
from ..sinks.dvc import FOLDER, METRICS_NAME, PLOTS_NAME, RUN_NAME, write_plots
from ..store.dvc import (
    LOCK_NAME,
    POINTER_SUFFIX,
    Storage,
    Tracked,
    folder_md5,
    read_lock,
    read_pointer,
    repository_of,
    storages,
)
from ..store.manifest import MANIFEST_NAME, FileEntry, describe_file, list_files
from ..store.runfolder import replacing
from .against import Against, of_the_run
from .derived import first_difference

_SHORT: Final = 12


def against_dvc(run: Path, target: str = "", *, plots: bool = True) -> Against:
    """Compare a run folder with what DVC tracks.

    :param target: a ``.dvc`` file, or the folder of the sink ``dvc``; empty: pointers beside the run and in it, or
        ``llmci-dvc`` in the working directory.
    :param plots: whether plots.csv is made anew and compared, which needs as much memory as a report.
    :raises ConfigError: if nothing there tracks a run.
    :raises StoreError: if a file of DVC cannot be read.
    """
    place, tracked = _find(run, target)
    comparison = _Comparison(run=run)
    for one in tracked:
        comparison.pointer(one)
    if place is not None:
        comparison.beside(place, plots=plots)
    for one in tracked:
        comparison.kept(one)
    return comparison.result()


def _find(run: Path, target: str) -> tuple[Path | None, list[Tracked]]:
    if target.endswith(POINTER_SUFFIX):
        path = Path(os.path.expanduser(target))
        if not path.is_file():
            raise ConfigError(f"--against: there is no pointer '{path}'; dvc add or --llmci-sink=dvc writes one.")
        return None, read_pointer(path)
    pointers = [run.with_name(run.name + POINTER_SUFFIX), *sorted(run.glob(f"*{POINTER_SUFFIX}"))]
    if not target and (there := [path for path in pointers if path.is_file()]):
        return None, [one for path in there for one in read_pointer(path)]
    place = Path(os.path.expanduser(target or FOLDER))
    copy = place / RUN_NAME
    pointer = copy.with_name(copy.name + POINTER_SUFFIX)
    found = read_pointer(pointer) if pointer.is_file() else list(_locked(copy))
    if not found:
        raise ConfigError(
            f"--against: neither {pointer} nor a {LOCK_NAME} tracks a run; write it with: llmci report RUN --sink dvc:{place}"
        )
    return place, found


def _locked(copy: Path) -> Iterator[Tracked]:
    full = Path(os.path.abspath(copy))
    top = repository_of(copy)
    for folder in full.parents:
        if (folder / LOCK_NAME).is_file():
            for one in read_lock(folder / LOCK_NAME):
                if Path(os.path.abspath(one.path)) == full:
                    yield one
        if folder == top:
            return


@dataclass(kw_only=True, slots=True)
class _Comparison:
    run: Path
    difference: str = ""
    shown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _files: list[FileEntry] | None = None

    def result(self) -> Against:
        return Against(difference=self.difference, shown=tuple(self.shown), notes=tuple(self.notes))

    def _differs(self, text: str) -> None:
        self.difference = self.difference or text

    @property
    def files(self) -> list[FileEntry]:
        """What a copy of the run holds."""
        if self._files is None:
            names = [*list_files(self.run), *([MANIFEST_NAME] if (self.run / MANIFEST_NAME).is_file() else [])]
            self._files = [describe_file(self.run, name) for name in sorted(names)]
        return self._files

    def pointer(self, one: Tracked) -> None:
        """Whether a pointer stands for the run."""
        if not one.is_folder:
            entry = next((entry for entry in self.files if entry.path == one.path.name), None)
            if entry is None:
                self._differs(f"{one.said_in} tracks {one.path.name}, which {self.run} does not hold")
            elif entry.md5 != one.md5:
                self._differs(f"{one.said_in} {_of_another(one.path.name, one.md5, entry.md5)}")
            else:
                self.shown.append(f"{one.said_in} tracks {one.path.name} of this run (md5 {one.md5})")
            return
        found = folder_md5(self.files)
        if found == one.md5:
            self.shown.append(f"{one.said_in} tracks this run ({len(self.files)} files, md5 {one.md5}.dir)")
        else:
            self._differs(f"{one.said_in} {self._first_other(one, found)}")

    def _first_other(self, one: Tracked, found: str) -> str:
        listing = next(filter(None, (storage.listing(one.md5) for storage in _storages(one))), None)
        if listing is None and one.path.is_dir():  # not in the cache yet: the copy itself may be what is tracked
            copy = _described(one.path)
            listing = {entry.path: entry.md5 for entry in copy} if folder_md5(copy) == one.md5 else None
        if listing is None:
            return f"tracks md5 {one.md5}.dir, and this run has {found}.dir; which file differs is not known, as DVC's cache has no listing"
        return next(_differences(listing, self.files), "tracks the same files under another md5")

    def beside(self, place: Path, *, plots: bool) -> None:
        """The files that git keeps beside the pointer."""
        metrics = place / METRICS_NAME
        if not self.difference and metrics.is_file() and (self.run / METRICS_NAME).is_file():
            if text := first_difference(metrics, self.run / METRICS_NAME):
                self._differs(f"{metrics} is not that of this run: {of_the_run(text)}")
            else:
                self.shown.append(f"{metrics} is that of this run")
        table = place / PLOTS_NAME
        if not self.difference and plots and table.is_file():
            if text := self._in_plots(table):
                self._differs(f"{table} is not that of this run: {of_the_run(text)}")
            else:
                self.shown.append(f"{table} is that of this run")

    def _in_plots(self, table: Path) -> str:
        import tempfile

        with tempfile.TemporaryDirectory(prefix="llmci-verify-") as folder:
            expected = Path(folder) / PLOTS_NAME
            with replacing(expected) as stream:
                write_plots(stream, build_report(self.run))
            return first_difference(table, expected)

    def kept(self, one: Tracked) -> None:
        """The copy in the working directory, and what cache and remotes hold."""
        if self.difference:
            return
        if one.is_folder and one.path.is_dir():
            copy = {entry.path: entry.md5 for entry in _described(one.path)}
            if (text := next(_differences(copy, self.files), None)) is not None:
                self._differs(f"{one.path} {text}")
                return
            self.shown.append(f"{one.path} holds the same {len(copy)} files")
        found = _storages(one)
        if not found and repository_of(one.said_in):
            self.notes.append(
                f"DVC holds nothing here yet, neither in its cache nor in a remote on this machine: dvc commit {one.said_in}"
            )
        elif not found:
            self.notes.append("no DVC repository here: neither cache nor remote was looked at")
        for storage in found:
            self._stored(one, storage)

    def _stored(self, one: Tracked, storage: Storage) -> None:
        if self.difference:
            return
        listing = storage.listing(one.md5) if one.is_folder else {one.path.name: one.md5}
        missing = [name for name, md5 in (listing or {}).items() if not storage.file(md5).is_file()]
        if listing is None or missing:
            what = "the run" if listing is None else missing[0]
            advice = f"dvc commit {one.said_in}" if storage.name == "cache" else "dvc push"
            self.notes.append(f"DVC's {storage.name} does not hold {what} yet: {advice}")
            return
        for name, md5 in listing.items():
            path = storage.file(md5)
            if describe_file(path.parent, path.name).md5 != md5:
                self._differs(f"DVC's {storage.name} holds other bytes than were put there for {name}: {path}")
                return
        self.shown.append(f"DVC's {storage.name} holds all of it, byte for byte")


def _storages(one: Tracked) -> list[Storage]:
    repository = repository_of(one.said_in)
    return storages(repository) if repository else []


def _described(folder: Path) -> list[FileEntry]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [describe_file(folder, name) for name in sorted(names)]


def _differences(there: Mapping[str, str], files: Sequence[FileEntry]) -> Iterator[str]:
    here = {entry.path: entry.md5 for entry in files}
    for path in sorted({*there, *here}):
        if path not in there:
            yield f"has no {path}, which this run has"
        elif path not in here:
            yield f"has {path}, which this run has not"
        elif there[path] != here[path]:
            yield _of_another(path, there[path], here[path])


def _of_another(path: str, there: str, here: str) -> str:
    return f"has another {path} than this run: md5 {there[:_SHORT]} there, {here[:_SHORT]} here"
