"""``json``: the whole output is one JSON value."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from ..records import CheckResult
from .arguments import cut_off, excerpt, refuse_argument
from .base import CheckInput

_FENCED = re.compile(r"\s*```\w*\s*\n(?P<inside>.*)\n\s*```\s*\Z", re.DOTALL)


class IsJson:
    """Passes where the output parses by RFC 8259, white space around it allowed; a code fence or a sentence is not."""

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, "json")

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        fault = _fault(output.text)
        if not fault:
            return CheckResult(name="json", passed=True, message="the output is JSON")
        fenced = _FENCED.match(output.text)
        if fenced and not _fault(fenced["inside"]):
            fault = "it stands in a code fence"
        message = f"{cut_off(output)}expected JSON, found {excerpt(output.text)}: {fault}"
        return CheckResult(name="json", passed=False, message=message)


def _fault(text: str) -> str:
    """Why the text is not JSON; empty if it is."""
    if not text.strip():
        return "there is nothing to parse"
    try:
        # Numbers are not converted: how large they may be is not the syntax's affair.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    return ""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
