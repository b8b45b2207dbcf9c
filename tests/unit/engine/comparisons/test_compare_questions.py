"""Answers to the same questions on two sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmci.engine.comparisons.compare_questions import Side, compare_sides, least_visible

SIDE = Side(
    main="acc", questions_sha256="q" * 64, prompt_sha256="p" * 64, label="100 questions", right=[1.0] * 60 + [0.0] * 40,
    deterministic=True, machine={"cpu_model": "one"},
)  # fmt: skip


def changed(lost: int, won: int, **more: object) -> Side:
    right = [0.0] * lost + [1.0] * (60 - lost) + [1.0] * won + [0.0] * (40 - won)
    return replace(SIDE, right=right, **more)  # type: ignore[arg-type]  # fields of Side


def test_where_both_sides_repeat_to_the_last_bit_one_net_loss_is_a_regression() -> None:
    worse = compare_sides(SIDE, changed(2, 1), against="main")
    assert (worse.verdict, worse.mode, worse.p_value) == ("regressed", "exact", None)
    assert worse.base == 60.0 and worse.candidate == 59.0 and worse.change == pytest.approx(-1 / 60)
    assert worse.reason.startswith("acc 60.0 % -> 59.0 % over 100 questions: 2 lost, 1 won; counted")
    assert compare_sides(SIDE, changed(2, 2), against="main").verdict == "pass"
    better = compare_sides(SIDE, changed(0, 1), against="main")
    assert better.verdict == "pass" and better.improved


@pytest.mark.parametrize(
    ("side", "why"),
    [
        (changed(2, 0, deterministic=False), "this run did not repeat to the last bit"),
        (changed(2, 0, deterministic=None), "this run asked no question twice"),
        (changed(2, 0, machine={"cpu_model": "two"}), "the machines differ"),
    ],
)
def test_elsewhere_mcnemar_decides_and_says_why(side: Side, why: str) -> None:
    found = compare_sides(SIDE, side, against="main")
    assert found.verdict == "inconclusive" and found.mode == "saved" and found.p_value == pytest.approx(0.125)
    assert why in found.reason and "a drop of 6 net (6.0 points) or more could have been seen" in found.reason
    assert compare_sides(SIDE, replace(side, right=changed(5, 0).right), against="main").verdict == "inconclusive"
    assert compare_sides(SIDE, replace(side, right=changed(6, 0).right), against="main").verdict == "regressed"


def test_an_unchanged_large_set_passes_without_a_census() -> None:
    large = replace(SIDE, right=[1.0, 0.0] * 200, deterministic=None)
    assert compare_sides(large, large, against="main").verdict == "pass"


def test_a_stricter_alpha_sees_less_and_too_few_questions_see_nothing() -> None:
    assert least_visible(0.01) == 6 and least_visible(0.001) == 9
    few = replace(SIDE, right=[1.0] * 4, deterministic=False)
    found = compare_sides(few, few, against="main")
    assert found.verdict == "inconclusive" and "4 questions are too few for any drop to be seen" in found.reason


def test_other_questions_or_another_prompt_are_not_comparable_and_named() -> None:
    for other, why in (
        (
            replace(SIDE, questions_sha256="x" * 64, label="99 questions"),
            "other questions: 100 questions -> 99 questions",
        ),
        (replace(SIDE, prompt_sha256="x" * 64), "another prompt: sha256 pppppppppppp -> xxxxxxxxxxxx"),
        (replace(SIDE, main="acc_norm"), "another metric: acc -> acc_norm"),
    ):
        found = compare_sides(SIDE, other, against="main")
        assert found.verdict == "not comparable" and found.change is None and why in found.reason


def test_shares_of_a_question_are_tested_by_their_sign_and_not_moved_by_noise() -> None:
    shares = replace(SIDE, main="mc2", right=[0.5] * 100)
    assert compare_sides(shares, replace(shares, right=[0.4995] * 100), against="main").p_value == 1.0
    worse = compare_sides(shares, replace(shares, right=[0.4] * 20 + [0.5] * 80), against="main")
    assert worse.verdict == "regressed" and "20 lost, 0 won" in worse.reason
