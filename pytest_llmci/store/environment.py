"""The facts of the machine and the checkout that a result depends on.

Read once a session, outside anything that is timed, in a few tens of milliseconds. What cannot be known is None. Only
named environment variables are kept: the rest may hold secrets.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from ..records import Json
from ..version import installed_version

PACKAGES: Final = (
    "pytest-llmci", "pytest", "pytest-xdist", "numpy", "scipy", "torch", "transformers", "tokenizers", "accelerate",
    "safetensors", "gguf", "psutil",
)  # fmt: skip
"""Whose versions can change a number."""
VARIABLES: Final = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "KMP_BLOCKTIME",
    "GOMP_CPU_AFFINITY", "MKL_NUM_THREADS", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_NUM_THREADS", "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_",
    "MALLOC_CONF", "GLIBC_TUNABLES", "LD_PRELOAD", "PYTHONMALLOC", "PYTHONHASHSEED", "PYTHONOPTIMIZE",
    "PYTHONDEVMODE", "TOKENIZERS_PARALLELISM", "CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
)  # fmt: skip
"""Environment variables that can change a number and hold no secret."""
_CI: Final = {
    "GITHUB_ACTIONS": "github-actions",
    "GITLAB_CI": "gitlab-ci",
    "JENKINS_URL": "jenkins",
    "CIRCLECI": "circleci",
    "BUILDKITE": "buildkite",
    "TF_BUILD": "azure-pipelines",
    "TEAMCITY_VERSION": "teamcity",
    "BITBUCKET_BUILD_NUMBER": "bitbucket-pipelines",
    "CODEBUILD_BUILD_ID": "aws-codebuild",
    "TRAVIS": "travis-ci",
    "DRONE": "drone",
    "CI": "other",
}
_GIT_TIMEOUT_S: Final = 2.0  # a cold status of a huge checkout is not worth waiting for
_UNLIMITED_BYTES: Final = 2**60  # cgroup v1 writes "no limit" as a number near 2**63


def environment(folder: Path | None = None) -> dict[str, Json]:
    """The environment fingerprint of this process.

    :param folder: where the checkout is looked for; the working directory if None.
    :returns: JSON data; sizes in bytes, CPU quotas in cores, None for what cannot be known.
    """
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "platform": sys.platform,
        "machine": platform.machine(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "cpu_model": _cpu_fact("model name", "Hardware", "cpu model") or platform.processor() or None,
        "cpu_flags_sha256": _cpu_flags_sha256(),
        "microcode": _cpu_fact("microcode") or None,
        "cores_logical": os.cpu_count(),
        "cores_allowed": _cores_allowed(),
        "cpu_quota_cores": _cpu_quota_cores(Path("/")),
        "memory_total_bytes": _memory_total_bytes(),
        "memory_limit_bytes": _memory_limit_bytes(Path("/")),
        "container": _in_container(Path("/")),
        **kernel_settings(Path("/")),
        "gil": _has_gil(),
        "load_average": _load_average(),
        "cpu_pressure_percent": _cpu_pressure_percent(Path("/")),
        "steal_percent": _steal_percent(Path("/")),
        "speed_probe_ms": _speed_probe_ms(),
        "ci": _ci(),
        "git": _git(folder or Path.cwd()),
        "packages": _versions(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def machine_id(root: Path = Path("/")) -> str:
    """Tells machines and containers apart while they run; for comparing alone, as it names the host.

    :param root: of the file system, for tests.
    """
    return f"{platform.node()} {_read(root / 'proc/sys/kernel/random/boot_id').strip()}"


def machine_elsewhere(home: str) -> dict[str, Json]:
    """The facts of this process's machine where it is another than the session's, else nothing.

    The checkout is the session's: pytest-xdist copies files and not a repository.

    :param home: :func:`machine_id` of the session's own.
    """
    if machine_id() == home:
        return {}
    return {name: value for name, value in environment().items() if name not in ("ci", "git")}


def _read(path: Path) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu_fact(*labels: str) -> str:
    """The first processor's line of one of these labels; empty if there is none."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        label, _, value = line.partition(":")
        if label.strip() in labels:
            return value.strip()
    return ""


def _cpu_flags_sha256() -> str | None:
    """A short name for the instruction sets: hypervisors let through different ones of the same processor."""
    flags = sorted(_cpu_fact("flags", "Features").split())
    return sha256(" ".join(flags).encode()).hexdigest()[:16] if flags else None


