from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.errors import WorkerProtocolError
from pytest_llmci.runner.wire import FrameReader, encode, pack_value, unpack_value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.lists(st.builds(lambda kind, data: {"type": kind, "data": data}, st.text(), JSON), max_size=4)


@given(MESSAGES, st.lists(st.integers(0, 300), max_size=6))
def test_any_cut_of_the_stream_gives_the_same_messages(messages: list[dict[str, Any]], cuts: list[int]) -> None:
    """feed(a) + feed(b) == feed(a + b), for any pieces of any messages."""
    stream = b"".join(map(encode, messages))
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = FrameReader()
    found = [message for begin, end in pairwise(places) for message in reader.feed(stream[begin:end])]
    assert found == messages


@given(st.binary(max_size=200))
def test_noise_is_waited_for_or_refused(noise: bytes) -> None:
    """Whatever bytes arrive, each frame is a message with a type, or WorkerProtocolError is raised."""
    try:
        found = FrameReader().feed(noise)
    except WorkerProtocolError:
        return
    assert all(isinstance(message["type"], str) for message in found)


@given(JSON)
def test_json_data_passes_unchanged(value: object) -> None:
    """unpack(pack(value)) == value for any JSON data."""
    assert unpack_value(pack_value(value)) == value
