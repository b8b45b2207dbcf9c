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
    ("mode", "shift", "told"),
    [
        ("saved", 0.05, "baseline sees 50 %"),
        ("anchored", 0.05 / 3, "anchored one 28 %"),
        ("interleaved", 0, "pairs see 6 %"),
    ],
)
def test_what_each_mode_sees(mode: str, shift: float, told: str) -> None:
    settings = GateSettings(mode=mode, environment_shift=shift)  # type: ignore[arg-type]  # one of the literals
    found = expected_visible(settings, cells=4, rounds=20, pairs=4)
    assert found.cell is not None
    assert told in TEXT
    assert told.endswith(f"{100 * found.cell:.0f} %")
