"""Published scores for the models of a session, from tables that others made; ``paper`` is the packaged one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from ..backends.hub import is_local
from ..records import ModelSpec, PublishedScore
from ..settings import Sourced
from .read import read_leaderboard
from .repeats import choose, is_full_precision, same_model
from .table import Entry, Leaderboard

PAPER: Final = "paper"
_OF_THE_HUB: Final = frozenset({"transformers", "hf"})


def read_published(asked: Sequence[Sourced], base_of: Callable[[str], Path]) -> PublishedScores:
    """Read the tables of ``--llmci-scores``.

    :param asked: ``paper``, or paths.
    :param base_of: the folder that a relative path starts from, by the place where it is written.
    :raises ConfigError: in one line, if one cannot be read.
    """
    return PublishedScores([_table(each, base_of) for each in dict.fromkeys(asked)])


def _table(asked: Sourced, base_of: Callable[[str], Path]) -> tuple[str, Leaderboard]:
    if asked.text == PAPER:
        with as_file(files("pytest_llmci") / "data" / "paper_scores.csv") as path:
            return PAPER, read_leaderboard(path)
    path = base_of(asked.origin) / os.path.expanduser(asked.text)
    return path.name, read_leaderboard(path, asked.origin)


class PublishedScores:
    """Finds the score of a model; the first table that has one counts.

    :param tables: label and table.
    """

    def __init__(self, tables: Sequence[tuple[str, Leaderboard]]) -> None:
        self._tables = [(label, board, _by_name(board.entries)) for label, board in tables]

    def find(self, spec: ModelSpec) -> PublishedScore | None:
        """What is published of a model.

        A model of the hub is found by its repository's name, whatever the case of its letters; by its alias only where the
        user gave it one. Any other model is found by its alias. Part of a name is never enough.
        """
        for label, board, by_name in self._tables:
            for name in _names(spec):
                rows = [entry for entry in by_name.get(same_model(name), ()) if entry.average is not None]
                if rows:
                    return _score(_best_row(rows, spec), spec, label, board)
        return None

    def summary(self, specs: Sequence[ModelSpec]) -> list[str]:
        """For people: how many of the models have a score, the nearest names for the others, and what was assumed."""
        lines = []
        for label, board, by_name in self._tables:
            lacking = [spec for spec in specs if not any(same_model(name) in by_name for name in _names(spec))]
            found = len(specs) - len(lacking)
            nearest = [text for spec in lacking[:3] if (text := _nearest(spec, board.entries))]
            hint = f" ({'; '.join(nearest)})" if nearest else ""
            plural = "" if len(specs) == 1 else "s"
            lines.append(f"published scores of {label}: {found} of {len(specs)} model{plural}{hint}")
            lines += [f"{label}: {note}" for note in board.notes if "fraction" in note or "averages" in note]
        return lines


def _by_name(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(same_model(entry.model), []).append(entry)
    return found


def _names(spec: ModelSpec) -> list[str]:
    """What a table may call the model."""
    of_the_hub = spec.backend in _OF_THE_HUB and not is_local(os.path.expanduser(spec.target))
    named = spec.text.startswith(f"{spec.alias}=")
    return [*([spec.target] if of_the_hub else []), *([spec.alias] if named or not of_the_hub else [])]


def _best_row(rows: Sequence[Entry], spec: ModelSpec) -> Entry:
    """Of several rows, one of the commit that ran; else the one that counts elsewhere, too."""
    same = [entry for entry in rows if spec.revision and entry.revision == spec.revision]
    return choose(same or rows)


def _score(entry: Entry, spec: ModelSpec, label: str, board: Leaderboard) -> PublishedScore:
    assert entry.average is not None  # the caller asks for rows that have one
    notes = [board.average]
    if entry.revision and spec.revision and entry.revision != spec.revision:
        notes.append(f"of the commit {entry.revision[:7]}, not {spec.revision[:7]}")
    if not is_full_precision(entry.precision):
        notes.append(f"evaluated in {entry.precision}")
    if entry.flagged:
        notes.append("flagged by the board")
    return PublishedScore(value=entry.average, source=label, name=entry.model, note=", ".join(notes))


def _nearest(spec: ModelSpec, entries: Iterable[Entry]) -> str:
    wanted = _names(spec)[0]
    known = {same_model(entry.model): entry.model for entry in entries}
    near = difflib.get_close_matches(same_model(wanted), list(known), n=1, cutoff=0.75)
    return f"no '{wanted}'; nearest is '{known[near[0]]}'" if near else ""
