"""Tables of prices: the packaged one, a company's own in the same TOML, or a CSV table of machines."""

from __future__ import annotations

import contextlib
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

from ..delimited import Line, read_table, read_text
from ..errors import ConfigError, UnknownNameError
from ..records import Price
from ..slugs import slug
from ..text import one_line

VERSION: Final = 1
"""Of the shape of the TOML file."""
PACKAGED: Final = "packaged"
_TOKENS: Final = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")
_AMOUNTS: Final = ("usd_per_hour", *_TOKENS, "usd_per_million_tokens")
_TEXTS: Final = ("environment", "source", "note")
KEYS: Final = ("name", *_AMOUNTS, *_TEXTS, "date")
"""What an entry may hold."""
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "name": ("name", "instancetype", "instance type", "instance", "machine"),
    "hour": ("usd_per_hour", "price", "on-demand", "on demand", "ondemand", "price per hour"),
    "spot": ("spot", "spotprice", "spot price"),
    "cloud": ("cloud", "provider"),
    "region": ("region",),
    "accelerator": ("acceleratorname", "gpu type", "gpu"),
    "count": ("acceleratorcount", "gpus"),
}
"""Role -> titles of a CSV table, lower case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceTable:
    """Prices by name, in the order of their file."""

    label: str
    prices: Mapping[str, Price]
    notes: tuple[str, ...] = field(default=())
    """What could not be taken, for people."""

    def find(self, name: str, where: str) -> Price:
        """One price.

        :raises UnknownNameError: naming the nearest.
        """
        if name not in self.prices:
            what = "packaged price" if self.label == PACKAGED else f"price of {self.label}"
            raise UnknownNameError.build(where, what, name, self.prices)
        return self.prices[name]


def packaged_prices() -> PriceTable:
    """The table that comes with this package."""
    text = (files("pytest_llmci") / "data" / "prices.toml").read_text("utf-8")
    return _of_toml(text, "prices.toml", PACKAGED)


def read_prices(path: Path) -> PriceTable:
    """The table in a file: TOML, or CSV by its suffix.

    :raises ConfigError: in one line that names file, entry and key.
    """
    if path.suffix.lower() == ".csv":
        return _of_csv(path)
    return _of_toml(read_text(path, "write the prices as TOML or CSV"), str(path), path.name)


# ------------------------------------------------------------------------------------------------------------ TOML


def _of_toml(text: str, where: str, label: str) -> PriceTable:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}.") from error
    for key in data:
        if key not in ("version", "price"):
            raise UnknownNameError.build(where, "key", one_line(key), ("version", "price"))
    version = data.get("version", VERSION)
    if version != VERSION:
        raise ConfigError(
            f"{where}: version {version!r} of the table of prices is not known; this release reads {VERSION}."
        )
    entries = data.get("price")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{where} holds no price; write at least one entry [[price]] with 'name' and 'usd_per_hour'.")
    prices: dict[str, Price] = {}
    for number, entry in enumerate(entries, 1):
        price = _entry(entry, f"{where}, entry {number}")
        if price.name in prices:
            raise ConfigError(f"{where}, entry {number}: the name '{price.name}' stands twice; names must differ.")
        prices[price.name] = price
    return PriceTable(label=label, prices=prices)


def _entry(entry: object, where: str) -> Price:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected an entry [[price]] with 'name' and 'usd_per_hour'.")
    for key in entry:
        if key not in KEYS:
            raise UnknownNameError.build(where, "key", one_line(str(key)), KEYS)
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip() or any(sign in name for sign in ",:#"):
        raise ConfigError(f"{where}: key 'name': expected a name without ',', ':' and '#', such as 'gcp-a100'.")
    amounts = {key: _amount(entry[key], f"{where} ({name}), key '{key}'") for key in _AMOUNTS if key in entry}
    if ("usd_per_hour" in amounts) == any(key in amounts for key in _AMOUNTS[1:]):
        raise ConfigError(
            f"{where} ({name}): expected either 'usd_per_hour', or 'usd_per_million_input_tokens' and"
            " 'usd_per_million_output_tokens' (or 'usd_per_million_tokens' for both)."
        )
    both = amounts.pop("usd_per_million_tokens", None)
    if both is not None and amounts:
        raise ConfigError(f"{where} ({name}): 'usd_per_million_tokens' is for both; remove the other key, or that one.")
    if both is not None:
        amounts = dict.fromkeys(_TOKENS, both)
    if "usd_per_hour" not in amounts and len(amounts) == 1:
        lacking = next(key for key in _TOKENS if key not in amounts)
        raise ConfigError(f"{where} ({name}): key '{lacking}' is missing; write 0 where such tokens are free.")
    environment, source, note = (_text(entry.get(key, ""), f"{where} ({name}), key '{key}'") for key in _TEXTS)
    return Price(
        name=name.strip(),
        date=_day(entry.get("date"), f"{where} ({name})"),
        environment=environment,
        source=source,
        note=note,
        **amounts,
    )


def _amount(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{where}: expected a number of at least 0, in USD, found {value!r:.40}.")
    return float(value)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: expected a text in quotes, found {value!r:.40}.")
    return value


def _day(value: object, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # refused below
            value = date.fromisoformat(value)
    if not isinstance(value, date):
        raise ConfigError(f"{where}, key 'date': expected a day such as 2026-01-31, found {value!r:.40}.")
    return value.isoformat()


# ------------------------------------------------------------------------------------------------------------ CSV


def _of_csv(path: Path) -> PriceTable:
    header, body = read_table(path, "a row a machine")
    roles = _roles(header.cells)
    if "hour" not in roles or not {"name", "accelerator"} & set(roles):
        raise ConfigError(
            f"{path}: expected a column of names ({_titles('name')}) and one of USD an hour ({_titles('hour')}),"
            f" found {', '.join(one_line(title) for title in header.cells)[:200]}."
        )
    empty: list[int] = []
    machines = [price for row in body for price in _machine(row, roles, path, empty)]
    found = _by_name(machines, lambda price: price.name)
    if any(len(prices) > 1 for prices in found.values()):
        several = {name for name, prices in found.items() if len(prices) > 1}
        found = _by_name(
            machines, lambda price: slug(price.environment, longest=100) if price.name in several else price.name
        )
    twice = [name for name, prices in found.items() if len(prices) > 1]
    notes = [f"no price, left out: line {', '.join(map(str, empty))}"] if empty else []
    if twice:
        notes.append(f"several prices under one name, the highest taken: {', '.join(twice)}")
    if not found:
        raise ConfigError(f"{path} holds no price; expected USD an hour in the column '{header.cells[roles['hour']]}'.")
    prices = {name: max(several, key=lambda price: price.usd_per_hour or 0.0) for name, several in found.items()}
    return PriceTable(label=path.name, prices=prices, notes=tuple(notes))


def _by_name(machines: Iterable[Price], name_of: Callable[[Price], str]) -> dict[str, list[Price]]:
    """The different prices under each name."""
    found: dict[str, list[Price]] = {}
    for price in machines:
        same = found.setdefault(name_of(price), [])
        if all(other.usd_per_hour != price.usd_per_hour for other in same):
            same.append(replace(price, name=name_of(price)))
    return found


def _titles(role: str) -> str:
    return " or ".join(f"'{title}'" for title in _COLUMNS[role][:3])


def _roles(titles: list[str]) -> dict[str, int]:
    plain = [title.strip().casefold() for title in titles]
    return {role: plain.index(title) for role, known in _COLUMNS.items() for title in reversed(known) if title in plain}


def _machine(row: Line, roles: Mapping[str, int], path: Path, empty: list[int]) -> list[Price]:
    """The prices of a row: on demand, and spot where it has one."""
    cell = {role: row.cells[position].strip() for role, position in roles.items()}
    machine = cell.get("name") or cell.get("accelerator", "")
    name = "-".join(filter(None, (slug(cell.get("cloud", "")), slug(machine), slug(cell.get("region", "")))))
    count = cell.get("count", "").removesuffix(".0")
    accelerator = " x ".join(filter(None, (count, cell.get("accelerator", ""))))
    environment = ", ".join(filter(None, (cell.get("cloud", ""), machine, accelerator, cell.get("region", ""))))
    prices = []
    for role, suffix in (("hour", ""), ("spot", "-spot")):
        text = cell.get(role, "").removeprefix("$").replace(",", "")
        if not text:
            if role == "hour":
                empty.append(row.number)
            continue
        try:
            usd = float(text)
        except ValueError:
            usd = math.nan
        if not math.isfinite(usd) or usd < 0:
            raise ConfigError(
                f"{path}, line {row.number}: '{one_line(cell[role])[:40]}' is no price; expected USD an hour."
            )
        kind = "spot" if suffix else "on demand"
        prices.append(
            Price(name=name + suffix, usd_per_hour=usd, environment=f"{environment} ({kind})", source=f"{path.name}, line {row.number}")
        )  # fmt: skip
    return prices
