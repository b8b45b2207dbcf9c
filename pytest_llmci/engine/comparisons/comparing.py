"""Compares the cells of each model with what is measured beside them, and with stored numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from ...clock import utc_text
from ...errors import LLMCIError
from ...measure.memory import GROWTH
from ...metrics import MetricDef
from ...records import Cell, ModelSpec, Prompt
from ...settings import Settings
from ...stats.looks import SESSION_ALPHA
from ..judge import Judge
from ..pool import error_info
from ..schedule import CellMeasurement, CellPlan
from ..under_load import judged_of
from .against import Against, Entry
from .against_baseline import BaselineRules, against_baselines
from .exact import counted
from .interleaved import Interleaved
from .model_gate import model_gate
from .process_pairs import Ports
from .rules import Rules

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


class Comparing:
    """Compares all selected cells of a model together."""

    def __init__(
        self, settings: Settings, metrics: Mapping[str, MetricDef], judge: Judge, ports: Ports, *, against: Against | None,
        baselines: BaselineRules | None, fit: Callable[[ModelSpec, Prompt], Prompt], why_contended: Callable[[], str],
    ) -> None:  # fmt: skip
        """:param against: what every model is compared with, measured alternately with it.
        :param baselines: those whose stored numbers every model is compared with.
        :param fit: closes a prompt whose length in tokens is open.
        """
        self.measured: dict[str, CellMeasurement] = {}
        """Test -> what came of its cell."""
        self._settings = settings
        self._metrics = metrics
        self._judge = judge
        self._ports = ports
        self._against = against
        self._baselines = baselines
        self._fit = fit
        self._why_contended = why_contended

    @property
    def alternates(self) -> bool:
        """Whether models are measured alternately with a reference."""
        return self._against is not None

    def alternately(self, alias: str, group: Mapping[str, tuple[Cell, CellPlan]]) -> None:
        """Measure the cells of a model alternately with the reference, where there is one.

        Cells under load are judged apart: what decides of them is something else.
        """
        against = self._against
        if against is None:
            return
        entries = against.entries(self._closed(group))
        kinds: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            kinds.setdefault(judged_of(entry.plan.load, self._settings.detect), []).append(entry)
        for judged, some in kinds.items():
            self._compare_entries(against, alias, some, judged)

    def _compare_entries(self, against: Against, alias: str, entries: Sequence[Entry], judged: tuple[str, ...]) -> None:
        """:param judged: what decides, of cells under load; empty for all others."""
        looks = max(-(-entry.plan.max_rounds // self._settings.block) for entry in entries)
        rules = Rules(
            against=against.name, alpha=SESSION_ALPHA * len(entries) / max(against.cells, len(entries)), looks=looks,
            detect={name: share for name, share in self._settings.detect.items() if name != GROWTH},
            on_cpu=not str(entries[0].cell.model.options.get("device", "cpu")).startswith(("cuda", "mps")),
            why_contended=self._why_contended(), counted=() if judged else counted(self._metrics),
            only=judged,
        )  # fmt: skip
        schedule = Interleaved(
            entries,
            rules,
            self._metrics,
            self._ports,
            block=self._settings.block,
            on_purpose=against.on_purpose.get(alias, ()),
            accepted=against.accepted,
            changed_files=against.changed_files,
            prove=against.prove,
            own_modules=against.own_modules,
            fail_undecided=self._settings.inconclusive == "fail",
        )
        self.measured.update(schedule.run())

    def _closed(self, group: Mapping[str, tuple[Cell, CellPlan]]) -> dict[str, tuple[Cell, CellPlan]]:
        """The cells without open prompts, so that both sides are asked the same; what cannot be closed fails by itself later."""
        found = {}
        for test, (cell, plan) in group.items():
            try:
                found[test] = (replace(cell, prompt=self._fit(cell.model, cell.prompt)), plan)
            except LLMCIError as error:
                self.measured[test] = CellMeasurement(cell=cell, plan=plan, error=error_info(error))
        return found

    def with_baselines(self, alias: str, tests: Collection[str]) -> None:
        """Compare what was measured of a model with the stored numbers, where there are baselines.

        :param tests: all of the model.
        """
        rules = self._baselines
        if rules is None:
            return
        measured = [self.measured[test] for test in tests]
        workers = {each.worker.uid: each.worker for each in measured if each.worker is not None}
        blocks = [block for each in measured for block in (*each.blocks, *each.memory_blocks)]
        verdicts = [self._judge.verdict(each, uid=f"-{number}", test=test, attempt=0)
                    for number, (test, each) in enumerate(zip(tests, measured, strict=True))]  # fmt: skip
        found = against_baselines(
            [*workers.values(), *blocks, *verdicts],
            rules,
            self._metrics,
            started=utc_text(self._ports.clock.utc()),
            apart={each.cell.id for each in measured if each.plan.expected_to_fail},
        )
        for each in measured:
            results = [] if each.error else found.cells.get(each.cell.id, [])
            each.stored_base = found.slower_than.get(each.cell.id)
            each.comparisons = [*each.comparisons, *results]
            each.against = each.against or ", ".join(baseline.name for baseline in rules.baselines)
        if found.model:
            cells = {each.cell.id: each.comparisons for each in measured}
            strict = self._settings.inconclusive == "fail"
            uid = self._ports.new_uid()
            self._ports.emit(model_gate(alias, found.model, found.model[0].against, uid, cells, fail_undecided=strict))
