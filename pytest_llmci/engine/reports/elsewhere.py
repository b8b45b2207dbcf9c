"""Models that parallel workers measured on other machines than the session's own, for people."""

from __future__ import annotations

from collections.abc import Mapping

from ...records import Json
from ...store.machines import MACHINE
from .report import SessionReport

MOST_NAMED = 4


def elsewhere_text(report: SessionReport) -> str:
    """``Measured on other machines: b, c (AMD EPYC, 4 CPUs).``; empty where the session's own measured all of them."""
    places: dict[str, list[str]] = {}
    for model in report.models:
        machine = model.info.get(MACHINE)
        if isinstance(machine, dict):
            places.setdefault(_shown(machine), []).append(model.alias)
    told = [f"{_listed(aliases)} ({place})" for place, aliases in places.items()]
    return f"Measured on other machines: {'; '.join(told)}." if told else ""


def _shown(machine: Mapping[str, Json]) -> str:
    cores = machine.get("cores_allowed")
    name = str(machine.get("cpu_model") or machine.get("machine") or "unknown")
    return f"{name}, {cores} CPU{'' if cores == 1 else 's'}" if cores else name


def _listed(aliases: list[str]) -> str:
    more = len(aliases) - MOST_NAMED
    return ", ".join(aliases[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
