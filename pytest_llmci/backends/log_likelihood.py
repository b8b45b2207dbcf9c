"""Log-probabilities of many continuations, each token that several of them have in common computed once.

The questions of a batch become one tree of tokens, and one pass over it answers all of them: positions and attention mask say
for each token what it follows. What is asked of the output layer is asked at the places where a token is scored, and nowhere
else. A beginning that many questions have in common (few-shot examples) is kept as keys and values for all batches.

Not every model can read a tree: some take no such mask, or have layers that see neighbours in the row. Whether this one can is
found out on the first batch, where one question is scored a second time by itself; where the numbers differ, and for contexts
longer than a sliding window, whole rows are read instead, padded on the right.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from ..errors import GenerationError
from ..records import ContinuationScore, ScoreRequest
from .base import OnBatch, OnScores
from .packages import Foreign
from .scored_tokens import Scored, ScoredTokens, Tokens
from .token_trie import TokenTrie, common_length, families

PASS_TOKENS: Final = 384
"""Of one pass, unless one continuation has more: enough for full matrix products, few enough for attention to stay cheap."""
PASS_TOKENS_GPU: Final = 4096
PASS_LOGITS: Final = 1 << 26
"""Numbers that the output layer gives in one pass, at most: 256 MiB."""
TREE_TOKENS: Final = 4096
"""A longer run is read as a row: the attention mask of a tree grows with the square of its tokens."""
ROW_TOKENS: Final = 4096
"""Of one batch of whole rows, padding included, unless one row has more."""
KEPT_TOKENS: Final = 48
"""A beginning of so many tokens, common to questions that follow each other, is kept for all passes."""
LONG_CONTEXT: Final = 1024
"""The context of a single question is kept from so many tokens on, so that they stand in no mask."""
Way = Literal["tree", "kept"]
"""A tree alone, or one behind a beginning that is kept."""
_PLAIN_LAYERS: Final = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


@dataclass(slots=True)
class Question:
    """A question in tokens, and what is known of it."""

    number: int
    id: str
    continuations: list[list[Scored]]
    """The runs of each continuation."""
    found: dict[tuple[int, int], Value] = field(default_factory=dict)

    def runs(self) -> Iterator[Run]:
        """All of them."""
        for which, runs in enumerate(self.continuations):
            for part, scored in enumerate(runs):
                yield Run(self, (which, part), scored, scored.read)

    @property
    def shared(self) -> Tokens:
        """What all runs begin with, short of the first place where a token is scored."""
        contexts = [scored.context[:-1] for runs in self.continuations for scored in runs] or [()]
        return contexts[0][: min(common_length(contexts[0], other) for other in contexts)]

    @property
    def longest(self) -> int:
        """Tokens of the longest run."""
        return max((len(run.read) for run in self.runs()), default=0)

    def keep(self, place: tuple[int, int], value: Value) -> bool:
        """Remember what a run gave; returns whether it was the last one."""
        self.found[place] = value
        return len(self.found) == sum(map(len, self.continuations))

    def scores(self) -> list[ContinuationScore]:
        """Of each continuation, the runs taken together."""
        return [
            ContinuationScore(
                logprob=math.fsum(self.found[which, part].logprob for part in range(len(runs))),
                tokens=sum(len(scored.target) for scored in runs),
                is_greedy=all(self.found[which, part].is_greedy for part in range(len(runs))),
                truncated=max((scored.truncated for scored in runs), default=0),
            )
            for which, runs in enumerate(self.continuations)
        ]


@dataclass(frozen=True, slots=True)
class Value:
    """What a run gave."""

    logprob: float
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A run of tokens that belongs to a question."""

    question: Question
    place: tuple[int, int]
    scored: Scored
    read: Tokens


@dataclass(frozen=True, slots=True)
class Kept:
    """A beginning that the model has read."""

    length: int
    cache: Foreign


