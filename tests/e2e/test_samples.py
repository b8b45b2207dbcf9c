"""``samples=N``: checks judged on sampled outputs."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET

import pytest
from bench import Bench

TESTS = """
import pytest

@pytest.mark.llmci(rounds=2, samples=20, temperature=0.7, max_new_tokens=30)
def test_certified(llm_result):
    assert len(llm_result.samples) == 16
    assert len({sample.seed for sample in llm_result.samples}) == 16
    assert len({sample.text for sample in llm_result.samples}) > 10
    assert llm_result.rounds == 2

@pytest.mark.llmci(rounds=2, samples=20, min_pass_rate=0.8, temperature=0.7, checks="contains:nowhere", max_new_tokens=30)
def test_failing(llm_result):
    pass

@pytest.mark.llmci(rounds=2, samples=5, temperature=0.7, max_new_tokens=30)
def test_few(llm_result):
    pass
"""
SETTINGS = ("--llm-models=echo", "--llm-prompts=prompts.yaml")
ONE = "- id: tcp\n  prompt: What is TCP?\n"


@pytest.fixture
def own(bench: Bench) -> Bench:
    bench.write("prompts.yaml", ONE)
    bench.write("test_own.py", TESTS)
    return bench


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "xdist"])
def test_pass_fail_and_undecided(own: Bench, parallel: tuple[str, ...]) -> None:
    result = own.run(*SETTINGS, "--junitxml=junit.xml", *parallel)
    result.stdout.fnmatch_lines([
        "InvalidOutput: 0 of 5 samples passed, 80 % are wanted",
        "  sample     1, seed *: contains:nowhere: *",
        "  sample     2, seed *: contains:nowhere: *",
    ])  # fmt: skip
    result.stdout.fnmatch_lines(["Samples: 21 of 26 outputs of 3 cells pass their checks; 1 passed, 1 failed, 1*"])
    result.stdout.fnmatch_lines(["  echo-tcp: 5 of 5 samples passed (100 %): neither proven *"])
    assert result.ret == 1
    verdicts = {line["test"].partition("::")[2].partition("[")[0]: line for line in own.records("verdict")}
    assert {name: line["verdict"] for name, line in verdicts.items()} == {
        "test_certified": "pass", "test_failing": "failed", "test_few": "inconclusive",
    }  # fmt: skip
    blocks = [line for line in own.records("rounds") if line["origin"] == "sample"]
    assert len(blocks) == 26
    assert all(line["n"] == 1 and line["generation"]["temperature"] == 0.7 for line in blocks)
    seeds = [line["generation"]["seed"] for line in blocks if "test_certified" in line["test"]]
    assert len(set(seeds)) == 16
    failures = verdicts["test_failing"]["samples"]["failures"]
    assert [each["seed"] for each in failures] == seeds[:2]  # of every cell the same
    cells = {cell["test"]: cell for cell in own.results()["cells"]}
    assert {cell["samples"]["verdict"] for cell in cells.values()} == {"pass", "failed", "inconclusive"}
    assert all(cell["rounds"] == 2 and len(cell["outputs"]) == 1 for cell in cells.values())
    with (own.latest / "results.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["status"] == "sample"]
    assert len(rows) == 26
    assert {int(row["seed"]) for row in rows} == set(seeds)
    properties = [p.attrib for p in ET.parse(own.path / "junit.xml").iter("property")]
    assert {"name": "llmci.samples.passed", "value": "16"} in properties


def test_the_recorded_seed_gives_the_recorded_text(own: Bench) -> None:
    own.run(*SETTINGS, "-k", "test_certified")
    recorded = [
        (line["generation"]["seed"], line["outputs"][0]) for line in own.records("rounds") if line["origin"] == "sample"
    ]
    own.write(
        "test_own.py",
        f"""
RECORDED = {recorded!r}

def test_again(llm, llm_prompt):
    for seed, text in RECORDED:
        assert llm.generate(llm_prompt, seed=seed, temperature=0.7, max_new_tokens=30).text == text
