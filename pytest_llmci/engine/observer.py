"""What a session tells whoever watches it while it runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from ..records import Cell, ModelSpec


class Observer(Protocol):
    """A terminal, or nobody."""

    def loading(self, spec: ModelSpec) -> None:
        """A model's process is being started."""

    def say(self, text: str) -> None:
        """One short line from the model source, such as ``converting (once)``."""

    def loaded(self, spec: ModelSpec, seconds: float | None) -> None:
        """The model is ready.

        :param seconds: its load time; None where it was not loaded here.
        """

    def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
        """One measured round is over."""

    def questions_answered(self, spec: ModelSpec, task: str, done: int, of: int) -> None:
        """A batch of a benchmark task's questions is answered."""

    def pair_begins(self, spec: ModelSpec, pair: int, most: int) -> None:
        """A fresh pair of processes, of a model and what it is compared with, is about to be started.

        :param pair: from 0; ``most`` are planned.
        """

    def tick(self) -> None:
        """Time passes."""

    def uncharged(self) -> AbstractContextManager[None]:
        """Around what no test is to be charged for: loading a model, waiting for the machine."""


class Silent:
    """Nobody watches."""

    def loading(self, spec: ModelSpec) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def loaded(self, spec: ModelSpec, seconds: float | None) -> None:
        pass

    def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
        pass

    def questions_answered(self, spec: ModelSpec, task: str, done: int, of: int) -> None:
        pass

    def pair_begins(self, spec: ModelSpec, pair: int, most: int) -> None:
        pass

    def tick(self) -> None:
        pass

    def uncharged(self) -> AbstractContextManager[None]:
        return nullcontext()
