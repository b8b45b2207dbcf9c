from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import cast

import pytest

from pytest_llmci.backends.base import Backend, LoadContext, LoadedModel, Note, Stamp
from pytest_llmci.errors import GenerationError
from pytest_llmci.measure.anchor import Anchor
from pytest_llmci.measure.profile import Probe, ProbeReading
from pytest_llmci.records import Completion, GenerationSettings, Missing, Prompt, RoundRecord, RunRequest
from pytest_llmci.runner.loop import NOT_BESIDE, NOT_BESIDE_EACH, MeasuringLoop, NoProgress
from pytest_llmci.runner.progress import ProgressPage

PROMPT = Prompt(id="p", text="Hi")


class Story:
    """What happened, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def enter(self, phase: str, block_round: int = 0) -> None:
        self.events.append(f"{phase} {block_round}")

    def tokens(self, count: int) -> None:
        self.events.append(f"token {count}")


class StoryProbe:
    def __init__(self, story: Story) -> None:
        self.story = story
        self.asked: list[tuple[int, tuple[int, ...], int]] = []

    def start(self) -> None:
        self.story.events.append("start")

    def stop(self) -> None:
        self.story.events.append("stop")

    def read(self, *, wall_ns: int, token_ns: tuple[int, ...], completion: Completion, threads: int) -> ProbeReading:
        self.story.events.append("read")
        self.asked.append((wall_ns, token_ns, threads))
        return ProbeReading(
            values={"latency": wall_ns}, reasons={"ttft": "why"}, noisy="steal", memory_method="hwm", peak_rss_resolution_bytes=64
        )  # fmt: skip


class Scripted:
    """Two tokens an answer; fails in the answer of that number."""

    def __init__(self, story: Story, fails_at: int = -1, text: str = "an answer") -> None:
        self.story = story
        self.fails_at = fails_at
        self.text = text
        self.answers = 0

    def load(self, context: LoadContext) -> LoadedModel:
        return LoadedModel()

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> str:
        self.story.events.append("generate")
        stamp()
        if self.answers == self.fails_at:
            raise GenerationError("no more", kind="scripted")
        stamp()
        self.answers += 1
        return self.text

    def complete(self, produced: str) -> Completion:
        self.story.events.append("complete")
        return Completion(text=produced, finish_reason="stop")

    def close(self) -> None:
        pass


def loop_of(backend: Backend, story: Story, probe: StoryProbe, *, isolated: bool = False) -> MeasuringLoop:
    return MeasuringLoop(backend, cast("Probe", probe), threads=3, progress=story, isolated=isolated)


def request(rounds: int, warmup: int) -> RunRequest:
    return RunRequest(cell="a-p", prompt=PROMPT, generation=GenerationSettings(), rounds=rounds, warmup=warmup)


def test_a_block_is_warm_up_then_rounds_each_handed_over_as_it_ends() -> None:
    story = Story()
    loop = loop_of(Scripted(story), story, StoryProbe(story))
    loop.run(request(2, 1), lambda record: story.events.append("handed over"))
    inference = ["start", "generate", "token 1", "token 2", "stop", "complete", "read"]
    assert story.events == [
        "warm-up 0", *inference, "measuring 0", *inference, "handed over", "measuring 1", *inference, "handed over", "idle 0",
    ]  # fmt: skip


def test_only_the_first_inference_of_the_process_is_told_with_the_round_after_it() -> None:
    story, kept = Story(), list[RoundRecord]()
    probe = StoryProbe(story)
    loop = loop_of(Scripted(story), story, probe)
    loop.run(request(2, 1), kept.append)
    loop.run(request(1, 0), kept.append)
    first_ns = probe.asked[0][0]  # of the warm-up
    assert [record.worker_values for record in kept] == [{"first_inference_time": first_ns}, {}, {}]


@pytest.mark.parametrize("failed", [True, False], ids=["the first one failed", "something else was asked"])
def test_what_follows_something_else_is_no_first_inference(*, failed: bool) -> None:
    story, kept = Story(), list[RoundRecord]()
    loop = loop_of(Scripted(story, fails_at=0 if failed else -1), story, StoryProbe(story))
    if failed:
        with pytest.raises(GenerationError):
            loop.run(request(1, 0), kept.append)
        cast("Scripted", loop._backend).fails_at = -1
    else:
        loop.was_asked()
    loop.run(request(1, 0), kept.append)
    assert kept[0].worker_values == {}


def test_a_round_of_the_memory_pass_is_prepared_outside_of_what_is_measured() -> None:
    story = Story()
    loop = MeasuringLoop(
        Scripted(story), cast("Probe", StoryProbe(story)), threads=1, progress=story, isolated=False,
        before_round=lambda: story.events.append("prepared"),
    )  # fmt: skip
    loop.run(request(1, 1), lambda record: None)
    begins = [event for event in story.events if event in ("prepared", "start", "stop")]
    assert begins == ["prepared", "start", "stop"] * 2


def test_a_round_holds_what_the_instruments_and_the_backend_said() -> None:
    story = Story()
    probe = StoryProbe(story)
    kept: list[RoundRecord] = []
    loop_of(Scripted(story), story, probe).run(request(1, 0), kept.append)
    ((wall_ns, token_ns, threads),) = probe.asked
    assert kept == [
        RoundRecord(
            values={"latency": wall_ns}, reasons={"ttft": "why"}, token_ns=token_ns, completion=Completion(text="an answer", finish_reason="stop"),
            noisy="steal", memory_method="hwm", peak_rss_resolution_bytes=64, worker_values={"first_inference_time": wall_ns},
        )
    ]  # fmt: skip
    assert len(token_ns) == 2 and min(token_ns) >= 0
    assert sum(token_ns) <= wall_ns
    assert threads == 3


def test_a_failure_stops_the_instruments_and_keeps_the_rounds_before_it() -> None:
    story = Story()
    kept: list[RoundRecord] = []
    with pytest.raises(GenerationError, match="no more"):
        loop_of(Scripted(story, fails_at=2), story, StoryProbe(story)).run(request(5, 1), kept.append)
    assert len(kept) == 1
    assert story.events[-3:] == ["generate", "token 1", "stop"]


def test_half_a_surrogate_pair_is_replaced_and_whole_ones_are_put_together() -> None:
    story = Story()
    loop = loop_of(Scripted(story, text="a\ud83d b \ud83d\ude42"), story, StoryProbe(story))
    text = loop.measure(PROMPT, GenerationSettings()).completion.text
    assert text == "a\ufffd b 🙂"


def test_what_the_warm_up_left_is_set_aside_only_in_the_models_own_process() -> None:
    story = Story()
    before = gc.get_freeze_count()
    try:
        loop_of(Scripted(story), story, StoryProbe(story)).run(request(1, 0), lambda record: None)
        assert gc.get_freeze_count() == before
        loop_of(Scripted(story), story, StoryProbe(story), isolated=True).run(request(1, 0), lambda record: None)
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_without_anybody_to_tell_tokens_are_stamped_all_the_same() -> None:
    story = Story()
    loop = MeasuringLoop(
        Scripted(story), cast("Probe", StoryProbe(story)), threads=1, progress=NoProgress(), isolated=False
    )
    assert len(loop.measure(PROMPT, GenerationSettings()).token_ns) == 2
    assert "token 1" not in story.events


# ------------------------------------------------------------------------------------------------ the frozen model


class StoryAnchor:
    """Stands for the frozen model: says when it was timed."""

    why_not = ""
    missing = staticmethod(Anchor.missing)

    def __init__(self, story: Story) -> None:
        self.story = story

    def time(self) -> dict[str, int | Missing]:
        self.story.events.append("anchor")
        return {"anchor_cpu_time": 7, "anchor_net_time": Missing("no statistics")}


def anchored(story: Story, rounds: int, anchor_every: int = 0) -> list[RoundRecord]:
    found: list[RoundRecord] = []
    loop = MeasuringLoop(
        Scripted(story), cast("Probe", StoryProbe(story)), threads=1, progress=story, isolated=False,
        anchor=cast("Anchor", StoryAnchor(story)),
    )  # fmt: skip
    loop.run(
        RunRequest(
            cell="a-p",
            prompt=PROMPT,
            generation=GenerationSettings(),
            warmup=1,
            rounds=rounds,
            anchor_every=anchor_every,
        ),
        found.append,
    )
    return found


def test_the_frozen_model_is_timed_before_and_after_in_turn_and_never_within() -> None:
    story = Story()
    found = anchored(story, rounds=3, anchor_every=1)
    told = [each for each in story.events if each in ("anchor", "start", "stop")]
    assert told == ["start", "stop", "anchor", "start", "stop", "start", "stop", "anchor", "anchor", "start", "stop"]
    assert [record.values["anchor_cpu_time"] for record in found] == [7, 7, 7]
    assert all(record.reasons["anchor_net_time"] == "no statistics" for record in found)
    assert all("latency" in record.values and record.reasons["ttft"] == "why" for record in found)


def test_of_answers_that_are_taken_together_the_first_has_it() -> None:
    found = anchored(Story(), rounds=4, anchor_every=2)
    assert ["anchor_cpu_time" in record.values for record in found] == [True, False, True, False]
    assert found[1].reasons["anchor_cpu_time"] == NOT_BESIDE_EACH


def test_requests_outside_of_the_schedule_are_asked_without_it() -> None:
    story = Story()
    (record,) = anchored(story, rounds=1)
    assert "anchor" not in story.events
    assert record.reasons["anchor_cpu_time"] == NOT_BESIDE


def test_who_did_not_ask_for_it_has_no_word_of_it() -> None:
    story, found = Story(), list[RoundRecord]()
    request = RunRequest(cell="a-p", prompt=PROMPT, generation=GenerationSettings(), rounds=1, warmup=0, anchor_every=1)
    loop_of(Scripted(story), story, StoryProbe(story)).run(request, found.append)
    assert set(found[0].values) == {"latency"}
    assert set(found[0].reasons) == {"ttft"}


def test_tokens_are_told_on_the_page_as_they_arrive(tmp_path: Path) -> None:
    page = ProgressPage(str(tmp_path / "page"), create=True)
    seen: list[int] = []

    class Looks(Scripted):
        def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> str:
            for _ in range(3):
                stamp()
                seen.append(page.read().tokens)
            return self.text

    story = Story()
    loop = MeasuringLoop(
        Looks(story), cast("Probe", StoryProbe(story)), threads=1, progress=page, isolated=False
    )  # fmt: skip
    loop.run(request(2, 0), lambda record: seen.append(len(record.token_ns)))
    assert seen == [1, 2, 3, 3] * 2
    page.close()


def test_a_backend_that_tells_times_later_is_taken_at_its_word() -> None:
    """What counts is when a token arrived, not when the loop was told of it."""
    story, found = Story(), list[RoundRecord]()

    class Late(Scripted):
        def generate_timed(self, prompt: Prompt, settings: GenerationSettings, note: Note) -> str:
            arrived = [time.perf_counter_ns() for _ in range(3)]
            for at_ns in arrived:
                note(at_ns)
            times.extend(arrived)
            return self.text

    times: list[int] = []
    loop_of(Late(story), story, StoryProbe(story)).run(request(1, 0), found.append)
    (record,) = found
    assert record.token_ns[1:] == (times[1] - times[0], times[2] - times[1])
    assert story.events == [
        "measuring 0",
        "start",
        "token 1",
        "token 2",
        "token 3",
        "stop",
        "complete",
        "read",
        "idle 0",
    ]