def kernel_settings(root: Path) -> dict[str, Json]:
    """What the kernel and the firmware were told to do about speed and memory.

    :param root: of the file system, for tests.
    :returns: ``governor``, ``turbo``, ``smt``, ``clock_source``, ``swap_bytes``, ``transparent_hugepages`` and
        ``overcommit``; None where the system does not say, as in most virtual machines for the first three.
    """
    cpus = root / "sys/devices/system/cpu"
    return {
        "governor": _read(cpus / "cpu0/cpufreq/scaling_governor").strip() or None,
        "turbo": _turbo(cpus),
        "smt": {"1": True, "0": False}.get(_read(cpus / "smt/active").strip()),
        "clock_source": _read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource").strip() or None,
        "swap_bytes": _swap_bytes(root),
        "transparent_hugepages": _chosen(_read(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        "overcommit": {"0": "heuristic", "1": "always", "2": "never"}.get(
            _read(root / "proc/sys/vm/overcommit_memory").strip()
        ),
    }


def _turbo(cpus: Path) -> bool | None:
    boost = _read(cpus / "cpufreq/boost").strip()  # acpi-cpufreq, amd-pstate
    if boost in ("0", "1"):
        return boost == "1"
    no_turbo = _read(cpus / "intel_pstate/no_turbo").strip()
    return no_turbo == "0" if no_turbo in ("0", "1") else None


def _chosen(text: str) -> str | None:
    """The word in brackets: ``always [madvise] never``."""
    return next((word[1:-1] for word in text.split() if word.startswith("[")), None)


def _swap_bytes(root: Path) -> int | None:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("SwapTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _has_gil() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def _cpu_pressure_percent(root: Path) -> float | None:
    """Share of the last ten seconds in which some task waited for a CPU."""
    first = _read(root / "proc/pressure/cpu").partition("\n")[0]
    return next((float(part[6:]) for part in first.split() if part.startswith("avg10=")), None)


def _steal_percent(root: Path) -> float | None:
    """Share of the CPU time since boot that a hypervisor gave to others."""
    ticks = [int(text) for text in _read(root / "proc/stat").partition("\n")[0].split()[1:9]]
    return round(100 * ticks[7] / total, 2) if len(ticks) == 8 and (total := sum(ticks)) else None


def _cores_allowed() -> int | None:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def _memory_total_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX, or not told
        return None


def _speed_probe_ms() -> float | None:
    """CPU time of hashing a quarter of a MiB, the least of five: how fast a core is just now, where no file tells its clock speed."""
    block = bytes(1 << 18)
    spent_s = []
    for _ in range(5):
        begin = time.thread_time()
        sha256(block)
        spent_s.append(time.thread_time() - begin)
    return round(1000 * min(spent_s), 4) or None  # a clock of coarse ticks tells nothing


def _load_average() -> Json:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        return None


# A limit may stand at any level of the hierarchy; the tightest one holds.


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups this process is in, from its own up to the top, version 2 and 1."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / controller if controllers else root / "sys/fs/cgroup"
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:depth])


def _cpu_quota_cores(root: Path) -> float | None:
    found: list[float] = []
    for group in _control_groups(root, "cpu"):
        quota, _, period = _read(group / "cpu.max").strip().partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us").strip(), _read(group / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            found.append(int(quota) / int(period))
    return min(found, default=None)


def _memory_limit_bytes(root: Path) -> int | None:
    found: list[int] = []
    for group in _control_groups(root, "memory"):
        text = (_read(group / "memory.max") or _read(group / "memory.limit_in_bytes")).strip()
        if text.isdigit() and int(text) < _UNLIMITED_BYTES:
            found.append(int(text))
    return min(found, default=None)


def _in_container(root: Path) -> bool:
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    if os.environ.get("KUBERNETES_SERVICE_HOST") or os.environ.get("container"):  # noqa: SIM112  # systemd's own spelling
        return True
    groups = _read(root / "proc/1/cgroup")
    return any(name in groups for name in ("docker", "kubepods", "containerd", "lxc"))


def _ci() -> Json:
    for variable, name in _CI.items():
        if os.environ.get(variable):
            job = os.environ.get("GITHUB_JOB") or os.environ.get("CI_JOB_NAME") or os.environ.get("JOB_NAME")
            run = os.environ.get("GITHUB_RUN_ID") or os.environ.get("CI_PIPELINE_ID") or os.environ.get("BUILD_ID")
            # GitHub and Azure name the image of a hosted runner so; another image is another machine.
            image = " ".join(os.environ[part] for part in ("ImageOS", "ImageVersion") if os.environ.get(part))
            return {"name": name, "job": job, "run": run, "image": image or None}
    return None


def _git(folder: Path) -> Json:
    """Commit, branch and whether tracked files were changed; None outside a checkout or without git."""
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=all"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return _parse_status(done.stdout.decode("utf-8", "replace"))


def _parse_status(text: str) -> Json:
    facts: dict[str, str] = {}
    dirty = False
    for line in text.splitlines():
        if line.startswith("# "):
            label, _, value = line[2:].partition(" ")
            facts[label] = value
        else:
            dirty = True
    commit, branch = facts.get("branch.oid"), facts.get("branch.head")
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": None if branch == "(detached)" else branch,
        "dirty": dirty,
    }


def _versions() -> Json:
    found = {name: installed_version(name) for name in PACKAGES}
    return {name: version for name, version in found.items() if version is not None}
