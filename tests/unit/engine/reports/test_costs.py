"""What finished models cost, as people read it."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

from sample_run import METRICS, rounds, verdict, worker, write_log

from pytest_llmci.engine.reports.costs import cost_rows, cost_table
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.engine.reports.tables import summary_lines
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import Price

TODAY = date(2026, 11, 1)
MORE = [
    *METRICS,
    *(MetricDef(name=name, unit="1", direction="none", definition="-") for name in ("prompt_tokens", "tokens_per_s")),
]
VALUES = {"latency": [1_000_000_000] * 3, "prompt_tokens": [4] * 3, "output_tokens": [50] * 3}
SPEED = "One request after the other"


def table(folder: Path, *prices: Price) -> str:
    write_log(folder, [worker(), rounds(values=VALUES), verdict()], metrics=MORE)
    rows = cost_rows(build_report(folder), prices, requests=1000)
    return " ".join(cost_table(rows, requests=1000, width=80, today=TODAY))


def hour(name: str, day: str = "") -> Price:
    return Price(name=name, usd_per_hour=1.0, date=day)


def test_prices_that_may_not_hold_are_told_by_their_reason(tmp_path: Path) -> None:
    old = hour("old", "2025-03-07")
    text = table(tmp_path, hour("new", "2026-06-01"), *(hour(f"p{n}") for n in range(7)), old)
    assert text.endswith(
        "Prices that may not hold: p0, p1, p2, p3, p4 and 2 more (its date is not told), old (of 2025-03-07, older than a year)."
    )


def test_the_measured_speed_is_spoken_of_where_hours_are_paid(tmp_path: Path) -> None:
    tokens = Price(name="api", usd_per_million_input_tokens=1.0, usd_per_million_output_tokens=1.0, date="2026-06-01")
    (tmp_path / "other").mkdir()
    assert table(tmp_path, tokens).endswith("USD.") and SPEED in table(tmp_path / "other", tokens, hour("x"))


def test_one_blank_line_stands_before_the_costs(tmp_path: Path) -> None:
    write_log(tmp_path, [worker(price=hour("x", "2026-06-01")), rounds(values=VALUES), verdict()], metrics=MORE)
    report = build_report(tmp_path)
    lines = summary_lines(report, tmp_path, width=80, gated=True, hints=False)
    assert all(one or other for one, other in pairwise(lines)), lines
