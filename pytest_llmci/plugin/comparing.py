"""What this session's models are compared with: read when it is known which of them are measured, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ..clock import SystemClock
from ..engine.benchmark import TaskMeasurement
from ..engine.cache_dir import user_cache_dir
from ..engine.comparisons.against import GATE_TAG, Against
from ..engine.comparisons.against_baseline import BaselineRules, StoredBaseline
from ..engine.comparisons.code_origin import own_modules, prove_origin
from ..engine.comparisons.compare_questions import absent, compare_sides, side_of, side_of_baseline
from ..engine.comparisons.comparison import Accept
from ..engine.comparisons.old_environment import old_environment
from ..engine.comparisons.reference import Candidate, Reference, reference_of_spec
from ..engine.comparisons.revision import SettingsThen, reference_of_revision, split_revision
from ..errors import ConfigError, StoreError
from ..runner.placement import threads_of
from ..specs import is_same_model
from ..stats.looks import SESSION_ALPHA
from ..store.accepted import accepting, read_accepted
from ..store.baseline_file import is_name
from ..store.baseline_folder import Chosen, choose, list_baselines
from ..store.baseline_record import Origin, protocol_differences
from ..store.checkout import Checkout
from ..store.comparability import Difference, Part, environment_part, machine_part, planned_protocol
from ..store.environment import environment
from ..text import one_line
from .not_comparing import NotComparing
from .revision import gather_at

if TYPE_CHECKING:
    from ..records import Cell, GenerationSettings, Json, Prompt
    from .armed import ArmedPlugin

REVISION = "git:"
"""Before a commit: ``--llmci-versus=git:origin/main``."""
AUTO = "auto"
MOST_NAMED = 5
MEASURED_BY = frozenset({"torch", "transformers", "tokenizers", "accelerate", "numpy", "pytest-llmci", "pytest_llmci"})
"""Packages that may change a number; a baseline that was measured with others is not what today's environment would measure."""


