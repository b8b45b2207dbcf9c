"""The frozen model that is timed beside rounds."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from pytest_llmci.measure.anchor import ANCHOR_METRICS, NO_NUMPY, TYPICAL_S, Anchor, FrozenModel, why_no_anchor
from pytest_llmci.metrics import BESIDE
from pytest_llmci.records import Missing

HERE = {"isolated": True, "threads": 1, "device": None, "computes_here": True}


@pytest.fixture(scope="module")
def frozen() -> FrozenModel:
    pytest.importorskip("numpy")
    return FrozenModel()


def test_it_is_frozen(frozen: FrozenModel) -> None:
    """Every answer is the same work with the same outcome, whoever builds it."""
    first = frozen.answer()
    assert first == frozen.answer() == FrozenModel().answer()
    assert 0 < abs(first) < 1e4  # neither died out nor exploded: then it would be other arithmetic


def test_an_answer_keeps_to_the_room_that_was_made(frozen: FrozenModel) -> None:
    """What it adds to resident memory is there before anything is measured, and stays."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs Linux's /proc")
    frozen.answer()
    before = int(statm.read_text().split()[1])
    for _ in range(5):
        frozen.answer()
    assert (int(statm.read_text().split()[1]) - before) * 4096 < 256 * 1024


def test_its_name_tells_what_its_time_depends_on(frozen: FrozenModel) -> None:
    import numpy as np

    version, library, blas = frozen.name.split(", ")
    assert version == "decoder 1"
    assert library == f"numpy {np.__version__}"
    assert blas.split()[0] and "?" not in blas


def test_both_times_are_taken_with_the_collector_off(frozen: FrozenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    collects: list[bool] = []

    def answer(_self: FrozenModel) -> float:
        collects.append(gc.isenabled())
        return sum(range(20_000))

    monkeypatch.setattr(FrozenModel, "answer", answer)
    assert gc.isenabled()
    found = frozen.time()
    assert collects == [False]
    assert gc.isenabled()
    assert list(found) == [metric.name for metric in ANCHOR_METRICS] == list(BESIDE.values())
    cpu = found["anchor_cpu_time"]
    assert isinstance(cpu, int) and 0 < cpu < 1e9
    gc.disable()
    try:
        frozen.time()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_net_time_is_missing_where_the_kernel_does_not_tell(
    frozen: FrozenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen._delay, "raw", lambda: b"")
    found = frozen.time()
    assert not isinstance(found["anchor_cpu_time"], Missing)
    assert isinstance(found["anchor_net_time"], Missing)


def test_a_plan_knows_about_how_long_it_takes(frozen: FrozenModel) -> None:
    """Within a factor of ten on whatever machine the tests run."""
    frozen.answer()
    cpu = frozen.time()["anchor_cpu_time"]
    assert isinstance(cpu, int)
    assert TYPICAL_S / 10 < cpu / 1e9 < TYPICAL_S * 10


def test_without_numpy_the_times_are_missing_and_say_so() -> None:
    def build() -> FrozenModel:
        raise ImportError("No module named 'numpy'")

    anchor = Anchor("", build)
    assert anchor.facts == {"anchor_missing": NO_NUMPY}
    assert anchor.time() == dict.fromkeys(BESIDE.values(), Missing(NO_NUMPY))


def test_where_it_would_tell_nothing_it_is_not_built() -> None:
    def build() -> FrozenModel:
        raise AssertionError("built")

    anchor = Anchor("elsewhere", build)
    assert anchor.facts == {"anchor_missing": "elsewhere"}
    assert anchor.time()["anchor_cpu_time"] == Missing("elsewhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"device": "cpu"}, ""),
        ({"isolated": False}, "the model's own process"),
        ({"computes_here": False}, "computes elsewhere"),
        ({"device": "cuda:0"}, "computes on cuda:0"),
        ({"device": "mps"}, "computes on mps"),
        ({"threads": 2}, "may use 2"),
        ({"threads": 0}, "not known"),
    ],
)
def test_beside_which_models_it_is_timed(change: dict[str, object], words: str) -> None:
    why = why_no_anchor(**{**HERE, **change})  # type: ignore[arg-type]  # of the types above
    assert words in why
    assert bool(why) == bool(words)
