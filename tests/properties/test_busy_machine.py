"""What a busy machine does to the times of a model that meets its budget, and what is said of it then."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import rounds

from pytest_llmci.engine.judge import Judge
from pytest_llmci.engine.net_of_waiting import FAR
from pytest_llmci.engine.schedule import CONTAMINATED_SHARE, CellMeasurement, CellPlan
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import Cell, GenerationSettings, ModelSpec, Prompt, RoundsRecord
from pytest_llmci.registry import Registry
from pytest_llmci.stats.budget_expression import Budget

LATENCY = next(metric for metric in builtin_metrics() if metric.name == "latency")
LIMIT_S = 0.5
S = 1_000_000_000
CELL = Cell(id="a-tcp", model=ModelSpec(alias="a", backend="echo"), prompt=Prompt(id="tcp", text="What?"))


def busy(own_s: Any, waited_s: Any) -> RoundsRecord:
    """:param own_s: of each round, what its thread ran. :param waited_s: what it was kept waiting."""
    own, waited = (np.rint(np.asarray(each) * S).astype(int).tolist() for each in (own_s, waited_s))
    n = len(own)
    values = {
        "latency": [one + other for one, other in zip(own, waited, strict=True)], "run_delay": waited, "net_time": own,
        "steal": [0] * n, "major_faults": [0] * n,
    }  # fmt: skip
    return rounds(latencies_ms=(1.0,) * n, values=values)


def verdict(block: RoundsRecord, statistic: str = "median", *, family: int = 1) -> str:
    budget = Budget(
        text="b", origin="", model_glob="*", metric=LATENCY, statistic=statistic, operator="<=", limit=LIMIT_S
    )
    plan = CellPlan(
        rounds=5,
        max_rounds=20,
        warmup=1,
        block=5,
        generation=GenerationSettings(),
        budgets=(budget,),
        family=family,
        checks=(),
    )
    measurement = CellMeasurement(cell=CELL, plan=plan, blocks=[block])
    (result,) = Judge(Registry()).verdict(measurement, uid="v", test="t", attempt=1).budgets
    return result.verdict


ROUNDS = st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(1.0, FAR), st.floats(0.3, 50.0)), min_size=3, max_size=12)


@given(ROUNDS, st.sampled_from(["median", "mean", "p90", "p95"]))
def test_a_model_within_its_limit_never_fails_where_every_round_waited(
    each: list[tuple[float, float, float]], statistic: str
) -> None:
    """However long its rounds wait, and whatever they run longer beside neighbours up to twice: no healthy model fails."""
    own = [share * LIMIT_S * longer for share, longer, _ in each]
    waited = [time * wait for time, (_, _, wait) in zip(own, each, strict=True)]
    assert min(wait / (1 + wait) for _, _, wait in each) > CONTAMINATED_SHARE
    assert verdict(busy(own, waited), statistic) != "failed"


@given(st.floats(1.0, 20.0), st.floats(0.3, 50.0))
def test_more_waiting_never_makes_a_verdict_worse(times: float, wait: float) -> None:
    """What is far off with much waiting is far off with none: a failure on a busy machine is one on a quiet machine."""
    own = [LIMIT_S * times * (1 + 0.001 * number) for number in range(5)]
    if verdict(busy(own, [time * wait for time in own])) == "failed":
        assert verdict(busy(own, [0.0] * 5)) == "failed"


SESSIONS = 2000


@pytest.mark.parametrize("noise", [0.03, 0.3])
def test_false_failures_where_neighbours_take_half_of_everything(noise: float) -> None:
    """At most 1 % of sessions fail whose own median is twice the limit for the neighbours' sake: here it is exactly so."""
    rng = np.random.default_rng(22)
    failed = 0
    for _ in range(SESSIONS):
        own = FAR * LIMIT_S * np.exp(noise * rng.standard_normal(5))
        failed += verdict(busy(own, own * rng.uniform(0.4, 4.0, 5))) == "failed"
    assert failed < 34  # a binomial count of 2,000 at 1 % lies under it with probability 0.999


def test_a_far_off_model_fails_on_the_busiest_machine() -> None:
    """Three times the limit without all waiting, rounds that vary by 3 %: found by the first five rounds, with 20 cells beside it."""
    rng = np.random.default_rng(23)
    found = 0
    for _ in range(200):
        own = 3 * LIMIT_S * np.exp(0.03 * rng.standard_normal(5))
        found += verdict(busy(own, own * rng.uniform(0.4, 4.0, 5)), family=20) == "failed"
    assert found >= 190
