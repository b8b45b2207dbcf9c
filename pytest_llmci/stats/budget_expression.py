"""Budgets as people write them: ``[model-glob:]metric[.statistic] OP value``, such as ``smol*: tokens_per_s >= 20``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Final, Literal, TypeAlias

from ..errors import ConfigError, UnknownNameError
from ..metrics import STATISTICS, MetricDef
from ..units import Unit, format_quantity, parse_quantity

Operator: TypeAlias = Literal["<=", "<", ">=", ">", "=="]
OPERATORS: Final[tuple[Operator, ...]] = ("<=", "<", ">=", ">", "==")
QUANTILES: Final[Mapping[str, float]] = {"p90": 0.90, "p95": 0.95, "p99": 0.99}
BUDGET_STATISTICS: Final = tuple(name for name in STATISTICS if name not in ("n", "std"))
"""What a budget may name; neither a count of rounds nor their spread is a property that few rounds can be held to."""
_CENTRES: Final = frozenset({"median", "mean"})
_MUST_BE_POSITIVE: Final[frozenset[Unit]] = frozenset({"s", "1/s", "B/s"})
_SIGNED: Final[frozenset[Unit]] = frozenset({"1"})
_EXPRESSION: Final = re.compile(r"(?P<head>[^<>=≤≥]*?)\s*(?P<operator>[<>=≤≥]+)\s*(?P<value>.*)\Z", re.DOTALL)
_EXAMPLE: Final = "write it like 'ttft.median <= 300ms' or 'smol*: tokens_per_s >= 20'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """One limit that every cell of the models it applies to must meet."""

    text: str
    """As written."""
    origin: str
    """Where it was written."""
    model_glob: str
    """Shell pattern over model aliases, upper and lower case distinguished; ``*`` where none was written."""
    metric: MetricDef
    statistic: str
    """One of :data:`BUDGET_STATISTICS`."""
    operator: Operator
    limit: float
    """SI."""

    def applies_to(self, alias: str) -> bool:
        """Whether the model of that alias must meet it."""
        return fnmatchcase(alias, self.model_glob)

    @property
    def statistical(self) -> bool:
        """True where it is decided by a test and takes a share of the session's false alarms; else numbers compare."""
        direct = self.metric.deterministic or self.metric.scope == "worker"
        return not direct and (self.statistic in _CENTRES or self.statistic in QUANTILES)

    @property
    def is_upper(self) -> bool:
        """True for ``<=`` and ``<``."""
        return self.operator in ("<=", "<")

    @property
    def shown(self) -> str:
        """Without the model: ``latency.median <= 2 s``."""
        return f"{self.metric.name}.{self.statistic} {self.operator} {format_quantity(self.limit, self.metric.unit)}"

    def is_met_by(self, value: float) -> bool:
        """Whether that number is on the good side of the limit.

        :param value: SI.
        """
        if self.operator == "<=":
            return value <= self.limit
        if self.operator == "<":
            return value < self.limit
        if self.operator == ">=":
            return value >= self.limit
        return value > self.limit if self.operator == ">" else value == self.limit


def parse_budget(text: str, origin: str, metrics: Mapping[str, MetricDef]) -> Budget:
    """Read one budget.

    The statistic defaults to the median where rounds differ by noise, and for deterministic metrics to the worst round:
    ``max``, or ``min`` under ``>=`` and ``>``.

    :param text: as the user wrote it.
    :param origin: the option, marker or file position, for messages.
    :param metrics: every metric that can be measured, by name.
    :raises ConfigError: in one line, if it is malformed, names an unknown metric or statistic, has a value of another
        unit or one that nothing can meet, or would fail the better models.

    >>> latency = MetricDef(name="latency", unit="s", direction="lower", definition="")
    >>> parse_budget("smol*: latency <= 300ms", "--llmci-budget", {"latency": latency}).shown
    'latency.median <= 300 ms'
    """
    text = " ".join(text.split())
    where = f"{origin}: budget '{text}'"
    match = _EXPRESSION.match(text)
    if match is None or not match["head"] or not match["value"]:
        raise ConfigError(f"{where} is not of the form [model-glob:]metric[.statistic] OP value; {_EXAMPLE}.")
    operator = _operator(match["operator"], where)
    glob, metric, named = _subject(match["head"], where, metrics)
    statistic = _statistic(named, metric, operator, where)
    prefix = "" if glob == "*" else f"{glob}: "
    _check_direction(f"{prefix}{match['head'].rpartition(':')[2].strip()}", metric, operator, match["value"], where)
    limit = _limit(match["value"], metric, where)
    return Budget(
        text=text, origin=origin, model_glob=glob, metric=metric, statistic=statistic, operator=operator, limit=limit
    )  # fmt: skip


