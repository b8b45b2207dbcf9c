from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_llmci.measure import builtin_metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("metrics_doc", ROOT / "tools" / "metrics_doc.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_definitions_say(tool: ModuleType) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert page == tool.render(), "run: python tools/metrics_doc.py"


def test_every_metric_has_a_section(tool: ModuleType) -> None:
    page = tool.render()
    for metric in builtin_metrics():
        assert f"\n### {metric.name}\n\n{metric.definition}\n" in page


@pytest.mark.parametrize(("content", "status"), [(None, 1), ("stale", 1), ("fresh", 0)])
def test_checking_compares_and_writes_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, status: int
) -> None:
    page = tmp_path / "metrics.md"
    monkeypatch.setattr(tool, "TARGET", page)
    if content is not None:
        page.write_text(tool.render() if content == "fresh" else content, "utf-8")
    before = page.read_bytes() if page.exists() else None
    monkeypatch.setattr(sys, "argv", ["metrics_doc.py", "--check"])
    assert tool.main() == status
    assert (page.read_bytes() if page.exists() else None) == before
    monkeypatch.setattr(sys, "argv", ["metrics_doc.py"])
    assert tool.main() == 0
    assert page.read_text("utf-8") == tool.render()
