from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.checks.loops import find_loop


@given(st.text(max_size=60), st.text(min_size=1, max_size=30), st.integers(4, 60), st.integers(0, 29))
def test_whatever_ends_in_enough_copies_is_a_loop(start: str, unit: str, copies: int, cut: int) -> None:
    """One unit repeated at least 4 times to the end, 40 characters and half of the text or more, is a loop."""
    unit = "".join(unit.split()) + "x"  # something that can be seen, with a letter
    run = unit * copies + unit[: cut % len(unit)]
    if len(run) >= 40 and len(run) >= len(" ".join(start.split())):
        assert find_loop(start + run) is not None


@given(st.lists(st.integers(0, 10**9), unique=True, max_size=60))
def test_different_lines_are_no_loop(numbers: list[int]) -> None:
    """Lines of one shape that all differ are a list, not a loop, unless a number is a loop in itself."""
    assert find_loop("".join(f"- item {number}: done\n" for number in numbers)) is None


@given(st.text(max_size=300))
def test_white_space_does_not_matter(text: str) -> None:
    """How a text is wrapped and what blanks it ends in change nothing."""
    assert (find_loop(text) is None) == (find_loop(" ".join(text.split()) + "\n\n ") is None)
