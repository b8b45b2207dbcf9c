"""Turns what was measured into verdicts: checks on outputs, budgets on numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..checks import parse_check
from ..checks.arguments import cut_off
from ..checks.base import Check, CheckInput, Services
from ..checks.combined import text_of
from ..errors import CheckError, MissingValue, described
from ..metrics import MetricDef
from ..records import (
    BudgetResult,
    CheckResult,
    ComparisonResult,
    ErrorInfo,
    Missing,
    SampleResult,
    SlowdownResult,
    Verdict,
    VerdictRecord,
)
from ..registry import Registry
from ..stats.budget import Decision, judge_budget
from ..stats.budget_expression import Budget
from ..stats.location import LEAST_VALUES
from ..stats.looks import SESSION_ALPHA, look_alpha
from ..text import one_line
from .net_of_waiting import FAR, judge_net
from .sampling import checks_of_samples, rate_so_far, sample_result, sampled_inputs
from .schedule import CONTAMINATED_SHARE, OUT_OF_TIME, CellMeasurement, of_the_wall_clock

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
CONTENDED = "other timed work ran at the same time (--llmci-timing=parallel)"


class Judge:
    """Judges one cell at a time; remembers the checks it has built."""

    def __init__(
        self,
        registry: Registry,
        why_contended: Callable[[], str] = lambda: CONTENDED,
        metrics: Mapping[str, MetricDef] | None = None,
        services: Callable[[CheckInput], Services] | None = None,
    ) -> None:
        """:param metrics: whose numbers checks may ask for.
        :param services: what the checks of an output may ask of models; None: nothing, as where no model is loaded.
        """
        self._services = services
        self._registry = registry
        self._metrics = metrics or {}
        self._handed_along = tuple(self._metrics.values())
        self._why_contended = why_contended
        self._checks: dict[str, Check] = {}

    def check(self, text: str, where: str = "checks") -> Check:
        """The check that a text names.

        :raises ConfigError: if no check is called so, or its argument cannot be read.
        """
        if text not in self._checks:
            self._checks[text] = parse_check(text, self._registry, where)
        return self._checks[text]

    def checks(self, names: Iterable[str], outputs: Iterable[CheckInput]) -> list[CheckResult]:
        """Every check on every distinct output; of a check that fails on several, the first failure is kept."""
        seen = [*outputs]
        bound: list[CheckInput] | None = None
        results = []
        for name in names:
            check = self.check(name)
            if getattr(check, "asks_models", True):
                bound = [self.bound(output) for output in seen] if bound is None else bound
            found = [run_check(check, output, name) for output in (seen if bound is None else bound)]
            failed = [result for result in found if not result.passed]
            results.append((failed or found or [_no_output(name)])[0])
        return results

    def needs_sample(self, measurement: CellMeasurement) -> bool:
        """Whether a further sample of the cell is to be drawn: some may be, and those so far leave it open how often it passes."""
        plan = measurement.plan
        if not plan.samples or not plan.checks or not measurement.rounds:
            return False
        self._check_samples(measurement)
        found = rate_so_far(measurement)
        return found is None or not found.decided

    def _check_samples(self, measurement: CellMeasurement) -> None:
        """Run the checks on the samples that are new: each sample is checked once."""
        checked = measurement.sample_checks
        checked += [
            self.checks(measurement.plan.checks, [each])
            for each in sampled_inputs(measurement, self._handed_along, len(checked))
        ]

    def _samples(self, measurement: CellMeasurement) -> SampleResult | None:
        plan = measurement.plan
        if not plan.samples or not plan.checks or measurement.error is not None or not measurement.rounds:
            return None
        self._check_samples(measurement)
        return sample_result(measurement)

    def bound(self, output: CheckInput) -> CheckInput:
        """The output with what its check may ask of models."""
        return output if self._services is None else output.with_services(self._services(output))

    def undecided(self, measurement: CellMeasurement) -> bool:
        """Whether more rounds could settle or certify a budget of the cell."""
        return any(self._decide(measurement, budget, final=False).needs_more for budget in measurement.plan.budgets)

    def _decide(self, measurement: CellMeasurement, budget: Budget, *, final: bool) -> Decision:
        values = sample_of(measurement, budget)
        if isinstance(values, Missing):
            if measurement.out_of_time:
                return Decision(verdict="inconclusive", observed=None, reason=OUT_OF_TIME, rounds=0)
            return Decision(
                verdict="failed", observed=None, reason=f"{budget.metric.name} is missing: {values.reason}", rounds=0
            )
        plan = measurement.plan
        alpha = SESSION_ALPHA / plan.family * look_alpha(measurement.look - 1, plan.looks)
        decision = judge_budget(values, budget, alpha=alpha, last=final or measurement.look == plan.looks)
        if budget.statistical and any(block.contended for block in measurement.whole_blocks):
            return replace(decision, verdict="inconclusive", reason=self._why_contended(), needs_more=False)
        if measurement.out_of_time and decision.verdict == "inconclusive":
            return replace(decision, reason=f"{OUT_OF_TIME}; {decision.reason}")
        return _with_waiting(decision, measurement, budget, len(values), alpha=alpha, last=final)

    def _result(self, measurement: CellMeasurement, budget: Budget) -> BudgetResult:
        decision = self._decide(measurement, budget, final=True)
        values = sample_of(measurement, budget)
        sample = [] if isinstance(values, Missing) else values
        return BudgetResult(
            budget=budget.text, origin=budget.origin, metric=budget.metric.name, statistic=budget.statistic, operator=budget.operator,
            limit=budget.limit, verdict=decision.verdict, observed=decision.observed, rounds=len(sample), reason=decision.reason,
            p_value=decision.p_value, values=sample,
        )  # fmt: skip

    def verdict(self, measurement: CellMeasurement, *, uid: str, test: str, attempt: int) -> VerdictRecord:
        """All that was decided on one cell."""
        samples = self._samples(measurement)
        if samples is not None:
            checks = checks_of_samples(measurement, samples)
        else:
            checks = (
                self.checks(measurement.plan.checks, measurement.outputs(self._handed_along))
                if measurement.error is None
                else []
            )
        budgets = (
            [self._result(measurement, budget) for budget in measurement.plan.budgets]
            if measurement.error is None
            else []
        )
        rounds = measurement.rounds
        unmeasured = measurement.out_of_time and not rounds
        if unmeasured:
            checks = []
        error = measurement.error or measurement.memory_error
        return VerdictRecord(
            uid=uid, cell=measurement.cell.id, model=measurement.cell.model.alias, prompt_id=measurement.cell.prompt.id, test=test,
            verdict=_overall(checks, budgets, measurement.comparisons, error, samples, unmeasured=unmeasured),
            checks=checks, budgets=budgets, comparisons=measurement.comparisons, error=error, noisy_rounds=measurement.noisy_rounds,
            rounds=rounds, attempt=attempt, samples=samples, provenance=measurement.provenance,
            resumed_from=measurement.resumed_from, not_resumed=measurement.not_resumed,
            slowdown=self._slowdown(measurement) if measurement.comparisons else None,
        )  # fmt: skip

    def _slowdown(self, measurement: CellMeasurement) -> SlowdownResult | None:
        """Where a time that became worse lies."""
        from .comparisons.slowdown import of_measurement

        return of_measurement(measurement, self._metrics)


def sample_of(measurement: CellMeasurement, budget: Budget) -> list[float] | Missing:
    """What a budget is judged on: without rounds that waited for a CPU too long, where enough are left to decide."""
    if not budget.statistical:
        return measurement.values(budget.metric)
    clean = measurement.undisturbed(budget.metric)
    if not isinstance(clean, Missing) and len(clean) < LEAST_VALUES:
        return measurement.values(budget.metric)
    return clean


def _with_waiting(
    decision: Decision, measurement: CellMeasurement, budget: Budget, judged: int, *, alpha: float, last: bool
) -> Decision:  # fmt: skip
    """Say which rounds were left out; where too few are left, a missed limit is the model's fault only if no waiting explains it."""
    waited = sum(measurement.contaminated) if budget.statistical and of_the_wall_clock(budget.metric) else 0
    if not waited:
        return decision
    rounds = measurement.rounds
    if judged < rounds:
        were = "was" if waited == 1 else "were"
        left_out = f"{waited} of {_rounds(rounds)} waited for a CPU too long and {were} left out"
        return replace(decision, reason=f"{decision.reason}; {left_out}")
    if decision.verdict == "pass":
        return decision
    net = judge_net(measurement.whole_blocks, budget, alpha=alpha, last=last)
    time = f"{100 * CONTAMINATED_SHARE:.0f} % of {'its' if waited == 1 else 'their'} time"
    busy = f"{waited} of {_rounds(rounds)} waited for a CPU for over {time}"
    if net is not None and net.is_far_off:
        generous = f"{FAR:g} times the limit" if budget.is_upper else f"1/{FAR:g} of the limit"
        reason = f"{busy}; without all waiting, {net.reason}, {generous}"
        return replace(decision, verdict="failed", reason=reason, p_value=net.p_value, needs_more=False)
    if decision.verdict != "failed":
        return decision
    few = ", which leaves too few others" if waited < rounds else ""
    without = f"; without all waiting: {net.shown}" if net is not None and net.shown else ""
    return replace(
        decision, verdict="inconclusive", reason=f"the machine was too busy: {busy}{few}; {decision.reason}{without}"
    )


