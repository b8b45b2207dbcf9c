"""Small tables in the shapes of public leaderboards; names and numbers are invented."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

KAGGLE = (
    "Average score", "ARC", "HellaSwag", "MMLU", "TruthfulQA", "Type", "Precision", "Hub License", "#Params (B)", "No. of Likes",
    "model_name_for_query",
)  # fmt: skip
BOARD = (
    "T", "Model", "Average ⬆️", "ARC", "HellaSwag", "MMLU", "TruthfulQA", "Winogrande", "GSM8K", "Type", "Weight type", "Precision",
    "Hub License", "#Params (B)", "Hub ❤️", "Available on the hub", "Model sha", "Flagged", "date",
)  # fmt: skip


def kaggle_row(model: str = "org/one-1b", average: str = "40.0", **cells: str) -> dict[str, str]:
    """A row in the form of the Kaggle table: ``size``, ``license``, ``likes``, ``type``, ``precision`` or a benchmark may be given."""
    names = {
        "size": "#Params (B)", "license": "Hub License", "likes": "No. of Likes", "type": "Type", "precision": "Precision",
    }  # fmt: skip
    row = {
        "Average score": average, "ARC": "30.5", "HellaSwag": "50.25", "MMLU": "26.0", "TruthfulQA": "41.0", "Type": "pretrained",
        "Precision": "float16", "Hub License": "apache-2.0", "#Params (B)": "1.1", "No. of Likes": "10", "model_name_for_query": model,
    }  # fmt: skip
    return {**row, **{names.get(name, name): cell for name, cell in cells.items()}}


def board_row(model: str = "org/one-1b", average: str = "40.0", **cells: str) -> dict[str, str]:
    """A row in the form of the Open LLM Leaderboard's archive, where ``Flagged`` is true for what is not."""
    names = {
        "size": "#Params (B)", "license": "Hub License", "type": "Type", "precision": "Precision", "sha": "Model sha",
        "on_hub": "Available on the hub", "flagged": "Flagged", "weights": "Weight type",
    }  # fmt: skip
    row = {
        "T": "🟢", "Model": model, "Average ⬆️": average, "ARC": "30.5", "HellaSwag": "50.25", "MMLU": "26.0", "TruthfulQA": "41.0",
        "Winogrande": "60.0", "GSM8K": "0.5", "Type": "🟢 pretrained", "Weight type": "Original", "Precision": "float16",
        "Hub License": "apache-2.0", "#Params (B)": "1", "Hub ❤️": "10", "Available on the hub": "True", "Model sha": "c0ffee1",
        "Flagged": "True", "date": "2023-10-16T12:48:18Z",
    }  # fmt: skip
    return {**row, **{names.get(name, name): cell for name, cell in cells.items()}}


def write_table(
    path: Path, rows: Sequence[Mapping[str, str]], *, delimiter: str = ",", encoding: str = "utf-8"
) -> Path:
    """Write rows as CSV, with the columns of the first one."""
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path
