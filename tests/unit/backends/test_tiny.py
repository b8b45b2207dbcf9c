"""The random model, and with it what all models run by transformers share."""

from __future__ import annotations

import dataclasses
import gc
import string
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.backends import tiny as tiny_module
from pytest_llmci.backends.answer_scores import logprobs
from pytest_llmci.backends.base import LoadContext, LoadedModel
from pytest_llmci.backends.causal_backend import finish_loading
from pytest_llmci.backends.causal_lm import CausalLM
from pytest_llmci.backends.packages import installed_version
from pytest_llmci.backends.smollm2 import SmolLM2Backend
from pytest_llmci.backends.tiny import TinyBackend
from pytest_llmci.backends.transformers import TransformersBackend
from pytest_llmci.errors import GenerationError, MissingExtraError, ModelLoadError
from pytest_llmci.records import Completion, GenerationSettings, Message, ModelSpec, Prompt, to_json

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

MakeSpec = Callable[..., ModelSpec]
FIXED = GenerationSettings(max_new_tokens=50, fixed_length=True)
TCP = Prompt(id="tcp", text="What are the key differences between TCP and UDP protocols?")
CHAT = Prompt(id="chat", messages=(Message(role="user", content="Hi"), Message(role="user", content="there")))


def open_tiny(**options: str) -> tuple[TinyBackend, LoadedModel]:
    keys = "".join(f"+{key}={value}" for key, value in options.items())
    spec = ModelSpec(alias="tiny", backend="tiny", options=options, text=f"tiny{keys}")
    backend = TinyBackend(spec)
    return backend, backend.load(LoadContext(threads=1, cache_dir="", say=lambda line: None))


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[TinyBackend, LoadedModel]]:
    backend, loaded = open_tiny()
    yield backend, loaded
    backend.close()


@pytest.fixture
def tiny(opened: tuple[TinyBackend, LoadedModel]) -> TinyBackend:
    return opened[0]


def ask(backend: TinyBackend, prompt: Prompt, settings: GenerationSettings = FIXED) -> tuple[Completion, int]:
    stamps: list[int] = []
    produced = backend.generate(prompt, settings, lambda: stamps.append(0))
    return backend.complete(produced), len(stamps)


def test_text_is_varied_and_printable(tiny: TinyBackend) -> None:
    text = ask(tiny, TCP, GenerationSettings(max_new_tokens=400))[0].text
    assert set(text) <= set(string.ascii_lowercase + " ")
    runs = [text[place : place + 3] for place in range(len(text) - 2)]
    assert len(set(runs)) == len(runs) == 398
    assert len(set(text)) > 15
    assert text.count(" ") > 10


def test_greedy_answers_are_the_same_each_time_and_differ_between_prompts(tiny: TinyBackend) -> None:
    first = ask(tiny, TCP)[0]
    assert ask(tiny, TCP)[0] == first
    assert ask(tiny, Prompt(id="x", text="Something else"))[0].text != first.text


def test_weights_depend_on_the_seed_alone_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one = ask(open_tiny()[0], TCP)[0].text
    assert torch.rand(1) == expected
    assert ask(open_tiny()[0], TCP)[0].text == one
    assert ask(open_tiny(seed="1")[0], TCP)[0].text != one


def test_sampling_depends_on_the_seed(tiny: TinyBackend) -> None:
    def sampled(seed: int) -> str:
        return ask(tiny, TCP, GenerationSettings(max_new_tokens=30, temperature=1.0, seed=seed))[0].text

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) == 4


def test_each_token_is_stamped_and_the_prompt_is_none(tiny: TinyBackend) -> None:
    completion, stamps = ask(tiny, TCP)
    assert (stamps, completion.output_tokens, len(completion.token_ids)) == (50, 50, 50)
    assert completion.prompt_tokens == len((TCP.text or "").encode())
    assert (completion.finish_reason, completion.token_source) == ("length", "tokenizer")


def test_each_token_is_stamped_right_after_its_forward(tiny: TinyBackend) -> None:
    assert tiny._lm is not None
    done: list[str] = []
    hook = tiny._lm.model.register_forward_hook(lambda *passed: done.append("forward"))
    try:
        tiny.generate(TCP, GenerationSettings(max_new_tokens=5, fixed_length=True), lambda: done.append("token"))
    finally:
        hook.remove()
    assert done == ["forward", "token"] * 5  # the prompt is put before any forward, and is no token


