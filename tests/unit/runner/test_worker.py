from __future__ import annotations

import dataclasses
import os
import signal
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from timing import on_real_time
from waiting import gone
from worker_requests import all_backends, request, spec_of

from pytest_llmci.clock import Clock, FakeClock, SystemClock
from pytest_llmci.errors import (
    BackendError,
    ConfigError,
    GenerationError,
    LLMCIError,
    ModelLoadError,
    WorkerCrashed,
    WorkerError,
    WorkerProtocolError,
    WorkerTimeout,
)
from pytest_llmci.records import (
    Completion,
    ContinuationScore,
    GenerationSettings,
    ModelSpec,
    Prompt,
    Role,
    RoundRecord,
    ScoreRequest,
)
from pytest_llmci.runner import worker as worker_module
from pytest_llmci.runner.guard import Guard
from pytest_llmci.runner.inline_worker import InlineWorker
from pytest_llmci.runner.launch import PACKAGE
from pytest_llmci.runner.model_worker import Limits, ModelWorker, WorkerSetup
from pytest_llmci.runner.placement import interpreter_of, threads_of
from pytest_llmci.runner.progress import Position, ProgressPage
from pytest_llmci.runner.wire import pack_arguments
from pytest_llmci.runner.worker import WorkerProcess, download_size

posix_only = pytest.mark.skipif(os.name != "posix", reason="workers are started and killed by POSIX means")
FUNCTIONS = """
import importlib.util, os, sys
def import_path(backend): return sys.path
def can_import(backend, name): return importlib.util.find_spec(name) is not None
def echo(backend, *arguments): return list(arguments)
def double(backend, array): return array * 2
def kind(backend, value): return type(value).__name__
def leave(backend): os._exit(7)
def raise_it(backend): raise ValueError("no")
def unsendable(backend): return object()
"""


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerSetup:
    """Everything that workers write goes below ``tmp_path``; ``functions`` can be called in them."""
    for name in ("tmp", "logs", "code"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "llmci_functions.py").write_text(FUNCTIONS, "utf-8")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.syspath_prepend(tmp_path / "code")
    return WorkerSetup(
        registry=all_backends(), limits=Limits(inference_s=20, load_s=20), cache_dir=str(tmp_path), log_folder=tmp_path / "logs",
        sys_path=[str(tmp_path / "code"), *sys.path],
    )  # fmt: skip


Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(setup: WorkerSetup) -> Iterator[Start]:
    """Starts processes and ends them."""
    guard = Guard()
    started: list[WorkerProcess] = []

    def run(spec: str | ModelSpec, clock: Clock | None = None, **changes: Any) -> WorkerProcess:
        fields = {name: getattr(setup, name) for name in WorkerSetup.__dataclass_fields__}
        spec = spec if isinstance(spec, ModelSpec) else spec_of(spec)
        changed = WorkerSetup(**{**fields, **changes})
        started.append(WorkerProcess(spec, changed, clock=clock or SystemClock(), guard=guard, number=len(started) + 1))
        return started[-1]

    yield run
    for process in started:
        process.kill()
    guard.close()


def leftovers() -> list[str]:
    return os.listdir(tempfile.gettempdir())


# -------------------------------------------------------------------------------------------------- a process that works


@posix_only
def test_loads_and_answers_in_a_process_of_its_own(start: Start) -> None:
    worker = start("a=echo:one two three")
    loaded = worker.load()
    assert worker.alive
    assert loaded.info["pid"] == worker.pid != os.getpid()
    assert min(loaded.values[name] for name in ("start_time", "import_time", "load_time")) > 0
    assert loaded.reasons.keys() == {"model_footprint", "first_inference_time", "cold_start_time"}
    rounds: list[RoundRecord] = []
    worker.run(request(rounds=2, warmup=1), rounds.append)
    assert [record.completion.text for record in rounds] == ["one two three"] * 2
    assert all(len(record.token_ns) == 3 for record in rounds)
    assert Path(worker.log).name == "a-1.log"


