"""The user's own run in MLflow, where this process has one: the session is logged below it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


class Tracking:
    """Watches for a run that is active in every test. MLflow is asked only where the user's own code has imported it.

    :param sinks: of the session, as ``NAME`` or ``NAME:TARGET``.
    """

    def __init__(self, sinks: Sequence[str]) -> None:
        self._wanted = any(sink.partition(":")[0] == "mlflow" for sink in sinks)
        self._active: set[str] | None = None
        """Runs that were active in every test so far; None before the first one."""
        self._uri = ""

    def note(self) -> None:
        """After the body of a test, when its fixtures are still there."""
        if self._wanted and self._active != set():
            active = self._active_run()
            self._active = {active} if active and self._active in (None, {active}) else set()

    def variables(self, sink: str) -> dict[str, str]:
        """What the environment of the process that logs must say.

        :param sink: ``mlflow`` or ``mlflow:URI``; a run in another store is not heeded.
        """
        name, _, uri = sink.partition(":")
        if name != "mlflow":
            return {}
        active = self._active_run() or next(iter(self._active or ()), "")
        if not active or uri not in ("", self._uri):
            return {}
        return {"MLFLOW_RUN_ID": active, **({} if uri else {"MLFLOW_TRACKING_URI": self._uri})}

    def _active_run(self) -> str:
        mlflow: Any = sys.modules.get("mlflow")
        try:
            run = mlflow.active_run()
            if run is not None:
                self._uri = str(mlflow.get_tracking_uri())
            return "" if run is None else str(run.info.run_id)
        except Exception:  # noqa: BLE001  # not imported, half imported, or a module of the user's of that name
            return ""
