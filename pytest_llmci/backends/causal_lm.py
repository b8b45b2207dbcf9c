"""One causal language model in memory: what all backends share that run transformers in this process."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from ..errors import GenerationError
from ..records import Completion, GenerationSettings, Json, Prompt, ScoreRequest
from .base import OnBatch, OnCompletion, OnScores, Stamp, require_length
from .batched_answers import Row, Stops, answer_ids, batches
from .kv_cache import cache_size
from .log_likelihood import LogLikelihood
from .packages import Foreign, first_line
from .scored_tokens import ScoredTokens
from .stopping import stopped
from .torch_facts import torch_facts

TemplateMode = Literal["auto", "on", "off"]
FRAMEWORK_ERRORS: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    NotImplementedError,
    AssertionError,
    MemoryError,
)
"""What torch and transformers raise where an inference cannot be carried out."""
_SHOWN_LIST = 20
"""Entries up to which a list of the generation configuration is recorded in full."""


@dataclass(kw_only=True, slots=True)
class Produced:
    """What one inference gave, before anything is turned into text."""

    sequence: Foreign
    """Tensor of shape (1, prompt + output), token ids."""
    prompt_tokens: int
    wanted: int
    templated: bool
    cache: Foreign = None
    """Keys and values, if ``generate`` gave them back; :meth:`CausalLM.complete` counts them and lets go of them."""


class StampingStreamer:
    """Stamps each token at its arrival. ``generate`` puts the prompt first, before any computing: that is no token."""

    __slots__ = ("_prompt_seen", "_stamp")

    def __init__(self, stamp: Stamp) -> None:
        self._stamp = stamp
        self._prompt_seen = False

    def put(self, value: Foreign) -> None:
        """One token; the batch is one sequence and nothing drafts ahead, so that a put is a token."""
        if self._prompt_seen:
            self._stamp()
        else:
            self._prompt_seen = True

    def end(self) -> None:
        """Nothing is held back."""


class TextStreamer:
    """Hands text on as soon as no further token can change it."""

    def __init__(self, decode: Callable[[Sequence[int]], str], on_text: Callable[[str], None]) -> None:
        self._decode = decode
        self._on_text = on_text
        self._prompt_seen = False
        self._ids: list[int] = []
        self._given = 0

    def put(self, value: Foreign) -> None:
        """One token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self._ids.extend(int(token) for token in value.reshape(-1))
        text = self._decode(self._ids)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # the first bytes of a character whose last ones are to come
            self._hand_on(text)

    def end(self) -> None:
        """What was held back."""
        self._hand_on(self._decode(self._ids))

    def _hand_on(self, text: str) -> None:
        if len(text) > self._given:
            self._on_text(text[self._given :])
            self._given = len(text)


