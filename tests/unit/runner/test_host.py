from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from pytest_llmci.backends.base import LoadContext, LoadedModel, OnBatch, OnCompletion, OnScores, Stamp
from pytest_llmci.errors import ConfigError, GenerationError, MissingExtraError, ModelLoadError
from pytest_llmci.measure import region
from pytest_llmci.records import (
    Completion,
    ContinuationScore,
    GenerationSettings,
    ModelSpec,
    Prompt,
    RoundRecord,
    RunRequest,
    ScoreRequest,
)
from pytest_llmci.registry import Registry
from pytest_llmci.runner import own_cost
from pytest_llmci.runner.host import ModelHost

SPEC = ModelSpec(alias="a", backend="fake", text="a=fake")
PROMPT = Prompt(id="p", text="Hi")
SETTINGS = GenerationSettings()


class Fake:
    """A backend that does what the test puts into ``raises``."""

    raises: ClassVar[dict[str, BaseException]] = {}
    context: ClassVar[list[LoadContext]] = []
    closed: ClassVar[list[str]] = []

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def _do(self, what: str) -> None:
        if what in self.raises:
            raise self.raises[what]

    def prepare(self) -> None:
        self._do("prepare")

    def load(self, context: LoadContext) -> LoadedModel:
        self._do("load")
        self.context.append(context)
        context.say("converting (once)")
        return LoadedModel(info={"revision": "main"}, footprint_bytes=0, context_length=128)

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> str:
        self._do("generate")
        stamp()
        return f"to {prompt.shown}"

    def complete(self, produced: str) -> Completion:
        return Completion(text=produced, finish_reason="stop", output_tokens=1)

    def close(self) -> None:
        self.closed.append(self.spec.alias)


class Able(Fake):
    """Streams and scores too."""

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        on_text("to ")
        on_text(prompt.shown)
        return self.complete(f"to {prompt.shown}")

    def score(self, context: str, continuation: str) -> list[Any]:
        return [-1, -0.5]


class Phases:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.counted: list[int] = []
        self.rounds: list[int] = []

    def enter(self, phase: str, block_round: int = 0) -> None:
        self.seen.append(phase)
        self.rounds.append(block_round)

    def tokens(self, count: int) -> None:
        self.counted.append(count)


def divide(backend: Fake, *numbers: int) -> list[object]:
    return [backend.spec.alias, numbers[0] / numbers[1]]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """The module as the registry finds it, without traces of other tests."""
    module = types.ModuleType("fake_source")
    module.__dict__.update(Fake=Fake, Able=Able, Batching=Batching, divide=divide)
    monkeypatch.setitem(sys.modules, "fake_source", module)
    for name, empty in (("raises", {}), ("context", []), ("closed", [])):
        monkeypatch.setattr(Fake, name, empty)
    known = {
        "own_latency": 1.0,
        "own_time_around": 1.0,
    }  # else the first load of a process measures it, which counts tokens, too
    monkeypatch.setattr(own_cost, "_OF_THIS_PROCESS", known)
    return Fake


def host_of(name: str = "Fake", phases: Phases | None = None) -> ModelHost:
    registry = Registry()
    registry.add("backend", "fake", f"fake_source:{name}")
    return ModelHost(registry, threads=2, cache_dir="/cache", progress=phases or Phases(), isolated=False)


def loaded(name: str = "Fake", phases: Phases | None = None) -> ModelHost:
    host = host_of(name, phases)
    host.load(SPEC, lambda text: None)
    return host


def request(rounds: int = 1) -> RunRequest:
    return RunRequest(cell="a-p", prompt=PROMPT, generation=SETTINGS, rounds=rounds, warmup=0)


