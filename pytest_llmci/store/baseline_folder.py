"""A folder of baselines: which there are, which one a comparison is made with, and which ones are too old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ..clock import SystemClock
from ..errors import ConfigError, StoreError
from ..settings import BASELINE_NAME
from ..text import shown_path
from .baseline_file import baseline_text, holding, is_name, load
from .baseline_record import BaselineRecord, BaselineSession, time_of
from .comparability import Difference, Part
from .runfolder import replacing

OLD_AFTER: Final = timedelta(days=90)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineFile:
    """One file of a folder of baselines."""

    name: str
    path: Path
    record: BaselineRecord | None
    """None if it cannot be read."""
    error: str = ""
    """Why not."""


def list_baselines(root: Path) -> list[BaselineFile]:
    """Every baseline file below ``root``, by name and then by environment; empty if there is no such folder."""
    return [_listed(path) for path in _files(root)]


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/*.json") if not path.name.startswith("."))


def _listed(path: Path) -> BaselineFile:
    try:
        return BaselineFile(name=path.parent.name, path=path, record=load(path))
    except StoreError as error:
        return BaselineFile(name=path.parent.name, path=path, record=None, error=str(error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The baseline that a comparison is to be made with."""

    name: str
    """As it was asked for."""
    path: Path
    record: BaselineRecord
    differences: tuple[Difference, ...]
    """Where the machine that it was saved on is another one, from that one to this; empty if it is the same."""
    warnings: tuple[str, ...] = ()
    registered: str = ""
    """``NAME@ALIAS`` of MLflow's registry, where it is the run behind that; empty for one of a file."""
    measuring: str = ""
    """The command that measures what is compared with it; empty where that is not known."""

    @property
    def renewal(self) -> str:
        """What puts a newer one in its place."""
        return renewal(self.record.name, self.registered, self.measuring)

    @property
    def same_environment(self) -> bool:
        """True if times may be compared with it."""
        return not self.differences


def choose(
    root: Path,
    name: str,
    environment: Part,
    *,
    base: Path | None = None,
    now: datetime | None = None,
    registered: str = "",
    measuring: str = "",
) -> Chosen:
    """The file of that name that was saved on this machine, else on the one that is most like it.

    Among several of equal standing it is the newest. A fact that ``environment`` does not name is not compared, so that it can
    be chosen before it is known which accelerator a model runs on.

    :param root: the folder of baselines.
    :param name: of a baseline, or the path of one of its files or of a folder of them.
    :param environment: of this machine: :func:`~pytest_llmci.store.comparability.machine_part`.
    :param base: what a relative path starts from; the working directory if None.
    :param now: for its age.
    :param registered: ``NAME@ALIAS`` of MLflow's registry that the file stands for, and that it is then called by.
    :param measuring: see :attr:`Chosen.measuring`.
    :raises ConfigError: if there is none of that name.
    :raises StoreError: if one of its files cannot be read.
    """
    candidates = [
        (_differences(record, environment), path, record)
        for path in find(root, name, base, measuring)
        for record in (load(path),)
    ]
    differences, path, record = min(candidates, key=lambda each: (len(each[0]), -_stamp(each[2].newest), each[1].name))
    age = (now or SystemClock().utc()) - datetime.fromtimestamp(_stamp(record.newest), UTC)
    shown = registered or name
    old = (
        f"baseline {shown} is {age.days} days old: what has changed since hides behind it; renew it:"
        f" {renewal(record.name, registered, measuring)}"
    )
    warnings = (old,) if age > OLD_AFTER else ()
    return Chosen(
        name=shown,
        path=path,
        record=record,
        differences=differences,
        warnings=warnings,
        registered=registered,
        measuring=measuring,
    )


def renewal(name: str, registered: str = "", measuring: str = "") -> str:
    """What puts a newer baseline in the place of one: a command, where it is known.

    :param registered: see :attr:`Chosen.registered`.
    :param measuring: see :attr:`Chosen.measuring`.
    """
    if not registered:
        option = f"--llmci-save-baseline={name}"
        return f"{measuring} {option}" if measuring else f"add {option} to the pytest command that measures"
    model, _, alias = registered.partition("@")
    return f"llmci promote {model} --alias {alias}"


def _stamp(session: BaselineSession) -> float:
    found = time_of(session)
    return found.timestamp() if found else 0.0


def _differences(record: BaselineRecord, environment: Part) -> tuple[Difference, ...]:
    saved_on = Part({name: record.environment.get(name) for name in environment.facts})
    return saved_on.differences(environment)


def find(root: Path, name: str, base: Path | None = None, measuring: str = "") -> list[Path]:
    """The files of a baseline.

    :param name: of a baseline below ``root``, or the path of a file or folder.
    :param base: what a relative path starts from.
    :param measuring: see :attr:`Chosen.measuring`.
    :raises ConfigError: if there is none; it names those that exist, and what makes one.
    """
    by_path = is_path(name)
    folder = (base or Path()) / Path(name).expanduser() if by_path else root / name
    if by_path and folder.is_file():
        return [folder]
    found = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    if found:
        return found
    what = f"'{name}' is no baseline's file and no folder of them" if by_path else f"there is no baseline '{name}'"
    names = ", ".join(dict.fromkeys(path.parent.name for path in _files(root)))
    named = name if is_name(name) and not by_path else BASELINE_NAME
    raise ConfigError(
        f"{what}; {shown_path(root)} holds {names or 'none'}. Make one: {renewal(named, measuring=measuring)}"
    )


def is_path(name: str) -> bool:
    """Whether a baseline is asked for by its file or folder, and not by its name."""
    return "/" in name or "\\" in name or name.endswith(".json") or name in (".", "..")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What was taken out of one file."""

    path: Path
    sessions: tuple[BaselineSession, ...]
    """Those that were too old."""
    deleted: bool
    """True if no session was left, and the file went with them."""


def prune(
    root: Path, older_than: timedelta = OLD_AFTER, *, name: str = "", now: datetime | None = None, dry_run: bool = False
) -> list[Pruned]:
    """Take sessions out that are older, and files in which none is left.

    :param name: of one baseline; empty for all. A file that cannot be read stays.
    :param dry_run: change nothing, and say what would be.
    :raises ConfigError: if there is no baseline of that name.
    :raises StoreError: if a file cannot be changed.
    """
    oldest = ((now or SystemClock().utc()) - older_than).timestamp()
    files = find(root, name) if name else _files(root)
    found = []
    for listed in map(_listed, files):
        sessions = listed.record.sessions if listed.record else []
        old = [session for session in sessions if _stamp(session) < oldest]
        if old and listed.record:
            kept = [session for session in sessions if _stamp(session) >= oldest]
            if not dry_run:
                _keep(listed.path, listed.record, kept)
            found.append(Pruned(path=listed.path, sessions=tuple(old), deleted=not kept))
    return found


def _keep(path: Path, record: BaselineRecord, sessions: list[BaselineSession]) -> None:
    try:
        if sessions:
            with replacing(path) as stream:
                stream.write(baseline_text(holding(record, sessions)))
            return
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    except OSError as error:
        raise StoreError(f"{shown_path(path)}: cannot be changed: {error.strerror or error}.") from error
