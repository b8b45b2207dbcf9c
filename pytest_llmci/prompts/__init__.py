"""Prompt sets: packaged ones by name, users' own by path, one reader a file format."""

from __future__ import annotations

import difflib
import importlib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from ..errors import ConfigError, UnknownNameError
from ..records import Prompt
from ..slugs import slug
from .base import Reader, Row
from .nearby import Nearby, decoded

if TYPE_CHECKING:
    from .rows import Surroundings
    from .shapes import Shape

READERS: Final[Mapping[str, str]] = {
    ".yaml": "yaml_file:read_yaml",
    ".yml": "yaml_file:read_yaml",
    ".json": "json_file:read_json",
    ".jsonl": "jsonl_file:read_jsonl",
    ".csv": "csv_file:read_csv",
    ".txt": "txt_file:read_txt",
}
"""Suffix -> reader, as a module of this package and its function."""
SOURCE_KEYS: Final = (
    "prompt",
    "messages",
    "system",
    "template",
    "variables",
    "id",
    "reference",
    "tags",
    "checks",
    "max_new_tokens",
    "limit",
)
"""What may follow the name of a file."""
_OPTIONS: Final = re.compile(r"(?:\+[a-z_]+=[^+]+)+\Z")


def known_sets() -> list[str]:
    """Names of the packaged prompt sets, sorted."""
    data = files(__package__) / "data"
    return sorted(entry.name.removesuffix(".yaml") for entry in data.iterdir() if entry.name.endswith(".yaml"))


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSet:
    """All that one set or file holds."""

    file: str
    """As it was named, without what was said of its columns."""
    prompts: tuple[Prompt, ...]
    """Of the rows without a fault, in the set's order."""
    faults: tuple[ConfigError, ...]
    """One line each, naming file, row and key."""
    rows: int
    shape: str = ""
    """How rows of another project's shape were read; empty where they have our keys."""


def load_prompts(
    name_or_path: str, where: str, base: Path | None = None, *, make_id: Callable[[str], str] = slug
) -> tuple[Prompt, ...]:
    """All prompts of one set, in its order.

    :param name_or_path: a packaged set such as ``paper``, or a YAML, JSON, JSON Lines, CSV or text file; :func:`split_source`
        says what may follow it.
    :param where: the option, marker or setting that named it, for messages.
    :param base: folder that a relative path starts from; the working directory where None.
    :param make_id: makes of the text of a row without an id one.
    :raises ConfigError: in one line that names file, row and key, for the first fault, with the number of others.
    """
    found = read_prompts(name_or_path, where, base, make_id=make_id)
    if found.faults:
        first, more = found.faults[0], len(found.faults) - 1
        rest = f" And {more} more: llmci prompts {shlex.quote(name_or_path)} tells them all." if more else ""
        raise type(first)(f"{where}: {first}{rest}") from first
    return found.prompts


def read_prompts(
    name_or_path: str, where: str, base: Path | None = None, *, make_id: Callable[[str], str] = slug
) -> PromptSet:
    """One set with all of its faults; arguments as of :func:`load_prompts`.

    :raises ConfigError: if there is no such set or file, or it cannot be taken apart into rows.
    """
    from .rows import Surroundings

    file, options = split_source(name_or_path, where, base)
    if _is_packaged(file):
        if file not in known_sets():
            raise _unknown_set(file, where)
        suffix, folder = ".yaml", None
        content = (files(__package__) / "data" / f"{file}.yaml").read_bytes()
    else:
        suffix = Path(file).suffix.lower()
        if suffix not in READERS:
            raise ConfigError(
                f"{where}: '{file}' must be a {_or(READERS)} file, or one of the sets {_or(known_sets())}."
            )
        content = _read(base or Path(), file, where)
        folder = ((base or Path()) / Path(file).expanduser()).parent
    try:
        rows = _rows(decoded(content, file), suffix, file, options)
        nearby = Nearby(folder)
        around = Surroundings(file=file, make_id=make_id, read_text=nearby.text, read_table=nearby.table)
        return _prompt_set(*rows, around)
    except ConfigError as error:
        raise type(error)(f"{where}: {error}") from error


def split_source(text: str, where: str, base: Path | None = None) -> tuple[str, dict[str, str]]:
    """The name of a set or file, and what follows it: ``FILE+prompt=question+reference=answer+limit=50``.

    ``+KEY=COLUMN`` says what the file calls a key of our rows; its other columns are left out then. ``+limit=N`` takes the first
    N rows. A file whose name holds all of it is that file.

    :raises ConfigError: if a key is unknown or given twice, or the limit is no number.

    >>> split_source("qa.csv+prompt=question+limit=50", "x")
    ('qa.csv', {'prompt': 'question', 'limit': '50'})
    """
    match = _OPTIONS.search(text)
    if match is None or _exists(base, text):
        return text, {}
    options: dict[str, str] = {}
    for pair in match[0][1:].split("+"):
        key, _, value = pair.partition("=")
        if key not in SOURCE_KEYS:
            raise UnknownNameError.build(f"{where}: '{text}'", "key", key, SOURCE_KEYS)
        if key in options:
            raise ConfigError(f"{where}: '{text}': '+{key}=' is given more than once; keep one.")
        if key == "limit" and not (value.isascii() and value.isdecimal() and int(value) > 0):
            raise ConfigError(f"{where}: '{text}': '+limit={value}' must be a whole number of at least 1.")
        options[key] = value
    return text[: match.start()], options


def _exists(base: Path | None, text: str) -> bool:
    try:
        return ((base or Path()) / Path(text).expanduser()).is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _is_packaged(name: str) -> bool:
    return not Path(name).suffix and not set("/\\") & set(name)


def _rows(text: str, suffix: str, file: str, options: Mapping[str, str]) -> tuple[list[Row], Shape | None]:
    from .shapes import adapted

    columns = {key: value for key, value in options.items() if key != "limit"}
    rows = _reader(suffix)(text, file, columns) if text.strip() else []
    return adapted(rows[: int(options["limit"])] if "limit" in options else rows, columns, file)


def _prompt_set(rows: Sequence[Row], shape: Shape | None, around: Surroundings) -> PromptSet:
    from .rows import to_prompts

    file = around.file
    prompts: dict[str, Prompt] = {}
    faults: list[ConfigError] = []
    for row in rows:
        for prompt in to_prompts(row, around, faults):
            if prompt.id in prompts:
                faults.append(_same_id(file, prompts[prompt.id], prompt))
            prompts.setdefault(prompt.id, prompt)
    if not prompts and not faults:
        faults.append(ConfigError(f"{file} holds no prompt; write at least one."))
    told = f"{shape.name}: {shape.reading}" if shape else ""
    return PromptSet(file=file, prompts=tuple(prompts.values()), faults=tuple(faults), rows=len(rows), shape=told)


def _same_id(file: str, first: Prompt, second: Prompt) -> ConfigError:
    there, here = (prompt.source.removeprefix(f"{file}, ") for prompt in (first, second))
    return ConfigError(
        f"{file}: {there} and {here} have the same id '{second.id}'; remove one of them or give it another id."
    )


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


def _unknown_set(name: str, where: str) -> ConfigError:
    wrong = UnknownNameError.build(where, "prompt set", name, known_sets())
    return UnknownNameError(f"{wrong} A file is named with its suffix: {_or(READERS)}.")


def _or(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:-1]) + (" or " if len(listed) > 1 else "") + listed[-1]
