from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmci.engine.estimate import estimate_seconds, read_history
from pytest_llmci.measure.anchor import TYPICAL_S


def history(folder: Path, content: str) -> Path:
    (folder / "latest").mkdir(parents=True)
    (folder / "latest" / "metrics.json").write_text(content)
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    model = {"latency": 0.5, "output_tokens": 50, "start_time": 1.0, "import_time": 2.0, "load_time": 3.0}
    return history(tmp_path, json.dumps({"m": model, "bare": {"latency": 2.0}}))


def test_starting_and_answering_are_added(output: Path) -> None:
    assert estimate_seconds(read_history(output), "m", answers=12, tokens=None) == 6 + 12 * 0.5


def test_a_longer_answer_takes_longer_where_the_length_is_fixed(output: Path) -> None:
    assert estimate_seconds(read_history(output), "m", answers=1, tokens=100) == 6 + 1.0
    assert estimate_seconds(read_history(output), "bare", answers=3, tokens=100) == 6.0


def test_what_has_never_run_is_unknown(output: Path, tmp_path: Path) -> None:
    assert estimate_seconds(read_history(output), "other", answers=1, tokens=None) is None
    assert estimate_seconds(read_history(tmp_path / "none"), "m", answers=1, tokens=None) is None


def test_what_the_last_run_did_not_measure_is_looked_for_in_earlier_ones(output: Path) -> None:
    for number, metrics in enumerate(
        [{"old": {"latency": 9.0}, "m": {"latency": 9.0}}, {"old": {"latency": 7.0}}, {"old": {}}]
    ):
        run = output / f"2026010{number + 1}T000000Z-abcdef"
        run.mkdir()
        (run / "log.jsonl").touch()
        (run / "metrics.json").write_text(json.dumps(metrics))
    known = read_history(output, ["m", "old", "never"])
    assert (known["m"]["latency"], known["old"]["latency"], "never" in known) == (0.5, 7.0, False)
    assert "old" not in read_history(output, ["m"])


@pytest.mark.parametrize("content", ["not json", "[]", '{"m": 3}', '{"m": {"latency": "fast"}}'])
def test_a_strange_history_is_no_history(tmp_path: Path, content: str) -> None:
    assert estimate_seconds(read_history(history(tmp_path, content)), "m", answers=1, tokens=None) is None


def test_the_frozen_model_takes_its_time_beside_each_answer(output: Path) -> None:
    known = read_history(output)
    assert estimate_seconds(known, "m", answers=12, tokens=None, anchored=True) == 6 + 12 * (0.5 + TYPICAL_S)
    known["m"]["anchor_net_time"] = 0.25
    assert estimate_seconds(known, "m", answers=12, tokens=None, anchored=True) == 6 + 12 * 0.75
    assert estimate_seconds(known, "m", answers=12, tokens=None) == 6 + 12 * 0.5
