"""Scenarios as people write them: ``rate=4 requests=200 ttft<=500ms itl<=50ms``, ``concurrency=8``, ``offline``, ``rate=1..64``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..errors import ConfigError, UnknownNameError
from ..records import LoadKind, ModelSpec, Objective, Scenario
from ..slugs import slug
from ..text import one_line
from ..units import format_duration, format_rate, parse_quantity

KINDS: Final[Mapping[LoadKind, str]] = {
    "single-stream": "one request after the other",
    "closed-loop": "concurrency=N users, each of whom asks again as soon as it is answered",
    "server": "rate=R requests a second at random times (Poisson), whatever becomes of those before",
    "offline": "all requests at once",
}
KEYS: Final[Mapping[str, str]] = {
    "concurrency": "users of a closed loop",
    "rate": "requests a second; rate=LOW..HIGH looks for the highest that keeps the objective",
    "requests": "of one run, or of one step of a sweep (default 100; at least 2 for each user)",
    "resolution": "of a sweep: how near to the highest rate it ends (default 10%)",
    "share": "of a sweep: of the requests that must keep the objective (default 95%)",
}
LIMITS: Final = ("ttft", "itl", "latency")
"""What an objective may limit, of each single answer."""
SPEC_KEYS: Final = ("concurrency", "rate", "requests")
"""Of these, what a model's spec may say."""
REQUESTS: Final = 100
"""Of a run: as many as a p99 takes."""
MOST_REQUESTS: Final = 100_000
MOST_USERS: Final = 10_000
MOST_RATE: Final = 100_000.0
LOAD_SUITE: Final = "--llmci-suite=load"
"""Source of what stands for the prompts of a cell of that suite, which asks all of them."""
DEFAULT_SCENARIOS: Final = ("single-stream", "concurrency=8", "offline")
"""Of the suite: what needs no knowledge of the server's strength, as a rate does."""
_LIMIT: Final = re.compile(r"(?P<name>[a-z_]+)<=(?P<value>.+)\Z")
_EXAMPLE: Final = "write it like 'rate=4 requests=200 ttft<=500ms', 'concurrency=8' or 'offline'"


def parse_scenario(text: str, where: str, objective: Objective | None = None) -> Scenario:
    """Read a scenario.

    :param text: words between spaces or commas: a kind, ``key=value``, and limits of the objective ``metric<=value``.
    :param where: the option, marker or spec, for messages.
    :param objective: that holds where the text has none of its own.
    :raises ConfigError: one line.

    >>> scenario = parse_scenario("rate=4 requests=200 ttft<=500ms", "x")
    >>> scenario.kind, scenario.rate, scenario.requests, scenario.objective.ttft_s
    ('server', 4.0, 200, 0.5)
    """
    kind: LoadKind | None = None
    values: dict[str, str] = {}
    limits: dict[str, float] = {}
    for word in re.sub(r"\s*(<=|=)\s*", r"\1", text).replace(",", " ").split():
        limit = _LIMIT.match(word)
        if limit:
            _take_limit(limits, limit["name"], limit["value"], where)
            continue
        key, equals, value = word.partition("=")
        if equals:
            if key not in KEYS:
                raise UnknownNameError.build(where, "key of a load", key, KEYS)
            if key in values:
                raise ConfigError(f"{where}: '{key}=' is given more than once; keep one.")
            values[key] = value
        else:
            kind = _kind(word, kind, where)
    implied: LoadKind | None = "server" if "rate" in values else "closed-loop" if "concurrency" in values else None
    if "rate" in values and "concurrency" in values:
        raise ConfigError(
            f"{where}: a load has a rate, at which requests come, or a concurrency, in which the answers set the pace; take one of the"
            " two away."
        )
    if kind is not None and implied is not None and kind != implied:
        raise ConfigError(
            f"{where}: '{kind}' has no {'rate' if implied == 'server' else 'concurrency'}; leave one of the two away."
        )
    kind = kind or implied
    if kind is None:
        raise ConfigError(f"{where}: '{one_line(text)[:80]}' names no load; {_EXAMPLE}.")
    if (kind == "server" and "rate" not in values) or (kind == "closed-loop" and "concurrency" not in values):
        needs = "rate=4" if kind == "server" else "concurrency=8"
        raise ConfigError(f"{where}: '{kind}' needs to know how much; write {needs}.")
    own = Objective(ttft_s=limits.get("ttft"), itl_s=limits.get("itl"), latency_s=limits.get("latency"))
    return _checked(kind, values, own if limits else objective or Objective(), where)


