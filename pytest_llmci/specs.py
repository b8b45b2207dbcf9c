"""Model specs: ``[alias=]backend:target[@revision][+key=value...]`` and lists of them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from .errors import ConfigError, UnknownNameError
from .records import ModelSpec
from .secrets import without_credentials
from .slugs import slug
from .text import one_line

DEFAULT_BACKEND = "transformers"
"""What a bare name means."""
_SERVERS = frozenset({"vllm", "sglang", "tgi", "ollama", "llamacpp", "llama_cpp", "lmstudio", "litellm", "openrouter"})
"""Programs that speak OpenAI's protocol; none is a backend of its own."""
WITHOUT_TARGET = frozenset({"smollm2", "tiny", "echo"})
"""Built-in backends that are a model by themselves."""
LONGEST_ALIAS = 100
MOST_IN_A_PATH = 8
"""Separators that a path may hold and still be found: each more is one more look at the disk for every item of a list."""
_ALIAS = re.compile(r"(?P<alias>[A-Za-z0-9][A-Za-z0-9_.-]*)=(?P<rest>.*)\Z", re.DOTALL)
_BACKEND = re.compile(r"(?P<name>[a-z][a-z0-9_-]+):(?P<rest>.*)\Z", re.DOTALL)
_REVISION = re.compile(r"(?P<target>.+)@(?P<revision>[\w.\-/]+)\Z", re.DOTALL)
_BEFORE_A_PATH = re.compile(r"\A(?:[A-Za-z0-9][A-Za-z0-9_.-]*=)?(?:[a-z][a-z0-9_-]+:)?@?")
_ENDS_IN_CPUS = re.compile(r"\+cpus=[0-9,-]+\Z")
_MORE_CPUS = re.compile(r"[0-9]+(-[0-9]+)?(\+.*)?\Z", re.DOTALL)
_OPTION_KEY = re.compile(r"[a-z][a-z0-9_]*\Z")
_PAIR = re.compile(r"[a-z][a-z0-9_]*=.", re.DOTALL)


def split_list(text: str) -> list[str]:
    """The parts of a comma list; a comma in the path of a file that exists, or between CPU numbers, separates nothing.

    >>> split_list("tiny, hf:org/name,/tmp/no,where")
    ['tiny', 'hf:org/name', '/tmp/no', 'where']
    >>> split_list("tiny+cpus=0,2-3,echo")
    ['tiny+cpus=0,2-3', 'echo']
    """

    def is_one_spec(part: str) -> bool:
        return all(_names_a_path(each) for each in _split_outside_paths(part, "+", _names_a_path) if "," in each)

    parts: list[str] = []
    gap = ""
    for part in (part.strip() for part in _split_outside_paths(text, ",", is_one_spec)):
        if parts and _ENDS_IN_CPUS.search(parts[-1]) and _MORE_CPUS.match(part):
            parts[-1] += f"{gap},{part}"  # who reads the numbers refuses the gap
        elif part:
            parts.append(part)
        gap = "" if part else f"{gap},"
    return parts


def _split_outside_paths(text: str, separator: str, is_whole: Callable[[str], bool]) -> list[str]:
    """Split at each separator, but take the longest run of pieces that is whole as one part."""
    pieces = text.split(separator)
    if len(pieces) == 1 or not _has_slash(text):
        return pieces
    parts: list[str] = []
    start = 0
    while start < len(pieces):
        most = min(start + MOST_IN_A_PATH + 1, len(pieces))
        ends = (end for end in range(most, start + 1, -1) if is_whole(separator.join(pieces[start:end])))
        end = next(ends, start + 1)
        parts.append(separator.join(pieces[start:end]))
        start = end
    return parts


def _names_a_path(part: str) -> bool:
    """Whether a path that exists is all there is behind ``alias=``, ``+key=``, ``backend:`` and ``@``."""
    candidates = {part.strip(), _BEFORE_A_PATH.sub("", part.strip(), count=1)}
    try:
        return any(_has_slash(path) and os.path.exists(os.path.expanduser(path)) for path in candidates)
    except ValueError:  # a NUL in a user's name
        return False


def _has_slash(text: str) -> bool:
    return "/" in text or os.sep in text


def check_alias(alias: str, where: str) -> None:
    """Refuse what is no name for a model.

    :param where: the option or file position, for messages.
    :raises ConfigError: if it has other characters than a cell's id may have, or too many.
    """
    if not _ALIAS.match(f"{alias}="):
        raise ConfigError(
            f"{where}: '{one_line(alias)}' is no name for a model: ASCII letters, digits, '_', '.' and '-', a letter or digit first."
        )
    if len(alias) > LONGEST_ALIAS:
        raise ConfigError(
            f"{where}: the name '{alias[:20]}...' has {len(alias)} characters; use at most {LONGEST_ALIAS}."
        )


