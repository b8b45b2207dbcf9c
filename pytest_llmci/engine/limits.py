"""What can be known to be wrong with a model before anything is loaded."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from ..errors import FOREIGN_ERRORS, BackendError, ConfigError, described
from ..measure.cuda import VISIBLE_DEVICES, absent_device
from ..measure.energy import ENERGY_NAMES, Rapl
from ..measure.gpu import GPU_NAMES
from ..records import GenerationSettings, Missing, ModelSpec, Prompt
from ..registry import Registry
from ..runner.placement import cpus_of, interpreter_of, threads_of
from ..stats.budget_expression import Budget, unmeasurable

NEEDS_A_PROCESS: Final = "the memory pass needs a process of its own (--llmci-isolation=worker)"
NO_MEMORY_PASS: Final = "there is no memory pass (--llmci-memory=off)"
_COUNT = "output_tokens"
_OF_DEVICES: Final = frozenset({*GPU_NAMES, *ENERGY_NAMES})
_AFTER_THE_FIRST_TOKEN = frozenset({"itl", "tpot", "decode_tokens_per_s"})


class Preflight:
    """Asks each model source what it knows beforehand; every model is asked once."""

    def __init__(
        self, registry: Registry, sys_path: Sequence[str], *, isolation: str = "worker", threads: int = 1,
        memory: str = "auto", asks: bool = True,
    ) -> None:  # fmt: skip
        """:param asks: False where no model will be loaded, so that none has to be there."""
        self._asks = asks
        self._registry = registry
        self._sys_path = sys_path
        self._isolation = isolation
        self._threads = threads
        self._memory = memory
        self._seen: dict[str, Mapping[str, str]] = {}
        self._here: Mapping[str, str] | None = None

    def check(self, spec: ModelSpec, budgets: Iterable[Budget]) -> None:
        """Refuse a model that cannot be loaded, or a budget that it can never meet.

        :raises ConfigError: one line.
        """
        if not self._asks:
            return
        if spec.text not in self._seen:
            self._seen[spec.text] = self._ask(spec)
        budgets = list(budgets)
        known = self._seen[spec.text]
        if any(budget.metric.name in _OF_DEVICES for budget in budgets):
            known = {**self._by_machine(), **known}
        for budget, reason in unmeasurable(budgets, known):
            _refuse(budget, spec, reason)

    def check_length(self, spec: ModelSpec, budgets: Iterable[Budget], generation: GenerationSettings) -> None:
        """Refuse a budget that no answer of that length can meet, where the model source keeps to it.

        :raises ConfigError: one line.
        """
        about_length = [budget for budget in budgets if budget.metric.name in (_COUNT, *_AFTER_THE_FIRST_TOKEN)]
        if not self._asks or not about_length or not self._keeps_length(spec):
            return
        most = generation.max_new_tokens
        for budget in about_length:
            if most == 1 and budget.metric.name in _AFTER_THE_FIRST_TOKEN:
                _refuse(budget, spec, "an answer of one token (max_new_tokens=1) has none after the first")
            too_many = budget.limit >= most if budget.operator == ">" else budget.limit > most
            if budget.metric.name == _COUNT and budget.operator in (">=", ">", "==") and too_many:
                _refuse(
                    budget,
                    spec,
                    f"an answer has at most {most} token{'' if most == 1 else 's'} (max_new_tokens)",
                    "met",
                )

    def check_prompt(self, spec: ModelSpec, prompt: Prompt) -> None:
        """Refuse a length in tokens for a model source that counts none before it answers.

        :raises ConfigError: one line.
        """
        if not prompt.is_open:
            return
        factory: Any = self._registry.load("backend", spec.backend, f"model '{spec.text}'")
        if not hasattr(factory, "count_tokens"):
            raise ConfigError(
                f"{prompt.source}: its length in tokens cannot be met for model '{spec.text}', as backend '{spec.backend}' does not count"
                " the tokens of a prompt; ask for 'words', or leave the model out."
            )

    def _keeps_length(self, spec: ModelSpec) -> bool:
        factory: Any = self._registry.load("backend", spec.backend, f"model '{spec.text}'")
        return getattr(factory, "keeps_length", False) is True

    def _ask(self, spec: ModelSpec) -> Mapping[str, str]:
        threads = threads_of(spec, self._threads)
        if cpus_of(spec) is not None and self._isolation == "inline":
            raise ConfigError(
                f"model '{spec.text}': '+cpus={spec.options['cpus']}' pins the model's own process, and with"
                " --llmci-isolation=inline it has none: leave one of the two away."
            )
        if "python" in spec.options and shutil.which(interpreter_of(spec)) is None:
            raise ConfigError(
                f"model '{spec.text}': +python={spec.options['python']} is no interpreter that can be run; name one, or the folder of a"
                " virtual environment."
            )
        factory: Any = self._registry.load("backend", spec.backend, f"model '{spec.text}'")
        if getattr(factory, "computes_here", False) is True:
            _refuse_absent_device(spec)
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
        return {**self._by_settings(threads), **_unmeasurable(factory, spec)}

    def _by_machine(self) -> Mapping[str, str]:
        """Metric -> reason, for what no model has here; looked at where a budget is on one of these alone."""
        if self._here is None:
            self._here = missing_here(absent_device(visible=os.environ.get(VISIBLE_DEVICES)), Rapl())
        return self._here

    def _by_settings(self, threads: int) -> dict[str, str]:
        """Metric -> reason, for what no model has under these settings."""
        found = {}
        if self._isolation == "inline":
            found["start_time"] = found["cold_start_time"] = "with --llmci-isolation=inline no process is started"
            found["peak_rss_delta"] = NEEDS_A_PROCESS
        elif self._memory == "off":
            found["peak_rss_delta"] = NO_MEMORY_PASS
        if threads != 1:
            found["net_time"] = (
                f"it is defined for one CPU thread, and the model may use {threads or 'as many as it likes'}"
            )
        return found


def _refuse_absent_device(spec: ModelSpec) -> None:
    """:raises ConfigError: if the spec names a device that this machine cannot have, as far as can be told without the framework."""
    device = spec.options.get("device", "")
    kind, _, number = device.partition(":")
    why = (
        absent_device(int(number) if number.isdecimal() else 0, visible=os.environ.get(VISIBLE_DEVICES))
        if kind == "cuda"
        else "it is there on Apple's machines alone"
        if kind == "mps" and sys.platform != "darwin"
        else None
    )
    if why:
        raise ConfigError(f"{spec.text}: +device={device}: {why}; leave the key away, or write +device=cpu.")


def missing_here(no_gpu: str | None, rapl: Rapl) -> dict[str, str]:
    """Metric -> reason, for what no process of this machine can read.

    :param no_gpu: why there is no GPU; None where there may be one, whose board counts energy, too.
    """
    if no_gpu is None:
        return {}
    packages = rapl.read()
    counters = packages.reason if isinstance(packages, Missing) else None
    return {**dict.fromkeys(GPU_NAMES, no_gpu), **(dict.fromkeys(ENERGY_NAMES, counters) if counters else {})}


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


def _refuse(budget: Budget, spec: ModelSpec, reason: str, done: str = "judged") -> NoReturn:
    raise ConfigError(f"{budget.origin}: '{budget.text}' can never be {done} for {spec.alias}: {reason}.")
