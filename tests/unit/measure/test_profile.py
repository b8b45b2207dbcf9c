from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import pytest

from pytest_llmci.errors import ConfigError, MeasurementError, MissingValue, StoreError
from pytest_llmci.measure import builtin_metrics, metric_defs, register
from pytest_llmci.measure.base import NothingRead, Reading, RoundFacts, nothing_to_note
from pytest_llmci.measure.profile import Measured, Probe, ProbeReading, llm_profile, profile
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import Completion, Missing
from pytest_llmci.registry import Registry

NUMBERS = (
    "wall_time", "cpu_time", "cpu_cores_used", "cpu_percent", "peak_rss", "rss_before", "peak_rss_delta",
    "peak_rss_resolution", "run_delay", "involuntary_switches", "major_faults", "steal",
)  # fmt: skip
DONE = Completion(text="hi", finish_reason="stop", prompt_tokens=3, output_tokens=2)


# ------------------------------------------------------------------------------------------------------------ Measured


@pytest.mark.parametrize("name", [*NUMBERS, "noisy", "memory_method"])
def test_a_number_cannot_be_read_before_the_block_has_ended(name: str) -> None:
    with profile() as measured:
        with pytest.raises(MeasurementError, match="after the 'with' block"):
            getattr(measured, name)
        with pytest.raises(MeasurementError, match="has not ended"):
            measured.to_json()
        assert repr(measured) == "<Measured: the block has not ended>"
    getattr(measured, name)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with profile() as measured:
        pass
    with pytest.raises(AttributeError, match=r"no 'peak_ram'.*Known: .*cpu_time.*peak_rss.*wall_time"):
        _ = measured.peak_ram
    with pytest.raises(AttributeError, match="Did you mean 'wall_time'"):
        _ = measured.walltime
    assert set(NUMBERS) <= set(dir(measured))


def test_numbers_are_si() -> None:
    data = ProbeReading(values={"wall_time": 1_250_000_000, "cpu_time": 250_000_000, "peak_rss": 3500}, reasons={})
    measured = Measured(None, data)
    assert (measured.wall_time, measured.cpu_time, measured.peak_rss) == (1.25, 0.25, 3500)
    assert repr(measured) == "<Measured: wall_time=1.25 s, cpu_time=250 ms, peak_rss=3.42 KiB>"


def test_a_missing_number_fails_a_comparison_with_its_reason() -> None:
    measured = Measured(None, ProbeReading(values={}, reasons={"peak_rss": "no /proc here"}))
    assert not measured.peak_rss
    with pytest.raises(MissingValue, match="no /proc here"):
        assert measured.peak_rss < 5
    with pytest.raises(MissingValue, match="no /proc here"):
        assert measured.peak_rss_resolution < 5
    assert "peak_rss=n/a" in repr(measured)


def test_json_round_trip() -> None:
    with profile() as measured:
        pass
    there = json.loads(json.dumps(measured.to_json()))
    back = Measured.from_json(there)
    for name in NUMBERS:
        assert getattr(back, name) == getattr(measured, name)
    assert (back.noisy, back.memory_method) == (measured.noisy, measured.memory_method)
    assert back.to_json() == measured.to_json()


def test_json_of_something_else_is_refused() -> None:
    with pytest.raises(StoreError, match="values"):
        Measured.from_json({})
    with pytest.raises(StoreError, match="unknown quantity 'nonsense'"):
        Measured.from_json({"values": {"nonsense": 1.0}, "reasons": {}})


def test_an_empty_one_may_adopt_what_was_measured_elsewhere() -> None:
    measured = Measured()
    with pytest.raises(MeasurementError, match="has not ended"):
        _ = measured.wall_time
    measured.adopt(Measured(None, ProbeReading(values={"wall_time": 2_000_000_000}, reasons={})))
    assert measured.wall_time == 2.0


def test_numbers_cannot_be_written() -> None:
    with profile() as measured:
        pass
    with pytest.raises(AttributeError):
        setattr(measured, "wall_time", 1.0)  # noqa: B010  # as a user's assignment would do


