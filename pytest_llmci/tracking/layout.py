"""How a run lies in MLflow: names of tags, keys and files, and the lengths that MLflow keeps.

A session is a run, each of its models a run below it. The files of the run folder are artifacts of the session's run, at the
top and under the names that they have in the folder; a model's run holds its answers as a table.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from ..store.runfolder import WORKERS_NAME
from ..store.spool import SPOOL_NAME

EXPERIMENT: Final = "LLM_CI_CD_Benchmark"
"""Unless another one is named."""

RUN_ID_TAG: Final = "llmci.run_id"
"""Name of the run folder, on the session's run alone: what it is found by."""
OF_RUN_TAG: Final = "llmci.of_run"
"""The same on the runs of single models."""
MODEL_TAG: Final = "llmci.model"
"""Alias, on the runs of single models alone."""
LOG_TAG: Final = "llmci.log_sha256"
"""Digest of the log's last line: equal ones are the same run."""
LINES_TAG: Final = "llmci.log_lines"
VERSION_TAG: Final = "llmci.version"
COMMAND_TAG: Final = "llmci.command"
UPLOAD_TAG: Final = "llmci.upload"
WHOLE: Final = "whole"
"""Value of ``llmci.upload`` once everything has arrived."""
PARTIAL: Final = "partial"
STATE_TAG: Final = "llmci.verdict"
"""``pass``, ``failed`` or ``inconclusive``: the worst of its cells and gates."""
ENVIRONMENT_TAG: Final = "llmci.comparability.environment"
PROTOCOL_TAG: Final = "llmci.comparability.protocol"
SUBJECT_TAG: Final = "llmci.comparability.subject"
COMPARABILITY_TAG: Final = "llmci.comparability"
"""Environment and protocol in one: two models' runs with the same one may be compared."""
PROMPTS_TAG: Final = "llmci.prompts"
"""Digest of the prompts, as the dataset has it."""
FAILED_TAG: Final = "llmci.failed"
"""Cells that failed, each with its reason."""
GATES_TAG: Final = "llmci.gates"
MISSING_TAG: Final = "llmci.missing"
"""Metrics without a number, each with its reason."""
NOT_FINITE_TAG: Final = "llmci.not_finite"
"""Metrics whose number MLflow cannot hold: not a number, or infinite."""
RENAMED_TAG: Final = "llmci.renamed"
"""Keys that MLflow refuses, as JSON: key in MLflow -> name in the log."""
CUT_TAG: Final = "llmci.cut"
"""Names of tags and params that were too long; the whole texts are in :data:`LONG_TEXTS`."""
LEFT_OUT_TAG: Final = "llmci.left_out"
"""Files of the run folder that were not uploaded, and why."""
PARENT_TAG: Final = "mlflow.parentRunId"

TABLE: Final = "results.json"
"""On a model's run: one row a cell, as MLflow's own tables are stored."""
LONG_TEXTS: Final = "llmci-long-texts.json"
LOGS: Final = WORKERS_NAME + "/"

MOST_KEY: Final = 250
MOST_PARAM: Final = 6000
MOST_TAG: Final = 8000
MOST_WORKER_LOG: Final = 1 << 20
"""Bytes of a log of a model's process; what is longer stays in the run folder."""
MOST_WORKER_LOGS: Final = 50
_REFUSED: Final = re.compile(r"[^A-Za-z0-9_\-. /]")
_ELLIPSIS: Final = "..."


def key(name: str) -> str:
    """The key in MLflow of a metric or parameter: the name itself wherever MLflow takes it on every system.

    What it refuses is replaced, and the begin of the name's hash keeps two names apart.

    >>> key("latency.median"), key("p95(ms)")
    ('latency.median', 'p95_ms_-4b6ac7e8')
    """
    if name and len(name) <= MOST_KEY and not _REFUSED.search(name) and _is_plain_path(name):
        return name
    clean = "/".join(part.strip(" .") for part in _REFUSED.sub("_", name).split("/") if part.strip(" ."))
    mark = "-" + sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return (clean or "unnamed")[: MOST_KEY - len(mark)] + mark


def _is_plain_path(name: str) -> bool:
    normal = posixpath.normpath(name)
    return normal == name and normal != "." and not normal.startswith(("..", "/"))


def cut(text: str, most: int) -> str:
    """The text in at most so many characters; where it is longer, it says so at its end.

    >>> cut("abc", 3), cut("a" * 40, 30)
    ('abc', 'aaaaaaaaaa... (cut, 40 in all)')
    """
    if len(text) <= most:
        return text
    mark = f"{_ELLIPSIS} (cut, {len(text)} in all)"
    return text[: most - len(mark)] + mark


def tag_filter(name: str, value: str) -> str:
    """A filter of MLflow's search for a tag.

    :raises ConfigError: if the search cannot take the value.

    >>> tag_filter("llmci.run_id", "20260101T000000Z-abcdef")
    "tags.`llmci.run_id` = '20260101T000000Z-abcdef'"
    """
    if "'" in value and '"' in value:
        raise ConfigError(f"MLflow cannot search for {value!r}, which has both kinds of quotation marks.")
    mark = '"' if "'" in value else "'"
    return f"tags.`{name}` = {mark}{value}{mark}"


def artifact_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of a run folder that are uploaded, with the name that each has among the artifacts.

    The spool, temporary files and links are left out; so are logs of models' processes that are empty.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        if hidden or name.partition("/")[0] == SPOOL_NAME or path.is_symlink() or not path.is_file():
            continue
        if name.startswith(LOGS) and not path.stat().st_size:
            continue
        yield path, name
