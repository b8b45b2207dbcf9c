"""How PyTorch computes in this process: what two equal models may still differ in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..records import Json
from .packages import Foreign

ALLOCATOR_VARIABLES: Final = (
    "GLIBC_TUNABLES", "PYTHONMALLOC", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING",
)  # fmt: skip
"""Beside ``MALLOC_*`` and ``LD_PRELOAD``."""
_DRIVER: Final = Path("/proc/driver/nvidia/version")


def torch_facts(torch: Foreign, device: Foreign, *, driver: Path = _DRIVER) -> dict[str, Json]:
    """Threads, instruction set, precision, accelerator and allocator, for the worker record.

    :param device: that the model is on.
    :param driver: where the kernel module of NVIDIA's driver says its version.
    """
    on_cuda = device.type == "cuda"
    return {
        "torch_threads": torch.get_num_threads(),
        "torch_interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": str(torch.backends.cpu.get_cpu_capability()),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "device_name": _device_name(torch, device),
        "cuda": torch.version.cuda if on_cuda else None,
        "cuda_driver": _driver_version(driver) if on_cuda else None,
        "allocator": dict(allocator_variables(os.environ)),
    }


def _device_name(torch: Foreign, device: Foreign) -> str | None:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return None if device.type == "cpu" else str(device.type)


def _driver_version(path: Path) -> str | None:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", text)
    return found[1] if found else None


def allocator_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that decide how memory is taken and given back; of a preloaded library its name without its folder.

    >>> allocator_variables({"MALLOC_ARENA_MAX": "1", "LD_PRELOAD": "/home/me/libjemalloc.so.2", "HOME": "/home/me"})
    {'MALLOC_ARENA_MAX': '1', 'LD_PRELOAD': 'libjemalloc.so.2'}
    """
    found = {
        name: environ[name] for name in sorted(environ) if name.startswith("MALLOC_") or name in ALLOCATOR_VARIABLES
    }
    preloaded = [os.path.basename(path) for path in re.split(r"[ :]+", environ.get("LD_PRELOAD", "")) if path]
    return {**found, "LD_PRELOAD": " ".join(preloaded)} if preloaded else found
