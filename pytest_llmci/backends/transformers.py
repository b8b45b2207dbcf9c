"""Models run by Hugging Face transformers in this process: a hub repository, a local folder, or a GGUF file.

===============  ==================================  ==================================================================
key              values                              meaning
===============  ==================================  ==================================================================
``dtype``        float32, bfloat16, float16, auto    what is computed in; by default float32 on a CPU and for a GGUF
                                                     file, as the checkpoint says (``auto``) on an accelerator
``device``       auto, cpu, cuda, cuda:N, mps        ``auto`` (the default) takes CUDA where there is one, else the
                                                     CPU. mps on request only: token times are not known there
``template``     auto, on, off                       ``auto``: messages go through the chat template, texts raw;
                                                     ``on``: texts too, as one user message; ``off``: never
``attn``         sdpa, eager, flash_attention_2 ...  attention implementation; by default transformers' choice
``pickle``       ok                                  load pickled weights if there are no others (tensors only)
``remote_code``  ok                                  run the repository's own Python code; needs a pinned commit
===============  ==================================  ==================================================================

A GGUF file is unpacked to dense weights (see ``gguf.py``): the record names the file's quantization and the dtype
computed in. Its speed and memory say nothing about llama.cpp.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from ..clock import SystemClock
from ..errors import GenerationError, ModelLoadError, UnknownNameError
from ..records import Completion, GenerationSettings, Json, ModelSpec, Prompt, ScoreRequest
from ..text import one_line
from . import hub
from .base import LoadContext, LoadedModel, OnBatch, OnCompletion, OnScores, Stamp, check_options
from .cache import file_sha256, folder_sha256
from .causal_lm import CausalLM, Produced, TemplateMode, context_length_of
from .gguf import convert_in_child, ensure_converted
from .gguf_header import GgufHeader, read_header
from .load_errors import Wanted, check_cached_if_offline, damaged_json, explain
from .packages import Foreign, installed_version, require, require_installed
from .safetensors_header import defect_of

DTYPES: Final = ("float32", "bfloat16", "float16", "auto")
ATTENTIONS: Final = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
TEMPLATES: Final[tuple[TemplateMode, ...]] = ("auto", "on", "off")
GGUF_NOTE: Final = "dequantised from GGUF: speed and memory do not predict llama.cpp"
_DEVICE: Final = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_PICKLED_FILES: Final = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "pytorch_model*.bin")
_SMALL_FILES: Final = ("config.json", "generation_config.json", "tokenizer_config.json")
"""Read before anything is loaded; a tokenizer's own file may be large."""
_ON_CUDA: Final = ("gpu_peak_allocated", "gpu_peak_reserved", "gpu_utilisation")
MPS_REASON: Final = "on mps tokens reach the program one step late, so that the times of single tokens are not known"
MPS_CACHE_REASON: Final = "on mps, asking generate for its key-value cache would change how it runs"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """The ``+key=value`` pairs, checked."""

    dtype: str
    """Empty: decided by the device."""
    device: str
    template: TemplateMode
    attention: str
    pickle: bool
    remote_code: bool


def read_options(spec: ModelSpec, known: Mapping[str, str]) -> LoadOptions:
    """Check the keys of a spec.

    :param known: key -> one line of help.
    :raises ModelLoadError: of kind ``option``, naming what is allowed.
    """
    check_options(spec, known)
    device = spec.options.get("device", "auto")
    if not _DEVICE.fullmatch(device):
        raise UnknownOption(spec, "device", device, ("auto", "cpu", "cuda", "cuda:0", "mps"))
    return LoadOptions(
        dtype=_one_of(spec, "dtype", ("", *DTYPES)),
        device=device,
        template=_one_of(spec, "template", TEMPLATES),
        attention=_one_of(spec, "attn", ("", *ATTENTIONS)),
        pickle=_one_of(spec, "pickle", ("", "ok")) == "ok",
        remote_code=_one_of(spec, "remote_code", ("", "ok")) == "ok",
    )


