"""What the records of a session told, for the gates over all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ..records import LogRecord, QuestionsRecord, RoundsRecord, VerdictRecord, WorkerRecord
from ..text import how_many

COUNTED: Final = ("inferences", "questions", "profiles", "requests", "failed_tests")


@dataclass(slots=True)
class Seen:
    """What the records told, for the gates."""

    models: set[str] = field(default_factory=set)
    """Aliases with a finished inference."""
    tried: set[str] = field(default_factory=set)
    """Aliases that were at least tried; their failures are failed tests already."""
    inferences: int = 0
    profiles: int = 0
    questions: int = 0
    """Of benchmark tasks, answered."""
    requests: int = 0
    """Answers that are no inference, such as those of ``llm.call``."""
    inconclusive: int = 0
    failed_tests: int = 0
    """Tests of ours that failed in any phase."""

    @property
    def nothing(self) -> bool:
        """Whether no model and no instrument gave anything."""
        return not (self.inferences or self.questions or self.profiles or self.requests)

    @property
    def counts(self) -> dict[str, int]:
        """What adds up where several sessions are parts of one."""
        return {name: getattr(self, name) for name in COUNTED if getattr(self, name)}

    def note_uses(self, uses: Sequence[int]) -> None:
        """Profiles and requests that a process had since it was asked last."""
        self.profiles += uses[0]
        self.requests += uses[1]

    def note(self, record: LogRecord) -> None:
        """Take one record in."""
        if isinstance(record, RoundsRecord):
            self.tried.add(record.model)
            self.inferences += record.n if record.origin != "memory" else 0  # a second look at cells that are counted
            if record.n:
                self.models.add(record.model)
        elif isinstance(record, VerdictRecord):
            self.tried.add(record.model)
            self.inconclusive += record.verdict == "inconclusive"
        elif isinstance(record, QuestionsRecord):
            self.tried.add(record.model)
            self.models.add(record.model)
            self.questions += record.n if record.origin == "measured" else 0
        elif isinstance(record, WorkerRecord) and record.role != "judge":
            self.tried.add(record.model)


def what_there_is(seen: Seen) -> str:
    """In a few words."""
    if seen.nothing:
        return f"nothing was measured, as {how_many(seen.failed_tests, 'failed test')} tell{'s' if seen.failed_tests == 1 else ''}"
    parts = []
    if seen.inferences:
        parts.append(f"{how_many(seen.inferences, 'inference')} of {how_many(len(seen.models), 'model')}")
    if seen.questions:
        parts.append(how_many(seen.questions, "answered question"))
    if seen.profiles:
        parts.append(how_many(seen.profiles, "profile"))
    if seen.requests:
        parts.append(how_many(seen.requests, "other request"))
    return ", ".join(parts)
