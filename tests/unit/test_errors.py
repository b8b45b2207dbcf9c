from __future__ import annotations

import inspect

import pytest

from pytest_llmci import errors
from pytest_llmci.errors import (
    BackendError,
    BudgetExceeded,
    CheckError,
    ConfigError,
    GenerationError,
    InvalidOutput,
    LLMCIError,
    LogTamperedError,
    MeasurementError,
    MissingExtraError,
    MissingValue,
    ModelGivenUp,
    ModelLoadError,
    NotReplayed,
    RegressionDetected,
    SchemaVersionError,
    ServingError,
    SinkError,
    StoreError,
    TryAgain,
    UnknownNameError,
    WeightsChangedError,
    WorkerCrashed,
    WorkerError,
    WorkerProtocolError,
    WorkerTimeout,
)

PARENTS: dict[type[Exception], type[Exception]] = {
    LLMCIError: Exception,
    ConfigError: LLMCIError,
    UnknownNameError: ConfigError,
    MissingExtraError: ConfigError,
    BackendError: LLMCIError,
    ModelLoadError: BackendError,
    GenerationError: BackendError,
    TryAgain: GenerationError,
    WorkerError: LLMCIError,
    WorkerCrashed: WorkerError,
    ModelGivenUp: WorkerCrashed,
    WorkerTimeout: WorkerError,
    WorkerProtocolError: WorkerError,
    StoreError: LLMCIError,
    SchemaVersionError: StoreError,
    LogTamperedError: StoreError,
    WeightsChangedError: StoreError,
    CheckError: LLMCIError,
    NotReplayed: LLMCIError,
    MeasurementError: LLMCIError,
    SinkError: LLMCIError,
    ServingError: LLMCIError,
    BudgetExceeded: AssertionError,
    InvalidOutput: AssertionError,
    RegressionDetected: AssertionError,
    MissingValue: AssertionError,
}


def test_the_tree_is_the_one_that_is_drawn() -> None:
    found = {thing for _, thing in inspect.getmembers(errors, inspect.isclass) if thing.__module__ == errors.__name__}
    assert found == set(PARENTS)
    drawing = (errors.__doc__ or "").splitlines()
    for kind, parent in PARENTS.items():
        assert kind.__bases__ == (parent,)
        (line,) = (text for text in drawing if kind.__name__ in text.split())
        if parent is not Exception:
            above = drawing[: drawing.index(line)]
            assert any(parent.__name__ in text.split() for text in above)


def test_a_slow_model_and_a_broken_tool_share_no_class() -> None:
    of_the_model = {kind for kind in PARENTS if issubclass(kind, AssertionError)}
    of_the_tool = {kind for kind in PARENTS if issubclass(kind, LLMCIError)}
    assert of_the_model | of_the_tool == set(PARENTS)
    assert not of_the_model & of_the_tool


def test_an_unknown_name_without_any_known() -> None:
    assert str(UnknownNameError.build("--x", "sink", "csv", [])) == "--x: unknown sink 'csv'. Known: none."


def test_a_far_name_gets_no_guess() -> None:
    assert "Did you mean" not in str(UnknownNameError.build("--x", "sink", "zzz", ["csv"]))


def test_the_kind_of_a_backends_failure_is_kept() -> None:
    assert (GenerationError("no", kind="context").kind, ModelLoadError("no").kind) == ("context", "other")


def test_evidence_is_the_errors_own() -> None:
    facts = {"when": "round 2 of 5", "memory": "6.1 GiB"}
    error = WorkerCrashed("died", facts)
    assert error.facts == facts
    error.facts["next"] = "x"
    assert "next" not in facts
    assert WorkerTimeout("late").facts == {}


@pytest.mark.parametrize("kind", [WorkerCrashed, WorkerTimeout, WorkerProtocolError])
def test_a_worker_error_reads_as_its_message(kind: type[WorkerError]) -> None:
    assert str(kind("one line", {"when": "now"})) == "one line"
