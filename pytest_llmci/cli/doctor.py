"""``llmci doctor``: what this machine can measure, shown by planted truths."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from typing import Final, get_args

from ..clock import SystemClock
from ..engine.machine.doctor import Checkup, check_machine
from ..engine.machine.findings import Remark
from ..engine.machine.spinning import ThreadTiming
from ..engine.planted.base import Finding, State, metric_table
from ..metrics import MetricDef
from ..records import Json, to_json
from ..text import wrapped
from ..units import Unit, format_bytes, format_duration, format_quantity
from . import Command
from .doctor_checks import run_checks, summary_lines
from .doctor_endpoint import run_endpoints
from .main import EXIT_FAILED, printable
from .screen import columns, heading, row, text_columns

GROUPS: Final[dict[str, dict[str, str]]] = {
    "machine": {
        "cpu_model": "CPU", "machine": "architecture", "cpu_flags_sha256": "instruction sets", "microcode": "microcode",
        "cores_logical": "cores", "memory_total_bytes": "memory", "kernel": "kernel", "libc": "libc",
    },
    "limits": {
        "cores_allowed": "cores allowed", "cpu_quota_cores": "CPU quota, cores", "memory_limit_bytes": "memory limit",
        "container": "container", "swap_bytes": "swap", "overcommit": "overcommit",
        "transparent_hugepages": "huge pages",
    },
    "speed": {
        "governor": "governor", "turbo": "turbo", "smt": "shared cores (SMT)", "clock_source": "clock",
    },
    "just now": {
        "load_average": "load average", "cpu_pressure_percent": "CPU pressure, %", "steal_percent": "steal, %",
        "speed_probe_ms": "speed probe, ms",
    },
    "software": {
        "python": "Python", "implementation": "implementation", "executable": "executable", "gil": "interpreter lock",
        "packages": "packages", "variables": "variables",
    },
    "checkout": {"git": "git", "ci": "CI"},
}  # fmt: skip
"""Heading -> fact of the fingerprint -> label."""
_HIDDEN: Final = {"platform"}  # the kernel tells it
_NONE: Final = {"cpu_quota_cores", "memory_limit_bytes", "ci", "git"}
"""Facts of which None says that there is none, and not that it cannot be known."""
_LABEL: Final = 20


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "specs", nargs="*", metavar="SPEC",
        help="only the server of a model, such as openai:http://127.0.0.1:8000/v1#name: whether it is reached, and what it offers",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="leave out what loads torch; some ten seconds")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--checks", nargs="*", metavar="MODULE:CLASS",
        help="only the output checks, each with the exemplars that it ships and what it says of them; or those of a check of your own",
    )  # fmt: skip


def _run(options: Namespace) -> int:
    if options.specs:
        return run_endpoints(options.specs, as_json=options.json)
    if options.checks is not None:
        return run_checks(options.checks, as_json=options.json)
    checkup = check_machine(SystemClock(), quick=options.quick, say=_say)
    _say("")
    if options.json:
        print(json.dumps(to_json(checkup), indent=1))
    else:
        for line in render(checkup):
            print(printable(_in_reach(line)))
    return EXIT_FAILED if checkup.off or checkup.wrong else 0


def _say(text: str) -> None:
    """Show what is going on in a line that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[: columns() - 1]}", end="\r", file=sys.stderr, flush=True)


def _in_reach(line: str) -> str:
    """A terminal without the micro sign gets the letter that people write instead."""
    try:
        "µ".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return line.replace("µ", "u")
    return line


def render(checkup: Checkup) -> Iterator[str]:
    """The report in lines that fit the terminal."""
    yield from _environment(checkup)
    yield from _findings(checkup)
    yield heading("output checks under their exemplars")
    yield from summary_lines(checkup.exemplars)
    yield ""
    yield from _remarks(checkup.remarks)
    yield from _threads(checkup)
    yield from _summary(checkup)


# --------------------------------------------------------------------------------------------------- the environment


def _environment(checkup: Checkup) -> Iterator[str]:
    yield heading(f"environment (read in {format_duration(checkup.environment_s)})")
    told = {name for facts in GROUPS.values() for name in facts} | _HIDDEN
    other = {name: name.replace("_", " ") for name in checkup.environment if name not in told}
    for group, facts in {**GROUPS, "other": other}.items():
        shown = [(name, label) for name, label in facts.items() if name in checkup.environment]
        if shown:
            yield group
        for name, label in shown:
            text = _fact(checkup.environment[name], name)
            yield from wrapped(text, text_columns(), first=f"  {label:<{_LABEL}} ", rest=" " * (_LABEL + 3))
    yield ""


