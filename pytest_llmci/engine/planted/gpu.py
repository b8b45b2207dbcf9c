"""The GPU: a tensor of known size, in a model's process."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ...backends.base import Stamp
from ...errors import LLMCIError
from ...records import Missing, ModelSpec
from ...runner.wire import pack_arguments
from .base import Sighting, Truth, measure, reported
from .loading import NO_TORCH, worker

TENSOR_BYTES: Final = 64 << 20
ROUNDING_BYTES: Final = 512  # in which PyTorch's allocator counts
NO_GPU: Final = Missing("there is no NVIDIA GPU here (/dev/nvidia0)")


def plant_tensor() -> Sequence[Sighting] | Missing:
    """A tensor of 64 MiB on the device."""
    if not Path("/dev/nvidia0").exists():
        return NO_GPU
    if find_spec("torch") is None or find_spec("transformers") is None:
        return NO_TORCH
    try:
        with worker(ModelSpec(alias="tiny", backend="tiny", text="tiny")) as process:
            process.load()
            found: Any = process.call(f"{__name__}:tensor_here", pack_arguments(()))
    except LLMCIError as error:
        return Missing(f"no tensor could be put on the GPU: {error}")
    if isinstance(found, str):
        return Missing(found)
    return [
        Sighting(
            metric=metric,
            planted=planted,
            reported=Missing(value) if isinstance(value, str) else value,
            tolerance=ROUNDING_BYTES,
        )
        for metric, planted, value in found
    ]


def tensor_here(_backend: object) -> list[list[Any]] | str:
    """Runs next to a model: hold the tensor for a moment.

    :returns: metric, planted bytes, and the reported ones or why there are none; a reason where there is no device.
    """
    import torch

    if not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    torch.cuda.init()
    heights: list[tuple[int, int]] = []

    def act(_stamp: Stamp) -> None:
        before = torch.cuda.memory_allocated()
        tensor = torch.empty(TENSOR_BYTES, dtype=torch.uint8, device="cuda")
        heights.append((before + TENSOR_BYTES, torch.cuda.memory_reserved()))
        del tensor

    record = measure(act)
    found: list[list[Any]] = []
    for metric, planted in zip(("gpu_peak_allocated", "gpu_peak_reserved"), heights[-1], strict=True):
        value = reported(record, metric)
        found.append([metric, planted, value.reason if isinstance(value, Missing) else value])
    return found


TRUTHS: Final = (
    Truth(
        name="a tensor of 64 MiB on the GPU",
        metrics=("gpu_peak_allocated", "gpu_peak_reserved"),
        plant=plant_tensor,
        quick=False,
    ),
)
