"""What is sent."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from pytest_llmci.backends.openai.endpoint import Endpoint
from pytest_llmci.backends.openai.request import RequestBuilder, UniquePrefixes
from pytest_llmci.records import GenerationSettings, Message, Prompt

TEXT = Prompt(id="t", text="Say hello.")
CHAT = Prompt(id="c", messages=(Message(role="system", content="Be brief."), Message(role="user", content="Hello?")))
SETTINGS = GenerationSettings(max_new_tokens=16, temperature=0.5, seed=3)


def builder(**options: Any) -> RequestBuilder:
    known = options.pop("takes_ignore_eos", False)
    return RequestBuilder(endpoint=Endpoint(base_url="http://h/v1", **options), model="m", takes_ignore_eos=known)


def body(prompt: Prompt, settings: GenerationSettings = SETTINGS, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(builder(**options).generation(prompt, settings).body)
    return found


def test_texts_go_raw_and_messages_through_the_template() -> None:
    text, chat = (builder(prompt_cache="keep").generation(prompt, SETTINGS) for prompt in (TEXT, CHAT))
    assert (text.url, chat.url) == ("http://h/v1/completions", "http://h/v1/chat/completions")
    assert (text.is_chat, chat.is_chat, text.max_tokens) == (False, True, 16)
    assert json.loads(text.body)["prompt"] == "Say hello."
    assert json.loads(chat.body)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
    ]


def test_decoding_is_as_it_was_set_and_usage_is_asked_for() -> None:
    found = body(TEXT)
    assert (found["model"], found["max_tokens"], found["temperature"], found["seed"]) == ("m", 16, 0.5, 3)
    assert (found["stream"], found["stream_options"]) == (True, {"include_usage": True})
    assert "ignore_eos" not in found and "stop" not in found


def test_all_may_go_to_one_interface() -> None:
    assert body(TEXT, api="chat", prompt_cache="keep")["messages"] == [{"role": "user", "content": "Say hello."}]
    with pytest.raises(ValueError, match="prompt 'c' holds messages"):
        body(CHAT, api="completions")


def test_a_unique_line_stands_before_all_else() -> None:
    made = builder()
    texts = [json.loads(made.generation(TEXT, SETTINGS).body)["prompt"] for _ in range(50)]
    assert all(re.fullmatch(r"\[\d{3} \d{3} \d{3}\]\nSay hello\.", text) for text in texts)
    assert len(set(texts)) == 50
    messages = json.loads(made.generation(CHAT, SETTINGS).body)["messages"]
    assert re.fullmatch(r"\[\d{3} \d{3} \d{3}\]\nBe brief\.", messages[0]["content"])
    assert messages[1]["content"] == "Hello?"
    assert CHAT.messages[0].content == "Be brief."  # the prompt itself stays


def test_no_two_processes_draw_the_same() -> None:
    assert UniquePrefixes().next() != UniquePrefixes().next()


def test_a_line_is_not_drawn_twice() -> None:
    class Stuck(random.Random):
        numbers = iter([1, 1, 1, 2])

        def randrange(self, *_: Any) -> int:
            return next(self.numbers)

    prefixes = UniquePrefixes(Stuck())
    assert (prefixes.next(), prefixes.next()) == ("[000 000 001]\n", "[000 000 002]\n")


def test_the_cache_may_be_kept_or_salted() -> None:
    assert body(TEXT, prompt_cache="keep")["prompt"] == "Say hello."
    salted = body(TEXT, prompt_cache="salt")
    assert salted["prompt"] == "Say hello."
    assert re.fullmatch(r"\[\d{3} \d{3} \d{3}\]", salted["cache_salt"])


@pytest.mark.parametrize(
    ("asked", "known", "sent"), [(None, True, True), (None, False, False), (True, False, True), (False, True, False)]
)
def test_an_exact_length_is_asked_for_where_it_can_be_had(asked: bool | None, known: bool, sent: bool) -> None:
    fixed = GenerationSettings(max_new_tokens=16, fixed_length=True)
    found = body(TEXT, fixed, ignore_eos=asked, takes_ignore_eos=known)
    assert (found.get("ignore_eos"), found.get("min_tokens")) == ((True, 16) if sent else (None, None))
    assert "ignore_eos" not in body(TEXT, ignore_eos=asked, takes_ignore_eos=known)


def test_any_text_can_be_sent() -> None:
    assert body(Prompt(id="x", text="é\ud800\0"), prompt_cache="keep")["prompt"] == "é\ud800\0"
