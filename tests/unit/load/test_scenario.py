"""Scenarios as people write them."""

from __future__ import annotations

import pytest

from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.load.scenario import of_spec, parse_objective, parse_scenario, scenario_id, scenario_text
from pytest_llmci.records import Objective
from pytest_llmci.specs import parse_spec


@pytest.mark.parametrize(
    ("text", "own_spelling", "name"),
    [
        ("rate=4 requests=200 ttft<=500ms", "server rate=4 requests=200 ttft<=500ms", "server-4"),
        ("server, rate=0.5/s", "server rate=0.5 requests=100", "server-0.5"),
        ("concurrency=8", "closed-loop concurrency=8 requests=100", "closed-loop-8"),
        ("concurrency=80", "closed-loop concurrency=80 requests=160", "closed-loop-80"),
        ("offline", "offline requests=100", "offline"),
        ("single-stream requests=7 latency <= 2s", "single-stream requests=7 latency<=2s", "single-stream"),
        (
            "rate=1..64 itl<=50ms share=90%",
            "server rate=1..64 requests=100 resolution=10% share=90% itl<=50ms",
            "sweep-1-64",
        ),
        (
            "rate = 1..64 resolution = 5%, ttft <= 1s",
            "server rate=1..64 requests=100 resolution=5% share=95% ttft<=1s",
            "sweep-1-64",
        ),
    ],
)
def test_what_is_written_and_what_is_meant(text: str, own_spelling: str, name: str) -> None:
    scenario = parse_scenario(text, "x")
    assert (scenario_text(scenario), scenario_id(scenario)) == (own_spelling, name)
    assert parse_scenario(own_spelling, "x") == scenario


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no load; write it like 'rate=4"),
        ("ttft<=3s", "names no load"),
        ("rate=4 concurrency=8", "take one of the two away"),
        ("server", "'server' needs to know how much; write rate=4"),
        ("closed-loop", "write concurrency=8"),
        ("offline rate=3", "'offline' has no rate"),
        ("rate=0", "above nought"),
        ("rate=fast", "not a quantity in per second"),
        ("rate=8..2 ttft<=1s", "from a lower rate to a higher one"),
        ("rate=1..64", "a sweep looks for the highest rate that keeps an objective, and there is none"),
        ("rate=4 share=90%", "'share=' is for a sweep"),
        ("rate=1..64 ttft<=1s share=5%..", "not a quantity"),
        ("rate=1..64 ttft<=1s resolution=0.1%", "a share from 1%"),
        ("concurrency=8 requests=4", "4 requests keep no 8 users busy; write requests=16"),
        ("concurrency=0", "must be a whole number from 1 to 10,000"),
        ("offline requests=1e3", "must be a whole number"),
        ("rate=4 rate=5", "'rate=' is given more than once"),
        ("rate=4 ttft<=1s ttft<=2s", "'ttft<=' is given more than once"),
        ("rate=4 itl<=0", "no answer keeps"),
        ("offline single-stream", "are two loads"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_scenario(text, "--llmci-load")
    told = str(caught.value)
    assert message in told and told.startswith("--llmci-load: ") and "\n" not in told


@pytest.mark.parametrize(
    ("text", "hint"), [("ofline", "offline"), ("rate=4 request=9", "requests"), ("rate=4 tttf<=1s", "ttft")]
)
def test_a_slip_is_answered_with_the_nearest_name(text: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{hint}'"):
        parse_scenario(text, "x")


def test_an_objective_of_the_session_holds_where_the_load_has_none() -> None:
    session = parse_objective([("ttft <= 500ms, itl<=50ms", "--llmci-objective")])
    assert session == Objective(ttft_s=0.5, itl_s=0.05)
    assert parse_scenario("rate=4", "x", session).objective == session
    assert parse_scenario("rate=4 latency<=2s", "x", session).objective == Objective(latency_s=2.0)


@pytest.mark.parametrize("text", ["ttft", "ttft=3s", "speed<=3s", "ttft<=3MiB"])
def test_an_objective_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--llmci-objective"):
        parse_objective([(text, "--llmci-objective")])


def test_a_spec_says_a_load() -> None:
    spec = parse_spec("echo+concurrency=4+requests=20", ["echo"], "x")
    scenario = of_spec(spec)
    assert scenario is not None and scenario_text(scenario) == "closed-loop concurrency=4 requests=20"
    assert of_spec(parse_spec("echo", ["echo"], "x")) is None
    with pytest.raises(ConfigError, match=r"'\+requests=' is of a load"):
        of_spec(parse_spec("echo+requests=20", ["echo"], "x"))