@posix_only
def test_closing_leaves_no_process_and_no_file(start: Start) -> None:
    worker = start("echo")
    worker.load()
    assert leftovers()
    worker.close()
    assert not worker.alive
    assert gone(worker.pid)
    assert leftovers() == []
    worker.close()


@posix_only
def test_one_that_does_not_stop_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "STOP_GRACE_S", 0.05)
    worker = start("echo")
    worker.load()
    os.kill(worker.pid, signal.SIGSTOP)
    worker.close()
    assert gone(worker.pid)


@posix_only
def test_what_it_started_goes_with_it(start: Start) -> None:
    worker = start("echo+child=60s")
    child = worker.load().info["child_pid"]
    assert isinstance(child, int)
    worker.close()
    assert gone(child)


@posix_only
def test_the_same_python_by_name_and_by_virtual_environment(start: Start, tmp_path: Path) -> None:
    by_name = ModelSpec(alias="a", backend="echo", text="a", options={"python": sys.executable})
    assert start(by_name).load().info["python"] == sys.version.split()[0]
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    by_folder = ModelSpec(alias="b", backend="echo", text="b", options={"python": str(tmp_path / "venv")})
    assert start(by_folder).load().info["python"] == sys.version.split()[0]


@posix_only
def test_an_interpreter_that_cannot_be_started_is_one_line(start: Start, tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "python")
    with pytest.raises(ModelLoadError, match=f"a: cannot start its process: No such file or directory: {missing}."):
        start(ModelSpec(alias="a", backend="echo", text="a", options={"python": missing}))
    assert leftovers() == []


@posix_only
def test_arguments_and_results_of_a_call_pass_as_json_and_arrays(start: Start, setup: WorkerSetup) -> None:
    numpy = pytest.importorskip("numpy")
    worker, inline = start("echo"), InlineWorker(spec_of("echo"), setup)
    for each in (worker, inline):
        each.load()
        assert each.call("llmci_functions:echo", pack_arguments([1, "é", {"a": (2,)}])) == [1, "é", {"a": [2]}]
        doubled = each.call("llmci_functions:double", pack_arguments([numpy.array([1.5, 2.0])]))
        assert isinstance(doubled, numpy.ndarray) and doubled.tolist() == [3.0, 4.0]
        assert each.call("llmci_functions:kind", pack_arguments([(1, 2)])) == "list"


@posix_only
def test_a_call_that_fails_leaves_the_model_alive(start: Start) -> None:
    worker = start("echo")
    worker.load()
    for target, error, message in [
        ("llmci_functions:raise_it", GenerationError, "ValueError: no"),
        ("llmci_functions:unsendable", GenerationError, "cannot return builtins.object"),
        ("llmci_functions:absent", ConfigError, "module 'llmci_functions' has no attribute 'absent'"),
    ]:
        with pytest.raises(error, match=message):
            worker.call(target, [])
    assert worker.call("llmci_functions:echo", []) == []


@posix_only
def test_a_failed_inference_keeps_its_kind_and_the_process(start: Start) -> None:
    worker = start("echo:x+fail=no more+at=0")
    worker.load()
    with pytest.raises(GenerationError, match="no more") as caught:
        worker.run(request(), lambda record: None)
    assert caught.value.kind == "scripted"
    rounds: list[RoundRecord] = []
    worker.run(request(), rounds.append)
    assert len(rounds) == 1


# ---------------------------------------------------------------------------------------------------- one that does not


@posix_only
def test_a_crash_tells_where_it_stood_and_what_was_kept(start: Start) -> None:
    worker = start("a=echo:x y z+crash=SIGSEGV+at=3+token=2")
    worker.load()
    rounds: list[RoundRecord] = []
    with pytest.raises(WorkerCrashed, match=r"^a died of a segmentation fault \(SIGSEGV\)$") as caught:
        worker.run(request(rounds=5, warmup=1), rounds.append)
    facts = caught.value.facts
    assert facts["when"] == "round 3 of 5, 2 tokens into the answer"
    assert facts["kept"] == "2 finished rounds, in log.jsonl; not used in any median"
    assert facts["stderr"] == worker.log
    assert "evidence" not in facts
    assert len(rounds) == 2
    assert not worker.alive and leftovers() == []


