"""``llmci rollback``: the alias goes back to the version that had it before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..clock import Clock, SystemClock, utc_text
from ..engine.comparisons.release_gate import way_back
from ..errors import ConfigError, LLMCIError
from ..records import Json
from ..text import one_line
from ..tracking.connection import Connection
from .base import DEFAULT_ALIAS
from .champion import pointer_of_version
from .pointer import ModelPointer
from .turn import taking_turns
from .versions import APPROVED, STATUS_TAG, RegisteredModel, Shelf, Version

WHERE: Final = "rollback"
WITHDRAWN: Final = "withdrawn"
MOST_REASON: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollback:
    """What :func:`rollback` did."""

    name: str
    alias: str
    before: int
    """The version that was withdrawn."""
    now: int
    """The version that the alias stands for again."""
    reason: str
    dry_run: bool
    way_back: tuple[str, ...]
    """Commands that bring back its code and its model, as ``llmci history --gate`` gives them."""

    @property
    def data(self) -> dict[str, Json]:
        """For JSON."""
        return {
            "name": self.name, "alias": self.alias, "before": self.before, "now": self.now, "reason": self.reason,
            "dry_run": self.dry_run, "way_back": list(self.way_back),
        }  # fmt: skip


def rollback(
    connection: Connection, name: str, *, alias: str = DEFAULT_ALIAS, reason: str = "", dry_run: bool = False,
    clock: Clock | None = None,
) -> Rollback:  # fmt: skip
    """Give an alias back to the version that was approved for it last, before the present one.

    The present one is withdrawn, so that the next call goes a step further back. A version that was withdrawn becomes
    eligible again when it is promoted again.

    :raises ConfigError: if there is no such name or alias, or no approved version before.
    :raises SinkError: if MLflow does not answer.
    """
    place = RegisteredModel(connection, name, WHERE)
    shelf, holder = place.require_alias(alias)
    target = _before(shelf, holder, alias)
    if dry_run:
        return _told(connection, holder, target, alias, reason, dry_run=True)
    now_clock = clock or SystemClock()
    with taking_turns(place, clock=now_clock) as turn:
        shelf, holder = place.require_alias(alias)
        target = _before(shelf, holder, alias)
        now = utc_text(now_clock.utc())
        why = one_line(reason)[:MOST_REASON] or "no reason was given"
        turn.renew()
        place.move(alias, target)
        place.tag_version(holder, {f"llmci.{alias}.withdrawn": f"{now} {why}", STATUS_TAG: WITHDRAWN})
        place.tag_version(
            target,
            {f"llmci.{alias}.restored": f"{now} in place of version {holder.number}: {why}", STATUS_TAG: APPROVED},
        )
        place.note(
            alias, f"{now} rolled back from version {holder.number} to version {target.number}: {why}", shelf.tags
        )
    return _told(connection, holder, target, alias, why, dry_run=False)


def _before(shelf: Shelf, holder: Version, alias: str) -> Version:
    """The approved version that had the alias last before its holder; any, where the holder was set by hand."""
    place = holder.place(alias)
    found = [
        each for each in shelf.approved(alias)
        if each.number != holder.number and (place is None or (each.place(alias) or 0) < place)
    ]  # fmt: skip
    if not found:
        raise ConfigError(
            f"{WHERE}: no version of '{shelf.versions[0].name}' was approved as '{alias}' before version {holder.number}, so there is"
            f" nothing to go back to. Promote a run that is good enough: llmci promote {holder.name} --run RUN --alias {alias}"
        )
    return found[-1]


def _told(
    connection: Connection, holder: Version, target: Version, alias: str, reason: str, *, dry_run: bool
) -> Rollback:
    then, now = _pointer(connection, target), _pointer(connection, holder)
    lines = way_back(then.commit, now.commit if now else "", [then.spec], to=f"version {target.number}") if then else []
    return Rollback(
        name=holder.name,
        alias=alias,
        before=holder.number,
        now=target.number,
        reason=reason,
        dry_run=dry_run,
        way_back=tuple(lines),
    )


def _pointer(connection: Connection, version: Version) -> ModelPointer | None:
    """What a version points at; None where that cannot be read, which does not undo what was done."""
    try:
        return pointer_of_version(connection, version, WHERE)
    except LLMCIError:
        return None
