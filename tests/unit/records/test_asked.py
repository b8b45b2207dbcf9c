from __future__ import annotations

from pytest_llmci.records import Message, Prompt


def test_what_people_see_of_a_prompt() -> None:
    chat = Prompt(id="p", messages=(Message(role="system", content="Be short."), Message(role="user", content="Hi")))
    assert chat.shown == "system: Be short.\nuser: Hi"
    assert Prompt(id="p", text="raw").shown == "raw"
    assert Prompt(id="p", text="", messages=chat.messages).shown == ""
