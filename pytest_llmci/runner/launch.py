"""What a model's process begins with: a folder that holds our package alone, its first lines, and its environment."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..records import Role
from ..store.manifest import SIGNING_KEY
from .memory_pass import ALLOCATOR

PACKAGE = Path(__file__).resolve().parent.parent
OLDEST_PYTHON: Final = (3, 11)
"""As ``requires-python`` says; an older interpreter of ``+python=`` may not even be able to read our files."""
_BOOT = f"""
import sys
if sys.version_info < {OLDEST_PYTHON}:
    import json, os, struct
    text = "%s is Python %d.%d.%d; the process of a model needs Python %d.%d or newer: name one with +python=."
    found = (sys.executable,) + tuple(sys.version_info[:3])
    answer = dict(type="error", kind="python", message=text % (found + {OLDEST_PYTHON}))
    answer["class"] = "ModelLoadError"
    body = json.dumps(answer).encode("ascii")
    os.write(1, struct.pack(">I", len(body)) + body)
    asked = b" "
    while asked and not asked.endswith(b'"stop"}}'):  # who asks must find somebody who listens
        asked = os.read(0, 65536)
    sys.exit(1)
here = sys.path.pop(0)
sys.path.insert(0, here)
import pytest_llmci.runner.worker_main as worker
sys.path.remove(here)
sys.path.append(here)
worker.main()
"""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def worker_environment(base: Mapping[str, str], threads: int, role: Role = "timing") -> dict[str, str]:
    """Environment of a model's process: quiet libraries, as many threads as were asked for, and not the key that signs runs.

    Two spinning OpenMP threads beside a busy neighbour took 39 times as long, hence PASSIVE.
    """
    env = dict(base)
    env.pop(SIGNING_KEY, None)
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    env.setdefault("TOKENIZERS_PARALLELISM", "false")
    env.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    env.setdefault("TQDM_DISABLE", "1")
    env.setdefault("PYTHONUNBUFFERED", "1")
    if threads:
        env.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    if role == "memory":
        env.update(ALLOCATOR)
    return env


def make_home(home: Path) -> None:
    """A private directory that holds only our package, so that any interpreter can import it and nothing else is shadowed."""
    (home / "llmci_worker.py").write_text(_BOOT, encoding="ascii")
    try:
        (home / "pytest_llmci").symlink_to(PACKAGE, target_is_directory=True)
    except OSError:  # no right to make links (Windows)
        shutil.copytree(PACKAGE, home / "pytest_llmci", ignore=shutil.ignore_patterns("__pycache__"))
