"""The way to a server that keeps to no rule but the bytes of the test."""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from raw_server import Await, Close, HalfClose, Hold, Pause, RawServer, Repeat, Step

from pytest_llmci.backends.openai.answer import Answer
from pytest_llmci.backends.openai.endpoint import Endpoint
from pytest_llmci.backends.openai.exchange import Exchange
from pytest_llmci.backends.openai.failures import Failure
from pytest_llmci.backends.openai.request import Request
from pytest_llmci.backends.openai.stream import AnswerReader
from pytest_llmci.errors import ModelLoadError

pytest.importorskip("httptools")
from pytest_llmci.backends.openai import line
from pytest_llmci.backends.openai.client import Client

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def event(text: str = "", finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"model": "m", "choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
STREAM = event("a") + event("b", "stop") + DONE
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


WHOLE = CHUNKED + chunked(STREAM) + END


def client_of(port: int, **options: Any) -> Client:
    settings: dict[str, Any] = {"base_url": f"http://127.0.0.1:{port}/v1", "timeout_s": 20.0}
    return Client(Endpoint(**settings | options))


def ask(client: Client) -> Answer:
    url = client._endpoint.base_url + "/chat/completions"
    return client.ask(Request(url=url, body=b'{"stream":true}', is_chat=True, max_tokens=16))


def asked(*steps: Step, tls: ssl.SSLContext | None = None, **options: Any) -> tuple[Answer, Client]:
    with RawServer(steps, tls=tls) as server:
        client = client_of(server.port, **options)
        try:
            return ask(client), client
        finally:
            client.close()


def failure_of(*steps: Step, **options: Any) -> Failure:
    failure = asked(*steps, **options)[0].failure
    assert failure is not None
    assert "\n" not in failure.message
    return failure


BODIES: dict[str, tuple[Step, ...]] = {
    "chunked": (WHOLE,),
    "a length": (HEAD + b"Content-Length: %d\r\n\r\n" % len(STREAM) + STREAM,),
    "until it closes": (HEAD + b"\r\n" + STREAM, Close()),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + STREAM, Close()),
    "100 Continue before it": (b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE),
    "lines ended by CRLF": (CHUNKED + chunked(STREAM.replace(b"\n", b"\r\n")) + END,),
    "a byte order mark": (CHUNKED + chunked(b"\xef\xbb\xbf" + STREAM) + END,),
    "one, and no content type": (HEAD[:17] + b"Connection: close\r\n\r\n\xef\xbb\xbf" + STREAM, Close()),
    "a blank behind [DONE]": (CHUNKED + chunked(STREAM.replace(b"[DONE]", b"[DONE] ")) + END,),
    "byte by byte": tuple(WHOLE[place : place + 1] for place in range(len(WHOLE))),
    "a chunk a byte": (CHUNKED + b"".join(chunked(STREAM[place : place + 1]) for place in range(len(STREAM))) + END,),
    "no [DONE]": (CHUNKED + chunked(event("a") + event("b", "stop")) + END,),
    "broken off after the finish reason": (CHUNKED + chunked(event("a") + event("b", "stop")), Close()),
}


@pytest.mark.parametrize("steps", BODIES.values(), ids=list(BODIES))
def test_bodies_of_each_form(steps: tuple[Step, ...]) -> None:
    answer, _ = asked(*steps)
    assert answer.failure is None
    assert (answer.text, answer.piece_kinds, answer.finish_reason) == ("ab", "cc", "stop")
    assert list(answer.piece_ns) == sorted(answer.piece_ns) and (answer.end_ns or 0) >= answer.piece_ns[-1]


def test_a_server_that_leaves_an_answer_open_is_not_waited_for() -> None:
    begin = time.monotonic()
    answer, _ = asked(CHUNKED + chunked(STREAM), Hold(), timeout_s=60.0)
    assert answer.failure is None and answer.text == "ab"
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("more", [b": ping\n\n", event("too late")], ids=["comments", "text"])
def test_nor_one_that_goes_on_behind_its_end(more: bytes) -> None:
    begin = time.monotonic()
    answer, _ = asked(CHUNKED + chunked(STREAM), Repeat(chunked(more)), timeout_s=60.0)
    assert answer.failure is None and answer.text == "ab"
    assert time.monotonic() - begin < 18


