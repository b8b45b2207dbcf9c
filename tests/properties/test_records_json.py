from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.errors import StoreError
from pytest_llmci.records import LOG_RECORDS, LogRecord, from_json, to_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SCALARS: dict[object, st.SearchStrategy[Any]] = {
    str: st.text(),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of that type may hold."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    if origin is Literal:
        return st.sampled_from(members)
    if origin in (typing.Union, types.UnionType) and len(members) == 2:
        return st.one_of(*map(values_of, members))
    if origin is list:
        return st.lists(values_of(members[0]), max_size=3)
    if origin is tuple:
        return st.lists(values_of(members[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(), values_of(members[1]), max_size=3)
    return records_of(hint) if dataclasses.is_dataclass(hint) and isinstance(hint, type) else JSON


def records_of(kind: type) -> st.SearchStrategy[Any]:
    """Any record of that type."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{entry.name: values_of(hints[entry.name]) for entry in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", LOG_RECORDS.values(), ids=LOG_RECORDS)
@given(data=st.data())
def test_records_round_trip_through_json(kind: type[LogRecord], data: st.DataObject) -> None:
    """from_json(to_json(record)) == record, also through JSON text, for every record that can be built."""
    record = data.draw(records_of(kind))
    plain = to_json(record)
    assert plain["type"] == kind.TYPE
    assert from_json(kind, plain) == record
    assert from_json(kind, json.loads(json.dumps(plain))) == record


@pytest.mark.parametrize("kind", LOG_RECORDS.values(), ids=LOG_RECORDS)
@given(data=st.data(), wrong=JSON)
def test_any_wrong_field_is_a_store_error(kind: type[LogRecord], data: st.DataObject, wrong: Any) -> None:
    """Whatever JSON stands in whatever field, the record is built or StoreError names the field."""
    plain = to_json(data.draw(records_of(kind)))
    name = data.draw(st.sampled_from([key for key in plain if key != "type"]))
    message = refusal(kind, {**plain, name: wrong})
    assert message == "" or message.startswith(f"{kind.__name__}.{name}: ")


def refusal(kind: type[LogRecord], plain: dict[str, Any]) -> str:
    try:
        from_json(kind, plain)
    except StoreError as error:
        return str(error)
    return ""
