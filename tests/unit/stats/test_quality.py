import pytest

from pytest_llmci.stats.quality import QualityChange, compare_answers, mcnemar_mid_p


def answers(lost: int, won: int, n: int = 100, *, deterministic: bool = False, max_drop: float = 0.0) -> QualityChange:
    base = [True] * lost + [False] * won + [True] * (n - lost - won)
    candidate = [False] * lost + [True] * won + [True] * (n - lost - won)
    return compare_answers(base, candidate, deterministic=deterministic, max_drop=max_drop)


def test_a_census_is_counted() -> None:
    assert answers(1, 0, deterministic=True).verdict == "regressed"
    assert answers(1, 1, deterministic=True).verdict == "pass"
    assert answers(2, 0, deterministic=True, max_drop=0.02).verdict == "pass"
    assert answers(3, 0, deterministic=True, max_drop=0.02).verdict == "regressed"
    assert answers(3, 1, deterministic=True).p_value is None
    assert answers(3, 1, deterministic=True).drop == answers(3, 1, deterministic=True).upper == 0.02


@pytest.mark.parametrize(
    ("lost", "won", "verdict"),
    [
        (0, 0, "pass"),
        (0, 10, "pass"),
        (2, 2, "pass"),
        (5, 0, "inconclusive"),  # 1.6 %: five losses prove nothing
        (6, 0, "regressed"),  # 0.8 %
        (10, 4, "inconclusive"),
        (20, 5, "regressed"),
    ],
)
def test_a_sample_is_tested(lost: int, won: int, verdict: str) -> None:
    assert answers(lost, won).verdict == verdict


def test_few_questions_certify_nothing() -> None:
    assert answers(0, 0, 58).verdict == "inconclusive"
    assert answers(0, 0, 59).verdict == "pass"  # 0.95 ** 59 < 5 %
    assert answers(0, 1, 20).verdict == "inconclusive"
    assert answers(3, 0, 3).upper == 1.0


def test_a_drop_that_is_allowed() -> None:
    assert answers(20, 5, 400).verdict == "regressed"
    assert answers(20, 5, 400, max_drop=0.03).verdict == "inconclusive"
    assert answers(40, 5, 400, max_drop=0.03).verdict == "regressed"


def test_mid_p_by_hand() -> None:
    assert mcnemar_mid_p(2, 0) == pytest.approx(0.125)
    assert mcnemar_mid_p(0, 2) == pytest.approx(1 - 0.125)
    assert mcnemar_mid_p(1, 1) == pytest.approx(0.5)
    assert mcnemar_mid_p(0, 0) == 1.0


def test_impossible_questions() -> None:
    with pytest.raises(ValueError, match="2 answers of the base, 1 of the candidate"):
        compare_answers([True, True], [True], deterministic=True)
    with pytest.raises(ValueError, match="0 answers"):
        compare_answers([], [], deterministic=True)
    with pytest.raises(ValueError, match="max_drop under detect"):
        answers(1, 0, max_drop=0.05)
