"""Checks one row of a prompt file and makes prompts of it: one, or one for each combination of its variables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final, TypeVar

from ..check_texts import check_text
from ..errors import ConfigError, UnknownNameError
from ..records import Message, Prompt
from ..slugs import slug
from ..text import one_line
from .base import Row
from .fit import MARK
from .generate import FILLER, Wanted, check_wanted, generated, read_wanted
from .template import Template, parse_template
from .values import checked_text, kind, wrong_type
from .variables import Table, check_placeholders, combinations

KEYS: Final = (
    "id", "prompt", "messages", "system", "template", "variables", "prompt_file", "template_file", "reference", "tags", "checks",
    "max_new_tokens",
)  # fmt: skip
"""What a row may hold."""
CONTENT_KEYS: Final = ("prompt", "messages", "template", "prompt_file", "template_file")
"""What the model gets; a row has one of them."""
DEFAULT_KEYS: Final = ("system", "variables", "tags", "checks", "max_new_tokens")
"""What may hold for all rows of a set that say nothing of it."""
GENERATE_KEYS: Final = (
    "id", "template", "template_file", "messages", "system", "variables", "words", "tokens", "seeds", "reference", "tags", "checks",
    "max_new_tokens",
)  # fmt: skip
"""What an entry of ``generate`` may hold."""
LIST_KEYS: Final = frozenset({"messages", "tags", "checks"})
ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_ID: Final = re.compile(r"(?!.*::)[!-~]+\Z")
_NOT_IN_IDS: Final = frozenset("[]@=/")
_PLAIN_ID_DIGITS: Final = 8
T = TypeVar("T")


def _no_files(name: str) -> str:
    raise ConfigError(f"'{one_line(name)}' can only be named in a file of prompts.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What rows depend on beside their own text."""

    file: str
    """Name of the set or file, for messages and the prompts' source."""
    make_id: Callable[[str], str] = slug
    """Makes of the text of a row without an id one."""
    read_text: Callable[[str], str] = _no_files
    """The text of a file that a row names."""
    read_table: Table = _no_files  # type: ignore[assignment]  # it never returns
    """The rows of a file that ``variables`` names."""


@dataclass(slots=True)
class _Reading:
    """A row while it is read: its faults do not hide each other."""

    where: str
    faults: list[ConfigError] = field(default_factory=list)

    def read(self, reader: Callable[..., T], *arguments: object) -> T | None:
        try:
            return reader(*arguments)
        except ConfigError as error:
            self.faults.append(error)
            return None


@dataclass(kw_only=True, slots=True)
class Draft:
    """What a row says, placeholders and all."""

    text: str | None = None
    messages: tuple[Message, ...] = ()
    reference: str | None = None
    tags: tuple[str, ...] = ()
    checks: tuple[object, ...] = ()
    """Each a text, or a mapping of a name to its argument."""
    max_new_tokens: int | None = None
    id: str | None = None
    key: str = ""
    """Of its content."""
    is_template: bool = False
    combinations: list[dict[str, str]] | None = None
    """None: the row has no variables, or they cannot be read."""
    has_system: bool = False
    """Whether the first message stands under the key ``system``."""
    of_set: bool = False
    """Whether the variables are those of the whole set."""
    wanted: Wanted | None = None
    """Lengths and seeds of an entry of ``generate``."""
    unread: frozenset[str] = frozenset()
    """Keys whose values cannot be read."""


def to_prompt(row: Row, file: str, *, make_id: Callable[[str], str] = slug) -> Prompt:
    """The prompt of a row that holds one.

    :param file: name of the set or file, for messages and the prompt's source.
    :param make_id: makes of the text of a row without an id one.
    :raises ConfigError: in one line that names file, row and key, for the first fault; also where it has variables for several.
    """
    faults: list[ConfigError] = []
    found = to_prompts(row, Surroundings(file=file, make_id=make_id), faults)
    if faults:
        raise faults[0]
    if len(found) > 1:
        raise ConfigError(
            f"{file}, {row.position}: its variables make {len(found)} prompts of it, but one is wanted here."
        )
    return found[0]


