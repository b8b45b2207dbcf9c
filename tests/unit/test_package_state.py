"""A session in the tests' own process finds the package as it was, whatever the one before did to it."""

from __future__ import annotations

from package_state import package_state

from pytest_llmci import redaction
from pytest_llmci.backends import echo
from pytest_llmci.checks import embeddings
from pytest_llmci.runner import own_cost


def test_what_is_put_into_the_package_is_gone_afterwards() -> None:
    state = package_state()
    answer, secrets = vars(echo.EchoBackend).copy(), redaction._holds_secret
    with state.restored():
        redaction._holds_secret = lambda name: True  # type: ignore[assignment]
        redaction.planted = 1  # type: ignore[attr-defined]
        del embeddings.vectors
        echo.EchoBackend.planted = 1  # type: ignore[attr-defined]
        echo.EchoBackend.load = None  # type: ignore[assignment,method-assign]
        own_cost._OF_THIS_PROCESS["planted"] = 1.0
    assert redaction._holds_secret is secrets
    assert not hasattr(redaction, "planted")
    assert hasattr(embeddings, "vectors")
    assert vars(echo.EchoBackend) == answer
    assert "planted" not in own_cost._OF_THIS_PROCESS


def test_what_is_remembered_is_neither_there_nor_stays() -> None:
    redaction._holds_secret("before")
    with package_state().restored():
        assert redaction._holds_secret.cache_info().currsize == 0
        redaction._holds_secret("meanwhile")
    assert redaction._holds_secret.cache_info().currsize == 0
