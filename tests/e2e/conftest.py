"""What all end-to-end tests share."""

from __future__ import annotations

# Sessions inside this process forget what they import themselves. What does not bear to be loaded twice is imported here:
# numpy refuses it, and matplotlib, half of it forgotten, takes its own classes for strangers.
import jsonschema  # noqa: F401
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401
import pytest
import scipy.special  # noqa: F401
import yaml  # noqa: F401
from bench import TWO_PROMPTS, Bench
from package_state import package_state

package_state()

PLUGINS_OF_OTHERS = ("anyio", "hydra_pytest", "hypothesispytest")
"""What packages bring that have nothing to do with us; a session without them starts in half the time."""


@pytest.fixture
def bench(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in (
        "LLMCI",
        "LLMCI_MODELS",
        "PYTEST_XDIST_WORKER",
        "GITHUB_ACTIONS",
        "GITHUB_STEP_SUMMARY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in PLUGINS_OF_OTHERS))
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(pytester.path / "cache"))
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(pytester.path / "timing.lock"))  # tests may run in parallel
    made = Bench(pytester)
    made.write("prompts.yaml", TWO_PROMPTS)
    return made
