"""What is sent to an endpoint: the path and the body of a request, made of a prompt and of how it is to be answered."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ...records import GenerationSettings, Prompt
from .endpoint import Endpoint

CHAT: Final = "/chat/completions"
COMPLETIONS: Final = "/completions"
PREFIX_DIGITS: Final = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request, as bytes; headers with the key are the endpoint's (:meth:`.endpoint.Endpoint.headers`)."""

    url: str
    body: bytes
    is_chat: bool
    max_tokens: int | None = None
    key_env: str = ""
    """The variable whose key goes with it; empty if none does."""


class UniquePrefixes:
    """Lines that no prompt has begun with before, so that no server has what follows in its prefix cache.

    All are of one form and length, so that they cost the same number of tokens with nearly every tokenizer: three groups of
    three digits. They are drawn at random, since a server remembers what earlier runs have sent.
    """

    def __init__(self, generator: random.Random | None = None) -> None:
        self._random = generator or random.Random(os.urandom(16))
        self._drawn: set[int] = set()

    def next(self) -> str:
        """Such as ``[123 456 789]`` and a line break."""
        number = self._random.randrange(10**PREFIX_DIGITS)
        while number in self._drawn:
            number = self._random.randrange(10**PREFIX_DIGITS)
        self._drawn.add(number)
        digits = f"{number:0{PREFIX_DIGITS}d}"
        return f"[{digits[:3]} {digits[3:6]} {digits[6:]}]\n"


@dataclass(kw_only=True, slots=True)
class RequestBuilder:
    """Makes requests to one model behind one endpoint."""

    endpoint: Endpoint
    model: str
    """As the server calls it."""
    takes_ignore_eos: bool = False
    """Whether the server is known to make answers of an exact length on request."""
    length_name: str = "max_tokens"
    """What the server calls the most tokens of an answer; OpenAI's own newer models take ``max_completion_tokens`` alone."""
    prefixes: UniquePrefixes = field(default_factory=UniquePrefixes)

    def is_chat(self, prompt: Prompt) -> bool:
        """Whether a prompt goes through the model's chat template, on the server."""
        if self.endpoint.api == "auto":
            return prompt.text is None
        return self.endpoint.api == "chat"

    @property
    def keeps_length(self) -> bool:
        """Whether answers of an exact length are asked for where the settings want them."""
        return self.takes_ignore_eos if self.endpoint.ignore_eos is None else self.endpoint.ignore_eos

    def generation(
        self, prompt: Prompt, settings: GenerationSettings, *, stream: bool = True, stop: Sequence[str] = (), unique: bool = True
    ) -> Request:  # fmt: skip
        """A request for an answer.

        :param unique: whether what keeps a prefix cache out is added, unless the endpoint says ``prompt_cache=keep``.
        :raises ValueError: if messages are to go to the plain interface.
        """
        chat = self.is_chat(prompt)
        prefix = self.prefixes.next() if unique and self.endpoint.prompt_cache != "keep" else ""
        before = prefix if self.endpoint.prompt_cache == "prefix" else ""
        body: dict[str, Any] = {"model": self.model, **_asked(prompt, chat=chat, prefix=before)}
        body |= {self.length_name: settings.max_new_tokens, "temperature": settings.temperature, "seed": settings.seed}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if stop:
            body["stop"] = list(stop)
        if prefix and not before:
            body["cache_salt"] = prefix.strip()
        if settings.fixed_length and self.keeps_length:
            body |= {"ignore_eos": True, "min_tokens": settings.max_new_tokens}
        return Request(
            url=self.endpoint.base_url + (CHAT if chat else COMPLETIONS), body=_encoded(body), is_chat=chat,
            max_tokens=settings.max_new_tokens, key_env=self.endpoint.key_env,
        )  # fmt: skip

    def echo(self, *texts: str) -> Request:
        """A request for the log-probability of each token of some texts: each is echoed, with one token after it, which is dropped."""
        prompt = texts[0] if len(texts) == 1 else list(texts)
        body = {"model": self.model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        return Request(
            url=self.endpoint.base_url + COMPLETIONS, body=_encoded(body), is_chat=False, key_env=self.endpoint.key_env
        )


def _asked(prompt: Prompt, *, chat: bool, prefix: str) -> dict[str, Any]:
    if not chat:
        if prompt.text is None:
            raise ValueError(
                f"prompt '{prompt.id}' holds messages, which the interface of plain completions does not take"
            )
        return {"prompt": prefix + prompt.text}
    if prompt.text is not None:
        return {"messages": [{"role": "user", "content": prefix + prompt.text}]}
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    if messages:
        messages[0]["content"] = prefix + messages[0]["content"]
    return {"messages": messages}


def _encoded(body: Mapping[str, Any]) -> bytes:
    """Half a surrogate pair has no UTF-8 form; JSON's escapes have one for it, so texts go as ASCII."""
    return json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode("ascii")
