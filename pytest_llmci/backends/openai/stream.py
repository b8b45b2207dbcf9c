"""Reads an endpoint's answer: bytes and the times at which they arrived in, an :class:`.answer.Answer` out.

It opens nothing and asks no clock, so that the blocking client, the asynchronous one and tests share it. What is counted as a
piece of the answer is decided here:

- text of the answer, text of the reasoning, and arguments of a tool call, where they are not empty;
- not the role, not an empty text, not the finish reason, not a comment that keeps the connection open, not the usage.

A chunk is one piece, however many tokens it holds: the stream does not say. An event ends with its line if that is whole JSON, as all
known servers send it, else with the empty line that the standard asks for.

What arrives is stamped and kept, and read a few times a second and at the end: all at once that takes much less CPU time than one by one,
each after a sleep that has emptied the processor's caches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from .answer import BOTH, CONTENT, REASONING, TOOL, Answer, Choice, TokenLogprob
from .choices import all_choices, calls_tool, first_choice, read_logprobs, reasoning_of, text_of
from .exchange import unpacked
from .failures import Failure, Kind, error_words, of_status, quote, server_words
from .usage import read_usage

try:
    import orjson
except ImportError:  # no wheel for this platform: everything goes the slow way
    orjson = None

MOST_BYTES: Final = 1 << 26
"""Of a document or a single line: more is no answer that anybody asked for."""
ERROR_BYTES: Final = 1 << 16
MOST_KEPT: Final = 1 << 20
"""Bytes that wait to be read."""
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BROKEN_OFF: Final = ("error", "abort")
"""Finish reasons of an answer that is none: OpenRouter's and vLLM's."""
_quickly: Final[Callable[[bytes], object] | None] = None if orjson is None else orjson.loads
_slowly: Final = json.JSONDecoder().decode
"""``json.loads`` without asking each time what it is given."""


OnPiece: TypeAlias = Callable[[str, int], None]


class AnswerReader:
    """Reads one answer: :meth:`head`, then :meth:`feed` for all that arrives, then :meth:`end` or :meth:`broken`.

    :param chat: whether the chat interface was asked; plain completions have another form.
    :param url: that the request was sent to, for messages.
    :param max_tokens: that were asked for; a server that counts more contradicts itself.
    :param key_env: the variable whose key was sent, for messages.
    :param on_piece: called for each piece of generated text when it is read, with the time at which it arrived.
    :param keep: bytes that may wait to be read; with 0 all is read as it comes.
    """

    def __init__(
        self, *, chat: bool, url: str = "", max_tokens: int | None = None, key_env: str = "", on_piece: OnPiece | None = None,
        keep: int = MOST_KEPT,
    ) -> None:  # fmt: skip
        self._chat = chat
        self._url = url
        self._max_tokens = max_tokens
        self._key_env = key_env
        self._on_piece = on_piece
        self._keep = keep
        self._kept: list[tuple[bytes, int]] = []
        self._kept_bytes = 0
        self._status = 200
        self._headers: Mapping[str, str] = {}
        self._form = ""
        """``events``, ``document``, ``error``, or not known yet."""
        self._rest = bytearray()
        """What came behind the last line break; of a document or an error, all of it."""
        self._open_event: list[bytes] = []
        self._open_bytes = 0
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._piece_ns: list[int] = []
        self._kinds: list[str] = []
        self._usage: object = None
        self._finish = ""
        self._model = ""
        self._fingerprint = ""
        self._logprobs: list[TokenLogprob] = []
        self._choices: list[Choice] = []
        self._done = False
        self._events = 0
        self._end_ns: int | None = None
        self._failure: Failure | None = None

    # ------------------------------------------------------------------------------------------------------ what is fed

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the status and the headers.

        :param headers: by lower-case name.
        """
        self._status, self._headers = status, headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        packed = headers.get("content-encoding", "").strip().lower()
        if status != 200:
            self._form = "error"
        elif packed not in ("", "identity"):
            self._fail(
                "server_protocol",
                f"the server sends its answer compressed ({quote(packed)}), though it was asked not to: what came when is not known",
            )
        elif kind == "text/event-stream":
            self._form = "events"

    def feed(self, data: bytes, at_ns: int) -> None:
        """Take what arrived at that time."""
        self._kept.append((data, at_ns))
        self._kept_bytes += len(data)
        if self._kept_bytes > self._keep:
            self.catch_up()

    def catch_up(self) -> None:
        """Read what was kept."""
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        for data, at_ns in kept:
            self._read(data, at_ns)

    def idle(self) -> bool:
        """Nothing came for a moment: read what was kept.

        :returns: whether anything more is to come.
        """
        self.catch_up()
        return not self.is_done

    def _read(self, data: bytes, at_ns: int) -> None:
        if self._failure is not None or self._done:
            return
        if self._rest or self._form != "events":
            whole = self._with_rest(data)
            if whole is None:
                return
            data = whole
        *lines, rest = (data if b"\r" not in data else _with_line_feeds(data)).split(b"\n")
        for line in lines:
            if line or self._open_event:  # else the end of an event that is read already
                self._line(line, at_ns)
        if rest:
            self._rest += rest

    def _with_rest(self, data: bytes) -> bytes | None:
        """All that has not been read yet; None where that is no whole line of a stream."""
        self._rest += data
        if not self._form:
            self._rest = self._rest.removeprefix(
                BYTE_ORDER_MARK
            ).lstrip()  # a server may keep the connection open by blanks
            self._form = _form_of(self._rest)
        if self._form == "events" and (b"\n" in data or b"\r" in data):
            whole, self._rest = bytes(self._rest), bytearray()
            return whole
        if self._form == "error":
            del self._rest[ERROR_BYTES:]
        elif len(self._rest) > MOST_BYTES:
            self._fail("server_stream", f"the server sent more than {MOST_BYTES >> 20} MiB without an end")
        return None

    def end(self, at_ns: int) -> Answer:
        """The server has closed the answer: all of it is there, or never will be."""
        self.catch_up()
        if self._end_ns is None:
            self._end_ns = at_ns
        if self._failure is None and not self._done:
            self._at_end(at_ns)
        return self._answer()

    def broken(self, failure: Failure, at_ns: int) -> Answer:
        """The connection broke, or nothing came in time."""
        self.catch_up()
        if not self._done and self._failure is None:
            if self._form == "events" and self._finish:
                self._done = True  # all of the answer was there; only its last line is missing
            elif self._form == "error":  # what it has said tells more than that it did not end
                self._at_end(at_ns)
            else:
                self._failure = _begun(failure) if self._piece_ns else failure
        self._end_ns = at_ns if self._end_ns is None else self._end_ns
        return self._answer()

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to come, of what has been read: ``[DONE]``, or what cannot be read."""
        return self._done or self._failure is not None

    @property
    def pieces(self) -> int:
        """Pieces of generated text, of what has been read."""
        return len(self._piece_ns)

    # ------------------------------------------------------------------------------------------------------------ events

    def _line(self, line: bytes, at_ns: int) -> None:
        if self._done or self._failure is not None:
            return
        line = line.removesuffix(b"\r")
        if not self._events:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line.startswith(b"data:"):
            self._data(line[5:].strip(b" "), at_ns)
        elif not line:
            self._close_event(at_ns)
        elif self._open_event:
            self._bad(b"\n".join([*self._open_event, line]))
        elif line.startswith(b"error:"):  # as llama.cpp breaks off
            self._fail("server_error", f"the server broke off its answer: {server_words(line[6:].strip())}")
        elif not line.startswith((b":", b"event:", b"id:", b"retry:")) and not self._events:
            self._fail("server_protocol", f"the server's stream is none of server-sent events: {_shown(line)}")
        # other fields are to be ignored, says the standard

    def _data(self, data: bytes, at_ns: int) -> None:
        if data == b"[DONE]" and not self._open_event:
            self._done, self._end_ns = True, at_ns
            if not self._events:
                self._fail("server_stream", "the server ended its stream without an answer")
            return
        if not self._open_event:
            try:
                event = parsed(data)
            except ValueError:
                pass
            else:
                self._event(event, at_ns)
                return
        self._open_event.append(data)
        self._open_bytes += len(data)
        if self._open_bytes > MOST_BYTES:
            self._bad(data)

    def _close_event(self, at_ns: int) -> None:
        if not self._open_event:
            return  # it was read with its line
        whole = b"\n".join(self._open_event)
        if not self._is_event(at_ns):
            self._bad(whole)

    def _is_event(self, at_ns: int) -> bool:
        """Take the lines of an open event as one, if together they are one."""
        whole, self._open_event, self._open_bytes = b"\n".join(self._open_event), [], 0
        try:
            event = parsed(whole)
        except ValueError:
            return False
        self._event(event, at_ns)
        return True

    def _event(self, event: object, at_ns: int) -> None:
        self._events += 1
        if not isinstance(event, dict):
            self._no_answer(event)
            return
        if not self._is_ours(event):
            return
        choice = first_choice(event)
        if choice is None:
            return  # the usage often comes so
        delta: Any = choice.get("delta") if self._chat else choice
        if isinstance(delta, dict):
            self._delta(delta, at_ns)
        elif delta is not None:
            self._fail("server_stream", f"a chunk of the server has no delta: {quote(repr(choice))}")
        if choice.get("logprobs"):
            self._logprobs += read_logprobs(choice["logprobs"], chat=self._chat)
        if isinstance(choice.get("finish_reason"), str):
            self._finished(choice["finish_reason"])

    def _no_answer(self, event: object) -> None:
        is_stream = self._form == "events"
        kind = "events are no chat or completion chunks" if is_stream else "document is no answer of a model"
        self._fail("server_protocol", f"the server's {kind}: {quote(json.dumps(event))}")

    def _finished(self, reason: str) -> None:
        self._finish = reason
        if reason in _BROKEN_OFF:
            self._fail("server_error", f"the server broke off its answer: finish_reason {reason}")

    def _is_ours(self, event: dict[str, Any]) -> bool:
        """Take what stands beside the choices; False where the event is an error."""
        if event.get("error") or event.get("object") == "error":
            words = error_words(event) or quote(json.dumps(event.get("error")))
            self._fail("server_error", f"the server broke off its answer: {words}")
            return False
        if "choices" not in event and "usage" not in event:
            self._no_answer(event)
            return False
        if event.get("usage") is not None:
            self._usage = event["usage"]
        if isinstance(event.get("model"), str):
            self._model = self._model or event["model"]
        if isinstance(event.get("system_fingerprint"), str):
            self._fingerprint = event["system_fingerprint"]
        return True

    def _delta(self, delta: dict[str, Any], at_ns: int) -> None:
        said = delta.get("content") if self._chat else delta.get("text")
        text = said if isinstance(said, str) else text_of(said)
        reasoning = ""
        if not text or len(delta) > 1 or text is not said:  # most chunks of chat have nothing but their text
            text += text_of(delta.get("refusal"))
            reasoning = reasoning_of(delta, said)
        if text and reasoning:
            kind = BOTH
        elif text:
            kind = CONTENT
        elif reasoning:
            kind = REASONING
        elif calls_tool(delta):
            kind = TOOL
        else:
            return
        if self._on_piece is not None:
            self._on_piece(text, at_ns)
        self._piece_ns.append(at_ns)
        self._kinds.append(kind)
        self._texts.append(text)
        self._reasonings.append(reasoning)

    # ----------------------------------------------------------------------------------------------------------- the end

    def _at_end(self, at_ns: int) -> None:
        if self._form == "error":
            body = unpacked(bytes(self._rest), self._headers.get("content-encoding", ""))
            self._failure = of_status(self._status, self._headers, body, self._url, self._key_env)
        elif self._form == "events":
            self._last_line(at_ns)
            self._close_event(at_ns)
            if self._failure is None and not self._done and not self._finish:
                self._fail(
                    "server_died", f"the server's stream ended in the middle of an answer, after {self._so_far()}"
                )
        else:
            self._document()

    def _last_line(self, at_ns: int) -> None:
        """What came behind the last line break: a whole line, or the half that a dying server got out."""
        rest, self._rest = bytes(self._rest), bytearray()
        if rest:
            self._line(rest, at_ns)
            if self._open_event and not self._is_event(at_ns):
                self._fail(
                    "server_died",
                    f"the server's stream ended in the middle of a line, after {self._so_far()}: {_shown(rest)}",
                )

    def _so_far(self) -> str:
        return f"{self.pieces} pieces of text" if self.pieces != 1 else "1 piece of text"

    def _document(self) -> None:
        try:
            found = parsed(bytes(self._rest))
        except ValueError:
            if self._form == "document" and self._rest.lstrip().startswith((b"{", b"[")):
                self._fail("server_died", f"the server's answer ended in the middle of its JSON: {_shown(self._rest)}")
            else:
                self._not_the_protocol()
            return
        if not isinstance(found, dict):
            self._not_the_protocol()
            return
        if not self._is_ours(found):
            return
        choice = first_choice(found)
        if choice is None:
            self._not_the_protocol()
            return
        message: Any = choice.get("message") if self._chat else choice
        if not isinstance(message, dict):
            self._not_the_protocol()
            return
        self._texts = [
            text_of(message.get("content") if self._chat else message.get("text")) + text_of(message.get("refusal"))
        ]
        self._reasonings = [reasoning_of(message, message.get("content"))]
        if choice.get("logprobs"):
            self._logprobs = read_logprobs(choice["logprobs"], chat=self._chat)
        self._finished(text_of(choice.get("finish_reason")))
        if not self._chat:
            self._choices = all_choices(found["choices"])

    def _not_the_protocol(self) -> None:
        kind = quote(self._headers.get("content-type", "") or "no content type")
        self._fail(
            "server_protocol",
            f"the server at {self._url} answers, but not as an OpenAI-compatible API ({kind}): {_shown(self._rest)}",
        )

    def _bad(self, data: bytes) -> None:
        self._fail("server_stream", f"the server sent a line that is no JSON, after {self._so_far()}: {_shown(data)}")

    def _fail(self, kind: Kind, message: str) -> None:
        if self._failure is None:
            self._failure = Failure(kind=kind, message=message, status=self._status, has_begun=bool(self._piece_ns))

    def _answer(self) -> Answer:
        streams = self._form == "events"
        return Answer(
            text="".join(self._texts),
            reasoning="".join(self._reasonings),
            piece_ns=tuple(self._piece_ns),
            piece_kinds="".join(self._kinds),
            finish_reason=self._finish,
            usage=read_usage(self._usage, pieces=self.pieces, has_text=any(self._texts), max_tokens=self._max_tokens),
            model=self._model,
            system_fingerprint=self._fingerprint,
            server=quote(self._headers.get("server", "")),
            rate_limit=_rate_limit(self._headers),
            is_stream=streams,
            end_ns=self._end_ns,
            logprobs=tuple(self._logprobs),
            choices=tuple(self._choices),
            failure=self._failure,
        )


def parsed(data: bytes) -> object:
    """JSON by orjson, and what that refuses by the standard library: NaN, infinities, half surrogate pairs.

    :raises ValueError: if it is none.
    """
    if _quickly is not None:
        try:
            return _quickly(data)
        except ValueError:
            pass
    try:
        return _slowly(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _begun(failure: Failure) -> Failure:
    return replace(failure, has_begun=True)


def _rate_limit(headers: Mapping[str, str]) -> str:
    """The first header that tells a limit, in the forms of OpenAI (``x-ratelimit-limit-...``) and of the IETF (``ratelimit-limit``)."""
    for name, value in headers.items():
        low = name.lower()
        if low.startswith(("x-ratelimit-limit", "ratelimit-limit", "ratelimit-policy")):
            return quote(f"{low}: {value}")
    return ""


def _form_of(start: bytes | bytearray) -> str:
    """What a body without a telling content type is, once its first characters behind any blanks are there."""
    if start.startswith((b"data:", b"event:", b":")):
        return "events"
    return "document" if len(start) >= len(b"event:") or start.startswith((b"{", b"[", b"<")) else ""


def _with_line_feeds(data: bytes) -> bytes:
    """Line breaks of all three forms that the standard allows (LF, CRLF, CR) as LF; a CR at the end waits for what follows it."""
    end = -1 if data.endswith(b"\r") else len(data)
    return data[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + data[end:]


def _shown(data: bytes | bytearray) -> str:
    return repr(quote(data[:600].decode("utf-8", "replace")))
