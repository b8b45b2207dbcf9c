"""``python:package.module:function``: a function of your own judges.

It gets the text of the output; or, where its first parameter is called ``output`` or annotated as :class:`CheckInput`, all that is
known of it. It returns True or False, a ``CheckResult``, or nothing at all if it asserts; an ``AssertionError`` is a failed check.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from ..check_texts import function_name
from ..errors import CheckError, ConfigError, MissingValue, described
from ..records import CheckResult
from ..registry import import_target
from ..text import one_line
from .arguments import cut_off, excerpt, require_argument
from .base import BuiltIn, CheckInput, Exemplar


class PythonCheck(BuiltIn):
    """Passes where the function says so."""

    name = "python"
    exemplars = (
        Exemplar(check="python:builtins:str.isupper", text="PARIS", passes=True),
        Exemplar(check="python:builtins:str.isupper", text="Paris", passes=False, says="returned False"),
        Exemplar(check="python:builtins:len", text="Paris", passes=False, says="returned 5"),
        Exemplar(check="python:builtins:int", text="Paris", passes=False, says="ValueError"),
    )

    def __init__(self, argument: str = "", function: Callable[..., object] | None = None) -> None:
        """:param function: the function itself, where no name leads to it."""
        target = argument.strip()
        super().__init__(target)
        self._function = function or _imported(require_argument(target, "python:mypackage.checks:polite"))
        self._takes_all = _takes_all(self._function)

    @classmethod
    def of(cls, function: Callable[..., object]) -> PythonCheck:
        """The check that a function is, whether or not it can be imported."""
        try:
            name = function_name(function, "")
        except ConfigError:
            where = getattr(function, "__module__", None) or "?"
            name = f"{where}:{getattr(function, '__qualname__', type(function).__name__)}"
        return cls(name, function)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        given = output if self._takes_all else output.text
        try:
            found: Any = self._function(given)
        except (MissingValue, CheckError):
            raise
        except AssertionError as error:
            reason = one_line(str(error))[:200] or "an assertion of it failed"
            return self.failed(f"{cut_off(output)}{reason}: {excerpt(output.text)}")
        except (Exception, SystemExit) as error:
            raise CheckError(f"{cut_off(output)}{self.text} raised {described(error)[:200]}") from error
        if isinstance(found, CheckResult):
            return found
        if found is None:
            return self.passed("the function raised no AssertionError")
        if type(found).__name__ in ("bool", "bool_"):
            return (
                self.passed("the function returned True")
                if found
                else self.failed(f"the function returned False for {excerpt(output.text)}")
            )
        if inspect.isawaitable(found):
            getattr(found, "close", lambda: None)()
            raise CheckError(f"{self.text} is asynchronous; write a plain function")
        raise CheckError(
            f"{self.text} returned {found!r:.60}; expected True, False, nothing or a pytest_llmci.CheckResult"
        )


def _imported(target: str) -> Callable[..., object]:
    try:
        found = import_target(target, "the function")
    except ImportError as error:
        raise ConfigError(
            f"'{target}' cannot be imported: {described(error)}; write it like 'python:mypackage.checks:polite'."
        ) from error
    if not callable(found):
        raise ConfigError(f"'{target}' is no function but {found!r:.40}.")
    return cast("Callable[..., object]", found)


def _takes_all(function: Callable[..., object]) -> bool:
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    annotation = getattr(first, "annotation", None)
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return first is not None and (first.name == "output" or str(name).rpartition(".")[2] == CheckInput.__name__)
