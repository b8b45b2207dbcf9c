from __future__ import annotations

import json
from pathlib import Path

import pytest
from leaderboards import board_row, kaggle_row, write_table

from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.leaderboard.read import read_leaderboard
from pytest_llmci.leaderboard.select import OVERHEAD_BYTES, Selection, Wanted, memory_of, select
from pytest_llmci.leaderboard.select_text import option, selection_file, selection_json, selection_lines
from pytest_llmci.leaderboard.sizes import Size
from pytest_llmci.specs import read_specs


def chosen(found: Selection) -> list[str]:
    return [each.candidate.entry.model for each in found.chosen]


def reasons(found: Selection, model: str) -> list[str]:
    return [reason.kind for each in found.lost if each.entry.model == model for reason in each.reasons]


def select_from(tmp_path: Path, rows: list[dict[str, str]], **wanted: object) -> Selection:
    board = read_leaderboard(write_table(tmp_path / "board.csv", rows))
    return select(board, Wanted(**wanted))  # type: ignore[arg-type]  # a test names the fields


def plain(model: str, average: str = "40", **cells: str) -> dict[str, str]:
    return {**board_row(model, average, **cells), "Flagged": cells.get("flagged", "False")}


def test_the_highest_first_and_of_equals_the_smaller(tmp_path: Path) -> None:
    rows = [
        kaggle_row("a", "30"),
        kaggle_row("b", "50", size="3"),
        kaggle_row("c", "50", size="2"),
        kaggle_row("d", "40"),
    ]
    found = select_from(tmp_path, rows, top=3)
    assert chosen(found) == ["c", "b", "d"]
    assert [each.why for each in found.chosen] == [
        "highest Average score of 4",
        "0.00 below the first",
        "10.00 below the first",
    ]
    assert [each.entry.model for each in found.lower] == ["a"] and found.lost == ()


def test_another_score_ranks(tmp_path: Path) -> None:
    rows = [kaggle_row("a", "30", MMLU="60"), kaggle_row("b", "50"), kaggle_row("c", "50", MMLU="n/a")]
    found = select_from(tmp_path, rows, by="mmlu")
    assert (found.by, chosen(found)) == ("MMLU", ["a", "b"])
    assert reasons(found, "c") == ["MMLU not known"]
    with pytest.raises(UnknownNameError, match="--by: unknown score 'MLU'. Did you mean 'MMLU'?"):
        select_from(tmp_path, rows, by="MLU")


def test_limits_hold_at_the_limit_and_not_above(tmp_path: Path) -> None:
    rows = [kaggle_row(f"m{size}", size=size) for size in ("1.9", "2.0", "2.01", "0")]
    found = select_from(tmp_path, rows, max_params_b=2.0)
    assert chosen(found) == ["m1.9", "m2.0"]
    assert reasons(found, "m2.01") == ["over 2B parameters"] and reasons(found, "m0") == ["size not known"]


def test_a_size_that_was_cut_off_may_be_nearly_one_more(tmp_path: Path) -> None:
    rows = [
        plain("org/x", size="1"),
        plain("org/y", size="2"),
        plain("org/z-2.7b", size="2"),
        plain("org/w", size="13"),
    ]
    found = select_from(tmp_path, rows, max_params_b=2.0)
    assert chosen(found) == ["org/x"]
    assert chosen(select_from(tmp_path, rows, max_params_b=2.8)) == ["org/x", "org/z-2.7b"]


def test_where_file_and_name_differ_the_larger_one_counts(tmp_path: Path) -> None:
    found = select_from(
        tmp_path, [kaggle_row("org/a-7b", size="1.5"), kaggle_row("org/b-125m", size="0")], max_params_b=2.0
    )
    assert chosen(found) == ["org/b-125m"] and found.chosen[0].why.endswith("size from its name")
    assert found.lost[0].reasons[0].detail == "1.5 to 7B, the file says 1.5B and its name 7B"


