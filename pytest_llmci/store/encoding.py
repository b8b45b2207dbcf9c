"""Records as JSON in ASCII, by orjson where it is there and says the same as the standard library.

Both write equal data; numbers may be spelt differently (``1e16``, ``1e+16``). orjson writes null for a number that is not
finite, so it gets only what is known to hold none, and what it does not take (lone surrogates, integers of more than 64 bits,
text beyond ASCII) goes the slow way. It is imported with this module, which a session that writes no log does not load.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from ..records import RoundsRecord, VerdictRecord, WorkerRecord

try:
    import orjson
except ImportError:  # no wheel for this platform: everything goes the slow way
    orjson = None

dump: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")).encode
"""Plain data as JSON in ASCII; ValueError for a number that is not finite."""
parse: Final = json.JSONDecoder().decode
_DELETE: Final = b"\x7f"
RECORDS_TOO: Final = orjson.OPT_PASSTHROUGH_DATETIME if orjson is not None else 0
"""For :func:`dump_quickly`: records among the data are written field by field."""
_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | RECORDS_TOO if orjson is not None else 0


def dump_quickly(data: object, options: int = _STRICT) -> bytes | None:
    """Plain data without numbers that are not finite, in ASCII; None where :data:`dump` has to write it.

    Where there is no fraction in it, both write the same bytes.
    """
    if orjson is None:
        return None
    try:
        found = orjson.dumps(data, None, options)
    except TypeError:
        return None
    return found if found.isascii() and _DELETE not in found else None  # the latter is escaped by one of the two only


def dump_record(record: object) -> bytes | None:
    """A log record of the kinds of which there are many in ASCII, ``type`` first; None where :data:`dump` has to write it."""
    if isinstance(record, RoundsRecord):
        body = _dump_fields(record) if _is_finite(record) else None
    elif isinstance(record, VerdictRecord) and not (record.budgets or record.comparisons or record.samples):
        body = _dump_fields(record)  # without those it holds no fraction
    elif isinstance(record, WorkerRecord) and record.price is None and record.published is None:
        body = _dump_fields(record) if _is_whole(record.values) and _is_whole(record.info) else None
    else:
        return None
    return None if body is None else b'{"type":"%s",%s' % (record.TYPE.encode("ascii"), body[1:])


def _is_whole(value: object) -> bool:
    """Whether plain data holds no fraction."""
    if isinstance(value, dict):
        return all(map(_is_whole, value.values()))
    return all(map(_is_whole, value)) if isinstance(value, (list, tuple)) else not isinstance(value, float)


def _dump_fields(record: RoundsRecord | VerdictRecord | WorkerRecord) -> bytes | None:
    """The fields of a record as :func:`~pytest_llmci.records.json_view` has them, without making a dict of them first."""
    return dump_quickly(record, RECORDS_TOO)


def parse_record(body: bytes) -> Any:
    """What :func:`dump_record` or :data:`dump` wrote of a record, exactly.

    :raises ValueError: if it is no JSON.
    """
    if orjson is not None and body.startswith(_MANY) and (_NO_FRACTIONS in body or body.startswith(_ROUNDS)):
        try:
            data: Any = orjson.loads(body)
        except ValueError:  # half a character, perhaps
            return parse(body.decode("ascii"))
        if all(type(number) is not float or abs(number) < _WIDE for number in _numbers(data)):
            return data
    return parse(body.decode("ascii"))


_ROUNDS: Final = b'{"type":"rounds",'
_MANY: Final = (_ROUNDS, b'{"type":"verdict",')
_NO_FRACTIONS: Final = b'"budgets":[],"comparisons":[],'
_WIDE: Final = 2.0**63
"""Whole numbers from there on, which orjson reads as fractions, may be rounded."""


def _numbers(data: dict[str, Any]) -> Iterable[object]:
    return chain(*data.get("values", {}).values(), data.get("worker_values", {}).values())


def _is_finite(block: RoundsRecord) -> bool:
    """Whether all numbers of a block are finite, as far as that is known quickly."""
    numbers: Any = chain(chain.from_iterable(block.values.values()), block.worker_values.values())
    try:
        return math.isfinite(sum(numbers, block.generation.temperature))
    except (TypeError, OverflowError):  # a round without a number; one that is too large
        return False


_SPELT_ALIKE: Final = {
    0.0: b"0.0", -1e-7: b"-1e-7", 1e-5: b"0.00001", 9.99e-6: b"9.99e-6", 1.5e-4: b"0.00015", 4.0: b"4.0", 1e15: b"1000000000000000.0",
    1e16: b"1e+16", 1.25e300: b"1.25e+300", 5e-324: b"5e-324", 0.1 + 0.2: b"0.30000000000000004",
}  # fmt: skip
"""How :func:`spelled` writes numbers in which releases of orjson differ."""


def spelled(numbers: Sequence[float | None]) -> list[str]:
    """Each number in the fewest digits that read back as the same number; empty for None and for what is not finite.

    The same texts with and without orjson, as derived files come out of a log byte for byte the same wherever they are made.

    >>> spelled([0.5, 3, None, 1e-7])
    ['0.5', '3', '', '1e-7']
    """
    if not numbers:
        return []
    if _spells_alike:
        try:
            found: str = orjson.dumps(numbers).decode()
        except TypeError:  # an integer of more than 64 bits
            return [*map(_spell, numbers)]
        return (found.replace("null", "") if "n" in found else found)[1:-1].split(",")
    return [*map(_spell, numbers)]


def _spell(number: float | None) -> str:
    if number is None or not math.isfinite(number):
        return ""
    text = repr(number)
    digits, _, power = text.partition("e-")
    if not power:
        return text
    if power != "05":
        return f"{digits}e-{power.lstrip('0')}"
    sign = "-" if digits.startswith("-") else ""
    return f"{sign}0.0000{digits.lstrip('-').replace('.', '')}"


def _all_spelt_alike(samples: Iterable[tuple[float, bytes]]) -> bool:
    return orjson is not None and all(orjson.dumps(number) == text for number, text in samples)


_spells_alike: Final = _all_spelt_alike(_SPELT_ALIKE.items())
