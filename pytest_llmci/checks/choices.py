r"""``choice:B``: the output names that letter of a multiple choice; without one, the letter that the prompt's reference names.

The rule. What counts is, in this order,

1. the last letter that the output calls its answer: ``the answer is (B)``, ``Answer: B``, ``\boxed{B}``, ``**B**``;
2. the letter at its begin, alone or followed by ``) ] . : ,`` or a line's end, and not by ``or``: ``B``, ``(B) Paris``, ``B. Paris``;
3. the only one of the letters that stands alone with brackets, ``)`` or ``.`` beside it.

Several letters in the third step are no answer. Letters are capitals, A to E unless ``of`` says more: a small letter alone is an
article as often as not.
"""

from __future__ import annotations

import re
import string
from typing import Final

from ..errors import CheckError, ConfigError
from ..records import CheckResult
from .arguments import cut_off, excerpt, read_options, read_text
from .base import BuiltIn, CheckInput, Exemplar

_EXAMPLE: Final = 'choice:{"is":"B","of":"ABCD"}'
_USUAL: Final = "ABCDE"


class Choice(BuiltIn):
    """Passes where the output names the expected letter, by the rule of this module."""

    name = "choice"
    exemplars = (
        Exemplar(check="choice:B", text="B", passes=True),
        Exemplar(check="choice:B", text="(B) Paris, since A is in Italy.", passes=True),
        Exemplar(check="choice:B", text="A seems right. But no: the answer is (B).", passes=True),
        Exemplar(check="choice:B", text=r"So $\boxed{B}$", passes=True),
        Exemplar(check="choice", text="Answer: C", reference="C", passes=True),
        Exemplar(check='choice:{"is":"G","of":"ABCDEFGH"}', text="G) lead", passes=True),
        Exemplar(check="choice:B", text="The answer is C.", passes=False, says="found C"),
        Exemplar(check="choice:B", text="Either (A) or (B).", passes=False, says="found several: A, B"),
        Exemplar(check="choice:B", text="A good question!", passes=False, says="no choice"),
        Exemplar(check="choice:B", text="Let us think", passes=False, finish_reason="length", says="cut off"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        options = read_options(argument, "is", ["is", "of"], _EXAMPLE)
        wanted = (
            None if options.get("is") is None else read_text(options["is"], "the expected letter", _EXAMPLE).strip()
        )
        self._letters = read_text(options.get("of", _usual(wanted)), "of", _EXAMPLE).replace(",", "").replace(" ", "")
        if not set(self._letters) <= set(string.ascii_uppercase) or (
            wanted is not None and wanted not in tuple(self._letters)
        ):
            raise ConfigError(
                f"expected one capital letter of {self._letters}, found {wanted!r:.40}; write it like '{_EXAMPLE}'."
            )
        self._wanted = wanted
        self.needs_reference = wanted is None

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        wanted = self._wanted or self._of_reference(output.reference())
        found = chosen(output.text, self._letters)
        if found == [wanted]:
            return self.passed(f"the output names {wanted}")
        shown = f"several: {', '.join(found)}" if len(found) > 1 else found[0] if found else "no choice"
        return self.failed(f"{cut_off(output)}expected the choice {wanted}, found {shown} in {excerpt(output.text)}")

    def _of_reference(self, reference: str) -> str:
        found = chosen(reference, self._letters)
        if len(found) != 1:
            raise CheckError(f"the reference names no single choice of {self._letters}: {excerpt(reference)}")
        return found[0]


def _usual(wanted: str | None) -> str:
    """A to E, or as far as the expected letter goes."""
    is_letter = wanted is not None and len(wanted) == 1 and wanted in string.ascii_uppercase
    return (
        string.ascii_uppercase[: max(len(_USUAL), string.ascii_uppercase.index(wanted) + 1)]
        if is_letter and wanted
        else _USUAL
    )


def chosen(text: str, letters: str) -> list[str]:
    """The letter that an output names, by the rule of this module; several where it cannot be told, none where there is none.

    >>> chosen("I think the answer is (C), not A.", "ABCD"), chosen("(A) and (B)", "ABCD"), chosen("A dog", "ABCD")
    (['C'], ['A', 'B'], [])
    """
    one = f"[{letters}]"
    called = re.findall(
        rf"(?i:answer(?: is|:)|choice(?: is|:)|option(?: is|:))[\s*:(\[\"']{{0,6}}({one})(?![\w'])|\\boxed\{{\s*(?:\\text\{{)?({one})\b"
        rf"|\*\*\(?({one})\)?[.:]?\*\*",
        text,
    )
    if called:
        return ["".join(called[-1])]
    first = re.match(rf"[\s*(\[\"']*({one})(?:[)\].:,*\"']+(?!\s*(?:or|and)\b)|\s*\n|\s*\Z)", text)
    if first:
        return [first[1]]
    alone = re.findall(rf"(?<!\w)(?:[(\[]({one})[)\]]|({one})[).](?=\s|\Z))", text)
    return list(dict.fromkeys("".join(groups) for groups in alone))
