import re
from collections.abc import Callable
from typing import Literal

import pytest

from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.metrics import Direction, MetricDef
from pytest_llmci.stats.budget_expression import (
    Budget,
    check_contradictions,
    max_latency_budget,
    max_memory_budget,
    parse_budget,
)
from pytest_llmci.units import Unit


def metric(
    name: str,
    unit: Unit,
    direction: Direction,
    *,
    deterministic: bool = False,
    scope: Literal["round", "worker"] = "round",
) -> MetricDef:
    return MetricDef(name=name, unit=unit, direction=direction, definition="", deterministic=deterministic, scope=scope)


METRICS = {
    each.name: each
    for each in (
        metric("latency", "s", "lower"),
        metric("ttft", "s", "lower"),
        metric("tokens_per_s", "1/s", "higher"),
        metric("peak_rss", "B", "lower", deterministic=True),
        metric("output_tokens", "1", "none", deterministic=True),
        metric("load_time", "s", "lower", scope="worker"),
        metric("cpu_percent", "%", "none"),
    )
}


def parse(text: str, origin: str = "--llmci-budget") -> Budget:
    return parse_budget(text, origin, METRICS)


def fault(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("--llmci-budget: budget '"), "it names the origin"
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "glob", "name", "statistic", "operator", "limit"),
    [
        ("ttft.median <= 300ms", "*", "ttft", "median", "<=", 0.3),
        ("smol*: tokens_per_s >= 20", "smol*", "tokens_per_s", "median", ">=", 20.0),
        ("latency.p95<=2s", "*", "latency", "p95", "<=", 2.0),
        ("peak_rss <= 2GiB", "*", "peak_rss", "max", "<=", 2.0 * 2**30),
        ("  [ab]*-1.1B :latency.mean\n< 1.5 min ", "[ab]*-1.1B", "latency", "mean", "<", 90.0),
        ("output_tokens == 50", "*", "output_tokens", "max", "==", 50.0),
        ("output_tokens >= 10", "*", "output_tokens", "min", ">=", 10.0),
        ("output_tokens.max > 10", "*", "output_tokens", "max", ">", 10.0),
        ("load_time <= 5", "*", "load_time", "median", "<=", 5.0),
        ("cpu_percent >= 80%", "*", "cpu_percent", "median", ">=", 80.0),
    ],
)
def test_read(text: str, glob: str, name: str, statistic: str, operator: str, limit: float) -> None:
    budget = parse(text, "pyproject.toml: llmci_budget")
    assert (budget.model_glob, budget.metric.name, budget.statistic) == (glob, name, statistic)
    assert (budget.operator, budget.limit) == (operator, limit)
    assert budget.origin == "pyproject.toml: llmci_budget"


@pytest.mark.parametrize(
    "text",
    ["", "latency", "latency <=", "<= 2s", "latency 2s", ": latency <= 2s", "latency <= 2s <= 3s", "latency = 2s"],
)
def test_malformed_shows_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--llmci-budget: budget .*(write it like|is not a quantity)"):
        parse(text)


def test_wrong_operators_are_named() -> None:
    assert "operator '=' is none of <=, <, >=, >, ==" in fault("latency = 2s")
    assert "operator '=<'" in fault("latency =< 2s")
    assert "operator '≤'" in fault("latency ≤ 2s")


def test_unknown_names_bring_the_nearest() -> None:
    assert "unknown metric 'latancy'. Did you mean 'latency'?" in fault("latancy <= 2s")
    assert "unknown statistic 'medain'. Did you mean 'median'?" in fault("latency.medain <= 2s")
    with pytest.raises(UnknownNameError):
        parse("latency. <= 2s")


def test_spread_and_count_are_no_budgets() -> None:
    assert "use median, p95 or max" in fault("latency.std <= 100ms")
    assert "use median, p95 or max" in fault("latency.n >= 5")


def test_wrong_unit() -> None:
    assert "'2GiB' is not a quantity in seconds" in fault("latency <= 2GiB")
    assert "'2s' is not a quantity in bytes" in fault("peak_rss <= 2s")


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        ("latency >= 2s", "latency <= 2s"),
        ("smol*:latency.p95 > 2s", "smol*: latency.p95 < 2s"),
        ("tokens_per_s <= 20", "tokens_per_s >= 20"),
        ("peak_rss > 2GiB", "peak_rss < 2GiB"),
    ],
)
def test_wrong_direction_is_refused_with_the_corrected_form(text: str, corrected: str) -> None:
    assert fault(text).endswith(f"write '{corrected}'.")
    parse(corrected)