def parse_spec(text: str, backends: Iterable[str], where: str) -> ModelSpec:
    """Read one model spec.

    :param text: as the user wrote it.
    :param backends: registered names of model sources.
    :param where: the option or file position, for messages.
    :raises ConfigError: if it is malformed or names an unknown backend.

    >>> spec = parse_spec("small=hf:EleutherAI/gpt-neo-125M@main+dtype=bfloat16", ["hf"], "x")
    >>> spec.alias, spec.backend, spec.target, spec.revision, spec.options
    ('small', 'hf', 'EleutherAI/gpt-neo-125M', 'main', {'dtype': 'bfloat16'})
    """
    known = set(backends)
    alias, rest = "", text.strip()
    match = _ALIAS.match(rest)
    if match:
        alias, rest = match["alias"], match["rest"]
        check_alias(alias, where)
    elif re.match(r"[^:+/\\@=]*=", rest):
        check_alias(rest.partition("=")[0], where)
    head, *pairs = _split_outside_paths(rest, "+", _names_a_path)
    options = _options(pairs, text, where)
    backend, target = _backend(head.strip(), known, where)
    revision = ""
    match = _REVISION.match(target) if "@" in target and backend not in ("echo", "py", "openai") else None
    if match and not _names_a_path(target):
        target, revision = match["target"], match["revision"]
    if not target and backend not in WITHOUT_TARGET and backend in (DEFAULT_BACKEND, "hf", "py"):
        raise ConfigError(f"{where}: model '{text}' names no target; write {backend}:NAME or {backend}:PATH.")
    spec = ModelSpec(
        alias=alias or slug(_stem(backend, target), longest=60), backend=backend, target=target, revision=revision,
        options=options, text=text.strip(),
    )  # fmt: skip
    if not spec.alias:
        raise ConfigError(f"{where}: model '{text}' yields no name in plain ASCII; give one: name={text}.")
    return spec


def split_options(text: str, where: str) -> tuple[str, dict[str, str]]:
    """A name and the ``+key=value`` pairs behind it; a plus sign that begins no such pair belongs to the name.

    :raises ConfigError: if a key is given twice.

    >>> split_options("v1.0+cu118+dtype=bfloat16", "x")
    ('v1.0+cu118', {'dtype': 'bfloat16'})
    """
    pieces = _split_outside_paths(text, "+", _names_a_path)
    first = len(pieces)
    while first > 1 and _PAIR.match(pieces[first - 1]):
        first -= 1
    return "+".join(pieces[:first]), _options(pieces[first:], text, where)


def _options(pairs: Sequence[str], text: str, where: str) -> dict[str, str]:
    given = [_option(pair, text, where) for pair in pairs]
    options = dict(given)
    if len(options) < len(given):
        key = next(key for key, _ in given if sum(key == other for other, _ in given) > 1)
        raise ConfigError(f"{where}: model '{text}': '+{key}=' is given more than once; keep one.")
    return options


def rewritten(spec: ModelSpec) -> ModelSpec:
    """The spec with its text made from its parts, after one of them was changed.

    >>> rewritten(ModelSpec(alias="a", backend="hf", target="org/name", revision="main", options={"k": "v"})).text
    'a=hf:org/name@main+k=v'
    """
    text = f"{spec.alias}={spec.backend}"
    text += f":{spec.target}" if spec.target else ""
    text += f"@{spec.revision}" if spec.revision else ""
    return replace(spec, text=text + "".join(f"+{key}={value}" for key, value in spec.options.items()))


