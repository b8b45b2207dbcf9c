"""A scripted OpenAI-compatible server that keeps its own log, in nanoseconds, of every chunk that it sent.

The name of the model chooses the script (:data:`SCRIPTS`): ``say`` streams sixteen tokens, ``role`` sends the role first,
and so on; ``busy`` fails twice and then answers. A name may carry numbers: ``say-16-20-5`` is sixteen tokens, the first
after 20 ms, each further one after 5 ms. The clock is ``time.perf_counter_ns``, which on Linux is the same in all processes, so
that a client's times can be laid beside those of the log. Deadlines are absolute: being late once does not delay what follows.

In a test::

    with StubServer() as server:
        ask(f"{server.url}#say-16-20-5")
        server.log[-1].chunks[0].at_ns

As a process of its own, so that a client does not share an interpreter with it::

    python tests/support/stub_server.py --log FILE      # prints its URL; writes a line of JSON a request; ends with its stdin
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

SPIN_S: Final = 0.0012
"""Before each deadline the loop is polled instead of slept on: the system's timers are a millisecond late."""
WORDS: Final = ("alpha ", "beta ", "gamma ", "delta ", "epsilon ", "zeta ", "eta ", "theta ")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One write."""

    after_ms: float = 0.0
    """Counted from the step before, or from when the request had been read."""
    data: bytes = b""
    piece: str = ""
    """What it is: ``c`` text of the answer, ``r`` reasoning, ``b`` both, ``t`` a tool call, empty for all else."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """How one request is answered."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/event-stream"
    ending: str = "chunked"
    """``chunked``: properly ended; ``cut``: the connection is closed in the middle; ``reset``: by a TCP reset; ``raw``: no HTTP at
    all; ``silent``: nothing more is sent until the client goes."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One write as it happened."""

    at_ns: int
    """Just before the bytes were handed to the system."""
    piece: str
    size: int


@dataclass(kw_only=True)
class Played:
    """One request and what was sent for it."""

    model: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    received_ns: int
    """When its last byte had been read."""
    client: str = ""
    """Address and port, which stay while a connection is kept."""
    chunks: list[Chunk] = field(default_factory=list)
    ended_ns: int | None = None

    @property
    def pieces(self) -> list[Chunk]:
        """The chunks that held generated text."""
        return [chunk for chunk in self.chunks if chunk.piece]

    def first_ms(self, kinds: str = "crbt") -> float | None:
        """From the whole request to the first chunk of such a kind."""
        times = [chunk.at_ns for chunk in self.chunks if chunk.piece and chunk.piece in kinds]
        return (times[0] - self.received_ns) / 1e6 if times else None

    def gaps_ms(self) -> list[float]:
        """Between the chunks that held generated text."""
        times = [chunk.at_ns for chunk in self.pieces]
        return [(after - before) / 1e6 for before, after in pairwise(times)]


# --------------------------------------------------------------------------------------------------- making of scripts


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a script may go by."""

    body: Mapping[str, Any]
    chat: bool
    numbers: Sequence[float]
    """Those behind the script's name."""
    turn: int
    """How often this model has been asked before."""
    path: str = ""

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def tokens(self) -> int:
        """As many as the name says, or as are asked for."""
        return int(self.numbers[0]) if self.numbers else min(int(self.body.get("max_tokens", 16)), 16)

    @property
    def first_ms(self) -> float:
        return self.numbers[1] if len(self.numbers) > 1 else 20.0

    @property
    def gap_ms(self) -> float:
        return self.numbers[2] if len(self.numbers) > 2 else 5.0


def sse(event: object) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


DONE: Final = b"data: [DONE]\n\n"


def chunk(asked: Asked, *, finish: str | None = None, logprobs: object = None, **delta: Any) -> dict[str, Any]:
    """A chunk of either interface; ``content=`` is its text."""
    head = {"id": "stub-1", "created": 1, "model": asked.model, "system_fingerprint": "fp_stub"}
    if asked.chat:
        return head | {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    choice = {"index": 0, "text": delta.get("content", ""), "finish_reason": finish, "logprobs": logprobs}
    return head | {"object": "text_completion", "choices": [choice]}


def usage(asked: Asked, prompt: int, output: int, **more: Any) -> dict[str, Any]:
    """The tail that carries the counts alone."""
    counts = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output} | more
    return {"id": "stub-1", "object": "chunk", "model": asked.model, "choices": [], "usage": counts}


