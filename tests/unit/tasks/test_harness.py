"""Prompts and counting beside lm-evaluation-harness itself, where it is installed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci.tasks.loading import parse_asked, task_tests

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.slow
ARC = [
    {"question": f"What  melts {n}?", "choices": {"text": ["rock", "ice cream", "sand"], "label": ["A", "B", "C"]}, "answerKey": "B"}
    for n in range(3)
]  # fmt: skip
SWAG = [
    {"activity_label": "Baking", "ctx_a": "She [header] opens.", "ctx_b": "then she", "endings": ["bakes  it.", "sleeps [title] Now", "c.", "d."], "label": "1"}
]  # fmt: skip
MMLU = [{"question": f" What is {n}? ", "choices": ["one", "two", "three", "four"], "answer": n % 4} for n in range(6)]
TRUTH = [
    {
        "question": "Is it?",
        "mc1_targets": {"choices": ["Yes", "No"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["Yes", "So it is", "No"], "labels": [1, 1, 0]},
    }
]
GSM = [{"question": f"{n}+1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(9)]
GRANDE = [
    {"sentence": "Ann thanked Eve because _ had helped.", "option1": "Ann", "option2": "Eve", "answer": "2"},
]


@pytest.fixture(scope="module")
def manager() -> Any:
    """Who knows all tasks of the harness: it takes seconds to look for them."""
    return importlib.import_module("lm_eval.tasks").TaskManager()


def theirs(manager: Any, name: str, splits: dict[str, list[dict[str, Any]]]) -> Any:
    """A task of the harness over these documents."""
    datasets = importlib.import_module("datasets")
    made = datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in splits.items()})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(datasets, "load_dataset", lambda *_, **__: made)
        return manager.load([name])["tasks"][name]


@pytest.mark.parametrize(
    ("name", "file", "rows", "examples", "shots"),
    [
        ("arc_challenge", "arc.jsonl", ARC, None, 0),
        ("arc_easy", "arc.jsonl", ARC, None, 0),
        ("hellaswag", "swag.jsonl", SWAG, None, 0),
        ("mmlu_anatomy", "test/anatomy_test.jsonl", MMLU, "dev/anatomy_dev.jsonl", 0),
        ("mmlu_anatomy", "test/anatomy_test.jsonl", MMLU, "dev/anatomy_dev.jsonl", 5),
        ("truthfulqa_mc1", "mc.jsonl", TRUTH, None, 0),
        ("truthfulqa_mc2", "mc.jsonl", TRUTH, None, 0),
        ("gsm8k", "test.jsonl", GSM, "train.jsonl", 5),
        ("winogrande", "dev.jsonl", GRANDE, None, 0),
    ],
)
def test_prompts_and_metrics_are_those_of_the_harness(
    manager: Any, tmp_path: Path, name: str, file: str, rows: list[dict[str, Any]], examples: str | None, shots: int
) -> None:
    for path, content in ((file, rows), (examples, rows)):
        if path:
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    task = theirs(manager, name, dict.fromkeys(("train", "validation", "test", "dev"), rows))
    task.set_fewshot_seed(1234)
    suite = "mmlu" if name.startswith("mmlu") else name
    [ours] = task_tests(parse_asked(f"{suite}:{file}+shots={shots}", "--llmci-suite"), tmp_path)
    questions = ours.load().questions
    documents = list(task.test_docs() if task.has_test_docs() else task.validation_docs())
    for document, question in zip(documents, questions, strict=True):
        context = task.fewshot_context(document, shots)
        requests = task.construct_requests(document, context)
        if ours.task.kind == "generation":
            assert requests.args[0] == question.asked[0][0]
            assert tuple(requests.args[1]["until"]) == ours.task.generation.until  # type: ignore[union-attr]
            continue
        asked = [(before, after) for before, continuations in question.asked for after in continuations]
        assert [request.args for request in requests] == asked
        for scores in ([-4.0, -3.0, -8.0, -9.0], [-1.0, -5.0, -2.5, -0.5], [-2.0, -2.0, -2.0, -2.0]):
            counted = task.process_results(document, [(score, False) for score in scores[: len(asked)]])
            mine = ours.task.count(question, scores[: len(asked)])
            assert list(map(float, counted.values())) == pytest.approx(list(mine.values()))
