from __future__ import annotations

from pytest_llmci.backends import echo_words


def test_own_words_are_all_different_and_prime_in_number() -> None:
    count = len(echo_words._WORDS)
    assert len(set(echo_words._WORDS)) == count
    assert all(count % divisor for divisor in range(2, count))
