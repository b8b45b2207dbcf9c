"""The blocking client against the scripted server: our figures beside the server's own log."""

from __future__ import annotations

import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stub_server import SCRIPTS, Played, StubServer

from pytest_llmci.backends.openai.answer import Answer
from pytest_llmci.backends.openai.endpoint import Endpoint
from pytest_llmci.backends.openai.request import RequestBuilder
from pytest_llmci.records import GenerationSettings, Message, Prompt

pytest.importorskip("httptools")
from pytest_llmci.backends.openai import line
from pytest_llmci.backends.openai.client import Client

PROMPT = Prompt(id="p", messages=(Message(role="user", content="Say hello."),))
TRIES = 6
"""Answers of which one must be seen in time: a busy machine may have held up the others."""
LATE_MS = 15.0
"""Most that this machine may be late in a test; how late it is on a quiet one is measured by benchmarks.endpoint."""


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer() as running:
        yield running


def ask(server: StubServer, model: str, **options: Any) -> tuple[Answer, Played | None, int]:
    """The answer, what the server logged of it, and when the request was made."""
    endpoint = Endpoint(base_url=server.url, model=model, **{"timeout_s": 5.0} | options)
    client = Client(endpoint)
    asked = len(server.log)
    try:
        request = RequestBuilder(endpoint=endpoint, model=model).generation(
            PROMPT, GenerationSettings(max_new_tokens=16)
        )
        begin = time.perf_counter_ns()
        answer = client.ask(request)
    finally:
        client.close()
    return answer, server.log[asked] if len(server.log) > asked else None, begin


STREAMS = {
    "say": "c" * 16, "role": "c" * 16, "empty": "c" * 16, "reasoning": "r" * 8 + "c" * 8, "reasoning_short": "r" * 8 + "c" * 8,
    "grouped": "cccc", "at_once": "c", "whole": "", "no_usage": "c" * 16, "usage_everywhere": "c" * 16, "wrong_usage": "c" * 16,
    "slow-16-120": "c" * 16, "split_json": "c" * 16, "no_finish": "c" * 16, "nothing": "", "tool_call": "ttt",
    "dies": "c" * 8, "resets": "c" * 8, "dies_politely": "c" * 8, "half_json": "c" * 8, "half_line": "c" * 8, "error_event": "c" * 8,
}  # fmt: skip


@pytest.mark.parametrize("model", STREAMS)
def test_each_stream_is_seen_as_the_server_sent_it(server: StubServer, model: str) -> None:
    for _ in range(TRIES):
        answer, played, begin = ask(server, model)
        assert played is not None
        assert answer.piece_kinds == STREAMS[model]
        sent = [chunk.at_ns for chunk in played.pieces][: len(answer.piece_ns)]
        lates = [(ours - theirs) / 1e6 for ours, theirs in zip(answer.piece_ns, sent, strict=True)]
        assert all(late >= 0 for late in lates)  # nothing is seen before it was sent
        firsts = [0.0]
        for kinds, ours in (
            ("crbt", answer.ttft_any_ns),
            ("cb", answer.ttft_content_ns),
            ("rb", answer.ttft_reasoning_ns),
        ):
            theirs = played.first_ms(kinds)
            assert (ours is None) is (theirs is None), kinds
            if ours is not None and theirs is not None:
                firsts.append((ours - begin) / 1e6 - theirs)
        assert min(firsts) >= 0
        if statistics.median(lates or [0.0]) < LATE_MS and max(firsts) < 20 * LATE_MS:
            break
    else:
        pytest.fail(f"{TRIES} answers were seen late, the last by {statistics.median(lates):.1f} ms")


FAILURES = {
    "busy-16-99": ("server_busy", "server"), "busy_long": ("server_busy", "server"), "broken": ("server_error", "server"),
    "bad_request": ("endpoint_request", "settings"), "dies": ("server_died", "server"), "resets": ("server_died", "server"),
    "dies_politely": ("server_died", "server"), "dies_before": ("server_died", "server"), "half_json": ("server_stream", "server"),
    "half_line": ("server_died", "server"), "error_event": ("server_error", "server"), "redirect": ("endpoint_redirect", "settings"),
    "unauthorized": ("endpoint_key", "settings"), "unheard_of": ("endpoint_model", "settings"), "html": ("server_protocol", "server"),
    "other_json": ("server_protocol", "server"), "other_events": ("server_protocol", "server"), "not_http": ("server_protocol", "server"),
}  # fmt: skip


