from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_llmci.plugin.options import OPTIONS, VARIABLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "settings.md").read_text("utf-8")


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings_doc", ROOT / "tools" / "settings_doc.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_options_as_they_are(tool: ModuleType) -> None:
    assert tool.page(PAGE) == PAGE, "run: python tools/settings_doc.py"
    for flag in (flag for option in OPTIONS for flag in option.flags):
        assert f"`{flag}" in PAGE


def test_each_page_that_says_more_is_that_of_an_option(tool: ModuleType) -> None:
    assert set(tool.MORE) <= {option.name for option in OPTIONS}


@pytest.mark.parametrize(
    "name", [name for name in VARIABLES if name != "SINK_PROCESS"]
)  # which is between our own processes
def test_every_other_variable_is_told(name: str) -> None:
    assert f"| `LLMCI_{name}` |" in PAGE


@pytest.mark.parametrize(("more", "status"), [("", 0), ("| stale | | |\n", 1)])
def test_checking_compares_and_writes_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, status: int
) -> None:
    page = tmp_path / "settings.md"
    page.write_text(PAGE.replace(tool.END, more + tool.END), "utf-8")
    monkeypatch.setattr(tool, "TARGET", page)
    monkeypatch.setattr(sys, "argv", ["settings_doc.py", "--check"])
    before = page.read_bytes()
    assert tool.main() == status
    assert page.read_bytes() == before
    monkeypatch.setattr(sys, "argv", ["settings_doc.py"])
    assert tool.main() == 0
    assert page.read_text("utf-8") == PAGE
