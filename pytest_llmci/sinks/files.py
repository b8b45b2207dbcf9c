"""Where a sink of one file writes: the place, its folder, and a file that appears when it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import SinkError
from ..store.runfolder import replacing


def target_file(target: str, folder: Path, name: str) -> Path:
    """The file that a sink's target means.

    :param target: of ``NAME:TARGET``; empty for ``name`` in ``folder``.
    """
    return Path(os.path.expanduser(target)) if target else folder / name


@contextmanager
def written(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 text file in a folder that is made if needed; what was there before stays until the new one is whole.

    :raises SinkError: if it cannot be written.
    """
    if path.is_dir():
        raise SinkError(f"{path} is a folder: name a file in it, such as {path / 'results'}{path.suffix or '.json'}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            yield stream
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror or error}.") from error
