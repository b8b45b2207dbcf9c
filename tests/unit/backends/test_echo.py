"""The scripted model source."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmci.backends import echo
from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.echo import EchoBackend
from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import GenerationError, ModelLoadError
from pytest_llmci.records import Completion, GenerationSettings, Message, ModelSpec, Prompt

MakeSpec = Callable[..., ModelSpec]
ROOT = Path(__file__).parents[3]
FREE = GenerationSettings()


def answer(
    model: EchoBackend, prompt: Prompt, settings: GenerationSettings = FREE, clock: FakeClock | None = None
) -> tuple[Completion, list[int]]:
    moments: list[int] = []
    produced = model.generate(prompt, settings, lambda: moments.append(clock.now_ns() if clock else 0))
    return model.complete(produced), moments


def loaded(spec: ModelSpec, context: LoadContext, clock: FakeClock | None = None) -> EchoBackend:
    model = EchoBackend(spec, clock)
    model.load(context)
    return model


def test_scripted_text_comes_back_word_by_word(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    completion, moments = answer(loaded(spec("echo", "TCP keeps order"), context), prompt)
    assert completion.text == "TCP keeps order"
    assert (completion.output_tokens, completion.prompt_tokens, completion.token_source) == (3, 3, "script")
    assert completion.finish_reason == "stop"
    assert len(moments) == 3


def test_default_answer_quotes_the_prompt_and_differs_between_prompts(spec: MakeSpec, context: LoadContext) -> None:
    model = loaded(spec("echo"), context)
    one = answer(model, Prompt(id="a", text="Name three rivers, please"))[0].text
    two = answer(model, Prompt(id="b", text="Name three lakes, please"))[0].text
    assert "Name three rivers please" in one
    assert one.split()[8:] != two.split()[8:]
    assert answer(model, Prompt(id="a", text="Name three rivers, please"))[0].text == one


def test_default_answer_does_not_repeat_itself_however_long(
    spec: MakeSpec, context: LoadContext, prompt: Prompt
) -> None:
    settings = GenerationSettings(max_new_tokens=1000, fixed_length=True)
    words = answer(loaded(spec("echo"), context), prompt, settings)[0].text.split()
    runs = [tuple(words[place : place + 4]) for place in range(8, len(words) - 4)]
    assert len(words) == 1000
    assert len(set(runs)) > 0.95 * len(runs)


def test_sampled_answers_depend_on_the_seed_and_greedy_ones_do_not(
    spec: MakeSpec, context: LoadContext, prompt: Prompt
) -> None:
    model = loaded(spec("echo"), context)
    sampled = {answer(model, prompt, GenerationSettings(temperature=0.7, seed=seed))[0].text for seed in range(5)}
    greedy = {answer(model, prompt, GenerationSettings(seed=seed))[0].text for seed in range(5)}
    assert (len(sampled), len(greedy)) == (5, 1)


@pytest.mark.parametrize(
    ("options", "settings", "count", "reason"),
    [
        ({}, GenerationSettings(max_new_tokens=2), 2, "length"),
        ({}, GenerationSettings(max_new_tokens=3), 3, "length"),
        ({}, GenerationSettings(max_new_tokens=9), 3, "stop"),
        ({}, GenerationSettings(max_new_tokens=9, fixed_length=True), 9, "length"),
        ({"tokens": "7"}, GenerationSettings(max_new_tokens=9), 7, "stop"),
        ({"tokens": "0"}, GenerationSettings(max_new_tokens=9), 0, "stop"),
        ({"tokens": "2"}, GenerationSettings(max_new_tokens=9, fixed_length=True), 9, "length"),
        ({"repeat": "no no"}, GenerationSettings(max_new_tokens=9), 9, "length"),
        ({"finish": "content_filter"}, GenerationSettings(max_new_tokens=9), 3, "content_filter"),
    ],
)
def test_length_and_finish_reason(
    spec: MakeSpec,
    context: LoadContext,
    prompt: Prompt,
    options: dict[str, str],
    settings: GenerationSettings,
    count: int,
    reason: str,
) -> None:
    completion, moments = answer(loaded(spec("echo", "one two three", **options), context), prompt, settings)
    assert (len(completion.text.split()), completion.output_tokens, len(moments)) == (count, count, count)
    assert completion.finish_reason == reason


def test_repeat_loops_one_text(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    settings = GenerationSettings(max_new_tokens=5)
    assert answer(loaded(spec("echo", repeat="la li"), context), prompt, settings)[0].text == "la li la li la"


def test_special_only_has_tokens_and_no_text(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    completion, moments = answer(loaded(spec("echo", "a b", special_only="on"), context), prompt)
    assert (completion.text, completion.special_only, len(moments)) == ("", True, 2)


def test_messages_are_answered_too(spec: MakeSpec, context: LoadContext) -> None:
    chat = Prompt(id="chat", messages=(Message(role="user", content="hello there"),))
    assert "hello there" in answer(loaded(spec("echo"), context), chat)[0].text


def test_schedule_is_absolute(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    class LateClock(FakeClock):
        """Every sleep takes 3 ms too long, as they do on a busy machine."""

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds + 0.003)

    clock = LateClock()
    model = loaded(spec("echo", "a b c d", ttft="50ms", itl="20ms"), context, clock)
    moments = answer(model, prompt, clock=clock)[1]
    assert [round(moment / 1e6) for moment in moments] == [53, 73, 93, 113]


def test_load_takes_the_scripted_time(spec: MakeSpec, context: LoadContext) -> None:
    clock = FakeClock()
    loaded(spec("echo", load="2s"), context, clock)
    assert clock.now_ns() == 2_000_000_000


def test_busy_burns_cpu(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    model = loaded(spec("echo", "a", ttft="30ms", busy="on"), context)
    for _ in range(100):  # on a crowded machine an answer may get little of a CPU
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        answer(model, prompt)
        assert time.perf_counter_ns() - wall >= 30_000_000
        if time.process_time_ns() - cpu > 5_000_000:  # sleeping would take some microseconds
            return
    pytest.fail("an answer takes next to no CPU time")


def test_memory_is_held_before_the_first_token_and_leaks_stay(
    spec: MakeSpec, context: LoadContext, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    touch = echo._touched

    def watched(size: int) -> bytes:
        asked.append(size)
        return touch(size)

    monkeypatch.setattr(echo, "_touched", watched)
    clock = FakeClock()
    model = loaded(spec("echo", "a", alloc="2MiB", alloc_ms="20", leak="1KiB", load_alloc="3KiB"), context, clock)
    for _ in range(2):
        answer(model, prompt)
    assert asked == [3072, 1024, 2 * 2**20, 1024, 2 * 2**20]
    assert clock.now_ns() == 40_000_000
    assert [len(kept) for kept in model._kept] == [3072, 1024, 1024]
    assert set(touch(5000)) == {1}  # zeros would never become memory


def test_fail_strikes_in_every_answer_by_default(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    model = loaded(spec("echo", fail="no luck"), context)
    for _ in range(2):
        with pytest.raises(GenerationError, match="no luck") as caught:
            answer(model, prompt)
        assert caught.value.kind == "scripted"


def test_at_counts_every_answer_from_zero(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    model = loaded(spec("echo", "a b", fail="no luck", at="1"), context)
    answer(model, prompt)
    with pytest.raises(GenerationError):
        answer(model, prompt)
    assert answer(model, prompt)[0].text == "a b"


@pytest.mark.parametrize(("token", "arrived"), [("0", 0), ("2", 2), ("3", 3), ("9", 3)])
def test_token_says_how_many_arrive_before(
    spec: MakeSpec, context: LoadContext, prompt: Prompt, token: str, arrived: int
) -> None:
    model = loaded(spec("echo", "a b c", fail="x", token=token), context)
    moments: list[int] = []
    with pytest.raises(GenerationError):
        model.generate(prompt, FREE, lambda: moments.append(0))
    assert len(moments) == arrived


@pytest.mark.parametrize("part", ["tcp", "TCP?"])
def test_only_prompt_matches_id_or_text(spec: MakeSpec, context: LoadContext, prompt: Prompt, part: str) -> None:
    model = loaded(spec("echo", "a", fail="x", only_prompt=part), context)
    assert answer(model, Prompt(id="other", text="else"))[0].text == "a"
    with pytest.raises(GenerationError):
        answer(model, prompt)


def test_load_fail_and_fail_at_load(spec: MakeSpec, context: LoadContext) -> None:
    for options in ({"load_fail": "no file"}, {"fail": "no file", "at": "load"}):
        with pytest.raises(ModelLoadError, match="no file"):
            loaded(spec("echo", **options), context)


def test_noise_goes_to_both_streams_twice(
    spec: MakeSpec, context: LoadContext, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded(spec("echo", stdout="noise"), context)
    seen = capfd.readouterr()
    assert (seen.out.split(), seen.err.split()) == (["noise", "noise"], ["noise", "noise"])


def test_hang_sleep_never_returns(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    class Interrupted(Exception):
        pass

    class Impatient(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.now_ns() > 10 * 3600 * 10**9:
                raise Interrupted

    with pytest.raises(Interrupted):
        answer(loaded(spec("echo", "a", hang="sleep"), context, Impatient()), prompt)


def test_stream_and_score(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    model = loaded(spec("echo", "one two"), context)
    pieces: list[str] = []
    assert model.stream(prompt, FREE, pieces.append).text == "one two"
    assert pieces == ["one", " two"]
    assert model.score("a", "b c") == model.score("a", "b c")
    assert len(model.score("a", "b c")) == 2
    assert all(-2 <= value <= -1 for value in model.score("a", "b c"))


def test_what_it_says_of_itself(spec: MakeSpec, context: LoadContext) -> None:
    said = EchoBackend(spec("echo")).load(context)
    assert (said.footprint_bytes, said.footprint_reason) == (None, "echo has no weights")
    assert EchoBackend.unmeasurable(spec("echo")) == {
        "model_footprint": "echo has no weights",
        "kv_cache_per_token": "echo has no weights",
        "gpu_peak_allocated": "echo computes on no GPU",
        "gpu_peak_reserved": "echo computes on no GPU",
        "gpu_utilisation": "echo computes on no GPU",
    }


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ttft", "soon", "quantity in seconds"),
        ("ttft", "0ms", "longer than zero"),
        ("alloc", "much", "quantity in bytes"),
        ("alloc", "-1MiB", "a size such as 64MiB"),
        ("tokens", "-1", "a whole number from 0"),
        ("token", "two", "a whole number from 0"),
        ("at", "later", "a whole number from 0"),
        ("crash", "SIGNOPE", "a signal such as SIGKILL"),
        ("crash", "exit:300", "N below 256"),
        ("hang", "long", "sleep or spin or gil"),
        ("busy", "maybe", "on or ok"),
        ("alloc_ms", "x", "quantity in seconds"),
        ("itll", "1ms", "Did you mean 'itl'"),
    ],
)
def test_wrong_keys_are_refused_beforehand(spec: MakeSpec, key: str, value: str, expected: str) -> None:
    with pytest.raises(ModelLoadError, match=expected) as caught:
        EchoBackend.preflight(spec("echo", **{key: value}))
    assert caught.value.kind == "option"
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------- what ends a process ends a process

CHILD = """
import sys
from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.echo import EchoBackend
from pytest_llmci.records import GenerationSettings, ModelSpec, Prompt
options = dict(pair.split("=", 1) for pair in sys.argv[1:])
model = EchoBackend(ModelSpec(alias="m", backend="echo", target="a b c", options=options, text="echo"))
loaded = model.load(LoadContext(threads=1, cache_dir="", say=print))
print("loaded", loaded.info.get("child_pid", ""), flush=True)
for number in range(3):
    model.generate(Prompt(id="p", text="x"), GenerationSettings(), lambda: print("token", flush=True))
