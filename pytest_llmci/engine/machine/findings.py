"""What a machine can and cannot measure, in plain words: what was found, what it means for the numbers, what to do."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from ...measure.energy import Rapl
from ...measure.memory import MemoryMethod
from ...measure.noise import NOISY_SHARE
from ...measure.region import PROCESS_METER
from ...records import Json, Missing
from ...units import format_bytes, format_duration

Gpu = Literal["none", "no torch", "no nvml", "ready"]
BUSY_LOAD: Final = 0.5  # processes that want to run, for each core: above it the next inference meets one of them
STEAL_PERCENT: Final = 1.0
COARSE_BYTES: Final = 16 << 20  # a peak that is not known better hides a key-value cache
SLOW_CLOCK_NS: Final = 500.0  # a stamp of a token that costs more would show in fast models
FIRST_RESET: Final = (4, 0)  # Linux that can reset the high-water mark
FIRST_PRESSURE: Final = (4, 20)
DISTURBING: Final = ("LD_PRELOAD", "PYTHONDEVMODE", "CUDA_LAUNCH_BLOCKING", "MALLOC_CONF", "PYTHONMALLOC")
"""Environment variables that change what is measured, whatever their value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineFacts:
    """What the remarks are made of."""

    environment: Mapping[str, Json]
    """The fingerprint: :func:`pytest_llmci.store.environment.environment`."""
    memory_method: MemoryMethod = "hwm"
    memory_resolution_bytes: int | None = None
    memory_refused: tuple[str, ...] = ()
    """Why each better way to a peak was not taken."""
    virtual: bool = False
    """True where the processor says that a hypervisor runs it."""
    has_run_delay: bool = True
    clock_ns: float = 0.0
    """What a reading of the clock takes."""
    gpu: Gpu = "none"
    rapl: str = ""
    """Why there is no energy counter of the CPU; empty where there is one."""

    def number(self, name: str) -> float | None:
        """A fact of the fingerprint that is a number."""
        value = self.environment.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def is_linux(self) -> bool:
        return self.environment.get("platform") == "linux"

    @property
    def cores(self) -> float:
        """Cores that this process may run on, without the quota."""
        return self.number("cores_allowed") or self.number("cores_logical") or 1.0

    @property
    def kernel(self) -> tuple[int, int]:
        """Version of the kernel; (0, 0) where it is not known."""
        parts = [part.partition("-")[0] for part in str(self.environment.get("kernel", "")).split(".")[:2]]
        return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(map(str.isdigit, parts)) else (0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """One thing to know of a machine."""

    topic: str
    limits: bool
    """True where it takes something away from the numbers."""
    found: str
    means: str
    advice: str = ""
    """What to do; empty where there is nothing to do."""


def gather(environment: Mapping[str, Json]) -> MachineFacts:
    """The facts of this machine, now.

    :param environment: its fingerprint.
    """
    chosen = PROCESS_METER.chosen()
    rapl = Rapl().read()
    return MachineFacts(
        environment=environment,
        memory_method=chosen.source.method,
        memory_resolution_bytes=chosen.source.resolution_bytes,
        memory_refused=chosen.refused,
        virtual=_is_virtual(),
        has_run_delay=_has_run_delay(),
        clock_ns=_clock_ns(),
        gpu=_gpu(),
        rapl=rapl.reason if isinstance(rapl, Missing) else "",
    )


def _is_virtual() -> bool:
    try:
        return "hypervisor" in Path("/proc/cpuinfo").read_text("utf-8", "replace").split()
    except OSError:
        return False


def _has_run_delay() -> bool:
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[2]) > 0
    except (OSError, ValueError, IndexError):
        return False


def _clock_ns() -> float:
    def one() -> float:
        begin = time.perf_counter_ns()
        for _ in range(1000):
            time.perf_counter_ns()
        return (time.perf_counter_ns() - begin) / 1000

    return statistics.median(one() for _ in range(9))


def _gpu() -> Gpu:
    if not Path("/dev/nvidia0").exists() and sys.platform != "win32":
        return "none"
    if find_spec("torch") is None:
        return "no torch"
    return "ready" if find_spec("pynvml") is not None else "no nvml"


