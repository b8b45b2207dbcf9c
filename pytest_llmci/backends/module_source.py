"""What names a Python module will have, read from its source: importing it would run the user's code."""

from __future__ import annotations

import ast
import pkgutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Final

_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_OPEN: Final = frozenset(
    {"*", "__dict__", "__name__", "eval", "exec", "globals", "locals", "modules", "setattr", "vars"}
)
"""A module whose source mentions one of these may get names that it does not show: ``sys.modules[__name__].x = ...``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleSource:
    """A module whose source shows all its names."""

    file: str
    names: frozenset[str]
    """Bound by its own statements, on whatever branch; a package's submodules, which any import of them binds there."""
    callables: frozenset[str]
    """Its functions and classes."""


def read_module(module: str, sys_path: Sequence[str]) -> ModuleSource | None:
    """The names of a module, without importing it or a package around it.

    :param module: dotted name.
    :param sys_path: where it is looked for.
    :returns: None where the source cannot tell: the module is nowhere, compiled or broken, has a ``__getattr__`` or a star
        import, or may set names in another way.
    """
    spec = find_module(module, sys_path)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        return None
    try:
        source = spec.loader.get_source(module)
        with warnings.catch_warnings(action="ignore"):  # of the user's code; they come again when it is imported
            tree = ast.parse(source or "")
        names = set(_bound(tree))
        is_open = "__getattr__" in names or not _OPEN.isdisjoint(_mentioned(tree))
    except (ImportError, SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: nested too deeply
        return None
    if is_open:
        return None
    callables = frozenset(
        node.name for node in tree.body if isinstance(node, _SCOPES) and not isinstance(node, ast.Lambda)
    )
    names.update(found.name for found in pkgutil.iter_modules(spec.submodule_search_locations or ()))
    return ModuleSource(file=spec.loader.path, names=frozenset(names), callables=callables)


def find_module(module: str, sys_path: Sequence[str]) -> ModuleSpec | None:
    """Where a module is; ``importlib.util.find_spec`` imports the packages around it, this does not.

    :param sys_path: where it is looked for.
    :returns: None where it is nowhere.
    """
    places: Sequence[str] | None = list(sys_path)
    spec, name = None, ""
    for part in module.split("."):
        if places is None:
            return None
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, places)
        if spec is None:
            return None
        places = spec.submodule_search_locations
    return spec


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that the module itself gets when this part of it runs; what functions and classes bind inside is theirs."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    given = getattr(node, "asname", None) or getattr(node, "name", None) or getattr(node, "rest", None)
    if isinstance(given, str):  # def, class, import, except, the patterns of match
        yield given.partition(".")[0]
    if isinstance(node, ast.Module):
        yield from (name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names)
    for field, value in ast.iter_fields(node):
        if field == "body" and isinstance(node, _SCOPES):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _bound(child)


def _mentioned(node: ast.AST) -> Iterator[str]:
    """Whatever is referred to."""
    if _names_itself_only(node):
        return
    if isinstance(node, ast.Name):
        yield node.id
    elif (
        isinstance(node, ast.Attribute) and node.attr != "__name__"
    ):  # of something else: ``type(x).__name__`` is not the module's
        yield node.attr
    elif isinstance(node, ast.alias):
        yield node.name
    for child in ast.iter_child_nodes(node):
        yield from _mentioned(child)


def _names_itself_only(node: ast.AST) -> bool:
    """``__name__ == "__main__"`` and ``getLogger(__name__)`` hand the module's name to nobody who could change it."""
    if isinstance(node, ast.Compare):
        return isinstance(node.left, ast.Name) and node.left.id == "__name__"
    return isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "getLogger"
