from __future__ import annotations

import json
from pathlib import Path

import pytest
from foreign_files import llama_bench, pytest_benchmark, save, vllm_serve

from pytest_llmci.cli.main import main
from pytest_llmci.engine.imported import OF_A_RUN
from pytest_llmci.importers import IMPORTERS
from pytest_llmci.store.runfolder import list_runs


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_import(*paths: Path) -> int:
    return main(["import", *map(str, paths)])


def test_a_file_becomes_a_whole_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_import(save(tmp_path / "bench.json", [llama_bench()])) == 0
    shown = capsys.readouterr().out
    assert "bench.json: llama-bench (llama-bench abc1234), 1 result, 5 rounds\n" in shown
    [run] = list_runs(tmp_path / "llmci-results")
    assert f"saved llmci-results/{run.name}" in shown
    assert {each.name for each in run.iterdir()} >= {
        "log.jsonl",
        "results.csv",
        "summary.csv",
        "results.json",
        "metrics.json",
    }
    assert (tmp_path / "llmci-results/latest/metrics.json").is_file()
    [metrics] = json.loads((run / "metrics.json").read_text()).values()
    assert (metrics["cells"], metrics["failed_cells"]) == (1, 0)
    assert "valid_cells" not in metrics, "nobody judged an answer"
    before = (run / "results.csv").read_bytes()
    assert main(["verify"]) == 0
    assert main(["report"]) == 0
    assert (run / "results.csv").read_bytes() == before
    assert main(["history"]) == 0
    assert "small-q4: median latency" in capsys.readouterr().out


def test_a_failed_run_fails_and_its_numbers_count_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import(save(tmp_path / "a.json", vllm_serve(completed=1, detailed=True))) == 1
    assert "FAILED Served-7B-serve-4-in100-rinf-c2: 1 of 4 requests completed\n" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "llmci-results/latest/metrics.json").read_text())
    assert metrics == {"Served-7B": {"cells": 1, "valid_cells": 0, "failed_cells": 1, "inconclusive_cells": 0}}


def test_a_failed_run_is_lost_coverage_against_a_good_one(tmp_path: Path) -> None:
    assert run_import(save(tmp_path / "a.json", vllm_serve())) == 0
    assert run_import(save(tmp_path / "b.json", vllm_serve(0.1, completed=1))) == 1
    assert main(["compare", "latest"]) == 1


SPREAD = (1.0, 1.004, 0.997, 1.002)


@pytest.mark.parametrize("detailed", [False, True])
def test_ten_per_cent_are_found_between_several_runs_of_the_tool(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, detailed: bool
) -> None:
    for side, factor in (("old", 1.0), ("same", 1.0005), ("new", 1.1)):
        files = [
            save(tmp_path / f"{side}{n}.json", vllm_serve(factor * each, detailed=detailed))
            for n, each in enumerate(SPREAD)
        ]
        assert run_import(*files) == 0
    capsys.readouterr()
    assert main(["compare", "latest~2", "latest~1"]) == 0
    assert "inconclusive" not in (same := capsys.readouterr().out)
    assert "at least 4 runs of the tool on each side: their spread is the noise" in " ".join(same.split())
    assert main(["compare", "latest~2", "latest"]) == 1
    shown = capsys.readouterr().out
    assert "REGRESSED" in shown
    assert "ttft median" in shown
    assert "+10.0 %" in shown
    assert ("latency" in shown) == detailed


