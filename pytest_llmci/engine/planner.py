"""From settings and markers to cells and plans: everything that can be known, and refused, before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import measure
from ..checks import parse_check
from ..checks.combined import models_of, needs_reference, text_of
from ..errors import ConfigError, StoreError, UnknownNameError
from ..matrix import cell_id, check_prompt_ids, expand
from ..measure.anchor import ANCHOR_METRICS
from ..measure.memory import GROWTH
from ..measure.starts import START_TIMES
from ..metrics import MetricDef
from ..prompts import load_prompts
from ..records import Cell, GenerationSettings, ModelSpec, Prompt, Scenario
from ..registry import Registry
from ..settings import DEFAULT_SUITE_PROMPTS, SUITE_MAX_NEW_TOKENS, TEST_MAX_NEW_TOKENS, Settings, Sourced
from ..slugs import slug
from ..specs import ModelNames, read_specs
from ..stats.budget_expression import (
    Budget,
    check_contradictions,
    matching,
    max_latency_budget,
    max_memory_budget,
    parse_budget,
)
from ..store.environment import environment
from ..text import one_line
from .limits import Preflight
from .load_cells import LOAD, LoadCells
from .marker_values import OF_GENERATION, MarkerValues
from .places import Places
from .schedule import CellPlan, least_answers

if TYPE_CHECKING:
    from ..cost.chosen import ChosenPrices
    from ..store.baseline_folder import Chosen
    from ..store.comparability import Part
    from ..tasks.loading import TaskTest
    from .task_cell import TaskCell

DEFAULT_CHECKS = ("valid",)
INFERENCE = "inference"
"""The built-in suite of timed cells."""
MEMORY_ROUNDS = 3
"""Of a memory pass; they differ by no more than the kernel's counters hide (``peak_rss_resolution_bytes``)."""


