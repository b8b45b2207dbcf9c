from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from foreign_files import llama_bench, save, save_lines
from importing import imported, read

from pytest_llmci.engine.imported import ONLY_AGGREGATES
from pytest_llmci.errors import ConfigError


def save_csv(path: Path, row: dict[str, Any], *, without: str = "") -> Path:
    """As ``-o csv`` writes it: no samples, everything quoted, truth values as digits."""
    row = {
        key: int(value) if isinstance(value, bool) else value
        for key, value in row.items()
        if not key.startswith("samples")
    }
    with path.open("w", newline="") as stream:
        stream.write(",".join(key for key in row if key != without) + "\n")
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerow(row.values())
    return path


def test_samples_become_rounds_and_the_speed_is_of_prompt_or_answer(tmp_path: Path) -> None:
    data = [llama_bench(512, 0), llama_bench(0, 128)]
    report = imported(tmp_path, save(tmp_path / "a.json", data))
    prompt, answer = report.cells
    assert (prompt.prompt_id, answer.prompt_id) == ("pp512", "tg128")
    assert prompt.values("latency") == [0.2, 0.202, 0.199, 0.201, 0.203]
    assert prompt.values("prefill_tokens_per_s")[0] == pytest.approx(2560)
    assert answer.values("tokens_per_s")[0] == pytest.approx(640)
    assert answer.values("prefill_tokens_per_s") == []
    [model] = report.models
    assert model.alias == "small-q4"
    assert (model.info["device"], model.info["device_name"]) == ("cuda", "Example GPU")


def test_json_lines_say_the_same_as_json(tmp_path: Path) -> None:
    data = [llama_bench(512, 0), llama_bench(0, 128)]
    [whole], [lines] = read(save(tmp_path / "a.json", data)), read(save_lines(tmp_path / "a.jsonl", data))
    assert lines.cells == whole.cells


def test_csv_has_statistics_alone_and_the_same_settings(tmp_path: Path) -> None:
    row = llama_bench(0, 128)
    [cell] = imported(tmp_path, save_csv(tmp_path / "a.csv", row)).cells
    assert cell.why_missing("latency") == ONLY_AGGREGATES
    assert cell.values("latency_mean") == [0.201]
    assert cell.values("tokens_per_s_mean") == [pytest.approx(128 / 0.201)]
    [of_csv], [of_json] = read(tmp_path / "a.csv"), read(save(tmp_path / "a.json", [row]))
    assert of_csv.cells[0].asked == of_json.cells[0].asked


def test_a_header_that_lacks_a_flag_is_read_from_the_end_if_the_speed_confirms_it(tmp_path: Path) -> None:
    row = {"build_commit": "a", "build_number": 1, "cuda": 1, "opencl": 0, **llama_bench(512, 0, avg_ts=512 / 0.201)}
    [cell] = read(save_csv(tmp_path / "a.csv", row, without="opencl"))[0].cells
    assert list(cell.values["prefill_tokens_per_s_mean"]) == [512 / 0.201]
    assert "cuda" not in cell.asked
    with pytest.raises(ConfigError, match=r"row 2 has 21 fields and its header 20: which is which cannot be told"):
        read(save_csv(tmp_path / "b.csv", {**row, "avg_ts": 3.0}, without="opencl"))


def test_a_result_without_a_time_has_failed(tmp_path: Path) -> None:
    data = [llama_bench(512, 0, samples_ns=[0, -1], samples_ts=[float("inf"), 0])]
    [cell] = imported(tmp_path, save(tmp_path / "a.json", data)).cells
    assert cell.verdict == "failed"


def test_a_result_that_lacks_what_the_tool_always_writes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="result 2 has no avg_ns, build_commit"):
        read(save(tmp_path / "a.json", [llama_bench(), {"model_filename": "x", "n_prompt": 1, "n_gen": 0}]))


TABLE = """ggml_cuda_init: found 1 CUDA devices:
| model                          |       size |     params | backend    | ngl |          test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | --: | ------------: | -------------------: |
| small 7B Q4_0                  |   3.56 GiB |     6.74 B | CUDA       |  99 |         pp512 |      2368.80 ± 93.24 |
| small 7B Q4_0                  |   3.56 GiB |     6.74 B | CUDA       |  99 | tg128 @ d4096 |        131.42 ± 0.00 |
| small 7B Q4_0                  |   3.56 GiB |     6.74 B | CUDA       |  99 |    pp64+tg16 |         99.10 ± 1.00 |

build: abc1234 (9)
"""


def test_the_table_has_speeds_and_their_deviation(tmp_path: Path) -> None:
    path = tmp_path / "bench.md"
    path.write_text(TABLE, encoding="utf-8")
    report = imported(tmp_path, path)
    prompt, answer = report.cells
    assert (prompt.prompt_id, answer.prompt_id) == ("pp512", "tg128-d4096")
    assert (prompt.values("prefill_tokens_per_s_mean"), prompt.values("prefill_tokens_per_s_std")) == (
        [2368.8],
        [93.24],
    )
    assert (answer.values("tokens_per_s_mean"), answer.values("tokens_per_s_std")) == ([131.42], [0.0])
    assert prompt.why_missing("prefill_tokens_per_s") == ONLY_AGGREGATES
    assert "pp64+tg16 is left out: its t/s counts the tokens of prompt and answer together" in read(path)[0].notes
    assert report.models[0].info["device"] == "cuda"


def test_a_table_whose_speed_is_no_number_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "bench.md"
    path.write_text(TABLE.replace("2368.80 ± 93.24", "nan ± nan"), encoding="utf-8")
    assert imported(tmp_path, path).cells[0].verdict == "failed"
