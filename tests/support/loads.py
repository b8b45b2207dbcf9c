"""Runs under load made by hand, and a model that takes a fake clock's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytest_llmci.backends.base import Stamp
from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import GenerationError
from pytest_llmci.load.accounting import Outcome, accounted, run_of
from pytest_llmci.load.in_process import InProcess
from pytest_llmci.records import (
    Completion,
    GenerationSettings,
    LoadPlan,
    LoadRecord,
    LoadRun,
    ModelSpec,
    Objective,
    Prompt,
    Scenario,
)

MS = 10**6
GENERATION = GenerationSettings(max_new_tokens=5, fixed_length=True)


def run(
    outcomes: Sequence[Outcome], objective: Objective | None = None, *, kind: str = "server", rate: float | None = 4.0,
    lags_ns: Sequence[int] = (), cpu_ns: int = 0, served: str = "at once",
) -> LoadRun:  # fmt: skip
    """A run with its numbers."""
    wall = max(each.ended_ns for each in outcomes)
    made = run_of(
        outcomes, kind=kind, served=served, rate=rate, concurrency=None, lags_ns=lags_ns, cpu_ns=cpu_ns, wall_ns=wall
    )
    return accounted(made, objective or Objective())


def answered(
    intended_ms: float,
    latency_ms: float,
    *,
    ttft_ms: float | None = 10,
    late_ms: float = 0,
    tokens: int | None = 5,
    chunks: int = 5,
) -> Outcome:
    """One that was answered; its times count from the intended sending."""
    at = round(intended_ms * MS)
    return Outcome(
        0, at, ready_ns=at, sent_ns=at + round(late_ms * MS), first_ns=None if ttft_ms is None else at + round(ttft_ms * MS),
        ended_ns=at + round(latency_ms * MS), tokens=tokens, chunks=chunks,
    )  # fmt: skip


def failed(intended_ms: float, after_ms: float, kind: str = "timeout") -> Outcome:
    """One that was not."""
    at = round(intended_ms * MS)
    return Outcome(
        0, at, ready_ns=at, sent_ns=at, ended_ns=at + round(after_ms * MS), failure=kind, message="it took too long"
    )


def load_line(uid: str = "l1", model: str = "a", *, made: LoadRun | None = None, **changes: Any) -> LoadRecord:
    """The line of a run; of two requests unless told otherwise."""
    facts: dict[str, Any] = {
        "block": "r1", "round": 0, "cell": f"{model}-server-4", "model": model, "test": f"load::{model}-server-4", "attempt": 0,
        "origin": "measured", "scenario": "server rate=4 requests=2",
    }  # fmt: skip
    return LoadRecord(**{"uid": uid, **facts, "run": made or run([answered(0, 50), failed(200, 30)]), **changes})


class SlowModel:
    """Answers in a fake clock's time: ``ttft_ms`` until the first token, ``itl_ms`` between the others."""

    def __init__(
        self, clock: FakeClock, *, ttft_ms: float = 20, itl_ms: float = 10, stalls_ms: dict[int, float] | None = None,
        fails: Callable[[int], bool] = lambda _: False, silent: bool = False, empty: Callable[[int], bool] = lambda _: False,
    ) -> None:  # fmt: skip
        """:param stalls_ms: number of an answer -> how much longer it takes."""
        self.clock, self.ttft_ms, self.itl_ms = clock, ttft_ms, itl_ms
        self.stalls_ms, self.fails, self.silent, self.empty = stalls_ms or {}, fails, silent, empty
        self.answers = 0
        self.asked: list[str] = []

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> int:
        number, self.answers = self.answers, self.answers + 1
        self.asked.append(prompt.id)
        self.clock.sleep((self.ttft_ms + self.stalls_ms.get(number, 0)) / 1e3)
        if self.fails(number):
            raise GenerationError("it would not", kind="refused")
        for token in range(settings.max_new_tokens):
            if token:
                self.clock.sleep(self.itl_ms / 1e3)
            if not self.silent:
                stamp()
        return 0 if self.empty(number) else settings.max_new_tokens

    def complete(self, produced: Any) -> Completion:
        self.clock.sleep(0.001)  # what is done after the last token is no part of a latency
        return Completion(text="w " * produced, finish_reason="length", output_tokens=produced, token_source="script")


class Batches(SlowModel):
    """The same, many at once: a batch takes as long as one answer."""

    def generate_many(
        self,
        prompts: Sequence[Prompt],
        settings: GenerationSettings,
        stop: Sequence[str],
        batch: int,
        *,
        on_batch: Any,
        on_completion: Any,
    ) -> None:
        for start in range(0, len(prompts), batch):
            numbers = list(range(start, min(start + batch, len(prompts))))
            on_batch(numbers)
            self.clock.sleep(0.1)
            for number in numbers:
                on_completion(number, self.complete(settings.max_new_tokens))


def driver(
    model: SlowModel, *, prompts: int = 3, beat: Callable[[int], None] = lambda _: None, batch: int = 4
) -> tuple[InProcess, LoadPlan]:
    """What sends requests to such a model, and the plan that it works on."""
    asked = tuple(Prompt(id=f"p{number}", text=f"prompt {number}") for number in range(prompts))
    plan = LoadPlan(scenario=Scenario(kind="single-stream", requests=1), prompts=asked, text="-", batch=batch)
    backend: Any = model
    return InProcess(backend, plan, GENERATION, clock=model.clock, cpu_ns=lambda: 0, beat=beat), plan


def on_endpoint(
    url: str,
    model: str = "say",
    *,
    timeout_s: float = 30.0,
    prompts: int = 2,
    silence: str = "",
    beat: Callable[[int], None] = lambda _: None,
) -> Any:
    """What sends requests to a server. It needs httptools."""
    from pytest_llmci.backends.openai.endpoint import read_endpoint
    from pytest_llmci.backends.openai.request import RequestBuilder
    from pytest_llmci.load.endpoint import OnEndpoint

    options = {"timeout": silence} if silence else {}
    endpoint = read_endpoint(ModelSpec(alias="s", backend="openai", target=f"{url}#{model}", options=options), {})
    asked = tuple(Prompt(id=f"p{number}", text=f"prompt {number}") for number in range(prompts))
    plan = LoadPlan(scenario=Scenario(kind="single-stream", requests=1), prompts=asked, text="-", timeout_s=timeout_s)
    return OnEndpoint(
        RequestBuilder(endpoint=endpoint, model=model), plan, GenerationSettings(max_new_tokens=16), beat=beat
    )
