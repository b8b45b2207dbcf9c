"""Load on a model that answers in this process: it takes one request at a time, and the others wait in a line.

That is what a service around such a model would do without batching, so the waits are real and are counted: a request that comes while
another is answered has its latency from when it came. ``offline`` hands all prompts over at once, where the model source can batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backends.base import Backend
from ..clock import Clock
from ..errors import BackendError
from ..records import Completion, GenerationSettings, LoadPlan, LoadRun, Scenario
from ..text import one_line
from .accounting import NO_TOKEN, Outcome, run_of
from .arrivals import poisson_ns, prompt_order

Beat = Callable[[int], None]
"""Told how many requests have ended."""


class InProcess:
    """Sends requests to a backend, in the one thread that drives it."""

    def __init__(
        self, backend: Backend, plan: LoadPlan, generation: GenerationSettings, *, clock: Clock, cpu_ns: Callable[[], int], beat: Beat
    ) -> None:  # fmt: skip
        """:param cpu_ns: CPU time of this process so far."""
        self._backend = backend
        self._plan = plan
        self._generation = generation
        self._clock = clock
        self._cpu_ns = cpu_ns
        self._beat = beat

    def warm_up(self, requests: int) -> None:
        """Unmeasured requests, one after the other.

        :raises GenerationError: if one cannot be carried out.
        """
        for number in range(requests):
            prompt = self._plan.prompts[number % len(self._plan.prompts)]
            self._backend.complete(self._backend.generate(prompt, self._generation, lambda: None))
            self._beat(0)

    def run(self, scenario: Scenario, seed: int) -> LoadRun:
        """One run of a scenario, without its numbers.

        :param seed: of the arrivals and of the order of the prompts.
        """
        many = getattr(self._backend, "generate_many", None)
        order = prompt_order(scenario.requests, len(self._plan.prompts), seed)
        cpu, begin = self._cpu_ns(), self._clock.now_ns()
        if scenario.kind == "offline" and many is not None:
            outcomes, served = self._in_batches(many, order, begin), "in batches"
        else:
            outcomes, served = self._one_by_one(scenario, order, seed, begin), "one at a time"
        return run_of(
            outcomes, kind=scenario.kind, served=served, rate=scenario.rate,
            concurrency=scenario.concurrency if scenario.kind == "closed-loop" else None,
            lags_ns=(), cpu_ns=self._cpu_ns() - cpu, wall_ns=self._clock.now_ns() - begin,
        )  # fmt: skip

    def _one_by_one(self, scenario: Scenario, order: Sequence[int], seed: int, begin: int) -> list[Outcome]:
        arrivals = poisson_ns(len(order), scenario.rate, seed) if scenario.rate is not None else []
        outcomes: list[Outcome] = []
        free_ns = 0
        for number, place in enumerate(order):
            intended = arrivals[number] if arrivals else _closed(outcomes, number, scenario)
            outcome = Outcome(place, intended, ready_ns=max(intended, free_ns))
            wait_ns = intended - (self._clock.now_ns() - begin)
            if wait_ns > 0:
                self._clock.sleep(wait_ns / 1e9)
            self._ask(outcome, begin)
            outcomes.append(outcome)
            free_ns = self._clock.now_ns() - begin
            self._beat(len(outcomes))
        return outcomes

    def _ask(self, outcome: Outcome, begin: int) -> None:
        stamps: list[int] = []
        now = self._clock.now_ns
        outcome.sent_ns = now() - begin
        try:
            produced = self._backend.generate(
                self._plan.prompts[outcome.prompt], self._generation, lambda: stamps.append(now())
            )
            ended = now()
            completion = self._backend.complete(produced)
        except BackendError as error:
            outcome.ended_ns = now() - begin
            outcome.failure, outcome.message = error.kind, one_line(str(error))
            return
        outcome.chunks = len(stamps)
        outcome.first_ns = stamps[0] - begin if stamps else None
        outcome.ended_ns = (stamps[-1] if stamps else ended) - begin
        _take(outcome, completion)

    def _in_batches(self, many: Any, order: Sequence[int], begin: int) -> list[Outcome]:
        outcomes = [Outcome(place, 0) for place in order]
        prompts = [self._plan.prompts[place] for place in order]
        ended = 0

        def on_batch(numbers: Sequence[int]) -> None:
            now = self._clock.now_ns() - begin
            for number in numbers:  # waiting for the batches before it is the model's
                outcomes[number].ready_ns = outcomes[number].sent_ns = now
            self._beat(ended)

        def on_completion(number: int, completion: Completion) -> None:
            nonlocal ended
            ended += 1
            outcomes[number].ended_ns = self._clock.now_ns() - begin
            _take(outcomes[number], completion)

        many(prompts, self._generation, (), self._plan.batch, on_batch=on_batch, on_completion=on_completion)
        return outcomes


def _closed(outcomes: Sequence[Outcome], number: int, scenario: Scenario) -> int:
    """When a request of a closed loop is due: the users come again in the order in which they are answered."""
    if scenario.kind == "offline":
        return 0
    users = scenario.concurrency if scenario.kind == "closed-loop" else 1
    return outcomes[number - users].ended_ns if number >= users else 0


def _take(outcome: Outcome, completion: Completion) -> None:
    outcome.tokens = completion.output_tokens
    if completion.output_tokens == 0 or (completion.output_tokens is None and not completion.text):
        outcome.failure, outcome.message = NO_TOKEN, "it was answered without any token"
