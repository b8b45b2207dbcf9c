"""Load on a server: requests are sent when they are due, over as many connections as it takes, whatever became of those before.

A run opens its own connections and keeps them while it lasts, the last one used first; opening one is in the latency of the request that
needs it. Nothing is sent twice, but over a connection that had ended: a server that refuses a request for want of room has failed it, and
that is a finding. No proxy is used: it would be measured as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from ..backends.openai.answer import CONTENT, Answer, first_of
from ..backends.openai.backend import foreign
from ..backends.openai.exchange import head_of
from ..backends.openai.failures import Failure, Kind
from ..backends.openai.line import EXTRA, Unreachable, trust
from ..backends.openai.request import Request, RequestBuilder
from ..backends.openai.transport import unreachable
from ..backends.packages import Foreign, require
from ..errors import GenerationError
from ..records import GenerationSettings, LoadPlan, LoadRun, Scenario
from .accounting import NO_TOKEN, Outcome, run_of
from .arrivals import poisson_ns, prompt_order
from .connection import Connection, Target
from .saturation import lag_quantiles
from .waiting import LagSampler, new_loop

CONNECT_TIMEOUT_S: Final = 10.0
SPARE_DESCRIPTORS: Final = 64
"""Of a process's open files, those that are not for connections."""
TICKS_A_BEAT: Final = 50
_clock = time.perf_counter_ns


