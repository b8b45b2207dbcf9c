"""Files and folders that a model of transformers may be named by, looked at before anything heavy is imported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from ..errors import ModelLoadError
from ..records import ModelSpec
from . import hub
from .gguf_header import GgufHeader, read_header
from .load_errors import Wanted, damaged_json, explain
from .load_options import LoadOptions
from .safetensors_header import defect_of

_SMALL_FILES: Final = ("config.json", "generation_config.json", "tokenizer_config.json")
"""Read before anything is loaded; a tokenizer's own file may be large."""


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
