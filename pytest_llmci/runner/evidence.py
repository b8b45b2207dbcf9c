"""What can be known of a process from outside: its memory while it lives, and why it died."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from ..units import format_bytes

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def rss_bytes(pid: int) -> int | None:
    """Resident memory of a process; None where it cannot be read."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE or None  # a process that has ended and was not reaped has none
    except (OSError, IndexError, ValueError):
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryGroup:
    """What the control group of a process says of memory."""

    oom_kills: int | None
    """Kills in this group so far."""
    limit_bytes: int | None
    limit_name: str


def memory_group(pid: int | str = "self") -> MemoryGroup:
    """Read the memory control group (version 2, else 1) of a process; unknown parts are None."""
    for folder in _group_folders(pid):
        for events, key, limit in (
            ("memory.events", "oom_kill", "memory.max"),
            ("memory.oom_control", "oom_kill", "memory.limit_in_bytes"),
        ):
            kills = _counter(folder / events, key)
            if kills is not None:
                return MemoryGroup(oom_kills=kills, limit_bytes=_limit(folder / limit), limit_name="container")
    return MemoryGroup(oom_kills=None, limit_bytes=_machine_memory(), limit_name="machine")


def _group_folders(pid: int | str) -> list[Path]:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text("ascii", "replace").splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folders += [Path("/sys/fs/cgroup" + path), Path("/sys/fs/cgroup")]
        elif "memory" in controllers.split(","):
            folders += [Path("/sys/fs/cgroup/memory" + path), Path("/sys/fs/cgroup/memory")]
    return folders


def _counter(path: Path, key: str) -> int | None:
    try:
        match = re.search(rf"^{key} (\d+)$", path.read_text("ascii"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return int(match[1]) if match else None


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    value = int(text) if text.isdigit() else 1 << 62
    return value if value < 1 << 60 else _machine_memory()


def _machine_memory() -> int | None:
    try:
        return int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None


_SIGNALS_EXPLAINED = {
    "SIGSEGV": "a segmentation fault",
    "SIGABRT": "an abort",
    "SIGBUS": "a bus error",
    "SIGILL": "an illegal instruction: a build for another CPU",
    "SIGFPE": "an arithmetic fault",
}


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cause_of_death(returncode: int, before: MemoryGroup, after: MemoryGroup) -> tuple[str, str]:
    """How it died, in words, and the evidence for it ("" where there is none).

    Out of memory is claimed only if the control group counted a kill.
    """
    if returncode >= 0:
        return f"ended by itself with exit status {returncode}", ""
    name = signal_name(-returncode)
    if name == "SIGKILL":
        if before.oom_kills is not None and after.oom_kills is not None and after.oom_kills > before.oom_kills:
            return (
                "was killed by the kernel: out of memory (SIGKILL)",
                f"the control group's oom_kill rose from {before.oom_kills} to {after.oom_kills}",
            )
        return "was killed by SIGKILL, cause unknown", ""
    explained = _SIGNALS_EXPLAINED.get(name)
    return (f"died of {explained} ({name})" if explained else f"was killed by {name}"), ""


def memory_fact(last_bytes: int | None, group: MemoryGroup) -> str | None:
    """``6.1 GiB of 7.0 GiB at the last sample (limit: container)``."""
    if last_bytes is None:
        return None
    if group.limit_bytes is None:
        return f"{format_bytes(last_bytes)} at the last sample"
    return f"{format_bytes(last_bytes)} of {format_bytes(group.limit_bytes)} at the last sample (limit: {group.limit_name})"


def last_words(text: str) -> str:
    """The last line of a process's output that says something; of a fatal error, what it was and where."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("Fatal Python error"):
            where = next((each for each in lines[number:] if each.startswith("File ")), "")
            return f"{line}, {where}".rstrip(", ")
    return lines[-1] if lines else ""