def test_nor_one_that_is_silent_after_its_error() -> None:
    begin = time.monotonic()
    failure = failure_of(
        CHUNKED + chunked(event("a") + b'data: {"error": {"message": "no memory"}}\n\n'), Hold(), timeout_s=60.0
    )
    assert (failure.kind, failure.has_begun) == ("server_error", True) and "no memory" in failure.message
    assert time.monotonic() - begin < 30


def test_what_has_come_is_told_while_the_server_is_silent() -> None:
    told: list[tuple[str, float]] = []
    with RawServer((CHUNKED + chunked(event("a")), Hold())) as server:
        client = client_of(server.port, timeout_s=2.0)
        request = Request(url=client._endpoint.base_url + "/chat/completions", body=b"{}", is_chat=True)
        answer = client.ask(request, lambda text, _: told.append((text, time.perf_counter_ns())))
        client.close()
    assert answer.failure is not None and answer.failure.kind == "server_silent"
    assert [text for text, _ in told] == ["a"]
    assert answer.end_ns is not None and answer.end_ns - told[0][1] > 5e8  # long before the answer was given up


def test_silence_is_counted_from_the_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "MOMENT_S", 0.05)
    begin = time.monotonic()
    failure = failure_of(CHUNKED + chunked(event("a")), Hold(), timeout_s=3.0)
    assert failure.kind == "server_silent" and "nothing for 3 s" in failure.message and failure.has_begun
    assert time.monotonic() - begin >= 3.0
    assert failure_of(Hold(), timeout_s=0.1).kind == "server_silent"  # no header either
    assert failure_of(b"HTTP/1.1 200 OK\r\nX-", Hold(), timeout_s=0.1).kind == "server_silent"


BROKEN: dict[str, tuple[tuple[Step, ...], str, str]] = {
    "nothing": ((Close(),), "server_died", "before it answered"),
    "half a head": ((HEAD, Close()), "server_died", "before it answered"),
    "a head alone": ((CHUNKED, Close()), "server_died", "in the middle of its answer"),
    "half a body": ((CHUNKED + chunked(event("a")), Close()), "server_died", "in the middle of its answer"),
    "half a length": ((HEAD + b"Content-Length: 9999\r\n\r\n" + event("a"), Close()), "server_died", "in the middle"),
    "no size of a chunk": ((CHUNKED + chunked(event("a")) + b"zz\r\n",), "server_protocol", "does not speak HTTP"),
    "another protocol": ((b"220 smtp.example ESMTP\r\n",), "server_protocol", "220 smtp.example ESMTP"),
    "JSON of something else": ((b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + b'{"status": "ok"}',), "server_protocol", "document is no answer of a model: {"),
    "events that are lists": ((CHUNKED + chunked(b"data: [1]\n\n") + END,), "server_protocol", "no chat or completion chunks: [1]"),
    "no UTF-8": ((CHUNKED + chunked(b'data: {"choices": "\xff\xfe"}\n\n') + END,), "server_stream", "no JSON"),
    "too deep": ((CHUNKED + chunked(b"data: " + b"[" * 200_000 + b"\n\n") + END,), "server_stream", "no JSON"),
    "headers without end": ((HEAD + b"X: y\r\n" * 50_000,), "server_protocol", "no end within 100 KiB"),
    "compressed": ((HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(STREAM), Close()), "server_protocol", "compressed (gzip)"),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "kind", "words"), BROKEN.values(), ids=list(BROKEN))
def test_what_no_answer_is_made_of(steps: tuple[Step, ...], kind: str, words: str) -> None:
    failure = failure_of(*steps)
    assert failure.kind == kind
    assert words in failure.message


@pytest.mark.parametrize("end", [Hold(), Close()], ids=["left open", "cut"])
def test_an_error_that_has_no_end_is_the_error(end: Step) -> None:
    busy = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 999\r\n\r\nslow down"
    failure = failure_of(busy, end, timeout_s=3.0)
    assert (failure.kind, failure.retry_after_s, failure.may_pass) == ("server_busy", 2.0, True)
    assert failure.message.endswith("slow down")


def test_an_error_that_came_compressed_is_read() -> None:
    body = gzip.compress(b'{"error": {"message": "context is full"}}')
    head = b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert failure_of(head + body).message == "the server failed, HTTP 500: context is full"