def to_prompts(row: Row, around: Surroundings, faults: list[ConfigError]) -> list[Prompt]:
    """All prompts of a row.

    :param faults: gets every fault of the row, each a line that names file, row and key; with any there is no prompt.
    """
    reading = _Reading(f"{around.file}, {row.position}")
    draft = reading.read(_draft, row, around, reading)
    parts = _taken_apart(draft, reading) if draft and draft.is_template else None
    if draft and parts:
        reading.faults += _misplaced(draft, parts, reading.where)
    found = reading.read(_expanded, draft, parts, row, around, reading.where) if not reading.faults else None
    faults += reading.faults
    return found or []


# ------------------------------------------------------------------------------------------------------- what a row says


def _draft(row: Row, around: Surroundings, reading: _Reading) -> Draft:
    where = reading.where
    if row.fault is not None:
        raise row.fault
    given = {"prompt": row.value} if isinstance(row.value, str) else row.value
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: expected a text or a mapping with the key 'prompt', found {kind(given)}.")
    known = GENERATE_KEYS if row.generated else KEYS
    reading.faults += [
        UnknownNameError.build(where, "key", one_line(str(key)), known) for key in given if key not in known
    ]
    data = {key: value for key, value in given.items() if value is not None}
    defaults = row.defaults
    draft = Draft(id=reading.read(_id, data.get("id"), where))
    _read_content(draft, data, row, around, reading)
    if draft.id is not None and not (draft.is_template and "{{" in draft.id):
        reading.read(_checked_id, draft.id, where)
    if draft.is_template:
        before = len(reading.faults)
        draft.of_set = "variables" not in data
        draft.combinations = reading.read(_variables, data, defaults, around, where)
        draft.unread = frozenset({"variables"} if len(reading.faults) > before else ())
    if row.generated:
        draft.wanted = read_wanted(data, where, reading.faults)
    draft.reference = reading.read(_text, data.get("reference"), where, "reference")
    merged = {**defaults, **data}
    draft.tags = reading.read(_texts, merged.get("tags"), where, "tags") or ()
    draft.checks = reading.read(_checks, merged.get("checks"), where) or ()
    draft.max_new_tokens = reading.read(_length, merged.get("max_new_tokens"), where)
    return draft


def _read_content(draft: Draft, data: Mapping[str, object], row: Row, around: Surroundings, reading: _Reading) -> None:
    defaults, generated = row.defaults, row.generated
    where = reading.where
    given = [key for key in CONTENT_KEYS if key in data and not (generated and key.startswith("prompt"))]
    if len(given) != 1:
        told = " and ".join(f"'{key}'" for key in given)
        reading.faults.append(
            ConfigError(f"{where}: both {told} are given; keep one of them." if len(given) == 2
            else f"{where}: {told} are given; keep one of them." if given
            else f"{where}: neither '{'template' if generated else 'prompt'}' nor 'messages' is given; write one of them.")
        )  # fmt: skip
        return
    (key,) = given
    draft.key = key
    draft.is_template = key.startswith("template") or (key == "messages" and (generated or "variables" in data))
    if "variables" in data and not draft.is_template:
        wanted = key.replace("prompt", "template")
        reading.faults.append(
            ConfigError(
                f"{where}: key 'variables' needs placeholders, and a '{key}' goes to the model as it is; write '{wanted}'."
            )
        )
    if key == "messages":
        draft.messages = reading.read(_messages, data[key], where) or ()
    else:
        draft.text = reading.read(_content_text, data[key], where, key, around)
    system = reading.read(_text, data.get("system", defaults.get("system")), where, "system")
    if system and system.strip():
        _add_system(draft, system, "system" in data, reading)


