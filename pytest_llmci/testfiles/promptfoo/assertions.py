"""One table: promptfoo's types of assertions, and the checks that say the same; of the others, why there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...check_texts import check_text
from .patterns import python_pattern
from .render import as_text
from .report import NotTranslated


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An assertion with its variables filled in."""

    value: Any
    threshold: float | None
    judge: str = ""
    """Spec of the model that judges; empty where none was named."""
    embedding: str = ""
    """Model of word vectors; empty where none was named."""


Translator = Callable[[Asked], list[object]]
"""Makes of an assertion the checks that have to pass together, each a text or a mapping."""

JUDGE: Final = "it needs a model as a judge; name one with --judge SPEC, or write it as judge:{...}"
CODE: Final = "it is code; write it as a Python function and name it as python:package.module:function"
EMBEDDING: Final = "it needs word vectors; name them with --embedding MODEL, or write it as embedding:{...}"
OTHER_JUDGE: Final = "it asks a model as a judge, in a way of its own; write it as judge:{...}"
NO_CHECK: Final = "there is no check for it"
NO_TOOLS: Final = "it is about calls of tools, which are not recorded"
NO_TRACE: Final = "it is about traces, which are not recorded"


def translate(kind: str, asked: Asked) -> list[str]:
    """The checks, as texts, that one assertion becomes.

    :param kind: its type, with ``not-`` in front where it has that.
    :raises NotTranslated: with the reason.
    """
    translator = counterpart(kind)
    try:
        found = [check_text(each, kind) for each in translator(asked)]
    except NotTranslated as error:
        raise NotTranslated(f"{kind}: {error}") from error
    if not kind.startswith("not-"):
        return found
    return [check_text({"not": found[0] if len(found) == 1 else {"all_of": found}}, kind)]


def counterpart(kind: str) -> Translator:
    """What translates assertions of a type.

    :raises NotTranslated: with the reason why there is nothing.
    """
    entry = ASSERTIONS.get(kind.removeprefix("not-"))
    if entry is None:
        raise NotTranslated(f"no such type of assertion is known: '{kind}'")
    if isinstance(entry, str):
        raise NotTranslated(f"{kind}: {entry}")
    return entry[0]


def difference(kind: str) -> str:
    """In what the check is not quite the assertion; empty where there is nothing to say."""
    entry = ASSERTIONS.get(kind.removeprefix("not-"))
    return entry[2] if isinstance(entry, tuple) else ""


def _text(asked: Asked) -> str:
    if asked.value is None or isinstance(asked.value, (list, dict)) or not (text := as_text(asked.value)):
        raise NotTranslated("its value is no text")
    return text


def _texts(asked: Asked) -> list[str]:
    value = _separated(asked.value) if isinstance(asked.value, str) else asked.value
    if not isinstance(value, list) or not value or not all(as_text(each).strip() for each in value):
        raise NotTranslated("its value is no list of texts")
    return [as_text(each) for each in value]


def _separated(text: str) -> list[str]:
    """Parts between commas; those in double quotes may hold some.

    >>> _separated('a, "b, c",, d')
    ['a', 'b, c', 'd']
    """
    parts: list[str] = []
    rest = text.strip(" \t\r\n,")
    while rest:
        if rest.startswith('"'):
            part, rest = _quoted(rest)
            parts.append(part)
            rest = rest.lstrip(" \t\r\n,")
        else:
            part, _, rest = rest.partition(",")
            parts.append(part.strip())
            rest = rest.lstrip(" \t\r\n,")
    return parts


def _quoted(text: str) -> tuple[str, str]:
    """What stands in the quotation marks at the begin, and the rest behind them."""
    part, position = "", 1
    while position < len(text):
        pair = text[position : position + 2]
        if pair in ('\\"', "\\\\", '""'):
            part, position = part + pair[1], position + 2
        elif pair[0] == '"':
            return part, text[position + 1 :]
        else:
            part, position = part + pair[0], position + 1
    raise NotTranslated("a quotation mark in its value is not closed")


def _one(name: str) -> Translator:
    return lambda asked: [{name: _text(asked)}]


def _any_of(name: str) -> Translator:
    return lambda asked: [{name: _texts(asked)}]


def _plain(name: str) -> Translator:
    return lambda asked: [name]


