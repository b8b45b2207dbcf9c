"""Scoring many continuations at once, against scoring each by itself, on models of several architectures."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from pytest_llmci.backends import log_likelihood
from pytest_llmci.backends.base import OnScores
from pytest_llmci.backends.causal_lm import CausalLM
from pytest_llmci.backends.tiny import build_tokenizer
from pytest_llmci.errors import GenerationError
from pytest_llmci.records import ContinuationScore, ScoreRequest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.5,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 2048}
CONTEXT = 2048


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models as small as these are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def llama() -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED))


def gpt2() -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=259, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, initializer_range=0.5, bos_token_id=1, eos_token_id=2,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    )  # fmt: skip


def neox() -> Any:
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**SIZES, max_position_embeddings=CONTEXT))


def sliding() -> Any:
    return transformers.MistralForCausalLM(transformers.MistralConfig(**GROUPED, sliding_window=64))


def mixed() -> Any:
    layers = ["sliding_attention", "full_attention"]
    return transformers.Gemma3ForCausalLM(
        transformers.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=64, layer_types=layers)
    )  # fmt: skip


def alibi() -> Any:
    config = transformers.BloomConfig(vocab_size=259, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.5)
    return transformers.BloomForCausalLM(config)


def mamba() -> Any:
    config = transformers.MambaConfig(vocab_size=259, hidden_size=32, state_size=4, num_hidden_layers=2)
    return transformers.MambaForCausalLM(config)


def lm_of(make: Callable[[], Any], dtype: str = "float32") -> CausalLM:
    torch.manual_seed(3)
    model = make().eval().to(getattr(torch, dtype))
    return CausalLM(
        name="m", torch=torch, model=model, tokenizer=build_tokenizer(transformers), context_length=CONTEXT
    )  # fmt: skip


def words(chance: random.Random, least: int, most: int) -> str:
    return " ".join("".join(chance.choices("abcdefgh", k=3)) for _ in range(chance.randint(least, most)))


def questions(count: int = 12, *, seed: int = 1, before: str = "") -> list[ScoreRequest]:
    chance = random.Random(seed)
    return [
        ScoreRequest(
            context=f"{before}Q: {words(chance, 2, 6)}\nA:",
            continuations=tuple(f" {words(chance, 1, 3)}" for _ in range(chance.randint(1, 4))),
            id=f"q{number}",
        )
        for number in range(count)
    ]


def score(lm: CausalLM, asked: Sequence[ScoreRequest], batch: int = 16) -> list[Sequence[ContinuationScore]]:
    found: dict[int, Sequence[ContinuationScore]] = {}
    begun: list[int] = []

    def keep(number: int, scores: Sequence[ContinuationScore]) -> None:
        assert number in begun and number not in found
        found[number] = scores

    lm.score_many(asked, batch, on_batch=begun.extend, on_scores=keep)
    return [found[number] for number in range(len(asked))]


def alone(lm: CausalLM, request: ScoreRequest) -> list[ContinuationScore]:
    """Each continuation by itself, straight from the model."""
    found = []
    for continuation in request.continuations:
        context, target = lm._tokens().pair(request.context, continuation)
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([[*context, *target]])).logits[0].float()
        rows = torch.log_softmax(logits[len(context) - 1 : -1], dim=-1)
        values = [row[token].item() for row, token in zip(rows, target, strict=True)]
        greedy = all(row.argmax().item() == token for row, token in zip(rows, target, strict=True))
        found.append(ContinuationScore(logprob=sum(values), tokens=len(target), is_greedy=greedy))
    return found


def assert_same(lm: CausalLM, asked: Sequence[ScoreRequest], batch: int = 16) -> None:
    for request, scores in zip(asked, score(lm, asked, batch), strict=True):
        one_by_one = alone(lm, request)
        assert [each.logprob for each in scores] == pytest.approx([each.logprob for each in one_by_one], abs=1e-3)
        assert [(each.tokens, each.is_greedy) for each in scores] == [
            (each.tokens, each.is_greedy) for each in one_by_one
        ]


@pytest.mark.parametrize(
    ("make", "trees", "keeps"),
    [(llama, True, True), (gpt2, True, True), (neox, True, True), (sliding, True, None), (mixed, True, None), (alibi, False, None), (mamba, False, False)],
)  # fmt: skip
def test_all_at_once_is_as_one_by_one_whatever_the_model(
    make: Callable[[], Any], trees: bool, keeps: bool | None
) -> None:
    lm = lm_of(make)
    long = "".join(f"Q: {text}\nA: {text}\n\n" for text in ("some words here", "other words there", "more of them"))
    asked = [*questions(9), *questions(40, seed=2, before=long), *questions(9, seed=3)]
    assert_same(lm, asked)
    assert lm.scorer().trusted.get("tree") is trees
    assert lm.scorer().trusted.get("kept") is keeps


def test_a_greedy_continuation_is_told() -> None:
    lm = lm_of(llama)
    letters = lm.tokenizer("abcdefgh", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        others = torch.ones(259, dtype=torch.bool).index_fill(0, torch.tensor(letters), value=False)
        lm.model.lm_head.weight[others] = 0  # their logit: the likeliest token is a letter
    text = "Q: abc"
    for _ in range(2):
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            text += lm.tokenizer.decode([lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()])
    one, two = text[-2], text[-1]
    other = next(letter for letter in "abcdefgh" if letter not in {one, two})
    (scores,) = score(
        lm, [ScoreRequest(context="Q: abc", continuations=(one, one + two, other, one + other, other + two))]
    )
    assert [each.is_greedy for each in scores] == [True, True, False, False, False]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_batch_changes_no_number(batch: int) -> None:
    assert_same(lm_of(llama), questions(20), batch)


def test_what_questions_have_in_common_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, read = lm_of(llama), []
    forward = lm.model.forward

    def count(*arguments: Any, **keywords: Any) -> Any:
        read.append(keywords["input_ids"].numel())
        return forward(*arguments, **keywords)

    asked = questions(4)
    many = questions(60, before="An example with an answer, and another one. " * 6)
    score(lm, [*asked, *many])  # afterwards the model is known to read trees
    monkeypatch.setattr(lm.model, "forward", count)
    score(lm, asked)
    assert len(read) == 1
    assert read == [distinct(asked)]
    read.clear()
    score(lm, many)
    assert read[0] > 256 and len(read) > 3
    assert sum(read) < distinct(many) + 20 * len(read)


def distinct(asked: Sequence[ScoreRequest]) -> int:
    """Places that differ from each other in what stands before them."""
    texts = [request.context + continuation for request in asked for continuation in request.continuations]
    return len({text[:length] for text in texts for length in range(1, len(text))})


def test_the_output_layer_is_asked_at_scored_places_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, rows = lm_of(llama), []
    asked = [ScoreRequest(context="a long context " * 9, continuations=(" ab", " ac", " b"))]
    score(lm, asked)
    lm.model.lm_head.register_forward_hook(lambda module, given, answer: rows.append(answer.shape[1]))
    score(lm, asked)
    # White space at the end belongs to the continuation: " " after the context, then " a" and " b" part.
    assert rows == [len({"", " ", "  ", "  a", "  b"} - {"  b"})]


def test_long_contexts_of_single_questions_are_kept_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = lm_of(llama)
    monkeypatch.setattr(log_likelihood, "LONG_CONTEXT", 100)
    monkeypatch.setattr(log_likelihood, "PASS_TOKENS", 20)
    assert_same(lm, [*questions(2, before="x" * 150), *questions(2, before="y" * 170)])
    assert lm.scorer().trusted["kept"] is True


def test_large_questions_are_cut_and_small_outputs_kept_small(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(4)
    many = ScoreRequest(
        context="Q: which", continuations=tuple(f" {words(chance, 1, 9)}" for _ in range(30)), id="many"
    )
    lm = lm_of(llama)
    monkeypatch.setattr(log_likelihood, "PASS_TOKENS", 100)
    monkeypatch.setattr(log_likelihood, "PASS_LOGITS", 259 * 40)
    assert_same(lm, [*questions(3), many, *questions(3, seed=2)])


def test_beyond_a_sliding_window_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = lm_of(sliding)
    assert_same(lm, [*questions(4), *questions(4, before="x" * 100), *questions(4, seed=5)])
    assert lm.scorer().trusted["tree"] is True


def test_a_model_that_reads_trees_wrongly_is_found_out() -> None:
    """One that looks at its neighbour in the row, in spite of the mask."""
    lm = lm_of(llama)
    lm.model.get_input_embeddings().register_forward_hook(
        lambda module, given, answer: torch.cat([answer[:, :1], answer[:, 1:] + answer[:, :-1]], dim=1)
    )
    score(lm, questions(6))
    assert lm.scorer().trusted["tree"] is False


def test_half_precision_reads_trees_too() -> None:
    lm = lm_of(llama, "bfloat16")
    asked = questions(6)
    for request, scores in zip(asked, score(lm, asked), strict=True):
        expected = [each.logprob for each in alone(lm, request)]
        assert [each.logprob for each in scores] == pytest.approx(expected, rel=0.03, abs=0.3)
    assert lm.scorer().trusted["tree"] is True


def test_a_model_without_a_choice_of_places_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = lm_of(llama)
    forward = type(lm.model).forward

    def plain(
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        use_cache: Any = None,
    ) -> Any:
        return forward(
            lm.model, input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, past_key_values=past_key_values,
            use_cache=use_cache,
        )  # fmt: skip

    monkeypatch.setattr(lm.model, "forward", plain)
    assert_same(lm, questions(6))
    lm.scorer().trusted["tree"] = False
    assert_same(lm, questions(6))


# --------------------------------------------------------------------------------------------------------- bad input


def test_not_a_number_names_its_question_though_it_spreads_in_the_pass() -> None:
    lm = lm_of(llama)
    (poison,) = lm.tokenizer("%", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[poison] = float("nan")
    asked = [
        *questions(3),
        ScoreRequest(context="Q: 5%\nA:", continuations=(" a", " b"), id="bad"),
        *questions(3, seed=2),
    ]
    found: dict[int, object] = {}
    keep: OnScores = found.__setitem__
    with pytest.raises(GenerationError, match=r"^m: question bad: the model gives NaN \(not a number\)") as caught:
        lm.score_many(asked, 16, on_batch=lambda numbers: None, on_scores=keep)
    assert caught.value.kind == "nan"
    assert sorted(found) == [0, 1, 2]


def test_an_empty_or_too_long_continuation_is_one_line() -> None:
    lm = lm_of(llama)
    for continuations, text in (
        ((" a", ""), "question q: a continuation has no tokens"),
        ((" a", "x" * 2049), "question q: a continuation has 2049 tokens, but the context of the model is 2048"),
    ):
        with pytest.raises(GenerationError, match=text):
            score(lm, [ScoreRequest(context="Q", continuations=continuations, id="q")])
    with pytest.raises(GenerationError, match="question 1: a continuation has no tokens"):
        score(lm, [ScoreRequest(context="Q", continuations=("",))])


def test_a_context_that_is_too_long_loses_its_beginning_and_says_so() -> None:
    lm = lm_of(llama)
    lm.context_length = 50
    (scores,) = score(lm, [ScoreRequest(context="x" * 60 + "tail of it", continuations=(" abc", " de"))])
    assert [each.truncated for each in scores] == [70 + 4 - 51, 70 + 3 - 51]
    for each, text in zip(scores, (" abc", " de"), strict=True):
        kept = ("x" * 60 + "tail of it")[-(51 - len(text)) :]
        assert each.logprob == pytest.approx(sum(lm.score(kept, text)), abs=1e-3)


def test_what_the_framework_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = lm_of(llama)
    score(lm, questions(2))

    def fail(**keywords: Any) -> Any:
        raise RuntimeError("no\nsuch kernel")

    monkeypatch.setattr(lm.model, "forward", fail)
    with pytest.raises(GenerationError, match="^m: RuntimeError while generating: no"):
        score(lm, questions(2))


# ------------------------------------------------------------------------------------------------------- whole documents


def test_documents_are_scored_in_windows_each_token_once() -> None:
    lm = lm_of(llama)
    lm.context_length = 16
    chance = random.Random(9)
    texts = ["abc", words(chance, 4, 4) + "x", words(chance, 9, 12), "y" * 16, "z" * 17, "w" * 32]
    asked = [ScoreRequest(context="", continuations=(text,), rolling=True, id="d") for text in texts]
    for text, (found,) in zip(texts, score(lm, asked), strict=True):
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert found.tokens == len(ids)
        total, done = 0.0, 0
        while done < len(ids):
            end = min(done + 16, len(ids))
            window = [1, *ids[:end]] if end <= 16 else ids[end - 17 : end]
            with torch.no_grad():
                table = torch.log_softmax(lm.model(input_ids=torch.tensor([window[:-1]])).logits[0].float(), dim=-1)
            total += sum(
                table[place - 1, window[place]].item() for place in range(len(window) - (end - done), len(window))
            )
            done = end
        assert found.logprob == pytest.approx(total, abs=1e-3)
    (empty,) = score(lm, [ScoreRequest(context="", continuations=("",), rolling=True)])
    assert empty == [ContinuationScore(logprob=0.0, tokens=0, is_greedy=True)]
