"""Each check has a function, and what it gives is the check's text in its own spelling."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from pytest_llmci import checks
from pytest_llmci.checks import CHECKS, NEED_THE_EXTRA, canonical, constructors, register
from pytest_llmci.errors import ConfigError
from pytest_llmci.registry import Registry

ASKED: dict[str, list[Any]] = {
    "equals": [checks.equals(), checks.equals("Paris"), checks.equals('{"a":1}')],
    "iequals": [checks.iequals("PARIS")],
    "contains": [checks.contains("a: b"), checks.contains(" and ")],
    "icontains": [checks.icontains("x")],
    "contains_any": [checks.contains_any("a, b", "c")],
    "icontains_any": [checks.icontains_any("a")],
    "contains_all": [checks.contains_all("[", "]")],
    "icontains_all": [checks.icontains_all("é")],
    "starts_with": [checks.starts_with("Dear")],
    "ends_with": [checks.ends_with(".")],
    "regex": [checks.regex(r"(?s)\d+:.*")],
    "json": [checks.json(), checks.json(fence=True)],
    "json_schema": [checks.json_schema({"type": "object"}), checks.json_schema({"type": "object"}, fence=True), checks.json_schema(True)],
    "max_words": [checks.max_words(5)],
    "min_words": [checks.min_words(5)],
    "max_chars": [checks.max_chars(5)],
    "min_chars": [checks.min_chars(5)],
    "max_tokens": [checks.max_tokens(5)],
    "min_tokens": [checks.min_tokens(5)],
    "number": [checks.number(), checks.number(4.5), checks.number(200, tolerance="1%"), checks.number(tolerance=0.5, decimal=",")],
    "choice": [checks.choice(), checks.choice("B"), checks.choice("B", of="ABCD")],
    "finish_reason": [checks.finish_reason("stop"), checks.finish_reason("stop", "eos")],
    "latency": [checks.latency("2s"), checks.latency(2)],
    "cost": [checks.cost(0.01)],
    "python": [checks.python("builtins:str.isupper"), checks.python(inspect.isfunction)],
    "not": [checks.not_("json"), checks.not_({"max_words": 5}), checks.not_(checks.not_("json"))],
    "all_of": [checks.all_of("json", checks.max_words(5), {"contains": "x"})],
    "any_of": [checks.any_of(checks.all_of("json"), "non_empty")],
    "language": [checks.language("en"), checks.language("en", "fr")],
    "rouge_1": [checks.rouge_1(0.5, measure="recall", stem=True)],
    "rouge_2": [checks.rouge_2(0.5)],
    "rouge_l": [checks.rouge_l(0.5, reference="Paris")],
    "bleu": [checks.bleu(0.5), checks.bleu(0)],
    "chrf": [checks.chrf(0.5)],
    "perplexity": [checks.perplexity(20)],
    "reference_logprob": [checks.reference_logprob(-2), checks.reference_logprob(-5, reference="Paris", total=True)],
    "judge": [checks.judge("It is polite.", model="smollm2"), checks.judge("{x}", model="a=echo:PASS", max_new_tokens=8)],
    "embedding": [checks.embedding(0.7, model="folder"), checks.embedding(0, model="folder", reference="Paris")],
    "edit_similarity": [checks.edit_similarity(1)],
    "edit_distance": [checks.edit_distance(0), checks.edit_distance(3, reference="{x")],
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_has_a_function_whose_text_round_trips(name: str) -> None:
    if name in NEED_THE_EXTRA:
        pytest.importorskip(
            {"language": "py3langid", "bleu": "sacrebleu", "chrf": "sacrebleu"}.get(
                name, "rapidfuzz" if "edit" in name else "rouge_score"
            )
        )
    if name == "embedding":
        pytest.importorskip("model2vec")
    registry = Registry()
    register(registry)
    texts = ASKED[name] if name in ASKED else [getattr(checks, name)()]
    for text in texts:
        assert type(text) is str
        assert text.partition(":")[0] == name
        assert canonical(text, registry, "test") == text


def test_every_function_is_documented_and_exported() -> None:
    made = [
        name
        for name, value in vars(constructors).items()
        if inspect.isfunction(value) and value.__module__ == constructors.__name__
    ]
    names = [name for name in made if not name.startswith("_")]
    assert {name.rstrip("_") for name in names} == set(CHECKS)
    for name in names:
        assert getattr(constructors, name).__doc__
        assert name in checks.__all__
        assert getattr(checks, name) is getattr(constructors, name), (
            "a module of the package must not have the name of a check"
        )


def test_no_module_of_the_package_hides_a_function() -> None:
    registry = Registry()
    register(registry)
    for name in CHECKS:
        if name not in (*NEED_THE_EXTRA, "embedding"):
            registry.load("check", name, "test")
        assert inspect.isfunction(getattr(checks, {"not": "not_"}.get(name, name)))


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"checks.json_schema: the argument of a check"):
        checks.json_schema({"const": object()})
