from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from stored_runs import simple, started, write_run

from pytest_llmci.engine.comparisons.explain_history import history_json, history_lines
from pytest_llmci.engine.comparisons.history import Series, choose_runs, read_history
from pytest_llmci.errors import ConfigError
from pytest_llmci.records import ModelSpec
from pytest_llmci.stats import change_points


def written(output: Path, factors: list[float], **changes: Any) -> list[Path]:
    return [
        write_run(output, number, simple(seed=number, factor=factor), **changes)
        for number, factor in enumerate(factors)
    ]


def spec_of(**changes: Any) -> ModelSpec:
    return ModelSpec(**{"alias": "a", "backend": "echo", **changes})


def only(folders: list[Path], **options: Any) -> Series:
    (series,) = read_history(folders, **options).series
    return series


def test_one_point_a_run_with_its_median(tmp_path: Path) -> None:
    series = only(written(tmp_path, [1.0, 2.0])[::-1])
    latency = [point.value for point in series.points]
    assert latency == [pytest.approx(1.05, rel=0.01), pytest.approx(2.1, rel=0.01)]
    assert [point.rounds for point in series.points] == [20, 20]


def test_too_few_points_are_never_a_trend(tmp_path: Path) -> None:
    series = only(written(tmp_path, [1.0] * 5 + [3.0] * 6))
    assert series.changes == ()
    assert series.note == "11 comparable runs: change points need 12, 4 of them at the new level"


def test_the_run_at_which_the_level_changed(tmp_path: Path) -> None:
    pytest.importorskip("ruptures")
    folders = written(tmp_path, [1.0] * 9 + [1.2] * 5)
    history = read_history(folders)
    ((point, change),) = history.series[0].changes
    assert (point.run.folder, round(change.change, 1)) == (folders[9], 0.2)
    assert history.series[0].is_worse(change)
    text = "\n".join(history_lines(history))
    (marked,) = [line for line in text.splitlines() if line.endswith("worse from here on")]
    assert folders[9].name in marked
    assert "1 change point; a level counts once it has lasted" in text
    data: Any = history_json(history)
    assert data["series"][0]["changes"][0]["run_id"] == folders[9].name
    assert [point["alike"] for point in data["series"][0]["points"]] == [True] * 14


def test_other_hardware_and_other_prompts_are_no_change_of_the_model(tmp_path: Path) -> None:
    folders = written(tmp_path, [3.0] * 10, environment={"cpu_model": "B"})
    folders += [write_run(tmp_path, 10, simple(["tcp"], seed=10))]
    folders += [write_run(tmp_path, number, simple(seed=number)) for number in range(11, 20)]
    series = only(folders)
    assert [point.alike for point in series.points] == [False] * 11 + [True] * 9
    assert series.points[0].reason == "other hardware: cpu_model: B -> A"
    assert series.points[10].reason == "other prompts or settings"
    assert series.note.startswith("9 comparable runs: ")


@pytest.mark.parametrize(
    ("older", "newer", "changed"),
    [
        ({"options": {"dtype": "bfloat16"}}, {}, "dtype: bfloat16 -> none"),
        ({"revision": "v1"}, {"revision": "v2"}, "revision: v1 -> v2"),
        ({"backend": "echo"}, {"backend": "hf", "target": "x/y"}, "model: echo: -> hf:x/y"),
        ({"options": {"python": "a"}}, {"options": {"python": "b"}}, ""),
    ],
)
def test_another_model_under_one_alias_is_marked(
    tmp_path: Path, older: dict[str, Any], newer: dict[str, Any], changed: str
) -> None:
    folders = [
        write_run(tmp_path, number, [started(spec=spec_of(**changes)), *simple(factor=factor)[1:]])
        for number, (changes, factor) in enumerate([(older, 2.0), (newer, 1.0)])
    ]
    series = only(folders)
    assert [(point.alike, point.changed) for point in series.points] == [
        (True, ()),
        (True, (changed,) if changed else ()),
    ]


def test_the_same_weights_are_the_same_model_whatever_they_are_called(tmp_path: Path) -> None:
    folders = [
        write_run(
            tmp_path,
            number,
            [started(spec=spec_of(backend="gguf", target=path), info={"file_sha256": "f"}), *simple()[1:]],
        )
        for number, path in enumerate(["/tmp/ci-1/m.gguf", "/tmp/ci-2/m.gguf"])
    ]
    assert [point.changed for point in only(folders).points] == [(), ()]


def test_a_server_is_a_place_and_its_port_no_model(tmp_path: Path) -> None:
    def run(number: int, port: int, name: str) -> Path:
        spec = spec_of(backend="openai", target=f"http://127.0.0.1:{port}/v1#{name}")
        info = {"source": "endpoint", "server": f"http://127.0.0.1:{port}", "model_name": name}
        return write_run(tmp_path, number, [started(spec=spec, info=info), *simple()[1:]])

    series = only([run(0, 1, "b"), run(1, 2, "a"), run(2, 3, "a")])
    assert [point.changed for point in series.points] == [(), ("model: b -> a",), ()]


def test_where_a_spec_loads_something_else_is_marked(tmp_path: Path) -> None:
    facts: list[dict[str, Any]] = [
        {"manifest_sha256": "1"},
        {"manifest_sha256": "1"},
        {},
        {"manifest_sha256": "2", "dtype": "x"},
    ]
    folders = [write_run(tmp_path, number, simple(info=info)) for number, info in enumerate(facts)]
    history = read_history(folders)
    assert [point.changed for point in history.series[0].points] == [(), (), (), ("weights", "dtype")]
    assert [line for line in history_lines(history) if line.endswith("changed: weights, dtype")]
    data: Any = history_json(history)
    assert data["series"][0]["points"][-1]["changed"] == ["weights", "dtype"]


def test_models_and_metrics_are_chosen(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, 0, [*simple(), *simple(model="b")])]
    found = read_history(folders, ["latency", "ttft"], ["b*"])
    assert [(series.model, series.metric.name) for series in found.series] == [("b", "latency"), ("b", "ttft")]
    with pytest.raises(ConfigError, match="no model 'c'. Known: a, b"):
        read_history(folders, models=["c"])
    with pytest.raises(ConfigError, match="history: unknown metric 'latenzy'"):
        read_history(folders, ["latenzy"])


def test_a_damaged_run_is_named_and_hides_no_other(tmp_path: Path) -> None:
    folders = written(tmp_path, [1.0, 1.0])
    log = folders[0] / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"transformers", b"x").replace(b"tcp", b"udp", 1))
    history = read_history(folders)
    assert len(history.runs) == 1
    assert "was changed" in history.skipped[0]
    assert any(line.startswith("left out:") for line in history_lines(history))
    (folders[1] / "log.jsonl").write_text("nothing")
    with pytest.raises(ConfigError, match="no run can be read"):
        read_history(folders)


def test_without_the_library_the_table_stands_and_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    monkeypatch.setattr(change_points, "TOO_NEW", (99,))
    series = only(written(tmp_path, [1.0] * 12))
    assert series.note.endswith("pip install 'pytest-llmci[history]'.")


def test_all_runs_of_the_output_folder_unless_some_are_named(tmp_path: Path) -> None:
    folders = written(tmp_path, [1.0, 1.0, 1.0])
    assert choose_runs([], tmp_path) == folders
    assert choose_runs(["latest", folders[0].name, "latest"], tmp_path) == [folders[2], folders[0]]
    with pytest.raises(ConfigError, match="no runs in"):
        choose_runs([], tmp_path / "none")
