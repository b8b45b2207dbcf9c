"""``llmci promote``: a run's model becomes a version, and the alias moves to it if the run proves it good enough."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ..clock import Clock, SystemClock, utc_text
from ..engine.comparisons.comparison import Accept
from ..engine.comparisons.runs_comparison import RunsComparison
from ..engine.comparisons.stored_run import StoredRun, read_run
from ..engine.reports.report_builder import build_report
from ..errors import ConfigError, LogTamperedError, SinkError, UnknownNameError
from ..records import Json, to_json
from ..registry import Registry
from ..sinks import open_sink, register
from ..text import one_line
from ..tracking.connection import Connection, NoStoreError
from ..tracking.layout import LOG_TAG, MODEL_TAG, RUN_ID_TAG
from ..tracking.lookup import TrackedRun, download, find_children, find_run, list_artifacts
from .base import DEFAULT_ALIAS, Evidence, Finding, Policy
from .champion import log_of_version, model_alias
from .evidence import compare_with_champion, one_model, own_evidence, whole_run
from .pointer import POINTER_NAME, WEIGHTS_FOLDER, ModelPointer, pointer_of
from .turn import Turn, taking_turns
from .versions import (
    APPROVED,
    COMMIT_TAG,
    POINTER_TAG,
    REFUSED,
    REVISION_TAG,
    SPEC_TAG,
    STATUS_TAG,
    WEIGHTS_TAG,
    RegisteredModel,
    Shelf,
    Version,
    check_alias,
    check_model_name,
)
from .weights import local_weights

WHERE: Final = "promote"
Outcome: TypeAlias = Literal["promoted", "already", "refused", "would promote", "would refuse"]


def _nothing(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be promoted, and under which conditions."""

    name: str
    """Of the registered model."""
    folder: Path
    """Of the run."""
    alias: str = DEFAULT_ALIAS
    model: str = ""
    """Alias of the model in the run; may be empty where it has one only."""
    policy: Policy = "regression"
    detect: Mapping[str, float] = field(default_factory=dict)
    accepted: Accept = lambda *_: ""
    upload: bool = False
    """Whether local weights are uploaded."""
    dry_run: bool = False
    """Whether nothing is to be written."""
    key: bytes | None = None
    """With which the run must be signed; None: it need not be."""
    cache: Path | None = None
    """Where logs of promoted runs are kept; the user's cache if None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What :func:`promote` did."""

    outcome: Outcome
    name: str
    alias: str
    pointer: ModelPointer
    evidence: Evidence
    version: int | None
    """Of the run's model; None where nothing was registered."""
    before: int | None
    """That the alias stood for; None if there was none."""
    created: bool
    """Whether the name is new."""
    comparison: RunsComparison | None = field(default=None, repr=False)
    """With the model in use; None where there was none, or nothing could be compared."""

    @property
    def refused(self) -> bool:
        """Whether the alias stays where it was, on evidence."""
        return self.outcome in ("refused", "would refuse")

    @property
    def data(self) -> dict[str, Json]:
        """For JSON."""
        return {
            "outcome": self.outcome,
            "name": self.name,
            "alias": self.alias,
            "version": self.version,
            "before": self.before,
            "model": to_json(self.pointer),
            "evidence": self.evidence.data,
            "reasons": [str(each) for each in self.evidence.reasons],
        }


def promote(
    open_store: Callable[[], Connection],
    wanted: Wanted,
    *,
    say: Callable[[str], None] = _nothing,
    clock: Clock | None = None,
) -> Promotion:
    """Register a run's model, and move the alias to it if its log verifies, it passed, and it is not worse than the model in use.

    A refusal is registered as well, as a version without the alias whose tags say why. A run whose log is not whole is evidence of
    nothing and is not registered.

    :param open_store: called when all that needs no store was found right, so that a store that is not there is not made in vain.
    :param say: gets a line of progress.
    :raises LogTamperedError: if the log of the run, or that of the model in use, is not what was written.
    :raises ConfigError: for a name, an alias or a model that does not exist.
    :raises StoreError: if the log cannot be read.
    :raises SinkError: if MLflow does not answer.
    """
    check_alias(wanted.alias, WHERE)
    check_model_name(wanted.name, WHERE)
    return _Promoting(wanted, say, clock or SystemClock()).result(open_store)


