"""Memory and load of the GPU, where the model's process computes on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import NothingRead, Reading, RoundFacts
from .cuda import NO_DEVICE, CudaDevice

SAMPLE_NS: Final = 1_000_000_000  # NVML averages over the last second at most, and over a sixth of one at least

GPU_NAMES: Final = ("gpu_peak_allocated", "gpu_peak_reserved", "gpu_utilisation")


class GpuInstrument:
    """Peaks of PyTorch's CUDA allocator, reset for each inference, and how busy the device was."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="gpu_peak_allocated",
            unit="B",
            direction="lower",
            deterministic=True,
            group="gpu",
            label="GPU peak",
            definition="Highest memory that tensors held on the CUDA device during the inference.",
            excludes="the CUDA context, memory that the allocator keeps in reserve, other processes",
            source="torch.cuda.max_memory_allocated after reset_peak_memory_stats",
        ),
        MetricDef(
            name="gpu_peak_reserved",
            unit="B",
            direction="lower",
            deterministic=True,
            group="gpu",
            label="GPU reserved",
            definition="Highest memory that PyTorch's allocator had taken from the CUDA device during the inference.",
            excludes="the CUDA context, libraries with allocators of their own, other processes",
            source="torch.cuda.max_memory_reserved after reset_peak_memory_stats",
        ),
        MetricDef(
            name="gpu_utilisation",
            unit="%",
            direction="none",
            group="gpu",
            label="GPU busy",
            definition="Share of the driver's last sampling period in which some kernel ran on the device.",
            excludes="nothing: other processes on the device count too; inferences under a second have none to tell",
            source="NVML, nvmlDeviceGetUtilizationRates",
        ),
    )

    def __init__(self, device: CudaDevice | None = None) -> None:
        self._device = device or CudaDevice()
        self._torch: Any = None
        self._peaks: tuple[Reading, Reading] = (NO_DEVICE, NO_DEVICE)
        self._busy: Reading = NO_DEVICE

    def start(self) -> None:
        """Reset the allocator's peaks."""
        self._torch = torch = self._device.torch()
        if torch is not None:
            torch.cuda.reset_peak_memory_stats()

    def stop(self) -> None:
        """Note what the allocator and the driver say."""
        torch = self._torch
        if torch is None:
            return
        self._peaks = (int(torch.cuda.max_memory_allocated()), int(torch.cuda.max_memory_reserved()))
        self._busy = self._device.nvml(lambda nvml, handle: int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu))

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        """The metrics of the round that was stopped last."""
        if self._torch is None:
            return NothingRead(dict.fromkeys(GPU_NAMES, NO_DEVICE), until=self._device.absent_until())
        busy = self._busy
        if not isinstance(busy, Missing) and facts.wall_ns < SAMPLE_NS:
            busy = Missing("the inference was shorter than the second over which the driver averages")
        return {"gpu_peak_allocated": self._peaks[0], "gpu_peak_reserved": self._peaks[1], "gpu_utilisation": busy}
