"""How noisy this machine is: an unchanged model compared with itself, session after session.

Each session is a pytest of its own, as a user would start it, so that all that a session brings is in the numbers: new
processes, another moment, another placement in memory. What a session decides is taken from its log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Final

from ...clock import Clock, utc_text
from ...errors import ConfigError
from ...metrics import BESIDE, MetricDef
from ...records import (
    ComparisonResult,
    GateRecord,
    HeaderRecord,
    Json,
    LogRecord,
    Prompt,
    RoundsRecord,
    VerdictRecord,
    WorkerRecord,
    to_json,
)
from ...specs import split_list
from ...stats.noise import Noise, PairOfProcesses, split_noise
from ...stats.rates import exact_upper_limit
from ...store.comparability import environment_part
from ...store.log import LOG_NAME, read_log
from ...store.runfolder import list_runs, replacing
from ...text import one_line
from ...units import format_duration
from ..comparisons.cell_samples import CellSamples, met, samples_of
from .advice import Advice, Cost, Visible, advise, visible

METRICS: Final = ("latency", "net_time", "cpu_time", "ttft", "peak_rss")
SCHEMA_VERSION: Final = 1
_OWN_VARIABLES: Final = ("LLMCI_LOCK_FILE", "LLMCI_CACHE_DIR")
"""Of ours that a session keeps; the others are settings, and a calibration has its own."""
_STOP_S: Final = 5.0
"""Before the time limit a session that still runs is asked to end."""
_PATIENCE_S: Final = 15.0
_ENDED: Final = (0, 1)
"""Exit statuses of a session that measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What is repeated."""

    model: str
    """One spec."""
    prompts: Sequence[Prompt]
    sessions: int
    rounds: int
    max_new_tokens: int
    time_limit_s: float | None = None

    @property
    def block(self) -> int:
        """Rounds a pair of processes: two pairs a session where each can have three rounds, as processes tell by their number."""
        return max(3, -(-self.rounds // 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionResult:
    """One session of the model against itself."""

    number: int
    """From 1."""
    seconds: float
    """All of it, starts of processes and pytest's own included."""
    measured_s: float = 0.0
    """Of that, the rounds on both sides."""
    pairs: int = 0
    """Fresh pairs of processes."""
    complete: bool
    """Whether every cell got all its rounds, so that the gate could judge."""
    false_alarms: tuple[str, ...] = ()
    """What was said to have regressed."""
    inconclusive: int = 0
    """Comparisons of times that were not decided."""
    error: str = ""
    """What the model failed with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricNoise:
    """One metric's noise, or why it is not known."""

    metric: str
    noise: Noise | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What was found on this machine."""

    schema_version: int = SCHEMA_VERSION
    started: str
    model: str
    prompts: tuple[str, ...]
    max_new_tokens: int
    rounds: int
    block: int
    environment: Mapping[str, Json]
    environment_digest: str
    sessions: tuple[SessionResult, ...]
    judged: int
    """Sessions that the gate judged in full, or failed."""
    false_alarms: int
    """Of them, how many failed."""
    false_alarm_limit: float | None
    """Upper limit of the rate of false alarms, 95 %, exact; None where no session was judged."""
    gated: tuple[str, ...]
    """Metrics that decide."""
    noise: tuple[MetricNoise, ...]
    beside: tuple[MetricNoise, ...] = ()
    """The same of times that were divided by those of the frozen model beside them."""
    visible: tuple[Visible, ...]
    advice: Advice | None
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    """What the sessions' logs hold."""

    sessions: list[SessionResult] = field(default_factory=list)
    pairs: dict[str, list[PairOfProcesses]] = field(default_factory=lambda: {name: [] for name in METRICS})
    beside: dict[str, list[PairOfProcesses]] = field(default_factory=lambda: {name: [] for name in BESIDE})
    """Of times that a frozen model was timed beside."""
    reasons: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    metrics: dict[str, MetricDef] = field(default_factory=dict)
    environment: dict[str, Json] = field(default_factory=dict)
    info: dict[str, Json] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def calibrate(trial: Trial, clock: Clock, say: Callable[[str], None]) -> Calibration:
    """Run the sessions and work out what they tell.

    :param say: gets a line before and after each session.
    :raises ConfigError: if the first session cannot measure; the message is that of pytest.
    """
    if find_spec("pytest") is None:
        raise ConfigError("llmci calibrate runs sessions of pytest, which is not installed here: pip install pytest")
    if len(split_list(trial.model)) != 1:
        raise ConfigError(f"--model: '{trial.model}' must be one model; calibrate others on their own.")
    started, found = utc_text(clock.utc()), _Found()
    with tempfile.TemporaryDirectory(prefix="llmci-") as name:
        folder = Path(name)
        rows = [_row(prompt) for prompt in trial.prompts]
        (folder / "prompts.json").write_text(json.dumps(rows), "utf-8")
        _run_sessions(trial, folder, clock, found, say)
    return _conclude(trial, started, found)


