"""``rouge_l:0.5`` and its kin: how close the output is to a reference, from 0 to 1; the reference is the prompt's unless the check has one.

ROUGE is that of rouge-score (F1 unless ``measure`` says precision or recall), BLEU and chrF are sacrebleu's for one sentence, divided by
100 (BLEU with effective order), edit distance is Levenshtein's by rapidfuzz. Letters with accents are composed first (NFC).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from ..errors import CheckError, ConfigError
from ..records import CheckResult, Json
from ..registry import missing_package
from .arguments import composed, cut_off, excerpt, read_flag, read_number, read_options, read_text
from .base import BuiltIn, CheckInput, Exemplar

LONGEST: Final = 100_000
"""Characters of an output or reference; more are not compared."""
MOST_WORDS: Final = 3_000
"""For ROUGE-L, whose cost grows with the product of both lengths."""
MEASURES: Final = ("f1", "precision", "recall")
_CAT: Final = "The cat sat on the mat."
_CHINESE: Final = "\u732b\u5750\u5728\u57ab\u5b50\u4e0a"


class Similarity(BuiltIn):
    """What all of them share: the reference, the limit, and what is said."""

    title: ClassVar[str]
    known: ClassVar[Sequence[str]] = ("min", "reference")
    main: ClassVar[str] = "min"

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        example = f"{self.name}:0.5"
        options = read_options(argument, self.main, self.known, example)
        if self.main not in options:
            raise ConfigError(f"the {self.main} is missing; write it like '{example}'.")
        self._limit = self._read_limit(options[self.main], example)
        given = options.get("reference")
        self._reference = None if given is None else read_text(given, "reference", example)
        self.needs_reference = self._reference is None
        self._read_more(options)
        self._load()

    def _read_limit(self, given: Json, example: str) -> float:
        try:
            return read_number(given, "the least similarity", example, least=0, most=1)
        except ConfigError as error:
            raise ConfigError(f"{error} What others give as 50 is 0.5 here.") from None

    def _read_more(self, options: Any) -> None:
        """Options that only one of them has."""

    def _load(self) -> None:
        """Import the library, so that its absence is known before anything runs."""
        raise NotImplementedError

    def _score(self, found: str, wanted: str) -> float:
        raise NotImplementedError

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        wanted, found = composed(output.reference(self._reference).strip()), composed(output.text.strip())
        for text, what in ((found, "output"), (wanted, "reference")):
            if len(text) > LONGEST:
                raise CheckError(f"the {what} has {len(text)} characters; more than {LONGEST} are not compared.")
        score = self._score(found, wanted) if found else 0.0
        if not math.isfinite(score):
            raise CheckError(f"{self.title} is {score}, which is no similarity.")
        if score >= self._limit:
            return self.passed(f"{self.title} is {score:.3f}, at least {self._limit:g}")
        return self.failed(
            f"{cut_off(output)}expected {self.title} of at least {self._limit:g}, found {_below(score, self._limit)}"
            f" between {excerpt(found)} and the reference {excerpt(wanted)}"
        )


def _below(score: float, limit: float) -> str:
    """The score with as many digits as it takes to see that it is less."""
    return next((text for digits in (3, 6) if float(text := f"{score:.{digits}f}") < limit), repr(score))


class Rouge(Similarity):
    """Passes where the output shares enough words with the reference; letters a to z and digits only, as rouge-score splits."""

    known = ("min", "reference", "measure", "stem")
    kind: ClassVar[str]

    def _read_more(self, options: Any) -> None:
        example = f'{self.name}:{{"measure":"recall","min":0.5}}'
        self._measure = options.get("measure", "f1")
        if self._measure not in MEASURES:
            raise ConfigError(
                f"measure must be one of {', '.join(MEASURES)}, found {self._measure!r:.40}; write it like '{example}'."
            )
        self._stem = read_flag(options.get("stem", False), "stem", example)

    def _load(self) -> None:
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ModuleNotFoundError as error:
            raise missing_package(
                f"check '{self.name}'", error.name or "rouge_score", "pytest-llmci[checks]"
            ) from error
        self._scorer = RougeScorer([self.kind], use_stemmer=self._stem)

    def _score(self, found: str, wanted: str) -> float:
        for text, what in ((found, "output"), (wanted, "reference")):
            if self.kind == "rougeL" and text.count(" ") > MOST_WORDS:
                raise CheckError(
                    f"the {what} has more than {MOST_WORDS} words, which ROUGE-L would take too long to compare."
                )
        if not any(char.isascii() and char.isalnum() for char in wanted):
            raise CheckError(
                "the reference has no word of the letters a to z, the only ones that ROUGE counts; use chrf."
            )
        scores = self._scorer.score(wanted, found)[self.kind]
        return float(getattr(scores, {"f1": "fmeasure"}.get(self._measure, self._measure)))


class Rouge1(Rouge):
    """Passes where the output shares enough single words with the reference, as rouge-score counts them."""

    name, kind, title = "rouge_1", "rouge1", "ROUGE-1"
    exemplars = (
        Exemplar(check="rouge_1:0.9", text="the mat sat on the cat", reference=_CAT, passes=True, says="1.000"),
        Exemplar(check="rouge_1:0.9", text="A dog sat there.", reference=_CAT, passes=False, says="found 0.200"),
        Exemplar(check="rouge_1:0.9", text=_CAT, reference=" ", passes=False, says="no reference"),
        Exemplar(check="rouge_1:0.9", text="\u732b", reference="\u732b", passes=False, says="use chrf"),
    )


class Rouge2(Rouge):
    """Passes where the output shares enough pairs of words with the reference, as rouge-score counts them."""

    name, kind, title = "rouge_2", "rouge2", "ROUGE-2"
    exemplars = (
        Exemplar(check="rouge_2:0.5", text="The cat sat on a mat.", reference=_CAT, passes=True, says="0.600"),
        Exemplar(check="rouge_2:0.5", text="mat the on sat cat the", reference=_CAT, passes=False, says="found 0.000"),
    )


class RougeL(Rouge):
    """Passes where the longest common sequence of words is long enough, as rouge-score counts it."""

    name, kind, title = "rouge_l", "rougeL", "ROUGE-L"
    exemplars = (
        Exemplar(check="rouge_l:0.8", text="The cat sat on a mat.", reference=_CAT, passes=True, says="0.833"),
        Exemplar(
            check='rouge_l:{"measure":"recall","min":1,"reference":"cat mat"}',
            text="A cat on a mat.",
            passes=True,
            says="1.000",
        ),
        Exemplar(check="rouge_l:0.8", text="mat the on sat cat the", reference=_CAT, passes=False, says="found 0.500"),
        Exemplar(
            check="rouge_l:0.8", text="The cat", reference=_CAT, finish_reason="length", passes=False, says="cut off"
        ),
    )


class Bleu(Similarity):
    """Passes where sacrebleu's sentence BLEU, divided by 100, is high enough. It was made for whole documents: short answers score low."""

    name, title = "bleu", "BLEU"
    exemplars = (
        Exemplar(check="bleu:0.9", text=_CAT, reference=_CAT, passes=True, says="1.000"),
        Exemplar(
            check="bleu:0.5", text="A dog barked at night.", reference=_CAT, passes=False, says="BLEU of at least 0.5"
        ),
        Exemplar(check="bleu:0.5", text="", reference=_CAT, passes=False, says="found 0.000"),
    )

    def _load(self) -> None:
        try:
            from sacrebleu.metrics import BLEU
        except ModuleNotFoundError as error:
            raise missing_package("check 'bleu'", error.name or "sacrebleu", "pytest-llmci[checks]") from error
        self._scorer = BLEU(effective_order=True)

    def _score(self, found: str, wanted: str) -> float:
        return _share(self._scorer.sentence_score(found, [wanted]).score)


