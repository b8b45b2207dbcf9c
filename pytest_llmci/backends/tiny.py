"""A llama with random weights and a byte-level tokenizer, built in memory: nothing to download, about 1 ms a token.

==========  =======  ==========================================================
key         default  meaning
==========  =======  ==========================================================
``layers``  4        decoder layers, 1 to 64
``hidden``  64       width, a multiple of 8, 16 to 4096
``seed``    0        of the weights
``dtype``   float32  float32, bfloat16 or float16
``device``  auto     as for transformers
``template`` auto    as for transformers
==========  =======  ==========================================================

A token is a byte. Only lower-case letters and the space can be chosen and no three of them follow each other twice, so
that the text is printable, varied and without meaning; it never ends before the length that is asked for.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from ..errors import ModelLoadError
from ..records import Json, ModelSpec
from .base import LoadContext, LoadedModel
from .causal_backend import CausalBackend, finish_loading
from .causal_lm import CausalLM
from .load_errors import Wanted
from .load_options import LoadOptions, check_build, choose_device, choose_dtype, read_options
from .packages import Foreign, require, require_installed

_SPECIALS: Final = ("<pad>", "<s>", "</s>")
_CONTEXT_TOKENS: Final = 2048
_WEIGHT_SCALE: Final = (
    0.3  # larger than a trained model's: near zero, greedy decoding of random weights soon repeats itself
)
_SPACE_WEIGHT: Final = 2.5  # of the space's row in the output layer: words of a natural length
_CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What the random weights depend on."""

    layers: int
    hidden: int
    """Width; four attention heads share it."""
    seed: int


class TinyBackend(CausalBackend):
    """Random weights from a small configuration."""

    OPTIONS: ClassVar[Mapping[str, str]] = {
        "layers": "decoder layers",
        "hidden": "width",
        "seed": "of the weights",
        "dtype": "float32, bfloat16 or float16",
        "device": "auto, cpu, cuda, cuda:N or mps",
        "template": "auto, on or off",
    }

    @staticmethod
    def preflight(spec: ModelSpec, _sys_path: Sequence[str] = ()) -> None:
        """Refuse what can be known to fail before anything is imported.

        :raises ModelLoadError: if a key is unknown or out of range.
        :raises MissingExtraError: if a package is not installed.
        """
        options, _ = read_sizes(spec)
        require_installed(("torch", "transformers"), "backend 'tiny'")
        check_build(spec, options.device)

    def load(self, context: LoadContext) -> LoadedModel:
        """Build the model.

        :raises ModelLoadError: if a key is unknown or out of range.
        :raises MissingExtraError: if a package is not installed.
        """
        options, sizes = read_sizes(self._spec)
        stack = self._begin(context)
        tokenizer = build_tokenizer(stack.transformers)
        stack.lap("tokenizer")
        device = choose_device(stack.torch, options.device, Wanted(text=self._spec.text, target="tiny"))
        model = build_model(stack.torch, stack.transformers, tokenizer, sizes)
        model = model.to(device=device, dtype=choose_dtype(stack.torch, options.dtype, "cpu")).eval()
        stack.lap("weights")
        self._lm = CausalLM(
            name=self._spec.text,
            torch=stack.torch,
            model=model,
            tokenizer=tokenizer,
            template=options.template,
            stamps=device != "mps",
            context_length=_CONTEXT_TOKENS,
        )
        facts: dict[str, Json] = {"source": "random weights", "quantization": None, **dataclasses.asdict(sizes)}
        return finish_loading(stack, self._lm, facts)


def read_sizes(spec: ModelSpec) -> tuple[LoadOptions, Sizes]:
    """Check the keys of a spec.

    :raises ModelLoadError: of kind ``option`` if one is unknown or out of range.
    """
    options = read_options(spec, TinyBackend.OPTIONS)
    if spec.target:
        keys = ", ".join(TinyBackend.OPTIONS)
        raise ModelLoadError(f"{spec.text}: tiny takes no name after ':'; its keys are {keys}.", kind="option")
    if options.dtype == "auto":
        raise ModelLoadError(
            f"{spec.text}: +dtype=auto means nothing here, as there is no checkpoint; leave it away.", kind="option"
        )
    sizes = Sizes(
        layers=_integer(spec, "layers", 4, 1, 64),
        hidden=_integer(spec, "hidden", 64, 16, 4096),
        seed=_integer(spec, "seed", 0, 0, 2**31 - 1),
    )
    if sizes.hidden % 8:
        raise ModelLoadError(f"{spec.text}: +hidden={sizes.hidden} must be a multiple of 8.", kind="option")
    return options, sizes


def _integer(spec: ModelSpec, key: str, default: int, least: int, most: int) -> int:
    text = spec.options.get(key, str(default))
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ModelLoadError(
            f"{spec.text}: +{key}={text} must be a whole number from {least} to {most}.", kind="option"
        )
    return int(text)


def build_tokenizer(transformers: Foreign) -> Foreign:
    """A tokenizer whose tokens are the 256 bytes and three special ones."""
    tokenizers = require("tokenizers", "backend 'tiny'")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIALS, *alphabet])}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=_SPECIALS[0],
        bos_token=_SPECIALS[1],
        eos_token=_SPECIALS[2],
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=_CONTEXT_TOKENS,
    )


def build_model(torch: Foreign, transformers: Foreign, tokenizer: Foreign, sizes: Sizes) -> Foreign:
    """The model, the same for the same numbers; the caller's random state is left as it was."""
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.hidden,
        intermediate_size=2 * sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=_CONTEXT_TOKENS,
        initializer_range=_WEIGHT_SCALE,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sizes.seed)
        model = transformers.LlamaForCausalLM(config)
    letters = tokenizer.convert_tokens_to_ids(list(string.ascii_lowercase))
    space = tokenizer.encode(" ", add_special_tokens=False)[0]
    with torch.no_grad():
        model.lm_head.weight[space] *= _SPACE_WEIGHT
    allowed = {*letters, space}
    model.generation_config.suppress_tokens = [token for token in range(len(tokenizer)) if token not in allowed]
    model.generation_config.no_repeat_ngram_size = 3
    return model
