"""Load on a server, against the scripted one and its own log."""

from __future__ import annotations

import contextlib
import socket
import time
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from loads import on_endpoint
from timing import on_real_time

pytest.importorskip("httptools")

from stub_server import Asked, Script, Step, StubServer, ending, pieces, say, script_of

from pytest_llmci.errors import GenerationError
from pytest_llmci.load import endpoint as endpoint_module
from pytest_llmci.load.accounting import accounted
from pytest_llmci.load.endpoint import most_connections
from pytest_llmci.load.scenario import parse_scenario
from pytest_llmci.records import LoadRun

pytestmark = on_real_time

MS = 10**6


def ran(url: str, text: str, model: str = "say", *, seed: int = 0, **options: Any) -> LoadRun:
    scenario = parse_scenario(text, "x")
    return accounted(on_endpoint(url, model, **options).run(scenario, seed), scenario.objective)


def test_times_are_those_of_the_servers_log_counted_from_the_intended_sending() -> None:
    with StubServer() as server:
        found = ran(server.url, "rate=40 requests=30", "say-16-20-5")
        log = server.log
    assert found.failures == [""] * 30 and found.tokens == [16] * 30 and found.chunks == [16] * 30
    assert found.served == "at once" and found.messages == {}
    # Both clocks are the machine's own: the beginning of the run is the same in all differences.
    first = [played.pieces[0].at_ns for played in log]
    last = [played.pieces[-1].at_ns for played in log]
    order = sorted(range(30), key=lambda number: found.sent_ns[number])
    for numbers, seen, sent in ((order, found.first_ns, first), (order, found.ended_ns, last)):
        begins = [at - (seen[number] or 0) for number, at in zip(numbers, sent, strict=True)]
        assert max(begins) - min(begins) < 20 * MS  # one beginning fits all
    latencies = [end - due for due, end in zip(found.intended_ns, found.ended_ns, strict=True)]
    assert 95 * MS < median(latencies) < 130 * MS
    assert len(found.lags_ns) == 22 and found.cpu_ns > 0


def test_requests_of_a_server_scenario_overlap_and_come_as_they_are_drawn() -> None:
    with StubServer() as server:
        found = ran(server.url, "rate=20 requests=60", "say-4-500-1", seed=3)
        received = sorted(played.received_ns for played in server.log)
    gaps = [after - before for before, after in pairwise(received)]
    drawn = [after - before for before, after in pairwise(found.intended_ns)]
    assert sum(abs(one - other) < 15 * MS for one, other in zip(gaps, drawn, strict=True)) >= 55
    at_once = [
        sum(sent <= at < end for sent, end in zip(found.sent_ns, found.ended_ns, strict=True)) for at in found.sent_ns
    ]
    assert max(at_once) >= 8  # 20 a second, each 503 ms


def stalling(at: int, for_ms: float, tokens: str = "say") -> tuple[dict[str, Any], list[float]]:
    """A server that does nothing for a while, once: when that request has come."""
    until: list[float] = []

    def script(asked: Asked) -> Script:
        if asked.turn == at:
            until.append(time.perf_counter() + for_ms / 1e3)
        wait_ms = max(0.0, (until[0] - time.perf_counter()) * 1e3) if until else 0.0
        first, *rest = pieces(asked, 4, first_ms=5 + wait_ms)
        return Script(
            steps=[first, *(Step(after_ms=1, data=step.data, piece=step.piece) for step in rest), *ending(asked, 4)]
        )

    return {"stalls": script}, until


def test_a_server_that_stalls_once_makes_all_wait_that_were_due_meanwhile() -> None:
    scripts, _ = stalling(at=20, for_ms=2400)
    with StubServer(scripts=scripts) as server:
        found = ran(server.url, "rate=25 requests=100", "stalls")
    scripts, _ = stalling(at=20, for_ms=2400)
    with StubServer(scripts=scripts) as server:
        closed = ran(server.url, "single-stream requests=100", "stalls")
    # A generator that waits for each answer meets the stall once in 100 requests: its p95 knows nothing of it.
    waits = sorted(end - due for due, end in zip(closed.intended_ns, closed.ended_ns, strict=True))
    assert waits[-1] > 2200 * MS and waits[95] < 400 * MS
    # At 25 a second some 60 requests were due while the server did nothing, half of them for over 1200 ms.
    latencies = [end - due for due, end in zip(found.intended_ns, found.ended_ns, strict=True)]
    assert 40 <= sum(latency > 200 * MS for latency in latencies) <= 80
    assert sorted(latencies)[95] > 1200 * MS
    firsts = [(first or 0) - due for due, first in zip(found.intended_ns, found.first_ns, strict=True)]
    assert sorted(firsts)[95] > 1200 * MS


