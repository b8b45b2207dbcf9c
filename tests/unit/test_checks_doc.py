from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_llmci.checks import CHECKS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool() -> ModuleType:
    for package in ("py3langid", "rapidfuzz", "rouge_score", "sacrebleu"):
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location("checks_doc", ROOT / "tools" / "checks_doc.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_checks_say(tool: ModuleType) -> None:
    page = (ROOT / "docs" / "checks.md").read_text("utf-8")
    assert page == tool.render(), "run: python tools/checks_doc.py"


def test_every_check_has_a_section_with_both_verdicts() -> None:
    page = (ROOT / "docs" / "checks.md").read_text("utf-8")
    for name in CHECKS:
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert "| passes |" in section and "| fails |" in section


@pytest.mark.parametrize(("content", "status"), [(None, 1), ("stale", 1), ("fresh", 0)])
def test_checking_compares_and_writes_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, status: int
) -> None:
    page = tmp_path / "checks.md"
    monkeypatch.setattr(tool, "TARGET", page)
    if content is not None:
        page.write_text(tool.render() if content == "fresh" else content, "utf-8")
    before = page.read_bytes() if page.exists() else None
    monkeypatch.setattr(sys, "argv", ["checks_doc.py", "--check"])
    assert tool.main() == status
    assert (page.read_bytes() if page.exists() else None) == before
