"""``finish_reason:stop``: why the answer ended, exactly as the model source calls it."""

from __future__ import annotations

from ..records import CheckResult
from ..text import one_line
from .arguments import excerpt, read_texts
from .base import BuiltIn, CheckInput, Exemplar


class FinishReason(BuiltIn):
    """Passes where the answer ended for that reason, or one of several: ``stop``, ``length``, or what the source calls it."""

    name = "finish_reason"
    exemplars = (
        Exemplar(check="finish_reason:stop", text="It is Paris.", passes=True),
        Exemplar(check="finish_reason:stop,tool_calls", text="", finish_reason="tool_calls", passes=True),
        Exemplar(check="finish_reason:stop", text="It is", finish_reason="length", passes=False, says="found 'length'"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        self._wanted = read_texts(argument, f"{self.name}:stop")

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        found = one_line(output.finish_reason)[:40]
        if output.finish_reason in self._wanted:
            return self.passed(f"the answer ended with '{found}'")
        wanted = " or ".join(f"'{reason}'" for reason in self._wanted)
        more = " (the token limit: raise max_new_tokens if it needs more)" if found == "length" else ""
        return self.failed(f"expected the answer to end with {wanted}, found '{found}'{more}: {excerpt(output.text)}")
