"""Models from a local folder, and everything that can be wrong with one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf_files import gguf_bytes

from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.tiny import Sizes, build_model, build_tokenizer
from pytest_llmci.backends.transformers import TransformersBackend
from pytest_llmci.errors import GenerationError, ModelLoadError
from pytest_llmci.records import Completion, GenerationSettings, Message, ModelSpec, Prompt

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MakeSpec = Callable[..., ModelSpec]
TCP = Prompt(id="tcp", text="What is TCP?")
SETTINGS = GenerationSettings(max_new_tokens=12, fixed_length=True)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as ``save_pretrained`` leaves it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tokenizer = build_tokenizer(transformers)
    model = build_model(torch, transformers, tokenizer, Sizes(layers=2, hidden=32, seed=0))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def load(spec: ModelSpec, context: LoadContext) -> TransformersBackend:
    backend = TransformersBackend(spec)
    backend.load(context)
    return backend


def ask(backend: TransformersBackend, prompt: Prompt = TCP) -> Completion:
    return backend.complete(backend.generate(prompt, SETTINGS, lambda: None))


def refused(spec: ModelSpec, context: LoadContext) -> ModelLoadError:
    with pytest.raises(ModelLoadError) as caught:
        TransformersBackend(spec).load(context)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(spec.text)
    return caught.value


def test_it_gives_what_the_saved_model_gave(spec: MakeSpec, context: LoadContext, folder: Path) -> None:
    tokenizer = build_tokenizer(transformers)
    model = build_model(torch, transformers, tokenizer, Sizes(layers=2, hidden=32, seed=0))
    ids = tokenizer(TCP.text, return_tensors="pt")["input_ids"]
    expected = model.generate(ids, max_new_tokens=12, min_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert ask(load(spec("hf", str(folder)), context)).token_ids == tuple(expected.tolist())


def test_what_it_says_of_a_folder(spec: MakeSpec, context: LoadContext, folder: Path) -> None:
    info = TransformersBackend(spec("hf", str(folder))).load(context).info
    assert (info["source"], info["dtype"], info["quantization"]) == ("folder", "float32", None)
    assert isinstance(info["manifest_sha256"], str)
    (folder / "generation_config.json").write_text("{}")
    changed = TransformersBackend(spec("hf", str(folder))).load(context).info
    assert changed["manifest_sha256"] != info["manifest_sha256"]


def test_keys_are_heeded(spec: MakeSpec, context: LoadContext, folder: Path) -> None:
    backend = TransformersBackend(spec("hf", str(folder), dtype="bfloat16", attn="eager", template="on"))
    info = backend.load(context).info
    assert (info["dtype"], info["attention"]) == ("bfloat16", "eager")
    assert ask(backend).templated


def test_dtype_auto_is_the_checkpoints(spec: MakeSpec, context: LoadContext, folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
    model.save_pretrained(folder)
    assert TransformersBackend(spec("hf", str(folder), dtype="auto")).load(context).info["dtype"] == "float16"
    assert TransformersBackend(spec("hf", str(folder))).load(context).info["dtype"] == "float32"


def test_threads_are_set(spec: MakeSpec, folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        load(spec("hf", str(folder)), LoadContext(threads=2, cache_dir="", say=print))
        assert torch.get_num_threads() == 2
        load(spec("hf", str(folder)), LoadContext(threads=0, cache_dir="", say=print))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_prepare_takes_the_imports_out_of_load(spec: MakeSpec, context: LoadContext, folder: Path) -> None:
    backend = TransformersBackend(spec("hf", str(folder)))
    backend.prepare()
    loaded = backend.load(context)
    parts = loaded.info["load_parts_ns"]
    assert isinstance(parts, dict) and loaded.record_ns == parts["hashing"]
    assert list(parts) == ["imports", "tokenizer", "weights", "hashing", "prefault"]


def test_pickled_weights_need_a_word(spec: MakeSpec, context: LoadContext, folder: Path) -> None:
    expected = ask(load(spec("hf", str(folder)), context))
    state = transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    error = refused(spec("hf", str(folder)), context)
    assert error.kind == "pickle"
    assert "+pickle=ok" in str(error)
    assert ask(load(spec("hf", str(folder), pickle="ok"), context)) == expected


def test_a_pickle_that_is_a_program_is_not_run(
    spec: MakeSpec, context: LoadContext, folder: Path, tmp_path: Path
) -> None:
    class Program:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "was run",)

    (folder / "model.safetensors").unlink()
    torch.save({"weight": Program()}, folder / "pytorch_model.bin")
    assert refused(spec("hf", str(folder), pickle="ok"), context).kind == "pickle"
    assert not (tmp_path / "was run").exists()


def test_safetensors_are_preferred_to_a_pickle(spec: MakeSpec, context: LoadContext, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")
    assert ask(load(spec("hf", str(folder), pickle="ok"), context)).text


def damage_cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def damage_page(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<!DOCTYPE html><html>please log in</html>" * 100)


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def damage_sizes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 100, "num_attention_heads": 9}))


def damage_shapes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))


def damage_missing(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))


def damage_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "from_the_future"}))


def damage_kind(folder: Path) -> None:
    config = {"model_type": "vit", "architectures": ["ViTModel"]}
    (folder / "config.json").write_text(json.dumps(config))


def damage_shard(folder: Path) -> None:
    names = {
        "lm_head.weight": "model-00001-of-00002.safetensors",
        "model.norm.weight": "model-00002-of-00002.safetensors",
    }
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def damage_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')


def cut_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0",')


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (damage_cut, "corrupt", r"model\.safetensors' is damaged: it has \d+ bytes and should have"),
        (damage_page, "corrupt", r"model\.safetensors' is damaged: its header"),
        (damage_config, "corrupt", r"/config\.json' is damaged: Expecting property name.*; download it again"),
        (
            damage_sizes,
            "corrupt",
            r"config\.json describes no model that can be: The hidden size \(100\) is not a multiple",
        ),
        (damage_shapes, "corrupt", "do not have the shapes"),
        (damage_missing, "corrupt", r"lack weights of the model \(model\.layers\.2.*random numbers"),
        (damage_type, "architecture", "from_the_future"),
        (damage_kind, "architecture", "not a causal language model"),
        (damage_shard, "no_weights", "model-00002-of-00002.safetensors"),
        (damage_tokenizer, "tokenizer", "tokenizer cannot be loaded"),
        (cut_tokenizer, "corrupt", r"/tokenizer\.json' is damaged: Expecting"),
        (no_tokenizer, "tokenizer", "tokenizer cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "no_config", "holds no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no_weights", "holds no weights"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_with_a_folder_is_one_line(
    spec: MakeSpec, context: LoadContext, folder: Path, damage: Callable[[Path], None], kind: str, message: str
) -> None:
    import re

    damage(folder)
    error = refused(spec("hf", str(folder)), context)
    assert error.kind == kind, str(error)
    assert re.search(message, str(error)), str(error)


def test_a_damaged_config_is_refused_before_anything_loads(spec: MakeSpec, folder: Path) -> None:
    damage_config(folder)
    with pytest.raises(ModelLoadError, match=r"/config\.json' is damaged"):
        TransformersBackend.preflight(spec("hf", str(folder)))


def test_custom_code_is_never_run_unasked(spec: MakeSpec, context: LoadContext, folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "was run"
    (folder / "own.py").write_text(f"open({str(witness)!r}, 'w').close()\nclass Config: pass\nclass Model: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    error = refused(spec("hf", str(folder)), context)
    assert error.kind == "custom_code"
    assert "+remote_code=ok" in str(error)
    assert not witness.exists()


def test_code_of_another_repository_is_refused_even_if_asked(
    spec: MakeSpec, context: LoadContext, folder: Path
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "a/b--own.Model"}}))
    error = refused(spec("hf", str(folder), remote_code="ok"), context)
    assert error.kind == "custom_code"
    assert "'a/b'" in str(error)


def test_remote_code_needs_a_commit(spec: MakeSpec) -> None:
    for revision in ("", "main", "2290a62"):
        with pytest.raises(ModelLoadError, match="40 hex digits"):
            TransformersBackend.preflight(spec("hf", "org/name", revision=revision, remote_code="ok"))


def test_messages_without_a_template(spec: MakeSpec, context: LoadContext, folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    chat = Prompt(id="chat", messages=(Message(role="user", content="Hi"),))
    with pytest.raises(GenerationError, match="no chat template"):
        ask(load(spec("hf", str(folder)), context), chat)
    assert refused(spec("hf", str(folder), template="on"), context).kind == "template"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float8"}, "unknown dtype 'float8'.*bfloat16"),
        ({"dtype": "bflaot16"}, "Did you mean 'bfloat16'"),
        ({"attn": "flash"}, "unknown attn"),
        ({"device": "gpu"}, "unknown device"),
        ({"pickle": "yes"}, "unknown pickle 'yes'.*Known: ok"),
        ({"remote_code": "yes"}, "unknown remote_code"),
        ({"quantize": "q4"}, "unknown key 'quantize'"),
    ],
)
def test_wrong_keys_are_known_beforehand(spec: MakeSpec, options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        TransformersBackend.preflight(spec("hf", "org/name", **options))


def test_keys_of_the_runner_are_let_through(spec: MakeSpec, folder: Path) -> None:
    TransformersBackend.preflight(spec("hf", str(folder), threads="2", python="python3"))


@pytest.mark.parametrize("target", ["./no/such/folder", "/no/such/folder", "no-such.gguf"])
def test_a_path_that_is_not_there_is_known_beforehand(spec: MakeSpec, target: str) -> None:
    with pytest.raises(ModelLoadError, match="there is no file or folder") as caught:
        TransformersBackend.preflight(spec("hf", target))
    assert caught.value.kind == "not_found"


def test_another_file_is_refused(spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ModelLoadError, match=r"expected a folder with config\.json, or a \.gguf file"):
        TransformersBackend.preflight(spec("hf", str(tmp_path / "model.onnx")))


def test_a_folder_with_a_gguf_file_says_what_to_write(spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "small.gguf").touch()
    with pytest.raises(ModelLoadError, match=f"write {tmp_path}/small.gguf"):
        TransformersBackend.preflight(spec("hf", str(tmp_path)))


def test_a_damaged_gguf_is_known_beforehand(spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF no more")
    with pytest.raises(ModelLoadError, match="small.gguf") as caught:
        TransformersBackend.preflight(spec("hf", str(tmp_path / "small.gguf")))
    assert caught.value.kind == "corrupt"


def test_offline_and_not_cached_is_known_beforehand(
    spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelLoadError, match=rf"'org/name' is not in the cache {tmp_path}, and HF_HUB_OFFLINE is set"):
        TransformersBackend.preflight(spec("hf", "org/name"))
    (tmp_path / "models--org--name").mkdir()
    TransformersBackend.preflight(spec("hf", "org/name"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    TransformersBackend.preflight(spec("hf", "org/other"))


def test_a_gguf_of_an_unknown_architecture(spec: MakeSpec, context: LoadContext, tmp_path: Path) -> None:
    """The reader of transformers complains in another process; its complaint arrives in one line."""
    pytest.importorskip("gguf")
    path = tmp_path / "odd.gguf"
    tensors = {"weight": ((32,), 0, 128)}
    path.write_bytes(gguf_bytes({"general.architecture": "abacus", "general.name": "x"}, tensors))
    with pytest.raises(ModelLoadError, match=r"odd\.gguf' cannot be converted: .*abacus") as caught:
        TransformersBackend(spec("hf", str(path))).load(context)
    assert caught.value.kind == "corrupt"
    assert "\n" not in str(caught.value)


def test_a_gguf_is_loaded_from_its_converted_form(
    spec: MakeSpec, context: LoadContext, said: list[str], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_llmci.backends import transformers as backend_module

    def convert(file: Path, dtype: str, folder: Path) -> None:
        shutil.copytree(saved, folder, dirs_exist_ok=True)

    monkeypatch.setattr(backend_module, "convert_in_child", convert)
    path = tmp_path / "small.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": "llama", "general.file_type": 15}))
    for number in range(2):
        backend = TransformersBackend(spec("hf", str(path)))
        info = backend.load(context).info
        assert (info["source"], info["quantization"], info["dtype"]) == ("gguf", "Q4_K_M", "float32")
        assert "llama.cpp" in str(info["note"])
        assert said == ["converting (once)"], number
        assert ask(backend).text
