from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

import pytest_llmci
from pytest_llmci.store.environment import PACKAGES
from pytest_llmci.version import installed_version, version

HEAD = "Metadata-Version: 2.4\nName: pytest-llmci\nVersion: 9.8.7\n\nVersion: 1 is told of in the description\n"


class Installed(importlib.metadata.Distribution):
    """A package whose metadata is a file of that name."""

    def __init__(self, file: str, text: str) -> None:
        self._file, self._text = file, text

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == self._file else None

    def locate_file(self, path: object) -> Path:
        raise NotImplementedError


@pytest.mark.parametrize("file", ["METADATA", "PKG-INFO"])
def test_comes_from_the_installed_metadata(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"pytest-llmci": Installed(file, HEAD)}
    monkeypatch.setattr(importlib.metadata, "distribution", installed.__getitem__)
    assert version() == "9.8.7"
    assert pytest_llmci.__version__ == "9.8.7"


def test_a_bare_directory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert version() == "0+unknown"


@pytest.mark.parametrize("package", PACKAGES)
def test_versions_are_those_that_python_tells(package: str) -> None:
    try:
        told = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        told = None
    assert installed_version(package) == told


def test_metadata_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("email.message_from_string", None)  # as importlib.metadata does
    assert installed_version("pytest") == pytest.__version__


def test_is_the_one_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    if version() != "0+unknown":
        assert version() == project["project"]["version"]
