"""Entries of ``generate``: a template over variables, lengths and seeds, its filler drawn so that it is the same everywhere.

A length in words is met at once. One in tokens means something only to a tokenizer: such a prompt stays open until its model is
loaded (:mod:`.fit`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from ..errors import ConfigError
from ..records import Fill, Prompt
from .filler import key_of, text_of_words
from .fit import filled
from .values import wrong_type

FILLER: Final = "filler"
"""Name of the placeholder that takes as much text as the length asks for."""
LONGEST: Final = 1_000_000
"""Words or tokens: more is a slip of the pen, and takes minutes."""
Unit = Literal["words", "tokens", ""]
_UNITS: Final[tuple[Unit, ...]] = ("words", "tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Lengths and seeds that an entry asks for."""

    unit: Unit = ""
    lengths: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    """Empty: the entry says none, and 0 is taken."""

    @property
    def names(self) -> frozenset[str]:
        """Placeholders that need no variable, and none of which must be used."""
        return frozenset({FILLER, "seed", *_UNITS})

    @property
    def versions(self) -> list[dict[str, str]]:
        """What each length and seed add to the variables."""
        lengths: list[dict[str, str]] = [{self.unit: str(length)} for length in self.lengths] or [{}]
        seeds: list[dict[str, str]] = [{"seed": str(seed)} for seed in self.seeds] or [{}]
        return [{**length, **seed} for length, seed in itertools.product(lengths, seeds)]

    def suffix(self, values: Mapping[str, str]) -> str:
        """What length and seed add to the id: ``-512t-s1`` is 512 tokens by seed 1."""
        length = f"-{values[self.unit]}{self.unit[0]}" if self.unit else ""
        return f"{length}-s{values['seed']}" if self.seeds else length


def read_wanted(data: Mapping[str, object], where: str, faults: list[ConfigError]) -> Wanted:
    """What an entry asks for.

    :param faults: gets what is wrong with it.
    """
    if data.get("id") is None:
        faults.append(ConfigError(f"{where}: key 'id' is missing; generated prompts are named after it."))
    if all(unit in data for unit in _UNITS):
        faults.append(ConfigError(f"{where}: both 'words' and 'tokens' are given; keep one of them."))
    given = data.get("variables")
    taken = sorted(Wanted().names & given.keys()) if isinstance(given, Mapping) else []
    if taken:
        faults.append(
            ConfigError(
                f"{where}: key 'variables': '{taken[0]}' has a meaning of its own in 'generate'; give the variable another name."
            )
        )
    unit: Unit = next((unit for unit in _UNITS if unit in data), "")
    lengths = _numbers(data.get(unit), unit, where, faults, least=1, most=LONGEST) if unit else ()
    seeds = _numbers(data.get("seeds"), "seeds", where, faults, least=0, most=2**63 - 1)
    return Wanted(unit=unit, lengths=lengths, seeds=seeds)


def _numbers(
    value: object, key: str, where: str, faults: list[ConfigError], *, least: int, most: int
) -> tuple[int, ...]:
    if value is None:
        return ()
    found = value if isinstance(value, list) else [value]
    if not found:
        faults.append(ConfigError(f"{where}: key '{key}': the list is empty; write at least one number."))
    for number, each in enumerate(found):
        if not isinstance(each, int) or isinstance(each, bool):
            faults.append(wrong_type(key, "a whole number or a list of them", each, where))
            return ()
        if not least <= each <= most:
            faults.append(ConfigError(f"{where}: key '{key}': {each:,} must be from {least:,} to {most:,}."))
            return ()
        if each in found[:number]:
            faults.append(ConfigError(f"{where}: key '{key}': {each} stands twice; remove one."))
            return ()
    return tuple(found)


def check_wanted(
    wanted: Wanted, used: Mapping[str, str], fillers: int, elsewhere: int, where: str
) -> list[ConfigError]:
    """Faults between what a template holds and what is asked for.

    :param used: name of a placeholder -> the key of the row that it stands in.
    :param fillers: how often ``{{filler}}`` stands in the text or the messages.
    :param elsewhere: how often it stands in other keys.
    """
    faults = [
        ConfigError(
            f"{where}: key '{used[unit]}': the placeholder {{{{{unit}}}}} needs the key '{unit}' with a length."
        )
        for unit in _UNITS
        if unit in used and unit != wanted.unit
    ]
    if "seed" in used and not wanted.seeds:
        faults.append(
            ConfigError(f"{where}: key '{used['seed']}': the placeholder {{{{seed}}}} needs the key 'seeds'.")
        )
    if elsewhere:
        faults.append(ConfigError(f"{where}: {{{{filler}}}} may stand in 'template' or 'messages' alone."))
    if wanted.unit and fillers != 1:
        faults.append(
            ConfigError(
                f"{where}: key '{wanted.unit}': the template must hold {{{{filler}}}} once, to be filled up to a length; found {fillers}."
            )
        )
    if not wanted.unit and fillers:
        faults.append(
            ConfigError(
                f"{where}: {{{{filler}}}} needs a length: the key 'words' or 'tokens', with a number or a list."
            )
        )
    if wanted.seeds and not fillers and "seed" not in used:
        faults.append(
            ConfigError(
                f"{where}: key 'seeds': no prompt depends on it; write {{{{filler}}}} and a length, or {{{{seed}}}}."
            )
        )
    return faults


def generated(prompt: Prompt, wanted: Wanted, where: str) -> Prompt:
    """The prompt of a length, or one that stays open until its model is there.

    :param prompt: with the mark in place of the filler, and all values among its variables.
    :raises ConfigError: if the length leaves no room for the filler.
    """
    if not wanted.unit:
        return prompt
    values = {name: value for name, value in prompt.variables.items() if name not in wanted.names}
    seed, length = int(prompt.variables.get("seed", 0)), int(prompt.variables[wanted.unit])
    key = key_of(seed, wanted.unit, length, values)
    open_prompt = replace(
        prompt, text=None, messages=(), fill=Fill(tokens=length, key=key, text=prompt.text, messages=prompt.messages)
    )
    return open_prompt if wanted.unit == "tokens" else _of_words(open_prompt, length, key, where)


def _of_words(prompt: Prompt, length: int, key: str, where: str) -> Prompt:
    others = _count(filled(prompt, "x")) - 1
    if length <= others:
        raise ConfigError(
            f"{where}: key 'words': {length} leaves no room for the filler, as the rest of the prompt has {others}"
            f" word{'' if others == 1 else 's'} already; ask for more."
        )
    return replace(filled(prompt, text_of_words(key, length - others)), fill=None)


def _count(prompt: Prompt) -> int:
    return len((prompt.text or "").split()) + sum(len(message.content.split()) for message in prompt.messages)
