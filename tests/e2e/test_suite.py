"""The built-in suite: first contact, with no file of the user's own."""

from __future__ import annotations

import pytest
from bench import Bench


def test_measures_every_cell_and_leaves_a_run_folder(bench: Bench) -> None:
    result = bench.run("--llm-models=echo,second=echo:one two three", "--llmci-suite=inference", "--llmci-rounds=2")
    result.assert_outcomes(passed=20)
    names = {path.name for path in bench.latest.iterdir()}
    assert {"log.jsonl", "results.csv", "summary.csv", "results.json", "metrics.json", "workers"} <= names
    blocks = bench.records("rounds")
    assert len(blocks) == 20
    assert {block["n"] for block in blocks} == {2}
    assert (bench.path / "llmci-results" / ".gitignore").read_text().strip() == "*"


def test_answers_have_a_fixed_length(bench: Bench) -> None:
    bench.suite("echo", "--llmci-max-new-tokens=7")
    assert {value for block in bench.records("rounds") for value in block["values"]["output_tokens"]} == {7}
    assert all(len(times) == 7 for block in bench.records("rounds") for times in block["token_ns"])


def test_alone_it_runs_only_the_suite(bench: Bench) -> None:
    bench.write("test_mine.py", "def test_mine(): assert False")
    bench.suite("echo").assert_outcomes(passed=2)


def test_with_paths_it_runs_both(bench: Bench) -> None:
    bench.write("test_mine.py", "def test_mine(): pass")
    bench.suite("echo", "test_mine.py").assert_outcomes(passed=3)


def test_from_the_settings_it_runs_beside_the_tests(bench: Bench) -> None:
    bench.write("test_mine.py", "def test_mine(): pass")
    bench.write(
        "pytest.ini",
        "[pytest]\nllmci_models = echo\nllmci_suite = inference\nllmci_prompts = prompts.yaml\nllmci_rounds = 1\n",
    )
    bench.run("--llmci").assert_outcomes(passed=3)


def test_selects_cells_by_name(bench: Bench) -> None:
    result = bench.suite("echo", "-k", "echo-second")
    result.assert_outcomes(passed=1, deselected=1)
    assert [block["cell"] for block in bench.records("rounds")] == ["echo-second"]


def test_collect_only_loads_and_writes_nothing(bench: Bench) -> None:
    result = bench.suite("echo:x+load_fail=loaded", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["inference::echo-first", "inference::echo-second"])
    assert not (bench.path / "llmci-results").exists()


def test_plan_loads_nothing_and_counts(bench: Bench) -> None:
    result = bench.suite("echo+load_fail=loaded,b=echo", "--llmci-plan")
    result.stdout.fnmatch_lines(
        ["model*cells*", "echo *2 *4 *1 *unknown until it has run once", "4 cells, 2 loads. Nothing was loaded."]
    )
    assert result.ret == 0
    assert not (bench.path / "llmci-results").exists()


def test_plan_predicts_from_the_last_run(bench: Bench) -> None:
    bench.suite("echo+itl=5ms", "--llmci-max-new-tokens=4")
    result = bench.suite("echo+itl=5ms", "--llmci-max-new-tokens=4", "--llmci-plan")
    result.stdout.fnmatch_lines(["2 cells, 1 load, about *s. Nothing was loaded."])


def test_each_model_is_loaded_once_though_tests_are_mixed(bench: Bench) -> None:
    bench.write(
        "test_mix.py",
        """
        def test_a(llm_result): pass
        def test_foreign(): pass
        def test_b(llm): assert llm.generate("hi").text
        """.replace("\n        ", "\n"),
    )
    result = bench.run("--llm-models=a=echo,b=echo", "--llm-prompts=prompts.yaml", "--llmci-rounds=1", "-v")
    result.assert_outcomes(passed=7)
    assert [worker["model"] for worker in bench.records("worker")] == ["a", "b"]


def test_modify_cells_hook_filters(bench: Bench) -> None:
    bench.write(
        "conftest.py", "def pytest_llmci_modify_cells(cells): cells[:] = [c for c in cells if c.prompt.id == 'first']"
    )
    bench.suite("echo").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("asked", "ran"),
    [
        (["inference::b-second"], ["b-second"]),
        (["inference::b-second", "inference::a-first"], ["a-first", "b-second"]),
        (["inference"], ["a-first", "a-second", "b-first", "b-second"]),
        (["inference::b-second", "inference"], ["a-first", "a-second", "b-first", "b-second"]),
        (["inference::b-second", "--llmci-suite=inference"], ["b-second"]),
    ],
)
def test_runs_what_a_node_id_names(bench: Bench, asked: list[str], ran: list[str]) -> None:
    bench.write("test_mine.py", "def test_mine(): assert False")
    result = bench.run("--llm-models=a=echo,b=echo", "--llm-prompts=prompts.yaml", "--llmci-rounds=1", *asked)
    result.assert_outcomes(passed=len(ran), deselected=4 - len(ran))
    assert [block["cell"] for block in bench.records("rounds")] == ran


def test_runs_a_cell_by_node_id_beside_files_and_in_parallel(bench: Bench) -> None:
    pytest.importorskip("xdist")
    bench.write("test_mine.py", "def test_mine(): pass")
    result = bench.run("--llm-models=a=echo,b=echo", "--llmci-rounds=1", "test_mine.py", "inference::b-tcp-udp", "-n2")
    result.assert_outcomes(passed=2)
    assert [block["cell"] for block in bench.records("rounds")] == ["b-tcp-udp"]


def test_a_node_id_of_no_cell_names_the_nearest(bench: Bench) -> None:
    result = bench.run("--llm-models=a=echo", "--llm-prompts=prompts.yaml", "inference::a-firts")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: inference::a-firts: no such cell. Did you mean 'inference::a-first'? Add --collect-only -q to 'inference' alone*"
        ]
    )


def test_a_file_that_is_called_like_a_suite_is_a_file(bench: Bench) -> None:
    bench.write("inference/test_mine.py", "def test_mine(): pass")
    bench.suite("echo", "inference", "-k", "mine or first").assert_outcomes(passed=2, deselected=1)
    result = bench.run("--llm-models=echo", "inference")
    result.stdout.fnmatch_lines(["*test_mine.py .*"])
    assert not bench.records("rounds")
