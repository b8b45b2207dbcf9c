"""What tests get in their hands: outputs and measured numbers in SI units, or the reason why there is none."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..check_texts import check_text
from ..checks.base import CheckInput
from ..checks.constructors import AnyCheck
from ..checks.custom import PythonCheck
from ..errors import (
    BackendError,
    ConfigError,
    LLMCIError,
    MissingValue,
    ModelGivenUp,
    WorkerCrashed,
    WorkerError,
    WorkerProtocolError,
    WorkerTimeout,
)
from ..metrics import MetricDef
from ..records import CheckResult, ErrorInfo, Missing, Number
from ..stats.summary import Summary, summarise
from ..text import one_line
from .judge import run_check
from .reports.explain import fact_lines
from .sampling import sample_seeds, sampled_inputs
from .schedule import CellMeasurement

if TYPE_CHECKING:
    from .judge import Judge

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


class Output:
    """The text of a cell's answer and what can be asked of it."""

    def __init__(self, output: CheckInput, judge: Judge) -> None:
        self._output = output
        self._judge = judge

    @property
    def text(self) -> str:
        """The answer."""
        return self._output.text

    @property
    def finish_reason(self) -> str:
        """``stop``, ``length``, or what the source calls it."""
        return self._output.finish_reason

    @property
    def is_valid(self) -> bool:
        """Whether the default check passes: not empty, not only special tokens, no endless repetition."""
        return self.check("valid").passed

    def check(self, check: AnyCheck) -> CheckResult:
        """Run a check; the result carries the reason.

        :param check: a text such as ``json`` or ``max_words:120``, what a function of ``pytest_llmci.checks`` gives, a mapping such as
            ``{"max_words": 120}``, or a function of one's own that judges the text.
        :raises ConfigError: if there is no such check, or its argument makes no sense.
        """
        if callable(check):
            return run_check(PythonCheck.of(check), self._judge.bound(self._output))
        return self._judge.checks([check_text(check, "output.check")], [self._output])[0]

    def passes(self, *checks: AnyCheck) -> CheckPassed:
        """Whether all of the checks pass; under ``assert`` the failure text says which one does not, what was expected and what found."""
        if not checks:
            raise ConfigError("output.passes: name a check, such as passes('json').")
        results = [self.check(check) for check in checks]
        return CheckPassed(next((result for result in results if not result.passed), results[-1]))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<output {self.text[:60]!r}, {self.finish_reason}>"


class Sample(Output):
    """One sampled output: an answer and the seed that gives it."""

    def __init__(self, output: CheckInput, seed: int, judge: Judge) -> None:
        super().__init__(output, judge)
        self._seed = seed

    @property
    def seed(self) -> int:
        """With it, the model gives the same text again."""
        return self._seed


class CheckPassed:
    """Truth with a reason."""

    def __init__(self, result: CheckResult) -> None:
        self.result = result

    def __bool__(self) -> bool:
        return self.result.passed

    def __repr__(self) -> str:
        result = self.result
        name, judged = one_line(result.name[:400]), f" (judged by {result.judged_by})" if result.judged_by else ""
        shown = f"{name[:80]}..." if len(name) > 80 else name
        return f"<{shown}: {'passed' if result.passed else 'failed'}{judged}: {result.message}>"


class MetricValues:
    """One metric over the rounds of a cell; the attributes are its statistics."""

    def __init__(self, metric: MetricDef, values: list[float] | Missing) -> None:
        self._metric = metric
        self._values = values
        self._summary: Summary | None = None if isinstance(values, Missing) else summarise(values)

    @property
    def values(self) -> list[float]:
        """One number a round, SI units; empty where the metric is missing."""
        return [] if isinstance(self._values, Missing) else list(self._values)

    def __getattr__(self, name: str) -> Number:
        from ..metrics import STATISTICS

        if name not in STATISTICS:
            raise AttributeError(f"'{self._metric.name}' has no statistic '{name}'; known: {', '.join(STATISTICS)}")
        if isinstance(self._values, Missing):
            return self._values
        found: Number = getattr(self._summary, name)
        return found

    def __bool__(self) -> bool:
        return not isinstance(self._values, Missing)

    def _number(self) -> float:
        """For ``llm_result.load_time < 5``: the value where there is one a process; else the reason why not to compare."""
        if isinstance(self._values, Missing):
            raise MissingValue(self._values.reason)
        if self._metric.scope == "worker":
            return self._values[0]
        name = self._metric.name
        raise MissingValue(
            f"{name} has {_rounds(len(self._values))}; compare a statistic of it, such as llm_result.{name}.median"
        )

    def __eq__(self, other: object) -> bool:
        return self is other if isinstance(other, MetricValues) else self._number() == other

    __hash__ = object.__hash__

    def __lt__(self, other: float) -> bool:
        return self._number() < other

    def __le__(self, other: float) -> bool:
        return self._number() <= other

    def __gt__(self, other: float) -> bool:
        return self._number() > other

    def __ge__(self, other: float) -> bool:
        return self._number() >= other

    def __float__(self) -> float:
        return float(self._number())

    def __repr__(self) -> str:
        if isinstance(self._values, Missing):
            return f"<{self._metric.name}: missing, {self._values.reason}>"
        return f"<{self._metric.name}: {_rounds(len(self._values))}, median {self.median}>"


