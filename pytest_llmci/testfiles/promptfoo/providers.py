"""promptfoo's providers: those whose models can be run here, and how they decode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ...slugs import slug
from ..nodes import Place, Value
from .report import NotTranslated, Report

GENERATION: Final = "huggingface:text-generation:"
NO_SERVER: Final = "it is served, and nobody is asked over the network unasked: name its address under 'models' or --llm-models, openai:https://HOST/v1#NAME+key_env=VARIABLE"
_SERVED: Final = frozenset({
    "ai21", "anthropic", "azure", "azureopenai", "bedrock", "cerebras", "cloudflare-ai", "cohere", "databricks", "deepseek", "docker",
    "fal", "fireworks", "github", "google", "groq", "http", "https", "litellm", "llama.cpp", "llamaapi", "llamafile", "localai", "mistral",
    "nvidia", "ollama", "openai", "openllm", "openrouter", "palm", "perplexity", "portkey", "replicate", "sagemaker",
    "text-generation-webui", "together", "togetherai", "vertex", "vllm", "voyage", "watsonx", "webhook", "websocket", "ws", "wss", "xai",
})  # fmt: skip
_CHATS: Final = _SERVED - {"http", "https", "webhook", "websocket", "ws", "wss", "replicate", "voyage", "docker"}
_REPOSITORY: Final = re.compile(r"[\w.-]+(/[\w.-]+)?\Z")
LENGTHS: Final = ("max_new_tokens", "max_tokens", "max_length")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """What a provider says of how answers are made."""

    temperature: float | None = None
    seed: int | None = None
    max_new_tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """A model, and how it decodes."""

    spec: str
    place: Place
    decoding: Decoding = Decoding()


def talks(value: Value) -> bool:
    """Whether one of the providers gets a plain text as the message of a user, as chat models behind servers do."""
    found = False
    for entry in value.entries():
        identifier = str(entry.plain)
        if entry.is_mapping:
            keys = entry.items()
            identifier = str(keys["id"][1].plain) if "id" in keys else next(iter(keys), "")
        is_completion = any(f":{word}" in identifier for word in ("completion", "text", "embedding"))
        found = found or (identifier.partition(":")[0] in _CHATS and not is_completion)
    return found


def read_providers(value: Value, report: Report) -> list[Provider]:
    """Those that can be run here; of the others the reason is noted."""
    found: dict[str, Provider] = {}
    for entry in value.entries():
        try:
            provider = _of_entry(entry, report)
        except NotTranslated as error:
            report.leave(entry.place, str(error))
            continue
        if provider.spec in found:
            report.leave(entry.place, f"{provider.spec} is there already")
        found.setdefault(provider.spec, provider)
    return list(found.values())


def _of_entry(entry: Value, report: Report) -> Provider:
    if not entry.is_mapping:
        return Provider(spec=_spec(str(entry.plain)), place=entry.place)
    keys = {name: value for name, (_, value) in entry.items().items()}
    if "id" not in keys:
        if len(keys) != 1:
            raise NotTranslated("a provider without 'id'")
        ((name, options),) = keys.items()
        keys = {"id": options, **({n: v for n, (_, v) in options.items().items()} if options.is_mapping else {})}
        identifier = name
    else:
        identifier = str(keys["id"].plain)
    spec = _spec(identifier)
    if "prompts" in keys:
        raise NotTranslated(f"{identifier}: it gets some of the prompts only; write a test of its own with them")
    label = slug(str(keys["label"].plain)) if "label" in keys else ""
    provider = Provider(spec=f"{label}={spec}" if label else spec, place=entry.place)
    for name, value in keys.items():
        if name in ("transform", "env", "delay", "inputs"):
            report.leave(value.place, f"'{name}' of a provider has no counterpart")
    config = keys.get("config")
    return _decoding(provider, config, report) if config is not None and config.is_mapping else provider


def _decoding(provider: Provider, config: Value, report: Report) -> Provider:
    found = provider.decoding
    for name, (place, value) in config.items().items():
        number = value.plain
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool) and number >= 0
        if name == "temperature" and is_number:
            found = replace(found, temperature=number)
        elif name == "seed" and isinstance(number, int) and is_number:
            found = replace(found, seed=number)
        elif name in LENGTHS and isinstance(number, int) and is_number and number > 0:
            found = replace(found, max_new_tokens=number)
        else:
            report.leave(place, f"'{name}' of a provider's config has no counterpart")
    return replace(provider, decoding=found)


def _spec(identifier: str) -> str:
    kind = identifier.partition(":")[0]
    if identifier.startswith(GENERATION):
        name = identifier.removeprefix(GENERATION)
        if not _REPOSITORY.match(name):
            raise NotTranslated(f"{identifier}: '{name}' is no repository of Hugging Face")
        return name
    if kind == "huggingface":
        raise NotTranslated(f"{identifier}: it is no generator of text")
    if kind in ("file", "exec", "python", "javascript", "golang", "ruby", "package", "script") or identifier.endswith(
        (".py", ".js", ".ts")
    ):
        raise NotTranslated(
            f"{identifier}: it is code; a Python function can be a model here: py:package.module:function"
        )
    if identifier == "echo":
        raise NotTranslated("echo: it gives the prompt back, which no model source here does; give --llm-models")
    if kind in _SERVED:
        raise NotTranslated(f"{identifier}: {NO_SERVER}")
    raise NotTranslated(f"{identifier}: no such provider is known; give --llm-models")


def groups(providers: list[Provider]) -> Mapping[Decoding, list[Provider]]:
    """Those that decode in the same way, together."""
    found: dict[Decoding, list[Provider]] = {}
    for provider in providers:
        found.setdefault(provider.decoding, []).append(provider)
    return found
