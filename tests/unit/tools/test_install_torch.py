"""The script that keeps CUDA packages away from machines without an NVIDIA GPU."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
CPU_REPORT = {"install": [{"metadata": {"name": "torch", "version": "2.13.0+cpu"}}]}
CUDA_REPORT = {
    "install": [
        {"metadata": {"name": "torch", "version": "2.13.0"}},
        {"metadata": {"name": "nvidia-cublas", "version": "13.1.1.3"}},
        {"metadata": {"name": "cuda-toolkit", "version": "13.0.3.0"}},
        {"metadata": {"name": "sympy", "version": "1.14.0"}},
    ]
}


@pytest.fixture
def script() -> ModuleType:
    """The script as a module of its own, so that each test may replace what it calls."""
    spec = importlib.util.spec_from_file_location("install_torch", ROOT / "tools" / "install_torch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def constraints(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("torchvision==1.0\ntorch==2.13.0\n", encoding="utf-8")
    return path


class FakePip:
    """Stands in for pip: answers dry runs with a report, and remembers each call."""

    def __init__(self, report: Mapping[str, object], *, cpu_wheels_error: str = "") -> None:
        self.report = report
        self.cpu_wheels_error = cpu_wheels_error
        self.calls: list[tuple[list[str], Mapping[str, str]]] = []

    def __call__(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, quiet: bool
    ) -> tuple[int, str, str]:
        self.calls.append((list(arguments), environment))
        if "--report" in arguments:
            return 0, json.dumps(self.report), ""
        wants_cpu_wheels = any(argument.endswith("+cpu") for argument in arguments)
        return (1, "", self.cpu_wheels_error) if wants_cpu_wheels and self.cpu_wheels_error else (0, "", "")

    def installs(self) -> list[tuple[list[str], Mapping[str, str]]]:
        return [call for call in self.calls if "--dry-run" not in call[0]]


def prepare(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    pip: FakePip,
    *,
    installed: str | None = None,
    gpu: bool = False,
) -> None:
    monkeypatch.setattr(script, "pip_install", pip)
    monkeypatch.setattr(script, "installed_version", lambda: installed)
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(sys, "platform", "linux")


def test_the_repository_pins_torch(script: ModuleType) -> None:
    text = (ROOT / "constraints" / "py311.txt").read_text(encoding="utf-8")
    assert script.pinned_version(text).split(".")[0] == "2"


def test_constraints_without_torch_are_refused(script: ModuleType) -> None:
    with pytest.raises(script.InstallError, match="no line torch==VERSION"):
        script.pinned_version("torchvision==1.0\n")


@pytest.mark.parametrize(
    ("installed", "expected"),
    [(None, False), ("2.13.0", True), ("2.13.0+cpu", True), ("2.13.0+cu130", True), ("2.13.1", False)],
)
def test_any_build_of_the_pinned_version_will_do(script: ModuleType, installed: str | None, expected: bool) -> None:
    assert script.is_pinned(installed, "2.13.0") is expected


def test_cuda_packages_are_told_from_others(script: ModuleType) -> None:
    assert script.cuda_packages(CUDA_REPORT) == ["nvidia-cublas 13.1.1.3", "cuda-toolkit 13.0.3.0"]
    assert script.cuda_packages(CPU_REPORT) == []
    assert script.cuda_packages({"install": [{"metadata": {"name": "torch", "version": "2.13.0+cu130"}}]})


def test_nothing_is_installed_twice(script: ModuleType, monkeypatch: pytest.MonkeyPatch, constraints: Path) -> None:
    pip = FakePip(CUDA_REPORT)
    prepare(script, monkeypatch, pip, installed="2.13.0+cpu")
    assert script.install(constraints) == "torch 2.13.0+cpu is installed"
    assert pip.calls == []


def test_a_cpu_build_is_taken_from_the_usual_sources(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, constraints: Path
) -> None:
    pip = FakePip(CPU_REPORT)
    prepare(script, monkeypatch, pip)
    script.install(constraints)
    [(arguments, environment)] = pip.installs()
    assert arguments == ["torch==2.13.0", "--constraint", str(constraints)]
    assert script.CPU_WHEELS not in environment.get("PIP_EXTRA_INDEX_URL", "")


def test_a_cuda_build_is_replaced_by_the_cpu_wheel(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, constraints: Path
) -> None:
    pip = FakePip(CUDA_REPORT)
    prepare(script, monkeypatch, pip)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://mirror.example/simple")
    script.install(constraints)
    [(arguments, environment)] = pip.installs()
    assert arguments[0] == "torch==2.13.0+cpu"
    assert environment["PIP_EXTRA_INDEX_URL"].split() == ["https://mirror.example/simple", script.CPU_WHEELS]


@pytest.mark.parametrize(
    ("stderr", "why"),
    [
        (
            "WARNING: Retrying after connection broken by ...\nERROR: ResolutionImpossible",
            "it cannot be reached from here",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "No matching distribution found"),
    ],
)
def test_it_stops_in_one_line_rather_than_install_cuda(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, constraints: Path, stderr: str, why: str
) -> None:
    pip = FakePip(CUDA_REPORT, cpu_wheels_error=stderr)
    prepare(script, monkeypatch, pip)
    with pytest.raises(script.InstallError) as caught:
        script.install(constraints)
    message = str(caught.value)
    assert "\n" not in message
    assert script.CPU_WHEELS in message
    assert why in message
    assert pip.installs() == []


@pytest.mark.parametrize(("gpu", "platform"), [(True, "linux"), (False, "darwin"), (False, "win32")])
def test_where_cuda_is_wanted_or_unknown_pip_is_left_alone(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, constraints: Path, gpu: bool, platform: str
) -> None:
    pip = FakePip(CUDA_REPORT)
    prepare(script, monkeypatch, pip, gpu=gpu)
    monkeypatch.setattr(sys, "platform", platform)
    script.install(constraints)
    assert [arguments[0] for arguments, _ in pip.calls] == ["torch==2.13.0"]
