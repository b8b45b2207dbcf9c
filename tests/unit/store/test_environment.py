from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_llmci.store import environment as module
from pytest_llmci.store.environment import VARIABLES, environment, machine_elsewhere, machine_id


def test_the_fingerprint_is_json_and_knows_this_machine() -> None:
    facts = environment()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    cores = facts["cores_allowed"]
    assert isinstance(cores, int)
    assert cores >= 1
    assert isinstance(facts["packages"], dict)
    assert "pytest" in facts["packages"]


def test_only_named_variables_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    monkeypatch.setenv("HF_TOKEN", "hf_secret-value")
    facts = environment()
    assert facts["variables"] == {**_dict(facts["variables"]), "OMP_NUM_THREADS": "1"}
    assert "secret-value" not in json.dumps(facts)
    assert not any(word in name for name in VARIABLES for word in ("KEY", "SECRET", "PASSWORD"))
    assert not any(name.endswith("TOKEN") for name in VARIABLES)


def _dict(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def test_no_heavy_package_is_imported() -> None:
    script = (
        "import sys; from pytest_llmci.store.environment import environment; environment();"
        "print({'psutil', 'numpy', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores", "limit"),
    [
        ({}, None, None),
        (
            {
                "proc/self/cgroup": "0::/ci/job\n",
                "sys/fs/cgroup/ci/job/cpu.max": "max 100000\n",
                "sys/fs/cgroup/ci/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/ci/job/memory.max": "max\n",
                "sys/fs/cgroup/ci/memory.max": "2147483648\n",
            },
            1.5,
            2**31,
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/memory.max": "1000000\n",
            },
            0.5,
            10**6,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "7516192768\n",
            },
            4.0,
            7 * 2**30,
        ),
    ],
    ids=["no cgroups", "version 2, limit above", "version 2, namespace", "version 1"],
)
def test_the_tightest_limit_of_the_control_groups(
    tmp_path: Path, files: dict[str, str], cores: float | None, limit: int | None
) -> None:
    root = machine(tmp_path, files)
    assert module._cpu_quota_cores(root) == cores
    assert module._memory_limit_bytes(root) == limit


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/1/cgroup": "0::/init.scope\n"}, False),
        ({".dockerenv": ""}, True),
        ({"run/.containerenv": ""}, True),
        ({"proc/1/cgroup": "4:memory:/kubepods/besteffort/pod1\n"}, True),
    ],
)
def test_a_container_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: bool
) -> None:
    monkeypatch.delenv("container", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert module._in_container(machine(tmp_path, files)) is expected


def test_what_the_kernel_was_told_is_read(tmp_path: Path) -> None:
    cpus = "sys/devices/system/cpu"
    root = machine(
        tmp_path,
        {
            f"{cpus}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpus}/intel_pstate/no_turbo": "1\n",
            f"{cpus}/smt/active": "1\n",
            "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
            "proc/sys/vm/overcommit_memory": "2\n",
            "proc/meminfo": "MemTotal: 8 kB\nSwapTotal:       2097148 kB\n",
            "proc/pressure/cpu": "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\n",
            "proc/stat": "cpu  60 0 20 10 0 0 0 10 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
        },
    )
    assert module.kernel_settings(root) == {
        "governor": "powersave",
        "turbo": False,
        "smt": True,
        "clock_source": "tsc",
        "swap_bytes": 2097148 * 1024,
        "transparent_hugepages": "always",
        "overcommit": "never",
    }
    assert module._cpu_pressure_percent(root) == 12.5
    assert module._steal_percent(root) == 10.0


def test_what_the_kernel_does_not_say_is_none(tmp_path: Path) -> None:
    assert set(module.kernel_settings(tmp_path).values()) == {None}
    assert module._cpu_pressure_percent(tmp_path) is None
    assert module._steal_percent(tmp_path) is None


def test_the_speed_of_a_core_is_probed_in_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment()["speed_probe_ms"]
    assert isinstance(found, float) and found > 0
    times = iter([0.0, 0.004, 1.0, 1.003, 2.0, 2.002, 3.0, 3.009, 4.0, 4.005])
    monkeypatch.setattr(time, "thread_time", lambda: next(times))
    assert module._speed_probe_ms() == 2.0
    monkeypatch.setattr(time, "thread_time", lambda: 7.0)
    assert module._speed_probe_ms() is None


def test_the_ci_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module._CI:
        monkeypatch.delenv(name, raising=False)
    assert environment()["ci"] is None
    monkeypatch.setenv("CI", "true")
    assert _dict(environment()["ci"])["name"] == "other"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_JOB", "bench")
    monkeypatch.setenv("GITHUB_RUN_ID", "42")
    monkeypatch.setenv("ImageOS", "ubuntu24")
    monkeypatch.setenv("ImageVersion", "20260301.1")
    assert environment()["ci"] == {
        "name": "github-actions",
        "job": "bench",
        "run": "42",
        "image": "ubuntu24 20260301.1",
    }


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_checkout(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "feature")
    assert environment(tmp_path)["git"] == {"commit": None, "branch": "feature", "dirty": False}
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("")
    assert environment(tmp_path)["git"] == {"commit": commit, "branch": "feature", "dirty": False}
    (tmp_path / "file").write_text("2")
    git(tmp_path, "checkout", "-q", "--detach")
    assert environment(tmp_path)["git"] == {"commit": commit, "branch": None, "dirty": True}


def test_no_checkout_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment(tmp_path)["git"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment(tmp_path)["git"] is None


def test_a_git_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("git", 2)

    monkeypatch.setattr(subprocess, "run", hang)
    assert environment(tmp_path)["git"] is None


def test_only_another_machine_has_facts_of_its_own() -> None:
    assert machine_elsewhere(machine_id()) == {}
    facts = machine_elsewhere("somewhere else")
    assert facts["cpu_model"] == environment()["cpu_model"]
    assert not {"git", "ci"} & facts.keys()


def test_a_machine_that_was_started_anew_is_another(tmp_path: Path) -> None:
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("one\n")
    before = machine_id(tmp_path)
    boot.write_text("two\n")
    assert before == machine_id(tmp_path).replace("two", "one") != machine_id(tmp_path)