class _Promoting:
    _connection: Connection
    _place: RegisteredModel

    def __init__(self, wanted: Wanted, say: Callable[[str], None], clock: Clock) -> None:
        self._wanted, self._say, self._clock = wanted, say, clock
        proof = whole_run(wanted.folder, wanted.key)
        run = read_run(wanted.folder, [name for name in wanted.detect if name])
        self._alias = _the_model(run, wanted.model)
        self._run = one_model(run, self._alias)
        self._pointer = pointer_of(run, self._alias, proof.log.digest)
        self._own = Evidence(findings=tuple(own_evidence(wanted.folder, run, self._alias, proof)), policy=wanted.policy)
        self._weights = local_weights(self._pointer, f"{WHERE} --upload") if wanted.upload else None
        if self._weights is not None:
            self._pointer = replace(self._pointer, weights=f"{WEIGHTS_FOLDER}/{self._weights.name}")
        self._compared: tuple[int, list[Finding], RunsComparison | None] | None = None

    def result(self, open_store: Callable[[], Connection]) -> Promotion:
        try:
            self._connection = open_store()
        except NoStoreError:
            if self._wanted.dry_run:
                return self._rehearsed(None)
            raise
        self._place = RegisteredModel(self._connection, self._wanted.name, WHERE)
        shelf = self._place.find()  # before anything is uploaded: a server that is down is told at once
        self._compare(shelf)
        if self._wanted.dry_run:
            return self._rehearsed(shelf)
        home = self._logged()
        source = self._pointed(home)
        created = self._place.create() if shelf is None else False
        with taking_turns(self._place, clock=self._clock) as turn:
            return self._decided(turn, home, source, created=created)

    # ---------------------------------------------------------------------------------------------------- the evidence

    def _compare(self, shelf: Shelf | None) -> Evidence:
        """The evidence, with that against the model which the alias stands for now."""
        champion = shelf.holder(self._wanted.alias) if shelf else None
        if champion is None:
            self._compared = None
            text = f"'{self._wanted.alias}' stands for no version yet: promoted on its own evidence"
            return self._own.and_also([Finding(name="champion", standing="holds", text=text)])
        if self._is_the_run_of(champion):
            text = f"version {champion.number} is of this run"
            return self._own.and_also([Finding(name="champion", standing="holds", text=text)])
        if self._compared is None or self._compared[0] != champion.number:
            self._compared = (champion.number, *self._against(champion))
        return self._own.and_also(self._compared[1])

    def _is_the_run_of(self, version: Version) -> bool:
        told = {tag: version.tags.get(tag) for tag in (RUN_ID_TAG, MODEL_TAG, LOG_TAG)}
        return told == {RUN_ID_TAG: self._run.run_id, MODEL_TAG: self._alias, LOG_TAG: self._pointer.log_digest}

    def _against(self, champion: Version) -> tuple[list[Finding], RunsComparison | None]:
        name = f"version {champion.number}"
        try:
            folder = log_of_version(self._connection, champion, WHERE, cache=self._wanted.cache)
        except ConfigError as error:
            return [
                Finding(name="champion", standing="fails", text=one_line(str(error)).removeprefix(f"{WHERE}: "))
            ], None
        theirs = read_run(folder, [name for name in self._wanted.detect if name])
        return compare_with_champion(
            self._run, one_model(theirs, model_alias(champion), self._alias), name=name,
            detect=self._wanted.detect, accepted=self._wanted.accepted,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------------- what is logged

    def _logged(self) -> TrackedRun:
        """The model's run in MLflow; uploads the session if it is not there."""
        found = find_run(self._connection, self._run.run_id)
        if found is not None and found.tags.get(LOG_TAG) not in (None, "", self._pointer.log_digest):
            raise LogTamperedError(
                f"refused: MLflow's run {found.id} stands for {self._run.run_id} too, and its log is another one (digest"
                f" {found.tags[LOG_TAG][:16]}, here {self._pointer.log_digest[:16]})."
            )
        if found is None or not found.is_whole:
            self._say(f"uploading {self._run.run_id} to MLflow at {self._connection.shown}")
            registry = Registry()
            register(registry)
            sink = open_sink(f"mlflow:{self._connection.uri}", registry, WHERE)
            sink.write(build_report(self._wanted.folder), self._wanted.folder)
            found = find_run(self._connection, self._run.run_id)
        children = find_children(self._connection, found) if found else []
        own = sorted(
            (each for each in children if each.model == self._alias), key=lambda each: (each.started_ms, each.id)
        )
        if not own:
            raise SinkError(
                f"MLflow at {self._connection.shown} has no run of model '{self._alias}' below {self._run.run_id}: upload it again with"
                f" llmci report {self._run.run_id} --sink mlflow"
            )
        return own[0]

    def _pointed(self, home: TrackedRun) -> str:
        """Where the pointer lies; written, with the weights where they are wanted, unless it is there already."""
        folder = WEIGHTS_FOLDER if self._weights else ""
        artifact = f"{folder}/{POINTER_NAME}" if folder else POINTER_NAME
        there = list_artifacts(self._connection, home.id)
        with tempfile.TemporaryDirectory(prefix="llmci-pointer-") as place:
            if artifact in there:
                before = download(self._connection, home.id, artifact, Path(place) / "before")
                if before.read_text("ascii", "replace") != self._pointer.text:
                    raise LogTamperedError(
                        f"refused: {artifact} of MLflow's run {home.id} points at another model than {self._run.run_id} measured."
                    )
                return f"runs:/{home.id}/{artifact}"
            if self._weights is not None:
                self._say(f"uploading {self._weights}")
                self._upload(home, self._weights, self._pointer.weights if self._weights.is_dir() else folder)
            file = Path(place) / POINTER_NAME
            file.write_text(self._pointer.text, "ascii")
            self._upload(home, file, folder)
        return f"runs:/{home.id}/{artifact}"

    def _upload(self, home: TrackedRun, path: Path, folder: str) -> None:
        def send(client: Any) -> None:
            upload = client.log_artifacts if path.is_dir() else client.log_artifact
            upload(home.id, str(path), folder or None)

        self._connection.ask(f"upload {path.name}", send)

    # ---------------------------------------------------------------------------------------------------- the decision

    def _decided(self, turn: Turn, home: TrackedRun, source: str, *, created: bool) -> Promotion:
        """What is decided while nobody else decides: on the model that the alias stands for now."""
        shelf = self._place.require()
        evidence = self._compare(shelf)
        turn.renew()
        before = shelf.holder(self._wanted.alias)
        version = self._version(shelf, home, source)
        if before is not None and before.number == version.number:
            return self._told("already", evidence, version, before, created=created)
        now = utc_text(self._clock.utc())
        alias = self._wanted.alias
        tags = {
            STATUS_TAG: APPROVED if evidence.approved else REFUSED,
            f"llmci.{alias}.decision": APPROVED if evidence.approved else REFUSED,
            f"llmci.{alias}.decided": now,
            f"llmci.{alias}.reasons": "\n".join(f"{each.standing}: {each}" for each in evidence.findings),
            f"llmci.{alias}.against": str(before.number) if before else "",
        }
        if not evidence.approved:
            self._place.tag_version(version, tags)
            why = "; ".join(map(str, evidence.reasons))
            self._place.note(alias, f"{now} refused version {version.number}: {one_line(why)[:300]}", shelf.tags)
            return self._told("refused", evidence, version, before, created=created)
        place = {f"llmci.{alias}.number": str(shelf.next_place(alias)), f"llmci.{alias}.withdrawn": ""}
        self._place.tag_version(version, {**tags, **place})
        turn.renew()
        self._place.move(alias, version)
        instead = f", in place of version {before.number}" if before else ""
        self._place.note(alias, f"{now} promoted version {version.number}{instead}", shelf.tags)
        return self._told("promoted", evidence, version, before, created=created)

    def _version(self, shelf: Shelf, home: TrackedRun, source: str) -> Version:
        """The version of this run's model: the one that is there, where it was registered before."""
        digest = self._pointer.digest
        for version in shelf.versions:
            if version.source == source and version.tags.get(POINTER_TAG) == digest:
                return version
        tags = {
            STATUS_TAG: "pending",
            RUN_ID_TAG: self._run.run_id,
            LOG_TAG: self._pointer.log_digest,
            MODEL_TAG: self._alias,
            POINTER_TAG: digest,
            SPEC_TAG: self._pointer.spec.text,
            REVISION_TAG: self._pointer.revision,
            WEIGHTS_TAG: self._pointer.sha256,
            COMMIT_TAG: self._pointer.commit,
        }
        return self._place.add_version(source, home.id, tags)

    def _rehearsed(self, shelf: Shelf | None) -> Promotion:
        evidence = self._compare(shelf)
        holder = shelf.holder(self._wanted.alias) if shelf else None
        return self._told(
            "would promote" if evidence.approved else "would refuse", evidence, None, holder, created=False
        )

    def _told(
        self, outcome: Outcome, evidence: Evidence, version: Version | None, before: Version | None, *, created: bool
    ) -> Promotion:
        return Promotion(
            outcome=outcome, name=self._wanted.name, alias=self._wanted.alias, pointer=self._pointer, evidence=evidence,
            version=version.number if version else None, before=before.number if before else None, created=created,
            comparison=self._compared[2] if self._compared else None,
        )  # fmt: skip


def _the_model(run: StoredRun, asked: str) -> str:
    """Alias of the model that is meant.

    :raises ConfigError: if the run has none, or several and none is named.
    """
    known = list(dict.fromkeys([*run.models, *(alias for alias, _ in run.cells)]))
    if asked and asked not in known:
        raise UnknownNameError.build(f"{WHERE} --model", "model", asked, known)
    if asked:
        return asked
    if not known:
        raise ConfigError(f"{WHERE}: {run.name} measured no model.")
    if len(known) > 1:
        raise ConfigError(
            f"{WHERE}: {run.name} measured {len(known)} models, and a version is one: add --model with one of {', '.join(known)}."
        )
    return known[0]
