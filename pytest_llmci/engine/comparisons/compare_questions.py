"""A benchmark's answers against those of a baseline, another run or another model: question by question, and by rate.

Both sides answered the same questions in the same words, else they are not comparable. Where both repeat their numbers to
the last bit on machines of one kind, the questions are all there is: losses are counted. Otherwise McNemar's test decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from ...records import Comparability, ComparisonResult, Json, Mode
from ...stats.looks import SESSION_ALPHA
from ...stats.quality import compare_answers, mcnemar_mid_p
from ...store.baseline_record import BaselineTask
from ...store.comparability import Part
from ..answers import Answers

METRIC: Final = "score"
NOISE: Final = 1e-3
"""A share of a question that moves by less has not moved: other batches alone move a log-probability by so much."""
_MOST: Final = 10_000
"""Net losses that are tried when the smallest visible drop is looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """The answers of one side."""

    main: str
    questions_sha256: str
    prompt_sha256: str
    label: str
    right: Sequence[float]
    """What each question adds to the main metric, 0 to 1, in the order of the file."""
    deterministic: bool | None
    """Whether questions that were asked twice got the same numbers; None where none was."""
    machine: Mapping[str, Json]


def side_of(answers: Answers, machine: Mapping[str, Json]) -> Side:
    """Of a run whose task was answered to its end."""
    facts = answers.facts
    return Side(
        main=facts.main, questions_sha256=facts.questions_sha256, prompt_sha256=facts.prompt_sha256, label=facts.label,
        right=answers.values(facts.main), deterministic=answers.deterministic, machine=machine,
    )  # fmt: skip


def side_of_baseline(task: BaselineTask, machine: Mapping[str, Json]) -> Side:
    """Of a saved baseline."""
    return Side(
        main=task.main, questions_sha256=task.questions_sha256, prompt_sha256=task.prompt_sha256, label=task.label,
        right=task.right, deterministic=task.deterministic, machine=machine,
    )  # fmt: skip


def compare_sides(
    base: Side, candidate: Side, *, against: str, mode: Mode = "saved", alpha: float = SESSION_ALPHA
) -> ComparisonResult:
    """Whether the candidate answers fewer questions right.

    :param alpha: chance of failing where nothing changed, of this one comparison.
    """
    different = _difference(base, candidate)
    if different:
        return _result(
            "not comparable",
            base,
            candidate,
            against=against,
            mode=mode,
            reason=f"{different}; measure both with the same",
        )
    binary = all(value in (0.0, 1.0) for value in (*base.right, *candidate.right))
    census = binary and bool(base.deterministic and candidate.deterministic) and not _machines(base, candidate)
    before, after = _as_won_and_lost(base.right, candidate.right) if not binary else (base.right, candidate.right)
    found = compare_answers(list(map(bool, before)), list(map(bool, after)), deterministic=census, alpha=alpha)
    n = found.questions
    visible = 1 if census else least_visible(alpha)
    rates = f"{base.main} {_percent(base)} -> {_percent(candidate)} over {candidate.label}"
    moved = f"{found.lost} lost, {found.won} won" if found.lost or found.won else "no question changed sides"
    seen = f"a drop of {visible} net ({100 * visible / n:.1f} points) or more could have been seen"
    if visible > n:
        seen = f"{n} questions are too few for any drop to be seen: at least {visible} would have to be lost"
    how = (
        "counted, as both sides repeat to the last bit"
        if census
        else f"McNemar's one-sided mid-p {found.p_value:.2g}, regressed below {alpha:.2g}{_why_no_census(base, candidate, binary=binary)}"
    )
    improved = found.won > found.lost and (census or mcnemar_mid_p(found.won, found.lost) < alpha)
    reason = f"{rates}: {moved}; {how}; {seen}"
    return _result(
        found.verdict, base, candidate, against=against, mode="exact" if census else mode, reason=reason, p_value=found.p_value,
        improved=improved, visible=visible / n,
    )  # fmt: skip


def least_visible(alpha: float = SESSION_ALPHA) -> int:
    """The fewest questions that have to be lost, and none won, before a test can fail.

    >>> least_visible(0.01)
    6
    """
    return next(lost for lost in count(1) if mcnemar_mid_p(lost, 0) < alpha or lost >= _MOST)


def _difference(base: Side, candidate: Side) -> str:
    if base.main != candidate.main:
        return f"another metric: {base.main} -> {candidate.main}"
    if base.questions_sha256 != candidate.questions_sha256 or len(base.right) != len(candidate.right):
        hashes = f"sha256 {base.questions_sha256[:12]} -> {candidate.questions_sha256[:12]}"
        return f"other questions: {base.label} -> {candidate.label}, {hashes}"
    if base.prompt_sha256 != candidate.prompt_sha256:
        return f"another prompt: sha256 {base.prompt_sha256[:12]} -> {candidate.prompt_sha256[:12]}"
    return ""


def _machines(base: Side, candidate: Side) -> list[str]:
    return list(map(str, Part(base.machine).differences(Part(candidate.machine))))


def _why_no_census(base: Side, candidate: Side, *, binary: bool) -> str:
    if not binary:
        return f"; questions whose share moved by {NOISE:g} or more"
    if machines := _machines(base, candidate):
        return f"; tested, as the machines differ ({'; '.join(machines)})"
    sides = (("the reference", base), ("this run", candidate))
    unknown = [name for name, side in sides if side.deterministic is None]
    if unknown:
        return f"; tested, as {' and '.join(unknown)} asked no question twice"
    return f"; tested, as {' and '.join(name for name, side in sides if not side.deterministic)} did not repeat to the last bit"


def _as_won_and_lost(base: Sequence[float], candidate: Sequence[float]) -> tuple[list[float], list[float]]:
    """Shares of a question as right and wrong: which side has the larger one."""
    moves = [0 if abs(now - was) < NOISE else 1 if now > was else -1 for was, now in zip(base, candidate, strict=True)]
    return [float(move < 0) for move in moves], [float(move > 0) for move in moves]


def _percent(side: Side) -> str:
    return f"{_rate(side):.1f} %"


def _rate(side: Side) -> float:
    return 100 * sum(side.right) / max(1, len(side.right))


def _result(
    verdict: Comparability, base: Side, candidate: Side, *, against: str, mode: Mode, reason: str,
    p_value: float | None = None, improved: bool = False, visible: float | None = None,
) -> ComparisonResult:  # fmt: skip
    before, now = _rate(base), _rate(candidate)
    return ComparisonResult(
        metric=METRIC, mode=mode, verdict=verdict, against=against, base=before, candidate=now,
        change=(now - before) / before if before and verdict != "not comparable" else None,
        visible=100 * visible / before if visible is not None and before else None, rounds=len(candidate.right), p_value=p_value,
        improved=improved, reason=reason,
    )  # fmt: skip


def absent(verdict: Comparability, against: str, reason: str) -> ComparisonResult:
    """One side has no answers."""
    return ComparisonResult(
        metric=METRIC,
        mode="exact",
        verdict=verdict,
        against=against,
        base=None,
        candidate=None,
        change=None,
        reason=reason,
    )