def _equals(asked: Asked) -> list[object]:
    if isinstance(asked.value, (dict, list)):
        return [{"json_schema": {"const": asked.value}}]
    return [{"equals": _text(asked)}]


def _regex(asked: Asked) -> list[object]:
    return [{"regex": python_pattern(_text(asked))}]


def _schema(asked: Asked) -> Any:
    import yaml

    value = asked.value
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise NotTranslated("its schema cannot be read") from error
    if not isinstance(value, (dict, bool)):
        raise NotTranslated("its value is no schema")
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise NotTranslated("its schema is more than JSON holds") from error


def _is_json(asked: Asked) -> list[object]:
    return ["json"] if asked.value in (None, "") else [{"json_schema": _schema(asked)}]


def _contains_json(asked: Asked) -> list[object]:
    if asked.value not in (None, ""):
        raise NotTranslated("a schema for JSON somewhere in the answer; is-json with it has a counterpart")
    return ["contains_json"]


def _limit(asked: Asked, default: float | None = None) -> float:
    limit = asked.threshold if asked.threshold is not None else default
    if limit is None or not math.isfinite(limit) or limit < 0:
        raise NotTranslated("it has no threshold, so nothing can fail")
    return limit


def _latency(asked: Asked) -> list[object]:
    limit_ms = _limit(asked)
    return [{"latency": f"{limit_ms / 1000:.10g}s" if limit_ms >= 1000 else f"{limit_ms:.10g}ms"}]


def _word_count(asked: Asked) -> list[object]:
    value = asked.value
    bounds = value if isinstance(value, Mapping) else {"min": value, "max": value}
    found: list[object] = []
    for key, name in (("min", "min_words"), ("max", "max_words")):
        if bounds.get(key) is None:
            continue
        text = as_text(bounds[key])
        if not text.isdecimal():
            raise NotTranslated("its value is neither a whole number nor {min, max}")
        if not (key == "min" and int(text) == 0):
            found.append({name: int(text)})
    if not found:
        raise NotTranslated("its value is neither a whole number nor {min, max}")
    return found


def _similarity(name: str, default: float, **more: object) -> Translator:
    def make(asked: Asked) -> list[object]:
        value = asked.value[0] if isinstance(asked.value, list) and len(asked.value) == 1 else asked.value
        if isinstance(value, list):
            raise NotTranslated("several references; a check compares with one")
        reference = _text(Asked(value=value, threshold=None))
        return [{name: {**more, "min": _limit(asked, default), "reference": reference}}]

    return make


def _levenshtein(asked: Asked) -> list[object]:
    limit = _limit(asked, 5) or 5
    return [{"edit_distance": {"max": math.floor(limit), "reference": _text(asked)}}]


def _finish_reason(asked: Asked) -> list[object]:
    reason = _text(asked).lower()
    if reason not in ("stop", "length"):
        raise NotTranslated(f"local models end with stop or length, not with '{reason}'")
    return [{"finish_reason": reason}]


def _judge(asked: Asked) -> list[object]:
    if not asked.judge:
        raise NotTranslated(JUDGE)
    if asked.threshold is not None:
        raise NotTranslated("a threshold on the judge's score: a judge here says PASS or FAIL")
    return [{"judge": {"model": asked.judge, "rubric": _text(asked)}}]


def _similar(asked: Asked) -> list[object]:
    if not asked.embedding:
        raise NotTranslated(EMBEDDING)
    return _similarity("embedding", 0.75, model=asked.embedding)(asked)


def _perplexity(asked: Asked) -> list[object]:
    return [{"perplexity": _perplexity_limit(_limit(asked))}]


def _perplexity_score(asked: Asked) -> list[object]:
    """The score is 1 / (1 + perplexity)."""
    least = _limit(asked)
    if least == 0:
        raise NotTranslated("its threshold is 0, so nothing can fail")
    return [{"perplexity": _perplexity_limit(1 / least - 1)}]


def _perplexity_limit(limit: float) -> float:
    if limit < 1:
        raise NotTranslated("no perplexity is below 1, so nothing can pass")
    return float(f"{limit:.10g}")


