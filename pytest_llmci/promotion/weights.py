"""Weights that lie on this machine, to be uploaded with ``llmci promote --upload``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..backends.cache import file_sha256, folder_sha256
from ..backends.hub import is_local
from ..backends.smollm2 import packaged_file
from ..engine.cache_dir import user_cache_dir
from ..errors import ConfigError
from ..records import Json, ModelSpec
from .pointer import ModelPointer


def local_weights(pointer: ModelPointer, where: str) -> Path:
    """The file or folder that a run measured, as it still is.

    :raises ConfigError: if the model has none on this machine, or it is not what was measured.
    """
    path = place_of(pointer.spec)
    if path is None:
        raise ConfigError(
            f"{where}: '{pointer.spec.text}' has no weights on this machine to upload; without --upload the version points at"
            f" {'revision ' + pointer.revision if pointer.revision else 'its source'}."
        )
    try:
        now = _sha256(path)
    except OSError as error:
        raise ConfigError(f"{where}: {path}: cannot be read: {error.strerror or error}.") from error
    if now != pointer.sha256:
        raise ConfigError(
            f"{where}: {path} is not what {pointer.run_id} measured: sha256 {now[:16]}, measured {pointer.sha256[:16] or 'none'}."
            " Measure it again."
        )
    return path


def why_not_the_same_weights(spec: ModelSpec, facts: Mapping[str, Json]) -> str:
    """Why the weights on this machine are not those of a model that was measured; empty if they are, or are not on this machine.

    :param facts: what was said of that model, its hash among it.
    """
    path = place_of(spec)
    measured = facts.get("manifest_sha256") or facts.get("file_sha256")
    if path is None or not measured:
        return ""
    try:
        return "" if _sha256(path) == measured else f"{path} is not what was measured then"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"


def _sha256(path: Path) -> str:
    cache = user_cache_dir()
    return folder_sha256(path, cache) if path.is_dir() else file_sha256(path, cache)


def place_of(spec: ModelSpec) -> Path | None:
    """Where a model's weights lie on this machine; None where nothing but a name is known of them."""
    if spec.backend == "smollm2":
        return packaged_file()
    if spec.backend in ("transformers", "hf") and is_local(spec.target):
        return Path(spec.target).expanduser()
    return None
