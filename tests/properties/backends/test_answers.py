"""Reading streams of any form: what comes out depends on the bytes alone, and the times on when the lines were there."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmci.backends.openai.answer import Answer
from pytest_llmci.backends.openai.failures import Failure
from pytest_llmci.backends.openai.stream import AnswerReader

EVENTS = {"content-type": "text/event-stream"}
GONE = Failure(kind="server_died", message="gone")


def chunk(**delta: object) -> bytes:
    return (
        b"data: " + json.dumps({"model": "m", "choices": [{"index": 0, "delta": delta}]}, ensure_ascii=False).encode()
    )


TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
LINES = st.one_of(
    TEXTS.map(lambda text: chunk(content=text)),
    TEXTS.map(lambda text: chunk(reasoning=text)),
    TEXTS.map(lambda text: b'data:{"choices":[{"index":0,"delta":{"content":' + json.dumps(text).encode() + b"}}]}"),
    st.sampled_from(
        [
            b": ping", b"event: message", b"id: 1", b"retry: 5", b"", b"data: {", b"data: [DONE]", b"data: nonsense", b"data:",
            b'data: {"choices": [],', b'data: "usage": {"prompt_tokens": 1, "completion_tokens": 2}}', b"error: {}", b"hello",
            b'data: {"error": {"message": "no"}}', b'data: {"choices": [{"index": 0, "delta": {"content": NaN}}]}', b"data: \xff",
            b'data: {"choices": [{"index": 0, "delta": {"content": "\\ud83d"}, "finish_reason": "stop"}]}', b"data: 1e999",
        ]
    ),
)  # fmt: skip
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n", b"\r\n"])), max_size=12).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def read(parts: list[bytes], *, keep: int, ends: bool, idle_after: int = -1) -> Answer:
    """Each part arrives a nanosecond after the one before."""
    reader = AnswerReader(chat=True, keep=keep)
    reader.head(200, EVENTS)
    for number, part in enumerate(parts):
        reader.feed(part, number)
        if number == idle_after:
            reader.idle()
    return reader.end(len(parts)) if ends else reader.broken(GONE, len(parts))


def untimed(answer: Answer) -> Answer:
    return replace(answer, piece_ns=(), end_ns=None)


@given(stream=STREAMS, data=st.data(), keep=st.sampled_from([0, 20, 1 << 20]), ends=st.booleans())
def test_it_is_the_same_wherever_the_stream_is_cut_and_whenever_it_is_read(
    stream: bytes, data: st.DataObject, keep: int, ends: bool
) -> None:
    """The texts, kinds, counts and the failure are those of the whole stream in one part, read as it comes."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    parts = [stream[one:other] for one, other in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    answer = read(parts, keep=keep, ends=ends, idle_after=data.draw(st.integers(-1, len(parts))))
    assert untimed(answer) == untimed(read([stream], keep=0, ends=ends))
    live = read(parts, keep=0, ends=ends)
    assert (answer.piece_ns, answer.end_ns) == (live.piece_ns, live.end_ns)
    assert list(answer.piece_ns) == sorted(answer.piece_ns)


@settings(max_examples=40)
@given(texts=st.lists(TEXTS.filter(bool), min_size=1, max_size=6), ending=st.sampled_from([b"\n\n", b"\r\n\r\n"]))
def test_a_piece_arrives_with_the_last_byte_of_its_line_at_every_place_of_a_cut(
    texts: list[str], ending: bytes
) -> None:
    """A stream cut in two at any byte: what was whole before the cut has the first time, all else the second."""
    lines = [chunk(content=text) + ending for text in texts]
    stream = b"".join(lines) + b"data: [DONE]" + ending
    breaks = [
        sum(map(len, lines[: number + 1])) - len(ending) + ending.index(b"\n") + 1 for number in range(len(lines))
    ]
    for cut in range(len(stream) + 1):
        answer = read([stream[:cut], stream[cut:]], keep=1 << 20, ends=True)
        assert answer.failure is None and answer.text == "".join(texts)
        assert list(answer.piece_ns) == [0 if cut >= place else 1 for place in breaks], cut
