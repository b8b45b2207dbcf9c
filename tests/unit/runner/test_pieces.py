from __future__ import annotations

from collections.abc import Sequence

from pytest_llmci.runner.pieces import token_texts


class Tells:
    def token_texts(self, ids: Sequence[int]) -> list[str]:
        return [f"<{token}>" for token in ids]


def test_tokens_as_the_model_source_writes_them() -> None:
    assert token_texts(Tells(), [3, 5]) == ["<3>", "<5>"]
    assert token_texts(object(), [3, 5]) is None
