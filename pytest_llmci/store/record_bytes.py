"""A record of the log as the bytes of its line, and back.

What :mod:`.encoding` cannot write as it stands, numbers that are not finite, is stored as missing; blocks whose lists do not fit each
other are refused both ways.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sized
from typing import Any, Final

from ..errors import StoreError
from ..records import LOG_RECORDS, LogRecord, RoundsRecord, from_json, json_view, log_record_type
from .encoding import dump, dump_record, parse_record

_UID: Final = re.compile(rb'"uid":"([^"\\]*)"')
_UID_WITHIN: Final = 200  # bytes: it follows number and type; parsing a million lines for it would take minutes


def encode_record(record: LogRecord) -> bytes:
    """A record as one JSON object in ASCII, as it stands in a spool, and without its digest and number in a log.

    :raises StoreError: if it holds what JSON cannot.
    """
    return encode(record)[0]


def decode_record(body: bytes) -> LogRecord:
    """What :func:`encode_record` wrote.

    :raises StoreError: if it is no record that this version knows.
    """
    try:
        data = parse_record(body)
        kind = log_record_type(data)
    except (ValueError, AttributeError) as error:
        raise StoreError(f"no record: {error}") from None
    return from_json(kind, data)


def encode(record: LogRecord) -> tuple[bytes, bool]:
    """The record as one JSON object in ASCII, and whether it reads back as the same record.

    Every text survives, lone surrogates included; but two halves of a character side by side read back as the character.
    """
    if isinstance(record, RoundsRecord) and (fault := _misshapen(record)):
        raise StoreError(f"rounds of {record.cell}: {fault}.")
    exact = True
    try:
        if (quick := dump_record(record)) is not None:
            return quick, True
        data = json_view(record)
        try:
            text = dump(data)
        except ValueError:
            exact, text = False, dump(_finite(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"a {record.TYPE} record holds what JSON cannot: {error}.") from error
    if "\\ud" in text:
        exact = exact and bool(json.loads(text) == data)
    return text.encode("ascii"), exact


def _misshapen(record: RoundsRecord) -> str:
    """Which list of a block does not run over its rounds or its outputs; empty if all do."""
    without = (record.provenance == "imported" or record.load) and not record.outputs  # of answers that nobody kept
    places = [] if without else [record.output_of_round]
    columns: list[Sized] = [*record.values.values(), *places, record.finish_reasons, record.noisy]
    if not {record.n}.issuperset(map(len, columns)):
        names = (*record.values, *(["output_of_round"] if places else []), "finish_reasons", "noisy")
        name, column = next(pair for pair in zip(names, columns, strict=True) if len(pair[1]) != record.n)
        return f"{name} holds {len(column)} entries for {record.n} rounds"
    outputs = len(record.outputs)
    if not (len(record.md5) == len(record.output_sha256) == outputs):
        return f"{len(record.md5)} md5 and {len(record.output_sha256)} sha256 for {outputs} outputs"
    for name in ("outputs_withheld", "output_token_ids"):
        if len(getattr(record, name)) not in (0, outputs):
            return f"{name} holds {len(getattr(record, name))} entries for {outputs} outputs"
    if record.output_of_round and not 0 <= min(record.output_of_round) <= max(record.output_of_round) < outputs:
        return f"output_of_round points outside the {outputs} outputs"
    return ""


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """The record's data with numbers that are not finite turned into missing ones."""
    data = dict(data)
    if isinstance(data.get("reasons"), dict):
        data["values"], data["reasons"] = _finite_values(data["values"], data["reasons"])
    return {key: _without_infinite(value) for key, value in data.items()}


def _finite_values(values: dict[str, Any], reasons: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    kept: dict[str, Any] = {}
    reasons = dict(reasons)
    for metric, value in values.items():
        column = value if isinstance(value, list) else [value]
        finite = [None if _is_infinite(number) else number for number in column]
        if finite != column:
            reasons.setdefault(metric, "the measured number was not finite")
        if isinstance(value, list):
            kept[metric] = finite
        elif finite != [None]:
            kept[metric] = value
    return kept, reasons


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _without_infinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_infinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_infinite(item) for item in value if not _is_infinite(item)]
    return None if _is_infinite(value) else value


def record_of(raw: bytes, where: str) -> LogRecord:
    """The record of a line, of a log or of a spool, whose chain is nobody's question.

    :param where: for messages.
    :raises StoreError: if it is none.
    """
    try:
        data = json.loads(raw)
        kind = data["type"]
        LOG_RECORDS[kind]
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{where}: is no record: {type(error).__name__}: {error}") from error
    return build_record(kind, data, where)


def build_record(kind: str, data: dict[str, Any], where: str) -> LogRecord:
    """The record of a line that was parsed.

    :param kind: one of :data:`LOG_RECORDS`.
    :param where: for messages.
    :raises StoreError: if it has another form.
    """
    try:
        record = from_json(LOG_RECORDS[kind], data)
    except StoreError as error:
        raise StoreError(f"{where}: {error}") from error
    if isinstance(record, RoundsRecord) and (fault := _misshapen(record)):
        raise StoreError(f"{where}: {fault}.")
    return record


def uid_of(raw: bytes) -> str:
    """The ``uid`` of a line, without parsing it; empty where it has none or an unfamiliar form."""
    match = _UID.search(raw, 0, _UID_WITHIN)
    return "" if match is None else match[1].decode("ascii", "replace")
