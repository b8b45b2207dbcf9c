"""How the harness's requests reach a model and come back, with a stand-in for the harness: lm-eval need not be installed."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_llmci.errors import ConfigError, GenerationError, MissingExtraError
from pytest_llmci.records import Completion, ContinuationScore, Prompt, ScoreRequest
from pytest_llmci.tasks.lm_eval_bridge import run_lm_eval_task
from pytest_llmci.tasks.outcomes import AnswerBatch, QuestionAnswer, QuestionKey


@dataclass
class Instance:
    task_name: str
    doc_id: int
    args: tuple[Any, ...]


@dataclass
class HarnessTask:
    """A task whose instances the test gives."""

    instances: list[Instance]
    OUTPUT_TYPE: str = "multiple_choice"
    config: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    size: int = 2

    @property
    def eval_docs(self) -> range:
        return range(self.size)

    def get_config(self, key: str) -> Any:
        return self.config.get(key)

    def set_config(self, key: str, value: Any) -> None:
        self.config[key] = value

    def set_fewshot_seed(self, seed: int) -> None:
        self.seeds.append(seed)


class Model:
    """Scores a continuation by its length; answers with the prompt."""

    def __init__(self) -> None:
        self.requests: list[ScoreRequest] = []
        self.generated: list[tuple[list[str], dict[str, Any]]] = []
        self.is_greedy: bool | None = True

    def score_many(
        self, requests: Sequence[ScoreRequest], *, batch: int | None = None,
        on_result: Callable[[int, Sequence[ContinuationScore]], None] | None = None,
    ) -> list[list[ContinuationScore]]:  # fmt: skip
        self.requests += requests
        for number in reversed(range(len(requests))):
            assert on_result is not None
            on_result(number, [self._score(text) for text in requests[number].continuations])
        return []

    def _score(self, text: str) -> ContinuationScore:
        return ContinuationScore(
            logprob=-float(len(text)), tokens=1, is_greedy=self.is_greedy, truncated=len(text) // 5
        )

    def generate_many(
        self, prompts: Sequence[Prompt], *, stop: Sequence[str] = (), batch: int | None = None, max_new_tokens: int | None = None,
        temperature: float | None = None, on_result: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:  # fmt: skip
        how = {"stop": stop, "max_new_tokens": max_new_tokens, "temperature": temperature, "batch": batch}
        self.generated.append(([prompt.text or "" for prompt in prompts], how))
        for number, prompt in enumerate(prompts):
            assert on_result is not None
            on_result(number, Completion(text=f"to {prompt.text}", finish_reason="stop"))
        return []


Harness = Callable[..., None]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Puts a stand-in of lm-eval in place: it asks what the tasks hold and counts nothing."""

    def install(tasks: Mapping[str, HarnessTask], ask: str = "loglikelihood", fail: Exception | None = None) -> None:
        class TaskManager:
            task_index = ("arc_easy", "arc_challenge", "one")
            all_tasks = task_index

            def __init__(self, *, include_defaults: bool) -> None:
                pass

            def load(self, names: list[str]) -> dict[str, Any]:
                if fail is not None:
                    raise fail
                return {"tasks": dict(tasks)}

        def evaluate(lm: Any, task_dict: Any, limit: int | None, **keywords: Any) -> dict[str, Any]:
            instances = [each for task in task_dict["tasks"].values() for each in task.instances]
            answers = getattr(lm, ask)(instances)
            samples: dict[str, list[dict[str, Any]]] = {name: [] for name in task_dict["tasks"]}
            for instance, answer in zip(instances, answers, strict=True):
                entry = {"doc_id": instance.doc_id, "doc": {"q": 1}, "doc_hash": f"h{instance.doc_id}", "target": 0, "filter": "none",
                         "metrics": ["acc"], "acc": float(instance.doc_id), "arguments": [instance.args], "answer": answer}  # fmt: skip
                samples[instance.task_name].append(entry)
            results = {name: {"acc,none": 0.5, "acc_stderr,none": "N/A", "alias": name} for name in samples}
            return {
                "results": results,
                "samples": samples,
                "versions": {},
                "n-shot": {},
                "higher_is_better": {},
                "answers": answers,
            }

        modules: dict[str, dict[str, Any]] = {
            "lm_eval": {}, "lm_eval.tasks": {"TaskManager": TaskManager}, "lm_eval.evaluator": {"evaluate": evaluate}, "lm_eval.api": {},
            "lm_eval.api.model": {"LM": object},
        }  # fmt: skip
        for name, names in modules.items():
            module = types.ModuleType(name)
            module.__dict__.update(names)
            monkeypatch.setitem(sys.modules, name, module)

    return install