def test_memory_is_parameters_in_the_dtype_and_the_process(tmp_path: Path) -> None:
    memory = memory_of(Size(low_b=1, high_b=2, source=""), "bfloat16")
    assert (memory.low, memory.high) == (2e9 + OVERHEAD_BYTES, 4e9 + OVERHEAD_BYTES)
    rows = [kaggle_row("a", size="1"), kaggle_row("b", size="2.5")]
    whole = select_from(tmp_path, rows, max_memory_bytes=6 * 2**30)
    assert chosen(whole) == ["a"] and reasons(whole, "b") == ["over 6 GiB of memory by estimate"]
    half = select_from(tmp_path, rows, max_memory_bytes=6 * 2**30, dtype="float16")
    assert chosen(half) == ["a", "b"]
    assert [each.spec for each in half.chosen] == ["a+dtype=float16", "b+dtype=float16"]


@pytest.mark.parametrize(
    ("globs", "models"),
    [(("apache-2.0",), ["a"]), (("cc-by-*", "MIT"), ["b", "c"]), (("*",), ["a", "b", "c"]), ((), ["a", "b", "c", "d"])],
)
def test_a_missing_licence_meets_none(tmp_path: Path, globs: tuple[str, ...], models: list[str]) -> None:
    licences = {"a": "apache-2.0", "b": "mit", "c": "cc-by-nc-4.0", "d": ""}
    found = select_from(tmp_path, [kaggle_row(model, license=text) for model, text in licences.items()], licenses=globs)
    assert chosen(found) == models
    if globs:
        assert reasons(found, "d") == ["licence not known"]


