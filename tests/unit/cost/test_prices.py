from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pytest_llmci.cost.estimate import doubt
from pytest_llmci.cost.prices import packaged_prices, read_prices
from pytest_llmci.errors import ConfigError

PUBLIC = Path(__file__).parents[4] / "shared/data/prices"


def write(tmp_path: Path, text: str, name: str = "ours.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_packaged_table_holds_the_papers_three_and_list_prices_with_source_and_day() -> None:
    prices = packaged_prices().prices
    assert {name: prices[name].usd_per_hour for name in ("colab-cpu", "colab-gpu", "gcp-a100")} == {
        "colab-cpu": 0.0, "colab-gpu": 0.75, "gcp-a100": 0.40,
    }  # fmt: skip
    assert all(price.source and price.environment for price in prices.values())
    assert len([price for price in prices.values() if price.date]) >= 5


def test_a_price_older_than_a_year_of_no_day_or_of_tomorrow_is_flagged() -> None:
    prices = packaged_prices().prices
    assert doubt(prices["gcp-a2-highgpu-1g"], date(2026, 3, 7)) == ""
    assert doubt(prices["gcp-a2-highgpu-1g"], date(2026, 3, 8)) == "of 2025-03-07, older than a year"
    assert doubt(prices["colab-gpu"], date(2026, 3, 8)) == "its date is not told"
    assert "in the future" in doubt(prices["aws-g5.xlarge"], date(2026, 6, 16))


def test_tokens_and_hours_of_a_companys_own_table(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[[price]]\nname = "api"\nusd_per_million_input_tokens = 0.15\nusd_per_million_output_tokens = 0.6\ndate = "2026-01-31"\n'
        '[[price]]\nname = "flat"\nusd_per_million_tokens = 2\n'
        '[[price]]\nname = "rack 7"\nusd_per_hour = 1.5\ndate = 2026-02-01\n',
    )
    api, flat, rack = read_prices(path).prices.values()
    assert (api.usd_per_million_input_tokens, api.usd_per_million_output_tokens, api.date) == (0.15, 0.6, "2026-01-31")
    assert (flat.usd_per_million_input_tokens, flat.usd_per_million_output_tokens) == (2.0, 2.0)
    assert (rack.name, rack.usd_per_hour, rack.usd_per_million_input_tokens, rack.date) == (
        "rack 7",
        1.5,
        None,
        "2026-02-01",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"holds no price; write at least one entry"),
        ("price = 3", r"holds no price"),
        ("[[price]\n", r"not valid TOML: .*line 1"),
        ('version = 2\n[[price]]\nname="a"\nusd_per_hour=1', r"version 2 of the table"),
        ('[[prices]]\nname="a"', r"unknown key 'prices'\. Did you mean 'price'"),
        ('[[price]]\nname="a"\nusd_per_hours=1', r"entry 1: unknown key 'usd_per_hours'\. Did you mean 'usd_per_hour'"),
        ("[[price]]\nusd_per_hour=1", r"entry 1: key 'name': expected a name"),
        ('[[price]]\nname="a:b"\nusd_per_hour=1', r"entry 1: key 'name'"),
        ('[[price]]\nname="a"', r"entry 1 \(a\): expected either 'usd_per_hour', or"),
        ('[[price]]\nname="a"\nusd_per_hour=1\nusd_per_million_tokens=1', r"expected either"),
        ('[[price]]\nname="a"\nusd_per_million_tokens=1\nusd_per_million_input_tokens=1', r"is for both"),
        ('[[price]]\nname="a"\nusd_per_million_input_tokens=1', r"key 'usd_per_million_output_tokens' is missing"),
        ('[[price]]\nname="a"\nusd_per_hour=-1', r"expected a number of at least 0, in USD, found -1"),
        ('[[price]]\nname="a"\nusd_per_hour=nan', r"expected a number of at least 0"),
        ('[[price]]\nname="a"\nusd_per_hour="1"', r"expected a number of at least 0"),
        ('[[price]]\nname="a"\nusd_per_hour=1\ndate="soon"', r"key 'date': expected a day such as"),
        ('[[price]]\nname="a"\nusd_per_hour=1\nsource=1', r"key 'source': expected a text"),
        (
            '[[price]]\nname="a"\nusd_per_hour=1\n[[price]]\nname="a"\nusd_per_hour=2',
            r"entry 2: the name 'a' stands twice",
        ),
    ],
)
def test_a_wrong_table_is_refused_in_one_line_that_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_prices(write(tmp_path, text))
    assert "ours.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_of_machines_gives_on_demand_and_spot_prices(tmp_path: Path) -> None:
    text = "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\nbig,T4,2.0,$1.5,0.5,eu\nbig,T4,2.0,1.5,0.5,eu\nnone,,,,,us\n"
    table = read_prices(write(tmp_path, text, "machines.csv"))
    assert {name: price.usd_per_hour for name, price in table.prices.items()} == {"big-eu": 1.5, "big-eu-spot": 0.5}
    assert table.prices["big-eu"].environment == "big, 2 x T4, eu (on demand)"
    assert table.prices["big-eu"].source == "machines.csv, line 2"
    assert table.notes == ("no price, left out: line 4",)


def test_one_name_with_several_prices_is_told_apart_or_takes_the_dearest(tmp_path: Path) -> None:
    text = "Name,GPU Type,Price\nn1,T4,1\nn1,V100,3\nn1,V100,4\n"
    table = read_prices(write(tmp_path, text, "machines.csv"))
    assert {name: price.usd_per_hour for name, price in table.prices.items()} == {
        "n1-T4-on-demand": 1.0, "n1-V100-on-demand": 4.0,
    }  # fmt: skip
    assert table.notes == ("several prices under one name, the highest taken: n1-V100-on-demand",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"expected a column of names \('name' or .*found a, b"),
        ("name,price\nx,dear\n", r"line 2: 'dear' is no price"),
        ("name,price\nx,-1\n", r"line 2: '-1' is no price"),
        ("name,price\nx,\n", r"holds no price"),
        ("name,price\n", r"no rows below its header"),
    ],
)
def test_a_wrong_csv_table_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_prices(write(tmp_path, text, "machines.csv"))


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public price tables are not here")
def test_public_tables_of_machines_are_read() -> None:
    clouds, aws, gcp = (
        read_prices(PUBLIC / f"{name}.csv") for name in ("cloud-gpus", "skypilot-aws-slice", "skypilot-gcp-slice")
    )
    assert clouds.prices["GCP-a2-highgpu-1g"].usd_per_hour == 3.67
    assert (
        clouds.prices["GCP-n1-highmem-8-1-x-T4-16-GB-on-demand"].usd_per_hour
        != clouds.prices["GCP-n1-highmem-8-1-x-V100-16-GB-on-demand"].usd_per_hour
    )
    assert aws.prices["g4dn.xlarge-eu-west-1"].usd_per_hour == 0.587 and aws.notes == (
        "no price, left out: line 19, 32",
    )
    assert gcp.prices["tpu-v6e-1-us-central1"].usd_per_hour == 2.7


def test_the_docs_list_every_packaged_price() -> None:
    page = (Path(__file__).parents[3] / "docs/costs.md").read_text(encoding="utf-8")
    for price in packaged_prices().prices.values():
        assert f"| `{price.name}` | {price.usd_per_hour:g} | {price.date or 'not told'} | {price.environment} |" in page
