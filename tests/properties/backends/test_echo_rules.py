"""Rules that every scripted answer keeps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.echo import EchoBackend
from pytest_llmci.records import GenerationSettings, ModelSpec, Prompt

TEXTS = st.text(max_size=200)
SETTINGS = st.builds(
    GenerationSettings,
    max_new_tokens=st.integers(1, 300),
    fixed_length=st.booleans(),
    temperature=st.sampled_from([0.0, 0.8]),
    seed=st.integers(0, 2**31),
)


@given(script=TEXTS, shown=TEXTS, settings=SETTINGS, tokens=st.none() | st.integers(0, 400))
def test_length(script: str, shown: str, settings: GenerationSettings, tokens: int | None) -> None:
    """A word is a token. The answer is cut at ``max_new_tokens``; under a fixed length it has exactly that many words."""
    options = {} if tokens is None else {"tokens": str(tokens)}
    model = EchoBackend(ModelSpec(alias="m", backend="echo", target=script, options=options, text="echo"))
    model.load(LoadContext(threads=1, cache_dir="", say=lambda line: None))
    stamps: list[int] = []
    prompt = Prompt(id="p", text=shown)
    completion = model.complete(model.generate(prompt, settings, lambda: stamps.append(0)))
    count = len(completion.text.split())
    assert count == completion.output_tokens == len(stamps)
    assert count <= settings.max_new_tokens
    if settings.fixed_length:
        assert count == settings.max_new_tokens
    assert completion.finish_reason == ("length" if count == settings.max_new_tokens else "stop")
    assert model.complete(model.generate(prompt, settings, lambda: None)) == completion
