from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sample_run import usual_records, verdict, write_log

from pytest_llmci.errors import ConfigError, StoreError
from pytest_llmci.records import ComparisonResult, GateRecord
from pytest_llmci.store.accepted import (
    Accepted,
    AcceptedChanges,
    accept,
    parse_up_to,
    proven_regressions,
    read_accepted,
    size_to_accept,
)

TODAY = date(2026, 7, 1)
ENTRY = Accepted(
    cell="a-tcp", metric="latency", up_to=0.1, reason="it checks more", expires=date(2026, 7, 1), by="Ada", when=TODAY
)
WHOLE = """# ours
[[accepted]]
cell = "a-tcp"
metric = "latency"
up_to = "10%"
reason = "it checks more"
expires = 2026-07-01
by = "Ada"
when = 2026-07-01
"""


def regressed(metric: str = "latency", change: float | None = 0.08, **more: Any) -> ComparisonResult:
    facts: dict[str, Any] = {
        "mode": "interleaved",
        "verdict": "regressed",
        "against": "main",
        "base": 1.0,
        "candidate": 1.08,
    }
    return ComparisonResult(metric=metric, change=change, **{**facts, **more})


def test_no_file_accepts_nothing(tmp_path: Path) -> None:
    assert read_accepted(tmp_path) == AcceptedChanges()
    assert read_accepted(tmp_path).accepted_for("a-tcp", "latency", 0.01, TODAY) is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tmp_path.joinpath("accepted.toml").write_text(WHOLE, "utf-8")
    assert read_accepted(tmp_path).entries == (ENTRY,)


@pytest.mark.parametrize(
    ("cell", "metric", "change", "today", "covered"),
    [
        ("a-tcp", "latency", 0.1, TODAY, True),
        ("a-tcp", "latency", -0.1, TODAY, True),
        ("a-tcp", "latency", 0.1001, TODAY, False),
        ("a-tcp", "latency", 0.05, date(2026, 7, 2), False),
        ("a-tcp", "ttft", 0.05, TODAY, False),
        ("a-dns", "latency", 0.05, TODAY, False),
    ],
)
def test_what_an_entry_covers(cell: str, metric: str, change: float, today: date, covered: bool) -> None:
    accepted = AcceptedChanges((ENTRY,))
    assert accepted.accepted_for(cell, metric, change, today) == (ENTRY if covered else None)


def test_globs_and_the_first_that_is_large_enough() -> None:
    small, large = replace(ENTRY, cell="a-*", up_to=0.02), replace(ENTRY, metric="*", up_to=0.2)
    accepted = AcceptedChanges((small, large))
    assert accepted.accepted_for("a-dns", "latency", 0.01, TODAY) is small
    assert accepted.accepted_for("a-tcp", "latency", 0.05, TODAY) is large