def parse_objective(texts: Sequence[tuple[str, str]]) -> Objective:
    """An objective alone: ``ttft<=500ms itl<=50ms``.

    :param texts: (text, origin) pairs.
    :raises ConfigError: one line.
    """
    limits: dict[str, float] = {}
    for text, where in texts:
        for word in re.sub(r"\s*<=\s*", "<=", text).replace(",", " ").split():
            limit = _LIMIT.match(word)
            if limit is None:
                raise ConfigError(
                    f"{where}: '{one_line(word)[:60]}' is no limit; write it like 'ttft<=500ms itl<=50ms'."
                )
            _take_limit(limits, limit["name"], limit["value"], where)
    return Objective(ttft_s=limits.get("ttft"), itl_s=limits.get("itl"), latency_s=limits.get("latency"))


def _take_limit(limits: dict[str, float], name: str, value: str, where: str) -> None:
    if name not in LIMITS:
        raise UnknownNameError.build(where, "limit of an objective", name, LIMITS)
    if name in limits:
        raise ConfigError(f"{where}: '{name}<=' is given more than once; keep one.")
    limits[name] = parse_quantity(value, "s", where)
    if limits[name] <= 0:
        raise ConfigError(f"{where}: no answer keeps '{name}<={value}'; write a time above nought.")


def _kind(word: str, before: LoadKind | None, where: str) -> LoadKind:
    if before is not None:
        raise ConfigError(f"{where}: '{before}' and '{one_line(word)[:40]}' are two loads; give each its own.")
    for kind in KINDS:
        if word == kind:
            return kind
    raise UnknownNameError.build(where, "load", word, [*KINDS, *(f"{key}=" for key in KEYS)])


def _checked(kind: LoadKind, values: Mapping[str, str], objective: Objective, where: str) -> Scenario:
    rate, highest = _rates(values["rate"], where) if "rate" in values else (None, None)
    concurrency = _whole(values, "concurrency", 1, MOST_USERS, where)
    requests = _whole(values, "requests", max(REQUESTS, 2 * concurrency), MOST_REQUESTS, where)
    if requests < concurrency:
        raise ConfigError(
            f"{where}: {requests} requests keep no {concurrency} users busy; write requests={2 * concurrency} or more."
        )
    if highest is None:
        for key in ("resolution", "share"):
            if key in values:
                raise ConfigError(f"{where}: '{key}=' is for a sweep, rate=LOW..HIGH; take it away.")
    elif objective == Objective():
        raise ConfigError(
            f"{where}: a sweep looks for the highest rate that keeps an objective, and there is none; add one, such as 'ttft<=500ms"
            " itl<=50ms'."
        )
    return Scenario(
        kind=kind, requests=requests, concurrency=concurrency, rate=rate, highest_rate=highest, objective=objective,
        resolution=_share(values, "resolution", 0.1, where, least=0.01), share=_share(values, "share", 0.95, where, least=0.01),
    )  # fmt: skip


def _rates(text: str, where: str) -> tuple[float, float | None]:
    low, dots, high = text.partition("..")
    found = [parse_quantity(part, "1/s", where) for part in ((low, high) if dots else (low,))]
    for rate in found:
        if not 0 < rate <= MOST_RATE:
            raise ConfigError(
                f"{where}: rate={text}: a rate is above nought and at most {MOST_RATE:,.0f} requests a second."
            )
    if dots and not found[0] < found[1]:
        raise ConfigError(
            f"{where}: rate={text}: a sweep goes from a lower rate to a higher one; write it like rate=1..64."
        )
    return found[0], found[1] if dots else None


