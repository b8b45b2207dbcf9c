from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci.proof.derived import first_difference


@pytest.mark.parametrize(
    ("found", "expected", "place"),
    [
        ("a,b\r\n1,2\r\n", "a,b\r\n1,2\r\n", ""),
        ("a,c\r\n1,2\r\n", "a,b\r\n1,2\r\n", "header, column b: c where the log gives b"),
        ("a,b\r\n1,2\r\n", "a,b\r\n1,3\r\n", "row 1, column b: 2 where the log gives 3"),
        ("a,b\r\n1,\r\n", "a,b\r\n1,3\r\n", "row 1, column b: an empty text where the log gives 3"),
        ("a,b\r\n1\r\n", "a,b\r\n1,3\r\n", "row 1, column b: nothing where the log gives 3"),
        ("a,b\r\n", "a,b\r\n1,3\r\n", "row 1: is missing"),
        ("a,b\r\n1,3\r\n2,4\r\n", "a,b\r\n1,3\r\n", "row 2: is one too many"),
        ("a,b\n1,3\n", "a,b\r\n1,3\r\n", "its bytes differ, though not in what they say"),
        ('a\r\n"x\r\ny"\r\n', 'a\r\n"x\r\nz"\r\n', "row 1, column a: x\r\ny where the log gives x\r\nz"),
    ],
)
def test_tables(tmp_path: Path, found: str, expected: str, place: str) -> None:
    assert _difference(tmp_path, "t.csv", found, expected) == place


@pytest.mark.parametrize(
    ("found", "expected", "place"),
    [
        ('{"a":1}\n', '{"a":2}\n', "line 1: a: 1 where the log gives 2"),
        ('{\n"a":[1,{"b":2}]\n}\n', '{\n"a":[1,{"b":3}]\n}\n', "line 2: a[1].b: 2 where the log gives 3"),
        ('{"x":1,\n"a":1}\n', '{"y":1,\n"a":1}\n', "line 1: y is missing"),
        ('{"a":1,"b":1}\n', '{"a":1}\n', "line 1: b is one too many"),
        ('{"a":1x}\n', '{"a":1}\n', "line 1: is no JSON any more"),
        ('{"a":true}\n', '{"a":1}\n', "line 1: a: true where the log gives 1"),
        ('{"a":1}\n', '{"a":1}\n{}\n', "line 2: is missing"),
        ('{"a":1} \n', '{"a":1}\n', "line 1: differs"),
    ],
)
def test_documents(tmp_path: Path, found: str, expected: str, place: str) -> None:
    assert _difference(tmp_path, "t.json", found, expected) == place


def test_long_texts_are_shown_where_they_differ(tmp_path: Path) -> None:
    text = _difference(tmp_path, "t.csv", "a\r\n" + "x" * 500 + "HERE\r\n", "a\r\n" + "x" * 500 + "THERE\r\n")
    assert "HERE where the log gives ..." in text
    assert text.endswith("THERE")
    assert len(text) < 200


def test_texts_larger_than_the_csv_module_takes_by_itself(tmp_path: Path) -> None:
    text = _difference(tmp_path, "t.csv", "a\r\n" + "x" * 200_000 + "1\r\n", "a\r\n" + "x" * 200_000 + "2\r\n")
    assert text.startswith("row 1, column a: ...")


def _difference(folder: Path, name: str, found: str, expected: str) -> str:
    (folder / "log").mkdir()
    (folder / name).write_bytes(found.encode())
    (folder / "log" / name).write_bytes(expected.encode())
    return first_difference(folder / name, folder / "log" / name)
