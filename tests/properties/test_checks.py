from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci import checks
from pytest_llmci.check_texts import check_text
from pytest_llmci.checks import CheckInput, canonical, parse_check, register
from pytest_llmci.checks.numeric import last_number
from pytest_llmci.errors import CheckError, MissingValue
from pytest_llmci.records import Prompt
from pytest_llmci.registry import Registry

REGISTRY = Registry()
register(REGISTRY)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SOME = TEXTS.filter(lambda text: bool(text.strip()))
BASE = st.one_of(
    st.sampled_from(["valid", "json", "contains_json", "refusal", "no_special_tokens", "number", "choice", "equals"]),
    SOME.map(checks.contains), SOME.map(checks.icontains), SOME.map(checks.equals), SOME.map(checks.starts_with), SOME.map(checks.ends_with),
    st.lists(SOME, min_size=1, max_size=4).map(lambda some: checks.contains_any(*some)),
    st.lists(SOME, min_size=1, max_size=4).map(lambda some: checks.icontains_all(*some)),
    st.integers(1, 50).map(checks.max_words), st.integers(1, 50).map(checks.min_chars),
    st.floats(-1e6, 1e6).map(checks.number), st.sampled_from("ABCDE").map(checks.choice),
    st.fixed_dictionaries({"type": st.sampled_from(["object", "array"])}).map(checks.json_schema),
)  # fmt: skip
ANY = st.recursive(
    BASE,
    lambda inner: st.one_of(
        inner.map(checks.not_), st.lists(inner, min_size=1, max_size=3).map(lambda some: checks.all_of(*some)),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: checks.any_of(*some)),
    ),
    max_leaves=6,
)  # fmt: skip


def verdict(check: str, text: str, reference: str | None = None) -> bool | None:
    """None where the check cannot judge."""
    given_output = CheckInput(text=text, finish_reason="stop", prompt=Prompt(id="p", text="?", reference=reference))
    try:
        result = parse_check(check, REGISTRY, "test")(given_output)
    except (CheckError, MissingValue):
        return None
    assert "\n" not in result.message and result.message.strip()
    assert result.name == check
    return result.passed


@given(ANY)
def test_a_checks_text_is_its_own_spelling(check: str) -> None:
    """Object to text to object gives the same check: its text is stable, and so is that of its mapping form."""
    assert canonical(check, REGISTRY, "test") == check
    name, colon, argument = check.partition(":")
    assert check_text({name: argument if colon else None}, "test") == check


@given(ANY, TEXTS, st.none() | SOME)
def test_not_is_the_opposite_wherever_a_check_can_judge(check: str, text: str, reference: str | None) -> None:
    """A check and its 'not' differ where it can judge, and neither passes where it cannot; no output makes one raise anything else."""
    plain, opposite = verdict(check, text, reference), verdict(checks.not_(check), text, reference)
    assert opposite is (None if plain is None else not plain)


@given(SOME, TEXTS, TEXTS)
def test_what_was_put_in_is_contained(wanted: str, before: str, after: str) -> None:
    """A text between blanks is found, in any case too."""
    text = f"{before} {wanted} {after}"
    assert verdict(checks.contains(wanted), text)
    assert verdict(checks.icontains(wanted), text)
    assert verdict(checks.equals(wanted), f"\n{wanted} ")


@given(st.floats(-1e12, 1e12).map(lambda value: round(value, 3)), TEXTS)
def test_a_written_number_is_read(value: float, before: str) -> None:
    """Whatever stands before it, the last number of a text is what was written, with or without separators of thousands."""
    for written in (f"{value:.3f}", f"{value:,.3f}"):
        found = last_number(f"{before} = {written} in all")
        assert found is not None and math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-12)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
    )
)
def test_what_is_json_passes_with_and_without_a_fence(value: object) -> None:
    """What the standard library writes is JSON, alone and in a code fence that is allowed."""
    text = json.dumps(value)
    assert verdict("json", text)
    assert verdict('json:{"fence":true}', f"```json\n{text}\n```\n")
    assert not verdict("json", f"```json\n{text}\n```\n")
