"""``embedding:{"model": NAME, "min": 0.7}``: how alike in meaning the output and a reference are, by static word vectors.

The vectors are those of a model2vec model: a folder, or a name on the Hugging Face hub such as ``minishlab/potion-base-8M`` (30 MB). They
need neither torch nor a process of their own. The figure is the cosine between the means of both texts' vectors. It sees which words
there are and not their order or a negation: "it is safe" and "it is not safe" are nearly the same to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from ..errors import CheckError, ConfigError, described
from ..records import CheckResult
from ..registry import missing_package
from ..text import one_line
from .arguments import cut_off, excerpt, read_number, read_options, read_text, require_argument
from .base import BuiltIn, CheckInput, Exemplar

_EXAMPLE: Final = 'embedding:{"min":0.7,"model":"minishlab/potion-base-8M"}'


class Embedding(BuiltIn):
    """Passes where the cosine similarity of output and reference is at least so much (-1 to 1)."""

    name = "embedding"
    exemplars = (
        Exemplar(
            check=_EXAMPLE, text="A cat", reference="Cats", vectors=((3.0, 4.0), (4.0, 3.0)), passes=True, says="0.960"
        ),
        Exemplar(
            check=_EXAMPLE,
            text="A tax",
            reference="Cats",
            vectors=((3.0, 4.0), (4.0, -3.0)),
            passes=False,
            says="found 0.000",
        ),
        Exemplar(
            check=_EXAMPLE, text="Qxz", reference="Cats", vectors=((0.0, 0.0), (4.0, 3.0)), passes=False, says="no word"
        ),
        Exemplar(check=_EXAMPLE, text="A cat on a mat", passes=False, says="no reference"),
        Exemplar(check=_EXAMPLE, text="", reference="A cat on a mat", passes=False, says="the output is empty"),
    )

    def __init__(self, argument: str = "") -> None:
        options = read_options(
            require_argument(argument.strip(), _EXAMPLE), "min", ["model", "min", "reference"], _EXAMPLE
        )
        for key in ("model", "min"):
            if key not in options:
                raise ConfigError(f"the {key} is missing; write it like '{_EXAMPLE}'.")
        super().__init__(argument.strip())
        self._model = read_text(options["model"], "model", _EXAMPLE)
        self._least = read_number(options["min"], "min", _EXAMPLE, least=-1, most=1)
        given = options.get("reference")
        self._reference = None if given is None else read_text(given, "reference", _EXAMPLE)
        self.needs_reference = self._reference is None
        try:
            import model2vec  # noqa: F401  # its absence is known before anything runs
        except ModuleNotFoundError as error:
            raise missing_package("check 'embedding'", error.name or "model2vec", "pytest-llmci[embeddings]") from error

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        wanted = output.reference(self._reference)
        if not output.text.strip():
            return self.failed(
                f"{cut_off(output)}the output is empty, so it is like nothing; the reference is {excerpt(wanted)}"
            )
        found = _cosine(*output.services.embed(self._model, [output.text, wanted]))
        if found >= self._least:
            return self.passed(f"the similarity is {found:.3f}, at least {self._least:g} (vectors of {self._model})")
        return self.failed(
            f"{cut_off(output)}expected a similarity of at least {self._least:g}, found {found:.3f} between {excerpt(output.text)}"
            f" and the reference {excerpt(wanted)} (vectors of {self._model})"
        )


def vectors(model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
    """A vector of each text.

    :raises CheckError: if the model cannot be had.
    """
    try:
        rows = _loaded(model).encode(list(texts), use_multiprocessing=False)
    except (Exception, SystemExit) as error:
        reason = one_line(described(error))[:200]
        raise CheckError(
            f"the vectors of '{model}' cannot be had ({reason}); name a folder or a model2vec model."
        ) from error
    return [list(map(float, row)) for row in rows]


@lru_cache(maxsize=2)
def _loaded(model: str) -> Any:
    from model2vec import StaticModel

    return StaticModel.from_pretrained(model, force_download=False)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    size = math.sqrt(math.fsum(value * value for value in one) * math.fsum(value * value for value in other))
    found = math.fsum(a * b for a, b in zip(one, other, strict=True)) / size if size else math.nan
    if not math.isfinite(found):
        raise CheckError("the similarity is no number: the model knows no word of the output or of the reference.")
    return found
