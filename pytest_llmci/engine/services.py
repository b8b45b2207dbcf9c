"""What checks may ask of live models: log-probabilities by the model that made an output, and the opinion of another one.

Both are asked after the measuring, and neither is recorded as a measurement. A model that judges stays loaded beside the one
that is tested, or each of its opinions would cost two loads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..checks.base import NO_MODEL, CheckInput
from ..errors import CheckError, LLMCIError
from ..records import GenerationSettings, Message, ModelSpec, Prompt, Role, RoundRecord, RunRequest
from ..text import one_line

if TYPE_CHECKING:
    from ..runner.worker import ModelWorker
    from .session import BenchSession

T = TypeVar("T")
OpenModel = Callable[[str], ModelSpec]
"""The model of an alias or spec; raises ConfigError."""


class LiveServices:
    """For the checks on one output."""

    def __init__(self, session: BenchSession, output: CheckInput, open_model: OpenModel) -> None:
        self._session = session
        self._output = output
        self._open = open_model

    def score(self, context: str, continuation: str) -> Sequence[float]:
        """Natural log-probabilities of the continuation's tokens, by the model that made the output."""
        spec = self._output.model
        if spec is None:
            raise CheckError("it is not known which model made the output.")
        return self._asked(spec, lambda worker: worker.score(context, continuation), "score")

    def ask(self, model: str, question: str, *, max_new_tokens: int) -> str:
        """The greedy answer of another model."""
        try:
            spec = self._open(model)
        except LLMCIError as error:
            raise CheckError(one_line(str(error))) from error
        is_another = self._output.model is None or spec.alias != self._output.model.alias
        if is_another:
            self._session.pool.make_room(2)
        prompt = Prompt(id="judge", messages=(Message(role="user", content=question),), source="check")
        settings = GenerationSettings(max_new_tokens=max_new_tokens)
        request = RunRequest(cell="judge", prompt=prompt, generation=settings, rounds=1, warmup=0)
        rounds: list[RoundRecord] = []
        self._asked(
            spec, lambda worker: worker.run(request, rounds.append), "judge", "judge" if is_another else "timing"
        )
        return rounds[0].completion.text

    def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector of each text; in pytest's own process, by a library that is light."""
        return NO_MODEL.embed(model, texts)

    def _asked(self, spec: ModelSpec, request: Callable[[ModelWorker], T], what: str, role: Role = "timing") -> T:
        about = Prompt(id=f"check-{what}", text=f"a check's request: {what}", source="check")
        try:
            return self._session.ask(spec, request, about, role=role)
        except LLMCIError as error:
            raise CheckError(f"the model {spec.alias} could not be asked: {one_line(str(error))}") from error
