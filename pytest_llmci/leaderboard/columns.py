"""Which column of a leaderboard holds what: the names of the Kaggle table, of the Open LLM Leaderboard and of plain files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError
from ..text import one_line

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("fullname", "model name for query", "model name", "model id", "model", "name", "repository", "repo"),
    "average": ("average score", "average", "avg score", "avg", "benchmark score", "score"),
    "size": (
        "#params (b)", "params (b)", "parameters (b)", "size (b)", "#params (m)", "params (m)", "parameters (m)", "size (m)", "#params",
        "params", "parameters", "num params", "number of parameters", "model size", "size",
    ),
    "likes": ("no of likes", "number of likes", "hub likes", "likes", "hub"),
    "type": ("type", "model type"),
    "precision": ("precision", "dtype"),
    "license": ("hub license", "license", "licence"),
    "revision": ("model sha", "sha", "revision", "commit"),
    "date": ("date", "evaluation date", "submission date", "upload to hub date"),
    "on_hub": ("available on the hub",),
    "flagged": ("flagged",),
    "gated": ("gated",),
    "weights": ("weight type",),
}  # fmt: skip
"""Role -> the names of its column, without shots and symbols, the ones to be preferred first."""
BENCHMARKS: Final = frozenset({
    "arc", "arc challenge", "arc c", "arc easy", "arc e", "hellaswag", "mmlu", "truthfulqa", "truthfulqa mc", "truthfulqa mc1",
    "truthfulqa mc2", "winogrande", "gsm8k", "drop", "ifeval", "bbh", "math", "math lvl 5", "gpqa", "musr", "mmlu pro", "piqa", "boolq",
    "openbookqa", "obqa", "siqa", "commonsenseqa", "lambada", "triviaqa", "naturalquestions", "humaneval", "mbpp", "agieval", "race",
})  # fmt: skip
"""Columns that hold a score each."""
_SHOTS: Final = re.compile(r"\(\s*\d+[- ]?shot\s*\)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Where to find what, by position."""

    roles: dict[str, int]
    """Role -> position; roles that the file does not have are left out."""
    scores: dict[str, int]
    """Title of a benchmark -> position."""
    titles: tuple[str, ...]
    """Of all columns, as the file has them."""
    not_read: tuple[str, ...]

    def title(self, role: str) -> str:
        """What the file calls a role."""
        return shown(self.titles[self.roles[role]])

    @property
    def size_unit(self) -> str:
        """``b`` or ``m``, as the header of the sizes says."""
        return "m" if self.title("size").casefold().endswith("(m)") else "b"


def shown(title: str) -> str:
    """A title without shots, arrows and symbols.

    >>> shown("ARC (25-shot)"), shown("Average ⬆️"), shown("#Params (B)")
    ('ARC', 'Average', '#Params (B)')
    """
    kept = re.sub(r"[^\w#()\-.:/& ]+", " ", _SHOTS.sub("", title))
    return one_line(kept) or one_line(title)


def _bare(title: str) -> str:
    """
    >>> _bare("No. of Likes"), _bare("model_name_for_query"), _bare("MMLU-PRO"), _bare("Hub ❤️")
    ('no of likes', 'model name for query', 'mmlu pro', 'hub')
    """
    return re.sub(r"[^a-z0-9#()]+", " ", _SHOTS.sub("", title).casefold()).strip()


def find_columns(titles: Sequence[str], where: str) -> Columns:
    """Recognise the columns of a file.

    :param where: the file, for messages.
    :raises ConfigError: if there is no column of models or none of scores, or a title that counts stands twice.
    """
    bare = [_bare(title) for title in titles]
    roles = {
        role: bare.index(name)
        for role, names in ROLES.items()
        if (name := next((name for name in names if name in bare), None)) is not None
    }
    scores: dict[str, int] = {}
    for position, name in enumerate(bare):
        if name in BENCHMARKS:
            if shown(titles[position]) in scores:
                raise ConfigError(f"{where}: the column '{shown(titles[position])}' stands twice; remove one.")
            scores[shown(titles[position])] = position
    twice = next((role for role, position in roles.items() if bare.count(bare[position]) > 1), None)
    if twice:
        raise ConfigError(f"{where}: the column '{shown(titles[roles[twice]])}' stands twice; remove one.")
    if "model" not in roles or not (scores or "average" in roles):
        raise ConfigError(_strange(titles, where, lacks_model="model" not in roles))
    used = {*roles.values(), *scores.values()}
    not_read = tuple(shown(title) for position, title in enumerate(titles) if position not in used and title.strip())
    return Columns(roles=roles, scores=scores, titles=tuple(titles), not_read=not_read)


def _strange(titles: Sequence[str], where: str, *, lacks_model: bool) -> str:
    found = ", ".join(f"'{one_line(title)[:40]}'" for title in titles[:12]) + (", ..." if len(titles) > 12 else "")
    lacking = "no column of model names" if lacks_model else "no column of scores"
    return (
        f"{where}: {lacking} among {found}; expected one row a model with a column 'model_name_for_query' or 'Model', and 'Average score',"
        " 'Average' or benchmarks such as 'ARC', 'HellaSwag', 'MMLU', 'TruthfulQA'."
    )
