r"""``number:42``: the last number of the output is that one, within a tolerance; without one, the last number of the prompt's reference.

The rule. The output's answer is its last number. A number is made of digits, with commas, apostrophes, underscores or narrow blanks
between groups of three (plain blanks part numbers), a decimal point, and an exponent (``1e6``, ``1.5 x 10^6``, ``\times 10^{6}``);
``2^10`` is a power, ``3/4`` a fraction. A minus counts where no letter, digit or bracket stands before it, so that ``2020-24`` and
``5-3`` are two numbers; dates with slashes are none. Signs of currency, per cent and units are passed over: ``50 %`` is 50. A number
inside a word (``H2O``) and a version (``3.11.2``) is none. With ``"decimal": ","`` comma and point change places. Without a tolerance
the numbers must be equal, up to one in 10^9 for what binary fractions cannot hold.
"""

from __future__ import annotations

import math
import re
from typing import Final

from ..errors import CheckError, ConfigError
from ..records import CheckResult
from .arguments import cut_off, excerpt, read_number, read_options
from .base import BuiltIn, CheckInput, Exemplar

_EXAMPLE: Final = 'number:{"tolerance":0.01,"value":3.14}'
_NARROW: Final = "'\u2019_\u00a0\u2009\u202f"
_POWER: Final = r"\{?(?:[-+\u2212]?\d{1,4})\}?"
_NUMBER: Final = re.compile(
    rf"(?<![\w.])(?P<date>\d+(?:/\d+){{2,}})|(?<![\w.])(?P<mantissa>(?:\d{{1,3}}(?:[,{_NARROW}]\d{{3}})+|\d+)(?:\.\d+)?|\.\d+)(?!\d|\.\d)"
    rf"(?:[eE](?P<exponent>[-+]?\d{{1,4}})(?!\w)"
    rf"|\s*(?:\u00d7|x|\*|\\times|\\cdot)\s*10\s*\^\s*(?P<scale>{_POWER})"
    rf"|\^(?P<power>{_POWER})"
    rf"|/(?P<under>\d+)(?![\w/]|\.\d))?"
)
_FRACTION: Final = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_MINUS: Final = "-\u2212"
_ROUNDING: Final = 1e-9


class IsNumber(BuiltIn):
    """Passes where the last number of the output is the expected one, by the rule of this module."""

    name = "number"
    exemplars = (
        Exemplar(check="number:42", text="6 x 7 = 42.", passes=True),
        Exemplar(check="number:1234.5", text="The total is $1,234.50 in all", passes=True),
        Exemplar(check="number:-3", text="x = \u22123", passes=True),
        Exemplar(check="number:50", text="so about 50 %", passes=True),
        Exemplar(check="number:0.75", text="that is 3/4", passes=True),
        Exemplar(check="number:1500000", text=r"$1.5 \times 10^{6}$", passes=True),
        Exemplar(check=_EXAMPLE, text="pi is 3.1416", passes=True),
        Exemplar(check='number:{"tolerance":"1%","value":200}', text="202", passes=True),
        Exemplar(check='number:{"decimal":",","value":1234.5}', text="zusammen 1.234,5", passes=True),
        Exemplar(check="number", text="72 clips", reference="48/2 = 24\n#### 72", passes=True),
        Exemplar(
            check="number:42",
            text="42, I think, or 43",
            passes=False,
            says="last number of the output to be 42, found 43",
        ),
        Exemplar(check='number:{"tolerance":"1%","value":200}', text="203", passes=False, says="within 1%"),
        Exemplar(check="number:42", text="forty-two", passes=False, says="no number"),
        Exemplar(check="number:42", text="Let us see: 6 x", passes=False, finish_reason="length", says="cut off"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        options = read_options(argument, "value", ["value", "tolerance", "decimal"], _EXAMPLE)
        given, tolerance, decimal = options.get("value"), options.get("tolerance", 0), options.get("decimal", ".")
        if decimal not in (".", ","):
            raise ConfigError(f"decimal must be '.' or ',', found {decimal!r:.20}; write it like '{_EXAMPLE}'.")
        self._decimal = str(decimal)
        self._value = None if given is None else read_number(given, "the expected number", _EXAMPLE)
        self.needs_reference = self._value is None
        self._relative = isinstance(tolerance, str) and tolerance.strip().endswith("%")
        bare = str(tolerance).strip().removesuffix("%") if self._relative else tolerance
        self._tolerance = read_number(bare, "tolerance", _EXAMPLE, least=0) / (100 if self._relative else 1)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        wanted = self._expected(output)
        found = last_number(output.text, self._decimal)
        if found is None:
            return self.failed(
                f"{cut_off(output)}expected the number {wanted:.12g}, found no number in {excerpt(output.text)}"
            )
        margin = self._tolerance * abs(wanted) if self._relative else self._tolerance
        margin = max(margin * (1 + _ROUNDING), _ROUNDING * abs(wanted))
        if math.isfinite(found) and abs(found - wanted) <= margin:
            return self.passed(f"the last number of the output is {found:.12g}{self._within()}")
        return self.failed(
            f"{cut_off(output)}expected the last number of the output to be {wanted:.12g}{self._within()}, found {found:.12g}"
            f" in {excerpt(output.text)}"
        )

    def _expected(self, output: CheckInput) -> float:
        if self._value is not None:
            return self._value
        reference = output.reference()
        found = last_number(reference, self._decimal)
        if found is None or not math.isfinite(found):
            raise CheckError(f"the reference holds no number: {excerpt(reference)}")
        return found

    def _within(self) -> str:
        if not self._tolerance:
            return ""
        return f" within {self._tolerance * 100:g}%" if self._relative else f" within {self._tolerance:g}"


def last_number(text: str, decimal: str = ".") -> float | None:
    """The last number by the rule of this module; None where there is none.

    >>> last_number("1,000 apples, 2,500 pears"), last_number("none"), last_number("at 5-3")
    (2500.0, None, 3.0)
    """
    if decimal == ",":
        text = text.translate(str.maketrans(",.", ".,"))
    text = _FRACTION.sub(r"\1/\2", text)
    found = None
    for match in _NUMBER.finditer(text):
        found = match if match["mantissa"] else found
    return None if found is None else _value(found)


def _value(match: re.Match[str]) -> float:
    value = float(re.sub(rf"[,{_NARROW}]", "", match["mantissa"]))
    try:
        if match["power"]:
            value = value ** _whole(match["power"])
        else:
            value *= 10.0 ** _whole(match["exponent"] or match["scale"] or "0")
    except (OverflowError, ZeroDivisionError):
        value = math.inf
    if match["under"]:
        value = value / float(match["under"]) if float(match["under"]) else math.inf
    return -value if _is_negative(match.string[: match.start()]) else value


def _whole(text: str) -> int:
    return int(text.strip("{}").replace("\u2212", "-"))


def _is_negative(before: str) -> bool:
    """Whether what stands before a number ends in a minus that belongs to it."""
    before = before[-3:].rstrip("$\u20ac\u00a3\u00a5")
    return before[-1:] in tuple(_MINUS) and not (before[-2:-1].isalnum() or before[-2:-1] in tuple(")]"))
