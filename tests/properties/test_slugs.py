from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.slugs import slug

TEXTS = st.text(alphabet=st.characters(exclude_categories=[]), max_size=200)  # lone surrogates too


@given(TEXTS, st.integers(16, 80))
def test_fit_into_a_test_id(text: str, longest: int) -> None:
    """A slug is ASCII without '::', '[', ']', '@', '=', '/' and white space, no longer than asked, empty only for blanks."""
    made = slug(text, longest=longest)
    assert made.isascii() and len(made) <= longest
    assert all(char.isalnum() or char in "._-" for char in made)
    assert bool(made) == bool(text.strip())


@given(TEXTS)
def test_idempotent_and_stable(text: str) -> None:
    """A slug is its own slug, and white space around the text does not matter."""
    assert slug(slug(text)) == slug(text) == slug(f" {text}\n")
