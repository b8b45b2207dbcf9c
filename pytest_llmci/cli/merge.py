"""``llmci merge RUN...``: make one run of the shards of a matrix."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..clock import SystemClock
from ..engine.merge import Merged, Proven, merge_runs
from ..errors import ConfigError, LogTamperedError, StoreError
from ..garbage import collector_paused
from ..proof.verify import verify_run
from ..registry import Registry
from ..settings import BASELINES_FOLDER
from ..sinks import check_builtin, register
from ..sinks.apart import send_apart
from ..sinks.finish import finish_run
from ..store.baseline_file import save
from ..store.baseline_log import baseline_of_log
from ..store.chain import CUT_OFF
from ..store.comparability import machine_part
from ..store.log import LOG_NAME
from ..store.manifest import SIGNING_KEY, signing_key
from ..store.runfolder import LATEST, list_runs, resolve_run
from ..text import how_many, shown_path
from . import Command
from .main import printable

_UNNAMED: Final = "main"


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="the shards, in any order: run folders, folders that hold one run (as a CI artifact does), or beginnings of ids",
    )
    parser.add_argument(
        "--sink",
        metavar="NAME[:TARGET]",
        dest="sinks",
        action="append",
        default=[],
        help="further destinations of the merged run, as of llmci report; may be given several times",
    )
    parser.add_argument(
        "--save-baseline",
        metavar="NAME",
        nargs="?",
        const=_UNNAMED,
        help="keep the merged run as a baseline, if nothing failed and one machine, or several alike, measured all of it"
        f" (default NAME: {_UNNAMED})",
    )
    parser.add_argument(
        "--baselines",
        metavar="DIR",
        type=Path,
        default=Path(BASELINES_FOLDER),
        help="where baselines are kept (default: %(default)s)",
    )
    parser.epilog = (
        "Every shard is proven first, as by llmci verify; where "
        f"{SIGNING_KEY} is set, each must be signed with that key, and the merged run is. Exit status: 0 all is well; 1 a shard failed, is"
        " missing, was killed, or is not what its session wrote; 4 the runs are not shards of one matrix, or a shard still runs, or was"
        " killed and nobody closed its log, which llmci report does."
    )


def _run(options: Namespace) -> int:
    registry = Registry()
    register(registry)
    check_builtin(options.sinks, registry, "--sink")
    folders = [_resolved(text, options.output) for text in options.runs]
    key = signing_key(os.environ)
    command = ["llmci", "merge", *options.runs]
    with collector_paused():
        proven = {folder: _proven(folder, key) for folder in _once(folders)}
        merged = merge_runs(proven, options.output, SystemClock(), command=command)
        finished = finish_run(merged.folder, registry, options.sinks, read=lambda _: merged.report)
    lines = [*_told(merged), f"saved {merged.folder} and {finished.saved}"]
    if options.save_baseline:
        lines.append(_save_baseline(merged, options.save_baseline, options.baselines))
    for sink in finished.apart:
        sent = send_apart(merged.folder, sink, variables={})
        lines += [*sent.results, *filter(None, [sent.warning])]
    for line in [*lines, *finished.warnings]:
        print(printable(line))
    return merged.exit_status


def _resolved(text: str, output: Path) -> Path:
    """The run folder that is meant; of a folder of runs, the newest, where it holds one run."""
    path = Path(text)
    if path.is_dir() and not (path / LOG_NAME).is_file():
        runs = list_runs(path)
        if len(runs) > 1:
            raise ConfigError(f"merge: {path} holds {len(runs)} runs: {_which(path, runs)}.")
        if runs:
            return runs[0]
        if (path / LATEST / LOG_NAME).is_file():
            return path / LATEST
        parts = [entry for entry in sorted(path.iterdir()) if _holds_runs(entry)]
        if parts:
            raise ConfigError(
                f"merge: {path} is no run and holds {how_many(len(parts), 'folder')} with runs: {_which(path, parts)}."
            )
    return resolve_run(text, output)


def _which(path: Path, runs: list[Path]) -> str:
    """What to give in place of a folder that holds runs: all there is in it, unless that is more than parts of a matrix."""
    seen = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    if any(entry.name == LATEST for entry in seen) or not all(map(_holds_runs, seen)):
        return f"name one of them, such as {runs[-1]}"
    return f"give {path / '*'}"


def _holds_runs(folder: Path) -> bool:
    """Whether there is a run in it, or it is one."""
    return folder.is_dir() and (
        (folder / LOG_NAME).is_file() or bool(list_runs(folder)) or (folder / LATEST / LOG_NAME).is_file()
    )


def _once(folders: list[Path]) -> list[Path]:
    """Each folder once.

    :raises ConfigError: if one was given twice.
    """
    seen: dict[Path, Path] = {}
    for folder in folders:
        if (real := folder.resolve()) in seen:
            raise ConfigError(f"merge: {folder} was given twice.")
        seen[real] = folder
    return folders


def _proven(folder: Path, key: bytes | None) -> Proven:
    """What vouches for a shard.

    :raises LogTamperedError: if it is not what its session wrote, or not signed with the key.
    :raises StoreError: if its session still runs, or was killed and nobody closed its log.
    """
    found = verify_run(folder, key=key, rebuild=False)
    if found.log.state == "running":
        raise StoreError(f"{folder}: its session is still running; merge it when it has ended.")
    if found.log.state == "killed" or (found.log.damage is not None and found.log.damage.what == CUT_OFF):
        raise StoreError(
            f"{folder}: its session was killed: llmci report {folder} closes its log, pytest --llmci-resume={folder} goes on with it."
        )
    if not found.ok:
        raise LogTamperedError(found.message)
    digest = found.manifest.run_digest if found.manifest is not None else ""
    return Proven(run_digest=digest, signed=found.signature == "valid", doubts=found.doubts)


def _told(merged: Merged) -> Iterator[str]:
    report = merged.report
    for part in merged.parts:
        status = part.footer.exit_status if part.footer is not None else None
        how = "" if part.ended and not status else f", exit status {status}" if status is not None else ", killed"
        signed = ", signed" if part.proven.signed else ""
        cells = how_many(part.cells if part.shard is not None else 0, "cell")
        yield f"{part.name}: {part.header.run_id}, {how_many(len(part.own), 'model')}, {cells}{how}, digest {part.digest[:16]}{signed}"
        yield from (f"note: {part.name}: {text}" for text in part.proven.doubts)
    yield from (f"FAILED {fault}" for fault in merged.faults)
    if merged.failed:
        yield f"FAILED in its own session: {', '.join(merged.failed)}"
    models, cells = how_many(len(report.models), "model"), how_many(len(report.cells) + len(report.tasks), "cell")
    yield f"merged {how_many(len(merged.parts), 'shard')} of {merged.parts[0].of}: {models}, {cells}"


def _save_baseline(merged: Merged, name: str, folder: Path) -> str:
    """What became of it, in one line.

    :raises ConfigError: if the merged run may be none.
    """
    if merged.exit_status:
        return f"baseline {name} was not written: what is wrong is no measure for what comes later"
    first, *others = [machine_part(part.header.environment) for part in merged.parts]
    for part, other in zip(merged.parts[1:], others, strict=True):
        if different := first.differences(other):
            raise ConfigError(
                f"--save-baseline: {merged.parts[0].name} and {part.name} were measured on different machines ({different[0]}): a baseline"
                " is of one; the merged run itself can be compared with llmci compare."
            )
    saved = save(baseline_of_log(merged.folder, name), folder, append=False)
    return f"baseline {name} saved in {shown_path(saved.path)}: commit it"


COMMAND = Command(configure=_configure, run=_run)
