"""The parent's end of a model: starts its process, talks to it, watches it, and buries it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from .. import errors
from ..backends.base import OnCompletion, OnScores
from ..backends.hub import bytes_in
from ..clock import Clock
from ..errors import (
    GenerationError,
    LLMCIError,
    ModelLoadError,
    WorkerCrashed,
    WorkerError,
    WorkerProtocolError,
    WorkerTimeout,
)
from ..measure.profile import Measured
from ..records import (
    Completion,
    ContinuationScore,
    GenerationSettings,
    ModelSpec,
    Prompt,
    Role,
    RoundRecord,
    RunRequest,
    ScoreRequest,
    from_json,
    to_json,
)
from ..registry import Registry
from ..units import format_bytes, format_duration
from . import evidence, wire
from .guard import Guard
from .host import Loaded
from .import_path import import_path_for
from .jobs import Job, generate_job, in_messages, prompt_size, score_job, score_size
from .launch import PACKAGE, make_home, worker_environment
from .model_worker import WorkerSetup
from .placement import cpus_of, interpreter_of, threads_of
from .progress import Position, ProgressPage
from .worker_log import WorkerLog

WATCH_INTERVAL_S: Final = 0.1
"""Between two looks at a busy process: its memory, its time. A look costs about 20 microseconds on another core."""
STOP_GRACE_S: Final = 2.0
"""A process that was asked to stop and has not is killed."""

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


class Sign(NamedTuple):
    """A sign of life; a new one differs from the one before."""

    state: int
    came_ns: int = 0
    """When it came, by the clock that all processes of the machine share; 0 where that is not known."""


class WorkerProcess:
    """A model in a process of its own: a fresh exec, never a fork."""

    isolation = "worker"

    def __init__(
        self, spec: ModelSpec, setup: WorkerSetup, role: Role = "timing", *, clock: Clock, guard: Guard, number: int
    ) -> None:
        self._spec = spec
        self._setup = setup
        self._role = role
        self._clock = clock
        self._guard = guard
        self._last_rss: int | None = None
        self._group_before = evidence.memory_group()
        self._home = Path(tempfile.mkdtemp(prefix="llmci-"))
        self._rounds_asked = 0
        self._rounds_kept = 0
        self._job: Job | None = None
        log = setup.log_folder / f"{spec.alias}-{number}.log" if setup.keeps_logs else None
        self.log = str(log or "")
        try:
            make_home(self._home)
            self._page = ProgressPage(str(self._home / "progress"), create=True)
            self._log = WorkerLog(log, setup.hide)
            self._spawned_ns = clock.now_ns()
            try:
                self._process = subprocess.Popen(
                    [interpreter_of(spec), str(self._home / "llmci_worker.py")],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log.write_end, bufsize=0, cwd=setup.start_in,
                    env=worker_environment(os.environ, threads_of(spec, setup.threads), role), start_new_session=os.name == "posix",
                )  # fmt: skip
            finally:
                self._log.handed_over()
        except OSError as error:
            shutil.rmtree(self._home, ignore_errors=True)
            raise ModelLoadError(
                f"{spec.text}: cannot start its process: {error.strerror or error}: {error.filename or interpreter_of(spec)}.",
                kind="spawn",
            ) from error
        self.pid = self._process.pid
        guard.add(self.pid, str(self._home))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to = self._process.stdin.fileno()
        self._from = self._process.stdout.fileno()
        self._frames = wire.FrameReader()
        self._pending: list[wire.Message] = []

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and self._process.poll() is None

    # ------------------------------------------------------------------------------------------------ what can be asked

    def load(self) -> Loaded:
        self._hello()
        start_ns = self._clock.now_ns() - self._spawned_ns
        answer = self._ask(
            {"type": "load", "spec": to_json(self._spec)},
            self._setup.limits.load_s,
            "load_timeout",
            self._download_size,
        )
        loaded = from_json(Loaded, answer)
        if "start_time" in loaded.reasons:  # the model runs elsewhere: this was the start of its client
            return loaded
        return replace(loaded, values={"start_time": start_ns, **loaded.values})

    def _hello(self) -> None:
        path = import_path_for(self._setup.sys_path, same_interpreter=interpreter_of(self._spec) == sys.executable)
        answer = self._ask(
            {
                "type": "init", "parent": os.getpid(), "registry": self._setup.registry.to_json(),
                # The kernel watches the thread that started it, and only the main thread lives as long as the process.
                "die_with_parent": threading.current_thread() is threading.main_thread(),
                "path_before": path.before, "path_behind": path.behind, "threads": threads_of(self._spec, self._setup.threads),
                "cpus": cpus_of(self._spec),
                "cache_dir": self._setup.cache_dir, "role": self._role, "progress": str(self._home / "progress"),
                "anchor": self._setup.anchor,
            },
            self._setup.limits.load_s, "load_timeout",
        )  # fmt: skip
        if answer.get("protocol") != wire.PROTOCOL or answer.get("package") != str(PACKAGE):
            self.kill()
            raise WorkerProtocolError(
                f"{self._spec.text}: its process loaded pytest_llmci from {answer.get('package')} (protocol {answer.get('protocol')}), "
                f"not from {PACKAGE} (protocol {wire.PROTOCOL})."
            )

    def run(self, request: RunRequest, on_round: Callable[[RoundRecord], None]) -> None:
        def receive(message: wire.Message) -> None:
            self._rounds_kept += 1
            on_round(from_json(RoundRecord, message["round"]))

        self._ask(
            {"type": "run", "request": to_json(request)}, self._setup.limits.inference_s, "timeout", self._beat, receive,
            rounds=request.rounds,
        )  # fmt: skip
        if self._rounds_kept != request.rounds:
            self.kill()
            raise WorkerProtocolError(
                f"{self._spec.alias}: its process answered {self._rounds_kept} of {request.rounds} rounds and said that it was done."
            )

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        message = {"type": "stream", "prompt": to_json(prompt), "generation": to_json(settings)}
        answer = self._ask(message, self._setup.limits.inference_s, "timeout", None, lambda text: on_text(text["text"]))
        return from_json(Completion, answer["completion"])

    def score(self, context: str, continuation: str) -> list[float]:
        message = {"type": "score", "context": context, "continuation": continuation}
        found: list[float] = self._ask(message, self._setup.limits.inference_s, "timeout")["logprobs"]
        return found

    def score_many(self, requests: Sequence[ScoreRequest], batch: int, on_scores: OnScores) -> None:
        def receive(number: int, message: wire.Message) -> None:
            on_scores(number, [from_json(ContinuationScore, each) for each in message["scores"]])

        job = score_job(requests)
        for job.first, part in in_messages(requests, score_size):
            message = {"type": "score_many", "requests": [to_json(each) for each in part], "batch": batch}
            self._ask_part(message, job, len(part), receive)

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, on_completion: OnCompletion
    ) -> None:  # fmt: skip
        def receive(number: int, message: wire.Message) -> None:
            on_completion(number, from_json(Completion, message["completion"]))

        job = generate_job(prompts)
        for job.first, part in in_messages(prompts, prompt_size):
            message = {
                "type": "generate_many", "prompts": [to_json(each) for each in part], "generation": to_json(settings), "stop": [*stop],
                "batch": batch,
            }  # fmt: skip
            self._ask_part(message, job, len(part), receive)

    def _ask_part(
        self, message: wire.Message, job: Job, count: int, on_answer: Callable[[int, wire.Message], None]
    ) -> None:
        """Send one message of a job; the time limit is that of a batch, counted from when it begins."""
        expected = set(range(count))

        def receive(answer: wire.Message) -> None:
            if answer["number"] in expected:  # one that comes twice is told by the count below
                expected.remove(answer["number"])
                on_answer(job.first + answer["number"], answer)
                job.done += 1

        self._ask(message, self._setup.limits.inference_s, "timeout", self._beat, receive, job=job)
        if expected:
            self.kill()
            raise WorkerProtocolError(
                f"{self._spec.alias}: its process answered {count - len(expected)} of {count} {job.what}s and said that it was done."
            )

    def call(self, target: str, packed: list[object]) -> object:
        message = {"type": "call", "target": target, "arguments": packed}
        return wire.unpack_value(self._ask(message, self._setup.limits.inference_s, "timeout")["result"])

    def profile_start(self) -> int:
        number: int = self._ask({"type": "profile_start"}, self._setup.limits.inference_s, "timeout")["number"]
        return number

    def profile_stop(self, number: int) -> Measured:
        answer = self._ask({"type": "profile_stop", "number": number}, self._setup.limits.inference_s, "timeout")
        return Measured.from_json(answer["measured"])

    # ---------------------------------------------------------------------------------------------------- the watching

    def _ask(
        self,
        message: wire.Message,
        limit_s: float,
        limit_name: str,
        sign_of_life: Callable[[], Sign] | None = None,
        on_message: Callable[[wire.Message], None] = lambda message: None,
        *,
        rounds: int = 0,
        job: Job | None = None,
    ) -> wire.Message:
        """Send a request and wait for its end.

        :param limit_s: killed when this long has passed without a new sign of life.
        :param rounds: how many measured rounds were asked for, for the evidence of a death.
        :param job: the job that the request is a part of, for the same.
        :raises WorkerError: if the process dies or is killed.
        :raises LLMCIError: what the process answered.
        """
        if self._to < 0:
            raise WorkerCrashed(f"{self._spec.alias}: the model's process is gone")
        self._rounds_asked, self._rounds_kept, self._job = rounds, 0, job
        try:
            self._send(message)
            return self._await_end(limit_s, limit_name, sign_of_life, on_message)
        except (WorkerCrashed, WorkerTimeout):
            raise  # it is dead
        except LLMCIError as error:
            if isinstance(error, WorkerError) or not getattr(error, "answered", False):
                self.kill()
            raise
        except BaseException:  # Ctrl-C, pytest-timeout, a hook that raises: the process is in the middle of something
            self.kill()
            raise

    def _send(self, message: wire.Message) -> None:
        try:
            wire.write_message(self._to, message)
        except OSError:
            self._mourn()

    def _await_end(
        self,
        limit_s: float,
        limit_name: str,
        sign_of_life: Callable[[], Sign] | None,
        on_message: Callable[[wire.Message], None],
    ) -> wire.Message:
        last_sign = sign_of_life() if sign_of_life else None
        looked_ns = self._clock.now_ns()
        deadline = looked_ns + round(limit_s * 1e9)
        while True:
            left_s = (deadline - self._clock.now_ns()) / 1e9
            for message in self._receive(min(max(left_s, 0.0), WATCH_INTERVAL_S)):
                if message["type"] == "done":
                    return message
                if message["type"] == "error":
                    _raise_answer(message)
                if message["type"] == "say":
                    self._setup.say(message["text"])
                else:
                    on_message(message)
            self._setup.tick()
            self._watch_memory()
            sign = sign_of_life() if sign_of_life else None
            now = self._clock.now_ns()
            if sign is not None and sign != last_sign:
                # It came since the last look; where it tells when, the limit counts from there.
                since = sign.came_ns if looked_ns <= sign.came_ns <= now else now
                last_sign, deadline = sign, since + round(limit_s * 1e9)
            elif now >= deadline:
                self._give_up(limit_s, limit_name)
            looked_ns = now

    def _receive(self, wait_s: float) -> list[wire.Message]:
        ready = wire.readable([self._from, *self._log.readable], wait_s)
        if self._log.readable and self._log.readable[0] in ready:
            self._log.take()
        if self._from not in ready:
            return []
        chunk = os.read(self._from, self._frames.wanted())
        if not chunk:
            self._mourn()
        return self._frames.feed(chunk)

    def _beat(self) -> Sign:
        position = self._page.read()
        return Sign(position.beat, position.began_ns)

    def _download_size(self) -> Sign:
        return Sign(download_size(self._spec, self._setup.registry))

    def _watch_memory(self) -> None:
        rss = evidence.rss_bytes(self.pid)
        if rss is None:
            return
        self._last_rss = rss
        limit = self._setup.limits.memory_bytes
        if limit is not None and rss > limit:
            position = self._page.read()
            self.kill()
            raise WorkerCrashed(
                f"{self._spec.alias} was stopped: it used {format_bytes(rss)}, the limit is {format_bytes(limit)}",
                self._facts(
                    position, {"memory": f"{format_bytes(rss)} of {format_bytes(limit)} (limit: --llmci-memory-limit)"}
                ),
            )

    def _give_up(self, limit_s: float, limit_name: str) -> NoReturn:
        position = self._page.read()
        self.kill()
        what = "did not finish loading" if limit_name == "load_timeout" else "did not finish an inference"
        option = "--llmci-" + limit_name.replace("_", "-")
        raise WorkerTimeout(
            f"{self._spec.alias} {what} within {format_duration(limit_s)} and was killed",
            self._facts(position, {"limit": f"{format_duration(limit_s)}   from {option}"}),
        )

    def _mourn(self) -> NoReturn:
        """The process is gone: say how and why."""
        position = self._page.read()
        try:
            returncode = self._process.wait(timeout=STOP_GRACE_S)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on: of no use to us
            returncode = -signal.SIGKILL
        after = evidence.memory_group()
        self.kill()
        how, proof = evidence.cause_of_death(returncode, self._group_before, after)
        facts = {"memory": evidence.memory_fact(self._last_rss, after), "evidence": proof or None}
        raise WorkerCrashed(f"{self._spec.alias} {how}", self._facts(position, facts))

    def _facts(self, position: Position, more: Mapping[str, str | None]) -> dict[str, str]:
        when = self._job.when(position) if self._job else position.describe(self._rounds_asked)
        facts: dict[str, str | None] = {"when": when, **more}
        if self._job:
            facts["kept"] = self._job.kept
        if self._rounds_asked:
            rounds = f"{self._rounds_kept} finished round{'' if self._rounds_kept == 1 else 's'}"
            facts["kept"] = f"{rounds}, in log.jsonl; not used in any median" if self._rounds_kept else None
        facts["stderr"] = self.log or None
        facts["last words"] = evidence.last_words(self._log.tail)[:200] or None
        return {label: text for label, text in facts.items() if text}

    # -------------------------------------------------------------------------------------------------------- the end

    def close(self) -> None:
        """Ask it to stop, and kill it if it does not."""
        if self.alive:
            with contextlib.suppress(OSError):
                wire.write_message(self._to, {"type": "stop"})
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=STOP_GRACE_S)
        self.kill()

    def kill(self) -> None:
        """Kill the process with all it started, and reap it."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log.drain()
        self._log.close()
        self._guard.drop(self.pid)
        self._to = self._from = -1  # the numbers may soon be somebody else's
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(OSError):
                    pipe.close()
        shutil.rmtree(self._home, ignore_errors=True)


def _raise_answer(message: wire.Message) -> NoReturn:
    """Raise what the process answered, as the class it had there."""
    kind: Any = getattr(errors, message["class"], None)
    error: LLMCIError
    if isinstance(kind, type) and issubclass(kind, errors.BackendError):
        error = kind(message["message"], kind=message["kind"])
    elif isinstance(kind, type) and issubclass(kind, LLMCIError):
        error = kind(message["message"])
    else:
        error = GenerationError(f"{message['class']}: {message['message']}", kind=message["kind"])
    error.answered = True  # type: ignore[attr-defined]  # the process lives and waits for the next request
    raise error


def download_size(spec: ModelSpec, registry: Registry) -> int:
    """Bytes in the folders that grow while this model downloads, for the watchdog; 0 for what is not downloaded."""
    factory = registry.load("backend", spec.backend, f"model '{spec.text}'")
    folders = getattr(factory, "download_folders", None)
    return bytes_in(folders(spec)) if folders is not None else 0
