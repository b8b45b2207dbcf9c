"""Prompt sets: packaged ones by name, users' own by path, one reader a file format."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final, cast

from ..errors import ConfigError, UnknownNameError
from ..records import Prompt
from ..slugs import slug
from .base import Reader

READERS: Final[Mapping[str, str]] = {
    ".yaml": "yaml_file:read_yaml",
    ".yml": "yaml_file:read_yaml",
    ".json": "json_file:read_json",
    ".jsonl": "jsonl_file:read_jsonl",
    ".csv": "csv_file:read_csv",
    ".txt": "txt_file:read_txt",
}
"""Suffix -> reader, as a module of this package and its function."""


def known_sets() -> list[str]:
    """Names of the packaged prompt sets, sorted."""
    data = files(__package__) / "data"
    return sorted(entry.name.removesuffix(".yaml") for entry in data.iterdir() if entry.name.endswith(".yaml"))


def load_prompts(
    name_or_path: str, where: str, base: Path | None = None, *, make_id: Callable[[str], str] = slug
) -> tuple[Prompt, ...]:
    """All prompts of one set, in its order.

    :param name_or_path: a packaged set such as ``paper``, or a YAML, JSON, JSON Lines, CSV or text file.
    :param where: the option, marker or setting that named it, for messages.
    :param base: folder that a relative path starts from; the working directory where None.
    :param make_id: makes of the text of a row without an id one.
    :raises ConfigError: in one line that names file, row and key, for the first fault found.
    """
    if not Path(name_or_path).suffix and not set("/\\") & set(name_or_path):
        if name_or_path not in known_sets():
            raise _unknown_set(name_or_path, where)
        file, suffix = name_or_path, ".yaml"
        content = (files(__package__) / "data" / f"{name_or_path}.yaml").read_bytes()
    else:
        file, suffix = name_or_path, Path(name_or_path).suffix.lower()
        if suffix not in READERS:
            raise ConfigError(
                f"{where}: '{file}' must be a {_or(READERS)} file, or one of the sets {_or(known_sets())}."
            )
        content = _read(base or Path(), file, where)
    try:
        return _prompts(_decoded(content, file), suffix, file, make_id=make_id)
    except ConfigError as error:
        raise type(error)(f"{where}: {error}") from error


def _prompts(text: str, suffix: str, file: str, *, make_id: Callable[[str], str]) -> tuple[Prompt, ...]:
    from .rows import to_prompt

    prompts: dict[str, Prompt] = {}
    for row in _reader(suffix)(text, file) if text.strip() else []:
        prompt = to_prompt(row, file, make_id=make_id)
        if prompt.id in prompts:
            first = prompts[prompt.id].source.removeprefix(f"{file}, ")
            raise ConfigError(
                f"{file}: {first} and {row.position} have the same id '{prompt.id}'; remove one of them or give it"
                " another id."
            )
        prompts[prompt.id] = prompt
    if not prompts:
        raise ConfigError(f"{file} holds no prompt; write at least one.")
    return tuple(prompts.values())


def _reader(suffix: str) -> Reader:
    module, _, function = READERS[suffix].partition(":")
    return cast(Reader, getattr(importlib.import_module(f"{__package__}.{module}"), function))


def _read(base: Path, file: str, where: str) -> bytes:
    try:
        path = base / Path(file).expanduser()
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{where}: there is no prompt file '{file}'.{_near(path)}") from None
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in the name, and the home of nobody
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ConfigError(f"{where}: cannot read the prompt file '{file}': {why}.") from error


def _near(path: Path) -> str:
    """Files beside the missing one that may have been meant."""
    if not path.parent.is_dir():
        return f" There is no folder '{path.parent}' either."
    there = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix.lower() in READERS)
    near = difflib.get_close_matches(path.name, there, n=3, cutoff=0.5)
    return f" Did you mean {_or(near)}?" if near else f" Prompt files there: {', '.join(there[:5]) or 'none'}."


def _decoded(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{file}, line {line}: not valid UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8."
        ) from error


def _unknown_set(name: str, where: str) -> ConfigError:
    wrong = UnknownNameError.build(where, "prompt set", name, known_sets())
    return UnknownNameError(f"{wrong} A file is named with its suffix: {_or(READERS)}.")


def _or(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:-1]) + (" or " if len(listed) > 1 else "") + listed[-1]
