"""Models x prompts -> cells with short, unique, stable ids."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ConfigError
from .records import Cell, ModelSpec, Prompt


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
