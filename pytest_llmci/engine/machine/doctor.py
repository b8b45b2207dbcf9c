"""A look at the user's machine: its fingerprint, its instruments under planted truths, what it can measure, the trap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...checks import CHECKS, register
from ...checks.exemplars import ExemplarResult, run_exemplars
from ...clock import Clock
from ...measure import builtin_metrics
from ...records import Json, Missing
from ...registry import Registry
from ...store.environment import environment
from ..exclusive import MachineLock, lock_path
from ..planted import TRUTHS, unplanted
from ..planted.base import Finding, Truth, examine
from .findings import Remark, gather, remarks
from .spinning import ThreadTiming, show_trap


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkup:
    """What was found."""

    environment: dict[str, Json]
    """The fingerprint of the machine and the checkout, as every log's header carries it."""
    environment_s: float
    """What reading it took."""
    findings: list[Finding]
    """Of each planted truth, and of each metric that has none."""
    remarks: list[Remark]
    threads: list[ThreadTiming]
    """The OpenMP trap; empty where it was not shown."""
    exemplars: list[ExemplarResult] = field(default_factory=list)
    """Of the output checks."""
    threads_reason: str = ""
    """Why it was not shown."""
    exclusive: bool = True
    """False where other sessions of the machine could not be kept from measuring at the same time."""

    @property
    def off(self) -> list[Finding]:
        """Instruments that are wrong."""
        return [finding for finding in self.findings if finding.state == "off"]

    @property
    def wrong(self) -> list[ExemplarResult]:
        """Exemplars that got another verdict than theirs."""
        return [result for result in self.exemplars if result.state == "wrong"]


def check_machine(clock: Clock, *, quick: bool, say: Callable[[str], None]) -> Checkup:
    """Check this machine: less than a minute, less than ten seconds if quick.

    :param quick: leave out what loads torch.
    :param say: gets one short line as each part begins.
    """
    say("reading the environment")
    begin_ns = clock.now_ns()
    facts = environment()
    took_s = (clock.now_ns() - begin_ns) / 1e9
    found = remarks(gather(facts))
    say("running the checks' exemplars")
    registry = Registry()
    register(registry)
    exemplars = list(run_exemplars(registry, CHECKS))
    lock = MachineLock(lock_path(), clock)
    try:
        with lock.held(lambda: None, say) as exclusive:
            findings = plant_all(TRUTHS, quick=quick, say=say)
            threads = _threads(quick=quick, say=say)
    finally:
        lock.close()
    return Checkup(
        environment=facts,
        environment_s=took_s,
        findings=findings,
        remarks=found,
        exemplars=exemplars,
        threads=[] if isinstance(threads, Missing) else threads,
        threads_reason=threads.reason if isinstance(threads, Missing) else "",
        exclusive=exclusive,
    )


def plant_all(truths: tuple[Truth, ...], *, quick: bool, say: Callable[[str], None]) -> list[Finding]:
    """Plant each truth and judge what the instruments say; metrics without a truth are told as such."""
    findings: list[Finding] = []
    for truth in truths:
        if quick and not truth.quick:
            reason = "left out by --quick"
            findings += [_left_out(truth.name, metric, reason) for metric in truth.metrics]
            continue
        say(f"planting: {truth.name}")
        findings += examine(truth)
    names = {metric.name: metric for metric in builtin_metrics()}
    return findings + [_left_out("", metric, reason) for metric, reason in unplanted(names).items()]


def _left_out(truth: str, metric: str, reason: str) -> Finding:
    return Finding(truth=truth, metric=metric, state="not planted", reason=reason)


def _threads(*, quick: bool, say: Callable[[str], None]) -> list[ThreadTiming] | Missing:
    if quick:
        return Missing("left out by --quick")
    say("timing two threads beside busy neighbours")
    return show_trap()
