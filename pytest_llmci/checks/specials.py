"""``special_tokens``: the output is more than the model's own punctuation, such as end-of-text and padding."""

from __future__ import annotations

import re
from typing import Final

from ..records import CheckResult
from .arguments import excerpt, listed, refuse_argument
from .base import BuiltIn, CheckInput, Exemplar

_WRITTEN_OUT: Final = re.compile(
    r"<[|｜][^<>|｜\s]{1,40}[|｜]>|</?s>|<(?:pad|eos|bos|unk|mask|start_of_turn|end_of_turn)>|\[(?:PAD|EOS|BOS|UNK|CLS|SEP|MASK)\]"
)
"""Special tokens as the common families of tokenizers spell them, for sources that send them as text."""


class SpecialTokens(BuiltIn):
    """Fails where tokens came but nothing except special ones; an output without any token is not its affair."""

    name = "special_tokens"
    exemplars = (
        Exemplar(check="special_tokens", text="It is Paris.</s>", passes=True),
        Exemplar(check="special_tokens", text="", passes=True),
        Exemplar(check="special_tokens", text="<|endoftext|>", passes=False, says="only special tokens"),
        Exemplar(
            check="special_tokens", text="", special_only=True, passes=False, says="all of them were special ones"
        ),
    )

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, self.name)
        super().__init__()

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        fault = self.fault(output)
        return self.failed(fault) if fault else self.passed("the output is more than special tokens")

    def fault(self, output: CheckInput) -> str:
        """What is wrong with an output; empty if nothing is."""
        if output.special_only:
            return _only(
                "the model produced tokens, but all of them were special ones (end of text, padding);"
                " a chat model may want messages, or +template=on for plain text"
            )
        rest, count = _WRITTEN_OUT.subn("", output.text)
        if count and not rest.strip():
            return _only(f"found {excerpt(output.text)}")
        return ""


def _only(found: str) -> str:
    return f"only special tokens: expected text, {found}"


class NoSpecialTokens(BuiltIn):
    """Passes where the output holds no special token as text: a template or a stop token that leaked."""

    name = "no_special_tokens"
    exemplars = (
        Exemplar(check="no_special_tokens", text="It is Paris, if a < b and b > c.", passes=True),
        Exemplar(check="no_special_tokens", text="It is Paris.<|im_end|>", passes=False, says='"<|im_end|>"'),
    )

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, self.name)
        super().__init__()

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        found = list(dict.fromkeys(_WRITTEN_OUT.findall(output.text)))
        if not found:
            return self.passed("the output holds no special token")
        return self.failed(f"expected no special token, found {listed(found)} in {excerpt(output.text)}")