class Accelerated:
    """A model on another device, which answers with a fixed sequence."""

    def __init__(self, device: str, story: list[object]) -> None:
        self.device = torch.device(device)
        self.story = story
        self.given: dict[str, object] = {}

    def generate(self, **arguments: object) -> object:
        self.given = arguments
        self.story.append("generate")
        return torch.zeros((1, 70), dtype=torch.long)


@pytest.fixture
def accelerate(tiny: TinyBackend, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Accelerated]:
    """Put a model of another device into the place of the tiny one."""
    lm = tiny._lm
    assert lm is not None

    def place(device: str) -> Accelerated:
        story: list[object] = []
        model = Accelerated(device, story)
        monkeypatch.setattr(lm, "model", model)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: story.append(device))

        def encode(self: CausalLM, prompt: Prompt) -> tuple[dict[str, object], bool]:
            story.append("encode")
            return {"input_ids": torch.zeros((1, 20))}, False

        monkeypatch.setattr(CausalLM, "_encode", encode)
        return model

    return place


def test_the_queue_of_the_models_gpu_is_empty_at_both_ends(
    tiny: TinyBackend, accelerate: Callable[[str], Accelerated]
) -> None:
    model = accelerate("cuda:1")
    tiny.generate(TCP, FIXED, lambda: None)
    assert model.story == [model.device, "encode", "generate", model.device]
    model = accelerate("cpu")
    tiny.generate(TCP, FIXED, lambda: None)
    assert model.story == ["encode", "generate"]


def test_on_mps_no_token_is_stamped_and_no_cache_is_asked_for(
    tiny: TinyBackend, accelerate: Callable[[str], Accelerated], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = accelerate("mps")
    assert tiny._lm is not None
    monkeypatch.setattr(tiny._lm, "stamps", False)  # as it is loaded there
    completion = tiny.complete(tiny.generate(TCP, FIXED, lambda: pytest.fail("a token was stamped one step late")))
    assert (model.given["streamer"], model.given["return_dict_in_generate"]) == (None, False)
    assert (completion.output_tokens, completion.kv_cache_bytes, completion.kv_cache_tokens) == (50, None, None)


@pytest.mark.parametrize(("device", "stamps"), [("mps", False), ("cpu", True)])
def test_tokens_are_stamped_but_on_mps(monkeypatch: pytest.MonkeyPatch, device: str, stamps: bool) -> None:
    monkeypatch.setattr(tiny_module, "choose_device", lambda *asked: device)
    monkeypatch.setattr(tiny_module, "finish_loading", lambda stack, lm, facts: LoadedModel(info={"stamps": lm.stamps}))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *given, **named: self)
    assert open_tiny()[1].info["stamps"] is stamps


def test_the_gpu_of_the_model_becomes_the_current_one() -> None:
    asked: list[object] = []
    cuda = SimpleNamespace(set_device=asked.append)
    stack: Any = SimpleNamespace(torch=SimpleNamespace(cuda=cuda), lap=lambda part: None, facts=dict, hashing_ns=0)
    for device in ("cpu", "cuda:1"):
        lm: Any = SimpleNamespace(
            model=SimpleNamespace(device=torch.device(device)), prefault=lambda: None, footprint_bytes=int, facts=dict,
            context_length=None,
        )  # fmt: skip
        finish_loading(stack, lm, {})
    assert asked == [torch.device("cuda:1")]


def test_one_token(tiny: TinyBackend) -> None:
    assert ask(tiny, TCP, GenerationSettings(max_new_tokens=1))[1] == 1


def test_messages_go_through_the_template_and_texts_do_not(tiny: TinyBackend) -> None:
    chat, raw = ask(tiny, CHAT)[0], ask(tiny, TCP)[0]
    assert (chat.templated, raw.templated) == (True, False)
    assert chat.prompt_tokens == len("user: Hi\nuser: there\nassistant: ")


def test_template_on_and_off() -> None:
    on = open_tiny(template="on")[0]
    completion = ask(on, TCP)[0]
    assert completion.templated
    assert completion.prompt_tokens == len(f"user: {TCP.text}\nassistant: ")
    with pytest.raises(GenerationError, match=r"template=off"):
        ask(open_tiny(template="off")[0], CHAT)


def test_a_model_without_a_template_refuses_messages() -> None:
    backend = open_tiny()[0]
    assert backend._lm is not None
    backend._lm.tokenizer.chat_template = None
    with pytest.raises(GenerationError, match="no chat template") as caught:
        ask(backend, CHAT)
    assert caught.value.kind == "template"
    assert ask(backend, TCP)[0].text


def test_a_template_that_refuses_is_one_line() -> None:
    backend = open_tiny()[0]
    assert backend._lm is not None
    backend._lm.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(GenerationError, match="refuses prompt 'chat': roles must alternate"):
        ask(backend, CHAT)


