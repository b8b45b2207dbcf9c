from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError, WorkerProtocolError
from pytest_llmci.runner.wire import (
    PIECE_BYTES,
    FrameReader,
    MessageReader,
    encode,
    pack_arguments,
    pack_value,
    readable,
    unpack_value,
    write_message,
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


def test_a_frame_is_a_length_and_ascii_json() -> None:
    frame = encode({"type": "say", "text": "é\n"})
    assert struct.unpack(">I", frame[:4]) == (len(frame) - 4,)
    assert json.loads(frame[4:].decode("ascii")) == {"type": "say", "text": "é\n"}


def test_messages_pass_a_pipe_one_by_one(pipe: tuple[int, int]) -> None:
    write_message(pipe[1], {"type": "a"})
    write_message(pipe[1], {"type": "b", "n": 1})
    reader = MessageReader(pipe[0])
    assert reader.next() == {"type": "a"}
    assert reader.next() == {"type": "b", "n": 1}


def test_a_message_longer_than_a_pipe_holds_comes_whole(pipe: tuple[int, int]) -> None:
    message = {"type": "a", "text": "x" * (3 * PIECE_BYTES)}
    writer = threading.Thread(target=write_message, args=(pipe[1], message))
    writer.start()
    assert MessageReader(pipe[0]).next() == message
    writer.join()


def test_a_closed_pipe_ends_reading_even_within_a_frame(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], encode({"type": "a"})[:-1])
    os.close(pipe[1])
    reader = MessageReader(pipe[0])
    assert reader.next() is None
    assert reader.next() is None


def test_writing_to_a_process_that_is_gone_is_an_os_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(OSError, match="Broken pipe"):
        write_message(pipe[1], {"type": "a"})


def test_a_long_message_is_read_in_large_pieces() -> None:
    frame = encode({"type": "a", "text": "x" * 20_000})
    reader = FrameReader()
    assert reader.wanted() == 4096
    reader.feed(frame[:4096])
    assert reader.wanted() == len(frame) - 4096
    reader.feed(frame[4096:])
    assert reader.wanted() == 4096
    reader.feed(encode({"type": "a", "text": "x" * (2 * PIECE_BYTES)})[:100])
    assert reader.wanted() == PIECE_BYTES


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (b"Hello from a library\n", r"announced a message of \d+ bytes; something else writes to its pipe"),
        (b"\x00\x00\x00\x03abc", "sent what is not JSON: b'abc'"),
        (b"\x00\x00\x00\x00", "sent what is not JSON: b''"),
        (b"\x00\x00\x00\x02\xff\xff", "sent what is not JSON"),
        (b"\x00\x00\x00\x02[]", r"sent what is not a message: b'\[\]'"),
        (b'\x00\x00\x00\x0a{"type":1}', "sent what is not a message"),
        (b"\x00\x00\x00\x02{}", "sent what is not a message"),
    ],
)
def test_noise_is_a_protocol_error(noise: bytes, message: str) -> None:
    with pytest.raises(WorkerProtocolError, match=message):
        FrameReader().feed(noise)


@pytest.mark.parametrize("value", [None, True, 5, 0.5, "x", [1, [2]], {"a": {"b": [None]}}])
def test_json_values_pass_as_they_are(value: object) -> None:
    assert unpack_value(json.loads(json.dumps(pack_value(value)))) == value


def test_tuples_arrive_as_lists() -> None:
    assert pack_value({"a": (1, (2,))}) == {"a": [1, [2]]}


def test_arrays_keep_shape_kind_and_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    samples = [
        numpy.arange(6, dtype="float32").reshape(2, 3),
        numpy.arange(6).reshape(2, 3).T,
        numpy.array([1 + 2j]),
        numpy.array([True, False]),
        numpy.zeros((0, 4)),
        numpy.array(3),
        numpy.int64(3),
        numpy.array([1, 2], dtype=">i4"),
    ]
    for sample in samples:
        found = unpack_value(json.loads(json.dumps(pack_value({"deep": [sample]}))))
        assert isinstance(found, dict)
        (array,) = found["deep"]
        assert (array.shape, array.dtype) == (sample.shape, sample.dtype)
        assert (array == sample).all()
        array += array.dtype.type(1)  # it is the caller's own


def test_tensors_pass_as_arrays() -> None:
    torch = pytest.importorskip("torch")
    found = unpack_value(pack_value(torch.tensor([1.5, 2.0], dtype=torch.bfloat16, requires_grad=True)))
    assert (str(found.dtype), found.tolist()) == ("float32", [1.5, 2.0])  # type: ignore[attr-defined]  # an array


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "cannot return builtins.object; return JSON data or numeric arrays"),
        ([{"a": {1, 2}}], "cannot return builtins.set"),
        (b"raw", "cannot return builtins.bytes"),
        ({1: "a"}, "cannot return a dictionary with a key of type int, which must be text"),
        ({"__array__": 1}, "'__array__'"),
    ],
)
def test_nothing_else_passes_and_nothing_is_pickled(value: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        pack_value(value)


def test_arrays_of_objects_do_not_pass() -> None:
    numpy = pytest.importorskip("numpy")
    for array in (numpy.array([object()]), numpy.array(["text"])):
        with pytest.raises(TypeError, match="cannot return numpy.ndarray"):
            pack_value(array)


def test_arguments_are_packed_one_by_one() -> None:
    assert pack_arguments((1, "x", (2, None))) == [1, "x", [2, None]]
    assert pack_arguments(()) == []


def _endless() -> list[object]:
    endless: list[object] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        (Path("x"), "is of type pathlib.PosixPath;"),
        (object(), "is of type object;"),
        ({1: "a"}, "is a dictionary with a key of type int, which must be text;"),
        ({"__array__": 1}, "is a dictionary whose only key is '__array__'"),
        ([1, {"a": {1, 2}}], "(list) holds something of type set;"),
        ([{b"raw": 1}], "(list) holds a dictionary with a key of type bytes"),
        (_endless(), "(list) holds itself, or is nested too deeply;"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else None,
)
def test_an_argument_that_cannot_be_sent_is_named_by_place_and_type(argument: object, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pack_arguments(["good", argument, object()])
    text = str(caught.value)
    path = f"{type(Path()).__module__}.{type(Path()).__name__}"  # Python 3.13 has another module for it
    assert text.startswith(f"llm.call: argument 2 after the target {found}".replace("pathlib.PosixPath", path))
    assert text.endswith(
        "expected JSON data (None, numbers, text, lists, dictionaries with text keys) or numeric arrays."
    )


def test_an_array_that_is_not_numeric_is_named_by_its_kind() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(ConfigError, match=r"argument 1 after the target is of type numpy\.ndarray of object;"):
        pack_arguments([numpy.array([object()])])
    torch = pytest.importorskip("torch")
    with pytest.raises(ConfigError, match=r"is of type torch\.Tensor of torch\.float32, and cannot be sent: "):
        pack_arguments([torch.eye(2).to_sparse()])


def test_pipes_of_high_numbers_are_waited_for() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit <= 1100:
        pytest.skip("this process may not open so many files")
    read_end, write_end = os.pipe()
    high = fcntl.fcntl(read_end, fcntl.F_DUPFD, 1050)
    try:
        assert readable([high], 0.0) == []
        os.write(write_end, b"x")
        assert readable([high, read_end], 1.0) == [high, read_end]
        os.read(high, 1)
        os.close(write_end)
        assert readable([high], 1.0) == [high], "its end is told, too"
    finally:
        os.close(read_end)
        os.close(high)
