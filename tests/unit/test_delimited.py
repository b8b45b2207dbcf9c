from __future__ import annotations

import csv

import pytest

from pytest_llmci.delimited import read_lines
from pytest_llmci.errors import ConfigError


def test_rows_know_the_line_at_which_they_begin() -> None:
    assert read_lines('a;b\n ; \n"x\ny";z\nlast;', "f", ";") == [(1, ["a", "b"]), (3, ["x\ny", "z"]), (5, ["last", ""])]


def test_a_cell_may_be_as_long_as_the_file_and_the_limit_of_the_csv_module_stays() -> None:
    before = csv.field_size_limit()
    assert read_lines("x" * (before + 1), "f") == [(1, ["x" * (before + 1)])]
    with pytest.raises(ConfigError, match=r"^f, line 2: not valid CSV: .*\.$"):
        read_lines('a\n"b', "f")
    assert csv.field_size_limit() == before
