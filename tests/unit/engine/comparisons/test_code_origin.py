from __future__ import annotations

import sys
import sysconfig
import types
from pathlib import Path

import pytest
from repositories import Repository

from pytest_llmci.engine.comparisons.code_origin import moved_path, own_modules, prove_origin
from pytest_llmci.engine.comparisons.reference import Reference
from pytest_llmci.errors import ConfigError
from pytest_llmci.records import Json
from pytest_llmci.store.checkout import Checkout

LIBRARIES = sysconfig.get_path("purelib")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "project")
    made.commit("first", {"app.py": "", "src/pkg/__init__.py": "", "src/pkg/part.py": "", ".gitignore": ".venv\n"})
    return made


def test_entries_of_the_repository_become_those_of_the_worktree_where_they_stand(
    repository: Repository, tmp_path: Path
) -> None:
    top = repository.folder
    with Checkout(top, "main", "x") as checkout:
        given = [str(tmp_path / "elsewhere"), str(top / "src"), LIBRARIES, str(top), str(top / "src")]
        then = checkout.folder
        assert moved_path(given, checkout, worktree_first=False) == (given[0], str(then / "src"), LIBRARIES, str(then))
        assert moved_path(given, checkout, worktree_first=True) == (str(then / "src"), str(then), given[0], LIBRARIES)


def test_the_libraries_of_an_environment_within_the_repository_stay(repository: Repository) -> None:
    repository.put(
        {
            ".venv/pyvenv.cfg": "",
            ".venv/lib/site-packages/x.py": "",
            "conda/conda-meta/history": "",
            "conda/lib/y.py": "",
        }
    )
    given = [str(repository.folder / ".venv/lib/site-packages"), str(repository.folder / "conda/lib")]
    with Checkout(repository.folder, "main", "x") as checkout:
        assert moved_path(given, checkout, worktree_first=True) == tuple(given)


def test_what_is_no_folder_stays(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository.folder)
    with Checkout(repository.folder, "main", "x") as checkout:
        given = ["__editable__.pkg-1.finder.__path_hook__", "src"]
        assert moved_path(given, checkout, worktree_first=False) == (given[0], str(checkout.folder / "src"))


def test_the_libraries_of_an_interpreter_within_the_repository_stay(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = str(repository.folder / "lib/python3/dist-packages")
    monkeypatch.setattr("pytest_llmci.runner.import_path.library_folders", lambda: (libraries,))
    with Checkout(repository.folder, "main", "x") as checkout:
        assert moved_path([libraries], checkout, worktree_first=True) == (libraries,)


def test_what_the_finder_of_an_editable_install_finds_is_found_in_the_worktree(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    finder = types.ModuleType("__editable___pkg_finder")
    finder.MAPPING = {  # type: ignore[attr-defined]  # as setuptools writes it
        "pkg": str(repository.folder / "src/pkg"), "pkg.part": str(repository.folder / "src/pkg/part"), "app": str(repository.folder / "app.py"),
        "renamed": str(repository.folder / "other"), "foreign": str(tmp_path / "foreign"),
    }  # fmt: skip
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    with Checkout(repository.folder, "main", "x") as checkout:
        assert moved_path([LIBRARIES], checkout, worktree_first=False) == (
            LIBRARIES,
            str(checkout.folder / "src"),
            str(checkout.folder),
        )


def test_modules_of_the_worktree_and_of_nobody_are_no_complaint(repository: Repository, tmp_path: Path) -> None:
    repository.put({".venv/pyvenv.cfg": ""})
    with Checkout(repository.folder, "main", "x") as checkout:
        reference = Reference(name="main", specs={}, folder=checkout.folder)
        files: dict[str, Json] = {
            "app": str(checkout.folder / "app.py"), "conftests": str(tmp_path / "conftests.py"),
            "torch": str(repository.folder / ".venv/lib/torch/__init__.py"),
        }  # fmt: skip
        prove_origin({"module_files": files}, reference, repository.folder)
        prove_origin({}, reference, repository.folder)
    prove_origin(
        {"module_files": {"app": str(repository.folder / "app.py")}}, Reference(name="a", specs={}), repository.folder
    )


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("app", "{top}/app.py"), ("only_today", "{top}/only_today.py"), ("app", "/site-packages/app.py"),
        ("pkg", "/site-packages/pkg/__init__.py"), ("pkg.part", "/site-packages/pkg/part.py"),
    ],
)  # fmt: skip
def test_a_module_of_the_repository_from_elsewhere_is_refused(repository: Repository, module: str, file: str) -> None:
    path = file.format(top=repository.folder)
    with Checkout(repository.folder, "main", "x") as checkout:
        reference = Reference(name="main", specs={}, folder=checkout.folder, sys_path=(str(checkout.folder),))
        with pytest.raises(
            ConfigError, match=f"main: its module '{module}' was loaded from {path}, not from the files of that commit"
        ):
            prove_origin({"module_files": {module: path}}, reference, repository.folder)


def test_the_modules_of_a_commit_are_its_own_but_for_names_that_python_has(repository: Repository) -> None:
    repository.commit("second", {"src/json.py": "", "lib/deep/__init__.py": "", "lib/one.py": "", "notes/a.txt": ""})
    with Checkout(repository.folder, "main", "x") as checkout:
        path = (str(checkout.folder / "lib"), LIBRARIES)
        reference = Reference(name="main", specs={}, folder=checkout.folder, sys_path=path)
        assert own_modules(reference) == ("app", "deep", "one", "pkg")
    assert own_modules(Reference(name="a", specs={})) == ()
