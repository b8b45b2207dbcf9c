"""``special_tokens``: the output is more than the model's own punctuation, such as end-of-text and padding."""

from __future__ import annotations

import re
from typing import Final

from ..records import CheckResult
from .arguments import excerpt, refuse_argument
from .base import CheckInput

_WRITTEN_OUT: Final = re.compile(
    r"<[|｜][^<>|｜\s]{1,40}[|｜]>|</?s>|<(?:pad|eos|bos|unk|mask|start_of_turn|end_of_turn)>|\[(?:PAD|EOS|BOS|UNK|CLS|SEP|MASK)\]"
)
"""Special tokens as the common families of tokenizers spell them, for sources that send them as text."""


class SpecialTokens:
    """Fails where tokens came but nothing except special ones; an output without any token is not its affair."""

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, "special_tokens")

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        if output.special_only:
            return _failed(
                "the model produced tokens, but all of them were special ones (end of text, padding);"
                " a chat model may want messages, or +template=on for plain text"
            )
        rest, count = _WRITTEN_OUT.subn("", output.text)
        if count and not rest.strip():
            return _failed(f"found {excerpt(output.text)}")
        return CheckResult(name="special_tokens", passed=True, message="the output is more than special tokens")


def _failed(found: str) -> CheckResult:
    return CheckResult(name="special_tokens", passed=False, message=f"only special tokens: expected text, {found}")
