"""What the models of a session are compared with, measured alternately with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ...load.scenario import LOAD_SUITE, of_spec, scenario_text
from ...records import Cell, GenerationSettings, Json, LoadPlan, ModelSpec, Prompt
from ...runner.model_worker import WorkerSetup
from ...settings import Settings
from ..schedule import CellPlan
from .comparison import Accept


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One cell that a test asked for, with what it is compared with."""

    test: str
    """Node id."""
    cell: Cell
    reference: Cell
    plan: CellPlan
    reference_generation: GenerationSettings
    reference_load: LoadPlan | None = None


GATE_TAG: Final = "gate"
"""Of a prompt row: where any row of the session has it, only those that do are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """What every model of the session is compared with, measured alternately with it."""

    name: str
    """As people know it: ``origin/main``, ``smollm2+dtype=bfloat16``."""
    specs: Mapping[str, ModelSpec]
    """Alias -> the reference of that model, which has the same alias; a model without one is not compared."""
    prompts: Mapping[str, Sequence[Prompt]] | None = None
    """Prompt id -> the reference's prompts of that id, of several files or tests; None: the same prompts."""
    settings: Settings | None = None
    """Those of the reference; None: the same."""
    sys_path: Sequence[str] | None = None
    """Import path of the reference's process; None: the same."""
    start_in: str | None = None
    """Its working directory; None: the same."""
    changed_files: tuple[str, ...] = ()
    on_purpose: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Alias -> parts of the protocol that differ because that is what is compared."""
    accepted: Accept = lambda *_: ""
    """Says which regressions are meant."""
    prove: Callable[[dict[str, Json]], None] | None = None
    """Raises ConfigError if what a process of the reference says of itself shows that it runs something else."""
    own_modules: tuple[str, ...] = ()
    """Packages and modules of the reference's repository: a copy of them among the libraries is something else as well."""
    cells: int = 0
    """How many cells of the session are compared: they share its false alarms."""
    only_tagged: bool = False
    """Whether only prompts with the tag ``gate`` are compared."""

    def reference(self, cell: Cell) -> Cell | None:
        """What a cell is compared with; None if with nothing."""
        spec = self.specs.get(cell.model.alias)
        if spec is None or (self.only_tagged and GATE_TAG not in cell.prompt.tags):
            return None
        prompt = (
            cell.prompt
            if self.prompts is None or cell.prompt.source == LOAD_SUITE
            else _counterpart(cell.prompt, self.prompts.get(cell.prompt.id, ()))
        )
        if prompt is not None and prompt.fill is not None and prompt.fill == cell.prompt.fill:
            prompt = cell.prompt  # of a length in tokens: both sides are asked what the candidate's tokenizer counted
        return None if prompt is None else replace(cell, model=spec, prompt=prompt)

    def entries(self, group: Mapping[str, tuple[Cell, CellPlan]]) -> list[Entry]:
        """The cells of a model that are compared."""
        return [
            Entry(
                test=test,
                cell=cell,
                reference=reference,
                plan=plan,
                reference_generation=self._generation(plan),
                reference_load=_load(plan, reference.model),
            )
            for test, (cell, plan) in group.items()
            if (reference := self.reference(cell)) is not None
        ]

    def _generation(self, plan: CellPlan) -> GenerationSettings:
        """How the reference decodes: as the plan says, but for what its own settings say."""
        own = self.settings
        if own is None:
            return plan.generation
        generation = plan.generation
        if own.max_new_tokens and "max_new_tokens" not in plan.said:
            generation = replace(generation, max_new_tokens=own.max_new_tokens)
        if "temperature" not in plan.said:
            generation = replace(generation, temperature=own.temperature)
        return generation if "seed" in plan.said else replace(generation, seed=own.seed)

    def setup(self, setup: WorkerSetup) -> WorkerSetup:
        """What the reference's processes are started with."""
        return replace(
            setup,
            sys_path=setup.sys_path if self.sys_path is None else self.sys_path,
            start_in=self.start_in or setup.start_in,
            threads=setup.threads if self.settings is None else self.settings.threads,
        )


def _load(plan: CellPlan, reference: ModelSpec) -> LoadPlan | None:
    """The same load, unless the reference's own spec says another."""
    if plan.load is None:
        return None
    own = of_spec(reference, plan.load.scenario.objective)
    return plan.load if own is None else replace(plan.load, scenario=own, text=scenario_text(own))


def _counterpart(prompt: Prompt, there: Sequence[Prompt]) -> Prompt | None:
    """Of the prompts of one id the one that asks the same, else the one of the same file; None where that is not clear."""
    asked = prompt.text, prompt.messages, prompt.fill
    same = [other for other in there if (other.text, other.messages, other.fill) == asked]
    if same:
        return same[0]
    file = prompt.source.partition(", ")[0]
    near = [other for other in there if other.source.partition(", ")[0] == file] if len(there) > 1 else there
    return near[0] if len(near) == 1 else None