def test_one_profile_serves_one_block_after_another() -> None:
    context = profile()
    with pytest.raises(MeasurementError, match="not entered"):
        _ = context.measured
    with context as first:
        pass
    with context as second:
        assert context.measured is second
    assert first is not second
    assert first.wall_time > 0
    assert second.wall_time > 0


def test_one_profile_is_not_nested_in_itself() -> None:
    context = profile()
    with context, pytest.raises(MeasurementError, match="in use"):
        context.__enter__()
    with pytest.raises(MeasurementError, match="not entered"):
        context.__exit__(None, None, None)


def test_a_share_of_the_cores_follows_from_the_times(burn: Callable[[float], None]) -> None:
    with profile() as measured:
        burn(0.05)
    assert measured.cpu_cores_used == pytest.approx(measured.cpu_time / measured.wall_time)
    assert 0 < measured.cpu_percent <= 105


# --------------------------------------------------------------------------------------------------------- llm_profile


def test_a_call_gives_its_value_and_its_numbers(burn: Callable[[float], None]) -> None:
    def work(seconds: float, *, answer: str) -> str:
        burn(seconds)
        return answer

    measured = llm_profile(work, 0.05, answer="done")
    assert measured.value == "done"
    assert measured.cpu_time >= 0.05
    assert isinstance(measured, Measured)


def test_what_the_call_raises_comes_through() -> None:
    def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        llm_profile(fail)


def test_a_coroutine_or_generator_has_not_run_yet() -> None:
    async def later() -> None: ...

    def stream() -> Iterator[int]:
        yield 1

    with pytest.raises(MeasurementError, match="later returned a coroutine of which nothing has run"):
        llm_profile(later)
    with pytest.raises(MeasurementError, match="stream returned a generator"):
        llm_profile(stream)


# --------------------------------------------------------------------------------------------------------------- Probe


class Thermometer:
    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(name="heat", unit="1", direction="lower", definition="How warm it got."),
        MetricDef(name="cold", unit="1", direction="lower", definition="How cold it got."),
    )
    calls: ClassVar[list[str]] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        return {"heat": 36.6 + facts.wall_ns, "undeclared": 1}


class Broken(Thermometer):
    fails_in: ClassVar[str] = "start"

    def start(self) -> None:
        self._fail("start")

    def stop(self) -> None:
        self._fail("stop")

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        self._fail("read")
        return {"heat": float("nan"), "cold": True}

    def _fail(self, step: str) -> None:
        if self.fails_in == step:
            raise RuntimeError("the wire came off")


class Greedy(Thermometer):
    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(name="latency", unit="s", direction="lower", definition="Not theirs to define."),
    )


class Unbuildable(Thermometer):
    def __init__(self) -> None:
        raise OSError("no such device")


def _registry(*names: str) -> Registry:
    registry = Registry()
    register(registry)
    for name in names:
        registry.add("instrument", name.lower(), f"{__name__}:{name}")
    return registry


@pytest.fixture(autouse=True)
def _this_module_can_be_imported_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _Namespace())
    Thermometer.calls.clear()


class _Namespace:
    def __getattr__(self, name: str) -> object:
        return globals()[name]


def _round(probe: Probe, threads: int = 1) -> ProbeReading:
    probe.start()
    probe.stop()
    return probe.read(wall_ns=1_000, token_ns=(400, 500), completion=DONE, threads=threads)


def test_a_round_has_every_metric_as_a_value_or_with_a_reason() -> None:
    reading = _round(Probe(_registry()))
    declared = {metric.name for metric in builtin_metrics() if metric.scope in ("round", "memory")}
    assert reading.values.keys() | reading.reasons.keys() == declared
    assert not reading.values.keys() & reading.reasons.keys()
    assert reading.values["latency"] == 900
    assert reading.values["prompt_tokens"] == 3
    assert all(reading.reasons.values())


