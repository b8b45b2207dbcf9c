"""What a session tells the log of blocks of rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..metrics import MetricDef
from ..records import LogRecord, RoundRecord, RoundsRecord, RunRequest
from ..settings import Settings
from .blocks import Origin, block_record, learnt, of_memory_alone, without_times
from .current_test import CurrentTest
from .limits import NEEDS_A_PROCESS, NO_MEMORY_PASS
from .pool import LiveModel
from .schedule import CellMeasurement
from .under_load import load_records

if TYPE_CHECKING:
    from ..cost.chosen import ChosenPrices

NOT_ASKED_FOR: Final = "it is measured in a memory pass, which a budget on it or --llmci-memory=exact asks for"

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


class Recorder:
    """Turns rounds into records, gives them to the log and to the measurement that they are of."""

    def __init__(
        self, settings: Settings, metrics: Mapping[str, MetricDef], *, emit: Callable[[LogRecord], None], new_uid: Callable[[], str],
        prices: ChosenPrices | None,
    ) -> None:  # fmt: skip
        self.emit = emit
        self.blocks = 0
        """Blocks with a finished inference."""
        self._settings = settings
        self._metrics = metrics
        self._new_uid = new_uid
        self._prices = prices
        self._of_memory_pass = tuple(metric.name for metric in metrics.values() if metric.scope == "memory")

    def block(
        self, measurement: CellMeasurement, request: RunRequest, rounds: Sequence[RoundRecord], origin: Origin, live: LiveModel | None,
        *, test: CurrentTest, started: str, contended: bool = False,
    ) -> None:  # fmt: skip
        """Record what became of a block of a cell.

        :param rounds: those that finished.
        :param live: the process that measured it; None where there was none.
        :param test: the one that asked.
        :param contended: whether other timed work may have run at the same time.
        """
        late = learnt(rounds, live.record.values) if live and origin != "memory" else {}
        record = block_record(
            measurement, request, rounds, uid=self._new_uid(), test=test.id, attempt=test.attempt, origin=origin,
            worker=live.record.uid if live else "", started=started, contended=contended, isolated=self._settings.isolation == "worker",
            late=late, error=measurement.memory_error if origin == "memory" else measurement.error,
            facts=live.record.info if live else None,
        )  # fmt: skip
        if origin == "measured" and not measurement.plan.timed:
            record = without_times(record, self._metrics)
        if origin == "memory":
            record = of_memory_alone(record, self._of_memory_pass)
            measurement.memory_blocks.append(record)
        elif origin == "sample":
            measurement.sample_blocks.append(record)
        else:
            measurement.blocks.append(record)
        if late and live:
            live.record = replace(live.record, values={**live.record.values, **late})
            measurement.worker_values = live.record.values
        self.keep(measurement, record)
        for line in load_records(record, rounds, self._new_uid):
            self.emit(line)

    def keep(self, measurement: CellMeasurement, record: RoundsRecord) -> None:
        """Record a block; only those of a memory pass have what is measured there."""
        for name in self._of_memory_pass if record.origin != "memory" else ():
            record.values.pop(name, None)
            record.reasons[name] = self._why_no_memory_pass(measurement, record.origin)
        if self._prices is not None and record.origin != "memory":
            from ..cost.chosen import add_cost

            add_cost(record, self._prices.of(record.model))
        self.blocks += bool(record.n)
        self.emit(record)

    def _why_no_memory_pass(self, measurement: CellMeasurement, origin: Origin) -> str:
        """What is said of a metric of the memory pass in a block that is not of it."""
        if origin == "call":
            return "a single call has no memory pass"
        if origin == "sample":
            return "a sample has no memory pass"
        if measurement.plan.memory_rounds:
            return "it is measured in the memory pass, which has blocks of its own"
        if self._settings.isolation == "inline":
            return NEEDS_A_PROCESS
        return NO_MEMORY_PASS if self._settings.memory == "off" else NOT_ASKED_FOR

    def take_over(self, record: RoundsRecord) -> None:
        """Record a block that another session measured, as it is."""
        self.blocks += bool(record.n)
        self.emit(record)
