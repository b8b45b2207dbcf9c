"""Simulated sessions have the noise and the changes that the benchmark says."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def gate(benchmark_module: ModuleType) -> ModuleType:
    return benchmark_module


@pytest.mark.parametrize(
    ("change", "hit", "size"),
    [
        ("none", 0, 0.0),
        ("one cell +5 %", 1, 0.05),
        ("one model +5 %", 10, 0.05),
        ("all +5 %", 50, 0.05),
        ("one cell +10 %", 1, 0.10),
    ],
)
def test_planted_changes(gate: ModuleType, change: str, hit: int, size: float) -> None:
    planted = gate.Matrix(models=5, prompts=10).planted(change, np.random.default_rng(1))
    assert np.count_nonzero(planted) == hit
    assert np.expm1(planted).max() == pytest.approx(size)
    first = int(np.argmax(planted)) // 10 * 10
    assert hit != 10 or planted[first : first + 10].all()  # the cells of one model


def test_noise_is_as_stated(gate: ModuleType) -> None:
    matrix, chance = gate.Matrix(models=200, prompts=5), np.random.default_rng(2)
    base, candidate = gate.block(matrix, 100, np.zeros(matrix.cells), chance)
    ratio = np.log(candidate / base)
    middle = np.median(ratio, axis=1)
    rounds = 1.4826 * np.median(np.abs(ratio - middle[:, None]))
    assert rounds == pytest.approx(gate.ROUND_SD, rel=0.06)
    assert middle.std() == pytest.approx(np.sqrt(2) * gate.PROCESS_SD, rel=0.1)
    by_model = middle.reshape(200, 5).mean(axis=1).var()
    assert by_model == pytest.approx(2 * gate.PROCESS_SD**2 * (0.5 + 0.5 / 5), rel=0.25)


def test_adaptive_sessions_end_as_soon_as_they_may(gate: ModuleType) -> None:
    matrix, chance = gate.Matrix(models=1, prompts=2), np.random.default_rng(3)
    assert gate.adaptive(matrix, np.full(2, 0.5), chance) == ("regressed", 5)
    verdict, rounds = gate.adaptive(matrix, np.zeros(2), chance)
    assert verdict == "pass" and 5 < rounds <= 20


@pytest.mark.parametrize(
    ("size", "pairs", "answer"),
    [
        (1.0, np.repeat(np.arange(4), 5), 0),
        (1.5, np.repeat(np.arange(1), 5), 1),
        (1.0, np.repeat(np.arange(1), 5), 2),  # the first of four looks wants more
        (1.03, np.zeros(20, int), 2),  # twenty rounds in one pair are no blocks: a single look
    ],
)
def test_the_adapter_translates(
    gate: ModuleType, monkeypatch: pytest.MonkeyPatch, size: float, pairs: np.ndarray, answer: int
) -> None:
    from benchmarks import gate_adapter

    noise = np.random.default_rng(4).normal(0, 0.03, (2, 2, len(pairs)))

    def samples(times: np.ndarray) -> dict[str, object]:
        cells = [{"model": "m", "cpu_s": row.tolist(), "pair": pairs.tolist()} for row in times]
        return {"paired": True, "host": "a", "sessions": [{"cells": cells}]}

    assert gate_adapter.decide(samples(np.exp(noise[0])), samples(size * np.exp(noise[1]))) == answer


def test_the_adapter_compares_no_times_of_another_host(gate: ModuleType) -> None:
    from benchmarks import gate_adapter

    def samples(host: str, time: float) -> dict[str, object]:
        cell = {"model": "m", "cpu_s": [time] * 10, "wall_s": [time] * 10, "cal_s": [[0.002]] * 10}
        return {"paired": False, "host": host, "sessions": [{"cells": [cell]}]}

    assert gate_adapter.decide(samples("a", 1.0), samples("a", 3.0)) == 1
    assert gate_adapter.decide(samples("a", 1.0), samples("b", 3.0)) == 2
    assert gate_adapter.decide(samples("a", 1.0), samples("a", 1.0)) == 2  # no stored time certifies 5 %
