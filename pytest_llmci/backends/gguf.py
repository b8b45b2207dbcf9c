"""A GGUF file as a folder of safetensors: converted once, kept in the user cache directory.

transformers takes about 15 s to unpack a small GGUF and a tenth of a second to load the same weights from safetensors.
So the unpacked weights and the tokenizer are kept under the sha256 of the file, the dtype and the version of
transformers that unpacked them (another version may unpack differently). An entry appears by renaming, whole or not at
all; one that was damaged later is found by its sizes and digests and made again.

The conversion runs in a process of its own, because what it leaves on the heap would count as memory of the model.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingExtraError, ModelLoadError
from ..records import Json
from .cache import file_sha256, hash_file, locked, remember_sha256
from .packages import Foreign, first_line, require

Converter = Callable[[Path, str, Path], None]
"""Writes the weights of a GGUF file in a dtype as safetensors into an empty folder, with config and tokenizer."""

_FORMAT = 1
"""Of an entry; older ones are passed over."""
_MANIFEST = "llmci.json"
_ROOM = "Set LLMCI_CACHE_DIR to a folder with room."


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedGguf:
    """The folder to load instead of the file."""

    folder: Path
    converted_now: bool
    temporary: bool
    """True where the cache cannot be written; whoever loads it removes the folder afterwards."""


def ensure_converted(
    file: Path,
    *,
    dtype: str,
    version: str,
    cache_dir: Path,
    say: Callable[[str], None],
    convert: Converter,
) -> ConvertedGguf:
    """The unpacked form of a GGUF file, made if it is not there yet or not whole.

    :param dtype: that the weights are kept in, such as ``float32``.
    :param version: of what converts; another version makes another entry.
    :param say: gets one line when the slow part begins.
    :raises ModelLoadError: if the file cannot be converted.
    """
    source = file_sha256(file, cache_dir)
    entry = cache_dir / "gguf" / f"{source}-{dtype}-{version}"
    if is_whole(entry, cache_dir):
        return ConvertedGguf(folder=entry, converted_now=False, temporary=False)
    made_now = False
    try:
        with locked(
            entry.with_name(entry.name + ".lock"), lambda: say("waiting for another process that converts this file")
        ):
            if not is_whole(entry, cache_dir):
                say("converting (once)")
                _make_entry(file, dtype, entry, cache_dir, convert)
                made_now = True
    except OSError as error:
        say(f"converting; the result cannot be kept in {cache_dir}: {first_line(error)}")
        return _convert_for_now(file, dtype, convert)
    return ConvertedGguf(folder=entry, converted_now=made_now, temporary=False)


def is_whole(entry: Path, cache_dir: Path) -> bool:
    """True where every file of an entry is there as it was written."""
    try:
        manifest = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT or not manifest["files"]:
            return False
        return all(_is_as_written(entry / name, facts, cache_dir) for name, facts in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_as_written(path: Path, facts: Mapping[str, Json], cache_dir: Path) -> bool:
    return path.stat().st_size == facts["size"] and file_sha256(path, cache_dir) == facts["sha256"]


def _make_entry(file: Path, dtype: str, entry: Path, cache_dir: Path, convert: Converter) -> None:
    """Convert beside the entry and rename. The caller holds the entry's lock: anything unfinished there is debris."""
    for debris in entry.parent.glob(f".tmp-{entry.name}-*"):
        shutil.rmtree(debris, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".tmp-{entry.name}-"))
    try:
        convert(file, dtype, folder)
        digests = _seal(folder)
        if entry.exists():
            entry.replace(folder.with_name(folder.name + "-damaged"))
        folder.replace(entry)
        for name, digest in digests.items():
            remember_sha256(entry / name, digest, cache_dir)
    finally:
        for debris in (folder, folder.with_name(folder.name + "-damaged")):
            shutil.rmtree(debris, ignore_errors=True)


def _seal(folder: Path) -> dict[str, str]:
    """Write down what a whole entry holds; gives the digests by name."""
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    digests = {path.name: hash_file(path) for path in paths}
    files = {path.name: {"size": path.stat().st_size, "sha256": digests[path.name]} for path in paths}
    (folder / _MANIFEST).write_text(json.dumps({"format": _FORMAT, "files": files}, indent=1), encoding="utf-8")
    return digests


