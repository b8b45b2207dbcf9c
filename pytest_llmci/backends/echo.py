"""Scripted answers, timings and failures: the model source that needs no model. Standard library only.

``echo:TEXT`` answers with the text; plain ``echo`` with a varied sentence that quotes the prompt. A word is a token.
The answer is cut at ``max_new_tokens``; under a fixed length it is filled up to exactly that many words.

================  =====================  =============================================================================
key               value                  meaning
================  =====================  =============================================================================
``tokens``        count                  the script is cut or filled up to so many words before the above applies
``repeat``        text                   loop this text up to the limit instead (an answer that repeats itself)
``finish``        word                   finish reason to report instead of ``stop`` or ``length``
``special_only``  on                     report that only special tokens came: the text is empty
``ttft``          duration               time until the first token
``itl``           duration               time between tokens, on a schedule from the start: delays do not add up
``busy``          on                     wait by burning CPU instead of sleeping
``load``          duration               time to load
``alloc``         bytes                  allocated, written and freed in each answer, before the first token
``alloc_ms``      milliseconds           how long that memory is held (with a unit: a duration)
``leak``          bytes                  kept for good, each answer anew
``load_alloc``    bytes                  allocated at load and kept, as weights would be
``stdout``        text                   written to stdout and stderr, by Python and by system call, at load and in
                                         each answer
``child``         duration               a grandchild process that sleeps so long is started at load and left running
``load_fail``     text                   loading fails with this message
``fail``          text                   the answer fails with this message
``crash``         signal, or ``exit:N``  the process dies: ``SIGKILL``, ``SEGV``, ``exit:3``
``hang``          sleep, spin, gil       the process stops answering: idle, busy, or in a C call that holds the
                                         interpreter's lock
``oom``           bytes                  memory is allocated in such steps without end
``at``            ``load``, or a number  when fail, crash, hang and oom strike: at load, or in that answer, every
                                         answer of this process counted from 0, warm-ups included; by default always
``token``         number                 how many tokens come before they strike; by default none
``only_prompt``   text                   they strike only where the id or the text of the prompt contains it
``scores``        text                   which made-up log-probabilities: any text; with ``~`` at its end their last digits
                                         change from answer to answer
================  =====================  =============================================================================

With a temperature above 0 the words that fill up depend on the seed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from ..clock import Clock, SystemClock
from ..errors import GenerationError, ModelLoadError
from ..quick_records import quickly_made
from ..records import Completion, GenerationSettings, Json, ModelSpec, Prompt
from .base import LoadContext, LoadedModel, Stamp
from .echo_script import OPTIONS, Hang, Script, read_script
from .echo_words import write_answer

_NO_WEIGHTS: Final = "echo has no weights"
_NO_DEVICE: Final = "echo computes on no GPU"
_FOREVER_S: Final = 3600
DRIFT: Final = "~"
"""At the end of ``scores``: each answer's last digits are others, as where a machine adds up in another order each time."""
_NOT_READ: Final = Script()
"""The script of a model that was not loaded."""


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one inference gave."""

    words: list[str]
    prompt: Prompt
    settings: GenerationSettings


class EchoBackend:
    """Answers by script."""

    keeps_length: ClassVar[bool] = True
    OPTIONS: ClassVar[Mapping[str, str]] = OPTIONS

    def __init__(self, spec: ModelSpec, clock: Clock | None = None) -> None:
        self._spec = spec
        self._clock: Clock = clock or SystemClock()
        self._follow(_NOT_READ)
        self._answers = 0
        self._kept: list[bytes] = []

    def _follow(self, script: Script) -> None:
        self._script = script
        self._is_immediate = script.is_immediate

    @staticmethod
    def unmeasurable(spec: ModelSpec) -> Mapping[str, str]:
        """Metric -> reason, for what this model can never have."""
        return {
            **dict.fromkeys(("model_footprint", "kv_cache_per_token"), _NO_WEIGHTS),
            **dict.fromkeys(("gpu_peak_allocated", "gpu_peak_reserved", "gpu_utilisation"), _NO_DEVICE),
        }

    @staticmethod
    def preflight(spec: ModelSpec, _sys_path: Sequence[str] = ()) -> None:
        """Refuse a script that cannot be read.

        :raises ModelLoadError: naming the key.
        """
        read_script(spec)

    def load(self, context: LoadContext) -> LoadedModel:
        """Read the script and do what it wants of loading.

        :raises ModelLoadError: if the script is malformed, or wants it.
        """
        script = read_script(self._spec)
        self._follow(script)
        self._make_noise()
        if script.load_s:
            self._wait_until(self._clock.now_ns() + round(script.load_s * 1e9))
        if script.load_fail:
            raise ModelLoadError(f"{self._spec.text}: {script.load_fail}", kind="scripted")
        info: dict[str, Json] = {"source": "script"}
        if script.child_s:
            info["child_pid"] = _start_grandchild(script.child_s)
        if script.load_alloc_bytes:
            self._kept.append(_touched(script.load_alloc_bytes))
        if script.at == "load":
            self._strike(ModelLoadError)
        return LoadedModel(info=info, footprint_bytes=None, footprint_reason=_NO_WEIGHTS)

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Answer:
        """One answer.

        :raises GenerationError: if the script wants it.
        """
        words = write_answer(self._script, prompt, settings)
        if self._is_immediate:
            for _ in words:
                stamp()
        else:
            self._play(words, prompt, stamp)
        self._answers += 1
        return Answer(words=words, prompt=prompt, settings=settings)

    def _play(self, words: list[str], prompt: Prompt, stamp: Stamp) -> None:
        begin = self._clock.now_ns()
        script = self._script
        self._make_noise()
        if script.leak_bytes:
            self._kept.append(_touched(script.leak_bytes))
        if script.alloc_bytes:
            self._hold_memory()
        strikes = script.strikes and self._strikes_at(prompt)
        for number in range(len(words)):
            if strikes and number == script.token:
                self._strike(GenerationError)
            if script.ttft_ns or script.itl_ns:
                self._wait_until(begin + script.ttft_ns + number * script.itl_ns)
            stamp()
        if strikes and script.token >= len(words):
            self._strike(GenerationError)

    def _hold_memory(self) -> None:
        memory = _touched(self._script.alloc_bytes)
        if self._script.alloc_s:
            self._wait_until(self._clock.now_ns() + round(self._script.alloc_s * 1e9))
        del memory

    def _wait_until(self, moment_ns: int) -> None:
        if self._script.busy:
            while self._clock.now_ns() < moment_ns:
                pass
            return
        left_ns = moment_ns - self._clock.now_ns()
        if left_ns > 0:
            self._clock.sleep(left_ns / 1e9)

    def _strikes_at(self, prompt: Prompt) -> bool:
        script = self._script
        if script.at == "load" or (script.at is not None and script.at != self._answers):
            return False
        return not script.only_prompt or script.only_prompt in prompt.id or script.only_prompt in prompt.shown

    def _strike(self, failure: type[ModelLoadError | GenerationError]) -> None:
        self._answers += 1  # an answer that failed was one, too: 'at' counts on
        script = self._script
        if script.fail:
            raise failure(f"{self._spec.text}: {script.fail}", kind="scripted")
        if script.crash:
            _die(script.crash)
        if script.hang:
            _hang(script.hang, self._clock)
        while script.oom_bytes:
            self._kept.append(_touched(script.oom_bytes))
            self._clock.sleep(0.001)  # leaves a watchdog the time to look before the machine itself is out of memory

    def _make_noise(self) -> None:
        text = self._script.stdout
        if text:
            print(text)  # noqa: T201 - noise is what was asked for
            print(text, file=sys.stderr)  # noqa: T201
            for fd in (1, 2):
                with contextlib.suppress(OSError):
                    os.write(fd, text.encode("utf-8", "replace") + b"\n")

    def complete(self, produced: Answer) -> Completion:
        """The words as text."""
        words, settings = produced.words, produced.settings
        cut = len(words) >= settings.max_new_tokens
        return Completion(
            text="" if self._script.special_only else " ".join(words),
            finish_reason=self._script.finish or ("length" if cut else "stop"),
            prompt_tokens=len(produced.prompt.shown.split()),
            output_tokens=len(words),
            token_source="script",
            special_only=self._script.special_only and bool(words),
        )

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        """One answer, word by word."""
        pieces = _pieces(write_answer(self._script, prompt, settings))
        return self.complete(self.generate(prompt, settings, lambda: on_text(next(pieces))))

    def count_tokens(self, prompt: Prompt) -> tuple[int, bool]:
        """Its words; there is no chat template."""
        return len(prompt.shown.split()), False

    def score(self, context: str, continuation: str) -> list[float]:
        """A made-up log-probability for each word: between -1 and -2, always the same for the same word and context.

        It is an answer like others to what strikes, ``token`` aside, and takes the time of a first token.
        """
        self._make_noise()
        if self._strikes_at(Prompt(id="", text=f"{context}{continuation}")):
            self._strike(GenerationError)
        if self._script.ttft_ns:
            self._wait_until(self._clock.now_ns() + self._script.ttft_ns)
        self._answers += 1
        kind = self._script.scores.removesuffix(DRIFT)
        noise = self._answers * 1e-9 if self._script.scores.endswith(DRIFT) else 0.0
        return [
            noise - 1.0 - zlib.crc32(f"{kind}{context}|{word}".encode("utf-8", "surrogatepass")) % 1000 / 1000
            for word in continuation.split()
        ]

    def close(self) -> None:
        """Let go of what was kept."""
        self._kept.clear()


def _pieces(words: list[str]) -> Iterator[str]:
    for number, word in enumerate(words):
        yield word if number == 0 else f" {word}"


def _touched(size: int) -> bytes:
    """Memory that is really there: zeros would be mapped to one shared page."""
    return b"\x01" * size


def _start_grandchild(seconds: float) -> int:
    """Left running on purpose: what a careless model leaves behind."""
    code = f"import time; time.sleep({seconds!r})"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    child.returncode = 0  # nobody waits for it: no warning that it still runs
    return child.pid


def _die(how: str) -> None:
    kind, _, status = how.partition(":")
    if kind == "exit":
        os._exit(int(status))
    os.kill(os.getpid(), signal.Signals[how])


def _hang(how: Hang, clock: Clock) -> None:
    if how == "gil":
        library = ctypes.PyDLL(None)  # unlike CDLL it keeps the interpreter's lock during the call
        while True:
            library.sleep(_FOREVER_S)
    while True:
        if how == "sleep":
            clock.sleep(_FOREVER_S)