def test_types_and_scores_are_limits_too(tmp_path: Path) -> None:
    rows = [
        kaggle_row("a", "39.9"),
        kaggle_row("b", "40"),
        kaggle_row("c", "50", type="chat models (RLHF)"),
        kaggle_row("d", ""),
    ]
    found = select_from(tmp_path, rows, min_score=40.0, types=("pretrained",))
    assert chosen(found) == ["b"]
    assert [reasons(found, model) for model in "acd"] == [
        ["Average score under 40"], ["type other than pretrained"], ["Average score not known"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("group", "model", "cells"),
    [
        ("flagged", "org/x", {"flagged": "True"}),
        ("unavailable", "org/x", {"on_hub": "False"}),
        ("adapters", "org/x", {"weights": "Adapter"}),
        ("adapters", "org/x", {"weights": "Delta"}),
        ("packed", "org/x", {"precision": "GPTQ"}),
        ("packed", "org/x-AWQ", {}),
        ("gated", "org/x", {"Gated": "manual"}),
    ],
)
def test_what_is_left_out_unless_asked_for(tmp_path: Path, group: str, model: str, cells: dict[str, str]) -> None:
    rows = [{"Gated": "False", **plain(model, "50", **cells)}, {"Gated": "False", **plain("org/y")}]
    rows[0].update({key: cell for key, cell in cells.items() if key == "Gated"})
    found = select_from(tmp_path, rows)
    assert chosen(found) == ["org/y"] and len(found.lost[0].reasons) == 1
    assert chosen(select_from(tmp_path, rows, include=frozenset([group]))) == [model, "org/y"]


def test_a_model_is_flagged_if_any_of_its_rows_is(tmp_path: Path) -> None:
    rows = [plain("org/x", "40"), plain("Org/X", "41", precision="8bit", flagged="True")]
    assert chosen(select_from(tmp_path, rows)) == []


def test_a_model_counts_once(tmp_path: Path) -> None:
    rows = [
        kaggle_row("org/x", "50", precision="8bit"),
        kaggle_row("org/x", "40"),
        kaggle_row("org/y", "30", precision="8bit"),
    ]
    found = select_from(tmp_path, rows)
    assert [(each.candidate.entry.line, each.why) for each in found.chosen] == [
        (3, "highest Average score of 2"), (4, "10.00 below the first; score of 8bit"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["GPT-4 (closed)", "a,b", "a=b", "a b/c", "org/x@main", "org/x+dtype=q", "a/b/c", "-x"]
)
def test_a_name_that_is_no_repository_reaches_no_command_line(tmp_path: Path, name: str) -> None:
    found = select_from(tmp_path, [kaggle_row(name)])
    assert chosen(found) == [] and reasons(found, name) == ["named unlike any repository of the hub"]


def test_the_list_is_read_by_the_plugin_as_it_stands(tmp_path: Path) -> None:
    commit = "ab" * 20
    rows = [
        plain("one/same", "50", sha=commit),
        plain("two/same", "40", sha="main"),
        plain("three/other", "30", sha="; rm -rf"),
    ]
    found = select_from(tmp_path, rows, dtype="bfloat16")
    assert option(found) == (
        f"--llm-models=one-same=one/same@{commit}+dtype=bfloat16,two-same=two/same+dtype=bfloat16,three/other+dtype=bfloat16"
    )
    (tmp_path / "models.yaml").write_text(selection_file(found), "utf-8")
    specs = read_specs([("@models.yaml", "x")], ["hf", "transformers"], tmp_path)
    assert [(spec.alias, spec.target, spec.revision, spec.options) for spec in specs] == [
        ("one-same", "one/same", commit, {"dtype": "bfloat16"}),
        ("two-same", "two/same", "", {"dtype": "bfloat16"}),
        ("other", "three/other", "", {"dtype": "bfloat16"}),
    ]


def test_what_the_file_does_not_tell_cannot_be_asked_for(tmp_path: Path) -> None:
    rows = [{"Model": "a", "Average": "40"}]
    for limit, text in (({"licenses": ("mit",)}, "--license"), ({"types": ("chat",)}, "--type")):
        with pytest.raises(ConfigError, match=f"^{text}: .* has no column for it"):
            select_from(tmp_path, rows, **limit)
    assert reasons(select_from(tmp_path, rows, max_params_b=1.0), "a") == ["size not known"]


def test_the_text_says_who_lost_for_what(tmp_path: Path) -> None:
    rows = [
        *(kaggle_row(f"org/big{n}", str(60 + n), size="70") for n in range(3)),
        *(kaggle_row(f"org/m{n}", str(40 + n)) for n in range(3)),
        kaggle_row("org/free", "55", license=""),
    ]
    text = "\n".join(selection_lines(select_from(tmp_path, rows, top=2, max_params_b=2.0, licenses=("apache-2.0",))))
    assert "7 models, 3 within the limits (at most 2B parameters; licence apache-2.0;" in " ".join(text.split())
    assert "--llm-models=org/m2,org/m1\n" in text
    assert "  1  lower Average score: next is org/m0 (40.00)\n" in text
    assert "  3  over 2B parameters: org/big2 (62.00, 70B)\n" in text
    assert "  1  licence not known: org/free (55.00)\n" in text
    assert "Memory is an estimate: parameters x 4 bytes (float32) + 512 MiB" in text
    assert "The file does not say which models are flagged, gated, still on the hub." in text


def test_nothing_within_the_limits_is_said(tmp_path: Path) -> None:
    lines = selection_lines(select_from(tmp_path, [kaggle_row()], min_score=90.0))
    assert "board.csv: 1 model, 0 within the limits (" in " ".join(" ".join(lines).split())
    assert "No model is within the limits." in lines and not any("--llm-models" in line for line in lines)


def test_json_holds_every_reason_of_every_model(tmp_path: Path) -> None:
    rows = [kaggle_row("a"), kaggle_row("b", "30", size="7", license="mit")]
    found = select_from(tmp_path, rows, max_params_b=2.0, licenses=("apache-2.0",))
    data = json.loads(json.dumps(selection_json(found), allow_nan=False))
    assert data["llm_models"] == ["a"]
    assert data["chosen"][0]["parameters_b"] == [1.1, 1.1] and data["chosen"][0]["parameters_source"] == "file"
    assert data["lost"][0]["reasons"] == ["over 2B parameters: 7B", "licence other than apache-2.0: mit"]
