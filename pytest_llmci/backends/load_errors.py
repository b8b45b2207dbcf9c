"""One clear line for each way in which loading a model with transformers fails."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import LLMCIError, ModelLoadError
from . import BACKENDS
from .hub import hub_cache_dir
from .packages import first_line
from .safetensors_header import defect_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What was being loaded, for the messages."""

    text: str
    """The spec as written."""
    target: str
    revision: str = ""
    folder: Path | None = None
    """The local folder; None for a hub repository."""
    snapshot: Path | None = None
    """Where the files of a hub repository lie in the cache, once that is known."""

    def error(self, kind: str, message: str) -> ModelLoadError:
        """An error about this model."""
        return ModelLoadError(f"{self.text}: {message}", kind=kind)


def explain(error: BaseException, wanted: Wanted, environ: Mapping[str, str]) -> LLMCIError:
    """The one line for whatever came out of loading.

    :param error: as it was raised; causes that it was raised from are looked at too.
    :param environ: the environment, for the hub's address, cache and switches.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, LLMCIError):
            return cause
    names = {name for cause in chain for name in (base.__name__ for base in type(cause).__mro__)}
    found = _of_the_hub(chain, names, wanted, environ) if wanted.folder is None else None
    return found or _of_the_files(chain, names, wanted) or _of_the_model(chain, names, wanted) or _other(error, wanted)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _status_of(error: BaseException) -> int:
    """The HTTP status that the hub answered with, where its library tells; else 0."""
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _of_the_hub(
    chain: list[BaseException], names: set[str], wanted: Wanted, environ: Mapping[str, str]
) -> ModelLoadError | None:
    target = wanted.target
    site = environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if "GatedRepoError" in names:
        return wanted.error(
            "gated",
            f"the repository is gated: accept its terms at {site}/{target} and set HF_TOKEN to that account's token.",
        )
    if "RevisionNotFoundError" in names:
        return wanted.error(
            "revision", f"repository '{target}' has no revision '{wanted.revision}'; see {site}/{target}/commits."
        )
    if "RepositoryNotFoundError" in names:
        return wanted.error(
            "not_found",
            f"'{target}' is neither a local folder nor a repository of {site}: check the name; a private one needs"
            f" HF_TOKEN.{_meant(target)}",
        )
    if "HFValidationError" in names or "HfUriError" in names:
        return wanted.error(
            "not_found", f"'{target}' is neither a local folder nor a repository name such as org/name."
        )
    cache = hub_cache_dir(environ)
    if names & {"OfflineModeIsEnabled"} or ("LocalEntryNotFoundError" in names and _is_offline(environ)):
        return _not_cached(wanted, environ)
    if "HfHubHTTPError" in names:
        code = next((code for cause in chain if (code := _status_of(cause))), 0)
        told = f"HTTP {code}" if code else "an error"
        advice = "check HF_ENDPOINT and HF_TOKEN" if 400 <= code < 500 and code != 429 else "try again later"
        return wanted.error("unreachable", f"{site} answered with {told} for '{target}': {advice}.")
    if names & {
        "LocalEntryNotFoundError",
        "ConnectError",
        "ConnectTimeout",
        "ReadTimeout",
        "ConnectionError",
        "TransportError",
    }:
        return wanted.error(
            "unreachable",
            f"{site} cannot be reached, and '{target}' is not in the cache {cache}: check the network or HF_ENDPOINT.{_meant(target)}",
        )
    return None


def check_cached_if_offline(wanted: Wanted, environ: Mapping[str, str]) -> None:
    """Refuse a repository of which nothing is cached, where the hub may not be asked.

    :raises ModelLoadError: of kind ``offline``.
    """
    folder = hub_cache_dir(environ) / f"models--{wanted.target.replace('/', '--')}"
    if _is_offline(environ) and not folder.is_dir():
        raise _not_cached(wanted, environ)


def _not_cached(wanted: Wanted, environ: Mapping[str, str]) -> ModelLoadError:
    at = f" at revision '{wanted.revision}'" if wanted.revision else ""
    return wanted.error(
        "offline",
        f"'{wanted.target}'{at} is not in the cache {hub_cache_dir(environ)}, and HF_HUB_OFFLINE is set: unset it once"
        f" to download.{_meant(wanted.target)}",
    )


def _meant(target: str) -> str:
    """A model source of like name: whatever is none is taken for a repository."""
    near = difflib.get_close_matches(target, [entry.name for entry in BACKENDS], n=1, cutoff=0.7)
    return f" Did you mean the model source '{near[0]}'?" if near else ""


def _is_offline(environ: Mapping[str, str]) -> bool:
    return any(
        environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def _of_the_files(chain: list[BaseException], names: set[str], wanted: Wanted) -> ModelLoadError | None:
    text = " ".join(str(cause) for cause in chain)
    if "SafetensorError" in names:
        return wanted.error(
            "corrupt",
            f"{_damaged_file(wanted.folder or wanted.snapshot)} damaged or cut off; download the weights again.",
        )
    if "PickleError" in names:
        return wanted.error(
            "pickle", "the pickled weights hold something else than tensors, or are damaged, and are not loaded."
        )
    if "pytorch_model.bin" in text and "no file named model.safetensors" in text:
        return wanted.error("no_weights", "the folder holds no weights: expected model.safetensors.")
    if "trust_remote_code" in text:
        return wanted.error(
            "custom_code",
            "the repository brings its own Python code, which is not run. If you have read and trust it, pin the commit"
            " (@<40 hex digits>) and add +remote_code=ok.",
        )
    if "JSONDecodeError" in names or "not a valid JSON" in text:
        folder = wanted.folder or wanted.snapshot
        named = damaged_json(sorted(folder.glob("*.json")) if folder else ())
        return wanted.error("corrupt", named or f"a JSON file of the model is damaged: {first_line(chain[0])}")
    if "StrictDataclassError" in names:
        refused = next(cause for cause in chain if type(cause).__name__.startswith("StrictDataclass"))
        why = first_line(refused.__cause__ or refused)
        return wanted.error("corrupt", f"its config.json describes no model that can be: {why}")
    for cause in chain:
        if isinstance(cause, PermissionError):
            return wanted.error("permission", f"no permission to read or write '{cause.filename}'.")
        if isinstance(cause, OSError) and cause.errno == 28:
            return wanted.error("disk", f"the disk of the cache {hub_cache_dir(os.environ)} is full.")
    return None


def damaged_json(paths: Iterable[Path]) -> str:
    """The first of these files that is no JSON, and why; empty if there is none.

    :raises OSError: if one cannot be read.
    """
    for path in paths:
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return f"'{path}' is damaged: {first_line(error)}; download it again."
    return ""


def _damaged_file(folder: Path | None) -> str:
    """The first file whose header and size disagree."""
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        defect = defect_of(path)
        if defect:
            return f"'{path}' is"
    return "one of the safetensors files is"


def _of_the_model(chain: list[BaseException], names: set[str], wanted: Wanted) -> ModelLoadError | None:
    text = " ".join(str(cause) for cause in chain)
    if "Unrecognized configuration class" in text:
        return wanted.error("architecture", "this is not a causal language model, so that it cannot continue a text.")
    if "Unrecognized model" in text or "does not recognize this architecture" in text or "model type" in text:
        return wanted.error(
            "architecture", f"the installed transformers does not know this kind of model: {first_line(chain[0])}"
        )
    if "size mismatch" in text or "ignore_mismatched_sizes" in text:
        return wanted.error(
            "corrupt",
            "the weights do not have the shapes that config.json announces: the files do not belong together.",
        )
    if names & {"MemoryError", "OutOfMemoryError"} or "can't allocate memory" in text:
        return wanted.error("memory", "not enough memory to load the model; try +dtype=bfloat16, or a smaller model.")
    if "ttention" in text and ("ImportError" in names or "does not support" in text or "installed" in text):
        return wanted.error(
            "attention",
            f"the attention implementation cannot be used here: {first_line(chain[0])} Try +attn=sdpa or +attn=eager.",
        )
    return None


def _other(error: BaseException, wanted: Wanted) -> ModelLoadError:
    return wanted.error("other", f"the model cannot be loaded: {type(error).__name__}: {first_line(error)}")
