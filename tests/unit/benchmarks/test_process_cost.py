"""The arithmetic and the order of the benchmarks of whole processes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def process_cost(benchmark_module: ModuleType) -> ModuleType:
    return benchmark_module


def test_sides_take_turns_forwards_and_backwards(
    process_cost: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order: list[str] = []

    def run(side: Any, output: Path) -> object:
        order.append(side.name)
        return process_cost.Cost(cpu_s=1.0, peak_rss_bytes=1)

    monkeypatch.setattr(process_cost, "run", run)
    sides = [
        process_cost.Side(name=name, command=[], cwd=tmp_path, environment={}, expected="") for name in ("a", "b", "c")
    ]
    costs = process_cost.measure_in_turn(sides, 3, tmp_path / "output.txt")
    assert "".join(order) == "abc" + "abc" + "cba" + "abc"
    assert {name: len(of_side) for name, of_side in costs.items()} == {"a": 3, "b": 3, "c": 3}


@pytest.mark.skipif(sys.platform == "win32", reason="os.wait4 is missing there")
def test_cpu_time_and_peak_memory_of_a_process_are_seen(process_cost: ModuleType, tmp_path: Path) -> None:
    work = "import time; b = bytearray(100_000_000)\nwhile time.process_time() < 0.2: pass\nprint('done')"
    side = process_cost.Side(
        name="work", command=[sys.executable, "-c", work], cwd=tmp_path, environment={}, expected="done"
    )
    cost = process_cost.run(side, tmp_path / "output.txt")
    assert 0.2 <= cost.cpu_s < 2
    assert cost.peak_rss_bytes > 100_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="os.wait4 is missing there")
def test_a_command_that_did_not_do_its_work_is_no_measurement(process_cost: ModuleType, tmp_path: Path) -> None:
    side = process_cost.Side(
        name="broken",
        command=[sys.executable, "-c", "raise SystemExit(3)"],
        cwd=tmp_path,
        environment={},
        expected="ok",
    )
    with pytest.raises(process_cost.RunFailedError, match="broken: exit status 3 and no 'ok'"):
        process_cost.run(side, tmp_path / "output.txt")


def test_comparison_pairs_the_rounds(process_cost: ModuleType) -> None:
    def costs(*cpu_s: float) -> list[object]:
        return [process_cost.Cost(cpu_s=value, peak_rss_bytes=int(value * 1000)) for value in cpu_s]

    seen = process_cost.compare(costs(1.1, 2.2, 3.1), costs(1.0, 2.0, 3.0))
    assert seen.ratio == pytest.approx(1.1)
    assert seen.difference_s == pytest.approx(0.1)
    assert seen.interval_s == pytest.approx((0.1, 0.2))
    assert seen.peak_difference_bytes == 200