def test_an_expired_entry_is_named() -> None:
    tomorrow = date(2026, 7, 2)
    accepted = AcceptedChanges((ENTRY, replace(ENTRY, cell="a-dns", expires=tomorrow)))
    assert accepted.expired(tomorrow) == (ENTRY,)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'up_to = "10%"',
            "up_to = 0.1",
            "line 2: key 'up_to': 0.1 is no size of a change; write a positive percentage like \"10%\"",
        ),
        ('up_to = "10%"', 'up_to = "ten"', "line 2: key 'up_to': 'ten' is no size"),
        ('up_to = "10%"', 'up_to = "0%"', "line 2: key 'up_to': '0%' is no size"),
        ('up_to = "10%"', "", "line 2: key 'up_to' is missing; needed are cell, metric, up_to, reason, expires"),
        ('reason = "it checks more"', 'reason = " "', "line 2: key 'reason': ' ' is not a text with something in it"),
        (
            "expires = 2026-07-01",
            'expires = "soon"',
            "line 2: key 'expires': 'soon' is no date; write it like 2026-09-30",
        ),
        ("expires = 2026-07-01", "expires = 2026-07-01T00:00:00", "line 2: key 'expires': .* is no date"),
        ("expires = 2026-07-01", "expires = 7", "line 2: key 'expires': 7 is no date"),
        ('by = "Ada"', 'sort = "x"', "line 2: unknown key 'sort'; known are cell, metric"),
        ('cell = "a-tcp"', "cell = 5", "line 2: key 'cell': 5 is not a text"),
        ("[[accepted]]", "[[accept]]", "key 'accept': write each accepted change as a table under .*accepted"),
        ("[[accepted]]", "[accepted]", "key 'accepted': write each"),
        ('cell = "a-tcp"', "cell = ", "is not TOML: .*line 3"),
    ],
)
def test_a_wrong_entry_is_one_line_with_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    tmp_path.joinpath("accepted.toml").write_text(WHOLE.replace(old, new), "utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        read_accepted(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert "accepted.toml: " in str(caught.value)


def test_dates_may_be_texts(tmp_path: Path) -> None:
    tmp_path.joinpath("accepted.toml").write_text(WHOLE.replace("2026-07-01", '"2026-07-01"'), "utf-8")
    assert read_accepted(tmp_path).entries == (ENTRY,)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    tmp_path.joinpath("accepted.toml").write_bytes(b"\xff")
    with pytest.raises(StoreError, match="accepted.toml: cannot be read"):
        read_accepted(tmp_path)


def test_writing_adds_and_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "accepted.toml"
    path.write_bytes(b"# why we do this\r\n" + WHOLE.rstrip("\n").encode())
    before = path.read_bytes()
    other = replace(ENTRY, cell="b-*", by="", when=None, up_to=0.025)
    assert accept(tmp_path, [other]) == path
    assert path.read_bytes().startswith(before)
    assert read_accepted(tmp_path).entries == (ENTRY, other)


def test_the_first_entry_makes_file_and_folder(tmp_path: Path) -> None:
    path = accept(tmp_path / "kept", [ENTRY, replace(ENTRY, metric="ttft")])
    assert [entry.metric for entry in read_accepted(path.parent).entries] == ["latency", "ttft"]
    assert path.read_text("utf-8").startswith("# ")


def test_nothing_is_added_to_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "accepted.toml"
    path.write_text("[", "utf-8")
    with pytest.raises(ConfigError, match="is not TOML"):
        accept(tmp_path, [ENTRY])
    assert path.read_text("utf-8") == "["


def test_the_example_of_the_module_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    from pytest_llmci.store import accepted

    assert accepted.__doc__ is not None
    example = accepted.__doc__.partition("::\n")[2].partition("The file is read")[0]
    text = "\n".join(line.strip() for line in example.splitlines())
    assert tomllib.loads(text)
    tmp_path.joinpath("accepted.toml").write_text(text, "utf-8")
    assert len(read_accepted(tmp_path).entries) == 1


@pytest.mark.parametrize("text", ["", "10", "-5%", "%", None, 5])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ConfigError, match="--up-to: .* is no size of a change"):
        parse_up_to(text, "--up-to")


def test_what_a_run_proved(tmp_path: Path) -> None:
    found = [regressed(), regressed("ttft", verdict="pass"), regressed("cpu_time", accepted="known")]
    first = verdict("v0", "c", "tcp", comparisons=[regressed("peak_rss")])
    again = verdict("v9", "c", "tcp", attempt=1, comparisons=[regressed("net_time")])
    write_log(tmp_path, [*usual_records(), verdict("v7", "c", "dns", comparisons=found), again, first])
    assert [(cell, each.metric) for cell, each in proven_regressions(tmp_path, "c-*")] == [
        ("c-dns", "latency"),
        ("c-tcp", "net_time"),
    ]
    assert proven_regressions(tmp_path, "c-*", "ttft") == []
    assert proven_regressions(tmp_path, "c-none") == []


def test_a_model_as_a_whole_is_proved_under_its_alias(tmp_path: Path) -> None:
    """Else its gate would go on failing after all of its cells were accepted."""
    gates = [
        GateRecord(name=f"regression-{alias}", outcome="failed", message="", model=alias, comparisons=[found])
        for alias, found in (("c", regressed()), ("d", regressed(accepted="known")), ("e", regressed()))
    ]
    coverage = GateRecord(name="coverage", outcome="failed", message="")
    write_log(tmp_path, [*usual_records(), verdict("v7", "c", "dns", comparisons=[regressed()]), *gates, coverage])
    assert [cell for cell, _ in proven_regressions(tmp_path, "c*")] == ["c-dns", "c"]
    assert [cell for cell, _ in proven_regressions(tmp_path, "c-*")] == ["c-dns"]
    assert [cell for cell, _ in proven_regressions(tmp_path, "[de]")] == ["e"]


@pytest.mark.parametrize(
    ("regression", "size"),
    [
        (regressed(change=0.08, low=0.03, high=0.124), 0.13),
        (regressed(change=0.08), 0.08),
        (regressed(change=0.001, high=0.002), 0.01),
        (regressed(change=-0.08, low=-0.1, high=-0.02), 0.1),
        (regressed(change=None), None),
    ],
)
def test_what_is_accepted_of_a_run_is_what_it_may_have_been(regression: ComparisonResult, size: float | None) -> None:
    assert size_to_accept(regression) == size
