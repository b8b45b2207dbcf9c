"""What can be known to be wrong with a model before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import BackendError, ConfigError
from ..records import ModelSpec
from ..registry import Registry
from ..runner.worker import interpreter_of, threads_of
from ..stats.budget_expression import Budget
from .judge import unmeasurable


class Preflight:
    """Asks each model source what it knows beforehand; every model is asked once."""

    def __init__(self, registry: Registry, sys_path: Sequence[str]) -> None:
        self._registry = registry
        self._sys_path = sys_path
        self._seen: dict[str, Mapping[str, str]] = {}

    def check(self, spec: ModelSpec, budgets: Iterable[Budget]) -> None:
        """Refuse a model that cannot be loaded, or a budget that it can never meet.

        :raises ConfigError: one line.
        """
        if spec.text not in self._seen:
            self._seen[spec.text] = self._ask(spec)
        for budget, reason in unmeasurable(budgets, self._seen[spec.text]):
            raise ConfigError(f"{budget.origin}: '{budget.text}' can never be judged for {spec.alias}: {reason}.")

    def _ask(self, spec: ModelSpec) -> Mapping[str, str]:
        threads_of(spec, 1)
        factory: Any = self._registry.load("backend", spec.backend, f"model '{spec.text}'")
        preflight = getattr(factory, "preflight", None)
        if preflight is not None and interpreter_of(spec) == interpreter_of(ModelSpec(alias="-", backend="-")):
            try:
                preflight(spec, self._sys_path)
            except BackendError as error:
                raise ConfigError(str(error)) from error
        knows = getattr(factory, "unmeasurable", None)
        found: Mapping[str, str] = knows(spec) if knows is not None else {}
        return found