class ChrF(Similarity):
    """Passes where sacrebleu's sentence chrF, divided by 100, is high enough; good for any script and for forms of a word."""

    name, title = "chrf", "chrF"
    exemplars = (
        Exemplar(check="chrf:0.7", text="The cats sat on the mat.", reference=_CAT, passes=True),
        Exemplar(check="chrf:0.9", text=_CHINESE, reference=_CHINESE, passes=True),
        Exemplar(check="chrf:0.7", text="A dog barked at night.", reference=_CAT, passes=False, says="chrF of at least 0.7"),
    )  # fmt: skip

    def _load(self) -> None:
        try:
            from sacrebleu.metrics import CHRF
        except ModuleNotFoundError as error:
            raise missing_package("check 'chrf'", error.name or "sacrebleu", "pytest-llmci[checks]") from error
        self._scorer = CHRF()

    def _score(self, found: str, wanted: str) -> float:
        return _share(self._scorer.sentence_score(found, [wanted]).score)


def _share(percent: float) -> float:
    """Of sacrebleu's 0 to 100, which may end a hair above for equal texts."""
    return min(1.0, percent / 100) if percent == percent else percent  # noqa: PLR0124  # not a number stays that


class EditSimilarity(Similarity):
    """Passes where 1 less the edit distance, divided by the longer of both lengths, is high enough."""

    name, title = "edit_similarity", "edit similarity"
    exemplars = (
        Exemplar(check="edit_similarity:0.8", text="Pariss", reference="Paris", passes=True, says="0.833"),
        Exemplar(check='edit_similarity:{"min":1,"reference":"caf\u00e9"}', text="cafe\u0301", passes=True),
        Exemplar(check="edit_similarity:0.8", text="Lyon", reference="Paris", passes=False, says="found 0.000"),
        Exemplar(check="edit_similarity:0.8", text="Paris", passes=False, says="no reference"),
    )

    def _load(self) -> None:
        self._levenshtein = _levenshtein(self.name)

    def _score(self, found: str, wanted: str) -> float:
        return float(self._levenshtein.normalized_similarity(found, wanted))


