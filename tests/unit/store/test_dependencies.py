from __future__ import annotations

import pytest

from pytest_llmci.store.dependencies import dependency_files


def changed(name: str, then: str = "", now: str = "") -> bool:
    return dependency_files([name], lambda _: then, lambda _: now) == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt", "requirements-dev.txt", "requirements/base.txt", "constraints/py311.txt", "constraints.txt", "uv.lock",
        "services/api/poetry.lock", "pdm.lock", "Pipfile.lock", "Pipfile", "pylock.toml", "pylock.ci.toml", "environment.yml", "setup.py",
        "requirements.in",
    ],
)  # fmt: skip
def test_files_that_say_what_is_installed(name: str) -> None:
    assert changed(name)


@pytest.mark.parametrize(
    "name", ["app.py", "prompts/constraints.md", "notes.txt", "requirements.py", "prompts/base.txt"]
)
def test_other_files(name: str) -> None:
    assert not changed(name)


@pytest.mark.parametrize(
    ("then", "now", "differs"),
    [
        ('[project]\nversion = "1"', '[project]\nversion = "2"', False),
        ("[tool.pytest.ini_options]\nllmci_seed = 1", "[tool.pytest.ini_options]\nllmci_seed = 2", False),
        ('[project]\ndependencies = ["torch"]', '[project]\ndependencies = ["torch>=2"]', True),
        ('[project.optional-dependencies]\na = ["b"]', "", True),
        ('[build-system]\nrequires = ["a"]', '[build-system]\nrequires = ["b"]', True),
        ('[dependency-groups]\ntest = ["a"]', '[dependency-groups]\ntest = ["b"]', True),
        ('[tool.poetry.dependencies]\na = "1"', '[tool.poetry.dependencies]\na = "2"', True),
        ('[tool.poetry]\nversion = "1"', '[tool.poetry]\nversion = "2"', False),
        ("[tool.uv]\npackage = true", "[tool.uv]\npackage = false", True),
        ("not toml", "not toml either", True),
        ("project = 1", "project = 2", True),
    ],
)
def test_a_pyproject_counts_where_its_requirements_differ(then: str, now: str, differs: bool) -> None:
    assert changed("pyproject.toml", then, now) == differs


@pytest.mark.parametrize(
    ("then", "now", "differs"),
    [
        ("[tool:pytest]\na = 1", "[tool:pytest]\na = 2", False),
        ("[metadata]\nversion = 1", "[metadata]\nversion = 2", False),
        ("[options]\ninstall_requires = a", "[options]\ninstall_requires = b", True),
        ("no section", "[options]\ninstall_requires = b", True),
    ],
)
def test_a_setup_cfg_counts_where_its_options_differ(then: str, now: str, differs: bool) -> None:
    assert changed("setup.cfg", then, now) == differs
