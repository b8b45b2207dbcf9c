"""What the fixtures of a cell give in an armed session, made in place of calling them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .collecting import OUR_MODULE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .armed import ArmedPlugin
    from .running import Running


_OUTCOMES = (Exception, pytest.fail.Exception, pytest.skip.Exception)
"""What ends a set-up and not the session."""


class Giving:
    """Stands between pytest and our fixtures."""

    def __init__(self, plugin: ArmedPlugin, running: Running) -> None:
        self._plugin = plugin
        self._made: dict[str, Callable[[Mapping[str, Any], Callable[[str], Any]], object]] = {
            "llm": lambda params, _: running.handle(_param(params, "llm")),
            "llm_prompt": lambda params, _: running.prompt(_param(params, "llm_prompt")),
            "llm_result": lambda _, ask: running.measure(ask("llm"), ask("llm_prompt")),
        }
        """Fixture -> what it gives, of the test's parameters and of the other fixtures; none needs one that stands below it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: Any) -> object:
        """What pytest's own does, but without a ``request`` that has to be built as a fixture."""
        make = self._made.get(fixturedef.argname)
        if (
            make is None
            or fixturedef.func.__module__ != OUR_MODULE
            or getattr(self._plugin.config.option, "setupplan", False)
        ):
            return None
        params = {fixturedef.argname: request.param} if hasattr(request, "param") else {}
        try:
            value = make(params, request.getfixturevalue)
        except _OUTCOMES as error:
            _blame_test(error)
            fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, error.__traceback__))
            raise
        fixturedef.cached_result = (value, fixturedef.cache_key(request), None)
        return value

    def leave_out(self, item: pytest.Function) -> None:
        """Before a test is set up that :meth:`give` is for: pytest makes no fixture that is there already."""
        for name in self._made:
            if name in item.fixturenames:
                item.funcargs[name] = None

    def give(self, item: pytest.Function) -> None:
        """In place of pytest, all at once to a test that has no fixtures of others, where nobody wants to hear of their set-up."""
        callspec = getattr(item, "callspec", None)
        params = callspec.params if callspec is not None else {}
        given = item.funcargs
        try:
            for name, make in self._made.items():
                if name in given:
                    given[name] = make(params, given.__getitem__)
        except pytest.skip.Exception as skipped:
            _blame_test(skipped)
            raise


def _blame_test(error: BaseException) -> None:
    """Name the line of the test and not ours, where it is a skip; as pytest does."""
    if isinstance(error, pytest.skip.Exception):
        error._use_item_location = True  # noqa: SLF001  # pytest has no other way


def _param(params: Mapping[str, Any], name: str) -> Any:
    if name not in params:
        pytest.fail(
            f"'{name}' must be an argument of the test itself, so that the test can be repeated for each; tests of a"
            " unittest.TestCase take no arguments: make it a plain class, or ask for 'llm_open' and open the model by its spec.",
            pytrace=False,
        )
    return params[name]
