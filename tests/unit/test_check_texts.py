from __future__ import annotations

import datetime
import os.path

import pytest

from pytest_llmci.check_texts import check_text
from pytest_llmci.errors import ConfigError


def at_the_top(text: str) -> bool:
    return bool(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("contains: and ", "contains: and "),
        ({"max_words": 40}, "max_words:40"),
        ({"contains": "[1]"}, "contains:[1]"),
        ({"json": None}, "json"),
        ({"json": True}, "json:true"),
        ({"Contains-Any": ["a", "b"]}, 'Contains-Any:["a","b"]'),
        ({"equals": 4.5}, "equals:4.5"),
        ({"icontains": "Straße"}, "icontains:Straße"),
        ({"contains_all": ["Straße"]}, 'contains_all:["Straße"]'),
        ({"json_schema": {"type": "object", "required": ["a"]}}, 'json_schema:{"required":["a"],"type":"object"}'),
        ({"not": {"contains": "x"}}, "not:contains:x"),
        ({"not": "json"}, "not:json"),
        ({"NOT": {"not": {"max_words": 3}}}, "NOT:not:max_words:3"),
        ({"any-of": [{"contains": "a"}, "json", {"not": "b"}]}, 'any-of:["contains:a","json","not:b"]'),
        ({"all_of": ["json"]}, 'all_of:["json"]'),
        (at_the_top, f"python:{__name__}:at_the_top"),
        ({"not": os.path.isabs}, f"not:python:{os.path.__name__}:isabs"),
    ],
)
def test_one_check_has_one_text(value: object, text: str) -> None:
    found = check_text(value, "row 1")
    assert found == text
    assert type(found) is str


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "the check is empty"),
        (" ", "the check is empty"),
        (None, "expected a check, found nothing"),
        (5, "expected a check, found the number 5"),
        (True, "expected a check, found the truth value true"),
        (["json"], "expected a check, found a list"),
        ({}, "a mapping of 0 keys"),
        ({"json": None, "contains": "x"}, "a mapping of 2 keys"),
        ({5: "x"}, "must be text without ':', found 5"),
        ({"a:b": "x"}, "must be text without ':'"),
        ({"equals": datetime.date(2020, 1, 1)}, "put a date in quotes"),
        ({"number": float("nan")}, "must be text, numbers, lists and mappings"),
        ({"not": 5}, "row 1: not: expected a check"),
        ({"any_of": [[]]}, "row 1: any_of: expected a check, found a list"),
        (lambda text: True, "<lambda> cannot be found again by its name"),
    ],
)
def test_what_is_no_check_is_refused_in_one_line(value: object, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_text(value, "row 1")
    assert reason in str(caught.value) and str(caught.value).startswith("row 1: ")
    assert "\n" not in str(caught.value)


def test_a_function_that_has_been_replaced_is_not_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = at_the_top
    monkeypatch.setitem(globals(), "at_the_top", os.path.isabs)
    with pytest.raises(ConfigError, match="at_the_top cannot be found again"):
        check_text(before, "row 1")
