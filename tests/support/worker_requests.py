"""What tests of workers ask of them."""

from __future__ import annotations

from pytest_llmci import backends
from pytest_llmci.records import GenerationSettings, ModelSpec, Prompt, RunRequest
from pytest_llmci.registry import Registry
from pytest_llmci.specs import parse_spec


def all_backends() -> Registry:
    registry = Registry()
    backends.register(registry)
    return registry


def spec_of(text: str) -> ModelSpec:
    return parse_spec(text, all_backends().names("backend"), "x")


def request(rounds: int = 1, warmup: int = 0) -> RunRequest:
    return RunRequest(
        cell="a-p", prompt=Prompt(id="p", text="Hi"), generation=GenerationSettings(max_new_tokens=4), rounds=rounds, warmup=warmup
    )  # fmt: skip
