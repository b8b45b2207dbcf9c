"""Tables and texts of a run in GitHub's Markdown; what comes from a run stays text."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from ...text import one_line

COMPARED_TEXTS: Final = (0, 1, 5, 6)
"""Columns of texts in a table of comparisons."""
_ENTITY: Final = {"<": "&lt;", ">": "&gt;", "|": "&#124;", "&": "&amp;", "@": "&#64;"}
_MARKUP: Final = re.compile(r"[\\`*_\[\]<>|#&~$@]")


def escaped(text: str) -> str:
    r"""Text from a run on one line that Markdown takes for text, and that calls nobody by an ``@``.

    >>> escaped("a|b <script>\n*x*")
    'a&#124;b &lt;script&gt; \\*x\\*'
    """
    return _MARKUP.sub(lambda found: _ENTITY.get(found[0]) or f"\\{found[0]}", one_line(text))


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int], most: int, what: str = "rows"
) -> list[str]:
    """A table of escaped cells; a last one in capitals, a bad verdict, is strong.

    :param left: columns of texts, by their place; numbers stand to the right.
    :param most: rows; how many more there are is said below it.
    :returns: nothing where there are no rows.
    """
    if not rows:
        return []
    lines = [
        f"| {' | '.join(headings)} |",
        "|" + "".join("---|" if place in left else "--:|" for place in range(len(headings))),
    ]
    lines += [f"| {' | '.join([*map(escaped, row[:-1]), _last(row[-1])])} |" for row in rows[:most]]
    if len(rows) > most:
        lines += ["", f"{len(rows) - most} more {what} are left out."]
    return [*lines, ""]


def _last(text: str) -> str:
    return f"**{escaped(text)}**" if text.isupper() else escaped(text)