def words(number: int) -> list[str]:
    """That many words, each one token."""
    return [WORDS[place % len(WORDS)] for place in range(number)]


def pieces(asked: Asked, number: int | None = None, name: str = "content", first_ms: float | None = None) -> list[Step]:
    """Words in their rhythm."""
    number = asked.tokens if number is None else number
    first = asked.first_ms if first_ms is None else first_ms
    kind = "r" if name.startswith("reasoning") else "c"
    return [
        Step(after_ms=asked.gap_ms if place else first, data=sse(chunk(asked, **{name: word})), piece=kind)
        for place, word in enumerate(words(number))
    ]


def ending(asked: Asked, output: int, prompt: int = 7, **more: Any) -> list[Step]:
    """Finish reason, usage and ``[DONE]``."""
    finish = "length" if output >= int(asked.body.get("max_tokens", 16)) else "stop"
    tail = [Step(data=sse(chunk(asked, finish=finish)))]
    if asked.body.get("stream_options", {}).get("include_usage"):
        tail.append(Step(data=sse(usage(asked, prompt, output, **more))))
    return [*tail, Step(data=DONE)]


ROLE: Final = {"role": "assistant", "content": ""}


def say(asked: Asked) -> Script:
    """Role, tokens one by one, finish reason, usage: a well-behaved server. Asked for a document, it sends one."""
    if not asked.body.get("stream"):
        return whole(asked)
    return Script(steps=[Step(data=sse(chunk(asked, **ROLE))), *pieces(asked), *ending(asked, asked.tokens)])


def role(asked: Asked) -> Script:
    """The role comes at once, the first token much later."""
    return Script(
        steps=[Step(data=sse(chunk(asked, **ROLE))), *pieces(asked, first_ms=60), *ending(asked, asked.tokens)]
    )


def empty(asked: Asked) -> Script:
    """Empty chunks and comments before, between and after the tokens."""
    nothing = sse(chunk(asked, content=""))
    steps = [Step(data=b": keep-alive\n\n"), Step(data=nothing), Step(after_ms=5, data=nothing)]
    for step in pieces(asked):
        steps += [step, Step(data=nothing), Step(data=b": keep-alive\n\n")]
    return Script(steps=[*steps, *ending(asked, asked.tokens)])


def reasoning(asked: Asked, name: str = "reasoning_content") -> Script:
    """Half of the tokens are reasoning."""
    half = asked.tokens // 2
    steps = [
        Step(data=sse(chunk(asked, **ROLE))),
        *pieces(asked, half, name),
        *pieces(asked, asked.tokens - half, first_ms=15),
    ]
    return Script(steps=[*steps, *ending(asked, asked.tokens, completion_tokens_details={"reasoning_tokens": half})])


def reasoning_short(asked: Asked) -> Script:
    """The same under the other name for it."""
    return reasoning(asked, "reasoning")


def grouped(asked: Asked) -> Script:
    """Four tokens in a chunk."""
    texts = words(asked.tokens)
    groups = ["".join(texts[place : place + 4]) for place in range(0, len(texts), 4)]
    steps = [
        Step(after_ms=asked.gap_ms if place else asked.first_ms, data=sse(chunk(asked, content=text)), piece="c")
        for place, text in enumerate(groups)
    ]
    return Script(steps=[*steps, *ending(asked, asked.tokens)])


def at_once(asked: Asked) -> Script:
    """A stream in form only: all tokens in its one chunk."""
    step = Step(after_ms=asked.first_ms, data=sse(chunk(asked, content="".join(words(asked.tokens)))), piece="c")
    return Script(steps=[step, *ending(asked, asked.tokens)])


def held_back(asked: Asked) -> Script:
    """Token by token, but all in one write, as behind a proxy that buffers."""
    steps = [*pieces(asked), *ending(asked, asked.tokens)]
    return Script(steps=[Step(after_ms=asked.first_ms, data=b"".join(step.data for step in steps), piece="c")])


def whole(asked: Asked) -> Script:
    """No streaming at all, whatever was asked for."""
    text = "".join(words(asked.tokens))
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
    choice |= {"message": {"role": "assistant", "content": text}} if asked.chat else {"text": text}
    counts = {"prompt_tokens": 7, "completion_tokens": asked.tokens, "total_tokens": 7 + asked.tokens}
    body = {"id": "stub-1", "model": asked.model, "system_fingerprint": "fp_stub", "choices": [choice], "usage": counts}
    return document(body, after_ms=asked.first_ms)


