import pytest

from pytest_llmci.slugs import slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the capital of France?", "What-is-the-capital-of-France"),
        ("TinyLlama-1.1B-Chat-v1.0", "TinyLlama-1.1B-Chat-v1.0"),
        ("gpt-neo-125M", "gpt-neo-125M"),
        ("  Explain  TCP/IP, please!\n", "Explain-TCP-IP-please"),
        ("naïve café", "naive-cafe"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_plain_text_needs_no_digest(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_symbols_that_carry_meaning_are_told_apart() -> None:
    assert len({slug("What is C?"), slug("What is C++?"), slug("What is C#?")}) == 3


def test_other_scripts_get_a_digest_that_never_changes() -> None:
    assert slug("你好，世界") == "46932f1e"
    assert slug("Explain 量子 computing") == "Explain-computing-17cde3ae"


def test_long_texts_are_cut_between_words_and_told_apart() -> None:
    one, other = slug("word " * 30 + "one"), slug("word " * 30 + "other")
    assert one != other
    assert one.startswith("word-word-") and len(one) <= 40
    assert len(slug("word " * 30, longest=60)) > 40