def test_any_unicode_survives(tiny: TinyBackend) -> None:
    text = "\x00\x1b[31m é 日本語 🎉 \u202e \r\n\t' \""
    assert ask(tiny, Prompt(id="u", text=text))[0].prompt_tokens == len(text.encode())


def test_half_a_surrogate_pair_is_one_line(tiny: TinyBackend) -> None:
    with pytest.raises(GenerationError, match="while generating") as caught:
        ask(tiny, Prompt(id="u", text="\ud800"))
    assert "\n" not in str(caught.value)


def test_a_prompt_beyond_the_context_is_refused_below_equal_and_above(tiny: TinyBackend) -> None:
    settings = GenerationSettings(max_new_tokens=4)
    assert ask(tiny, Prompt(id="fits", text="x" * 2044), settings)[1] == 4
    with pytest.raises(GenerationError, match="has 2045 tokens and 4 new ones") as caught:
        ask(tiny, Prompt(id="long", text="x" * 2045), settings)
    assert caught.value.kind == "context"


def test_an_empty_prompt_is_refused(tiny: TinyBackend) -> None:
    with pytest.raises(GenerationError, match="no tokens"):
        ask(tiny, Prompt(id="empty", text=""))


def test_end_of_text_stops_and_counts(tiny: TinyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny._lm
    assert lm is not None
    third = ask(tiny, TCP)[0].token_ids[2]
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", third)
    monkeypatch.setattr(lm, "eos_ids", frozenset({third}))
    completion, stamps = ask(tiny, TCP, GenerationSettings(max_new_tokens=50))
    assert (completion.finish_reason, completion.output_tokens, stamps) == ("stop", 3, 3)
    exact = ask(tiny, TCP, GenerationSettings(max_new_tokens=3))[0]
    assert (exact.finish_reason, exact.output_tokens) == ("stop", 3)
    completion, stamps = ask(tiny, TCP)  # a fixed length goes on
    assert (completion.finish_reason, stamps) == ("length", 50)
    assert third not in completion.token_ids


def test_only_special_tokens_are_told_from_text(tiny: TinyBackend) -> None:
    produced = tiny.generate(TCP, GenerationSettings(max_new_tokens=2), lambda: None)
    ended = produced.sequence.clone()
    ended[0, produced.prompt_tokens :] = 2
    completion = tiny.complete(dataclasses.replace(produced, sequence=ended))
    assert (completion.text, completion.special_only) == ("", True)
    assert not ask(tiny, TCP)[0].special_only


def test_stream_gives_the_same_text_in_pieces(tiny: TinyBackend) -> None:
    pieces: list[str] = []
    completion = tiny.stream(TCP, FIXED, pieces.append)
    assert completion == ask(tiny, TCP)[0]
    assert "".join(pieces) == completion.text
    assert len(pieces) == 50


def test_stream_holds_half_a_character_back() -> None:
    from pytest_llmci.backends.causal_lm import TextStreamer

    pieces: list[str] = []
    streamer = TextStreamer(lambda ids: bytes(ids).decode("utf-8", "replace"), pieces.append)
    streamer.put(torch.tensor([[1, 2, 3]]))  # the prompt
    for byte in "aé日".encode():
        streamer.put(torch.tensor([byte]))
    streamer.end()
    assert pieces == ["a", "é", "日"]


def test_scores_are_log_probabilities_of_the_continuation(tiny: TinyBackend) -> None:
    lm = tiny._lm
    assert lm is not None
    scores = tiny.score("ab ", "cd")  # the space belongs to the continuation
    ids = torch.tensor([lm.tokenizer("ab cd", add_special_tokens=False)["input_ids"]])
    table = torch.log_softmax(lm.model(input_ids=ids).logits[0].float(), dim=-1)
    expected = [table[place - 1, ids[0, place]].item() for place in (2, 3, 4)]
    assert scores == pytest.approx(expected, rel=1e-4)
    assert len(tiny.score("", "cd")) == 2
    # All continuations of one byte share the probability that there is.
    total = sum(torch.tensor(tiny.score("ab", chr(byte))).exp().item() for byte in range(32, 127))
    assert 0 < total < 1


@pytest.mark.parametrize("prompt", [TCP, CHAT], ids=["text", "chat"])
def test_an_answer_is_scored_after_the_prompt_as_the_model_saw_it(tiny: TinyBackend, prompt: Prompt) -> None:
    answer = ask(tiny, prompt, GenerationSettings(max_new_tokens=12))[0]
    lm = tiny._loaded()
    context = lm._encode(prompt)[0]["input_ids"]
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.cat([context, torch.tensor([answer.token_ids])], dim=1)).logits[0]
    table = torch.log_softmax(logits.float(), dim=-1)[context.shape[1] - 1 : -1]
    expected = [table[place, token].item() for place, token in enumerate(answer.token_ids)]
    scores = logprobs(tiny, to_json(prompt), answer.text, list(answer.token_ids))
    assert scores == pytest.approx(expected, rel=1e-4)
    assert logprobs(tiny, to_json(prompt), answer.text, []) == pytest.approx(expected, rel=1e-4)  # a token a letter


