"""A tree of runs: each run is a path in it, what two runs begin with is there once, a token's place is its depth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.backends.token_trie import TokenTrie, common_length, families

RUNS = st.lists(st.lists(st.integers(0, 3), max_size=8).map(tuple), max_size=12)


@given(RUNS, st.integers(0, 5))
def test_each_run_is_a_path_and_each_beginning_is_there_once(runs: list[tuple[int, ...]], base: int) -> None:
    trie = TokenTrie(base)
    paths = [trie.add(run) for run in runs]
    for run, path in zip(runs, paths, strict=True):
        assert [trie.tokens[node] for node in path] == list(run)
        assert [trie.positions[node] for node in path] == list(range(base, base + len(run)))
    assert len(trie) == len({run[:length] for run in runs for length in range(1, len(run) + 1)})


@given(RUNS)
def test_segments_tell_the_ancestors_of_every_token(runs: list[tuple[int, ...]]) -> None:
    trie = TokenTrie()
    paths = [trie.add(run) for run in runs]
    seen: dict[int, set[int]] = {-1: set()}
    for first, end, before in trie.segments:
        assert before < first
        for node in range(first, end):
            seen[node] = seen[before] | set(range(first, node + 1))
    assert len(seen) == len(trie) + 1
    for path in paths:
        for place, node in enumerate(path):
            assert seen[node] == set(path[: place + 1])


@given(RUNS, st.integers(1, 4), st.integers(1, 9))
def test_families_hold_every_question_once_and_what_all_of_them_begin_with(
    contexts: list[tuple[int, ...]], least: int, alone: int
) -> None:
    found = list(families(contexts, least, alone=alone))
    assert [number for family in found for number in range(family.first, family.end)] == list(range(len(contexts)))
    for family in found:
        members = contexts[family.first : family.end]
        assert members
        assert all(common_length(members[0], other) >= family.common for other in members)
        if family.common:
            assert family.common >= min(least, alone)
            assert len(members) > 1 or family.common >= alone
