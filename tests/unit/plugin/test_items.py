from __future__ import annotations

from typing import Any

import pytest

from pytest_llmci.plugin.items import CellItem


class Spelled:
    """Counts how often an id is put together."""

    times = 0

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        Spelled.times += 1
        return self.text


@pytest.mark.skipif(not hasattr(pytest.Item, "id"), reason="this pytest keeps the id as a text")
def test_the_id_of_a_cell_is_put_together_once() -> None:
    item: Any = CellItem.__new__(CellItem)
    item._id = Spelled("inference::a-one")
    assert item.nodeid == item.nodeid == "inference::a-one"
    assert Spelled.times == 1
    item._id = Spelled("inference::a-one@group")
    assert item.nodeid == "inference::a-one@group", "pytest-xdist may give it another one"
