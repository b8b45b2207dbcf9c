import pytest

from pytest_llmci.stats.memory import compare_memory

MIB = 2**20


@pytest.mark.parametrize(
    ("base", "candidate", "verdict"),
    [
        ([1000], [1020], "pass"),
        ([1000], [1020.1], "regressed"),  # 2 %
        ([100], [108], "pass"),
        ([100], [108.1], "regressed"),  # 8 MiB
        ([1000, 1010], [1029], "pass"),
        ([1000, 1010], [1031], "regressed"),  # three times the spread
        ([1000, 1500, 1001], [2000, 999], "pass"),  # the least counts
        ([1000], [500], "pass"),
    ],
)
def test_the_greatest_of_three_tolerances(base: list[float], candidate: list[float], verdict: str) -> None:
    found = compare_memory([value * MIB for value in base], [value * MIB for value in candidate])
    assert found.verdict == verdict


def test_what_is_exact_has_no_tolerance() -> None:
    assert compare_memory([270_000_000], [270_000_001], exact=True).verdict == "regressed"
    assert compare_memory([270_000_000], [270_000_000], exact=True).verdict == "pass"


def test_what_is_told() -> None:
    found = compare_memory([1000 * MIB], [950 * MIB])
    assert found.improved
    assert found.effect == pytest.approx(-0.05)
    assert found.tolerance == pytest.approx(20 * MIB)
    assert not compare_memory([1000 * MIB], [990 * MIB]).improved
    assert compare_memory([0], [0]).effect is None


@pytest.mark.parametrize("values", [[], [float("nan")], [-1.0]])
def test_impossible_peaks(values: list[float]) -> None:
    with pytest.raises(ValueError, match="candidate: give at least one peak"):
        compare_memory([1.0], values)
