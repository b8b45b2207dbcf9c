"""The rounds of a cell under load, in the model's process: each round is one run of the scenario, or one whole sweep."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from ..backends.base import Backend
from ..clock import SystemClock
from ..errors import GenerationError
from ..measure.under_load import LOAD_METRIC_NAMES
from ..records import Completion, LoadPlan, LoadRun, RoundRecord, RunRequest, Scenario
from ..text import one_line
from .accounting import accounted
from .in_process import InProcess
from .scenario import at_rate
from .sweep import Search

TURNED_AWAY: Final = "server_busy"
"""Kind of failure: the server itself says that it is asked too much."""


class Progress(Protocol):
    """Told where the run stands."""

    def enter(self, phase: str, block_round: int = 0) -> None: ...


class Driver(Protocol):
    """Sends the requests of a run."""

    def warm_up(self, requests: int) -> None: ...

    def run(self, scenario: Scenario, seed: int) -> LoadRun: ...


def run_load(
    backend: Backend,
    request: RunRequest,
    on_round: Callable[[RoundRecord], None],
    *,
    progress: Progress,
    isolated: bool,
) -> None:
    """Carry out a block of rounds under load.

    :param isolated: whether this process is the model's alone.
    :raises GenerationError: if no request of a run was answered.
    """
    assert request.load is not None  # that is what makes it one under load
    driver = _driver(backend, request, progress)
    progress.enter("under load")
    driver.warm_up(request.warmup)
    for number in range(request.rounds):
        if isolated:
            gc.collect()
            gc.freeze()
        seed = request.generation.seed + request.first_round + number
        on_round(round_of(driver, request.load, seed))
    progress.enter("idle")


def _driver(backend: Backend, request: RunRequest, progress: Progress) -> Driver:
    assert request.load is not None

    def beat(ended: int) -> None:
        progress.enter("under load", ended)

    builder = getattr(backend, "request_builder", None)
    if builder is not None:
        from .endpoint import OnEndpoint

        return OnEndpoint(builder, request.load, request.generation, beat=beat)
    return InProcess(
        backend, request.load, request.generation, clock=SystemClock(), cpu_ns=time.process_time_ns, beat=beat
    )


def round_of(driver: Driver, plan: LoadPlan, seed: int) -> RoundRecord:
    """One round: a run of the scenario, or a sweep.

    :param seed: of its arrivals; every step of a sweep has the same, stretched to its rate.
    :raises GenerationError: if no request of a run was answered.
    """
    if plan.scenario.highest_rate is None:
        run = _answered(accounted(driver.run(plan.scenario, seed), plan.scenario.objective))
        return _record((run,), run.values, run.reasons)
    return _swept(driver, plan, seed)


def _swept(driver: Driver, plan: LoadPlan, seed: int) -> RoundRecord:
    scenario = plan.scenario
    assert scenario.rate is not None
    assert scenario.highest_rate is not None
    search = Search(low=scenario.rate, high=scenario.highest_rate, resolution=scenario.resolution)
    steps: list[LoadRun] = []
    while (rate := search.next()) is not None:
        run = accounted(driver.run(at_rate(scenario, rate), seed), scenario.objective)
        if search.kept is None or set(run.failures) != {TURNED_AWAY}:
            run = _answered(run)
        kept = _kept(run, scenario)
        steps.append(replace(run, step=len(steps), kept=kept))
        search.tell(rate, kept)
    best = next((step for step in steps if step.rate == search.kept), None)
    if best is None or search.kept is None:
        return _record(tuple(steps), {}, dict.fromkeys(LOAD_METRIC_NAMES, search.ended))
    if search.unknown is not None:
        return _record(tuple(steps), best.values, {**best.reasons, "max_rate": search.ended})
    reasons = {name: reason for name, reason in best.reasons.items() if name != "max_rate"}
    return _record(tuple(steps), {**best.values, "max_rate": search.kept}, reasons)


def _kept(run: LoadRun, scenario: Scenario) -> bool | None:
    """Whether a step kept the objective; None where the generator could not keep up."""
    share = run.values.get("kept_share")
    return None if share is None else share >= 100 * scenario.share - 1e-9


def _answered(run: LoadRun) -> LoadRun:
    """The run, if any of its requests was answered: with none there is nothing to tell of the model."""
    if all(run.failures):
        kind, message = next(iter(run.messages.items()))
        raise GenerationError(
            f"none of {len(run.failures)} requests was answered; the first failure ({kind}): {one_line(message)}",
            kind=kind,
        )
    return run


def _record(runs: tuple[LoadRun, ...], values: dict[str, float], reasons: dict[str, str]) -> RoundRecord:
    return RoundRecord(
        values=dict(values),
        reasons=dict(reasons),
        token_ns=(),
        completion=Completion(text="", finish_reason=""),
        runs=runs,
    )
