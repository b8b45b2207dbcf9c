from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sample_run import METRICS, rounds, worker, write_log

from pytest_llmci import backends, checks
from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.comparisons.stored_run import read_run
from pytest_llmci.engine.current_test import CurrentTest
from pytest_llmci.engine.observer import Silent
from pytest_llmci.engine.replay import ReplaySession, adopt, told
from pytest_llmci.engine.schedule import CellPlan
from pytest_llmci.engine.stored_answers import StoredAnswers
from pytest_llmci.errors import StoreError
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import Cell, GenerationSettings, LogRecord, ModelSpec, Prompt, RoundsRecord, WorkerRecord
from pytest_llmci.registry import Registry
from pytest_llmci.settings import Settings, Sourced
from pytest_llmci.stats.budget_expression import parse_budget

SPEC = ModelSpec(alias="a", backend="echo", text="a=echo")
PROMPT = Prompt(id="tcp", text="What is TCP?")
GENERATION = GenerationSettings(max_new_tokens=50)
TEST = "inference::a-tcp"
KNOWN = {metric.name: metric for metric in METRICS}


def stored(folder: Path, *records: LogRecord, **of_header: Any) -> StoredAnswers:
    folder.mkdir(exist_ok=True)
    write_log(folder, records, **of_header)
    return StoredAnswers(folder)


def session(run: StoredAnswers, emitted: list[LogRecord]) -> ReplaySession:
    registry = Registry()
    for table in (backends, checks):
        table.register(registry)
    made = ReplaySession(
        run,
        Settings(),
        registry,
        KNOWN,
        clock=FakeClock(),
        observer=Silent(),
        emit=emitted.append,
        log_folder=Path(),
        sys_path=[],
    )
    made.test = CurrentTest(TEST)
    return made


def plan(**changes: Any) -> CellPlan:
    facts: dict[str, Any] = {"rounds": 3, "max_rounds": 9, "warmup": 1, "block": 3, "generation": GENERATION}
    return CellPlan(**{**facts, **changes})


def cell(spec: ModelSpec = SPEC, prompt: Prompt = PROMPT) -> Cell:
    return Cell(id=f"{spec.alias}-{prompt.id}", model=spec, prompt=prompt)


def replayed(
    tmp_path: Path, blocks: Iterable[RoundsRecord], the_plan: CellPlan, workers: Iterable[WorkerRecord] = (worker(),)
) -> Any:
    emitted: list[LogRecord] = []
    measurement = session(stored(tmp_path, *workers, *blocks), emitted).measure(cell(), the_plan)
    return measurement, emitted


def test_rounds_come_with_their_process_marked_as_replayed(tmp_path: Path) -> None:
    blocks = [rounds("r1", worker_values={"first_inference_time": 7}), rounds("r2", first_round=3)]
    measurement, emitted = replayed(tmp_path, blocks, plan())
    assert measurement.rounds == 6
    assert measurement.worker_values["first_inference_time"] == 7
    assert [record.TYPE for record in emitted] == ["worker", "rounds", "rounds"]
    assert all(record.provenance == "replayed" for record in emitted)
    assert (
        {record.worker for record in emitted if isinstance(record, RoundsRecord)} == {emitted[0].uid} == {"replayed-w1"}
    )


@pytest.mark.parametrize(
    ("sizes", "look"), [((3,), 1), ((3, 3), 2), ((3, 3, 3), 3), ((3, 3, 3, 3), 3), ((5,), 1)]
)  # fmt: skip
def test_the_look_is_that_of_the_run(tmp_path: Path, sizes: tuple[int, ...], look: int) -> None:
    blocks = [rounds(f"r{number}", latencies_ms=[100] * size) for number, size in enumerate(sizes)]
    assert replayed(tmp_path, blocks, plan())[0].look == look


def test_rounds_that_were_measured_again_are_no_look(tmp_path: Path) -> None:
    starved = rounds("r1", latencies_ms=[100] * 3)
    starved.values["run_delay"] = [90_000_000, 0, 0]
    timed = plan(
        budgets=(parse_budget("latency.median <= 1s", "x", {metric.name: metric for metric in builtin_metrics()}),)
    )
    blocks = [starved, rounds("r2", latencies_ms=[100]), rounds("r3", latencies_ms=[100] * 3)]
    assert replayed(tmp_path, blocks, timed)[0].look == 2
    assert replayed(tmp_path / "b", blocks, plan())[0].look == 3


def test_alternated_rounds_count_as_one_look(tmp_path: Path) -> None:
    blocks = [rounds(f"r{number}", pair=number) for number in range(4)]
    measurement, _ = replayed(tmp_path, blocks, plan())
    assert (measurement.look, measurement.plan.rounds, measurement.plan.max_rounds) == (1, 12, 12)


def test_the_last_attempt_counts(tmp_path: Path) -> None:
    blocks = [rounds("r1", outputs=["old"]), rounds("r2", outputs=["new"], attempt=1)]
    measurement, _ = replayed(tmp_path, blocks, plan())
    assert [block.outputs for block in measurement.blocks] == [["new"]]


def test_a_replay_is_no_side_of_a_comparison(tmp_path: Path) -> None:
    write_log(tmp_path, [worker(), rounds()], settings={"provenance": "replayed", "replayed_run": "X"})
    with pytest.raises(StoreError, match="is a replay of X and measured nothing: .*take X"):
        read_run(tmp_path)


def test_the_run_fills_in_what_the_session_does_not_say(tmp_path: Path) -> None:
    then = {
        "models": ["a=echo"], "prompts": ["paper"], "suites": ["inference"], "rounds": 7, "temperature": 0.5, "budgets": ["latency <= 1s"],
        "origins": {"models": "tox.ini: llmci_models", "suite": "--llmci-suite"},
    }  # fmt: skip
    run = stored(tmp_path, settings=then)
    found = adopt(
        Settings(
            rounds=3,
            baseline=(Sourced("main", "x"),),
            origins={"rounds": "--llmci-rounds", "baseline": "tox.ini: llmci_baseline"},
        ),
        run,
        suite=True,
    )
    assert (found.rounds, found.temperature, found.suites, found.budgets, found.baseline) == (
        3,
        0.5,
        ("inference",),
        (),
        (),
    )
    assert found.models == (Sourced("a=echo", "tox.ini: llmci_models"),)
    assert found.origins["suite"] == "--llmci-suite"
    assert found.output == Path("llmci-results/replays")
    assert adopt(Settings(), run, suite=False).suites == ()


def test_lines_about_what_was_not_replayed() -> None:
    assert told({}, "X") == []
    assert told({"one": 1}, "X") == ["1 test not replayed, as run X does not hold what is asked for:", "  one"]
    lines = told({"a": 2, "b": 1, "c": 1, "d": 1, "e": 1}, "X")
    assert lines[:2] == ["6 tests not replayed, as run X does not hold what is asked for:", "  a (2 tests)"]
    assert lines[-1] == "  ... and 2 more; -rs lists them"
