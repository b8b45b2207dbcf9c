"""One run of the shards of a matrix: proven parts in, one proven run out.

Every line of a part is taken as it is, but for the identifiers of records, which are numbered anew so that no two are equal. The order is
canonical: the models in the order of their tests, and the lines of a model in the order of their log. So the merged log is, line by line,
the one that a single session would have written, apart from times, processes and machines; the header names the parts with their
digests. What is decided over the whole is decided here: whether every shard is there and ran to its end.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ..clock import Clock
from ..errors import ConfigError, LogTamperedError, StoreError
from ..records import (
    FooterRecord,
    GateRecord,
    HeaderRecord,
    Json,
    ShardRecord,
    VerdictRecord,
    from_json,
)
from ..store.chain import ChainWalk
from ..store.log import LOG_NAME, LogReader, LogWriter
from ..store.machines import MERGED
from ..store.runfolder import WORKERS_NAME, create_run_folder
from ..text import how_many
from .reports.report import SessionReport
from .reports.report_builder import ReportBuilder
from .seen import Seen, what_there_is

EXIT_FAILED: Final = 1
PROCESS: Final = "main"
"""What the identifiers of a single session begin with, and so those of the merged one."""
OF_A_SHARD: Final = frozenset(
    {"shard", "shard_costs", "output", "origins", "resume", "plan", "sinks", "mlflow", "mlflow_required", "mlflow_experiment"}
)  # fmt: skip
"""Settings that may differ between shards: they change no number. By what costs a matrix was divided, the plan tells."""
VERSIONS: Final = ("python", "implementation", "platform", "packages", "git")
"""Facts of the environment that must not: another version is another subject."""
_MOST_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Proven:
    """What a verification found of a part, beside its log."""

    run_digest: str = ""
    """Empty where it has no manifest."""
    signed: bool = False
    doubts: tuple[str, ...] = ()
    """What vouches for it less than it might, a line each."""


@dataclass(slots=True)
class Part:
    """One shard, as its log tells it."""

    folder: Path
    header: HeaderRecord
    index: int
    of: int
    proven: Proven
    digest: str
    lines: int
    shard: ShardRecord | None = None
    footer: FooterRecord | None = None
    gates: list[GateRecord] = field(default_factory=list)
    """Over the session."""
    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Alias -> offset and length of its lines."""
    judged: set[tuple[str, str]] = field(default_factory=set)
    """Test and cell of every verdict; only of a part that did not run to its end."""

    @property
    def name(self) -> str:
        """As people call it."""
        return f"shard {self.index}/{self.of}"

    @property
    def own(self) -> list[str]:
        """The models that it was to measure."""
        if self.shard is None:
            return list(self.places)
        return [alias for alias, index in zip(self.shard.models, self.shard.shards, strict=True) if index == self.index]

    @property
    def cells(self) -> int:
        """How many cells and tasks it was to measure."""
        assert self.shard is not None
        return sum(n for n, index in zip(self.shard.cells, self.shard.shards, strict=True) if index == self.index)

    @property
    def ended(self) -> bool:
        """Whether its session came to its end, whatever came of it: then it has judged what it covered."""
        closed = self.footer is not None and not self.footer.recovered and self.footer.exit_status in (0, EXIT_FAILED)
        return closed and any(gate.name == "coverage" and gate.outcome != "skipped" for gate in self.gates)


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What came of it."""

    folder: Path
    report: SessionReport
    parts: tuple[Part, ...]
    faults: tuple[str, ...]
    """What the whole lacks."""
    failed: tuple[str, ...]
    """The shards whose own session was red."""

    @property
    def exit_status(self) -> int:
        """0, or 1 where a shard was red or anything is missing."""
        return EXIT_FAILED if self.faults or self.failed else 0


# ------------------------------------------------------------------------------------------------------------ reading


def read_part(folder: Path, proven: Proven) -> Part:
    """Where the lines of a shard stand. Memory: its verdicts, if it did not run to its end, and two numbers a line.

    :raises ConfigError: if the run is no shard.
    :raises StoreError: if its log cannot be read, or has no footer.
    :raises LogTamperedError: if a line is not what was written.
    """
    path = folder / LOG_NAME
    header = next(iter(LogReader(path, ("header",))), None)
    if not isinstance(header, HeaderRecord):
        raise StoreError(f"{path} has no header.")
    index, of = _number_of(folder, header)
    part = Part(folder=folder, header=header, index=index, of=of, proven=proven, digest="", lines=0)
    verdicts: list[bytes] = []
    with path.open("rb", buffering=1 << 18) as stream:
        walk = ChainWalk(stream, path)
        for kind, rest in walk:
            _note(part, walk, kind, rest, verdicts)
    if walk.damage is not None:
        raise LogTamperedError(f"{path}: {walk.damage.message}.")
    if part.footer is None:
        raise StoreError(f"{path} has no footer: its session was killed; close it with llmci report {folder}.")
    if part.shard is not None and (part.shard.index, part.shard.of) != (index, of):
        raise StoreError(f"{path}: the header says {part.name}, and the plan shard {part.shard.index}/{part.shard.of}.")
    part.digest, part.lines = walk.digest, walk.lines
    if not part.ended:
        records = (from_json(VerdictRecord, walk.decode(rest)) for rest in verdicts)
        part.judged = {(record.test, record.cell) for record in records}
    return part


def _number_of(folder: Path, header: HeaderRecord) -> tuple[int, int]:
    index, slash, of = str(header.settings.get("shard") or "").partition("/")
    if slash and index.isdecimal() and of.isdecimal():
        return int(index), int(of)
    if header.settings.get(MERGED):
        raise ConfigError(f"merge: {folder} is a merged run already; give the shards that it was made of.")
    raise ConfigError(f"merge: {folder} is no shard: its session had no --llmci-shard.")


_MODEL: Final = re.compile(rb'"model":"([^"\\]*)"')


def _note(part: Part, walk: ChainWalk, kind: str, rest: bytes, verdicts: list[bytes]) -> None:
    if kind == "header":
        return
    if kind == "footer":
        part.footer = from_json(FooterRecord, walk.decode(rest))
        return
    if kind == "shard":
        part.shard = from_json(ShardRecord, walk.decode(rest))
        return
    if kind == "gate":
        gate = from_json(GateRecord, walk.decode(rest))
        if not gate.uid:
            part.gates.append(gate)
            return
        alias = gate.model
    elif kind == "benchmark":
        models = walk.decode(rest).get("models") or [""]
        alias = str(models[0])
    else:
        if kind == "verdict":
            verdicts.append(rest)
        found = _MODEL.search(rest)
        alias = found[1].decode("ascii") if found else str(walk.decode(rest).get("model", ""))
    part.places.setdefault(alias, []).append((walk.end - len(rest) - 1, len(rest)))


# ----------------------------------------------------------------------------------------------------------- checking


def check_parts(parts: Sequence[Part]) -> list[Part]:
    """The parts in their order.

    :raises ConfigError: in one line, if they are not parts of one matrix.
    """
    first = parts[0]
    seen: dict[int, Part] = {}
    for part in parts:
        if part.of != first.of:
            raise ConfigError(
                f"merge: {first.folder} is {first.name} and {part.folder} {part.name}: parts of two matrices."
            )
        there = seen.setdefault(part.index, part)
        if there is not part:
            raise ConfigError(f"merge: {there.folder} and {part.folder} are both {part.name}: give one of them.")
        _refuse_differences(first, part)
    told = [part for part in parts if part.shard is not None]
    for part in told[1:]:
        if part.shard is not None and told[0].shard is not None and part.shard.plan != told[0].shard.plan:
            raise ConfigError(f"merge: {told[0].name} and {part.name} {_why_other_plan(told[0].shard, part.shard)}.")
    if not told:
        raise ConfigError(f"merge: none of these shards came as far as to collect its tests, {first.folder} first.")
    return [seen[index] for index in sorted(seen)]


def _refuse_differences(first: Part, part: Part) -> None:
    both = f"merge: {first.name} and {part.name}"
    one, other = first.header, part.header
    if one.version != other.version:
        raise ConfigError(f"{both} were measured by pytest-llmci {one.version} and {other.version}: run them with one.")
    for name in VERSIONS:
        if told := _difference(name, _compared(name, one), _compared(name, other)):
            raise ConfigError(
                f"{both} are of different versions: {told}; run them on one commit with the same packages."
            )
    for name in sorted((one.settings.keys() | other.settings.keys()) - OF_A_SHARD):
        if told := _difference(name, one.settings.get(name), other.settings.get(name)):
            raise ConfigError(f"{both} were run with different settings: {told}.")
    if one.metrics != other.metrics or one.prices != other.prices:
        what = "metrics" if one.metrics != other.metrics else "prices"
        raise ConfigError(f"{both} were run with different {what}: register and name the same for all of them.")


def _compared(name: str, header: HeaderRecord) -> Json:
    value = header.environment.get(name)
    if name == "git" and isinstance(value, dict):
        return {key: value.get(key) for key in ("commit", "dirty")}
    return value


def _difference(name: str, before: Json, after: Json) -> str:
    """The first difference, as ``rounds 5 and 3``; empty if there is none."""
    if before == after:
        return ""
    if isinstance(before, list) and isinstance(after, list):
        return _difference_of_lists(name, before, after)
    if isinstance(before, dict) and isinstance(after, dict):
        key = next(key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key))
        return _difference(f"{name} {key}", before.get(key), after.get(key))
    return f"{name} {_short(before)} and {_short(after)}"


def _difference_of_lists(name: str, before: list[Json], after: list[Json]) -> str:
    """What only one of them has, the first of each; both as they are where each has what the other has."""
    only = [
        next((value for value in one if value not in other), None) for one, other in ((before, after), (after, before))
    ]
    one, other = (before, after) if only == [None, None] else only
    return f"{name} {_short(one)} and {_short(other)}"


def _short(value: Json) -> str:
    text = "none" if value is None or value in ("", []) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _why_other_plan(one: ShardRecord, other: ShardRecord) -> str:
    if set(one.models) != set(other.models):
        alias = min(set(one.models) ^ set(other.models))
        return f"had different models: only one of them knows {alias}"
    cells = [dict(zip(each.models, each.cells, strict=True)) for each in (one, other)]
    alias = next((name for name in one.models if cells[0][name] != cells[1][name]), "")
    if alias:
        return f"selected different tests: {cells[0][alias]} and {cells[1][alias]} cells of {alias}"
    sources = [f"the times of {each.costs_from}" if each.costs_from else "their sizes" for each in (one, other)]
    return (
        f"divided the models differently, by {sources[0]} and by {sources[1]}: name one source for all of them,"
        " --llmci-shard-costs=FILE"
    )


def find_faults(parts: Sequence[Part]) -> list[str]:
    """What the whole lacks: shards, cells, and what the gates of the shards say."""
    plan = next(part.shard for part in parts if part.shard is not None)
    faults = []
    there = {part.index for part in parts}
    missing = [index for index in range(1, plan.of + 1) if index not in there]
    for index in missing:
        own = [at for at, number in enumerate(plan.shards) if number == index]
        names = ", ".join(plan.models[at] for at in own[:_MOST_NAMED]) + (", ..." if len(own) > _MOST_NAMED else "")
        what = (
            f"{how_many(sum(plan.cells[at] for at in own), 'cell')} of {names}"
            if own
            else "no model, but perhaps tests"
        )
        faults.append(f"lost coverage: shard {index}/{plan.of} is missing ({what})")
    for part in parts:
        if part.shard is None:
            faults.append(f"lost coverage: {part.name} ended before it had collected its tests")
        elif not part.ended:
            status = part.footer.exit_status if part.footer is not None else None
            how = "was killed" if status is None else f"was stopped early (exit status {status})"
            lost, cells = part.cells - len(part.judged), how_many(part.cells, "cell")
            what = (
                f"{lost} of its {cells} have no verdict"
                if lost > 0
                else f"its {cells} have verdicts, its gates have none"
            )
            faults.append(f"lost coverage: {part.name} {how}: {what}")
    told = [gate for part in parts for gate in part.gates if gate.name == "coverage"]
    faults += [fault for gate in told if gate.outcome == "failed" for fault in gate.reasons or [gate.message]]
    return list(dict.fromkeys(faults))


# ------------------------------------------------------------------------------------------------------------ writing


def merge_runs(folders: Mapping[Path, Proven], output: Path, clock: Clock, *, command: Sequence[str]) -> Merged:
    """Write a run folder of the shards, without what derives from its log.

    :param folders: of the shards, and what was proven of each.
    :param command: as the user typed it, for the header.
    :raises ConfigError: if they are not parts of one matrix.
    :raises StoreError: if one cannot be read, or the log not be written.
    """
    parts = check_parts([read_part(folder, proven) for folder, proven in folders.items()])
    faults = find_faults(parts)
    folder = create_run_folder(output, clock)
    renamed = _copy_worker_logs(parts, folder)
    log, builder, seen = LogWriter(folder / LOG_NAME, clock=clock), ReportBuilder(), Seen()
    log.append(_header(parts, folder.name, command))
    for body in _bodies(parts, renamed):
        log.append_stored(body)
    for record in LogReader(folder / LOG_NAME):
        builder.take(record)
        seen.note(record)
    for gate in _gates(parts, faults, seen):
        log.append(gate)
        builder.take(gate)
    failed = [part.name for part in parts if part.footer is not None and part.footer.exit_status not in (0, None)]
    log.close(EXIT_FAILED if faults or failed else 0)
    assert log.footer is not None
    builder.take(log.footer)
    report = builder.build(folder, digest=log.digest)
    return Merged(folder=folder, report=report, parts=tuple(parts), faults=tuple(faults), failed=tuple(failed))


def _header(parts: Sequence[Part], run_id: str, command: Sequence[str]) -> HeaderRecord:
    first, plan = parts[0].header, next(part.shard for part in parts if part.shard is not None)
    common, own = _environments([part.header.environment for part in parts])
    told: list[Json] = [
        {
            "shard": part.index, "run": part.header.run_id, "started": part.header.started,
            "finished": part.footer.finished if part.footer else None,
            "exit_status": part.footer.exit_status if part.footer else None,
            "recovered": part.footer is not None and part.footer.recovered,
            "log_lines": part.lines, "log_digest": part.digest, "run_digest": part.proven.run_digest or None,
            "signed": part.proven.signed, "models": list(part.own), "environment": facts,
        }
        for part, facts in zip(parts, own, strict=True)
    ]  # fmt: skip
    merged: dict[str, Json] = {
        "shards": plan.of,
        "plan": plan.plan,
        "costs_from": plan.costs_from or None,
        "parts": told,
    }
    settings = {**first.settings, "shard": "", MERGED: merged}
    return replace(
        first, run_id=run_id, started=min(part.header.started for part in parts), command=list(command), settings=settings,
        environment=common,
    )  # fmt: skip


def _environments(facts: Sequence[Mapping[str, Json]]) -> tuple[dict[str, Json], list[dict[str, Json]]]:
    """What all machines have in common, None where they differ; and of each what is its own."""
    names = dict.fromkeys(name for each in facts for name in each)
    common = {name: facts[0].get(name) for name in names if all(each.get(name) == facts[0].get(name) for each in facts)}
    own = [{name: each.get(name) for name in names if name not in common} for each in facts]
    return {name: common.get(name) for name in names}, own


def _copy_worker_logs(parts: Sequence[Part], folder: Path) -> list[dict[str, str]]:
    """What the models' processes wrote; of each part the files that had to be called otherwise."""
    renamed: list[dict[str, str]] = []
    taken: set[str] = set()
    for part in parts:
        names: dict[str, str] = {}
        place = part.folder / WORKERS_NAME
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if not file.is_file():
                continue
            name = file.name if file.name not in taken else f"shard-{part.index}-{file.name}"
            taken.add(name)
            try:
                shutil.copyfile(file, folder / WORKERS_NAME / name)
            except OSError as error:
                raise StoreError(f"{file}: cannot be copied: {error.strerror or error}.") from error
            if name != file.name:
                names[f"{WORKERS_NAME}/{file.name}"] = f"{WORKERS_NAME}/{name}"
        renamed.append(names)
    return renamed