def test_equality_is_for_deterministic_metrics() -> None:
    assert fault("latency == 2s").endswith("write 'latency <= 2s'.")
    assert fault("tokens_per_s == 20").endswith("write 'tokens_per_s >= 20'.")


@pytest.mark.parametrize("text", ["latency <= 0s", "latency <= -1s", "tokens_per_s >= 0", "peak_rss <= -1"])
def test_limits_that_nothing_can_meet(text: str) -> None:
    assert re.search(r"the limit of \w+ must", fault(text))


def test_applies_by_shell_pattern() -> None:
    assert parse("latency <= 2s").applies_to("anything")
    assert parse("smol*: latency <= 2s").applies_to("smollm2")
    assert not parse("smol*: latency <= 2s").applies_to("tiny")
    assert not parse("Smol*: latency <= 2s").applies_to("smollm2")


def test_only_what_is_tested_takes_a_share_of_alpha() -> None:
    tested = {text for text in ("latency <= 2s", "latency.mean <= 2s", "latency.p99 <= 2s") if parse(text).statistical}
    assert len(tested) == 3
    for direct in ("latency.max <= 2s", "latency.min <= 2s", "peak_rss <= 2GiB", "load_time <= 5s"):
        assert not parse(direct).statistical


def test_shorthands() -> None:
    latency = max_latency_budget("smol*:300ms", "--llmci-max-latency", METRICS)
    assert latency.shown == "latency.median <= 300 ms"
    assert latency.model_glob == "smol*"
    memory = max_memory_budget("2GiB", "--llmci-max-memory", METRICS)
    assert (memory.shown, memory.model_glob) == ("peak_rss.max <= 2 GiB", "*")


@pytest.mark.parametrize("text", ["", ":2s", "smol*:", "latency <= 2s", "2GiB", "-1s"])
@pytest.mark.parametrize("make", [max_latency_budget])
def test_malformed_shorthands(text: str, make: Callable[..., Budget]) -> None:
    with pytest.raises(ConfigError, match=r"\A--llmci-max-latency: [^\n]+\Z"):
        make(text, "--llmci-max-latency", METRICS)


# --------------------------------------------------------------------------------------------------- contradictions


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("output_tokens.max >= 50", "output_tokens.max <= 40"),
        ("output_tokens.max > 50", "output_tokens.max <= 50"),
        ("output_tokens >= 50", "output_tokens <= 40"),
        ("output_tokens.median >= 50", "output_tokens.p95 < 50"),
        ("output_tokens == 50", "output_tokens == 40"),
        ("output_tokens == 50", "output_tokens.max < 50"),
        ("a*: output_tokens.max >= 50", "*b: output_tokens.max <= 40"),
        ("a?c: output_tokens.max >= 50", "a[bx]c: output_tokens.max <= 40"),
        ("**: output_tokens.max >= 50", "x*y*z: output_tokens.max <= 40"),
    ],
)
def test_contradictions_name_both_origins(one: str, other: str) -> None:
    first, second = parse(one, "marker"), parse(other, "pytest.ini: llmci_budget")
    for pair in ([first, second], [second, first]):
        with pytest.raises(ConfigError, match="contradicts") as caught:
            check_contradictions([parse("latency <= 1s"), *pair])
        message = str(caught.value)
        assert "marker" in message and "pytest.ini: llmci_budget" in message and "\n" not in message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("output_tokens.max >= 50", "output_tokens.max <= 50"),
        ("output_tokens.max >= 50", "output_tokens.min <= 40"),
        ("output_tokens.mean >= 50", "output_tokens.median <= 40"),
        ("latency <= 1s", "latency <= 2s"),
        ("a*: output_tokens.max >= 50", "b*: output_tokens.max <= 40"),
        ("a[bx]: output_tokens.max >= 50", "a[cd]: output_tokens.max <= 40"),
        ("a[!b]: output_tokens.max >= 50", "ab: output_tokens.max <= 40"),
        ("latency.max <= 2s", "output_tokens.max >= 50"),
    ],
)
def test_no_contradiction(one: str, other: str) -> None:
    check_contradictions([parse(one), parse(other)])
