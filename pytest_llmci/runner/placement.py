"""Where a model's process runs: the keys ``+cpus=``, ``+threads=`` and ``+python=`` of its spec."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..records import Json, ModelSpec

_PIECE = re.compile(r"(?P<first>[0-9]{1,6})(?:-(?P<last>[0-9]{1,6}))?\Z")


def cpus_of(spec: ModelSpec) -> tuple[int, ...] | None:
    """The CPUs that this model's process is pinned to, ascending; None where its spec has no ``+cpus=``.

    :raises ConfigError: with one line, if they are no list of CPUs, if this process may not use one of them, or if the
        system cannot pin.
    """
    text = spec.options.get("cpus")
    if text is None:
        return None
    if sys.platform != "linux":
        raise ConfigError(f"model '{spec.text}': '+cpus={text}' pins a process to CPUs, which works on Linux only.")
    ranges = [_range(piece) for piece in text.split(",")]
    if None in ranges:
        raise ConfigError(
            f"model '{spec.text}': '+cpus={text}' must be CPU numbers and ranges separated by commas, such as 0, 0-3 or 0-1,4."
        )
    allowed = os.sched_getaffinity(0)
    wanted = {cpu for each in ranges if each is not None for cpu in each}
    refused = wanted - allowed
    if refused:
        raise ConfigError(
            f"model '{spec.text}': '+cpus={text}' names CPU {min(refused)}, which this process may not use; it may use"
            f" {format_cpus(sorted(allowed))}."
        )
    return tuple(sorted(wanted))


def _range(piece: str) -> range | None:
    match = _PIECE.match(piece.strip())
    if match is None:
        return None
    first, last = int(match["first"]), int(match["last"] or match["first"])
    return range(first, last + 1) if first <= last else None


def format_cpus(cpus: Sequence[int]) -> str:
    """CPUs in ascending order as ``taskset`` writes them.

    >>> format_cpus([0, 1, 2, 4])
    '0-2,4'
    """
    runs: list[list[int]] = []
    for cpu in cpus:
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def pin(cpus: Sequence[int]) -> None:
    """Keep the calling thread, and all that it starts from now on, on these CPUs.

    :raises ConfigError: if the system keeps it from one of them.
    """
    if sys.platform != "linux":
        return
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise ConfigError(
            f"'+cpus={format_cpus(cpus)}': the process cannot be pinned: {error.strerror or error}."
        ) from error
    kept = sorted(os.sched_getaffinity(0))
    if kept != sorted(cpus):  # the kernel takes what the control group allows and drops the rest without a word
        raise ConfigError(f"'+cpus={format_cpus(cpus)}': the system lets the process run on {format_cpus(kept)} only.")


def pinned_cpus(spec: ModelSpec) -> Json:
    """The CPUs of this process if the spec had it pinned, for the record."""
    if sys.platform != "linux" or "cpus" not in spec.options:
        return None
    return [*sorted(os.sched_getaffinity(0))]


def threads_of(spec: ModelSpec, default: int) -> int:
    """CPU threads of that model's process; 0 leaves the framework's own choice."""
    text = spec.options.get("threads")
    if text is None:
        return default
    if text == "auto":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"model '{spec.text}': '+threads={text}' must be a whole number of at least 1, or auto.")
    return int(text)


def interpreter_of(spec: ModelSpec) -> str:
    """The Python that runs that model: ours, or ``+python=`` (an interpreter or a virtual environment)."""
    text = spec.options.get("python")
    if text is None:
        return sys.executable
    path = Path(text).expanduser()
    return str(path / "bin" / "python") if path.is_dir() else str(path)