def choices(task: str = "one") -> list[Instance]:
    return [Instance(task, doc, (f"Q{doc}", f" {'x' * (doc + choice)}")) for doc in range(2) for choice in range(3)]


def test_choices_of_a_document_are_one_request_and_answers_go_back_to_their_places(harness: Harness) -> None:
    harness({"one": HarnessTask(choices())})
    model = Model()
    came: list[QuestionAnswer] = []
    (found,) = run_lm_eval_task("one", model, on_question=came.append)
    assert [(request.context, request.continuations, request.id) for request in model.requests] == [
        ("Q0", (" ", " x", " xx"), "one:0"), ("Q1", (" x", " xx", " xxx"), "one:1"),
    ]  # fmt: skip
    assert [question.logprobs for question in found.questions] == [(-1.0, -2.0, -3.0), (-2.0, -3.0, -4.0)]
    assert [answer.key.index for answer in came] == [1, 0]  # as they come
    assert found.metrics == {"acc": 0.5} and found.standard_errors == pytest.approx({"acc": 0.5})
    assert [question.doc_sha256 for question in found.questions] == ["h0", "h1"]


def test_contexts_that_differ_within_a_document_are_requests_of_their_own(harness: Harness) -> None:
    instances = [Instance("one", 0, (context, " end")) for context in ("A", "B", "A")]
    harness({"one": HarnessTask(instances, size=1)})
    model = Model()
    (found,) = run_lm_eval_task("one", model)
    assert [(request.context, len(request.continuations)) for request in model.requests] == [("A", 2), ("B", 1)]
    assert len(found.questions[0].answer.scores) == 3


def test_whole_documents_are_asked_as_such(harness: Harness) -> None:
    harness({"one": HarnessTask([Instance("one", 0, ("a text",))], size=1)}, ask="loglikelihood_rolling")
    model = Model()
    (found,) = run_lm_eval_task("one", model)
    assert model.requests == [ScoreRequest(context="", continuations=("a text",), rolling=True, id="one:0")]
    assert (found.questions[0].truncated, found.questions[0].asked) == (1, (("a text", ""),))


def test_answers_are_generated_as_each_task_says(harness: Harness) -> None:
    instances = [
        Instance("one", 0, ("P", {"until": ["\n"], "max_gen_toks": 5})),
        Instance("one", 1, ("R", {"do_sample": False})),
    ]
    harness({"one": HarnessTask(instances)}, ask="generate_until")
    model = Model()
    (found,) = run_lm_eval_task("one", model, batch=7)
    assert model.generated == [
        (["P"], {"stop": ("\n",), "max_new_tokens": 5, "temperature": 0.0, "batch": 7}),
        (["R"], {"stop": (), "max_new_tokens": 256, "temperature": 0.0, "batch": 7}),
    ]
    assert [question.answer.outputs for question in found.questions] == [("to P",), ("to R",)]


def test_what_is_known_is_not_asked_again_unless_the_prompt_changed(harness: Harness) -> None:
    came: dict[QuestionKey, QuestionAnswer] = {}
    harness({"one": HarnessTask(choices())})
    run_lm_eval_task("one", Model(), on_question=lambda answer: came.__setitem__(answer.key, answer))
    changed = choices()
    changed[0].args = ("Q0 now", " ")
    harness({"one": HarnessTask(changed)})
    model = Model()
    (found,) = run_lm_eval_task("one", model, known=lambda key, questions: came.get(key))
    assert {request.id for request in model.requests} == {"one:0"}
    assert [question.logprobs for question in found.questions] == [(-1.0, -2.0, -3.0), (-2.0, -3.0, -4.0)]


