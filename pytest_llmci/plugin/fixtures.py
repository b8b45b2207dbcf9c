"""Our fixtures. Unarmed they skip the test, naming the flag; armed they hand out what ``armed.py`` holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

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


def _skip() -> NoReturn:
    pytest.skip(f"needs a language model: run with {FLAG_HINT}")


def _armed(config: pytest.Config) -> ArmedPlugin:
    from . import ARMED

    return config.stash.get(ARMED, None) or _skip()


# Of the fixtures of every cell, armed sessions make the values in giving.py: pytest builds a fixture's 'request' anew, twice, each time
# that it is asked for, which takes longer than all else that these three do.


@pytest.fixture(scope="session")
def llm() -> LLM:
    """The model of this test, one of ``--llm-models``: ``generate``, ``stream``, ``score``, ``profile``, ``call``, ``info``, ``agenerate``.

    It is loaded in a process of its own when it is first asked something; a failure is raised there, in the test's body.
    """
    _skip()


@pytest.fixture
def llm_prompt() -> Prompt:
    """The prompt of this test, one row of ``--llm-prompts``: ``id``, ``text`` or ``messages``, ``reference``, ``tags``."""
    _skip()


@pytest.fixture
def llm_result(llm: LLM, llm_prompt: Prompt) -> CellResult:  # noqa: ARG001  # for pytest, which sets them up first
    """The measured rounds of this model x prompt cell: ``llm_result.latency.median``, ``llm_result.output.is_valid``.

    Budgets and checks are judged after the test's body; both failures are reported.
    """
    _skip()


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
