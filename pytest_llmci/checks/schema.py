"""``json_schema:{...}``: the output is JSON and follows a schema."""

from __future__ import annotations

import json
from typing import Any, Final

from ..errors import CheckError, ConfigError, described
from ..records import CheckResult, Json
from ..text import one_line
from .arguments import cut_off, excerpt, read_flag, read_json, require_argument
from .base import BuiltIn, CheckInput, Exemplar
from .json_text import read, without_fence
from .time_limit import LIMIT_S, within

_EXAMPLE: Final = 'json_schema:{"type":"object","required":["city"]}'
MOST_SHOWN: Final = 3
"""Faults that a message names."""


class JsonSchema(BuiltIn):
    """Passes where the output is JSON (as ``json`` reads it) and follows the schema; the draft is that of ``$schema``, else 2020-12.

    ``{"schema": {...}, "fence": true}`` allows a code fence around it. ``format`` is not looked at; nothing is fetched from a network.
    """

    name = "json_schema"
    exemplars = (
        Exemplar(check=_EXAMPLE, text='{"city": "Paris"}', passes=True),
        Exemplar(
            check='json_schema:{"fence":true,"schema":{"type":"object"}}',
            text='```json\n{"city": "Paris"}\n```',
            passes=True,
        ),
        Exemplar(check=_EXAMPLE, text='{"town": "Paris"}', passes=False, says="'city' is a required property"),
        Exemplar(check='json_schema:{"items":{"type":"integer"}}', text='[1, "2"]', passes=False, says="at [1]"),
        Exemplar(check=_EXAMPLE, text="Paris", passes=False, says="expected JSON"),
        Exemplar(check=_EXAMPLE, text='{"city": ', passes=False, finish_reason="length", says="cut off"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        if argument.strip().endswith(".json"):
            raise ConfigError(
                f"'{one_line(argument.strip())[-60:]}' is the name of a file, and the schema itself is wanted: in Python"
                " json_schema(json.loads(Path('schema.json').read_text())), in YAML the schema under the key json_schema."
            )
        schema, self._fence = _schema_and_fence(read_json(require_argument(argument.strip(), _EXAMPLE), _EXAMPLE))
        self._validator = _validator(schema)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        value, fault = read(without_fence(output.text) if self._fence else output.text)
        if fault:
            return self.failed(f"{cut_off(output)}expected JSON, found {excerpt(output.text)}: {fault}")
        try:
            faults = within(lambda: list(self._validator.iter_errors(value)), LIMIT_S, _too_slow)
            faults.sort(key=lambda error: [str(part) for part in error.absolute_path])
        except CheckError:
            raise
        except RecursionError:
            raise CheckError("the output is nested too deeply for the schema") from None
        except (
            Exception
        ) as error:  # a $ref that leads nowhere, a pattern that is none: the library raises what it likes
            raise CheckError(f"the schema cannot be used: {described(error)}") from error
        if not faults:
            return self.passed("the output follows the schema")
        shown = "; ".join(_fault_text(error) for error in faults[:MOST_SHOWN])
        more = f"; and {len(faults) - MOST_SHOWN} more" if len(faults) > MOST_SHOWN else ""
        return self.failed(f"{cut_off(output)}expected JSON of the schema, found {excerpt(output.text)}: {shown}{more}")


def _too_slow() -> CheckError:
    return CheckError(
        f"the output was compared with the schema for more than {LIMIT_S:g} s and no end: a 'pattern' may backtrack without end."
    )


def _schema_and_fence(found: Json) -> tuple[Json, bool]:
    if isinstance(found, dict) and "schema" in found and set(found) <= {"schema", "fence"}:
        return found["schema"], read_flag(
            found.get("fence", False), "fence", 'json_schema:{"fence":true,"schema":{...}}'
        )
    return found, False


def _validator(schema: Json) -> Any:
    import jsonschema
    import referencing

    if not isinstance(schema, dict | bool):
        raise ConfigError(f"a schema is a JSON object, found {json.dumps(schema)[:40]}; write it like '{_EXAMPLE}'.")
    kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ConfigError(
            f"the schema is not valid: {one_line(error.message)[:200]} at {_position(error.absolute_path)}."
        ) from error
    return kind(schema, registry=referencing.Registry())  # an empty registry: no reference is fetched


def _fault_text(error: Any) -> str:
    return f"{one_line(error.message)[:120]} at {_position(error.absolute_path)}"


def _position(path: Any) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return one_line("".join(parts).removeprefix("."))[:60] or "the top"
