"""What a server offers, asked step by step: for people who set one up, in plain words (``llmci doctor SPEC``)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ...records import GenerationSettings, Message, ModelSpec, Prompt
from ..base import check_options
from ..packages import require_installed
from .alignment import places_of
from .answer import Answer
from .backend import TAKES_IGNORE_EOS, is_same_name, listed_models, software_of, version_of
from .client import PACKAGES, Client, Reply
from .endpoint import Endpoint, read_endpoint
from .failures import quote
from .line import EXTRA
from .request import RequestBuilder

State: TypeAlias = Literal["ok", "lacks", "failed"]
TOKENS: Final = 8
"""Asked for: enough to see whether they come one by one."""
_CHAT: Final = Prompt(id="doctor", messages=(Message(role="user", content="Count from one to ten."),))
_TEXT: Final = Prompt(id="doctor", text="One, two, three,")
_SETTINGS: Final = GenerationSettings(max_new_tokens=TOKENS)
_MOST_NAMES: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that a server does, or does not."""

    name: str
    state: State
    """``lacks``: it does without, and what that costs is told; ``failed``: nothing can be measured so."""
    text: str


def examine(spec: ModelSpec, environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Ask a server for all that is used of it.

    :param environ: to take the key from; this process's where it is not given.
    :raises ModelLoadError: if the spec cannot be right, or the variable with the key is not set.
    :raises MissingExtraError: if a package of the extra is not installed.
    """
    from .endpoint import OPTIONS

    check_options(spec, OPTIONS)
    endpoint = read_endpoint(spec, os.environ if environ is None else environ)
    require_installed(PACKAGES, "backend 'openai'", EXTRA)
    client = Client(endpoint)
    try:
        yield from _examined(client, endpoint)
    finally:
        client.close()


def _examined(client: Client, endpoint: Endpoint) -> Iterator[Finding]:
    listed = client.look_up("/models")
    names, owners = listed_models(listed)
    software = software_of(owners)
    model = endpoint.model or (names[0] if len(names) == 1 else "")
    builder = RequestBuilder(endpoint=endpoint, model=model or "?", takes_ignore_eos=software in TAKES_IGNORE_EOS)
    asked = _asked(client, builder, endpoint)
    first = next(iter(asked.values()))
    if listed is None:
        why = first.failure.message if first.failure else f"{endpoint.base_url}/models did not answer in time"
        yield Finding(name="address", state="failed" if first.failure else "lacks", text=why)
        if first.failure is not None and first.failure.kind.startswith(
            ("endpoint_unreachable", "endpoint_tls", "endpoint_redirect")
        ):
            return
    else:
        yield Finding(name="address", state="ok", text=f"{endpoint.server} answers")
    yield _list_found(listed, names, endpoint)
    yield _software_found(client, software, listed, first)
    yield _key_found(endpoint, first)
    if not model:
        yield Finding(
            name="model", state="failed", text="no model is named, and there is not exactly one: add #NAME to the spec"
        )
        return
    yield from _interfaces_found(asked, model, endpoint)
    answered = next((answer for answer in asked.values() if answer.failure is None), None)
    if answered is None:
        return
    yield _streaming_found(answered)
    yield from _usage_found(answered)
    yield _length_found(builder, software)
    yield _logprobs_found(client, builder)
    yield _limit_found(answered)


def _asked(client: Client, builder: RequestBuilder, endpoint: Endpoint) -> dict[str, Answer]:
    """Interface -> what it answers."""
    wanted = {"chat": _CHAT, "completions": _TEXT}
    if endpoint.api != "auto":
        wanted = {endpoint.api: _TEXT}
    return {name: client.ask(builder.generation(prompt, _SETTINGS)) for name, prompt in wanted.items()}


def _list_found(listed: Reply | None, names: list[str], endpoint: Endpoint) -> Finding:
    if names:
        shown = ", ".join(names[:_MOST_NAMES]) + (
            f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        )
        if endpoint.model and not any(is_same_name(endpoint.model, name) for name in names):
            return Finding(
                name="models", state="lacks", text=f"'{endpoint.model}' is not among those that it lists: {shown}"
            )
        return Finding(name="models", state="ok", text=shown)
    how = (
        "it did not answer" if listed is None else f"HTTP {listed.status}" if listed.status != 200 else "it names none"
    )
    return Finding(
        name="models", state="lacks", text=f"the list cannot be read ({how}): every spec has to name its model, #NAME"
    )


def _software_found(client: Client, software: str, listed: Reply | None, first: Answer) -> Finding:
    version = version_of(client.look_up("//version"))
    told = " ".join(filter(None, (software or (quote(listed.server) if listed else "") or first.server, version)))
    prints = f"; system_fingerprint {first.system_fingerprint}" if first.system_fingerprint else ""
    if not told and not prints:
        return Finding(
            name="software",
            state="lacks",
            text="it does not say what it is: an update of it cannot be told from a regression",
        )
    return Finding(name="software", state="ok", text=f"{told or 'not told'}{prints}")


def _key_found(endpoint: Endpoint, first: Answer) -> Finding:
    if first.failure is not None and first.failure.kind == "endpoint_key":
        return Finding(name="key", state="failed", text=first.failure.message)
    if endpoint.key_env:
        return Finding(
            name="key", state="ok", text=f"that of {endpoint.key_env} is sent with each request, and only there"
        )
    return Finding(name="key", state="ok", text="none is sent, and none was asked for")


def _interfaces_found(asked: Mapping[str, Answer], model: str, endpoint: Endpoint) -> Iterator[Finding]:
    works = any(answer.failure is None for answer in asked.values())
    what = {"chat": "messages (chat template)", "completions": "texts as they are"}
    for name, answer in asked.items():
        if answer.failure is not None:
            state: State = "lacks" if works else "failed"
            yield Finding(name=name, state=state, text=answer.failure.message)
        elif answer.model and not is_same_name(endpoint.served_as or model, answer.model):
            yield Finding(
                name=name,
                state="failed",
                text=f"'{model}' was asked, '{quote(answer.model)}' answered: if it is the same one, +served_as=",
            )
        else:
            yield Finding(
                name=name, state="ok", text=f"it takes {what[name]}, and answers as '{quote(answer.model) or model}'"
            )


def _streaming_found(answer: Answer) -> Finding:
    if answer.came_at_once or len(answer.piece_ns) < 2:
        return Finding(
            name="streaming",
            state="lacks",
            text="the whole answer came at once: there will be latencies and no first tokens",
        )
    kinds = ", reasoning apart" if answer.separates_reasoning else ""
    return Finding(name="streaming", state="ok", text=f"{len(answer.piece_ns)} pieces, one after the other{kinds}")


def _usage_found(answer: Answer) -> Iterator[Finding]:
    usage = answer.usage
    if usage.output_tokens is None or usage.prompt_tokens is None:
        yield Finding(name="usage", state="lacks", text=f"{usage.why_not}: no counts of tokens, and nothing per token")
    else:
        grouped = answer.is_stream and usage.output_tokens > len(answer.piece_ns) > 0
        more = f" in {len(answer.piece_ns)} pieces: gaps are between pieces, not tokens" if grouped else ""
        yield Finding(
            name="usage",
            state="ok",
            text=f"{usage.prompt_tokens} tokens of the prompt, {usage.output_tokens} of the answer{more}",
        )
    if usage.cached_tokens is None:
        text = "it does not tell what its prefix cache gave; a unique line before each prompt keeps it out"
        yield Finding(name="prefix cache", state="lacks", text=text)
    else:
        yield Finding(name="prefix cache", state="ok", text=f"told: {usage.cached_tokens} tokens came from it")


def _length_found(builder: RequestBuilder, software: str) -> Finding:
    if builder.keeps_length:
        return Finding(
            name="exact length",
            state="ok",
            text="answers of exactly the wanted length are asked for (ignore_eos, min_tokens)",
        )
    known = f"{software} is not known to take" if software else "it is not known to take"
    return Finding(
        name="exact length",
        state="lacks",
        text=f"{known} ignore_eos: answers end where the model ends them; +ignore_eos=yes asks all the same",
    )


def _logprobs_found(client: Client, builder: RequestBuilder) -> Finding:
    text = "The sky is blue"
    answer = client.ask(builder.echo(text))
    rows = answer.logprobs
    if answer.failure is None and answer.text.startswith(text) and rows and places_of([row.text for row in rows], text):
        return Finding(
            name="scores", state="ok", text="log-probabilities of a prompt's tokens: llm.score and benchmark tasks work"
        )
    why = answer.failure.message if answer.failure else "it does not echo a prompt with log-probabilities"
    return Finding(name="scores", state="lacks", text=f"{why}: no llm.score, and no benchmark tasks of choices")


def _limit_found(answer: Answer) -> Finding:
    if answer.rate_limit:
        return Finding(
            name="rate limit", state="ok", text=f"{answer.rate_limit}: comparisons count blocks instead of rounds"
        )
    return Finding(name="rate limit", state="ok", text="none is told")
