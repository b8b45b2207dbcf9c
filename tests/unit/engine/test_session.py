from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inline_session import GENERATION, PROMPT, Bed
from sample_run import METRICS
from waiting import PATIENCE_S

from pytest_llmci.engine.current_test import CurrentTest
from pytest_llmci.errors import ConfigError, LLMCIError, WorkerCrashed
from pytest_llmci.prompts.asked import prompt_of
from pytest_llmci.records import ModelSpec, Prompt, Role, RoundsRecord
from pytest_llmci.stats.budget_expression import matching, parse_budget

# ------------------------------------------------------------------------------------------------------ what was given


def test_text_and_messages_become_prompts_with_an_id() -> None:
    assert prompt_of("Say hello.") == Prompt(id="Say-hello", text="Say hello.", source="test body")
    assert prompt_of(PROMPT) is PROMPT
    chat = prompt_of([{"role": "user", "content": "Hi there"}])
    assert (chat.id, chat.text, chat.shown) == ("user-Hi-there", None, "user: Hi there")


@pytest.mark.parametrize("wrong", [5, [1], [{"role": "user"}], {"role": "user", "content": "Hi"}])
def test_anything_else_is_refused(wrong: Any) -> None:
    with pytest.raises(
        ConfigError, match=f"llm.generate: expected text, a prompt or a list of .* got {type(wrong).__name__}"
    ):
        prompt_of(wrong)


def test_budgets_of_a_model() -> None:
    known = {metric.name: metric for metric in METRICS}
    one, two = (parse_budget(text, "x", known) for text in ("latency <= 1s", "smol*: ttft <= 1s"))
    assert matching([one, two], "tiny") == (one,)
    assert matching([one, two], "smollm2") == (one, two)


# --------------------------------------------------------------------------------------------------- a session, inline


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))
    made = Bed(tmp_path)
    yield made
    made.session.close()


def test_a_cell_is_measured_recorded_and_judged(bed: Bed) -> None:
    measurement = bed.measure("a=echo:one two")
    verdict = bed.session.conclude(measurement)
    assert bed.kinds == ["worker", "rounds", "verdict"]
    assert len({getattr(record, "uid", "") for record in bed.records}) == 3
    block = bed.records[1]
    assert isinstance(block, RoundsRecord)
    assert (block.n, block.test, block.attempt, block.origin, block.memory_isolated) == (
        3,
        "test_it",
        1,
        "measured",
        False,
    )
    assert block.worker == bed.records[0].uid  # type: ignore[union-attr]  # a worker record
    assert verdict is bed.records[2]
    assert (verdict.verdict, verdict.rounds) == ("pass", 3)
    assert bed.session.measured == 1


def test_the_first_inference_completes_the_record_of_the_start(bed: Bed) -> None:
    loaded = bed.session.load(bed.model("a=echo:one"))
    assert "first_inference_time" not in loaded.values
    measurement = bed.measure("a=echo:one")
    first = measurement.blocks[0].worker_values
    assert first.keys() == {"first_inference_time"}  # a start of no process has no cold start
    assert measurement.worker_values == {**loaded.values, **first} == bed.session.load(bed.model("a=echo:one")).values
    again = bed.measure("a=echo:one")
    assert again.blocks[0].worker_values == {}
    assert again.worker_values["first_inference_time"] == first["first_inference_time"]


def test_only_the_first_block_of_a_cell_warms_up(bed: Bed) -> None:
    budget = parse_budget("latency <= 1ns", "x", bed.session.metrics)
    measurement = bed.measure(
        "a=echo:one+fail=no+at=9", rounds=2, max_rounds=6, block=2, warmup=3, budgets=(budget,), family=10**12
    )
    counts = [block.n for block in measurement.blocks]  # usually 2, 2, 2; fewer at once where a neighbour disturbs
    assert sum(counts) == 6  # and 3 warm-ups; the tenth answer would fail
    assert [block.first_round for block in measurement.blocks] == [
        sum(counts[:number]) for number in range(len(counts))
    ]
    assert measurement.error is None


def test_time_is_counted_from_the_begin_of_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))
    bed = Bed(tmp_path, time_limit_s=10.0)
    bed.clock.sleep(10)
    assert not bed.measure("a=echo").out_of_time
    bed.clock.sleep(0.001)
    assert bed.measure("b=echo").out_of_time
    bed.session.close()


def test_a_single_call_belongs_to_the_running_test(bed: Bed) -> None:
    measurement = bed.session.call_once(bed.model("a=echo:x"), prompt_of("Hi"), GENERATION, ("valid",))
    assert bed.session.test.calls == [measurement]
    (block,) = measurement.blocks
    assert (block.origin, block.n, block.cell) == ("call", 1, "a-Hi")


def test_a_death_in_between_is_counted_by_the_pool(bed: Bed) -> None:
    def die(worker: object) -> None:
        raise WorkerCrashed("a died")

    for _ in range(2):
        with pytest.raises(WorkerCrashed, match="^a died$"):
            bed.session.ask(bed.model("a=echo"), die, PROMPT)
    with pytest.raises(WorkerCrashed, match="a died 2 times in a row"):
        bed.session.ask(bed.model("a=echo"), die, PROMPT)
    assert bed.session.ask(bed.model("b=echo"), lambda worker: worker.pid, PROMPT) > 0
    losses = [record for record in bed.records if isinstance(record, RoundsRecord)]
    assert [(loss.origin, loss.n, loss.prompt, loss.error and loss.error.kind) for loss in losses] == [
        ("call", 0, "What is TCP?", "crashed")
    ] * 2  # the third was not asked


def test_a_row_belongs_to_the_test_that_asked(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may outlast its test."""
    asked, going_on = threading.Event(), threading.Event()
    get = bed.session.pool.get

    def slow(spec: ModelSpec, role: Role) -> Any:
        asked.set()
        assert going_on.wait(PATIENCE_S)
        return get(spec, role)

    monkeypatch.setattr(bed.session.pool, "get", slow)
    call = threading.Thread(
        target=bed.session.call_once, args=(bed.model("a=echo:x"), prompt_of("Hi"), GENERATION, ("valid",))
    )
    call.start()
    assert asked.wait(PATIENCE_S)
    first, bed.session.test = bed.session.test, CurrentTest("the_next")
    going_on.set()
    call.join(PATIENCE_S)
    (block,) = (record for record in bed.records if isinstance(record, RoundsRecord))
    assert (block.test, block.attempt) == ("test_it", 1)
    assert len(first.take_calls()) == 1 and not first.calls and not bed.session.test.calls


def test_after_the_end_nobody_is_started(bed: Bed) -> None:
    bed.session.close()
    with pytest.raises(LLMCIError, match="the session has ended: no model can be asked any more"):
        bed.session.load(bed.model("a=echo"))
    with bed.session.room_for(2):  # a fixture may end after the session
        pass
    assert bed.records == []
