from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import rounds, worker, write_log

from pytest_llmci.engine.comparisons.explain_tradeoffs import recommendation_json, recommendation_lines
from pytest_llmci.engine.comparisons.tradeoffs import (
    CRITERIA,
    HIGHER,
    Criterion,
    Estimate,
    Limits,
    Standing,
    _dominating,
    _is_better,
    placed,
    recommend,
    standings,
)
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import LogRecord, Price, PublishedScore

METRICS = [
    metric for metric in builtin_metrics() if metric.name in ("latency", "peak_rss", "prompt_tokens", "output_tokens")
]


def standing(name: str, **numbers: float | tuple[float, float, float]) -> Standing:
    """A model by ``criterion=value`` or ``criterion=(value, low, high)``."""
    estimates: dict[Criterion, Estimate] = {}
    for criterion in CRITERIA:
        if criterion in numbers:
            given_one = numbers[criterion]
            value, low, high = given_one if isinstance(given_one, tuple) else (given_one,) * 3
            estimates[criterion] = Estimate(value=value, low=low, high=high)
    missing: dict[Criterion, str] = {name: "not measured" for name in CRITERIA if name not in estimates}
    return Standing(model=name, estimates=estimates, missing=missing)


def dominated(*found: Standing) -> dict[str, str]:
    return {each.model: found[by].model for each, by in zip(found, _dominating(found), strict=True) if by is not None}


def test_who_is_nowhere_worse_and_somewhere_better_dominates() -> None:
    fast, small, bad = (
        standing("fast", latency=1, memory=5),
        standing("small", latency=2, memory=1),
        standing("bad", latency=2, memory=6),
    )
    assert dominated(fast, small, bad) == {"bad": "fast"}


def test_what_differs_by_noise_alone_is_a_tie() -> None:
    one, two = standing("one", latency=(1.0, 0.9, 1.1), score=40), standing("two", latency=(1.05, 0.95, 1.15), score=41)
    assert dominated(one, two) == {"one": "two"}
    assert dominated(one, standing("two", latency=(1.2, 1.12, 1.3), score=41)) == {}


def test_a_higher_score_is_better_and_a_known_number_is_better_than_none() -> None:
    assert dominated(standing("a", score=40), standing("b", score=30), standing("c")) == {"b": "a", "c": "a"}


numbers = st.one_of(
    st.none(),
    st.floats(0, 10).flatmap(lambda value: st.tuples(st.just(value), st.floats(0, value), st.floats(value, 20))),
)
models = st.lists(st.fixed_dictionaries(dict.fromkeys(CRITERIA, numbers)), min_size=1, max_size=8).map(
    lambda rows: [
        standing(f"m{place}", **{key: value for key, value in row.items() if value is not None})
        for place, row in enumerate(rows)
    ]
)


@given(models)
def test_the_pareto_set_is_what_nobody_beats_by_the_definition(found: list[Standing]) -> None:
    for other, by in enumerate(_dominating(found)):
        beaten = [
            place for place, one in enumerate(found)
            if any(_is_better(one, found[other], name) for name in CRITERIA) and not any(_is_better(found[other], one, name) for name in CRITERIA)
        ]  # fmt: skip
        assert by == (beaten[0] if beaten else None)


@given(models, st.fixed_dictionaries({"min_score": st.floats(0, 10), "max_latency_s": st.none() | st.floats(0, 10)}))
def test_the_recommended_model_meets_every_limit_and_all_others_are_accounted_for(
    found: list[Standing], asked: dict[str, float | None]
) -> None:
    limits = Limits(**asked)
    result = recommend(found, limits)
    fitting = [
        each for each in found
        if all(limits.of(name) is None or (name in each.estimates and (each.estimates[name].value >= limits.of(name) if name in HIGHER else each.estimates[name].value <= limits.of(name)))  # type: ignore[operator]
               for name in CRITERIA)
    ]  # fmt: skip
    assert (result.chosen is None) == (not fitting)
    assert result.chosen is None or result.chosen in fitting
    assert len(result.lost) == len(found) - (result.chosen is not None)
    for lost in result.lost:
        assert bool(lost.over or lost.unknown) == (lost.standing not in fitting)
    assert recommendation_lines(result, found, 80)


