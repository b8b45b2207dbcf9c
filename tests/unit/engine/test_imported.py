from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from foreign_files import llama_bench, pytest_benchmark, save, vllm_serve
from importing import imported, read
from sample_run import rounds, worker, write_log

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.comparisons.compare_runs import compare_runs
from pytest_llmci.engine.imported import ImportedCell, write_imported
from pytest_llmci.errors import ConfigError
from pytest_llmci.records import RoundsRecord, WorkerRecord
from pytest_llmci.store.log import LOG_NAME, LogReader
from pytest_llmci.store.verify import verify_log


def test_the_log_says_where_the_numbers_come_from(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", [llama_bench()])
    report = imported(tmp_path, path)
    assert verify_log(report.folder / LOG_NAME).ok
    assert report.header.settings["provenance"] == "imported"
    raw = path.read_bytes()
    assert report.header.settings["files"] == [
        {
            "name": "a.json", "bytes": len(raw), "md5": hashlib.md5(raw).hexdigest(), "sha256": hashlib.sha256(raw).hexdigest(),
            "format": "llama-bench", "tool": "llama-bench abc1234", "notes": [],
        }
    ]  # fmt: skip
    records = list(LogReader(report.folder / LOG_NAME))
    [block] = [record for record in records if isinstance(record, RoundsRecord)]
    [start] = [record for record in records if isinstance(record, WorkerRecord)]
    assert (block.provenance, block.outputs, block.n) == ("imported", [], 5)
    assert start.info["units"] == {"latency": "samples_ns [ns]", "prefill_tokens_per_s": "samples_ts [tok/s]"}
    assert report.footer is not None
    assert report.footer.exit_status == 0


def test_nothing_of_the_importing_machine_is_said_of_the_numbers(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", [llama_bench()]))
    assert report.header.environment == {"cpu_model": "Example CPU 9"}


def test_files_of_one_run_of_the_tool_are_its_repetitions(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.json", [llama_bench(scale=1 + n / 100)]) for n in range(3)]
    [cell] = imported(tmp_path, *paths).cells
    assert (cell.rounds, cell.blocks) == (15, 3)


def test_one_failed_repetition_fails_the_cell_and_none_of_its_numbers_is_in_the_log(tmp_path: Path) -> None:
    good, bad = (save(tmp_path / f"{n}.json", vllm_serve(completed=n, detailed=True)) for n in (4, 1))
    report = imported(tmp_path, good, bad)
    whole = report.cells[0]
    assert (whole.verdict, whole.rounds, whole.values("ttft_median")) == ("failed", 1, [0.1])
    blocks = [record for record in LogReader(report.folder / LOG_NAME) if isinstance(record, RoundsRecord)]
    assert [(block.n, block.values) for block in blocks if block.error] == [(0, {})]


def test_files_that_were_asked_otherwise_are_no_repetitions(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.json", [llama_bench(n_threads=n)]) for n in (4, 8)]
    with pytest.raises(ConfigError, match=r"4.json and 8.json both hold small-q4-pp512, but n_threads is 4 and 8"):
        imported(tmp_path, *paths)


def test_files_of_two_machines_are_two_runs(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{cpu}.json", [llama_bench(cpu_info=cpu)]) for cpu in "ab"]
    with pytest.raises(
        ConfigError, match=r"a.json and b.json are of different machines or checkouts \(cpu_model: a and b\)"
    ):
        imported(tmp_path, *paths)
    assert not (tmp_path / "runs").exists()


def test_the_same_file_twice_is_no_repetition(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", [llama_bench()])
    with pytest.raises(ConfigError, match="are the same file"):
        read(path, save(tmp_path / "b.json", [llama_bench()]))


def test_a_name_is_given_to_one_model_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", [llama_bench()])
    assert imported(tmp_path, path, alias="mine").models[0].alias == "mine"
    two = save(tmp_path / "b.json", [llama_bench(), llama_bench(model_filename="other.gguf")])
    with pytest.raises(ConfigError, match=r"--model mine is one name for 2 models \(models/small-q4, other\)"):
        imported(tmp_path, two, alias="mine")


def test_answers_of_another_length_are_no_repetition(tmp_path: Path) -> None:
    [file] = read(save(tmp_path / "a.json", [llama_bench()]))

    def holding(tokens: float) -> ImportedCell:
        return replace(file.cells[0], values={"output_tokens_mean": [tokens]})

    near, far = (replace(file, name=name, cells=[holding(n)]) for name, n in (("near", 105.0), ("far", 120.0)))
    start = replace(file, cells=[holding(100.0)])
    write_imported([start, near], tmp_path / "runs", FakeClock(), command=[])
    with pytest.raises(ConfigError, match="their answers have 100 and 120 tokens"):
        write_imported([start, far], tmp_path / "runs", FakeClock(), command=[])


def test_a_live_run_and_an_imported_one_are_not_comparable(tmp_path: Path) -> None:
    other = imported(tmp_path, save(tmp_path / "a.json", pytest_benchmark()), alias="a")
    live = tmp_path / "live"
    live.mkdir()
    write_log(live, [worker(), rounds(prompt_id=other.cells[0].prompt_id)])
    with pytest.raises(ConfigError, match=r"nothing can be compared: .*provenance: none -> imported"):
        compare_runs([live], other.folder)
