from __future__ import annotations

import os
import sys
import types
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sample_run import METRICS

from pytest_llmci import measure
from pytest_llmci.engine.limits import Preflight, missing_here
from pytest_llmci.errors import ConfigError, ModelLoadError, UnknownNameError
from pytest_llmci.measure.cuda import NO_DRIVER, absent_device, no_driver
from pytest_llmci.measure.energy import Rapl
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import GenerationSettings, ModelSpec
from pytest_llmci.registry import Registry
from pytest_llmci.stats.budget_expression import parse_budget


def measured() -> dict[str, MetricDef]:
    """Every metric of the package."""
    registry = Registry()
    measure.register(registry)
    return {metric.name: metric for metric in measure.metric_defs(registry)}


KNOWN = {metric.name: metric for metric in METRICS}


class Knowing:
    """A model source that knows beforehand."""

    asked: ClassVar[list[tuple[str, list[str]]]] = []
    refuses: ClassVar[str] = ""
    keeps_length: ClassVar[bool] = True

    @classmethod
    def preflight(cls, spec: ModelSpec, sys_path: Sequence[str]) -> None:
        cls.asked.append((spec.text, list(sys_path)))
        if cls.refuses:
            raise ModelLoadError(cls.refuses)

    @staticmethod
    def unmeasurable(spec: ModelSpec) -> Mapping[str, str]:
        return {"ttft": "it does not stream"}


class Ignorant:
    """A model source that knows nothing."""


class OneArgument:
    @staticmethod
    def preflight(spec: ModelSpec) -> None:
        raise AssertionError("is never reached")


class Raising:
    @staticmethod
    def preflight(spec: ModelSpec, sys_path: Sequence[str]) -> None:
        raise KeyError("missing\nkey")


class Leaving:
    @staticmethod
    def unmeasurable(spec: ModelSpec) -> Mapping[str, str]:
        raise SystemExit(3)


class Wordless:
    @staticmethod
    def unmeasurable(spec: ModelSpec) -> None:
        return None


BROKEN = (OneArgument, Raising, Leaving, Wordless)


def spec(backend: str = "knowing", **options: str) -> ModelSpec:
    return ModelSpec(alias="a", backend=backend, text=f"a={backend}", options=options)


@pytest.fixture
def preflight(monkeypatch: pytest.MonkeyPatch) -> Preflight:
    module = types.ModuleType("fake_source")
    module.__dict__.update(
        Knowing=Knowing, Ignorant=Ignorant, Computing=Computing, **{kind.__name__: kind for kind in BROKEN}
    )
    monkeypatch.setitem(sys.modules, "fake_source", module)
    monkeypatch.setattr(Knowing, "asked", [])
    registry = Registry()
    registry.add("backend", "knowing", "fake_source:Knowing")
    registry.add("backend", "ignorant", "fake_source:Ignorant")
    registry.add("backend", "computing", "fake_source:Computing")
    for kind in BROKEN:
        registry.add("backend", kind.__name__.lower(), f"fake_source:{kind.__name__}")
    return Preflight(registry, ["/users/code"])


def test_each_model_is_asked_once(preflight: Preflight) -> None:
    preflight.check(spec(), [])
    preflight.check(spec(), [])
    assert Knowing.asked == [("a=knowing", ["/users/code"])]
    preflight.check(spec("ignorant"), [])


def test_a_model_that_cannot_be_loaded_is_refused(preflight: Preflight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Knowing, "refuses", "a=knowing: no such file")
    with pytest.raises(ConfigError, match="^a=knowing: no such file$"):
        preflight.check(spec(), [])


