"""Where a run lies on disk: made, found again by name, and copied to ``latest/``."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from ..clock import Clock
from ..errors import ConfigError, StoreError
from .chain import LINE_BEGINS
from .log import LOG_NAME
from .spool import SPOOL_NAME

LATEST: Final = "latest"
WORKERS_NAME: Final = "workers"
_RUN_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}\Z")
_BACK: Final = re.compile(r"latest(?:~(\d{1,6}))?\Z")
_SHOWN_RUNS: Final = 5  # how many candidates a message lists


def create_run_folder(output: Path, clock: Clock) -> Path:
    """A new folder for one session: ``<output>/<YYYYmmddTHHMMSSZ>-<6 hex>`` with ``workers/`` and ``spool/``.

    ``output`` gets a ``.gitignore`` of its own, so that results are never committed by accident; not where it holds anything
    of the user's, which git would then overlook.

    :raises ConfigError: if it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        if all(map(_is_ours, output.iterdir())):
            (output / ".gitignore").write_text("*\n", encoding="ascii")
        run = _make_unique(output, clock.utc().strftime("%Y%m%dT%H%M%SZ"))
        (run / WORKERS_NAME).mkdir()
        (run / SPOOL_NAME).mkdir()
    except OSError as error:
        raise ConfigError(
            f"cannot write results to '{error.filename or output}': {error.strerror or error}."
            " Give another folder: --llmci-output DIR."
        ) from error
    return run


def _is_ours(entry: Path) -> bool:
    return bool(_RUN_NAME.match(entry.name)) or (entry.name == LATEST and _is_a_run(entry))


def _make_unique(output: Path, stamp: str) -> Path:
    while True:
        run = output / f"{stamp}-{secrets.token_hex(3)}"
        with suppress(FileExistsError):
            run.mkdir()
            return run


def models_wrote(run: Path) -> bool:
    """Whether any model's process has written to its log."""
    with suppress(OSError):
        return any(log.stat().st_size for log in (run / WORKERS_NAME).iterdir())
    return False


def discard_run_folder(run: Path) -> None:
    """Remove a run in which nothing was measured; what cannot be removed stays."""
    shutil.rmtree(run, ignore_errors=True)


def list_runs(output: Path) -> list[Path]:
    """The run folders in ``output`` that have a log, oldest first; empty if there is no such folder."""
    found: list[tuple[str, int, Path]] = []
    with suppress(OSError):
        for run in output.iterdir():
            log = run / LOG_NAME
            if _RUN_NAME.match(run.name) and log.is_file():
                with suppress(FileNotFoundError):  # another session may discard its run at any time
                    found.append((run.name[:16], log.stat().st_mtime_ns, run))
    return [run for *_, run in sorted(found)]  # the time of the log tells runs of one second apart


def resolve_run(text: str, output: Path) -> Path:
    """The run folder that a person means.

    :param text: a path to a run folder or its log; ``latest``, ``latest~1`` (the one before it), ...; or the beginning
        of a run's name or of its short id.
    :param output: the folder that holds the runs.
    :raises ConfigError: if there is none, or more than one.
    """
    back = _BACK.match(text)
    if back:
        return _nth_latest(int(back[1] or 0), text, output)
    path = Path(text)
    if path.name == LOG_NAME and path.is_file():
        return path.parent
    if (path / LOG_NAME).is_file():
        return path
    runs = list_runs(output)
    found = [run for run in runs if text and (run.name.startswith(text) or run.name[17:].startswith(text))]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"run '{text}' is ambiguous in '{output}': {_listed(found)}. Give more of the name.")
    if text and (inside := list_runs(path)):
        raise ConfigError(
            f"'{text}' is a folder of runs, and no run: name one of them, such as '{inside[-1]}', or the folder by --output (pytest:"
            " --llmci-output)."
        )
    raise ConfigError(f"no run '{text}' in '{output}', and no folder of that name with a {LOG_NAME}. {_known(runs)}")


def _nth_latest(back: int, text: str, output: Path) -> Path:
    runs = list_runs(output)
    if lost := _newest_without_log(output):
        raise ConfigError(
            f"the newest run in '{output}' is {lost}, and its {LOG_NAME} was removed: name another run, or the copy"
            f" {output / LATEST}."
        )
    if back < len(runs):
        return runs[-1 - back]
    copy = output / LATEST
    if back == 0 and (copy / LOG_NAME).is_file():
        return copy  # what CI uploads may be this folder alone
    raise ConfigError(f"no run '{text}' in '{output}'. {_known(runs)}")


