"""Which price each model of a session has: what ``--llmci-prices`` says."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from ..metrics import MetricDef
from ..records import Missing, ModelSpec, Price, RoundsRecord
from ..settings import Sourced
from .estimate import doubt, request_cost
from .prices import PACKAGED, PriceTable, packaged_prices, read_prices

COST: Final = MetricDef(
    name="cost",
    unit="USD",
    direction="lower",
    group="cost",
    definition="What one request costs at the price that --llmci-prices gives the model: its share of a machine's hour, or its tokens.",
    excludes="loading and idle time; batching, which makes a request cheaper",
    source="latency and USD an hour, or prompt_tokens, output_tokens and USD a million tokens",
)
_PARTS: Final = re.compile(r"(?:(?P<glob>[^:]*):(?![/\\]))?(?P<name>.+)\Z")
"""A colon before a slash is of a drive, ``C:\\prices.toml``."""
_FILES: Final = (".toml", ".csv")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    glob: str
    price: Price


class ChosenPrices:
    """The prices of a session's models.

    :param choices: the last one whose glob matches a model's alias counts.
    :param tables: all prices that were named, for comparisons between them.
    """

    def __init__(self, choices: Sequence[_Choice], tables: Sequence[PriceTable]) -> None:
        self._choices = choices
        self._tables = tables

    @property
    def prices(self) -> list[Price]:
        """All that may be shown beside each other: those that were chosen, then the others of their files."""
        chosen = [choice.price for choice in self._choices]
        others = [price for table in self._tables if table.label != PACKAGED for price in table.prices.values()]
        return list(dict.fromkeys([*chosen, *others]))

    @property
    def metric(self) -> MetricDef:
        """The definition in force: where all pay by tokens, equal answers cost the same."""
        return replace(COST, deterministic=all(choice.price.usd_per_hour is None for choice in self._choices))

    def of(self, alias: str) -> Price | None:
        """The price of a model; None where none was chosen for it."""
        found = [choice.price for choice in self._choices if fnmatch.fnmatchcase(alias, choice.glob)]
        return found[-1] if found else None

    def describe(self, specs: Iterable[ModelSpec], today: date) -> list[str]:
        """For people: what each price is, why it may not hold, and what could not be read."""
        aliases = [spec.alias for spec in specs]
        lines = []
        for price in dict.fromkeys(choice.price for choice in self._choices):
            models = [alias for alias in aliases if self.of(alias) == price]
            whose = "" if len(models) == len(aliases) else f" of {', '.join(models) or 'no model'}"
            why = doubt(price, today)
            lines.append(
                f"price{whose}: {_amount(price)}, {price.environment or price.name}{f' ({why})' if why else ''}"
            )
        lines += [f"no price: {alias}" for alias in aliases if self.of(alias) is None]
        return lines + [f"{table.label}: {note}" for table in self._tables for note in table.notes]


def _amount(price: Price) -> str:
    if price.usd_per_hour is not None:
        return f"{price.usd_per_hour:g} USD an hour"
    return f"{price.usd_per_million_input_tokens:g} and {price.usd_per_million_output_tokens:g} USD a million input and output tokens"


def choose_prices(asked: Sequence[Sourced], base_of: Callable[[str], Path]) -> ChosenPrices:
    """Read what ``--llmci-prices`` names.

    :param asked: each ``[GLOB:]NAME``, or ``[GLOB:]FILE[#NAME]``; of a file without a name its first price counts.
    :param base_of: the folder that a relative path starts from, by the place where it is written.
    :raises ConfigError: in one line, if there is no such price or file.
    """
    tables: dict[str, PriceTable] = {}
    choices = []
    for each in asked:
        parts = _PARTS.match(each.text)
        glob, name = ("*" if parts["glob"] is None else parts["glob"], parts["name"]) if parts else ("", "")
        if not glob.strip() or not name.strip(" :") or name.endswith(":"):
            raise ConfigError(
                f"{each.origin}: '{each.text}': expected [GLOB:]NAME or [GLOB:]FILE[#NAME], such as gcp-a100."
            )
        file, _, entry = name.partition("#")
        if Path(file).suffix.lower() in _FILES:
            path = base_of(each.origin) / os.path.expanduser(file)
            try:
                table = tables.setdefault(file, tables.get(file) or read_prices(path))
            except ConfigError as error:
                raise ConfigError(f"{each.origin}: {error}") from error
            price = table.find(entry, each.origin) if entry else next(iter(table.prices.values()))
        else:
            table = tables.setdefault(PACKAGED, tables.get(PACKAGED) or packaged_prices())
            price = table.find(name, each.origin)
        choices.append(_Choice(glob=glob.strip(), price=price))
    return ChosenPrices(choices, list(tables.values()))


def add_cost(record: RoundsRecord, price: Price | None) -> None:
    """Give a block its column ``cost``, or the reason why it has none."""
    if price is None:
        record.reasons[COST.name] = "no price is chosen for this model; --llmci-prices names one"
        return
    columns = [record.values.get(name) or [None] * record.n for name in ("latency", "prompt_tokens", "output_tokens")]
    column: list[float | None] = []
    for latency_ns, prompt_tokens, output_tokens in zip(*columns, strict=True):
        cost = (
            Missing("latency was not measured")
            if latency_ns is None
            else request_cost(price, latency_ns / 1e9, prompt_tokens, output_tokens)
        )
        if isinstance(cost, Missing):
            record.reasons[COST.name] = cost.reason
            column.append(None)
        else:
            column.append(cost)
    if any(cost is not None for cost in column):
        record.values[COST.name] = column
