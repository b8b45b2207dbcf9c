"""What could not be measured."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from ..errors import MissingValue


@dataclass(frozen=True, slots=True, eq=False)
class Missing:
    """A number that could not be measured: falsy, and any use of it as a number fails the test with the reason.

    Two of them are equal if their reasons are.

    >>> bool(Missing("no streaming"))
    False
    """

    reason: str

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "n/a"

    def __format__(self, spec: str) -> str:
        return "n/a"

    def __eq__(self, other: object) -> bool:
        __tracebackhide__ = True
        if isinstance(other, numbers.Number):
            self._refuse()  # else 'p95 != 5' would pass for want of a p95
        return self.reason == other.reason if isinstance(other, Missing) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.reason)

    def _refuse(self, *_: object) -> NoReturn:
        __tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
        raise MissingValue(self.reason)

    __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _refuse
    __divmod__ = __rdivmod__ = _refuse
    __neg__ = __pos__ = __abs__ = __float__ = __int__ = __round__ = _refuse


Number: TypeAlias = int | float | Missing
"""A measured number in SI units, or why there is none."""