def remarks(facts: MachineFacts) -> list[Remark]:
    """What there is to say, the gravest first."""
    found = [remark for rule in RULES if (remark := rule(facts)) is not None]
    return sorted(found, key=lambda remark: not remark.limits)


# ---------------------------------------------------------------------------------------------------------- the rules


def _system(facts: MachineFacts) -> Remark | None:
    if facts.is_linux:
        return None
    return Remark(
        topic="system",
        limits=True,
        found=f"this system is {facts.environment.get('platform')}, not Linux",
        means="run delay, steal and pressure are missing, and peaks are the process's lifetime's or a sampler's",
        advice="gate memory and noise on Linux; latency and tokens are measured alike everywhere",
    )


def _peak_memory(facts: MachineFacts) -> Remark:
    why = "; ".join(facts.memory_refused)
    resolution = facts.memory_resolution_bytes
    if facts.memory_method == "hwm":
        return Remark(
            topic="peak memory",
            limits=False,
            found="the kernel's own high-water mark, reset for each inference",
            means=f"no spike is missed, however short; a peak is off by {format_bytes(resolution or 0)} at most",
        )
    old = " (it needs Linux 4.0)" if facts.is_linux and (0, 0) < facts.kernel < FIRST_RESET else ""
    advice = "run where this process may write /proc/self/clear_refs: as its own user, /proc mounted writable"
    if facts.memory_method == "sampler":
        return Remark(
            topic="peak memory",
            limits=True,
            found=f"another process looks once a millisecond, as the better way is refused{old}: {why}",
            means="spikes of a millisecond or two can be missed; peaks are not comparable with those of another method",
            advice=advice,
        )
    if facts.memory_method == "lifetime":
        return Remark(
            topic="peak memory",
            limits=True,
            found=f"only the peak since the process began is known{old}: {why}",
            means="peak_rss holds loading and every inference before; peak_rss_delta is missing",
            advice=advice if facts.is_linux else "budget peak_rss only, with one model a process",
        )
    return Remark(
        topic="peak memory",
        limits=True,
        found=f"no way to a peak works here: {why}",
        means="peak_rss and peak_rss_delta are missing; a budget on them can never be met",
        advice=advice if facts.is_linux else "gate memory on Linux",
    )


def _coarse_memory(facts: MachineFacts) -> Remark | None:
    resolution = facts.memory_resolution_bytes or 0
    if facts.memory_method != "hwm" or resolution <= COARSE_BYTES:
        return None
    return Remark(
        topic="memory, many cores",
        limits=True,
        found=f"the kernel counts pages for each of {facts.cores:.0f} cores apart",
        means=f"a peak may be off by up to {format_bytes(resolution)}, typically by a tenth of that",
        advice="let the model run on fewer cores: taskset -c 0-3 pytest ...",
    )


def _speed(facts: MachineFacts) -> Remark | None:
    governor, turbo = facts.environment.get("governor"), facts.environment.get("turbo")
    if not facts.is_linux:
        return None
    if governor is None and turbo is None:
        kind = "virtual machine" if facts.virtual else "machine"
        return Remark(
            topic="CPU speed",
            limits=True,
            found=f"this {kind} does not tell governor or turbo",
            means="the cores' speed may change by tens of per cent between runs; speed_probe_ms tells it for the begin of a run",
            advice="compare models measured in one session, not with times of another day; give budgets headroom",
        )
    if governor not in (None, "performance"):
        return Remark(
            topic="CPU speed",
            limits=True,
            found=f"the governor '{governor}' changes the cores' speed with their load",
            means="short inferences and first rounds are slower than the rest",
            advice="sudo cpupower frequency-set -g performance",
        )
    return Remark(
        topic="CPU speed", limits=False, found="the governor keeps the cores fast", means="times are steady in that"
    )


def _turbo(facts: MachineFacts) -> Remark | None:
    if facts.environment.get("turbo") is not True:
        return None
    return Remark(
        topic="turbo",
        limits=True,
        found="turbo is on",
        means="speed depends on temperature and on how many cores are busy: the first seconds are the fastest",
        advice="for comparisons switch it off: echo 1 into /sys/devices/system/cpu/intel_pstate/no_turbo, or 0"
        " into /sys/devices/system/cpu/cpufreq/boost",
    )


