"""``latency:2s`` and ``cost:0.01``: numbers of the round that gave the output, as a check.

One round decides, the first that gave this output. A limit that has to hold for a model is a budget, which counts with the
noise of the machine (docs/statistics.md).
"""

from __future__ import annotations

import math

from ..errors import CheckError, ConfigError
from ..records import CheckResult
from ..units import format_duration, parse_duration_s
from .arguments import read_number, require_argument
from .base import BuiltIn, CheckInput, Exemplar


class Latency(BuiltIn):
    """Passes where the answer took at most so long, from the request to the last token."""

    name = "latency"
    exemplars = (
        Exemplar(check="latency:2s", text="It is Paris.", values={"latency": 1.5}, passes=True),
        Exemplar(
            check="latency:300ms", text="It is Paris.", values={"latency": 0.45}, passes=False, says="found 450 ms"
        ),
        Exemplar(check="latency:2s", text="It is Paris.", passes=False, says="latency is missing"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        self._limit_s = parse_duration_s(require_argument(argument.strip(), "latency:2s"), "the limit")

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        found = _finite(output, "latency")
        if found <= self._limit_s:
            return self.passed(f"the answer took {format_duration(found)} of at most {format_duration(self._limit_s)}")
        return self.failed(
            f"expected an answer in at most {format_duration(self._limit_s)}, found {format_duration(found)}"
        )


class Cost(BuiltIn):
    """Passes where the answer cost at most so much, in the currency of the prices in force."""

    name = "cost"
    exemplars = (
        Exemplar(check="cost:0.01", text="It is Paris.", values={"cost": 0.002}, passes=True),
        Exemplar(check="cost:0.01", text="It is Paris.", values={"cost": 0.02}, passes=False, says="found 0.02"),
        Exemplar(check="cost:0.01", text="It is Paris.", passes=False, says="no price is known"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        self._limit = read_number(require_argument(argument.strip(), "cost:0.01"), "the limit", "cost:0.01", least=0)
        if math.isnan(self._limit):
            raise ConfigError("the limit must be a number; write it like 'cost:0.01'.")

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        if "cost" not in output.values:
            raise CheckError("there is no cost to compare with the limit: no price is known for this model.")
        found = _finite(output, "cost")
        if found <= self._limit:
            return self.passed(f"the answer cost {found:g} of at most {self._limit:g}")
        return self.failed(f"expected an answer for at most {self._limit:g}, found {found:g}")


def _finite(output: CheckInput, metric: str) -> float:
    found = output.value(metric)
    if not math.isfinite(found):
        raise CheckError(f"{metric} is {found}, which is no measurement.")
    return found