def test_one_number_a_side_decides_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, scale in (("old", 1.0), ("new", 1.5)):
        run_import(save(tmp_path / f"{name}.json", vllm_serve(scale)))
    capsys.readouterr()
    assert main(["compare", "latest", "--fail-on", "inconclusive", "--json"]) == 2
    [cell] = json.loads(capsys.readouterr().out)["cells"]
    assert {each["metric"] for each in cell["comparisons"]} == {"output_throughput", "ttft_median", "tpot_median"}
    assert {each["reason"] for each in cell["comparisons"]} == {"either side has 1 round: fewer than 3 decide nothing"}
    assert main(["compare", "latest"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "llmci import with the files of 3 or more runs of the tool on each side" in shown
    assert "the files do not say what machine they are of" in shown


def test_samples_of_one_run_a_side_find_what_sessions_do_not_differ_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, scale in (("old", 1.0), ("a-tenth", 1.1), ("twice", 2.0)):
        data = [scale * (0.01 + n % 7 / 1e5) for n in range(500)]
        run_import(save(tmp_path / f"{name}.json", pytest_benchmark(data)))
    capsys.readouterr()
    assert main(["compare", "latest~2", "latest~1"]) == 0
    assert "inconclusive" in capsys.readouterr().out
    assert main(["compare", "latest~2", "latest"]) == 1
    assert "the files do not say what machine" not in capsys.readouterr().out


def test_other_settings_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for threads in (4, 8):
        run_import(save(tmp_path / f"{threads}.json", [llama_bench(n_threads=threads)]))
    assert main(["compare", "latest"]) == 4
    assert "differ in n_threads: 4 -> 8" in capsys.readouterr().err


def test_answers_of_another_mean_length_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, tokens in (("a", 64), ("b", 96)):
        run_import(save(tmp_path / f"{name}.json", vllm_serve(total_output_tokens=tokens)))
    capsys.readouterr()
    assert main(["compare", "latest", "--json"]) == 0
    [cell] = json.loads(capsys.readouterr().out)["cells"]
    assert cell["verdict"] == "not comparable"
    assert "the answers differ in length: 16 -> 24 tokens" in {each["reason"] for each in cell["comparisons"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x00\x01\x02", "is no text: give a tool's JSON or CSV file"),
        (b'{"benchmarks": [1, 2', "is no whole JSON"),
        (b'{"a": 1}', "is of no tool that is known here. Known: pytest-benchmark, llama-bench, "),
        (b"[]", "is of no tool that is known here"),
        (b"a,b\n1,2\n", "is of no tool that is known here"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read as JSON"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
    ],
)
def test_what_is_no_result_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    path = tmp_path / "given"
    path.write_bytes(content)
    assert run_import(path) == 4
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert said in shown
    assert str(path) in shown
    assert not (tmp_path / "llmci-results").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["."], "is a folder: name a file with results"),
        (["nothing.json"], "nothing.json cannot be read: No such file or directory"),
        (["/dev/null"], "/dev/null is no file"),
        (["a\0b"], "cannot be read"),
        (["good.json", "--format", "vlm"], "--format: unknown importer 'vlm'. Known: aiperf, "),
        (["good.json", "--model", "a/b"], "import: --model: 'a/b' is no name for a model"),
        (["good.json", "good.json"], "good.json and good.json are the same file"),
    ],
)
def test_bad_arguments_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    save(tmp_path / "good.json", [llama_bench()])
    assert main(["import", *arguments]) == 4
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "llmci-results").exists()


def test_a_named_format_is_not_asked_whether_it_recognises_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "a.json", {"benchmarks": []})
    assert main(["import", str(path), "--format", "pytest-benchmark"]) == 4
    assert "a.json (pytest-benchmark) holds no result" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "good.json", [llama_bench()])
    assert main(["import", str(path), "--output", str(path)]) == 4
    assert "cannot write results to" in capsys.readouterr().err


ROOT = Path(__file__).parents[3]


def test_the_example_of_the_docs_prints_what_they_show(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((ROOT / "examples/importing").glob("*.json"))
    assert run_import(*(path for path in files if path.name.startswith("before"))) == 0
    assert run_import(*(path for path in files if path.name.startswith("after"))) == 0
    capsys.readouterr()
    assert main(["compare", "latest"]) == 1
    shown = capsys.readouterr().out
    blocks = (ROOT / "docs/importing.md").read_text(encoding="utf-8").split("```\n")
    [block] = [each for each in blocks if each.startswith("cell ")]
    assert block in shown


def test_the_docs_name_every_format_and_every_metric_of_a_run() -> None:
    text = (ROOT / "docs/importing.md").read_text(encoding="utf-8")
    for name in (*(entry.name for entry in IMPORTERS), *(metric.name for metric in OF_A_RUN)):
        assert f"`{name}`" in text
