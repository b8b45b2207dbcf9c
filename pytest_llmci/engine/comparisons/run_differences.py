"""How two stored runs differ beside their numbers: in what was asked, in the machine, in what was on trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...store.comparability import Difference
from .stored_run import StoredCell, StoredModel, StoredRun

_JUDGED_ELSEWHERE: Final = frozenset({"memory_method", "anchor"})
"""Of the protocol: another method, or a frozen model on one side alone, makes memory incomparable, and nothing else."""


def differing(base: StoredCell, candidate: StoredCell) -> list[Difference]:
    """Where what was asked of a cell, or how it was measured, is not the same."""
    if base.protocol is None or candidate.protocol is None or base.protocol == candidate.protocol:
        return []
    found = base.protocol.differences(candidate.protocol)
    return [each for each in found if each.name not in _JUDGED_ELSEWHERE]


def machine_differences(base: StoredModel | None, candidate: StoredModel | None) -> list[str]:
    """How the machines of two stored numbers differ: ``cpu_model: A -> B``."""
    if base is None or candidate is None:
        return []
    return list(map(str, base.place.differences(candidate.place)))


def elsewhere(differences: Sequence[str]) -> str:
    """Why times cannot be compared, by what :func:`machine_differences` found.

    >>> elsewhere(["cores_allowed: 2 -> 4"]), elsewhere(["server: http://a:80 -> http://b:80"])
    ('other hardware: cores_allowed: 2 -> 4', 'another server: http://a:80 -> http://b:80')
    """
    told = "; ".join(differences)
    only_server = len(differences) == 1 and told.startswith("server: ")
    return f"another {told}" if only_server else f"other hardware: {told}"


def what_changed(base: StoredRun, candidate: StoredRun) -> tuple[str, ...]:
    """What differs in what was on trial, what all models share told once."""
    shared = [alias for alias in candidate.models if alias in base.models]
    found = {
        alias: list(map(str, base.models[alias].subject.differences(candidate.models[alias].subject)))
        for alias in shared
    }
    told = dict.fromkeys(text for texts in found.values() for text in texts)
    everywhere = [text for text in told if all(text in texts for texts in found.values())]
    single = [f"{alias}: {text}" for alias, texts in found.items() for text in texts if text not in everywhere]
    return (*everywhere, *single)