def test_the_first_criterion_that_is_no_tie_decides() -> None:
    one = standing("one", score=(40, 38, 42), cost=3, latency=1)
    two = standing("two", score=(41, 39, 43), cost=2, latency=2)
    three = standing("three", score=(30, 28, 32), cost=1, latency=1)
    result = recommend([one, two, three], Limits())
    assert result.order == ("score", "cost", "latency") and result.chosen == two
    assert {lost.standing.model: lost.behind for lost in result.lost} == {"one": "cost", "three": "score"}
    assert recommend([one, two, three], Limits(), "latency").chosen == one


def test_a_limit_met_by_less_than_noise_is_told() -> None:
    result = recommend([standing("a", latency=(2.9, 2.5, 3.2))], Limits(max_latency_s=3.0))
    assert result.chosen is not None and result.unsure == ("latency",)
    assert recommend([standing("a", latency=(2.9, 2.5, 2.95))], Limits(max_latency_s=3.0)).unsure == ()


def run(tmp_path: Path, latencies: dict[str, list[float]], **of_worker: object) -> list[Standing]:
    records: list[LogRecord] = []
    for place, (model, seconds) in enumerate(latencies.items()):
        values = {
            "latency": [int(each * 1e9) for each in seconds], "peak_rss": [2**30 + place] * len(seconds),
            "prompt_tokens": [10] * len(seconds), "output_tokens": [50] * len(seconds),
        }  # fmt: skip
        records += [
            worker(f"w{place}", model, **of_worker),
            rounds(f"b{place}", model, "tcp", [0.0] * len(seconds), values=values, worker=f"w{place}"),
        ]
    write_log(tmp_path, records, metrics=METRICS)
    return standings(build_report(tmp_path))


def test_numbers_of_a_run_have_intervals_that_hold_them(tmp_path: Path) -> None:
    noise = random.Random(1)
    seconds = {
        name: [centre * noise.uniform(0.9, 1.1) for _ in range(40)]
        for name, centre in {"a": 1.0, "b": 1.02, "c": 2.0}.items()
    }
    price = Price(name="rack", usd_per_hour=3600.0)
    a, b, c = run(tmp_path, seconds, price=price, published=PublishedScore(value=40.0, source="board.csv", name="x"))
    for each in (a, b, c):
        assert all(estimate.low <= estimate.value <= estimate.high for estimate in each.estimates.values())
        assert each.estimates["cost"].value == pytest.approx(sum(seconds[each.model]) / 40)
    assert a.estimates["latency"].ties(b.estimates["latency"]) and not a.estimates["latency"].ties(
        c.estimates["latency"]
    )
    assert a.estimates["score"].note == "published: board.csv"
    assert (a.dominated_by, c.dominated_by, c.better_in) == ("", "a", ("latency", "cost"))


def test_few_rounds_have_their_slowest_in_place_of_a_quantile_and_say_so(tmp_path: Path) -> None:
    (only,) = run(tmp_path, {"a": [1.0, 3.0, 2.0]})
    assert only.estimates["latency"].value == 3.0
    assert only.estimates["latency"].note == "the slowest of 3 rounds: p95 needs 20"
    (tmp_path / "single").mkdir()
    (single,) = run(tmp_path / "single", {"a": [1.0]})
    assert single.estimates["latency"].note == "the only round: p95 needs 20"
    assert only.missing["cost"].startswith("no price") and only.missing["score"].startswith("no benchmark")


def test_the_text_names_the_model_and_why_each_other_one_lost() -> None:
    found = [
        standing("good", score=40, latency=2.0),
        standing("slow", score=45, latency=5.0),
        standing("weak", score=36, latency=1.0),
        standing("dark", latency=1.0),
    ]
    found = placed(found)
    result = recommend(found, Limits(min_score=35.0, max_latency_s=3.0))
    text = "\n".join(recommendation_lines(result, found, 200))
    assert (
        "Take good: of those within the limits (score >= 35, p95 latency <= 3 s), the best by score, then latency."
        in text
    )
    assert "slow: p95 latency 5 s, limit 3 s." in text
    assert "weak: scores lower: 36 against 40." in text
    assert "dark: score is not known: not measured." in text
    data = recommendation_json(result, found)
    assert data["recommended"] == "good" and data["pareto_set"] == ["good", "slow", "weak"]


def test_without_a_model_within_the_limits_that_is_what_is_said() -> None:
    found = [standing("a", latency=5.0)]
    result = recommend(found, Limits(max_latency_s=3.0))
    assert result.chosen is None
    assert recommendation_lines(result, found, 80)[0] == "No model is within the limits (p95 latency <= 3 s)."


def test_of_no_model_there_is_no_standing() -> None:
    assert placed([]) == []
