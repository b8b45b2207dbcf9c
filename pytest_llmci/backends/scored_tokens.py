"""Which tokens a question of a log-likelihood benchmark is: the rules that decide what a score means.

Source: ``TemplateLM._encode_pair``, ``TemplateLM.loglikelihood`` and ``HFLM._loglikelihood_tokens`` of lm-evaluation-harness
0.4.13, whose scores these are to equal. Where that one shortens a context in silence, the number of tokens that were cut is
said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..errors import GenerationError
from ..records import ScoreRequest
from .packages import Foreign

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """One run of tokens: those of ``target`` are scored, each after all that stand before it."""

    context: Tokens
    """At least one token."""
    target: Tokens
    """At least one token."""
    truncated: int = 0
    """Tokens cut from the left of the context."""

    @property
    def read(self) -> Tokens:
        """What the model has to read: the last token is only looked up."""
        return (self.context + self.target)[:-1]


@dataclass(kw_only=True, slots=True)
class ScoredTokens:
    """Tokenises questions for one model."""

    name: str
    """Of the model, for messages."""
    tokenizer: Foreign
    prefix: int
    """Stands where there is no context: begin of text, else end of text."""
    limit: int | None
    """Tokens that the model can read."""
    _begin: str = field(init=False)

    def __post_init__(self) -> None:
        self._begin = str(self.tokenizer.decode([self.prefix]))

    def of(self, request: ScoreRequest) -> list[list[Scored]]:
        """Of each continuation its runs: one, or the windows of a document that is scored as a whole.

        :raises GenerationError: naming the question, if a continuation has no tokens or more than the model can read.
        """
        if request.rolling:
            return [[*self._windows(self._ids(text))] for text in request.continuations]
        return [[self._fitting(request, *pair)] for pair in self._pairs(request.context, request.continuations)]

    def pair(self, context: str, continuation: str) -> tuple[Tokens, Tokens]:
        """Tokens of both: tokenised together and split at the context's own length; white space at the end of the context
        counts as the continuation's."""
        (found,) = self._pairs(context, (continuation,))
        return found

    def _pairs(self, context: str, continuations: Sequence[str]) -> Iterator[tuple[Tokens, Tokens]]:
        bare = context.rstrip()
        if not bare:
            for continuation in continuations:
                yield self._without_context(self._ids(context + continuation, special=False))
            return
        own, *wholes = self._many([bare, *(context + continuation for continuation in continuations)])
        for whole in wholes:
            yield (own, whole[len(own) :]) if own else self._without_context(whole)

    def _without_context(self, target: Tokens) -> tuple[Tokens, Tokens]:
        return (target[:1], target[1:]) if target[:1] == (self.prefix,) else ((self.prefix,), target)

    def _fitting(self, request: ScoreRequest, context: Tokens, target: Tokens) -> Scored:
        if not target:
            raise GenerationError(f"{self.name}: question {request.id}: a continuation has no tokens.", kind="prompt")
        if self.limit is None:
            return Scored(context, target)
        if len(target) > self.limit:
            raise GenerationError(
                f"{self.name}: question {request.id}: a continuation has {len(target)} tokens, but the context of the model is"
                f" {self.limit}: shorten it or leave the question out.",
                kind="context",
            )
        cut = max(0, len(context) + len(target) - (self.limit + 1))
        return Scored(context[cut:], target, cut)

    def _windows(self, ids: Tokens) -> Iterator[Scored]:
        """A document in windows of what the model can read, each token scored once and each window as full as it can be.

        Source: ``get_rolling_token_windows`` and ``make_disjoint_window`` of lm-evaluation-harness with a context of one token.
        """
        size = self.limit or len(ids)
        if ids:
            yield Scored((self.prefix,), ids[:size])
        for end in range(2 * size, len(ids) + size, size):
            last, first = min(end, len(ids)), end - size
            yield Scored(ids[last - size - 1 : first], ids[first:last])

    def _ids(self, text: str, *, special: bool = True) -> Tokens:
        (found,) = self._many([text], special=special)
        return found

    def _many(self, texts: Sequence[str], *, special: bool = True) -> list[Tokens]:
        """:param special: as the tokenizer does by itself, which may put a begin-of-text token first, but never a second one."""
        special = special and not (self._begin and texts[0].startswith(self._begin))
        batch = self.tokenizer([*texts], add_special_tokens=special, return_attention_mask=False, verbose=False)
        return [tuple(ids) for ids in batch["input_ids"]]
