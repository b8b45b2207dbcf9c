"""What offering load costs, and what of a latency is the generator's own: ours beside httpx's asynchronous client.

    python -m benchmarks.load_generator [--rate 200] [--tokens 16] [--requests 600] [--rounds 3] [--check]

Both offer the same Poisson arrivals to the scripted server of the tests, which runs in a process of its own and answers each request
with so many tokens, the first after 20 ms, each further one after 5 ms; the sides in turn. Both read answers with the same reader.

What a latency (from the intended sending to the last token) holds beyond the server's own log (from the request to the last token) is
the generator's: sending late, and seeing late, with the loopback between. The target is that it is at most 5 % of the p95 latency,
from one core: the process is bound to the first one that it may use, the server to the last. Beside it stands what the
generator knows of its own delay.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.pairs import machine_line
from pytest_llmci.backends.openai.endpoint import read_endpoint
from pytest_llmci.backends.openai.request import Request, RequestBuilder
from pytest_llmci.backends.openai.stream import AnswerReader
from pytest_llmci.load.accounting import Outcome, accounted, run_of
from pytest_llmci.load.arrivals import poisson_ns
from pytest_llmci.load.endpoint import OnEndpoint
from pytest_llmci.load.saturation import OwnDelay, lag_quantiles
from pytest_llmci.load.waiting import LagSampler, new_loop
from pytest_llmci.records import GenerationSettings, LoadPlan, LoadRun, ModelSpec, Objective, Prompt, Scenario

OURS, HTTPX, PLAIN = "ours", "httpx, our timers", "httpx"
TARGET: Final = 0.05
PROMPT: Final = Prompt(id="p", text="What are the key differences between TCP and UDP protocols?")
_clock = time.perf_counter_ns


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What both sides are to offer."""

    builder: RequestBuilder
    scenario: Scenario
    generation: GenerationSettings
    seed: int


def ours(asked: Asked) -> LoadRun:
    """By the package."""
    plan = LoadPlan(scenario=asked.scenario, prompts=(PROMPT,), text="-")
    sender = OnEndpoint(asked.builder, plan, asked.generation, beat=lambda _: None)
    sender.warm_up(3)
    return accounted(sender.run(asked.scenario, asked.seed), Objective())


def by_httpx(asked: Asked, *, precise: bool) -> LoadRun:
    """By ``httpx.AsyncClient``, a task a request.

    :param precise: with our event loop, whose timers are better than a millisecond.
    """
    with asyncio.Runner(loop_factory=new_loop if precise else asyncio.new_event_loop) as runner:
        return runner.run(_by_httpx(asked))


async def _by_httpx(asked: Asked) -> LoadRun:
    httpx: Any = importlib.import_module("httpx")
    endpoint = asked.builder.endpoint
    requests = [asked.builder.generation(PROMPT, asked.generation) for _ in range(asked.scenario.requests)]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(headers=endpoint.headers(), limits=limits, trust_env=False, timeout=60) as client:

        async def one(outcome: Outcome, request: Request, begin: int) -> None:
            outcome.sent_ns = _clock() - begin
            reader = AnswerReader(chat=request.is_chat, url=request.url, max_tokens=request.max_tokens)
            sent = client.build_request("POST", request.url, content=request.body)
            response = await client.send(sent, stream=True)
            reader.head(response.status_code, response.headers)
            async for data in response.aiter_raw():
                reader.feed(data, _clock())
            await response.aclose()
            answer = reader.end(_clock())
            outcome.first_ns, outcome.ended_ns = answer.piece_ns[0] - begin, answer.piece_ns[-1] - begin
            outcome.tokens, outcome.chunks = answer.usage.output_tokens, len(answer.piece_ns)

        for request in requests[:3]:
            await one(Outcome(0, 0), request, _clock())
        assert asked.scenario.rate is not None
        outcomes = [Outcome(0, due, ready_ns=due) for due in poisson_ns(len(requests), asked.scenario.rate, asked.seed)]
        sampler = LagSampler(asyncio.get_running_loop(), lambda: None)
        sampler.start()
        cpu, begin = time.process_time_ns(), _clock()
        tasks = []
        for outcome, request in zip(outcomes, requests, strict=True):
            wait_s = (outcome.intended_ns - (_clock() - begin)) / 1e9
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(one(outcome, request, begin)))
        await asyncio.gather(*tasks)
        cpu_ns, wall_ns = time.process_time_ns() - cpu, _clock() - begin
        sampler.stop()
    run = run_of(
        outcomes, kind="server", served="at once", rate=asked.scenario.rate, concurrency=None,
        lags_ns=lag_quantiles(sampler.lags_ns), cpu_ns=cpu_ns, wall_ns=wall_ns,
    )  # fmt: skip
    return accounted(run, Objective())


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one side did in one turn."""

    cpu_ms: float
    """A request."""
    own_ms: tuple[float, float]
    """p50 and p95 of what a latency holds beyond the server's own log."""
    share: tuple[float, float]
    """The same, of the latency at that quantile."""
    known_ms: float
    """p95 of what the side itself knows of its delay."""


