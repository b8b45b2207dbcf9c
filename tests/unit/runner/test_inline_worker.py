from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from worker_requests import all_backends, request, spec_of

from pytest_llmci import measure
from pytest_llmci.measure.neighbours import NeighboursInstrument
from pytest_llmci.records import RoundRecord
from pytest_llmci.runner import host
from pytest_llmci.runner.inline_worker import InlineWorker
from pytest_llmci.runner.model_worker import Limits, ModelWorker, WorkerSetup


@pytest.fixture
def setup(tmp_path: Path) -> WorkerSetup:
    return WorkerSetup(registry=all_backends(), limits=Limits(), cache_dir=str(tmp_path), log_folder=tmp_path)


def test_inline_lives_in_this_process_and_says_what_it_cannot_know(setup: WorkerSetup) -> None:
    worker = InlineWorker(spec_of("echo:x"), setup)
    loaded = worker.load()
    assert worker.pid == os.getpid() and worker.alive
    assert "start_time" not in loaded.values
    assert loaded.reasons["start_time"].startswith("inline: ")
    rounds: list[RoundRecord] = []
    worker.run(request(2), rounds.append)
    assert len(rounds) == 2
    worker.close()
    assert not worker.alive


def test_models_of_one_process_share_its_instruments_but_not_what_went_before(
    setup: WorkerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    build = NeighboursInstrument.__init__

    def counted(self: NeighboursInstrument) -> None:
        built.append(self)
        build(self)

    monkeypatch.setattr(NeighboursInstrument, "__init__", counted)
    monkeypatch.setattr(host, "own_cost", lambda *_: {})  # measured by instruments of its own, once
    measure.register(setup.registry)
    rounds: list[RoundRecord] = []
    for name in ("a=echo:x", "b=echo:x"):
        worker = InlineWorker(spec_of(name), setup)
        worker.load()
        worker.run(request(2), rounds.append)
        worker.close()
    assert len(built) == 1
    growth = ["first inference" in each.reasons.get("rss_growth", "") for each in rounds]
    assert growth == [True, False, True, False]
    assert all("run_delay_all" in each.values.keys() | each.reasons.keys() for each in rounds)


def rounds_beside(worker: ModelWorker, count: int = 2) -> list[RoundRecord]:
    found: list[RoundRecord] = []
    worker.run(dataclasses.replace(request(count), anchor_every=1), found.append)
    return found


def test_in_pytests_own_process_there_is_none(setup: WorkerSetup) -> None:
    worker = InlineWorker(spec_of("echo"), dataclasses.replace(setup, anchor=True))
    assert "the model's own process" in str(worker.load().info["anchor_missing"])
    assert "own process" in rounds_beside(worker, 1)[0].reasons["anchor_net_time"]