class EditDistance(Similarity):
    """Passes where at most so many characters have to be put in, taken out or replaced to get the reference."""

    name, title, main, known = "edit_distance", "edit distance", "max", ("max", "reference")
    exemplars = (
        Exemplar(check="edit_distance:1", text="Pariss", reference="Paris", passes=True),
        Exemplar(
            check="edit_distance:1", text="Parrot", reference="Paris", passes=False, says="at most 1 edits, found 3"
        ),
    )

    def _read_limit(self, given: Json, example: str) -> float:
        number = read_number(given, "the greatest distance", "edit_distance:5", least=0)
        if number != int(number):
            raise ConfigError(
                f"the greatest distance must be a whole number, found {number:g}; write it like 'edit_distance:5'."
            )
        return number

    def _load(self) -> None:
        self._levenshtein = _levenshtein(self.name)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        wanted, found = composed(output.reference(self._reference).strip()), composed(output.text.strip())
        if max(len(wanted), len(found)) > LONGEST:
            raise CheckError(f"an output or reference of more than {LONGEST} characters is not compared.")
        distance = self._levenshtein.distance(found, wanted)
        if distance <= self._limit:
            return self.passed(f"the output is {distance} edits from the reference, of at most {self._limit:g}")
        return self.failed(
            f"{cut_off(output)}expected at most {self._limit:g} edits, found {distance}"
            f" between {excerpt(found)} and the reference {excerpt(wanted)}"
        )


def _levenshtein(name: str) -> Any:
    try:
        from rapidfuzz.distance import Levenshtein
    except ModuleNotFoundError as error:
        raise missing_package(f"check '{name}'", error.name or "rapidfuzz", "pytest-llmci[checks]") from error
    return Levenshtein
