from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.cost.estimate import daily_cost, per_million_tokens, request_cost
from pytest_llmci.records import Missing, Price

HOURLY = Price(name="rack", usd_per_hour=3.6)
TOKENS = Price(name="api", usd_per_million_input_tokens=1.0, usd_per_million_output_tokens=4.0)


def test_an_hour_is_paid_by_time_and_tokens_by_their_count() -> None:
    assert request_cost(HOURLY, 2.0, None, None) == pytest.approx(0.002)
    assert request_cost(TOKENS, 2.0, 100, 25) == pytest.approx(0.0002)
    assert request_cost(Price(name="free", usd_per_hour=0.0), 2.0, None, None) == 0.0


def test_tokens_that_nobody_counted_have_no_cost() -> None:
    cost = request_cost(TOKENS, 2.0, 100, None)
    assert isinstance(cost, Missing) and "does not count tokens" in cost.reason and "'api'" in cost.reason


def test_requests_a_day_need_whole_machines() -> None:
    day = daily_cost(HOURLY, 0.002, 2.0, 100_000)
    assert day.machines == 3
    assert (day.busy, day.whole) == pytest.approx((200.0, 3 * 24 * 3.6))
    few = daily_cost(HOURLY, 0.002, 2.0, 10)
    assert few.machines == 1
    assert (few.busy, few.whole) == pytest.approx((0.02, 86.4))
    paid = daily_cost(TOKENS, 0.0002, 2.0, 1000)
    assert paid.machines is None
    assert (paid.busy, paid.whole) == pytest.approx((0.2, 0.2))


def test_a_million_tokens_at_the_measured_speed() -> None:
    assert per_million_tokens(0.002, 50) == pytest.approx(40.0)
    assert isinstance(per_million_tokens(0.002, 0), Missing)


@given(st.floats(0, 100), st.floats(1e-4, 1e4), st.integers(1, 10**7))
def test_whole_machines_never_cost_less_than_their_busy_time(usd: float, latency: float, requests: int) -> None:
    price = Price(name="rack", usd_per_hour=usd)
    cost = request_cost(price, latency, None, None)
    assert not isinstance(cost, Missing)
    day = daily_cost(price, cost, latency, requests)
    assert day.whole >= day.busy or math.isclose(day.whole, day.busy)