def _convert_for_now(file: Path, dtype: str, convert: Converter) -> ConvertedGguf:
    try:
        folder = Path(tempfile.mkdtemp(prefix="llmci-gguf-"))
    except OSError as error:
        raise ModelLoadError(
            f"GGUF file '{file}': there is no room to unpack it: {first_line(error)}. {_ROOM}",
            kind="disk",
        ) from error
    try:
        convert(file, dtype, folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelLoadError(
            f"GGUF file '{file}': it cannot be unpacked into {folder}: {first_line(error)}. {_ROOM}",
            kind="disk",
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return ConvertedGguf(folder=folder, converted_now=True, temporary=True)


# ------------------------------------------------------------------------------- the conversion, in its own process


def convert_in_child(file: Path, dtype: str, folder: Path) -> None:
    """Run :func:`convert` in a fresh interpreter with our own path, and wait for it.

    :raises ModelLoadError: of kind ``corrupt`` if transformers cannot read the file; naming the signal if it died.
    :raises OSError: if the result cannot be written, or no process can be started.
    """
    task = json.dumps({"path": sys.path, "file": str(file), "dtype": dtype, "folder": str(folder)})
    code = (
        "import json, sys; task = json.loads(sys.argv[1]); sys.path[:] = task['path'];"
        "from pytest_llmci.backends.gguf import serve_conversion; serve_conversion(task)"
    )
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-c", code, task],
            stdin=subprocess.PIPE,  # held open: its end tells the child that we are gone
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **quiet},
        ) as child,
    ):
        try:
            answer = child.stdout.read() if child.stdout else b""
            status = child.wait()
        except BaseException:
            child.kill()
            raise
        if status != 0:
            errors.seek(0)
            raise _failure(file, status, answer, _last_line(errors.read()))


def _failure(file: Path, status: int, answer: bytes, complaint: str) -> Exception:
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return ModelLoadError(
            f"GGUF file '{file}': the process that converts it was killed by {name}, cause unknown.", kind="killed"
        )
    try:
        told = json.loads(answer)
        kind, text = str(told["kind"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        kind, text = "other", complaint or f"exit status {status}"
    if kind == "os":
        return OSError(text)
    if kind == "missing":
        return MissingExtraError(text)
    return ModelLoadError(f"GGUF file '{file}' cannot be converted: {text}", kind=kind)


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def serve_conversion(task: Mapping[str, str]) -> None:
    """What the child runs: convert, or say on stdout why not and exit with status 1."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        convert(Path(task["file"]), task["dtype"], Path(task["folder"]))
    except MissingExtraError as error:
        _give_up("missing", str(error))
    except MemoryError:
        _give_up("memory", "not enough memory.")
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of the reader
        disk = (isinstance(error, OSError) and error.errno is not None) or "StorageFull" in str(error)
        _give_up("os" if disk else "corrupt", f"{type(error).__name__}: {first_line(error)}")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)  # a daemon thread blocked on stdin would spoil the orderly end of the interpreter


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 4096):
            pass
    os._exit(1)


def _give_up(kind: str, message: str) -> None:
    os.write(1, json.dumps({"kind": kind, "message": message}).encode())
    os._exit(1)


def convert(file: Path, dtype: str, folder: Path) -> None:
    """Unpack a GGUF file with transformers and save weights, config and tokenizer.

    :raises MissingExtraError: if a package is not installed.
    """
    what = "a GGUF file"
    for package in ("torch", "gguf", "accelerate"):
        require(package, what)
    torch, transformers = require("torch", what), require("transformers", what)
    place, name = (
        str(file.absolute().parent),
        file.name,
    )  # a link into a cache may have another name than what it leads to
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, gguf_file=name, trust_remote_code=False)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        place, gguf_file=name, dtype=getattr(torch, dtype), trust_remote_code=False, **_dense(transformers)
    )
    _forget_quantization(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _dense(transformers: Foreign) -> dict[str, Foreign]:
    """Newer versions may keep the blocks packed where they have a kernel; what we keep is dense everywhere."""
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _forget_quantization(model: Foreign) -> None:
    """The weights are plain by now, but transformers refuses to save what still says it is quantized."""
    model.hf_quantizer = None
    for owner, name in ((model.config, "quantization_config"), (model, "is_quantized"), (model, "quantization_method")):
        if hasattr(owner, name):
            with contextlib.suppress(AttributeError):
                delattr(owner, name)
