"""YAML prompt files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError
from .base import Row
from .listing import listed_rows

if TYPE_CHECKING:
    import yaml


def read_yaml(text: str, file: str) -> list[Row]:
    """Rows of a YAML document, by the safe loader: no tag makes an object.

    :raises ConfigError: if it is not valid YAML or a key stands twice in one row.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses what the safe loader passes over: of two equal keys it keeps the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
            _refuse_twins(node)
            return super().construct_mapping(node, deep)

    try:
        data = yaml.load(text, Loader)  # noqa: S506 - it is a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid YAML: {_fault(error)}.") from error
    return listed_rows(data, file)


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