def document(
    body: object, *, after_ms: float = 0.0, status: int = 200, headers: Mapping[str, str] | None = None
) -> Script:
    """One JSON document."""
    return Script(
        steps=[Step(after_ms=after_ms, data=json.dumps(body).encode())], content_type="application/json", status=status,
        headers=headers or {},
    )  # fmt: skip


def cached(asked: Asked) -> Script:
    """Counts of the prompt's tokens that came from the cache: five, unless the prompt begins with what nobody sent before."""
    again = 5 if str(asked.body.get("prompt", "")).startswith("[") is False else 0
    return Script(steps=[*pieces(asked), *ending(asked, asked.tokens, prompt_tokens_details={"cached_tokens": again})])


def no_usage(asked: Asked) -> Script:
    """No counts, though they were asked for."""
    return Script(steps=[*pieces(asked), Step(data=sse(chunk(asked, finish="stop"))), Step(data=DONE)])


def usage_everywhere(asked: Asked) -> Script:
    """The counts so far in every chunk, and none alone at the end."""
    steps = []
    for place, word in enumerate(words(asked.tokens)):
        event = chunk(asked, content=word) | {"usage": usage(asked, 7, place + 1)["usage"]}
        steps.append(Step(after_ms=asked.gap_ms if place else asked.first_ms, data=sse(event), piece="c"))
    return Script(steps=[*steps, Step(data=sse(chunk(asked, finish="stop"))), Step(data=DONE)])


def wrong_usage(asked: Asked) -> Script:
    """Counts that cannot be: fewer tokens than chunks."""
    return Script(steps=[*pieces(asked), *ending(asked, 3)])


def wrong_sum(asked: Asked) -> Script:
    """Counts that do not add up."""
    return Script(steps=[*pieces(asked), *ending(asked, asked.tokens, total_tokens=1000)])


def slow(asked: Asked) -> Script:
    """The first byte comes late (400 ms, or as the name says: ``slow-16-700``)."""
    first = asked.numbers[1] if len(asked.numbers) > 1 else 400.0
    return Script(steps=[*pieces(asked, first_ms=first), *ending(asked, asked.tokens)])


def busy(asked: Asked) -> Script:
    """429 with Retry-After, twice; then it answers. ``busy-16-9``: nine times."""
    times = asked.numbers[1] if len(asked.numbers) > 1 else 2
    if asked.turn < times:
        body = {"error": {"message": "Rate limit reached", "type": "rate_limit"}}
        return document(body, status=429, headers={"Retry-After": "0.05"})
    return Script(steps=[*pieces(asked, first_ms=20), *ending(asked, asked.tokens)])


def busy_long(asked: Asked) -> Script:
    """429 with a Retry-After of an hour."""
    return document({"error": {"message": "Quota reached"}}, status=429, headers={"Retry-After": "3600"})


def failing(asked: Asked) -> Script:
    """500 once, then it answers."""
    if asked.turn < 1:
        return document({"error": {"message": "CUDA out of memory"}}, status=500)
    return say(asked)


def broken(asked: Asked) -> Script:
    """500, always."""
    return document({"detail": "worker is gone"}, status=500)


def bad_request(asked: Asked) -> Script:
    """400, always."""
    return document({"error": {"message": "max_tokens is too large"}}, status=400)


