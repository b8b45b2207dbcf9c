"""Models x prompts -> cells with short, unique, stable ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from .errors import ConfigError
from .records import TEST_BODY, Cell, ModelSpec, Prompt
from .text import clipped, one_line

LONGEST: Final = 60
"""Characters of a prompt in a message."""
_IN_CODE: Final = ("", TEST_BODY)
"""Sources of prompts that stand in no file of prompts."""


def cell_id(model: ModelSpec, prompt: Prompt) -> str:
    """``<alias>-<prompt id>``: revision, dtype and hashes never enter it, so a new revision is compared and not lost."""
    return f"{model.alias}-{prompt.id}"


def expand(models: Sequence[ModelSpec], prompts: Sequence[Prompt]) -> tuple[Cell, ...]:
    """Every model with every prompt, a model's cells together.

    :raises ConfigError: if two cells would have one id, which happens when names run into each other.
    """
    cells: dict[str, Cell] = {}
    for model in models:
        for prompt in prompts:
            cell = Cell(id=cell_id(model, prompt), model=model, prompt=prompt)
            there = cells.get(cell.id)
            if there is not None:
                raise _collision(there, cell)
            cells[cell.id] = cell
    return tuple(cells.values())


def check_prompt_ids(prompts: Sequence[Prompt]) -> None:
    """Refuse two prompts of one id, such as of two files: their cells could not be told apart.

    :raises ConfigError: naming both sources.
    """
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        if prompt.id in seen:
            raise _same_id(seen[prompt.id], prompt)
        seen[prompt.id] = prompt


class CellIds:
    """The cells of each test, which its author may have written one by one: one of an id."""

    def __init__(self, shown: Callable[[str], str] = str) -> None:
        """:param shown: makes of a prompt what people may see."""
        self._cells: dict[tuple[str, str], Cell] = {}
        self._shown = shown

    def note(self, cell: Cell, test: str) -> None:
        """What a test asks otherwise must be called otherwise; another test may call it alike.

        :param test: without its parameters.
        :raises ConfigError: if a cell of that id asks something else.
        """
        there = self._cells.setdefault((test, cell.id), cell)
        if there is cell or (there.model.alias, _asked(there.prompt)) == (cell.model.alias, _asked(cell.prompt)):
            return
        if there.model.alias != cell.model.alias:
            raise _collision(there, cell)
        first, second = (self._told(each.prompt) for each in (there, cell))
        own = any(each.prompt.source in _IN_CODE for each in (there, cell))
        how = ', such as pytest_llmci.Prompt(id="other", text=...)' if own else ""
        raise ConfigError(
            f"the prompts {first} and {second} have the same id '{cell.prompt.id}'; give one of them another id{how}."
        )

    def _told(self, prompt: Prompt) -> str:
        text = one_line(self._shown(prompt.shown))
        dots = " ..." if len(text) > LONGEST else ""
        place = "" if prompt.source in _IN_CODE else f" ({prompt.source})"
        return f'"{clipped(text, LONGEST)}{dots}"{place}'


def _asked(prompt: Prompt) -> tuple[object, ...]:
    return prompt.text, prompt.messages, prompt.fill, prompt.sha256


def _same_id(first: Prompt, second: Prompt) -> ConfigError:
    return ConfigError(
        f"two prompts of '{first.source}' and '{second.source}' have the id '{second.id}'; rename one of them."
    )


def _collision(first: Cell, second: Cell) -> ConfigError:
    if first.model == second.model:
        return _same_id(first.prompt, second.prompt)
    return ConfigError(
        f"model '{first.model.text}' with prompt '{first.prompt.id}' and model '{second.model.text}' with prompt '{second.prompt.id}'"
        f" would both be called '{second.id}'; name one of the models: other={second.model.text}."
    )