@dataclass(kw_only=True, slots=True)
class LogLikelihood:
    """Scores questions with one model."""

    name: str
    torch: Foreign
    model: Foreign
    tokens: ScoredTokens
    pad_id: int
    failure: Callable[[BaseException], GenerationError]
    trusted: dict[Way, bool] = field(default_factory=dict)
    """What has been found out of the model."""
    _reach: int | None = field(init=False)
    """Of a token, to the left; None without bound."""
    _picks: bool = field(init=False)
    """Whether the model can be told where its output layer is wanted."""
    _most_scored: int = field(init=False)

    def __post_init__(self) -> None:
        config = self.model.config
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        layers = getattr(config, "layer_types", None) or ()
        if not _PLAIN_LAYERS.issuperset(layers) or getattr(self.model, "_is_stateful", False):
            self.trusted = {"tree": False, "kept": False}
        self._reach = min(_windows(config), default=None)
        self._picks = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        self._most_scored = max(1, PASS_LOGITS // (getattr(config, "vocab_size", 0) or len(self.tokens.tokenizer)))

    def score_many(
        self, requests: Sequence[ScoreRequest], batch: int, *, on_batch: OnBatch, on_scores: OnScores
    ) -> None:
        """Score all of them; see :class:`.base.ScoresMany`.

        :raises GenerationError: naming the question at fault.
        """
        questions = [self._question(number, request) for number, request in enumerate(requests)]
        try:
            with self.torch.inference_mode():
                rest = self._score_trees(questions, batch, on_batch, on_scores)
                self._score_rows(rest, batch, on_batch, on_scores)
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, MemoryError) as error:
            raise self.failure(error) from error
        for question in questions:
            if not any(question.continuations):  # empty documents: nothing had to be asked
                on_batch([question.number])
                on_scores(question.number, question.scores())

    def _question(self, number: int, request: ScoreRequest) -> Question:
        named = request if request.id else replace(request, id=f"{number + 1}")
        return Question(number, named.id, self.tokens.of(named))

    # -------------------------------------------------------------------------------------------------------- as trees

    def _score_trees(
        self, questions: Sequence[Question], batch: int, on_batch: OnBatch, on_scores: OnScores
    ) -> list[Run]:
        """Score what a tree can hold; returns the runs that have to be read as rows."""
        rest: list[Run] = []
        if not self.trusted.get("tree", True):
            return [run for question in questions for run in question.runs()]
        short = [question for question in questions if question.longest <= min(self._reach or TREE_TOKENS, TREE_TOKENS)]
        rest += [run for question in questions if question not in short for run in question.runs()]
        for family in families([question.shared for question in short], KEPT_TOKENS, alone=LONG_CONTEXT):
            members = short[family.first : family.end]
            kept: Kept | None = None
            for number, (group, is_last) in enumerate(self._passes(members, family.common, batch)):
                on_batch(sorted({run.question.number for run in group}))
                if not number and (not is_last or family.common >= LONG_CONTEXT):
                    kept = self._keep(members[0].runs().__next__().read[: family.common])
                if not self._score_tree(group, kept, on_scores):
                    rest += group
        return rest

    def _passes(self, questions: Sequence[Question], common: int, batch: int) -> Iterator[tuple[list[Run], bool]]:
        """Runs that go into one pass, and whether it is the last one. A question is cut in two only where it is too large."""
        most = PASS_TOKENS if self.model.device.type == "cpu" else PASS_TOKENS_GPU
        passes: list[list[Run]] = [[]]
        tokens = scored = members = 0
        for question in questions:
            runs = [*question.runs()]
            costs = [_cost(run, before, common) for run, before in zip(runs, [None, *runs], strict=False)]
            fits = (
                tokens + sum(costs) <= most
                and scored + sum(len(run.scored.target) for run in runs) <= self._most_scored
            )
            if passes[-1] and (members >= batch or not fits):
                passes.append([])
                tokens = scored = members = 0
            members += 1
            for run, cost in zip(runs, costs, strict=True):
                if passes[-1] and (tokens + cost > most or scored + len(run.scored.target) > self._most_scored):
                    passes.append([])
                    tokens, scored, members = len(run.scored.context) - common, 0, 1
                passes[-1].append(run)
                tokens, scored = tokens + cost, scored + len(run.scored.target)
        for number, group in enumerate(passes, start=1):
            if group:
                yield group, number == len(passes)

    def _keep(self, beginning: Tokens) -> Kept | None:
        """Have the model read a beginning; None where there is none, or what it keeps cannot be used again and again."""
        if not beginning or not self.trusted.get("kept", True):
            return None
        ids = self._tensor([beginning])
        try:
            cache = self.model(input_ids=ids, use_cache=True, **self._wanted([len(beginning) - 1])).past_key_values
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError):
            cache = None
        layers = getattr(cache, "layers", ())
        if not layers or any(type(layer).__name__ != "DynamicLayer" for layer in layers):
            self.trusted["kept"] = False
            return None
        return Kept(len(beginning), cache)

    def _score_tree(self, group: Sequence[Run], kept: Kept | None, on_scores: OnScores) -> bool:
        """Score one group in one pass; returns False where the model turns out to read no trees."""
        way: Way = "kept" if kept else "tree"
        if not self.trusted.get("tree", True):
            return False
        if way in self.trusted:
            values = self._tree_values(group, kept)
        else:
            try:
                values = self._tree_values(group, kept)
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
                values = []
            if not values or not self._agree(group, values, way):
                self.trusted[way] = False
                return self._score_tree(group, None, on_scores) if kept else False
        if any(math.isnan(value.logprob) for value in values):  # it spreads to whoever stands in the same pass
            values = [value for run in group for value in self._row_values([run])]
        self._hand_over(group, values, on_scores)
        return True

    def _agree(self, group: Sequence[Run], values: Sequence[Value], way: Way) -> bool:
        """Whether the pass gave what its first and its last question give by themselves."""
        if len(group) < 2 and way == "tree":
            return True  # one run alone proves nothing, and is right in any case
        tolerance = 5e-4 if self.model.dtype == self.torch.float32 else 0.1
        last_of_first = max(number for number, run in enumerate(group) if run.question is group[0].question)
        for number in {last_of_first, len(group) - 1}:
            (alone,) = self._row_values([group[number]])
            apart = abs(alone.logprob - values[number].logprob)
            if apart > tolerance * max(1.0, abs(alone.logprob) / 10):  # NaN on both sides is agreement
                return False
        self.trusted[way] = True
        return True

    def _tree_values(self, group: Sequence[Run], kept: Kept | None) -> list[Value]:
        base = kept.length if kept else 0
        trie = TokenTrie(base)
        paths = [trie.add(run.read[base:]) for run in group]
        asked = [
            [path[len(run.scored.context) - 1 - base + place] for place in range(len(run.scored.target))]
            for run, path in zip(group, paths, strict=True)
        ]
        wanted = sorted({node for nodes in asked for node in nodes})
        logits = self._read_tree(trie, kept, wanted)
        rows = {node: row for row, node in enumerate(wanted)}
        return self._values(logits, [[rows[node] for node in nodes] for nodes in asked], group)

    def _read_tree(self, trie: TokenTrie, kept: Kept | None, wanted: Sequence[int]) -> Foreign:
        torch, count = self.torch, len(trie)
        seen = torch.zeros((count, trie.base + count), dtype=torch.bool)
        seen[:, : trie.base] = True
        own = seen[:, trie.base :]
        for first, end, before in trie.segments:
            if before >= 0:
                own[first:end, :first] = own[before, :first]
            own[first:end, first:end] = torch.ones((end - first, end - first), dtype=torch.bool).tril()
        mask = torch.zeros(seen.shape, dtype=self.model.dtype).masked_fill_(~seen, torch.finfo(self.model.dtype).min)
        cached = {"past_key_values": kept.cache, "use_cache": True} if kept else {"use_cache": False}
        try:
            answer = self.model(
                input_ids=self._tensor([trie.tokens]), position_ids=self._tensor([trie.positions]),
                attention_mask=mask[None, None].to(self.model.device), **cached, **self._wanted(wanted),
            )  # fmt: skip
        finally:
            if kept and kept.cache.get_seq_length() > kept.length:
                kept.cache.crop(kept.length - kept.cache.get_seq_length())
        return answer.logits[0] if self._picks else answer.logits[0, self._tensor(wanted)]

    # --------------------------------------------------------------------------------------------------------- as rows

    def _score_rows(self, runs: Sequence[Run], batch: int, on_batch: OnBatch, on_scores: OnScores) -> None:
        """Score whole rows of like length; a run that another one begins with needs no row of its own."""
        rows: list[list[Run]] = []
        for run in sorted(runs, key=lambda each: each.read, reverse=True):
            if rows and rows[-1][0].read[: len(run.read)] == run.read:
                rows[-1].append(run)
            else:
                rows.append([run])
        rows.sort(key=lambda row: -len(row[0].read))
        while rows:
            longest = len(rows[0][0].read)
            count = max(1, min(batch, ROW_TOKENS // longest))
            group = [run for row in rows[:count] for run in row]
            on_batch(sorted({run.question.number for run in group}))
            self._hand_over(group, self._row_values(*rows[:count]), on_scores)
            rows = rows[count:]

    def _row_values(self, *rows: Sequence[Run]) -> list[Value]:
        """:param rows: the first run of each is read, the others are beginnings of it."""
        length = len(rows[0][0].read)
        places = [
            [(number, len(run.scored.context) - 1 + place) for place in range(len(run.scored.target))]
            for number, row in enumerate(rows) for run in row
        ]  # fmt: skip
        wanted = sorted({place for found in places for _, place in found})
        ids = self._tensor([[*row[0].read, *[self.pad_id] * (length - len(row[0].read))] for row in rows])
        mask = self._tensor([[1] * len(row[0].read) + [0] * (length - len(row[0].read)) for row in rows])
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False, **self._wanted(wanted)).logits
        column = {place: number for number, place in enumerate(wanted)} if self._picks else range(length)
        found = sorted({each for group in places for each in group})
        flat = logits[
            self._tensor([number for number, _ in found]), self._tensor([column[place] for _, place in found])
        ]
        index = {each: number for number, each in enumerate(found)}
        return self._values(
            flat, [[index[each] for each in group] for group in places], [run for row in rows for run in row]
        )

    # ------------------------------------------------------------------------------------------------------------ both

    def _values(self, logits: Foreign, rows: Sequence[Sequence[int]], runs: Sequence[Run]) -> list[Value]:
        """What each run gave.

        :param logits: of shape (places, vocabulary).
        :param rows: of each run, for each of its scored tokens, the place that foretells it.
        """
        torch = self.torch
        logits = logits.float()
        at = self._tensor([row for found in rows for row in found])
        tokens = self._tensor([token for run in runs for token in run.scored.target])
        logprobs = (logits[at, tokens] - torch.logsumexp(logits, dim=-1)[at]).tolist()
        greedy = (logits.argmax(dim=-1)[at] == tokens).tolist()
        values, first = [], 0
        for run in runs:
            end = first + len(run.scored.target)
            values.append(Value(math.fsum(logprobs[first:end]), all(greedy[first:end])))
            first = end
        return values

    def _hand_over(self, runs: Sequence[Run], values: Sequence[Value], on_scores: OnScores) -> None:
        for run, value in zip(runs, values, strict=True):
            if math.isnan(value.logprob):
                raise GenerationError(
                    f"{self.name}: question {run.question.id}: the model gives NaN (not a number) as log-probability;"
                    " look at its weights and dtype.",
                    kind="nan",
                )
            if run.question.keep(run.place, value):
                on_scores(run.question.number, run.question.scores())

    def _wanted(self, places: Sequence[int]) -> dict[str, Foreign]:
        return {"logits_to_keep": self._tensor(places)} if self._picks else {}

    def _tensor(self, numbers: Sequence[int] | Sequence[Sequence[int]]) -> Foreign:
        return self.torch.tensor(numbers, dtype=self.torch.long, device=self.model.device)


def _cost(run: Run, before: Run | None, common: int) -> int:
    """Tokens that a run adds to a tree after the one before it, of the same question."""
    return len(run.read) - max(common, common_length(run.read, before.read) if before else 0)


def _windows(config: Foreign) -> Iterator[int]:
    """How far tokens see, where that is bounded."""
    layers = getattr(config, "layer_types", None)
    for name, kind in (("sliding_window", "sliding_attention"), ("attention_chunk_size", "chunked_attention")):
        size = getattr(config, name, None)
        if isinstance(size, int) and size > 0 and (layers is None or kind in layers):
            yield size