def test_a_request_that_could_not_be_sent_in_time_still_counts_from_when_it_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proof that nothing is omitted: with a single connection the generator itself is held up by the stall."""
    monkeypatch.setattr(endpoint_module, "most_connections", lambda wanted: 1)
    scripts, _ = stalling(at=10, for_ms=600)
    with StubServer(scripts=scripts) as server:
        found = ran(server.url, "rate=50 requests=60", "stalls")
    held = [number for number in range(60) if found.sent_ns[number] - found.intended_ns[number] > 100 * MS]
    assert len(held) >= 15
    from_sending = [found.ended_ns[number] - found.sent_ns[number] for number in held]
    from_due = [found.ended_ns[number] - found.intended_ns[number] for number in held]
    assert median(from_sending) < 40 * MS and median(from_due) > 150 * MS
    assert sorted(end - due for due, end in zip(found.intended_ns, found.ended_ns, strict=True))[57] > 300 * MS
    assert found.values["generator_delay"] > 300 * MS  # a server that was not asked is not slow
    assert "request_latency_p95" not in found.values
    assert "the generator itself was too slow" in found.reasons["request_latency_p95"]
    assert "ulimit -n" in found.reasons["request_latency_p95"]


def test_a_closed_loop_keeps_its_users_busy_and_uses_their_connections_again() -> None:
    with StubServer() as server:
        found = ran(server.url, "concurrency=4 requests=40", "say-4-10-2")
        log = server.log
    assert found.concurrency == 4 and found.rate is None
    assert found.intended_ns == sorted(found.intended_ns) and found.intended_ns[:4] == [0, 0, 0, 0]
    assert len({played.client for played in log}) == 4
    at_once = [
        sum(sent < at < end for sent, end in zip(found.sent_ns, found.ended_ns, strict=True)) for at in found.sent_ns
    ]
    assert max(at_once) <= 4


def test_offline_sends_all_at_once_and_single_stream_one_by_one() -> None:
    with StubServer() as server:
        offline = ran(server.url, "offline requests=20", "say-4-500-2")
        single = ran(server.url, "single-stream requests=5", "say-4-10-2")
    assert set(offline.intended_ns) == {0} and max(offline.ended_ns) < 20 * 500 * MS
    assert all(sent >= end for end, sent in pairwise([single.ended_ns[0], *single.sent_ns[1:2]]))
    assert single.intended_ns[1:] >= single.ended_ns[:-1]


def test_prompts_are_unique_so_that_no_prefix_cache_answers() -> None:
    with StubServer() as server:
        ran(server.url, "concurrency=2 requests=10", "say-2-1-1")
        prompts = [str(played.body["prompt"]) for played in server.log]
    assert len(set(prompts)) == 10 and all(prompt.startswith("[") for prompt in prompts)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("busy_long", "server_busy"), ("broken", "server_error"), ("dies", "server_died"), ("resets", "server_died"),
        ("half_json", "server_stream"), ("error_event", "server_error"), ("redirect", "endpoint_redirect"), ("unknown", "endpoint_model"),
        ("html", "server_protocol"), ("not_http", "server_protocol"), ("nothing", "empty"), ("other_model", "server_model"),
    ],
)  # fmt: skip
def test_each_failure_has_its_kind_and_is_in_no_time(model: str, kind: str) -> None:
    def mixed(asked: Asked) -> Script:
        return script_of(model)[0](asked) if asked.turn % 2 else say(asked)

    with StubServer(scripts={"mixed": mixed}) as server:
        found = ran(server.url, "single-stream requests=6", "mixed")
        asked = len(server.log)
    assert found.failures == ["", kind] * 3 and asked == 6  # nothing is sent twice
    assert found.values["error_rate"] == 50.0 and list(found.messages) == [kind]
    assert found.messages[kind] and "\n" not in found.messages[kind]
    assert all(
        end - sent > 90 * MS
        for end, sent, failure in zip(found.ended_ns, found.sent_ns, found.failures, strict=True)
        if not failure
    )


def test_a_server_that_falls_silent_and_one_that_is_too_slow() -> None:
    with StubServer() as server:
        silent = ran(server.url, "concurrency=2 requests=2", "hangs", silence="0.3")
        slow = ran(server.url, "concurrency=2 requests=2", "say-16-10-1000", timeout_s=0.5)
    assert silent.failures == ["server_silent"] * 2 and "sent nothing for 0.3 s" in silent.messages["server_silent"]
    assert slow.failures == ["server_silent"] * 2 and "--llmci-timeout" in slow.messages["server_silent"]
    assert all(400 * MS < end < 1500 * MS for end in slow.ended_ns)


def test_nobody_there() -> None:
    with StubServer() as server:
        url = server.url
    found = ran(url, "concurrency=2 requests=4")
    assert found.failures == ["endpoint_unreachable"] * 4
    assert found.messages["endpoint_unreachable"].startswith(f"nothing answers at {url.removesuffix('/v1')}: ")
    with pytest.raises(GenerationError, match="warm-up: nothing answers at"):
        on_endpoint(url).warm_up(1)


def test_no_connection_in_time_is_no_slow_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as others:
        for _ in range(4):  # more than wait in its line: whoever comes now gets no answer
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        found = ran(f"http://127.0.0.1:{full.getsockname()[1]}/v1", "single-stream requests=1")
    assert found.failures == ["endpoint_unreachable"]
    assert found.messages["endpoint_unreachable"].endswith(": no connection in time")


def test_no_secure_connection_is_told_with_what_helps() -> None:
    with StubServer() as server:
        found = ran(server.url.replace("http:", "https:"), "single-stream requests=1")
    assert found.failures == ["endpoint_tls"] and "is its address http://?" in found.messages["endpoint_tls"]


def test_where_reasoning_comes_apart_the_first_token_is_the_answers() -> None:
    with StubServer() as server:
        found = ran(server.url, "single-stream requests=3", "reasoning-16-20-5")
        apart = [played.first_ms("c") for played in server.log]
    seen = [((first or 0) - sent) / MS for first, sent in zip(found.first_ns, found.sent_ns, strict=True)]
    assert all(abs(one - (other or 0)) < 15 for one, other in zip(seen, apart, strict=True)) and min(seen) > 60
    assert found.chunks == [8] * 3 and found.tokens == [16] * 3


def test_an_answer_in_one_piece_has_a_latency_and_no_first_token() -> None:
    with StubServer() as server:
        for model in ("whole", "at_once"):
            found = ran(server.url, "single-stream requests=2", model)
            assert found.failures == ["", ""] and found.first_ns == [None, None] and found.tokens == [16, 16]
            assert "tell when tokens arrive" in found.reasons["request_ttft_p50"]


def test_answers_that_were_held_back_have_a_latency_and_no_first_token() -> None:
    with StubServer() as server:
        found = ran(server.url, "single-stream requests=2", "held_back")
    assert found.failures == ["", ""] and found.chunks == [16, 16]
    assert "request_latency_p50" in found.values or "generator" in found.reasons["request_latency_p50"]
    assert "tell when tokens arrive" in found.reasons["request_ttft_p50"] + found.reasons["request_itl_p50"]


def test_progress_is_told_also_while_nothing_ends() -> None:
    beats: list[int] = []
    with StubServer() as server:
        ran(server.url, "single-stream requests=1", "say-4-3000-1", beat=beats.append)
    assert beats.count(0) >= 1 and beats[-1] == 1


def test_connections_are_as_many_as_the_system_allows() -> None:
    assert most_connections(10) == 10
    assert 1 <= most_connections(10**9) < 10**9
