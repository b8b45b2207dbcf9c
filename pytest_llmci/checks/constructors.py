"""A function for each check: it gives the check's text, which is what markers, options, prompt rows and ``passes()`` take.

``contains("Paris")`` is ``"contains:Paris"``. What an argument means stands with the check itself (docs/checks.md); whether it makes
sense is said when the check is built, by the marker or by ``passes()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..check_texts import argument_text, check_text

_HERE: Final = "checks"
AnyCheck = str | Mapping[str, object] | Callable[..., object]
"""A check in any of the forms that people write."""


def _text(name: str, argument: object = None) -> str:
    text = argument_text(argument, f"{_HERE}.{name}")
    return f"{name}:{text}" if text else name


def _options(name: str, main: str, **options: object) -> str:
    """The text with the options that were given; where that is only the main one, it stands alone."""
    given = {key: value for key, value in options.items() if value is not None and value is not False}
    if not given:
        return name
    alone = given[main] if set(given) == {main} else given
    return _text(name, given if isinstance(alone, str) and alone.lstrip().startswith("{") else alone)


def valid() -> str:
    """Text, not only special tokens, no endless repetition: the check that every output gets by default."""
    return "valid"


def non_empty() -> str:
    """Something that can be seen."""
    return "non_empty"


def special_tokens() -> str:
    """More than end-of-text and padding tokens."""
    return "special_tokens"


def no_special_tokens() -> str:
    """No special token stands in the text."""
    return "no_special_tokens"


def repetition() -> str:
    """No endless repetition."""
    return "repetition"


def equals(text: str | None = None) -> str:
    """That text and nothing else, white space around it aside; None: the prompt's reference."""
    return _text("equals", text)


def iequals(text: str | None = None) -> str:
    """:func:`equals` in any case."""
    return _text("iequals", text)


def contains(text: str) -> str:
    """The text occurs, case distinguished."""
    return _text("contains", text)


def icontains(text: str) -> str:
    """The text occurs, in any case."""
    return _text("icontains", text)


def contains_any(*texts: str) -> str:
    """At least one of the texts occurs."""
    return _text("contains_any", texts)


def icontains_any(*texts: str) -> str:
    """At least one of the texts occurs, in any case."""
    return _text("icontains_any", texts)


def contains_all(*texts: str) -> str:
    """Each of the texts occurs."""
    return _text("contains_all", texts)


def icontains_all(*texts: str) -> str:
    """Each of the texts occurs, in any case."""
    return _text("icontains_all", texts)


def starts_with(text: str) -> str:
    """The output begins with the text, after white space."""
    return _text("starts_with", text)


def ends_with(text: str) -> str:
    """The output ends with the text, before white space."""
    return _text("ends_with", text)


def regex(pattern: str) -> str:
    """The pattern of Python's ``re`` matches somewhere."""
    return _text("regex", pattern)


def json(*, fence: bool = False) -> str:
    """The whole output is JSON.

    :param fence: whether it may stand in a code fence.
    """
    return _text("json", {"fence": True} if fence else None)


def contains_json() -> str:
    """A JSON object or list stands somewhere in the output."""
    return "contains_json"


def json_schema(schema: Mapping[str, object] | bool, *, fence: bool = False) -> str:
    """The whole output is JSON that follows the schema.

    :param fence: whether it may stand in a code fence.
    """
    return _text("json_schema", {"fence": True, "schema": schema} if fence else schema)


def max_words(limit: int) -> str:
    """At most so many words between white space."""
    return _text("max_words", limit)


def min_words(limit: int) -> str:
    """At least so many words between white space."""
    return _text("min_words", limit)


def max_chars(limit: int) -> str:
    """At most so many characters."""
    return _text("max_chars", limit)


def min_chars(limit: int) -> str:
    """At least so many characters."""
    return _text("min_chars", limit)


def max_tokens(limit: int) -> str:
    """At most so many tokens, by the model's own count."""
    return _text("max_tokens", limit)


def min_tokens(limit: int) -> str:
    """At least so many tokens, by the model's own count."""
    return _text("min_tokens", limit)


def number(value: float | None = None, *, tolerance: float | str | None = None, decimal: str | None = None) -> str:
    """The last number of the output is that one; None: the last of the prompt's reference.

    :param tolerance: a number, or ``"1%"`` of the expected one.
    :param decimal: ``","`` where a comma stands before the decimals.
    """
    return _options("number", "value", value=value, tolerance=tolerance, decimal=decimal)


def choice(letter: str | None = None, *, of: str | None = None) -> str:
    """The output names that letter of a multiple choice; None: that of the prompt's reference.

    :param of: all letters, ``"ABCD"``.
    """
    return _options("choice", "is", **{"is": letter, "of": of})


