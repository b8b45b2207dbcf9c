"""Requests that a server put off: counted and shown, since no latency tells of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ...runner.attempts import attempts_in, requests_of
from ...text import one_line
from .columns import Block
from .report import SessionReport

_STATUS: Final = re.compile(r"\bHTTP \d{3}\b")
NO_ANSWER: Final = "no answer"


@dataclass(slots=True)
class _Counts:
    """Of answers of one kind."""

    answers: int = 0
    late: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)

    def take(self, blocks: Iterable[Block]) -> _Counts:
        """Count the rounds of blocks."""
        for block in blocks:
            if "retries" not in block.layout:
                continue
            counts = block.column("retries")
            self.answers += sum(count is not None for count in counts)
            self.late += sum(bool(count) for count in counts)
            self.models[block.model] += sum(int(count or 0) for count in counts)
            for number, note in zip(counts, block.noisy, strict=False):
                told = [_kind(text) for text in attempts_in(note)] if number else []
                self.failed.update(told)
                self.failed[NO_ANSWER] += int(number or 0) - len(told)
        return self

    def take_warmups(self, blocks: Iterable[Block]) -> _Counts:
        """Count what went before the rounds of blocks."""
        for block in blocks:
            self.late += requests_of(block.warmup_failed)
            self.failed.update(map(_kind, block.warmup_failed))
        return self

    @property
    def kinds(self) -> str:
        """What the attempts failed of."""
        return ", ".join(f"{count} x {kind}" for kind, count in self.failed.most_common() if count > 0)


def retry_text(report: SessionReport) -> str:
    """How many answers came at a further attempt, and what the attempts before failed of; empty where all came at the first.

    Rounds that count are meant, those of a memory pass among them; those of the reference, of samples and of warm-ups are told
    apart.
    """
    own = [block for cell in report.cells for block in cell.columns.blocks]
    reference, samples = (
        [block for block in report.blocks if report.status(block) == origin] for origin in ("reference", "sample")
    )
    counted = _Counts().take(own)
    apart = (
        ("of the reference", _Counts().take(reference)),
        ("of samples", _Counts().take(samples)),
        ("at warm-ups", _Counts().take_warmups([*own, *reference])),
    )
    if not counted.late and not any(counts.late for _, counts in apart):
        return ""
    hit = [(model, count) for model, count in counted.models.most_common() if count]
    whose = f"; {', '.join(f'{one_line(model)} {count}' for model, count in hit)}" if len(report.models) > 1 else ""
    came = "answer came" if counted.late == 1 else "answers came"
    parts = [f"{counted.late} of {counted.answers} {came} at a further attempt"]
    parts += [f"after {counted.failed.total()} that failed ({counted.kinds}{whose})"] if counted.late else []
    parts += [
        f"and {counts.late}{f' of {counts.answers}' if counts.answers else ''} {where} after {counts.failed.total()} ({counts.kinds})"
        for where, counts in apart
        if counts.late
    ]
    return f"Retries: {', '.join(parts)}. Their time, and the waits, are in no latency."


def _kind(text: str) -> str:
    """
    >>> _kind("openai:http://h: the server limits the rate, HTTP 429: slow down"), _kind("nothing answers at http://h")
    ('HTTP 429', 'no answer')
    """
    found = _STATUS.search(text)
    return found[0] if found else NO_ANSWER
