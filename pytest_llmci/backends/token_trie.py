"""Many runs of tokens as one: what several of them begin with is there once.

A causal model computes a token from those before it, so that runs with the same beginning need it once, and a pass over the
tree of all runs, in which a token sees its own ancestors alone, gives for each run what a pass over it alone would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .scored_tokens import Tokens


@dataclass(slots=True)
class TokenTrie:
    """A tree of tokens, each with its place in the run."""

    base: int = 0
    """Length of a beginning that all runs have and that stands elsewhere; it is not in the tree."""
    tokens: list[int] = field(default_factory=list)
    """One a node; a parent stands before its children."""
    positions: list[int] = field(default_factory=list)
    """From 0 at the begin of the run."""
    segments: list[tuple[int, int, int]] = field(default_factory=list)
    """Stretches of nodes that follow each other: first node, end, and the node before the first (-1: none in the tree)."""
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, run: Sequence[int]) -> list[int]:
        """Put a run (without what is the beginning of all) in; returns the node of each of its tokens."""
        path: list[int] = []
        node = -1
        for token in run:
            found = self._children.get((node, token))
            if found is None:
                break
            path.append(found)
            node = found
        first = len(self.tokens)
        rest = run[len(path) :]
        for offset, token in enumerate(rest):
            self._children[node if not offset else first + offset - 1, token] = first + offset
        start = self.base + len(path)
        self.tokens += rest
        self.positions += range(start, start + len(rest))
        if rest:
            self.segments.append((first, first + len(rest), node))
        return [*path, *range(first, first + len(rest))]

    def __len__(self) -> int:
        return len(self.tokens)


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with.

    >>> common_length((1, 2, 3), (1, 2, 4, 5))
    2
    """
    for number, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return number
    return min(len(one), len(other))


@dataclass(frozen=True, slots=True)
class Family:
    """Questions that follow each other and begin with the same tokens, such as the examples of a few-shot benchmark; or questions
    that follow each other and have nothing in common."""

    first: int
    end: int
    common: int
    """How many tokens all begin with; 0 where that is not worth being kept."""


def families(contexts: Sequence[Tokens], least: int, *, alone: int) -> Iterator[Family]:
    """Cut questions into families.

    :param contexts: what all continuations of each question begin with.
    :param least: a beginning is worth being kept from so many tokens on, if it is at least half of the context.
    :param alone: the beginning of a question without a family is kept from so many tokens on.
    """
    first, strangers = 0, 0
    while first < len(contexts):
        common, end = contexts[first], first + 1
        while end < len(contexts):
            shared = common_length(common, contexts[end])
            if shared < max(least, len(contexts[end]) // 2):
                break
            common = common[:shared]
            end += 1
        if end > first + 1 or len(common) >= alone:
            if strangers < first:
                yield Family(strangers, first, 0)
            yield Family(first, end, len(common))
            strangers = end
        first = end
    if strangers < first:
        yield Family(strangers, first, 0)