class Planner:
    """Reads models, prompts and budgets of a session, and plans its cells.

    :raises ConfigError: on everything that is wrong with the settings, one line each.
    """

    def __init__(
        self, settings: Settings, registry: Registry, places: Places, sys_path: Sequence[str],
        *, registered: Mapping[str, Path] | None = None, make_id: Callable[[str], str] = slug,
        measuring: str = "",
    ) -> None:  # fmt: skip
        """:param registered: baseline as it was asked for -> its file, of those that are not files by themselves.

        :param make_id: makes of the text of a prompt without an id one.
        :param measuring: the command that measures all of this, for advice; empty where there is none.
        """
        self._make_id = make_id
        self._measuring = measuring
        self._settings = settings
        self._registered = registered or {}
        self._registry = registry
        self.places = places
        self._limits = Preflight(
            registry, sys_path, isolation=settings.isolation, threads=settings.threads, memory=settings.memory, asks=not settings.replay,
        )  # fmt: skip
        self.prices = self._chosen_prices() if settings.prices else None
        self._parsed: dict[str, Budget] = {}
        self._opened: dict[str, ModelSpec] = {}
        self._suite_plans: dict[tuple[Prompt, tuple[Budget, ...], bool], CellPlan] = {}
        self._test_plans: dict[tuple[MarkerValues, Prompt, tuple[Budget, ...], bool], CellPlan] = {}
        self._checked: dict[str, tuple[str, bool]] = {}
        """Check as it was written -> its text in its own spelling, and whether it needs the prompt's reference."""
        self.metrics: dict[str, MetricDef] = {metric.name: metric for metric in measure.metric_defs(registry)}
        if self.prices is not None:
            self.metrics[self.prices.metric.name] = self.prices.metric
        if settings.anchor:
            self.metrics.update((metric.name, metric) for metric in ANCHOR_METRICS)
        self.budgets = self._session_budgets()
        self._loads = LoadCells(settings)
        self.notes: list[str] = []
        """What people should know of the settings, one line each."""
        self.baselines = self._chosen_baselines()
        """(As it was asked for, what was found) of each baseline to compare with."""
        self._with_memory_pass = frozenset[str]().union(
            *(chosen.record.cells_with_memory_pass for _, chosen in self.baselines)
        )
        """Ids of cells whose baseline holds a memory pass, which asks for one."""
        self.names = ModelNames()
        """To be told of the model of every test that will run."""
        self.specs = self._read_specs([(model.text, model.origin) for model in settings.models])
        for spec in self.specs:
            self.names.note(spec, "the session's models")
        self.prompts = self.load_prompts([(prompt.text, prompt.origin) for prompt in settings.prompts])
        self._check_comparison()
        self.marker_prompts: list[Sourced] = []
        """Prompt sets and files that markers name."""
        self.tasks: tuple[TaskTest, ...] = self._task_tests()
        """What the benchmark tasks of the session ask, a test each."""
        self.suite_prompts: tuple[Prompt, ...] = ()
        if INFERENCE in settings.suites or LOAD in settings.suites:
            self.suite_prompts = self.prompts or self.load_prompts([(DEFAULT_SUITE_PROMPTS, "--llmci-suite")])
        for check in settings.checks:
            self._read_check(check.text, check.origin)

    @property
    def output_folder(self) -> Path:
        """Where run folders go."""
        return self.places.of(self._settings.origins.get("output", "--")) / self._settings.output

    @property
    def baselines_folder(self) -> Path:
        """Where baselines are kept."""
        return self.places.of(self._settings.origins.get("baselines", "")) / self._settings.baselines

    # What few sessions ask for is imported where it is.

    def _chosen_prices(self) -> ChosenPrices:
        from ..cost.chosen import choose_prices

        return choose_prices(self._settings.prices, self.places.of)

    def _chosen_baselines(self) -> list[tuple[str, Chosen]]:
        """Those to compare with; those to be written must have a name."""
        wanted = self._settings.baseline
        to_write = ("save_baseline", "update_baseline")
        if not wanted and not any(getattr(self._settings, option) for option in to_write):
            return []
        from ..store.baseline_file import check_name
        from ..store.comparability import machine_part

        for option in to_write:
            if name := getattr(self._settings, option):
                check_name(name, self._settings.origins[option])
        here = machine_part(environment()) if wanted else machine_part({})
        found = []
        for asked in wanted:
            try:
                chosen = self._chosen(asked, here)
            except (ConfigError, StoreError) as error:
                if isinstance(error, ConfigError) and self.is_made_here(asked.text):
                    self.notes.append(f"there is no baseline {asked.text} yet: nothing is compared with it")
                    continue
                raise ConfigError(f"{asked.origin}: {error}") from error
            found.append((chosen.name, chosen))
        return found

    def is_made_here(self, name: str) -> bool:
        """Whether this session writes the baseline, and only its usual settings compare with it: then it need not be there or fit."""
        from ..store.baseline_folder import is_path

        s = self._settings
        is_meant = s.save_baseline == name or (bool(s.save_baseline) and is_path(name))
        return is_meant and not s.origins.get("baseline", "--").startswith("--")

    def _chosen(self, asked: Sourced, here: Part) -> Chosen:
        from ..store.baseline_folder import choose

        file = self._registered.get(asked.text)
        if file is None:
            return choose(
                self.baselines_folder, asked.text, here, base=self.places.of(asked.origin), measuring=self._measuring
            )
        name = asked.text.partition(":")[2]
        return choose(self.baselines_folder, str(file), here, registered=name)

    def _session_budgets(self) -> tuple[Budget, ...]:
        s = self._settings
        found = [parse_budget(b.text, b.origin, self.metrics) for b in s.budgets]
        found += [max_latency_budget(b.text, b.origin, self.metrics) for b in s.max_latency]
        found += [max_memory_budget(b.text, b.origin, self.metrics) for b in s.max_memory]
        check_contradictions(found)
        return tuple(found)

    def _read_specs(self, texts: Sequence[tuple[str, str]]) -> tuple[ModelSpec, ...]:
        return self._checked_specs(texts, self.places.of(texts[0][1]) if texts else self.places.settings)

    def _checked_specs(self, texts: Sequence[tuple[str, str]], base: Path) -> tuple[ModelSpec, ...]:
        specs = read_specs(texts, self._registry.names("backend"), base, self._note_repeated)
        for spec in specs:
            self._limits.check(spec, matching(self.budgets, spec.alias))
        return specs

    def _note_repeated(self, spec: ModelSpec, where: str) -> None:
        again = spec.text.removeprefix(f"{spec.alias}=")
        note = f"{where}: '{spec.alias}' is named more than once and measured once; a name of its own measures it again: again={again}"
        if note not in self.notes:
            self.notes.append(note)

    def _check_comparison(self) -> None:
        self._check_detect()
        versus = self._settings.versus
        if versus and self._settings.isolation == "inline":
            raise ConfigError(
                f"{versus[0].origin}: both sides need processes of their own, and {self._settings.origins.get('isolation')} is inline;"
                " take one of the two away."
            )

    def _check_detect(self) -> None:
        origin = self._settings.origins.get("detect", "--llmci-detect")
        for name in self._settings.detect:
            if name and name not in self.metrics:
                raise UnknownNameError.build(origin, "metric", name, self.metrics)
            if name and self.metrics[name].direction == "none":
                raise ConfigError(f"{origin}: {name} has no better direction, so no change of it is one for the worse.")
            if name == GROWTH and not self._settings.baseline:
                raise ConfigError(
                    f"{origin}: {name} is compared with a baseline that holds it: give --llmci-baseline, or limit it with"
                    " --llmci-budget instead."
                )
            if name and not self.metrics[name].is_compared and name not in (GROWTH, *START_TIMES):
                raise ConfigError(
                    f"{origin}: {name} is not measured round by round, so no comparison judges it; limit it with --llmci-budget instead."
                )

    def models(self, marker: MarkerValues, where: str) -> tuple[ModelSpec, ...]:
        """The models of one test.

        :raises ConfigError: if there is none.
        """
        if marker.models is not None:
            return self._read_specs([(text, f"{where}: marker llmci(models=)") for text in marker.models])
        if not self.specs:
            raise ConfigError(
                f"{where}: no model: give --llm-models=SPEC, llmci_models in the settings, or @pytest.mark.llmci(models=...)."
            )
        return self.specs

    def prompts_of(self, marker: MarkerValues, where: str) -> tuple[Prompt, ...]:
        """The prompts of one test.

        :raises ConfigError: if there is none.
        """
        if marker.prompts is not None:
            sources = [(text, f"{where}: marker llmci(prompts=)") for text in marker.prompts]
            self.marker_prompts += [Sourced(text, origin) for text, origin in sources]
            return self.load_prompts(sources)
        if not self.prompts:
            raise ConfigError(
                f"{where}: no prompts: give --llm-prompts=NAME|FILE, llmci_prompts in the settings,"
                " or @pytest.mark.llmci(prompts=...)."
            )
        return self.prompts

    def model(self, text: str, where: str, base: Path) -> tuple[ModelSpec, ...]:
        """What a test file calls a model: by a session's alias, by a spec, or by a list of them.

        :param base: folder that a list's relative path starts from.
        :raises ConfigError: if the spec is malformed or cannot work.
        """
        known = next((spec for spec in self.specs if text == spec.alias), None)
        return (known,) if known is not None else self._checked_specs([(text, where)], base)

    def known_check(self, text: str, where: str) -> None:
        """Make sure that a check can be built.

        :raises ConfigError: if it cannot.
        """
        self._read_check(text, where)

    def load_prompts(self, sources: Iterable[tuple[str, str]]) -> tuple[Prompt, ...]:
        """All rows of the named sets and files.

        :param sources: (name or path, origin) pairs.
        :raises ConfigError: if one cannot be read, or two rows have one id.
        """
        rows = tuple(
            row
            for text, origin in sources
            for row in load_prompts(text, origin, self.places.of(origin), make_id=self._make_id)
        )
        check_prompt_ids(rows)
        return rows

    def open(self, text: str, where: str) -> ModelSpec:
        """A model that a test names in its body: by alias, or by a spec of its own."""
        if text not in self._opened:
            known = next((spec for spec in self.specs if text in (spec.alias, spec.text)), None)
            spec = known or self._read_specs([(text, where)])[0]
            self.names.note(spec, where)
            self._opened[text] = spec
        return self._opened[text]

    def suite_cells(self) -> list[Cell]:
        """The cells of the built-in suite.

        :raises ConfigError: if there is no model, or two cells would have one id.
        """
        if not self.specs:
            raise ConfigError("--llmci-suite: no model: give --llm-models=SPEC or llmci_models in the settings.")
        cells = list(expand(self.specs, self.suite_prompts))
        if self._settings.samples:
            self._check_sampling(
                self._settings.samples,
                self._settings.temperature,
                self._settings.origins.get("samples", "--llmci-samples"),
            )
        for cell in cells:
            self._limits.check_prompt(cell.model, cell.prompt)
        for cell in cells if self.budgets else ():
            self._limits.check_length(
                cell.model, matching(self.budgets, cell.model.alias), self._suite_generation(cell)
            )
        return cells

    def load_cells(self) -> list[Cell]:
        """The cells of the suite of scenarios.

        :raises ConfigError: if there is no model.
        """
        if not self.specs:
            raise ConfigError("--llmci-suite: no model: give --llm-models=SPEC or llmci_models in the settings.")
        return self._loads.cells(self.specs, self.suite_prompts)

    def _task_tests(self) -> tuple[TaskTest, ...]:
        budgets = [budget for budget in self.budgets if budget.metric.scope == "task"]
        if not (self._settings.tasks or budgets):
            return ()
        from .task_cell import check_budgets, session_tests

        tests = session_tests(self._settings, self.places.of)
        check_budgets(budgets, tests)
        return tests

    def task_cells(self, suite: str) -> list[TaskCell]:
        """What the tests of a benchmark ask, a model's together.

        :raises ConfigError: if there is no model.
        """
        if not self.specs:
            raise ConfigError("--llmci-suite: no model: give --llm-models=SPEC or llmci_models in the settings.")
        from .task_cell import task_cells

        return task_cells(self.specs, self.tasks, suite, self.budgets)

    def suite_plan(self, cell: Cell) -> CellPlan:
        """How a cell of the built-in suite is measured: at a fixed length."""
        scenario = self._loads.of_cell(cell)
        own = self._loads.of_model(cell.model) if scenario is None else None
        budgets = matching(self.budgets, cell.model.alias, load=scenario is not None or own is not None)
        kind = (cell.prompt, budgets, cell.id in self._with_memory_pass)
        plan = self._suite_plans.get(kind)  # the same for one model after the other
        if plan is None:
            plan = self._suite_plans[kind] = self._plain_plan(cell, budgets)
        if scenario is not None:
            return self._loads.planned(plan, scenario, self.suite_prompts, budgets)
        return plan if own is None else self._loads.planned(plan, own, (cell.prompt,), budgets)

    def _plain_plan(self, cell: Cell, budgets: tuple[Budget, ...]) -> CellPlan:
        s = self._settings
        return CellPlan(
            rounds=s.rounds,
            max_rounds=s.max_rounds,
            warmup=s.warmup,
            block=s.block,
            generation=self._suite_generation(cell),
            memory_rounds=self._memory_rounds(budgets, cell.id),
            budgets=budgets,
            checks=self._checks(cell.prompt.checks, cell.id, cell.prompt),
            samples=s.samples,
            min_pass_rate=s.min_pass_rate,
        )

    def suite_answers(self, model: ModelSpec) -> int:
        """Inferences that each cell of the suite takes at least: warm-up, rounds and the memory pass."""
        s = self._settings
        cells = [cell_id(model, prompt) for prompt in self.suite_prompts] if self._with_memory_pass else []
        memory = self._memory_rounds(matching(self.budgets, model.alias), *cells)
        return least_answers(s.rounds, s.warmup, memory) + s.samples

    def _memory_rounds(self, budgets: Iterable[Budget], *cells: str) -> int:
        """:param cells: ids of those that are asked for."""
        s = self._settings
        if s.memory == "off" or s.isolation == "inline":
            return 0
        wanted = s.memory == "exact" or GROWTH in s.detect or any(budget.metric.scope == "memory" for budget in budgets)
        return MEMORY_ROUNDS if wanted or not self._with_memory_pass.isdisjoint(cells) else 0

    def _suite_generation(self, cell: Cell) -> GenerationSettings:
        s = self._settings
        tokens = s.max_new_tokens or cell.prompt.max_new_tokens or SUITE_MAX_NEW_TOKENS
        return GenerationSettings(max_new_tokens=tokens, fixed_length=True, temperature=s.temperature, seed=s.seed)

    def test_cell(self, model: ModelSpec, prompt: Prompt) -> Cell:
        """The cell of a test of the user's own.

        :raises ConfigError: if the prompt's length cannot be met for the model.
        """
        self._limits.check_prompt(model, prompt)
        return Cell(id=cell_id(model, prompt), model=model, prompt=prompt)

    def test_plan(self, cell: Cell, marker: MarkerValues, own: Sequence[Budget] | None = None) -> CellPlan:
        """How a cell of a test of the user's own is measured.

        :param own: the marker's budgets, where they are not those of a marker and have been read.
        :raises ConfigError: if its marker asks for what cannot be.
        """
        s = self._settings
        rounds = (marker.rounds or s.rounds) if marker.timed else 1
        max_rounds = (marker.max_rounds or max(s.max_rounds, rounds)) if marker.timed else 1
        if max_rounds < rounds:
            raise ConfigError(f"max_rounds={max_rounds} is less than rounds={rounds}.")
        scenario = self._marked_load(cell.model, marker)
        budgets = self._test_budgets(cell, marker, own, load=scenario is not None)
        kind = (marker, cell.prompt, budgets, cell.id in self._with_memory_pass)
        known = self._test_plans.get(kind) if scenario is None else None  # the same for one model after the other
        if known is not None:
            self._limits.check_length(cell.model, budgets, known.generation)
            return known
        generation = self.generation(marker, cell.prompt)
        self._limits.check_length(cell.model, budgets, generation)
        checks = () if scenario else self.checks(marker, cell.prompt, cell.id)
        plan = CellPlan(
            rounds=rounds,
            max_rounds=max_rounds,
            warmup=s.warmup if marker.warmup is None else marker.warmup,
            block=s.block,
            generation=generation,
            said=frozenset(name for name in OF_GENERATION if getattr(marker, name) is not None),
            memory_rounds=self._memory_rounds(budgets, cell.id),
            budgets=budgets,
            checks=checks,
            samples=self._samples(marker, checks, generation),
            min_pass_rate=s.min_pass_rate if marker.min_pass_rate is None else marker.min_pass_rate,
            timed=marker.timed,
        )
        if scenario is not None:
            return self._loads.planned(plan, scenario, (cell.prompt,), budgets)
        self._test_plans[kind] = plan
        return plan

    def _marked_load(self, model: ModelSpec, marker: MarkerValues) -> Scenario | None:
        """The load of a test's cell: its marker's, else that of the model's spec.

        :raises ConfigError: if it goes with something that needs single answers.
        """
        own = self._loads.of_model(model)
        if marker.load is None and own is None:
            return None
        if marker.load is not None and own is not None:
            raise ConfigError(
                f"marker llmci: load= and '{model.text}' both say what the load is; take one of the two away."
            )
        for name, given in (("checks", marker.checks), ("samples", marker.samples), ("timed", not marker.timed)):
            if given and marker.load is not None:
                raise ConfigError(
                    f"marker llmci: {name}= is about single answers, and load= makes a round of many; take one away."
                )
        return own or self._loads.marked(marker.load or "")

    def _samples(self, marker: MarkerValues, checks: tuple[str, ...], generation: GenerationSettings) -> int:
        """How many samples a test's own cell may get.

        :raises ConfigError: if they could not differ, or nothing would judge them.
        """
        samples = self._settings.samples if marker.samples is None else marker.samples
        if marker.samples is not None and not checks:
            raise ConfigError(
                "marker llmci: samples= has no effect with checks=[]: the checks are what a sample passes; take one away."
            )
        if samples and checks:
            where = (
                self._settings.origins.get("samples", "--llmci-samples") if marker.samples is None else "marker llmci"
            )
            self._check_sampling(samples, generation.temperature, where)
        return samples if checks else 0

    @staticmethod
    def _check_sampling(samples: int, temperature: float, where: str) -> None:
        if samples > 1 and not temperature:
            raise ConfigError(
                f"{where}: samples={samples} with greedy decoding (temperature 0): all samples would be the same; give"
                " --llmci-temperature=0.7, or temperature=0.7 in the marker."
            )

    def _test_budgets(
        self, cell: Cell, marker: MarkerValues, own: Sequence[Budget] | None, *, load: bool
    ) -> tuple[Budget, ...]:
        own = [self.budget(text) for text in marker.budgets] if own is None else own
        budgets = (*matching(own, cell.model.alias, load=load), *matching(self.budgets, cell.model.alias, load=load))
        check_contradictions(budgets)
        self._limits.check(cell.model, budgets)
        return budgets if marker.timed else tuple(budget for budget in budgets if budget.metric.deterministic)

    def check_timed(self, budgets: Iterable[str], *, timed: bool) -> None:
        """Refuse what a test asks for and can never be judged. It may exempt itself from the budgets of its class and of the session.

        :param budgets: of the test's own marker.
        :param timed: whether its rounds are.
        :raises ConfigError: if a budget is on time and the test is not timed.
        """
        never = [text for text in budgets if not (timed or self.budget(text).metric.deterministic)]
        if never:
            raise ConfigError(
                f"marker llmci: '{never[0]}' can never be judged: with timed=False no time is measured; take one of the two away."
            )

    def budget(self, text: str) -> Budget:
        """The budget that a marker writes so; the same object each time.

        :raises ConfigError: if it is malformed.
        """
        if text not in self._parsed:
            self._parsed[text] = parse_budget(text, "marker llmci", self.metrics)
        return self._parsed[text]

    def read_budget(self, text: str, where: str) -> Budget:
        """A budget that a test file writes.

        :raises ConfigError: if it is malformed.
        """
        return parse_budget(text, where, self.metrics)

    def generation(self, marker: MarkerValues, prompt: Prompt | None) -> GenerationSettings:
        """How a test of the user's own decodes."""
        s = self._settings
        of_row = prompt.max_new_tokens if prompt else None
        tokens = marker.max_new_tokens or s.max_new_tokens or of_row or TEST_MAX_NEW_TOKENS
        return GenerationSettings(
            max_new_tokens=tokens,
            temperature=s.temperature if marker.temperature is None else marker.temperature,
            seed=s.seed if marker.seed is None else marker.seed,
        )

    def checks(self, marker: MarkerValues, prompt: Prompt, where: str) -> tuple[str, ...]:
        """The checks of a test: the default one, the session's, and the marker's or the prompt row's.

        :raises ConfigError: if there is no such check, or it compares with a reference and the prompt has none.
        """
        return () if marker.checks == () else self._checks(_named(marker, prompt), where, prompt)

    def call_checks(self, marker: MarkerValues, prompt: Prompt | None, where: str) -> tuple[str, ...]:
        """Those of an answer that a test's body asks for: whether there is a reference is seen when they judge.

        :raises ConfigError: if there is no such check.
        """
        return () if marker.checks == () else self._checks(_named(marker, prompt), where, None)

    def _checks(self, names: tuple[str, ...], where: str, prompt: Prompt | None) -> tuple[str, ...]:
        found = [*DEFAULT_CHECKS]
        session = [(check.text, check.origin) for check in self._settings.checks]
        for name, origin in [*session, *((name, f"check of {where}") for name in names)]:
            text, needs_reference = self._read_check(name, origin)
            if needs_reference and prompt is not None and not (prompt.reference or "").strip():
                raise ConfigError(
                    f"{origin}: '{one_line(text)[:80]}' compares with a reference, and prompt '{prompt.id}' has none; give its row the"
                    " key 'reference', or write one in the check."
                )
            found.append(text)
        return tuple(dict.fromkeys(found))

    def _read_check(self, name: str, origin: str) -> tuple[str, bool]:
        if name not in self._checked:
            check = parse_check(name, self._registry, origin)
            for model in models_of(check):
                self.open(model, f"{origin}: check '{one_line(name[:400])[:60]}'")
            self._checked[name] = (text_of(check, name), needs_reference(check))
        return self._checked[name]


def _named(marker: MarkerValues, prompt: Prompt | None) -> tuple[str, ...]:
    """The checks that the marker names, else those of the prompt's row."""
    if marker.checks is not None:
        return marker.checks
    return prompt.checks if prompt else ()