class UnknownOption(ModelLoadError):
    """A key holds a value that it does not know."""

    def __init__(self, spec: ModelSpec, key: str, value: str, known: Sequence[str]) -> None:
        known = [name for name in known if name]
        super().__init__(str(UnknownNameError.build(f"model '{spec.text}'", key, value, known)), kind="option")


Choice = TypeVar("Choice", bound=str)


def _one_of(spec: ModelSpec, key: str, known: Sequence[Choice]) -> Choice:
    """The value of a key; the first of ``known`` where the spec does not say."""
    value = spec.options.get(key, known[0])
    for choice in known:
        if choice == value:
            return choice
    raise UnknownOption(spec, key, value, known)


# ------------------------------------------------------------------------------------------------------ what is shared


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


# --------------------------------------------------------------------------------------------------------- the backend


class TransformersBackend(CausalBackend):
    """A hub repository, a local folder of safetensors, or a GGUF file."""

    OPTIONS: ClassVar[Mapping[str, str]] = {
        "dtype": "float32, bfloat16, float16 or auto",
        "device": "auto, cpu, cuda, cuda:N or mps",
        "template": "auto, on or off",
        "attn": "attention implementation",
        "pickle": "ok loads pickled weights",
        "remote_code": "ok runs the repository's own code",
    }

    @staticmethod
    def download_folders(spec: ModelSpec) -> list[str]:
        """Folders that grow while this model downloads; see ``hub.bytes_in``."""
        return hub.download_folders(spec, os.environ)

    @staticmethod
    def preflight(spec: ModelSpec, _sys_path: Sequence[str] = ()) -> None:
        """Refuse what can be known to fail before anything is imported or downloaded.

        :raises ModelLoadError: for a wrong key, and for files that are missing or damaged.
        :raises MissingExtraError: if torch or transformers is not installed.
        """
        options = read_options(spec, TransformersBackend.OPTIONS)
        require_installed(("torch", "transformers"), f"backend '{spec.backend}'")
        check_build(spec, options.device)
        file, folder = find_local(spec)
        if file is not None:
            check_gguf(file, spec)
            return
        wanted = Wanted(text=spec.text, target=spec.target, revision=spec.revision, folder=folder)
        check_place(wanted, options)
        if folder is None:
            if why := hub.why_no_repository(spec.target):
                raise wanted.error(
                    "not_found",
                    f"'{one_line(spec.target)}' is neither a local folder nor a repository of the hub: {why}.",
                )
            check_cached_if_offline(wanted, os.environ)

    def load(self, context: LoadContext) -> LoadedModel:
        """Make the model ready.

        :raises ModelLoadError: with one line that names what was asked for and what to do.
        :raises MissingExtraError: if a package is not installed.
        """
        options = read_options(self._spec, self.OPTIONS)
        file, folder = find_local(self._spec)
        if file is not None:
            return self._load_gguf(file, options, context)
        wanted = Wanted(text=self._spec.text, target=self._spec.target, revision=self._spec.revision, folder=folder)
        check_place(wanted, options)
        stack = self._begin(context)
        loader = Loader(stack, wanted, options)
        try:
            source, commit = loader.find(str(folder) if folder else self._spec.target)
            lm = loader.load(source, commit)
        except Exception as error:  # transformers raises whatever the code of a model raises
            raise explain(error, loader.wanted, os.environ) from error
        self._lm = lm

        def sha256(path: Path) -> str:
            return file_sha256(path, Path(context.cache_dir))

        facts: dict[str, Json] = {
            "source": "folder" if folder else "hub",
            "repository": self._spec.target,
            "quantization": None,
        }
        if folder is not None:
            facts["manifest_sha256"] = folder_sha256(folder, Path(context.cache_dir))
        else:
            facts |= {"revision": commit or None, "revision_asked": self._spec.revision or None}
            if commit and loader.wanted.snapshot is not None:
                files = hub.snapshot_files(loader.wanted.snapshot, sha256)
                # Lines, since the value of a name such as "qwen.tiktoken" would be masked like a token.
                facts["snapshot_files"] = [f"{checksum}  {name}" for name, checksum in files.items()]
        stack.lap("hashing")
        return finish_loading(stack, lm, facts)

    def _load_gguf(self, file: Path, options: LoadOptions, context: LoadContext) -> LoadedModel:
        """Load the unpacked form of a GGUF file."""
        header = check_gguf(file, self._spec)
        stack = self._begin(context)
        dtype = options.dtype if options.dtype not in ("", "auto") else "float32"
        digest = file_sha256(file, Path(context.cache_dir))
        stack.lap("hashing")
        converted = ensure_converted(
            file,
            dtype=dtype,
            version=f"tf{stack.transformers.__version__}",
            cache_dir=Path(context.cache_dir),
            say=context.say,
            convert=convert_in_child,
        )
        stack.lap("conversion" if converted.converted_now else "cache")
        loader = Loader(
            stack, Wanted(text=self._spec.text, target=str(file), folder=converted.folder), options, dtype=dtype
        )
        try:
            self._lm = loader.load(str(converted.folder), "")
        except Exception as error:  # as above
            raise explain(error, loader.wanted, os.environ) from error
        finally:
            if converted.temporary:  # what is mapped stays readable
                shutil.rmtree(converted.folder, ignore_errors=True)
        facts: dict[str, Json] = {
            "source": "gguf",
            "file": file.name,
            "file_sha256": digest,
            "file_bytes": file.stat().st_size,
            "quantization": header.quantization or None,
            "note": GGUF_NOTE,
        }
        return finish_loading(stack, self._lm, facts)


