"""Options as they were given, read into settings. No pytest here: the plugin and the CLI hand in texts with their origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from .errors import ConfigError, UnknownNameError
from .settings import (
    BASELINE_NAME,
    BASELINES_FOLDER,
    MIN_PASS_RATE,
    MOST_SAMPLES,
    OUTPUT_FOLDER,
    SUITES,
    Isolation,
    MemoryPass,
    Settings,
    Sourced,
    suite_name,
)
from .specs import split_list
from .units import parse_duration_s, parse_quantity

MOST = 2**32
"""More rounds, tokens or seeds than that are a slip of the finger."""
ON: Final = ("yes", "1", "true", "on")
OFF: Final = ("no", "0", "false", "off")
"""How a setting that is a flag may be written, in any case."""


@dataclass(frozen=True, slots=True)
class Given:
    """One option as text, with the place it was written in."""

    value: str | tuple[str, ...]
    origin: str
    """As messages name it: ``--llmci-rounds``, ``LLMCI_ROUNDS``, ``pyproject.toml: llmci_rounds``."""
    instead_of: str = field(default="", compare=False)
    """The next place that says something else, whose word does not count; empty where none does."""


def resolve_settings(raw: Mapping[str, Given], sinks: Iterable[str]) -> Settings:
    """Turn texts into values.

    :param raw: option name (as the fields of :class:`Settings`) -> text and origin; absent options take their default.
    :param sinks: registered names of sinks.
    :raises ConfigError: one line that names the option, what was given and what was expected.
    """
    read = _Reader(raw)
    rounds = read.integer("rounds", 5, least=1)
    max_rounds = read.integer("max_rounds", max(20, rounds), least=1)
    if max_rounds < rounds:
        raise ConfigError(
            f"{read.origin('max_rounds')}: {max_rounds} is less than the {rounds} rounds that every cell gets; raise it or lower"
            " --llmci-rounds."
        )
    isolation: Isolation = read.choice("isolation", ("worker", "inline"))
    mlflow, mlflow_required = read.mlflow()
    suites = read.suites()
    return Settings(
        models=read.files("models"),
        prompts=read.files("prompts"),
        suites=tuple(dict.fromkeys(suite_name(one.text) for one in suites)),
        tasks=tuple(one for one in suites if one.text not in SUITES),
        task_data=read.folder("task_data", "data") if "task_data" in raw else None,
        limit=read.integer("limit", 0, least=1) if "limit" in raw else None,
        shard=read.shard(),
        shard_costs=read.named("shard_costs", "name a run or a file, or leave the option out"),
        resume=read.named("resume", "name a run, or leave '=' out for the latest"),
        rounds=rounds,
        max_rounds=max_rounds,
        warmup=read.integer("warmup", 1, least=0),
        block=read.integer("block", 5, least=1),
        time_limit_s=read.optional("time_limit", parse_duration_s),
        max_new_tokens=read.integer("max_new_tokens", 0, least=1) if "max_new_tokens" in raw else None,
        seed=read.integer("seed", 0, least=0),
        temperature=read.temperature(),
        samples=read.samples(),
        min_pass_rate=read.min_pass_rate(),
        threads=read.threads(),
        batch=read.integer("batch", 0, least=1) if "batch" in raw else None,
        max_latency=read.lines("max_latency"),
        max_memory=read.lines("max_memory"),
        budgets=read.commas("budget"),
        load=read.lines("load"),
        objective=read.lines("objective"),
        checks=read.lines("check"),
        versus=read.lines("versus"),
        versus_python=read.text("versus_python", ""),
        detect=read.detect(),
        inconclusive=read.choice("inconclusive", ("warn", "fail", "pass")),
        isolation=isolation,
        timeout_s=read.optional("timeout", parse_duration_s) or 300.0,
        load_timeout_s=read.optional("load_timeout", parse_duration_s) or 1800.0,
        memory_limit_bytes=read.memory_limit(),
        memory=read.memory_pass(isolation),
        timing=read.choice("timing", ("exclusive", "parallel")),
        anchor=read.flag("anchor"),
        output=read.folder("output", OUTPUT_FOLDER),
        save_baseline=read.baseline("save_baseline"),
        update_baseline=read.other_baseline("update_baseline", "save_baseline"),
        baseline=read.files("baseline"),
        baselines=read.folder("baselines", BASELINES_FOLDER),
        scores=read.files("scores"),
        prices=read.files("prices"),
        sinks=_known_sinks(read.commas("sink"), sinks),
        mlflow=mlflow,
        mlflow_required=mlflow_required,
        mlflow_experiment=read.text("mlflow_experiment", ""),
        redact=read.flag("redact"),
        plan=read.plan(),
        replay=read.replay(),
        origins={name: given.origin for name, given in raw.items()},
    )


def _known_sinks(given: Iterable[Sourced], known: Iterable[str]) -> tuple[str, ...]:
    names = set(known)
    for item in given:
        if item.text.partition(":")[0] not in names:
            raise UnknownNameError.build(item.origin, "sink", item.text.partition(":")[0], names)
    return tuple(dict.fromkeys(item.text for item in given))


Choice = TypeVar("Choice", bound=str)
T = TypeVar("T")


class _Reader:
    """Reads one option at a time and names it in every complaint."""

    def __init__(self, raw: Mapping[str, Given]) -> None:
        self._raw = raw

    def origin(self, name: str) -> str:
        given = self._raw.get(name)
        return given.origin if given else "--llmci-" + name.replace("_", "-")

    def text(self, name: str, default: str) -> str:
        given = self._raw.get(name)
        if given is None:
            return default
        if not isinstance(given.value, str):
            raise ConfigError(f"{given.origin}: expected one value, found a list of {len(given.value)}.")
        return given.value.strip()

    def folder(self, name: str, default: str) -> Path:
        text = self.text(name, default)
        if not text:
            raise ConfigError(f"{self.origin(name)}: the value is empty; name a folder, such as {default}.")
        try:
            return Path(text).expanduser()
        except RuntimeError as error:  # the home of nobody
            raise ConfigError(f"{self.origin(name)}: '{text}': {error}; name another folder.") from error

    def lines(self, name: str) -> tuple[Sourced, ...]:
        given = self._raw.get(name)
        if given is None:
            return ()
        values = (given.value,) if isinstance(given.value, str) else given.value
        found = tuple(Sourced(value.strip(), given.origin) for value in values if value.strip())
        if not found:
            raise ConfigError(f"{given.origin}: the value is empty; write one or leave the option out.")
        return found

    def commas(self, name: str) -> tuple[Sourced, ...]:
        return tuple(
            Sourced(part.strip(), line.origin)
            for line in self.lines(name)
            for part in line.text.split(",")
            if part.strip()
        )

    def suites(self) -> tuple[Sourced, ...]:
        """As written, each once.

        :raises ConfigError: if two have one name, so that their tests could not be told apart.
        """
        found: dict[str, Sourced] = {}
        for one in self.commas("suite") if "suite" in self._raw else ():
            there = found.setdefault(suite_name(one.text), one)
            if there.text != one.text:
                raise ConfigError(
                    f"{one.origin}: '{there.text}' and '{one.text}' would both be called {suite_name(one.text)}."
                )
        return tuple(found.values())

    def files(self, name: str) -> tuple[Sourced, ...]:
        """Comma lists of what may be paths."""
        return tuple(Sourced(part, line.origin) for line in self.lines(name) for part in split_list(line.text))

    def integer(self, name: str, default: int, least: int) -> int:
        text = self.text(name, str(default))
        try:
            value = int(text)
        except ValueError:
            raise ConfigError(
                f"{self.origin(name)}: '{text}' is not a whole number; write one of at least {least}."
            ) from None
        if value < least and name in self._raw:
            raise ConfigError(f"{self.origin(name)}: {value} is too small; write a whole number of at least {least}.")
        if value > MOST:
            raise ConfigError(f"{self.origin(name)}: {value} is too large; write a whole number of at most {MOST:,}.")
        return value

    def choice(self, name: str, choices: tuple[Choice, ...]) -> Choice:
        text = self.text(name, choices[0])
        for choice in choices:
            if choice == text:
                return choice
        raise ConfigError(f"{self.origin(name)}: '{text}' is none of {', '.join(choices)}.")

    def optional(self, name: str, parse: Callable[[str, str], T]) -> T | None:
        return parse(self.text(name, ""), self.origin(name)) if name in self._raw else None

    def flag(self, name: str) -> bool:
        text = self.text(name, "no")
        if text.lower() not in ON + OFF:
            raise ConfigError(f"{self.origin(name)}: '{text}' is none of no, yes.")
        return text.lower() in ON

    def mlflow(self) -> tuple[str, bool]:
        """The sink, empty for none, and whether it must succeed."""
        if "mlflow" not in self._raw:
            return "", False
        text, origin = self.text("mlflow", ""), self.origin("mlflow")
        first, _, rest = text.partition(":")
        required = first == "required"
        uri = rest.strip() if required else text
        if not text or (required and text.endswith(":")):
            raise ConfigError(
                f"{origin}: the address is empty; write one, such as http://127.0.0.1:5000, or leave it out for MLflow's default store."
            )
        if uri.lower() in OFF:
            return "", False
        return ("mlflow" if uri.lower() in ("", *ON) else f"mlflow:{uri}"), required

    def plan(self) -> bool:
        origin = self.origin("plan")
        planned = self.flag("plan")
        if planned and ": " in origin:  # a file; flags and variables are for one session
            raise ConfigError(
                f"{origin}: it would keep every session from measuring; give --llmci-plan when you want a plan."
            )
        return planned

    def shard(self) -> str:
        if "shard" not in self._raw:
            return ""
        text, origin = self.text("shard", ""), self.origin("shard")
        if ": " in origin:  # as above
            raise ConfigError(
                f"{origin}: every session would measure the same part; give --llmci-shard={text or '1/4'} or LLMCI_SHARD to each of them."
            )
        index, of = parse_shard(text, origin)
        for other in ("save_baseline", "update_baseline"):
            if other in self._raw:
                raise ConfigError(
                    f"{self.origin(other)} and {origin}: a shard is a part, and no measure for what comes later; merge the shards and"
                    f" give llmci merge --save-baseline."
                )
        if "replay" in self._raw:
            raise ConfigError(
                f"{self.origin('replay')} and {origin}: nothing is measured in a replay, so that nothing is to be divided; take one away."
            )
        return f"{index}/{of}"

    def named(self, name: str, what_to_do: str) -> str:
        """What an option names; empty if it is not given, and an error where its value is empty, as that of a lost variable is."""
        text = self.text(name, "")
        if name in self._raw and not text:
            raise ConfigError(f"{self.origin(name)}: the value is empty; {what_to_do}.")
        return text

    def replay(self) -> str:
        if "replay" not in self._raw:
            return ""
        text, origin = self.text("replay", ""), self.origin("replay")
        if ": " in origin:  # as above
            raise ConfigError(
                f"{origin}: it would keep every session from measuring; give --llmci-replay RUN when you want a replay."
            )
        if not text:
            raise ConfigError(f"{origin}: the value is empty; name a run, such as latest.")
        return text

    def baseline(self, name: str) -> str:
        """A baseline that is to be written; empty if none is.

        :raises ConfigError: if a settings file asks for it; every session would then be its own measure.
        """
        if name not in self._raw:
            return ""
        text, origin = self.text(name, ""), self.origin(name)
        if ": " in origin:
            raise ConfigError(
                f"{origin}: every session would write the baseline that it is compared with; give --llmci-{name.replace('_', '-')}"
                " when you want it written."
            )
        if not text:
            raise ConfigError(f"{origin}: the name is empty; write one, such as {BASELINE_NAME}, or leave '=' out.")
        return text

    def other_baseline(self, name: str, other: str) -> str:
        if name in self._raw and other in self._raw:
            raise ConfigError(
                f"{self.origin(name)} and {self.origin(other)}: one adds to a baseline and the other replaces it; take one away."
            )
        return self.baseline(name)

    def temperature(self) -> float:
        text = self.text("temperature", "0")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ConfigError(
                f"{self.origin('temperature')}: '{text}' is not a temperature; write 0 (greedy) or more, like 0.7."
            )
        return value

    def samples(self) -> int:
        samples = self.integer("samples", 0, least=1)
        if samples > MOST_SAMPLES:
            raise ConfigError(
                f"{self.origin('samples')}: {samples} is too large; write a whole number of at most {MOST_SAMPLES:,}."
            )
        return samples

    def min_pass_rate(self) -> float:
        text = self.text("min_pass_rate", str(MIN_PASS_RATE))
        try:
            value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            value = 0.0
        if not 0 < value <= 1:
            raise ConfigError(
                f"{self.origin('min_pass_rate')}: '{text}' is no rate; write a share over 0 and up to 1, like 0.8 or 80%."
            )
        return value

    def threads(self) -> int:
        if self.text("threads", "1") == "auto":
            return 0
        try:
            return self.integer("threads", 1, least=1)
        except ConfigError as error:
            raise ConfigError(f"{error} Or write 'auto' for the framework's own choice.") from None

    def detect(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for item in self.commas("detect") if "detect" in self._raw else ():
            metric, share = parse_smallest_change(item.text, item.origin)
            found[metric] = share
        return found

    def memory_pass(self, isolation: Isolation) -> MemoryPass:
        memory: MemoryPass = self.choice("memory", ("auto", "exact", "off"))
        if memory == "exact" and isolation == "inline":
            raise ConfigError(
                f"{self.origin('memory')}: exact needs a process of its own for the memory pass, and {self.origin('isolation')} is"
                " inline; take one of the two away."
            )
        return memory

    def memory_limit(self) -> int | None:
        if "memory_limit" not in self._raw:
            return None
        text = self.text("memory_limit", "")
        value = int(parse_quantity(text, "B", self.origin("memory_limit")))
        if value <= 0:
            raise ConfigError(f"{self.origin('memory_limit')}: '{text}' must be more than zero; write it like 4GiB.")
        return value


MOST_SHARDS: Final = 10_000
"""More parts of a matrix than that are a slip of the finger."""


def parse_shard(text: str, where: str) -> tuple[int, int]:
    """Number of a shard, from 1, and how many there are.

    :raises ConfigError: if it is none.

    >>> parse_shard("2/8", "--llmci-shard")
    (2, 8)
    """
    index, slash, of = text.partition("/")
    if not (slash and index.strip().isdecimal() and of.strip().isdecimal()):
        raise ConfigError(f"{where}: '{text}' is no shard; write its number and how many there are, like 2/8.")
    numbers = int(index), int(of)
    if not 1 <= numbers[1] <= MOST_SHARDS:
        raise ConfigError(f"{where}: '{text}': a matrix has 1 to {MOST_SHARDS:,} shards; write it like 2/8.")
    if not 1 <= numbers[0] <= numbers[1]:
        raise ConfigError(f"{where}: '{text}': shards of {numbers[1]} are numbered 1 to {numbers[1]}.")
    return numbers


def parse_smallest_change(text: str, where: str) -> tuple[str, float]:
    """Metric and share of a text such as ``latency=5%``; the metric is empty where all times are meant.

    :raises ConfigError: if it is none.

    >>> parse_smallest_change("latency=5%", "--llmci-detect")
    ('latency', 0.05)
    """
    metric, named, size = text.rpartition("=")
    try:
        share = float(size.strip().removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not (0 < share < 1 and size.strip().endswith("%")) or bool(named) != bool(metric.strip()):
        raise ConfigError(
            f"{where}: '{text}' is no smallest change; write metric=5%, or 5% for all times (0 to 100 %)."
        )
    return metric.strip(), share
