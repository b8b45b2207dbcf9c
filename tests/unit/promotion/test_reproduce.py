from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sample_run import rounds, worker, write_log

from pytest_llmci import backends, measure
from pytest_llmci.clock import SystemClock
from pytest_llmci.engine.observer import Silent
from pytest_llmci.errors import ConfigError
from pytest_llmci.promotion.reproduce import END, FirstDifference, Reproduction, first_apart, reproduce
from pytest_llmci.records import GenerationSettings, LogRecord, Message, ModelSpec, RoundsRecord
from pytest_llmci.redaction import Redactor
from pytest_llmci.registry import Registry
from pytest_llmci.secrets import Secrets

ECHO = ModelSpec(alias="a", backend="echo", target="one two three", text="a=echo:one two three")


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def block(
    *outputs: str, of_round: tuple[int, ...] = (0,), prompt: str = "Hi", uid: str = "r1", **changes: Any
) -> RoundsRecord:
    made = rounds(
        uid=uid, latencies_ms=[1] * len(of_round), outputs=list(outputs), output_of_round=list(of_round), prompt=prompt,
        prompt_sha256=digest(prompt), output_sha256=[digest(text) for text in outputs],
    )  # fmt: skip
    return replace(made, **changes)


def again(
    folder: Path, *records: LogRecord, cells: tuple[str, ...] = (), options: dict[str, str] | None = None
) -> Reproduction:
    write_log(folder, records)
    registry = Registry()
    backends.register(registry)
    measure.register(registry)
    return reproduce(
        folder, registry, clock=SystemClock(), observer=Silent(), redactor=Redactor(Secrets()), sys_path=[], cells=cells, options=options,
    )  # fmt: skip


def start(spec: ModelSpec = ECHO) -> LogRecord:
    return worker(spec=spec, info={})


def test_the_same_output_is_identical(tmp_path: Path) -> None:
    found = again(tmp_path, start(), block("one two three", of_round=(0, 0, 0)))
    (cell,) = found.cells
    assert (cell.outcome, cell.rounds, cell.rounds_again, cell.first_difference) == ("identical", 3, 1, None)
    assert found.identical


def test_the_first_word_that_differs_is_named(tmp_path: Path) -> None:
    (cell,) = again(tmp_path, start(), block("one two four")).cells
    assert cell.outcome == "differs"
    assert cell.first_difference == FirstDifference(round=1, unit="word", position=3, recorded="four", now="three")


def test_an_answer_that_ends_earlier(tmp_path: Path) -> None:
    (cell,) = again(tmp_path, start(), block("one two three four")).cells
    assert cell.first_difference is not None
    assert (cell.first_difference.recorded, cell.first_difference.now) == ("three ", "three")
    (tmp_path / "shorter").mkdir()
    (shorter,) = again(tmp_path / "shorter", start(), block("one two ")).cells
    assert shorter.first_difference is not None
    assert (shorter.first_difference.position, shorter.first_difference.recorded) == (3, END)


def test_rounds_that_differed_are_all_run_again(tmp_path: Path) -> None:
    recorded = block("one two three", "else", of_round=(0, 0, 1))
    (cell,) = again(tmp_path, start(), recorded).cells
    assert (cell.outcome, cell.rounds_again, cell.outputs) == ("differs", 3, 2)
    assert cell.first_difference is not None
    assert cell.first_difference.round == 3


def test_sampling_takes_the_recorded_seed(tmp_path: Path) -> None:
    spec = ModelSpec(alias="a", backend="echo", text="a=echo")
    generation = GenerationSettings(max_new_tokens=12, fixed_length=True, temperature=1.0, seed=7)
    (tmp_path / "first").mkdir()
    asked = block("?", generation=generation)
    (first,) = again(tmp_path / "first", start(spec), asked).cells
    assert first.outcome == "differs"
    words = sampled(tmp_path, spec, generation)
    for name, seed, outcome in (("same", 7, "identical"), ("other", 8, "differs")):
        (tmp_path / name).mkdir()
        recorded = block(words, generation=replace(generation, seed=seed))
        (cell,) = again(tmp_path / name, start(spec), recorded).cells
        assert (cell.outcome, cell.seed, cell.temperature) == (outcome, seed, 1.0)


def sampled(folder: Path, spec: ModelSpec, generation: GenerationSettings) -> str:
    """What echo answers under these settings."""
    from pytest_llmci.backends.base import LoadContext
    from pytest_llmci.backends.echo import EchoBackend
    from pytest_llmci.records import Prompt

    model = EchoBackend(spec)
    model.load(LoadContext(threads=1, cache_dir=str(folder), say=print))
    return model.complete(model.generate(Prompt(id="tcp", text="Hi"), generation, lambda: None)).text