def _row(prompt: Prompt) -> dict[str, Json]:
    if prompt.is_open:
        raise ConfigError(
            f"--prompts: {prompt.source}: it has a length in tokens; calibrate with one in words, or another set."
        )
    if prompt.text is not None:
        return {"id": prompt.id, "prompt": prompt.text}
    return {"id": prompt.id, "messages": [{"role": each.role, "content": each.content} for each in prompt.messages]}


def _run_sessions(trial: Trial, folder: Path, clock: Clock, found: _Found, say: Callable[[str], None]) -> None:
    began = clock.now_ns()
    for number in range(trial.sessions):
        spent_s = (clock.now_ns() - began) / 1e9
        left_s = None if trial.time_limit_s is None else trial.time_limit_s - spent_s
        usual_s = found.sessions[-1].seconds if found.sessions else 0.0
        if left_s is not None and left_s < max(usual_s, _STOP_S):
            left = trial.sessions - number
            found.left_out.append(
                f"{left} of {trial.sessions} sessions: the time limit would not have held for the next one"
            )
            return
        say(_progress(number, trial, usual_s))
        output = folder / str(number)
        status, told = _session(trial, folder / "prompts.json", output, left_s)
        seconds = (clock.now_ns() - began) / 1e9 - spent_s
        runs = list_runs(output)
        if not runs or (status is not None and status not in _ENDED):
            if not found.sessions:
                raise ConfigError(f"the first session did not measure: {_last_words(told, status)}")
            found.left_out.append(f"session {number + 1}: {_last_words(told, status)}")
            continue
        result = read_session(read_log(runs[-1] / LOG_NAME), number, seconds, trial, found)
        if not result.pairs and not found.sessions:
            raise ConfigError(f"the first session did not measure: {result.error or _last_words(told, status)}")
        found.sessions.append(result)
        say(f"session {number + 1} of {trial.sessions}: {_outcome(result)}")


def _progress(number: int, trial: Trial, usual_s: float) -> str:
    rest = trial.sessions - number
    if usual_s:
        left = f"about {format_duration(usual_s * rest)} to go"
    elif trial.time_limit_s is not None:
        left = f"how long it takes is known after it; at most {format_duration(trial.time_limit_s)} in all"
    else:
        left = "how long it takes is known after it"
    return f"session {number + 1} of {trial.sessions} runs; {left}"


def _outcome(result: SessionResult) -> str:
    took = f"in {format_duration(result.seconds)}"
    if result.false_alarms:
        return f"a false alarm ({', '.join(result.false_alarms)}) {took}"
    if result.error:
        return f"the model failed: {result.error}"
    return f"no false alarm {took}" if result.complete else f"stopped before all rounds were measured {took}"