def _rounds(number: int) -> str:
    return f"{number} round{'' if number == 1 else 's'}"


def run_check(check: Check, output: CheckInput, name: str = "") -> CheckResult:
    """What a check says of an output; one that raises has not passed.

    :param name: its text; by default as the check tells it.
    """
    name = name or text_of(check, type(check).__name__)
    try:
        result: object = check(output)
    except (CheckError, MissingValue) as error:
        return CheckResult(name=name, passed=False, message=one_line(str(error)))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a check is foreign code: one that raises has not passed
        message = f"{cut_off(output)}the check itself failed: {described(error)}"
        return CheckResult(name=name, passed=False, message=message)
    if isinstance(result, CheckResult):
        return result
    message = f"the check itself failed: it returned {result!r:.80}, expected a pytest_llmci.CheckResult"
    return CheckResult(name=name, passed=False, message=message)


def _no_output(name: str) -> CheckResult:
    return CheckResult(name=name, passed=False, message="there is no output to check")


def _overall(
    checks: Iterable[CheckResult], budgets: Sequence[BudgetResult], comparisons: Sequence[ComparisonResult],
    error: ErrorInfo | None, samples: SampleResult | None, *, unmeasured: bool,
) -> Verdict:  # fmt: skip
    limits = {budget.verdict for budget in budgets}
    sides = {each.verdict for each in comparisons if not (each.verdict == "regressed" and each.accepted)}
    rate = "" if samples is None else samples.verdict
    if (
        error is not None
        or not all(check.passed for check in checks)
        or rate == "failed"
        or "failed" in limits
        or "regressed" in sides
    ):
        return "failed"
    if unmeasured or rate == "inconclusive" or "inconclusive" in limits or not sides.isdisjoint(_UNDECIDED):
        return "inconclusive"
    return "pass"


_UNDECIDED: Final = frozenset({"inconclusive", "not comparable", "lost coverage"})
"""Verdicts of a comparison that leave a cell open."""
