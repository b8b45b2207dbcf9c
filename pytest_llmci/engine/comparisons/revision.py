"""``git:REV`` as a reference: the repository's code, prompts and settings at another commit, in a worktree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ...backends.hub import is_local
from ...errors import ConfigError
from ...given import Given, resolve_settings
from ...prompts import load_prompts, split_source
from ...records import ModelSpec, Prompt
from ...settings import DEFAULT_SUITE_PROMPTS, Settings, Sourced
from ...specs import is_same_model, read_specs, rewritten, split_options
from ...store.checkout import Checkout
from ...testfiles.names import has_suffix
from ..places import Places
from ..testfile import prompts_of_file
from .code_origin import moved_path
from .differences import GENERATION_SETTINGS, notes, nothing_to_compare
from .reference import Candidate, Reference, absolute_python, check_loadable

SUBJECT_SETTINGS: Final = ("models", "prompts", *GENERATION_SETTINGS)
"""What is read at the old commit; rounds, limits and destinations are this session's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsThen:
    """The settings at the old commit."""

    given: Mapping[str, Given]
    """By the name of the option: command line and environment as today, files as they were."""
    folder: Path
    """Of the settings file, in the worktree."""


SettingsAt = Callable[[Checkout], SettingsThen]


def split_revision(text: str, where: str) -> tuple[str, dict[str, str]]:
    """``REV+key=value...`` behind ``git:``.

    :raises ConfigError: if a key is given twice.
    """
    return split_options(text.removeprefix("git:"), where)


def reference_of_revision(
    text: str,
    origin: str,
    candidate: Candidate,
    checkout: Checkout,
    settings_at: SettingsAt,
    *,
    environment: Path | None = None,
) -> Reference:
    """The repository at another commit.

    :param text: ``git:REV`` with ``+key=value`` pairs that hold for every model of the reference.
    :param origin: what named it, for messages: ``--llmci-versus``.
    :param checkout: of REV, open.
    :param settings_at: reads the settings in the worktree.
    :param environment: the virtual environment of the reference, where it has one of its own.
    :raises ConfigError: if what is measured cannot be read at that commit.
    """
    name, options = split_revision(text, origin)
    if environment is not None:
        options.setdefault("python", str(environment))
    where = f"{origin}={text}"
    then = settings_at(checkout)
    settings = _settings(candidate.settings, then.given, where)
    side = _Side(candidate=candidate, checkout=checkout, name=name, where=where, then=then, settings=settings)
    specs = side.specs(absolute_python(options, candidate.places.command))
    path = moved_path(
        candidate.sys_path, checkout, worktree_first=any("python" in spec.options for spec in specs.values())
    )
    try:
        check_loadable(specs.values(), candidate, path)
    except ConfigError as error:
        raise ConfigError(
            f"{where}: {error} (in the files of {checkout.facts.short}: compare with a commit that can run it, or leave the model out)"
        ) from error
    found = Reference(
        name=name, specs=specs, prompts=side.prompts(), settings=settings, sys_path=path, folder=checkout.folder,
        start_in=checkout.inside(candidate.places.command), changed=checkout.facts.changed,
        on_purpose={alias: tuple(sorted(options)) for alias in specs},
    )  # fmt: skip
    same = "" if side.other_models else nothing_to_compare(candidate, checkout, found)
    return replace(found, notes=(*notes(candidate, checkout, found), *side.notes), nothing_to_compare=same)


def _settings(today: Settings, given: Mapping[str, Given], where: str) -> Settings:
    try:
        then = resolve_settings({name: given[name] for name in SUBJECT_SETTINGS if name in given}, ())
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    kept = {key: value for key, value in today.origins.items() if key not in SUBJECT_SETTINGS}
    old = {name: getattr(then, name) for name in SUBJECT_SETTINGS}
    return replace(today, **old, origins={**kept, **then.origins})


