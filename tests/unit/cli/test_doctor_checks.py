"""``llmci doctor --checks``: the table of exemplars."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pytest_llmci.checks import CHECKS, NEED_THE_EXTRA
from pytest_llmci.checks.exemplars import ExemplarResult
from pytest_llmci.cli.doctor_checks import summary_lines
from pytest_llmci.cli.main import main

OWN = """
from pytest_llmci.checks import CheckResult, Exemplar

class Loud:
    exemplars = (
        Exemplar(check="loud", text="HELLO", passes=True),
        Exemplar(check="loud", text="hello", passes={second}, says="it is quiet"),
    )

    def __init__(self, argument):
        pass

    def __call__(self, output):
        return CheckResult(name="loud", passed=output.text.isupper(), message="it is quiet")

class Bare(Loud):
    exemplars = ()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "loud_checks", raising=False)
    return tmp_path / "loud_checks.py"


def test_the_table_names_every_check_and_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--checks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = {line.partition(":")[0] for line in lines if line and not line.startswith(" ")}
    assert set(CHECKS) <= headings
    assert '  fails   contains:Paris on "It is Lyon."' in lines
    assert '          says expected "Paris" in the output, found "It is Lyon."' in lines
    assert '  passes  equals on "Paris" (reference: Paris)' in lines
    assert any("each with the right verdict" in line for line in lines)
    assert max(map(len, lines)) <= 100  # a long word is not broken


def test_json_holds_every_exemplar(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--checks", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in found} == set(CHECKS)
    assert {each["state"] for each in found if each["name"] not in NEED_THE_EXTRA} == {"right"}


@pytest.mark.parametrize(("second", "status"), [("False", 0), ("True", 1)])
def test_checks_of_ones_own(own: Path, capsys: pytest.CaptureFixture[str], second: str, status: int) -> None:
    own.write_text(OWN.format(second=second), "utf-8")
    assert main(["doctor", "--checks", "loud_checks:Loud"]) == status
    shown = capsys.readouterr().out
    assert shown.startswith("loud\n")
    assert ("1 with the right verdict" in shown) == bool(status)
    assert ('! passes  loud on "hello"' in shown) == bool(status)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("loud_checks:Bare", "ships no exemplars"),
        ("loud_checks:None_", "no attribute"),
        ("nowhere_x:A", "cannot be imported"),
        ("x", "package.module:attribute"),
    ],
)
def test_bad_targets_are_one_line(own: Path, capsys: pytest.CaptureFixture[str], target: str, reason: str) -> None:
    own.write_text(OWN.format(second="False"), "utf-8")
    assert main(["doctor", "--checks", target]) == 4
    shown = capsys.readouterr()
    assert reason in shown.err and len(shown.err.splitlines()) == 1


def test_checks_whose_package_is_missing_are_named_with_the_command() -> None:
    missing = ExemplarResult(
        name="bleu", check="bleu", text="", context="", passes=False, state="not run",
        message="check 'bleu' needs the package 'sacrebleu', which is not installed: pip install 'pytest-llmci[checks]'.",
    )  # fmt: skip
    right = ExemplarResult(name="json", check="json", text="{}", context="", passes=True, state="right", message="")
    shown = " ".join(" ".join(summary_lines([missing, right])).split())
    assert shown.startswith("1 exemplars of 1 checks, each with the right verdict.")
    assert (
        "not run bleu needs the package 'sacrebleu', which is not installed: pip install 'pytest-llmci[checks]'."
        in shown
    )
