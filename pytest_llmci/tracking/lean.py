"""Importing MLflow faster, in a process that does nothing else.

MLflow's small distribution, mlflow-skinny, runs without the packages of :data:`LEFT_OUT`; the large one imports them where it
finds them, which is a third of its import, though a client that logs numbers and files never uses them. Walking all those
modules for cyclic garbage again and again is another sixth. Where MLflow cannot be imported in this way, or brings plugins of
others that may want those packages, it is imported as usual.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Final, TypeVar

from ..garbage import collector_paused

LEFT_OUT: Final = ("pandas", "numpy", "pyarrow", "scipy", "sklearn", "matplotlib")
"""Seem not to be installed while MLflow is imported."""
_OWN: Final = ("mlflow", "mlflow-skinny", "mlflow-tracing")
T = TypeVar("T")


def leanly(load: Callable[[], T]) -> T:
    """What a function that imports MLflow gives, with less imported.

    For a process of one purpose only: parts of MLflow that need those packages, such as ``mlflow.data.from_pandas``, are missing
    in it for good.

    :param load: called again, with everything, where an import fails without those packages.
    """
    with _without_collecting():
        if "mlflow" in sys.modules or _has_plugins():
            return load()
        try:
            with _seemingly_missing():
                return load()
        except ImportError:
            return load()


def _has_plugins() -> bool:
    entries = metadata.entry_points()
    return any(
        entry.dist is None or entry.dist.name.lower() not in _OWN
        for group in entries.groups
        if group.startswith("mlflow.")
        for entry in entries.select(group=group)
    )


@contextmanager
def _seemingly_missing() -> Iterator[None]:
    """Python finds no package whose module is None; one that is loaded stays."""
    absent = [name for name in LEFT_OUT if name not in sys.modules]
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]  # None is Python's own way to say so
    modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            modules.pop(name, None)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Modules live as long as the process: the collector need not look at them, now or later."""
    with collector_paused():
        try:
            yield
        finally:
            gc.freeze()
