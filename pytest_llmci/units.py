"""The only conversion between numbers and text: ``"2 GiB"`` <-> 2147483648, ``0.0123`` -> ``"12.3 ms"``.

Inside the code quantities are SI (seconds, bytes, per second, ratios); here they meet people.
"""

from __future__ import annotations

import math
import re
from typing import Final, Literal

from .errors import ConfigError

Unit = Literal["s", "B", "1/s", "%", "1", "cores", "J", "1/J", "USD", "B/s"]

_TIME: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES: Final = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_LARGE: Final = ((1e6, "M"), (1e9, "G"), (1e12, "T"))
_QUANTITY: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%/$]*)\s*\Z")
_EXAMPLES: Final[dict[str, str]] = {
    "s": "300ms, 2s, 1.5min",
    "B": "512MiB, 2GiB, 800MB",
    "1/s": "20, 20/s",
    "%": "80%, 80",
    "1": "50",
    "cores": "1.5",
    "J": "12J",
    "1/J": "3",
    "USD": "0.02",
    "B/s": "10MiB",
}


def parse_quantity(text: str, unit: Unit, where: str) -> float:
    """Read a quantity that a person wrote into SI.

    :param text: such as ``300ms``, ``2 GiB``, ``20``.
    :param unit: the unit that the result is in.
    :param where: the option or file position, for the message.
    :returns: the value in ``unit``; a bare number is taken to be in ``unit`` already.
    :raises ConfigError: if the text is not a quantity of that unit.

    >>> parse_quantity("300ms", "s", "--llmci-budget")
    0.3
    >>> parse_quantity("2 GiB", "B", "--llmci-max-memory")
    2147483648.0
    """
    match = _QUANTITY.match(text)
    value = float(match[1]) if match else math.nan
    factor = _factor(match[2], unit) if match else None
    if factor is None or not math.isfinite(value):
        raise ConfigError(
            f"{where}: '{text.strip()}' is not a quantity in {_unit_words(unit)}; write it like {_EXAMPLES[unit]}."
        )
    # repr-exact where the factor is below one: 300 * 1e-3 is not 0.3
    return value * factor if factor >= 1 else value / round(1 / factor)


def to_si(value: float, written: str, unit: Unit) -> float | None:
    """The SI value of a number that another tool wrote in a unit of its own; None if that is no unit of the kind.

    >>> to_si(12.5, "ms", "s"), to_si(3.0, "tok/s", "1/s"), to_si(1.0, "ms", "B")
    (0.0125, 3.0, None)
    """
    factor = _factor(written, unit)
    if factor is None:
        return None
    return value * factor if factor >= 1 else value / round(1 / factor)


def _factor(suffix: str, unit: Unit) -> float | None:
    if suffix == "":
        return 1.0
    if unit == "s":
        return _TIME.get(suffix)
    if unit in ("B", "B/s"):
        return _BYTES.get(suffix.lower().removesuffix("/s"))
    accepted = {
        "1/s": ("/s", "tok/s", "tokens/s"),
        "%": ("%",),
        "cores": ("cores",),
        "J": ("J",),
        "1/J": ("/J", "tokens/J"),
        "USD": ("$", "USD"),
        "1": (),
    }
    return 1.0 if suffix in accepted[unit] else None


def _unit_words(unit: Unit) -> str:
    return {"s": "seconds", "B": "bytes", "1/s": "per second", "%": "per cent", "1": "plain numbers"}.get(unit, unit)


def parse_duration_s(text: str, where: str) -> float:
    """Seconds of a positive duration such as ``10m``.

    :raises ConfigError: if it is not one.
    """
    value = parse_quantity(text, "s", where)
    if value <= 0:
        raise ConfigError(f"{where}: '{text.strip()}' must be longer than zero; write it like {_EXAMPLES['s']}.")
    return value


