"""The schedule of two sides, with processes that are only pretended."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sample_run

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.comparisons.against import Against, Entry
from pytest_llmci.engine.comparisons.interleaved import Interleaved, shared_place
from pytest_llmci.engine.comparisons.model_gate import model_gate
from pytest_llmci.engine.comparisons.process_pairs import Ports
from pytest_llmci.engine.comparisons.rules import Rules
from pytest_llmci.engine.observer import Silent
from pytest_llmci.engine.pool import LiveModel
from pytest_llmci.engine.schedule import CellMeasurement, CellPlan
from pytest_llmci.errors import ConfigError, GenerationError, LLMCIError, ModelLoadError, WorkerCrashed
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import (
    Cell,
    ComparisonResult,
    Completion,
    GateRecord,
    GenerationSettings,
    LogRecord,
    ModelSpec,
    Prompt,
    RoundRecord,
    RoundsRecord,
    RunRequest,
    WorkerRecord,
)
from pytest_llmci.settings import Settings

METRICS = {metric.name: metric for metric in builtin_metrics()}
CANDIDATE = ModelSpec(alias="m", backend="echo", target="new", text="m=echo:new")
REFERENCE = replace(CANDIDATE, target="old", text="echo:old")
PROMPTS = tuple(Prompt(id=name, text=f"Say {name}") for name in ("a", "b", "c"))
GENERATION = GenerationSettings(max_new_tokens=8, fixed_length=True)


class Worker:
    """One pretended process."""

    log = ""

    def __init__(self, hall: Hall, spec: ModelSpec, pair: int) -> None:
        self._hall, self._spec, self.pair, self.asked = hall, spec, pair, 0
        self.alive = True

    def run(self, request: RunRequest, on_round: Callable[[RoundRecord], None]) -> None:
        self._hall.asked.append((self.pair, self._spec.target, request.prompt.id, request.rounds))
        for _ in range(request.rounds):
            self._hall.strike(self._spec.target, request.prompt.id, self.pair)
            seconds = self._hall.latency(self._spec.target, request.prompt.id)
            values = {
                "latency": seconds * 1e9,
                "net_time": seconds * 1e9,
                "cpu_time": seconds * 9e8,
                "output_tokens": 8.0,
            }
            self._hall.clock.sleep(seconds)
            retries, self._hall.retries = self._hall.retries, 0
            on_round(
                RoundRecord(
                    values=values,
                    reasons={},
                    token_ns=(),
                    completion=Completion(text="x", finish_reason="length", output_tokens=8, retries=retries),
                )
            )

    def call(self, target: str, packed: list[object]) -> object:
        assert (target, self._spec.target) == ("pytest_llmci.runner.origin:modules_now", "old")
        return self._hall.modules(packed)


class Hall:
    """Pool and session in one."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.asked: list[tuple[int, str, str, int]] = []
        self.starts: list[tuple[str, int]] = []
        self.records: list[LogRecord] = []
        self.blocks: list[RoundsRecord] = []
        self.seconds = {"new": 1.0, "old": 1.0}
        self.noise = random.Random(7)
        self.weights: dict[str, dict[str, float]] = {}
        self.strike: Callable[[str, str, int], None] = lambda target, prompt, pair: None
        self.loads: Callable[[str, int], None] = lambda target, pair: None
        self.time_is_up: Callable[[], bool] = lambda: False
        self.modules: Callable[[list[object]], object] = lambda owned: {}
        self.more: dict[str, Any] = {}
        self.detect: dict[str, float] = {}
        self.retries = 0
        """Attempts that the next answer takes beyond its first."""
        self.expected: set[str] = set()
        """Prompts whose tests are expected to fail."""

    def latency(self, target: str, prompt: str) -> float:
        return self.seconds.get(f"{target}/{prompt}", self.seconds[target]) * self.noise.gauss(1, 0.004)

    # ------------------------------------------------------------------------------------------------- as the pool

    def get(self, spec: ModelSpec, role: Any, pair: int) -> LiveModel:
        self.loads(spec.target, pair)
        self.starts.append((spec.target, pair))
        record = WorkerRecord(
            uid=f"{spec.target}{pair}", model=spec.alias, spec=spec, started="", pid=1, isolation="worker", role=role, pair=pair,
            values={name: value * self.noise.gauss(1, 0.004) if name == "load_time" else value
                    for name, value in self.weights.get(spec.target, {}).items()},
        )  # fmt: skip
        return LiveModel(Worker(self, spec, pair), record)  # type: ignore[arg-type]  # as much of a worker as is asked

    def release(self, spec: ModelSpec, role: Any = None) -> None:
        pass

    def died(self, spec: ModelSpec, error: LLMCIError, role: Any) -> None:
        pass

    lived = release

    def _out_of_time(self) -> bool:
        return self.time_is_up()

    # ------------------------------------------------------------------------------------------------------- the run

    def ports(self) -> Ports:
        @contextmanager
        def free() -> Iterator[bool]:
            yield False

        pool: Any = self
        return Ports(
            pool=pool, clock=self.clock, observer=Silent(), emit=self.records.append, keep=lambda _, block: self.blocks.append(block),
            new_uid=lambda: f"u{len(self.records) + len(self.blocks)}", turn=free, undisturbed=free,
            out_of_time=self._out_of_time,
        )  # fmt: skip

    def run(self, prompts: int = 1, **changes: Any) -> dict[str, CellMeasurement]:
        plan = CellPlan(**{"rounds": 5, "max_rounds": 20, "warmup": 1, "block": 5, "generation": GENERATION, **changes})
        entries = [
            Entry(test=f"test_{prompt.id}", cell=Cell(id=f"m-{prompt.id}", model=CANDIDATE, prompt=prompt),
                  reference=Cell(id=f"m-{prompt.id}", model=REFERENCE, prompt=prompt),
                  plan=replace(plan, expected_to_fail=prompt.id in self.expected), reference_generation=GENERATION)
            for prompt in PROMPTS[:prompts]
        ]  # fmt: skip
        rules = Rules(against="old", alpha=0.01, looks=-(-plan.max_rounds // plan.block), detect=self.detect)
        self.schedule = Interleaved(
            entries, rules, METRICS, self.ports(), block=plan.block, rng=random.Random(1), **self.more
        )
        return self.schedule.run()


@pytest.fixture
def hall() -> Hall:
    return Hall()


def verdicts(measurement: CellMeasurement) -> dict[str, str]:
    return {result.metric: result.verdict for result in measurement.comparisons}


def test_a_block_is_a_fresh_pair_and_visits_every_cell_once_a_round(hall: Hall) -> None:
    hall.run(3, max_rounds=5)
    assert sorted(hall.starts) == [("new", 0), ("old", 0)]
    warm, timed = hall.asked[:6], hall.asked[6:]
    assert sorted((target, prompt) for _, target, prompt, _ in warm) == [(t, p) for t in ("new", "old") for p in "abc"]
    orders = []
    for number in range(5):
        visit = timed[6 * number : 6 * number + 6]
        cells = [prompt for _, _, prompt, _ in visit]
        assert cells[::2] == cells[1::2], "both sides of a cell come back to back"
        assert sorted(cells[::2]) == ["a", "b", "c"]
        assert all({visit[at][1], visit[at + 1][1]} == {"new", "old"} for at in (0, 2, 4))
        orders.append(tuple((target, prompt) for _, target, prompt, _ in visit))
    assert len(set(orders)) > 1, "the order is drawn anew"


def test_a_certain_pass_stops_early_and_a_doubtful_cell_goes_on_alone(hall: Hall) -> None:
    hall.seconds["new/b"] = 1.028  # neither nothing nor 5 %
    found = hall.run(2)
    assert (found["test_a"].samples, found["test_b"].samples) == (5, 20)
    assert verdicts(found["test_a"])["net_time"] == "pass"
    assert {(target, pair) for target, pair in hall.starts} == {(t, p) for t in ("new", "old") for p in range(4)}


def test_a_regression_stops_as_soon_as_it_is_proven(hall: Hall) -> None:
    hall.seconds["new"] = 1.3
    found = hall.run(2)
    assert all(verdicts(each)["net_time"] == "regressed" for each in found.values())
    assert max(pair for _, pair in hall.starts) < 3
    (gate,) = [record for record in hall.records if isinstance(record, GateRecord)]
    assert (gate.outcome, gate.model, gate.name) == ("failed", "m", "regression-m")


def test_short_answers_make_one_sample_together(hall: Hall) -> None:
    hall.seconds = {"new": 0.011, "old": 0.011}
    (found,) = hall.run(max_rounds=5).values()
    assert {count for *_, count in hall.asked} == {1, 5}
    assert (found.rounds, found.samples) == (25, 5)
    assert {block.repeats for block in hall.blocks} == {5}


def test_a_candidate_that_dies_fails_its_cell_and_the_others_get_another_pair(hall: Hall) -> None:
    def strike(target: str, prompt: str, pair: int) -> None:
        if (target, prompt) == ("new", "b"):
            raise WorkerCrashed("m was killed")

    hall.strike = strike
    found = hall.run(2)
    assert found["test_b"].error is not None and "killed" in found["test_b"].error.message
    assert (found["test_a"].error, verdicts(found["test_a"])["net_time"]) == (None, "pass")
    assert all(block.pair == 1 for block in found["test_a"].whole_blocks)


def test_a_candidate_whose_answer_fails_leaves_the_pair_alive(hall: Hall) -> None:
    def strike(target: str, prompt: str, pair: int) -> None:
        if (target, prompt) == ("new", "b"):
            raise GenerationError("too long")

    hall.strike = strike
    found = hall.run(2, max_rounds=5)
    assert found["test_b"].error is not None
    assert (found["test_a"].samples, {pair for _, pair in hall.starts}) == (5, {0})


@pytest.mark.parametrize("fault", [WorkerCrashed("killed"), GenerationError("too long")])
def test_a_reference_that_fails_is_never_the_candidates_failure(hall: Hall, fault: LLMCIError) -> None:
    def strike(target: str, prompt: str, pair: int) -> None:
        if target == "old":
            raise fault

    hall.strike = strike
    (found,) = hall.run().values()
    assert found.error is None
    assert [result.verdict for result in found.comparisons] == ["not comparable"]
    assert "the reference failed" in found.comparisons[0].reason


def test_a_reference_that_dies_once_is_tried_again(hall: Hall) -> None:
    def strike(target: str, prompt: str, pair: int) -> None:
        if (target, pair) == ("old", 0):
            raise WorkerCrashed("killed")

    hall.strike = strike
    (found,) = hall.run().values()
    assert verdicts(found)["net_time"] == "pass"


@pytest.mark.parametrize("side", ["new", "old"])
def test_a_side_that_does_not_load(hall: Hall, side: str) -> None:
    def loads(target: str, pair: int) -> None:
        if target == side:
            raise ModelLoadError("no such file")

    hall.loads = loads
    found = hall.run(2)
    for each in found.values():
        assert (each.error is not None) == (side == "new")
        assert [result.verdict for result in each.comparisons] == ([] if side == "new" else ["not comparable"])


def test_after_its_answers_the_reference_is_asked_where_its_own_modules_came_from(hall: Hall) -> None:
    def prove(info: dict[str, Any]) -> None:
        if "late" in info.get("module_files", {}):
            raise ConfigError("not from the files of that commit")

    hall.modules = lambda owned: {str(name): "/library/late.py" for name in owned}
    hall.more = {"prove": prove, "own_modules": ("late",)}
    (found,) = hall.run().values()
    assert found.error is None
    assert [(each.verdict, each.reason) for each in found.comparisons] == [
        ("not comparable", "not from the files of that commit")
    ]


def test_when_the_time_is_up_what_is_known_is_said(hall: Hall) -> None:
    hall.seconds["new"] = 1.028
    hall.time_is_up = lambda: len(hall.starts) >= 2
    (found,) = hall.run().values()
    result = next(result for result in found.comparisons if result.metric == "net_time")
    assert (result.verdict, result.reason, found.samples) == ("inconclusive", "out of time (--llmci-time-limit)", 5)
    assert result.change is not None


def test_when_the_time_is_up_that_is_told_before_what_it_left_open(hall: Hall) -> None:
    hall.retries = 1
    hall.time_is_up = lambda: len(hall.starts) >= 4
    (found,) = hall.run().values()
    result = next(result for result in found.comparisons if result.by_block)
    assert result.reason == "out of time (--llmci-time-limit); 2 blocks: fewer than 4 decide nothing"


@pytest.mark.parametrize(("now", "outcome"), [(100.0, "passed"), (101.0, "failed"), (50.0, "passed")])
def test_weights_are_counted_and_any_growth_is_one(hall: Hall, now: float, outcome: str) -> None:
    hall.weights = {"old": {"model_footprint": 100.0}, "new": {"model_footprint": now}}
    hall.run(2, max_rounds=5)
    (gate,) = [record for record in hall.records if isinstance(record, GateRecord)]
    assert (gate.outcome, gate.comparisons[-1].improved) == (outcome, now < 100)


@pytest.mark.parametrize("expected", [False, True])
def test_a_cell_that_is_expected_to_fail_does_not_count_for_its_model(hall: Hall, expected: bool) -> None:
    hall.seconds = {"new": 1.0, "old": 1.0, "new/a": 1.5}
    hall.expected = {"a"} if expected else set()
    found = hall.run(3)
    gates = [record for record in hall.records if isinstance(record, GateRecord)]
    assert [gate.outcome for gate in gates] == ["passed" if expected else "failed"]
    assert {each.verdict for each in found["test_b"].comparisons} == {"pass"}
    if expected:
        assert "regressed" in {each.verdict for each in found["test_a"].comparisons}, "that is what is expected"


def loading(hall: Hall, old: float, new: float) -> None:
    hall.weights = {"old": {"load_time": old * 1e9}, "new": {"load_time": new * 1e9}}


def test_load_times_are_shown_and_cost_no_further_start(hall: Hall) -> None:
    loading(hall, 1.0, 3.0)
    (found,) = hall.run().values()
    assert list(found.starts["load_time"]) == pytest.approx([1.0, 3.0], rel=0.03)
    assert not [record for record in hall.records if isinstance(record, GateRecord)]
    assert len(hall.starts) == 2 * found.comparisons[0].pairs < 8


@pytest.mark.parametrize(("now", "outcome"), [(1.0, "passed"), (1.6, "failed")])
def test_named_load_times_are_judged_by_as_many_pairs_as_there_may_be(hall: Hall, now: float, outcome: str) -> None:
    loading(hall, 1.0, now)
    hall.detect = {"load_time": 0.2}
    found = hall.run(2)
    (gate,) = [record for record in hall.records if isinstance(record, GateRecord)]
    (result,) = [each for each in gate.comparisons if each.metric == "load_time"]
    assert (gate.outcome, result.rounds, result.verdict) == (outcome, 4, "pass" if now == 1 else "regressed")
    assert len(hall.starts) == 10, "four pairs, and the first, which may have read the files from the disk"
    assert {pair for pair, *_ in hall.asked} < {0, 1, 2, 3}, "the last of them only load"
    assert ("m as a whole against old: load_time +" in gate.message) == (now > 1)
    assert ("4 starts a side in 4 fresh pairs" in gate.message) == (now > 1)
    assert all(each.metric != "load_time" for cell in found.values() for each in cell.comparisons)


@pytest.mark.parametrize("strict", [False, True])
def test_load_times_of_few_starts_are_inconclusive(hall: Hall, strict: bool) -> None:
    loading(hall, 1.0, 9.0)
    hall.detect = {"load_time": 0.2}
    hall.more = {"fail_undecided": strict}
    hall.run(max_rounds=10)  # two pairs, and the first
    (gate,) = [record for record in hall.records if isinstance(record, GateRecord)]
    assert gate.outcome == ("failed" if strict else "passed")
    assert "inconclusive: load_time against old: 2 starts on a side: fewer than 3 decide nothing" in gate.message


def test_a_first_start_that_read_from_the_disk_does_not_count(hall: Hall) -> None:
    loading(hall, 1.0, 1.0)
    hall.detect = {"load_time": 0.2}
    usual = hall.get

    def get(spec: ModelSpec, role: Any, pair: int) -> LiveModel:
        live = usual(spec, role, pair)
        if pair == 0 and spec.target == "new":
            live.record.values["load_time"] *= 50
        return live

    hall.get = get  # type: ignore[method-assign]  # a cold start
    (found,) = hall.run().values()
    (gate,) = [record for record in hall.records if isinstance(record, GateRecord)]
    assert (gate.outcome, gate.comparisons[0].verdict) == ("passed", "pass")
    assert list(found.starts["load_time"]) == pytest.approx([1.0, 1.0], rel=0.03)


def test_no_pair_is_started_for_load_times_when_time_is_up(hall: Hall) -> None:
    loading(hall, 1.0, 1.0)
    hall.detect = {"load_time": 0.2}
    hall.time_is_up = lambda: len(hall.starts) >= 2
    hall.run()
    assert len(hall.starts) == 2


def test_a_start_that_fails_after_the_rounds_leaves_what_was_found(hall: Hall) -> None:
    def loads(target: str, pair: int) -> None:
        if pair >= 2:
            raise ModelLoadError("gone")

    loading(hall, 1.0, 1.0)
    hall.detect, hall.loads = {"load_time": 0.2, "": 0.2}, loads
    (found,) = hall.run(max_rounds=20).values()
    assert (found.error, [each.verdict for each in found.comparisons if each.metric == "net_time"]) == (None, ["pass"])


def test_ctrl_c_loses_nothing(hall: Hall) -> None:
    def strike(target: str, prompt: str, pair: int) -> None:
        if len(hall.asked) > 8:
            raise KeyboardInterrupt

    hall.strike = strike
    with pytest.raises(KeyboardInterrupt):
        hall.run()
    assert sum(block.n for block in hall.blocks) == 6
    assert {block.error.kind for block in hall.blocks if block.error} == {"interrupted"}


def test_another_prompt_on_the_side_of_the_reference_is_not_compared(hall: Hall) -> None:
    against = Against(name="old", specs={"m": REFERENCE}, prompts={"a": [Prompt(id="a", text="Say something else")]})
    cell = Cell(id="m-a", model=CANDIDATE, prompt=PROMPTS[0])
    plan = CellPlan(rounds=5, max_rounds=5, warmup=1, block=5, generation=GENERATION)
    (entry,) = against.entries({"test_a": (cell, plan)})
    schedule = Interleaved([entry], Rules(against="old", alpha=0.01), METRICS, hall.ports(), block=5)
    (result,) = schedule.run()["test_a"].comparisons
    assert (result.verdict, result.reason) == (
        "not comparable",
        "the prompt is another one on the side of the reference",
    )
    assert not hall.starts


def test_what_is_compared_with_what() -> None:
    cell = Cell(id="m-a", model=CANDIDATE, prompt=PROMPTS[0])
    assert Against(name="x", specs={}).reference(cell) is None
    assert Against(name="x", specs={"m": REFERENCE}, prompts={}).reference(cell) is None, "a new prompt"
    assert Against(name="x", specs={"m": REFERENCE}, only_tagged=True).reference(cell) is None
    found = Against(name="x", specs={"m": REFERENCE}).reference(cell)
    assert found is not None and (found.model, found.prompt, found.id) == (REFERENCE, PROMPTS[0], "m-a")


def test_the_gate_of_a_model_names_what_became_worse() -> None:
    def result(verdict: Any) -> ComparisonResult:
        return ComparisonResult(
            metric="cpu_time",
            mode="interleaved",
            verdict=verdict,
            against="old",
            base=None,
            candidate=None,
            change=0.081,
        )

    cells = {"m-a": [result("regressed")], "m-b": [replace(result("inconclusive"), change=0.09)]}
    gate = model_gate("m", [result("regressed")], "old", "u", cells)
    assert (gate.outcome, gate.message) == (
        "failed", "m as a whole against old: cpu_time +8.1 %, 0 rounds a side; cpu_time of its cells: m-b +9.0 %, m-a +8.1 %"
    )  # fmt: skip
    assert model_gate("m", [result("pass")], "old", "u").outcome == "passed"


def test_of_several_prompts_of_one_id_the_same_one_or_that_of_the_same_file_is_compared() -> None:
    cell = Cell(id="m-a", model=CANDIDATE, prompt=Prompt(id="a", text="One", source="x.yaml, line 3"))
    changed = Prompt(id="a", text="Uno", source="x.yaml, line 2")
    other, same = (
        Prompt(id="a", text="Two", source="y.yaml, line 3"),
        Prompt(id="a", text="One", source="z.yaml, line 9"),
    )
    for there, expected in (
        ([other, changed, same], same), ([other, changed], changed), ([other], other), ([changed, changed], None), ([other, other], None),
    ):  # fmt: skip
        found = Against(name="x", specs={"m": REFERENCE}, prompts={"a": there}).reference(cell)
        assert (found.prompt if found else None) == expected


def test_what_a_test_says_of_its_answers_holds_on_both_sides() -> None:
    cell = Cell(id="m-a", model=CANDIDATE, prompt=PROMPTS[0])
    asked = GenerationSettings(max_new_tokens=9, temperature=0.5, seed=7)
    against = Against(name="x", specs={"m": REFERENCE}, settings=Settings(max_new_tokens=30, temperature=0.1, seed=1))
    for said, expected in (
        (frozenset({"max_new_tokens", "temperature", "seed"}), asked),
        (frozenset({"temperature"}), GenerationSettings(max_new_tokens=30, temperature=0.5, seed=1)),
        (frozenset[str](), GenerationSettings(max_new_tokens=30, temperature=0.1, seed=1)),
    ):
        plan = CellPlan(rounds=1, max_rounds=1, warmup=0, block=1, generation=asked, said=said)
        (entry,) = against.entries({"test_a": (cell, plan)})
        assert entry.reference_generation == expected


@pytest.mark.parametrize(
    ("reference", "candidate", "place"),
    [
        ({"server": "http://a:1"}, {"server": "http://a:1"}, "one server, http://a:1"),
        ({"server": "http://a:1"}, {"server": "http://a:2"}, ""),
        ({"device": "cuda:0"}, {"device": "cuda:0"}, "one accelerator, cuda:0"),
        ({"device": "cuda:0"}, {"device": "cuda:1"}, ""),
        ({"device": "cpu"}, {"device": "cpu"}, ""),
        ({}, {}, ""),
    ],
)
def test_what_both_sides_compute_on_is_named(reference: dict[str, Any], candidate: dict[str, Any], place: str) -> None:
    sides = (
        sample_run.worker(info=reference),
        sample_run.worker(info=candidate),
    )
    assert shared_place(*sides) == place


def test_a_server_that_puts_requests_off_changes_the_unit(hall: Hall) -> None:
    """Also where only a warm-up was put off; a cell that rounds would have decided goes on until there are enough blocks."""
    (usual,) = hall.run().values()
    assert (usual.samples, verdicts(usual)["net_time"]) == (5, "pass")
    hall.retries = 1
    (found,) = hall.run().values()
    decisive = next(result for result in found.comparisons if result.metric == "net_time")
    assert (found.samples, decisive.pairs, decisive.verdict) == (20, 4, "pass")
    assert decisive.by_block == "1 request was put off by the server (429, 5xx or no connection)"