""",
    )
    own.run(*SETTINGS).assert_outcomes(passed=1)


def test_a_suite_with_flags(bench: Bench) -> None:
    result = bench.suite(
        "echo", "--llmci-samples=16", "--llmci-min-pass-rate=80%", "--llmci-temperature=0.7", "--llmci-rounds=2"
    )
    result.stdout.fnmatch_lines(["Samples: 30 of 30 outputs of 2 cells pass their checks; 2 passed. They are not*"])
    assert result.ret == 0
    assert [line["n"] for line in bench.records("rounds") if line["origin"] == "measured"] == [2, 2]
    assert "Nothing was gated" not in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--llmci-samples=20",),
            "--llmci-samples: samples=20 with greedy decoding (temperature 0): all samples would be the same; give *",
        ),
        (("--llmci-samples=0",), "--llmci-samples: 0 is too small; *"),
        (("--llmci-samples=20000",), "--llmci-samples: 20000 is too large; write a whole number of at most 10,000."),
        (
            ("--llmci-min-pass-rate=80",),
            "--llmci-min-pass-rate: '80' is no rate; write a share over 0 and up to 1, like 0.8 or 80%.",
        ),
    ],
)
def test_bad_flags_are_one_line(bench: Bench, arguments: tuple[str, ...], message: str) -> None:
    result = bench.suite("echo", *arguments)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


@pytest.mark.parametrize(
    ("marker", "fixture", "message"),
    [
        (
            "samples=20",
            "llm_result",
            "marker llmci: samples=20 with greedy decoding (temperature 0): all samples would be the same; *",
        ),
        (
            "samples=20, temperature=1, checks=[]",
            "llm_result",
            "marker llmci: samples= has no effect with checks=*: the checks are *",
        ),
        ("samples=20, temperature=1", "llm", "marker llmci: samples= needs the fixture llm_result; *"),
    ],
)
def test_bad_markers_are_one_line(bench: Bench, marker: str, fixture: str, message: str) -> None:
    bench.write("test_own.py", f"import pytest\n@pytest.mark.llmci({marker})\ndef test_it({fixture}):\n    pass\n")
    result = bench.run(*SETTINGS)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: test_own.py::test_it: {message}"])


def test_a_model_that_dies_while_it_is_sampled_fails_the_cell_and_keeps_its_samples(own: Bench) -> None:
    result = own.run(
        "--llm-models=echo+crash=SIGKILL+at=7", "--llm-prompts=prompts.yaml", "-k", "test_certified"
    )  # 1 + 2 + 4 samples
    result.stdout.fnmatch_lines(["  sample     5 of up to 20, with seed *, after the rounds"])
    assert result.ret == 1
    blocks = [line for line in own.records("rounds") if line["origin"] == "sample"]
    assert [line["n"] for line in blocks] == [1, 1, 1, 1, 0]
    assert blocks[-1]["error"]["kind"] == "crashed"
    assert own.results()["cells"][0]["rounds"] == 2


def test_the_time_limit_leaves_samples_out(own: Bench) -> None:
    result = own.run(
        "--llm-models=echo+ttft=200ms", "--llm-prompts=prompts.yaml", "-k", "test_certified", "--llmci-time-limit=1s"
    )
    verdict = own.records("verdict")[0]
    assert verdict["verdict"] == "inconclusive"
    assert verdict["samples"]["reason"].startswith("out of time (--llmci-time-limit)")
    assert verdict["samples"]["n"] < 16
    result.assert_outcomes(failed=1)  # its body wants all samples


def test_in_a_comparison_the_samples_are_not_compared(own: Bench) -> None:
    result = own.run(
        *SETTINGS, "--llmci-versus=echo+tokens=20", "-k", "test_few", "--llmci-rounds=2", "--llmci-max-rounds=2"
    )
    result.stdout.fnmatch_lines(["Samples: 5 of 5 outputs of 1 cell pass their checks; *", "*not compared."])
    origins = [line["origin"] for line in own.records("rounds")]
    assert origins.count("sample") == 5
    assert {line["model"] for line in own.records("rounds") if line["origin"] == "sample"} == {"echo"}


def test_redacted_samples_tell_no_text(own: Bench) -> None:
    result = own.run(*SETTINGS, "--llmci-redact", "-k", "test_failing")
    assert result.ret == 1
    assert (
        "You asked"
        not in result.stdout.str() + (own.latest / "log.jsonl").read_text() + (own.latest / "results.json").read_text()
    )