@dataclass(slots=True)
class CausalLM:
    """A model and its tokenizer, ready to generate."""

    name: str
    """For messages: the spec as the user wrote it."""
    torch: Foreign
    model: Foreign
    tokenizer: Foreign
    template: TemplateMode = "auto"
    stamps: bool = True
    """False where tokens reach a streamer later than they were made (mps), so that their times would be wrong."""
    context_length: int | None = None
    eos_ids: frozenset[int] = field(init=False)
    pad_id: int = field(init=False)
    _scorer: LogLikelihood | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.eos_ids = _eos_ids(self.model, self.tokenizer)
        pad = self.tokenizer.pad_token_id
        self.pad_id = pad if pad is not None else min(self.eos_ids, default=0)

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Produced:
        """One inference; tokenising the prompt is part of the request, turning ids into text is not.

        :raises GenerationError: if the prompt has no tokens or too many, or the framework fails.
        """
        return self._run(prompt, settings, StampingStreamer(stamp) if self.stamps else None)

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        """One inference; ``on_text`` gets each piece of text as it arrives.

        :raises GenerationError: as :meth:`generate`.
        """
        return self.complete(self._run(prompt, settings, TextStreamer(self._text, on_text)))

    def _run(
        self, prompt: Prompt, settings: GenerationSettings, streamer: StampingStreamer | TextStreamer | None
    ) -> Produced:
        try:
            self._synchronize()
            inputs, templated = self._encode(prompt)
            prompt_tokens = inputs["input_ids"].shape[1]
            self._require_length(prompt_tokens, settings.max_new_tokens)
            if settings.temperature > 0:
                self.torch.manual_seed(settings.seed)
            with self.torch.inference_mode():
                answer = self.model.generate(**inputs, **self._decoding(settings), streamer=streamer)
            self._synchronize()
        except FRAMEWORK_ERRORS as error:
            raise self._failure(error) from error
        return Produced(
            sequence=getattr(answer, "sequences", answer), prompt_tokens=prompt_tokens, wanted=settings.max_new_tokens,
            templated=templated, cache=getattr(answer, "past_key_values", None),
        )  # fmt: skip

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, *, on_batch: OnBatch,
        on_completion: OnCompletion,
    ) -> None:  # fmt: skip
        """Answers to many prompts, several in a batch, padded on the left; see :class:`.base.GeneratesMany`.

        Where answers are sampled, each is alone, so that its seed gives what :meth:`generate` would.

        :raises GenerationError: naming the prompt at fault.
        """
        on_batch([0])
        rows = [self._row(number, prompt, settings) for number, prompt in enumerate(prompts)]
        penalty = getattr(self.model.generation_config, "repetition_penalty", None)  # would weigh padding, too
        most = batch if settings.temperature == 0 else 1
        for group in batches(rows, most, settings.max_new_tokens, padded=penalty in {None, 1.0}):
            on_batch([row.number for row in group])
            try:
                answers = self._answer(group, settings, stop)
            except FRAMEWORK_ERRORS as error:
                raise self._failure(error) from error
            for row, ids in zip(group, answers, strict=True):
                completion = self._completion(ids, settings.max_new_tokens, len(row.ids), templated=row.templated)
                on_completion(row.number, stopped(completion, stop))

    def _row(self, number: int, prompt: Prompt, settings: GenerationSettings) -> Row:
        try:
            inputs, templated = self._encode(prompt)
            ids = tuple(inputs["input_ids"][0].tolist())
            self._require_length(len(ids), settings.max_new_tokens)
        except GenerationError as error:
            raise GenerationError(f"prompt '{prompt.id}': {error}", kind=error.kind) from error
        except FRAMEWORK_ERRORS as error:
            raise self._failure(error) from error
        return Row(number=number, prompt=prompt, ids=ids, templated=templated)

    def _answer(self, rows: Sequence[Row], settings: GenerationSettings, stop: Sequence[str]) -> list[tuple[int, ...]]:
        longest = max(len(row.ids) for row in rows)
        blanks = [longest - len(row.ids) for row in rows]
        ids = self.torch.tensor([[self.pad_id] * blank + [*row.ids] for blank, row in zip(blanks, rows, strict=True)])
        mask = self.torch.tensor([[0] * blank + [1] * (longest - blank) for blank in blanks])
        stops = Stops(self._text, stop, longest, self.torch)
        if settings.temperature > 0:
            self.torch.manual_seed(settings.seed)
        device = self.model.device
        with self.torch.inference_mode():
            answer = self.model.generate(
                input_ids=ids.to(device), attention_mask=mask.to(device), **self._decoding(settings),
                **({"stopping_criteria": [stops]} if any(stop) else {}),
            )  # fmt: skip
        made = getattr(answer, "sequences", answer)[:, longest:].tolist()
        eos_ids = frozenset() if settings.fixed_length else self.eos_ids
        return [answer_ids(ids, eos_ids, stops.ended.get(number)) for number, ids in enumerate(made)]

    def _require_length(self, prompt_tokens: int, wanted: int) -> None:
        if prompt_tokens == 0:
            raise GenerationError(f"{self.name}: the prompt has no tokens; give it some text.", kind="prompt")
        require_length(prompt_tokens, wanted, self.context_length, self.name)

    def _decoding(self, settings: GenerationSettings) -> dict[str, Foreign]:
        """Everything that decides how long and how, so that no default of a version or a checkpoint does.

        What remains the checkpoint's own (top_k, top_p and penalties) stands in the record as ``generation_config``.
        """
        sampled = settings.temperature > 0
        return {
            "max_new_tokens": settings.max_new_tokens,
            "min_new_tokens": settings.max_new_tokens if settings.fixed_length else None,
            "do_sample": sampled,
            "num_beams": 1,
            "pad_token_id": self.pad_id,
            # The cache is to be counted. On mps, to return it generate would cut it back after each token: another program.
            "return_dict_in_generate": self.model.device.type != "mps",
            **dict.fromkeys(("output_scores", "output_logits", "output_attentions", "output_hidden_states"), False),
            **(
                {"temperature": settings.temperature}
                if sampled
                else {"temperature": None, "top_p": None, "top_k": None}
            ),
        }

    def _encode(self, prompt: Prompt) -> tuple[dict[str, Foreign], bool]:
        templated = self.template == "on" or (prompt.text is None and self.template == "auto")
        if templated:
            batch = self.tokenizer(self._apply_template(prompt), add_special_tokens=False, return_tensors="pt")
        elif prompt.text is None:
            raise GenerationError(
                f"{self.name}: prompt '{prompt.id}' holds messages, and +template=off keeps them from the chat"
                " template: give a text.",
                kind="template",
            )
        else:
            batch = self.tokenizer(prompt.text, return_tensors="pt")
        device = self.model.device
        return {key: batch[key].to(device) for key in ("input_ids", "attention_mask") if key in batch}, templated

    def _apply_template(self, prompt: Prompt) -> str:
        if not getattr(self.tokenizer, "chat_template", None):
            raise GenerationError(
                f"{self.name}: prompt '{prompt.id}' holds messages, but the model has no chat template: give a text"
                " or use the instruction-tuned variant of the model.",
                kind="template",
            )
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        if prompt.text is not None:
            messages = [{"role": "user", "content": prompt.text}]
        try:
            text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program of the model's authors and raises what it likes
            raise GenerationError(
                f"{self.name}: the chat template refuses prompt '{prompt.id}': {first_line(error)}", kind="template"
            ) from error
        return text

    def complete(self, produced: Produced) -> Completion:
        """Text and counts of an inference."""
        size = cache_size(produced.cache)
        produced.cache = None
        ids = tuple(int(token) for token in produced.sequence[0, produced.prompt_tokens :].tolist())
        completion = self._completion(ids, produced.wanted, produced.prompt_tokens, templated=produced.templated)
        if size is None:
            return completion
        return replace(completion, kv_cache_bytes=size.num_bytes, kv_cache_tokens=size.tokens)

    def _completion(self, ids: tuple[int, ...], wanted: int, prompt_tokens: int, *, templated: bool) -> Completion:
        special = set(self.tokenizer.all_special_ids)
        return Completion(
            text=self._text(ids),
            finish_reason=self._finish_reason(ids, wanted),
            prompt_tokens=prompt_tokens,
            output_tokens=len(ids),
            token_source="tokenizer",
            special_only=bool(ids) and all(token in special for token in ids),
            token_ids=ids,
            templated=templated,
        )

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """Each token alone as text, special ones included; a part of a character is U+FFFD."""
        return [str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False)) for token in ids]

    def _finish_reason(self, ids: Sequence[int], wanted: int) -> str:
        return "stop" if len(ids) < wanted or (ids and ids[-1] in self.eos_ids) else "length"

    def score(self, context: str, continuation: str) -> list[float]:
        """Natural log-probability of each token of ``continuation`` after ``context``.

        Which tokens those are: :mod:`.scored_tokens`.

        :raises GenerationError: if they do not fit into the model's context or the framework fails.
        """
        try:
            context_ids, continuation_ids = self._tokens().pair(context, continuation)
        except (TypeError, ValueError) as error:
            raise self._failure(error) from error
        if not continuation_ids:
            raise GenerationError(f"{self.name}: the continuation {continuation!r} has no tokens.", kind="prompt")
        require_length(len(context_ids), len(continuation_ids) - 1, self.context_length, self.name)
        try:
            return self._log_probabilities(context_ids, continuation_ids)
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            raise self._failure(error) from error

    def score_many(
        self, requests: Sequence[ScoreRequest], batch: int, *, on_batch: OnBatch, on_scores: OnScores
    ) -> None:  # fmt: skip
        """Log-probabilities of many continuations; see :mod:`.log_likelihood`.

        :raises GenerationError: naming the question at fault.
        """
        self.scorer().score_many(requests, batch, on_batch=on_batch, on_scores=on_scores)

    def scorer(self) -> LogLikelihood:
        """What scores many continuations; it remembers what it has found out of the model."""
        if self._scorer is None:
            self._scorer = LogLikelihood(
                name=self.name, torch=self.torch, model=self.model, tokens=self._tokens(), pad_id=self.pad_id,
                failure=self._failure,
            )  # fmt: skip
        return self._scorer

    def _tokens(self) -> ScoredTokens:
        tokenizer = self.tokenizer
        ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, min(self.eos_ids, default=0))
        prefix = next(token for token in ends if token is not None)
        return ScoredTokens(name=self.name, tokenizer=tokenizer, prefix=prefix, limit=self.context_length)

    def _log_probabilities(self, context: Sequence[int], continuation: Sequence[int]) -> list[float]:
        torch = self.torch
        whole = torch.tensor([[*context, *continuation]], device=self.model.device)
        with torch.inference_mode():
            logits = self.model(input_ids=whole[:, :-1]).logits[0, -len(continuation) :]
            table = torch.log_softmax(logits.float(), dim=-1)
            chosen = table.gather(1, whole[0, -len(continuation) :, None])
        values: list[float] = chosen[:, 0].tolist()
        return values

    def _synchronize(self) -> None:
        """On a GPU the queue must be empty at both ends, or work would be timed that is not this request's."""
        if self.model.device.type == "cuda":
            self.torch.cuda.synchronize(self.model.device)

    def _failure(self, error: BaseException) -> GenerationError:
        text = first_line(error)
        if isinstance(error, (MemoryError, self.torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
            return GenerationError(f"{self.name}: not enough memory: {text}", kind="memory")
        return GenerationError(f"{self.name}: {type(error).__name__} while generating: {text}", kind="framework")

    def storages(self) -> Iterator[Foreign]:
        """The distinct storages of parameters and buffers: tied weights and views once."""
        seen = set()
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            if tensor.device.type == "meta":
                continue
            storage = tensor.untyped_storage()
            key = (str(tensor.device), storage.data_ptr())
            if storage.nbytes() and key not in seen:
                seen.add(key)
                yield storage

    def footprint_bytes(self) -> int:
        """Bytes of parameters and buffers over distinct storages."""
        return sum(storage.nbytes() for storage in self.storages())

    def prefault(self) -> None:
        """Read one byte of every page of the weights, or the first inference would pay for mapping them."""
        for storage in self.storages():
            if storage.device.type == "cpu":
                pages = self.torch.empty(0, dtype=self.torch.uint8).set_(storage)[:: mmap.PAGESIZE]
                pages.max()

    def facts(self) -> dict[str, Json]:
        """What can be said of the model itself: goes into the worker record."""
        config = self.model.config
        template = getattr(self.tokenizer, "chat_template", None)
        return {
            "architecture": type(self.model).__name__,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
            "attention": getattr(config, "_attn_implementation", None),
            "vocabulary": len(self.tokenizer),
            "chat_template_sha256": _sha256(template) if template else None,
            "generation_config": _plain(self.model.generation_config.to_diff_dict()),
            **torch_facts(self.torch, self.model.device),
        }

    def close(self) -> None:
        """Give the memory back even if someone still holds the model: a traceback, a local of a failed test."""
        device = self.model.device.type
        with contextlib.suppress(RuntimeError, NotImplementedError):
            self.model.to("meta")
        self.model = self.tokenizer = self._scorer = None
        gc.collect()
        if device == "cuda":
            self.torch.cuda.empty_cache()
        _trim_heap()


def context_length_of(config: Foreign) -> int | None:
    """Tokens that prompt and answer may have together; None where the configuration sets no limit."""
    inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(inner, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _eos_ids(model: Foreign, tokenizer: Foreign) -> frozenset[int]:
    for value in (
        model.generation_config.eos_token_id,
        getattr(model.config, "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        if value is not None:
            return frozenset(value if isinstance(value, (list, tuple)) else [value])
    return frozenset()


def _sha256(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(data: Mapping[str, object]) -> dict[str, Json]:
    """A configuration as JSON: what JSON cannot hold as its text, long lists as their length and digest."""
    plain: dict[str, Json] = json.loads(json.dumps(dict(data), sort_keys=True, default=str))
    shown = {key: value for key, value in plain.items() if key not in ("_from_model_config", "transformers_version")}
    for key, value in shown.items():
        if isinstance(value, list) and len(value) > _SHOWN_LIST:
            shown[key] = f"{len(value)} values, sha256 {_sha256(value)}"
    return shown


def _trim_heap() -> None:
    """Hand free memory back to the system, where the C library can (glibc)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