def test_what_load_did_for_the_record_alone_is_no_part_of_its_time(
    fakes: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, now, loading, hashing = Fake.load, [0], 7_000_000, 50_000_000

    def load(self: Fake, context: LoadContext) -> LoadedModel:
        now[0] += loading + hashing
        return replace(usual(self, context), record_ns=hashing)

    monkeypatch.setattr(Fake, "load", load)
    monkeypatch.setattr(region, "perf_counter_ns", lambda: now[0])
    found = host_of().load(SPEC, lambda text: None)
    assert found.values["load_time"] == loading


def test_loading_tells_times_and_what_the_model_is(fakes: type[Fake]) -> None:
    said: list[str] = []
    phases = Phases()
    found = host_of(phases=phases).load(SPEC, said.append)
    assert found.values["import_time"] > 0 and found.values["load_time"] > 0
    assert found.values["model_footprint"] == 0  # zero is a measurement
    assert found.reasons == dict.fromkeys(
        ["first_inference_time", "cold_start_time"],
        "no first inference was measured in this process so far; the record of its first rounds tells it",
    )
    assert found.values["own_latency"] > 0 and found.values["own_time_around"] > 0
    if sys.platform == "linux":
        assert found.values["load_peak_rss"] > 2**20
        assert found.info["memory_method"]
    assert found.info["revision"] == "main"
    assert (found.info["threads"], found.info["context_length"], found.info["pid"]) == (2, 128, os.getpid())
    assert said == ["converting (once)"]
    assert phases.seen == ["importing", "loading", "idle"]
    assert (fakes.context[0].threads, fakes.context[0].cache_dir) == (2, "/cache")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"load\(\) of backend 'fake' returned NoneType, not a LoadedModel"),
        (
            LoadedModel(info={"tags": {"a"}}),  # type: ignore[dict-item]  # foreign code
            r"info\['tags'\] of backend 'fake' cannot be recorded \(Object of type set is not JSON serializable\); use text, numbers",
        ),
    ],
)
def test_what_cannot_be_recorded_is_one_line(
    fakes: type[Fake], monkeypatch: pytest.MonkeyPatch, returned: object, message: str
) -> None:
    monkeypatch.setattr(Fake, "load", lambda self, context: returned)
    with pytest.raises(ModelLoadError, match=message) as caught:
        host_of().load(SPEC, lambda text: None)
    assert (caught.value.kind, "\n" in str(caught.value)) == ("backend", False)


