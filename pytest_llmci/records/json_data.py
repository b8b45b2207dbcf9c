"""Records as plain JSON data, and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, Literal, TypeAlias, TypeVar

from ..errors import StoreError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"


R = TypeVar("R")


def to_json(record: object) -> dict[str, Any]:
    """The record as plain JSON data, log records with their ``type`` first."""
    data: dict[str, Any] = {}
    record_type: Any = type(record)
    kind, fields = _writers(record_type)
    if kind is not None:
        data["type"] = kind
    for name, _ in fields:
        data[name] = _plain(getattr(record, name))
    return data


def json_view(record: object) -> dict[str, Any]:
    """What :func:`to_json` gives, for writing at once and not for changing.

    Lists and objects of plain values are the record's own and not copies: a block has dozens of them.
    """
    record_type: Any = type(record)
    names, read, encoders = _reader(record_type)
    data: dict[str, Any] = dict(zip(names, read(record), strict=True))
    for name, write in encoders:
        value = data[name]
        if value is not None:
            data[name] = write(value)
    return data


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if value and type(value[0]) in (int, float, str):
            return list(value)
        return [_plain(item) for item in value]
    return to_json(value)


Encoder: TypeAlias = Callable[[Any], Any]
"""Turns a field's value into plain JSON data."""


@lru_cache(maxsize=None)
def _writers(kind: Any) -> tuple[str | None, tuple[tuple[str, Encoder | None], ...]]:
    """The ``type`` of a log record, and for each field how it is written; None: as it is."""
    resolved = typing.get_type_hints(kind)
    fields = tuple((entry.name, _writer(resolved[entry.name])) for entry in dataclasses.fields(kind))
    return getattr(kind, "TYPE", None), fields


@lru_cache(maxsize=None)
def _reader(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[tuple[str, Encoder], ...]]:
    """The keys of a record, ``type`` first where it has one; what reads their values; those that are not plain."""
    tag, fields = _writers(kind)
    names = (*(("type",) if tag is not None else ()), *(name for name, _ in fields))
    attributes = (*(("TYPE",) if tag is not None else ()), *(name for name, _ in fields))
    encoders = tuple((name, write) for name, write in fields if write is not None)
    if len(attributes) < 2:  # attrgetter gives no tuple then
        return names, lambda record: tuple(getattr(record, name) for name in attributes), encoders
    return names, attrgetter(*attributes), encoders


def _writer(hint: Any) -> Encoder | None:
    """Most fields hold nothing but plain values, and those of a block are many: they are not walked."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if hint in _ACCEPTED or origin is Literal:
        return None
    if origin is list and _writer(members[0]) is None:
        return None
    if origin is dict and _writer(members[1]) is None:
        return None
    if dataclasses.is_dataclass(hint):
        return json_view
    if origin is list and dataclasses.is_dataclass(members[0]):
        return _views
    if origin is types.UnionType and set(members) == {members[0], type(None)}:  # None is not handed over
        return _writer(members[0])
    return _plain


def _views(records: Sequence[object]) -> list[dict[str, Any]]:
    return [json_view(record) for record in records]


def from_json(kind: type[R], data: Mapping[str, Any]) -> R:
    """Build a record of that type.

    Keys that this version does not know are passed over, so that a later minor addition can be read.

    :raises StoreError: if a key is missing or holds something else than the field's type.
    """
    arguments: dict[str, Any] = {}
    record_type: Any = kind
    for name, (hint, decode, required, empty) in _fields(record_type).items():
        if name in data:
            value = data[name]
            if type(value) is hint:
                arguments[name] = value
                continue
            if empty is not None and not value and type(value) is empty:  # as most lists of a record are
                arguments[name] = empty()
                continue
            try:
                arguments[name] = decode(value)
            except StoreError as error:
                raise StoreError(f"{kind.__name__}.{name}: {error}") from None
        elif required:
            raise StoreError(f"{kind.__name__}: key '{name}' is missing.")
    return kind(**arguments)


Decoder: TypeAlias = Callable[[Any], Any]
"""Returns the value in the field's type, or raises StoreError."""