def _option(pair: str, text: str, where: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals or not value or not _OPTION_KEY.match(key):
        raise ConfigError(
            f"{where}: model '{text}': '+{pair}' must have the form +key=value, or be part of a path that exists and is written"
            " with a slash."
        )
    return key, value


def _backend(head: str, known: set[str], where: str) -> tuple[str, str]:
    if head in known and head not in (DEFAULT_BACKEND, "hf", "py"):
        return head, ""
    match = _BACKEND.match(head)
    if match is None or head.startswith((".", "/", "~")):
        return DEFAULT_BACKEND, head
    if match["name"] not in known:
        meant = _meant(match["name"], match["rest"])
        if meant:
            raise UnknownNameError(f"{where}: unknown backend '{match['name']}'. {meant}")
        raise UnknownNameError.build(where, "backend", match["name"], known)
    return match["name"], match["rest"]


def _meant(name: str, rest: str) -> str:
    """How to write what people call by the name of a program or a format, or by its address alone; empty for any other name.

    >>> _meant("gguf", "x"), _meant("https", "//host/v1#m")
    ('A GGUF file is given as hf:x.gguf.', 'A server is given as openai:https://host/v1#m.')
    """
    if name in ("http", "https"):
        more = "" if "#" in rest else ", with #NAME behind it where it has several models"
        return f"A server is given as openai:{without_credentials(f'{name}:{rest}')}{more}."
    if name in _SERVERS:
        return f"A model behind {name} is given as openai:http://HOST:PORT/v1#NAME."
    if name == "gguf":
        file = rest or "FILE"
        return f"A GGUF file is given as hf:{file if file.lower().endswith('.gguf') else f'{file}.gguf'}."
    return ""


def _stem(backend: str, target: str) -> str:
    """Repository or file stem; what the id of a cell is made of when no alias is given."""
    if not target or backend == "echo":
        return backend
    if backend == "py":
        return target.rpartition(":")[2] or target
    if backend == "openai":
        address, _, name = target.partition("#")
        target = name or address.partition("://")[2].partition("/")[0]
    last = re.split(r"[/\\]", target.rstrip("/\\"))[-1]
    return last.removesuffix(".gguf") or backend


def read_specs(
    texts: Sequence[tuple[str, str]], backends: Iterable[str], base: Path, repeated: Callable[[ModelSpec, str], None] | None = None
) -> tuple[ModelSpec, ...]:  # fmt: skip
    """All models of a session, each once.

    :param texts: (spec or ``@list``, origin) pairs; ``@paper`` is packaged, ``@file.yaml`` is read relative to ``base``.
    :param repeated: is told of each that is named again, and where.
    :raises ConfigError: on a malformed spec, a list that cannot be read, or two models of one alias.
    """
    names = list(backends)
    specs: dict[str, ModelSpec] = {}
    known = ModelNames()
    for text, origin in texts:
        rows = read_list(text[1:], origin, base) if text.startswith("@") else [(text, origin)]
        for row, where in rows:
            spec = parse_spec(row, names, where)
            known.note(spec, where)
            if specs.setdefault(spec.alias, spec) is not spec and repeated is not None:
                repeated(spec, where)
    return tuple(specs.values())


class ModelNames:
    """Which model each alias of a session means: everything that is recorded is told apart by it."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ModelSpec, str]] = {}

    def note(self, spec: ModelSpec, where: str) -> None:
        """Take a model's alias.

        :param where: what names the model, for the message.
        :raises ConfigError: if the alias means another model already.
        """
        first, place = self._known.setdefault(spec.alias, (spec, where))
        if not is_same_model(first, spec):
            raise ConfigError(
                f"two models are called '{spec.alias}': '{first.text}' ({place}) and '{spec.text}' ({where});"
                f" name one of them: other={spec.text.removeprefix(f'{spec.alias}=')}."
            )


def is_same_model(one: ModelSpec, other: ModelSpec) -> bool:
    """Whether two specs ask for the same, however they are written."""
    return one is other or (one.backend, one.target, one.revision, one.options) == (
        other.backend, other.target, other.revision, other.options,
    )  # fmt: skip


def read_list(name: str, origin: str, base: Path) -> list[tuple[str, str]]:
    """The specs of a packaged list or a YAML file, each with its position.

    The file holds a list of specs, or a mapping with the key ``models``.
    """
    import yaml

    packaged = files("pytest_llmci") / "data" / f"{name}.yaml"
    if "." not in name and "/" not in name:
        if not packaged.is_file():
            known = sorted(
                p.name.removesuffix(".yaml")
                for p in (files("pytest_llmci") / "data").iterdir()
                if p.name.endswith(".yaml")
            )
            raise ConfigError(
                f"{origin}: no packaged list '@{name}'; known: {', '.join('@' + k for k in known)}. A file is written @models.yaml."
            )
        text, shown = packaged.read_text("utf-8"), f"@{name}"
    else:
        path = base / os.path.expanduser(name)
        try:
            text, shown = path.read_text("utf-8"), name
        except (OSError, UnicodeDecodeError) as error:
            near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")], n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{origin}: cannot read the list of models '{name}': {_why(error)}.{hint}") from error
    try:
        data = _loaded(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: '{shown}' is not valid YAML: {' '.join(str(error).split())}") from error
    rows = data.get("models") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{origin}: '{shown}' must hold a list of model specs, or the key 'models' with one.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, str) or not row.strip():
            raise ConfigError(
                f"{origin}: '{shown}', entry {number}: expected a model spec as text, found {type(row).__name__}."
            )
    return [(row, f"{shown}, entry {number}") for number, row in enumerate(rows, 1)]


def _loaded(text: str) -> Any:
    """What a YAML text says; of thousands of lines libyaml needs a tenth of the time, where PyYAML has it.

    :raises yaml.YAMLError: if it is none, in the words of PyYAML's own parser.
    """
    import yaml

    quick = getattr(yaml, "CSafeLoader", None)
    if quick is not None and text.isascii():
        with suppress(yaml.YAMLError):
            return yaml.load(text, quick)  # noqa: S506  # a safe one, too
    return yaml.safe_load(text)


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"
