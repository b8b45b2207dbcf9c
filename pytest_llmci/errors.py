"""Every exception that pytest-llmci raises.

::

    LLMCIError                      the tool, its configuration or its surroundings failed
    +-- ConfigError                 bad input: pytest.UsageError at the plugin edge, exit status 4 in the CLI
    |   +-- UnknownNameError        a name that no registry holds
    |   +-- MissingExtraError       an optional package that is not installed
    +-- BackendError                the model source failed
    |   +-- ModelLoadError          the model could not be made ready
    |   +-- GenerationError         one inference could not be carried out
    |       +-- TryAgain            another attempt may succeed
    +-- WorkerError                 the model's process failed
    |   +-- WorkerCrashed           it died
    |   |   +-- ModelGivenUp        it died before, too often to be tried again
    |   +-- WorkerTimeout           it was killed because it took too long
    |   +-- WorkerProtocolError     it answered what we cannot read
    +-- StoreError                  the result log failed
    |   +-- SchemaVersionError      it was written by a newer version
    |   +-- LogTamperedError        it is not what was written
    |   +-- WeightsChangedError     the weights are not those that were measured
    +-- NotReplayed                 a replayed run does not hold what a test asks for
    +-- CheckError                  an output could not be judged
    +-- MeasurementError            an instrument was used wrongly or contradicts itself
    +-- SinkError                   a destination refused the results
    +-- ServingError                a server of a model could not be made ready, or died

    AssertionError                  the model failed the test; the tool did its work
    +-- BudgetExceeded
    +-- InvalidOutput
    +-- RegressionDetected
    +-- MissingValue                a number was compared that could not be measured

"The model is too slow" and "the tool broke" never share a class.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

FOREIGN_ERRORS: Final = (Exception, SystemExit)
"""What code that is not ours may raise without ending the session. Ctrl-C is not among them."""


class LLMCIError(Exception):
    """Root of everything that is not a model's fault."""


class ConfigError(LLMCIError):
    """Bad input: says what was given, what was expected and what to do next."""


class UnknownNameError(ConfigError):
    """A name that no registry holds."""

    @classmethod
    def build(cls, where: str, what: str, given: str, known: Iterable[str]) -> UnknownNameError:
        """One line that names the nearest known names first.

        :param where: the option, marker keyword or file position that held the name.
        :param what: the kind of thing, such as ``backend``.
        :param given: the name as it was written.
        :param known: all names that would have been right.
        """
        names = sorted(known)
        near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return cls(f"{where}: unknown {what} '{given}'.{hint} Known: {', '.join(names) or 'none'}.")


class MissingExtraError(ConfigError):
    """An optional package that is not installed."""


class BackendError(LLMCIError):
    """The model source failed.

    :param kind: a short machine-readable cause, such as ``not_found`` or ``context``; it is what the log keeps.
    """

    def __init__(self, message: str, *, kind: str = "other") -> None:
        super().__init__(message)
        self.kind = kind


class ModelLoadError(BackendError):
    """The model could not be made ready."""


class GenerationError(BackendError):
    """One inference could not be carried out; the model itself lives on."""


class TryAgain(GenerationError):
    """One attempt failed and another may succeed; nothing of it is measured.

    :param wait_s: how long to wait before it.
    :param attempts: how many further ones may be made in all.
    """

    def __init__(self, message: str, *, kind: str, wait_s: float, attempts: int) -> None:
        super().__init__(message, kind=kind)
        self.wait_s = wait_s
        self.attempts = attempts


class WorkerError(LLMCIError):
    """The model's process failed.

    :param facts: the evidence as label and text, in the order in which it is shown.
    """

    def __init__(self, message: str, facts: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.facts: dict[str, str] = dict(facts or {})


class WorkerCrashed(WorkerError):
    """The model's process died."""


class ModelGivenUp(WorkerCrashed):
    """The model's process died before, too often to be tried again; nothing was asked this time."""


class WorkerTimeout(WorkerError):
    """The model's process was killed because it took too long."""


class WorkerProtocolError(WorkerError):
    """The model's process answered what we cannot read."""


class StoreError(LLMCIError):
    """The result log failed."""


class SchemaVersionError(StoreError):
    """The log was written by a newer version."""


class LogTamperedError(StoreError):
    """The log is not what was written."""


class WeightsChangedError(StoreError):
    """The weights on this machine are not those that were measured."""


class NotReplayed(LLMCIError):
    """A run that is replayed does not hold what a test asks for, or only the model could give it."""


class CheckError(LLMCIError):
    """An output could not be judged: what the check needs is not there. That fails the test, as a failed check does."""


class MeasurementError(LLMCIError):
    """An instrument was used wrongly or contradicts itself."""


class SinkError(LLMCIError):
    """A destination refused the results."""


class ServingError(LLMCIError):
    """A server of a model could not be made ready, or died."""


class BudgetExceeded(AssertionError):
    """A limit that the cell had to meet was missed."""


class InvalidOutput(AssertionError):
    """The output failed a check."""


class RegressionDetected(AssertionError):
    """A cell became slower, bigger or otherwise worse than what it is compared with."""


class MissingValue(AssertionError):
    """A number was compared that could not be measured; the message is the reason."""


def described(error: BaseException) -> str:
    """What foreign code raised, in one line: ``KeyError: 'x'``."""
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
