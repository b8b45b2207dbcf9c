"""Several runs read at once: large logs by two processes, as parsing keeps one core busy and nothing waits for the disk.

The other process is this module, started with the standard library alone. It hands back what it read as a pickle through a
pipe; where anything goes wrong with it, this process reads the same logs and raises what there is to raise.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ...measure.cpu import allowed_cores
from ...store.log import LOG_NAME
from .stored_run import StoredRun, read_run

LARGE_BYTES: Final = 16_000_000
"""Of the logs that the other process would read: for less its start costs more than it saves."""
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_CHILD: Final = (
    f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {__spec__.name} import read_for_parent; read_for_parent()"
)


def read_runs(folders: Sequence[Path], metrics: Collection[str] = ()) -> list[StoredRun]:
    """:func:`~pytest_llmci.engine.comparisons.stored_run.read_run` of each folder, in their order.

    :raises StoreError: if a log cannot be read.
    """
    half = (len(folders) + 1) // 2
    own, other = folders[:half], folders[half:]
    if not other or sum(map(_size, other)) < LARGE_BYTES or allowed_cores() < 2 or not sys.executable:
        return [read_run(folder, metrics) for folder in folders]
    try:
        child = _Child(other, metrics)
    except OSError:
        return [read_run(folder, metrics) for folder in folders]
    with child.ended():
        found = [read_run(folder, metrics) for folder in own]
        theirs = child.result()
    return found + (theirs if theirs is not None else [read_run(folder, metrics) for folder in other])


def _size(folder: Path) -> int:
    try:
        return (folder / LOG_NAME).stat().st_size
    except OSError:
        return 0


class _Child:
    def __init__(self, folders: Sequence[Path], metrics: Collection[str]) -> None:
        command = [sys.executable, "-I", "-c", _CHILD, str(_PACKAGE.parent), ",".join(metrics)]
        self._process = subprocess.Popen(
            [*command, *(str(folder.absolute()) for folder in folders)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Leave no process behind, whatever happens meanwhile."""
        with self._process:
            try:
                yield
            except BaseException:
                self._process.kill()
                raise

    def result(self) -> list[StoredRun] | None:
        """What it read; None if it could not."""
        assert self._process.stdout is not None
        content = self._process.stdout.read()
        if self._process.wait() != 0:
            return None
        runs: list[StoredRun] = pickle.loads(content)  # noqa: S301  # of our own child
        return runs


def read_for_parent() -> None:
    """What the other process does: ``metric,metric FOLDER...`` on the command line, runs on standard output."""
    import gc

    gc.disable()  # nothing is thrown away before the end
    names, *folders = sys.argv[1:]
    runs = [read_run(Path(folder), [name for name in names.split(",") if name]) for folder in folders]
    sys.stdout.buffer.write(pickle.dumps(runs, pickle.HIGHEST_PROTOCOL))
    sys.stdout.buffer.flush()
