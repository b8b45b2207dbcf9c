from __future__ import annotations

from typing import Any

import pytest

from pytest_llmci.errors import StoreError
from pytest_llmci.records import (
    LOG_RECORDS,
    log_record_type,
)


@pytest.mark.parametrize("name", LOG_RECORDS)
def test_a_line_names_the_record_it_holds(name: str) -> None:
    assert name == log_record_type({"type": name}).TYPE


@pytest.mark.parametrize("data", [{}, {"type": "rows"}, {"type": None}, {"type": ["header"]}])
def test_an_unknown_line_is_a_store_error(data: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="unknown type of log line"):
        log_record_type(data)
