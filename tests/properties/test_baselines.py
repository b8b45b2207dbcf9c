"""A baseline comes back from its file as it was saved; an accepted change from accepted.toml."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from sample_run import header, rounds, worker

from pytest_llmci.records import LogRecord, Message, Prompt
from pytest_llmci.store.accepted import Accepted, accept, read_accepted
from pytest_llmci.store.baseline_file import load, save
from pytest_llmci.store.baseline_log import baseline_of_log
from pytest_llmci.store.baseline_record import BaselineRecord
from pytest_llmci.store.comparability import prompt_sha256

TEXTS = st.text(st.characters(), max_size=20)
"""Half characters too, as a prompt may hold them."""
TIMES_MS = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=8)


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    messages = tuple(draw(st.lists(st.builds(Message, role=TEXTS, content=TEXTS), max_size=2)))
    text = None if messages else draw(TEXTS)
    return Prompt(
        id="tcp", text=text, messages=messages, reference=draw(st.none() | TEXTS), tags=tuple(draw(st.lists(TEXTS, max_size=2)))
    )  # fmt: skip


@st.composite
def baselines(draw: st.DrawFn) -> BaselineRecord:
    row = draw(prompts())
    blocks = [
        rounds(f"r{number}", latencies_ms=times, prompt=row.shown, prompt_sha256=prompt_sha256(row), first_round=number)
        for number, times in enumerate(draw(st.lists(TIMES_MS, min_size=1, max_size=3)))
    ]
    saved = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 10**8)))
    records: list[LogRecord] = [header(command=draw(st.lists(TEXTS, max_size=2))), worker(), *blocks]
    return baseline_of_log(records, "main", prompts=[row], saved=saved)


@given(baselines(), baselines())
def test_baselines_come_back(first: BaselineRecord, second: BaselineRecord) -> None:
    """save, then load, is the identity; adding a session leaves the ones before as they were."""
    with TemporaryDirectory() as folder:
        path = save(first, Path(folder)).path
        assert load(path) == first
        save(second, Path(folder), append=True)
        both = load(path)
        assert both.sessions == [*first.sessions, *second.sessions]
        assert both.prompts == {**first.prompts, **second.prompts}


@given(baselines())
def test_every_round_is_there(record: BaselineRecord) -> None:
    """Each column has a number a round, rounded to a relative 1e-6 at most."""
    cell = record.newest.cells[0]
    assert sum(cell.processes) == cell.rounds == len(cell.output_of_round)
    assert all(len(column) == cell.rounds for column in cell.samples.values())


SOME_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(str.strip)
ENTRIES = st.builds(
    Accepted,
    cell=SOME_TEXT,
    metric=SOME_TEXT,
    up_to=st.integers(1, 100_000).map(lambda thousandths: thousandths / 1000 / 100),
    reason=SOME_TEXT,
    expires=st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    by=st.just("") | SOME_TEXT,
    when=st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)),
)


@given(st.lists(ENTRIES, min_size=1, max_size=3))
def test_accepted_changes_come_back(entries: list[Accepted]) -> None:
    """Whatever a reason holds, the file stays TOML and says the same."""
    with TemporaryDirectory() as folder:
        for entry in entries:
            accept(Path(folder), [entry])
        assert read_accepted(Path(folder)).entries == tuple(entries)