def _session(trial: Trial, prompts: Path, output: Path, left_s: float | None) -> tuple[int | None, str]:
    """Run pytest; its exit status (None where it was stopped for lack of time) and what it said."""
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "addopts=",
        f"--llm-models={trial.model}", f"--llmci-versus={trial.model}", "--llmci-suite=inference", f"--llm-prompts={prompts}",
        f"--llmci-rounds={trial.rounds}", f"--llmci-max-rounds={trial.rounds}", f"--llmci-block={trial.block}",
        f"--llmci-max-new-tokens={trial.max_new_tokens}", f"--llmci-output={output}", "--llmci-inconclusive=pass",
        "--llmci-memory=off", "--llmci-anchor",
    ]  # fmt: skip
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTEST_ADDOPTS" and (not name.startswith("LLMCI") or name in _OWN_VARIABLES)
    }
    output.mkdir()
    log = output / "pytest.txt"
    with log.open("w", encoding="utf-8") as stream:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        try:
            status: int | None = child.wait(None if left_s is None else max(left_s - _STOP_S, 0.1))
        except subprocess.TimeoutExpired:
            status = None
            child.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        finally:  # after Ctrl-C as well, which the session was given by the terminal
            _end(child)
    return status, log.read_text("utf-8", "replace")


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _last_words(told: str, status: int | None) -> str:
    if status is None:
        return "the time limit came first; give more with --time-limit"
    lines = [one_line(line) for line in told.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or [f"pytest ended with status {status}"])[-1]


# ------------------------------------------------------------------------------------------------------------ reading


