from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pytest_llmci.delimited import read_lines, read_table
from pytest_llmci.errors import ConfigError


def test_rows_know_the_line_at_which_they_begin() -> None:
    assert read_lines('a;b\n ; \n"x\ny";z\nlast;', "f", ";") == [(1, ["a", "b"]), (3, ["x\ny", "z"]), (5, ["last", ""])]


def test_a_cell_may_be_as_long_as_the_file_and_the_limit_of_the_csv_module_stays() -> None:
    before = csv.field_size_limit()
    assert read_lines("x" * (before + 1), "f") == [(1, ["x" * (before + 1)])]
    with pytest.raises(ConfigError, match=r"^f, line 2: not valid CSV: .*\.$"):
        read_lines('a\n"b', "f")
    assert csv.field_size_limit() == before


def test_a_table_has_a_header_and_rows_as_wide_as_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("a;b\n1;2\n".encode("utf-16"))
    assert read_table(path, "a row a thing") == ((1, ["a", "b"]), [(2, ["1", "2"])])
    for text, fault in (
        ("", "is empty; expected a CSV file with a header line and a row a thing"),
        ("a,b\n1\n", "line 2: 1 cells, but the header has 2"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=fault):
            read_table(path, "a row a thing")
