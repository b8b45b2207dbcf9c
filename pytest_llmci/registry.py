"""Names of things that can be added: backends, instruments, checks, sinks, importers, plots.

An entry is ``"package.module:Attribute"`` and is imported on first use, so that a table costs nothing and the model's
process can import the same thing by the same text.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import FOREIGN_ERRORS, ConfigError, MissingExtraError, UnknownNameError, described

KINDS = ("backend", "instrument", "check", "sink", "importer", "plot")
"""What can be registered, as the hook's ``registry.add(kind, ...)`` names it."""
__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")
_NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One registered name."""

    name: str
    target: str
    """``package.module:Attribute``."""
    extra: str = ""
    """The pip requirement that brings what it imports, such as ``pytest-llmci[transformers]``; empty if nothing."""
    summary: str = ""
    """One line for ``--help`` and docs."""


def import_target(target: str, where: str) -> object:
    """The object that ``package.module:Attribute`` names.

    :param where: what asked for it, for the message.
    :raises ConfigError: if the text has another form, or the module lacks the attribute.
    :raises ImportError: if the module cannot be imported.
    """
    if not _TARGET.match(target):
        raise ConfigError(f"{where}: '{target}' must have the form package.module:attribute.")
    module_name, _, path = target.partition(":")
    module = importlib.import_module(module_name)
    found: object = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            file = getattr(
                module, "__file__", None
            )  # perhaps not the one that is meant: the standard library comes first
            place = f" It was read from {file}." if file else ""
            raise ConfigError(f"{where}: module '{module_name}' has no attribute '{path}'.{place}") from None
    return found


@dataclass(slots=True)
class Registry:
    """All tables of one session, built-in names and plugins' alike."""

    tables: dict[str, dict[str, Entry]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def add(self, kind: str, name: str, target: str, *, extra: str = "", summary: str = "") -> None:
        """Register a name.

        :param kind: ``backend``, ``instrument``, ``check``, ``sink``, ``importer`` or ``plot``.
        :param name: lower case; what users write.
        :param target: ``package.module:Attribute``, importable in the model's process too.
        :raises ConfigError: if the kind is unknown, the name is malformed or taken by something else.
        """
        if kind not in KINDS:
            raise UnknownNameError.build("registry.add", "kind", kind, KINDS)
        if not _NAME.match(name):
            raise ConfigError(
                f"registry.add: {kind} name '{name}' must be lower case letters, digits, '_' and '-', a letter first."
            )
        if not _TARGET.match(target):
            raise ConfigError(
                f"registry.add: {kind} '{name}': target '{target}' must have the form package.module:attribute."
            )
        entry = Entry(name=name, target=target, extra=extra, summary=summary)
        there = self.tables[kind].get(name)
        if there is not None and there.target != target:
            raise ConfigError(
                f"registry.add: {kind} '{name}' is taken by {there.target}; choose another name for {target}."
            )
        self.tables[kind][name] = entry

    def names(self, kind: str) -> list[str]:
        """The registered names of a kind, sorted."""
        return sorted(self.tables[kind])

    def entries(self, kind: str) -> Iterator[Entry]:
        """The entries of a kind in the order of registration."""
        return iter(self.tables[kind].values())

    def get(self, kind: str, name: str, where: str) -> Entry:
        """The entry of a name.

        :raises UnknownNameError: naming the known ones.
        """
        try:
            return self.tables[kind][name]
        except KeyError:
            raise UnknownNameError.build(where, kind, name, self.tables[kind]) from None

    def load(self, kind: str, name: str, where: str) -> object:
        """Import what a name stands for.

        :raises UnknownNameError: if it is not registered.
        :raises MissingExtraError: if it needs a package that is not installed.
        :raises ConfigError: if its module raises while it is imported.
        """
        entry = self.get(kind, name, where)
        try:
            return import_target(entry.target, f"{kind} '{name}'")
        except ModuleNotFoundError as error:
            raise missing_package(f"{kind} '{name}'", error.name or "?", entry.extra) from error
        except ConfigError:
            raise
        except FOREIGN_ERRORS as error:
            raise ConfigError(f"{kind} '{name}': {entry.target} cannot be imported: {described(error)}") from error

    def to_json(self) -> dict[str, dict[str, list[str]]]:
        """Plain data that :meth:`from_json` reads in the model's process."""
        return {
            kind: {e.name: [e.target, e.extra, e.summary] for e in table.values()}
            for kind, table in self.tables.items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, list[str]]]) -> Registry:
        """The registry that :meth:`to_json` wrote."""
        registry = cls()
        for kind, table in data.items():
            for name, (target, extra, summary) in table.items():
                registry.add(kind, name, target, extra=extra, summary=summary)
        return registry


def missing_package(what: str, package: str, extra: str) -> MissingExtraError:
    """The one line for a package that is not installed.

    :param extra: the pip requirement that brings it; empty if it is not one of ours.
    """
    step = f"pip install '{extra}'" if extra else f"install '{package}' or fix the import"
    if package == "torch":  # pip alone would take its CUDA build, gigabytes of it
        step = f"install torch first, in the build for your machine (https://pytorch.org), then {step}"
    return MissingExtraError(f"{what} needs the package '{package}', which is not installed: {step}.")
