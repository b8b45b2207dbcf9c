from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.tracking.layout import MOST_KEY, artifact_files, cut, key, tag_filter

ODD = [
    "p95(ms)",
    "a%b",
    "a(b",
    "a[b",
    "../up",
    "/abs",
    "a//b",
    "a/./b",
    ".",
    "..",
    "",
    "Über",
    "a" * 300,
    "a\nb",
    "a:b",
    "a/",
]
FINE = ["latency.median", "tok/s", "prompt/latency", "a b", "a-b_c", "x" * 250]


@pytest.mark.parametrize("name", FINE)
def test_what_mlflow_takes_stays(name: str) -> None:
    assert key(name) == name


def test_what_mlflow_refuses_becomes_a_key_that_it_takes() -> None:
    validation = pytest.importorskip("mlflow.utils.validation")
    keys = [key(name) for name in ODD]
    for name, made in zip(ODD, keys, strict=True):
        validation._validate_metric_name(made)
        validation._validate_param_name(made)
        assert made != name and len(made) <= MOST_KEY
    for name in FINE:
        validation._validate_metric_name(name)
    assert len({*keys, *FINE}) == len(ODD) + len(FINE)
    assert key("a(b").startswith("a_b-") and key("a[b").startswith("a_b-")


@pytest.mark.parametrize("length", [99, 100, 101, 5000])
def test_a_long_text_says_that_it_was_cut(length: int) -> None:
    text = "x" * length
    short = cut(text, 100)
    assert len(short) == min(length, 100)
    assert short == text if length <= 100 else short.endswith(f"x... (cut, {length} in all)")


def test_a_value_with_both_quotation_marks_cannot_be_searched() -> None:
    assert tag_filter("t", "it's") == 'tags.`t` = "it\'s"'
    with pytest.raises(ConfigError, match="MLflow cannot search for"):
        tag_filter("t", "'\"")


def test_the_files_of_a_run_folder(tmp_path: Path) -> None:
    for name in (
        "log.jsonl",
        "plots/a.png",
        "workers/a-1.log",
        "spool/x.jsonl",
        ".hidden",
        "plots/.tmp",
        "workers/empty.log",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if "empty" in name else "x")
    (tmp_path / "link.json").symlink_to(tmp_path / "log.jsonl")
    assert [name for _, name in artifact_files(tmp_path)] == ["log.jsonl", "plots/a.png", "workers/a-1.log"]