@posix_only
def test_one_that_leaves_says_so(start: Start) -> None:
    worker = start("a=echo")
    worker.load()
    with pytest.raises(WorkerCrashed, match="^a ended by itself with exit status 7$") as caught:
        worker.call("llmci_functions:leave", [])
    assert caught.value.facts["when"] == "in llm.call"
    with pytest.raises(WorkerError):
        worker.call("llmci_functions:echo", [])


@posix_only
def test_evidence_is_of_the_request_that_failed(start: Start) -> None:
    worker = start("a=echo")
    worker.load()
    worker.run(request(rounds=2), lambda record: None)
    with pytest.raises(WorkerCrashed) as caught:
        worker.call("llmci_functions:leave", [])
    assert "kept" not in caught.value.facts  # no round was asked for


@posix_only
def test_an_answer_without_its_rounds_is_no_answer(start: Start, tmp_path: Path) -> None:
    code = "def take():\n    n, = struct.unpack('>I', os.read(0, 4)); os.read(0, n)\n"
    code += f"take(); send({{'type': 'done', 'protocol': 1, 'package': {str(PACKAGE)!r}}})\n"
    code += "take(); send({'type': 'done', 'values': {}, 'reasons': {}, 'info': {}})\n"
    code += "take(); send({'type': 'done'})\ntime.sleep(60)"
    worker = start(impostor(tmp_path, SEND + code))
    worker.load()
    with pytest.raises(WorkerProtocolError, match="^a: its process answered 0 of 2 rounds and said that it was done.$"):
        worker.run(request(rounds=2), lambda record: None)
    assert gone(worker.pid)


@posix_only
def test_one_that_takes_too_long_is_killed(start: Start) -> None:
    worker = start("a=echo+hang=sleep", limits=Limits(inference_s=0.3))
    worker.load()
    with pytest.raises(WorkerTimeout, match="^a did not finish an inference within 300 ms and was killed$") as caught:
        worker.run(request(rounds=2), lambda record: None)
    assert caught.value.facts["limit"] == "300 ms   from --llmci-timeout"
    assert "kept" not in caught.value.facts
    assert gone(worker.pid) and leftovers() == []


