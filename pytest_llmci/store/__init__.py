"""Where results are kept: the chained log, its run folder, and the facts of the machine."""

from __future__ import annotations

import json
from typing import Literal

from ..records import JsonObject


def load_schema(name: Literal["log", "results"]) -> JsonObject:
    """The JSON Schema (draft 2020-12) of a line of log.jsonl, or of results.json."""
    from importlib import resources

    text = resources.files(__name__).joinpath("schema", f"{name}.schema.json").read_text(encoding="utf-8")
    schema: JsonObject = json.loads(text)
    return schema
