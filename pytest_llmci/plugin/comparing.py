"""What this session's models are compared with: read when it is known which of them are measured, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.code_origin import prove_origin
from ..engine.interleaved import GATE_TAG, Against
from ..engine.old_environment import old_environment
from ..engine.reference import Candidate, Reference, reference_of_spec
from ..engine.revision import SettingsThen, reference_of_revision, split_revision
from ..engine.session import user_cache_dir
from ..errors import ConfigError
from ..store.checkout import Checkout
from .revision import gather_at

if TYPE_CHECKING:
    from ..records import Cell, Json
    from .armed import ArmedPlugin

REVISION = "git:"
"""Before a commit: ``--llmci-versus=git:origin/main``."""
AUTO = "auto"


class Comparing:
    """The reference of the session; holds its files until the session ends."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._plugin = plugin
        self._checkout: Checkout | None = None
        self.reference: Reference | None = None
        self.against: Against | None = None
        """What the engine compares with; None where nothing is compared."""

    @property
    def asked_for(self) -> str:
        """What the user named; empty if nothing is to be compared."""
        return ", ".join(one.text for one in self._plugin.settings.versus)

    def resolve(self, import_path: tuple[str, ...]) -> None:
        """Work out what the selected cells are compared with.

        :raises ConfigError: if it cannot be read, or would compare nothing.
        """
        cells = [cell for cell, _ in self._plugin.collected.selected.values()]
        self.close()
        if not self._plugin.settings.versus or not cells:
            return
        candidate = self._candidate(cells, import_path)
        self.reference = reference = self._read(candidate)
        if reference.nothing_to_compare:
            return
        against = Against(
            name=reference.name, specs=reference.specs,
            prompts=None if reference.prompts is None else {prompt.id: prompt for prompt in reference.prompts},
            settings=reference.settings, sys_path=reference.sys_path,
            start_in=str(reference.start_in) if reference.start_in else None, on_purpose=reference.on_purpose,
            changed_files=reference.changed,
            only_tagged=any(GATE_TAG in cell.prompt.tags for cell in cells), prove=self._prove,
        )  # fmt: skip
        self.against = replace(against, cells=sum(against.reference(cell) is not None for cell in cells))

    def _candidate(self, cells: list[Cell], import_path: tuple[str, ...]) -> Candidate:
        planner = self._plugin.planner
        return Candidate(
            specs=tuple({cell.model.alias: cell.model for cell in cells}.values()), settings=self._plugin.settings,
            registry=self._plugin.registry, places=planner.places, sys_path=import_path,
            prompts=tuple({cell.prompt.id: cell.prompt for cell in cells}.values()), marker_prompts=tuple(planner.marker_prompts),
        )  # fmt: skip

    def _read(self, candidate: Candidate) -> Reference:
        versus = self._plugin.settings.versus
        text, origin = versus[0].text, versus[0].origin
        if not text.startswith(REVISION):
            if self._plugin.settings.versus_python:
                raise ConfigError(f"{origin}: '{text}' has its environment in its own spec: write {text}+python=PATH.")
            return reference_of_spec(",".join(one.text for one in versus), origin, candidate)
        if len(versus) > 1:
            raise ConfigError(f"{origin}: a commit is the reference of every model; give '{text}' alone.")
        self._checkout = checkout = Checkout(
            candidate.places.settings, split_revision(text, origin)[0], f"{origin}={text}"
        )
        checkout.open()
        return reference_of_revision(
            text, origin, candidate, checkout, self._settings_at, environment=self._environment(checkout, candidate)
        )

    def _settings_at(self, checkout: Checkout) -> SettingsThen:
        return gather_at(self._plugin.config, checkout)

    def _environment(self, checkout: Checkout, candidate: Candidate) -> Path | None:
        wanted = self._plugin.settings.versus_python
        if not wanted:
            return None
        if wanted != AUTO:
            return candidate.places.command / Path(wanted).expanduser()
        folder = checkout.inside(candidate.places.settings) or checkout.folder
        return old_environment(folder, "--llmci-versus-python=auto", user_cache_dir(), self._plugin.observer.say)

    def _prove(self, info: dict[str, Json]) -> None:
        """Refuse a process of the reference that runs today's code."""
        if self._checkout is not None and self.reference is not None:
            prove_origin(info, self.reference, self._checkout.root)

    # ---------------------------------------------------------------------------------------------------------- words

    def notes(self) -> Iterator[str]:
        """What to tell before anything is measured."""
        reference = self.reference
        if reference is None:
            return
        yield from reference.notes
        if reference.nothing_to_compare:
            yield f"nothing to compare with {reference.name}: {reference.nothing_to_compare}"
        if self.against is not None and self.against.only_tagged:
            left = len(self._plugin.collected.selected) - self.against.cells
            yield f"only prompts tagged '{GATE_TAG}' are compared: {left} cells are left out"

    def close(self) -> None:
        """Remove the files of the commit; safe to call twice."""
        if self._checkout is not None:
            self._checkout.close()
            self._checkout = None
