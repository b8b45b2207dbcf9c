from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from sample_run import CRASH, answers, header, rounds, usual_records, verdict, worker

from pytest_llmci.records import (
    CheckResult,
    ErrorInfo,
    FooterRecord,
    Message,
    ModelSpec,
    Price,
    Prompt,
    SlowdownPart,
    SlowdownResult,
    to_json,
)
from pytest_llmci.redaction import Redactor, hashed, masked_row
from pytest_llmci.secrets import Secrets
from pytest_llmci.store.comparability import prompt_sha256
from pytest_llmci.store.record_bytes import encode_record

SECRET = "s3cr3t-value"


def masking(*, redact: bool = False) -> Redactor:
    return Redactor(Secrets({SECRET: "KEY"}), redact=redact)


def test_records_without_secrets_are_not_touched() -> None:
    for record in (header(), worker(), *usual_records(), FooterRecord(lines=1, digest="0", finished="")):
        assert masking().record(record) is record


def test_a_masked_output_keeps_its_hash_and_loses_its_tokens() -> None:
    block = rounds(outputs=["fine", f"has {SECRET}"], output_of_round=[0, 1, 1], output_token_ids=[[1], [2, 3]])
    written = masking().record(block)
    assert written.outputs == ["fine", "has [secret KEY]"]
    assert written.outputs_withheld == ["", "masked"]
    assert written.output_token_ids == [[1], []]
    assert written == replace(
        block, outputs=written.outputs, outputs_withheld=written.outputs_withheld, output_token_ids=[[1], []]
    )
    assert masking().record(written) == written


def test_answers_that_are_not_counted_yet_are_masked_and_hashed() -> None:
    said = answers(scores=[], outputs=[["fine"], [f"has {SECRET}", "and"]])
    masked = masking().record(said)
    assert (masked.outputs, masked.outputs_withheld) == ([["fine"], ["has [secret KEY]", "and"]], "masked")
    hidden = masking(redact=True).record(said)
    assert (hidden.outputs, hidden.outputs_withheld) == (
        [[hashed("fine")], [hashed(f"has {SECRET}"), hashed("and")]],
        "redacted",
    )
    assert masking(redact=True).record(hidden) == hidden
    assert masking(redact=True).record(answers()) == answers()


def test_a_masked_prompt_is_marked_with_its_messages() -> None:
    messages = [Message(role="user", content=f"use {SECRET}")]
    written = masking().record(rounds(prompt=f"user: use {SECRET}", messages=messages))
    assert (written.prompt, written.messages, written.prompt_withheld) == ("user: use [secret KEY]", [], "masked")


def test_redacted_texts_are_hashes() -> None:
    text = "What is TCP?"
    digest = sha256(text.encode()).hexdigest()
    block = rounds(prompt_sha256=digest, messages=[Message(role="user", content=text)], output_token_ids=[[1, 2]])
    written = masking(redact=True).record(block)
    assert written.prompt == f"sha256:{digest}" == hashed(text)
    assert written.outputs == [hashed("An answer.")]
    assert (written.prompt_withheld, written.outputs_withheld) == ("redacted", ["redacted"])
    assert (written.messages, written.output_token_ids) == ([], [])
    assert (written.md5, written.output_sha256, written.values) == (block.md5, block.output_sha256, block.values)
    assert masking(redact=True).record(written) == written


def test_redacted_verdicts_quote_nothing() -> None:
    checks = [
        CheckResult(name="contains:zebra", passed=False, message="found 'walrus'"),
        CheckResult(name="valid", passed=True, message="x"),
    ]
    foreign = ErrorInfo(
        kind="unexpected", message="ValueError: walrus", facts={"last words": "walrus", "when": "round 2"}
    )
    written = masking(redact=True).record(verdict(checks=checks, error=foreign))
    assert [check.name.partition(":")[0] for check in written.checks] == ["contains", "valid"]
    assert "zebra" not in str(written)
    assert "walrus" not in str(written)
    assert written.error is not None
    assert written.error.facts == {"when": "round 2"}


def test_a_secret_in_the_reasons_of_a_split_is_masked() -> None:
    parts = [SlowdownPart(name="noise", change=None, reason=f"no clock: {SECRET}")]
    split = SlowdownResult(against=f"http://{SECRET}@host", before=1.0, now=2.0, parts=parts)
    written = masking().record(verdict(slowdown=split))
    assert written.slowdown is not None and SECRET not in str(written) and written.slowdown.now == 2.0
    assert written.slowdown.parts[0].reason == "no clock: [secret KEY]"


