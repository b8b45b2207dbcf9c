"""What backends around one causal language model of transformers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final

from ..clock import SystemClock
from ..errors import GenerationError
from ..records import Completion, GenerationSettings, Json, ModelSpec, Prompt, ScoreRequest
from .base import LoadContext, LoadedModel, OnBatch, OnCompletion, OnScores, Stamp
from .causal_lm import CausalLM, Produced
from .packages import Foreign, require

MPS_REASON: Final = "on mps tokens reach the program one step late, so that the times of single tokens are not known"
MPS_CACHE_REASON: Final = "on mps, asking generate for its key-value cache would change how it runs"
_ON_CUDA: Final = ("gpu_peak_allocated", "gpu_peak_reserved", "gpu_utilisation")


class CausalBackend:
    """A backend around one :class:`CausalLM`; the subclasses say where it comes from."""

    keeps_length: ClassVar[bool] = True
    computes_here: ClassVar[bool] = True
    """Its key ``device`` names a device of this machine."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._lm: CausalLM | None = None
        self._stack: Stack | None = None

    @staticmethod
    def unmeasurable(spec: ModelSpec) -> Mapping[str, str]:
        """Metric -> reason, for what this model can never have."""
        if spec.options.get("device") == "mps":
            late = dict.fromkeys(("ttft", "itl", "tpot", "decode_tokens_per_s"), MPS_REASON)
            return {
                **late,
                **dict.fromkeys(_ON_CUDA, "+device=mps is no CUDA device"),
                "kv_cache_per_token": MPS_CACHE_REASON,
            }
        if spec.options.get("device") == "cpu":
            return dict.fromkeys(_ON_CUDA, "+device=cpu leaves the GPU alone")
        return {}

    def prepare(self) -> None:
        """Import torch and transformers, so that it does not count as loading.

        :raises MissingExtraError: if one of them is not installed.
        """
        self._stack = Stack(f"backend '{self._spec.backend}'")

    def _begin(self, context: LoadContext) -> Stack:
        if self._stack is None:
            self.prepare()
        stack, self._stack = self._stack, None
        assert stack is not None
        stack.begin(context.threads)
        return stack

    def load(self, context: LoadContext) -> LoadedModel:
        """Make the model ready.

        :raises ModelLoadError: with one line that names what was asked for and what to do.
        :raises MissingExtraError: if a package is not installed.
        """
        raise NotImplementedError

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Produced:
        """One inference.

        :raises GenerationError: if it cannot be carried out.
        """
        return self._loaded().generate(prompt, settings, stamp)

    def complete(self, produced: Produced) -> Completion:
        """Text and counts."""
        return self._loaded().complete(produced)

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        """One inference whose text is handed over as it comes."""
        return self._loaded().stream(prompt, settings, on_text)

    def score(self, context: str, continuation: str) -> list[float]:
        """Natural log-probability of each token of ``continuation`` after ``context``."""
        return self._loaded().score(context, continuation)

    def score_many(
        self, requests: Sequence[ScoreRequest], batch: int, *, on_batch: OnBatch, on_scores: OnScores
    ) -> None:  # fmt: skip
        """Log-probabilities of many continuations."""
        self._loaded().score_many(requests, batch, on_batch=on_batch, on_scores=on_scores)

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, *, on_batch: OnBatch,
        on_completion: OnCompletion,
    ) -> None:  # fmt: skip
        """Answers to many prompts."""
        lm = self._loaded()
        lm.generate_many(prompts, settings, stop, batch, on_batch=on_batch, on_completion=on_completion)

    @property
    def model(self) -> Foreign:
        """The model of transformers, for functions that ``llm.call`` runs beside it."""
        return self._loaded().model

    @property
    def tokenizer(self) -> Foreign:
        """Its tokenizer."""
        return self._loaded().tokenizer

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """Each token alone as text."""
        return self._loaded().token_texts(ids)

    def score_after(self, prompt: Prompt, text: str, token_ids: Sequence[int]) -> list[float]:
        """Natural log-probability of each token of an answer after the prompt as the model sees it."""
        return self._loaded().score_after(prompt, text, token_ids)

    def count_tokens(self, prompt: Prompt) -> tuple[int, bool]:
        """Tokens of a prompt as the model gets it, and whether that is inside its chat template."""
        return self._loaded().count_tokens(prompt)

    def close(self) -> None:
        """Let go of the model."""
        lm, self._lm = self._lm, None
        if lm is not None:
            lm.close()

    def _loaded(self) -> CausalLM:
        if self._lm is None:
            raise GenerationError(f"{self._spec.text}: the model is not loaded.", kind="unloaded")
        return self._lm


class Stack:
    """torch and transformers, imported and quiet, with the parts of loading timed."""

    def __init__(self, what: str) -> None:
        self._clock = SystemClock()
        self.parts_ns: dict[str, Json] = {}
        self._begin = self._clock.now_ns()
        self.torch: Foreign = require("torch", what)
        self.transformers: Foreign = require("transformers", what)
        for name in (
            "AutoModelForCausalLM",
            "AutoTokenizer",
            "PreTrainedModel",
            "GenerationMixin",
            "PreTrainedTokenizerFast",
        ):
            getattr(self.transformers, name)  # imported on first use: here it counts as importing
        self.transformers.utils.logging.disable_progress_bar()
        self.lap("imports")

    def begin(self, threads: int) -> None:
        """Loading begins now.

        :param threads: that the model may use; 0 leaves the framework's own choice.
        """
        if threads > 0:
            self.torch.set_num_threads(threads)
        self._begin = self._clock.now_ns()

    def lap(self, part: str) -> None:
        """Note the time since the part before."""
        now = self._clock.now_ns()
        self.parts_ns[part] = now - self._begin
        self._begin = now

    @property
    def hashing_ns(self) -> int:
        """What hashing for the record took."""
        spent = self.parts_ns.get("hashing", 0)
        return spent if isinstance(spent, int) else 0

    def facts(self) -> dict[str, Json]:
        """Versions, and how long each part of loading took."""
        return {
            "torch": str(self.torch.__version__),
            "transformers": str(self.transformers.__version__),
            "load_parts_ns": self.parts_ns,
        }


def finish_loading(stack: Stack, lm: CausalLM, facts: Mapping[str, Json]) -> LoadedModel:
    """Map the weights in, count them, and say what was loaded."""
    if lm.model.device.type == "cuda":
        stack.torch.cuda.set_device(lm.model.device)  # the instruments ask the current device
    lm.prefault()
    stack.lap("prefault")
    footprint, reason = _footprint(lm)
    return LoadedModel(
        info={**lm.facts(), **facts, **stack.facts()},
        footprint_bytes=footprint,
        footprint_reason=reason,
        context_length=lm.context_length,
        record_ns=stack.hashing_ns,
    )


def _footprint(lm: CausalLM) -> tuple[int | None, str]:
    try:
        return lm.footprint_bytes(), ""
    except (RuntimeError, NotImplementedError) as error:  # packed weights of a quantizer need not have a plain storage
        return None, f"the storage of the weights cannot be counted: {type(error).__name__}"
