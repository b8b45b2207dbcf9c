"""Reading HTTP: ends of bodies, interim answers, and what is no HTTP."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping

import pytest

from pytest_llmci.backends.openai.exchange import HEAD_BYTES, Exchange, NotHTTP, head_of, unpacked, with_body, written

httptools = pytest.importorskip("httptools")
OK = b"HTTP/1.1 200 OK\r\n"


class Taken:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.parts: list[tuple[bytes, int]] = []

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers

    def feed(self, data: bytes, at_ns: int) -> None:
        self.parts.append((data, at_ns))

    def idle(self) -> bool:
        return True

    @property
    def body(self) -> bytes:
        return b"".join(data for data, _ in self.parts)


def read(*parts: bytes) -> tuple[Taken, Exchange]:
    """Each part arrives a nanosecond after the one before."""
    taken = Taken()
    exchange = Exchange(taken, httptools)
    for number, part in enumerate(parts, 1):
        exchange.receive(part, number)
    return taken, exchange


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
LENGTH = OK + b"Content-Length: 5\r\n\r\nabcde"


@pytest.mark.parametrize("answer", [CHUNKED, LENGTH])
def test_bodies_are_whole_wherever_they_are_cut(answer: bytes) -> None:
    for cut in range(1, len(answer)):
        taken, exchange = read(answer[:cut], answer[cut:])
        assert (taken.status, taken.body, exchange.is_whole, exchange.can_go_on) == (200, b"abcde", True, True), cut
    taken, exchange = read(*(answer[place : place + 1] for place in range(len(answer))))
    assert (taken.body, exchange.is_whole, exchange.can_go_on) == (b"abcde", True, True)


def test_a_chunk_has_the_time_at_which_it_came() -> None:
    taken, _ = read(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", b"1\r\nb\r\n1\r\nc\r\n", b"0\r\n\r\n")
    assert taken.parts == [(b"a", 2), (b"bc", 3)]


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    taken, exchange = read(OK + b"Server: x\r\n\r\nabc", b"de")
    assert not exchange.is_whole
    assert exchange.closed() and exchange.is_whole and not exchange.can_go_on
    assert taken.body == b"abcde"


@pytest.mark.parametrize("answer", [CHUNKED, LENGTH])
def test_a_body_that_breaks_off_is_not_whole(answer: bytes) -> None:
    for cut in range(len(answer)):
        _, exchange = read(answer[:cut]) if cut else read()
        assert not exchange.closed() and not exchange.is_whole, cut


def test_a_connection_that_the_server_ends_takes_no_other_request() -> None:
    for line in (b"Connection: close\r\n", b"Connection: Close, x\r\n"):
        assert not read(OK + line + b"Content-Length: 0\r\n\r\n")[1].can_go_on
    assert not read(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")[1].can_go_on
    assert read(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")[1].can_go_on


def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\nX: no\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    for parts in ((*interim, LENGTH), (b"".join(interim) + LENGTH,)):
        taken, exchange = read(*parts)
        assert (taken.status, taken.body, exchange.is_whole, exchange.can_go_on) == (200, b"abcde", True, True)
        assert dict(taken.headers) == {"content-length": "5"}


def test_what_comes_after_the_answer_is_no_part_of_it() -> None:
    for more in (LENGTH, b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"garbage"):
        for parts in ((CHUNKED + more,), (CHUNKED, more)):
            taken, exchange = read(*parts)
            assert (taken.status, taken.body, exchange.is_whole, exchange.can_go_on) == (200, b"abcde", True, False)


def test_statuses_without_a_body_are_whole_at_once() -> None:
    for status in (b"204 No Content", b"304 Not Modified"):
        taken, exchange = read(b"HTTP/1.1 " + status + b"\r\n\r\n")
        assert exchange.is_whole and exchange.can_go_on and taken.body == b""


def test_headers_by_lower_case_name_and_trailers_none() -> None:
    head = b"SERVER:  a b \r\nX-Twice: 1\r\nx-twice: 2\r\nEmpty:\r\nLatin: \xe9\r\nTransfer-Encoding: chunked\r\n\r\n"
    end = b"0\r\nServer: later\r\n\r\n"
    for parts in ((OK + head, end), (OK + head + end,), (OK + head + end + LENGTH,)):
        taken, exchange = read(*parts)
        assert exchange.is_whole
        assert dict(taken.headers) == {
            "server": "a b", "x-twice": "1, 2", "empty": "", "latin": "\xe9", "transfer-encoding": "chunked",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((b"SSH-2.0-OpenSSH_9.6\r\n\r\n",), "it says 'SSH-2.0-OpenSSH_9.6'"),
        ((b"\x16\x03\x01\x02\x00",), "it speaks TLS: is its address https://"),
        ((b"\x15\x03\x01\x00\x02\x02\x46",), "it speaks TLS"),
        ((b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\0" * 18,), "it sends bytes that are no text"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\nabc\r\n"), "chunk size"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n", b"-1\r\nabc\r\n"), "chunk size"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n", b"f" * 17 + b"\r\n"), "overflow"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nabc"), "chunk"),
        ((OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",), "Content-Length"),
        ((OK + b"Content-Length: x\r\n\r\n",), "Content-Length"),
        ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",), "another protocol"),
        ((b"HTTP/2 200 OK\r\n\r\n",), "it says 'HTTP/2 200 OK'"),
        ((b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",), "header"),
    ],
)
def test_what_is_no_http(parts: tuple[bytes, ...], words: str) -> None:
    with pytest.raises(NotHTTP, match=f"(?i){words}"):
        read(*parts)


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"\r", b"") + b"Transfer-Encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3  \r\nabc\r\n0\r\n\r\n",
        OK + b"X: a\r\n b\r\nContent-Length: 3\r\n\r\nabc",
        OK + b"X: a\x01b\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["no CR", "chunks and length", "length and chunks", "blanks", "folded", "control", "no reason"],
)
def test_what_is_read_though_it_is_not_as_it_should_be(answer: bytes) -> None:
    taken, exchange = read(answer)
    assert (taken.status, taken.body, exchange.is_whole) == (200, b"abc", True)


def test_a_flood_of_headers_has_an_end() -> None:
    flood = [b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(HEAD_BYTES // 1000 + 2)]
    with pytest.raises(NotHTTP, match="no end within 100 KiB"):
        read(OK, *flood)
    with pytest.raises(NotHTTP, match="no end within 100 KiB"):
        read(OK + b"X: ", *([b"x" * 1000] * (HEAD_BYTES // 1000 + 2)))
    interim = [b"HTTP/1.1 102 Processing\r\n\r\n"] * (HEAD_BYTES // 20)
    with pytest.raises(NotHTTP, match="no end within 100 KiB"):
        read(*interim)


def test_requests_as_bytes() -> None:
    found = written("GET", "http://h:80/a b/\xe9%20;x", {"A": "1"})
    assert found == b"GET /a%20b/%C3%A9%20;x HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n"
    assert written("GET", "http://h", {}) == b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    head = head_of("POST", "https://[::1]:8443/v1", {}, through_proxy=True)
    assert (
        with_body(head, b"{}")
        == b"POST https://[::1]:8443/v1 HTTP/1.1\r\nHost: [::1]:8443\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_bodies_that_come_compressed() -> None:
    text = b'{"a": 1}' * 50
    raw = zlib.compressobj(wbits=-15)
    for body, name in (
        (gzip.compress(text), "gzip"), (zlib.compress(text), "Deflate "), (raw.compress(text) + raw.flush(), "deflate"),
    ):  # fmt: skip
        assert unpacked(body, name) == text
    assert unpacked(b"not packed", "gzip") == b"not packed"
    assert unpacked(text, "br") == unpacked(text, "") == text
    assert len(unpacked(gzip.compress(bytes(1 << 24)), "gzip")) == 1 << 22  # a bomb