def _rounds(count: int) -> str:
    return f"{count} round{'' if count == 1 else 's'}"


class CellResult:
    """``llm_result``: the measured rounds of one cell. Every metric is an attribute: ``llm_result.latency.median``."""

    def __init__(self, measurement: CellMeasurement, metrics: Mapping[str, MetricDef], judge: Judge) -> None:
        self._measurement = measurement
        self._metrics = metrics
        self._judge = judge

    @property
    def cell(self) -> str:
        """Id of the cell."""
        return self._measurement.cell.id

    @property
    def model(self) -> str:
        """Alias of the model."""
        return self._measurement.cell.model.alias

    @property
    def prompt(self) -> str:
        """The prompt as people see it."""
        return self._measurement.cell.prompt.shown

    @property
    def rounds(self) -> int:
        """Measured rounds."""
        self.require()
        return self._measurement.rounds

    @property
    def noisy_rounds(self) -> int:
        """How many of them are marked noisy."""
        self.require()
        return self._measurement.noisy_rounds

    @property
    def outputs(self) -> list[Output]:
        """Each distinct answer once."""
        self.require()
        return [Output(output, self._judge) for output in self._measurement.outputs(self._metrics.values())]

    @property
    def output(self) -> Output:
        """The first answer; where decoding is greedy, the only one."""
        found = self.outputs
        if not found:
            raise LLMCIError(f"{self.cell}: nothing was measured, so there is no output")
        return found[0]

    @property
    def samples(self) -> list[Sample]:
        """The sampled outputs of ``samples=N``, in the order of drawing; empty without it."""
        self.require()
        measurement = self._measurement
        drawn = zip(sampled_inputs(measurement, self._metrics.values()), sample_seeds(measurement), strict=True)
        return [Sample(output, seed, self._judge) for output, seed in drawn]

    def require(self) -> None:
        """Raise what the model failed with, if it did."""
        if self._measurement.error is not None:
            raise as_exception(self._measurement.error)

    def __getattr__(self, name: str) -> MetricValues:
        metric = self._metrics.get(name)
        if metric is None:
            near = difflib.get_close_matches(name, self._metrics, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise AttributeError(f"no metric '{name}'.{hint} Known: {', '.join(sorted(self._metrics))}")
        self.require()
        return MetricValues(metric, self._measurement.values(metric))

    def __repr__(self) -> str:
        return f"<llm_result {self.cell}: {_rounds(self._measurement.rounds)}>"


class Generation(Output):
    """What ``llm.generate()`` returns: the answer, and every metric as an attribute in SI units: ``generation.latency``."""

    def __init__(self, measurement: CellMeasurement, metrics: Mapping[str, MetricDef], judge: Judge) -> None:
        super().__init__(next(iter(measurement.outputs(metrics.values()))), judge)
        self._measurement = measurement
        self._metrics = metrics
        self._block = measurement.blocks[-1]

    @property
    def token_times(self) -> list[float]:
        """Seconds from the request to the arrival of each token (or chunk)."""
        total, times = 0, []
        for gap in self._block.token_ns[0]:
            total += gap
            times.append(total / 1e9)
        return times

    def __getattr__(self, name: str) -> Number:
        metric = self._metrics.get(name)
        if metric is None:
            raise AttributeError(f"no attribute or metric '{name}'; metrics: {', '.join(sorted(self._metrics))}")
        values = self._measurement.values(metric)
        return values if isinstance(values, Missing) else values[0]

    def __repr__(self) -> str:
        return f"<generation {self.text[:60]!r}, {self.finish_reason}>"


_OF_A_PROCESS: Final[dict[str, type[WorkerError]]] = {
    "crashed": WorkerCrashed,
    "timeout": WorkerTimeout,
    "protocol": WorkerProtocolError,
    "given_up": ModelGivenUp,
}


def as_exception(info: ErrorInfo) -> LLMCIError:
    """The failure that a record tells of, to be raised where the test can see it."""
    if info.kind in _OF_A_PROCESS:
        dead = _OF_A_PROCESS[info.kind](info.message, info.facts)
        if dead.facts:
            dead.add_note("\n" + "\n".join(fact_lines(info.facts)))
        return dead
    if info.kind == "tool":
        return LLMCIError(info.message)
    return BackendError(info.message, kind=info.kind)