def test_documents_are_asked_64_at_a_time_and_handed_over_when_all_are_there(harness: Harness) -> None:
    instances = [Instance("one", doc, (f"Q{doc}", " x")) for doc in range(130)]
    harness({"one": HarnessTask(instances, size=130)})
    batches: list[AnswerBatch] = []
    run_lm_eval_task("one", Model(), on_batch=batches.append)
    assert [[answer.key.index for answer in batch.answers] for batch in batches] == [
        [*range(64)], [*range(64, 128)], [128, 129]
    ]  # fmt: skip
    assert {(batch.task, batch.questions) for batch in batches} == {("one", 130)}
    there = {answer.key: answer for answer in batches[0].answers}
    model = Model()
    later: list[AnswerBatch] = []
    run_lm_eval_task("one", model, on_batch=later.append, known=lambda key, questions: there.get(key))
    assert later == batches[1:] and len(model.requests) == 66


def test_a_group_is_refused_before_anything_is_asked_where_one_task_is_wanted(harness: Harness) -> None:
    harness({name: HarnessTask(choices(name)) for name in ("one", "two")})
    model = Model()
    with pytest.raises(ConfigError, match="one is a group of 2 tasks; name those that are meant: one, two"):
        run_lm_eval_task("one", model, group=False)
    assert model.requests == []


@pytest.mark.parametrize(("own", "asked", "shots"), [(None, None, 0), (None, 3, 3), (5, None, 5), (5, 3, 3), (0, 3, 0)])
def test_examples_are_as_the_harness_has_them(harness: Harness, own: int | None, asked: int | None, shots: int) -> None:
    task = HarnessTask(choices(), config={"num_fewshot": own})
    harness({"one": task})
    run_lm_eval_task("one", Model(), shots=asked)
    assert task.config["num_fewshot"] == shots and task.seeds == [1234]


# --------------------------------------------------------------------------------------------------------- bad input


class OfflineModeIsEnabled(ConnectionError):
    pass


@pytest.mark.parametrize(
    ("name", "fail", "message"),
    [
        ("arc_chalenge", None, r"unknown task 'arc_chalenge'. Did you mean arc_challenge.* knows 3 tasks"),
        (
            "one",
            OfflineModeIsEnabled("no hub\nat all"),
            "documents cannot be fetched from the Hugging Face hub: no hub. Fetch them once",
        ),
        ("one", KeyError("gold"), "task 'one': lm-evaluation-harness cannot load it: KeyError: 'gold'"),
        ("no.yaml", None, "no file 'no.yaml'"),
    ],
)
def test_what_cannot_be_had_is_one_line(harness: Harness, name: str, fail: Exception | None, message: str) -> None:
    harness({"one": HarnessTask(choices())}, fail=fail)
    with pytest.raises(ConfigError, match=message) as caught:
        run_lm_eval_task(name, Model())
    assert "\n" not in str(caught.value)


def test_no_documents_and_strange_generation_are_refused(harness: Harness) -> None:
    harness({"one": HarnessTask([], size=0)})
    with pytest.raises(ConfigError, match="task 'one': it has no documents"):
        run_lm_eval_task("one", Model())
    for asked, named in (({"num_beams": 2}, "num_beams"), ({"do_sample": True, "top_p": 0.9}, "top_p")):
        harness({"one": HarnessTask([Instance("one", 0, ("P", asked))])}, ask="generate_until")
        with pytest.raises(ConfigError, match=f"generation with {named}, which is not offered"):
            run_lm_eval_task("one", Model())


def test_greedy_answers_are_counted_only_where_they_are_known(harness: Harness) -> None:
    for kind, refused in (("loglikelihood", True), ("multiple_choice", False)):
        harness({"one": HarnessTask(choices(), OUTPUT_TYPE=kind)})
        model = Model()
        model.is_greedy = None
        if refused:
            with pytest.raises(ConfigError, match="counts whether a continuation is the greedy answer"):
                run_lm_eval_task("one", model)
        else:
            run_lm_eval_task("one", model)


def test_what_the_model_raises_stays_what_it_is(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness({"one": HarnessTask(choices())})

    def fail(*arguments: Any, **keywords: Any) -> Any:
        raise GenerationError("NaN", kind="nan")

    monkeypatch.setattr(Model, "score_many", fail)
    with pytest.raises(GenerationError, match="^NaN$"):
        run_lm_eval_task("one", Model())
    monkeypatch.setattr(Model, "score_many", lambda *_, **__: 1 / 0)
    with pytest.raises(ConfigError, match="task 'one': lm-evaluation-harness failed: ZeroDivisionError"):
        run_lm_eval_task("one", Model())


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"pytest-llmci\[eval\]"):
        run_lm_eval_task("arc_easy", Model())