def test_end_of_text_is_no_part_of_a_scored_answer(tiny: TinyBackend) -> None:
    ids = list(ask(tiny, TCP, GenerationSettings(max_new_tokens=3))[0].token_ids)
    end = min(tiny._loaded().eos_ids)
    assert len(logprobs(tiny, to_json(TCP), "", [*ids, end, end])) == 3
    with pytest.raises(GenerationError, match="the answer has no tokens"):
        logprobs(tiny, to_json(TCP), "", [end])


def test_scores_that_do_not_fit_are_refused(tiny: TinyBackend) -> None:
    assert len(tiny.score("x" * 2047, "yy")) == 2
    with pytest.raises(GenerationError, match="context"):
        tiny.score("x" * 2047, "yyy")
    with pytest.raises(GenerationError, match="has no tokens"):
        tiny.score("x", "")


def test_functions_beside_the_model_get_at_it(tiny: TinyBackend) -> None:
    assert tiny._lm is not None
    assert tiny.model is tiny._lm.model and tiny.tokenizer is tiny._lm.tokenizer
    with pytest.raises(GenerationError, match="not loaded"):
        _ = TinyBackend(ModelSpec(alias="t", backend="tiny", text="tiny")).model


def test_what_it_says_of_itself(opened: tuple[TinyBackend, LoadedModel]) -> None:
    info = opened[1].info
    lm = opened[0]._lm
    assert lm is not None
    parameters = sum(parameter.numel() for parameter in lm.model.parameters())
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in lm.model.buffers())
    assert info["parameters"] == parameters
    assert opened[1].footprint_bytes is not None
    assert parameters * 4 <= opened[1].footprint_bytes <= parameters * 4 + buffers
    assert opened[1].context_length == 2048
    assert {"torch", "transformers", "load_parts_ns", "generation_config", "chat_template_sha256"} <= set(info)
    assert (info["torch_threads"], info["device_name"]) == (torch.get_num_threads(), None)
    assert (info["dtype"], info["device"], info["layers"], info["hidden"], info["seed"]) == ("float32", "cpu", 4, 64, 0)


@pytest.mark.parametrize(("wanted", "dtype", "size"), [(1, "float32", 4), (50, "float32", 4), (50, "bfloat16", 2)])
def test_the_cache_is_counted(wanted: int, dtype: str, size: int) -> None:
    backend, _ = open_tiny(layers="3", hidden="32", dtype=dtype)
    completion, _ = ask(backend, TCP, GenerationSettings(max_new_tokens=wanted, fixed_length=True))
    assert completion.prompt_tokens is not None
    tokens = completion.prompt_tokens + wanted - 1  # the last token is not fed back
    layers, keys_and_values, width = 3, 2, 32
    assert (completion.kv_cache_tokens, completion.kv_cache_bytes) == (
        tokens, tokens * layers * keys_and_values * width * size,
    )  # fmt: skip
    backend.close()


def test_the_cache_dies_with_the_counting(tiny: TinyBackend) -> None:
    gc.disable()  # as it is while a round is measured
    try:
        produced = tiny.generate(TCP, FIXED, lambda: None)
        cache = weakref.ref(produced.cache)
        assert cache() is not None
        tiny.complete(produced)
        assert cache() is None
    finally:
        gc.enable()


