from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.given import Given, resolve_settings
from pytest_llmci.settings import Settings, Sourced

SINKS = ("csv", "json", "html")


def resolve(**options: str | tuple[str, ...]) -> Settings:
    return resolve_settings({name: Given(value, f"--{name}") for name, value in options.items()}, SINKS)


def test_without_options_everything_has_its_default() -> None:
    assert resolve() == Settings()


def test_every_option_becomes_a_plain_value() -> None:
    settings = resolve(
        models=("tiny,echo", "smollm2"), prompts=("paper",), suite=("inference",), rounds="7", max_rounds="30", warmup="0", block="2",
        time_limit="10m", max_new_tokens="9", seed="3", temperature="0.7", threads="2", batch="12", max_latency=("2s", "tiny:1s"),
        max_memory=("2GiB",), budget=("ttft <= 1s",), inconclusive="fail", isolation="inline", timeout="20s", load_timeout="1h",
        memory_limit="4GiB", timing="parallel", output="out", sink=("html:x.html,csv",), plan="yes",
    )  # fmt: skip
    assert [model.text for model in settings.models] == ["tiny", "echo", "smollm2"]
    assert settings.prompts == (Sourced("paper", "--prompts"),)
    assert settings.suites == ("inference",)
    assert (settings.rounds, settings.max_rounds, settings.warmup, settings.block) == (7, 30, 0, 2)
    assert (settings.time_limit_s, settings.timeout_s, settings.load_timeout_s) == (600.0, 20.0, 3600.0)
    assert (settings.max_new_tokens, settings.seed, settings.temperature, settings.threads, settings.batch) == (
        9,
        3,
        0.7,
        2,
        12,
    )
    assert [budget.text for budget in settings.max_latency] == ["2s", "tiny:1s"]
    assert (settings.max_memory[0].text, settings.budgets[0].text) == ("2GiB", "ttft <= 1s")
    assert (settings.inconclusive, settings.isolation, settings.timing) == ("fail", "inline", "parallel")
    assert (settings.memory_limit_bytes, settings.output) == (2**32, Path("out"))
    assert (settings.sinks, settings.plan) == (("html:x.html", "csv"), True)
    assert settings.origins["rounds"] == "--rounds"


def test_baselines() -> None:
    settings = resolve(save_baseline="new", baseline=("main,release", "x.json"), baselines="kept")
    assert (settings.save_baseline, settings.update_baseline, settings.baselines) == ("new", "", Path("kept"))
    assert [each.text for each in settings.baseline] == ["main", "release", "x.json"]


@pytest.mark.parametrize("name", ["save_baseline", "update_baseline"])
def test_a_settings_file_writes_no_baseline(name: str) -> None:
    given = {name: Given("main", f"pytest.ini: llmci_{name}")}
    with pytest.raises(ConfigError, match=f"^pytest.ini: llmci_{name}: every session would write .* give --llmci-"):
        resolve_settings(given, SINKS)


def test_a_baseline_is_added_to_or_replaced() -> None:
    with pytest.raises(ConfigError, match="--update_baseline and --save_baseline: .* take one away"):
        resolve(save_baseline="a", update_baseline="a")


def test_commas_split_names_and_budgets() -> None:
    settings = resolve(models=" a , ,b ", budget=("latency <= 1s, ttft <= 1s", "smol*: peak_rss <= 1GB"))
    assert [model.text for model in settings.models] == ["a", "b"]
    assert [budget.text for budget in settings.budgets] == ["latency <= 1s", "ttft <= 1s", "smol*: peak_rss <= 1GB"]


def test_a_decimal_comma_is_no_second_limit() -> None:
    assert resolve(max_latency="1,5s").max_latency[0].text == "1,5s"


def test_names_are_taken_once() -> None:
    assert resolve(suite=("inference,inference",)).suites == ("inference",)
    assert resolve(sink=("csv", "csv")).sinks == ("csv",)


def test_many_rounds_raise_the_most() -> None:
    assert resolve(rounds="50").max_rounds == 50
    assert resolve(rounds="5").max_rounds == 20


