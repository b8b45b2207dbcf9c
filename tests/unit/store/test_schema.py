from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import pytest
from loads import load_line
from sample_run import answers, benchmark, questions, shard, usual_records, verdict, write_log

from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import (
    LOG_RECORDS,
    BudgetResult,
    CheckResult,
    ComparisonResult,
    ContinuationScore,
    ErrorInfo,
    FailedSample,
    GateRecord,
    GenerationSettings,
    LoadRun,
    Message,
    ModelSpec,
    Price,
    Prompt,
    PublishedScore,
    SampleResult,
    SlowdownPart,
    SlowdownResult,
    TaskFacts,
)
from pytest_llmci.store import load_schema
from pytest_llmci.store.baseline_file import baseline_text
from pytest_llmci.store.baseline_log import baseline_of_log
from pytest_llmci.store.baseline_record import (
    BaselineCell,
    BaselineModel,
    BaselineRecord,
    BaselineSession,
    BaselineTask,
    Origin,
)

NESTED: tuple[type, ...] = (
    ErrorInfo,
    Message,
    CheckResult,
    ContinuationScore,
    BudgetResult,
    ComparisonResult,
    SampleResult,
    FailedSample,
    SlowdownPart,
    SlowdownResult,
    GenerationSettings,
    LoadRun,
    ModelSpec,
    Price,
    PublishedScore,
    TaskFacts,
    MetricDef,
)


def definitions(name: Any) -> dict[str, Any]:
    found = load_schema(name)["$defs"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", [*LOG_RECORDS.values(), *NESTED], ids=lambda kind: kind.__name__)
def test_the_schema_of_a_line_names_every_field_of_its_record(kind: Any) -> None:
    schema = definitions("log")[kind.__name__]
    fields = dataclasses.fields(kind)
    typed = {"type"} if hasattr(kind, "TYPE") else set()
    assert set(schema["properties"]) == {entry.name for entry in fields} | typed
    assert set(schema["required"]) == typed | {
        entry.name
        for entry in fields
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    }


OF_BASELINES: tuple[type, ...] = (
    BaselineRecord,
    BaselineSession,
    BaselineModel,
    BaselineCell,
    BaselineTask,
    Origin,
    Prompt,
    Message,
    GenerationSettings,
    ModelSpec,
    MetricDef,
)


@pytest.mark.parametrize("kind", OF_BASELINES, ids=lambda kind: kind.__name__)
def test_the_schema_of_a_baseline_names_every_field(kind: Any) -> None:
    schema = definitions("baseline")[kind.__name__]
    fields = dataclasses.fields(kind)
    assert set(schema["properties"]) == {entry.name for entry in fields}
    assert set(schema["required"]) == {
        entry.name
        for entry in fields
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    }


def test_a_baseline_keeps_to_the_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    write_log(tmp_path, usual_records())
    data = json.loads(baseline_text(baseline_of_log(tmp_path, "main", project=tmp_path)))
    validator = jsonschema.Draft202012Validator(load_schema("baseline"))
    validator.validate(data)
    assert not validator.is_valid({**data, "schema": "llmci-baseline/2"})
    assert not validator.is_valid({**data, "sessions": []})


@pytest.mark.parametrize("kind", NESTED, ids=lambda kind: kind.__name__)
def test_choices_are_those_of_the_type(kind: Any) -> None:
    for name, hint in typing.get_type_hints(kind).items():
        if typing.get_origin(hint) is typing.Literal:
            assert definitions("log")[kind.__name__]["properties"][name]["enum"] == list(typing.get_args(hint))


def test_both_schemas_agree_on_what_they_share() -> None:
    log, results = definitions("log"), definitions("results")
    for kind in (
        ErrorInfo,
        CheckResult,
        BudgetResult,
        MetricDef,
        SampleResult,
        FailedSample,
        SlowdownPart,
        SlowdownResult,
    ):
        assert results[kind.__name__] == log[kind.__name__]
    for name in ("GenerationSettings", "ModelSpec", "MetricDef"):
        assert definitions("baseline")[name] == log[name]


@pytest.mark.parametrize("name", ["log", "results", "baseline"])
def test_schemas_are_schemas(name: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(load_schema(name))


def test_every_line_of_a_log_keeps_to_the_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(load_schema("log"))
    gate = GateRecord(name="coverage", outcome="skipped", message="not run")
    lines = (
        write_log(tmp_path, [*usual_records(), questions(), answers(), gate, benchmark(), shard(), load_line()])
        .read_text()
        .splitlines()
    )
    for line in lines:
        validator.validate(json.loads(line))
    assert {json.loads(line)["type"] for line in lines} == set(LOG_RECORDS)


def test_the_schema_refuses_lines_that_are_none(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(load_schema("log"))
    line = json.loads(write_log(tmp_path, [verdict()]).read_text().splitlines()[1])
    assert validator.is_valid(line)
    changes: list[dict[str, Any]] = [
        {"verdict": "fine"},
        {"type": "rounds"},
        {"sha256": "x"},
        {"line": 0},
        {"checks": {}},
    ]
    for change in changes:
        assert not validator.is_valid({**line, **change})
    assert not validator.is_valid({key: value for key, value in line.items() if key != "cell"})
