"""Messages between pytest's process and a model's process: length-prefixed JSON over pipes.

Frame: 4 bytes big-endian length, then that many bytes of UTF-8 JSON, always an object with ``type``. Every request is
answered by any number of ``say``, ``round`` and ``text`` messages and exactly one ``done`` or ``error``.
"""

from __future__ import annotations

import base64
import json
import os
import select
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import ConfigError, WorkerProtocolError

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
PROTOCOL: Final = 1
"""Version of the messages; both ends must agree."""
_LENGTH: Final = struct.Struct(">I")
LARGEST_FRAME: Final = 1 << 30
"""Bytes; a longer one is a sign of noise on the pipe."""
PIECE_BYTES: Final = 1 << 16
"""Most that is read at once: what a pipe holds."""
_SMALL_PIECE: Final = 1 << 12
"""Python makes a buffer of the whole size for each reading, which for a short message costs more than all else."""

_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode

Message = dict[str, Any]
Send = Callable[[Message], None]


def encode(message: Message) -> bytes:
    """The frame of a message."""
    body = _ENCODE(message).encode("ascii")
    return _LENGTH.pack(len(body)) + body


def write_message(fd: int, message: Message) -> None:
    """Write a whole frame.

    :raises OSError: if the other end is gone.
    """
    view = memoryview(encode(message))
    while view:
        view = view[os.write(fd, view) :]


def readable(fds: Sequence[int], wait_s: float) -> list[int]:
    """Those that have something to read or have ended, as soon as there is one; none when the time is over.

    :param fds: of pipes, whatever their numbers: ``select`` alone refuses those from 1,024 on.
    """
    if not hasattr(select, "poll"):
        return select.select(fds, [], [], wait_s)[0]
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return [fd for fd, _ in poller.poll(max(0.0, wait_s) * 1000)]


class FrameReader:
    """Puts frames together from whatever pieces arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def wanted(self) -> int:
        """How much to read next: a little, or what is missing of a long frame."""
        missing = _LENGTH.size + self._length() - len(self._buffer) if len(self._buffer) >= _LENGTH.size else 0
        return min(max(missing, _SMALL_PIECE), PIECE_BYTES)

    def _length(self) -> int:
        length: int = _LENGTH.unpack_from(self._buffer)[0]
        if length > LARGEST_FRAME:
            raise WorkerProtocolError(
                f"the model's process announced a message of {length} bytes; something else writes to its pipe."
            )
        return length

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that are whole after these bytes.

        :raises WorkerProtocolError: if they are no messages.
        """
        self._buffer += chunk
        whole: list[Message] = []
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + self._length()
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            whole.append(_decode(body))
        return whole


class MessageReader:
    """Reads messages from a pipe one after the other, waiting for each."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._frames = FrameReader()
        self._whole: deque[Message] = deque()

    def next(self) -> Message | None:
        """The next message; None when the other end has closed."""
        while not self._whole:
            chunk = os.read(self._fd, self._frames.wanted())
            if not chunk:
                return None
            self._whole.extend(self._frames.feed(chunk))
        return self._whole.popleft()


def _decode(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except ValueError as error:
        raise WorkerProtocolError(f"the model's process sent what is not JSON: {body[:80]!r}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise WorkerProtocolError(f"the model's process sent what is not a message: {body[:80]!r}")
    return message


class _Unsendable(TypeError):
    """Something is neither JSON data nor a numeric array."""

    def __init__(self, value: object, what: str = "") -> None:
        super().__init__(what)
        self.value = value
        self.what = what


def pack_value(value: object) -> object:
    """JSON data of a result of ``llm.call``: JSON itself, numeric arrays (numpy, torch), and containers of them.

    :raises TypeError: if it is something else; nothing is ever pickled.
    """
    try:
        return _pack(value)
    except _Unsendable as error:
        what = error.what or f"{type(error.value).__module__}.{type(error.value).__qualname__}{_dtype(error.value)}"
        raise TypeError(f"llm.call: cannot return {what}; return JSON data or numeric arrays") from None


def pack_arguments(arguments: Sequence[object]) -> list[object]:
    """JSON data of the arguments of ``llm.call``.

    :raises ConfigError: naming the first one that is, or holds, something else.
    """
    packed = []
    for number, argument in enumerate(arguments, start=1):
        try:
            packed.append(_pack(argument))
        except _Unsendable as error:
            what = error.what or f"something of type {_type_name(error.value)}"
            itself = error.value is argument
            found = f"is {what.removeprefix('something ')}" if itself else f"({_type_name(argument)}) holds {what}"
            raise _refused(number, found) from None
        except RecursionError:
            raise _refused(number, f"({_type_name(argument)}) holds itself, or is nested too deeply") from None
        except (TypeError, ValueError, RuntimeError) as error:  # a tensor that numpy has no form for
            raise _refused(number, f"is of type {_type_name(argument)}, and cannot be sent: {error}") from error
    return packed


def _refused(number: int, found: str) -> ConfigError:
    return ConfigError(
        f"llm.call: argument {number} after the target {found};"
        " expected JSON data (None, numbers, text, lists, dictionaries with text keys) or numeric arrays."
    )


def _type_name(value: object) -> str:
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}{_dtype(value)}"
    )


def _dtype(value: object) -> str:
    return f" of {value.dtype}" if hasattr(value, "dtype") else ""


def _pack(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise _Unsendable(value, f"a dictionary with a key of type {_type_name(key)}, which must be text")
        if set(value) == {"__array__"}:
            raise _Unsendable(
                value, "a dictionary whose only key is '__array__', which would be taken for an array: rename the key"
            )
        return {key: _pack(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item) for item in value]
    array = _as_array(value)
    if array is None:
        raise _Unsendable(value)
    return {"__array__": [array.dtype.str, list(array.shape), base64.b64encode(array.tobytes()).decode("ascii")]}


def _as_array(value: Any) -> Any:
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor; bfloat16 has no numpy type
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    if hasattr(value, "__array__") and hasattr(value, "dtype"):
        import numpy

        array = numpy.asarray(value)  # tobytes() is in C order, and a single number keeps having no axis
        return array if array.dtype.kind in "biufc" else None
    return None


def unpack_value(value: object) -> object:
    """What was packed; arrays come back as numpy arrays."""
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            import numpy

            dtype, shape, data = value["__array__"]
            return numpy.frombuffer(base64.b64decode(data), dtype=dtype).reshape(shape).copy()
        return {key: unpack_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack_value(item) for item in value]
    return value
