"""What other tools get: JUnit properties, sinks, and pytest-benchmark around a model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bench import Bench

from pytest_llmci.cli.main import main


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
            is_whole = numbers["n"] == 3  # a round may lack one: the kernel counts some things in steps
            assert (f"llmci.{name}.median" in values) == is_whole, name
            if is_whole:
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


AROUND = """
import pytest

def test_plain(benchmark, llm):
    assert benchmark(llm.generate, "Name a colour.").text

@pytest.mark.benchmark(group="mine")
def test_pedantic(benchmark, llm):
    assert benchmark.pedantic(llm.generate, args=("Name a river.",), rounds=3, iterations=2).text

def test_another_function(benchmark, llm):
    llm.generate("Name a tree.")
    benchmark(len, [])
"""


def by_test(bench: Bench) -> dict[str, Any]:
    return {record["test"].partition("::")[2]: record for record in bench.records("benchmark")}


def test_what_pytest_benchmark_measures_around_a_model_is_in_the_log(bench: Bench) -> None:
    pytest.importorskip("pytest_benchmark")
    bench.write("test_it.py", AROUND)
    args = ("--llm-models=echo", "--benchmark-max-time=0.05", "--benchmark-json=theirs.json")
    result = bench.run(*args, "--llmci-sink=pytest-benchmark:ours.json", fresh=True)
    result.assert_outcomes(passed=3)
    found = by_test(bench)
    assert set(found) == {"test_plain[echo]", "test_pedantic[echo]"}  # the third asked no model in its rounds
    theirs, ours = (
        {
            each["fullname"].partition("::")[2]: each
            for each in json.loads((bench.path / name).read_text())["benchmarks"]
        }
        for name in ("theirs.json", "ours.json")
    )
    listed = {each["test"].partition("::")[2]: each for each in bench.results()["benchmarks"]}
    for name, record in found.items():
        assert record["round_s"] == theirs[name]["stats"]["data"]
        assert record["iterations"] == theirs[name]["stats"]["iterations"]
        assert listed[name]["seconds"]["median"] == pytest.approx(theirs[name]["stats"]["median"])
        for statistic, value in theirs[name]["stats"].items():
            assert ours[name]["stats"][statistic] == (
                value if isinstance(value, (str, list)) else pytest.approx(value)
            ), statistic
    assert (found["test_pedantic[echo]"]["group"], found["test_pedantic[echo]"]["iterations"]) == ("mine", 2)
    assert found["test_plain[echo]"]["cells"] == ["echo-Name-a-colour"]
    result.stdout.fnmatch_lines(["2 tests of pytest-benchmark * rounds: in log.jsonl and*"])


def test_the_documented_benchmark_runs(bench: Bench) -> None:
    pytest.importorskip("pytest_benchmark")
    text = (Path(__file__).parents[2] / "docs" / "other-tools.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    bench.write("test_it.py", code)
    bench.run("--llm-models=echo", "--benchmark-disable", fresh=True).assert_outcomes(passed=1)


@pytest.mark.parametrize("more", [["--benchmark-disable"], ["-n2"]], ids=["disabled", "parallel"])
def test_a_disabled_benchmark_calls_the_model_once_and_says_why_it_has_no_round(bench: Bench, more: list[str]) -> None:
    pytest.importorskip("pytest_benchmark")
    if "-n2" in more:
        pytest.importorskip("xdist")
    bench.write(
        "test_it.py", AROUND.replace("def test_another_function(benchmark, llm)", "def another(benchmark, llm)")
    )
    bench.run("--llm-models=a=echo,b=echo", *more, fresh=True).assert_outcomes(passed=4)
    found = by_test(bench)
    assert len(found) == 4
    assert {(tuple(each["round_s"]), each["reason"]) for each in found.values()} == {
        ((), "pytest-benchmark was disabled (--benchmark-disable, or pytest-xdist)")
    }
    assert len(bench.records("rounds")) == 4


def test_loading_the_model_is_in_no_round(bench: Bench) -> None:
    pytest.importorskip("pytest_benchmark")
    bench.write("test_it.py", "def test_it(benchmark, llm): benchmark.pedantic(llm.generate, args=('hi',), rounds=2)\n")
    bench.run("--llm-models=echo+load=4s", fresh=True).assert_outcomes(passed=1)
    (record,) = bench.records("benchmark")
    assert max(record["round_s"]) < 4


def test_a_model_that_cannot_be_loaded_fails_in_the_body(bench: Bench) -> None:
    pytest.importorskip("pytest_benchmark")
    bench.write("test_it.py", "def test_it(benchmark, llm): benchmark(llm.generate, 'hi')\n")
    result = bench.run("--llm-models=echo+load_fail=broken", fresh=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*def test_it(benchmark, llm)*"])


def test_of_a_benchmark_that_was_rerun_the_last_attempt_counts(bench: Bench) -> None:
    pytest.importorskip("pytest_benchmark")
    pytest.importorskip("pytest_rerunfailures")
    bench.write(
        "test_it.py",
        "import pathlib\ndef test_it(benchmark, llm):\n    mark = pathlib.Path('been'); first = not mark.exists(); mark.touch()\n"
        "    benchmark.pedantic(llm.generate, args=('hi',), rounds=2 if first else 4)\n    assert not first\n",
    )
    bench.run("--llm-models=echo", "--reruns=1", fresh=True).assert_outcomes(passed=1)
    assert [(record["attempt"], len(record["round_s"])) for record in bench.records("benchmark")] == [(0, 2), (1, 4)]
    (listed,) = bench.results()["benchmarks"]
    assert listed["seconds"]["n"] == 4


def test_a_call_that_fails_in_a_benchmark_leaves_no_number(bench: Bench) -> None:
    pytest.importorskip("pytest_benchmark")
    bench.write("test_it.py", "def test_it(benchmark, llm): benchmark(llm.generate, 'hi')\n")
    bench.run("--llm-models=echo+crash=SIGKILL+at=3", fresh=True).assert_outcomes(failed=1)
    (record,) = bench.records("benchmark")
    assert (record["round_s"], record["reason"]) == ([], "what it called failed")


def test_pytest_benchmark_may_be_asked_for_by_its_module(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytest_benchmark")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    bench.write("test_it.py", "def test_it(benchmark, llm): benchmark.pedantic(llm.generate, args=('hi',), rounds=2)\n")
    plugins = ("-p", "pytest_llmci.plugin", "-p", "pytest_benchmark.plugin")
    bench.pytester.runpytest_subprocess(*plugins, "--llm-models=echo").assert_outcomes(passed=1)
    assert [len(record["round_s"]) for record in bench.records("benchmark")] == [2]


def test_without_pytest_benchmark_nothing_is_missed(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.fixture\ndef benchmark(): return 3\ndef test_it(benchmark, llm): llm.generate('hi')\n",
    )
    bench.run("--llm-models=echo", "-pno:benchmark", fresh=True).assert_outcomes(passed=1)
    assert bench.records("benchmark") == []


def test_a_sink_gives_the_same_bytes_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.path)
    sinks = [f"{name}:{{}}/{name}" for name in ("pytest-benchmark", "github-benchmark", "otava")]
    bench.suite("a=echo,b=echo", "--llmci-sink=" + ",".join(sinks).replace("{}", "now"))
    assert main(["report", *[word for sink in sinks for word in ("--sink", sink.format("later"))]]) == 0
    files = sorted(path.name for path in (bench.path / "now").iterdir() if not path.name.startswith("."))
    assert files == ["github-benchmark", "github-benchmark-bigger", "otava", "pytest-benchmark"]
    for name in files:
        assert (bench.path / "now" / name).read_bytes() == (bench.path / "later" / name).read_bytes()


def test_a_sink_that_cannot_write_is_a_warning_and_no_failure(bench: Bench) -> None:
    (bench.path / "file").touch()
    names = ("pytest-benchmark", "github-benchmark", "otava")
    result = bench.suite("echo", "--llmci-sink=" + ",".join(f"{name}:file/x.json" for name in names))
    assert result.ret == pytest.ExitCode.OK
    for name in names:
        result.stdout.fnmatch_lines([f"*sink '{name}:file/x.json': file/x.json: cannot be *"])


def test_nobody_pays_for_properties_that_nobody_reads(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        "def pytest_runtest_logreport(report):\n"
        "    with open('seen', 'a') as file: file.write(f'{report.user_properties}\\n')\n",
    )
    bench.suite("echo")
    assert set((bench.path / "seen").read_text().split("\n")) == {"[]", ""}