class OnEndpoint:
    """Sends requests to a server from one event loop."""

    def __init__(
        self, builder: RequestBuilder, plan: LoadPlan, generation: GenerationSettings, *, beat: Callable[[int], None]
    ) -> None:
        """:param beat: told how many requests of a run have ended, also while none does.

        :raises MissingExtraError: if httptools is not installed.
        :raises ModelLoadError: if the environment names certificates that cannot be read.
        """
        self._builder = builder
        self._plan = plan
        self._generation = generation
        self._beat = beat
        endpoint = builder.endpoint
        who = f"model '{endpoint.base_url}'"
        self._httptools: Foreign = require("httptools", who, EXTRA)
        parts = urlsplit(endpoint.base_url)
        self._tls: ssl.SSLContext | None = trust(who) if parts.scheme == "https" else None
        self._target = Target(
            host=parts.hostname or "", port=parts.port or (443 if self._tls else 80),
            silence_s=min(endpoint.timeout_s, plan.timeout_s),
        )  # fmt: skip
        self._headers = endpoint.headers()

    def warm_up(self, requests: int) -> None:
        """Unmeasured requests, one after the other.

        :raises GenerationError: if one fails.
        """
        if not requests:
            return
        order = [number % len(self._plan.prompts) for number in range(requests)]
        scenario = Scenario(kind="single-stream", requests=requests)
        for outcome in self._ran(scenario, order, 0).outcomes:
            if outcome.failure:
                raise GenerationError(f"warm-up: {outcome.message}", kind=outcome.failure)

    def run(self, scenario: Scenario, seed: int) -> LoadRun:
        """One run of a scenario, without its numbers.

        :param seed: of the arrivals and of the order of the prompts.
        """
        order = prompt_order(scenario.requests, len(self._plan.prompts), seed)
        ran = self._ran(scenario, order, seed)
        return run_of(
            ran.outcomes, kind=scenario.kind, served="at once", rate=scenario.rate,
            concurrency=scenario.concurrency if scenario.kind == "closed-loop" else None,
            lags_ns=lag_quantiles(ran.sampler.lags_ns), cpu_ns=ran.cpu_ns, wall_ns=ran.wall_ns,
        )  # fmt: skip

    def _ran(self, scenario: Scenario, order: Sequence[int], seed: int) -> _Run:
        requests = [self._request(place) for place in order]  # made before, so that making them delays none
        with asyncio.Runner(loop_factory=new_loop) as runner:
            run = _Run(self, scenario, order, requests, seed=seed, loop=runner.get_loop())
            runner.run(run.send())
        return run

    def _request(self, place: int) -> Request:
        try:
            return self._builder.generation(self._plan.prompts[place], self._generation)
        except ValueError as error:
            raise GenerationError(str(error), kind="prompt") from error

    async def connect(self) -> Connection:
        """A new connection.

        :raises Unreachable: if there is none to be had; also where it takes too long, or the certificate is refused.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, made = await loop.create_connection(
                    lambda: Connection(self._target, self._httptools),
                    self._target.host,
                    self._target.port,
                    ssl=self._tls,
                )
        except (OSError, UnicodeError) as error:  # the last: a name that no host can have
            raise Unreachable from error
        return made

    def head_of(self, request: Request) -> bytes:
        """What a request begins with."""
        return head_of("POST", request.url, self._headers)

    @property
    def server(self) -> str:
        """As messages name it."""
        return self._builder.endpoint.server

    @property
    def builder(self) -> RequestBuilder:
        """What makes the requests, and knows which model is asked."""
        return self._builder

    def beat(self, ended: int) -> None:
        """Say that it lives."""
        self._beat(ended)

    @property
    def timeout_s(self) -> float:
        """Of a whole request."""
        return self._plan.timeout_s


class _Run:
    """The requests of one run."""

    def __init__(
        self, sender: OnEndpoint, scenario: Scenario, order: Sequence[int], requests: Sequence[Request], *, seed: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        self._sender = sender
        self._scenario = scenario
        self._order = order
        self._requests = requests
        self._heads = [sender.head_of(request) for request in requests]
        self._arrivals = poisson_ns(len(order), scenario.rate, seed) if scenario.rate is not None else []
        self._free: list[Connection] = []
        self._room = asyncio.Semaphore(most_connections(len(order)))
        self._begin = 0
        self._ended = 0
        self._ticks = 0
        self.sampler = LagSampler(loop, self._tick)
        self.outcomes: list[Outcome] = []
        """The requests in the order of their intended sending, once all have ended."""
        self.cpu_ns = 0
        self.wall_ns = 0

    async def send(self) -> None:
        """Send all, and wait for all."""
        cpu, self._begin = time.process_time_ns(), _clock()
        self.sampler.start()
        try:
            self.outcomes = await (
                self._as_due() if self._arrivals or self._scenario.kind == "offline" else self._by_users()
            )
            self.cpu_ns, self.wall_ns = time.process_time_ns() - cpu, self._now()
        finally:
            self.sampler.stop()
            for connection in self._free:
                connection.close()
            await asyncio.sleep(0)  # closed connections say so

    def _tick(self) -> None:
        self._ticks += 1
        if self._ticks % TICKS_A_BEAT == 0:
            self._sender.beat(self._ended)

    def _now(self) -> int:
        return _clock() - self._begin

    async def _as_due(self) -> list[Outcome]:
        tasks: list[Awaitable[Outcome]] = []
        for number in range(len(self._order)):
            intended = self._arrivals[number] if self._arrivals else 0
            wait_s = (intended - self._now()) / 1e9
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self._one(number, intended)))
        return list(await asyncio.gather(*tasks))

    async def _by_users(self) -> list[Outcome]:
        numbers = iter(range(len(self._order)))
        found: list[Outcome] = []

        async def user() -> None:
            intended = 0
            for number in numbers:
                found.append(await self._one(number, intended))
                intended = self._now()

        users = self._scenario.concurrency if self._scenario.kind == "closed-loop" else 1
        await asyncio.gather(*(user() for _ in range(users)))
        return sorted(found, key=lambda outcome: outcome.intended_ns)

    async def _one(self, number: int, intended: int) -> Outcome:
        outcome = Outcome(self._order[number], intended, ready_ns=intended)
        async with self._room:
            await self._asked(outcome, number)
        self._ended += 1
        self._sender.beat(self._ended)
        return outcome

    async def _asked(self, outcome: Outcome, number: int) -> None:
        outcome.sent_ns = self._now()
        request, head = self._requests[number], self._heads[number]
        try:
            async with asyncio.timeout(self._sender.timeout_s):
                answer = await self._answer(request, head)
        except TimeoutError:
            _failed(outcome, "server_silent", f"no whole answer within {self._sender.timeout_s:g} s (--llmci-timeout)")
        except Unreachable as error:
            failure = unreachable(error.__cause__ or error, self._sender.server)
            _failed(outcome, failure.kind, failure.message)
        else:
            _take(outcome, answer, self._begin, self._sender.builder)
            return
        outcome.ended_ns = self._now()

    async def _answer(self, request: Request, head: bytes) -> Answer:
        while self._free:
            connection = self._free.pop()
            if connection.usable:
                return await self._over(connection, request, head)
        return await self._over(await self._sender.connect(), request, head)

    async def _over(self, connection: Connection, request: Request, head: bytes) -> Answer:
        try:
            answer = await connection.ask(request, head)
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.had_ended:
            return await self._over(await self._sender.connect(), request, head)
        if connection.usable:
            self._free.append(connection)
        return answer


def most_connections(wanted: int) -> int:
    """How many connections may be open at once: as many as are wanted, or as the system lets this process have.

    A request that waits for one is sent late, which is this side's fault and counts as its delay.
    """
    try:
        import resource
    except ImportError:  # Windows
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - SPARE_DESCRIPTORS))


def _failed(outcome: Outcome, kind: Kind, message: str) -> None:
    outcome.failure, outcome.message = kind, message


def _take(outcome: Outcome, answer: Answer, begin: int, builder: RequestBuilder) -> None:
    """What an answer says of its request; where reasoning comes apart, the first token is that of the answer itself."""
    ended = answer.piece_ns[-1] if answer.piece_ns else answer.end_ns
    outcome.ended_ns = (ended if ended is not None else _clock()) - begin
    failure: Failure | None = answer.failure or foreign(builder, answer)
    if failure is not None:
        outcome.ended_ns = (answer.end_ns if answer.end_ns is not None else _clock()) - begin
        _failed(outcome, failure.kind, failure.message)
        return
    outcome.tokens = answer.usage.output_tokens
    if not (answer.text or answer.reasoning or answer.piece_ns):
        outcome.failure, outcome.message = NO_TOKEN, "it was answered without any token"
        return
    place = first_of(answer.piece_kinds, CONTENT) if answer.separates_reasoning else 0
    if not answer.piece_ns or place is None:
        return
    outcome.chunks = len(answer.piece_ns) - place
    if not answer.came_as_one:
        outcome.first_ns = answer.piece_ns[place] - begin
