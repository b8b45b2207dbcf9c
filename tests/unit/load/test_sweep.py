"""The search for the highest rate."""

from __future__ import annotations

import pytest

from pytest_llmci.load.sweep import Search


def searched(strength: float, *, low: float = 1, high: float = 64, resolution: float = 0.1) -> Search:
    """A search on a server that keeps its objective up to a rate."""
    search = Search(low=low, high=high, resolution=resolution)
    while (rate := search.next()) is not None:
        search.tell(rate, rate <= strength)
    return search


@pytest.mark.parametrize("strength", [1.0, 1.04, 5.0, 23.7, 63.9])
def test_it_ends_within_its_resolution_below_what_the_server_stands(strength: float) -> None:
    search = searched(strength)
    assert search.kept is not None and search.missed is not None
    assert search.kept <= strength < search.missed <= search.kept * 1.1 + 1e-9
    assert len(search.tried) <= 12


def test_the_server_is_never_offered_more_than_twice_what_it_kept() -> None:
    search = searched(5.0)
    kept = [rate for rate in search.tried if rate <= 5.0]
    assert all(rate <= 2 * max(kept) for rate in search.tried)
    assert search.tried[:4] == [1, 2, 4, 8]


def test_the_ends_of_the_search() -> None:
    assert (searched(0.5).kept, searched(0.5).ended) == (None, "not even 1 /s kept the objective")
    whole = searched(1000.0)
    assert (whole.kept, whole.tried[-1], whole.ended) == (64, 64, "64 /s kept the objective, the end of the search")
    assert searched(7.0, resolution=0.5).ended == "5.66 /s kept the objective, 8 /s did not"


def test_a_generator_that_cannot_keep_up_ends_it() -> None:
    search = Search(low=1, high=64, resolution=0.1)
    search.tell(1, True)
    search.tell(2, None)
    assert search.next() is None
    assert (
        search.ended
        == "1 /s kept the objective; at 2 /s the generator itself could not keep up, so the server may stand more"
    )
    search = Search(low=4, high=64, resolution=0.1)
    search.tell(4, None)
    assert search.next() is None and search.ended == "at 4 /s the generator itself could not keep up"
