"""The failure texts: what was observed, what was expected, how it was decided, how to repeat it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ...errors import BudgetExceeded, InvalidOutput, LLMCIError, RegressionDetected
from ...metrics import MetricDef
from ...records import BudgetResult, CheckResult, ComparisonResult, ErrorInfo, SampleResult, VerdictRecord
from ...text import clipped, one_line, plain, shown_path, width, wrapped
from ...units import format_quantity
from ..schedule import CellMeasurement

WIDTH = 80
"""The most columns of a text; narrower where the terminal is."""
MANY_TIMES: Final = 10.0
"""Shares beyond a limit from which on nobody reads per cent."""
_GOES_ON = " \\\n" + " " * 15
"""Between two lines of a command."""


class Explained(Exception):
    """A failure whose text is the whole explanation.

    :param headline: the one line for pytest's short summary.
    """

    def __init__(self, text: str, headline: str) -> None:
        super().__init__(text)
        self.headline = headline


class ExplainedBudget(Explained, BudgetExceeded):
    """A missed budget."""


class ExplainedRegression(Explained, RegressionDetected):
    """A proven regression."""


class ExplainedOutput(Explained, InvalidOutput):
    """A failed check."""


class ExplainedError(Explained, LLMCIError):
    """A model, a worker or a tool that failed."""


class Undecided(Explained, AssertionError):
    """An inconclusive cell under ``--llmci-inconclusive=fail``."""


def explain(
    verdict: VerdictRecord, measurement: CellMeasurement | None, repeat: Sequence[str], *, fail_undecided: bool,
    metrics: Mapping[str, MetricDef] | None = None, shown: Callable[[str], str] = str, room: int = WIDTH,
) -> Explained | None:  # fmt: skip
    """The exception that tells why a cell did not pass; None if it did, or is undecided where that does not fail.

    :param repeat: the command that runs it again, in parts that stay on one line, quoted for a shell.
    :param metrics: those in force, by name.
    :param shown: makes of a prompt or an output what people may see.
    :param room: columns of the terminal.
    """
    if verdict.error is not None:
        return explain_error(verdict.error, room)
    samples = verdict.samples
    failed_checks = [check for check in verdict.checks if not check.passed] if samples is None else []
    unlucky = samples is not None and samples.verdict == "failed"
    failed = [budget for budget in verdict.budgets if budget.verdict == "failed"]
    undecided = [budget for budget in verdict.budgets if budget.verdict == "inconclusive"] if fail_undecided else []
    metrics = metrics or {}
    worse = [result for result in verdict.comparisons if result.verdict == "regressed" and not result.accepted]
    unsure = [result for result in verdict.comparisons if fail_undecided and result.verdict in UNDECIDED]
    if not (failed_checks or failed or undecided or worse or unlucky) and not (
        fail_undecided and verdict.verdict == "inconclusive"
    ):
        return None
    from .headlines import budget_headline

    lines: list[str] = []
    headlines: list[str] = []
    for check in failed_checks:
        lines += [*_title(f"InvalidOutput: {_check_line(check)}", room), ""]
        headlines.append(_check_line(check))
    told, said = _samples(samples, measurement, shown, room, fail_undecided=fail_undecided)
    lines += told
    headlines += said
    for budget in failed:
        lines += [*_budget_lines(budget, _metric(measurement, budget), room), ""]
        headlines.append(budget_headline(budget, _metric(measurement, budget)))
    for budget in undecided:
        title = _title(f"Inconclusive: {budget.budget}: {budget.reason}", room)
        lines += [*title, *_wrapped("origin", budget.origin, room), ""]
        headlines.append(f"undecided: {budget.budget}")
    if worse or unsure:
        told, said = _comparison(verdict, measurement, metrics, worse or unsure, room)
        lines += told
        headlines += said
    if not lines:
        lines, headlines = (
            [*_title("Inconclusive: the cell was not measured: out of time (--llmci-time-limit)", room), ""],
            ["undecided: out of time"],
        )
    lines += _context(verdict, measurement, repeat, shown, room)
    if worse and not (failed_checks or unlucky):
        lines.append(command_line("if meant", ["llmci baseline accept", verdict.cell, '--reason "..."'], room))
    text, headline = "\n".join(lines), plain("; ".join(headlines))
    if failed:
        return ExplainedBudget(text, headline)
    if worse:
        return ExplainedRegression(text, headline)
    return ExplainedOutput(text, headline) if failed_checks or unlucky else Undecided(text, headline)


UNDECIDED: Final = ("inconclusive", "not comparable", "lost coverage")
"""Verdicts of a comparison that are no pass and prove nothing."""


LONGEST_CHECK: Final = 120
"""Characters of a check's text in a failure: a schema may be pages long, and stands in the log."""