_UID: Final = re.compile(rb'"uid":"([^"\\]*)"')
_WORKER: Final = re.compile(rb',"worker":"([^"\\]*)"')
_LOG: Final = re.compile(rb',"log":"([^"\\]*)"')
_NUMBER: Final = re.compile(rb'"line":\d+,')
_WITH_WORKER: Final = (b'"type":"rounds"', b'"type":"questions"')


def _bodies(parts: Sequence[Part], renamed: Sequence[Mapping[str, str]]) -> Iterator[bytes]:
    """The records of all parts in canonical order, as JSON objects, each with an identifier of its own.

    Only fields of the record itself are looked for: in a text, the quotes of what looks like one have backslashes.
    """
    plan = next(part.shard for part in parts if part.shard is not None)
    order = dict.fromkeys([*plan.models, *(alias for part in parts for alias in part.places)])
    known: list[dict[bytes, bytes]] = [{} for _ in parts]
    number = 0
    streams = [(part.folder / LOG_NAME).open("rb", buffering=1 << 18) for part in parts]
    try:
        for alias in order:
            for part, stream, uids, names in zip(parts, streams, known, renamed, strict=True):
                for offset, length in part.places.get(alias, ()):
                    number += 1
                    stream.seek(offset)
                    yield _renumbered(stream.read(length), b"%s-%d" % (PROCESS.encode("ascii"), number), uids, names)
    finally:
        for stream in streams:
            stream.close()