def format_duration(seconds: float) -> str:
    """Three significant digits in the unit a person would choose.

    >>> format_duration(0.0123), format_duration(1.42), format_duration(125.0)
    ('12.3 ms', '1.42 s', '2 min 5 s')
    """
    if not math.isfinite(seconds):
        return "n/a"
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds == 0:
        return "0 s"
    for factor, name in ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s")):
        scaled = seconds / factor
        if scaled < 999.5 and not (name == "s" and scaled >= 99.95):
            return f"{_three_digits(scaled)} {name}"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {secs} s" if secs else f"{minutes} min"


def format_bytes(count: float) -> str:
    """Binary multiples, three significant digits.

    >>> format_bytes(851443712), format_bytes(512)
    ('812 MiB', '512 B')
    """
    if not math.isfinite(count):
        return "n/a"
    sign, count = ("-", -count) if count < 0 else ("", count)
    if count < 1024:
        return f"{sign}{count:.0f} B"
    for name in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if count < 999.5 or name == "TiB":
            break
    return f"{sign}{_three_digits(count)} {name}"


def _three_digits(value: float) -> str:
    """
    >>> _three_digits(1.4249), _three_digits(12.34), _three_digits(812.3)
    ('1.42', '12.3', '812')
    """
    for limit, decimals in ((9.995, 2), (99.95, 1)):
        if value < limit:
            text = f"{value:.{decimals}f}"
            return text.rstrip("0").rstrip(".") if decimals and float(text) == int(float(text)) else text
    return f"{value:.0f}"


def format_quantity(value: float, unit: Unit) -> str:
    """The text of an SI value of that unit.

    >>> format_quantity(35.2, "1/s"), format_quantity(0.5, "%"), format_quantity(50.0, "1")
    ('35.2 /s', '0.5 %', '50')
    """
    if not math.isfinite(value):
        return "n/a"
    if unit == "s":
        return format_duration(value)
    if unit == "B":
        return format_bytes(value)
    if unit == "B/s":
        return format_bytes(value) + "/s"
    if unit == "1/s":
        return format_rate(value) + " /s"
    number = f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else format_rate(value)
    suffix = {"%": " %", "1": "", "cores": " cores", "J": " J", "1/J": " /J", "USD": " USD"}[unit]
    return number + suffix


def format_rate(value: float) -> str:
    """A plain number as people write it, without a unit: three significant digits, or whole up to 100,000.

    >>> format_rate(35.25), format_rate(23432.5), format_rate(2.59e6)
    ('35.2', '23,432', '2.59 M')
    """
    size = abs(value)
    if size < 100:
        return f"{value:.3g}"
    if size < 1e5:
        return f"{value:,.0f}"
    factor, name = next((each for each in _LARGE if size < 999.5 * each[0]), _LARGE[-1])
    return f"{value / factor:.3g} {name}"


def axis_scale(largest: float, unit: Unit) -> tuple[float, str]:
    """The unit in which people read numbers up to that size, for an axis or a column: how many of SI one of it is, and its name.

    >>> axis_scale(0.25, "s"), axis_scale(3e9, "B"), axis_scale(40.0, "%"), axis_scale(12.0, "1")
    ((0.001, 'ms'), (1073741824.0, 'GiB'), (1.0, '%'), (1.0, ''))
    """
    names: dict[float, str] = {1.0: {"1/s": "per second", "1": "", "1/J": "per joule"}.get(unit, unit)}
    if unit == "s":
        names = {1e-9: "ns", 1e-6: "µs", 1e-3: "ms", 1.0: "s"}
    elif unit in ("B", "B/s"):
        ends = "/s" if unit == "B/s" else ""
        names = {2.0 ** (10 * power): f"{name}{ends}" for power, name in enumerate(("B", "KiB", "MiB", "GiB", "TiB"))}
    fitting = [factor for factor in names if factor <= abs(largest)]
    factor = max(fitting, default=min(names))
    return factor, names[factor]
