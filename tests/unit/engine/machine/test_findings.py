from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmci.engine.machine.findings import RULES, MachineFacts, Remark, gather, remarks
from pytest_llmci.records import Json
from pytest_llmci.store.environment import environment

PLAIN: dict[str, Json] = {
    "platform": "linux", "kernel": "6.8.0-45-generic", "cores_logical": 8, "cores_allowed": 8, "cpu_quota_cores": None,
    "memory_total_bytes": 16 << 30, "memory_limit_bytes": None, "governor": "performance", "turbo": False, "smt": False,
    "clock_source": "tsc", "swap_bytes": 0, "transparent_hugepages": "madvise", "load_average": [0.1, 0.2, 0.3],
    "cpu_pressure_percent": 0.5, "steal_percent": 0.0, "variables": {"OMP_NUM_THREADS": "1"},
}  # fmt: skip
"""A quiet machine that hides nothing."""


def told(environment: dict[str, Json] | None = None, **facts: Any) -> dict[str, Remark]:
    """Topic -> remark on such a machine; the fingerprint's facts that differ come first."""
    defaults: dict[str, Any] = {"memory_resolution_bytes": 786_432, "clock_ns": 40.0, "gpu": "ready"}
    found = remarks(MachineFacts(environment=PLAIN | (environment or {}), **(defaults | facts)))
    return {remark.topic: remark for remark in found}


def test_a_good_machine_has_no_limits() -> None:
    found = told()
    assert {topic for topic, remark in found.items() if remark.limits} == set()
    assert set(found) == {"peak memory", "CPU speed", "neighbours", "clock", "GPU"}
    assert "off by 768 KiB at most" in found["peak memory"].means


@pytest.mark.parametrize(
    ("topic", "environment", "facts", "finds", "means", "advice"),
    [
        ("system", {"platform": "darwin"}, {}, "darwin, not Linux", "run delay", "on Linux"),
        ("peak memory", {}, {"memory_method": "sampler", "memory_refused": ("high-water mark: clear_refs: Permission denied",)},
         "once a millisecond, as the better way is refused: high-water mark: clear_refs: Permission denied", "can be missed", "clear_refs"),
        ("peak memory", {"kernel": "3.10.0"}, {"memory_method": "sampler", "memory_refused": ("x",)}, "(it needs Linux 4.0)", "missed", "clear_refs"),
        ("peak memory", {}, {"memory_method": "lifetime", "memory_refused": ("x", "y")}, "since the process began", "peak_rss_delta is missing", "clear_refs"),
        ("peak memory", {}, {"memory_method": "", "memory_refused": ("x", "y", "z")}, "no way to a peak works here: x; y; z", "missing", "clear_refs"),
        ("memory, many cores", {"cores_allowed": 64}, {"memory_resolution_bytes": 96 << 20}, "each of 64 cores", "up to 96 MiB", "taskset"),
        ("CPU speed", {"governor": None, "turbo": None}, {"virtual": True}, "this virtual machine does not tell", "speed_probe_ms", "one session"),
        ("CPU speed", {"governor": None, "turbo": None}, {"virtual": False}, "this machine does not tell", "speed_probe_ms", "one session"),
        ("CPU speed", {"governor": "powersave"}, {}, "'powersave'", "slower", "cpupower frequency-set -g performance"),
        ("turbo", {"turbo": True}, {}, "turbo is on", "temperature", "no_turbo"),
        ("shared cores (SMT)", {"smt": True}, {}, "share one physical core", "no indicator", "smt/control"),
        ("CPU quota", {"cpu_quota_cores": 1.5}, {}, "1.5 of 8 cores' time", "in steps", "--llmci-threads=1"),
        ("memory limit", {"memory_limit_bytes": 4 << 30}, {}, "4 GiB", "killed", "--llmci-memory-limit"),
        ("neighbours", {"load_average": [4.1, 0, 0]}, {}, "load average 4.1 on 8 cores", "marked noisy", "net_time"),
        ("neighbours", {"load_average": [4.1, 0, 0], "cores_allowed": 1}, {}, "load average 4.1 on 8 cores", "marked noisy", "net_time"),
        ("neighbours", {"load_average": [4.1, 0, 0], "cores_allowed": 1, "cores_logical": 1}, {}, "load average 4.1 on 1 core", "noisy", "net_time"),
        ("neighbours", {"load_average": [4.1, 0, 0]}, {"has_run_delay": False}, "load average 4.1 on 8 cores", "noisy", "gate cpu_time"),
        ("neighbours", {"cpu_pressure_percent": 12.0}, {}, "12 % of the last 10 s", "marked noisy", "net_time"),
        ("steal", {"steal_percent": 3.0}, {}, "3.0 %", "scatter", "--llmci-rounds"),
        ("one core", {"cores_allowed": 1}, {}, "one core only", "own core", "two cores"),
        ("run delay", {}, {"has_run_delay": False}, "no run-queue statistics", "net_time is missing", "CONFIG_SCHED_INFO"),
        ("pressure", {"cpu_pressure_percent": None}, {}, "no CPU pressure", "cpu_pressure is missing", "psi=1"),
        ("pressure", {"cpu_pressure_percent": None, "kernel": "4.19.0-6-amd64"}, {}, "no CPU pressure", "missing", "Linux 4.20"),
        ("swap", {"swap_bytes": 2 << 30}, {}, "2 GiB of swap", "peak_rss falls", "swapoff"),
        ("huge pages", {"transparent_hugepages": "always"}, {}, "'always'", "2 MiB", "echo madvise"),
        ("clock", {"clock_source": "hpet"}, {"clock_ns": 1500.0}, "hpet takes 1.5", "each token", "tsc"),
        ("GPU", {}, {"gpu": "none", "rapl": ""}, "none of NVIDIA's", "missing", "nothing"),
        ("GPU", {}, {"gpu": "no torch"}, "no PyTorch", "missing", "pytest-llmci[transformers]"),
        ("GPU", {}, {"gpu": "no nvml"}, "no NVML", "gpu_utilisation", "nvidia-ml-py"),
        ("energy", {}, {"gpu": "none", "rapl": "no energy counter: this system has no RAPL (x)"}, "this system has no RAPL", "missing", "of your own"),
        ("energy", {}, {"gpu": "none", "rapl": "may be read by root only here"}, "root only", "missing", "chmod a+r"),
        ("variables", {"variables": {"LD_PRELOAD": "x.so", "PYTHONDEVMODE": "1"}}, {}, "LD_PRELOAD, PYTHONDEVMODE are set", "allocates", "unset LD_PRELOAD PYTHONDEVMODE"),
    ],
)  # fmt: skip
def test_each_limit_says_what_it_means_and_what_to_do(
    topic: str, environment: dict[str, Json], facts: dict[str, Any], finds: str, means: str, advice: str
) -> None:
    remark = told(environment, **facts)[topic]
    assert remark.limits
    assert finds in remark.found
    assert means in remark.means
    assert advice in remark.advice