def test_an_answer_that_comes_before_the_request_is_heard() -> None:
    """The server closes while the body is still being sent; what it says is there to be read all the same."""
    heard = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo large"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            way, _ = listener.accept()
            with way:
                way.recv(100)
                way.sendall(heard)

        thread = threading.Thread(target=serve)
        thread.start()
        client = client_of(listener.getsockname()[1])
        url = client._endpoint.base_url + "/chat/completions"
        failure = client.ask(Request(url=url, body=b" " * (32 << 20), is_chat=True)).failure
        client.close()
        thread.join()
    assert failure is not None
    assert (failure.kind, failure.message) == (
        "endpoint_request",
        "the server refuses the request, HTTP 413: too large",
    )


def test_no_request_leaves_anything_to_the_garbage_collector() -> None:
    with RawServer((WHOLE, Await(), WHOLE, Await(), CHUNKED + chunked(event("a")), Close())) as server:
        client = client_of(server.port)
        ask(client)
        gc.collect()
        gc.disable()
        try:
            before = sum(type(each) in (Exchange, AnswerReader) for each in gc.get_objects())
            ask(client)
            ask(client)
            after = sum(type(each) in (Exchange, AnswerReader) for each in gc.get_objects())
        finally:
            gc.enable()
        client.close()
    assert after == before


def test_one_huge_event_is_read_in_time() -> None:
    text = "x" * (8 << 20)
    answer, _ = asked(CHUNKED + chunked(event(text) + event("", "stop") + DONE) + END)
    assert answer.failure is None and answer.text == text and answer.piece_kinds == "c"


def test_one_without_end_is_given_up() -> None:
    line = b"data: " + b"x" * (1 << 20)
    failure = failure_of(CHUNKED, *[chunked(line)] * 66, Hold())
    assert failure.kind == "server_stream" and "64 MiB without an end" in failure.message


# ------------------------------------------------------------------------------------------------- the kept connection


def twice(*connections: tuple[Step, ...]) -> tuple[RawServer, Client, list[Answer]]:
    """Two requests, the second one when the server has done all that it does on its first connection."""
    with RawServer(*connections) as server:
        client = client_of(server.port)
        answers = [ask(client)]
        if len(connections) > 1:
            assert server.played[0].wait(10) or HalfClose() in connections[0]
        answers.append(ask(client))
        client.close()
    return server, client, answers


def test_one_connection_for_all_that_comes() -> None:
    server, client, answers = twice((WHOLE, Await(), WHOLE))
    assert [answer.text for answer in answers] == ["ab", "ab"] and client.connections == 1 and len(server.requests) == 2


@pytest.mark.parametrize(
    "first",
    [
        (WHOLE, Close()), (WHOLE + b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", Close()),
        (HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(STREAM) + STREAM, Close()),
    ],
    ids=["closed", "told that it will be closed", "asked to close"],
)  # fmt: skip
def test_a_connection_that_the_server_closed_is_opened_anew(first: tuple[Step, ...]) -> None:
    server, client, answers = twice(first, (WHOLE,))
    assert [answer.failure for answer in answers] == [None, None]
    assert client.connections == 2 and len(server.requests) == 2  # and nothing was sent twice


def test_a_connection_is_kept_where_the_end_of_an_answer_comes_behind_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "MOMENT_S", 0.8)
    slowly: tuple[Step, ...] = (CHUNKED + chunked(STREAM[:-20]), Pause(1.0), chunked(STREAM[-20:]), Pause(0.02), END)
    server, client, answers = twice((*slowly, Await(), WHOLE))
    assert [answer.text for answer in answers] == ["ab", "ab"] and client.connections == 1 and len(server.requests) == 2


def test_a_request_that_meets_the_end_of_a_kept_connection_is_sent_over_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line, "CLOSED_S", 60.0)
    with RawServer((WHOLE, Await(), Close()), (WHOLE, Await(), WHOLE)) as server:
        client = client_of(server.port)
        answers = [ask(client) for _ in range(3)]
        client.close()
    assert [(answer.failure, answer.text) for answer in answers] == [(None, "ab")] * 3
    assert client.connections == 2 and len(server.requests) == 4


@pytest.mark.parametrize(
    ("connections", "closed_s", "requests", "kind"),
    [
        (((WHOLE, Await(), Close()), (Close(),)), 60.0, 3, "server_died"),
        (((WHOLE, Await(), b"H", Close()), (WHOLE,)), 60.0, 2, "server_died"),
        (((WHOLE, Await(), Close()), (WHOLE,)), 0.0, 2, "server_died"),
        (((Close(),), (WHOLE,)), 60.0, 1, "server_died"),
    ],
    ids=["as soon as it is heard", "after a byte", "late", "on a new connection"],
)
def test_a_server_that_dies_of_a_request_is_told_so(
    connections: tuple[tuple[Step, ...], ...],
    closed_s: float,
    requests: int,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line, "CLOSED_S", closed_s)
    with RawServer(*connections) as server:
        client = client_of(server.port)
        last = [ask(client) for plan in connections[:1] for _ in range(1 + (Await() in plan))][-1]
        client.close()
        assert len(server.requests) == requests
    assert last.failure is not None and last.failure.kind == kind


