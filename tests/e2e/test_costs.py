"""``--llmci-prices``: the metric ``cost``, budgets and comparisons on it, with and without pytest-xdist."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from bench import Bench
from timing import on_real_time

from pytest_llmci.cli.main import main

TABLE = """\
[[price]]
name = "api"
usd_per_million_input_tokens = 1.0
usd_per_million_output_tokens = 1000.0
date = TODAY
[[price]]
name = "rack"
usd_per_hour = 36000.0
""".replace("TODAY", datetime.now(UTC).date().isoformat())
TEST = "def test_it(llm_result):\n    assert llm_result.cost.median > 0\n"


@pytest.mark.parametrize("more", [(), ("-n2",)], ids=["alone", "xdist"])
def test_every_round_has_a_cost_and_the_summary_tells_what_a_day_costs(bench: Bench, more: tuple[str, ...]) -> None:
    bench.write("ours.toml", TABLE)
    result = bench.suite(
        "a=echo,b=echo+ttft=10ms", "--llmci-prices=a:ours.toml,b:ours.toml#rack", *more, fresh=bool(more)
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines_random(
        [
            "llmci: price of a: 1 and 1000 USD a million input and output tokens, api*",
            "model  price  1,000 requests  million tokens  10,000 a day  machines",
            "a      api *-",
            "b      rack *864,000 *1",
            "Prices that may not hold: rack (its date is not told).*",
        ]
    )
    for block in bench.records("rounds"):
        values = block["values"]
        for cost, latency, asked, said in zip(
            *(values[name] for name in ("cost", "latency", "prompt_tokens", "output_tokens")), strict=True
        ):
            expected = (asked * 1.0 + said * 1000.0) / 1e6 if block["model"] == "a" else latency / 1e9 * 10.0
            assert cost == pytest.approx(expected)
    prices = {model["alias"]: model["price"]["name"] for model in bench.results()["models"]}
    assert prices == {"a": "api", "b": "rack"}


def test_a_budget_on_cost_fails_the_cells_above_it(bench: Bench) -> None:
    bench.write("ours.toml", TABLE)
    dear = bench.suite(
        "echo",
        "--llmci-prices=ours.toml",
        "--llmci-budget=cost <= 0.001 USD",
        "--llmci-max-new-tokens=4",
        "-k",
        "first",
    )
    assert dear.ret == 1
    dear.stdout.fnmatch_lines(["*BudgetExceeded: cost*"])
    fair = bench.suite(
        "echo",
        "--llmci-prices=ours.toml",
        "--llmci-budget=cost <= 0.1",
        "--llmci-max-new-tokens=4",
        "-k",
        "first",
        fresh=True,
    )
    assert fair.ret == 0


def test_a_budget_on_cost_without_a_price_is_refused_with_the_option(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-budget=cost <= 1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*cost needs a price; name one with --llmci-prices*"])


@on_real_time
def test_answers_that_became_longer_are_dearer_where_tokens_are_paid(bench: Bench) -> None:
    bench.write("ours.toml", TABLE)
    bench.write("test_it.py", TEST)
    bench.write("p.txt", "Name a colour.\n")
    common = ("--llm-prompts=p.txt", "--llmci-prices=ours.toml", "--llmci-max-rounds=4", "--llmci-rounds=4")
    dearer = bench.run("--llm-models=m=echo+tokens=12", "--llmci-versus=echo+tokens=10", *common)
    assert dearer.ret == 1
    dearer.stdout.re_match_lines([r".*RegressionDetected: .*cost.*", r".*cost +.*REGRESSED.*"])
    (found,) = [
        each for verdict in bench.records("verdict") for each in verdict["comparisons"] if each["metric"] == "cost"
    ]
    assert found["verdict"] == "regressed" and found["change"] == pytest.approx(0.2, abs=0.01)
    bench.run("--llm-models=m=echo+tokens=10", "--llmci-versus=echo+tokens=10", *common, fresh=True)
    assert {
        each["verdict"]
        for verdict in bench.records("verdict")
        for each in verdict["comparisons"]
        if each["metric"] == "cost"
    } == {"pass"}


def test_the_report_tells_the_cost_of_a_finished_run_at_any_price(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write("ours.toml", TABLE)
    bench.suite("echo+ttft=10ms", "-k", "first")
    monkeypatch.chdir(bench.path)
    capsys.readouterr()
    assert main(["report", "--cost"]) == 0
    packaged = capsys.readouterr().out
    assert all(name in packaged for name in ("colab-cpu", "colab-gpu", "gcp-a100", "github-linux-2core"))
    assert "gcp-a2-highgpu-1g, azure-nc24ads-a100 (of 2025-03-07, older than a year)" in " ".join(packaged.split())
    assert main(["report", "--cost", "--prices=ours.toml#rack", "--requests-a-day=20000000"]) == 0
    rack = capsys.readouterr().out
    assert "20,000,000 a day" in rack and "colab" not in rack
    assert main(["report", "--prices=gcp-a100"]) == 4
    assert "--prices is for --cost" in capsys.readouterr().err


def test_a_price_without_a_date_is_flagged_in_the_summary_and_on_the_page(bench: Bench) -> None:
    bench.write("ours.toml", TABLE)
    bench.suite(
        "echo+ttft=10ms", "-k", "first", "--llmci-prices=ours.toml#rack", "--llmci-sink=markdown:a.md", "--llmci-sink=html:a.html"
    )  # fmt: skip
    summary = (bench.path / "a.md").read_text("utf-8")
    assert "\n\nPrices that may not hold: rack (its date is not told).\n\n" in summary
    assert "its date is not told" in (bench.path / "a.html").read_text("utf-8")
