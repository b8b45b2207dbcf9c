from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from repositories import Repository

from pytest_llmci.errors import ConfigError
from pytest_llmci.plugin.options import OPTIONS, gather
from pytest_llmci.plugin.revision import gather_at
from pytest_llmci.store.checkout import Checkout

At = Callable[..., dict[str, object]]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for name in ("LLMCI", "PYTEST_ADDOPTS", *(f"LLMCI_{option.name.upper()}" for option in OPTIONS)):
        monkeypatch.delenv(name, raising=False)
    made = Repository(tmp_path / "project")
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture
def at(pytester: pytest.Pytester, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> At:
    """The settings of a session with these arguments and files today, as they were at the last commit."""

    def read(*arguments: str, folder: str = ".", **files: str) -> dict[str, object]:
        repository.put({name.replace("_", "."): text for name, text in files.items()})
        monkeypatch.chdir(repository.folder / folder)
        config = pytester.parseconfig("--rootdir", str(repository.folder / folder), *arguments)
        with Checkout(repository.folder, "HEAD", "x") as checkout:
            found = gather_at(config, checkout)
            assert found.folder.is_relative_to(checkout.folder)
            short = checkout.facts.short
        values: dict[str, object] = {name: given.value for name, given in found.given.items()}
        for given in found.given.values():
            assert given.origin.startswith(("--", "LLMCI_")) or short in given.origin
        return {**values, "in": found.folder.name}

    return read


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\nllmci_models =\n    a\n    b\nllmci_seed = 7\n"),
        (".pytest.ini", "[pytest]\nllmci_models =\n    a\n    b\nllmci_seed = 7\n"),
        ("tox.ini", "[pytest]\nllmci_models =\n    a\n    b\nllmci_seed = 7\n"),
        ("setup.cfg", "[tool:pytest]\nllmci_models =\n    a\n    b\nllmci_seed = 7\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\nllmci_models = ['a', 'b']\nllmci_seed = '7'\n"),
        ("pyproject.toml", "[tool.pytest]\nllmci_models = ['a', 'b']\nllmci_seed = 7\n"),
        ("pytest.toml", "[pytest]\nllmci_models = ['a', 'b']\nllmci_seed = 7\n"),
        ("pyproject.toml", "[tool.llmci]\nmodels = ['a', 'b']\nseed = 7\n"),
    ],
)
def test_every_file_that_pytest_reads(repository: Repository, at: At, name: str, text: str) -> None:
    repository.commit("first", {name: text, "setup.py": ""})
    (repository.folder / name).unlink()
    assert at(tox_ini="[pytest]\nllmci_seed = 8\n") == {"models": ("a", "b"), "seed": "7", "in": "project"}


def test_what_pytest_and_we_read_of_the_same_file_is_the_same(
    pytester: pytest.Pytester, repository: Repository, at: At
) -> None:
    text = "[pytest]\naddopts = --llmci-seed=3 -q\nllmci_models =\n    a\n\n    b,c\nllmci_temperature = 0.5\nllmci_seed = 1\n"
    repository.commit("first", {"tox.ini": text})
    today = gather(pytester.parseconfig("--rootdir", str(repository.folder), "--llmci-threads=2"))
    assert {name: given.value for name, given in today.items()} | {"in": "project"} == at("--llmci-threads=2")


def test_command_line_and_environment_hold_for_both_sides(
    repository: Repository, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(
        "first",
        {"pytest.ini": "[pytest]\nllmci_models = a\nllmci_seed = 1\nllmci_threads = 1\nllmci_temperature = 1\n"},
    )
    monkeypatch.setenv("LLMCI_SEED", "2")
    monkeypatch.setenv("LLMCI_THREADS", "2")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-o llmci_temperature=0.5")
    found = at("--llm-models=b", "--llmci-models", "c", "--llmci-threads=3", pytest_ini="[pytest]\nllmci_seed = 9\n")
    assert found == {"models": ("b", "c"), "seed": "2", "threads": "3", "temperature": "0.5", "in": "project"}


def test_what_addopts_says_today_is_not_what_it_said_then(repository: Repository, at: At) -> None:
    repository.commit("first", {"pytest.ini": "[pytest]\naddopts = --llmci-seed=1 -k 'x y' --unknown\n"})
    found = at("--llmci-threads=2", pytest_ini="[pytest]\naddopts = --llmci-seed=2 --llmci-max-new-tokens=5\n")
    assert found == {"seed": "1", "threads": "2", "in": "project"}


def test_only_what_says_what_is_measured_is_taken(repository: Repository, at: At) -> None:
    repository.commit("first", {"pyproject.toml": "[tool.llmci]\nrounds = 3\nseed = 3\nold_name = 3\nbudget = 'x'\n"})
    assert at() == {"seed": "3", "in": "project"}


def test_a_project_in_a_subfolder_and_settings_above_it(repository: Repository, at: At) -> None:
    repository.commit(
        "first",
        {"sub/pytest.ini": "[pytest]\nllmci_seed = 1\n", "other/x.py": "", "pytest.ini": "[pytest]\nllmci_seed = 2\n"},
    )
    assert at(folder="sub") == {"seed": "1", "in": "sub"}
    repository.put({"other/pytest.ini": "[pytest]\n"})
    assert at(folder="other") == {"seed": "2", "in": "project"}


def test_a_file_that_was_named_is_the_one(repository: Repository, at: At) -> None:
    repository.commit(
        "first", {"ci/gate.ini": "[pytest]\nllmci_seed = 1\n", "pytest.ini": "[pytest]\nllmci_seed = 2\n"}
    )
    repository.put({"ci/gate.ini": "[pytest]\nllmci_seed = 3\n"})
    assert at("-c", "ci/gate.ini") == {"seed": "1", "in": "ci"}


def test_no_settings_then(repository: Repository, at: At) -> None:
    repository.commit("first", {"setup.cfg": "[metadata]\nname = x\n", "pyproject.toml": "[project]\nname = 'x'\n"})
    assert at(pytest_ini="[pytest]\nllmci_seed = 3\n") == {"in": "project"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pyproject.toml", "[tool", r"pyproject\.toml at [0-9a-f]+ cannot be read: "),
        ("tox.ini", "no section\n", r"tox\.ini at [0-9a-f]+ cannot be read: "),
        (
            "pytest.ini",
            "[pytest]\naddopts = --llmci-seed\n",
            r"addopts of that commit: argument --llmci-seed: expected one argument\.",
        ),
        (
            "pyproject.toml",
            "[tool.llmci]\nseed = [1]\n",
            r"pyproject\.toml at [0-9a-f]+: \[tool\.llmci\]: 'seed' must be text, a number",
        ),
    ],
)
def test_a_file_of_the_commit_that_cannot_be_read(
    repository: Repository, at: At, name: str, text: str, said: str
) -> None:
    repository.commit("first", {name: text})
    (repository.folder / name).unlink()
    with pytest.raises(ConfigError, match=said) as error:
        at()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flag", ["--llmci-save-baseline", "--llmci-save-baseline=old", "--llmci-baseline"])
def test_an_option_that_may_stand_alone_does_so_there_too(repository: Repository, at: At, flag: str) -> None:
    repository.commit("first", {"tox.ini": f"[pytest]\naddopts = {flag} --llmci-seed=3\n"})
    assert at(flag) == {"seed": "3", "in": "project"}
