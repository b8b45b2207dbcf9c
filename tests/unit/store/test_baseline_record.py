from __future__ import annotations

from dataclasses import replace

from sample_baseline import baseline
from sample_run import rounds, worker

from pytest_llmci.records import GenerationSettings, Prompt
from pytest_llmci.store.baseline_record import protocol_differences
from pytest_llmci.store.comparability import Part, planned_protocol, prompt_sha256, protocol_part


def test_where_a_cell_is_asked_otherwise() -> None:
    record = baseline()
    prompt, generation = Prompt(id="tcp", text="What is UDP?"), GenerationSettings(max_new_tokens=50)
    planned = planned_protocol(prompt, generation, isolation="worker", threads=1)
    told = protocol_differences(record, "a-tcp", planned)
    assert told is not None
    assert [each.name for each in told] == ["prompt_sha256", "threads"]
    longer = planned_protocol(prompt, replace(generation, max_new_tokens=7), isolation="inline")
    told = protocol_differences(record, "a-tcp", longer)
    assert told is not None
    assert list(map(str, told[:2])) == ["isolation: worker -> inline", "max_new_tokens: 50 -> 7"]
    assert protocol_differences(record, "a-new", planned) is None


def test_what_is_planned_is_what_is_measured() -> None:
    prompt, generation = Prompt(id="tcp", text="What is TCP?"), GenerationSettings(seed=3)
    planned = planned_protocol(prompt, generation, isolation="worker", threads=1)
    block = rounds(prompt=prompt.shown, prompt_sha256=prompt_sha256(prompt), generation=generation)
    measured = protocol_part(block, worker(info={"threads": 1})).facts
    assert Part({name: measured[name] for name in planned.facts}) == planned
