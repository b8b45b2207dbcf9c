"""Rules of load that hold for any arrivals, any answers and any server."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from loads import run

from pytest_llmci.load.accounting import Outcome, keeps
from pytest_llmci.load.arrivals import poisson_ns, prompt_order
from pytest_llmci.load.scenario import parse_scenario, scenario_text
from pytest_llmci.load.sweep import Search
from pytest_llmci.measure.under_load import LOAD_METRIC_NAMES
from pytest_llmci.records import LoadRun, Objective, from_json, to_json

times = st.integers(min_value=0, max_value=10**11)
spans = st.integers(min_value=1, max_value=10**10)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    """A request that was due, could be sent, was sent, and ended, in this order."""
    intended = draw(times)
    ready = intended + draw(st.integers(0, 10**9))
    sent = ready + draw(st.integers(0, 10**9))
    first = draw(st.none() | st.integers(0, 10**9).map(lambda after: sent + after))
    ended = (sent if first is None else first) + draw(spans)
    return Outcome(
        0, intended, ready, sent, first, ended, tokens=draw(st.none() | st.integers(1, 500)), chunks=draw(st.integers(0, 50)),
        failure=draw(st.sampled_from(["", "", "", "server_busy"])), message="no",
    )  # fmt: skip


@given(
    st.lists(outcomes(), min_size=1, max_size=60),
    st.sampled_from([Objective(), Objective(ttft_s=0.5), Objective(latency_s=2, itl_s=0.1)]),
)
def test_a_run_has_every_number_or_a_reason_and_survives_its_line(made: list[Outcome], objective: Objective) -> None:
    """Every metric is a number or missing with a reason; what is kept is never more than what is answered."""
    found = run(made, objective)
    assert found.values.keys() | found.reasons.keys() == set(LOAD_METRIC_NAMES)
    assert not found.values.keys() & found.reasons.keys()
    assert from_json(LoadRun, to_json(found)) == found
    kept = sum(keeps(each, objective) is True for each in made)
    assert kept <= sum(not each.failure for each in made)
    if "goodput" in found.values and "request_throughput" in found.values:
        assert found.values["goodput"] <= found.values["request_throughput"] + 1e-9


@given(st.lists(outcomes(), min_size=1, max_size=60), st.integers(1, 10**9))
def test_sending_later_changes_no_time_but_the_generators_own(made: list[Outcome], later: int) -> None:
    """Times count from the intended sending: how late a request was sent is in none of them, only in what is refused."""
    before = run(made).values
    for each in made:
        each.sent_ns += later
    after = run(made).values
    shared = before.keys() & after.keys() - {"generator_delay"}
    assert {name: before[name] for name in shared} == {name: after[name] for name in shared}
    assert after["generator_delay"] >= before["generator_delay"]


@given(st.integers(1, 300), st.floats(0.01, 10_000), st.integers(0, 2**32))
def test_arrivals_rise_and_scale(requests: int, rate: float, seed: int) -> None:
    """Arrivals ascend, and at another rate they are the same ones, stretched."""
    found = poisson_ns(requests, rate, seed)
    assert len(found) == requests and found[0] >= 0 and all(one <= other for one, other in pairwise(found))
    half = poisson_ns(requests, rate / 2, seed)
    assert all(abs(slow - 2 * fast) <= 2 for slow, fast in zip(half, found, strict=True))


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 2**32))
def test_prompts_are_asked_equally_often(requests: int, prompts: int, seed: int) -> None:
    """No prompt is asked twice more than another."""
    order = prompt_order(requests, prompts, seed)
    counts = [order.count(place) for place in range(prompts)]
    assert len(order) == requests and max(counts) - min(counts) <= 1


@given(st.floats(0.5, 100), st.floats(1.1, 1000), st.floats(0.01, 1), st.floats(0.1, 200_000))
def test_a_search_ends_at_what_a_server_stands(low: float, span: float, resolution: float, strength: float) -> None:
    """On a server that keeps its objective up to a rate, the search ends below it, and no further than its resolution says."""
    search = Search(low=low, high=low * span, resolution=resolution)
    for _ in range(300):
        rate = search.next()
        if rate is None:
            break
        search.tell(rate, rate <= strength)
    assert search.next() is None
    if strength < low:
        assert search.kept is None
    else:
        assert search.kept is not None and search.kept <= strength
        assert search.kept >= min(strength / (1 + resolution), low * span) * 0.999
    assert all(rate <= max(low, 2 * strength) * 1.001 for rate in search.tried)


@given(
    st.sampled_from(["offline", "single-stream", "concurrency=7", "rate=3.25", "rate=1..9"]),
    st.integers(14, 10**5),
    st.integers(1, 10**4),
)
def test_a_scenario_reads_back_from_its_own_spelling(load: str, requests: int, milliseconds: int) -> None:
    """The text of a scenario, which the log holds, is the scenario."""
    scenario = parse_scenario(f"{load} requests={requests} ttft<={milliseconds}ms", "x")
    again = parse_scenario(scenario_text(scenario), "x")
    assert scenario_text(again) == scenario_text(scenario) and again.requests == requests
