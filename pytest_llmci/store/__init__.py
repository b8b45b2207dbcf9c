"""Where results are kept: the chained log, its run folder, baselines, and the facts of the machine."""

from __future__ import annotations

import json
from typing import Literal

from ..records import JsonObject


def load_schema(name: Literal["log", "results", "baseline"]) -> JsonObject:
    """The JSON Schema (draft 2020-12) of a line of log.jsonl, of results.json, or of a baseline."""
    from importlib import resources

    text = resources.files(__name__).joinpath("schema", f"{name}.schema.json").read_text(encoding="utf-8")
    schema: JsonObject = json.loads(text)
    return schema