@lru_cache(maxsize=None)
def _fields(kind: Any) -> dict[str, tuple[Any, Decoder, bool, type[Any] | None]]:
    """Name -> type, decoder, whether the field must be given, and what it is built of where it holds a list or an object and
    that is empty. Built once a type: logs hold many lines."""
    resolved = typing.get_type_hints(kind)
    return {
        entry.name: (
            resolved[entry.name],
            _decoder(resolved[entry.name]),
            entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING,
            origin if (origin := typing.get_origin(resolved[entry.name])) in (list, dict) else None,
        )
        for entry in dataclasses.fields(kind)
    }


@lru_cache(maxsize=None)
def _decoder(hint: Any) -> Decoder:
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if hint in _ACCEPTED:
        return _scalar_decoder(hint)
    if origin is Literal:
        return _choice_decoder(members)
    if origin in (typing.Union, types.UnionType) and type(None) in members and len(members) == 2:
        return _optional_decoder(next(member for member in members if member is not type(None)))
    if origin in (list, tuple):
        return _list_decoder(origin, members[0])
    if origin is dict:
        return _object_decoder(members[1])
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return lambda value: from_json(hint, _expect(Mapping, "an object", value))
    return lambda value: value  # Json: whatever JSON holds


_ACCEPTED: dict[Any, frozenset[type]] = {
    str: frozenset({str}),
    int: frozenset({int}),
    float: frozenset({float, int}),  # integers stay integers: nanoseconds are exact
    bool: frozenset({bool}),
    float | None: frozenset({float, int, type(None)}),
    int | None: frozenset({int, type(None)}),
    str | None: frozenset({str, type(None)}),
}
"""Types that a field of that type takes from JSON as they are."""


def _expect(kind: Any, words: str, value: Any) -> Any:
    if (type(value) is list and kind is Sequence) or (type(value) is dict and kind is Mapping):
        return value  # what JSON gives; asking the abstract classes costs ten times as much
    if not isinstance(value, kind) or isinstance(value, str):
        raise StoreError(f"expected {words}, found {type(value).__name__}.")
    return value


def _scalar_decoder(hint: Any) -> Decoder:
    accepted, name = _ACCEPTED[hint], hint.__name__ if isinstance(hint, type) else str(hint)

    def decode(value: Any) -> Any:
        if type(value) not in accepted:
            raise StoreError(f"expected {name}, found {type(value).__name__}.")
        return value

    return decode


def _choice_decoder(choices: tuple[Any, ...]) -> Decoder:
    def decode(value: Any) -> Any:
        if value not in choices:
            raise StoreError(f"{value!r} is none of {', '.join(map(repr, choices))}.")
        return value

    return decode


def _optional_decoder(hint: Any) -> Decoder:
    inner = _decoder(hint)
    return lambda value: None if value is None else inner(value)


def _list_decoder(make: Any, item: Any) -> Decoder:
    inner, accepted = _decoder(item), _ACCEPTED.get(item, frozenset())

    def decode(value: Any) -> Any:
        _expect(Sequence, "a list", value)
        if accepted.issuperset(map(type, value)):
            return make(value)  # a column of numbers: one look at its types, not a call for each of them
        return make(map(inner, value))

    return decode


_LIST = frozenset({list})


def _object_decoder(item: Any) -> Decoder:
    inner, accepted = _decoder(item), _ACCEPTED.get(item, frozenset())
    columns = _ACCEPTED.get(typing.get_args(item)[0], frozenset()) if typing.get_origin(item) is list else frozenset()

    def decode(value: Any) -> Any:
        _expect(Mapping, "an object", value)
        entries = value.values()
        if accepted.issuperset(map(type, entries)):
            return dict(value)
        if (
            columns
            and _LIST.issuperset(map(type, entries))
            and columns.issuperset(map(type, chain.from_iterable(entries)))
        ):
            return {key: entry.copy() for key, entry in value.items()}
        return {key: inner(entry) for key, entry in value.items()}

    return decode
