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

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from ..records import Json, ModelSpec
from ..text import one_line
from . import hub
from .base import LoadContext, LoadedModel
from .cache import file_sha256, folder_sha256
from .causal_backend import CausalBackend, finish_loading
from .gguf import convert_in_child, ensure_converted
from .load_errors import Wanted, check_cached_if_offline, explain
from .load_options import LoadOptions, check_build, read_options
from .loader import Loader
from .local_files import check_gguf, check_place, find_local
from .packages import require_installed

GGUF_NOTE: Final = "dequantised from GGUF: speed and memory do not predict llama.cpp"


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