def _operator(text: str, where: str) -> Operator:
    if text in OPERATORS:
        return text
    raise ConfigError(f"{where}: operator '{text}' is none of {', '.join(OPERATORS)}; {_EXAMPLE}.")


def _subject(head: str, where: str, metrics: Mapping[str, MetricDef]) -> tuple[str, MetricDef, str | None]:
    glob, colon, rest = head.rpartition(":")
    if colon and not glob.strip():
        raise ConfigError(f"{where} names no model before the ':'; {_EXAMPLE}.")
    if "," in glob:
        raise ConfigError(f"{where}: no model is called '{glob}', with a comma; give each limit an option of its own.")
    name, dot, statistic = rest.strip().partition(".")
    if name not in metrics:
        if name == "cost":
            raise ConfigError(
                f"{where}: cost needs a price; name one with --llmci-prices, such as --llmci-prices=gcp-a100."
            )
        raise UnknownNameError.build(where, "metric", name, metrics)
    return glob.strip() or "*", metrics[name], statistic if dot else None


def _statistic(named: str | None, metric: MetricDef, operator: Operator, where: str) -> str:
    if metric.scope == "task":  # a benchmark, or the mean over all of them
        return named or "mean"
    if named is None:
        worst = "min" if operator in (">=", ">") else "max"
        return worst if metric.deterministic else "median"
    if named in ("n", "std"):
        raise ConfigError(f"{where}: '{named}' is nothing that few rounds can be held to; use median, p95 or max.")
    if named not in BUDGET_STATISTICS:
        raise UnknownNameError.build(where, "statistic", named, BUDGET_STATISTICS)
    return named


def _check_direction(subject: str, metric: MetricDef, operator: Operator, value: str, where: str) -> None:
    if operator == "==":
        if not metric.deterministic:
            right = ">=" if metric.direction == "higher" else "<="
            raise ConfigError(
                f"{where}: {metric.name} differs from round to round, so '==' never holds;"
                f" write '{subject} {right} {value}'."
            )
        return
    better = {"lower": "<", "higher": ">"}.get(metric.direction)
    if better is not None and operator[0] != better:
        right = better + operator[1:]
        raise ConfigError(
            f"{where} would fail the better models: {metric.name} is better when {metric.direction};"
            f" write '{subject} {right} {value}'."
        )


def _limit(text: str, metric: MetricDef, where: str) -> float:
    limit = parse_quantity(text, metric.unit, where)
    if metric.unit in _MUST_BE_POSITIVE and limit <= 0:
        raise ConfigError(f"{where}: the limit of {metric.name} must be more than zero.")
    if metric.unit not in _SIGNED and limit < 0:
        raise ConfigError(f"{where}: the limit of {metric.name} must not be negative.")
    return limit


def max_latency_budget(text: str, origin: str, metrics: Mapping[str, MetricDef]) -> Budget:
    """The budget that ``--llmci-max-latency [GLOB:]2s`` stands for: median latency.

    :raises ConfigError: as :func:`parse_budget`.
    """
    return _shorthand(text, "latency.median", "2s", origin, metrics)


def max_memory_budget(text: str, origin: str, metrics: Mapping[str, MetricDef]) -> Budget:
    """The budget that ``--llmci-max-memory [GLOB:]2GiB`` stands for: the largest peak RSS of any round.

    :raises ConfigError: as :func:`parse_budget`.
    """
    return _shorthand(text, "peak_rss.max", "2GiB", origin, metrics)


