"""The CUDA device that this process computes on, as PyTorch and NVIDIA's management library (NVML) see it.

Nothing is imported that the model has not imported itself, but for NVML's bindings (``nvidia-ml-py``), and these only
where PyTorch holds a device. Every failure becomes a reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, TypeVar

from ..records import Missing

T = TypeVar("T")
NO_DEVICE: Final = Missing("no CUDA device is used by the model's process")
NO_NVML: Final = Missing("NVIDIA's management library is not there: pip install nvidia-ml-py")
NO_DRIVER: Final = "this machine has no NVIDIA GPU that a program could use"
_NODES: Final = ("/dev/nvidia*", "/dev/dxg", "/dev/nvhost*", "/dev/kfd")
"""Of the driver: on Linux, in Windows' subsystem for Linux, on Jetson; of AMD's, whose PyTorch calls its devices cuda, too."""

VISIBLE_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
"""The environment variable that hides devices and renumbers the rest."""
_GPUS: Final = Path("/proc/driver/nvidia/gpus")


def no_driver(nodes: Iterable[str] = _NODES) -> str | None:
    """Why no process of this machine can compute on CUDA; None where one may, as far as can be told without trying."""
    if not sys.platform.startswith("linux") or any(any(Path("/").glob(node.lstrip("/"))) for node in nodes):
        return None
    return NO_DRIVER


def absent_device(
    number: int = 0, *, nodes: Iterable[str] = _NODES, gpus: Path = _GPUS, visible: str | None = None
) -> str | None:
    """Why no process of this machine can compute on that CUDA device; None where one may, as far as can be told without trying.

    :param gpus: has an entry for each of NVIDIA's GPUs; not there with other drivers, of whose devices nothing is known.
    :param visible: what ``CUDA_VISIBLE_DEVICES`` says; None where it is not set.
    """
    if why := no_driver(nodes):
        return why
    shown = None if visible is None else len(list(takewhile(_is_device, visible.split(","))))
    there = sum(1 for _ in gpus.iterdir()) if gpus.is_dir() else None
    most = min((count for count in (shown, there) if count is not None), default=None)
    if most is None or number < most:
        return None
    who = f"{VISIBLE_DEVICES} leaves" if most == shown else "this machine has"
    last = f" to cuda:{most - 1}" if most > 1 else ""
    return f"{who} {most} GPU{'' if most == 1 else 's'}, cuda:0{last}" if most else f"{who} no GPU"


def _is_device(entry: str) -> bool:
    """Those behind an entry that is none are hidden, too."""
    return bool(entry.strip()) and not entry.strip().startswith("-")


class CudaDevice:
    """The device, found when it is first in use."""

    def __init__(self) -> None:
        self._nvml: Any = None
        """The module, once the device's handle is known."""
        self._handle: Any = None
        self._why = NO_NVML

    @staticmethod
    def torch() -> Any:
        """PyTorch, if it is loaded and has initialised CUDA; else None. A few hundred nanoseconds."""
        torch = sys.modules.get("torch")
        if torch is None:
            return None
        cuda = getattr(torch, "cuda", None)
        return torch if cuda is not None and cuda.is_initialized() else None

    @staticmethod
    def absent_until() -> str | None:
        """Until which module is imported there can be no device: empty where there can be none at all, None where that is not known."""
        torch = sys.modules.get("torch")
        if torch is None:
            return "torch"
        built = getattr(getattr(getattr(torch, "backends", None), "cuda", None), "is_built", None)
        return None if built is None or built() else ""

    def nvml(self, read: Callable[[Any, Any], T]) -> T | Missing:
        """What NVML says of the device.

        :param read: gets the module and the device's handle.
        """
        torch = self.torch()
        if torch is None:
            return NO_DEVICE
        if self._nvml is None and not self._open(torch):
            return self._why
        try:
            return read(self._nvml, self._handle)
        except Exception as error:  # noqa: BLE001  # NVML raises classes of its own making, one for each status
            return Missing(f"NVML: {error}")

    def _open(self, torch: Any) -> bool:
        if self._why is not NO_NVML:  # it was tried
            return False
        try:
            import pynvml
        except ImportError:
            return False
        try:
            pynvml.nvmlInit()
            # By its UUID: CUDA_VISIBLE_DEVICES renumbers devices for CUDA, and not for NVML.
            uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        except Exception as error:  # noqa: BLE001  # as above; AttributeError: an older PyTorch knows no UUID
            self._why = Missing(f"NVML: {type(error).__name__}: {error}")
            return False
        self._nvml = pynvml
        return True
