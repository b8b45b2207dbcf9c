"""``llmci calibrate``: how noisy this machine is, what that lets a comparison see, and which settings make sense here."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from ..clock import SystemClock
from ..engine.cache_dir import user_cache_dir
from ..engine.comparisons.explain_comparison import percent
from ..engine.machine.advice import HISTORY_SESSIONS, INTERLEAVED_ROUNDS, STORED_ROUNDS, Visible, time_metric
from ..engine.machine.calibrate import Calibration, MetricNoise, Trial, calibrate, write
from ..errors import ConfigError
from ..prompts import load_prompts
from ..records import to_json
from ..stats.interleaved import PROCESS_SD
from ..stats.noise import Part
from ..stats.stored import session_sd
from ..text import shown_path, wrapped
from ..units import format_duration, parse_duration_s
from . import Command
from .main import printable
from .screen import heading, row, text_columns

SESSIONS_FOR_ONE_PERCENT: Final = 299
"""Without a false alarm among them, the rate is under 1 % with 95 % confidence."""
MANY_PROCESS_SDS: Final = 1.5
"""Of what the gate assumes of processes, beyond which it is said."""
_COLUMNS: Final = {"saved": "saved", "anchored": "frozen", "history": "history"}
_LABELS: Final = {"net_time": "net time", "cpu_time": "CPU time", "peak_rss": "peak RSS", "ttft": "1st token"}


_EPILOG: Final = """\
what it prints
  false alarms   how many sessions failed although nothing had changed
  noise          of each gated metric: from round to round, from process to
                 process, from session to session
  what is seen   the smallest slowdown that is found in 95 of 100 cases, by
                 rounds and by what is compared with
  settings       for this machine, to be pasted into pyproject.toml

example
  llmci calibrate --model smollm2 --limit 2 --rounds 4 --time-limit 8m