def _check_line(check: CheckResult) -> str:
    """What failed and why; an opinion of a model is told from the verdict of a rule."""
    name = check.name if len(check.name) <= LONGEST_CHECK else f"{check.name[:LONGEST_CHECK]}..."
    return f"{name}{f' (judged by {check.judged_by})' if check.judged_by else ''}: {check.message}"


def _comparison(
    verdict: VerdictRecord, measurement: CellMeasurement | None, metrics: Mapping[str, MetricDef], told: Sequence[ComparisonResult],
    room: int,
) -> tuple[list[str], list[str]]:  # fmt: skip
    """The lines of a comparison and the headline of each result that is told."""
    from ..comparisons.explain_comparison import comparison_block, regression_title
    from ..comparisons.slowdown import of_record, slowdown_lines

    word = "RegressionDetected" if told[0].verdict == "regressed" else "Inconclusive"
    titles = [
        regression_title(result, metrics[result.metric])
        if result.verdict == "regressed" and result.metric in metrics
        else f"{result.metric} against {one_line(result.against)}: {result.reason or 'not decided'}"
        for result in told
    ]
    lines = [line for title in titles for line in _title(f"{word}: {title}", room)]
    lines += ["", *comparison_block(verdict.comparisons, measurement, metrics, room)]
    if verdict.slowdown is not None:
        lines += slowdown_lines(of_record(verdict.slowdown), room)
    return [*lines, ""], titles


def _samples(
    result: SampleResult | None,
    measurement: CellMeasurement | None,
    shown: Callable[[str], str],
    room: int,
    *,
    fail_undecided: bool,
) -> tuple[list[str], list[str]]:
    """The lines of samples that pass too rarely, with some that did not, and the headline; nothing where they are no failure."""
    if result is not None and result.verdict == "inconclusive" and fail_undecided:
        return [*_title(f"Inconclusive: {result.reason}", room), ""], [
            f"undecided: {result.passed} of {result.n} samples passed"
        ]
    if result is None or result.verdict != "failed":
        return [], []
    from ..sampling import percent, sampled_inputs

    wanted = "every one must" if result.min_pass_rate == 1 else f"{percent(result.min_pass_rate)} are wanted"
    headline = f"{result.passed} of {result.n} samples passed, {wanted}"
    lines = [*_title(f"InvalidOutput: {headline}", room), "", *_wrapped("decided", result.reason, room)]
    texts = [sample.text for sample in sampled_inputs(measurement)] if measurement is not None else []
    for failure in result.failures:
        told = f"{failure.number}, seed {failure.seed}: {failure.check}: {failure.message}"
        lines += _wrapped("sample", told, room)
        if failure.number <= len(texts):
            lines.append(" " * 13 + _quoted(shown(texts[failure.number - 1]), room - 15))
    return [*lines, ""], [headline]


_CLASSES: Final = {
    "crashed": "WorkerCrashed",
    "timeout": "WorkerTimeout",
    "protocol": "WorkerProtocolError",
    "given_up": "ModelGivenUp",
    "tool": "LLMCIError",
}
"""Kind of an error that is not the model source's -> the class it had."""


def explain_error(error: ErrorInfo, room: int = WIDTH) -> ExplainedError:
    """A failure of the model or its process, with the evidence, in lines of at most that many columns."""
    title = f"{_CLASSES.get(error.kind, 'BackendError')}: {plain(error.message)}"
    lines = (
        _title(title, room) if error.kind in _CLASSES else [title]
    )  # what the model source says may have lines of its own
    if error.facts:
        lines += ["", *fact_lines(error.facts, room)]
    return ExplainedError("\n".join(lines), one_line(error.message))


def fact_lines(facts: Mapping[str, str], room: int = WIDTH) -> list[str]:
    """Evidence as label and text, one below the other."""
    return [
        line
        for label, text in facts.items()
        for line in _wrapped(label, shown_path(text) if label == "stderr" else text, room)
    ]


def _metric(measurement: CellMeasurement | None, budget: BudgetResult) -> MetricDef | None:
    for known in measurement.plan.budgets if measurement else ():
        if known.metric.name == budget.metric:
            return known.metric
    return None