def _content_text(value: object, where: str, key: str, around: Surroundings) -> str:
    text = _text(value, where, key) or ""
    if key.endswith("_file"):
        try:
            text = checked_text(around.read_text(text), where, key)
        except ConfigError as error:
            raise ConfigError(f"{where}: key '{key}': {error}") from error
    if not text.strip():
        raise ConfigError(f"{where}: key '{key}' is empty; write the text that the model gets, or remove the row.")
    return text


def _add_system(draft: Draft, system: str, own: bool, reading: _Reading) -> None:
    """:param own: whether the row itself says so, and not the defaults of its set."""
    if draft.messages and draft.messages[0].role in ("system", "developer"):
        if own:
            reading.faults.append(
                ConfigError(
                    f"{reading.where}: key 'system': the messages begin with one of that role; keep one of the two."
                )
            )
        return
    asked = draft.messages or ((Message(role="user", content=draft.text),) if draft.text else ())
    draft.has_system = True
    draft.text, draft.messages = None, (Message(role="system", content=system), *asked)


def _variables(
    data: Mapping[str, object], defaults: Mapping[str, object], around: Surroundings, where: str
) -> list[dict[str, str]] | None:
    given = data.get("variables", defaults.get("variables"))
    if given is None:
        return None
    where = f"{where}: key 'variables'"
    try:
        return combinations(given, where, around.read_table)
    except ConfigError as error:
        if str(error).startswith(where):
            raise
        raise ConfigError(f"{where}: {error}") from error  # of a file that it names


