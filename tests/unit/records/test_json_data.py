from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmci.errors import StoreError
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import (
    BudgetResult,
    Completion,
    ErrorInfo,
    FooterRecord,
    GateRecord,
    GenerationSettings,
    Message,
    ModelSpec,
    Prompt,
    RoundRecord,
    RoundsRecord,
    RunRequest,
    WorkerRecord,
    from_json,
    json_view,
    to_json,
)

SPEC = ModelSpec(alias="a", backend="echo", options={"itl": "1ms"}, text="a=echo+itl=1ms")
CHAT = Prompt(
    id="p",
    messages=(Message(role="system", content="Be short."), Message(role="user", content="Hi")),
    tags=("x", "y"),
    checks=("json",),
    max_new_tokens=5,
)
COMPLETION = Completion(text="é\n\x00🙂", finish_reason="stop", prompt_tokens=0, token_ids=(1, 2))
CROSS_A_PROCESS: list[object] = [
    SPEC,
    CHAT,
    GenerationSettings(max_new_tokens=7, temperature=0.5),
    COMPLETION,
    RunRequest(cell="a-p", prompt=CHAT, generation=GenerationSettings(), rounds=5, warmup=1, first_round=10),
    RoundRecord(
        values={"latency": 2**60 + 1, "cpu_percent": 12.5},
        reasons={"ttft": "no streaming"},
        token_ns=(1, 2),
        completion=COMPLETION,
        peak_rss_resolution_bytes=4096,
    ),
    ErrorInfo(kind="crashed", message="it died", facts={"when": "now"}),
    MetricDef(name="latency", unit="s", direction="lower", definition="It.", stored="ns"),
]


@pytest.mark.parametrize("record", CROSS_A_PROCESS, ids=lambda record: type(record).__name__)
def test_what_crosses_a_process_comes_back_equal(record: object) -> None:
    plain = json.loads(json.dumps(to_json(record)))
    again = from_json(type(record), plain)
    assert again == record
    assert to_json(again) == plain


def test_integers_stay_integers_so_that_nanoseconds_are_exact() -> None:
    record = CROSS_A_PROCESS[5]
    assert isinstance(record, RoundRecord)
    again = from_json(RoundRecord, json.loads(json.dumps(to_json(record))))
    assert again.values["latency"] == 2**60 + 1
    assert type(again.values["latency"]) is int


def test_lists_become_tuples_where_the_record_has_tuples() -> None:
    again = from_json(Prompt, json.loads(json.dumps(to_json(CHAT))))
    assert (type(again.messages), type(again.tags)) == (tuple, tuple)


def test_only_log_lines_carry_their_type_and_it_comes_first() -> None:
    assert next(iter(to_json(GateRecord(name="coverage", outcome="passed", message="")).items())) == ("type", "gate")
    assert "type" not in to_json(SPEC)


@pytest.mark.parametrize("record", CROSS_A_PROCESS, ids=lambda record: type(record).__name__)
def test_the_view_for_writing_is_the_same_data(record: object) -> None:
    assert json.dumps(json_view(record)) == json.dumps(to_json(record))


def test_unknown_keys_are_passed_over() -> None:
    assert from_json(ModelSpec, {**to_json(SPEC), "colour": "blue"}) == SPEC