ASSERTIONS: Final[Mapping[str, tuple[Translator, str, str] | str]] = {
    "equals": (_equals, "`equals`; a mapping or list: `json_schema` with `const`", ""),
    "contains": (_one("contains"), "`contains`", ""),
    "icontains": (_one("icontains"), "`icontains`", ""),
    "contains-any": (_any_of("contains_any"), "`contains_any`", ""),
    "contains-all": (_any_of("contains_all"), "`contains_all`", ""),
    "icontains-any": (_any_of("icontains_any"), "`icontains_any`", ""),
    "icontains-all": (_any_of("icontains_all"), "`icontains_all`", ""),
    "starts-with": (_one("starts_with"), "`starts_with`", ""),
    "ends-with": (_one("ends_with"), "`ends_with`", ""),
    "regex": (_regex, "`regex`, in Python's syntax", ""),
    "is-json": (_is_json, "`json`; with a schema `json_schema`", ""),
    "contains-json": (_contains_json, "`contains_json`, without a schema", ""),
    "is-refusal": (_plain("refusal"), "`refusal`", "the phrases that count as a refusal are not the same"),
    "word-count": (_word_count, "`min_words`, `max_words`", ""),
    "latency": (_latency, "`latency`, of the round that gave the answer", ""),
    "finish-reason": (_finish_reason, "`finish_reason`, of `stop` and `length`", ""),
    "levenshtein": (_levenshtein, "`edit_distance`", ""),
    "rouge-n": (_similarity("rouge_1", 0.75, measure="recall"), "`rouge_1`, recall", "words are divided in another way: scores differ"),
    "bleu": (_similarity("bleu", 0.5), "`bleu`, one reference", "it is smoothed in another way: scores differ"),
    "cost": "it needs a price: name one with --llmci-prices, and write it as cost:USD",
    "perplexity": (_perplexity, "`perplexity`", ""),
    "perplexity-score": (_perplexity_score, "`perplexity`, of 1 / threshold - 1", ""),
    "llm-rubric": (_judge, "with `--judge SPEC`: `judge`", "the judge is asked in other words, and says PASS or FAIL"),
    "model-graded-closedqa": (_judge, "with `--judge SPEC`: `judge`", "the judge is asked in other words, and says PASS or FAIL"),
    "similar": (_similar, "with `--embedding MODEL`: `embedding`", "it compares by static word vectors: scores differ"),
    "similar:cosine": (_similar, "with `--embedding MODEL`: `embedding`", "it compares by static word vectors: scores differ"),
    **dict.fromkeys(("gleu", "meteor", "f-score"), NO_CHECK),
    **dict.fromkeys(("is-xml", "contains-xml", "is-html", "contains-html", "is-sql", "contains-sql"), NO_CHECK),
    **dict.fromkeys(("javascript", "python", "ruby"), CODE),
    "webhook": "it asks a server",
    **dict.fromkeys(("similar:dot", "similar:euclidean"), "it measures vectors of another kind; embedding:{...} is the cosine of two"),
    "classifier": "it needs a model that classifies",
    **dict.fromkeys(("moderation", "guardrails", "pi"), "it needs a service"),
    "human": "it needs a person",
    **dict.fromkeys(
        ("search-rubric", "agent-rubric", "g-eval", "factuality", "model-graded-factuality",
         "answer-relevance", "context-faithfulness", "context-recall", "context-relevance", "conversation-relevance"), OTHER_JUDGE,
    ),
    **dict.fromkeys(("select-best", "max-score"), "it compares the answers of several models"),
    **dict.fromkeys(
        ("is-valid-function-call", "is-valid-openai-function-call", "is-valid-openai-tools-call", "tool-call-f1", "skill-used"), NO_TOOLS
    ),
    **dict.fromkeys(("trace-span-count", "trace-span-duration", "trace-error-spans"), NO_TRACE),
}  # fmt: skip
"""Type -> its translator, what it becomes in words, and in what that differs; or the reason why there is none."""


def table() -> str:
    """The types as a table of Markdown."""
    rows = []
    reasons: dict[str, list[str]] = {}
    for name, entry in ASSERTIONS.items():
        if isinstance(entry, str):
            reasons.setdefault(entry, []).append(f"`{name}`")
        else:
            rows.append(f"| `{name}` | {entry[1]} | {entry[2]} |")
    rows += [f"| {', '.join(names)} | not translated | {reason} |" for reason, names in reasons.items()]
    return "\n".join(["| promptfoo | here | |", "|---|---|---|", *rows]) + "\n"
