"""What a session takes over from the run that it goes on with (``--llmci-resume``), in place of measuring it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import LLMCIError, NotReplayed
from ..records import Cell, ModelSpec, Prompt, WorkerRecord
from .current_test import CurrentTest
from .earlier import Earlier, EarlierCell
from .recorder import Recorder
from .schedule import CellMeasurement, CellPlan, Schedule

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


class TakenOver:
    """The cells of the earlier run that are still the same."""

    def __init__(
        self, run: Earlier, recorder: Recorder, schedule: Schedule, *, new_uid: Callable[[], str],
        fit: Callable[[ModelSpec, Prompt], Prompt], load: Callable[[ModelSpec], WorkerRecord],
    ) -> None:  # fmt: skip
        """:param fit: closes a prompt whose length in tokens is open.
        :param load: starts a model, so that it can be held against the earlier one.
        """
        self._run = run
        self._recorder = recorder
        self._schedule = schedule
        self._new_uid = new_uid
        self._fit = fit
        self._load = load
        self._told_starts: set[str] = set()
        """Processes of the earlier run that were told of."""

    def find(self, test: str, cell: Cell, plan: CellPlan) -> EarlierCell | str:
        """What the earlier run measured of the cell; else why that is not taken, empty where there is nothing to say.

        :param test: its node id.
        """
        try:
            cell = replace(cell, prompt=self._fit(cell.model, cell.prompt))
            return self._run.cell(test, cell, plan, lambda: self._load(cell.model))
        except NotReplayed as error:
            return str(error)
        except LLMCIError:
            return ""  # of the model, which will show it again when it is measured

    def take_over(self, cell: Cell, found: EarlierCell, test: CurrentTest) -> CellMeasurement:
        """The rounds of an earlier run as this one's, labelled; they are judged anew.

        :param test: the one that asks.
        """
        measurement = CellMeasurement(
            cell=cell, plan=found.plan, provenance="resumed", resumed_from=found.run, look=found.look, worker=found.worker,
            worker_values=dict(found.worker_values), worker_reasons=found.worker.reasons,
        )  # fmt: skip
        for kept, blocks in (
            (measurement.blocks, found.measured),
            (measurement.memory_blocks, found.memory),
            (measurement.sample_blocks, found.samples),
        ):
            for block in blocks:
                start = found.starts.get(block.worker)
                if start is not None and start.uid not in self._told_starts:
                    self._told_starts.add(start.uid)
                    self._recorder.emit(start)
                record = replace(
                    block, uid=self._new_uid(), test=test.id, attempt=test.attempt, provenance="resumed",
                    resumed_from=block.resumed_from or found.run, worker=start.uid if start is not None else block.worker,
                )  # fmt: skip
                kept.append(record)
                self._recorder.take_over(record)
        self._schedule.note_done(cell)
        return measurement