def test_cores_are_counted_over_the_time_that_the_cpu_time_was(burn: Callable[[float], None]) -> None:
    probe = Probe(_registry())
    probe.start()
    burn(0.02)
    probe.stop()
    values = probe.read(wall_ns=1_000, token_ns=(), completion=DONE, threads=1).values
    assert 0 < values["cpu_cores_used"] < 1.1


def test_times_are_stored_as_integer_nanoseconds() -> None:
    values = _round(Probe(_registry())).values
    for metric in builtin_metrics():
        if metric.stored == "ns" and metric.name in values:
            assert type(values[metric.name]) is int, metric.name


def test_net_time_needs_one_thread() -> None:
    probe = Probe(_registry())
    assert "may use 4" in _round(probe, threads=4).reasons["net_time"]


def test_a_probe_is_read_after_its_round() -> None:
    probe = Probe(_registry())
    with pytest.raises(MeasurementError, match="after it has begun"):
        probe.stop()
    probe.start()
    with pytest.raises(MeasurementError, match="has not ended"):
        probe.read(wall_ns=1, token_ns=(), completion=DONE, threads=1)
    probe.stop()


def test_a_plugin_instrument_is_started_stopped_and_read() -> None:
    probe = Probe(_registry("Thermometer"))
    reading = _round(probe)
    assert Thermometer.calls == ["start", "stop"]
    assert reading.values["heat"] == pytest.approx(1036.6)
    assert reading.reasons["cold"] == "instrument 'thermometer' gave no value"
    assert "undeclared" not in reading.values


@pytest.mark.parametrize("step", ["start", "stop", "read"])
def test_a_broken_instrument_loses_its_own_metrics_only(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broken, "fails_in", step)
    reading = _round(Probe(_registry("Broken")))
    assert reading.reasons["heat"] == "instrument 'broken' failed: RuntimeError: the wire came off"
    assert reading.values["latency"] == 900


def test_an_instrument_that_gives_nothing_at_all_loses_its_own_metrics_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Thermometer, "read", lambda _self, _facts: None)
    reading = _round(Probe(_registry("Thermometer")))
    assert reading.reasons["heat"].startswith("instrument 'thermometer' failed: AttributeError")
    assert reading.values["latency"] == 900


def test_an_instrument_that_did_not_start_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Thermometer) -> None:
        raise OSError("no such device")

    monkeypatch.setattr(Thermometer, "start", refuse)
    reading = _round(Probe(_registry("Thermometer")))
    assert Thermometer.calls == []
    assert reading.reasons["heat"] == "instrument 'thermometer' failed: OSError: no such device"