"""


def run_child(*options: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", CHILD, *options],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "status", "tokens"),
    [
        (["crash=SIGKILL"], -signal.SIGKILL, 0),
        (["crash=segv", "at=1", "token=2"], -signal.SIGSEGV, 5),
        (["crash=exit:3", "at=2"], 3, 6),
    ],
)
def test_crash(options: list[str], status: int, tokens: int) -> None:
    done = run_child(*options)
    assert (done.returncode, done.stdout.count("token")) == (status, tokens)


def test_crash_at_load_comes_before_the_model_is_ready() -> None:
    done = run_child("crash=SIGKILL", "at=load")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def said_after_its_token(code: str, *options: str) -> str:
    """What a child says in a second and a half after its first token; it must be killed then."""
    command = [sys.executable, "-c", code, *options, "token=1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stdout is not None
        assert "token\n" in iter(child.stdout.readline, "")
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(1.5)
        finally:
            child.kill()
        return child.stdout.read()


@pytest.mark.parametrize("how", ["sleep", "spin", "gil"])
def test_hang_must_be_killed(how: str) -> None:
    assert said_after_its_token(CHILD, f"hang={how}") == ""


def test_hang_gil_stops_all_threads() -> None:
    code = CHILD.replace('lambda: print("token", flush=True)', "token").replace(
        "for number",
        """
import threading, time
came = threading.Event()
def token():
    print("token", flush=True)
    came.set()
def later():
    came.wait()
    time.sleep(.5)
    print("alive", flush=True)
threading.Thread(target=later).start()
for number""",
    )
    assert said_after_its_token(code, "hang=gil") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_child_outlives_its_parent() -> None:
    done = run_child("child=60s")
    pid = int(done.stdout.splitlines()[0].split()[1])
    try:
        assert "time.sleep" in Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced on Linux")
def test_oom_allocates_until_it_cannot() -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\n" + CHILD
    done = subprocess.run(
        [sys.executable, "-c", code, "oom=16MiB"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert "MemoryError" in done.stderr


def test_plain_answers_are_cheap(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    """Thousands of cells run inline: the best of many answers of 50 words must cost well under a tenth of a millisecond."""
    model = loaded(spec("echo"), context)
    settings = GenerationSettings(max_new_tokens=50, fixed_length=True)
    best = 10**12
    for _ in range(200):
        begin = time.perf_counter_ns()
        model.complete(model.generate(prompt, settings, lambda: None))
        best = min(best, time.perf_counter_ns() - begin)
    assert best < 100_000