@pytest.mark.parametrize("model", FAILURES)
def test_each_failure_is_somebodys(server: StubServer, model: str) -> None:
    failure = ask(server, model)[0].failure
    assert failure is not None
    assert (failure.kind, failure.fault) == FAILURES[model]
    assert "\n" not in failure.message


def test_every_script_is_played_in_some_test() -> None:
    played = {name.partition("-")[0] for name in (*STREAMS, *FAILURES)}
    elsewhere = {
        "cached",
        "counts",
        "hangs",
        "held_back",
        "failing",
        "busy",
        "other_model",
        "scores",
        "scores_alone",
        "wrong_sum",
    }
    assert set(SCRIPTS) == (played | elsewhere) - {"unheard_of"}


def test_a_server_that_falls_silent(server: StubServer) -> None:
    answer, _, begin = ask(server, "hangs", timeout_s=3.0)
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.has_begun, answer.piece_kinds) == ("server_silent", True, "ccc")
    assert "nothing for 3 s" in answer.failure.message
    assert time.perf_counter_ns() - begin < 60e9


def test_what_has_come_is_told_while_more_comes(server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed in the middle of a stream says how far it was."""
    monkeypatch.setattr(line, "MOMENT_S", 0.05)
    told: list[int] = []
    for _ in range(TRIES):
        told.clear()
        endpoint = Endpoint(base_url=server.url, model="say-16-1-20")
        client = Client(endpoint)
        request = RequestBuilder(endpoint=endpoint, model="say-16-1-20").generation(PROMPT, GenerationSettings())
        answer = client.ask(request, lambda _text, _at: told.append(time.perf_counter_ns()))
        client.close()
        assert answer.failure is None and len(told) == 16
        if sum(at < answer.piece_ns[-1] for at in told) >= 8:
            break
    else:
        pytest.fail(f"{TRIES} answers were read at their end alone")


def test_nobody_is_there() -> None:
    with socket.socket() as held:  # bound and not listening: refused
        held.bind(("127.0.0.1", 0))
        endpoint = Endpoint(base_url=f"http://127.0.0.1:{held.getsockname()[1]}/v1", model="m")
        client = Client(endpoint)
        request = RequestBuilder(endpoint=endpoint, model="m").generation(PROMPT, GenerationSettings())
        failure = client.ask(request).failure
        client.close()
    assert failure is not None
    assert (failure.kind, failure.fault, failure.may_pass) == ("endpoint_unreachable", "server", True)
    assert endpoint.server in failure.message


def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with StubServer(tls=context) as secure:
        failure = ask(secure, "say")[0].failure
    assert failure is not None
    assert (failure.kind, failure.fault) == ("endpoint_tls", "settings")
    assert "SSL_CERT_FILE" in failure.message


def test_tls_with_a_server_that_has_none(server: StubServer) -> None:
    endpoint = Endpoint(base_url=server.url.replace("http:", "https:"), model="say")
    client = Client(endpoint)
    failure = client.ask(
        RequestBuilder(endpoint=endpoint, model="say").generation(PROMPT, GenerationSettings())
    ).failure
    client.close()
    assert failure is not None
    assert failure.kind == "endpoint_tls"


def test_the_key_goes_to_the_address_that_was_given_and_nowhere_else(server: StubServer) -> None:
    answer, played, _ = ask(server, "redirect", key="sk-secret-0123456789")
    assert played is not None
    assert played.headers["authorization"] == "Bearer sk-secret-0123456789"
    assert answer.failure is not None
    assert "http://elsewhere.invalid:81; nothing was sent there, the key neither" in answer.failure.message


def test_a_connection_is_kept(server: StubServer) -> None:
    endpoint = Endpoint(base_url=server.url, model="say-2-1-1")
    client, asked = Client(endpoint), len(server.log)
    for _ in range(3):
        client.ask(RequestBuilder(endpoint=endpoint, model="say-2-1-1").generation(PROMPT, GenerationSettings()))
    client.close()
    assert len({played.client for played in server.log[asked:]}) == 1
    assert client.connections == 1


def test_proxies_are_not_asked_for_this_machine(server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert ask(server, "say-2-1-1")[0].failure is None


def self_signed(folder: Path) -> Path:
    """A certificate and its key in one file, made by the openssl program."""
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    key, certificate, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=stub",
         "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True,
    )  # fmt: skip
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
