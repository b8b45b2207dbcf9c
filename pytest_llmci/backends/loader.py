"""From a repository of the hub or a folder to a model in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..errors import ModelLoadError
from . import hub
from .causal_backend import Stack
from .causal_lm import CausalLM, context_length_of
from .load_errors import Wanted, explain
from .load_options import LoadOptions, choose_device, choose_dtype
from .local_files import pickle_refused
from .packages import Foreign, require

_PICKLED_FILES: Final = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "pytorch_model*.bin")


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
