"""Reading streams: what is a piece of the answer, when it arrived, and whose failure it is when there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmci.backends.openai import stream
from pytest_llmci.backends.openai.answer import Answer
from pytest_llmci.backends.openai.failures import Failure
from pytest_llmci.backends.openai.stream import AnswerReader

EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
DONE = "[DONE]"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def usage(prompt: int, output: int, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output} | more}


def read(*events: object, chat: bool = True, max_tokens: int | None = None, end: bool = True) -> Answer:
    """Each event arrives a millisecond after the one before; the first after one."""
    reader = AnswerReader(chat=chat, url="http://x/v1/chat/completions", max_tokens=max_tokens)
    reader.head(200, EVENTS)
    for number, event in enumerate(events, 1):
        text = event if isinstance(event, str) else json.dumps(event)
        reader.feed(f"data: {text}\n\n".encode(), number * 1_000_000)
    return (
        reader.end((len(events) + 1) * 1_000_000)
        if end
        else reader.broken(Failure(kind="server_died", message="gone"), 0)
    )


def ms(time_ns: int | None) -> float | None:
    return None if time_ns is None else time_ns / 1e6


class TestFirstToken:
    def test_role_and_empty_chunks_are_no_token(self) -> None:
        answer = read(
            chunk(role="assistant", content=""),
            chunk(content=""),
            chunk(content=None),
            chunk(content="Hi"),
            chunk("stop"),
            DONE,
        )
        assert (ms(answer.ttft_any_ns), ms(answer.ttft_content_ns), ms(answer.ttft_reasoning_ns)) == (4, 4, None)
        assert (answer.text, answer.piece_kinds, answer.finish_reason) == ("Hi", "c", "stop")

    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    def test_reasoning_is_kept_apart(self, name: str) -> None:
        answer = read(
            chunk(role="assistant", content=""),
            chunk(**{name: "Hm"}),
            chunk(**{name: "m"}),
            chunk(content="Hi"),
            chunk("stop"),
            DONE,
        )
        assert (ms(answer.ttft_any_ns), ms(answer.ttft_reasoning_ns), ms(answer.ttft_content_ns)) == (2, 2, 4)
        assert (answer.reasoning, answer.text, answer.piece_kinds) == ("Hmm", "Hi", "rrc")
        assert answer.separates_reasoning

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},  # as Mistral's
            {"type": "thinking", "thinking": "Hm"},
            {"type": "reasoning", "text": "Hm"},
        ],
    )
    def test_reasoning_in_parts_of_the_content_is_kept_apart(self, part: dict[str, Any]) -> None:
        both = [part, {"type": "text", "text": "Hi"}]
        answer = read(chunk(content=[part]), chunk(content=both), chunk(content="!"), chunk("stop"), DONE)
        assert (ms(answer.ttft_any_ns), ms(answer.ttft_reasoning_ns), ms(answer.ttft_content_ns)) == (1, 1, 2)
        assert (answer.reasoning, answer.text, answer.piece_kinds) == ("HmHm", "Hi!", "rbc")
        whole = AnswerReader(chat=True)
        whole.head(200, {"content-type": "application/json"})
        whole.feed(json.dumps({"choices": [{"index": 0, "message": {"content": both}}]}).encode(), 1)
        found = whole.end(2)
        assert (found.text, found.reasoning) == ("Hi", "Hm")

    def test_reasoning_that_stands_in_two_fields_is_there_once(self) -> None:
        answer = read(chunk(reasoning="Hm", reasoning_content="Hm"), chunk("stop", content="Hi"), DONE)
        assert (answer.reasoning, answer.text, answer.piece_kinds) == ("Hm", "Hi", "rc")

    def test_a_function_call_of_the_old_form_is_a_piece(self) -> None:
        answer = read(
            chunk(function_call={"name": "f", "arguments": ""}),
            chunk(function_call={"arguments": "{}"}),
            chunk(function_call={"arguments": ""}),
            chunk("function_call"),
            DONE,
        )
        assert (answer.piece_kinds, ms(answer.ttft_any_ns), answer.ttft_content_ns) == ("tt", 1, None)

    def test_a_chunk_of_both_is_the_first_of_either(self) -> None:
        answer = read(chunk(content="a", reasoning="b"), chunk(content="c"), chunk("stop"), DONE)
        assert (answer.ttft_content_ns, answer.ttft_reasoning_ns, answer.piece_kinds) == (1_000_000, 1_000_000, "bc")

    def test_reasoning_alone_has_no_first_token_of_an_answer(self) -> None:
        answer = read(chunk(reasoning="Hm"), chunk("length"), DONE)
        assert answer.ttft_any_ns == answer.ttft_reasoning_ns == 1_000_000
        assert answer.ttft_content_ns is None

    def test_finish_reason_and_usage_are_no_token(self) -> None:
        answer = read(chunk("stop", content=""), usage(5, 0), DONE)
        assert (answer.piece_ns, answer.ttft_any_ns, answer.usage.output_tokens, answer.failure) == ((), None, 0, None)

    def test_arguments_of_a_tool_are_generated_text_but_no_answer(self) -> None:
        call = {"function": {"name": "f", "arguments": ""}}
        nothing = {"function": {"arguments": ""}}
        answer = read(chunk(tool_calls=[nothing]), chunk(tool_calls=[call]), chunk("tool_calls"), DONE)
        assert (answer.ttft_any_ns, answer.ttft_content_ns, answer.piece_kinds) == (2_000_000, None, "t")

    def test_plain_completions_have_texts(self) -> None:
        def event(text: str, finish: str | None = None) -> object:
            return {"choices": [{"index": 0, "text": text, "finish_reason": finish}]}

        answer = read(event(""), event("a"), event("b", "length"), DONE, chat=False)
        assert (answer.text, answer.piece_ns, answer.finish_reason) == ("ab", (2_000_000, 3_000_000), "length")


class TestArrival:
    def test_a_piece_has_arrived_when_its_line_has(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        line = f"data: {json.dumps(chunk(content='Hi'))}\r\n\r\n".encode()
        for number, byte in enumerate(line):
            reader.feed(bytes([byte]), number)
        assert reader.end(99).piece_ns == (line.index(b"\n"),)

    def test_pieces_of_one_read_have_one_time(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        reader.feed(b"".join(f"data: {json.dumps(chunk(content=word))}\n\n".encode() for word in "abc"), 7)
        assert reader.end(9).piece_ns == (7, 7, 7)

    def test_comments_and_other_fields_are_passed_over(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        reader.feed(b": ping\n\nevent: message\nid: 1\nretry: 5\n", 1)
        reader.feed(f"data:{json.dumps(chunk('stop', content='x'))}\n\n: pong\n\ndata: [DONE]\n\n".encode(), 2)
        answer = reader.end(3)
        assert (answer.text, answer.piece_ns, answer.failure, answer.end_ns) == ("x", (2,), None, 2)

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_lines_end_in_any_of_the_three_ways_of_the_standard(self, end: str, size: int) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        pretty = json.dumps(chunk("stop", content="c"), indent=1).split("\n")
        events = [
            [": ping"],
            ["event: message", f"data: {json.dumps(chunk(content='ab'))}"],
            [f"data: {line}" for line in pretty],
        ]
        lines = [line for event in [*events, ["data: [DONE]"]] for line in [*event, ""]]
        sent = "".join(line + end for line in lines).encode()
        for at in range(0, len(sent), size):
            reader.feed(sent[at : at + size], at)
        assert reader.idle() is False or end == "\r"
        answer = reader.end(10_000)
        assert (answer.text, answer.failure, reader.pieces) == ("abc", None, 2)
        first_piece_ends = sent.index(b"}" + end.encode()) + 1 + len(end)
        assert answer.piece_ns[0] - first_piece_ends in range(-size, 2)

    def test_an_event_may_take_several_data_lines(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        text = json.dumps(chunk("stop", content="x"), indent=1)
        reader.feed("".join(f"data: {line}\n" for line in text.splitlines()).encode() + b"\ndata: [DONE]\n\n", 2)
        assert (reader.end(3).text, reader.pieces) == ("x", 1)

    def test_what_comes_after_the_end_is_not_read(self) -> None:
        answer = read(chunk("stop", content="x"), DONE, chunk(content="y"))
        assert (answer.text, answer.end_ns) == ("x", 2_000_000)

    def test_it_tells_of_each_piece_with_its_time_as_it_is_read(self) -> None:
        told: list[tuple[str, int]] = []
        for live in (True, False):
            reader = AnswerReader(
                chat=True, on_piece=lambda text, at_ns: told.append((text, at_ns)), keep=0 if live else 1000
            )
            reader.head(200, EVENTS)
            events = (chunk(role="assistant"), chunk(content="a"), chunk(reasoning="r"), chunk("stop"))
            for number, event in enumerate(events):
                reader.feed(f"data: {json.dumps(event)}\n\n".encode(), number)
            assert told == ([("a", 1), ("", 2)] if live else [])
            assert reader.idle() is True  # no [DONE] yet
            assert told == [("a", 1), ("", 2)]
            told.clear()
            reader.feed(b"data: [DONE]\n\n", 9)
            assert reader.idle() is False

    def test_what_is_not_read_yet_is_bounded(self) -> None:
        reader = AnswerReader(chat=True, keep=500)
        reader.head(200, EVENTS)
        line = f"data: {json.dumps(chunk(content='a'))}\n\n".encode()
        for number in range(20):
            reader.feed(line, number)
        assert 20 - 500 // len(line) <= reader.pieces < 20
        assert reader.end(99).piece_ns == tuple(range(20))


class TestWhole:
    def test_a_document_has_no_times(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, {"content-type": "application/json"})
        body = {
            "model": "m",
            "choices": [{"message": {"content": "Hi", "reasoning": "Hm"}, "finish_reason": "stop"}],
        } | {"usage": usage(5, 2)["usage"]}
        reader.feed(json.dumps(body).encode(), 1)
        answer = reader.end(2)
        assert (answer.text, answer.reasoning, answer.piece_ns, answer.is_stream, answer.came_at_once) == (
            "Hi",
            "Hm",
            (),
            False,
            True,
        )
        assert (answer.usage.prompt_tokens, answer.usage.output_tokens, answer.usage.source, answer.failure) == (
            5,
            2,
            "server",
            None,
        )

    def test_several_tokens_in_the_only_chunk_came_at_once(self) -> None:
        assert read(chunk("stop", content="Hi there"), usage(5, 2), DONE).came_at_once
        assert not read(chunk("stop", content="Hi"), usage(5, 1), DONE).came_at_once
        assert not read(chunk(content="Hi"), chunk("stop", content="there"), usage(5, 8), DONE).came_at_once

    @pytest.mark.parametrize(
        "odd",
        [
            {"logprobs": {"content": 1.5}},
            {"logprobs": {"tokens": 3, "token_logprobs": 4, "top_logprobs": 5}},
            {"index": [0]},
        ],
    )
    @pytest.mark.parametrize("chat", [True, False])
    def test_what_nobody_needs_may_be_of_any_type(self, odd: dict[str, Any], chat: bool) -> None:
        reader = AnswerReader(chat=chat)
        reader.head(200, {"content-type": "application/json"})
        choices = [
            {"message": {"content": "Hi"}, "text": "Hi", "finish_reason": "stop"},
            {"index": 1, "text": "", **odd},
        ]
        reader.feed(json.dumps({"choices": choices if "index" in odd else [choices[0] | odd]}).encode(), 1)
        answer = reader.end(2)
        assert (answer.text, answer.logprobs, answer.failure) == ("Hi", (), None)

    def test_pieces_that_were_held_back_on_the_way_came_at_once(self) -> None:
        def answer(words: int, gap_ns: int) -> Answer:
            reader = AnswerReader(chat=True)
            reader.head(200, EVENTS)
            for place in range(words):
                reader.feed(f"data: {json.dumps(chunk(content='Hi'))}\n\n".encode(), 1_000_000 + place * gap_ns)
            reader.feed(f"data: {json.dumps(chunk('stop'))}\n\n".encode(), 9_000_000)
            return reader.end(9_000_000)

        assert answer(8, 0).came_at_once and answer(50, 2_000).came_at_once
        assert not answer(7, 0).came_at_once  # the client may have had to wait for a CPU
        assert not answer(50, 100_000).came_at_once

    @pytest.mark.parametrize("kind", ["", "text/plain", "application/json"])
    def test_the_form_is_seen_without_a_content_type(self, kind: str) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, {"content-type": kind})
        reader.feed(b"dat", 1)
        reader.feed(f"a: {json.dumps(chunk('stop', content='x'))}\n\n".encode(), 2)
        assert (reader.end(3).text, reader.pieces) == ("x", 1)


class TestUsage:
    def test_counts_of_the_server(self) -> None:
        details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 1}}
        found = read(chunk("stop", content="a"), usage(5, 2, total_tokens=7, **details), DONE).usage
        assert (found.prompt_tokens, found.output_tokens, found.cached_tokens, found.reasoning_tokens) == (5, 2, 3, 1)
        assert found.source == "server"

    def test_the_last_counts_are_kept(self) -> None:
        events = [chunk(content=word) | {"usage": usage(5, number)["usage"]} for number, word in enumerate("abc", 1)]
        assert read(*events, chunk("stop"), DONE).usage.output_tokens == 3

    def test_none_were_sent(self) -> None:
        found = read(chunk("stop", content="a"), DONE).usage
        assert (found.output_tokens, found.source, found.why_not) == (None, "", "the server sent no usage")

    @pytest.mark.parametrize(
        ("counts", "says"),
        [
            (usage(5, 1), "it counts 1 tokens, but 2 pieces of text came"),
            (usage(5, 9), "it counts 9 tokens, but 8 at most were asked for"),
            (usage(5, 2, total_tokens=9), "5 and 2 tokens do not make 9"),
            (usage(-1, 2), "prompt_tokens is -1"),
            ({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": "2"}}, "completion_tokens is '2'"),
            (usage(5, 2, prompt_tokens_details={"cached_tokens": 6}), "6 of 5 tokens came from the cache"),
            (usage(5, 2, completion_tokens_details={"reasoning_tokens": 3}), "3 of 2 tokens are reasoning"),
            ({"choices": [], "usage": 5}, "the server's usage is no object: 5"),
        ],
    )
    def test_counts_that_cannot_be_are_missing_with_the_reason(self, counts: object, says: str) -> None:
        answer = read(chunk(content="a"), chunk("stop", content="b"), counts, DONE, max_tokens=8)
        assert (answer.usage.prompt_tokens, answer.usage.output_tokens, answer.usage.source) == (None, None, "")
        assert says in answer.usage.why_not
        assert answer.failure is None  # the times are right all the same

    def test_no_token_for_a_text(self) -> None:
        assert "it counts no token" in read(chunk("stop", content="a"), usage(5, 0), DONE).usage.why_not


class TestFailures:
    def kind(self, *events: object, end: bool = True) -> str:
        failure = read(*events, end=end).failure
        assert failure is not None
        assert failure.fault == "server"
        return failure.kind

    def test_a_stream_that_just_ends(self) -> None:
        answer = read(chunk(content="a"), chunk(content="b"))
        assert answer.failure is not None
        assert (answer.failure.kind, answer.failure.has_begun) == ("server_died", True)
        assert "after 2 pieces of text" in answer.failure.message
        assert answer.text == "ab"

    def test_a_connection_that_breaks(self) -> None:
        assert self.kind(chunk(content="a"), end=False) == "server_died"

    def test_a_connection_that_breaks_behind_the_finish_reason_broke_nothing(self) -> None:
        assert read(chunk("stop", content="a"), end=False).failure is None

    def test_half_a_line_of_json(self) -> None:
        assert (
            self.kind(chunk(content="a"), '{"choices": [{"del', chunk(content="b"), chunk("stop"), DONE)
            == "server_stream"
        )

    def test_half_a_line_at_the_end(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        reader.feed(b'data: {"choices"', 1)
        failure = reader.end(2).failure
        assert failure is not None
        assert (failure.kind, "in the middle of a line" in failure.message) == ("server_died", True)

    def test_an_error_in_the_stream(self) -> None:
        answer = read(chunk(content="a"), {"error": {"message": "out of\nmemory"}}, DONE)
        assert answer.failure is not None
        assert (answer.failure.kind, answer.failure.message) == (
            "server_error",
            "the server broke off its answer: out of memory",
        )

    @pytest.mark.parametrize("reason", ["error", "abort"])
    def test_an_answer_that_the_server_gave_up_is_none(self, reason: str) -> None:
        assert self.kind(chunk(content="a"), chunk(reason), usage(5, 1), DONE) == "server_error"

    @pytest.mark.parametrize(
        "line",
        [
            b'error: {"code": 500, "message": "context is full"}\n\n',  # llama.cpp
            b'data: {"object": "error", "message": "context is full", "code": 400}\n\n',  # vLLM
            b'event: error\ndata: {"error": {"message": "context is full"}}\n\n',
            b'data: {"error": "context is full", "error_type": "generation"}\n\n',  # TGI
        ],
    )
    def test_errors_of_each_server_in_its_stream(self, line: bytes) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        reader.feed(f"data: {json.dumps(chunk(content='a'))}\n\n".encode() + line, 1)
        failure = reader.end(2).failure
        assert failure is not None and failure.has_begun
        assert (failure.kind, failure.message) == (
            "server_error",
            "the server broke off its answer: context is full",
        )

    def test_an_answer_that_comes_compressed(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS | {"content-encoding": "gzip"})
        reader.feed(b"\x1f\x8b\x08", 1)
        failure = reader.end(2).failure
        assert failure is not None and failure.kind == "server_protocol" and "compressed (gzip)" in failure.message

    def test_a_byte_order_mark_before_the_stream(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        reader.feed(
            b"\xef\xbb\xbfdata:" + json.dumps(chunk("stop", content="a")).encode() + b"\r\n\r\ndata:[DONE]\r\n\r\n", 1
        )
        assert (reader.end(2).text, reader.pieces, reader.is_done) == ("a", 1, True)

    def test_an_event_that_never_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "MOST_BYTES", 1000)
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        for number in range(300):
            reader.feed(b"data: never\n", number)
        failure = reader.end(999).failure
        assert failure is not None and failure.kind == "server_stream" and "no JSON" in failure.message

    def test_an_event_of_several_lines(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        lines = json.dumps(chunk("stop", content="a"), indent=1).splitlines()
        reader.feed("".join(f"data: {line}\n" for line in lines).encode(), 1)
        reader.feed(b"\n", 2)
        assert (reader.end(3).text, reader.end(3).piece_ns) == ("a", (2,))

    def test_nothing_but_the_end(self) -> None:
        assert self.kind(DONE) == "server_stream"

    def test_events_of_something_else(self) -> None:
        assert self.kind({"n": 1}) == "server_protocol"
        assert self.kind({"choices": [{"index": 0, "delta": "text"}]}) == "server_stream"

    def test_lines_of_something_else(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, EVENTS)
        reader.feed(b"hello\n", 1)
        failure = reader.end(2).failure
        assert failure is not None
        assert failure.kind == "server_protocol"

    @pytest.mark.parametrize(
        "body",
        [
            b"<html>It works</html>",
            b'{"status": "ok"}',
            b"[1]",
            b"",
            b'{"choices": []}',
            b'{"choices": [{"index": 0}]}',
        ],
    )
    def test_a_document_of_something_else(self, body: bytes) -> None:
        reader = AnswerReader(chat=True, url="http://x/v1")
        reader.head(200, {"content-type": "text/html"})
        reader.feed(body, 1)
        failure = reader.end(2).failure
        assert failure is not None
        assert failure.kind == "server_protocol"

    def test_half_a_document(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(200, {"content-type": "application/json"})
        reader.feed(b'{"choices": [{"mess', 1)
        failure = reader.end(2).failure
        assert failure is not None
        assert failure.kind == "server_died"

    def test_a_body_of_an_error_is_not_kept_whole(self) -> None:
        reader = AnswerReader(chat=True)
        reader.head(500, {})
        for _ in range(100):
            reader.feed(b"x" * 10_000, 1)
        assert len(reader._rest) <= 1 << 16
        failure = reader.end(2).failure
        assert failure is not None
        assert len(failure.message) < 300
