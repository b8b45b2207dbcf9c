from __future__ import annotations

import json
from pathlib import Path

import pytest
from stored_runs import simple, started, write_run

from pytest_llmci.engine.comparisons.stored_run import read_run
from pytest_llmci.errors import StoreError
from pytest_llmci.promotion.pointer import pointer_of, read_pointer
from pytest_llmci.records import ModelSpec
from pytest_llmci.redaction import Redactor
from pytest_llmci.secrets import Secrets
from pytest_llmci.specs import parse_spec

SPEC = ModelSpec(
    alias="a",
    backend="hf",
    target="org/name",
    revision="main",
    options={"dtype": "bfloat16"},
    text="a=hf:org/name@main+dtype=bfloat16",
)


def test_it_names_what_was_loaded_so_that_it_can_be_loaded_again(tmp_path: Path) -> None:
    commit = "c" * 40
    records = [started(spec=SPEC, info={"revision": commit, "quantization": None}), *simple()[1:]]
    pointer = pointer_of(read_run(write_run(tmp_path, 1, records)), "a", "d1")
    assert pointer.spec.text == f"a=hf:org/name@{commit}+dtype=bfloat16"  # not the branch, which moves on
    assert parse_spec(pointer.spec.text, ["hf"], "x") == pointer.spec
    assert (pointer.revision, pointer.sha256, pointer.log_digest, pointer.run_id) == (
        commit,
        "",
        "d1",
        "20260102T000000Z-000001",
    )
    assert (pointer.commit, pointer.dirty, pointer.facts["dtype"]) == ("1" * 40, False, "float32")
    assert read_pointer(pointer.text.encode(), "x") == pointer


@pytest.mark.parametrize(("key", "kind"), [("file_sha256", "file"), ("manifest_sha256", "folder")])
def test_the_hash_of_the_weights_says_what_it_is_of(tmp_path: Path, key: str, kind: str) -> None:
    records = [started(info={key: "abc"}), *simple()[1:]]
    pointer = pointer_of(read_run(write_run(tmp_path, 1, records)), "a", "d1")
    assert (pointer.sha256, pointer.sha256_of) == ("abc", kind)


def test_a_model_that_never_loaded_has_none(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, 1, simple()))
    with pytest.raises(StoreError, match="does not know what model 'b' is: it was never loaded"):
        pointer_of(run, "b", "d1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "v1: model_pointer.json is not JSON"),
        (b"[]", "the schema of model_pointer.json is None, and this version reads 'llmci-model-pointer/1'"),
        (b'{"schema": "llmci-model-pointer/2"}', "is 'llmci-model-pointer/2'"),
        (b'{"schema": "llmci-model-pointer/1"}', "ModelPointer: key 'model' is missing"),
    ],
)
def test_a_file_that_is_none(content: bytes, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        read_pointer(content, "v1")


def test_the_files_of_a_commit_are_carried(tmp_path: Path) -> None:
    files = {"config.json": "a" * 40, "qwen.tiktoken": "b" * 64, "my  key": "c" * 40}
    lines = [f"{checksum}  {name}" for name, checksum in files.items()]
    start = Redactor(Secrets()).record(started(spec=SPEC, info={"revision": "c" * 40, "snapshot_files": lines}))
    records = [start, *simple()[1:]]
    pointer = pointer_of(read_run(write_run(tmp_path, 1, records)), "a", "d1")
    assert pointer.files == files and read_pointer(pointer.text.encode(), "x") == pointer
    older = {name: value for name, value in json.loads(pointer.text).items() if name != "files"}
    assert read_pointer(json.dumps(older).encode(), "x").files == {}
