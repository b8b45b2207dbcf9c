"""``language:en``: the language of the output, by py3langid, which brings its model along."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Final

from ..errors import CheckError, UnknownNameError
from ..records import CheckResult
from ..registry import missing_package
from .arguments import cut_off, excerpt, read_texts
from .base import BuiltIn, CheckInput, Exemplar

LEAST_LETTERS: Final = 20
"""Below that any language is a guess."""
LOOKED_AT: Final = 20_000
"""Characters from the begin that are looked at."""
_CHINESE: Final = "光合作用是植物利用光能将二氧化碳和水转化为有机物的过程。"
_LOCK: Final = threading.Lock()


class Language(BuiltIn):
    """Passes where the output is in that language, or one of several: codes such as ``en``, ``de``, ``zh``.

    An output of less than 20 letters cannot be judged and fails with that reason.
    """

    name = "language"
    exemplars = (
        Exemplar(check="language:en", text="Photosynthesis turns light into chemical energy.", passes=True),
        Exemplar(check="language:fr,de", text="Die Photosynthese wandelt Licht in chemische Energie um.", passes=True),
        Exemplar(check="language:zh", text=_CHINESE, passes=True),
        Exemplar(check="language:en", text="Die Photosynthese wandelt Licht in chemische Energie um.", passes=False, says="found de"),
        Exemplar(check="language:en", text="Paris.", passes=False, says="too short"),
    )  # fmt: skip

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        self._wanted = tuple(code.lower() for code in read_texts(argument, "language:en"))
        known = _languages()
        for code in self._wanted:
            if code not in known:
                raise UnknownNameError.build("the argument", "language", code, known)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        text = output.text[:LOOKED_AT]
        letters = sum(map(str.isalpha, text))
        if letters < LEAST_LETTERS:
            raise CheckError(
                f"{cut_off(output)}the output is too short to tell its language: {letters} letters,"
                f" at least {LEAST_LETTERS} are needed: {excerpt(text)}"
            )
        with _LOCK:
            found, _ = _library().classify(text)
        wanted = " or ".join(self._wanted)
        if str(found) in self._wanted:
            return self.passed(f"the output is in {found}")
        return self.failed(f"expected an output in {wanted}, found {found}: {excerpt(output.text)}")


@lru_cache(maxsize=1)
def _languages() -> frozenset[str]:
    return frozenset(str(code) for code, _ in _library().rank("x"))


def _library() -> Any:
    try:
        import py3langid
    except ModuleNotFoundError as error:
        raise missing_package("check 'language'", error.name or "py3langid", "pytest-llmci[checks]") from error
    return py3langid
