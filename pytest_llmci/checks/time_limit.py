"""A regular expression in limited time: there are patterns that need longer than the universe lasts for a text of 40 characters.

In a main thread a timer of CPU time interrupts the search: ``re`` looks for signals now and then, and CPU time is fair on a busy
machine. ``SIGVTALRM`` is nobody's else, so that time-outs of other plugins go on. Elsewhere (other threads, Windows) the search
runs in a process of its own, which is ended.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from typing import Final

from ..errors import CheckError

LIMIT_S: Final = 2.0
"""CPU seconds of one search; no sensible pattern needs them."""
_SEARCH: Final = (
    "import json, re, sys; pattern, text = json.load(sys.stdin); print(json.dumps(bool(re.search(pattern, text))))"
)


class _OutOfTime(BaseException):
    """Not an Exception: nothing between the timer and us may take it for its own."""


def found(pattern: re.Pattern[str], text: str, limit_s: float = LIMIT_S) -> bool:
    """Whether the pattern matches somewhere.

    :raises CheckError: if that takes too long.
    """
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        return _here(pattern, text, limit_s)
    return _in_a_process(pattern, text, limit_s)


def _here(pattern: re.Pattern[str], text: str, limit_s: float) -> bool:
    def stop(*_: object) -> None:
        raise _OutOfTime

    handler = signal.signal(signal.SIGVTALRM, stop)
    before = signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        return pattern.search(text) is not None
    except _OutOfTime:
        raise _too_slow(pattern, text, limit_s) from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, *before)
        signal.signal(signal.SIGVTALRM, handler if handler is not None else signal.SIG_DFL)


def _in_a_process(pattern: re.Pattern[str], text: str, limit_s: float) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([pattern.pattern, text]), capture_output=True, text=True, check=True, timeout=limit_s + 5,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _too_slow(pattern, text, limit_s) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise CheckError(f"the search could not be carried out in a process of its own: {error}") from error
    return bool(json.loads(done.stdout))


def _too_slow(pattern: re.Pattern[str], text: str, limit_s: float) -> CheckError:
    return CheckError(
        f"the pattern '{pattern.pattern[:60]}' took more than {limit_s:g} s on {len(text)} characters and was stopped: it backtracks"
        " without end; write it without a repetition inside a repetition."
    )