def _siblings(facts: MachineFacts) -> Remark | None:
    if facts.environment.get("smt") is not True:
        return None
    return Remark(
        topic="shared cores (SMT)",
        limits=True,
        found="two logical cores share one physical core",
        means="work on the sibling slows an inference by up to a half, and no indicator of noise sees it",
        advice="keep the machine idle meanwhile, or: echo off into /sys/devices/system/cpu/smt/control",
    )


def _quota(facts: MachineFacts) -> Remark | None:
    quota = facts.number("cpu_quota_cores")
    if quota is None:
        return None
    if quota >= facts.cores:
        return None
    return Remark(
        topic="CPU quota",
        limits=True,
        found=f"the control group allows {quota:g} of {facts.cores:.0f} cores' time in each period (usually 100 ms)",
        means="threads that use it up are stopped until the period ends: latencies come in steps",
        advice="raise the limit: even one thread has to wait"
        if quota < 1
        else f"use no more threads than that (--llmci-threads={int(quota)}), or raise the limit",
    )


def _memory_limit(facts: MachineFacts) -> Remark | None:
    limit, total = facts.number("memory_limit_bytes"), facts.number("memory_total_bytes")
    if limit is None or (total is not None and limit >= total):
        return None
    return Remark(
        topic="memory limit",
        limits=True,
        found=f"the control group may hold {format_bytes(limit)}, page cache included",
        means="a model that needs more is killed; near the limit its pages are read from disk again and again",
        advice="choose models with a peak well below, or set --llmci-memory-limit to fail with a reason first",
    )


def _neighbours(facts: MachineFacts) -> Remark:
    load = facts.environment.get("load_average")
    now = float(load[0]) if isinstance(load, list) and load and isinstance(load[0], int | float) else 0.0
    pressure = facts.number("cpu_pressure_percent") or 0.0
    cores = facts.number("cores_logical") or facts.cores  # the load is the whole machine's
    machine = f"load average {now:.1f} on {cores:.0f} core{'' if cores == 1 else 's'}"
    signs = []
    if now > BUSY_LOAD * cores:
        signs.append(machine)
    if pressure > 100 * NOISY_SHARE:
        signs.append(f"somebody waited for a CPU {pressure:.0f} % of the last 10 s")
    if not signs:
        return Remark(
            topic="neighbours",
            limits=False,
            found=f"quiet just now ({machine})",
            means="times taken now are the machine's own",
        )
    gated = "net_time and cpu_time, which leave" if facts.has_run_delay else "cpu_time, which leaves"
    return Remark(
        topic="neighbours",
        limits=True,
        found="others use these cores: " + ", ".join(signs),
        means="inferences wait for a CPU; such rounds are marked noisy and keep their times",
        advice=f"stop the other work, or gate {gated} the waiting out",
    )


def _steal(facts: MachineFacts) -> Remark | None:
    steal = facts.number("steal_percent") or 0.0
    if steal <= STEAL_PERCENT:
        return None
    return Remark(
        topic="steal",
        limits=True,
        found=f"the hypervisor gave {steal:.1f} % of the CPU time since boot to other machines",
        means="latencies scatter for a reason outside of this machine; CPU time may hold some of it",
        advice="use a machine of your own, or more rounds (--llmci-rounds)",
    )


def _one_core(facts: MachineFacts) -> Remark | None:
    if facts.cores > 1:
        return None
    return Remark(
        topic="one core",
        limits=True,
        found="this process may use one core only",
        means="pytest, which watches the model, and a memory sampler take their time from the model's own core",
        advice="allow two cores or more",
    )


def _run_delay(facts: MachineFacts) -> Remark | None:
    if facts.has_run_delay or not facts.is_linux:
        return None
    return Remark(
        topic="run delay",
        limits=True,
        found="this kernel keeps no run-queue statistics (/proc/thread-self/schedstat)",
        means="waiting for a CPU cannot be told from computing: net_time is missing, fewer rounds are marked noisy",
        advice="use a kernel with CONFIG_SCHED_INFO, which distributions ship; some sandboxes hide the file",
    )


