"""A model source whose parts take known times and memory, by ways of its own. Runs in a model's process."""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from ..backends.base import LoadContext, LoadedModel, Stamp
from ..clock import outside_s
from ..records import Completion, GenerationSettings, ModelSpec, Prompt

IMPORTED_S: Final = outside_s()
"""When this process first saw this module."""
PREPARE_S: Final = 0.2
LOAD_S: Final = 0.3
LOAD_BYTES: Final = 64 << 20
FIRST_S: Final = 0.15


class PlantedModel:
    """Waits where others import, load and answer for the first time; says when by the outside clock."""

    OPTIONS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, spec: ModelSpec) -> None:
        self._prepared_s = 0.0
        self._first_s: float | None = None

    def prepare(self) -> None:
        """Wait as long as a library would take."""
        time.sleep(PREPARE_S)
        self._prepared_s = outside_s()

    def load(self, context: LoadContext) -> LoadedModel:
        """Take memory for a moment, and wait as long as weights would take.

        :returns: in ``info`` what truly happened: seconds of the outside clock, and resident bytes at the height.
        """
        begin_s = outside_s()
        height = _spike(LOAD_BYTES)
        time.sleep(max(0.0, begin_s + LOAD_S - outside_s()))
        return LoadedModel(
            info={
                "imported_s": IMPORTED_S,
                "prepared_s": self._prepared_s,
                "load_begin_s": begin_s,
                "load_end_s": outside_s(),
                "load_height_bytes": height,
            }
        )

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> None:
        """Wait, the first time only."""
        begin_s = outside_s()
        if self._first_s is None:
            time.sleep(FIRST_S)
            self._first_s = outside_s() - begin_s

    def complete(self, produced: object) -> Completion:
        """The answer is how many seconds the first one took."""
        return Completion(text=json.dumps(self._first_s), finish_reason="stop")

    def close(self) -> None:
        pass


def _spike(size: int) -> int | None:
    """Have that many bytes resident for a moment.

    :returns: resident bytes of the process meanwhile; None where the system does not tell.
    """
    with mmap.mmap(-1, size) as block:
        for at in range(0, size, mmap.PAGESIZE):
            block[at] = 1
        try:
            return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * mmap.PAGESIZE
        except OSError:
            return None