def _budget_lines(budget: BudgetResult, metric: MetricDef | None, room: int) -> list[str]:
    if budget.observed is None or metric is None:
        title = f"BudgetExceeded: {budget.budget}: {budget.reason}"
        return [*_title(title, room), *_wrapped("origin", budget.origin, room)]
    from .headlines import told_apart

    observed, limit = told_apart(budget.observed, budget.limit, metric)
    over = {"<=": "over", "<": "not under", ">=": "under", ">": "not over", "==": "not"}[budget.operator]
    title = f"BudgetExceeded: {budget.metric} {observed} is {over} {limit}"
    excess = _excess(budget, metric)
    first = f"  {budget.metric:<10} {budget.statistic} of {_counted(budget.rounds, metric)}: {observed}"
    sample = _sample(budget.values, metric)
    whence = f"  {'limit':<10} {limit}    from {budget.origin}"
    return [
        *_beside(title, excess, room),
        "",
        *(
            [f"{first}    {sample}".rstrip()]
            if len(first) + len(sample) + 4 <= room
            else [first, *_wrapped("", sample, room)]
        ),
        *(
            [whence]
            if width(whence) <= room
            else [f"  {'limit':<10} {limit}", *_wrapped("", f"from {budget.origin}", room)]
        ),
        *_wrapped("decided", budget.reason, room),
    ]


def _counted(number: int, metric: MetricDef) -> str:
    what = "process start" if metric.scope == "worker" else "round"
    return f"{number} {what}{'' if number == 1 else 's'}"


def _title(text: str, room: int) -> list[str]:
    return wrapped(text, room, rest="  ")


def _beside(title: str, excess: str, room: int) -> list[str]:
    """The title, and how far it was missed at the right edge of the screen."""
    if not excess:
        return _title(title, room)
    if len(title) + len(excess) + 2 <= room:
        return [title + excess.rjust(room - len(title))]
    return [*_title(title, room), excess.rjust(room)]


def _wrapped(label: str, text: str, room: int) -> list[str]:
    return wrapped(text, room, first=f"  {label:<10} ", rest=" " * 13)


def _excess(budget: BudgetResult, metric: MetricDef) -> str:
    if not budget.limit or budget.observed is None:
        return ""
    share = abs(budget.observed / budget.limit - 1)
    if share < 0.005:
        return ""
    if share >= MANY_TIMES:
        return f"({budget.observed / budget.limit:,.0f} times the limit)"
    word = {"s": "too much" if metric.group == "cpu" else "too slow", "B": "too much"}.get(
        metric.unit, "too low" if budget.operator.startswith(">") else "too high"
    )
    return f"({share:.0%} {word})".replace("%", " %")


def _sample(values: Sequence[float], metric: MetricDef) -> str:
    """The sorted sample, its unit once: ``2.37 2.40 2.41 s``."""
    if len(values) < 2:
        return ""
    texts = [format_quantity(value, metric.unit) for value in sorted(values)[:20]]
    units = {text.partition(" ")[2] for text in texts}
    dots = " ..." if len(values) > 20 else ""
    if len(units) == 1:
        return " ".join(text.partition(" ")[0] for text in texts) + f"{dots} {units.pop()}".rstrip()
    return ", ".join(texts) + dots


def _context(
    verdict: VerdictRecord, measurement: CellMeasurement | None, repeat: Sequence[str], shown: Callable[[str], str],
    room: int,
) -> list[str]:  # fmt: skip
    lines = []
    if verdict.rounds:
        noisy = verdict.noisy_rounds
        lines.append(f"  {'noise':<10} {noisy or 'none'} of {verdict.rounds} round{'' if verdict.rounds == 1 else 's'}")
    if measurement is not None:
        through = " (chat template)" if any(block.templated for block in measurement.blocks) else ""
        prompt = _quoted(shown(measurement.cell.prompt.shown), room - 15 - len(through))
        lines.append(f"  {'prompt':<10} {prompt}{through}")
        for block in measurement.whole_blocks[:1]:
            tokens = block.values.get("output_tokens", [None])[0]
            count = f" ({tokens} token{'' if tokens == 1 else 's'})" if tokens is not None else ""
            lines += [
                f"  {'output':<10} {_quoted(shown(text), room - 15 - len(count))}{count}" for text in block.outputs[:1]
            ]
    return [*lines, command_line("repeat", repeat, room)]


def command_line(label: str, parts: Sequence[str], room: int = WIDTH) -> str:
    """The command, wrapped as a POSIX shell wraps it, so that all its lines can be copied as they are."""
    text = f"  {label:<10} {parts[0]}"
    if os.name != "posix":
        return " ".join([text, *parts[1:]])
    width = len(text)
    for number, part in enumerate(parts[1:], start=2):
        fits = room if number == len(parts) else room - 2  # the backslash
        if width + 1 + len(part) <= fits:
            text, width = f"{text} {part}", width + 1 + len(part)
        else:
            text, width = f"{text}{_GOES_ON}{part}", len(_GOES_ON) - 3 + len(part)
    return text


def with_commands_unwrapped(text: str) -> str:
    """The explanation for where each line gets a margin: there only what stands on one line can be copied."""
    return text.replace(_GOES_ON, " ")


def _quoted(text: str, room: int) -> str:
    line = one_line(text)
    return f'"{line}"' if width(line) + 2 <= room else f'"{clipped(line, room - 6)} ..."'
