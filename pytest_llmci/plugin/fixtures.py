"""Our fixtures. Unarmed they skip the test, naming the flag; armed they hand out what ``armed.py`` holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .options import FLAG_HINT

if TYPE_CHECKING:
    from ..engine.handles import LLM
    from ..engine.results import CellResult
    from ..engine.session import BenchSession
    from ..measure.profile import Measured
    from ..records import Prompt
    from .armed import ArmedPlugin

NAMES = frozenset({"llm", "llm_prompt", "llm_result", "llm_profile", "llm_open", "llmci_session"})
"""A test that uses one of these is ours."""


MARKER = "llmci"
MARKER_HELP = (
    "llmci(models=, prompts=, rounds=, max_rounds=, warmup=, max_new_tokens=, temperature=, seed=, budgets=, checks=, samples=,"
    " min_pass_rate=, timed=, load=): "
    "a test that asks a language model; tests that use pytest-llmci's fixtures get it by themselves"
)


def _armed(config: pytest.Config) -> ArmedPlugin:
    from . import ARMED

    plugin = config.stash.get(ARMED, None)
    if plugin is None:
        pytest.skip(f"needs a language model: run with {FLAG_HINT}")
    return plugin


def _param(request: pytest.FixtureRequest, name: str) -> Any:
    if not hasattr(request, "param"):
        pytest.fail(
            f"'{name}' must be an argument of the test itself, so that the test can be repeated for each.",
            pytrace=False,
        )
    return request.param


@pytest.fixture(scope="session")
def llm(request: pytest.FixtureRequest) -> LLM:
    """The model of this test, one of ``--llm-models``: ``generate``, ``stream``, ``score``, ``profile``, ``call``, ``info``, ``agenerate``.

    It is loaded in a process of its own when it is first asked something; a failure is raised there, in the test's body.
    """
    return _armed(request.config).running.handle(_param(request, "llm"))


@pytest.fixture
def llm_prompt(request: pytest.FixtureRequest) -> Prompt:
    """The prompt of this test, one row of ``--llm-prompts``: ``id``, ``text`` or ``messages``, ``reference``, ``tags``."""
    return _armed(request.config).running.prompt(_param(request, "llm_prompt"))


@pytest.fixture
def llm_result(pytestconfig: pytest.Config, llm: LLM, llm_prompt: Prompt) -> CellResult:
    """The measured rounds of this model x prompt cell: ``llm_result.latency.median``, ``llm_result.output.is_valid``.

    Budgets and checks are judged after the test's body; both failures are reported.
    """
    return _armed(pytestconfig).running.measure(llm, llm_prompt)  # pytest builds each 'request' anew, twice


@pytest.fixture
def llm_profile(request: pytest.FixtureRequest) -> Callable[..., Measured]:
    """``llm_profile(function, *args)`` calls it in this process under the instruments.

    The result has ``wall_time``, ``peak_rss``, ``cpu_time`` and more, and what the function returned as ``value``.
    """
    plugin = _armed(request.config)

    def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Measured:
        from ..measure.profile import llm_profile as run_profiled

        plugin.session.uses.profiles += 1
        return run_profiled(function, *args, **kwargs)

    return run


@pytest.fixture
def llm_open(request: pytest.FixtureRequest) -> Iterator[Callable[[str], LLM]]:
    """``llm_open(spec)`` opens a further model beside the test's own, for tests that compare two."""
    plugin = _armed(request.config)
    with plugin.session.room_for(2):
        yield lambda spec: plugin.running.open(spec, "llm_open")


@pytest.fixture(scope="session")
def llmci_session(request: pytest.FixtureRequest) -> BenchSession:
    """The running session: settings, metric definitions, registry."""
    return _armed(request.config).session
