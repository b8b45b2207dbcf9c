"""A selection as lines for people, as JSON, and as a file that ``--llm-models=@FILE`` reads."""

from __future__ import annotations

from typing import Final

from ..records import Json, JsonObject
from ..text import one_line, shown_path, wrapped
from ..units import format_bytes
from .repeats import RULE
from .select import BYTES, GROUPS, OVERHEAD_BYTES, Candidate, Selection, Wanted
from .sizes import format_size

_WIDTH: Final = 110


def selection_lines(found: Selection) -> list[str]:
    """The models to measure with the reason for each, and why the others lost."""
    fit = len(found.chosen) + len(found.lower)
    models = "1 model" if found.models == 1 else f"{found.models:,} models"
    head = f"{shown_path(found.board.path)}: {models}, {fit:,} within the limits ({_limits(found.wanted)})"
    lines = wrapped(head, _WIDTH, rest="  ")
    if not found.chosen:
        lines += ["", "No model is within the limits."]
    else:
        lines += ["", option(found), "", *_table(found)]
    return [*lines, "", *_others(found), *_remarks(found)]


def option(found: Selection) -> str:
    """The option for pytest."""
    return f"--llm-models={','.join(chosen.spec for chosen in found.chosen)}"


def _limits(wanted: Wanted) -> str:
    parts = []
    if wanted.max_params_b is not None:
        parts.append(f"at most {format_size(wanted.max_params_b)} parameters")
    if wanted.max_memory_bytes is not None:
        parts.append(f"about {format_bytes(wanted.max_memory_bytes)} of memory in {wanted.dtype}")
    if wanted.min_score is not None:
        parts.append(f"score of at least {wanted.min_score:g}")
    parts += [
        f"{what} {' or '.join(globs)}"
        for what, globs in (("licence", wanted.licenses), ("type", wanted.types))
        if globs
    ]
    left_out = [group for group in GROUPS if group not in wanted.include]
    if left_out:
        parts.append(f"without {', '.join(left_out)}")
    return "; ".join(map(one_line, parts)) or "none"


def _table(found: Selection) -> list[str]:
    rows = [["", "model", found.by, "parameters", "memory, about", "licence", "why"]]
    for chosen in found.chosen:
        entry, size, memory = chosen.candidate.entry, chosen.candidate.size, chosen.candidate.memory
        rows.append([
            str(chosen.rank), entry.model, f"{chosen.candidate.score:.2f}", str(size or "unknown"), str(memory or "unknown"),
            one_line(entry.license) or "unknown", one_line(chosen.why),
        ])  # fmt: skip
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    return ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows]


def _others(found: Selection) -> list[str]:
    groups = found.lost_by_first_reason()
    if not groups and not found.lower:
        return ["No other model lost."]
    counts = [*(len(group) for group in groups.values()), len(found.lower)]
    room = len(f"{max(counts):,}")
    lines = ["Why the others lost, by the first reason of each, with the best of them:"]
    if found.lower:
        best = found.lower[0]
        lines.append(f"  {len(found.lower):>{room},}  lower {found.by}: next is {best.entry.model} ({best.score:.2f})")
    for kind, group in groups.items():
        text = f"{one_line(kind)}: {_named(group[0])}"
        lines += wrapped(text, _WIDTH, first=f"  {len(group):>{room},}  ", rest=" " * (room + 4))
    return lines


def _named(candidate: Candidate) -> str:
    parts = [f"{candidate.score:.2f}"] if candidate.score is not None else []
    if candidate.reasons[0].detail:
        parts.append(one_line(candidate.reasons[0].detail))
    return f"{candidate.entry.model} ({', '.join(parts)})" if parts else candidate.entry.model


def _remarks(found: Selection) -> list[str]:
    board, dtype = found.board, found.wanted.dtype
    added = f"{format_bytes(OVERHEAD_BYTES)} for Python, torch and a short context"
    texts = [f"Memory is an estimate: parameters x {BYTES[dtype]} bytes ({dtype}) + {added}."]
    if len(board.entries) > found.models:
        texts.append(f"Of a model in several rows, one counts: {RULE}.")
    unknown = [
        word
        for role, word in (("flagged", "flagged"), ("gated", "gated"), ("on_hub", "still on the hub"))
        if role not in board.has
    ]
    if unknown:
        texts.append(f"The file does not say which models are {', '.join(unknown)}.")
    texts += [f"note: {one_line(note)}" for note in board.notes]
    return [line for text in texts for line in wrapped(text, _WIDTH, rest="  ")]


def selection_file(found: Selection) -> str:
    """A YAML list of the specs, each with its reason."""
    lines = [f"# {found.by} of {one_line(found.board.path.name)}; {_limits(found.wanted)}", "models:"]
    for chosen in found.chosen:
        lines += [f"  # {chosen.candidate.score:.2f}: {one_line(chosen.why)}", f"  - {chosen.spec}"]
    return "\n".join(lines) + "\n"


def selection_json(found: Selection) -> JsonObject:
    """All of it, with every reason of every model."""
    return {
        "file": str(found.board.path),
        "by": found.by,
        "models": found.models,
        "limits": _limits(found.wanted),
        "dtype": found.wanted.dtype,
        "llm_models": [chosen.spec for chosen in found.chosen],
        "chosen": [
            {**_facts(chosen.candidate), "rank": chosen.rank, "spec": chosen.spec, "why": chosen.why}
            for chosen in found.chosen
        ],
        "lower": list(map(_facts, found.lower)),
        "lost": [{**_facts(candidate), "reasons": _reasons(candidate)} for candidate in found.lost],
        "notes": list[Json](found.board.notes),
    }


def _reasons(candidate: Candidate) -> list[Json]:
    return [f"{each.kind}: {each.detail}" if each.detail else each.kind for each in candidate.reasons]


def _facts(candidate: Candidate) -> JsonObject:
    size, memory = candidate.size, candidate.memory
    return {
        "model": candidate.entry.model,
        "line": candidate.entry.line,
        "score": candidate.score,
        "parameters_b": [size.low_b, size.high_b] if size else None,
        "parameters_source": (size.source or "file") if size else None,
        "memory_bytes_estimate": [memory.low, memory.high] if memory else None,
        "license": candidate.entry.license or None,
        "precision": candidate.entry.precision or None,
    }
