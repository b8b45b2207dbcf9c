"""What is told of a cell besides its result, as somebody may listen."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmci.plugin.protocol import Wanted, wanted, wanted_in_worker


class HearsStarts:
    def pytest_runtest_logstart(self, nodeid: str) -> None: ...


class HearsEnds:
    def pytest_runtest_logfinish(self, nodeid: str) -> None: ...


class HearsReports:
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None: ...


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.parametrize(
    ("listener", "options", "found"),
    [
        (None, (), Wanted(bounds=False, teardown=False)),
        (None, ("-v",), Wanted(bounds=True, teardown=False)),
        (None, ("--junitxml=junit.xml",), Wanted(bounds=False, teardown=True)),
        (HearsStarts(), (), Wanted(bounds=True, teardown=False)),
        (HearsEnds(), (), Wanted(bounds=True, teardown=False)),
        (HearsReports(), (), Wanted(bounds=False, teardown=True)),
    ],
)
def test_what_nobody_hears_is_not_told(
    pytester: pytest.Pytester, listener: Any, options: tuple[str, ...], found: Wanted
) -> None:
    config = pytester.parseconfigure(*options)
    if listener is not None:
        config.pluginmanager.register(listener)
    assert wanted(config) == found


@pytest.mark.parametrize(
    ("on_controller", "found"),
    [
        ([False, False], Wanted(bounds=False, teardown=False)),
        ([True, False], Wanted(bounds=True, teardown=False)),
        ([False, True], Wanted(bounds=False, teardown=True)),
    ],
)
def test_a_worker_tells_what_the_controller_wants(
    pytester: pytest.Pytester, on_controller: list[bool], found: Wanted
) -> None:
    config = pytester.parseconfigure()
    assert wanted_in_worker(config, on_controller) == found
    config.pluginmanager.register(HearsStarts())
    assert wanted_in_worker(config, on_controller) == found._replace(bounds=True)


def test_what_sends_a_workers_reports_home_is_no_listener(pytester: pytest.Pytester) -> None:
    """pytest-xdist executes its module there under another name."""

    class Interactor(HearsStarts, HearsReports):
        def pytest_runtest_logstart(self, nodeid: str) -> None: ...

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None: ...

    for hook in (Interactor.pytest_runtest_logstart, Interactor.pytest_runtest_logreport):
        hook.__module__ = "__channelexec__"
    config = pytester.parseconfigure()
    config.pluginmanager.register(Interactor())
    assert wanted(config) == Wanted(bounds=False, teardown=False)