def _pressure(facts: MachineFacts) -> Remark | None:
    if facts.number("cpu_pressure_percent") is not None or not facts.is_linux:
        return None
    old = (0, 0) < facts.kernel < FIRST_PRESSURE
    return Remark(
        topic="pressure",
        limits=True,
        found="the kernel tells no CPU pressure (/proc/pressure/cpu)",
        means="cpu_pressure is missing; run delay still tells of the model's own waits",
        advice="it needs Linux 4.20 or newer" if old else "boot with psi=1",
    )


def _swap(facts: MachineFacts) -> Remark | None:
    swap = facts.number("swap_bytes")
    if not swap:
        return None
    return Remark(
        topic="swap",
        limits=True,
        found=f"there is {format_bytes(swap)} of swap",
        means="under memory pressure weights are written out: peak_rss falls, times rise, major_faults tell",
        advice="swapoff -a while you measure",
    )


def _huge_pages(facts: MachineFacts) -> Remark | None:
    if facts.environment.get("transparent_hugepages") != "always":
        return None
    return Remark(
        topic="huge pages",
        limits=True,
        found="transparent huge pages are 'always'",
        means="memory comes in steps of 2 MiB: a peak can be some MiB higher from one start to the next",
        advice="echo madvise into /sys/kernel/mm/transparent_hugepage/enabled for steadier peaks",
    )


def _clock(facts: MachineFacts) -> Remark:
    source = facts.environment.get("clock_source") or "the system's clock"
    found = f"a reading of {source} takes {format_duration(facts.clock_ns / 1e9)}"
    if facts.clock_ns <= SLOW_CLOCK_NS:
        return Remark(topic="clock", limits=False, found=found, means="the stamp of a token costs nothing that shows")
    return Remark(
        topic="clock",
        limits=True,
        found=found,
        means="each token is stamped with one: that shows in models of less than a millisecond a token",
        advice="choose the clock source tsc or the hypervisor's own in /sys/devices/system/clocksource/clocksource0",
    )


def _graphics(facts: MachineFacts) -> Remark:
    if facts.gpu == "ready":
        return Remark(
            topic="GPU",
            limits=False,
            found="an NVIDIA GPU, PyTorch and NVML",
            means="peaks are those of PyTorch's allocator, exactly; load and energy are the whole board's",
        )
    found, means, advice = {
        "none": (
            "none of NVIDIA's",
            "the columns of the GPU are missing",
            "nothing, unless your models are to run on one",
        ),
        "no torch": (
            "an NVIDIA GPU, but no PyTorch in this environment",
            "the columns of the GPU are missing",
            "pip install 'pytest-llmci[transformers]'",
        ),
        "no nvml": (
            "an NVIDIA GPU, but no NVML",
            "gpu_utilisation, energy and tokens_per_joule are missing; memory of the GPU is measured",
            "pip install nvidia-ml-py",
        ),
    }[facts.gpu]
    return Remark(topic="GPU", limits=True, found=found, means=means, advice=advice)


def _energy(facts: MachineFacts) -> Remark | None:
    if facts.gpu == "ready":
        return None
    if not facts.rapl:
        return Remark(
            topic="energy",
            limits=False,
            found="the CPU packages' own counters (RAPL)",
            means="energy is that of whole packages: other work and idling are in it",
        )
    may_not = "root only" in facts.rapl
    return Remark(
        topic="energy",
        limits=True,
        found=facts.rapl.removeprefix("no energy counter: "),
        means="energy and tokens_per_joule are missing for models on the CPU",
        advice="sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
        if may_not
        else "measure energy on a machine of your own: hypervisors hide the counters",
    )


def _variables(facts: MachineFacts) -> Remark | None:
    variables = facts.environment.get("variables")
    names = [name for name in DISTURBING if isinstance(variables, dict) and name in variables]
    if not names:
        return None
    return Remark(
        topic="variables",
        limits=True,
        found=f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} set",
        means="they change how the model allocates, waits or checks, and with it times and memory",
        advice=f"unset {' '.join(names)}",
    )


RULES: Final[tuple[Callable[[MachineFacts], Remark | None], ...]] = (
    _system, _peak_memory, _coarse_memory, _speed, _turbo, _siblings, _neighbours, _steal, _quota, _memory_limit,
    _one_core, _run_delay, _pressure, _swap, _huge_pages, _clock, _graphics, _energy, _variables,
)  # fmt: skip
"""In the order in which they are told."""
