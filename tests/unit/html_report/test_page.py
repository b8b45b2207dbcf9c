from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page import ParsedPage, hashes
from sample_run import CRASH, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.html_report.cells import MOST_CELLS, repeat_command
from pytest_llmci.html_report.figures import Figures
from pytest_llmci.html_report.page import write_page
from pytest_llmci.records import (
    BudgetResult,
    CheckResult,
    ComparisonResult,
    GateRecord,
    LogRecord,
    Price,
    PublishedScore,
    SlowdownPart,
    SlowdownResult,
)
from pytest_llmci.text import plain

pytest.importorskip("jinja2")
NO_FIGURES = Figures(note="No plots here.")


def page(folder: Path, records: Iterable[LogRecord], **of_header: Any) -> ParsedPage:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").unlink(missing_ok=True)
    write_log(folder, records, **of_header)
    stream = io.StringIO()
    write_page(stream, build_report(folder), NO_FIGURES)
    return ParsedPage(stream.getvalue())


def compared(
    verdict_: str = "regressed", change: float = 0.5, metric: str = "latency", **more: Any
) -> ComparisonResult:
    facts: dict[str, Any] = {
        "metric": metric, "mode": "interleaved", "verdict": verdict_, "against": "origin/main", "base": 0.1,
        "candidate": 0.1 * (1 + change), "change": change, "low": change - 0.1, "high": change + 0.1, "rounds": 3,
    }  # fmt: skip
    return ComparisonResult(**{**facts, **more})


SPLIT = SlowdownResult(
    against="origin/main", before=0.1, now=0.15, samples_before=2, samples_now=2, steal=0.02,
    parts=[
        SlowdownPart(name="prefill", change=0.005), SlowdownPart(name="decode rate", change=0.045),
        SlowdownPart(name="output length", change=0.0), SlowdownPart(name="harness", change=0.0),
        SlowdownPart(name="noise", change=None, reason="net_time of the candidate: nobody told"),
    ],
)  # fmt: skip


def regressed(folder: Path) -> ParsedPage:
    slower = verdict(verdict="failed", comparisons=[compared()], slowdown=SPLIT)
    return page(folder, [worker(), rounds("r1", latencies_ms=[150, 150]), slower])


def text_of(parsed: ParsedPage, anchor: str) -> str:
    return " ".join(next(each for each in parsed.elements if each.attributes.get("id") == anchor).text.split())


# ---------------------------------------------------------------------------------------------------------- structure


