"""Requests that a server put off: counted and shown, since no latency tells of them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from ..text import one_line
from .report import SessionReport

_ATTEMPT: Final = re.compile(r"attempt \d+ failed: (.*?)(?=; attempt \d+ failed: |$)")
"""As :mod:`~pytest_llmci.runner.loop` notes it with the round."""
_STATUS: Final = re.compile(r"\bHTTP \d{3}\b")
NO_ANSWER: Final = "no answer"


def retry_text(report: SessionReport) -> str:
    """How many answers came at a further attempt, and what the attempts before failed of; empty where all came at the first.

    Rounds that count are meant, those of a memory pass among them, not warm-ups.
    """
    answers, late = 0, 0
    failed: Counter[str] = Counter()
    models: Counter[str] = Counter()
    for cell in report.cells:
        for block in cell.columns.blocks:
            if "retries" not in block.layout:
                continue
            counts = block.column("retries")
            answers += sum(count is not None for count in counts)
            late += sum(bool(count) for count in counts)
            models[cell.model] += sum(int(count or 0) for count in counts)
            for number, note in zip(counts, block.noisy, strict=False):
                told = [_kind(text) for text in _ATTEMPT.findall(note)] if number else []
                failed.update(told)
                failed[NO_ANSWER] += int(number or 0) - len(told)
    if not late:
        return ""
    kinds = ", ".join(f"{count} x {kind}" for kind, count in failed.most_common() if count > 0)
    hit = [(model, count) for model, count in models.most_common() if count]
    whose = f"; {', '.join(f'{one_line(model)} {count}' for model, count in hit)}" if len(report.models) > 1 else ""
    came = "answer came" if late == 1 else "answers came"
    before = f"after {sum(failed.values())} that failed ({kinds}{whose})"
    return f"Retries: {late} of {answers} {came} at a further attempt, {before}. Their time, and the waits, are in no latency."


def _kind(text: str) -> str:
    """
    >>> _kind("openai:http://h: the server limits the rate, HTTP 429: slow down"), _kind("nothing answers at http://h")
    ('HTTP 429', 'no answer')
    """
    found = _STATUS.search(text)
    return found[0] if found else NO_ANSWER