def test_one_that_is_closed_by_half_is_as_good_as_closed() -> None:
    with RawServer((WHOLE, HalfClose()), (WHOLE,)) as server:
        client = client_of(server.port)
        first = ask(client)
        way = client._line._socket
        assert way is not None and way.recv(1, socket.MSG_PEEK) == b""  # it has arrived
        second = ask(client)
        client.close()
    assert (first.failure, second.failure, client.connections) == (None, None, 2)


def test_one_that_was_idle_for_long_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "IDLE_S", -1.0)
    with RawServer((WHOLE,), (WHOLE,)) as server:
        client = client_of(server.port)
        assert ask(client).failure is None and ask(client).failure is None
        client.close()
    assert client.connections == 2


def test_after_a_failure_the_next_request_has_a_connection_of_its_own() -> None:
    server, client, answers = twice((CHUNKED + chunked(event("a")), Close()), (WHOLE,))
    assert answers[0].failure is not None and answers[1].failure is None and client.connections == 2
    assert len(server.requests) == 2


def test_after_silence_what_the_first_answer_still_says_is_no_part_of_the_second() -> None:
    with RawServer((CHUNKED + chunked(event("late")), Hold()), (WHOLE,)) as server:
        client = client_of(server.port, timeout_s=3.0)
        first, second = ask(client), ask(client)
        client.close()
    assert first.failure is not None and first.failure.kind == "server_silent"
    assert (second.failure, second.text, client.connections) == (None, "ab", 2)


def test_what_each_request_carries() -> None:
    with RawServer((WHOLE,)) as server:
        client = client_of(server.port, key="sk-0123456789")
        ask(client)
        client.close()
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in rest)
    assert first == "POST /v1/chat/completions HTTP/1.1" and body == b'{"stream":true}'
    assert headers == {
        "Host": f"127.0.0.1:{server.port}", "Content-Type": "application/json", "Accept": "text/event-stream, application/json",
        "User-Agent": "pytest-llmci", "Accept-Encoding": "identity", "Authorization": "Bearer sk-0123456789", "Content-Length": "15",
    }  # fmt: skip


