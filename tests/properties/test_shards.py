"""Which shard measures which model."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.engine.shards import MOST_OVER_MEAN, STEP, assign, room_of

ALIASES = st.text("abcdefgh-0123", min_size=1, max_size=8)
COSTS = st.dictionaries(ALIASES, st.floats(1e-3, 1e4), min_size=1, max_size=40)
SHARDS = st.integers(1, 12)


def rounded(cost: float) -> float:
    return STEP ** round(math.log(cost, STEP))


@given(COSTS, SHARDS)
def test_every_model_has_one_shard_whatever_the_order(costs: dict[str, float], of: int) -> None:
    """A function of names and costs: machines that list the models in another order agree."""
    found = assign(costs, of)
    assert list(found) == list(costs)
    assert set(found.values()) <= set(range(1, of + 1))
    assert assign(dict(sorted(costs.items(), reverse=True)), of) == found


@given(COSTS, SHARDS)
def test_no_shard_has_much_more_than_its_share(costs: dict[str, float], of: int) -> None:
    """At most 1.375 means, or one mean and one model; costs as they are rounded, by 12 % at most."""
    load = [0.0] * of
    for alias, shard in assign(costs, of).items():
        load[shard - 1] += rounded(costs[alias])
    mean, dearest = math.fsum(load) / of, max(map(rounded, costs.values()))
    assert max(load) <= max(MOST_OVER_MEAN * mean, mean + dearest) * (1 + 1e-9)
    assert all(1 / 1.12 <= rounded(cost) / cost <= 1.12 for cost in costs.values())


@given(COSTS, SHARDS, st.randoms(use_true_random=False))
def test_small_changes_of_costs_move_nothing(costs: dict[str, float], of: int, chance: random.Random) -> None:
    """What rounds to the same cost is the same."""
    near = {alias: rounded(cost) * STEP ** chance.uniform(-0.4, 0.4) for alias, cost in costs.items()}
    assert assign(near, of) == assign({alias: rounded(cost) for alias, cost in costs.items()}, of)


@given(st.sets(ALIASES, min_size=2, max_size=40), st.integers(2, 12), st.data())
def test_an_equally_dear_model_that_is_added_moves_at_most_one_model_a_shard(
    aliases: set[str], of: int, data: st.DataObject
) -> None:
    """As long as the room does not grow by a step and holds all: who loses a place is the last one in it."""
    new = data.draw(st.sampled_from(sorted(aliases)))
    after = dict.fromkeys(sorted(aliases), 1.0)
    before = {alias: 1.0 for alias in after if alias != new}
    room = room_of(before.values(), of)
    if room != room_of(after.values(), of) or math.floor(room) * of < len(after):
        return
    one, other = assign(before, of), assign(after, of)
    moved = [alias for alias in before if one[alias] != other[alias]]
    assert len(moved) <= of
    left = [one[alias] for alias in moved]
    assert len(left) == len(set(left))


@pytest.mark.parametrize(("models", "of", "most_on_average"), [(1472, 64, 3.0), (100, 8, 4.0), (20, 4, 2.5)])
def test_few_models_move_when_one_is_added(models: int, of: int, most_on_average: float) -> None:
    """Costs that differ by a factor of a hundred: on average a handful of models move, where dealing them out anew moves most."""
    chance = random.Random(models)
    moved, dealt = [], []
    for trial in range(2 if models > 1000 else 20):
        costs = {f"model-{trial}-{number}": chance.lognormvariate(0, 1) for number in range(models)}
        before = assign(costs, of)
        for number in range(6):
            new = f"a-new-{trial}-{number}"
            after = assign({**costs, new: chance.lognormvariate(0, 1)}, of)
            moved.append(sum(after[alias] != shard for alias, shard in before.items()))
            one, other = sorted(costs), sorted([*costs, new])
            dealt.append(sum(one.index(alias) % of != other.index(alias) % of for alias in one[:200]))
    assert fmean(moved) <= most_on_average
    assert sum(number == 0 for number in moved) >= len(moved) / 3
    assert fmean(dealt) > models / of, "what the rule is for"