def _whole(values: Mapping[str, str], key: str, default: int, most: int, where: str) -> int:
    if key not in values:
        return default
    text = values[key]
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise ConfigError(f"{where}: {key}={one_line(text)[:40]} must be a whole number from 1 to {most:,}.")
    return int(text)


def _share(values: Mapping[str, str], key: str, default: float, where: str, *, least: float) -> float:
    if key not in values:
        return default
    text = values[key]
    number = parse_quantity(text, "%", where) / (100 if text.endswith("%") else 1)
    if not least <= number <= 1:
        raise ConfigError(f"{where}: {key}={one_line(text)[:40]} must be a share from {least:.0%} to 100%.")
    return number


def of_spec(spec: ModelSpec, objective: Objective | None = None) -> Scenario | None:
    """The load that a model's spec says; None where it says none.

    :raises ConfigError: one line.
    """
    said = [f"{key}={spec.options[key]}" for key in SPEC_KEYS if key in spec.options]
    if not said:
        return None
    where = f"model '{spec.text}'"
    if len(said) == 1 and "requests" in spec.options:
        raise ConfigError(f"{where}: '+requests=' is of a load, and there is none; add +rate= or +concurrency=.")
    return parse_scenario(" ".join(said), where, objective)


def scenario_text(scenario: Scenario) -> str:
    """The whole scenario in its own spelling: what two loads must have in common to be compared.

    >>> scenario_text(parse_scenario("rate=4, ttft <= 500ms", "x"))
    'server rate=4 requests=100 ttft<=500ms'
    """
    parts = [scenario.kind, *_pace(scenario), f"requests={scenario.requests}"]
    if scenario.highest_rate is not None:
        parts += [f"resolution={100 * scenario.resolution:g}%", f"share={100 * scenario.share:g}%"]
    return " ".join([*parts, *limits_text(scenario.objective)])


def _pace(scenario: Scenario) -> list[str]:
    if scenario.kind == "closed-loop":
        return [f"concurrency={scenario.concurrency}"]
    if scenario.rate is None:
        return []
    return [f"rate={scenario.rate:g}" + ("" if scenario.highest_rate is None else f"..{scenario.highest_rate:g}")]


def limits_text(objective: Objective) -> list[str]:
    """Its limits, each as it is written."""
    limits = {"ttft": objective.ttft_s, "itl": objective.itl_s, "latency": objective.latency_s}
    return [f"{name}<={format_duration(limit).replace(' ', '')}" for name, limit in limits.items() if limit is not None]


def scenario_id(scenario: Scenario) -> str:
    """What the ids of its cells end in: the kind and its pace.

    >>> scenario_id(parse_scenario("rate=0.5", "x")), scenario_id(parse_scenario("concurrency=8", "x"))
    ('server-0.5', 'closed-loop-8')
    """
    if scenario.kind == "closed-loop":
        return f"closed-loop-{scenario.concurrency}"
    if scenario.rate is None:
        return scenario.kind
    if scenario.highest_rate is not None:
        return slug(f"sweep-{scenario.rate:g}-{scenario.highest_rate:g}")
    return slug(f"server-{scenario.rate:g}")


def at_rate(scenario: Scenario, rate: float) -> Scenario:
    """One step of a sweep."""
    return replace(scenario, rate=rate, highest_rate=None)


def in_words(scenario: Scenario) -> str:
    """For people: ``server at 4 /s``."""
    if scenario.kind == "closed-loop":
        return f"{scenario.concurrency} users"
    if scenario.rate is None:
        return scenario.kind.replace("-", " ")
    if scenario.highest_rate is not None:
        return f"sweep {format_rate(scenario.rate)} to {format_rate(scenario.highest_rate)} /s"
    return f"server at {format_rate(scenario.rate)} /s"
