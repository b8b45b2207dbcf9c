"""Records as JSON in ASCII, by orjson where it is there and says the same as the standard library.

Both write equal data; numbers may be spelt differently (``1e16``, ``1e+16``). orjson writes null for a number that is not
finite, so it gets only what is known to hold none, and what it does not take (lone surrogates, integers of more than 64 bits,
text beyond ASCII) goes the slow way. It is imported with this module, which a session that writes no log does not load.
"""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import Any, Final

from ..records import RoundsRecord, VerdictRecord

try:
    import orjson
except ImportError:  # no wheel for this platform: everything goes the slow way
    orjson = None

dump: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")).encode
"""Plain data as JSON in ASCII; ValueError for a number that is not finite."""
parse: Final = json.JSONDecoder().decode
_DELETE: Final = b"\x7f"
_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME if orjson is not None else 0


def dump_quickly(data: object) -> bytes | None:
    """Plain data without numbers that are not finite, in ASCII; None where :data:`dump` has to write it.

    Where there is no fraction in it, both write the same bytes.
    """
    if orjson is None:
        return None
    try:
        found = orjson.dumps(data, None, _STRICT)
    except TypeError:
        return None
    return found if found.isascii() and _DELETE not in found else None  # the latter is escaped by one of the two only


def dump_record(record: object, data: dict[str, Any]) -> bytes | None:
    """A record in ASCII; None where :data:`dump` has to write it.

    :param data: the record as plain data.
    """
    if isinstance(record, RoundsRecord):
        return dump_quickly(data) if _is_finite(record) else None
    if isinstance(record, VerdictRecord) and not (record.budgets or record.comparisons or record.samples):
        return dump_quickly(data)  # without those it holds no fraction
    return None


def _is_finite(block: RoundsRecord) -> bool:
    """Whether all numbers of a block are finite, as far as that is known quickly."""
    numbers: Any = chain(chain.from_iterable(block.values.values()), block.worker_values.values())
    try:
        return math.isfinite(sum(numbers, block.generation.temperature))
    except (TypeError, OverflowError):  # a round without a number; one that is too large
        return False