def _messages(value: object, where: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise wrong_type("messages", "a list of messages, each with 'role' and 'content'", value, where)
    if not value:
        raise ConfigError(f"{where}: key 'messages' is empty; write at least one message.")
    return tuple(_message(message, f"{where}, message {number}") for number, message in enumerate(value, 1))


def _message(value: object, where: str) -> Message:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping with 'role' and 'content', found {kind(value)}.")
    for key in value:
        if key not in ("role", "content"):
            raise UnknownNameError.build(where, "key", one_line(str(key)), ("role", "content"))
    role, content = (_text(value.get(key), where, key) for key in ("role", "content"))
    if role is None or content is None:
        raise ConfigError(f"{where}: key '{'role' if role is None else 'content'}' is missing.")
    if role not in ROLES:
        raise UnknownNameError.build(f"{where}, key 'role'", "role", one_line(role), ROLES)
    if not content.strip():
        raise ConfigError(f"{where}: key 'content' is empty; write the message, or remove it.")
    return Message(role=role, content=content)


def _text(value: object, where: str, key: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise wrong_type(
            key, "text; put it in quotes" if isinstance(value, bool | int | float) else "text", value, where
        )
    return checked_text(value, where, key)


def _texts(value: object, where: str, key: str) -> tuple[str, ...]:
    if value is None:
        return ()
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, str) or not entry.strip():
            raise wrong_type(key, "a text or a list of texts, none of them empty", entry, where)
    return tuple(_text(entry, where, key) or "" for entry in entries)


def _checks(value: object, where: str) -> tuple[object, ...]:
    if value is None:
        return ()
    found = tuple(value if isinstance(value, list) else [value])
    for entry in found:
        checked_text(check_text(entry, f"{where}: key 'checks'"), where, "checks")
    return found


def _length(value: object, where: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type("max_new_tokens", "a whole number", value, where)
    if value < 1:
        raise ConfigError(f"{where}: key 'max_new_tokens': {value} is too small; write a whole number of at least 1.")
    return value


def _id(given: object, where: str) -> str | None:
    if given is None:
        return None
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if not isinstance(given, str):
        raise wrong_type("id", "text", given, where)
    return given


# ------------------------------------------------------------------------------------------------------ what comes of it


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """The texts of a draft, taken apart."""

    text: Template | None
    messages: Sequence[tuple[str, Template]]
    reference: Template | None
    tags: Sequence[Template]
    checks: Mapping[str, Template]
    """Each text in the checks, taken apart."""
    id: Template | None
    used: Mapping[str, str]
    """Name of a placeholder -> the key of the row that it stands in."""

    @property
    def contents(self) -> list[Template]:
        """What the model gets."""
        return [*([self.text] if self.text else []), *(content for _, content in self.messages)]

    @property
    def others(self) -> list[Template]:
        """What it does not."""
        rest = [each for each in (self.reference, self.id) if each]
        return [*rest, *self.tags, *self.checks.values()]


def _expanded(draft: Draft, parts: _Parts | None, row: Row, around: Surroundings, where: str) -> list[Prompt]:
    source = f"{around.file}, {row.position}"
    if parts is None:
        name = draft.id if draft.id is not None else around.make_id(_asked(draft.text, draft.messages, draft))
        return [
            Prompt(
                id=name, text=draft.text, messages=draft.messages, reference=draft.reference, tags=draft.tags,
                checks=tuple(check_text(check, where) for check in draft.checks),
                max_new_tokens=draft.max_new_tokens, source=source,
            )
        ]  # fmt: skip
    wanted = draft.wanted or Wanted()
    versions = [
        {**values, **version} for values in draft.combinations or [{}] for version in wanted.versions
    ]  # the source tells their number and not the values, which are as private as the prompt
    found = [
        generated(
            _filled(draft, parts, values, f"{source}, combination {number}" if len(versions) > 1 else source),
            wanted,
            where,
        )
        for number, values in enumerate(versions, 1)
    ]
    if draft.wanted is not None:
        _check_distinct(found, where)
    return _with_ids(found, draft, parts, around, where)


def _check_distinct(prompts: Sequence[Prompt], where: str) -> None:
    """Refuse two generated prompts that are one: a short filler leaves few choices."""
    seen: dict[object, Prompt] = {}
    for prompt in prompts:
        first = seen.setdefault((prompt.text, prompt.messages, prompt.fill), prompt)
        if first is not prompt:
            told, own = (each.source.rpartition(", ")[2] for each in (first, prompt))
            raise ConfigError(
                f"{where}: {told} and {own} give the same prompt '{one_line(prompt.shown)[:40]}'; ask for more words or other seeds."
            )


def _misplaced(draft: Draft, parts: _Parts, where: str) -> list[ConfigError]:
    """Faults of placeholders and of what is to be put there."""
    used, faults = parts.used, list[ConfigError]()
    if draft.wanted is not None:
        used = {name: key for name, key in used.items() if name not in draft.wanted.names}
        fillers = [each.parts[1::2].count(FILLER) for each in parts.contents]
        elsewhere = sum(each.parts[1::2].count(FILLER) for each in parts.others)
        if draft.has_system:
            elsewhere += fillers.pop(0)
        faults += check_wanted(draft.wanted, parts.used, sum(fillers), elsewhere, where)
    if draft.combinations or "variables" not in draft.unread:
        faults += check_placeholders(used, draft.combinations[0] if draft.combinations else None, where)
    return faults


def _asked(text: str | None, messages: Sequence[Message], draft: Draft) -> str:
    """What the id of a prompt without one is made of: its text, without what is said to the model in all rows alike."""
    if text is not None:
        return text
    if draft.key != "messages":
        return messages[-1].content
    return Prompt(id="", messages=tuple(messages[draft.has_system :])).shown


def _of_use(given: list[dict[str, str]] | None, used: Mapping[str, str]) -> list[dict[str, str]] | None:
    """Of the variables of a whole set what a row uses, each combination once."""
    if not given:
        return None
    kept = [{name: value for name, value in each.items() if name in used} for each in given]
    return list({tuple(each.items()): each for each in kept}.values()) if kept[0] else None


def _taken_apart(draft: Draft, reading: _Reading) -> _Parts:
    used: dict[str, str] = {}

    def part(text: str | None, key: str) -> Template | None:
        if text is None:
            return None
        found = reading.read(parse_template, text, f"{reading.where}: key '{key}'")
        for name in found.names if found else ():
            used.setdefault(name, key)
        return found or Template((text,))

    def parts(texts: Iterable[str], key: str) -> list[Template]:
        return [found for text in texts if (found := part(text, key))]

    contents = [
        (
            message.role,
            part(message.content, "system" if draft.has_system and not number else draft.key),
        )
        for number, message in enumerate(draft.messages)
    ]
    found = _Parts(
        text=part(draft.text, draft.key), messages=[(role, content) for role, content in contents if content],
        reference=part(draft.reference, "reference"), tags=parts(draft.tags, "tags"),
        checks={text: template for text in _texts_in(draft.checks) if (template := part(text, "checks"))},
        id=part(draft.id, "id"), used=used,
    )  # fmt: skip
    if draft.of_set:
        draft.combinations = _of_use(draft.combinations, used)
    return found


def _filled(draft: Draft, parts: _Parts, values: dict[str, str], source: str) -> Prompt:
    variables, values = values, {**values, FILLER: MARK}
    return Prompt(
        id="", text=parts.text.filled(values) if parts.text else None,
        messages=tuple(Message(role=role, content=content.filled(values)) for role, content in parts.messages),
        reference=parts.reference.filled(values) if parts.reference else None,
        tags=tuple(tag.filled(values) for tag in parts.tags),
        checks=tuple(check_text(_with_texts(check, lambda text: parts.checks[text].filled(values)), source) for check in draft.checks),
        max_new_tokens=draft.max_new_tokens, source=source, variables=variables,
    )  # fmt: skip


def _texts_in(value: object) -> Iterator[str]:
    """Every text in a value of JSON but names of keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(each)


def _with_texts(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _with_texts(each, change) for key, each in value.items()}
    return [_with_texts(each, change) for each in value] if isinstance(value, list) else value


def _with_ids(prompts: Sequence[Prompt], draft: Draft, parts: _Parts, around: Surroundings, where: str) -> list[Prompt]:
    """An id for each: what the row says, with the values where it names them or else behind it."""
    ids = [_id_of(prompt, draft, parts.id, around) for prompt in prompts]
    many = {name for name, count in Counter(ids).items() if count > 1}
    for number, prompt in enumerate(prompts):
        if ids[number] in many and prompt.variables:  # 'C#' and 'C', or values that run into each other
            digest = sha256("\0".join(prompt.variables.values()).encode("utf-8")).hexdigest()[:_PLAIN_ID_DIGITS]
            ids[number] = f"{ids[number]}-{digest}"
    return [replace(prompt, id=_checked_id(name, where)) for prompt, name in zip(prompts, ids, strict=True)]


def _id_of(prompt: Prompt, draft: Draft, template: Template | None, around: Surroundings) -> str:
    if template is None:
        return around.make_id(_asked(prompt.text, prompt.messages, draft))
    wanted = draft.wanted or Wanted()
    ours = wanted.names if draft.wanted else frozenset[str]()
    values = {name: value for name, value in prompt.variables.items() if name not in ours}
    if template.names:
        told = {name: around.make_id(value) for name, value in values.items()}
        return template.filled({**prompt.variables, **told})
    own = f"{draft.id}-{around.make_id(', '.join(values.values()))}" if values else str(draft.id)
    return own + wanted.suffix(prompt.variables)


def _checked_id(given: str, where: str) -> str:
    if not _ID.match(given) or _NOT_IN_IDS & set(given):
        raise ConfigError(
            f"{where}: key 'id': '{one_line(given)[:60]}' cannot be part of a test's name; use ASCII letters, digits,"
            f" '.', '_' and '-', such as '{slug(given) or 'greeting'}'."
        )
    return given