def test_a_broken_instrument_may_recover(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe(_registry("Broken"))
    assert "failed" in _round(probe).reasons["heat"]
    monkeypatch.setattr(Broken, "fails_in", "nowhere")
    reading = _round(probe)
    assert reading.reasons["heat"] == "instrument 'broken' gave nan, which is not a number"
    assert reading.reasons["cold"] == "instrument 'broken' gave True, which is not a number"


def test_an_instrument_that_cannot_be_built_is_bad_input() -> None:
    with pytest.raises(ConfigError, match="'unbuildable' cannot be built: OSError: no such device"):
        Probe(_registry("Unbuildable"))


def test_an_instrument_must_declare_its_metrics() -> None:
    registry = Registry()
    registry.add("instrument", "dict", "builtins:dict")
    with pytest.raises(ConfigError, match="must be a class with 'metrics'"):
        Probe(registry)


# --------------------------------------------------------------------------------------------------------- definitions


def test_definitions_of_plugins_follow_the_built_in_ones() -> None:
    defs = metric_defs(_registry("Thermometer"))
    assert [metric.name for metric in defs[-2:]] == ["heat", "cold"]
    assert defs[: len(builtin_metrics())] == builtin_metrics()


def test_a_taken_metric_name_is_bad_input() -> None:
    with pytest.raises(ConfigError, match="'greedy': metric 'latency' is taken by pytest-llmci"):
        metric_defs(_registry("Greedy"))


def test_every_definition_says_what_it_is() -> None:
    names = [metric.name for metric in builtin_metrics()]
    assert len(names) == len(set(names))
    for metric in builtin_metrics():
        assert metric.definition.endswith(".")
        assert metric.excludes
        assert metric.source
        assert (metric.stored == "ns") == (metric.unit == "s"), metric.name
        assert metric.group != "other"


def test_headings_and_scopes_that_others_show() -> None:
    found = {metric.name: metric for metric in builtin_metrics()}
    assert found["ttft"].heading == "1st token"
    assert found["peak_rss"].heading == "peak RAM"
    assert found["tokens_per_s"].heading == "tokens/s"
    assert {metric.name for metric in builtin_metrics() if metric.scope == "worker"} >= {
        "load_time", "model_footprint",
    }  # fmt: skip
    assert {metric.name for metric in builtin_metrics() if metric.deterministic} == {
        "peak_rss", "rss_before", "peak_rss_delta", "prompt_tokens", "output_tokens", "model_footprint",
        "gpu_peak_allocated", "gpu_peak_reserved", "kv_cache_per_token", "score",
    }  # fmt: skip


def test_missing_is_missing_in_another_process_too() -> None:
    measured = Measured.from_json({"values": {}, "reasons": {"steal": "no stat"}, "noisy": ""})
    assert measured.steal == Missing("no stat")


# ----------------------------------------------------------------------------- instruments that have nothing to measure


class Sleeper:
    """Has nothing to measure until a module is imported."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(name="dreams", unit="1", direction="none", definition="Dreams.", excludes="naps", source="none"),
    )
    until: ClassVar[str | None] = ""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def read(self, _facts: RoundFacts) -> Mapping[str, Reading]:
        self.calls.append("read")
        return NothingRead({"dreams": Missing("awake")}, until=self.until)


def _sleeper(monkeypatch: pytest.MonkeyPatch, until: str | None) -> tuple[Probe, list[str]]:
    monkeypatch.setattr(Sleeper, "until", until)
    probe = Probe(_registry("Sleeper"))
    plugin = next(plugin for plugin in probe._instruments.asked if plugin.name == "sleeper")
    plugin.is_built_in = True
    assert isinstance(plugin.instrument, Sleeper)
    return probe, plugin.instrument.calls


def test_an_instrument_that_will_never_measure_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, calls = _sleeper(monkeypatch, "")
    first, second = _round(probe), _round(probe)
    assert calls == ["start", "stop", "read"]
    assert first.reasons["dreams"] == second.reasons["dreams"] == "awake"
    second.reasons.clear()
    assert _round(probe).reasons["dreams"] == "awake"


def test_it_is_asked_again_when_the_module_that_it_waits_for_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, calls = _sleeper(monkeypatch, "a_module_that_comes_later")
    _round(probe)
    _round(probe)
    assert calls == ["start", "stop", "read"]
    monkeypatch.setitem(sys.modules, "a_module_that_comes_later", types.ModuleType("a_module_that_comes_later"))
    _round(probe)
    assert calls == ["start", "stop", "read"] * 2


def test_one_that_may_measure_in_the_next_round_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, calls = _sleeper(monkeypatch, None)
    _round(probe)
    _round(probe)
    assert calls == ["start", "stop", "read"] * 2


class OnlyReads:
    """Fails in every second round."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(name="pages", unit="1", direction="none", definition="Pages.", excludes="covers", source="none"),
    )
    start = stop = nothing_to_note

    def __init__(self) -> None:
        self.rounds = 0

    def read(self, _facts: RoundFacts) -> Mapping[str, Reading]:
        self.rounds += 1
        if self.rounds % 2 == 0:
            raise OSError("the cover is closed")
        return {"pages": self.rounds}


def test_an_instrument_that_only_reads_is_not_called_around_a_round_and_recovers() -> None:
    probe = Probe(_registry("OnlyReads"))
    assert "onlyreads" not in [plugin.name for plugin in probe._instruments.around]
    found = [_round(probe) for _ in range(3)]
    assert [reading.values.get("pages") for reading in found] == [1, None, 3]
    assert found[1].reasons["pages"] == "instrument 'onlyreads' failed: OSError: the cover is closed"
