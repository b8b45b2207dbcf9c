"""What checks may ask of live models: log-probabilities by the model that made an output, and the opinion of another one.

Both are asked after the measuring, and neither is recorded as a measurement. A model that judges stays loaded beside the one
that is tested, or each of its opinions would cost two loads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..checks.base import NO_MODEL, CheckInput
from ..errors import CheckError, LLMCIError
from ..records import GenerationSettings, Message, ModelSpec, Prompt, Role, RoundRecord, RunRequest, to_json
from ..runner.wire import pack_arguments
from ..text import one_line

if TYPE_CHECKING:
    from ..runner.model_worker import ModelWorker
    from .session import BenchSession

T = TypeVar("T")
LOGPROBS: Final = "pytest_llmci.backends.answer_scores:logprobs"
Known = dict[tuple[str, ...], Any]
"""What was asked -> the answer."""
OpenModel = Callable[[str], ModelSpec]
"""The model of an alias or spec; raises ConfigError."""


class LiveServices:
    """For the checks on one output."""

    def __init__(self, session: BenchSession, output: CheckInput, open_model: OpenModel, known: Known) -> None:
        """:param known: answers to earlier requests: a cell that is compared is judged twice."""
        self._known = known
        self._session = session
        self._output = output
        self._open = open_model

    def score(self, context: str, continuation: str) -> Sequence[float]:
        """Natural log-probabilities of the continuation's tokens, by the model that made the output."""
        spec = self._made_it()
        key = (spec.alias, "score", context, continuation)
        if key not in self._known:
            self._known[key] = self._asked(spec, lambda worker: worker.score(context, continuation), "score")
        found: Sequence[float] = self._known[key]
        return found

    def score_output(self) -> Sequence[float]:
        """Natural log-probabilities of the output's own tokens after its prompt."""
        return self._after_prompt(self._output.text, self._output.token_ids)

    def score_after_prompt(self, text: str) -> Sequence[float]:
        """Natural log-probabilities of another text's tokens after the output's prompt."""
        return self._after_prompt(text, ())

    def _after_prompt(self, text: str, token_ids: Sequence[int]) -> Sequence[float]:
        spec = self._made_it()
        key = (spec.alias, "after", repr(self._output.prompt), text, repr(token_ids))
        if key not in self._known:
            packed = pack_arguments((to_json(self._output.prompt), text, list(token_ids)))
            self._known[key] = self._asked(spec, lambda worker: worker.call(LOGPROBS, packed), "score")
        found: Sequence[float] = self._known[key]
        return found

    def _made_it(self) -> ModelSpec:
        if self._output.model is None:
            raise CheckError("it is not known which model made the output.")
        return self._output.model

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
        key = (spec.alias, "judge", question, str(max_new_tokens))
        rounds: list[RoundRecord] = []
        if key not in self._known:
            role: Role = "judge" if is_another else "timing"
            self._asked(spec, lambda worker: worker.run(request, rounds.append), "judge", role)
            self._known[key] = rounds[0].completion.text
        return str(self._known[key])

    def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector of each text; in pytest's own process, by a library that is light."""
        return NO_MODEL.embed(model, texts)

    def _asked(self, spec: ModelSpec, request: Callable[[ModelWorker], T], what: str, role: Role = "timing") -> T:
        about = Prompt(id=f"check-{what}", text=f"a check's request: {what}", source="check")
        try:
            return self._session.ask(spec, request, about, role=role)
        except LLMCIError as error:
            raise CheckError(f"the model {spec.alias} could not be asked: {one_line(str(error))}") from error
