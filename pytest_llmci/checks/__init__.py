"""Assertions on outputs: the table that users' ``checks=["json", "max_words:120"]`` are looked up in, and a function for each.

``from pytest_llmci import checks`` gives ``checks.contains("Paris")``, which is the text ``contains:Paris``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from ..check_texts import check_text, simple_name
from ..errors import FOREIGN_ERRORS, CheckError, ConfigError, UnknownNameError, described
from ..records import CheckResult
from ..registry import Registry
from ..text import one_line
from .base import Check, CheckInput, Exemplar
from .constructors import (
    all_of,
    any_of,
    bleu,
    choice,
    chrf,
    contains,
    contains_all,
    contains_any,
    contains_json,
    cost,
    edit_distance,
    edit_similarity,
    embedding,
    ends_with,
    equals,
    finish_reason,
    icontains,
    icontains_all,
    icontains_any,
    iequals,
    json,
    json_schema,
    judge,
    language,
    latency,
    max_chars,
    max_tokens,
    max_words,
    min_chars,
    min_tokens,
    min_words,
    no_special_tokens,
    non_empty,
    not_,
    number,
    perplexity,
    python,
    reference_logprob,
    refusal,
    regex,
    repetition,
    rouge_1,
    rouge_2,
    rouge_l,
    special_tokens,
    starts_with,
    valid,
)
from .elsewhere import hint

__all__ = [
    "CHECKS",
    "DEFAULT_CHECK",
    "Check",
    "CheckError",
    "CheckInput",
    "CheckResult",
    "Exemplar",
    "all_of",
    "any_of",
    "bleu",
    "check_text",
    "choice",
    "chrf",
    "contains",
    "contains_all",
    "contains_any",
    "contains_json",
    "cost",
    "edit_distance",
    "edit_similarity",
    "embedding",
    "ends_with",
    "equals",
    "finish_reason",
    "icontains",
    "icontains_all",
    "icontains_any",
    "iequals",
    "json",
    "json_schema",
    "judge",
    "language",
    "latency",
    "max_chars",
    "max_tokens",
    "max_words",
    "min_chars",
    "min_tokens",
    "min_words",
    "no_special_tokens",
    "non_empty",
    "not_",
    "number",
    "parse_check",
    "perplexity",
    "python",
    "reference_logprob",
    "refusal",
    "regex",
    "register",
    "repetition",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "special_tokens",
    "starts_with",
    "valid",
]

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
DEFAULT_CHECK: Final = "valid"
"""What every output must pass unless the user says otherwise."""
EXTRA: Final = "pytest-llmci[checks]"
EMBEDDINGS: Final = "pytest-llmci[embeddings]"

CHECKS: Final[Mapping[str, tuple[str, str]]] = {
    "valid": ("validity:Valid", "text, not only special tokens, no endless repetition"),
    "non_empty": ("emptiness:NonEmpty", "something that can be seen"),
    "special_tokens": ("specials:SpecialTokens", "more than end-of-text and padding tokens"),
    "no_special_tokens": ("specials:NoSpecialTokens", "no special token stands in the text"),
    "repetition": ("loops:Repetition", "no endless repetition"),
    "equals": ("equality:Equals", "equals:TEXT, or the reference; white space around it aside"),
    "iequals": ("equality:EqualsIgnoringCase", "iequals:TEXT, or the reference, in any case"),
    "contains": ("containment:Contains", "contains:TEXT, case distinguished"),
    "icontains": ("containment:ContainsIgnoringCase", "icontains:TEXT, in any case"),
    "contains_any": ("containment:ContainsAny", "contains_any:A,B or a JSON list: one of them"),
    "icontains_any": ("containment:ContainsAnyIgnoringCase", "one of them, in any case"),
    "contains_all": ("containment:ContainsAll", "contains_all:A,B or a JSON list: each of them"),
    "icontains_all": ("containment:ContainsAllIgnoringCase", "each of them, in any case"),
    "starts_with": ("edges:StartsWith", "starts_with:TEXT, after white space"),
    "ends_with": ("edges:EndsWith", "ends_with:TEXT, before white space"),
    "regex": ("pattern:Regex", "regex:PATTERN matches somewhere"),
    "json": ("json_text:IsJson", 'the whole output is JSON; json:{"fence":true} allows a code fence'),
    "contains_json": ("json_text:ContainsJson", "a JSON object or list somewhere"),
    "json_schema": ("schema:JsonSchema", "json_schema:{...}: JSON that follows the schema"),
    "max_words": ("lengths:MaxWords", "max_words:N, at most N words"),
    "min_words": ("lengths:MinWords", "min_words:N, at least N words"),
    "max_chars": ("lengths:MaxChars", "max_chars:N, at most N characters"),
    "min_chars": ("lengths:MinChars", "min_chars:N, at least N characters"),
    "max_tokens": ("lengths:MaxTokens", "max_tokens:N by the model's own count"),
    "min_tokens": ("lengths:MinTokens", "min_tokens:N by the model's own count"),
    "number": ("numeric:IsNumber", "number:42, or the reference's: the last number, within a tolerance"),
    "choice": ("choices:Choice", "choice:B, or the reference's: the letter of a multiple choice"),
    "refusal": ("refusals:Refusal", "the output refuses; English phrases"),
    "finish_reason": ("endings:FinishReason", "finish_reason:stop, exactly as the source calls it"),
    "latency": ("measured:Latency", "latency:2s in the round that gave the output"),
    "cost": ("measured:Cost", "cost:0.01 in the round that gave the output, where prices are known"),
    "python": ("custom:PythonCheck", "python:package.module:function judges"),
    "not": ("combined:Not", "not:CHECK: that check fails"),
    "all_of": ("combined:AllOf", "all_of:[CHECK, ...]: each of them passes"),
    "any_of": ("combined:AnyOf", "any_of:[CHECK, ...]: one of them passes"),
    "language": ("languages:Language", "language:en, or several codes"),
    "rouge_1": ("similarity:Rouge1", "rouge_1:MIN, single words shared with the reference"),
    "rouge_2": ("similarity:Rouge2", "rouge_2:MIN, pairs of words shared with the reference"),
    "rouge_l": ("similarity:RougeL", "rouge_l:MIN, longest common sequence of words"),
    "bleu": ("similarity:Bleu", "bleu:MIN from 0 to 1, against the reference"),
    "chrf": ("similarity:ChrF", "chrf:MIN from 0 to 1, shared sequences of characters"),
    "edit_similarity": ("similarity:EditSimilarity", "edit_similarity:MIN, 1 less the share of characters to change"),
    "edit_distance": ("similarity:EditDistance", "edit_distance:N, at most N characters to change"),
    "perplexity": ("likelihood:Perplexity", "perplexity:N at most, under the model that made the output"),
    "reference_logprob": ("likelihood:ReferenceLogprob", "reference_logprob:-2, the reference's mean log-probability at least"),
    "judge": ("judged:Judged", 'judge:{"model":SPEC,"rubric":TEXT}: the opinion of another model, marked as judged'),
    "embedding": ("embeddings:Embedding", 'embedding:{"model":NAME,"min":0.7}: likeness by static word vectors'),
}  # fmt: skip
"""Name -> where it is in this package, and one line for people."""
NEED_THE_EXTRA: Final = frozenset(
    {"language", "rouge_1", "rouge_2", "rouge_l", "bleu", "chrf", "edit_similarity", "edit_distance"}
)
"""Names of checks that import what ``pip install 'pytest-llmci[checks]'`` brings."""


def register(registry: Registry) -> None:
    """Add the built-in checks."""
    for name, (target, summary) in CHECKS.items():
        extra = EXTRA if name in NEED_THE_EXTRA else EMBEDDINGS if name == "embedding" else ""
        registry.add("check", name, f"{__name__}.{target}", extra=extra, summary=summary)


def parse_check(text: str, registry: Registry, where: str) -> Check:
    """Build the check that ``name`` or ``name:argument`` names.

    :param text: as the user wrote it; white space in the argument counts, as in ``contains: and ``. A name may have hyphens.
    :param where: the marker, option or file position, for messages.
    :raises ConfigError: in one line, if no check is called so, its argument cannot be read, or it raises when it is built.
    :raises MissingExtraError: if it needs a package that is not installed.
    """
    name, _, argument = text.partition(":")
    shown = f"{where}: check '{one_line(text[:400])[:100]}'"
    factory = registry.load("check", _registered(name.strip(), registry, shown), shown)
    if not callable(factory):
        raise ConfigError(f"{where}: check '{name}' is registered as something that cannot be called.")
    try:
        if getattr(factory, "parses", False):
            return cast(Check, factory(argument, lambda inner: parse_check(inner, registry, where)))
        return cast(Check, factory(argument))
    except ConfigError as error:
        raise type(error)(f"{shown}: {str(error).removeprefix(f'{where}: ')}") from error
    except FOREIGN_ERRORS as error:
        raise ConfigError(f"{shown} cannot be built: {described(error)}") from error


def canonical(text: str, registry: Registry, where: str) -> str:
    """The text of a check in its own spelling, under which it is stored; parses it.

    :raises ConfigError: as :func:`parse_check`.
    """
    return str(getattr(parse_check(text, registry, where), "text", text))


def _registered(name: str, registry: Registry, where: str) -> str:
    known = registry.names("check")
    ours = simple_name(name)
    if name in known or ours not in known:
        if name not in known and (found := hint(ours, frozenset(known))):
            raise UnknownNameError(f"{where}: unknown check '{one_line(name)}'. {found} Known: {', '.join(known)}.")
        return name
    return ours
