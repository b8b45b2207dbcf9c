"""What the package keeps in its modules, kept apart between sessions in one process."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from operator import is_
from types import ModuleType
from typing import Any

import pytest_llmci

PACKAGE = f"{pytest_llmci.__name__}."
OTHERS = (f"{PACKAGE}api.", f"{PACKAGE}dashboard.")
"""They serve pages in processes of their own, and bring packages that take longer to import than all else."""


class PackageState:
    """The package, imported whole: pytester forgets what a session is the first to import, and the next one pays again."""

    def __init__(self) -> None:
        names = (found.name for found in pkgutil.walk_packages(pytest_llmci.__path__, PACKAGE))
        modules = [importlib.import_module(name) for name in names if not name.startswith(OTHERS)]
        self._namespaces: tuple[ModuleType | type, ...] = (pytest_llmci, *modules, *_classes(modules))
        values = [value for each in self._namespaces for name, value in vars(each).items() if not name.startswith("__")]
        self._containers: list[Any] = [value for value in values if type(value) in (dict, list, set)]
        clears = (getattr(value, "cache_clear", None) for value in values)
        self._clears: list[Callable[[], object]] = [clear for clear in clears if callable(clear)]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """What is cached, or put into a module, a class or a container meanwhile, is gone afterwards, as what was cached before is."""
        self._forget()
        names = [vars(each).copy() for each in self._namespaces]
        contents = [each.copy() for each in self._containers]
        try:
            yield
        finally:
            for namespace, before in zip(self._namespaces, names, strict=True):
                _put_back(namespace, before)
            for container, content in zip(self._containers, contents, strict=True):
                if container != content:
                    _refill(container, content)
            self._forget()

    def _forget(self) -> None:
        for clear in self._clears:
            clear()


@lru_cache(maxsize=1)
def package_state() -> PackageState:
    """The one of this process."""
    return PackageState()


def _classes(modules: list[ModuleType]) -> list[type]:
    found = {value: None for module in modules for value in vars(module).values() if isinstance(value, type)}
    return [each for each in found if each.__module__.startswith(PACKAGE)]


def _put_back(namespace: ModuleType | type, before: dict[str, Any]) -> None:
    now = vars(namespace).copy()
    if len(now) == len(before) and all(map(is_, now, before)) and all(map(is_, now.values(), before.values())):
        return
    for name in now.keys() - before.keys():
        delattr(namespace, name)
    for name, value in before.items():
        if name not in now or now[name] is not value:
            setattr(namespace, name, value)


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)