Settings of the project hold, but for rounds, prompts, lengths and what is
compared. After the first session it says how long the others take.
Exit status: 0, also after a false alarm; 4 where the first session cannot
measure. More: docs/calibrating.md
"""


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="SPEC", help="the model that is compared with itself, as --llm-models has it"
    )
    parser.add_argument("--prompts", default="paper", metavar="NAME|FILE", help="prompt set (default: %(default)s)")
    parser.add_argument(
        "--limit", type=_count(1), default=2, metavar="N", help="take the first N prompts of it (default: %(default)s)"
    )
    parser.add_argument(
        "--sessions", type=_count(1), default=3, metavar="N",
        help="how often both sides are measured, each time by a pytest of its own; more tell more of false alarms and of what sessions"
        " differ by (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds",
        type=_count(3),
        default=5,
        metavar="N",
        help="rounds a session on each side, at least 3 (default: %(default)s)",
    )
    parser.add_argument(
        "--max-new-tokens",
        type=_count(1),
        default=16,
        metavar="N",
        help="tokens an answer; take as many as your tests do where there is time (default: %(default)s)",
    )
    parser.add_argument(
        "--time-limit",
        metavar="10m",
        help="wall limit: a session that would not fit is not begun, one that runs over is stopped; what was left out"
        " is told (default: none)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, default=None,
        help="where all of it is kept as JSON (default: in the user's cache, by machine and model)",
    )  # fmt: skip
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = _EPILOG


def _count(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"'{text}' must be a whole number of at least {least}.")
        return int(text)

    return read


def _run(options: Namespace) -> int:
    trial = Trial(
        model=options.model, prompts=load_prompts(options.prompts, "--prompts")[: options.limit], sessions=options.sessions,
        rounds=options.rounds, max_new_tokens=options.max_new_tokens,
        time_limit_s=parse_duration_s(options.time_limit, "--time-limit") if options.time_limit else None,
    )  # fmt: skip
    found = calibrate(trial, SystemClock(), _say)
    if not found.sessions:
        raise ConfigError("no session ran: give more time with --time-limit.")
    path = options.output.expanduser() if options.output else _place(found)
    write(found, path)
    lines = (
        json.dumps(to_json(found), indent=1).splitlines()
        if options.json
        else [*render(found), f"kept in {shown_path(path)}"]
    )
    for line in lines:
        print(printable(line))
    return 0


def _say(text: str) -> None:
    print(printable(f"llmci: {text}"), file=sys.stderr, flush=True)


def _place(found: Calibration) -> Path:
    from ..slugs import slug

    return user_cache_dir() / "calibration" / f"{found.environment_digest}-{slug(found.model)}.json"


# ----------------------------------------------------------------------------------------------------------- rendering


def render(found: Calibration) -> Iterator[str]:
    """The report in lines that fit the terminal."""
    asked = (
        f"{found.model} against itself: {_count_of(found.sessions, 'session')},"
        f" {_count_of(found.prompts, 'prompt')} ({', '.join(found.prompts)}),"
        f" {found.rounds} rounds a side in pairs of processes of {found.block}, {found.max_new_tokens} tokens"
    )
    yield from wrapped(asked, text_columns())
    yield ""
    yield from _false_alarms(found)
    yield from _noise(found)
    yield from _visible(found)
    yield from _advice(found)
    if found.left_out:
        yield heading("left out")
        for line in found.left_out:
            yield from wrapped(line, text_columns(), rest="  ")
        yield ""


def _count_of(things: Sequence[object], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def _false_alarms(found: Calibration) -> Iterator[str]:
    yield heading("false alarms of the gate")
    if found.false_alarm_limit is None:
        yield from wrapped("No session was judged to its end, so nothing is known of them.", text_columns())
    else:
        yield from wrapped(
            f"{found.false_alarms} of {found.judged}: under {percent(found.false_alarm_limit, sign=False)} with 95 %"
            " confidence",
            text_columns(),
        )
        for session in found.sessions:
            yield from (f"  {alarm}" for alarm in session.false_alarms)
        if found.false_alarm_limit > 0.01:
            yield from wrapped(
                f"It takes {SESSIONS_FOR_ONE_PERCENT} sessions without one to show that it is under 1 %:"
                f" --sessions={SESSIONS_FOR_ONE_PERCENT}.", text_columns(), first="  ", rest="  ",
            )  # fmt: skip
        undecided = sum(bool(session.inconclusive) for session in found.sessions)
        if undecided:
            yield from wrapped(
                f"{undecided} of {len(found.sessions)} sessions decided not every cell: {found.rounds} rounds are few.",
                text_columns(), first="  ", rest="  ",
            )  # fmt: skip
    yield ""


def _noise(found: Calibration) -> Iterator[str]:
    yield heading("noise by its cause")
    yield row((f"  {'':<10}", f"{'round':>8}", f"{'both sides':>12}", f"{'process':>22}", f"{'session':>22}"))
    for each in found.noise:
        yield from _noise_row(each, _label(each))
    for each in found.beside:
        yield from _noise_row(each, f"{_label(each).removesuffix(' time')}/frozen")
    yield from wrapped(
        "Standard deviations; in brackets the upper limits at 95 %. Round: from round to round in one process. Both"
        " sides: of candidate over base in the same round, which an interleaved comparison sees. Process: what a process"
        " keeps for its life. Session: what a session keeps.", text_columns(), first="  ", rest="  ",
    )  # fmt: skip
    if found.beside:
        text = "/frozen: divided by the time of a frozen model beside each round (--llmci-anchor)."
        yield from wrapped(text, text_columns(), first="  ", rest="  ")
    for line in _not_separated(found):
        yield from wrapped(line, text_columns(), first="  ", rest="  ")
    yield ""


def _noise_row(each: MetricNoise, name: str) -> Iterator[str]:
    label = f"  {name:<10}"
    if each.noise is None:
        yield from wrapped(f"n/a: {each.reason}", text_columns(), first=label, rest=" " * len(label))
        return
    parts = each.noise
    process, session = (f"{_limited(part):>22}" for part in (parts.process, parts.session))
    yield row((label, f"{_sd(parts.round):>8}", f"{_sd(parts.ratio):>12}", process, session))


def _sd(part: Part) -> str:
    return "n/a" if part.sd is None else f"{100 * part.sd:.2f} %"


def _limited(part: Part) -> str:
    return _sd(part) if part.most is None else f"{_sd(part)} (< {100 * part.most:.2f} %)"


def _not_separated(found: Calibration) -> Iterator[str]:
    """What the numbers cannot tell apart."""
    known = [each.noise for each in found.noise if each.noise is not None]
    reasons = {part.reason for parts in known for part in (parts.round, parts.process, parts.session) if part.reason}
    yield from (f"Not separated: {reason}." for reason in sorted(reasons))
    yield (
        "Not separated: what drifts from one pair of processes to the next counts as the session's; the sessions followed each"
        " other at once, so that other days, reboots and other machines of the same kind are in none of it."
    )
    gated = [each for each in found.noise if each.metric in found.gated and each.noise is not None]
    wilder = [_label(each) for each in gated if _sessions_differ(each)]
    if wilder:
        yield (
            f"Sessions here differ by more in {' and '.join(wilder)} than a comparison with one stored session assumes: compare"
            f" alternately, with --llmci-versus{_or_beside(found)}."
        )
    wilder = _wilder_beside(found)
    if wilder:
        yield (
            f"Beside the frozen model sessions differ by more in {' and '.join(wilder)} than such a comparison assumes"
            f" ({percent(session_sd('cpu', anchored=True), sign=False)}): it tells little of this model here."
        )
    wilder = [
        _label(each) for each in gated if each.noise and (each.noise.process.sd or 0.0) > MANY_PROCESS_SDS * PROCESS_SD
    ]
    if wilder:
        yield (
            f"Processes here differ by more in {' and '.join(wilder)} than a comparison in a single pair of them assumes"
            f" ({percent(PROCESS_SD, sign=False)}): let it measure in several, with fewer rounds a block."
        )


def _wilder_beside(found: Calibration) -> list[str]:
    """Metrics whose sessions differ, beside the frozen model, by more than the gate assumes."""
    return [_label(each) for each in found.beside if _sessions_differ(each, anchored=True)]


def _or_beside(found: Calibration) -> str:
    return ", or beside a frozen model, with --llmci-anchor" if found.beside and not _wilder_beside(found) else ""


def _label(each: MetricNoise) -> str:
    return _LABELS.get(each.metric, each.metric)


def _sessions_differ(each: MetricNoise, *, anchored: bool = False) -> bool:
    sd = each.noise.session.sd if each.noise else None
    return sd is not None and sd > session_sd(time_metric(each.metric), anchored=anchored)


def _visible(found: Calibration) -> Iterator[str]:
    if not found.visible:
        return
    yield heading("smallest slowdown that is found in 95 of 100 cases")
    modes = ("saved", "anchored", "history") if found.beside else ("saved", "history")
    headings = [*map(str, INTERLEAVED_ROUNDS), *(_COLUMNS[mode] for mode in modes)]
    wide = 9 if len(headings) < 7 else 8
    yield row((f"  {'rounds':<22}", *(f"{each:>{wide}}" for each in headings)))
    for metric in found.gated:
        sizes = [each for each in found.visible if each.metric == metric]
        stored: dict[str, Visible] = {each.mode: each for each in sizes if each.mode != "interleaved"}
        shown = [*(each for each in sizes if each.mode == "interleaved"), *(stored.get(mode) for mode in modes)]
        for label, take in (("one cell", lambda each: each.cell), ("whole model", lambda each: each.model)):
            name = f"{_LABELS.get(metric, metric)}, {label}"
            yield row((f"  {name:<22}", *(f"{_size(each, take):>{wide}}" for each in shown)))
    yield from wrapped(
        f"Rounds: interleaved, in pairs of processes of 5. Saved: against one stored session of {STORED_ROUNDS} rounds,"
        f" history: against {HISTORY_SESSIONS} of them, on a machine that is no busier than then.", text_columns(), first="  ", rest="  ",
    )  # fmt: skip
    if found.beside:
        text = (
            "Frozen: as saved, each round divided by the time of the frozen model beside it, in both (--llmci-anchor)."
        )
        yield from wrapped(text, text_columns(), first="  ", rest="  ")
    yield ""


def _size(row: Visible | None, take: Callable[[Visible], float | None]) -> str:
    size = take(row) if row is not None else None
    return "n/a" if size is None else percent(size, sign=False)


def _advice(found: Calibration) -> Iterator[str]:
    yield heading("settings for this machine")
    advice = found.advice
    if advice is None:
        yield from wrapped("None: no time that is gated could be measured.", text_columns())
    else:
        yield from advice.lines
        yield ""
        yield from wrapped(
            f"It is {advice.reason}; a session that needs all rounds takes {format_duration(advice.seconds)} with these"
            f" prompts, and stops earlier where all is decided.", text_columns(),
        )  # fmt: skip
    yield ""


COMMAND = Command(configure=_configure, run=_run, own_output=True)
