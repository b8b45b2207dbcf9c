"""Each type of assertion becomes the check that says the same."""

from __future__ import annotations

import pytest

from pytest_llmci.checks import parse_check, register
from pytest_llmci.checks.base import CheckInput
from pytest_llmci.records import Prompt
from pytest_llmci.registry import Registry
from pytest_llmci.testfiles.promptfoo.assertions import ASSERTIONS, Asked, table, translate
from pytest_llmci.testfiles.promptfoo.patterns import python_pattern
from pytest_llmci.testfiles.promptfoo.render import render
from pytest_llmci.testfiles.promptfoo.report import NotTranslated

TABLE = [
    ("equals", "Paris", None, ["equals:Paris"], "Paris", "Lyon"),
    ("equals", 4, None, ["equals:4"], "4", "5"),
    ("equals", {"a": 1}, None, ['json_schema:{"const":{"a":1}}'], '{"a": 1}', '{"a": 2}'),
    ("contains", "a,b", None, ["contains:a,b"], "x a,b y", "a"),
    ("icontains", "PAR", None, ["icontains:PAR"], "paris", "rome"),
    ("contains-any", 'a, "b, c"', None, ['contains_any:["a","b, c"]'], "b, c", "b"),
    ("contains-any", ["a", 2], None, ['contains_any:["a","2"]'], "2", "b"),
    ("contains-all", ["a", "b"], None, ['contains_all:["a","b"]'], "ab", "a"),
    ("icontains-any", "A,B", None, ['icontains_any:["A","B"]'], "b", "c"),
    ("icontains-all", "A,B", None, ['icontains_all:["A","B"]'], "ba", "b"),
    ("starts-with", "Yes", None, ["starts_with:Yes"], "Yes, sir", "No"),
    ("ends-with", ".", None, ["ends_with:."], "So.", "So"),
    ("regex", r"^\d{2}$", None, [r"regex:(?a)^\d{2}\Z"], "12", "12\n3"),
    ("is-json", None, None, ["json"], "{}", "x"),
    ("is-json", {"type": "object"}, None, ['json_schema:{"type":"object"}'], "{}", "[]"),
    ("is-json", "type: object\nrequired: [a]", None, ['json_schema:{"required":["a"],"type":"object"}'], '{"a": 1}', "{}"),
    ("contains-json", None, None, ["contains_json"], "so: {}", "x"),
    ("is-refusal", None, None, ["refusal"], "I'm sorry, but I can't help with that.", "Sure."),
    ("word-count", 2, None, ["min_words:2", "max_words:2"], "a b", "a b c"),
    ("word-count", {"min": 2}, None, ["min_words:2"], "a b c", "a"),
    ("word-count", {"min": 0, "max": 2}, None, ["max_words:2"], "a", "a b c"),
    ("latency", None, 1500, ["latency:1.5s"], None, None),
    ("latency", None, 300, ["latency:300ms"], None, None),
    ("perplexity", None, 12.5, ["perplexity:12.5"], None, None),
    ("perplexity-score", None, 0.25, ["perplexity:3.0"], None, None),
    ("finish-reason", "stop", None, ["finish_reason:stop"], None, None),
    ("levenshtein", "Paris", None, ['edit_distance:{"max":5,"reference":"Paris"}'], "Pari", "Mediterranean"),
    ("rouge-n", "the cat", 0.5, ['rouge_1:{"measure":"recall","min":0.5,"reference":"the cat"}'], "the dog", "a dog"),
    ("bleu", ["the cat sat"], None, ['bleu:{"min":0.5,"reference":"the cat sat"}'], "the cat sat", "a dog"),
    ("not-contains", "x", None, ["not:contains:x"], "y", "x"),
    ("not-word-count", {"min": 2, "max": 3}, None, ['not:all_of:["min_words:2","max_words:3"]'], "a", "a b"),
    ("not-contains-any", ["x", "y"], None, ['not:contains_any:["x","y"]'], "z", "y"),
    ("not-is-json", {"type": "object"}, None, ['not:json_schema:{"type":"object"}'], "[]", "{}"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "threshold", "texts", "right", "wrong"), TABLE)
def test_each_type_becomes_a_check_that_judges_so(
    kind: str, value: object, threshold: float | None, texts: list[str], right: str | None, wrong: str | None
) -> None:
    assert translate(kind, Asked(value=value, threshold=threshold)) == texts
    if kind in ("levenshtein", "rouge-n", "bleu"):
        pytest.importorskip({"levenshtein": "rapidfuzz", "rouge-n": "rouge_score", "bleu": "sacrebleu"}[kind])
    registry = Registry()
    register(registry)
    checks = [parse_check(text, registry, "test") for text in texts]
    for output, expected in ((right, True), (wrong, False)):
        if output is not None:
            assert (
                all(
                    check(CheckInput(text=output, finish_reason="stop", prompt=Prompt(id="a", text="Hi"))).passed
                    for check in checks
                )
                is expected
            )