def test_what_has_a_default_may_be_absent_and_nothing_else() -> None:
    assert from_json(ModelSpec, {"alias": "a", "backend": "echo"}) == ModelSpec(alias="a", backend="echo")
    with pytest.raises(StoreError, match="ModelSpec: key 'backend' is missing"):
        from_json(ModelSpec, {"alias": "a"})


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        (ModelSpec, "alias", 5, "ModelSpec.alias: expected str, found int"),
        (ModelSpec, "alias", None, "ModelSpec.alias: expected str, found NoneType"),
        (ModelSpec, "options", [], "ModelSpec.options: expected an object, found list"),
        (ModelSpec, "options", {"a": 1}, "ModelSpec.options: expected str, found int"),
        (RunRequest, "rounds", 1.5, "RunRequest.rounds: expected int, found float"),
        (RunRequest, "rounds", True, "RunRequest.rounds: expected int, found bool"),
        (RunRequest, "rounds", "5", "RunRequest.rounds: expected int, found str"),
        (RunRequest, "prompt", "p", "RunRequest.prompt: expected an object, found str"),
        (RunRequest, "prompt", {"id": 1}, "RunRequest.prompt: Prompt.id: expected str, found int"),
        (GenerationSettings, "temperature", "0", "GenerationSettings.temperature: expected float, found str"),
        (GenerationSettings, "fixed_length", 1, "GenerationSettings.fixed_length: expected bool, found int"),
        (Completion, "prompt_tokens", 1.0, r"Completion.prompt_tokens: expected int \| None, found float"),
        (Prompt, "text", 1, r"Prompt.text: expected str \| None, found int"),
        (Prompt, "tags", "x", "Prompt.tags: expected a list, found str"),
        (Prompt, "tags", ["x", 1], "Prompt.tags: expected str, found int"),
        (Prompt, "messages", ["x"], "Prompt.messages: expected an object, found str"),
        (WorkerRecord, "isolation", "fork", "WorkerRecord.isolation: 'fork' is none of 'worker', 'inline'"),
        (WorkerRecord, "error", "no", "WorkerRecord.error: expected an object, found str"),
        (FooterRecord, "exit_status", "0", r"FooterRecord.exit_status: expected int \| None, found str"),
        (RoundsRecord, "values", {"latency": [1, "x"]}, r"RoundsRecord.values: expected float \| None, found str"),
        (RoundsRecord, "token_ns", [[1], [2.5]], "RoundsRecord.token_ns: expected int, found float"),
        (RoundsRecord, "token_ns", [1], "RoundsRecord.token_ns: expected a list, found int"),
    ],
)
def test_something_else_than_the_fields_type_names_the_field(kind: type, key: str, value: object, message: str) -> None:
    with pytest.raises(StoreError, match=f"^{message}"):
        from_json(kind, {**WHOLE[kind], key: value})


WHOLE: dict[type, dict[str, Any]] = {
    ModelSpec: to_json(SPEC),
    Prompt: to_json(CHAT),
    Completion: to_json(COMPLETION),
    GenerationSettings: {},
    RunRequest: to_json(CROSS_A_PROCESS[4]),
    WorkerRecord: to_json(WorkerRecord(uid="w", model="a", spec=SPEC, started="", pid=1, isolation="inline")),
    FooterRecord: {"lines": 1, "digest": "", "finished": ""},
    RoundsRecord: {
        "uid": "r", "cell": "a-p", "model": "a", "prompt_id": "p", "prompt": "", "prompt_sha256": "", "test": "", "origin": "call",
        "worker": "w", "block": 0, "first_round": 0, "started": "", "generation": {}, "n": 2, "values": {}, "reasons": {},
        "token_ns": [], "outputs": [], "output_of_round": [], "md5": [], "output_sha256": [], "finish_reasons": [], "noisy": [],
    },
}  # fmt: skip


def test_a_missing_column_entry_is_null_and_not_zero() -> None:
    record = from_json(RoundsRecord, {**WHOLE[RoundsRecord], "values": {"ttft": [None, 0]}})
    assert record.values["ttft"] == [None, 0]


def test_the_record_owns_its_data() -> None:
    sample = [1.0, 2.0]
    result = BudgetResult(
        budget="b", origin="o", metric="m", statistic="max", operator="<=", limit=1, verdict="pass", observed=None, rounds=2,
        reason="", values=sample,
    )  # fmt: skip
    plain = to_json(result)
    again = from_json(BudgetResult, plain)
    sample.append(3.0)
    assert plain["values"] == [1.0, 2.0]
    plain["values"].append(4.0)
    assert again.values == [1.0, 2.0]
