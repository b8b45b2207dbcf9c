"""Which tokens are scored, by the rules of lm-evaluation-harness."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmci.backends.scored_tokens import Scored, ScoredTokens
from pytest_llmci.backends.token_trie import Family, families
from pytest_llmci.errors import GenerationError
from pytest_llmci.records import ScoreRequest


class Tokenizer:
    """A token a character, and a begin-of-text token (1, written ``<s>``) where special ones are asked for."""

    def __init__(self, begins: bool = True) -> None:
        self.begins = begins

    def __call__(self, texts: list[str], add_special_tokens: bool = True, **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [self._ids(text, special=add_special_tokens and self.begins) for text in texts]}

    def _ids(self, text: str, *, special: bool) -> list[int]:
        written = text.startswith("<s>")
        return [1] * (special + written) + [ord(letter) for letter in text.removeprefix("<s>")]

    def decode(self, ids: list[int]) -> str:
        return "".join("<s>" if token == 1 else chr(token) for token in ids)


def tokens(*, begins: bool = True, limit: int | None = None) -> ScoredTokens:
    return ScoredTokens(name="m", tokenizer=Tokenizer(begins), prefix=1, limit=limit)


def of(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


@pytest.mark.parametrize(
    ("context", "continuation", "begins", "expected"),
    [
        ("ab", " c", False, (of("ab"), of(" c"))),
        ("ab", " c", True, ((1, *of("ab")), of(" c"))),
        ("ab  ", "c", True, ((1, *of("ab")), of("  c"))),
        ("<s>ab", "c", True, ((1, *of("ab")), of("c"))),  # not a second one
        ("", "ab", True, ((1,), of("ab"))),
        ("", "<s>ab", True, ((1,), of("ab"))),
        (" \n", "ab", True, ((1,), of(" \nab"))),
    ],
)
def test_context_and_continuation_are_split_where_the_harness_does(
    context: str, continuation: str, begins: bool, expected: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    assert tokens(begins=begins).pair(context, continuation) == expected


def test_the_left_goes_where_all_is_too_long_and_is_counted() -> None:
    (runs,) = tokens(begins=False, limit=5).of(ScoreRequest(context="abcdef", continuations=("gh",), id="q"))
    assert runs == [Scored(of("cdef"), of("gh"), 2)]
    assert len(runs[0].read) == 5
    (runs,) = tokens(begins=False, limit=5).of(ScoreRequest(context="ab", continuations=("cdefg",), id="q"))
    assert runs == [Scored(of("b"), of("cdefg"), 1)]
    with pytest.raises(
        GenerationError, match="^m: question q: a continuation has 6 tokens, but the context of the model is 5: "
    ) as caught:
        tokens(begins=False, limit=5).of(ScoreRequest(context="ab", continuations=("cdefgh",), id="q"))
    assert caught.value.kind == "context"


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 8, 9, 11])
def test_windows_hold_each_token_once_and_as_much_context_as_fits(length: int) -> None:
    text = "abcdefghijklm"[:length]
    (runs,) = tokens(begins=False, limit=4).of(ScoreRequest(context="", continuations=(text,), rolling=True))
    assert tuple(token for run in runs for token in run.target) == of(text)
    assert runs[0].context == (1,)
    for run in runs[1:]:
        assert len(run.context + run.target) == 5  # the last one, too, reads as far back as it can
        assert run.context + run.target == of(text)[-5:] or len(run.target) == 4


def test_families_are_questions_with_the_same_examples() -> None:
    strangers = [of("apple"), of("bread"), of("cheese")]
    shots = [of("examples: " + each) for each in ("a", "bc", "d")]
    assert [*families([*strangers, *shots, of("x"), of("long" * 9)], 6, alone=30)] == [
        Family(0, 3, 0), Family(3, 6, 10), Family(6, 7, 0), Family(7, 8, 36),
    ]  # fmt: skip