def test_another_interpreter_knows_for_itself(
    preflight: Preflight, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.touch(0o755)
    monkeypatch.setattr(Knowing, "refuses", "not installed here")
    preflight.check(spec(python=str(other)), [])
    assert Knowing.asked == []
    for python in (tmp_path, tmp_path / "nowhere"):
        other.unlink(missing_ok=True)
        wrong = ModelSpec(alias="b", backend="ignorant", text="b", options={"python": str(python)})
        with pytest.raises(ConfigError, match=rf"model 'b': \+python={python} is no interpreter that can be run"):
            preflight.check(wrong, [])


@pytest.mark.parametrize(
    ("settings", "options", "budget", "reason"),
    [
        ({"isolation": "inline"}, {}, "start_time <= 1s", "with --llmci-isolation=inline no process is started"),
        ({"threads": 4}, {}, "net_time <= 1s", "it is defined for one CPU thread, and the model may use 4"),
        (
            {"threads": 0},
            {},
            "net_time <= 1s",
            "it is defined for one CPU thread, and the model may use as many as it likes",
        ),
        ({}, {"threads": "2"}, "net_time <= 1s", "it is defined for one CPU thread, and the model may use 2"),
    ],
)
def test_settings_may_make_a_budget_impossible(
    preflight: Preflight, settings: dict[str, Any], options: dict[str, str], budget: str, reason: str
) -> None:
    limit = parse_budget(budget, "--llmci-budget", measured())
    preflight.check(spec("ignorant"), [limit])
    strict = Preflight(preflight._registry, [], **settings)
    with pytest.raises(ConfigError) as caught:
        strict.check(spec("ignorant", **options), [limit])
    assert str(caught.value) == f"--llmci-budget: '{budget}' can never be judged for a: {reason}."


@pytest.mark.parametrize("backend", ["knowing", "ignorant"])
@pytest.mark.parametrize(
    ("budget", "most", "possible"),
    [
        ("tpot <= 1s", 1, False), ("itl <= 1s", 1, False), ("decode_tokens_per_s >= 1", 1, False), ("tpot <= 1s", 2, True),
        ("ttft <= 1s", 1, True), ("output_tokens >= 50", 50, True), ("output_tokens >= 51", 50, False),
        ("output_tokens > 50", 50, False), ("output_tokens > 49", 50, True), ("output_tokens == 51", 50, False),
        ("output_tokens <= 51", 50, True),
    ],
)  # fmt: skip
def test_a_model_that_keeps_to_the_length_is_not_asked_for_more(
    preflight: Preflight, backend: str, budget: str, most: int, possible: bool
) -> None:
    limit = parse_budget(budget, "--llmci-budget", measured())
    generation = GenerationSettings(max_new_tokens=most)
    if possible or backend == "ignorant":
        preflight.check_length(spec(backend), [limit], generation)
        return
    with pytest.raises(
        ConfigError, match=r"^--llmci-budget: '.*' can never be (judged|met) for a: an answer .*max_new_tokens"
    ):
        preflight.check_length(spec(backend), [limit], generation)


def test_a_budget_that_can_never_be_judged_is_refused(preflight: Preflight) -> None:
    preflight.check(spec(), [parse_budget("latency <= 1s", "--llmci-budget", KNOWN)])
    never = parse_budget("ttft <= 1s", "--llmci-budget", KNOWN)
    with pytest.raises(ConfigError, match="--llmci-budget: 'ttft <= 1s' can never be judged for a: it does not stream"):
        preflight.check(spec(), [never])


def test_what_this_machine_cannot_measure_is_refused(
    preflight: Preflight, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = missing_here(NO_DRIVER, Rapl(str(tmp_path)))
    assert set(here) == {"gpu_peak_allocated", "gpu_peak_reserved", "gpu_utilisation", "energy", "tokens_per_joule"}
    assert missing_here(None, Rapl(str(tmp_path))) == {}
    monkeypatch.setattr("pytest_llmci.engine.limits.missing_here", lambda *_: here)
    preflight.check(spec(), [parse_budget("latency <= 1s", "--llmci-budget", measured())])
    for budget, reason in (
        ("gpu_peak_reserved <= 1GiB", NO_DRIVER),
        ("energy <= 1J", "no energy counter: this system has no RAPL"),
    ):
        never = parse_budget(budget, "--llmci-budget", measured())
        with pytest.raises(ConfigError, match=f"--llmci-budget: '{budget}' can never be judged for a: {reason}"):
            preflight.check(spec(), [never])


def test_counters_of_the_packages_are_enough_for_energy(tmp_path: Path) -> None:
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "energy_uj").write_text("5\n")
    (package / "max_energy_range_uj").write_text("1000\n")
    assert "energy" not in missing_here(NO_DRIVER, Rapl(str(tmp_path)))


@pytest.mark.skipif(sys.platform != "linux", reason="the nodes are Linux's")
def test_a_node_of_the_driver_may_mean_a_gpu(tmp_path: Path) -> None:
    nodes = [str(tmp_path / "nvidia*")]
    assert no_driver(nodes) == NO_DRIVER
    (tmp_path / "nvidia0").touch()
    assert no_driver(nodes) is None


@pytest.mark.parametrize(
    ("number", "gpus", "visible", "why"),
    [
        (0, 2, None, None),
        (1, 2, None, None),
        (2, 2, None, "this machine has 2 GPUs, cuda:0 to cuda:1"),
        (7, 1, None, "this machine has 1 GPU, cuda:0"),
        (0, 0, None, "this machine has no GPU"),
        (7, None, None, None),
        (1, 8, "3,5", None),
        (2, 8, "3,5", "CUDA_VISIBLE_DEVICES leaves 2 GPUs, cuda:0 to cuda:1"),
        (1, 8, "3,-1,5", "CUDA_VISIBLE_DEVICES leaves 1 GPU, cuda:0"),
        (0, None, "", "CUDA_VISIBLE_DEVICES leaves no GPU"),
        (1, None, "GPU-1,GPU-2", None),
        (2, 2, "0,1,2,3", "this machine has 2 GPUs, cuda:0 to cuda:1"),
    ],
)
def test_devices_are_counted_where_that_needs_no_framework(
    tmp_path: Path, number: int, gpus: int | None, visible: str | None, why: str | None
) -> None:
    (tmp_path / "nvidia0").touch()
    for each in range(gpus or 0):
        (tmp_path / "gpus" / f"0000:0{each}:00.0").mkdir(parents=True)
    if gpus == 0:
        (tmp_path / "gpus").mkdir()
    found = absent_device(number, nodes=[str(tmp_path / "nvidia*")], gpus=tmp_path / "gpus", visible=visible)
    assert found == why


class Computing(Ignorant):
    """A model source whose devices are this machine's."""

    computes_here: ClassVar[bool] = True


@pytest.mark.parametrize(
    ("device", "there", "said"),
    [
        ("cuda", False, rf"^a=computing: \+device=cuda: {NO_DRIVER}; leave the key away"),
        ("cuda:1", False, rf"\+device=cuda:1: {NO_DRIVER}"),
        ("cuda", True, ""),
        ("cuda:1", True, ""),
        (
            "cuda:2",
            True,
            r"\+device=cuda:2: CUDA_VISIBLE_DEVICES leaves 2 GPUs, cuda:0 to cuda:1; leave the key away, or write \+device=cpu",
        ),
        ("cpu", False, ""),
        ("auto", False, ""),
        ("", False, ""),
    ],
)
def test_a_device_that_the_machine_cannot_have_is_refused(
    preflight: Preflight, monkeypatch: pytest.MonkeyPatch, device: str, there: bool, said: str
) -> None:
    monkeypatch.setattr("pytest_llmci.measure.cuda.no_driver", lambda nodes: None if there else NO_DRIVER)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    options = {"device": device} if device else {}
    with pytest.raises(ConfigError, match=said) if said else nullcontext():
        preflight.check(spec("computing", **options), [])
    preflight.check(spec("ignorant", **options), [])  # its devices are its own


@pytest.mark.parametrize(("platform", "refused"), [("linux", True), ("darwin", False)])
def test_mps_is_for_apples_machines(
    preflight: Preflight, monkeypatch: pytest.MonkeyPatch, platform: str, refused: bool
) -> None:
    monkeypatch.setattr("pytest_llmci.engine.limits.sys.platform", platform)
    with pytest.raises(ConfigError, match="Apple") if refused else nullcontext():
        preflight.check(spec("computing", device="mps"), [])


def test_what_the_runner_reads_is_checked_too(preflight: Preflight) -> None:
    with pytest.raises(ConfigError, match=r"\+threads=many"):
        preflight.check(spec(threads="many"), [])
    with pytest.raises(ConfigError, match=r"\+cpus=all"):
        preflight.check(spec(cpus="all"), [])
    with pytest.raises(UnknownNameError, match="unknown backend 'none'"):
        preflight.check(spec("none"), [])


@pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")
def test_pytests_own_process_is_not_pinned(preflight: Preflight) -> None:
    pinned = spec(cpus=str(min(os.sched_getaffinity(0))))
    preflight.check(pinned, [])
    with pytest.raises(ConfigError, match=r"'\+cpus=\d+' pins .* --llmci-isolation=inline it has none"):
        Preflight(Registry(), [], isolation="inline").check(pinned, [])


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (
            "oneargument",
            r"preflight\(spec, sys_path\) of backend 'oneargument' failed: TypeError: .*takes 1 positional argument",
        ),
        ("raising", r"preflight\(spec, sys_path\) of backend 'raising' failed: KeyError: 'missing\\nkey'$"),
        ("leaving", r"unmeasurable\(spec\) of backend 'leaving' failed: SystemExit: 3$"),
        (
            "wordless",
            r"unmeasurable\(spec\) of backend 'wordless' failed: returned None, not a mapping of metric to reason$",
        ),
    ],
)
def test_a_fault_of_the_backend_is_one_line_that_names_it(preflight: Preflight, backend: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^model 'a={backend}': the static {message}") as caught:
        preflight.check(spec(backend), [])
    assert "\n" not in str(caught.value)
