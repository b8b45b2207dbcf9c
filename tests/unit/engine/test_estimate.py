from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmci.engine.estimate import estimate_seconds
from pytest_llmci.engine.schedule import CellPlan
from pytest_llmci.records import Cell, GenerationSettings, ModelSpec, Prompt


def cells(count: int, *, tokens: int = 50, fixed: bool = True) -> list[tuple[Cell, CellPlan]]:
    plan = CellPlan(
        rounds=5, max_rounds=20, warmup=1, block=5, generation=GenerationSettings(max_new_tokens=tokens, fixed_length=fixed)
    )  # fmt: skip
    model = ModelSpec(alias="a", backend="echo")
    return [(Cell(id=f"a-{n}", model=model, prompt=Prompt(id=str(n), text="x")), plan) for n in range(count)]


def history(output: Path, content: object) -> Path:
    (output / "latest").mkdir()
    (output / "latest" / "metrics.json").write_text(json.dumps(content), "utf-8")
    return output


def test_loading_and_every_round_of_every_cell(tmp_path: Path) -> None:
    history(tmp_path, {"a": {"latency": {"median": 0.5}, "output_tokens": {"median": 50}, "load_time": 3.0}})
    assert estimate_seconds(tmp_path, cells(2)) == 3 + 2 * 6 * 0.5


def test_a_longer_answer_takes_longer_where_the_length_is_fixed(tmp_path: Path) -> None:
    history(tmp_path, {"a": {"latency": 0.5, "output_tokens": 50}})
    assert estimate_seconds(tmp_path, cells(1, tokens=100)) == 6.0
    assert estimate_seconds(tmp_path, cells(1, tokens=100, fixed=False)) == 3.0


@pytest.mark.parametrize(
    "content", [{}, [], {"b": {"latency": 1}}, {"a": 5}, {"a": {"load_time": 3}}, {"a": {"latency": {"median": None}}}]
)
def test_what_never_ran_here_is_unknown(tmp_path: Path, content: object) -> None:
    assert estimate_seconds(history(tmp_path, content), cells(1)) is None


def test_a_missing_or_broken_file_is_unknown(tmp_path: Path) -> None:
    assert estimate_seconds(tmp_path / "none", cells(1)) is None
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "metrics.json").write_text("{", "utf-8")
    assert estimate_seconds(tmp_path, cells(1)) is None


def test_no_cells_take_no_time(tmp_path: Path) -> None:
    assert estimate_seconds(tmp_path, []) == 0.0
