"""Whatever process is killed, and whenever: the whole matrix is in the log, at once or after the session is gone on with.

The moments are seeded: a number of records that are on disk, and then some microseconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bench import Bench

from pytest_llmci.cli.main import main

pytest.importorskip("xdist")
SEEDS = 2
"""Of each victim in every run of the tests; the slow ones take many more."""
MODELS = ("a", "b", "c", "d")
PROMPTS = ("p", "q", "r")
CELLS = {f"{model}-{prompt}" for model in MODELS for prompt in PROMPTS}
MATRIX = (
    f"--llm-models={','.join(f'{model}=echo:+ttft=4ms' for model in MODELS)}", "--llm-prompts=three.yaml", "--llmci-suite=inference",
    "--llmci-rounds=2",
)  # fmt: skip


def records(run: Path) -> list[dict[str, Any]]:
    """What is on disk of a run while it runs: whole lines of its log and of its workers' spools."""
    found: list[dict[str, Any]] = []
    for path in [run / "log.jsonl", *(run / "spool").glob("*.jsonl")]:
        found += map(json.loads, path.read_bytes().split(b"\n")[:-1])
    return found


class Victims:
    """A session in processes of its own, one of which will be killed."""

    def __init__(self, bench: Bench, chance: random.Random, *args: str) -> None:
        bench.write("three.yaml", "".join(f"- {{id: {name}, prompt: Tell me of {name}.}}\n" for name in PROMPTS))
        self._bench, self._chance = bench, chance
        self._errors = (bench.path / "output.txt").open("w")
        command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", *MATRIX, *args]
        self.session = subprocess.Popen(
            command, cwd=bench.path, stdout=self._errors, stderr=self._errors, start_new_session=True
        )

    @property
    def run(self) -> Path | None:
        return next(
            iter(sorted(path.parent for path in (self._bench.path / "llmci-results").glob("2*/log.jsonl"))), None
        )

    def wait_for_a_moment(self) -> None:
        """Until so many records are there, or the session has ended."""
        wanted = self._chance.randrange(2, 2 + 2 * len(CELLS))
        deadline = time.monotonic() + 120
        while self.session.poll() is None and time.monotonic() < deadline:
            if self.run is not None and len(records(self.run)) >= wanted:
                break
            time.sleep(0.001)
        until = time.perf_counter() + self._chance.uniform(0, 0.012)
        while time.perf_counter() < until:
            pass

    def kill(self, who: str) -> bool:
        """Whether there was anybody to be killed."""
        assert self.run is not None
        if who == "controller":
            pids = [self.session.pid]
        elif who == "gateway":
            pids = [int(path.stem.partition("-")[2]) for path in (self.run / "spool").glob("gw*.jsonl")]
        else:
            pids = [record["pid"] for record in records(self.run) if record["type"] == "worker"][-2:]
        self._chance.shuffle(pids)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            return True
        return False

    def end(self) -> int:
        """The exit status, once it has ended."""
        try:
            return self.session.wait(180)
        finally:
            self.close()

    def close(self) -> None:
        if self.session.poll() is None:
            self.session.kill()
            self.session.wait()
        self._errors.close()


def verdicts(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for verdict in bench.records("verdict"):
        found.setdefault(verdict["cell"], []).append(verdict)
    return found


def go_through(bench: Bench, who: str, seed: int) -> None:
    chance = random.Random(f"{who}-{seed}")
    victims = Victims(bench, chance, f"-n{chance.choice([1, 2])}")
    try:
        victims.wait_for_a_moment()
        killed = victims.kill(who)
    finally:
        status = victims.end()
    found = verdicts(bench)
    assert found.keys() == CELLS
    failed = {cell for cell, of in found.items() if of[-1]["verdict"] == "failed"}
    assert status in (
        (1,) if failed else (0, 1) if killed else (0,)
    )  # 1: pytest-xdist had not heard of a cell that was done
    assert len(failed) <= (1 if killed else 0)
    assert all(found[cell][-1]["error"]["kind"] == "crashed" for cell in failed)
    rows = (bench.latest / "results.csv").read_text("utf-8")
    assert all(f",{cell}," in rows for cell in CELLS)


def go_on_after(bench: Bench, seed: int, *parallel: str) -> None:
    chance = random.Random(f"controller-{seed}")
    victims = Victims(bench, chance, *parallel)
    try:
        victims.wait_for_a_moment()
        victims.kill("controller")
    finally:
        victims.end()
    run = victims.run
    assert run is not None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (left := {p for p in gateways(run) if Path(f"/proc/{p}").exists()}):
        time.sleep(0.02)
    assert not left if parallel else True
    done = {record["cell"] for record in records(run) if record["type"] == "verdict" and record["verdict"] == "pass"}
    before = (run / "log.jsonl").read_bytes()
    resumed = bench.run(*MATRIX, f"--llmci-resume={run}", *parallel, fresh=bool(parallel))
    assert (run / "log.jsonl").read_bytes() == before
    resumed.assert_outcomes(passed=len(CELLS))
    found = verdicts(bench)
    assert found.keys() == CELLS and all(len(each) == 1 for each in found.values())
    assert {cell for cell, (verdict,) in found.items() if verdict["resumed_from"]} == done
    measured = [block["cell"] for block in bench.records("rounds") if not block["resumed_from"]]
    assert sorted(measured) == sorted(CELLS - done)
    assert main(["report", str(run)]) == main(["verify", str(run)]) == 0
    assert done <= {record["cell"] for record in records(run) if record["type"] == "verdict"}


def gateways(run: Path) -> list[int]:
    return [int(path.stem.partition("-")[2]) for path in (run / "spool").glob("gw*.jsonl")]


@pytest.mark.parametrize("who", ["gateway", "model"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_killed_process_loses_no_row(bench: Bench, who: str, seed: int) -> None:
    go_through(bench, who, seed)


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "xdist"])
@pytest.mark.parametrize("seed", range(2))
def test_a_killed_session_is_gone_on_with_and_measures_the_rest_alone(
    bench: Bench, seed: int, parallel: tuple[str, ...]
) -> None:
    go_on_after(bench, seed, *parallel)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["gateway", "model", "controller"])
@pytest.mark.parametrize("seed", range(SEEDS, 15))
def test_nor_at_any_other_moment(bench: Bench, who: str, seed: int) -> None:
    if who == "controller":
        go_on_after(bench, seed, *(("-n2",) if seed % 2 else ()))
    else:
        go_through(bench, who, seed)


def test_cells_of_a_worker_that_was_not_replaced_have_rows_too(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import os, pytest\n@pytest.mark.llmci(rounds=1)\ndef test_cell(llm_result, request):\n"
        "    if 'a-first' in request.node.name: os._exit(9)\n",
    )
    bench.run("--llm-models=a=echo,b=echo", "--llm-prompts=prompts.yaml", "-n2", "--max-worker-restart=0", fresh=True)
    found = verdicts(bench)
    assert found.keys() == {f"{model}-{prompt}" for model in "ab" for prompt in ("first", "second")}
    kinds = {cell: of[-1]["error"]["kind"] for cell, of in found.items() if of[-1]["error"]}
    assert kinds["a-first"] == "crashed" and kinds["a-second"] == "given_up"
