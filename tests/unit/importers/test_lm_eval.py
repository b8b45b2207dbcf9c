from __future__ import annotations

from pathlib import Path

from foreign_files import lm_eval_new, lm_eval_old, save
from importing import imported, read


def test_a_cell_a_task_and_measure_with_its_error(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", lm_eval_old()))
    cells = {cell.prompt_id: cell for cell in report.cells}
    assert set(cells) == {"arc_small-acc", "arc_small-acc_norm", "prose-ppl"}
    assert cells["arc_small-acc"].values("task_score") == [0.25]
    assert cells["arc_small-acc"].values("score_stderr") == [0.02]
    assert cells["arc_small-acc"].why_missing("questions") == "the file does not have it"
    assert (cells["prose-ppl"].values("perplexity"), cells["prose-ppl"].values("task_score")) == ([12.5], [])
    [model] = report.models
    assert (model.alias, model.info["revision"]) == ("Tiny-14M", "step7")


def test_nought_is_a_score(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", lm_eval_old()))
    [cell] = [cell for cell in report.cells if cell.prompt_id == "arc_small-acc_norm"]
    assert (cell.values("task_score"), cell.values("score_stderr"), cell.verdict) == ([0.0], [0.0], "pass")


def test_a_measure_without_a_direction_is_left_out_and_named(tmp_path: Path) -> None:
    [file] = read(save(tmp_path / "a.json", lm_eval_old()))
    assert file.notes == ["left out, as the file does not say whether more of it is better: likelihood_difference"]


def test_the_newer_form_says_filters_shots_and_how_many_questions(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", lm_eval_new()))
    [cell] = report.cells
    assert (cell.prompt_id, cell.values("task_score")) == ("gsm_small-exact_match-strict-match", [0.5])
    assert (cell.values("score_stderr"), cell.values("questions")) == ([0.05], [100])
    assert report.header.environment == {"cpu_model": "Example CPU 9"}
    assert report.models[0].info["dtype"] == "bfloat16"
    asked = report.models[0].info["asked"]
    assert isinstance(asked, dict)
    assert (asked["shots"], asked["filter"]) == (8, "strict-match")


def test_a_limited_run_is_never_called_the_score_of_the_task(tmp_path: Path) -> None:
    for data in (lm_eval_old(10), lm_eval_new(0.5)):
        report = imported(tmp_path, save(tmp_path / "a.json", data))
        for cell in report.cells:
            assert cell.values("task_score") == []
            assert len(cell.values("limited_score")) == 1
        assert "task_score" not in {metric.name for metric in report.metrics}


def test_a_score_that_is_no_number_has_failed(tmp_path: Path) -> None:
    data = lm_eval_new()
    data["results"]["gsm_small"]["exact_match,strict-match"] = float("nan")
    [cell] = imported(tmp_path, save(tmp_path / "a.json", data)).cells
    assert cell.error is not None
    assert cell.error.message == "its gsm_small.exact_match is nan"


def test_no_mean_over_tasks_is_called_a_benchmark_score(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", lm_eval_old()))
    assert "score" not in {metric.name for metric in report.metrics}


def test_no_key_or_address_in_the_arguments_reaches_the_log(tmp_path: Path) -> None:
    data = lm_eval_new()
    secrets = {"api_key": "s3cret", "auth_token": "s3cret", "base_url": "http://me:s3cret@host", "max_length": 2048}
    data["config"]["model_args"] |= secrets
    report = imported(tmp_path, save(tmp_path / "a.json", data))
    assert "s3cret" not in (report.folder / "log.jsonl").read_text()
    assert "max_length=2048" in str(report.models[0].info["model_args"])
    data["config"]["model_args"] = ",".join(f"{key}={value}" for key, value in secrets.items())
    assert "s3cret" not in str(read(save(tmp_path / "b.json", data)))