def examined(run: LoadRun, played: Sequence[Any]) -> Turn:
    """Lay a run beside the log of the server.

    :param played: the requests of this run as the server saw them.
    """
    by_sending = sorted(range(len(run.sent_ns)), key=lambda number: run.sent_ns[number])
    served = sorted(played, key=lambda each: each.received_ns)
    latencies = [run.ended_ns[number] - run.intended_ns[number] for number in by_sending]
    own = [
        latency - (each.pieces[-1].at_ns - each.received_ns) for latency, each in zip(latencies, served, strict=True)
    ]
    at = [(quantile(own, part), quantile(latencies, part)) for part in (0.5, 0.95)]
    return Turn(
        cpu_ms=run.cpu_ns / 1e6 / len(own), own_ms=(at[0][0] / 1e6, at[1][0] / 1e6), share=(at[0][0] / at[0][1], at[1][0] / at[1][1]),
        known_ms=OwnDelay.of(run).whole(0.95) / 1e6,
    )  # fmt: skip


def quantile(values: Sequence[float], share: float) -> float:
    """By the nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def told(side: str, turn: Turn) -> Turn:
    """Print a turn."""
    delays = [
        f"{name} {own:7.2f} ms ({100 * part:4.1f} %)"
        for name, own, part in zip(("p50", "p95"), turn.own_ms, turn.share, strict=True)
    ]
    print(
        f"{side:<18} {turn.cpu_ms:5.2f} ms CPU a request; beyond the server's log {', '.join(delays)}; knows p95 {turn.known_ms:.2f} ms"
    )
    return turn


def bound_to(cores: Sequence[int]) -> None:
    """Take these cores alone, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def main(argv: Sequence[str] | None = None) -> int:
    """Offer, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit 1 where ours misses the target")
    options = parser.parse_args(argv)
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
    stub_server: Any = importlib.import_module("stub_server")
    print(machine_line())
    model = f"say-{options.tokens}-20-5"
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stub.log"
        bound_to(cores[-1:])
        with stub_server.stub_process(log, "--spin", "0") as url:
            bound_to(cores[:1])
            endpoint = read_endpoint(ModelSpec(alias="s", backend="openai", target=f"{url}#{model}"), {})
            sides: dict[str, Callable[[Asked], LoadRun]] = {
                OURS: ours,
                HTTPX: lambda asked: by_httpx(asked, precise=True),
                PLAIN: lambda asked: by_httpx(asked, precise=False),
            }
            found: dict[str, list[Turn]] = {side: [] for side in sides}
            for seed in range(options.rounds):
                asked = Asked(
                    builder=RequestBuilder(endpoint=endpoint, model=model), seed=seed,
                    scenario=Scenario(kind="server", requests=options.requests, rate=options.rate),
                    generation=GenerationSettings(max_new_tokens=options.tokens),
                )  # fmt: skip
                for side, offer in sides.items():
                    run = offer(asked)
                    time.sleep(0.5)  # the server writes the last lines of its log
                    found[side].append(told(side, examined(run, stub_server.read_log(log)[-options.requests :])))
    for side, turns in found.items():
        cpu, share = (
            statistics.median(each) for each in zip(*((turn.cpu_ms, turn.share[1]) for turn in turns), strict=True)
        )
        print(
            f"{side}: median {cpu:.2f} ms CPU a request, {100 * share:.1f} % of the p95 latency is beyond the server's log"
        )
    worst = max(turn.share[1] for turn in found[OURS])
    print(f"target: of ours at most {100 * TARGET:.0f} % in every turn: {100 * worst:.1f} %")
    return 1 if options.check and worst > TARGET else 0


if __name__ == "__main__":
    sys.exit(main())
