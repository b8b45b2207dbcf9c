"""What other tools get: JUnit properties, sinks, and pytest-benchmark around a model."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench import Bench


def properties(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Name of the test case -> its properties."""
    return {
        str(case.get("name")).rpartition("::")[2]: [
            (str(p.get("name")), str(p.get("value"))) for p in case.iter("property")
        ]
        for case in ElementTree.parse(path).getroot().iter("testcase")
    }


@pytest.mark.parametrize("more", [[], ["-n2"]], ids=["alone", "parallel"])
def test_junit_has_a_property_a_metric_of_each_cell(bench: Bench, more: list[str]) -> None:
    if more:
        pytest.importorskip("xdist")
    result = bench.suite("a=echo,b=echo", "--junitxml=out.xml", "-Werror", *more, "--llmci-rounds=3", fresh=True)
    result.assert_outcomes(passed=4)
    found = properties(bench.path / "out.xml")
    assert set(found) == {"a-first", "a-second", "b-first", "b-second"}
    for cell in bench.results()["cells"]:
        pairs = found[cell["id"]]
        values = dict(pairs)
        assert len(values) == len(pairs), "one property a name"
        assert (values["llmci.model"], values["llmci.verdict"], values["llmci.rounds"]) == (cell["model"], "pass", "3")
        for name, numbers in cell["metrics"].items():
            assert (f"llmci.{name}.median" in values) == bool(numbers["n"]), name
            if numbers["n"]:
                assert float(values[f"llmci.{name}.median"]) == numbers["median"]
        assert float(values["llmci.load_time"]) > 0
    assert "Name a colour." not in (bench.path / "out.xml").read_text()


def test_junit_has_those_of_the_last_attempt_only(bench: Bench) -> None:
    pytest.importorskip("pytest_rerunfailures")
    bench.write(
        "test_it.py",
        "import pathlib, pytest\n@pytest.mark.llmci(rounds=2)\ndef test_cell(llm_result):\n"
        "    mark = pathlib.Path('been'); first = not mark.exists(); mark.touch(); assert not first\n",
    )
    args = ("--llm-models=echo", "--llm-prompts=prompts.yaml", "--reruns=1", "-k", "first", "--junitxml=out.xml")
    bench.run(*args).assert_outcomes(passed=1)
    pairs = properties(bench.path / "out.xml")["test_cell[echo-first]"]
    assert len([name for name, _ in pairs if name == "llmci.latency.median"]) == 1
    (cell,) = bench.results()["cells"]
    assert float(dict(pairs)["llmci.latency.median"]) == cell["metrics"]["latency"]["median"]


def test_junit_keeps_the_users_own_properties(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(llm_result, record_property): record_property('mine', 1)\n")
    bench.run(
        "--llm-models=echo", "--llm-prompts=prompts.yaml", "-k", "first", "--junitxml=out.xml", "-ojunit_family=xunit1"
    )
    assert ("mine", "1") in properties(bench.path / "out.xml")["test_it[echo-first]"]


def test_junit_has_no_numbers_of_a_cell_that_failed(bench: Bench) -> None:
    bench.suite("echo+crash=sigkill+at=3", "--llmci-block=1", "--llmci-rounds=3", "--junitxml=out.xml", "-k", "first")
    assert dict(properties(bench.path / "out.xml")["echo-first"])["llmci.verdict"] == "failed"
    assert next(block["n"] for block in bench.records("rounds")) > 0
    names = [name for name, _ in properties(bench.path / "out.xml")["echo-first"]]
    assert not [name for name in names if name.endswith(".median")]


def test_junit_has_the_changes_that_a_comparison_found_and_those_of_its_gate(bench: Bench) -> None:
    short = ("--llmci-rounds=12", "--llmci-max-rounds=12", "--llmci-block=6", "--llmci-max-new-tokens=8")
    bench.suite("echo=echo+itl=3ms", "--llmci-versus=echo+itl=1ms", "--junitxml=out.xml", *short)
    found = properties(bench.path / "out.xml")
    judged = [(found[cell["id"]], cell["comparisons"]) for cell in bench.results()["cells"]]
    judged += [
        (found[f"gate[{gate['name']}]"], gate["comparisons"]) for gate in bench.results()["gates"] if gate["model"]
    ]
    assert len(judged) == 3
    for pairs, comparisons in judged:
        values = dict(pairs)
        assert comparisons
        for each in comparisons:
            assert values[f"llmci.{each['metric']}.comparison"] == each["verdict"]
            for name, key in (("change", "change"), ("change.low", "low"), ("change.high", "high")):
                value = values.get(f"llmci.{each['metric']}.{name}")
                assert (value if value is None else float(value)) == each[key]


def test_nobody_pays_for_properties_that_nobody_reads(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        "def pytest_runtest_logreport(report):\n"
        "    with open('seen', 'a') as file: file.write(f'{report.user_properties}\\n')\n",
    )
    bench.suite("echo")
    assert set((bench.path / "seen").read_text().split("\n")) == {"[]", ""}