def test_nothing_else_is_kept_whatever_the_checkpoint_asks_for(
    tiny: TinyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny._lm is not None
    model = tiny._lm.model
    answers = []
    generate = model.generate

    def noting(**given: object) -> object:
        answers.append(generate(**given))
        return answers[-1]

    monkeypatch.setattr(model, "generate", noting)
    for name in ("return_dict_in_generate", "output_scores", "output_logits", "output_hidden_states"):
        monkeypatch.setattr(model.generation_config, name, True)
    assert ask(tiny, TCP)[0].output_tokens == 50
    assert set(answers[0]) == {"sequences", "past_key_values"}


def test_tied_weights_and_views_count_once() -> None:
    backend, loaded = open_tiny()
    lm = backend._lm
    assert lm is not None
    assert loaded.footprint_bytes is not None
    lm.model.lm_head.weight = lm.model.model.embed_tokens.weight
    lm.model.register_buffer("view", lm.model.model.embed_tokens.weight.detach()[:3])
    assert lm.footprint_bytes() == loaded.footprint_bytes - 259 * 64 * 4


def test_prefault_changes_nothing(tiny: TinyBackend) -> None:
    lm = tiny._lm
    assert lm is not None
    before = [parameter.detach().clone() for parameter in lm.model.parameters()]
    lm.prefault()
    assert all(torch.equal(one, two) for one, two in zip(before, lm.model.parameters(), strict=True))


def test_sizes_and_dtype() -> None:
    small = open_tiny(layers="1", hidden="16", dtype="bfloat16")
    assert small[1].info["dtype"] == "bfloat16"
    assert small[1].info["layers"] == 1
    assert ask(small[0], TCP)[0].text


def test_close_frees_the_weights_even_if_somebody_holds_the_model() -> None:
    backend = open_tiny()[0]
    lm = backend._lm
    assert lm is not None
    model = lm.model
    backend.close()
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    with pytest.raises(GenerationError, match="not loaded"):
        ask(backend, TCP)
    backend.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "0"}, "from 1 to 64"),
        ({"hidden": "20"}, "multiple of 8"),
        ({"seed": "x"}, "whole number"),
        ({"dtype": "float8"}, "unknown dtype 'float8'"),
        ({"dtype": "auto"}, "means nothing"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"template": "yes"}, "unknown template 'yes'"),
        ({"layer": "2"}, "Did you mean 'layers'"),
        ({"pickle": "ok"}, "unknown key 'pickle'"),
    ],
)
def test_wrong_keys_are_known_beforehand(spec: MakeSpec, options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelLoadError, match=message) as caught:
        TinyBackend.preflight(spec("tiny", **options))
    assert caught.value.kind == "option"


def test_a_name_is_refused(spec: MakeSpec) -> None:
    with pytest.raises(ModelLoadError, match="takes no name"):
        TinyBackend.preflight(spec("tiny", "large"))


def test_a_device_that_is_not_there(spec: MakeSpec, context: LoadContext) -> None:
    missing = "cuda:99" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ModelLoadError, match="no such device") as caught:
        TinyBackend(spec("tiny", device=missing)).load(context)
    assert caught.value.kind == "device"


def test_mps_is_known_to_hide_token_times(spec: MakeSpec) -> None:
    assert "ttft" in TinyBackend.unmeasurable(spec("tiny", device="mps"))
    assert "gpu_peak_allocated" in TinyBackend.unmeasurable(spec("tiny", device="cpu"))
    assert TinyBackend.unmeasurable(spec("tiny")) == {}


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_a_missing_package_is_named_with_its_extra(
    spec: MakeSpec, context: LoadContext, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    message = rf"needs the package '{package}'.*pip install 'pytest-llmci\[transformers\]'"
    with pytest.raises(MissingExtraError, match=message):
        TinyBackend.preflight(spec("tiny"))
    with pytest.raises(MissingExtraError, match=message):
        TinyBackend(spec("tiny")).load(context)


@pytest.mark.parametrize(
    ("version", "device", "refused"),
    [
        ("2.13.0+cpu", "cuda", True),
        ("2.13.0+cpu", "cuda:1", True),
        ("2.13.0+cpu", "auto", False),
        ("2.13.0+cpu", "cpu", False),
        ("2.13.0+cu130", "cuda", False),
        ("2.13.0", "cuda", False),
        ("", "cuda", False),
    ],
)
def test_a_torch_that_says_to_be_built_without_cuda_is_refused_for_it_before_it_is_imported(
    spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, version: str, device: str, refused: bool
) -> None:
    monkeypatch.setattr("pytest_llmci.backends.load_options.installed_version", lambda package: version)
    if not refused:
        TinyBackend.preflight(spec("tiny", device=device))
        return
    for backend, target in ((TinyBackend, ""), (SmolLM2Backend, ""), (TransformersBackend, "org/name")):
        with pytest.raises(
            ModelLoadError, match=rf"\+device={device}: the installed torch 2.13.0\+cpu is built without CUDA"
        ):
            backend.preflight(spec(backend.__name__, target, device=device))


def test_a_version_is_read_from_what_is_installed() -> None:
    assert installed_version("torch") == torch.__version__
    assert installed_version("no-such-package") == ""