class Comparing(NotComparing):
    """The reference of the session; holds its files until the session ends."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._plugin = plugin
        self._checkout: Checkout | None = None
        self.reference: Reference | None = None
        self._notes: list[str] = []

    @property
    def asked_for(self) -> str:
        named = [one.text for one in self._plugin.settings.versus]
        return ", ".join([*named, *(f"baseline {name}" for name, _ in self._plugin.planner.baselines)])

    def resolve(self, import_path: tuple[str, ...]) -> None:
        cells = [cell for cell, _ in self._plugin.collected.selected.values()]
        self.close()
        self._note_late()
        if self._plugin.settings.versus and self._plugin.collected.selected_tasks:
            self._refuse_tasks(with_cells=bool(cells))
        if not cells or not (self._plugin.settings.versus or self._plugin.planner.baselines):
            return
        today = SystemClock().utc().date()
        accepted = accepting(self._plugin.planner.baselines_folder, today)
        self._note_expired(cells, today)
        candidate = self._candidate(cells, import_path)
        found = [self._baseline(name, chosen, cells) for name, chosen in self._plugin.planner.baselines]
        every = stored = [each for each in found if each is not None]
        if self._plugin.settings.versus:
            self.reference = self._read(candidate)
        elif stored:
            stored = self._measured_again(stored, candidate)
        self._note_lost_cells()
        again = [each for each in every if each not in stored and each.chosen.record.cells_with_memory_pass]
        if stored or again:
            self.baselines = BaselineRules(
                baselines=stored,
                memory_of=again,
                cells=len(cells) + self._plugin.collected.elsewhere,
                detect=self._plugin.settings.detect,
                accepted=accepted,
                environment=environment,
            )
        self._settle(cells, accepted)

    def _note_late(self) -> None:
        """Cells that are known only when their tests run are in no schedule, and have no other side."""
        late = len(self._plugin.collected.selected_late)
        if late and self.asked_for:
            what = (
                "1 test whose fixtures change its prompt is"
                if late == 1
                else f"{late} tests whose fixtures change their prompts are"
            )
            self._notes.append(f"{what} measured and not compared")

    def _refuse_tasks(self, *, with_cells: bool) -> None:
        """Answers to benchmark tasks do not drift with the machine's load: nothing is won by asking both sides alternately.

        :raises ConfigError: if nothing else would be compared.
        """
        origin = self._plugin.settings.origins.get("versus", "--llmci-versus")
        instead = "keep the other side's answers with --llmci-save-baseline and compare with --llmci-baseline"
        if not with_cells:
            raise ConfigError(f"{origin}: it measures cells in rounds and no benchmark tasks; {instead}.")
        self._notes.append(f"benchmark tasks are not compared by {origin}: {instead}")

    def compare_task(self, measurement: TaskMeasurement) -> None:
        planner, answers, cell = self._plugin.planner, measurement.answers, measurement.cell
        if measurement.error is not None or not answers.is_complete:
            return
        collected = self._plugin.collected
        tests = len(collected.selected_tasks) + len(collected.selected) + collected.elsewhere
        alpha = SESSION_ALPHA / max(1, tests * len(planner.baselines))
        info = self._plugin.session.load(cell.model).info
        now = side_of(answers, environment_part(environment(), info).facts)
        for name, chosen in planner.baselines:
            tasks = chosen.record.newest.tasks
            stored = next(
                (task for task in tasks if (task.model, task.task) == (cell.model.alias, cell.test.name)), None
            )
            if stored is None:
                result = absent("new", name, f"{name} has no answers of {cell.model.alias} to {cell.test.name}")
            else:
                there = side_of_baseline(stored, chosen.record.environment)
                result = compare_sides(there, now, against=name, alpha=alpha)
            measurement.comparisons.append(result)

    def _told_of(self, changed: Sequence[str]) -> tuple[str, ...]:
        """Without baselines: one is committed after what it was measured of, and no answer depends on it."""
        if self._checkout is None:
            return tuple(changed)
        top, kept = self._checkout.root.resolve(), self._plugin.planner.baselines_folder.resolve()
        return tuple(name for name in changed if not (top / name).is_relative_to(kept))

    def _settle(self, cells: list[Cell], accepted: Accept) -> None:
        reference = self.reference
        if reference is None or reference.nothing_to_compare:
            return
        against = Against(
            name=reference.name, specs=reference.specs,
            prompts=None if reference.prompts is None else _by_id(reference.prompts),
            settings=reference.settings, sys_path=reference.sys_path,
            start_in=str(reference.start_in) if reference.start_in else None, on_purpose=reference.on_purpose,
            changed_files=self._told_of(reference.changed),
            accepted=accepted,
            only_tagged=any(GATE_TAG in cell.prompt.tags for cell in cells),
            prove=self._prove if self._checkout is not None else None, own_modules=own_modules(reference),
        )  # fmt: skip
        compared = sum(against.reference(cell) is not None for cell in cells)
        if not compared:
            origin = self._plugin.settings.origins.get("versus" if self._plugin.settings.versus else "baseline", "")
            which = f"prompts tagged '{GATE_TAG}'" if against.only_tagged else "cells"
            raise ConfigError(
                f"{origin}: nothing would be compared: {reference.name} has none of the {which} of this session; take some that both"
                " sides have."
            )
        self.against = replace(against, cells=compared + self._plugin.collected.elsewhere)

    def _candidate(self, cells: list[Cell], import_path: tuple[str, ...]) -> Candidate:
        planner, collected = self._plugin.planner, self._plugin.collected
        selected = {cell.prompt.id for cell in cells}
        known = {prompt.id for prompt in (*planner.prompts, *planner.suite_prompts)}
        known.update(cell.prompt.id for cell, _ in collected.cells.values())
        return Candidate(
            specs=tuple({cell.model.alias: cell.model for cell in cells}.values()), settings=self._plugin.settings,
            registry=self._plugin.registry, places=planner.places, sys_path=import_path,
            prompts=tuple({cell.prompt.id: cell.prompt for cell in cells}.values()), marker_prompts=tuple(planner.marker_prompts),
            unselected=frozenset(known - selected),
            make_id=self._plugin.redactor.prompt_id,
        )  # fmt: skip

    def _read(self, candidate: Candidate) -> Reference:
        versus = self._plugin.settings.versus
        text, origin = versus[0].text, versus[0].origin
        if not text.startswith(REVISION):
            if self._plugin.settings.versus_python:
                raise ConfigError(f"{origin}: '{text}' has its environment in its own spec: write {text}+python=PATH.")
            if again := self._again(text, origin, candidate):
                return again
            try:
                return reference_of_spec(",".join(one.text for one in versus), origin, candidate)
            except ConfigError as error:
                raise ConfigError(f"{error}{self._nor_a_baseline(text)}") from error
        if len(versus) > 1:
            raise ConfigError(f"{origin}: a commit is the reference of every model; give '{text}' alone.")
        return self._revision(text, origin, candidate)

    def _nor_a_baseline(self, text: str) -> str:
        """For what may have been meant as the name of one: those that there are."""
        known = sorted({file.name for file in list_baselines(self._plugin.planner.baselines_folder)})
        return f" Nor is '{text}' a baseline: there are {', '.join(known)}." if known and is_name(text) else ""

    def _again(self, name: str, origin: str, candidate: Candidate) -> Reference | None:
        """The baseline of that name as a reference; None if there is none of that name, as where it is the path of a model.

        :raises ConfigError: if it cannot be measured again.
        """
        folder = self._plugin.planner.baselines_folder
        if name not in {file.name for file in list_baselines(folder)}:
            return None
        try:
            chosen = choose(folder, name, machine_part(environment()))
        except StoreError as error:
            raise ConfigError(f"{origin}: {error}") from error
        baseline = StoredBaseline(name=name, chosen=chosen)
        why = self._why_stored(baseline, candidate)
        if why:
            raise ConfigError(
                f"{origin}: baseline {name} cannot be measured again, as {why}; compare with its numbers: --llmci-baseline={name}."
            )
        return self.reference

    def _revision(self, text: str, origin: str, candidate: Candidate) -> Reference:
        self._checkout = checkout = Checkout(
            candidate.places.settings, split_revision(text, origin)[0], f"{origin}={text}"
        )
        checkout.open()
        return reference_of_revision(
            text, origin, candidate, checkout, self._settings_at, environment=self._environment(checkout, candidate)
        )

    def _baseline(self, name: str, chosen: Chosen, cells: list[Cell]) -> StoredBaseline | None:
        """A baseline, once it is known that something can be compared with it; None where nothing can, and this session renews it.

        :raises ConfigError: if it has none of the cells, or all of them ask something else.
        """
        origin = self._plugin.settings.origins.get("baseline", "--llmci-baseline")
        where = f"{origin}: baseline {name}"
        plans = {cell.id: (cell, plan) for cell, plan in self._plugin.collected.selected.values()}
        found = {
            cell_id: protocol_differences(chosen.record, cell_id, self._asked(cell, plan.generation))
            for cell_id, (cell, plan) in plans.items()
        }
        common = {cell_id: differences for cell_id, differences in found.items() if differences is not None}
        if all(common.values()) and self._plugin.planner.is_made_here(name):
            self._notes.append(
                f"baseline {name} has none of these cells, or asked something else: nothing is compared with it"
            )
            return None
        if not common:
            known = ", ".join(sorted({cell.id for cell in chosen.record.newest.cells})[:MOST_NAMED])
            raise ConfigError(
                f"{where} has none of the {len(cells)} cells of this session; it has {known}. Give the models the same alias= and take"
                f" the same prompts, or renew it: {chosen.renewal}"
            )
        if all(common.values()):
            told = dict.fromkeys(
                _told(each, plans[cell_id][0]) for cell_id, differences in common.items() for each in differences or ()
            )
            raise ConfigError(
                f"{where} asked something else: {'; '.join(list(told)[:MOST_NAMED])}. Use the same settings and prompts, or renew it:"
                f" {chosen.renewal}"
            )
        if chosen.differences:
            told = dict.fromkeys(map(str, chosen.differences))
            self._notes.append(
                f"baseline {name} was saved on other hardware ({'; '.join(told)}): times are not compared, all else is"
            )
        return StoredBaseline(name=name, chosen=chosen)

    def _note_lost_cells(self) -> None:
        """What a baseline has of this session's models and no test measures any more; where paths were given, nobody can tell."""
        collected, config = self._plugin.collected, self._plugin.config
        collected.lost_cells = []
        if collected.left_out_by or config.args_source is config.ArgsSource.ARGS:
            return
        there = {cell.id for cell, _ in collected.cells.values()}
        for name, chosen in self._plugin.planner.baselines:
            if self._plugin.planner.is_made_here(name):
                continue
            cells = chosen.record.newest.cells
            lost = list(
                dict.fromkeys(cell.id for cell in cells if cell.model in collected.models and cell.id not in there)
            )
            if lost:
                more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
                collected.lost_cells.append(
                    f"lost coverage: baseline {name} has {', '.join(lost[:MOST_NAMED])}{more}, which no test measures any more"
                    f" (if meant, renew it: {chosen.renewal})"
                )

    def _note_expired(self, cells: list[Cell], today: date) -> None:
        """Which changes of this session's cells were meant once."""
        names = {*(cell.id for cell in cells), *(cell.model.alias for cell in cells)}
        self._notes += [
            f"no longer accepted, as the time is over: {entry}"
            for entry in read_accepted(self._plugin.planner.baselines_folder).expired(today)
            if any(entry.covers(name, entry.metric) for name in names)
        ]

    def _asked(self, cell: Cell, generation: GenerationSettings) -> Part:
        settings = self._plugin.settings
        threads = threads_of(cell.model, settings.threads)
        return planned_protocol(cell.prompt, generation, isolation=settings.isolation, threads=threads)

    def _measured_again(self, stored: list[StoredBaseline], candidate: Candidate) -> list[StoredBaseline]:
        """Measure the first baseline that can be again beside the candidate; the others are compared by their numbers."""
        kept = []
        for baseline in stored:
            why = (
                "another baseline is measured again already"
                if self.reference
                else self._why_stored(baseline, candidate)
            )
            if not why:
                self._notes.append(f"baseline {baseline.name} is measured again, alternately with the candidate")
                continue
            self._notes.append(f"baseline {baseline.name}: stored numbers, as {why}{self._beside(baseline.chosen)}")
            kept.append(baseline)
        return kept

    def _beside(self, chosen: Chosen) -> str:
        """Whether its times can be taken beside those of the frozen model, where one of the two sessions has them."""
        asked, record = self._plugin.settings.anchor, chosen.record
        timed = any(cell.protocol.get("anchor") for cell in record.newest.cells)
        if chosen.differences or not (asked or timed):
            return ""
        if asked != timed:
            which = "this session alone has" if asked else "it alone has"
            return f"; times as they were measured: {which} those of a frozen model beside them (--llmci-anchor)"
        if len(record.sessions) > 1:
            return f"; its {len(record.sessions)} sessions tell what sessions differ by, and times stay as they were measured"
        return "; each time is divided by that of the frozen model beside it"

    def _why_stored(self, baseline: StoredBaseline, candidate: Candidate) -> str:
        """Why a baseline is not measured again; empty where its reference is ready."""
        origin = baseline.chosen.record.newest.origin
        if candidate.settings.isolation == "inline":
            return "both sides need processes of their own (--llmci-isolation=worker)"
        if changed := _other_environment(origin):
            return f"{', '.join(map(str, changed))} since then"
        if baseline.chosen.registered:
            why, is_ready = self._registered_model(baseline, candidate)
            if why or is_ready:
                return why
        if origin.commit is None:
            return "it was saved outside of a git repository"
        if origin.dirty:
            return "it was saved with uncommitted changes"
        text, where = f"{REVISION}{origin.commit}", f"--llmci-baseline={baseline.name}"
        try:
            reference = self._revision(text, where, candidate)
        except ConfigError as error:
            self.close()
            return f"its commit cannot be measured again: {one_line(str(error)).removeprefix(f'{where}={text}: ')}"
        if reference.nothing_to_compare:
            self.close()
            return f"nothing in the repository that is measured has changed since ({reference.nothing_to_compare})"
        self.reference = replace(reference, name=baseline.name)
        return ""

    def _registered_model(self, baseline: StoredBaseline, candidate: Candidate) -> tuple[str, bool]:
        """Make a promoted model the reference where this session measures another one under its alias.

        :returns: why its stored numbers are taken, and whether the reference is ready. Neither, where the models are the same, so
            that only the code can differ.
        """
        from ..promotion.weights import why_not_the_same_weights

        own = {spec.alias: spec for spec in candidate.specs}
        models = [model for model in baseline.chosen.record.newest.models if model.alias in own]
        for model in models:
            if why := why_not_the_same_weights(model.spec, model.subject):
                return why, False
        others = [model.spec for model in models if not is_same_model(model.spec, own[model.alias])]
        if not others:
            return "", False
        text = ",".join(spec.text for spec in others)
        try:
            reference = reference_of_spec(text, f"--llmci-baseline={baseline.name}", candidate)
        except ConfigError as error:
            return f"its model cannot be measured again: {one_line(str(error))}", False
        # What was asked must be the same, also where the two specs ask for it.
        self.reference = replace(reference, name=baseline.name, on_purpose={})
        self._notes.append(f"{baseline.name} is {text}: both models run with the code of today")
        return "", True

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
        yield from self._notes
        reference = self.reference
        if reference is None:
            return
        yield from reference.notes
        if reference.nothing_to_compare:
            yield f"nothing to compare with {reference.name}: {reference.nothing_to_compare}"
        if self.against is not None and self.against.only_tagged:
            collected = self._plugin.collected
            left = len(collected.selected) + collected.elsewhere - self.against.cells
            yield f"only prompts tagged '{GATE_TAG}' are compared: {left} cells are left out"

    def close(self) -> None:
        if self._checkout is not None:
            self._checkout.close()
            self._checkout = None


def _other_environment(then: Origin) -> list[Difference]:
    """What changed since, of that which both sides of a session would be measured with. A Python of the same series is the same."""
    facts = environment()
    packages = facts.get("packages")
    today = Part(packages if isinstance(packages, dict) else {})
    changed = [each for each in Part(then.packages).differences(today) if each.name in MEASURED_BY]
    old, new = (python.split(".")[:2] for python in (then.python, str(facts["python"])))
    return [Difference("python", then.python, facts["python"]), *changed] if then.python and old != new else changed


def _told(difference: Difference, cell: Cell) -> str:
    """A difference in words; of a prompt, whose hashes say nothing, which one it is."""
    return f"another text of prompt '{cell.prompt.id}'" if difference.name == "prompt_sha256" else str(difference)


def _by_id(prompts: Iterable[Prompt]) -> dict[str, list[Prompt]]:
    found: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        found.setdefault(prompt.id, []).append(prompt)
    return found