def test_redacted_runs_still_say_how_a_process_died() -> None:
    fatal = {**CRASH.facts, "last words": "Fatal Python error: Segmentation fault, File x"}
    written = masking(redact=True).record(rounds(error=replace(CRASH, facts=fatal)))
    assert written.error == replace(CRASH, facts=fatal)


def test_a_start_teaches_the_secrets_of_its_spec() -> None:
    redactor = masking()
    spec = ModelSpec(
        alias="a", backend="openai", options={"api_key": "hunter2-word"}, text="a=openai:x+api_key=hunter2-word"
    )
    written = redactor.record(worker(spec=spec))
    assert written.spec.options == {"api_key": "[secret]"}
    assert written.spec.text == "a=openai:x+api_key=[secret +api_key]"
    assert "hunter2" not in redactor.record(rounds(outputs=["hunter2-word"])).outputs[0]


def test_the_header_is_masked_word_by_word() -> None:
    written = masking().record(
        header(
            command=["pytest", "--hub-token", "abcd1234efgh"],
            environment={"hub_token": "short", "url": "https://a:bcd@e"},
        )
    )
    assert written.command == ["pytest", "--hub-token", "[secret]"]
    assert written.environment == {"hub_token": "[secret]", "url": "https://a:[secret]@e"}


@pytest.mark.parametrize("redact", [False, True])
def test_a_row_is_recognized_by_the_hash_of_the_original(redact: bool) -> None:
    row = Prompt(id="x", text=f"use {SECRET}", reference="it", checks=("contains:it",))
    kept = masked_row(row, masking(redact=redact))
    assert SECRET not in str(kept)
    assert prompt_sha256(kept) == prompt_sha256(row) == kept.sha256
    assert masked_row(kept, masking(redact=redact)) == kept
    assert (kept.reference, kept.checks[0]) != ("it", "contains:it") or not redact


def test_a_row_without_secrets_is_stored_as_it_is() -> None:
    row = Prompt(id="x", text="hello")
    assert masked_row(row, masking()) == row


def test_ids_are_made_of_words_only_where_those_may_be_told() -> None:
    assert masking().prompt_id("Say hello.") == "Say-hello"
    assert masking(redact=True).prompt_id("Say hello.").startswith("prompt-")
    assert SECRET not in masking().prompt_id(f"Say {SECRET}")


@pytest.mark.parametrize(
    "known", ["sk_nightly-4711-abc", 'a "quoted" one 4711', "caf\u00e9-au-lait-4711", "back\\\\slash-4711"]
)
def test_what_a_worker_wrote_is_searched_for_what_only_this_process_knows(known: str) -> None:
    block = replace(rounds(), outputs=[f"it is {known}."])
    redactor = Redactor(Secrets({known: "NIGHTLY"}))
    written = encode_record(block)
    there = redactor.stored_record(block, written)
    assert there == redactor.record(block)
    assert known not in there.outputs[0]


def test_what_a_worker_wrote_is_not_looked_through_again_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor(Secrets({"sk_nightly-4711-abc": "NIGHTLY"}))
    start = worker()
    assert redactor.stored_record(start, encode_record(start)) == redactor.record(start), "it may teach secrets"
    monkeypatch.setattr(redactor, "record", None)
    for record in (rounds(), verdict()):
        assert redactor.stored_record(record, encode_record(record)) is record


@pytest.mark.parametrize(
    "change",
    [
        {"model": f"a-{SECRET}"},
        {"spec": ModelSpec(alias="a", backend="echo", text=f"echo:{SECRET}")},
        {"spec": ModelSpec(alias="a", backend="echo", options={"api_key": "x"})},
        {"info": {"files": [{"name": ["w", f"of {SECRET}"]}]}},
        {"info": {"token": "x"}},
        {"error": ErrorInfo(kind="load", message="no", facts={"last words": f"key={SECRET}"})},
        {"price": Price(name="p", note=f"billed to {SECRET}")},
    ],
    ids=["text", "record", "option", "list", "key", "facts", "optional"],
)
def test_a_secret_is_found_wherever_the_start_of_a_model_holds_it(change: dict[str, Any]) -> None:
    redactor = masking()
    plain = worker("w1")
    assert redactor.record(plain) is plain
    masked = redactor.record(replace(plain, **change))
    text = json.dumps(to_json(masked))
    assert "[secret" in text and SECRET not in text and '"x"' not in text