def choose_device(torch: Foreign, asked: str, wanted: Wanted) -> str:
    """The device to load onto.

    :param asked: ``auto``, or a device that must be there.
    :raises ModelLoadError: of kind ``device``.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return "cuda" if there["cuda"] else "cpu"
    kind, _, number = asked.partition(":")
    if not there[kind] or (number and int(number) >= torch.cuda.device_count()):
        raise wanted.error(
            "device",
            f"+device={asked}: this machine, or the installed torch, has no such device; leave the key away.",
        )
    return asked


def check_build(spec: ModelSpec, device: str) -> None:
    """Refuse CUDA where the installed torch says by its version that it is built without, as that of PyTorch's index for CPUs.

    :raises ModelLoadError: of kind ``device``.
    """
    version = installed_version("torch")
    if device.startswith("cuda") and version.endswith("+cpu"):
        raise ModelLoadError(
            f"{spec.text}: +device={device}: the installed torch {version} is built without CUDA; install one with it, or leave the key"
            " away.",
            kind="device",
        )


def choose_dtype(torch: Foreign, asked: str, device: str) -> Foreign:
    """The dtype to compute in: a torch dtype, or ``auto`` for the checkpoint's own.

    :param asked: a name of :data:`DTYPES`, or empty where the device decides.
    """
    dtype = asked or ("float32" if device == "cpu" else "auto")
    return dtype if dtype == "auto" else getattr(torch, dtype)


def find_local(spec: ModelSpec) -> tuple[Path | None, Path | None]:
    """The GGUF file, or the folder, that the target names; neither for a hub repository.

    :raises ModelLoadError: of kind ``not_found`` if it can only be a path and nothing is there.
    """
    if not spec.target:
        raise ModelLoadError(
            f"{spec.text}: no model is named; write a repository, a folder or a .gguf file.", kind="not_found"
        )
    if not hub.is_local(spec.target):
        return None, None
    path = Path(spec.target).expanduser()
    if path.is_dir():
        return None, path
    if not path.exists():
        raise ModelLoadError(
            f"{spec.text}: there is no file or folder '{path}' (looked in {Path.cwd()}).", kind="not_found"
        )
    if path.suffix.lower() != ".gguf":
        raise ModelLoadError(
            f"{spec.text}: '{path}' is a file; expected a folder with config.json, or a .gguf file.", kind="not_found"
        )
    return path, None


def check_gguf(file: Path, spec: ModelSpec) -> GgufHeader:
    """The header of a GGUF file that is whole.

    :raises ModelLoadError: if it is damaged or cannot be read.
    """
    try:
        return read_header(file)
    except OSError as error:
        wanted = Wanted(text=spec.text, target=str(file), folder=file.parent)
        raise explain(error, wanted, os.environ) from error


def check_place(wanted: Wanted, options: LoadOptions) -> None:
    """Refuse a folder that cannot be loaded, and code that is not pinned, before anything heavy is imported.

    :raises ModelLoadError: if config.json or weights are missing or damaged, or only pickled ones are there.
    """
    if wanted.folder is not None:
        try:
            _check_folder(wanted.folder, wanted, options)
        except OSError as error:
            raise explain(error, wanted, os.environ) from error
    elif options.remote_code and not hub.is_commit(wanted.revision):
        raise wanted.error("custom_code", "+remote_code=ok needs the commit that you have read: @<40 hex digits>.")


def _check_folder(folder: Path, wanted: Wanted, options: LoadOptions) -> None:
    if not (folder / "config.json").is_file():
        inside = sorted(path.name for path in folder.glob("*.gguf"))
        hint = f" It holds a GGUF file: write {wanted.target.rstrip('/')}/{inside[0]}." if inside else ""
        raise wanted.error(
            "no_config",
            f"the folder '{folder}' holds no config.json, so it is no model in the transformers format.{hint}",
        )
    small = (folder / name for name in _SMALL_FILES)
    if damaged := damaged_json(path for path in small if path.is_file()):
        raise wanted.error("corrupt", damaged)
    weights = sorted(folder.glob("*.safetensors"))
    for path in weights:
        defect = defect_of(path)
        if defect:
            raise wanted.error("corrupt", f"'{path}' is damaged: {defect}; download it again.")
    for name in _shards(folder):
        if not (folder / name).is_file():
            raise wanted.error("no_weights", f"the folder '{folder}' lacks '{name}', a part of the weights.")
    if not weights and not any(folder.glob("*.bin")):
        raise wanted.error("no_weights", f"the folder '{folder}' holds no weights: expected model.safetensors.")
    if not weights and not options.pickle:
        raise pickle_refused(wanted)


def _shards(folder: Path) -> list[str]:
    """Names of the parts that weights in several files have."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        return sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # transformers says what is wrong with it


