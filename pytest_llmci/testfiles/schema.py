"""The JSON Schema of a test file, made of the table of keys, for editors that complete and check while one types."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

from ..checks import CHECKS
from ..prompts import known_sets
from ..prompts.rows import GENERATE_KEYS, ROLES
from ..prompts.rows import KEYS as ROW_KEYS
from .keys import EXTENSION, KEYS, ROW_FACTS, Key, Kind, known_keys
from .read import MARKS_WITH_REASON

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
FILE: Final = "llm-test.schema.json"
"""Name of the packaged file, and of a project's copy."""
_TEXT: Final = {"type": "string", "pattern": r"\S"}
_NAME: Final = {"anyOf": [{"type": "string", "pattern": r"^[A-Za-z0-9_.-]+$"}, {"type": "integer"}]}


def packaged_path() -> str:
    """Where the schema lies that came with the package."""
    return str(files("pytest_llmci") / "data" / "schemas" / FILE)


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The schema of a whole file."""
    return {
        "$schema": DIALECT,
        "title": "Test file of pytest-llmci (test_*.llm.yaml)",
        "type": "object",
        "properties": {name: _property(name) for name in known_keys("file")},
        "patternProperties": {f"^{EXTENSION}": {"description": "anchors that the tests share; not read"}},
        "additionalProperties": False,
        "$defs": {
            "test": {
                "type": "object",
                "properties": {name: _property(name) for name in known_keys("test")},
                "required": ["name"],
                "additionalProperties": False,
            },
            "prompt": _prompt(),
            "check": _check(),
            "mark": _mark(),
        },
    }


def _property(name: str) -> dict[str, Any]:
    key = KEYS[name]
    return {"description": key.help, **_of_kind(key)}


def _of_kind(key: Key) -> dict[str, Any]:
    bounds = {
        word: value
        for word, value in (("minimum", key.least), ("exclusiveMinimum", key.above), ("maximum", key.most))
        if value is not None
    }
    simple: dict[Kind, dict[str, Any]] = {
        "text": _TEXT, "load": _TEXT, "name": _NAME, "yes_no": {"type": "boolean"}, "whole": {"type": "integer", **bounds},
        "number": {"type": "number", **bounds}, "texts": _one_or_list(_TEXT), "prompts": _one_or_list({"$ref": "#/$defs/prompt"}),
        "checks": _one_or_list({"$ref": "#/$defs/check"}, may_be_empty=True), "marks": _one_or_list({"$ref": "#/$defs/mark"}),
        "tests": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/test"}},
    }  # fmt: skip
    return simple[key.kind]


def _one_or_list(entry: dict[str, Any], *, may_be_empty: bool = False) -> dict[str, Any]:
    return {"anyOf": [entry, {"type": "array", "items": entry, **({} if may_be_empty else {"minItems": 1})}]}


def _prompt() -> dict[str, Any]:
    message = {
        "type": "object",
        "properties": {"role": {"enum": list(ROLES)}, "content": _TEXT},
        "required": ["role", "content"],
        "additionalProperties": False,
    }
    special: dict[str, dict[str, Any]] = {
        "id": {"anyOf": [{"type": "string", "pattern": r"^[!-~]+$"}, {"type": "integer"}]},
        "messages": {"type": "array", "minItems": 1, "items": message},
        "tags": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
        "reference": {"type": "string"},
        "max_new_tokens": {"type": "integer", "minimum": 1},
    }
    properties: dict[str, Any] = {}
    for name in ROW_KEYS:  # a key that has no facts here may hold anything
        kind, text = ROW_FACTS.get(name, (None, ""))
        found = special.get(name) or (_of_kind(Key(kind=kind, help=text)) if kind else {})
        properties[name] = {**({"description": text} if text else {}), **found}
    named = {
        "description": f"a packaged set ({', '.join(known_sets())}), a prompt file, or the text of a prompt",
        **_TEXT,
    }
    row = {"type": "object", "properties": properties, "additionalProperties": False}
    count = {"type": "integer", "minimum": 1}
    lengths = {
        "words": {"description": "words of the whole prompt", **_one_or_list(count)},
        "tokens": {"description": "tokens of the whole prompt, by the model's own tokenizer", **_one_or_list(count)},
        "seeds": {"description": "each is another filler", **_one_or_list({"type": "integer", "minimum": 0})},
    }
    entry = {
        "type": "object", "properties": {name: lengths.get(name) or properties[name] for name in GENERATE_KEYS}, "required": ["id"],
        "additionalProperties": False,
    }  # fmt: skip
    made = {
        "type": "object", "properties": {"generate": {"description": "prompts of wanted lengths", **_one_or_list(entry)}},
        "required": ["generate"], "additionalProperties": False,
    }  # fmt: skip
    return {"anyOf": [named, row, made]}


def _check() -> dict[str, Any]:
    names = list(CHECKS)
    texts = {"type": "string", "pattern": r"\S", "description": "name, or name:argument", "examples": names}
    form = {
        "type": "object",
        "description": "name: argument",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {name: {"description": summary} for name, (_, summary) in CHECKS.items()},
    }
    return {"anyOf": [texts, form]}


def _mark() -> dict[str, Any]:
    reasons = {
        "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False,
        "properties": {name: {**_TEXT, "description": "the reason"} for name in MARKS_WITH_REASON},
    }  # fmt: skip
    return {"anyOf": [{"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]*$"}, reasons]}
