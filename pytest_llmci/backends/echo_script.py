"""The script of an ``echo`` model: the keys of its spec, read and checked."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ..errors import ConfigError, ModelLoadError
from ..quick_records import quickly_made
from ..records import ModelSpec
from ..units import parse_duration_s, parse_quantity
from .base import check_options

_ON: Final = ("on", "ok", "yes", "true", "1")
OPTIONS: Final[Mapping[str, str]] = {
    "tokens": "words of the script",
    "repeat": "text to loop",
    "finish": "finish reason",
    "special_only": "only special tokens",
    "ttft": "time until the first token",
    "itl": "time between tokens",
    "busy": "burn CPU instead of sleeping",
    "load": "time to load",
    "alloc": "memory allocated and freed in each answer",
    "alloc_ms": "how long it is held",
    "leak": "memory kept in each answer",
    "load_alloc": "memory kept from load on",
    "stdout": "noise on stdout and stderr",
    "child": "leave a sleeping grandchild process",
    "load_fail": "loading fails",
    "fail": "answers fail",
    "crash": "the process dies",
    "hang": "the process stops answering",
    "oom": "allocate without end",
    "at": "when they strike",
    "token": "after how many tokens they strike",
    "only_prompt": "for which prompt they strike",
    "scores": "which log-probabilities: any text; with ~ at its end their last digits change",
}
"""Key of a spec -> what it is, for messages."""
Hang = Literal["sleep", "spin", "gil"]


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """The keys of a spec, read. Times in nanoseconds, sizes in bytes."""

    text: str = ""
    tokens: int | None = None
    repeat: str = ""
    finish: str = ""
    special_only: bool = False
    ttft_ns: int = 0
    itl_ns: int = 0
    busy: bool = False
    load_s: float = 0.0
    alloc_bytes: int = 0
    alloc_s: float = 0.0
    leak_bytes: int = 0
    load_alloc_bytes: int = 0
    stdout: str = ""
    child_s: float = 0.0
    load_fail: str = ""
    fail: str = ""
    crash: str = ""
    hang: Hang | None = None
    oom_bytes: int = 0
    at: int | Literal["load"] | None = None
    token: int = 0
    only_prompt: str = ""
    scores: str = ""

    @property
    def strikes(self) -> bool:
        """True where something goes wrong at some time."""
        return bool(self.fail or self.crash or self.hang or self.oom_bytes)

    @property
    def is_immediate(self) -> bool:
        """True where nothing happens between the tokens, so that stamping them is all there is to do."""
        return not (self.strikes or self.ttft_ns or self.itl_ns or self.alloc_bytes or self.leak_bytes or self.stdout)


def read_script(spec: ModelSpec) -> Script:
    """Read and check the keys of a spec.

    :raises ModelLoadError: of kind ``option``, naming the key and what it expects.
    """
    check_options(spec, OPTIONS)
    keys, given = _Keys(spec), dict[str, Any]()
    try:
        for key, value in spec.options.items():
            if value and key in READERS:
                field, read = READERS[key]
                given[field] = read(keys, key)
    except ConfigError as error:
        raise ModelLoadError(str(error), kind="option") from error
    return Script(text=spec.target, **given)


class _Keys:
    """The values of the keys that a spec gives, each read as what it must be."""

    def __init__(self, spec: ModelSpec) -> None:
        self._options = spec.options
        self._where = f"model '{spec.text}'"

    def text(self, key: str) -> str:
        return self._options[key]

    def switch(self, key: str) -> bool:
        return self._one_of(key, _ON) != ""

    def hang(self, key: str) -> str:
        return self._one_of(key, get_args(Hang))

    def count(self, key: str) -> int:
        value = self.text(key)
        if not (value.isascii() and value.isdigit()):
            raise self._wrong(key, "a whole number from 0")
        return int(value)

    def moment(self, key: str) -> int | Literal["load"]:
        return "load" if self.text(key) == "load" else self.count(key)

    def duration_s(self, key: str) -> float:
        return parse_duration_s(self.text(key), self._place(key))

    def duration_ns(self, key: str) -> int:
        return round(self.duration_s(key) * 1e9)

    def milliseconds_as_s(self, key: str) -> float:
        with contextlib.suppress(ValueError):
            return float(self.text(key)) / 1e3
        return self.duration_s(key)

    def size(self, key: str) -> int:
        size = parse_quantity(self.text(key), "B", self._place(key))
        if size < 1:
            raise self._wrong(key, "a size such as 64MiB")
        return int(size)

    def crash(self, key: str) -> str:
        value = self.text(key)
        kind, _, status = value.partition(":")
        if kind == "exit" and status.isascii() and status.isdigit() and int(status) < 256:
            return value
        name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
        if name not in signal.Signals.__members__:
            raise self._wrong(key, "a signal such as SIGKILL, or exit:N with N below 256")
        return name

    def _one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in known:
            raise self._wrong(key, " or ".join(known))
        return value

    def _wrong(self, key: str, expected: str) -> ConfigError:
        return ConfigError(f"{self._where}: +{key}={self.text(key)} must be {expected}.")

    def _place(self, key: str) -> str:
        return f"{self._where}: +{key}"


READERS: Final[Mapping[str, tuple[str, Callable[[_Keys, str], Any]]]] = {
    "tokens": ("tokens", _Keys.count),
    "repeat": ("repeat", _Keys.text),
    "finish": ("finish", _Keys.text),
    "special_only": ("special_only", _Keys.switch),
    "ttft": ("ttft_ns", _Keys.duration_ns),
    "itl": ("itl_ns", _Keys.duration_ns),
    "busy": ("busy", _Keys.switch),
    "load": ("load_s", _Keys.duration_s),
    "alloc": ("alloc_bytes", _Keys.size),
    "alloc_ms": ("alloc_s", _Keys.milliseconds_as_s),
    "leak": ("leak_bytes", _Keys.size),
    "load_alloc": ("load_alloc_bytes", _Keys.size),
    "stdout": ("stdout", _Keys.text),
    "child": ("child_s", _Keys.duration_s),
    "load_fail": ("load_fail", _Keys.text),
    "fail": ("fail", _Keys.text),
    "crash": ("crash", _Keys.crash),
    "hang": ("hang", _Keys.hang),
    "oom": ("oom_bytes", _Keys.size),
    "at": ("at", _Keys.moment),
    "token": ("token", _Keys.count),
    "only_prompt": ("only_prompt", _Keys.text),
    "scores": ("scores", _Keys.text),
}
"""Key of a spec -> field of the script, and how its value is read."""