def _shorthand(text: str, subject: str, example: str, origin: str, metrics: Mapping[str, MetricDef]) -> Budget:
    glob, colon, value = text.rpartition(":")
    if not value.strip() or (colon and not glob.strip()) or _EXPRESSION.match(value):
        shown = " ".join(text.split())
        raise ConfigError(
            f"{origin}: '{shown}' is not of the form [model-glob:]limit; write it like {example} or 'smol*:{example}'."
        )
    return parse_budget(f"{glob}: {subject} <= {value}" if colon else f"{subject} <= {value}", origin, metrics)


_ORDER: Final = ("min", "median", "p90", "p95", "p99", "max")


def check_contradictions(budgets: Sequence[Budget]) -> None:
    """Refuse two budgets that no value can meet together, where a model may have to meet both.

    Statistics count as the same where their order forces the contradiction: ``min >= 50`` leaves no room for
    ``max <= 40``.

    :raises ConfigError: naming both and where they were written.
    """
    for first, second in combinations(budgets, 2):
        if first.metric.name != second.metric.name or not (_excludes(first, second) or _excludes(second, first)):
            continue
        if _globs_overlap(first.model_glob, second.model_glob):
            raise ConfigError(
                f"{first.origin}: budget '{first.text}' contradicts '{second.text}' ({second.origin}):"
                f" no {first.metric.name} meets both; remove one or give them different models."
            )


def _excludes(lower: Budget, upper: Budget) -> bool:
    """Whether the lower bound that the one sets lies above the upper bound that the other sets."""
    if lower.is_upper or upper.operator in (">=", ">") or not _never_greater(lower.statistic, upper.statistic):
        return False
    strict = lower.operator == ">" or upper.operator == "<"
    return lower.limit > upper.limit or (strict and lower.limit == upper.limit)


def _never_greater(one: str, other: str) -> bool:
    if one in (other, "min") or other == "max":
        return True
    return one in _ORDER and other in _ORDER and _ORDER.index(one) <= _ORDER.index(other)


_GLOB_PART: Final = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_ALIAS_CHARACTERS: Final = tuple(map(chr, range(33, 127)))


def _globs_overlap(one: str, other: str) -> bool:
    """Whether any alias matches both shell patterns."""
    left, right = _GLOB_PART.findall(one), _GLOB_PART.findall(other)
    reachable = {(0, 0)}  # pairs of positions that some common beginning leads to
    for i in range(len(left) + 1):
        for j in range(len(right) + 1):
            if (i, j) in reachable:
                reachable |= _steps(left, right, i, j)
    return (len(left), len(right)) in reachable


def _steps(left: list[str], right: list[str], i: int, j: int) -> set[tuple[int, int]]:
    """Every pair of positions that one more character, or a star taken as empty, leads to."""
    at_left, at_right = left[i] if i < len(left) else "", right[j] if j < len(right) else ""
    steps = set()
    if at_left.startswith("*"):
        steps |= {(i + 1, j)} | ({(i, j + 1)} if at_right else set())
    if at_right.startswith("*"):
        steps |= {(i, j + 1)} | ({(i + 1, j)} if at_left else set())
    if at_left and at_right and any(fnmatchcase(c, at_left) and fnmatchcase(c, at_right) for c in _ALIAS_CHARACTERS):
        steps.add((i + 1, j + 1))
    return steps


def matching(budgets: Iterable[Budget], alias: str, *, load: bool = False) -> tuple[Budget, ...]:
    """The budgets that apply to a model's cells.

    :param load: those of its cells under load, of which no single answer is measured, instead of all others.
    """
    not_of_these = frozenset({"task", "round", "memory"} if load else {"task", "load"})
    return tuple(budget for budget in budgets if budget.applies_to(alias) and budget.metric.scope not in not_of_these)


def of_tasks(budgets: Iterable[Budget], alias: str) -> tuple[Budget, ...]:
    """The budgets on scores that apply to a model."""
    return tuple(budget for budget in budgets if budget.applies_to(alias) and budget.metric.scope == "task")


def unmeasurable(budgets: Iterable[Budget], known: Mapping[str, str]) -> list[tuple[Budget, str]]:
    """Budgets on metrics that a model can never have, with the reason."""
    return [(budget, known[budget.metric.name]) for budget in budgets if budget.metric.name in known]
