"""Baselines that MLflow's registry holds: fetched once, on the controller, before anything is planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..errors import ConfigError
from ..settings import Settings

PREFIX = "mlflow:"


def registered_baselines(config: pytest.Config, settings: Settings) -> dict[str, Path]:
    """Baseline as it was asked for -> its file. A parallel worker is told by the controller.

    :raises ConfigError: if MLflow cannot give one.
    """
    asked = [one for one in settings.baseline if one.text.startswith(PREFIX)]
    if not asked:
        return {}
    for one in asked:
        if "@" not in one.text:
            raise ConfigError(
                f"{one.origin}: '{one.text}' names no alias; expected mlflow:NAME@ALIAS, such as {one.text}@champion."
            )
    if hasattr(config, "workerinput"):
        told: dict[str, str] = config.workerinput["llmci"]["registered"]
        return {text: Path(path) for text, path in told.items()}
    from ..promotion.baseline import fetch_baseline

    uri = settings.mlflow.partition(":")[2]
    return {one.text: fetch_baseline(one.text.removeprefix(PREFIX), uri, one.origin).path for one in asked}