def test_the_page_is_well_formed_with_landmarks_captions_and_targets(tmp_path: Path) -> None:
    parsed = page(tmp_path, usual_records())
    assert parsed.unclosed == []
    assert [len(parsed.all(tag)) for tag in ("header", "main", "footer", "nav", "h1")] == [1, 1, 1, 1, 1]
    ids = [each.attributes["id"] for each in parsed.elements if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    targets = [each.attributes["href"] for each in parsed.all("a")]
    assert targets[0] == "#main" and {target[1:] for target in targets} <= set(ids)
    tables = parsed.all("table")
    captions = [each.inside("table") for each in parsed.all("caption")]
    assert tables and all(any(table is captioned for captioned in captions) for table in tables)
    assert all(each.attributes.get("scope") in {"col", "row"} for each in parsed.all("th"))
    levels = [int(each.tag[1]) for each in parsed.elements if each.tag in {"h1", "h2", "h3", "h4"}]
    assert all(after <= before + 2 for before, after in pairwise(levels))


def test_the_page_names_what_may_run_and_loads_nothing(tmp_path: Path) -> None:
    parsed = page(tmp_path, usual_records())
    policy = next(
        each.attributes["content"]
        for each in parsed.all("meta")
        if each.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    assert hashes(parsed.source, "style") == [policy.split("style-src ")[1].split(";")[0]]
    assert hashes(parsed.source, "script") == [policy.split("script-src ")[1].split(";")[0]]
    assert len(parsed.all("style")) == len(parsed.all("script")) == 1
    names = {name for each in parsed.elements for name in each.attributes}
    assert not {name for name in names if name.startswith("on") or name in {"style", "src", "srcset", "action"}}
    assert [each.attributes["href"] for each in parsed.all("link")] == ["data:,"]


def test_equal_logs_give_equal_pages(tmp_path: Path) -> None:
    one, other = (page(tmp_path / "run", usual_records()).source for _ in range(2))
    assert one == other and "2026-01-01 00:00:00 UTC" in one


def test_verdict_first_then_what_changed_then_what_failed(tmp_path: Path) -> None:
    parsed = regressed(tmp_path)
    assert parsed.all("h1")[0].text == "1 of 1 cell failed"
    sections = [each.attributes["id"] for each in parsed.all("section")]
    assert sections[:3] == ["changes", "failures", "models"]
    changes = text_of(parsed, "changes")
    assert "a-tcp latency 100 ms 150 ms +50.0 %" in changes and "REGRESSED" in changes
    assert "a-tcp +5.0 ms (+5.0 %) +45.0 ms (+45.0 %) 0.0 ms (0.0 %) 0.0 ms (0.0 %) n/a +50.0 ms (+50.0 %)" in changes
    links = [each.attributes["href"] for each in parsed.all("a") if each.text == "a-tcp"]
    assert links == ["#c0"] * 3


def test_retries_are_told_below_the_verdict(tmp_path: Path) -> None:
    block = rounds(
        values={"latency": [1, 1], "retries": [0, 1]}, latencies_ms=(1, 1), noisy=["", "attempt 1 failed: HTTP 429"]
    )
    for name, records in (("late", [block]), ("usual", [rounds()])):
        (tmp_path / name).mkdir()
        parsed = page(tmp_path / name, [worker(), *records, verdict()])
        names = [each.text for each in parsed.all("dt")]
        assert ("Retries" in names) == (name == "late")
        told = [each.text for each in parsed.all("dd") if "at a further attempt" in each.text]
        assert told == (
            ["1 of 2 answer came at a further attempt, after 1 that failed (1 x HTTP 429). Their time, and the waits, are in no latency."]
            if name == "late"
            else []
        )  # fmt: skip


def test_without_a_comparison_nothing_is_said_of_changes(tmp_path: Path) -> None:
    parsed = page(tmp_path, [worker(), rounds(), verdict()])
    assert parsed.all("h1")[0].text == "1 cell passed"
    assert "changes" not in [each.attributes["id"] for each in parsed.all("section")]


def test_a_cell_tells_all_that_is_known_of_it(tmp_path: Path) -> None:
    budget = BudgetResult(
        budget="latency <= 0.1s", origin="--llmci-max-latency", metric="latency", statistic="median", operator="<=", limit=0.1,
        verdict="failed", observed=0.11, rounds=3, reason="all of them are over it",
    )  # fmt: skip
    check = CheckResult(name="max_words:5", passed=True, message="2 words")
    block = rounds(
        noisy=["", "waited for a CPU 12% of the time", ""], outputs=["One.", "Two."], output_of_round=[0, 1, 1]
    )
    opinion = CheckResult(name="judge:{}", passed=True, message="the judge says PASS", judged_by="smollm2")
    parsed = page(tmp_path, [worker(), block, verdict(verdict="failed", budgets=[budget], checks=[check, opinion])])
    told = text_of(parsed, "c0")
    for words in (
        "What is TCP?", "Output 1 One.", "Output 2 Two.", "latency 110 ms > 100 ms", "--llmci-max-latency", "all of them are over it",
        "max_words:5 2 words", "judge:{} (judged by smollm2) the judge says PASS", "waited for a CPU 12% of the time", "1 of 3 rounds noisy", "gpu_peak_allocated: no GPU",
        "pytest --llmci -k a-tcp", f"llmci reproduce {tmp_path.name} --cell a-tcp", "Test: inference::a-tcp",
    ):  # fmt: skip
        assert words in told, words
    chart = parsed.all("svg")[0]
    assert chart.attributes["aria-label"] == "latency of 3 rounds, 100 ms to 120 ms, axis from 0; 1 noisy"
    assert len(parsed.all("circle")) == 2


def test_an_error_and_its_evidence_are_there(tmp_path: Path) -> None:
    parsed = page(tmp_path, [worker(), verdict(verdict="failed", checks=[], error=CRASH, rounds=0)])
    assert "killed by SIGKILL, cause unknown" in text_of(parsed, "c0")
    assert "when round 2 of 5" in text_of(parsed, "c0")


def test_models_have_numbers_that_can_be_sorted_and_reasons_where_there_is_none(tmp_path: Path) -> None:
    price = Price(name="gpu-x", usd_per_hour=0.75, source="a page", date="2026-01-01")
    score = PublishedScore(value=35.5, source="paper", name="A")
    parsed = page(tmp_path, [worker(published=score, price=price), rounds(), verdict()])
    table = next(each for each in parsed.all("table") if each.attributes.get("id") == "models-table")
    cells = [each for each in parsed.all("td") if each.inside("table") is table]
    by_text = {each.text: each.attributes for each in cells}
    assert by_text["110 ms"]["data-v"] == "0.11"
    assert by_text["(35.5)"]["title"] == "published: paper"
    missing = next(each for each in cells if each.text == "n/a")
    assert missing.attributes["title"].startswith("p95 needs 20 rounds") and "data-v" not in missing.attributes
    assert "a gpu-x 0.0229" in text_of(parsed, "costs") and "gpu-x 0.75 USD an hour; a page; 2026-01-01" in text_of(
        parsed, "costs"
    )


def test_costs_and_tradeoffs_are_sorted_by_their_numbers_and_not_by_their_texts(tmp_path: Path) -> None:
    price = Price(name="gpu-x", usd_per_hour=0.75, source="a page", date="2026-01-01")
    records: list[LogRecord] = []
    for alias, latency in (("a", 900), ("b", 1200)):
        block = rounds(f"r{alias}", alias, latencies_ms=[latency] * 3)
        records += [worker(f"w{alias}", alias, price=price), block, verdict(f"v{alias}", alias)]
    parsed = page(tmp_path, records)
    for section, column in (("tradeoffs", 1), ("costs", 2)):
        rows = [each for each in parsed.all("tr") if (at := each.inside("section")) and at.attributes["id"] == section]
        cells = [[each for each in parsed.all("td") if each.parent is row] for row in rows[1:]]
        assert [float(row[column - 1].attributes["data-v"]) for row in cells] == (
            [pytest.approx(0.9), pytest.approx(1.2)]
            if section == "tradeoffs"
            else [pytest.approx(0.1875), pytest.approx(0.25)]
        )


def test_a_failed_gate_is_a_failure(tmp_path: Path) -> None:
    gate = GateRecord(name="coverage", outcome="failed", message="3 cells were never measured")
    parsed = page(tmp_path, [worker(), rounds(), verdict(), gate])
    assert parsed.all("h1")[0].text == "failed: coverage"
    assert "coverage 3 cells were never measured" in text_of(parsed, "failures")


def test_a_killed_session_says_so_and_a_run_without_cells_has_a_page(tmp_path: Path) -> None:
    write_log(tmp_path, [], footer=False)
    stream = io.StringIO()
    write_page(stream, build_report(tmp_path), NO_FIGURES)
    parsed = ParsedPage(stream.getvalue())
    assert parsed.all("h1")[0].text == "nothing was judged (the session was killed)"
    assert parsed.unclosed == [] and "No cell was measured or judged." in parsed.source


# ------------------------------------------------------------------------------------------------------------ escaping

HOSTILE = [
    "<script>alert(1)</script>",
    "</textarea></div></details><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }} {% raw %}",
    "</script><script>alert(1)",
    "<!-- --><svg onload=alert(1)>",
    "\u202eevil\u2066\x1b[31mred\x00\x07",
    "&lt;b&gt;",
    "W" * 3000,
    "\ud800 lone",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_models_and_people_wrote_is_text_wherever_it_stands(tmp_path: Path, hostile: str) -> None:
    usual = page(tmp_path / "usual", [worker(), rounds(), verdict()])
    check = CheckResult(name=f"contains:{hostile}", passed=False, message=hostile)
    block = rounds(prompt=hostile, outputs=[hostile], finish_reasons=[hostile] * 3, noisy=[hostile, "", ""])
    records: list[LogRecord] = [
        worker(info={"revision": hostile, hostile: "key"}),
        block,
        verdict(
            verdict="failed", checks=[check], comparisons=[compared("inconclusive", against=hostile, reason=hostile)]
        ),
        GateRecord(name="gate", outcome="failed", message=hostile),
    ]
    parsed = page(tmp_path / "hostile", records, command=["pytest", hostile], environment={"os": hostile, hostile: 1})
    assert parsed.unclosed == []
    assert len(parsed.all("script")) == 1 and not parsed.all("img")
    allowed = {name for each in usual.elements for name in each.attributes} | {"aria-labelledby"}
    assert {name for each in parsed.elements for name in each.attributes} <= allowed
    texts = [each.text for each in parsed.with_class("text")]
    assert texts == [plain(hostile)] * 2
    assert not [mark for mark in "\x00\x07\x1b\u202e\u2066" if mark in parsed.source]


def test_what_is_not_shown_of_a_text_is_counted(tmp_path: Path) -> None:
    parsed = page(tmp_path, [worker(), rounds(outputs=["a\x1b[31mb\x00"]), verdict()])
    assert "6 control characters are not shown." in text_of(parsed, "c0")


@given(st.text(max_size=300), st.text(max_size=300))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_prompt_and_output_is_shown_as_it_is(tmp_path: Path, prompt: str, output: str) -> None:
    """Every character but those that nobody could see comes back from the parser, in one element."""
    parsed = page(tmp_path, [worker(), rounds(prompt=prompt, outputs=[output]), verdict()])
    assert parsed.unclosed == []
    expected = [plain(text).replace("\r\n", "\n") for text in (prompt, output) if plain(text)]
    assert [each.text for each in parsed.with_class("text")] == expected


def test_what_was_withheld_stays_so(tmp_path: Path) -> None:
    digest = "0" * 64
    block = rounds(
        prompt=f"sha256:{digest}",
        outputs=[f"sha256:{digest}"],
        prompt_withheld="redacted",
        outputs_withheld=["redacted"],
    )
    parsed = page(tmp_path, [worker(), block, verdict()])
    assert [each.text for each in parsed.with_class("text")] == [f"sha256:{digest}"] * 2


def test_scores_and_wrong_answers_of_benchmarks_are_shown_where_there_are_any(tmp_path: Path) -> None:
    write_log(tmp_path, [worker(), rounds(), verdict()])
    report = build_report(tmp_path)
    columns = {"index": [0, 1, 2], "gold": [[0], [1, 2], [3]], "prediction": [0, 3, 3]}
    answers = SimpleNamespace(records=[1], values=lambda name: [1.0, 0.0, 1.0], column=columns.__getitem__)
    facts = SimpleNamespace(main="acc", kind="choice", label="3 of 1,172 questions")
    score = SimpleNamespace(suite="arc_challenge", per_cent=200 / 3, label="3 of 1,172 questions")
    object.__setattr__(
        report, "tasks", [SimpleNamespace(model="a", name="arc<b>", verdict="pass", facts=facts, answers=answers)]
    )
    object.__setattr__(report.models[0], "scores", [score])
    stream = io.StringIO()
    write_page(stream, report, NO_FIGURES)
    told = text_of(ParsedPage(stream.getvalue()), "benchmarks")
    assert "a arc_challenge 66.7 % 3 of 1,172 questions" in told
    assert "a: arc<b>: 2 of 3 right" in told and "1 D B or C" in told


# ---------------------------------------------------------------------------------------------------------------- size


def many(models: int, prompts: int, **of_block: Any) -> list[LogRecord]:
    records: list[LogRecord] = []
    for model in range(models):
        alias = f"m{model}"
        records.append(worker(f"w{model}", alias))
        for prompt in range(prompts):
            name = f"p{prompt}"
            records.append(rounds(f"r{model}-{prompt}", alias, name, **of_block))
            bad = (model, prompt) == (models - 1, prompts - 1)
            changed = [compared("inconclusive")] if (model, prompt) == (models - 1, 0) else []
            records.append(
                verdict(
                    f"v{model}-{prompt}", alias, name, verdict="failed" if bad else "pass", comparisons=changed,
                    checks=[CheckResult(name="valid", passed=not bad, message="empty" if bad else "ok")],
                )
            )  # fmt: skip
    return records


def test_of_very_many_cells_those_that_failed_or_changed_are_kept_and_the_cut_is_said(tmp_path: Path) -> None:
    parsed = page(tmp_path, many(30, 10))
    kept = [each for each in parsed.all("details") if "cell" in each.attributes.get("class", "").split()]
    assert len(kept) == MOST_CELLS
    names = [each.text.split()[0] for each in kept]
    assert names[-2:] == ["m29-p0", "m29-p9"] and names[0] == "m0-p0"
    assert "100 of 300 cells are left out here" in text_of(parsed, "cells")
    table = next(each for each in parsed.all("table") if each.attributes.get("id") == "models-table")
    assert len([each for each in parsed.all("tr") if each.inside("table") is table]) == 31


@pytest.mark.slow
def test_five_models_ten_prompts_twenty_rounds_stay_below_two_megabytes(tmp_path: Path) -> None:
    """Also where every round gave another answer of ten thousand characters, each of which is escaped."""
    texts = [f"{number}" + "<&\"'>" * 2000 for number in range(20)]
    block = {"latencies_ms": list(range(100, 120)), "outputs": texts, "output_of_round": list(range(20))}
    parsed = page(tmp_path, many(5, 10, **block))
    assert len(parsed.source.encode()) < 1_500_000  # the figures come on top
    assert "more characters are left out here" in parsed.source
    assert "10 more distinct outputs are left out here" in parsed.source


def test_the_command_of_a_row_is_quoted_and_writes_no_baseline() -> None:
    command = ["pytest", "--llm-models=a=echo:hi there", "--llmci-save-baseline", "--llmci-update-baseline=x"]
    assert repeat_command(command, "inference::a-tcp") == "pytest '--llm-models=a=echo:hi there' -k a-tcp"
    assert repeat_command(["pytest"], "test_it.py::test_it[a b]") == "pytest 'test_it.py::test_it[a b]'"


def test_a_slower_cell_says_where_its_time_went_and_against_what(tmp_path: Path) -> None:
    told = text_of(regressed(tmp_path), "c0")
    assert "Change of the mean time of a call against origin/main" in told
    assert "decode rate +45.0 ms +45.0 % time per further token" in told
    assert "noise n/a n/a net_time of the candidate: nobody told" in told
    assert "whole +50.0 ms +50.0 % mean time of a call, 100 ms before, 150 ms now" in told
    assert "Steal: +20.0 ms of CPU time" in told


def test_where_it_is_not_known_where_the_time_went_the_page_says_why(tmp_path: Path) -> None:
    unknown = SlowdownResult(against="main", reason="the reference has no latency: <b>")
    slower = verdict(verdict="failed", comparisons=[compared(mode="saved")], slowdown=unknown)
    parsed = page(tmp_path, [worker(), rounds(), slower])
    assert "Not known: the reference has no latency: <b>." in text_of(parsed, "c0")
    assert "Where the time went in cells" not in text_of(parsed, "changes")


@pytest.mark.parametrize(("change", "told_so"), [(0.01, True), (0.2, False)])
def test_a_change_that_is_not_that_of_the_medians_is_explained(tmp_path: Path, change: float, told_so: bool) -> None:
    found = compared(mode="interleaved", base=0.1, candidate=0.12, change=change)
    parsed = page(tmp_path, [worker(), rounds(), verdict(verdict="failed", comparisons=[found])])
    assert ("change: of rounds that ran in turn" in text_of(parsed, "changes")) == told_so
