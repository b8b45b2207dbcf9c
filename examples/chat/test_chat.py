"""Run with ``--llm-models=SPEC``, a model with a chat template."""

from __future__ import annotations

from pytest_llmci import LLM

FIRST = "I have a dog. His name is Rex."
SECOND = "What is the name of my dog?"


def test_the_second_turn_knows_the_first(llm: LLM) -> None:
    chat = [{"role": "user", "content": FIRST}]
    reply = llm.generate(chat, max_new_tokens=30)
    assert reply.is_valid

    chat += [{"role": "assistant", "content": reply.text}, {"role": "user", "content": SECOND}]
    answer = llm.generate(chat, max_new_tokens=30)
    assert answer.passes("contains:Rex")
    assert answer.prompt_tokens > reply.prompt_tokens, "the whole chat is asked again"
