"""YAML with places: where each value stands in its file, so that a fault can be pointed at."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..text import one_line

if TYPE_CHECKING:
    import yaml

_AT_A_PLACE = re.compile(r"[^\n]*?:(\d+):(\d+): ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A position in a file."""

    file: str
    line: int
    column: int
    """Both from 1."""
    key: str = ""
    """The way there from the top, such as ``tests[2].budgets``; entries of lists are counted from 1."""

    def __str__(self) -> str:
        """As compilers write it: ``test_chat.llm.yaml:7:3: tests[2].budgets``."""
        spot = f"{self.file}:{self.line}:{self.column}"
        return f"{spot}: {self.key}" if self.key else spot


class Faults:
    """Everything that is wrong with one file, in its order and each once."""

    def __init__(self) -> None:
        self._found: dict[str, Place] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, text: str) -> None:
        """Note a fault; a text that begins with a place in the file is taken as it is."""
        given = _AT_A_PLACE.match(text)
        if given and text.startswith(f"{place.file}:"):
            place = replace(place, line=int(given[1]), column=int(given[2]))
        else:
            text = f"{place}: {text.removeprefix(f'{place.file}:{place.line}: ')}"
        self._found.setdefault(text, place)

    def lines(self) -> list[str]:
        """A line each, from the top of the file down."""
        return [one_line(text) for text, _ in sorted(self._found.items(), key=lambda it: (it[1].line, it[1].column))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A value and its place."""

    node: yaml.Node
    place: Place
    faults: Faults = field(repr=False)

    @property
    def plain(self) -> Any:
        """The value as Python has it.

        :raises ConfigError: if YAML cannot make one of it, such as of a date that does not exist.
        """
        import yaml

        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(self.node)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"{self.place}: not valid YAML: {problem(error)}.") from error
        finally:
            loader.dispose()

    @property
    def kind(self) -> str:
        """What it is, in words."""
        tag = self.node.tag.rpartition(":")[2]
        names = {
            "null": "nothing", "bool": "a truth value", "int": "a number", "float": "a number", "str": "a text", "seq": "a list",
            "map": "a mapping", "timestamp": "a date",
        }  # fmt: skip
        found = names.get(tag, tag)
        value = getattr(self.node, "value", None)
        return (
            f"{found} ({one_line(value)[:40]})"
            if isinstance(value, str) and found not in ("nothing", "a text")
            else found
        )

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return getattr(self.node, "id", "") == "mapping"

    @property
    def is_list(self) -> bool:
        """Whether it has entries."""
        return getattr(self.node, "id", "") == "sequence"

    def entries(self) -> Iterator[Value]:
        """Those of a list, each with its place; of anything else, it alone."""
        if not self.is_list:
            yield self
            return
        for number, node in enumerate(self.node.value, 1):
            yield Value(
                node=node, place=_place(node, self.place.file, f"{self.place.key}[{number}]"), faults=self.faults
            )

    def items(self, known: Iterable[str] | None = None, *, spare: str = "") -> dict[str, tuple[Place, Value]]:
        """Key -> place of the key, and its value; merged keys (``<<``) are among them.

        A key that stands twice is a fault, and so is one that is not known.

        :param known: the keys that may stand there; any where None.
        :param spare: what an unknown key may begin with all the same.
        """
        import yaml

        assert isinstance(self.node, yaml.MappingNode)
        found: dict[str, tuple[Place, Value]] = {}
        own = {id(key) for key, _ in self.node.value}
        self._refuse_twins()
        try:
            yaml.SafeLoader("").flatten_mapping(self.node)
        except yaml.YAMLError as error:
            self.faults.add(self.place, f"not valid YAML: {problem(error)}.")
        for key, value in self.node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            path = f"{self.place.key}.{name}" if self.place.key else str(name)
            place = _place(key, self.place.file, path)
            if known is not None and name not in (listed := list(known)):
                if not (spare and name.startswith(spare)):
                    self.faults.add(place, unknown_key(name, listed))
                continue
            if name in found and id(key) not in own:
                continue
            found[name] = place, Value(node=value, place=_place(value, self.place.file, path), faults=self.faults)
        return found

    def _refuse_twins(self) -> None:
        seen: dict[str, int] = {}
        for key, _ in self.node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                place = _place(key, self.place.file, f"{self.place.key}.{name}" if self.place.key else name)
                self.faults.add(
                    place, f"the key '{one_line(name)}' stands twice, first in line {seen[name]}; remove one."
                )
            seen.setdefault(name, key.start_mark.line + 1)


def unknown_key(name: str, known: list[str]) -> str:
    """What is said of a key that nobody reads.

    >>> unknown_key("budget", ["budgets", "checks"])
    "unknown key 'budget'. Did you mean 'budgets'?"
    """
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(known)}."
    return f"unknown key '{one_line(name)[:60]}'. {hint}"


def read_nodes(text: str, file: str, faults: Faults) -> Value | None:
    """The top of a document; None, and a fault, where it is no YAML.

    :param file: its name, for the places.
    """
    import yaml

    top = Place(file=file, line=1, column=1)
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(file=file, line=mark.line + 1, column=mark.column + 1) if mark else top
        faults.add(place, f"not valid YAML: {problem(error)}.")
        return None
    if node is None:
        faults.add(top, "the file is empty; write at least prompts, or named tests under 'tests'.")
        return None
    return Value(node=node, place=_place(node, file, ""), faults=faults)


def problem(error: Exception) -> str:
    """What YAML has against it, without the excerpt that PyYAML adds."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(getattr(error, "problem", None) or "") or " ".join(str(error).split()).rstrip(".")


def _place(node: yaml.Node, file: str, key: str) -> Place:
    return Place(file=file, line=node.start_mark.line + 1, column=node.start_mark.column + 1, key=one_line(key))