@dataclass(kw_only=True, slots=True)
class _Side:
    """The old side while it is worked out."""

    candidate: Candidate
    checkout: Checkout
    name: str
    where: str
    then: SettingsThen
    settings: Settings
    notes: list[str] = field(default_factory=list)
    other_models: bool = False
    """Whether a model is another one, or in other files."""

    @property
    def places(self) -> Places:
        command = self.candidate.places.command
        return Places(command=self.checkout.inside(command) or command, settings=self.then.folder)

    def specs(self, options: Mapping[str, str]) -> dict[str, ModelSpec]:
        """Alias -> the model at the old commit, for those that this session measures."""
        old = {spec.alias: spec for spec in self._read(self.settings, self.places)}
        today = {spec.alias for spec in self._read(self.candidate.settings, self.candidate.places)}
        found: dict[str, ModelSpec] = {}
        for spec in self.candidate.specs:
            # A marker's model is named in the test, and the tests are today's.
            then = old.get(spec.alias, None if spec.alias in today else spec)
            if then is not None:
                asked = replace(then, options={**then.options, **options})
                found[spec.alias] = self._located(asked)
                self.other_models |= not is_same_model(asked, spec) or self._has_changed(found[spec.alias])
        new = [spec.alias for spec in self.candidate.specs if spec.alias not in found]
        if not found:
            raise ConfigError(
                f"{self.where}: none of the models of this session ({', '.join(new) or 'none'}) is in the settings of that commit"
                f" ({', '.join(old) or 'none'}): name one that both have with --llm-models."
            )
        if new:
            self.notes.append(f"new since {self.name}, so not compared: {', '.join(new)}")
        return found

    def _read(self, settings: Settings, places: Places) -> tuple[ModelSpec, ...]:
        texts = [(model.text, model.origin) for model in settings.models]
        base = places.of(texts[0][1]) if texts else places.settings
        return read_specs(texts, self.candidate.registry.names("backend"), base)

    def _located(self, spec: ModelSpec) -> ModelSpec:
        """The spec with its files in the worktree."""
        options = {
            key: self._option(key, value)
            for key, value in absolute_python(spec.options, self.candidate.places.command).items()
        }
        target = spec.target
        if spec.backend not in ("py", "echo") and target and self._is_local(target):
            target = str(self._file(target, f"model '{spec.text}'"))
        return rewritten(replace(spec, target=target, options=options))

    def _has_changed(self, spec: ModelSpec) -> bool:
        """Whether a file of the model in the repository is another one today."""
        changed = [self.checkout.folder / name for name in self.checkout.facts.changed]
        named = [Path(text) for text in (spec.target, *spec.options.values())]
        return any(file.is_relative_to(place) for file in changed for place in named)

    def _is_local(self, target: str) -> bool:
        return is_local(target) or (self.candidate.places.command / target).is_dir()

    def _option(self, key: str, value: str) -> str:
        """An option that is a path of the repository, such as ``+adapter=./lora``."""
        if key == "python" or "/" not in value or not (self.candidate.places.command / value).exists():
            return value
        return str(self._file(value, f"+{key}={value}"))

    def _file(self, text: str, what: str) -> Path:
        """Where a file or folder of today is in the worktree; itself, where the repository does not hold it."""
        today = self.candidate.places.command / Path(text).expanduser()
        return self._moved(today, what) or today

    def _moved(self, today: Path, what: str) -> Path | None:
        """The counterpart of a file or folder; None where the file of today is the one to take.

        :raises ConfigError: if the commit has none, or only its pointer.
        """
        then = self.checkout.inside(today)
        if then is None:
            return None
        inside = then.relative_to(self.checkout.folder).as_posix()
        if then.exists():
            pointer = next(
                (each for each in self.checkout.pointers if each == inside or each.startswith(f"{inside}/")), None
            )
            if pointer:
                raise ConfigError(
                    f"{self.where}: {what}: of '{pointer}' there is only the pointer of Git LFS; run git lfs fetch"
                    f" origin {self.checkout.facts.commit}."
                )
            return then
        if today.exists() and not self.checkout.is_tracked(today):
            self.notes.append(f"'{inside}' is not in the repository: both sides use the file of today")
            return None
        raise ConfigError(
            f"{self.where}: {what}: there is no '{inside}' at {self.checkout.facts.short}; compare with a commit that has it, or give it"
            " another name or place with the settings of that commit."
        )

    def prompts(self) -> tuple[Prompt, ...]:
        """Every prompt as it was.

        :raises ConfigError: if none of this session's is among them.
        """
        candidate, found = self.candidate, list[Prompt]()
        for source in self.settings.prompts:
            found += self._prompts_of(source, self._today(self.then.folder))
        for source in candidate.marker_prompts:
            found += self._prompts_of(source, candidate.places.settings)
        if "inference" in self.settings.suites and not self.settings.prompts:
            found += load_prompts(DEFAULT_SUITE_PROMPTS, "--llmci-suite")
        if candidate.prompts and {prompt.id for prompt in found}.isdisjoint(prompt.id for prompt in candidate.prompts):
            raise ConfigError(
                f"{self.where}: no prompt of this session is among those of that commit; name a set that both have with --llm-prompts."
            )
        return tuple(dict.fromkeys(found))

    def _prompts_of(self, source: Sourced, folder: Path) -> tuple[Prompt, ...]:
        """:param folder: of today, that a relative path starts from where it is not on the command line."""
        where = f"{self.where}: {source.origin}"
        base = self.candidate.places.command if source.origin.startswith("--") else folder
        file, _ = split_source(source.text, where, base)
        if not Path(file).suffix and not set("/\\") & set(file):
            return load_prompts(source.text, where, make_id=self.candidate.make_id)
        today = base / Path(file).expanduser()
        if self._is_new(today):
            self.notes.append(f"new since {self.name}, so not compared: the prompts of '{source.text}'")
            return ()
        then = self._moved(today, f"prompt file '{file}'") or today
        if has_suffix(file):
            return prompts_of_file(then, source.origin, where, make_id=self.candidate.make_id)
        return tuple(
            replace(prompt, source=prompt.source.replace(str(then), file))
            for prompt in load_prompts(str(then) + source.text[len(file) :], where, make_id=self.candidate.make_id)
        )

    def _today(self, folder: Path) -> Path:
        """The counterpart in the working tree of a folder in the worktree."""
        top = self.checkout.folder
        return self.checkout.root / folder.relative_to(top) if folder.is_relative_to(top) else folder

    def _is_new(self, today: Path) -> bool:
        then = self.checkout.inside(today)
        return then is not None and not then.exists() and today.exists() and self.checkout.is_tracked(today)