def test_ipv6() -> None:
    try:
        server = RawServer((WHOLE,), host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        client = client_of(server.port, base_url=f"http://[::1]:{server.port}/v1")
        assert ask(client).text == "ab"
        client.close()
    assert f"\r\nHost: [::1]:{server.port}\r\n".encode() in server.requests[0]


# -------------------------------------------------------------------------------------------------------------- documents


def looked_up(*steps: Step) -> Any:
    with RawServer(steps) as server:
        client = client_of(server.port)
        try:
            return client.look_up("/models")
        finally:
            client.close()


def test_documents_come_packed_or_not_and_what_is_none_is_none() -> None:
    body = gzip.compress(b'{"data": []}')
    packed = b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert looked_up(packed).document == {"data": []}
    assert looked_up(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]").document is None
    assert looked_up(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000).document is None
    assert looked_up(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (17 << 20), Hold()) is None  # 16 MiB are no list of models
    assert looked_up(Close()) is None and looked_up(b"no http\r\n") is None


# ---------------------------------------------------------------------------------------------------------------- proxies


def through(monkeypatch: pytest.MonkeyPatch, name: str, *steps: Step, url: str, user: str = "") -> tuple[Answer, bytes]:
    with RawServer(steps) as proxy:
        monkeypatch.setenv(name, f"http://{user}127.0.0.1:{proxy.port}")
        client = Client(Endpoint(base_url=url, timeout_s=20.0))
        answer = ask(client)
        client.close()
    return answer, proxy.requests[0]


def test_a_proxy_is_given_the_whole_address_and_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, got = through(monkeypatch, "HTTP_PROXY", WHOLE, url="http://llm.example/v1", user="me:p%40ss@")
    assert answer.text == "ab"
    assert got.startswith(b"POST http://llm.example/v1/chat/completions HTTP/1.1\r\nHost: llm.example\r\n")
    assert b"\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n" in got


def test_through_a_proxy_tls_is_spoken_with_the_server_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    answer, got = through(monkeypatch, "HTTPS_PROXY", refused, url="https://llm.example/v1", user="me:secret@")
    assert got.startswith(b"CONNECT llm.example:443 HTTP/1.") and b"Proxy-Authorization: Basic " in got
    assert b"Host: llm.example:443\r\n" in got and b"POST" not in got
    assert answer.failure is not None and answer.failure.kind == "endpoint_unreachable"
    assert answer.failure.message == (
        "the proxy gives no way to https://llm.example:443 (through the proxy of HTTPS_PROXY): 403 Forbidden"
    )


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1080", "https://127.0.0.1:1", "http://", "http://h:99999"])
def test_a_proxy_of_another_kind(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    with pytest.raises(ModelLoadError, match=r"the proxy of ALL_PROXY is none of http://host:port") as error:
        Client(Endpoint(base_url="http://llm.example/v1"))
    assert error.value.kind == "option"


def test_no_host_can_have_such_a_name() -> None:
    client = Client(Endpoint(base_url=f"http://{'a' * 70}.example/v1"))
    failure = ask(client).failure
    assert failure is not None and failure.kind == "endpoint_unreachable"


# -------------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For 127.0.0.1, signed by itself, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    key, cert, both = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=stub",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:llm.example", "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True,
    )  # fmt: skip
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_an_authority_of_ones_own(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    slowly = (CHUNKED, *(chunked(STREAM[place : place + 40]) for place in range(0, len(STREAM), 40)), END)
    with RawServer((*slowly, Await(), WHOLE), tls=serving(certificate)) as server:
        client = client_of(server.port, base_url=f"https://127.0.0.1:{server.port}/v1")
        answers = [ask(client), ask(client)]
        client.close()
    assert [(answer.failure, answer.text) for answer in answers] == [(None, "ab")] * 2 and client.connections == 1


@pytest.mark.parametrize("file", [False, True], ids=["alone", "beside a file"])
def test_authorities_in_a_folder(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: bool
) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    hashed = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", certificate], capture_output=True, text=True, check=True
    )
    (folder / f"{hashed.stdout.strip()}.0").write_bytes(certificate.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    if file:
        monkeypatch.setenv("SSL_CERT_FILE", pytest.importorskip("certifi").where())
    with RawServer((WHOLE,), tls=serving(certificate)) as server:
        client = client_of(server.port, base_url=f"https://127.0.0.1:{server.port}/v1")
        answer = ask(client)
        client.close()
    assert (answer.failure, answer.text) == (None, "ab")


def test_silence_behind_tls_and_what_comes_after_it(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(line, "MOMENT_S", 0.001)  # each byte is waited for twice
    slowly = tuple(WHOLE[place : place + 7] for place in range(0, len(WHOLE), 7))
    with RawServer(slowly, (CHUNKED, Hold()), tls=serving(certificate)) as server:
        client = client_of(server.port, base_url=f"https://127.0.0.1:{server.port}/v1", timeout_s=20.0)
        assert ask(client).text == "ab"
        client.close()
        client = client_of(server.port, base_url=f"https://127.0.0.1:{server.port}/v1", timeout_s=3.0)
        failure = ask(client).failure
        client.close()
    assert failure is not None and failure.kind == "server_silent"


def test_an_answer_through_the_tunnel_of_a_proxy(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    asked: list[bytes] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def tunnel() -> None:
        way, _ = listener.accept()
        with way, socket.create_connection(("127.0.0.1", server.port)) as other:
            asked.append(way.recv(1 << 16))
            way.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(other, way))
            back.start()
            pump(way, other)
            back.join()

    with (
        RawServer((WHOLE, Await(), WHOLE), tls=serving(certificate)) as server,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        thread = threading.Thread(target=tunnel)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        client = Client(Endpoint(base_url="https://llm.example/v1", key="sk-0123456789", timeout_s=20.0))
        answers = [ask(client), ask(client)]
        client.close()
        thread.join(10)
    assert [(answer.failure, answer.text) for answer in answers] == [(None, "ab")] * 2
    assert len(asked) == 1 and asked[0].startswith(b"CONNECT llm.example:443 ") and b"sk-0123456789" not in asked[0]
    assert server.requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: llm.example\r\n")


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_certificates_that_cannot_be_read(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "none.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(ModelLoadError, match=r"SSL_CERT_FILE, '.*none.pem', cannot be read"):
        Client(Endpoint(base_url="https://127.0.0.1:1/v1"))