def _newest_without_log(output: Path) -> str:
    """The newest run, if it was finished (it has a manifest) and its log is gone; else empty."""
    from .manifest import MANIFEST_NAME  # it imports this module

    try:
        names = [entry.name for entry in output.iterdir() if _RUN_NAME.match(entry.name)]
    except OSError:
        return ""
    newest = max(names, default="")
    there = output / newest
    return newest if newest and not (there / LOG_NAME).exists() and (there / MANIFEST_NAME).is_file() else ""


def _known(runs: list[Path]) -> str:
    if not runs:
        return "It holds no run: give another folder with --output DIR (pytest: --llmci-output), or make one with pytest --llmci."
    return f"It holds {_listed(runs[::-1])}."


def _listed(runs: list[Path]) -> str:
    names = ", ".join(run.name for run in runs[:_SHOWN_RUNS])
    return names + (f" and {len(runs) - _SHOWN_RUNS} more" if len(runs) > _SHOWN_RUNS else "")


def publish_latest(run: Path) -> Path:
    """Copy a run to ``latest/`` beside it, in place of an older copy; see :func:`copy_run`."""
    return copy_run(run, run.parent / LATEST, advice="rename it, or give another --llmci-output DIR")


def copy_run(run: Path, place: Path, *, hidden: bool = True, advice: str = "rename it, or give another folder") -> Path:
    """Copy a run, in place of an older copy.

    What else is called so is not ours to remove. The copy is made under another name and renamed, so that nobody finds half
    of it; who reads an old file goes on reading it. A real copy, since CI artifacts and Windows take no links. The spool is left out.

    :param hidden: whether hidden files are copied as well.
    :param advice: what to do where something else is in its place.
    :returns: the copy.
    :raises StoreError: if it cannot be made, or something of the user's is in its place; that is then as it was, or missing.
    """
    if os.path.lexists(place) and not _is_a_run(place):
        raise StoreError(f"{place} is no copy of a run and was left alone: {advice}.")
    name = f".{place.name}-{run.name}"
    fresh, old = place.with_name(name), place.with_name(f"{name}-old")
    try:
        for leftover in (fresh, old):
            if leftover.exists():
                shutil.rmtree(leftover)
        shutil.copytree(run, fresh, ignore=shutil.ignore_patterns(SPOOL_NAME, ".*.tmp" if hidden else ".*"))
        _swap(fresh, place, old)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise StoreError(f"{place}: the copy of {run.name} could not be made: {_why(error)}.") from error
    shutil.rmtree(old, ignore_errors=True)
    return place


def _why(error: OSError) -> str:
    """What the system says; of a copy that failed in many files (:class:`shutil.Error`), what it said of the first."""
    first = error.args[0][0] if isinstance(error, shutil.Error) and isinstance(error.args[0], list) else None
    return str(first[2] if first else error)


def _is_a_run(folder: Path) -> bool:
    """Whether a folder holds a log of ours; a link to one is somebody else's."""
    try:
        with (folder / LOG_NAME).open("rb") as log:
            return not folder.is_symlink() and log.read(len(LINE_BEGINS)) == LINE_BEGINS
    except OSError:
        return False


def _swap(fresh: Path, latest: Path, old: Path) -> None:
    """Put ``fresh`` in the place of ``latest``; sessions that end together may each try."""
    for attempt in range(10):
        # Another session may have taken the folder away meanwhile; its own, put there instead, makes way.
        with suppress(FileNotFoundError, PermissionError):
            if _is_a_run(latest):
                latest.rename(old)
        try:
            fresh.rename(latest)
            return
        except OSError:
            if attempt == 9:
                with suppress(OSError):
                    old.rename(latest)
                raise
            shutil.rmtree(old, ignore_errors=True)  # another session was quicker: its copy makes way in its turn


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 text file that appears under its name only when it is whole.

    Line ends are written as they are given. What UTF-8 cannot hold (lone surrogates) is written as an escape.

    :raises OSError: if it cannot be written; what was there before stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
