from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sample_run import rounds

from pytest_llmci.cost.chosen import ChosenPrices, add_cost, choose_prices
from pytest_llmci.errors import ConfigError
from pytest_llmci.records import ModelSpec, Price
from pytest_llmci.settings import Sourced

TABLE = '[[price]]\nname = "api"\nusd_per_million_tokens = 2\n[[price]]\nname = "rack"\nusd_per_hour = 3.6\n'


def chosen(tmp_path: Path, *texts: str) -> ChosenPrices:
    (tmp_path / "ours.toml").write_text(TABLE)
    return choose_prices([Sourced(text=text, origin="--llmci-prices") for text in texts], lambda _: tmp_path)


def test_a_name_is_of_the_packaged_table_and_of_a_file_the_first_price_counts(tmp_path: Path) -> None:
    names = [chosen(tmp_path, text).of("m") for text in ("gcp-a100", "ours.toml", "ours.toml#rack")]
    assert [price and price.name for price in names] == ["gcp-a100", "api", "rack"]


def test_a_glob_gives_models_prices_of_their_own_and_the_last_that_matches_counts(tmp_path: Path) -> None:
    prices = chosen(tmp_path, "colab-gpu", "smol*:ours.toml#rack")
    big, small = prices.of("falcon"), prices.of("smollm2")
    assert big is not None and small is not None and (big.name, small.name) == ("colab-gpu", "rack")
    assert chosen(tmp_path, "smol*:colab-gpu").of("falcon") is None
    assert [price.name for price in prices.prices] == ["colab-gpu", "rack", "api"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gcp-a10", r"^--llmci-prices: unknown packaged price 'gcp-a10'\. Did you mean 'gcp-a100'"),
        ("ours.toml#rock", r"^--llmci-prices: unknown price of ours\.toml 'rock'\. Did you mean 'rack'"),
        ("our.toml", r"^--llmci-prices: .*our\.toml: cannot be read: No such file.* Did you mean '.*ours\.toml'"),
        (":api", r"expected \[GLOB:\]NAME or"),
        ("m:", r"expected \[GLOB:\]NAME or"),
    ],
)
def test_a_price_that_is_not_there_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(tmp_path, text)


def test_equal_answers_cost_the_same_only_where_all_pay_by_tokens(tmp_path: Path) -> None:
    assert chosen(tmp_path, "ours.toml").metric.deterministic
    assert not chosen(tmp_path, "ours.toml", "m:ours.toml#rack").metric.deterministic


def test_people_are_told_whose_price_it_is_and_what_speaks_against_it(tmp_path: Path) -> None:
    specs = [ModelSpec(text=alias, alias=alias, backend="echo", target="") for alias in ("a", "b")]
    lines = chosen(tmp_path, "b:ours.toml", "b:gcp-a2-highgpu-1g").describe(specs, date(2026, 11, 1))
    assert lines == [
        "price of no model: 2 and 2 USD a million input and output tokens, api (its date is not told)",
        "price of b: 3.67 USD an hour, Google Cloud a2-highgpu-1g (A100 40 GB), on demand (of 2025-03-07, older than a year)",
        "no price: a",
    ]


def test_a_block_gets_a_column_or_the_reason_for_none() -> None:
    block = rounds(
        values={"latency": [1_000_000_000, 2_000_000_000], "prompt_tokens": [10, 10], "output_tokens": [5, None]}
    )
    hourly, tokens, none = (replace(block, values=dict(block.values), reasons=dict(block.reasons)) for _ in range(3))
    add_cost(hourly, Price(name="rack", usd_per_hour=3600.0))
    assert hourly.values["cost"] == [1.0, 2.0] and "cost" not in hourly.reasons
    add_cost(tokens, Price(name="api", usd_per_million_input_tokens=1.0, usd_per_million_output_tokens=2.0))
    assert tokens.values["cost"] == [2e-5, None] and "does not count tokens" in tokens.reasons["cost"]
    add_cost(none, None)
    assert "cost" not in none.values and "--llmci-prices" in none.reasons["cost"]
