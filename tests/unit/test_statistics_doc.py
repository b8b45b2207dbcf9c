"""docs/statistics.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_llmci.stats.compare import GateSettings
from pytest_llmci.stats.expected import expected_visible

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")


def test_the_example_gives_what_it_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    told = re.findall(r"^(found\S+)\s+# ('\w+'|[\d.]+)", code, re.MULTILINE)
    assert [expression for expression, _ in told] == ["found.verdict", "found.cells[0].effect"]
    for expression, value in told:
        found = eval(expression, names)
        assert found == (value.strip("'") if value.startswith("'") else pytest.approx(float(value), abs=5e-4))


@pytest.mark.parametrize(
    ("mode", "low", "high"), [("saved", 0.28, 0.31), ("anchored", 0.125, 0.14), ("interleaved", 0.036, 0.06)]
)
def test_what_each_mode_sees(mode: str, low: float, high: float) -> None:
    settings = GateSettings(mode=mode)  # type: ignore[arg-type]  # one of the literals
    found = expected_visible(settings, cells=4, models=2, rounds=20, pairs=4)
    assert found.cell is not None and found.total is not None
    assert low < found.total and found.cell < high
