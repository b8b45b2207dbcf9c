"""Answers to many prompts in one batch: who goes with whom, and where each answer ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..records import Prompt
from .packages import Foreign
from .stopping import cut

BATCH_TOKENS: Final = 16384
"""Places of one batch, padding and answers included, unless one prompt has more: what its keys and values need."""
TAIL_CHARACTERS: Final = 16
"""Decoded beyond the longest stop: a token of several characters may end it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One prompt in tokens."""

    number: int
    prompt: Prompt
    ids: tuple[int, ...]
    templated: bool


def batches(rows: Sequence[Row], most: int, wanted: int, *, padded: bool) -> Iterator[list[Row]]:
    """Rows of like length together, the longest first, so that memory runs out at once or never.

    :param most: rows in a batch.
    :param wanted: tokens of each answer.
    :param padded: whether rows of different length may go together.
    """
    batch: list[Row] = []
    for row in sorted(rows, key=lambda each: -len(each.ids)):
        longest = len(batch[0].ids) if batch else len(row.ids)
        full = len(batch) >= most or (len(batch) + 1) * (longest + wanted) > BATCH_TOKENS
        if batch and (full or (not padded and len(row.ids) != longest)):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


class Stops:
    """Ends each row once its answer holds a stop; asked by ``generate`` after each token."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], stop: Sequence[str], prompt_tokens: int, torch: Foreign
    ) -> None:
        self._decode = decode
        self._stop = [each for each in stop if each]
        self._tail = max(map(len, self._stop), default=0) + TAIL_CHARACTERS
        self._prompt_tokens = prompt_tokens
        self._torch = torch
        self.ended: dict[int, int] = {}
        """Row -> tokens of its answer when the stop was seen."""

    def __call__(self, input_ids: Foreign, scores: Foreign, **keywords: Foreign) -> Foreign:
        """Which rows have ended."""
        count = input_ids.shape[1] - self._prompt_tokens
        for row, ids in enumerate(input_ids[:, self._prompt_tokens :][:, -self._tail :].tolist()):
            if row not in self.ended and cut(self._decode(ids), self._stop) is not None:
                self.ended[row] = count
        done = [row in self.ended for row in range(input_ids.shape[0])]
        return self._torch.tensor(done, dtype=self._torch.bool, device=input_ids.device)


def answer_ids(ids: Sequence[int], eos_ids: frozenset[int], ended: int | None) -> tuple[int, ...]:
    """The tokens of a row's answer: as far as its stop, or its first end-of-text token, which is one of them.

    >>> answer_ids([5, 6, 2, 0, 0], frozenset({2}), None)
    (5, 6, 2)
    """
    kept = ids if ended is None else ids[:ended]
    end = next((place + 1 for place, token in enumerate(kept) if token in eos_ids), len(kept))
    return tuple(kept[:end])
