from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stored_runs import MACHINE, block, judged, started, write_run

from pytest_llmci import backends
from pytest_llmci.engine.resume import EarlierRun
from pytest_llmci.engine.schedule import CellPlan
from pytest_llmci.errors import NotReplayed
from pytest_llmci.records import Cell, ErrorInfo, GenerationSettings, LogRecord, ModelSpec, Prompt
from pytest_llmci.registry import Registry
from pytest_llmci.store.comparability import prompt_sha256
from pytest_llmci.store.log import LOG_NAME

ROUNDS = 20
PLAN = CellPlan(
    rounds=ROUNDS, max_rounds=ROUNDS, warmup=1, block=ROUNDS, generation=GenerationSettings(max_new_tokens=50)
)


def cell(prompt_id: str) -> Cell:
    prompt = Prompt(id=prompt_id, text=f"What is {prompt_id}?")
    return Cell(id=f"a-{prompt_id}", model=ModelSpec(alias="a", backend="echo", text="a=echo"), prompt=prompt)


def measured(prompt_id: str) -> LogRecord:
    times = [[40_000_000 + number + token for token in range(50)] for number in range(ROUNDS)]
    digest = prompt_sha256(cell(prompt_id).prompt)
    return block(prompt_id, n=ROUNDS, token_ns=times, prompt_sha256=digest, test=f"t-{prompt_id}")


def earlier(folder: Path) -> EarlierRun:
    registry = Registry()
    backends.register(registry)
    return EarlierRun(folder, "--llmci-resume", registry, MACHINE)


def test_of_a_long_log_only_the_places_of_its_cells_are_kept(tmp_path: Path) -> None:
    """Their records take twice what the lines take; the peak is that of a line and its record."""
    names = [f"p{number}" for number in range(200)]

    def records() -> Iterator[LogRecord]:
        yield started()
        for name in names:
            yield measured(name)
            yield judged(name, test=f"t-{name}")

    folder = write_run(tmp_path, 1, records())
    earlier(folder)  # what is made once, such as decoders of records
    tracemalloc.start()
    run = earlier(folder)
    assert all(run.holds(f"t-{name}", cell(name), PLAN) for name in names)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (folder / LOG_NAME).stat().st_size
    assert size > 2_000_000
    assert now < size / 8 and peak < size / 3, (now, peak, size)
    found = run.cell("t-p7", cell("p7"), PLAN, started)  # type: ignore[arg-type]  # a start is a record of a worker
    assert found.measured == [measured("p7")]


def test_a_log_that_is_changed_under_way_is_measured_anew(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 1, [started(), measured("tcp"), judged("tcp", test="t-tcp")])
    run = earlier(folder)
    assert run.holds("t-tcp", cell("tcp"), PLAN)
    log = folder / LOG_NAME
    log.write_bytes(log.read_bytes().replace(b"40000001", b"50000001", 1))
    with pytest.raises(NotReplayed, match="it was changed after it had been read"):
        run.cell("t-tcp", cell("tcp"), PLAN, started)  # type: ignore[arg-type]  # see above


def test_the_last_verdict_of_a_test_counts(tmp_path: Path) -> None:
    crashed = judged("tcp", test="t-tcp", error=ErrorInfo(kind="crashed", message="died"))
    good = replace(judged("tcp", test="t-tcp", attempt=1), uid="v-again")  # type: ignore[arg-type]  # a verdict has one
    for number, (verdicts, expected) in enumerate((([crashed, good], True), ([good, crashed], False)), start=1):
        run = earlier(write_run(tmp_path, number, [started(), measured("tcp"), *verdicts]))
        assert run.holds("t-tcp", cell("tcp"), PLAN) is expected
        assert not run.holds("t-other", cell("tcp"), PLAN)
