"""The truths themselves: each is found on this machine, and an instrument that is wrong is found out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from timing import on_real_time

from pytest_llmci.engine.planted import NOT_PLANTED, TRUTHS, memory, unplanted
from pytest_llmci.engine.planted.base import Finding, Truth, examine, metric_table
from pytest_llmci.measure import builtin_metrics, children, cpu, noise, profile, region
from pytest_llmci.measure.memory import ChosenSource, HighWaterMark, LifetimePeak, MemoryFiles, SampledPeak
from pytest_llmci.records import Missing

pytestmark = on_real_time

linux = pytest.mark.skipif(sys.platform != "linux", reason="plants what only Linux shows")
QUICK = [truth for truth in TRUTHS if truth.quick]


def test_every_metric_has_a_truth_or_a_reason() -> None:
    lacking = [name for name, reason in unplanted(metric_table()).items() if name not in NOT_PLANTED]
    assert not lacking, f"write a truth in engine/planted/ or a reason in NOT_PLANTED for: {', '.join(lacking)}"


def test_reasons_and_truths_are_of_metrics_that_are_measured() -> None:
    names = {metric.name for metric in builtin_metrics()}
    planted = {metric for truth in TRUTHS for metric in truth.metrics}
    assert NOT_PLANTED.keys() <= names - planted
    assert planted <= names


def test_a_metric_without_truth_and_reason_is_told_as_such() -> None:
    assert unplanted({"latency": None, "new_one": None}) == {"new_one": "no truth was written for it yet"}


def test_the_names_of_truths_differ_and_fit_into_a_line() -> None:
    assert len({truth.name for truth in TRUTHS}) == len(TRUTHS)
    assert max(len(truth.name) for truth in TRUTHS) <= 80


@linux
@pytest.mark.parametrize("truth", QUICK, ids=lambda truth: truth.name)
def test_the_instruments_are_right_here(truth: Truth) -> None:
    findings = examine(truth)
    assert {finding.metric for finding in findings} == set(truth.metrics)
    assert [finding for finding in findings if finding.state == "off"] == []


@pytest.mark.model
def test_the_size_of_tiny_is_what_paper_says() -> None:
    pytest.importorskip("torch")
    truth = next(truth for truth in TRUTHS if "model_footprint" in truth.metrics)
    assert [finding.state for finding in examine(truth)] == ["ok", "ok"]


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="needs an NVIDIA GPU")
def test_a_tensor_is_found_on_the_gpu() -> None:
    truth = next(truth for truth in TRUTHS if "gpu_peak_allocated" in truth.metrics)
    assert [finding.state for finding in examine(truth)] == ["ok", "ok"]


def test_without_a_gpu_its_metrics_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: False)
    truth = next(truth for truth in TRUTHS if "gpu_peak_allocated" in truth.metrics)
    assert {finding.reason for finding in examine(truth)} == {"there is no NVIDIA GPU here (/dev/nvidia0)"}


# ------------------------------------------------------------------------------------------- instruments that are wrong


def found(metric: str) -> Finding:
    """What the first truth that tells of a metric says of it now."""
    truth = next(truth for truth in QUICK if metric in truth.metrics)
    return next(finding for finding in examine(truth) if finding.metric == metric)


def twice(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        return value if isinstance(value, Missing) else 2 * value

    return wrong


def changed(metric: str, wrong: Callable[[float], float]) -> Callable[..., Any]:
    """Have a function that gives several metrics be wrong in one of them."""

    def broken(function: Callable[..., Any]) -> Callable[..., Any]:
        def values(*args: Any) -> Any:
            right = function(*args)
            return right if isinstance(right[metric], Missing) else {**right, metric: wrong(right[metric])}

        return values

    return broken


def found_in_a_calm_moment(metric: str, *, most: int = 10) -> str:
    """What is found where no neighbour disturbed the planting: on a busy machine the first time need not be it."""
    for _ in range(most):
        state = found(metric).state
        if state != "disturbed":
            break
    return state


@linux
@pytest.mark.parametrize(
    ("metric", "owner", "name", "broken"),
    [
        ("peak_rss", HighWaterMark, "peak_between", twice),
        ("peak_rss", HighWaterMark, "reset", lambda function: lambda self: None),
        ("rss_before", region, "resident_bytes", twice),
        ("cpu_time", region, "cpu_time_ns", twice),
        ("cpu_percent", cpu, "allowed_cores", twice),
        ("run_delay", region, "run_delay_ns", twice),
        ("involuntary_switches", profile, "noise_values", changed("involuntary_switches", lambda value: value + 7)),
        ("major_faults", profile, "noise_values", changed("major_faults", lambda value: value + 7)),
        ("run_delay_all", noise.OwnedFile, "read", lambda function: lambda self, size: b"0 0 0"),
        ("children_peak_rss", children.ChildrenInstrument, "_sum", twice),
        ("prompt_tokens", profile, "latency_values", changed("prompt_tokens", lambda value: value + 7)),
        ("tokens_per_s", profile, "latency_values", changed("tokens_per_s", lambda value: 2 * value)),
        ("itl", profile, "latency_values", changed("itl", lambda value: 2 * value)),
    ],
)
def test_an_instrument_that_is_wrong_is_found_out(
    monkeypatch: pytest.MonkeyPatch, metric: str, owner: Any, name: str, broken: Callable[..., Any]
) -> None:
    region.PROCESS_METER.close()
    region.PROCESS_METER.chosen()  # while all is well: a mark that cannot be reset from the start is not taken
    monkeypatch.setattr(owner, name, broken(getattr(owner, name)))
    assert found_in_a_calm_moment(metric) == "off"


# ------------------------------------------------------------------------------------------------ other ways to a peak


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[MemoryFiles], Any]], None]:
    """Have this process know its peaks by one way."""

    def choose(way: Callable[[MemoryFiles], Any]) -> None:
        region.PROCESS_METER.close()
        monkeypatch.setattr(
            region.PROCESS_METER, "_choose", lambda files: ChosenSource(source=way(files), refused=("no",))
        )

    return choose


@linux
@pytest.mark.parametrize("way", [SampledPeak.start, LifetimePeak], ids=["sampler", "lifetime"])
def test_spikes_are_judged_by_what_the_way_to_a_peak_can_see(
    only: Callable[[Callable[[MemoryFiles], Any]], None], way: Callable[[MemoryFiles], Any]
) -> None:
    only(way)
    try:
        for truth in memory.TRUTHS[:5]:
            states = {finding.metric: finding.state for finding in examine(truth)}
            assert "off" not in states.values()
            if way is LifetimePeak:
                assert states.get("peak_rss_delta", "not measured") == "not measured"
    finally:
        region.PROCESS_METER.close()


def test_a_leak_where_resident_memory_is_not_known_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region, "resident_bytes", lambda sizes: -1)
    findings = [finding for each in memory.TRUTHS if each.metrics == ("rss_growth",) for finding in examine(each)]
    assert [(finding.state, finding.reason) for finding in findings] == [
        ("not measured", "resident memory needs Linux's /proc")
    ]


@linux
def test_spikes_grow_with_what_the_counters_may_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory._spike_bytes(786_432) == memory.SPIKE_BYTES
    assert memory._spike_bytes(None) == memory.SPIKE_BYTES
    large = memory._spike_bytes(10 << 20)
    assert isinstance(large, Missing) or large == 100 << 20
    monkeypatch.setattr(os, "sysconf", lambda name: 1)
    short = memory._spike_bytes(100 << 20)
    assert isinstance(short, Missing) and "must have 1000 MiB" in short.reason