def refusal() -> str:
    """The output refuses to answer; ``not_(refusal())`` that it does not."""
    return "refusal"


def finish_reason(*reasons: str) -> str:
    """The answer ended for one of these reasons: ``stop``, ``length``, or what the source calls it."""
    return _text("finish_reason", reasons[0] if len(reasons) == 1 else reasons)


def latency(limit: str | float) -> str:
    """The answer took at most so long: ``"2s"``, or seconds."""
    return _text("latency", limit)


def cost(limit: float) -> str:
    """The answer cost at most so much, in the currency of the prices in force."""
    return _text("cost", limit)


def python(function: str | Callable[..., object]) -> str:
    """A function of your own judges: itself, or ``"package.module:function"``."""
    return _text("python", function) if isinstance(function, str) else check_text(function, f"{_HERE}.python")


def not_(check: AnyCheck) -> str:
    """That check fails."""
    return f"not:{check_text(check, f'{_HERE}.not_')}"


def all_of(*checks: AnyCheck) -> str:
    """Each of the checks passes."""
    return check_text({"all_of": checks}, _HERE)


def any_of(*checks: AnyCheck) -> str:
    """At least one of the checks passes."""
    return check_text({"any_of": checks}, _HERE)


def language(*codes: str) -> str:
    """The output is in one of these languages, such as ``en``. Needs the extra ``checks``."""
    return _text("language", codes[0] if len(codes) == 1 else codes)


def _similar(name: str, minimum: float, reference: str | None, **more: object) -> str:
    return _options(name, "min", min=minimum, reference=reference, **more)


def rouge_1(minimum: float, *, reference: str | None = None, measure: str | None = None, stem: bool = False) -> str:
    """ROUGE-1 against the reference, or the prompt's, is at least so much (0 to 1). Needs the extra ``checks``.

    :param measure: ``f1`` (default), ``precision`` or ``recall``.
    :param stem: whether words are compared by their English stems.
    """
    return _similar("rouge_1", minimum, reference, measure=measure, stem=stem)


def rouge_2(minimum: float, *, reference: str | None = None, measure: str | None = None, stem: bool = False) -> str:
    """ROUGE-2, as :func:`rouge_1`."""
    return _similar("rouge_2", minimum, reference, measure=measure, stem=stem)


def rouge_l(minimum: float, *, reference: str | None = None, measure: str | None = None, stem: bool = False) -> str:
    """ROUGE-L, as :func:`rouge_1`."""
    return _similar("rouge_l", minimum, reference, measure=measure, stem=stem)


def bleu(minimum: float, *, reference: str | None = None) -> str:
    """Sentence BLEU of sacrebleu divided by 100 is at least so much. Needs the extra ``checks``."""
    return _similar("bleu", minimum, reference)


def chrf(minimum: float, *, reference: str | None = None) -> str:
    """Sentence chrF of sacrebleu divided by 100 is at least so much. Needs the extra ``checks``."""
    return _similar("chrf", minimum, reference)


def edit_similarity(minimum: float, *, reference: str | None = None) -> str:
    """1 less the edit distance divided by the longer length is at least so much. Needs the extra ``checks``."""
    return _similar("edit_similarity", minimum, reference)


def perplexity(maximum: float) -> str:
    """The output's perplexity under the model that made it is at most so much. Needs that model."""
    return _text("perplexity", maximum)


def reference_logprob(minimum: float, *, reference: str | None = None, total: bool = False) -> str:
    """The mean log-probability of the reference's tokens after the prompt is at least so much. Needs the model.

    :param total: whether the sum counts.
    """
    return _options("reference_logprob", "min", min=minimum, reference=reference, total=total)


def judge(rubric: str, *, model: str, max_new_tokens: int | None = None) -> str:
    """Another model says that the output meets the rubric; the verdict is marked as judged by it.

    :param model: alias or spec of the model that judges.
    :param max_new_tokens: most tokens of its answer.
    """
    return _options("judge", "rubric", model=model, rubric=rubric, max_new_tokens=max_new_tokens)


def embedding(minimum: float, *, model: str, reference: str | None = None) -> str:
    """Output and reference are so alike by the static word vectors of a model2vec model. Needs the extra ``embeddings``."""
    return _options("embedding", "min", min=minimum, model=model, reference=reference)


def edit_distance(maximum: int, *, reference: str | None = None) -> str:
    """At most so many characters have to be changed to get the reference. Needs the extra ``checks``."""
    return _options("edit_distance", "max", max=maximum, reference=reference)
