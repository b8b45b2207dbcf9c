"""What the fixtures of a cell give in an armed session, made in place of calling them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .collecting import OUR_MODULE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .armed import ArmedPlugin


_OUTCOMES = (Exception, pytest.fail.Exception, pytest.skip.Exception)
"""What ends a set-up and not the session."""


class Giving:
    """Stands between pytest and our fixtures."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._config = plugin.config
        self._running = plugin.running
        self._made: dict[str, Callable[[Any], object]] = {
            "llm": lambda request: self._running.handle(_param(request, "llm")),
            "llm_prompt": lambda request: self._running.prompt(_param(request, "llm_prompt")),
            "llm_result": lambda request: self._running.measure(
                request.getfixturevalue("llm"), request.getfixturevalue("llm_prompt")
            ),
        }

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: Any) -> object:
        """What pytest's own does, but without a ``request`` that has to be built as a fixture."""
        make = self._made.get(fixturedef.argname)
        if make is None or fixturedef.func.__module__ != OUR_MODULE or getattr(self._config.option, "setupplan", False):
            return None
        try:
            value = make(request)
        except _OUTCOMES as error:
            if isinstance(error, pytest.skip.Exception):
                error._use_item_location = True  # noqa: SLF001  # as pytest does: else not the test's line is named
            fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, error.__traceback__))
            raise
        fixturedef.cached_result = (value, fixturedef.cache_key(request), None)
        return value


def _param(request: Any, name: str) -> Any:
    if not hasattr(request, "param"):
        pytest.fail(
            f"'{name}' must be an argument of the test itself, so that the test can be repeated for each; tests of a"
            " unittest.TestCase take no arguments: make it a plain class, or ask for 'llm_open' and open the model by its spec.",
            pytrace=False,
        )
    return request.param
