"""Install the pinned torch into this interpreter, and no CUDA packages on a machine without an NVIDIA GPU.

    python tools/install_torch.py constraints/py311.txt

On Linux the usual wheels of torch depend on some 3 GB of CUDA libraries. Without a GPU this script asks pip first what
would be installed; if that holds CUDA packages it takes the CPU build from PyTorch's own package index instead. Where
torch is there already it does nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
CUDA_PACKAGE = re.compile(r"(nvidia|cuda)-")
CUDA_BUILD = re.compile(r"\+cu\d")
DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl")
"""What a loaded NVIDIA driver shows on Linux, where a container may lack nvidia-smi."""


class InstallError(Exception):
    """What kept torch from being installed, in one line."""


def pinned_version(constraints: str) -> str:
    """The version of the line ``torch==...`` in the text of a constraints file.

    :raises InstallError: if there is no such line.
    """
    found = re.search(r"^torch==(\d[\w.]*)\s*$", constraints, re.MULTILINE)
    if found is None:
        raise InstallError("the constraints file has no line torch==VERSION.")
    return found[1]


def installed_version() -> str | None:
    """The version of torch in this interpreter; None if it is absent."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def is_pinned(installed: str | None, version: str) -> bool:
    """Whether the installed build, CPU or CUDA, is of the pinned version."""
    return installed is not None and installed.partition("+")[0] == version


def has_nvidia_gpu() -> bool:
    """Whether this machine can run a CUDA build: its NVIDIA driver is there and names a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return any(Path(name).exists() for name in DRIVER_FILES)
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return listed.returncode == 0 and "GPU" in listed.stdout


def cuda_packages(report: Mapping[str, object]) -> list[str]:
    """The packages that only a CUDA build needs, as ``name version``.

    :param report: what ``pip install --dry-run --report`` writes.
    """
    install = report.get("install")
    entries = [entry["metadata"] for entry in install] if isinstance(install, list) else []
    names = [(str(entry["name"]), str(entry["version"])) for entry in entries]
    return [f"{name} {version}" for name, version in names if CUDA_PACKAGE.match(name) or CUDA_BUILD.search(version)]


def with_cpu_wheels(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which pip looks at PyTorch's CPU wheels besides what it looked at before."""
    before = environment.get("PIP_EXTRA_INDEX_URL", "").split()
    return {**environment, "PIP_EXTRA_INDEX_URL": " ".join([*before, CPU_WHEELS])}


def pip_install(arguments: Sequence[str], environment: Mapping[str, str], *, quiet: bool) -> tuple[int, str, str]:
    """Run pip without stdin; its exit status, and the stdout and stderr that ``quiet`` keeps from the screen."""
    command = [sys.executable, "-m", "pip", "install", *arguments]
    done = subprocess.run(
        command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=quiet, text=True, check=False
    )
    return done.returncode, done.stdout or "", done.stderr or ""


def reason(stderr: str) -> str:
    """Why pip failed, from what it wrote, in a few words."""
    errors = [line.removeprefix("ERROR: ").strip() for line in stderr.splitlines() if line.startswith("ERROR: ")]
    if "connection broken" in stderr:
        return "it cannot be reached from here"
    return errors[-1] if errors else "pip gave no reason"


def would_install_cuda(requirement: Sequence[str]) -> list[str]:
    """What pip would take from its usual sources that a machine without a GPU has no use for.

    :raises InstallError: if pip finds no torch there at all.
    """
    status, out, err = pip_install(["--dry-run", "--quiet", "--report", "-", *requirement], os.environ, quiet=True)
    if status != 0:
        raise InstallError(f"pip cannot install {requirement[0]}: {reason(err)}")
    return cuda_packages(json.loads(out))


def install_cpu_build(version: str, constraints: Path) -> None:
    """Take torch from PyTorch's CPU wheels.

    :raises InstallError: if they cannot be reached, or hold none for this Python.
    """
    cpu = [f"torch=={version}+cpu", "--constraint", str(constraints)]
    environment = with_cpu_wheels(os.environ)
    status, _, err = pip_install(["--dry-run", "--quiet", *cpu], environment, quiet=True)
    if status != 0:
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise InstallError(
            f"pip's usual sources hold no CPU build of torch {version} for Python {python}; {CPU_WHEELS} gave none: "
            f"{reason(err)}. Make that address reachable, or install a CPU wheel into {sys.prefix} and start again."
        )
    if pip_install(cpu, environment, quiet=False)[0] != 0:
        raise InstallError(f"pip could not install torch=={version}+cpu; its reason is above.")


def install(constraints: Path) -> str:
    """Install torch where it is not; what was done, in one line.

    :raises InstallError: if it cannot be had.
    """
    version = pinned_version(constraints.read_text(encoding="utf-8"))
    there = installed_version()
    if is_pinned(there, version):
        return f"torch {there} is installed"
    plain = [f"torch=={version}", "--constraint", str(constraints)]
    brought = [] if sys.platform != "linux" or has_nvidia_gpu() else would_install_cuda(plain)
    if not brought:
        if pip_install(plain, os.environ, quiet=False)[0] != 0:
            raise InstallError(f"pip could not install torch=={version}; its reason is above.")
        return f"torch {version} installed"
    print(
        f"torch: no NVIDIA GPU here, so not the build with {len(brought)} CUDA packages: trying {CPU_WHEELS}",
        flush=True,
    )
    install_cpu_build(version, constraints)
    return f"torch {version}+cpu installed"


def main() -> int:
    """The command line; exit status 1 with one line where torch could not be installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("constraints", type=Path, help="the constraints file that pins torch==VERSION")
    try:
        print(install(parser.parse_args().constraints), flush=True)
    except (InstallError, OSError) as error:
        print(f"install_torch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
