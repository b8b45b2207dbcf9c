from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample_run import rounds, shard, write_log

from pytest_llmci.engine.shards import assign, plan_digest, predicted_costs, read_costs, shard_of_file
from pytest_llmci.errors import ConfigError

ONE_SECOND = {"latency": 1.0, "output_tokens": 50.0, "load_time": 4.0}


def test_the_dearest_models_are_spread_first() -> None:
    costs = {"big": 80.0, "large": 70.0, "a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}
    found = assign(costs, 2)
    assert found["big"] != found["large"]
    assert assign(costs, 1) == dict.fromkeys(costs, 1)


def test_as_many_equal_models_as_shards_get_one_each() -> None:
    assert sorted(assign({f"m{n}": 3.0 for n in range(8)}, 8).values()) == list(range(1, 9))


def test_a_model_that_ran_before_costs_what_it_took() -> None:
    costs = predicted_costs({"a": 10}, {"a": 50}, {"a": ONE_SECOND}, {})
    assert costs == {"a": pytest.approx(14.0)}


def test_a_length_that_is_fixed_scales_the_time() -> None:
    assert predicted_costs({"a": 10}, {"a": 100}, {"a": ONE_SECOND}, {})["a"] == pytest.approx(24.0)


def test_sizes_stand_in_by_the_seconds_that_they_took_elsewhere() -> None:
    costs = predicted_costs({"a": 10, "b": 10}, {"a": 50}, {"a": ONE_SECOND}, {"a": 0.5, "b": 1.0})
    assert costs["b"] == pytest.approx(28.0)


def test_without_history_costs_go_by_size_and_the_unknown_is_taken_for_the_median() -> None:
    costs = predicted_costs({"a": 10, "b": 10, "c": 10, "d": 20}, {}, {}, {"a": 1.0, "b": 2.0, "c": 6.0})
    assert costs == {"a": 10.0, "b": 20.0, "c": 60.0, "d": 40.0}


def test_sizes_say_nothing_where_times_are_known_of_models_without_one() -> None:
    costs = predicted_costs({"a": 10, "b": 10}, {"a": 50}, {"a": ONE_SECOND}, {"b": 7.0})
    assert costs["b"] == pytest.approx(14.0)


def test_with_nothing_known_costs_go_by_the_number_of_answers() -> None:
    assert predicted_costs({"a": 10, "b": 30, "c": 0}, {}, {}, {}) == {"a": 10.0, "b": 30.0, "c": 1.0}


def run(output: Path, name: str, latency: float, *, shard_of: str = "") -> Path:
    folder = output / name
    folder.mkdir()
    write_log(folder, [*([shard()] if shard_of else []), rounds()], settings={"shard": shard_of})
    (folder / "metrics.json").write_text(json.dumps({"a": {"latency": latency}}), "utf-8")
    return folder


def test_the_newest_run_that_is_whole_tells_times(tmp_path: Path) -> None:
    run(tmp_path, "20260101T000000Z-aaaaaa", 1.0)
    run(tmp_path, "20260102T000000Z-aaaaaa", 2.0)
    run(tmp_path, "20260103T000000Z-aaaaaa", 3.0, shard_of="1/2")
    assert read_costs("", tmp_path, tmp_path, "x") == ({"a": {"latency": 2.0}}, "20260102T000000Z-aaaaaa")
    assert read_costs("", tmp_path / "none", tmp_path, "x") == ({}, "")


def test_a_run_or_a_file_may_be_named(tmp_path: Path) -> None:
    run(tmp_path, "20260101T000000Z-aaaaaa", 1.0)
    (tmp_path / "times.json").write_text('{"a": {"latency": 9}}', "utf-8")
    assert read_costs("latest", tmp_path, tmp_path, "x")[0]["a"] == {"latency": 1.0}
    assert read_costs("times.json", tmp_path, tmp_path, "x") == ({"a": {"latency": 9}}, "times.json")
    (tmp_path / "none.json").write_text("[]", "utf-8")
    with pytest.raises(ConfigError, match="--llmci-shard-costs: 'none.json' holds no metrics"):
        read_costs("none.json", tmp_path, tmp_path, "--llmci-shard-costs")
    with pytest.raises(ConfigError, match="no run 'nowhere'"):
        read_costs("nowhere", tmp_path, tmp_path, "x")


def test_the_plan_tells_shards_apart_that_disagree() -> None:
    plan = [("a", 1, 4), ("b", 2, 4)]
    assert plan_digest(2, plan) == plan_digest(2, reversed(plan))
    assert len({plan_digest(2, plan), plan_digest(3, plan), plan_digest(2, [("a", 1, 4), ("b", 2, 5)])}) == 3


def test_the_tests_of_a_file_stay_together_and_files_spread() -> None:
    shards = [shard_of_file(f"tests/test_{n}.py", 4) for n in range(40)]
    assert set(shards) == {1, 2, 3, 4}
    assert shards == [shard_of_file(f"tests/test_{n}.py", 4) for n in range(40)]