def _renumbered(rest: bytes, uid: bytes, known: dict[bytes, bytes], names: Mapping[str, str]) -> bytes:
    start = _NUMBER.match(rest)
    kind = rest[start.end() : start.end() + 20] if start else b""
    found = _UID.search(rest)
    if start is None or found is None:
        raise StoreError("a line has no identifier.")
    known[found[1]] = uid
    head = b"{" + rest[start.end() : found.start(1)] + uid
    tail = rest[found.end(1) :]
    if kind.startswith(_WITH_WORKER):
        tail = _WORKER.sub(lambda match: b',"worker":"' + known.get(match[1], match[1]) + b'"', tail, count=1)
    elif names and kind.startswith(b'"type":"worker"'):
        tail = _LOG.sub(
            lambda match: b',"log":"' + names.get(match[1].decode(), match[1].decode()).encode() + b'"', tail, count=1
        )
    return head + tail


def _gates(parts: Sequence[Part], faults: Sequence[str], seen: Seen) -> Iterator[GateRecord]:
    """Over the whole: coverage, and what the shards decided of models."""
    told = [gate for part in parts for gate in part.gates if gate.name == "coverage"]
    for name in ("profiles", "requests", "failed_tests"):  # of which the log has no record
        setattr(seen, name, sum(gate.counts.get(name, 0) for gate in told))
    if not faults and seen.nothing and not seen.failed_tests:
        faults = ["nothing was measured by any shard"]
    message = "; ".join(faults) or what_there_is(seen) + _left_out(told)
    yield GateRecord(
        name="coverage",
        outcome="failed" if faults else "passed",
        message=message,
        reasons=list(faults),
        counts=seen.counts,
    )
    others = [gate for part in parts for gate in part.gates if gate.name != "coverage"]
    order = {
        alias: at
        for at, alias in enumerate(dict.fromkeys(alias for part in parts if part.shard for alias in part.shard.models))
    }
    yield from sorted(others, key=lambda gate: order.get(gate.model, len(order)))


def _left_out(told: Sequence[GateRecord]) -> str:
    """That tests were not collected, in the words of the shards."""
    found = next(
        (match for gate in told if (match := re.search(r" \([^()]* left tests out: of these alone\)$", gate.message))),
        None,
    )
    return found[0] if found else ""
