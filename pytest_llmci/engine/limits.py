"""What can be known to be wrong with a model before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import FOREIGN_ERRORS, BackendError, ConfigError, described
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
            except ConfigError:
                raise
            except BackendError as error:
                raise ConfigError(str(error)) from error
            except FOREIGN_ERRORS as error:
                raise _broken(spec, "preflight(spec, sys_path)", described(error)) from error
        return _unmeasurable(factory, spec)


def _unmeasurable(factory: Any, spec: ModelSpec) -> Mapping[str, str]:
    knows = getattr(factory, "unmeasurable", None)
    try:
        found: object = knows(spec) if knows is not None else {}
    except FOREIGN_ERRORS as error:
        raise _broken(spec, "unmeasurable(spec)", described(error)) from error
    if not isinstance(found, Mapping):
        raise _broken(spec, "unmeasurable(spec)", f"returned {found!r}, not a mapping of metric to reason")
    return found


def _broken(spec: ModelSpec, method: str, what: str) -> ConfigError:
    return ConfigError(f"model '{spec.text}': the static {method} of backend '{spec.backend}' failed: {what}")
