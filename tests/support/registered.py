"""Runs in an MLflow store, as far as promotions look at them."""

from __future__ import annotations

from pathlib import Path

from pytest_llmci.engine.comparisons.stored_run import read_run
from pytest_llmci.store.log import LOG_NAME
from pytest_llmci.store.verify import verify_log
from pytest_llmci.tracking.connection import Connection
from pytest_llmci.tracking.layout import LOG_TAG, MODEL_TAG, OF_RUN_TAG, PARENT_TAG, RUN_ID_TAG, UPLOAD_TAG, WHOLE


def log_run(connection: Connection, folder: Path) -> str:
    """Log a run folder's log and its models; returns MLflow's id of the session's run."""
    client, run = connection.client, read_run(folder)
    digest = verify_log(folder / LOG_NAME).digest
    parent = client.create_run("0", tags={RUN_ID_TAG: run.run_id, LOG_TAG: digest, UPLOAD_TAG: WHOLE})
    client.log_artifact(parent.info.run_id, str(folder / LOG_NAME))
    for alias in run.models:
        tags = {PARENT_TAG: parent.info.run_id, OF_RUN_TAG: run.run_id, MODEL_TAG: alias}
        client.create_run("0", tags=tags)
    return str(parent.info.run_id)