NAMED = {"judge": "smollm2", "embedding": "minishlab/potion-base-8M"}
WITH_A_MODEL = [
    ("llm-rubric", "is polite", None, 'judge:{"model":"smollm2","rubric":"is polite"}'),
    ("model-graded-closedqa", "is polite", None, 'judge:{"model":"smollm2","rubric":"is polite"}'),
    ("not-llm-rubric", "is rude", None, 'not:judge:{"model":"smollm2","rubric":"is rude"}'),
    ("similar", "Paris", None, 'embedding:{"min":0.75,"model":"minishlab/potion-base-8M","reference":"Paris"}'),
    ("similar:cosine", "Paris", 0.5, 'embedding:{"min":0.5,"model":"minishlab/potion-base-8M","reference":"Paris"}'),
]


def test_every_type_with_a_counterpart_is_in_the_table_above() -> None:
    translated = {name for name, entry in ASSERTIONS.items() if not isinstance(entry, str)}
    assert translated == {
        kind.removeprefix("not-") for kind in [row[0] for row in TABLE] + [row[0] for row in WITH_A_MODEL]
    }
    for name in ASSERTIONS:
        assert f"`{name}`" in table()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("contains", None), ("contains", ""), ("contains", ["a"]), ("contains-any", []), ("contains-any", 'a, "b'), ("word-count", "few"),
        ("word-count", {}), ("is-json", 5), ("is-json", "{a: "), ("contains-json", {"type": "object"}), ("finish-reason", "tool_calls"),
        ("bleu", ["a", "b"]), ("regex", r"\p{L}"), ("cost", None), ("nonsense", None),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_has_a_reason(kind: str, value: object) -> None:
    with pytest.raises(NotTranslated, match=kind):
        translate(kind, Asked(value=value, threshold=None))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/b", "a/b"), (r"a\/b", "a/b"), (r"[\w-]+", "[A-Za-z0-9_-]+"), (r"\u00e9\x41", r"\u00e9\x41"), ("[^]", r"[\s\S]"),
        (r"(?<a>x)\k<a>", "(?P<a>x)(?P=a)"), ("(?<=a)b(?!c)", "(?<=a)b(?!c)"), (r"[$\b]", r"[$\b]"), ("[[a]", r"[\[a]"), (r"\bx\s[\s]", r"(?a)\bx(?u:\s)[\s\u00a0\u2028\u2029\u3000\ufeff]"), (r"a\s\S[\s]", r"a\s\S[\s]"),
    ],
)  # fmt: skip
def test_patterns_of_javascript_are_written_for_python(pattern: str, expected: str) -> None:
    assert python_pattern(pattern) == expected


@pytest.mark.parametrize("pattern", ["(", r"\p{L}", r"[\W]", r"\cA", "(?i)a", "a\\", r"\k<no>"])
def test_patterns_without_a_counterpart_are_refused(pattern: str) -> None:
    with pytest.raises(NotTranslated):
        python_pattern(pattern)


def test_variables_are_filled_in() -> None:
    assert render("{{a}} {{- b.c }} {{x}}", {"a": "{{b.c}}", "b": {"c": None}}) == "  "
    assert render("{{a}}", {"a": "{{b}}", "b": 1.0}) == "1"
    with pytest.raises(NotTranslated, match="in a circle"):
        render("{{a}}", {"a": "x{{a}}"})


@pytest.mark.parametrize(
    ("kind", "value", "threshold", "check"),
    WITH_A_MODEL,
)
def test_what_needs_a_model_is_translated_where_one_is_named(
    kind: str, value: str, threshold: float | None, check: str
) -> None:
    assert translate(kind, Asked(value=value, threshold=threshold, **NAMED)) == [check]
    with pytest.raises(NotTranslated, match="--judge SPEC|--embedding MODEL"):
        translate(kind, Asked(value=value, threshold=threshold))


@pytest.mark.parametrize(
    ("kind", "threshold", "why"),
    [
        ("llm-rubric", 0.8, "a judge here says PASS or FAIL"),
        ("perplexity", 0.5, "no perplexity is below 1"),
        ("perplexity-score", 0.9, "no perplexity is below 1"),
        ("perplexity-score", 0, "nothing can fail"),
        ("perplexity", None, "nothing can fail"),
    ],
)
def test_a_threshold_that_means_nothing_here_is_named(kind: str, threshold: float | None, why: str) -> None:
    with pytest.raises(NotTranslated, match=why):
        translate(kind, Asked(value="x", threshold=threshold, **NAMED))