def test_auto_threads_leave_the_choice_to_the_framework() -> None:
    assert resolve(threads="auto").threads == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rounds", "0", "--rounds: 0 is too small; write a whole number of at least 1"),
        ("rounds", "five", "--rounds: 'five' is not a whole number; write one of at least 1"),
        ("rounds", "1.5", "--rounds: '1.5' is not a whole number"),
        ("rounds", ("1", "2"), "--rounds: expected one value, found a list of 2"),
        ("warmup", "-1", "--warmup: -1 is too small; write a whole number of at least 0"),
        ("block", "0", "--block: 0 is too small"),
        ("max_rounds", "4", "--max_rounds: 4 is less than the 5 rounds that every cell gets"),
        ("max_new_tokens", "0", "--max_new_tokens: 0 is too small"),
        ("temperature", "hot", "--temperature: 'hot' is not a temperature; write 0 .greedy. or more"),
        ("temperature", "-1", "--temperature: '-1' is not a temperature"),
        ("temperature", "nan", "--temperature: 'nan' is not a temperature"),
        ("temperature", "inf", "--temperature: 'inf' is not a temperature"),
        ("batch", "0", "--batch: 0 is too small"),
        ("batch", "x", "--batch: 'x' is not a whole number"),
        ("threads", "0", "--threads: 0 is too small; .* Or write 'auto'"),
        ("threads", "all", "--threads: 'all' is not a whole number.* Or write 'auto'"),
        ("time_limit", "0s", "--time_limit: '0s' must be longer than zero"),
        ("timeout", "soon", "--timeout: 'soon' is not a quantity in seconds"),
        ("memory_limit", "0", "--memory_limit: '0' must be more than zero; write it like 4GiB"),
        ("memory_limit", "lots", "--memory_limit: 'lots' is not a quantity in bytes"),
        ("inconclusive", "maybe", "--inconclusive: 'maybe' is none of warn, fail, pass"),
        ("isolation", "fork", "--isolation: 'fork' is none of worker, inline"),
        ("timing", "", "--timing: '' is none of exclusive, parallel"),
        ("save_baseline", "", "--save_baseline: the name is empty; write one, such as main, or leave '=' out"),
        ("baselines", "", "--baselines: the value is empty; name a folder"),
        ("plan", "perhaps", "--plan: 'perhaps' is none of no, yes"),
        ("output", "~nobody-of-this-name/out", "--output: '~nobody-of-this-name/out': .*; name another folder"),
        ("resume", "", "--resume: the value is empty; name a run, or leave '=' out for the latest"),
        ("shard_costs", "", "--shard_costs: the value is empty; name a run or a file"),
        ("models", (" ",), "--models: the value is empty; write one or leave the option out"),
        ("budget", (), "--budget: the value is empty"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_option(name: str, value: str | tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(**{name: value})
    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_sink_is_told_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown sink 'csw'. Did you mean 'csv'"):
        resolve(sink=("csw:out",))


def test_suites_are_names_and_what_is_no_built_in_one_is_left_to_the_tasks() -> None:
    settings = resolve(suite=("inference,mmlu:data/mmlu+shots=5", "sets/My questions.jsonl"))
    assert settings.suites == ("inference", "mmlu", "My-questions")
    assert [task.text for task in settings.tasks] == ["mmlu:data/mmlu+shots=5", "sets/My questions.jsonl"]


def test_two_suites_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="'a/mine.jsonl' and 'b/mine.jsonl' would both be called mine"):
        resolve(suite=("a/mine.jsonl", "b/mine.jsonl"))


def test_a_comma_in_the_path_of_a_model_or_of_prompts_separates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a,b").mkdir()
    monkeypatch.chdir(tmp_path)
    found = resolve(models=("tiny,./a,b",), prompts=("./a,b,paper",))
    assert [model.text for model in found.models] == ["tiny", "./a,b"]
    assert [prompt.text for prompt in found.prompts] == ["./a,b", "paper"]


def test_the_output_folder_may_lie_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(output="~/out").output == tmp_path / "out"


@pytest.mark.parametrize("origin", ["pytest.ini: llmci_plan", "pyproject.toml: [tool.llmci] plan"])
def test_a_settings_file_cannot_keep_every_session_from_measuring(origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_settings({"plan": Given("yes", origin)}, SINKS)
    assert str(caught.value).startswith(f"{origin}: it would keep every session from measuring; give --llmci-plan")
    assert not resolve_settings({"plan": Given("no", origin)}, SINKS).plan
    assert all(resolve_settings({"plan": Given("yes", once)}, SINKS).plan for once in ("--llmci-plan", "LLMCI_PLAN"))


@pytest.mark.parametrize("name", ["redact", "anchor", "plan"])
def test_a_flag_is_written_as_its_user_writes_it_elsewhere(name: str) -> None:
    for text in ("yes", "1", "true", "True", "on"):
        assert getattr(resolve_settings({name: Given(text, "LLMCI_X")}, SINKS), name)
    for text in ("no", "0", "false", "OFF"):
        assert not getattr(resolve_settings({name: Given(text, "LLMCI_X")}, SINKS), name)


def test_a_value_is_named_by_where_it_was_written() -> None:
    with pytest.raises(ConfigError, match="^pyproject.toml: llmci_rounds: "):
        resolve_settings({"rounds": Given("x", "pyproject.toml: llmci_rounds")}, SINKS)


@pytest.mark.parametrize(
    ("text", "sink", "required"),
    [
        ("yes", "mlflow", False),
        ("1", "mlflow", False),
        ("no", "", False),
        ("off", "", False),
        ("required", "mlflow", True),
        ("required:http://h:1/a", "mlflow:http://h:1/a", True),
        ("http://h:1/a", "mlflow:http://h:1/a", False),
        ("sqlite:///x.db", "mlflow:sqlite:///x.db", False),
    ],
)
def test_where_mlflow_logs_to(text: str, sink: str, required: bool) -> None:
    settings = resolve_settings({"mlflow": Given(text, "x"), "sink": Given(("csv",), "x")}, ["csv"])
    assert (settings.mlflow, settings.mlflow_required) == (sink, required)
    assert settings.destinations == (("csv", sink) if sink else ("csv",))


@pytest.mark.parametrize("text", ["", "required:", " "])
def test_an_empty_address_of_mlflow_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="^--llmci-mlflow: the address is empty; write one, such as http://127"):
        resolve_settings({"mlflow": Given(text, "--llmci-mlflow")}, [])
