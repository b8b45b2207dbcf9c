"""Planted truths: what the instruments must find, because it was put there. One file a kind of instrument.

``llmci doctor`` plants them on the user's machine, ``tools/measurement_doc.py`` for the documentation. To add one: a
function that does it once, and a line in its file's ``TRUTHS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...measure.under_load import LOAD_METRIC_NAMES
from . import cpu, gpu, loading, memory, timing, waiting
from .base import Truth

TRUTHS: Final[tuple[Truth, ...]] = (
    *memory.TRUTHS,
    *timing.TRUTHS,
    *cpu.TRUTHS,
    *waiting.TRUTHS,
    *loading.TRUTHS,
    *gpu.TRUTHS,
)
NOT_PLANTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "ttft_any",
            "ttft_reasoning",
            "ttft_content",
            "tokens_per_piece",
            "cached_tokens",
            "reasoning_tokens",
            "retries",
        ),
        "only a server can tell it: a scripted one plays it in the test suite, and benchmarks set its own log beside ours",
    ),
    "steal": "only a hypervisor can take CPU time away from a whole machine",
    "cold_start_time": "the sum of start_time, import_time, load_time and first_inference_time, which are planted",
    "own_latency": "it is the latency of a model that takes no time: the truth is 0, all of it is the harness",
    "own_time_around": "it is what the harness takes besides; benchmarks set it beside a bare loop",
    "gpu_utilisation": "the driver averages over a time of its own choice",
    "energy": "nobody here can spend a known number of joules",
    "score": "it is counted and not measured: every answer is in the log; its definitions are compared with another harness",
    "tokens_per_joule": "output_tokens divided by energy, and energy cannot be planted",
    **dict.fromkeys(LOAD_METRIC_NAMES, "it is of many requests; benchmarks set it beside the log of a scripted server"),
}
"""Metric -> why no truth can be planted for it."""


def unplanted(metrics: Mapping[str, object]) -> dict[str, str]:
    """Why each metric that no truth tells of has none.

    :param metrics: all that are measured, by name.
    """
    told = {metric for truth in TRUTHS for metric in truth.metrics}
    return {name: NOT_PLANTED.get(name, "no truth was written for it yet") for name in metrics if name not in told}
