"""One registered model in MLflow: its versions, its aliases, and what the tags of a version say of its decisions.

What a version was decided on stands in its tags, ``llmci.<alias>.``: ``decision`` (``approved``, ``refused``), ``reasons``,
``decided`` (when), ``against`` (the version that it was compared with), ``number`` (its place in the history of the alias) and
``withdrawn`` (when it was rolled back, and why). ``validation_status`` is the tag that MLflow's own pages use for it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import ConfigError, SinkError
from ..tracking.connection import Connection
from ..tracking.layout import LOG_TAG, MODEL_TAG, RUN_ID_TAG, cut

POINTER_TAG: Final = "llmci.pointer_sha256"
SPEC_TAG: Final = "llmci.spec"
REVISION_TAG: Final = "llmci.revision"
WEIGHTS_TAG: Final = "llmci.sha256"
COMMIT_TAG: Final = "llmci.commit"
STATUS_TAG: Final = "validation_status"
APPROVED: Final = "approved"
REFUSED: Final = "refused"
MOST_TAG: Final = 5000
"""Characters: what the oldest servers keep."""
MOST_HISTORY: Final = 20_000
_ALIAS: Final = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
_RESERVED: Final = re.compile(r"(latest|v\d+)\Z", re.IGNORECASE)
_MISSING: Final = "RESOURCE_DOES_NOT_EXIST"
_THERE: Final = "RESOURCE_ALREADY_EXISTS"
_PAGE: Final = 200
_MOST_NAMES: Final = 1000
_SHOWN: Final = 10


def check_alias(alias: str, where: str) -> None:
    """Refuse what MLflow takes for no alias.

    :raises ConfigError: that says why.
    """
    if not _ALIAS.match(alias) or _RESERVED.match(alias):
        raise ConfigError(
            f"{where}: '{alias}' is no alias; write letters, digits, '_' and '-', and neither 'latest' nor a version such as v3."
        )


def check_model_name(name: str, where: str) -> None:
    """Refuse what MLflow takes for no name of a registered model, or cannot search for.

    :raises ConfigError: that says why.
    """
    if not name.strip() or set(name) & set("/:'\"\\@") or not name.isprintable() or name in (".", ".."):
        raise ConfigError(
            f"{where}: '{name}' is no name of a registered model; write one without slashes, colons, '@' and quotation marks."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of a registered model."""

    name: str
    number: int
    source: str
    mlflow_run: str
    """The model's run in MLflow; empty where it was registered without one."""
    tags: Mapping[str, str] = field(repr=False)

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.name} version {self.number}"

    @property
    def is_ours(self) -> bool:
        """Whether a run of ours stands behind it."""
        return all(self.tags.get(tag) for tag in (RUN_ID_TAG, LOG_TAG, MODEL_TAG))

    def place(self, alias: str) -> int | None:
        """Where it stands in the history of an alias, from 1; None if it never was approved for it."""
        text = self.tags.get(f"llmci.{alias}.number", "")
        return int(text) if text.isdecimal() else None

    def withdrawn(self, alias: str) -> str:
        """When and why it was rolled back; empty if it was not, or was approved again since."""
        return self.tags.get(f"llmci.{alias}.withdrawn", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shelf:
    """What is registered under a name, at one moment."""

    tags: Mapping[str, str]
    aliases: Mapping[str, int]
    """Alias -> number of a version."""
    versions: Sequence[Version] = field(repr=False)
    """By number."""

    def version(self, number: int | None) -> Version | None:
        """The version of that number."""
        return next((each for each in self.versions if each.number == number), None)

    def holder(self, alias: str) -> Version | None:
        """The version that an alias stands for; None if there is no such alias."""
        return self.version(self.aliases.get(alias))

    def approved(self, alias: str) -> list[Version]:
        """Versions that an alias may be given back to, in the order in which they had it."""
        found = [each for each in self.versions if each.place(alias) is not None and not each.withdrawn(alias)]
        return sorted(found, key=lambda each: each.place(alias) or 0)

    def next_place(self, alias: str) -> int:
        """Of the next approved version in the history of an alias."""
        return 1 + max((each.place(alias) or 0 for each in self.versions), default=0)


class RegisteredModel:
    """The versions of one name in a store. Also the tags by which promotions take turns.

    :param where: the command or option that names it, for messages.
    :raises ConfigError: if the name can be none.
    """

    def __init__(self, connection: Connection, name: str, where: str) -> None:
        check_model_name(name, where)
        self.connection, self.name, self._where = connection, name, where

    # ---------------------------------------------------------------------------------------------------------- reading

    def find(self) -> Shelf | None:
        """What is registered; None if nothing of that name is.

        :raises SinkError: if the store does not answer.
        """
        try:
            model = self._ask("read the registered model", lambda client: client.get_registered_model(self.name))
        except SinkError as error:
            if _code(error) == _MISSING:
                return None
            raise
        aliases = {alias: int(number) for alias, number in dict(model.aliases or {}).items()}
        return Shelf(tags=dict(model.tags or {}), aliases=aliases, versions=tuple(self._versions()))

    def require(self) -> Shelf:
        """What is registered.

        :raises ConfigError: if nothing of that name is; it names what is.
        :raises SinkError: if the store does not answer.
        """
        found = self.find()
        if found is not None:
            return found
        names = self.connection.ask(
            "list the registered models",
            lambda client: [each.name for each in client.search_registered_models(max_results=_MOST_NAMES)],
        )
        near = difflib.get_close_matches(self.name, names, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        known = ", ".join(sorted(names)[:_SHOWN]) + more if names else "none"
        raise ConfigError(
            f"{self._where}: MLflow at {self.connection.shown} has no registered model '{self.name}'.{hint} Known: {known}."
            f" Register one: llmci promote {self.name}"
        )

    def require_alias(self, alias: str) -> tuple[Shelf, Version]:
        """What is registered, and the version that the alias stands for.

        :raises ConfigError: if there is no such name or alias; it names those that exist.
        :raises SinkError: if the store does not answer.
        """
        check_alias(alias, self._where)
        shelf = self.require()
        holder = shelf.holder(alias)
        if holder is None:
            aliases = ", ".join(f"{each} (version {number})" for each, number in sorted(shelf.aliases.items()))
            raise ConfigError(
                f"{self._where}: registered model '{self.name}' has no alias '{alias}'. It has {aliases or 'none'}."
                f" Set it: llmci promote {self.name} --alias {alias}"
            )
        return shelf, holder

    def read(self) -> Mapping[str, str]:
        """Tags of the name, for taking turns."""
        model = self._ask("read the registered model", lambda client: client.get_registered_model(self.name))
        return dict(model.tags or {})

    def _versions(self) -> Iterator[Version]:
        token: str | None = None
        found: list[Version] = []
        while True:
            page = self._ask(
                "list the versions of",
                lambda client, at=token: client.search_model_versions(
                    f"name='{self.name}'", max_results=_PAGE, page_token=at
                ),  # type: ignore[misc]  # the page of this turn
            )
            found += [_version(each) for each in page]
            token = page.token
            if not token:
                return iter(sorted(found, key=lambda each: each.number))

    # ---------------------------------------------------------------------------------------------------------- writing

    def create(self) -> bool:
        """Make the name known.

        :returns: False if it was already.
        """
        try:
            self._ask("register the model", lambda client: client.create_registered_model(self.name))
        except SinkError as error:
            if _code(error) == _THERE:
                return False
            raise
        return True

    def add_version(self, source: str, mlflow_run: str, tags: Mapping[str, str]) -> Version:
        """A new version, with its tags from the start."""
        given = {key: cut(value, MOST_TAG) for key, value in tags.items() if value}
        return _version(
            self._ask(
                "register a version of",
                lambda client: client.create_model_version(
                    self.name, source, run_id=mlflow_run, tags=given, await_creation_for=0
                ),
            )
        )  # fmt: skip

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version; an empty value takes one away."""
        for key, value in tags.items():
            if value or key in version.tags:
                self._tag(str(version.number), key, cut(value, MOST_TAG))

    def _tag(self, number: str, key: str, value: str) -> None:
        if value:
            self._ask("tag a version of", lambda client: client.set_model_version_tag(self.name, number, key, value))
        else:
            self._ask("tag a version of", lambda client: client.delete_model_version_tag(self.name, number, key))

    def move(self, alias: str, version: Version) -> None:
        """Let an alias stand for a version.

        :raises SinkError: if it does not afterwards, as where somebody moved it by hand at the same moment.
        """
        number = str(version.number)
        self._ask("move the alias of", lambda client: client.set_registered_model_alias(self.name, alias, number))
        there = self._ask("read the alias of", lambda client: client.get_model_version_by_alias(self.name, alias))
        if int(there.version) != version.number:
            raise SinkError(
                f"'{alias}' was set to version {version.number} of {self.name} and stands for version {there.version}: somebody else moved"
                " it at the same moment. Look at the model's page, and run this again."
            )

    def note(self, alias: str, line: str, tags: Mapping[str, str]) -> None:
        """Add a line to the history of an alias that people read, a tag of the name."""
        key = f"llmci.{alias}.history"
        lines = [*tags.get(key, "").splitlines(), line]
        while sum(map(len, lines)) + len(lines) > MOST_HISTORY:
            del lines[0]
        self.write(key, "\n".join(lines))

    def write(self, key: str, value: str) -> None:
        """Set a tag of the name."""
        self._ask("tag the registered model", lambda client: client.set_registered_model_tag(self.name, key, value))

    def delete(self, key: str) -> None:
        """Remove a tag of the name; it may be gone."""
        try:
            self._ask("tag the registered model", lambda client: client.delete_registered_model_tag(self.name, key))
        except SinkError as error:
            if _code(error) != _MISSING:
                raise

    def _ask(self, what: str, call: Callable[[Any], Any]) -> Any:
        return self.connection.ask(f"{what} '{self.name}'", call)


def _version(found: Any) -> Version:
    return Version(
        name=found.name, number=int(found.version), source=found.source or "", mlflow_run=found.run_id or "", tags=dict(found.tags or {})
    )  # fmt: skip


def _code(error: SinkError) -> str:
    """MLflow's name for what went wrong."""
    return str(getattr(error.__cause__, "error_code", ""))
