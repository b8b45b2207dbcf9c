"""Answers in batches, against one after the other."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pytest_llmci.backends import batched_answers
from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.batched_answers import Row, answer_ids, batches
from pytest_llmci.backends.tiny import TinyBackend
from pytest_llmci.errors import GenerationError
from pytest_llmci.records import Completion, GenerationSettings, Message, ModelSpec, Prompt


def rows(*lengths: int) -> list[Row]:
    return [
        Row(number=number, prompt=Prompt(id=f"p{number}", text=""), ids=(5,) * length, templated=False)
        for number, length in enumerate(lengths)
    ]


def lengths(found: Sequence[Sequence[Row]]) -> list[list[int]]:
    return [[len(row.ids) for row in batch] for batch in found]


def test_rows_of_like_length_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lengths([*batches(rows(3, 9, 4, 8, 3), 2, 10, padded=True)]) == [[9, 8], [4, 3], [3]]
    assert lengths([*batches(rows(3, 9, 4, 3, 3), 2, 10, padded=False)]) == [[9], [4], [3, 3], [3]]
    assert [*batches([], 2, 10, padded=True)] == []
    monkeypatch.setattr(batched_answers, "BATCH_TOKENS", 30)
    assert lengths([*batches(rows(50, 5, 5, 5), 9, 10, padded=True)]) == [[50], [5, 5], [5]]


def test_an_answer_ends_at_its_stop_or_first_end_of_text() -> None:
    eos = frozenset({2})
    assert answer_ids([5, 6, 2, 2], eos, None) == (5, 6, 2)
    assert answer_ids([5, 6, 7, 0], eos, 2) == (5, 6)
    assert answer_ids([5, 6, 7], eos, None) == (5, 6, 7)
    assert answer_ids([5, 2, 7], frozenset(), None) == (5, 2, 7)


def opened(**options: str) -> TinyBackend:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    backend = TinyBackend(ModelSpec(alias="tiny", backend="tiny", options=options, text="tiny"))
    backend.load(LoadContext(threads=1, cache_dir="", say=lambda line: None))
    return backend


@pytest.fixture(scope="module")
def tiny() -> TinyBackend:
    return opened()


def prompts(count: int = 12) -> list[Prompt]:
    chance = random.Random(3)
    return [
        Prompt(id=f"p{n}", text="".join(chance.choices("abcdefgh ", k=chance.randint(1, 60)))) for n in range(count)
    ]


def one_by_one(tiny: TinyBackend, asked: Sequence[Prompt], settings: GenerationSettings) -> list[Completion]:
    from dataclasses import replace

    found = [tiny.complete(tiny.generate(prompt, settings, lambda: None)) for prompt in asked]
    return [replace(each, kv_cache_bytes=None, kv_cache_tokens=None) for each in found]


def many(
    tiny: TinyBackend, asked: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str] = (), batch: int = 5
) -> list[Completion]:
    found: dict[int, Completion] = {}
    begun: list[int] = []
    tiny.generate_many(asked, settings, stop, batch, on_batch=begun.extend, on_completion=found.__setitem__)
    assert set(begun) == set(found)
    return [found[number] for number in range(len(asked))]


@pytest.mark.parametrize("fixed", [True, False])
def test_answers_are_those_of_one_by_one(tiny: TinyBackend, fixed: bool) -> None:
    settings = GenerationSettings(max_new_tokens=20, fixed_length=fixed)
    asked = [*prompts(), Prompt(id="chat", messages=(Message(role="user", content="Hi"),))]
    expected = one_by_one(tiny, asked, settings)
    assert many(tiny, asked, settings) == expected
    assert many(tiny, asked, settings, batch=1) == expected
    assert expected[-1].templated and not expected[0].templated


def test_each_row_ends_by_itself(tiny: TinyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """End of text is made likely: some answers end early, others go on to the limit."""
    assert tiny._lm is not None
    letters = tiny.tokenizer("e", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(tiny._lm, "eos_ids", frozenset(letters))
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", letters)
    settings = GenerationSettings(max_new_tokens=20)
    expected = one_by_one(tiny, prompts(), settings)
    assert {each.finish_reason for each in expected} == {"stop", "length"}
    assert len({each.output_tokens for each in expected}) >= 3
    assert many(tiny, prompts(), settings) == expected


def test_stops_end_each_answer_where_it_holds_them(tiny: TinyBackend) -> None:
    settings = GenerationSettings(max_new_tokens=30)
    whole = many(tiny, prompts(), settings)
    stop = whole[0].text[10:12]
    alone = many(tiny, prompts(), settings, [stop, "#"], batch=1)
    found = many(tiny, prompts(), settings, [stop, "#"])
    assert found == alone
    for each, before in zip(found, whole, strict=True):
        assert each.text == before.text.partition(stop)[0]
        assert each.finish_reason == ("stop" if stop in before.text else "length")
        assert each.output_tokens == len(
            (before.text.partition(stop)[0] + stop) if stop in before.text else before.text
        )


def test_sampled_answers_are_alone_with_their_seed(tiny: TinyBackend) -> None:
    settings = GenerationSettings(max_new_tokens=12, temperature=1.0, seed=5)
    assert many(tiny, prompts(4), settings) == one_by_one(tiny, prompts(4), settings)


def test_a_repetition_penalty_never_weighs_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(seed="3")
    monkeypatch.setattr(model.model.generation_config, "repetition_penalty", 1.8)
    settings = GenerationSettings(max_new_tokens=12)
    calls: list[int] = []
    generate = type(model.model).generate

    def count(**keywords: object) -> object:
        calls.append(int(keywords["attention_mask"].min()))  # type: ignore[attr-defined]
        return generate(model.model, **keywords)

    monkeypatch.setattr(model.model, "generate", count)
    assert many(model, prompts(6), settings) == one_by_one(model, prompts(6), settings)
    assert set(calls) == {1}


def test_the_prompt_at_fault_is_named(tiny: TinyBackend) -> None:
    for wrong, message in (
        ("", "prompt 'bad': tiny: the prompt has no tokens"),
        ("x" * 2048, "prompt 'bad': tiny: the prompt has 2048 tokens"),
    ):
        with pytest.raises(GenerationError, match=message):
            many(tiny, [*prompts(2), Prompt(id="bad", text=wrong)], GenerationSettings(max_new_tokens=3))


def test_what_the_framework_raises_is_one_line(tiny: TinyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**keywords: object) -> object:
        raise RuntimeError("no\nkernel")

    monkeypatch.setattr(tiny.model, "generate", fail)
    with pytest.raises(GenerationError, match="^tiny: RuntimeError while generating: no$"):
        many(tiny, prompts(2), GenerationSettings(max_new_tokens=3))