def read_session(
    records: Iterable[LogRecord], number: int, seconds: float, trial: Trial, found: _Found | None = None
) -> SessionResult:
    """What one session's log says.

    :param records: up to where the log ends, were it cut.
    :param found: gets the numbers.
    """
    found = _Found() if found is None else found
    blocks: dict[str, tuple[list[RoundsRecord], list[RoundsRecord]]] = {}
    results: list[tuple[str, ComparisonResult]] = []
    itself = {trial.model, trial.model.partition("=")[2]}  # a baseline of the project may be compared with, too
    errors: list[str] = []
    for record in records:
        if isinstance(record, HeaderRecord):
            found.metrics = {
                metric.name: metric for metric in record.metrics if metric.name in (*METRICS, *BESIDE.values())
            }
            found.environment = record.environment
        elif isinstance(record, WorkerRecord) and record.role != "judge":
            found.info = record.info or found.info
        elif isinstance(record, RoundsRecord) and record.origin in ("measured", "reference"):
            blocks.setdefault(record.cell, ([], []))[record.origin == "measured"].append(record)
        elif isinstance(record, VerdictRecord | GateRecord):
            name = record.cell if isinstance(record, VerdictRecord) else record.model
            results += [(name, result) for result in record.comparisons if result.against in itself]
            if isinstance(record, VerdictRecord) and record.error is not None:
                errors.append(record.error.message)
    enough, measured_s, pairs = [], 0.0, set()
    for cell, sides in blocks.items():
        base, candidate = met(*sides)
        enough.append(sum(block.n // block.repeats for block in candidate) >= trial.rounds)
        pairs |= {block.pair for block in candidate}
        measured_s += _take(found, number, cell, base, candidate)
    times = [(name, result) for name, result in results if result.mode == "interleaved"]
    found.gated |= {result.metric for _, result in times}
    return SessionResult(
        number=number + 1,
        seconds=seconds,
        measured_s=measured_s,
        pairs=len(pairs),
        complete=len(enough) == len(trial.prompts) and all(enough) and not errors,
        false_alarms=tuple(f"{result.metric} of {name}" for name, result in results if result.verdict == "regressed"),
        inconclusive=sum(result.verdict == "inconclusive" for _, result in times),
        error=one_line(errors[0]) if errors else "",
    )


def _take(
    found: _Found, session: int, cell: str, base: Sequence[RoundsRecord], candidate: Sequence[RoundsRecord]
) -> float:
    """Keep one cell's numbers, pair by pair; how many seconds its rounds took."""
    seconds = 0.0
    for one, other in zip(base, candidate, strict=True):
        before, after = samples_of([one], found.metrics), samples_of([other], found.metrics)
        for name in METRICS:
            sides = [tuple(side.values.get(name, ())) for side in (before, after)]
            if not all(sides):
                found.reasons[name] = before.reasons.get(name) or after.reasons.get(name) or "it was not measured"
            elif min(map(min, sides)) <= 0:
                found.reasons[name] = "a round was too short to be measured"
            else:
                found.pairs[name].append(
                    PairOfProcesses(cell=cell, session=session, pair=other.pair or 0, base=sides[0], candidate=sides[1])
                )
        for name in BESIDE:
            divided = tuple(_beside(side, name) for side in (before, after))
            if all(divided):
                found.beside[name].append(
                    PairOfProcesses(
                        cell=cell, session=session, pair=other.pair or 0, base=divided[0], candidate=divided[1]
                    )
                )
        latencies = [side.values.get("latency", []) for side in (before, after)]
        seconds += sum(map(sum, latencies)) * other.repeats
    return seconds


def _beside(side: CellSamples, name: str) -> tuple[float, ...]:
    """A time by that of the frozen model; empty where it was not timed beside every sample."""
    own, frozen = side.values.get(name, ()), side.values.get(BESIDE[name], ())
    if not own or not frozen or min(*own, *frozen) <= 0:
        return ()
    return tuple(value / by for value, by in zip(own, frozen, strict=True))


# ---------------------------------------------------------------------------------------------------------- concluding


def _conclude(trial: Trial, started: str, found: _Found) -> Calibration:
    judged = [session for session in found.sessions if session.complete or session.false_alarms]
    alarms = sum(bool(session.false_alarms) for session in judged)
    noise = tuple(_noise(name, found) for name in METRICS)
    beside = {name: split_noise(pairs) for name, pairs in found.beside.items() if pairs and name in found.gated}
    gated = {each.metric: each.noise for each in noise if each.metric in found.gated and each.noise is not None}
    part = environment_part(found.environment, found.info)
    cells = len(trial.prompts)
    return Calibration(
        started=started, model=trial.model, prompts=tuple(prompt.id for prompt in trial.prompts),
        max_new_tokens=trial.max_new_tokens, rounds=trial.rounds, block=trial.block, environment=part.facts,
        environment_digest=part.digest, sessions=tuple(found.sessions), judged=len(judged), false_alarms=alarms,
        false_alarm_limit=exact_upper_limit(alarms, len(judged)) if judged else None, gated=tuple(gated), noise=noise,
        beside=tuple(MetricNoise(metric=name, noise=parts) for name, parts in beside.items()),
        visible=tuple(visible(gated, cells, beside)), advice=advise(gated, cells, _cost(found, trial.rounds)) if gated else None,
        left_out=(*found.left_out, *_failures(found)),
    )  # fmt: skip


def _failures(found: _Found) -> list[str]:
    return [
        f"session {session.number}: {session.error or 'not all rounds were measured'}; it is in the noise, not in the false alarms"
        for session in found.sessions
        if not session.complete and not session.false_alarms
    ]


def _noise(name: str, found: _Found) -> MetricNoise:
    pairs = found.pairs[name]
    if name in found.reasons or not pairs:
        return MetricNoise(metric=name, noise=None, reason=found.reasons.get(name, "no round was measured"))
    return MetricNoise(metric=name, noise=split_noise(pairs))


def _cost(found: _Found, rounds: int) -> Cost:
    """What sessions usually took, split into what each round and each pair of processes adds: a first one may convert weights."""
    whole = [session for session in found.sessions if session.complete and session.pairs] or found.sessions
    return Cost(
        round_s=median(session.measured_s / rounds for session in whole),
        pair_s=median(max(session.seconds - session.measured_s, 0.0) / max(session.pairs, 1) for session in whole),
    )


def write(found: Calibration, path: Path) -> None:
    """Keep it as JSON.

    :raises ConfigError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(json.dumps(to_json(found), indent=1) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror or error}; give another file with --output."
        ) from error