@pytest.mark.parametrize("reason", ["no weights", ""])
def test_a_footprint_that_nobody_knows_is_missing(
    fakes: type[Fake], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(Fake, "load", lambda self, context: LoadedModel(footprint_reason=reason))
    found = host_of().load(SPEC, lambda text: None)
    assert "model_footprint" not in found.values
    assert found.reasons["model_footprint"] == (reason or "this model source has no weights to count")


@pytest.mark.parametrize("place", ["prepare", "load"])
def test_whatever_a_backend_raises_while_loading_becomes_one_line(fakes: type[Fake], place: str) -> None:
    fakes.raises[place] = RuntimeError("two\nlines")
    with pytest.raises(ModelLoadError, match="^a=fake: RuntimeError: two lines$") as caught:
        host_of().load(SPEC, lambda text: None)
    assert caught.value.kind == "unexpected"
    assert caught.value.__cause__ is fakes.raises[place]


@pytest.mark.parametrize(
    "error", [ModelLoadError("gone", kind="not_found"), MissingExtraError("pip"), ConfigError("bad"), MemoryError()]
)
def test_failures_that_explain_themselves_pass_unchanged(fakes: type[Fake], error: Exception) -> None:
    fakes.raises["load"] = error
    with pytest.raises(type(error)) as caught:
        host_of().load(SPEC, lambda text: None)
    assert caught.value is error


@pytest.mark.parametrize("place", ["prepare", "load"])
@pytest.mark.parametrize("error", [RuntimeError("no"), ModelLoadError("gone"), KeyboardInterrupt()])
def test_a_backend_that_never_became_ready_is_closed(fakes: type[Fake], place: str, error: BaseException) -> None:
    """In pytest's own process its connections and files would last until the end of the session."""
    fakes.raises[place] = error
    host = host_of()
    with pytest.raises((ModelLoadError, KeyboardInterrupt)):
        host.load(SPEC, lambda text: None)
    assert fakes.closed == ["a"]
    host.close()
    assert fakes.closed == ["a"]


def test_one_that_cannot_be_closed_either_tells_why_it_did_not_load(
    fakes: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.raises["load"] = ModelLoadError("gone")
    monkeypatch.setattr(Fake, "close", lambda self: self.closed.append(str(1 / 0)))
    with pytest.raises(ModelLoadError, match="gone"):
        host_of().load(SPEC, lambda text: None)


def test_one_whose_facts_cannot_be_recorded_is_closed(fakes: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "load", lambda self, context: None)
    with pytest.raises(ModelLoadError):
        host_of().load(SPEC, lambda text: None)
    assert fakes.closed == ["a"]


def test_a_block_is_measured_by_the_instruments(fakes: type[Fake]) -> None:
    kept: list[RoundRecord] = []
    loaded().run(request(2), kept.append)
    assert [record.completion.text for record in kept] == ["to Hi", "to Hi"]
    assert all(record.values["latency"] == sum(record.token_ns) for record in kept)


def test_whatever_an_inference_raises_becomes_one_line(fakes: type[Fake]) -> None:
    fakes.raises["generate"] = ZeroDivisionError("by\nzero")
    with pytest.raises(GenerationError, match="^a=fake: ZeroDivisionError: by zero$") as caught:
        loaded().run(request(), lambda record: None)
    assert caught.value.kind == "unexpected"
    fakes.raises["generate"] = GenerationError("too long", kind="context")
    with pytest.raises(GenerationError, match="^too long$"):
        loaded().run(request(), lambda record: None)


@pytest.mark.parametrize(
    "ask",
    [
        lambda host: host.run(request(), lambda record: None),
        lambda host: host.stream(PROMPT, SETTINGS, lambda text: None),
        lambda host: host.score("a", "b"),
        lambda host: host.score_many([ScoreRequest(context="a", continuations=("b",))], 1, lambda number, scores: None),
        lambda host: host.generate_many([PROMPT], SETTINGS, (), 1, lambda number, completion: None),
        lambda host: host.call("fake_source:divide", [1, 2]),
    ],
)
def test_before_loading_nothing_can_be_asked(fakes: type[Fake], ask: Callable[[ModelHost], object]) -> None:
    with pytest.raises(ModelLoadError, match="the model is not loaded"):
        ask(host_of())
    host = loaded("Able")
    ask(host)
    host.close()
    with pytest.raises(ModelLoadError, match="a=fake: the model is not loaded"):
        ask(host)
    assert fakes.closed == ["a"]


def test_streams_and_scores_where_the_backend_can(fakes: type[Fake]) -> None:
    phases = Phases()
    host = loaded("Able", phases)
    pieces: list[str] = []
    assert host.stream(PROMPT, SETTINGS, pieces.append).text == "to Hi"
    assert pieces == ["to ", "Hi"]
    found = host.score("a", "b")
    assert found == [-1.0, -0.5] and all(type(value) is float for value in found)
    assert phases.seen[3:] == ["streaming", "idle", "scoring", "idle"]
    assert phases.counted == [1, 2]


@pytest.mark.parametrize("ask", ["stream", "score"])
def test_whatever_a_backend_raises_in_a_stream_or_score_becomes_one_line(
    fakes: type[Fake], monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    def fail(self: Able, *arguments: object) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr(Able, ask, fail)
    phases = Phases()
    host = loaded("Able", phases)
    with pytest.raises(GenerationError, match="^a=fake: ValueError: two lines$") as caught:
        host.stream(PROMPT, SETTINGS, print) if ask == "stream" else host.score("a", "b")
    assert caught.value.kind == "unexpected"
    assert phases.seen[-1] == "idle"


QUESTIONS = [ScoreRequest(context="a", continuations=("b", "c")), ScoreRequest(context="d", continuations=("e",))]


def test_many_questions_are_scored_one_by_one_where_the_backend_has_no_faster_way(fakes: type[Fake]) -> None:
    phases = Phases()
    found: dict[int, Sequence[ContinuationScore]] = {}
    loaded("Able", phases).score_many(QUESTIONS, 8, found.__setitem__)
    one = ContinuationScore(logprob=-1.5, tokens=2)
    assert found == {0: [one, one], 1: [one]}
    assert phases.seen[3:] == [
        "scoring many",
        *["scoring many"] * 3,
        "idle",
    ]  # each continuation has the time limit for itself
    assert phases.rounds[4:7] == [0, 0, 1] and phases.counted == [1, 1, 1]


def test_many_prompts_are_answered_one_by_one_and_end_before_a_stop(fakes: type[Fake]) -> None:
    phases: Phases = Phases()
    found: dict[int, Completion] = {}
    prompts = [Prompt(id="p", text="Hi"), Prompt(id="q", text="you. Q: and"), Prompt(id="r", text="half \ud83d")]
    loaded(phases=phases).generate_many(prompts, SETTINGS, ("Q:", "."), 8, found.__setitem__)
    assert [(found[n].text, found[n].finish_reason) for n in range(3)] == [
        ("to Hi", "stop"), ("to you", "stop"), ("to half \N{REPLACEMENT CHARACTER}", "stop"),
    ]  # fmt: skip
    assert phases.seen[4:] == ["generating many"] * 3 + ["idle"] and phases.rounds[4:7] == [0, 1, 2]


class Batching(Able):
    """Does all at once."""

    def score_many(
        self, requests: Sequence[ScoreRequest], batch: int, *, on_batch: OnBatch, on_scores: OnScores
    ) -> None:  # fmt: skip
        self._do("score_many")
        on_batch(range(batch))
        for number in reversed(range(len(requests))):
            on_scores(number, [ContinuationScore(logprob=-float(batch), tokens=1, is_greedy=True)])

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, *, on_batch: OnBatch,
        on_completion: OnCompletion,
    ) -> None:  # fmt: skip
        on_batch([1, 0])
        for number, prompt in enumerate(prompts):
            on_completion(number, Completion(text=f"{batch} {prompt.text} {stop}", finish_reason="stop"))


def test_a_backend_with_a_faster_way_gets_the_whole_job(fakes: type[Fake]) -> None:
    phases = Phases()
    scores: dict[int, Sequence[ContinuationScore]] = {}
    answers: dict[int, Completion] = {}
    host = loaded("Batching", phases)
    host.score_many(QUESTIONS, 2, scores.__setitem__)
    host.generate_many([PROMPT, PROMPT], SETTINGS, ("x",), 2, answers.__setitem__)
    assert [*scores] == [1, 0] and scores[0] == [ContinuationScore(logprob=-2.0, tokens=1, is_greedy=True)]
    assert answers[1].text == "2 Hi ('x',)"
    assert phases.rounds[3:] == [0, 0, 0, 0, 1, 0] and phases.counted == [2, 2]


def test_what_is_wrong_with_a_job_becomes_one_line(fakes: type[Fake]) -> None:
    with pytest.raises(GenerationError, match="a=fake: this backend knows no log-probabilities") as caught:
        loaded().score_many(QUESTIONS, 1, lambda number, scores: None)
    assert caught.value.kind == "unsupported"
    fakes.raises["score_many"] = ValueError("two\nlines")
    phases = Phases()
    with pytest.raises(GenerationError, match="^a=fake: ValueError: two lines$"):
        loaded("Batching", phases).score_many(QUESTIONS, 1, lambda number, scores: None)
    assert phases.seen[-1] == "idle"


def test_says_so_where_it_cannot(fakes: type[Fake]) -> None:
    host = loaded()
    with pytest.raises(GenerationError, match="a=fake: this backend cannot stream; use llm.generate"):
        host.stream(PROMPT, SETTINGS, lambda text: None)
    with pytest.raises(GenerationError, match="a=fake: this backend knows no log-probabilities") as caught:
        host.score("a", "b")
    assert caught.value.kind == "unsupported"


def test_calls_a_function_next_to_the_model(fakes: type[Fake]) -> None:
    phases = Phases()
    host = loaded(phases=phases)
    assert host.call("fake_source:divide", [3, 2]) == ["a", 1.5]
    with pytest.raises(
        GenerationError, match=r"llm.call\('fake_source:divide'\): ZeroDivisionError: division by zero"
    ) as caught:
        host.call("fake_source:divide", [1, 0])
    assert caught.value.kind == "call"
    with pytest.raises(GenerationError, match="ModuleNotFoundError: No module named 'no_such_module'"):
        host.call("no_such_module:f", [])
    with pytest.raises(ConfigError, match="llm.call: module 'fake_source' has no attribute 'nothing'"):
        host.call("fake_source:nothing", [])
    assert phases.seen.count("calling") == phases.seen.count("idle") - 1 == 4


def test_profiles_nest_and_the_inner_one_ends_first(fakes: type[Fake]) -> None:
    host = loaded()
    first, second = host.profile_start(), host.profile_start()
    inner = host.profile_stop(second)
    outer = host.profile_stop(first)
    assert 0 < inner.wall_time < outer.wall_time


def test_profiles_of_two_threads_may_end_in_any_order(fakes: type[Fake]) -> None:
    host = loaded()
    first = host.profile_start()
    host.call("fake_source:divide", [1, 1])
    second = host.profile_start()
    assert host.profile_stop(first).wall_time > 0
    assert host.profile_stop(second).wall_time > 0
    with pytest.raises(GenerationError, match=f"a=fake: no profile {first} was started in this process"):
        host.profile_stop(first)