def _fact(value: Json, name: str = "") -> str:
    if value is None:
        return "none" if name in _NONE else "not told"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_bytes(value) if name.endswith("_bytes") else f"{value:g}"
    if isinstance(value, list):
        return " ".join(_fact(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact(item)}" for key, item in value.items()) or "none"
    return value


# ------------------------------------------------------------------------------------------------------ the findings


def _findings(checkup: Checkup) -> Iterator[str]:
    yield heading("instruments under planted truths")
    yield row(
        (
            f"  {'':<13}",
            f"{'metric':<21}",
            f"{'planted':>11}",
            f"{'reported':>11}",
            f"{'error':>11}",
            f"{'allowed':>10}",
        )
    )
    table = metric_table()
    for truth in dict.fromkeys(finding.truth for finding in checkup.findings):
        yield truth or "nothing could be planted for"
        mine = [finding for finding in checkup.findings if finding.truth == truth]
        for finding in mine:
            if finding.planted is not None:
                yield _row(finding, table[finding.metric])
                if finding.reason:
                    yield from wrapped(finding.reason, text_columns(), first=" " * 15, rest=" " * 15)
        for reason in dict.fromkeys(finding.reason for finding in mine if finding.planted is None):
            names = [finding.metric for finding in mine if finding.planted is None and finding.reason == reason]
            state = next(finding.state for finding in mine if finding.planted is None and finding.reason == reason)
            first = f"  {state:<13}"
            yield from wrapped(
                f"{', '.join(dict.fromkeys(names))}: {reason}", text_columns(), first=first, rest=" " * 15
            )
    yield ""


def _row(finding: Finding, metric: MetricDef) -> str:
    planted, reported = (_shown(value, metric.unit) for value in (finding.planted, finding.reported))
    error, allowed = (_difference(value, metric.unit) for value in (finding.error, finding.tolerance))
    sign = "+" if (finding.error or 0) > 0 else ""
    return row(
        (
            f"  {finding.state:<13}", f"{finding.metric:<21}", f"{planted:>11}", f"{reported:>11}", f"{sign + error:>11}",
            f"{allowed:>10}",
        )
    )  # fmt: skip


def _shown(value: float | None, unit: Unit) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3g}" if unit == "cores" else format_quantity(value, unit)


def _difference(value: float | None, unit: Unit) -> str:
    """A small number, in two digits where it is no time and no size."""
    if value is None or unit in ("s", "B"):
        return _shown(value, unit)
    return _shown(float(f"{value:.2g}"), unit)


# ------------------------------------------------------------------------------------------------- the plain words


def _remarks(found: list[Remark]) -> Iterator[str]:
    for limits, title in ((True, "what limits the numbers here"), (False, "what this machine can do")):
        chosen = [remark for remark in found if remark.limits is limits]
        if not chosen:
            continue
        yield heading(title)
        for remark in chosen:
            yield from wrapped(f"{remark.topic}: {remark.found}", text_columns(), rest="  ")
            yield from wrapped(remark.means, text_columns(), first="  means  ", rest=" " * 9)
            if remark.advice:
                yield from wrapped(remark.advice, text_columns(), first="  do     ", rest=" " * 9)
        yield ""


def _threads(checkup: Checkup) -> Iterator[str]:
    yield heading("two threads and busy neighbours (the OpenMP trap)")
    if not checkup.threads:
        yield from wrapped(f"not shown: {checkup.threads_reason}", text_columns())
    else:
        first = checkup.threads[0]
        yield row(
            (f"  {'threads':<9}", f"{'OMP_WAIT_POLICY':<17}", f"{'alone':>18}", f"{'beside 2 busy processes':>27}")
        )
        for timing in checkup.threads:
            alone = f"{format_duration(timing.alone_s)} {_times(timing.alone_s / first.alone_s)}"
            more = "over " if timing.stuck else ""
            busy = f"{more}{format_duration(timing.busy_s)} {_times(timing.busy_s / first.busy_s)}"
            yield row((f"  {timing.threads:<9}", f"{timing.wait_policy:<17}", f"{alone:>18}", f"{busy:>27}"))
    yield from wrapped(advise_threads(checkup.threads), text_columns())
    yield ""


def _times(ratio: float) -> str:
    return f"{ratio:>6.1f}x"


def advise_threads(threads: list[ThreadTiming]) -> str:
    """What to make of the timings, in a sentence or two."""
    default = (
        "Stay with the default, one thread a model with OMP_WAIT_POLICY=PASSIVE: it is the steadiest, and net_time"
        " is defined for it only."
    )
    by_setting = {(timing.threads, timing.wait_policy): timing for timing in threads}
    one, spinning, passive = (by_setting.get(key) for key in ((1, "PASSIVE"), (2, "ACTIVE"), (2, "PASSIVE")))
    if one is None or spinning is None or passive is None:
        return default
    ratio, sleeping = spinning.busy_s / one.busy_s, passive.busy_s / one.busy_s
    if ratio < 2:
        return f"The trap did not spring this time: it comes and goes with what the neighbours do. {default}"
    return (
        f"Beside busy neighbours two threads that spin while they wait (ACTIVE) take {ratio:.0f} times as long as one"
        f" thread: each holds a core that the other needs. Two that sleep (PASSIVE) take {sleeping:.1f} times as long."
        f" {default}"
    )


def _summary(checkup: Checkup) -> Iterator[str]:
    counts = Counter(finding.state for finding in checkup.findings)
    parts = [f"{counts[state]} {state}" for state in get_args(State) if counts[state]]
    yield heading(", ".join(parts))
    if not checkup.exclusive:
        yield from wrapped(
            "Other sessions may have measured at the same time: the machine's lock cannot be held.", text_columns()
        )
    if checkup.off:
        names = ", ".join(dict.fromkeys(finding.metric for finding in checkup.off))
        yield from wrapped(f"Do not trust {names} on this machine; please report this output.", text_columns())
    elif checkup.wrong:
        names = ", ".join(dict.fromkeys(result.name for result in checkup.wrong))
        yield from wrapped(
            f"Do not trust the checks {names} here: another version of a library? Please report this output.",
            text_columns(),
        )
    elif counts["disturbed"]:
        yield from wrapped(
            "Nothing is wrong. What was disturbed can be told on a quieter machine: run it again.", text_columns()
        )
    else:
        yield "Every instrument that can measure here is right."


COMMAND = Command(configure=_configure, run=_run)
