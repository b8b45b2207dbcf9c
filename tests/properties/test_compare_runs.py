from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import simple, write_run

from pytest_llmci.engine.comparisons.compare_runs import compare_stored
from pytest_llmci.engine.comparisons.stored_run import StoredRun, read_run

FACTORS = st.floats(0.4, 2.5)
FEW = settings(max_examples=30)


def stored(number: int, *, factor: float = 1.0, seed: int = 0, n: int = 10, tokens: int = 50) -> StoredRun:
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder), number, simple(["p1", "p2", "p3"], factor=factor, seed=seed, n=n, tokens=tokens))
        return read_run(run)


@FEW
@given(FACTORS, st.integers(0, 5), st.integers(1, 12), st.integers(1, 90))
def test_a_run_never_regresses_against_itself(factor: float, seed: int, n: int, tokens: int) -> None:
    """compare(A, A) finds no change, whatever A measured."""
    run = stored(0, factor=factor, seed=seed, n=n, tokens=tokens)
    found = compare_stored([run], run)
    results = [result for cell in found.cells for result in cell.results] + [result for _, result in found.models]
    assert not found.failed
    assert not any(result.improved or result.change for result in results)
    assert not found.changed_outputs
    assert found.changed == found.hardware == ()


@FEW
@given(FACTORS, st.integers(1, 5), st.integers(3, 12))
def test_swapping_the_sides_flips_the_comparison(factor: float, seed: int, n: int) -> None:
    """What is a regression from A to B is an improvement from B to A, and 1 + change becomes its inverse."""
    a, b = stored(0, n=n), stored(1, factor=factor, seed=seed, n=n)
    there, back = compare_stored([a], b), compare_stored([b], a)
    for one, other in zip(there.cells, back.cells, strict=True):
        for result, mirrored in zip(one.results, other.results, strict=True):
            if result.mode != "exact":
                assert abs((1 + (result.change or 0)) * (1 + (mirrored.change or 0)) - 1) < 1e-9
                assert (result.verdict == "regressed") == mirrored.improved
                assert (mirrored.verdict == "regressed") == result.improved


@FEW
@given(st.permutations(["p1", "p2", "p3"]))
def test_the_order_of_cells_in_a_log_decides_nothing(order: list[str]) -> None:
    """Cells are paired by what they are, not by where they stand."""
    base = stored(0)
    with tempfile.TemporaryDirectory() as folder:
        shuffled = read_run(write_run(Path(folder), 1, simple(order, seed=1)))
    usual = compare_stored([base], stored(1, seed=1))
    found = compare_stored([base], shuffled)
    verdicts = [{cell.id: cell.verdict for cell in each.cells} for each in (usual, found)]
    assert verdicts[0] == verdicts[1]
