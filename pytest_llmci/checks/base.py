"""What a check is: an assertion on the output of one cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, NoReturn, Protocol

from ..errors import CheckError, MissingValue
from ..quick_records import quickly_made
from ..records import CheckResult, Missing, ModelSpec, Number, Prompt


class Services(Protocol):
    """What a check may ask of models. Whatever cannot be had raises CheckError with one line."""

    def score(self, context: str, continuation: str) -> Sequence[float]:
        """Natural log-probability of each token of the continuation, by the model that made the output."""

    def score_output(self) -> Sequence[float]:
        """Natural log-probability of each token of the output after its prompt, by the model that made it."""

    def score_after_prompt(self, text: str) -> Sequence[float]:
        """Natural log-probability of each token of another text after the output's prompt, chat template included."""

    def ask(self, model: str, question: str, *, max_new_tokens: int) -> str:
        """The greedy answer of another model, named by alias or spec."""

    def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector of each text, by a model2vec model: a folder or a name on the hub."""


class NoModel:
    """Where no model is loaded: stored outputs, checks outside of a session."""

    def score(self, context: str, continuation: str) -> NoReturn:
        raise CheckError(
            "it needs the model that made the answer, and none is loaded here; run the test with the model."
        )

    def score_output(self) -> NoReturn:
        self.score("", "")

    def score_after_prompt(self, text: str) -> NoReturn:
        self.score("", text)

    def ask(self, model: str, question: str, *, max_new_tokens: int) -> NoReturn:
        raise CheckError(f"it needs the model '{model}', and no model is loaded here; run the test with models.")

    def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        from .embeddings import vectors  # which imports this module

        return vectors(model, texts)  # it needs no process of its own


NO_MODEL: Final = NoModel()


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckInput:
    """One distinct output of a cell, with what a check may want to know of it."""

    text: str
    finish_reason: str
    special_only: bool = False
    """True where the model produced tokens and all of them were special ones."""
    prompt: Prompt
    model: ModelSpec | None = None
    """Which one made it; None where that is not known."""
    templated: bool = False
    """True where the prompt went through the model's chat template."""
    token_ids: tuple[int, ...] = ()
    """Its tokens as the model source numbers them; empty where it tells none."""
    values: Mapping[str, Number] = field(default_factory=dict)
    """Metric -> its number (SI) in the round that gave the output, the first one of several, or why there is none."""
    services: Services = NO_MODEL

    def with_services(self, services: Services) -> CheckInput:
        """The same with what it may ask of models."""
        return CheckInput(
            text=self.text, finish_reason=self.finish_reason, special_only=self.special_only, prompt=self.prompt, model=self.model,
            templated=self.templated, token_ids=self.token_ids, values=self.values, services=services,
        )  # fmt: skip

    def value(self, metric: str) -> float:
        """A number of the round that gave the output, in SI units.

        :raises MissingValue: with the reason, if there is none.
        """
        found = self.values.get(metric, Missing(f"{metric} was not measured"))
        if isinstance(found, Missing):
            raise MissingValue(f"{metric} is missing: {found.reason}")
        return found

    def reference(self, own: str | None = None) -> str:
        """What the output is compared with: what the check says, else the prompt's.

        :raises CheckError: if there is none.
        """
        found = self.prompt.reference if own is None else own
        if found is None or not found.strip():
            raise CheckError(
                "there is no reference to compare with; give the prompt's row the key 'reference', or write one in the check."
            )
        return found


class Check(Protocol):
    """Built as ``Factory(argument)`` from ``name`` or ``name:argument``; raises ConfigError on an argument it cannot read."""

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output.

        :raises CheckError: if it cannot be judged; the test fails with that line, whether or not the check stands under ``not``.
        """


Parse = Callable[[str], Check]
"""Builds the check that a text names; for checks that hold others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exemplar:
    """An output whose verdict is known: what a check ships to show, and to prove, what it does."""

    check: str
    text: str
    passes: bool
    says: str = ""
    """What its message must hold."""
    finish_reason: str = "stop"
    special_only: bool = False
    prompt: str = "?"
    reference: str | None = None
    values: Mapping[str, Number] = field(default_factory=dict)
    logprobs: tuple[float, ...] = ()
    """What the model's scores of the output are, for checks that ask for them."""
    vectors: tuple[tuple[float, ...], ...] = ()
    """Of the output and the reference, for checks that ask for them."""
    verdict: str = ""
    """What the other model answers, for checks that ask one."""


class BuiltIn:
    """What the package's own checks share: the text that stands for them, and results that carry it."""

    name: ClassVar[str]
    exemplars: ClassVar[tuple[Exemplar, ...]]
    needs_reference = False
    """True where the prompt must have one."""
    asks_models = True
    """False where the text is judged without asking any (:attr:`CheckInput.services`)."""

    def __init__(self, argument: str = "") -> None:
        self.text = f"{self.name}:{argument}" if argument else self.name

    def passed(self, message: str) -> CheckResult:
        """The output passes."""
        return CheckResult(name=self.text, passed=True, message=message)

    def failed(self, message: str) -> CheckResult:
        """The output fails."""
        return CheckResult(name=self.text, passed=False, message=message)
