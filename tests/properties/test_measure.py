from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.measure import builtin_metrics
from pytest_llmci.measure.base import RoundFacts
from pytest_llmci.measure.latency import latency_values
from pytest_llmci.measure.noise import noisy_reason
from pytest_llmci.measure.profile import Measured, ProbeReading
from pytest_llmci.records import Completion, Missing

_NS = st.integers(min_value=0, max_value=10**13)
_BACK = st.integers(min_value=-(10**13), max_value=-1)
_COUNT = st.none() | st.integers(min_value=0, max_value=10**6)


def _facts(token_ns: list[int], tail_ns: int, output: int | None) -> RoundFacts:
    completion = Completion(text="", finish_reason="stop", output_tokens=output)
    return RoundFacts(wall_ns=sum(token_ns) + tail_ns, token_ns=tuple(token_ns), completion=completion, threads=1)


@given(token_ns=st.lists(_NS, min_size=1, max_size=200), tail_ns=_NS, output=_COUNT)
def test_ttft_and_gaps_sum_to_the_latency(token_ns: list[int], tail_ns: int, output: int | None) -> None:
    """TTFT + sum(ITL) = latency, and latency + return_tail = wall, exactly, on integer nanoseconds."""
    facts = _facts(token_ns, tail_ns, output)
    values = latency_values(facts)
    assert values["ttft"] + sum(facts.token_ns[1:]) == values["latency"]
    assert values["latency"] + values["return_tail"] == facts.wall_ns
    assert type(values["latency"]) is type(values["ttft"]) is type(values["return_tail"]) is int


@given(token_ns=st.lists(_NS | _BACK, max_size=50), tail_ns=_NS | _BACK, output=_COUNT)
def test_every_metric_of_time_is_a_finite_number_or_missing_with_a_reason(
    token_ns: list[int], tail_ns: int, output: int | None
) -> None:
    """A number is right or missing: absent is never 0, infinite or negative."""
    for name, value in latency_values(_facts(token_ns, tail_ns, output)).items():
        if isinstance(value, Missing):
            assert value.reason, name
        else:
            assert 0 <= value < float("inf"), name
    if not token_ns:
        assert isinstance(latency_values(_facts(token_ns, tail_ns, output))["ttft"], Missing)


@given(
    first=_NS,
    gaps=st.lists(st.integers(min_value=1, max_value=10**10), min_size=1, max_size=100),
    tail_ns=_NS,
)
def test_a_token_a_stamp_makes_tpot_and_itl_the_same(first: int, gaps: list[int], tail_ns: int) -> None:
    """TPOT = (latency - TTFT) / (output tokens - 1), which is the mean gap where each token was stamped."""
    values = latency_values(_facts([first, *gaps], tail_ns, len(gaps) + 1))
    assert values["tpot"] == values["itl"]
    assert abs(values["tpot"] * len(gaps) - sum(gaps)) <= len(gaps)
    assert abs(values["decode_tokens_per_s"] * sum(gaps) / 1e9 - len(gaps)) < 1e-6 * len(gaps)


_NOISE = st.dictionaries(
    st.sampled_from(["run_delay", "involuntary_switches", "major_faults", "steal"]),
    st.integers(min_value=0, max_value=10**11),
)


@given(
    values=_NOISE, wall_ns=st.integers(min_value=1, max_value=10**12), more=st.integers(min_value=0, max_value=10**11)
)
def test_more_disturbance_never_makes_a_round_quiet(values: dict[str, float], wall_ns: int, more: int) -> None:
    """A round is noisy above a limit: raising any of its disturbances keeps it noisy."""
    if noisy_reason(values, wall_ns, cpus=2):
        for name, value in values.items():
            assert noisy_reason({**values, name: value + more}, wall_ns, cpus=2)


_NAMES = ["wall_time", "cpu_time", "peak_rss", "peak_rss_delta", "run_delay", "major_faults"]


@given(
    values=st.dictionaries(st.sampled_from(_NAMES), st.integers(min_value=0, max_value=2**62)),
    reason=st.text(min_size=1),
    method=st.sampled_from(["hwm", "sampler", "lifetime", ""]),
    resolution=st.none() | st.integers(min_value=1),
)
def test_measured_survives_json(values: dict[str, float], reason: str, method: str, resolution: int | None) -> None:
    """Records round-trip: what a worker sends is what the test reads."""
    reasons = {name: reason for name in _NAMES if name not in values}
    measured = Measured(
        None,
        ProbeReading(values=values, reasons=reasons, memory_method=method, peak_rss_resolution_bytes=resolution),
    )
    back = Measured.from_json(measured.to_json())
    assert back.reading() == measured.reading()
    assert [getattr(back, name) for name in _NAMES] == [getattr(measured, name) for name in _NAMES]


@given(stored=st.integers(min_value=0, max_value=2**62))
def test_times_are_stored_as_nanoseconds_and_read_as_seconds(stored: int) -> None:
    """Times are stored as integer nanoseconds and shown in seconds; everything else is stored as it is shown."""
    for metric in builtin_metrics():
        assert metric.to_si(stored) == (stored / 1e9 if metric.unit == "s" else stored)
