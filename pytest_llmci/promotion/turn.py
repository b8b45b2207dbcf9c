"""One promotion at a time, by tags alone.

MLflow's registry has no compare-and-set, and its clients share nothing but what they write there. Lamport's bakery algorithm
needs no more than that: registers that can be written and read (L. Lamport, "A new solution of Dijkstra's concurrent
programming problem", CACM 17(8), 1974). Each contender owns one tag. It says that it is choosing, takes a number above all that it
sees, and waits until nobody who is choosing or has a lower number is left.

A contender that died would hold up all others for ever: a tag that has not changed for :data:`LEASE_S` is taken away, and its
owner, should it live after all, gives up, as it trusts its tag for half of that time only.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from ..clock import Clock, SystemClock
from ..errors import LLMCIError, SinkError

PREFIX: Final = "llmci.turn."
LEASE_S: Final = 60.0
"""Longer than a few requests to a slow server take; a comparison that takes longer renews its tag between steps."""
PATIENCE_S: Final = 300.0
"""How long to wait for others, each of whom takes seconds."""
LOOK_EVERY_S: Final = 0.1
_CHOOSING: Final = "choosing"


class Tags(Protocol):
    """The tags of one registered model."""

    def read(self) -> Mapping[str, str]:
        """All of them, as they are now."""

    def write(self, key: str, value: str) -> None:
        """Set one."""

    def delete(self, key: str) -> None:
        """Remove one; it may be gone."""


class Turn:
    """The right to change the aliases of one registered model."""

    def __init__(self, tags: Tags, clock: Clock) -> None:
        self._tags, self._clock = tags, clock
        self._key = PREFIX + secrets.token_hex(6)
        self._number = 0
        self._beat = 0
        self._written_ns = 0

    def renew(self) -> None:
        """Say that its owner lives, and prove that it is still its turn; before every write that must not come too late.

        :raises SinkError: if it took so long that somebody else may have gone on.
        """
        self._check_age()
        if self._key not in self._tags.read():
            raise _lost()
        self._beat += 1
        self._write(f"{self._number} {self._beat}")

    def _write(self, value: str) -> None:
        begun = self._clock.now_ns()
        self._tags.write(self._key, value)
        self._written_ns = begun  # from its begin: when it reached the store, nobody knows

    def _check_age(self) -> None:
        if self._clock.now_ns() - self._written_ns > LEASE_S / 2 * 1e9:
            raise _lost()

    def take(self) -> None:
        """Wait until it is this one's turn.

        :raises SinkError: if it does not come.
        """
        self._write(_CHOOSING)
        self._number = 1 + max((_number(value) for value in _contenders(self._tags.read()).values()), default=0)
        self._check_age()
        self._write(f"{self._number} 0")
        self._check_age()
        begun = self._clock.now_ns()
        seen: dict[str, tuple[str, int]] = {}
        while ahead := self._ahead():
            now = self._clock.now_ns()
            for key, value in ahead.items():
                before, since = seen.setdefault(key, (value, now))
                if before != value:
                    seen[key] = value, now
                elif now - since > LEASE_S * 1e9:
                    self._tags.delete(key)
            if now - begun > PATIENCE_S * 1e9:
                raise SinkError(
                    f"{len(ahead)} other promotion{'' if len(ahead) == 1 else 's'} of this model under way: try again later."
                )
            if now - self._written_ns > LEASE_S / 4 * 1e9:
                self.renew()
            self._clock.sleep(LOOK_EVERY_S)
        self.renew()

    def _ahead(self) -> dict[str, str]:
        """Those who come first."""
        found = _contenders(self._tags.read())
        if self._key not in found:
            raise _lost()
        mine = self._number, self._key
        return {
            key: value for key, value in found.items()
            if key != self._key and (_number(value), key) < mine
        }  # fmt: skip

    def leave(self) -> None:
        """Let the next one go on."""
        self._tags.delete(self._key)


@contextmanager
def taking_turns(tags: Tags, *, clock: Clock | None = None) -> Iterator[Turn]:
    """Alone among all who do the same with these tags, on whatever machine.

    :raises SinkError: if the turn does not come, or was lost.
    """
    turn = Turn(tags, clock or SystemClock())
    try:
        turn.take()
        yield turn
    finally:
        with suppress(LLMCIError):  # what is left behind is taken away by the next one
            turn.leave()


def _contenders(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key.startswith(PREFIX)}


def _number(value: str) -> int:
    """Of a contender; 0 while it is choosing, so that all others wait for it."""
    first = value.partition(" ")[0]
    return int(first) if first.isdecimal() else 0


def _lost() -> SinkError:
    return SinkError(
        "this took so long that another promotion of the model may have gone on: nothing was changed; run it again."
    )
