"""The suite ``load``: models under scenarios, as cells whose rounds are runs of many requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from ..errors import ConfigError
from ..load.scenario import (
    DEFAULT_SCENARIOS,
    LOAD_SUITE,
    of_spec,
    parse_objective,
    parse_scenario,
    scenario_id,
    scenario_text,
)  # fmt: skip
from ..measure.under_load import MAX_RATE
from ..records import Cell, LoadPlan, ModelSpec, Prompt, Scenario
from ..settings import Settings, Sourced
from ..stats.budget_expression import Budget
from .schedule import CellPlan

LOAD: Final = "load"
"""The built-in suite of scenarios."""
USUAL_BATCH: Final = 16
"""Prompts that a model in this machine's memory works on at once, offline."""


class LoadCells:
    """Which models are put under which load.

    :raises ConfigError: on a malformed scenario or objective.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._objective = parse_objective([(each.text, each.origin) for each in settings.objective])
        self._asked = [
            parse_scenario(each.text, each.origin, self._objective)
            for each in settings.load or [Sourced(text, "--llmci-suite=load") for text in DEFAULT_SCENARIOS]
        ]
        if settings.load and LOAD not in settings.suites:
            raise ConfigError(
                f"{settings.load[0].origin}: it is for the suite load: add --llmci-suite=load; a test says @pytest.mark.llmci(load=...)."
            )
        self._by_cell: dict[str, Scenario] = {}
        """Id of a cell of the suite -> its scenario."""

    def cells(self, specs: Sequence[ModelSpec], prompts: Sequence[Prompt]) -> list[Cell]:
        """Each model under each load, or under the one that its spec says.

        :param prompts: what is asked under each of them.
        :raises ConfigError: if two loads would have one name.
        """
        shown = sha256("\0".join(prompt.shown for prompt in prompts).encode("utf-8", "surrogatepass"))
        found: dict[str, Cell] = {}
        for spec in specs:
            own = self.of_model(spec)
            for scenario in self._asked if own is None else [own]:
                many = len(prompts)
                text = (
                    f"{scenario_text(scenario)}, of {many} prompt{'' if many == 1 else 's'} ({shown.hexdigest()[:16]})"
                )
                prompt = Prompt(id=scenario_id(scenario), text=text, source=LOAD_SUITE)
                cell = Cell(id=f"{spec.alias}-{prompt.id}", model=spec, prompt=prompt)
                self._by_cell[cell.id] = scenario
                if cell.id in found and found[cell.id].prompt != prompt:
                    raise ConfigError(
                        f"--llmci-load: '{found[cell.id].prompt.text}' and '{text}' would both be called {prompt.id}; measure them in"
                        " two sessions."
                    )
                found[cell.id] = cell
        return list(found.values())

    def of_cell(self, cell: Cell) -> Scenario | None:
        """That of a cell of the suite; None for any other."""
        return self._by_cell.get(cell.id) if cell.prompt.source == LOAD_SUITE else None

    def of_model(self, model: ModelSpec) -> Scenario | None:
        """That of the model's spec, where it says one."""
        return of_spec(model, self._objective)

    def marked(self, text: str) -> Scenario:
        """That of a marker.

        :raises ConfigError: if it is malformed.
        """
        return parse_scenario(text, "marker llmci: load", self._objective)

    def planned(
        self, plan: CellPlan, scenario: Scenario, prompts: tuple[Prompt, ...], budgets: tuple[Budget, ...]
    ) -> CellPlan:  # fmt: skip
        """A plan whose rounds are runs of a scenario: nothing of a single answer is checked, sampled or measured apart.

        A budget on the highest rate is for sweeps alone.
        """
        load = LoadPlan(
            scenario=scenario, prompts=prompts, text=scenario_text(scenario), batch=self._settings.batch or USUAL_BATCH,
            timeout_s=self._settings.timeout_s,
        )  # fmt: skip
        is_sweep = scenario.highest_rate is not None
        budgets = budgets if is_sweep else tuple(budget for budget in budgets if budget.metric.name != MAX_RATE)
        rounds = 1 if is_sweep and "rounds" not in self._settings.origins else plan.rounds
        return replace(
            plan, rounds=rounds, max_rounds=max(rounds, plan.max_rounds), block=1 if is_sweep else plan.block, memory_rounds=0,
            samples=0, checks=(), budgets=budgets, load=load,
        )  # fmt: skip
