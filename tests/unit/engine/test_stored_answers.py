from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_run import header, rounds, verdict, worker, write_log

from pytest_llmci.engine.schedule import CellPlan
from pytest_llmci.engine.stored_answers import StoredAnswers
from pytest_llmci.errors import ConfigError, NotReplayed
from pytest_llmci.records import Cell, GenerationSettings, LogRecord, ModelSpec, Prompt

SPEC = ModelSpec(alias="a", backend="echo", text="a=echo")
PROMPT = Prompt(id="tcp", text="What is TCP?")
GENERATION = GenerationSettings(max_new_tokens=50)
TEST = "inference::a-tcp"


def stored(folder: Path, *records: LogRecord, **of_header: Any) -> StoredAnswers:
    folder.mkdir(exist_ok=True)
    write_log(folder, records, **of_header)
    return StoredAnswers(folder)


def plan(**changes: Any) -> CellPlan:
    facts: dict[str, Any] = {"rounds": 3, "max_rounds": 9, "warmup": 1, "block": 3, "generation": GENERATION}
    return CellPlan(**{**facts, **changes})


def cell(spec: ModelSpec = SPEC, prompt: Prompt = PROMPT) -> Cell:
    return Cell(id=f"{spec.alias}-{prompt.id}", model=spec, prompt=prompt)


@pytest.mark.parametrize(
    ("block", "spec", "prompt", "generation", "why"),
    [
        ({}, SPEC, Prompt(id="udp", text="UDP?"), GENERATION, "run 20260101T000000Z-abcdef has no cell a-udp"),
        ({}, SPEC, Prompt(id="tcp", text="What was TCP?"), GENERATION, "a-tcp: its prompt has changed since run "),
        (
            {},
            SPEC,
            PROMPT,
            replace(GENERATION, seed=1),
            "a-tcp: it was asked with other settings in run .*: seed 0, now 1",
        ),
        ({}, replace(SPEC, target="other"), PROMPT, GENERATION, "a-tcp: 'a' was another model in run "),
        ({"outputs_withheld": ["redacted"]}, SPEC, PROMPT, GENERATION, "are withheld"),
        ({"outputs_withheld": ["masked"]}, SPEC, PROMPT, GENERATION, "are not whole: a secret in them was masked"),
    ],
)
def test_why_a_cell_is_not_replayed(
    tmp_path: Path, block: dict[str, Any], spec: ModelSpec, prompt: Prompt, generation: GenerationSettings, why: str
) -> None:
    run = stored(tmp_path, worker(), rounds(**block))
    with pytest.raises(NotReplayed, match=why):
        run.cell(TEST, cell(spec, prompt), plan(generation=generation))


def test_a_secret_of_the_spec_is_not_known_and_so_no_difference(tmp_path: Path) -> None:
    then = ModelSpec(
        alias="a", backend="echo", options={"token": "[secret]", "tokens": "3"}, text="a=echo+token=[secret]+tokens=3"
    )
    run = stored(tmp_path, worker(spec=then), rounds())
    same = replace(SPEC, options={"token": "hunter2", "tokens": "3"})
    assert run.cell(TEST, cell(same), plan()).measured
    with pytest.raises(NotReplayed, match="another model"):
        run.cell(TEST, cell(replace(SPEC, options={"token": "hunter2", "tokens": "4"})), plan())


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    run = stored(tmp_path, worker(), verdict(verdict="inconclusive", rounds=0))
    with pytest.raises(NotReplayed, match="a-tcp: run .* did not measure it"):
        run.cell(TEST, cell(), plan())


@pytest.mark.parametrize(
    ("provenance", "why"),
    [
        ("replayed", "is a replay itself: give the run that was measured, X"),
        ("imported", "was measured by another tool"),
    ],
)
def test_runs_that_measured_nothing_of_ours(tmp_path: Path, provenance: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        stored(tmp_path, worker(), settings={"provenance": provenance, "replayed_run": "X"})


def test_the_header_is_that_of_the_run(tmp_path: Path) -> None:
    assert stored(tmp_path).header.run_id == header().run_id
