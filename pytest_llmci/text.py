"""Text that is safe to show: model output and prompts may hold anything."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def plain(text: str) -> str:
    r"""The text without control sequences, control characters and direction overrides; newlines and tabs stay.

    >>> plain("a\x1b[31mred\x1b[0m\x07")
    'ared'
    """
    return _CONTROL.sub("", _SEQUENCE.sub("", text))


def one_line(text: str) -> str:
    r""":func:`plain`, with every run of white space as one blank.

    >>> one_line("two\n  lines")
    'two lines'
    """
    return " ".join(plain(text).split())