def dies(asked: Asked) -> Script:
    """The connection is cut in the middle of the answer."""
    return Script(steps=pieces(asked)[: asked.tokens // 2], ending="cut")


def resets(asked: Asked) -> Script:
    """The connection is reset in the middle of the answer."""
    return Script(steps=pieces(asked)[: asked.tokens // 2], ending="reset")


def dies_politely(asked: Asked) -> Script:
    """The HTTP answer is whole, but the stream ends without a finish reason."""
    return Script(steps=pieces(asked)[: asked.tokens // 2])


def dies_before(asked: Asked) -> Script:
    """The connection is closed before anything was sent."""
    return Script(ending="raw")


def hangs(asked: Asked) -> Script:
    """Three tokens, then silence."""
    return Script(steps=pieces(asked)[:3], ending="silent")


def half_json(asked: Asked) -> Script:
    """A line in the middle is cut in half, the stream goes on."""
    steps = pieces(asked)
    middle = len(steps) // 2
    data = steps[middle].data
    steps[middle] = Step(after_ms=asked.gap_ms, data=data[: len(data) // 2] + b"\n\n", piece="")
    return Script(steps=[*steps, *ending(asked, asked.tokens)])


def half_line(asked: Asked) -> Script:
    """The stream ends politely in the middle of a line."""
    steps = pieces(asked)[: asked.tokens // 2]
    return Script(steps=[*steps, Step(after_ms=asked.gap_ms, data=steps[-1].data[:40])])


def split_json(asked: Asked) -> Script:
    """Every event is sent in two writes, 2 ms apart: a piece has arrived when its line is whole."""
    steps: list[Step] = []
    for step in pieces(asked):
        cut = len(step.data) // 2
        steps += [Step(after_ms=step.after_ms, data=step.data[:cut]), Step(after_ms=2, data=step.data[cut:], piece="c")]
    return Script(steps=[*steps, *ending(asked, asked.tokens)])


def error_event(asked: Asked) -> Script:
    """An error in the middle of a stream that began well."""
    steps = pieces(asked)[: asked.tokens // 2]
    return Script(
        steps=[*steps, Step(data=sse({"error": {"message": "KV cache exhausted", "code": 500}})), Step(data=DONE)]
    )


def no_finish(asked: Asked) -> Script:
    """All tokens and a finish reason, but no ``[DONE]``."""
    return Script(steps=[*pieces(asked), *ending(asked, asked.tokens)[:-1]])


def nothing(asked: Asked) -> Script:
    """An answer without any text."""
    return Script(steps=[Step(after_ms=asked.first_ms, data=sse(chunk(asked, **ROLE))), *ending(asked, 0)])


def other_model(asked: Asked) -> Script:
    """Another model than the one that was asked for answers."""
    other = Asked(
        body={**asked.body, "model": "somebody-else"}, chat=asked.chat, numbers=asked.numbers, turn=asked.turn
    )
    return Script(steps=[*pieces(other), *ending(other, asked.tokens)])


def tool_call(asked: Asked) -> Script:
    """A tool is called, and no text comes."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    steps = [Step(after_ms=asked.first_ms, data=sse(chunk(asked, tool_calls=[call])), piece="t")]
    for part in ('{"a":', " 1}"):
        call = {"index": 0, "function": {"arguments": part}}
        steps.append(Step(after_ms=asked.gap_ms, data=sse(chunk(asked, tool_calls=[call])), piece="t"))
    return Script(steps=[*steps, *ending(asked, 3)])


def redirect(asked: Asked) -> Script:
    """Redirects to another host."""
    return Script(status=307, headers={"Location": "http://elsewhere.invalid:81/v1/steal"}, content_type="text/plain")


def unauthorized(asked: Asked) -> Script:
    """The key is refused, and repeated in the answer, as some servers do."""
    return document({"error": {"message": f"Incorrect API key provided: {asked.body.get('_key', '')}"}}, status=401)


def unknown(asked: Asked) -> Script:
    """No such model."""
    return document(
        {"error": {"message": f"The model `{asked.model}` does not exist.", "code": "model_not_found"}}, status=404
    )


def html(asked: Asked) -> Script:
    """A web page: not the protocol at all."""
    return Script(steps=[Step(data=b"<!doctype html><title>It works!</title>")], content_type="text/html")


def other_json(asked: Asked) -> Script:
    """JSON, but of something else."""
    return document({"status": "ok"})


def other_events(asked: Asked) -> Script:
    """Server-sent events of something else."""
    return Script(steps=[Step(data=b'event: ping\ndata: {"n": 1}\n\n')])


def not_http(asked: Asked) -> Script:
    """Bytes of another protocol."""
    return Script(steps=[Step(data=b"SSH-2.0-OpenSSH_9.6\r\n\r\n")], ending="raw")


def scores(asked: Asked) -> Script:
    """Echoes each prompt word by word; a word has the log-probability -1/(its place + 1), the first none. Each second one is the likeliest."""
    if not asked.body.get("echo"):
        return say(asked)
    given = asked.body.get("prompt", "")
    texts = given if isinstance(given, list) else [str(given)]
    choices, count = [], 0
    for index, text in enumerate(texts):
        tokens = [part + " " for part in text.split(" ")]
        tokens[-1] = tokens[-1][:-1]
        offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
        tokens, offsets = [*tokens, "!"], [*offsets, len(text)]
        values: list[float | None] = [None, *(-1 / (place + 1) for place in range(1, len(tokens)))]
        tops = [None if value is None else {"x": value if place % 2 else -0.01} for place, value in enumerate(values)]
        logprobs = {"tokens": tokens, "token_logprobs": values, "text_offset": offsets, "top_logprobs": tops}
        choices.append({"index": index, "text": text + "!", "finish_reason": "length", "logprobs": logprobs})
        count += len(tokens)
    counts = {"prompt_tokens": count - len(texts), "completion_tokens": len(texts), "total_tokens": count}
    return document({"model": asked.model, "choices": choices[::-1], "usage": counts})


def scores_alone(asked: Asked) -> Script:
    """The same, but several prompts in one request are refused."""
    if isinstance(asked.body.get("prompt"), list):
        return document({"error": {"message": "prompt must be a string"}}, status=400)
    return scores(asked)


def counts(asked: Asked) -> Script:
    """As many tokens of a prompt as it has words; stops before the first stop string, which it is told."""
    prompt = str(asked.body.get("prompt", ""))
    text = "".join(words(asked.tokens))
    for stop in asked.body.get("stop", ()):
        text = text.partition(stop)[0]
    step = Step(data=sse(chunk(asked, content=text)), piece="c")
    return Script(steps=[step, *ending(asked, max(1, len(text.split())), len(prompt.split()))])


SCRIPTS: Final[dict[str, Callable[[Asked], Script]]] = {
    "say": say, "role": role, "empty": empty, "reasoning": reasoning, "reasoning_short": reasoning_short, "grouped": grouped,
    "at_once": at_once, "held_back": held_back, "whole": whole, "cached": cached, "no_usage": no_usage, "usage_everywhere": usage_everywhere,
    "wrong_usage": wrong_usage, "wrong_sum": wrong_sum, "slow": slow, "busy": busy, "busy_long": busy_long, "failing": failing,
    "broken": broken, "bad_request": bad_request, "dies": dies, "resets": resets, "dies_politely": dies_politely,
    "dies_before": dies_before, "hangs": hangs, "half_json": half_json, "half_line": half_line, "split_json": split_json, "error_event": error_event,
    "no_finish": no_finish, "nothing": nothing, "other_model": other_model, "tool_call": tool_call, "redirect": redirect,
    "unauthorized": unauthorized, "html": html, "other_json": other_json, "other_events": other_events, "not_http": not_http,
    "scores": scores, "scores_alone": scores_alone, "counts": counts,
}  # fmt: skip


def script_of(model: str) -> tuple[Callable[[Asked], Script], list[float]]:
    """The script that a model's name chooses, and the numbers behind it."""
    name, *numbers = model.split("-")
    try:
        return SCRIPTS[name], [float(number) for number in numbers]
    except (KeyError, ValueError):
        return unknown, []


# ---------------------------------------------------------------------------------------------------------- the server


class StubServer:
    """The server, on a thread of its own; a context manager.

    :param models: what ``/models`` lists; None: that request fails with 500, as ``transformers serve`` does without a cache.
    :param scripts: further names, or other scripts for known ones.
    :param tls: serve HTTPS with this certificate and key.
    :param extra: path -> JSON that further GET requests are answered with, such as ``/version``.
    :param on_played: called for each request for an answer when all of it has been sent, on the server's thread.
    :param spin_s: how long to poll before each deadline; 0 where many streams at once must not cost a core.
    """

    def __init__(
        self, *, models: Sequence[str] | None = ("say",), scripts: Mapping[str, Callable[[Asked], Script]] | None = None,
        tls: ssl.SSLContext | None = None, extra: Mapping[str, object] | None = None, port: int = 0,
        on_played: Callable[[Played], None] | None = None, spin_s: float = SPIN_S,
    ) -> None:  # fmt: skip
        self.log: list[Played] = []
        """Requests for answers, in the order in which they had been read."""
        self.listed: list[Played] = []
        """All other requests."""
        self._models = models
        self._scripts = scripts or {}
        self._tls = tls
        self._extra = extra or {}
        self._asked_for_port = port
        self._on_played = on_played
        self._spin_s = spin_s
        self._turns: dict[str, int] = {}
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="stub server", daemon=True)

    @property
    def url(self) -> str:
        """The base of its API."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/v1"

    @property
    def port(self) -> int:
        return self._port

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._connected, "127.0.0.1", self._asked_for_port, ssl=self._tls, backlog=1024
        )
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, TimeoutError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection stays open."""
        first = await reader.readexactly(1)
        if first == b"\x16":  # the first byte of TLS
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            return False
        head = first + await reader.readuntil(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest) if name}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        received = time.perf_counter_ns()
        peer = writer.get_extra_info("peername")
        played = Played(
            model="", path=path, headers=headers, body=json.loads(body) if body else {}, received_ns=received,
            client=f"{peer[0]}:{peer[1]}",
        )  # fmt: skip
        if method == "GET":
            self.listed.append(played)
            return await self._play(self._get(path), played, writer)
        played.model = str(played.body.get("model", ""))
        self.log.append(played)
        make, numbers = self._scripts.get(played.model) or script_of(played.model)[0], script_of(played.model)[1]
        turn = self._turns.get(played.model, 0)
        self._turns[played.model] = turn + 1
        key = headers.get("authorization", "").removeprefix("Bearer ")
        asked = Asked(
            body=played.body | {"_key": key}, chat=path.endswith("/chat/completions"), numbers=numbers, turn=turn, path=path
        )  # fmt: skip
        kept = await self._play(make(asked), played, writer)
        if self._on_played is not None:
            self._on_played(played)
        return kept

    def _get(self, path: str) -> Script:
        if path == "/v1/models":
            if self._models is None:
                return document({"detail": "CacheNotFound"}, status=500)
            return document({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "stub"} for name in self._models]})  # fmt: skip
        if path in self._extra:
            return document(self._extra[path])
        return document({"detail": "Not Found"}, status=404)

    async def _play(self, script: Script, played: Played, writer: asyncio.StreamWriter) -> bool:
        moment = played.received_ns
        if script.ending != "raw":
            head = f"HTTP/1.1 {script.status} Stub\r\nContent-Type: {script.content_type}\r\nServer: stub\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in script.headers.items())
            waits = script.steps[0].after_ms if script.steps else 0.0
            moment = await _until(moment, waits, self._spin_s)
            writer.write((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        for number, step in enumerate(script.steps):
            moment = await _until(moment, step.after_ms if number or script.ending == "raw" else 0.0, self._spin_s)
            data = step.data if script.ending == "raw" else b"%x\r\n%s\r\n" % (len(step.data), step.data)
            played.chunks.append(Chunk(at_ns=time.perf_counter_ns(), piece=step.piece, size=len(step.data)))
            writer.write(data)
            await writer.drain()
        played.ended_ns = time.perf_counter_ns()
        if script.ending == "chunked":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return True
        if script.ending == "silent":
            while not writer.is_closing():  # noqa: ASYNC110 - until the client goes, or the server is told to stop
                await asyncio.sleep(0.01)
        if script.ending == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        return False


async def _until(moment_ns: int, after_ms: float, spin_s: float) -> int:
    """Wait until so long after a moment, which is returned."""
    if after_ms <= 0:
        return moment_ns
    due = moment_ns + round(after_ms * 1e6)
    rest = (due - time.perf_counter_ns()) / 1e9 - spin_s
    if rest > 0:
        await asyncio.sleep(rest)
    while time.perf_counter_ns() < due:  # noqa: ASYNC110 - no event comes: this is the clock itself
        await asyncio.sleep(0)
    return due


# --------------------------------------------------------------------------------------------------- in its own process


@contextmanager
def stub_process(log: Path, *arguments: str) -> Iterator[str]:
    """The server as a process of its own.

    :param log: where it writes what it has played, a line of JSON a request; read it with :func:`read_log` afterwards.
    :returns: its URL.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--log", str(log), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


def read_log(path: Path) -> list[Played]:
    """What a server process has played, in the order in which it had received the requests."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        fields = json.loads(line)
        found.append(Played(**fields | {"chunks": [Chunk(**each) for each in fields["chunks"]]}))
    return sorted(found, key=lambda played: played.received_ns)


def main() -> None:
    """Serve until stdin closes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--models", nargs="*", default=["say"])
    parser.add_argument("--spin", type=float, default=SPIN_S, help="seconds of polling before each deadline")
    options = parser.parse_args()
    with (
        options.log.open("w", encoding="utf-8", buffering=1) as file,
        StubServer(
            models=options.models, port=options.port, spin_s=options.spin,
            on_played=lambda played: print(json.dumps(asdict(played)), file=file),
        ) as server,
    ):  # fmt: skip
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
