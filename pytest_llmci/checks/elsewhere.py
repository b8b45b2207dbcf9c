"""Names that other tools give to checks, and what they are called here: a hint beats a list of all names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ELSEWHERE: Final[Mapping[str, str]] = {
    # promptfoo
    "is_json": "json",
    "is_valid_json": "json",
    "not_equals": "not:equals",
    "is_refusal": "refusal",
    "similar": "embedding",
    "llm_rubric": "judge",
    "model_graded_closedqa": "judge",
    "model_graded_factuality": "judge",
    "factuality": "judge",
    "g_eval": "judge",
    "javascript": "python",
    "levenshtein": "edit_distance",
    "rouge_n": "rouge_1",
    "rouge": "rouge_l",
    "rougel": "rouge_l",
    "perplexity_score": "perplexity",
    "assert_set": "all_of",
    "word_count": "max_words",
    # deepeval, openai evals, and plain English
    "geval": "judge",
    "answer_relevancy": "judge",
    "exact_match": "equals",
    "match": "starts_with",
    "includes": "contains",
    "pattern_match": "regex",
    "json_correctness": "json_schema",
    "fuzzy_match": "edit_similarity",
    "semantic_similarity": "embedding",
    "bert_score": "embedding",
    "schema": "json_schema",
    "jsonschema": "json_schema",
    "startswith": "starts_with",
    "endswith": "ends_with",
    "not_empty": "non_empty",
    "nonempty": "non_empty",
    "max_length": "max_chars",
    "min_length": "min_chars",
    "lang": "language",
    "chr_f": "chrf",
    "numeric": "number",
    "multiple_choice": "choice",
    "custom": "python",
}
"""Their name in our spelling -> ours."""


def hint(name: str, known: frozenset[str]) -> str:
    """A sentence on what a name of another tool is called here; empty where we know none.

    :param name: in our spelling.
    :param known: the names of all checks.

    >>> hint("is_json", frozenset({"json"})), hint("not_contains", frozenset({"contains"}))
    ("Here it is called 'json'.", "Write it as 'not:contains:...'.")
    """
    if name.startswith("not_"):
        inner = name.removeprefix("not_")
        inner = ELSEWHERE.get(inner, inner)
        if inner in known:
            return f"Write it as 'not:{inner}:...'."
    ours = ELSEWHERE.get(name, "")
    return f"Here it is called '{ours}'." if ours and ours.removeprefix("not:") in known else ""
