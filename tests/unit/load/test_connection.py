"""One connection under the event loop, against bytes that keep to no rule."""

from __future__ import annotations

import json
import time

import pytest
from loads import on_endpoint
from raw_server import Await, Close, Hold, RawServer, Repeat, Step

pytest.importorskip("httptools")

from pytest_llmci.backends.openai.stream import AnswerReader
from pytest_llmci.load import connection
from pytest_llmci.load.accounting import accounted
from pytest_llmci.load.connection import KEEP
from pytest_llmci.load.scenario import parse_scenario
from pytest_llmci.records import LoadRun


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish}
    return b"data: " + json.dumps({"model": "say", "choices": [choice]}).encode() + b"\n\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM = event("a ") + event("b ", "stop") + b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = CHUNKED + chunked(STREAM) + b"0\r\n\r\n"


def ran(*connections: tuple[Step, ...], requests: int = 1, silence: str = "20") -> tuple[LoadRun, RawServer]:
    scenario = parse_scenario(f"single-stream requests={requests}", "x")
    with RawServer(*connections) as server:
        run = on_endpoint(f"http://127.0.0.1:{server.port}/v1", "say", silence=silence).run(scenario, 0)
    return accounted(run, scenario.objective), server


@pytest.mark.parametrize(
    "steps",
    [(WHOLE,), (HEAD + b"\r\n", STREAM, Close()), (b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,), tuple(WHOLE[at : at + 1] for at in range(len(WHOLE)))],
    ids=["chunked", "until it closes", "100 Continue before it", "byte by byte"],
)  # fmt: skip
def test_bodies_of_each_form(steps: tuple[Step, ...]) -> None:
    found, _ = ran(steps)
    assert (found.failures, found.chunks) == ([""], [2])


def test_a_long_answer_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    catch_up = AnswerReader.catch_up

    def counted(reader: AnswerReader) -> None:
        catch_up(reader)
        read.append(reader.pieces)

    monkeypatch.setattr(AnswerReader, "catch_up", counted)
    many = [event("word ")] * (3 * KEEP // len(event("word ")))
    found, _ = ran((CHUNKED, *map(chunked, many), chunked(event("", "stop")) + b"0\r\n\r\n"))
    assert (found.failures, found.chunks) == ([""], [len(many)])
    assert len(read) > 1  # not at its end alone


@pytest.mark.parametrize(
    "first",
    [(WHOLE + WHOLE,), (HEAD + b"Connection: close\r\n\r\n" + STREAM, Close())],
    ids=["a second answer", "asked to close"],
)
def test_the_next_request_has_a_connection_of_its_own(first: tuple[Step, ...]) -> None:
    found, server = ran(first, (WHOLE,), requests=2)
    assert found.failures == ["", ""] and len(server.requests) == 2


def test_a_connection_is_used_again() -> None:
    found, server = ran((WHOLE, Await(), WHOLE, Await(), WHOLE), requests=3)
    assert found.failures == [""] * 3 and len(server.requests) == 3
    assert server.requests[0].startswith(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_request_that_meets_the_end_of_a_kept_connection_is_sent_over_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CLOSED_S", 60.0)
    found, server = ran((WHOLE, Await(), Close()), (WHOLE,), requests=2)
    assert found.failures == ["", ""] and len(server.requests) == 3


@pytest.mark.parametrize(
    ("connections", "closed_s"),
    [
        (((WHOLE, Await(), Close()), (Close(),)), 60.0), (((WHOLE, Await(), b"H", Close()), (WHOLE,)), 60.0),
        (((WHOLE, Await(), Close()), (WHOLE,)), 0.0),
    ],
    ids=["as soon as it is heard", "after a byte", "late"],
)  # fmt: skip
def test_a_server_that_dies_of_a_request_has_failed_it(
    connections: tuple[tuple[Step, ...], ...], closed_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSED_S", closed_s)
    assert ran(*connections, requests=2)[0].failures == ["", "server_died"]


@pytest.mark.parametrize("more", [(Hold(),), (Repeat(chunked(b": ping\n\n")),)], ids=["silence", "pings"])
@pytest.mark.parametrize(
    "ends", [STREAM, event("a ") + b'data: {"error": {"message": "no room"}}\n\n'], ids=["done", "an error"]
)
def test_an_answer_that_is_left_open_is_not_waited_for(ends: bytes, more: tuple[Step, ...]) -> None:
    begun = time.monotonic()
    found, _ = ran((CHUNKED + chunked(ends), *more), (WHOLE,), requests=2, silence="120")
    assert found.failures == ["" if ends is STREAM else "server_error", ""]
    assert time.monotonic() - begun < 60  # and not the two minutes of silence


@pytest.mark.parametrize(
    ("steps", "kind", "words"),
    [
        ((Close(),), "server_died", "before it answered"),
        ((CHUNKED + chunked(event("a")), Close()), "server_died", "in the middle of its answer"),
        ((CHUNKED + b"zz\r\n",), "server_protocol", "does not speak HTTP/1.1"),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), "server_protocol", "SSH-2.0-OpenSSH_9.6"),
        ((HEAD + b"X: y\r\n" * 50_000,), "server_protocol", "no end within 100 KiB"),
    ],
)
def test_what_no_answer_is_made_of(steps: tuple[Step, ...], kind: str, words: str) -> None:
    found, _ = ran(steps)
    assert found.failures == [kind] and words in found.messages[kind]


def test_silence_after_the_finish_reason_costs_no_answer() -> None:
    found, _ = ran((CHUNKED + chunked(event("a ") + event("b ", "stop")), Hold()), silence="3")
    assert (found.failures, found.chunks) == ([""], [2])
