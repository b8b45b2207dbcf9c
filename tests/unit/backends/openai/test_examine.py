from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from stub_server import Asked, Script, StubServer, ending, pieces, say, scores

from pytest_llmci.backends.openai.examine import Finding, examine
from pytest_llmci.errors import ModelLoadError
from pytest_llmci.specs import parse_spec

pytest.importorskip("httptools")
KEY = "sk-topsecret-0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer(models=("say", "whole", "no_usage")) as running:
        yield running


def found(server: StubServer | str, model: str, keys: str = "") -> dict[str, Finding]:
    url = server if isinstance(server, str) else server.url
    spec = parse_spec(f"openai:{url}{f'#{model}' if model else ''}{keys}", ["openai"], "x")
    return {finding.name: finding for finding in examine(spec, {"MYKEY": KEY})}


def test_a_server_that_has_all_is_told_so() -> None:
    def able(asked: Asked) -> Script:
        if asked.body.get("echo"):
            return scores(asked)
        steps = [*pieces(asked), *ending(asked, asked.tokens, prompt_tokens_details={"cached_tokens": 3})]
        return Script(steps=steps, headers={"x-ratelimit-limit-requests": "60"})

    with StubServer(models=("able",), scripts={"able": able}, extra={"/version": {"version": "0.9.1"}}) as own:
        findings = found(own, "", "+key_env=MYKEY+ignore_eos=yes")
    assert {name: each.state for name, each in findings.items()} == dict.fromkeys(
        ["address", "models", "software", "key", "chat", "completions", "streaming", "usage", "prefix cache", "exact length",
         "scores", "rate limit"], "ok",
    )  # fmt: skip
    texts = {name: each.text for name, each in findings.items()}
    assert texts["models"] == "able"
    assert texts["software"] == "stub 0.9.1; system_fingerprint fp_stub"
    assert texts["key"] == "that of MYKEY is sent with each request, and only there"
    assert texts["streaming"] == "8 pieces, one after the other"
    assert texts["usage"] == "7 tokens of the prompt, 8 of the answer"
    assert texts["prefix cache"] == "told: 3 tokens came from it"
    assert texts["rate limit"].startswith("x-ratelimit-limit-requests: 60: comparisons count blocks")
    assert KEY not in "".join(texts.values())


@pytest.mark.parametrize(
    ("model", "name", "says"),
    [
        ("held_back", "streaming", "the whole answer came at once: there will be latencies and no first tokens"),
        ("whole", "streaming", "the whole answer came at once: there will be latencies and no first tokens"),
        ("no_usage", "usage", "the server sent no usage: no counts of tokens, and nothing per token"),
        ("wrong_usage", "usage", "the server's usage cannot be right"),
        ("say", "prefix cache", "it does not tell what its prefix cache gave"),
        ("say", "exact length", "it is not known to take ignore_eos"),
        ("say", "scores", "it does not echo a prompt with log-probabilities: no llm.score"),
        ("role", "models", "'role' is not among those that it lists: say, whole, no_usage"),
    ],
)
def test_what_a_server_lacks_is_told_with_what_it_costs(server: StubServer, model: str, name: str, says: str) -> None:
    finding = found(server, model)[name]
    assert (finding.state, "\n" in finding.text) == ("lacks", False)
    assert says in finding.text


@pytest.mark.parametrize(
    ("model", "keys", "name", "says"),
    [
        ("", "", "model", "there is not exactly one"),
        ("unauthorized", "+key_env=MYKEY", "key", "the server refuses the key in MYKEY; put"),
        ("unheard_of", "", "chat", "the server has no such model"),
        ("other_model", "", "completions", "'somebody-else' answered: if it is the same one, +served_as="),
        ("broken", "", "chat", "HTTP 500: worker is gone"),
        ("html", "", "chat", "not as an OpenAI-compatible API"),
    ],
)
def test_what_makes_it_useless_has_failed(server: StubServer, model: str, keys: str, name: str, says: str) -> None:
    finding = found(server, model, keys)[name]
    assert (finding.state, "\n" in finding.text) == ("failed", False)
    assert says in finding.text


def test_an_interface_that_is_not_there_is_no_failure_where_the_other_one_is() -> None:
    def only_texts(asked: Asked) -> Script:
        return Script(status=404, steps=[], content_type="text/plain") if asked.chat else say(asked)

    with StubServer(scripts={"say": only_texts}) as own:
        findings = found(own, "say")
    assert (findings["chat"].state, findings["completions"].state) == ("lacks", "ok")
    assert findings["streaming"].state == "ok"


def test_a_server_without_a_list_needs_the_name() -> None:
    with StubServer(models=None) as own:
        named, nameless = found(own, "say"), found(own, "")
    assert named["models"].text == "the list cannot be read (HTTP 500): every spec has to name its model, #NAME"
    assert named["streaming"].state == "ok"
    assert nameless["model"].state == "failed"


def test_nothing_answers() -> None:
    with StubServer() as own:
        gone = own.url
    (finding,) = found(gone, "m").values()
    assert (finding.name, finding.state) == ("address", "failed")
    assert "nothing answers at" in finding.text


def test_a_spec_that_cannot_be_right_is_refused_before_anything_is_asked(server: StubServer) -> None:
    asked = len(server.log)
    with pytest.raises(ModelLoadError, match=r"\+api=both is not known"):
        found(server, "say", "+api=both")
    with pytest.raises(ModelLoadError, match="variable OTHER is not set"):
        found(server, "say", "+key_env=OTHER")
    assert len(server.log) == asked


def test_one_interface_is_asked_where_the_spec_says_so(server: StubServer) -> None:
    findings = found(server, "say", "+api=chat")
    assert "completions" not in findings and findings["chat"].state == "ok"
    assert replace(findings["chat"], text="") == Finding(name="chat", state="ok", text="")
