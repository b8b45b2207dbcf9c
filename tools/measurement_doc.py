"""Writes the table "planted truth against reported" of docs/measurement.md, measured on this machine.

python tools/measurement_doc.py                # about four minutes
python tools/measurement_doc.py --check        # measures nothing: is the table of today's metrics and truths?
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_llmci.engine.planted import TRUTHS, unplanted
from pytest_llmci.engine.planted.base import Finding, examine, metric_table
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import Json
from pytest_llmci.store.environment import environment
from pytest_llmci.units import Unit, format_bytes, format_quantity

TARGET = Path(__file__).resolve().parent.parent / "docs" / "measurement.md"
BEGIN = "<!-- Written by tools/measurement_doc.py. Do not edit. -->"
END = "<!-- end -->"
HEADER = "| metric | planted truth | planted | reported | median error | worst error (allowed) | n |"
ROUNDS, LONG_ROUNDS = 30, 3
"""How often a truth is planted; those that load torch less often."""


def table(found: Sequence[Finding]) -> Iterator[str]:
    """The rows: for each metric each truth that tells of it, or why there is none.

    :param found: findings of all plantings, in any order.
    """
    yield HEADER
    yield "|---" * HEADER.count(" |") + "|"
    metrics = metric_table()
    reasons = unplanted(metrics)
    for name, metric in metrics.items():
        for truth in TRUTHS:
            if name in truth.metrics:
                mine = [each for each in found if (each.metric, each.truth) == (name, truth.name)]
                yield _row(metric, truth.name, mine)
        if name in reasons:
            yield f"| `{name}` | not planted: {reasons[name]} | | | | | |"


def _row(metric: MetricDef, truth: str, found: Sequence[Finding]) -> str:
    told = [each for each in found if each.error is not None]
    if not told:
        reason = found[0].reason if found else "it was not planted"
        return f"| `{metric.name}` | {truth} | not measured: {reason} | | | | |"
    by_error = sorted(told, key=lambda each: each.error or 0)
    middle = by_error[len(told) // 2]
    furthest = max(told, key=lambda each: abs(each.error or 0))
    cells = [
        f"`{metric.name}`",
        truth,
        _quantity(middle.planted or 0, metric.unit),
        _quantity(middle.reported or 0, metric.unit),
        _error(middle.error, metric.unit),
        f"{_error(furthest.error, metric.unit)} ({_error(furthest.tolerance, metric.unit, signed=False)})",
        f"{len(told)}{_disturbed(told)}",
    ]
    return f"| {' | '.join(cells)} |"


def _disturbed(told: Sequence[Finding]) -> str:
    states = [each.state for each in told]
    off, disturbed = states.count("off"), states.count("disturbed")
    return (f", {off} off" if off else "") + (f", {disturbed} disturbed" if disturbed else "")


def _quantity(value: float, unit: Unit) -> str:
    return format_quantity(value, unit)


def _error(value: float | None, unit: Unit, *, signed: bool = True) -> str:
    value = value or 0
    text = format_quantity(value if unit in ("s", "B") else float(f"{value:.2g}"), unit)
    return f"+{text}" if signed and value > 0 else text


def fingerprint(facts: Mapping[str, Json]) -> str:
    """The machine in two lines."""
    packages = facts["packages"]
    assert isinstance(packages, dict)
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "transformers") if name in packages)
    load = facts["load_average"]
    memory = facts["memory_total_bytes"]
    size = format_bytes(memory) if isinstance(memory, int) else "unknown"
    return (
        f"{facts['cpu_model']}, {facts['cores_allowed']} cores, {size} of memory, clock {facts['clock_source']},"
        f" Linux {facts['kernel']}, {facts['libc']},\n"
        f"{facts['implementation']} {facts['python']}{', ' + versions if versions else ''}; load average at the begin"
        f" {load[0] if isinstance(load, list) and load else 'unknown'}."
    )


def section(found: Sequence[Finding], facts: Mapping[str, Json], command: str) -> str:
    """All that stands between the markers."""
    return "\n".join([BEGIN, "", *table(found), "", f"`{command}` on", fingerprint(facts), "", END])


def measure(rounds: int, long_rounds: int) -> list[Finding]:
    """Plant every truth so often."""
    found: list[Finding] = []
    for truth in TRUTHS:
        print(truth.name, file=sys.stderr)
        for _ in range(rounds if truth.quick else long_rounds):
            found += examine(truth)
    return found


def faults(page: str) -> list[str]:
    """What the page's table lacks of today's metrics and truths."""
    if BEGIN not in page or END not in page:
        return [f"{TARGET.name} lacks the markers '{BEGIN}' and '{END}'"]
    rows = page[page.index(BEGIN) : page.index(END)].splitlines()
    keys = [tuple(cell.strip() for cell in row.split(" | ")[:2]) for row in rows if row.startswith("| `")]
    wanted = [tuple(cell.strip() for cell in row.split(" | ")[:2]) for row in table([]) if row.startswith("| `")]
    missing = [f"no row for {' | '.join(key)}" for key in wanted if key not in keys]
    extra = [f"a row that nothing stands behind: {' | '.join(key)}" for key in keys if key not in wanted]
    header = [] if HEADER in rows else [f"the header is not '{HEADER}'"]
    return header + missing + extra


def main() -> int:
    """Measure and write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="measure nothing; exit with 1 if rows are missing or stale"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="plantings of each truth (default %(default)s)")
    options = parser.parse_args()
    page = TARGET.read_text("utf-8")
    if options.check:
        found = faults(page)
        print("\n".join(found), end="\n" if found else "")
        return 1 if found else 0
    facts = environment()
    more = "" if options.rounds == ROUNDS else f" --rounds {options.rounds}"
    text = section(
        measure(options.rounds, min(LONG_ROUNDS, options.rounds)), facts, f"python tools/measurement_doc.py{more}"
    )
    TARGET.write_text(page[: page.index(BEGIN)] + text + page[page.index(END) + len(END) :], "utf-8")
    return 0


if __name__ == "__main__":
    os.chdir(TARGET.parent.parent)
    sys.exit(main())