def pickle_refused(wanted: Wanted) -> ModelLoadError:
    """A pickle is a program; nobody runs it without having asked for it."""
    return wanted.error(
        "pickle",
        "there are only pickled weights, which are not loaded unasked: add +pickle=ok (tensors only), or convert them"
        " to safetensors.",
    )


class Loader:
    """The steps of loading one repository or folder."""

    def __init__(self, stack: Stack, wanted: Wanted, options: LoadOptions, *, dtype: str = "") -> None:
        self.wanted = wanted
        self._stack = stack
        self._options = options
        self._dtype = dtype or options.dtype

    def find(self, source: str) -> tuple[str, str]:
        """What to load from, and its commit. Only config.json is fetched before the question of code is settled."""
        if self.wanted.folder is not None:
            self._check_code(self.wanted.folder / "config.json")
            return source, ""
        from_hub = self._stack.transformers.utils.cached_file
        config = from_hub(source, "config.json", revision=self.wanted.revision or None)
        if config is None:
            raise self.wanted.error(
                "no_config",
                f"repository '{source}' holds no config.json, so it is no model in the transformers format.",
            )
        self.wanted = replace(self.wanted, snapshot=Path(config).parent)
        self._check_code(Path(config))
        commit = hub.commit_of(config)
        return self._unpickled(source, commit or self.wanted.revision), commit

    def _check_code(self, config: Path) -> None:
        """Code of another repository is not covered by the commit that was pinned."""
        data = json.loads(config.read_text(encoding="utf-8"))
        code = data.get("auto_map", {}) if isinstance(data, dict) else {}
        elsewhere = (
            sorted({str(value).partition("--")[0] for value in code.values() if "--" in str(value)})
            if isinstance(code, dict)
            else []
        )
        if elsewhere and self._options.remote_code:
            raise self.wanted.error(
                "custom_code", f"its code lies in another repository, '{elsewhere[0]}', which the commit does not pin."
            )

    def _unpickled(self, repository: str, revision: str) -> str:
        """The repository itself if it has safetensors; else, if that is allowed, the folder of its pickled files.

        The pickled case is loaded as a folder, because transformers would start a thread that asks a service on the hub
        to convert the repository.
        """
        utils = self._stack.transformers.utils
        quiet = {"revision": revision or None, "_raise_exceptions_for_missing_entries": False}
        for name in ("model.safetensors", "model.safetensors.index.json"):
            if utils.cached_file(repository, name, **quiet) is not None:
                return repository
        pickled = ("pytorch_model.bin", "pytorch_model.bin.index.json")
        if not self._options.pickle:
            if any(utils.hub.has_file(repository, name, revision=revision or None) for name in pickled):
                raise pickle_refused(self.wanted)
            raise self.wanted.error(
                "no_weights", f"repository '{repository}' holds no weights: expected model.safetensors."
            )
        download = require("huggingface_hub", "transformers").snapshot_download
        folder = download(repository, revision=revision or None, allow_patterns=list(_PICKLED_FILES))
        if not any(Path(folder).glob("pytorch_model*.bin")):
            raise self.wanted.error(
                "no_weights",
                f"repository '{repository}' holds no weights: expected model.safetensors or pytorch_model.bin.",
            )
        return str(folder)

    def load(self, source: str, commit: str) -> CausalLM:
        """Tokenizer and weights."""
        transformers = self._stack.transformers
        place = {"revision": commit} if commit and not Path(source).is_dir() else {}
        trust = {"trust_remote_code": self._options.remote_code}
        tokenizer = self._tokenizer(source, place, trust)
        self._stack.lap("tokenizer")
        device = choose_device(self._stack.torch, self._options.device, self.wanted)
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            dtype=choose_dtype(self._stack.torch, self._dtype, device),
            use_safetensors=self._has_safetensors(source),
            weights_only=True,
            output_loading_info=True,
            **({"attn_implementation": self._options.attention} if self._options.attention else {}),
            **place,
            **trust,
        )
        self._refuse_random_weights(model, report)
        model = model.to(device).eval()
        self._stack.lap("weights")
        return CausalLM(
            name=self.wanted.text,
            torch=self._stack.torch,
            model=model,
            tokenizer=tokenizer,
            template=self._options.template,
            stamps=device != "mps",
            context_length=context_length_of(model.config),
        )

    def _tokenizer(self, source: str, place: Mapping[str, str], trust: Mapping[str, bool]) -> Foreign:
        try:
            tokenizer = self._stack.transformers.AutoTokenizer.from_pretrained(source, **place, **trust)
        except Exception as error:  # as in load
            known = explain(error, self.wanted, os.environ)
            if not isinstance(known, ModelLoadError) or known.kind not in ("other", "architecture", "no_weights"):
                raise known from error
            raise self.wanted.error(
                "tokenizer", f"the tokenizer cannot be loaded: {type(error).__name__}: {_short(error)}"
            ) from error
        if self._options.template == "on" and not getattr(tokenizer, "chat_template", None):
            raise self.wanted.error("template", "+template=on, but the model has no chat template.")
        return tokenizer

    def _has_safetensors(self, source: str) -> bool:
        return not Path(source).is_dir() or any(Path(source).glob("*.safetensors"))

    def _refuse_random_weights(self, model: Foreign, report: Mapping[str, Foreign]) -> None:
        """transformers fills what the files lack with random numbers and only warns."""
        parameters = {name for name, _ in model.named_parameters()}
        lacking = sorted(parameters & set(report.get("missing_keys", ())))
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise self.wanted.error(
                "corrupt", f"the files lack weights of the model ({lacking[0]}{more}); they would be random numbers."
            )


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
