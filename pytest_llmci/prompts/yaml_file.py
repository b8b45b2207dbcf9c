"""YAML prompt files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from .base import Row
from .listing import listed_rows

if TYPE_CHECKING:
    import yaml

_INT: Final = "tag:yaml.org,2002:int"
_WHOLE: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
"""What is a number, as YAML 1.2 has it: YAML 1.1 takes ``12:30`` for 750 and ``010`` for 8."""


def read_yaml(text: str, file: str, _columns: Mapping[str, str]) -> list[Row]:
    """Rows of a YAML document.

    :raises ConfigError: if it is not valid YAML or a key stands twice in one row.
    """
    return listed_rows(parse_yaml(text, file), file)


def parse_yaml(text: str, file: str) -> object:
    """A YAML document, by the safe loader: no tag makes an object.

    :raises ConfigError: if it is not valid YAML or a key stands twice in one mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses what the safe loader passes over: of two equal keys it keeps the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
            _refuse_twins(node)
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, _WHOLE if tag == _INT else pattern) for tag, pattern in resolvers]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        data: object = yaml.load(text, Loader)  # noqa: S506 - it is a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid YAML: {_fault(error)}.") from error
    return data


def _refuse_twins(node: yaml.MappingNode) -> None:
    from yaml.constructor import ConstructorError

    seen = set()
    for key, _ in node.value:
        name = str(key.value)  # a key that is not a plain text is refused later
        if name in seen:
            raise ConstructorError(None, None, f"the key '{name}' stands twice", key.start_mark)
        seen.add(name)


def _fault(error: Exception) -> str:
    """The problem and its line, without the excerpt over several lines that PyYAML adds."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"{getattr(error, 'problem', None) or 'malformed'} at line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return " ".join(str(error).split()).rstrip(".")
