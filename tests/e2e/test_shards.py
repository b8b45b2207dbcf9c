"""A matrix in parts, each in a session of its own, and one run of them all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bench import Bench
from canonical import canonical_lines

from pytest_llmci.cli.main import main
from pytest_llmci.dashboard.source import open_source
from pytest_llmci.engine.comparisons.stored_run import read_run

CONTROLLER = "controller = import_module('pytest_llmci.plugin.controller')"
MODELS = "a=echo,b=echo,c=echo,d=echo,e=echo"
TESTS = """
import pytest
def test_other(): pass
@pytest.mark.llmci(rounds=1)
def test_cell(llm_result): assert llm_result.output.text
def test_call(llm): llm.generate('hi')
@pytest.mark.llmci(prompts=['prompts.yaml'], checks=['contains:nothing like it'], rounds=1)
def test_fails(llm_result): pass
"""
MATRIX = (
    f"--llm-models={MODELS}", "--llm-prompts=prompts.yaml", "--llmci-suite=inference,mine.jsonl", "--llmci-rounds=2",
    "--llmci-budget=output_tokens <= 50", "--llmci-samples=8", "--llmci-temperature=0.7", ".",
)  # fmt: skip
SMALL = (f"--llm-models={MODELS}", "--llm-prompts=prompts.yaml", "--llmci-suite=inference", "--llmci-rounds=1")


@pytest.fixture(autouse=True)
def here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.path)
    monkeypatch.delenv("LLMCI_SIGNING_KEY", raising=False)
    rows = [{"query": f"{n}?", "choices": ["a", "b"], "gold": n % 2} for n in range(5)]
    bench.write("mine.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def shards(bench: Bench, of: int, *args: str, only: tuple[int, ...] = (), fresh: bool = False) -> list[Path]:
    """The run folders of the shards, each in an output folder of its own."""
    found = []
    for index in only or range(1, of + 1):
        bench.run(*args, f"--llmci-shard={index}/{of}", f"--llmci-output=parts/{index}", fresh=fresh)
        (run,) = (path.parent for path in (bench.path / "parts" / str(index)).glob("2*/log.jsonl"))
        found.append(run)
    return found


def pretend(bench: Bench, text: str) -> None:
    """Let the sessions from now on believe in another machine or package."""
    bench.write(
        "conftest.py", f"from importlib import import_module\n{CONTROLLER}\nthere = controller.environment\n{text}\n"
    )


def merge(*args: object) -> int:
    return main(["merge", *map(str, args)])


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(text) for text in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [line for line in found if line["type"] == kind]


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "xdist"])
def test_merged_shards_are_the_run_of_one_session(
    bench: Bench, capsys: pytest.CaptureFixture[str], parallel: tuple[str, ...]
) -> None:
    bench.write("test_it.py", TESTS)
    single = bench.run(*MATRIX, "--llmci-output=single")
    whole = bench.path / "single" / "latest"
    parts = shards(bench, 4, *MATRIX, *parallel, fresh=bool(parallel))
    capsys.readouterr()
    assert merge(*parts) == single.ret == 1
    assert canonical_lines(bench.latest) == canonical_lines(whole)
    assert sum(len(canonical_lines(part)) for part in parts) == len(canonical_lines(whole)) + 3, "a gate each"
    if not parallel:
        uids = [
            [line.get("uid") for line in map(json.loads, (run / "log.jsonl").read_text("utf-8").splitlines())]
            for run in (bench.latest, whole)
        ]
        assert uids[0] == uids[1]
    assert main(["verify"]) == 0
    assert main(["compare", str(whole), "latest"]) == 0
    assert "lost coverage" not in capsys.readouterr().out


def test_the_header_names_the_parts_and_their_digests(bench: Bench) -> None:
    parts = shards(bench, 2, *SMALL)
    assert merge(*reversed(parts)) == 0
    (header,) = bench.records("header")
    told = header["settings"]["merged"]
    assert [part["run"] for part in told["parts"]] == [part.name for part in parts]
    assert sorted(alias for part in told["parts"] for alias in part["models"]) == list("abcde")
    for part, folder in zip(told["parts"], parts, strict=True):
        assert json.loads((folder / "log.jsonl").read_text("utf-8").splitlines()[-1])["sha256"] == part["log_digest"]
        assert json.loads((folder / "manifest.json").read_text("utf-8"))["run_digest"] == part["run_digest"]
    assert header["settings"]["shard"] == ""
    assert bench.results()["run"]["exit_status"] == 0


def test_what_is_no_model_is_run_by_exactly_one_shard(bench: Bench) -> None:
    for name in "uvwxyz":
        bench.write(
            f"test_{name}.py",
            "import pytest\n@pytest.mark.parametrize('n', range(3))\ndef test_it(n, record_property): pass\n",
        )
    ran = []
    for index in (1, 2, 3):
        result = bench.run(*SMALL, f"--llmci-shard={index}/3", "-v", ".")
        ran += [line.split(" ")[0] for line in result.outlines if line.startswith("test_") and "PASSED" in line]
    assert sorted(ran) == sorted(f"test_{name}.py::test_it[{n}]" for name in "uvwxyz" for n in range(3))


def test_more_shards_than_models_leave_some_idle_and_all_is_well(bench: Bench) -> None:
    statuses = [
        bench.run(*SMALL[:1], *SMALL[1:], "-k", "a- or b-", f"--llmci-shard={n}/3", f"--llmci-output=parts/{n}")
        for n in (1, 2, 3)
    ]
    assert [result.ret for result in statuses] == [0, 0, 0]
    assert (
        sum(
            "nothing to do in shard" in line["message"]
            for n in (1, 2, 3)
            for line in lines(bench.path / f"parts/{n}/latest", "gate")
        )
        == 1
    )
    assert merge(*(f"parts/{n}/latest" for n in (1, 2, 3))) == 0
    assert {line["model"] for line in bench.records("rounds")} == {"a", "b"}


def test_an_idle_shard_of_parallel_workers_is_told_of_as_well(bench: Bench) -> None:
    results = [
        bench.run(
            "--llm-models=a=echo", *SMALL[1:], "-n2", f"--llmci-shard={n}/2", f"--llmci-output=parts/{n}", fresh=True
        )
        for n in (1, 2)
    ]
    assert [result.ret for result in results] == [0, 0]
    assert merge("parts/1", "parts/2") == 0


def test_a_missing_shard_is_lost_coverage(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(bench, 3, *SMALL)
    capsys.readouterr()
    assert merge(parts[0], parts[2]) == 1
    told = capsys.readouterr().out
    (plan,) = lines(parts[0], "shard")
    gone = [alias for alias, shard in zip(plan["models"], plan["shards"], strict=True) if shard == 2]
    assert f"FAILED lost coverage: shard 2/3 is missing ({2 * len(gone)} cells of {', '.join(gone)})" in told
    (gate,) = bench.records("gate")
    assert gate["outcome"] == "failed" and "shard 2/3 is missing" in gate["message"]
    assert {line["model"] for line in bench.records("rounds")} == set("abcde") - set(gone)
    assert main(["verify"]) == 0


def test_a_killed_shard_keeps_its_rows_and_is_lost_coverage(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(bench, 2, *SMALL)
    log = parts[1] / "log.jsonl"
    kept = log.read_text("utf-8").splitlines(keepends=True)
    cells = sum('"type":"verdict"' in line for line in kept)
    log.write_text(
        "".join(kept[:-5]) + kept[-5][:40], "utf-8"
    )  # a cell's block and verdict, the gate and the footer are gone
    assert merge(*parts) == 4
    assert f"its session was killed: llmci report {parts[1]} closes its log" in capsys.readouterr().err
    assert main(["report", str(parts[1])]) == 0
    assert merge(*parts) == 1
    told = capsys.readouterr().out
    lost = cells - sum('"type":"verdict"' in line for line in kept[:-5])
    assert f"FAILED lost coverage: shard 2/2 was killed: {lost} of its {cells} cells have no verdict" in told


def test_a_shard_killed_before_its_gates_has_verdicts_all_the_same(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = shards(bench, 2, *SMALL)
    log = parts[1] / "log.jsonl"
    kept = log.read_text("utf-8").splitlines(keepends=True)
    cells = sum('"type":"verdict"' in line for line in kept)
    log.write_text(
        "".join(line for line in kept if '"type":"gate"' not in line and '"type":"footer"' not in line), "utf-8"
    )
    assert main(["report", str(parts[1])]) == 0
    capsys.readouterr()
    assert merge(*parts) == 1
    told = capsys.readouterr().out
    assert f"lost coverage: shard 2/2 was killed: its {cells} cells have verdicts, its gates have none" in told


def test_help_says_what_a_killed_shard_ends_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "4 the runs are not shards of one matrix, or a shard still runs, or was killed and nobody closed its log"
        in told
    )


def test_a_shard_without_a_manifest_is_noted_as_verify_does(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(bench, 2, *SMALL)
    (parts[1] / "manifest.json").unlink()
    capsys.readouterr()
    assert merge(*parts) == 0
    note = "no manifest.json: no file but the log vouches for itself; llmci report writes one"
    told = capsys.readouterr().out
    assert f"note: shard 2/2: {note}\n" in told and "note: shard 1/2" not in told
    assert main(["verify", str(parts[1])]) == 0
    assert f"note: {note}\n" in capsys.readouterr().out


def test_a_folder_of_shards_is_told_how_to_be_given(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(bench, 2, *SMALL)
    capsys.readouterr()
    assert merge("parts") == 4
    assert "merge: parts is no run and holds 2 folders with runs: give parts/*." in capsys.readouterr().err
    for part in parts:
        part.rename(bench.path / "parts" / part.name)
        shutil.rmtree(part.parent)
    assert merge("parts") == 4
    assert "merge: parts holds 2 runs: give parts/*." in capsys.readouterr().err
    assert merge(*(bench.path / "parts").glob("*")) == 0
    bench.write("parts/notes.txt", "")
    assert merge("parts") == 4
    assert "merge: parts holds 2 runs: name one of them, such as parts/2" in capsys.readouterr().err


def test_a_shard_that_was_stopped_early_is_lost_coverage(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(*SMALL, "--llmci-shard=1/1", "--llmci-check=contains:nothing like it", "-x", "--llmci-output=parts/1")
    assert merge("parts/1") == 1
    told = capsys.readouterr().out
    assert (
        "FAILED lost coverage: shard 1/1 was stopped early (exit status 1): 9 of its 10 cells have no verdict" in told
    )
    assert bench.records("gate")[0]["outcome"] == "failed"


def test_a_test_of_ones_own_that_failed_in_a_shard_fails_the_merge(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write("test_own.py", "def test_it(): assert 0\n")
    parts = shards(bench, 2, *SMALL, ".")
    assert merge(*parts) == 1
    assert "FAILED in its own session: shard" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (("--llmci-shard=2/3",), "is shard 1/2 and * shard 2/3: parts of two matrices"),
        (("--llmci-shard=1/2",), "are both shard 1/2: give one of them"),
        (("--llmci-shard=2/2", "--llmci-rounds=3"), "shard 1/2 and shard 2/2 were run with different settings: rounds 1 and 3"),
        (
            ("--llmci-shard=2/2", "--llm-models=zz=echo:other"),
            "were run with different settings: models none and zz=echo:other",
        ),
        (("--llmci-shard=2/2", "--llmci-seed=3"), "were run with different settings: seed 0 and 3"),
        (("--llmci-shard=2/2", "-k", "first"), "selected different tests: 2 and 1 cells of a"),
        (("--llmci-shard=2/2", "-k", "not a-"), "had different models: only one of them knows a"),
        (("--llmci-shard=2/2", "--llmci-shard-costs=times.json"), "divided the models differently, by their sizes and by the times of times.json"),
        ((), "is no shard: its session had no --llmci-shard"),
    ],
)  # fmt: skip
def test_what_is_not_of_one_matrix_is_refused_in_one_line(
    bench: Bench, capsys: pytest.CaptureFixture[str], second: tuple[str, ...], message: str
) -> None:
    bench.write("times.json", json.dumps({alias: {"latency": 10.0**at} for at, alias in enumerate("abcde")}))
    bench.run(*SMALL, "--llmci-shard=1/2", "--llmci-output=parts/1")
    bench.run(*SMALL, *second, "--llmci-output=parts/2")
    capsys.readouterr()
    assert merge("parts/1", "parts/2") == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(part.strip() in error for part in message.split("*"))
    assert not (bench.path / "llmci-results").exists()


def test_versions_must_agree(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(*SMALL, "--llmci-shard=1/2", "--llmci-output=parts/1")
    pretend(bench, "controller.version = lambda: '9.9'")
    bench.run(*SMALL, "--llmci-shard=2/2", "--llmci-output=parts/2")
    capsys.readouterr()
    assert merge("parts/1", "parts/2") == 4
    assert "shard 1/2 and shard 2/2 were measured by pytest-llmci" in capsys.readouterr().err


def test_packages_must_agree(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(*SMALL, "--llmci-shard=1/2", "--llmci-output=parts/1")
    pretend(bench, "controller.environment = lambda: {**there(), 'packages': {**there()['packages'], 'numpy': '0.1'}}")
    bench.run(*SMALL, "--llmci-shard=2/2", "--llmci-output=parts/2")
    capsys.readouterr()
    assert merge("parts/1", "parts/2") == 4
    assert "shard 1/2 and shard 2/2 are of different versions: packages numpy" in capsys.readouterr().err


def test_each_model_of_a_merged_run_is_compared_on_its_own_machine(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = shards(bench, 2, *SMALL, only=(1,))
    pretend(bench, "controller.environment = lambda: {**there(), 'cpu_model': 'another'}")
    parts += shards(bench, 2, *SMALL, only=(2,))
    assert merge(*parts) == 0
    run = read_run(bench.latest)
    (plan,) = lines(parts[0], "shard")
    here = lines(parts[0], "header")[0]["environment"]["cpu_model"]
    for alias, shard in zip(plan["models"], plan["shards"], strict=True):
        assert run.models[alias].environment.facts["cpu_model"] == (here if shard == 1 else "another")
    (header,) = bench.records("header")
    assert header["environment"]["cpu_model"] is None
    assert merge(*parts, "--save-baseline=main") == 4
    assert "shard 1/2 and shard 2/2 were measured on different machines (cpu_model:" in capsys.readouterr().err


def test_a_merged_run_becomes_a_baseline(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(bench, 2, *SMALL)
    assert merge(*parts, "--save-baseline=nightly") == 0
    assert "baseline nightly saved in" in capsys.readouterr().out
    again = bench.run(*SMALL, "--llmci-baseline=nightly")
    assert again.ret == 0


def test_a_tampered_shard_is_named_and_nothing_is_merged(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(bench, 2, *SMALL)
    log = parts[1] / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"verdict":"pass"', b'"verdict":"fail"', 1))
    capsys.readouterr()
    assert merge(*parts) == 1
    error = capsys.readouterr().err
    assert str(log) in error and "was changed" in error and error.count("\n") == 1
    assert not (bench.path / "llmci-results").exists()


def test_a_derived_file_of_a_shard_that_was_changed_is_named(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(bench, 2, *SMALL)
    with (parts[0] / "results.csv").open("a") as stream:
        stream.write("more\n")
    assert merge(*parts) == 1
    assert "results.csv is not what manifest.json says" in capsys.readouterr().err


def test_signed_shards_make_a_signed_run(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCI_SIGNING_KEY", "the key")
    parts = shards(bench, 2, *SMALL)
    assert merge(*parts) == 0
    assert ", signed" in capsys.readouterr().out
    assert main(["verify"]) == 0
    (header,) = bench.records("header")
    assert [part["signed"] for part in header["settings"]["merged"]["parts"]] == [True, True]
    monkeypatch.setenv("LLMCI_SIGNING_KEY", "another key")
    assert merge(*parts) == 1
    assert "the signature is not that of the key in LLMCI_SIGNING_KEY" in capsys.readouterr().err


def test_a_shard_that_is_given_twice_and_a_merged_run_are_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = shards(bench, 2, *SMALL)
    assert merge(parts[0], parts[0]) == 4
    assert "was given twice" in capsys.readouterr().err
    shutil.copytree(parts[0], bench.path / "copy")
    assert merge(parts[0], "copy") == 4
    assert "are both shard 1/2" in capsys.readouterr().err
    assert merge(*parts) == 0
    assert merge("latest", parts[0]) == 4
    assert "is a merged run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/4", "--llmci-shard: '0/4': shards of 4 are numbered 1 to 4."),
        ("5/4", "--llmci-shard: '5/4': shards of 4 are numbered 1 to 4."),
        ("1/0", "--llmci-shard: '1/0': a matrix has 1 to 10,000 shards"),
        ("two", "--llmci-shard: 'two' is no shard; write its number and how many there are, like 2/8."),
        ("-1/4", "--llmci-shard: '-1/4' is no shard"),
        ("", "--llmci-shard: '' is no shard"),
    ],
)
def test_numbers_out_of_range_are_one_line(bench: Bench, text: str, message: str) -> None:
    result = bench.run(*SMALL, f"--llmci-shard={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}*"])


def test_a_shard_is_no_baseline_no_replay_and_no_setting(bench: Bench) -> None:
    for more, message in (
        (("--llmci-save-baseline",), "*--llmci-save-baseline and --llmci-shard: a shard is a part*"),
        (("--llmci-replay=latest",), "*--llmci-replay and --llmci-shard: nothing is measured in a replay*"),
    ):
        result = bench.run(*SMALL, "--llmci-shard=1/2", *more)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])
    bench.write("tox.ini", "[pytest]\nllmci_shard = 1/2\n")
    result = bench.run(*SMALL)
    result.stderr.fnmatch_lines(["*tox.ini: llmci_shard: every session would measure the same part*"])


def test_the_environment_may_name_the_shard(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_SHARD", "2/2")
    result = bench.run(*SMALL)
    result.stdout.fnmatch_lines(["llmci: shard 2 of 2: * of 5 models, *% of a fair share by sizes*"])


def test_shards_are_balanced_by_the_times_of_the_newest_whole_run(bench: Bench) -> None:
    bench.run(*SMALL).assert_outcomes(passed=10)
    whole = bench.records("header")[0]["run_id"]
    for index in (1, 2):
        bench.run(*SMALL, f"--llmci-shard={index}/2")
        (plan,) = bench.records("shard")
        assert plan["costs_from"] == whole, "and not the shard before, which knows some models only"
        assert all(cost > 0 for cost in plan["costs"])


def test_what_reads_runs_reads_a_merged_one(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(bench, 2, *SMALL)
    bench.run(*SMALL).assert_outcomes(passed=10)
    shutil.copytree(bench.latest, bench.path / "single")
    assert merge(*parts, "--sink=html") == 0
    assert (bench.latest / "report.html").is_file()
    merged = bench.records("header")[0]["run_id"]
    assert main(["report", "latest"]) == main(["verify"]) == main(["history"]) == 0
    assert main(["compare", "single", "latest", "--fail-on=never"]) == 0
    capsys.readouterr()
    row = open_source(str(bench.path / "llmci-results")).rows()[0]
    assert (row.id, row.state, sorted(row.models)) == (merged, "passed", list("abcde"))
    bench.run("--llmci-replay=latest").assert_outcomes(passed=10)
