"""Runs the exemplars that checks ship: what ``llmci doctor`` and the tests look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..errors import CheckError, ConfigError, MissingExtraError, MissingValue, described
from ..records import CheckResult, Prompt
from ..registry import Registry
from . import parse_check
from .base import CheckInput, Exemplar, NoModel

State = Literal["right", "wrong", "not run"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExemplarResult:
    """What a check said of one of its exemplars."""

    name: str
    """Registered name of the check; several exemplars of one may have different arguments."""
    check: str
    text: str
    context: str
    """What else the check was told: ``reference: Paris``; empty if nothing."""
    passes: bool
    """What it must say."""
    state: State
    message: str
    """What it said, or why it was not run or is wrong."""


class _Scripted:
    """Models that answer what the exemplar says."""

    def __init__(self, exemplar: Exemplar) -> None:
        self._exemplar = exemplar

    def score(self, context: str, continuation: str) -> Sequence[float]:
        return self._exemplar.logprobs or NoModel().score(context, continuation)

    def ask(self, model: str, question: str, *, max_new_tokens: int) -> str:
        return self._exemplar.verdict or NoModel().ask(model, question, max_new_tokens=max_new_tokens)

    def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return self._exemplar.vectors or NoModel().embed(model, texts)


NONE: Final = "it ships no exemplar; every check needs one that passes and one that fails."


def run_exemplars(registry: Registry, names: Iterable[str] | None = None) -> Iterator[ExemplarResult]:
    """Run the exemplars of the checks of a registry.

    :param names: of which checks; None: of all of them.
    """
    for name in registry.names("check") if names is None else names:
        try:
            factory = registry.load("check", name, "exemplars")
        except MissingExtraError as error:
            yield _result(name, "not run", str(error))
            continue
        except ConfigError as error:
            yield _result(name, "wrong", str(error))
            continue
        shipped: Sequence[Exemplar] = getattr(factory, "exemplars", ())
        if not shipped:
            yield _result(name, "wrong", NONE)
        for exemplar in shipped:
            yield run_exemplar(name, exemplar, registry)


def _result(name: str, state: State, message: str) -> ExemplarResult:
    return ExemplarResult(name=name, check=name, text="", context="", passes=False, state=state, message=message)


def run_exemplar(name: str, exemplar: Exemplar, registry: Registry) -> ExemplarResult:
    """Run one exemplar of the check of that name."""
    try:
        check = parse_check(exemplar.check, registry, "exemplar")
    except MissingExtraError as error:
        return _told(name, exemplar, "not run", str(error))
    except ConfigError as error:
        return _told(name, exemplar, "wrong", str(error))
    output = CheckInput(
        text=exemplar.text, finish_reason=exemplar.finish_reason, special_only=exemplar.special_only, values=exemplar.values,
        prompt=Prompt(id="exemplar", text=exemplar.prompt, reference=exemplar.reference), services=_Scripted(exemplar),
    )  # fmt: skip
    try:
        result = check(output)
    except (CheckError, MissingValue) as error:
        result = CheckResult(name=exemplar.check, passed=False, message=str(error))
    except Exception as error:  # noqa: BLE001  # a check is foreign code
        return _told(name, exemplar, "wrong", f"it raised {described(error)}")
    if not isinstance(result, CheckResult):
        return _told(name, exemplar, "wrong", f"it returned {result!r:.80}, expected a pytest_llmci.CheckResult")
    is_right = result.passed == exemplar.passes and exemplar.says in result.message
    if result.passed == exemplar.passes and not is_right:
        return _told(name, exemplar, "wrong", f"expected {exemplar.says!r} in its message: {result.message}")
    return _told(name, exemplar, "right" if is_right else "wrong", result.message)


def _told(name: str, exemplar: Exemplar, state: State, message: str) -> ExemplarResult:
    return ExemplarResult(
        name=name,
        check=exemplar.check,
        text=exemplar.text,
        context=context_of(exemplar),
        passes=exemplar.passes,
        state=state,
        message=message,
    )


def context_of(exemplar: Exemplar) -> str:
    """What else the check is told of an exemplar, for people."""
    parts = [
        f"reference: {exemplar.reference}" if exemplar.reference is not None else "",
        f"finish reason: {exemplar.finish_reason}" if exemplar.finish_reason != "stop" else "",
        "special tokens only" if exemplar.special_only else "",
        *(f"{name}: {value}" for name, value in exemplar.values.items()),
        f"log-probabilities: {', '.join(map(str, exemplar.logprobs))}" if exemplar.logprobs else "",
        f"vectors: {', '.join(map(str, exemplar.vectors))}" if exemplar.vectors else "",
        f"the judge says: {exemplar.verdict}" if exemplar.verdict else "",
    ]
    return "; ".join(filter(None, parts))