@posix_only
def test_a_limit_counts_from_the_begin_of_the_inference(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process says of it is believed where it can be; a time long ago would kill it at once."""
    came: list[int] = []

    def read(page: ProgressPage) -> Position:
        position = whole(page)
        return dataclasses.replace(position, began_ns=came[0] if came else position.began_ns)

    whole = ProgressPage.read
    worker = start("a=echo+ttft=300ms", limits=Limits(inference_s=60))
    worker.load()
    monkeypatch.setattr(ProgressPage, "read", read)
    for wrong in ([], [1], [1 << 62]):
        came[:] = wrong
        worker.run(request(rounds=1), lambda record: None)


@posix_only
def test_loading_has_a_limit_of_its_own(start: Start) -> None:
    clock = FakeClock()

    def tick() -> None:
        if worker._page.read().phase == "loading":  # how long its interpreter takes to start is not asked here
            clock.sleep(0.5)

    limits = Limits(inference_s=0.01, load_s=1.5)
    worker = start("a=echo+hang=sleep+at=load", clock=clock, limits=limits, tick=tick)
    with pytest.raises(WorkerTimeout, match="^a did not finish loading within 1.50 s and was killed$") as caught:
        worker.load()
    assert caught.value.facts["when"] == "while loading"
    assert caught.value.facts["limit"].endswith("from --llmci-load-timeout")


@posix_only
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_that_takes_too_much_memory_is_stopped(start: Start) -> None:
    worker = start("a=echo+alloc=400MiB+alloc_ms=20s", limits=Limits(memory_bytes=300 * 2**20))
    worker.load()
    with pytest.raises(WorkerCrashed, match="^a was stopped: it used .* MiB, the limit is 300 MiB$") as caught:
        worker.run(request(), lambda record: None)
    assert caught.value.facts["memory"].endswith("of 300 MiB (limit: --llmci-memory-limit)")
    assert gone(worker.pid)


@posix_only
def test_an_interrupted_request_ends_the_process(start: Start) -> None:
    """Its answer would be taken for that of the next request."""
    worker = start("echo")
    worker.load()

    def interrupt(record: RoundRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(request(rounds=3), interrupt)
    assert not worker.alive and gone(worker.pid)


@posix_only
def test_while_waiting_the_terminal_hears_of_it(start: Start) -> None:
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start("echo+hang=sleep+at=load", tick=tick).load()


# ------------------------------------------------------------------------------------------------ another interpreter


@posix_only
def test_another_environment_keeps_its_own_libraries_and_finds_the_users_modules(start: Start, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    worker = start(ModelSpec(alias="a", backend="echo", text="a", options={"python": str(tmp_path / "venv")}))
    worker.load()
    found = worker.call("llmci_functions:import_path", [])
    assert isinstance(found, list)
    assert found[0] == str(tmp_path / "code")
    assert [entry for entry in found if entry.endswith("site-packages")] == [
        sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    ]
    assert worker.call("llmci_functions:can_import", ["pytest"]) is False
    assert found[-1] == str(worker._home)


@posix_only
def test_the_same_interpreter_finds_what_pytest_finds(start: Start, tmp_path: Path) -> None:
    worker = start("echo")
    worker.load()
    found = worker.call("llmci_functions:import_path", [])
    assert isinstance(found, list)
    expected = list(dict.fromkeys([str(tmp_path / "code"), *sys.path]))
    assert found[: len(expected)] == expected
    assert found[-1] == str(worker._home)


@posix_only
def test_an_interpreter_that_is_too_old_is_one_line_with_its_version(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "STOP_GRACE_S", 60)
    old = tmp_path / "old"
    old.write_text(
        f"#!{sys.executable}\nimport sys\nsys.version_info = (3, 10, 13)\nexec(open(sys.argv[1]).read())\n", "utf-8"
    )
    old.chmod(0o755)
    worker = start(ModelSpec(alias="a", backend="echo", text="a", options={"python": str(old)}))
    with pytest.raises(
        ModelLoadError, match=r"is Python 3\.10\.13; the process of a model needs Python 3\.11 or newer"
    ) as caught:
        worker.load()
    assert caught.value.kind == "python"
    worker.close()
    assert worker._process.returncode >= 0  # it left when it was asked to
    assert leftovers() == []


# -------------------------------------------------------------------------------------------------- jobs of many requests


def questions(count: int) -> list[ScoreRequest]:
    return [ScoreRequest(context=f"c{n}", continuations=("yes", "no no"), id=f"arc-{n}") for n in range(count)]


def prompts(count: int) -> list[Prompt]:
    return [Prompt(id=f"p{n}", text=f"Hi {n}") for n in range(count)]


@posix_only
def test_a_job_is_answered_in_messages_and_numbered_throughout(
    start: Start, setup: WorkerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmci.runner.jobs.MESSAGE_REQUESTS", 2)
    scores: dict[int, Sequence[ContinuationScore]] = {}
    answers: dict[int, Completion] = {}
    inline_scores: dict[int, Sequence[ContinuationScore]] = {}
    inline_answers: dict[int, Completion] = {}
    worker, inline = start("a=echo:x y stop z"), InlineWorker(spec_of("a=echo:x y stop z"), setup)
    for one, its_scores, its_answers in ((worker, scores, answers), (inline, inline_scores, inline_answers)):
        one.load()
        one.score_many(questions(5), 4, its_scores.__setitem__)
        one.generate_many(prompts(5), GenerationSettings(max_new_tokens=4), (" stop",), 4, its_answers.__setitem__)
    assert sorted(scores) == sorted(answers) == [0, 1, 2, 3, 4]
    assert [score.tokens for score in scores[4]] == [1, 2]
    assert scores[4][1].logprob == sum(worker.score("c4", "no no"))
    assert answers[4].text == "x y"
    assert (scores, answers) == (inline_scores, inline_answers)


@posix_only
@pytest.mark.parametrize("kind", ["score", "generate"])
def test_a_crash_in_a_job_names_the_request_and_keeps_what_came(
    start: Start, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("pytest_llmci.runner.jobs.MESSAGE_REQUESTS", 3)
    worker = start(f"a=echo+crash=exit:7+at={9 if kind == 'score' else 4}")
    worker.load()
    found: dict[int, object] = {}
    settings = GenerationSettings(max_new_tokens=4)
    ask = {
        "score": lambda: worker.score_many(questions(9), 4, found.__setitem__),
        "generate": lambda: worker.generate_many(prompts(9), settings, (), 4, found.__setitem__),
    }
    with pytest.raises(WorkerCrashed) as caught:
        ask[kind]()
    what, name = ("question", "arc-4") if kind == "score" else ("prompt", "p4")
    assert caught.value.facts["when"] == f"in llm.{kind}_many, {what} 5 of 9 ({name})"
    assert caught.value.facts["kept"] == f"4 of 9 {what}s had been answered"
    assert sorted(found) == [0, 1, 2, 3]


@posix_only
def test_the_time_limit_of_a_job_is_that_of_a_batch(start: Start) -> None:
    clock = FakeClock()
    worker = start("a=echo+ttft=50ms", clock=clock, limits=Limits(inference_s=0.6))
    worker.load()
    found: dict[int, object] = {}

    def answered(number: int, scores: object) -> None:
        found[number] = scores
        if number < 2:
            clock.sleep(0.4)  # for each of two questions: together they are beyond the limit

    worker.score_many(questions(3), 1, answered)
    assert len(found) == 3

    def tick() -> None:
        if slow._page.read().block_round == 1:
            clock.sleep(0.2)

    slow = start("a=echo+hang=sleep+at=2", clock=clock, limits=Limits(inference_s=0.3), tick=tick)
    slow.load()
    with pytest.raises(WorkerTimeout) as caught:
        slow.score_many(questions(3), 1, lambda number, scores: None)
    assert caught.value.facts["when"] == "in llm.score_many, question 2 of 3 (arc-1)"


@posix_only
def test_a_question_without_an_answer_is_no_answer(start: Start, tmp_path: Path) -> None:
    code = "def take():\n    n, = struct.unpack('>I', os.read(0, 4)); os.read(0, n)\n"
    code += f"take(); send({{'type': 'done', 'protocol': 1, 'package': {str(PACKAGE)!r}}})\n"
    code += "take(); send({'type': 'done', 'values': {}, 'reasons': {}, 'info': {}})\n"
    code += "take(); [send({'type': 'scores', 'number': 1, 'scores': []}) for _ in range(2)]; send({'type': 'done'})\ntime.sleep(60)"
    worker = start(impostor(tmp_path, SEND + code))
    worker.load()
    with pytest.raises(
        WorkerProtocolError, match="^a: its process answered 1 of 2 questions and said that it was done.$"
    ):
        worker.score_many(questions(2), 1, lambda number, scores: None)
    assert gone(worker.pid)


# ----------------------------------------------------------------------------------------------------- protocol noise


def impostor(tmp_path: Path, code: str) -> ModelSpec:
    """A model whose interpreter is this program instead of a Python that runs our code."""
    program = tmp_path / "impostor"
    program.write_text(f"#!{sys.executable} -IS\nimport json, os, struct, sys, time\n" + code, "utf-8")
    program.chmod(0o755)
    return ModelSpec(alias="a", backend="echo", text="a=echo", options={"python": str(program)})


SEND = "def send(m):\n    b = json.dumps(m).encode(); os.write(1, struct.pack('>I', len(b)) + b)\n"


@posix_only
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('Hello, I am a library', flush=True)\ntime.sleep(60)", "something else writes to its pipe"),
        ("os.write(1, b'\\0\\0\\0\\2[]')\ntime.sleep(60)", "sent what is not a message"),
        (SEND + "send({'type': 'done', 'protocol': 99, 'package': 'x'})\ntime.sleep(60)", "protocol 99"),
        (SEND + "send({'type': 'done'})\ntime.sleep(60)", "its process loaded pytest_llmci from None"),
        (
            SEND
            + "send({'type': 'error', 'class': 'WorkerProtocolError', 'kind': 'protocol', 'message': 'what?'})\ntime.sleep(60)",
            r"what\?",
        ),
    ],
)
def test_what_cannot_be_understood_is_a_protocol_error_and_ends_the_process(
    start: Start, tmp_path: Path, code: str, message: str
) -> None:
    worker = start(impostor(tmp_path, code))
    with pytest.raises(WorkerProtocolError, match=message):
        worker.load()
    assert not worker.alive and gone(worker.pid)
    assert leftovers() == []


@posix_only
def test_an_interpreter_that_gives_up_shows_its_last_line(start: Start, tmp_path: Path) -> None:
    worker = start(impostor(tmp_path, "sys.exit('SyntaxError: too old')"))
    with pytest.raises(WorkerCrashed, match="^a ended by itself with exit status 1$") as caught:
        worker.load()
    assert caught.value.facts["last words"] == "SyntaxError: too old"
    assert caught.value.facts["when"] == "while starting"


@posix_only
def test_one_that_closes_its_pipe_and_lives_on_is_of_no_use(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "STOP_GRACE_S", 0.05)
    worker = start(impostor(tmp_path, "os.close(1)\ntime.sleep(60)"))
    with pytest.raises(WorkerCrashed):
        worker.load()
    assert gone(worker.pid)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ModelLoadError", ModelLoadError),
        ("GenerationError", GenerationError),
        ("MissingExtraError", ConfigError),
        ("WorkerProtocolError", WorkerProtocolError),
        ("MemoryError", GenerationError),
        ("BudgetExceeded", GenerationError),
    ],
)
def test_an_answered_error_has_the_class_it_had_there(name: str, expected: type[LLMCIError]) -> None:
    with pytest.raises(expected, match="one line") as caught:
        worker_module._raise_answer({"type": "error", "class": name, "kind": "k", "message": "one line"})
    if isinstance(caught.value, BackendError):
        assert caught.value.kind == "k"


# ------------------------------------------------------------------------------------------------ what it is started with


@pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")
def test_a_pinned_process_runs_and_counts_on_its_cpus(start: Start) -> None:
    cpu = max(os.sched_getaffinity(0))
    process = start(f"echo+busy=on+itl=20ms+cpus={cpu}")
    assert process.load().info["cpus"] == [cpu]
    assert Path(f"/proc/{process.pid}/status").read_text("ascii").split("Cpus_allowed_list:")[1].split()[0] == str(cpu)
    rounds: list[RoundRecord] = []
    process.run(request(), rounds.append)
    values = rounds[0].values
    assert values["cpu_percent"] == pytest.approx(100 * values["cpu_cores_used"])  # of one allowed core
    assert start("echo").load().info["cpus"] is None


@pytest.mark.parametrize(("value", "expected"), [(None, 3), ("1", 1), ("12", 12), ("auto", 0)])
def test_threads_of_a_model(value: str | None, expected: int) -> None:
    options = {} if value is None else {"threads": value}
    assert threads_of(ModelSpec(alias="a", backend="echo", text="a", options=options), 3) == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_threads_is_one_line(value: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"model 'a': '\+threads={value}' must be a whole number of at least 1, or auto"
    ):
        threads_of(ModelSpec(alias="a", backend="echo", text="a", options={"threads": value}), 1)


def test_the_interpreter_is_ours_unless_another_is_asked_for() -> None:
    assert interpreter_of(ModelSpec(alias="a", backend="echo")) == sys.executable
    other = ModelSpec(alias="a", backend="echo", options={"python": "~/bin/python3"})
    assert interpreter_of(other) == str(Path("~/bin/python3").expanduser())


def test_a_download_is_seen_to_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_llmci.backends.echo import EchoBackend

    spec = spec_of("echo")
    assert download_size(spec, all_backends()) == 0
    monkeypatch.setattr(EchoBackend, "download_folders", lambda spec: [tmp_path], raising=False)
    before = download_size(spec, all_backends())
    (tmp_path / "part").write_bytes(b"x" * 1000)
    assert download_size(spec, all_backends()) - before == 1000


# ------------------------------------------------------------------------------------------------ the frozen model


def rounds_beside(worker: ModelWorker, count: int = 2) -> list[RoundRecord]:
    found: list[RoundRecord] = []
    worker.run(dataclasses.replace(request(count), anchor_every=1), found.append)
    return found


@on_real_time
def test_a_worker_times_the_frozen_model_in_its_own_process(start: Start) -> None:
    pytest.importorskip("numpy")
    plain, anchored = start("echo"), start("echo", anchor=True)
    assert not {"anchor", "anchor_missing"} & plain.load().info.keys()
    assert "anchor_cpu_time" not in rounds_beside(plain)[0].values
    info = anchored.load().info
    assert str(info["anchor"]).startswith("decoder 1, numpy ")
    for record in rounds_beside(anchored):
        assert 1e6 < record.values["anchor_cpu_time"] < 1e9
        assert record.values["cpu_time"] < 1e6  # nothing of it is in the round


def test_its_room_is_made_before_the_first_round(start: Start) -> None:
    """A constant of every peak: neither the load's, nor growth from round to round."""
    pytest.importorskip("numpy")
    anchored = start("echo", anchor=True)
    loaded = anchored.load()
    if "load_peak_rss" not in loaded.values:
        pytest.skip(loaded.reasons["load_peak_rss"])
    records = rounds_beside(anchored, 4)
    assert records[0].values["rss_before"] > loaded.values["load_peak_rss"] + 2 * 2**20
    before = [record.values["rss_before"] for record in records[1:]]
    assert max(before) - min(before) < 2**20


def test_where_it_would_tell_nothing_it_is_missing_with_the_reason(start: Start) -> None:
    worker = start("echo", anchor=True, threads=2)
    info = worker.load().info
    assert "may use 2" in str(info["anchor_missing"])
    (record,) = rounds_beside(worker, 1)
    assert record.reasons["anchor_cpu_time"] == record.reasons["anchor_net_time"] == info["anchor_missing"]


def test_a_source_that_computes_elsewhere_has_none(setup: WorkerSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_llmci.backends.echo import EchoBackend
    from pytest_llmci.runner.host import ModelHost
    from pytest_llmci.runner.loop import NoProgress

    monkeypatch.setattr(EchoBackend, "is_remote", True, raising=False)
    host = ModelHost(setup.registry, threads=1, cache_dir="", progress=NoProgress(), isolated=True, anchor=True)
    assert "computes elsewhere" in str(host.load(spec_of("echo"), print).info["anchor_missing"])
    roles: tuple[Role, ...] = ("memory", "judge")
    for role in roles:
        other = ModelHost(
            setup.registry, threads=1, cache_dir="", progress=NoProgress(), isolated=True, anchor=True, role=role
        )
        assert not {"anchor", "anchor_missing"} & other.load(spec_of("echo"), print).info.keys()
