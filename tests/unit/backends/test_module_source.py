"""What a module will be called by, read without running it."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmci.backends.module_source import ModuleSource, read_module

Read = Callable[[str], ModuleSource | None]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def write_and_read(code: str) -> ModuleSource | None:
        (tmp_path / "mine.py").write_text(textwrap.dedent(code), "utf-8")
        return read_module("mine", [str(tmp_path)])

    return write_and_read


def test_tells_functions_and_classes_from_other_names(read: Read) -> None:
    found = read("LIMIT = 3\ndef answer(prompt): return ''\nasync def later(prompt): ...\nclass Bot: ...\n")
    assert found is not None
    assert found.names == {"LIMIT", "answer", "later", "Bot"}
    assert found.callables == {"answer", "later", "Bot"}


def test_nothing_runs(read: Read) -> None:
    found = read("raise SystemExit('it ran')\nanswer = print\n")
    assert found is not None
    assert found.names == {"answer"}
    assert "mine" not in sys.modules


@pytest.mark.parametrize(
    "code",
    [
        "import answer",
        "import answer.inner",
        "import inner as answer",
        "from inner import answer",
        "from inner import other as answer",
        "answer = 1",
        "answer: object = 1",
        "answer += 1",
        "first, (second, *answer) = ()",
        "for answer in (): pass",
        "with open('x') as answer: pass",
        "print(answer := 1)",
        "def other(given=(answer := 1)): pass",
        "try:\n    import fast\nexcept ImportError:\n    def answer(prompt): pass",
        "if 1:\n    pass\nelse:\n    class answer: pass",
        "while 1:\n    answer = 1",
        "match 1:\n    case [answer]: pass",
        "match 1:\n    case [*answer]: pass",
        "match 1:\n    case {**answer}: pass",
        "match 1:\n    case int() as answer: pass",
        "def prepare():\n    global answer\n    answer = 1",
    ],
)
def test_every_way_to_bind_a_name_counts(read: Read, code: str) -> None:
    found = read(code)
    assert found is not None and "answer" in found.names


@pytest.mark.parametrize(
    "code",
    [
        "def other(answer):\n    answer = 1",
        "class Bot:\n    def answer(self, prompt): pass",
        "other = lambda answer: (answer := 1)",
        "other.answer = 1",
        "print(answer)",
        "'answer'",
        "import inner.answer",
        "import answer as other",
        "if __name__ == '__main__':\n    print('a script')",
        "import logging\nlog = logging.getLogger(__name__)",
        "def other(x): return type(x).__name__",
    ],
)
def test_what_is_bound_elsewhere_does_not_count(read: Read, code: str) -> None:
    found = read(code)
    assert found is not None and "answer" not in found.names


@pytest.mark.parametrize(
    "code",
    [
        "from inner import *",
        "def __getattr__(name): ...",
        "__getattr__, __all__ = lazy()",
        "globals()['answer'] = 1",
        "vars()['answer'] = 1",
        "import sys\nsys.modules['mine'].answer = 1",
        "from sys import modules\nmodules['mine'] = 1",
        "setattr(me, 'answer', 1)",
        "exec('answer = 1')",
        "register(__name__)",
        "import sys\nsys.modules[other.__name__].answer = 1",
        "def answer(:",
        "answer = '\x00'",
        "# coding: no-such-coding\n",
        "answer = " + "-" * 100_000 + "1",
    ],
)
def test_what_the_source_leaves_open_is_left_open(read: Read, code: str) -> None:
    assert read(code) is None


def test_a_packages_submodules_count_and_no_package_is_imported(tmp_path: Path) -> None:
    package = tmp_path / "pack" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("raise SystemExit('it ran')\n", "ascii")
    (package / "__init__.py").write_text("answer = 1\n", "ascii")
    (package / "part.py").write_text("other = 1\n", "ascii")
    found = read_module("pack.inner", [str(tmp_path)])
    assert found is not None
    assert found.names == {"answer", "part"} and found.file == str(package / "__init__.py")
    found = read_module("pack.inner.part", [str(tmp_path)])
    assert found is not None and found.names == {"other"}


@pytest.mark.parametrize("module", ["nowhere", "builtins", "sys", "json.nowhere", "json.decoder.nowhere", "math"])
def test_what_has_no_source_is_left_open(module: str) -> None:
    assert read_module(module, sys.path) is None


def test_a_folder_without_init_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert read_module("folder", [str(tmp_path)]) is None


def test_an_invalid_escape_of_the_users_warns_nobody(read: Read) -> None:
    assert read("answer = '\\d'\n") is not None


@pytest.mark.parametrize(
    "module",
    [
        "argparse",
        "dataclasses",
        "email.message",
        "http.server",
        "json",
        "logging.handlers",
        "ssl",
        "statistics",
        "uuid",
    ],
)
def test_no_name_that_an_import_finds_is_missed(module: str) -> None:
    found = read_module(module, sys.path)
    real = {name for name in vars(importlib.import_module(module)) if not name.startswith("__")}
    assert found is None or real <= found.names