@pytest.mark.parametrize(
    ("topic", "environment", "facts"),
    [
        ("memory, many cores", {}, {"memory_resolution_bytes": 16 << 20}),
        ("memory, many cores", {}, {"memory_method": "sampler", "memory_resolution_bytes": None}),
        ("CPU speed", {"platform": "darwin", "governor": None, "turbo": None}, {}),
        ("CPU quota", {"cpu_quota_cores": 8.0}, {}),
        ("memory limit", {"memory_limit_bytes": 16 << 30}, {}),
        ("steal", {"steal_percent": None}, {}),
        ("run delay", {"platform": "darwin"}, {"has_run_delay": False}),
        ("pressure", {"platform": "darwin", "cpu_pressure_percent": None}, {}),
        ("swap", {"swap_bytes": None}, {}),
        ("variables", {"variables": {}}, {}),
    ],
)
def test_what_is_as_it_should_be_is_passed_over(
    topic: str, environment: dict[str, Json], facts: dict[str, Any]
) -> None:
    assert topic not in told(environment, **facts)


@pytest.mark.parametrize(
    ("environment", "busy"),
    [
        ({"load_average": [4.0, 9, 9]}, False),
        ({"load_average": [4.1, 0, 0]}, True),
        ({"load_average": None}, False),
        ({"cpu_pressure_percent": 5.0}, False),
        ({"cpu_pressure_percent": 5.1}, True),
    ],
)
def test_neighbours_count_from_half_a_process_a_core(environment: dict[str, Json], busy: bool) -> None:
    assert told(environment)["neighbours"].limits is busy


def test_energy_of_the_cpu_is_a_gift_where_it_can_be_read() -> None:
    assert told(gpu="none", rapl="")["energy"].limits is False
    assert "energy" not in told(gpu="ready", rapl="no RAPL")


def test_limits_come_first() -> None:
    found = remarks(MachineFacts(environment=PLAIN | {"swap_bytes": 1 << 30}, clock_ns=40.0, gpu="ready"))
    limits = [remark.limits for remark in found]
    assert limits == sorted(limits, reverse=True)
    assert limits[0]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_rule_stumbles_over_a_machine_that_tells_nothing(rule: Callable[[MachineFacts], Remark | None]) -> None:
    for kernel in ("", "6", "6.x", "10.0.19045"):
        rule(MachineFacts(environment={"kernel": kernel}))
        rule(MachineFacts(environment={"kernel": kernel, "platform": "linux"}))


@pytest.mark.skipif(sys.platform != "linux", reason="the facts are Linux's")
def test_the_facts_of_this_machine() -> None:
    facts = gather(environment())
    assert facts.memory_method in ("hwm", "sampler", "lifetime")
    assert 1 < facts.clock_ns < 1e6
    assert facts.cores >= 1
    assert all(remark.found and remark.means for remark in remarks(facts))
    assert all(remark.advice for remark in remarks(facts) if remark.limits)
