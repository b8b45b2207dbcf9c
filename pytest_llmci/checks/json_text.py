"""``json`` and ``contains_json``: the output is JSON, or holds some; and how JSON is read from an output."""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from ..records import CheckResult, Json
from .arguments import cut_off, excerpt, read_flag, read_options, refuse_argument
from .base import BuiltIn, CheckInput, Exemplar

_FENCED: Final = re.compile(r"\s*```\w*[ \t]*\n(?P<inside>.*)\n[ \t]*```\s*\Z", re.DOTALL)
_START: Final = re.compile(r"[\[{]")
MOST_STARTS: Final = 1000
"""Brackets at which ``contains_json`` looks for a value."""


class IsJson(BuiltIn):
    """Passes where the output parses by RFC 8259, white space around it allowed; a sentence is not, a code fence only if asked for."""

    name = "json"
    exemplars = (
        Exemplar(check="json", text=' {"a": [1, 2.5e3]}\n', passes=True),
        Exemplar(check='json:{"fence":true}', text='```json\n{"a": 1}\n```', passes=True),
        Exemplar(check="json", text='```json\n{"a": 1}\n```', passes=False, says="it stands in a code fence"),
        Exemplar(check="json", text='Sure: {"a": 1}', passes=False, says="line 1, column 1"),
        Exemplar(check="json", text="NaN", passes=False, says="NaN is not JSON"),
        Exemplar(check="json", text='{"a": ', passes=False, finish_reason="length", says="cut off"),
    )

    def __init__(self, argument: str = "") -> None:
        example = 'json:{"fence":true}'
        if not argument.strip().startswith("{"):
            refuse_argument(argument, self.name)
            argument = ""
        super().__init__(argument)
        self._fence = read_flag(
            read_options(argument, "fence", ["fence"], example).get("fence", False), "fence", example
        )

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        text = without_fence(output.text) if self._fence else output.text
        fault = json_fault(text)
        if not fault:
            return self.passed("the output is JSON")
        if not self._fence and without_fence(text) != text and not json_fault(without_fence(text)):
            fault = """it stands in a code fence (allowed by json:{"fence":true})"""
        return self.failed(f"{cut_off(output)}expected JSON, found {excerpt(output.text)}: {fault}")


class ContainsJson(BuiltIn):
    """Passes where a JSON object or list stands somewhere in the output, in a code fence or in the middle of a sentence."""

    name = "contains_json"
    exemplars = (
        Exemplar(check="contains_json", text='Sure: {"a": 1}. Anything else?', passes=True),
        Exemplar(check="contains_json", text="[see below] It is 5.", passes=False, says="an object or a list"),
        Exemplar(check="contains_json", text='Sure: {"a": ', passes=False, finish_reason="length", says="cut off"),
    )

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, self.name)
        super().__init__()

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
        for number, start in enumerate(_START.finditer(output.text)):
            if number == MOST_STARTS:
                break
            try:
                _, end = decoder.raw_decode(output.text, start.start())
            except (ValueError, RecursionError):
                continue
            return self.passed(f"the output holds the JSON {excerpt(output.text[start.start() : end])}")
        return self.failed(
            f"{cut_off(output)}expected JSON, an object or a list, in the output, found {excerpt(output.text)}"
        )


def without_fence(text: str) -> str:
    """What stands in the code fence that the whole text is; the text itself where it is none."""
    fenced = _FENCED.match(text)
    return fenced["inside"] if fenced else text


def json_fault(text: str) -> str:
    """Why the text is not JSON; empty if it is."""
    # Numbers are not converted: how large they may be is not the syntax's affair.
    return read(text, number=str)[1]


def read(text: str, number: type[str] | None = None) -> tuple[Json, str]:
    """The value, and why the text is not JSON; empty if it is.

    :param number: what numbers become; None: numbers.
    """
    if not text.strip():
        return None, "there is nothing to parse"
    try:
        return json.loads(text, parse_int=number, parse_float=number, parse_constant=_refuse_constant), ""
    except json.JSONDecodeError as error:
        return None, f"{error.msg} at line {error.lineno}, column {error.colno}"
    except ValueError as error:
        return None, str(error)
    except RecursionError:
        return None, "it is nested too deeply"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