@pytest.mark.parametrize(("change", "why"), [
    ({"prompt_withheld": "redacted"}, "--llmci-redact"),
    ({"prompt_withheld": "masked"}, "a secret in it was masked"),
    ({"prompt_sha256": "0" * 64}, "does not have the recorded hash"),
    ({"templated": True}, "chat messages were not recorded"),
    ({"worker": ""}, "never started"),
])  # fmt: skip
def test_what_cannot_be_asked_again_says_why(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    (cell,) = again(tmp_path, start(), replace(block("one two three"), **change)).cells
    assert cell.outcome == "not reproduced"
    assert why in cell.reason


@pytest.mark.parametrize(("spec", "why"), [
    (ModelSpec(alias="a", backend="theirs", text="a=theirs"), "'theirs' is none of ours"),
    (ModelSpec(alias="a", backend="echo", options={"load_fail": "gone"}, text="a=echo+load_fail=gone"), "gone"),
    (ModelSpec(alias="a", backend="echo", options={"crash": "exit:3"}, text="a=echo+crash=exit:3"), "exit status 3"),
    (ModelSpec(alias="a", backend="py", target="no_such_module:f", text="a=py:no_such_module:f"), "no_such_module"),
    (ModelSpec(alias="a", backend="echo", options={"api_key": "[secret]"}, text="a=echo+api_key=[secret]"), "--with +api_key=VALUE"),
])  # fmt: skip
def test_a_model_that_cannot_be_had_says_why(tmp_path: Path, spec: ModelSpec, why: str) -> None:
    (cell,) = again(tmp_path, start(spec), block("one two three")).cells
    assert cell.outcome == "not reproduced"
    assert why in cell.reason


def test_withheld_outputs_are_compared_by_their_hash(tmp_path: Path) -> None:
    same = block("one two three", outputs_withheld=["redacted"], outputs=["sha256:..."])
    other = replace(same, uid="r2", cell="a-x", prompt_id="x", output_sha256=["0" * 64])
    first, second = again(tmp_path, start(), same, other).cells
    assert first.outcome == "identical"
    assert (second.outcome, second.first_difference) == ("differs", None)
    assert "withheld" in second.reason


def test_chat_messages_are_asked_as_such(tmp_path: Path) -> None:
    spec = replace(ECHO, target="", text="a=echo")
    messages = [Message(role="user", content="Hi")]
    recorded = block("one", prompt="user: Hi", messages=messages)
    (cell,) = again(tmp_path, start(spec), recorded).cells
    assert cell.outcome == "differs"  # and not refused


def test_cells_are_chosen_and_options_given(tmp_path: Path) -> None:
    other = block("one two three", uid="r2", cell="a-x", prompt_id="x")
    found = again(tmp_path, start(), block("one two three"), other, cells=("a-x",), options={"repeat": "uno"})
    (cell,) = found.cells
    assert (cell.cell, cell.outcome) == ("a-x", "differs")
    assert [each.name for each in cell.subject if each.name == "options"] == ["options"]


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no cell 'a-z'; it has a-tcp"):
        again(tmp_path, start(), block("one"), cells=("a-z",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no measured cell"):
        again(tmp_path / "empty", start())


def test_the_environment_is_compared_fact_by_fact(tmp_path: Path) -> None:
    found = again(tmp_path, start(), block("one two three"))
    names = {each.name for each in found.environment}
    assert "cpu_model" in names or "machine" in names  # the invented run says nothing of them
    assert not names & {"load_average", "ci", "steal_percent", "speed_probe_ms"}


def test_first_apart() -> None:
    assert first_apart([1, 2, 3], [1, 5, 3]) == (2, 2, 5)
    assert first_apart([1], [1, 5]) == (2, None, 5)
    assert first_apart([1], [1]) == (0, None, None)


def test_an_imported_run_cannot_be_asked_again(tmp_path: Path) -> None:
    write_log(tmp_path, [start(), block("one two three")], settings={"provenance": "imported"})
    with pytest.raises(ConfigError, match="was imported from another tool's results, .*: reproduce a run that was"):
        reproduce(
            tmp_path, Registry(), clock=SystemClock(), observer=Silent(), redactor=Redactor(Secrets()), sys_path=[]
        )  # fmt: skip
