from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.errors import ConfigError
from pytest_llmci.matrix import expand
from pytest_llmci.records import ModelSpec, Prompt

NAMES = st.lists(st.text("ab-", min_size=1, max_size=4), unique=True, max_size=4)


@given(NAMES, NAMES)
def test_ids_are_unique_or_refused(aliases: list[str], ids: list[str]) -> None:
    """Every model meets every prompt under an id of its own, or the matrix is refused."""
    models = [ModelSpec(alias=alias, backend="echo", text=alias) for alias in aliases]
    prompts = [Prompt(id=name, text=name) for name in ids]
    names = {f"{alias}-{name}" for alias in aliases for name in ids}
    try:
        cells = expand(models, prompts)
    except ConfigError:
        assert len(names) < len(aliases) * len(ids)
    else:
        assert {cell.id for cell in cells} == names
        assert [(cell.model, cell.prompt) for cell in cells] == [(m, p) for m in models for p in prompts]
