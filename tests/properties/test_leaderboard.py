"""Leaderboards come from anywhere: any file is read or refused in one line, and no choice is outside of its limits."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from leaderboards import KAGGLE, board_row, write_table

from pytest_llmci.errors import ConfigError
from pytest_llmci.leaderboard.read import read_leaderboard
from pytest_llmci.leaderboard.select import Wanted, select

CELLS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    st.floats().map(repr),
    st.sampled_from(
        ["7B", "-1", "NaN", "1,234", "52,1", "99 %", "8x7B", "1e400", "", "inf", "12.5", "0", "True", "no", '"', "𝟕"]
    ),
)
ROWS = st.lists(st.lists(CELLS, min_size=len(KAGGLE), max_size=len(KAGGLE)), min_size=1, max_size=8)


def refusal_or_nothing(path: Path) -> str:
    try:
        board = read_leaderboard(path)
    except ConfigError as error:
        return str(error) or "\n"
    return "" if board.entries else "\n"


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.binary(max_size=80).map(b"Model,Average\n".__add__),
    )
)
def test_any_bytes_are_read_or_refused_in_one_line(data: bytes) -> None:
    """A file is a table, or one line says what is wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(data)
        assert "\n" not in refusal_or_nothing(path)


@settings(max_examples=150)
@given(ROWS)
def test_any_cells_give_numbers_in_range_or_none(rows: list[list[str]]) -> None:
    """A number is right or missing: scores are per cent, sizes above zero."""
    with tempfile.TemporaryDirectory() as folder:
        table = [dict(zip(KAGGLE, row, strict=True)) for row in rows]
        table[0]["model_name_for_query"] = "org/model"
        board = read_leaderboard(write_table(Path(folder) / "a.csv", table))
    for entry in board.entries:
        assert all(0 <= score <= 100 for score in entry.scores.values())
        assert entry.average is None or 0 <= entry.average <= 100
        assert entry.size_b is None or 0 < entry.size_b < float("inf")
        assert entry.likes is None or 0 <= entry.likes < float("inf")


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from(["0", "1", "2", "7", "1.5", "-1"]), st.sampled_from(["mit", "", "other"]), st.integers(0, 100)), min_size=1, max_size=12),
    st.floats(0.5, 10),
)  # fmt: skip
def test_every_choice_meets_every_limit_and_every_model_is_accounted_for(
    models: list[tuple[str, str, int]], limit: float
) -> None:
    """Chosen, lower and lost together are all models; what is chosen is under the limit at its largest."""
    rows = [board_row(f"org/m{n}", str(score), size=size, license=text) for n, (size, text, score) in enumerate(models)]
    with tempfile.TemporaryDirectory() as folder:
        board = read_leaderboard(write_table(Path(folder) / "a.csv", rows))
    found = select(board, Wanted(max_params_b=limit, licenses=("mit",), include=frozenset(["flagged"]), top=3))
    assert len(found.chosen) + len(found.lower) + len(found.lost) == found.models == len(models)
    for candidate in (*(each.candidate for each in found.chosen), *found.lower):
        assert candidate.size is not None and candidate.size.high_b <= limit and candidate.entry.license == "mit"
    scores = [each.candidate.score for each in found.chosen]
    assert scores == sorted(scores, key=lambda score: -(score or 0))
