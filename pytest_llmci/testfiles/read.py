"""Reads a test file: every value of the right kind and in its place, nothing yet of what it means to a session."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..check_texts import check_text
from ..errors import ConfigError
from ..prompts import READERS, known_sets, split_source
from ..prompts.base import Row
from ..prompts.nearby import Nearby
from ..prompts.rows import Surroundings, to_prompts
from ..records import Prompt
from ..slugs import slug
from ..text import one_line
from .keys import ADDED, EXTENSION, KEYS, Key, known_keys
from .names import stem
from .nodes import Faults, Place, Value, read_nodes, unknown_key

MARKS_WITH_REASON: Final = ("skip", "xfail")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+\Z")
_MARK: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_KEY_OF_A_ROW: Final = re.compile(r"key '(\w+)'")


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text and its place."""

    text: str
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class InlinePrompt:
    """A prompt that stands in the file itself."""

    prompt: Prompt
    place: Place
    checks: tuple[Text, ...] = ()
    """Those of the prompt, with their places."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One of pytest's markers."""

    name: str
    reason: str | None
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTest:
    """One test of a file, with what the file says for all."""

    name: str
    place: Place
    models: tuple[Text, ...] | None = None
    prompts: tuple[InlinePrompt | Text, ...] | None = None
    """Inline rows, and names of sets and files, in the file's order."""
    checks: tuple[Text, ...] | None = None
    """None where nothing is said; an empty tuple for no check at all."""
    budgets: tuple[Text, ...] = ()
    excused: int = 0
    """How many of the budgets, from the first, are the file's, while the test itself says whether it is timed."""
    marks: tuple[Mark, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and truth values by their key."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Of each key that was said, its value."""

    def place_of(self, *names: str) -> Place:
        """Of the first of these keys that was said; else of the test."""
        return next((self.places[name] for name in names if name in self.places), self.place)


def decoded(content: bytes, file: str, faults: Faults) -> str | None:
    """The text of a file; None, and a fault, where it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(file=file, line=content.count(b"\n", 0, error.start) + 1, column=1)
        faults.add(place, f"not valid UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8.")
        return None


def read_tests(
    text: str, file: str, faults: Faults, *, folder: Path | None = None, make_id: Callable[[str], str] = slug
) -> tuple[FileTest, ...]:
    """All tests of a file, in its order; what is wrong with it is in ``faults`` then.

    :param file: its name, for the places and the ids.
    :param folder: where it lies, for files that rows name.
    :param make_id: makes of the text of a prompt without an id one.
    """
    top = read_nodes(text, file, faults)
    if top is None:
        return ()
    if not top.is_mapping:
        faults.add(top.place, f"expected a mapping with keys such as 'prompts', found {top.kind}.")
        return ()
    nearby = Nearby(folder)
    around = Surroundings(file=file, make_id=make_id, read_text=nearby.text, read_table=nearby.table)
    return _FileReader(around, faults).tests(top)


class _FileReader:
    def __init__(self, around: Surroundings, faults: Faults) -> None:
        self._around = around
        self._file = around.file
        self._faults = faults

    def tests(self, top: Value) -> tuple[FileTest, ...]:
        keys = top.items(known_keys("file"), spare=EXTENSION)
        shared = self._level(keys)
        if "tests" not in keys:
            name = keys["name"][1] if "name" in keys else None
            own = self._name(name) if name else slug(stem(Path(self._file).name)) or "test"
            return (self._test(own, Place(file=self._file, line=1, column=1), shared, {}),)
        if "name" in keys:
            self._faults.add(keys["name"][0], "each of the tests has a name of its own; take this one away.")
        listed = keys["tests"][1]
        if not listed.is_list or not listed.node.value:
            self._faults.add(listed.place, f"expected a list of tests, each with its 'name', found {_found(listed)}.")
            return ()
        found: dict[str, FileTest] = {}
        for entry in listed.entries():
            test = self._named_test(entry, shared)
            if test is not None and test.name in found:
                self._faults.add(
                    test.place, f"a test called '{test.name}' stands in line {found[test.name].place.line}; rename one."
                )
            elif test is not None:
                found[test.name] = test
        return tuple(found.values())

    def _named_test(self, entry: Value, shared: Mapping[str, Any]) -> FileTest | None:
        if not entry.is_mapping:
            self._faults.add(entry.place, f"expected a mapping with 'name', found {entry.kind}.")
            return None
        keys = entry.items(known_keys("test"))
        own = self._level(keys)
        if "name" not in keys:
            self._faults.add(entry.place, "the key 'name' is missing; it is the first part of the test's id.")
            return None
        return self._test(self._name(keys["name"][1]), keys["name"][0], shared, own)

    def _name(self, value: Value) -> str:
        text = str(value.node.value) if value.kind == "a text" or value.node.tag.endswith(":int") else ""
        if not _NAME.match(text):
            self._faults.add(
                value.place,
                f"{_found(value)} cannot be part of a test's id; use ASCII letters, digits, '.', '_' and '-', such as"
                f" '{slug(text) or 'capitals'}'.",
            )
        return text

    def _test(self, name: str, place: Place, shared: Mapping[str, Any], own: Mapping[str, Any]) -> FileTest:
        said: dict[str, tuple[Any, Place]] = {**shared, **own}
        for key in ADDED:
            if key in shared and key in own and not (key == "checks" and own[key][0] == ()):
                said[key] = shared[key][0] + own[key][0], own[key][1]
        values = {
            key: value for key, (value, _) in said.items() if KEYS[key].kind in ("whole", "number", "yes_no", "load")
        }
        listed = {key: value for key, (value, _) in said.items() if key not in values}
        return FileTest(
            name=name, place=place, values=values, places={key: spot for key, (_, spot) in said.items()},
            excused=len(shared["budgets"][0]) if "budgets" in shared and "timed" in own else 0, **listed,
        )  # fmt: skip

    def _level(self, keys: Mapping[str, tuple[Place, Value]]) -> dict[str, tuple[Any, Place]]:
        """Key -> what it says and its place, for all of one level that are right."""
        found = {}
        for name, (_, value) in keys.items():
            key = KEYS[name]
            if key.kind in ("tests", "name"):
                continue
            try:
                read = self._value(value, key)
            except ConfigError as error:
                self._faults.add(value.place, str(error))
                continue
            if key.kind != "text":
                found[name] = read, value.place
        return found

    def _value(self, value: Value, key: Key) -> Any:
        if key.kind in ("whole", "number"):
            return _number(value, key)
        if key.kind == "yes_no":
            if not value.node.tag.endswith(":bool"):
                raise ConfigError(f"expected true or false, found {_found(value)}.")
            return value.plain
        if key.kind in ("text", "load"):
            return _text(value)
        if key.kind == "checks":
            return tuple(self._entries(value, _check, may_be_empty=True))
        if key.kind == "marks":
            return tuple(self._entries(value, _mark))
        if key.kind == "prompts":
            return tuple(self._prompts(value))
        return tuple(self._entries(value, lambda entry: Text(text=_text(entry), place=entry.place)))

    def _entries(self, value: Value, read: Callable[[Value], Any], *, may_be_empty: bool = False) -> Iterator[Any]:
        """Each entry of a list that is right; a single one may stand without the list."""
        if value.is_list and not value.node.value and not may_be_empty:
            raise ConfigError("the list is empty; write at least one entry, or take the key away.")
        for entry in value.entries():
            try:
                yield read(entry)
            except ConfigError as error:
                self._faults.add(entry.place, str(error))

    def _prompts(self, value: Value) -> Iterator[InlinePrompt | Text]:
        seen: dict[str, Place] = {}
        for found in self._entries(value, self._prompts_of):
            for prompt in found:
                if isinstance(prompt, InlinePrompt):
                    first = seen.setdefault(prompt.prompt.id, prompt.place)
                    if first is not prompt.place:
                        self._faults.add(
                            prompt.place,
                            f"the prompt of line {first.line} has the id '{prompt.prompt.id}' as well; give one of them another id.",
                        )
                yield prompt

    def _prompts_of(self, entry: Value) -> list[InlinePrompt | Text]:
        """What one entry stands for: a set or file, one prompt, or one for each combination of its variables."""
        if not entry.is_mapping and names_prompts(text := _text(entry)):
            return [Text(text=text.strip(), place=entry.place)]
        keys = entry.items() if entry.is_mapping else {}
        if list(keys) == ["generate"]:
            return [prompt for each in keys["generate"][1].entries() for prompt in self._row(each, generated=True)]
        return [*self._row(entry)]

    def _row(self, entry: Value, *, generated: bool = False) -> list[InlinePrompt]:
        keys = entry.items() if entry.is_mapping else {}
        position = f"line {entry.place.line}"
        wrong: list[ConfigError] = []
        prompts = to_prompts(Row(position=position, value=entry.plain, generated=generated), self._around, wrong)
        for error in wrong:
            text = str(error).removeprefix(f"{self._file}, {position}").lstrip(":, ")
            named = _KEY_OF_A_ROW.search(text)
            place = keys[named[1]][0] if named and named[1] in keys else entry.place
            self._faults.add(place, text.removeprefix(f"key '{named[1]}': ") if named else text)
        place = keys["checks"][1].place if "checks" in keys else entry.place
        return [
            InlinePrompt(
                prompt=prompt, place=entry.place, checks=tuple(Text(text=check, place=place) for check in prompt.checks)
            )
            for prompt in prompts
        ]


def names_prompts(text: str) -> bool:
    """Whether an entry of ``prompts`` names a packaged set or a file, and is no prompt by itself.

    >>> names_prompts("paper"), names_prompts("cases.csv+prompt=the question"), names_prompts("Explain cases.yaml")
    (True, True, False)
    """
    try:
        file = split_source(text.strip(), "")[0]
    except ConfigError:  # said when it is read
        file = text.strip().partition("+")[0]
    return len(file.split()) == 1 and (file in known_sets() or file.lower().endswith(tuple(READERS)))


def _found(value: Value) -> str:
    return f"'{one_line(value.node.value)[:60]}'" if value.kind == "a text" else value.kind


def _text(value: Value) -> str:
    if value.kind != "a text":
        hint = "; put it in quotes" if value.kind.startswith(("a number", "a truth", "a date")) else ""
        raise ConfigError(f"expected a text, found {value.kind}{hint}.")
    text = str(value.node.value)
    if not text.strip():
        raise ConfigError("the text is empty.")
    return text


def _number(value: Value, key: Key) -> int | float:
    number = value.plain if value.kind.startswith("a number") else None
    what = "a whole number" if key.kind == "whole" else "a number"
    if number is None or not math.isfinite(number) or (key.kind == "whole" and not isinstance(number, int)):
        raise ConfigError(f"expected {what}, found {_found(value)}.")
    if key.least is not None and number < key.least:
        raise ConfigError(f"{number} is too small; write {what} of at least {key.least:g}.")
    if key.above is not None and number <= key.above:
        raise ConfigError(f"{number} is too small; write {what} above {key.above:g}.")
    if key.most is not None and number > key.most:
        raise ConfigError(f"{number} is too large; write {what} of at most {key.most:g}.")
    return number  # type: ignore[no-any-return]  # as YAML has it


def _check(value: Value) -> Text:
    if value.kind == "a text":
        return Text(text=_text(value), place=value.place)
    if not value.is_mapping:
        raise ConfigError(f"expected a check such as max_words:40 or {{max_words: 40}}, found {_found(value)}.")
    value.items()
    return Text(text=check_text(value.plain, str(value.place)), place=value.place)


def _mark(value: Value) -> Mark:
    if not value.is_mapping:
        name = _text(value)
        if not _MARK.match(name):
            raise ConfigError(
                f"'{one_line(name)}' is no name of a marker; write slow, or {{skip: REASON}}, {{xfail: REASON}}."
            )
        return Mark(name=name, reason=None, place=value.place)
    pairs = value.items()
    if len(pairs) != 1:
        raise ConfigError("expected one marker with its reason, such as {skip: REASON}.")
    ((name, (place, reason)),) = pairs.items()
    if name not in MARKS_WITH_REASON:
        raise ConfigError(f"{place}: {unknown_key(name, list(MARKS_WITH_REASON))}")
    if reason.kind != "a text":
        raise ConfigError(f"{reason.place}: expected the reason as a text, found {_found(reason)}.")
    return Mark(name=name, reason=_text(reason), place=value.place)
