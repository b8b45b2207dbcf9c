"""Any task of lm-evaluation-harness, or a user's own task YAML, with our model's process as its model.

The harness reads the documents, builds the prompts, filters the answers and computes the metrics; it never loads a model.
Needs the extra ``eval``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import math
import random
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from ..backends.packages import first_line, require
from ..errors import ConfigError, LLMCIError, described
from ..records import Completion, ContinuationScore, JsonObject, Prompt, ScoreRequest
from .base import digest
from .outcomes import AnswerBatch, QuestionAnswer, QuestionKey, QuestionOutcome, TaskOutcome

EXTRA: Final = "pytest-llmci[eval]"
SEED: Final = 1234
"""Of the harness, for numpy and for the choice of examples; Python's own generator gets 0."""
SHOWN_NAMES: Final = 5
GREEDY_KEYS: Final = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"})
"""What a task may say of generation. Where it samples, ``top_p`` and ``top_k`` would be needed and are refused."""
ASKED_TOGETHER: Final = 64
"""Documents, in their order: what is known of an earlier run and what is asked now are cut at the same places."""
DEFAULT_NEW_TOKENS: Final = 256
"""Where a task does not say how long an answer may be."""


class AskedModel(Protocol):
    """What is asked: ``llm``, or anything like it."""

    def score_many(
        self, requests: Sequence[ScoreRequest], *, batch: int | None = None,
        on_result: Callable[[int, Sequence[ContinuationScore]], None] | None = None,
    ) -> list[list[ContinuationScore]]: ...  # fmt: skip

    def generate_many(
        self, prompts: Sequence[Prompt], *, stop: Sequence[str] = (), batch: int | None = None, max_new_tokens: int | None = None,
        temperature: float | None = None, on_result: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]: ...  # fmt: skip


def run_lm_eval_task(
    name_or_yaml: str, model: AskedModel, *, limit: int | None = None, shots: int | None = None, batch: int | None = None,
    on_question: Callable[[QuestionAnswer], None] | None = None, on_batch: Callable[[AnswerBatch], None] | None = None,
    known: Callable[[QuestionKey, int], QuestionAnswer | None] = lambda key, questions: None, group: bool = True,
) -> list[TaskOutcome]:  # fmt: skip
    """Ask a task, or all tasks of a group.

    :param name_or_yaml: a name that the harness knows, or the path of a task's YAML file.
    :param limit: documents of each task that are asked; None for all.
    :param shots: examples in each prompt; None for what the task says.
    :param batch: documents that the model works on at once; None for the model's own choice.
    :param on_question: gets each answer as soon as it is known.
    :param on_batch: gets the answers of up to 64 documents when all of them are there, those apart that were known.
    :param known: answers that need not be asked again, by question and number of the task's questions. Documents are asked 64 at a time.
    :param group: whether the name may be that of a group.
    :raises MissingExtraError: if lm-eval is not installed.
    :raises ConfigError: in one line: an unknown task with the nearest names, documents that cannot be had, a malformed row.
    :raises LLMCIError: what the model raises.
    """
    require("lm_eval", f"task '{name_or_yaml}' of lm-evaluation-harness", EXTRA)
    with _its_own_chance(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the harness and what it imports: nobody here can mend them
        loaded = _load(name_or_yaml, shots)
        if len(loaded["tasks"]) != 1 and not group:
            raise ConfigError(_is_group(name_or_yaml, list(loaded["tasks"])))
        asked = _Asked(model, batch, on_question or (lambda answer: None), on_batch or (lambda batch: None), known)
        sizes = {name: _size(name, task) for name, task in loaded["tasks"].items()}
        found = _evaluate(name_or_yaml, _as_its_model(asked), loaded, limit)
        for name, task in loaded["tasks"].items():
            _refuse_guesses(name, task, found, asked.answers)
    return [_outcome(name, found, sizes[name], asked.answers) for name in loaded["tasks"]]


def harness_version() -> str:
    """``lm-evaluation-harness 0.4.13``."""
    try:
        return f"lm-evaluation-harness {importlib.metadata.version('lm_eval')}"
    except importlib.metadata.PackageNotFoundError:
        return "lm-evaluation-harness"


@contextmanager
def _its_own_chance() -> Iterator[None]:
    """The seeds with which the harness starts; afterwards the session's own randomness goes on as if nothing had been."""
    import numpy as np

    ours, numpys = random.getstate(), np.random.get_state()  # the harness uses the global one
    random.seed(0)
    np.random.seed(SEED)
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)


# ------------------------------------------------------------------------------------------------------------ its tasks


def _load(name_or_yaml: str, shots: int | None) -> dict[str, Any]:
    manager_type: Any = importlib.import_module("lm_eval.tasks").TaskManager
    path = Path(name_or_yaml)
    is_file = path.suffix in (".yaml", ".yml")
    if is_file and not path.is_file():
        raise ConfigError(f"--llmci-suite: no file '{name_or_yaml}': give the path of a task's YAML file.")
    manager = manager_type(include_defaults=not is_file)
    if not is_file and name_or_yaml not in manager.task_index:
        raise ConfigError(_unknown(name_or_yaml, manager.all_tasks))
    try:
        loaded: dict[str, Any] = manager.load([str(path) if is_file else name_or_yaml])
        for task in loaded["tasks"].values():
            _set_examples(task, shots)
    except Exception as error:  # of many libraries: the network, the cache, the format
        raise ConfigError(_not_loaded(name_or_yaml, error)) from error
    return loaded


def _set_examples(task: Any, shots: int | None) -> None:
    """As ``simple_evaluate`` of the harness does: a task that says 0 keeps it."""
    own = task.get_config("num_fewshot")
    if own is None or (shots is not None and own != 0):
        task.set_config(key="num_fewshot", value=shots or 0)
    task.set_fewshot_seed(seed=SEED)


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=SHOWN_NAMES, cutoff=0.6)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return (
        f"--llmci-suite: unknown task '{name}'.{hint} {harness_version()} knows {len(known):,} tasks and groups (lm_eval ls tasks);"
        " a task of your own is the path of its YAML file."
    )


def _is_group(name: str, tasks: Sequence[str]) -> str:
    more = ", ..." if len(tasks) > SHOWN_NAMES else ""
    return f"--llmci-suite: {name} is a group of {len(tasks)} tasks; name those that are meant: {', '.join(tasks[:SHOWN_NAMES])}{more}"


_UNREACHABLE: Final = ("ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectTimeout", "ConnectError",
                       "ReadTimeout", "MaxRetryError", "ProxyError", "HfHubHTTPError")  # fmt: skip

_NO_DOCUMENTS: Final = "task '{}': it has no documents; there is nothing to ask."


def _not_loaded(name: str, error: BaseException) -> str:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    if any(type(each).__name__ in _UNREACHABLE for each in causes):
        return (
            f"task '{name}': its documents cannot be fetched from the Hugging Face hub: {first_line(error)[:160]}. Fetch them once where"
            " the hub can be reached (HF_HOME keeps them), or give a file."
        )
    if isinstance(error, IndexError) and "size 0" in str(error):  # it looks at the first document
        return _NO_DOCUMENTS.format(name)
    return f"task '{name}': lm-evaluation-harness cannot load it: {described(error)[:300]}"


def _size(name: str, task: Any) -> int:
    try:
        size = len(task.eval_docs)
    except Exception as error:  # a task is a program of its authors
        raise ConfigError(_not_loaded(name, error)) from error
    if not size:
        raise ConfigError(_NO_DOCUMENTS.format(name))
    return size


def _evaluate(name: str, lm: Any, loaded: dict[str, Any], limit: int | None) -> dict[str, Any]:
    evaluator: Any = importlib.import_module("lm_eval.evaluator")
    try:
        found: dict[str, Any] = evaluator.evaluate(
            lm=lm, task_dict=loaded, limit=limit, bootstrap_iters=0, log_samples=True
        )  # fmt: skip
    except LLMCIError:
        raise
    except (
        Exception
    ) as error:  # a task is a program of its authors: a row without a key, a metric that is not installed
        raise ConfigError(f"task '{name}': lm-evaluation-harness failed: {described(error)[:300]}") from error
    return found


def _refuse_guesses(
    name: str, task: Any, found: Mapping[str, Any], answers: Mapping[tuple[str, int], QuestionAnswer]
) -> None:  # fmt: skip
    """Some tasks count whether a continuation is the greedy answer, which not every model source knows."""
    counts = task.OUTPUT_TYPE == "loglikelihood" or "exact_match,none" in found["results"][name]
    unknown = any(
        score.is_greedy is None for (each, _), answer in answers.items() if each == name for score in answer.scores
    )
    if counts and unknown:
        raise ConfigError(
            f"task '{name}': it counts whether a continuation is the greedy answer, which this model source does not know; use a model"
            " that runs in transformers."
        )


# ------------------------------------------------------------------------------------------------------------ our model


class _Asked:
    """Carries the harness's requests to our model."""

    def __init__(
        self, model: AskedModel, batch: int | None, on_question: Callable[[QuestionAnswer], None], on_batch: Callable[[AnswerBatch], None],
        known: Callable[[QuestionKey, int], QuestionAnswer | None],
    ) -> None:  # fmt: skip
        self._model = model
        self._batch = batch
        self._on_question = on_question
        self._on_batch = on_batch
        self._known = known
        self.answers: dict[tuple[str, int], QuestionAnswer] = {}

    def score(self, instances: Sequence[Any], *, rolling: bool) -> list[ContinuationScore]:
        """Answers to requests of log-probabilities, in their order."""
        found: dict[int, ContinuationScore] = {}
        for together in self._batches(_documents(instances)):
            left = []
            for document in together.documents:
                there = self._known(document.key, together.questions)
                if there is None or len(there.scores) != len(document.places):
                    left.append(document)
                    continue
                self.answers[document.key.task, document.key.index] = there
                found.update(zip(document.places, there.scores, strict=True))
            self._score(instances, left, found, rolling=rolling)
            self._tell(together, left)
        return [found[place] for place in range(len(instances))]

    def _score(
        self, instances: Sequence[Any], asked: Sequence[_Document], found: dict[int, ContinuationScore], *, rolling: bool
    ) -> None:  # fmt: skip
        requests: list[ScoreRequest] = []
        places: list[list[int]] = []
        waiting: list[_Document] = []
        for document in asked:
            for together in document.contexts() if not rolling else [[place] for place in document.places]:
                texts = [instances[place].args for place in together]
                requests.append(
                    ScoreRequest(
                        context="" if rolling else texts[0][0], continuations=tuple(text[-1] for text in texts), rolling=rolling,
                        id=f"{document.key.task}:{document.key.index}",
                    )
                )  # fmt: skip
                places.append(together)
                waiting.append(document)

        def arrived(number: int, scores: Sequence[ContinuationScore]) -> None:
            found.update(zip(places[number], scores, strict=True))
            document = waiting[number]
            if all(place in found for place in document.places):
                self._keep(QuestionAnswer(key=document.key, scores=tuple(found[place] for place in document.places)))

        self._model.score_many(requests, batch=self._batch, on_result=arrived)

    def generate(self, instances: Sequence[Any]) -> list[str]:
        """Generated answers, in the order of the requests."""
        found: dict[int, str] = {}
        for together in self._batches(_documents(instances)):
            left = []
            for document in together.documents:
                there = self._known(document.key, together.questions)
                if there is None or len(there.outputs) != len(document.places):
                    left.append(document)
                    continue
                self.answers[document.key.task, document.key.index] = there
                found.update(zip(document.places, there.outputs, strict=True))
            self._generate(instances, left, found)
            self._tell(together, left)
        return [found[place] for place in range(len(instances))]

    def _generate(self, instances: Sequence[Any], asked: Sequence[_Document], found: dict[int, str]) -> None:
        documents = {place: document for document in asked for place in document.places}
        alike: dict[str, list[int]] = {}
        for place in documents:
            alike.setdefault(digest(sorted(instances[place].args[1].items())), []).append(place)
        for places in alike.values():

            def arrived(number: int, completion: Completion, places: list[int] = places) -> None:
                document = documents[places[number]]
                found[places[number]] = completion.text
                if all(place in found for place in document.places):
                    self._keep(
                        QuestionAnswer(key=document.key, outputs=tuple(found[place] for place in document.places))
                    )

            prompts = [
                Prompt(id=f"{instances[place].task_name}:{instances[place].doc_id}", text=instances[place].args[0]) for place in places
            ]  # fmt: skip
            how = _generation(instances[places[0]].task_name, instances[places[0]].args[1])
            self._model.generate_many(prompts, batch=self._batch, on_result=arrived, **how)

    @staticmethod
    def _batches(documents: Sequence[_Document]) -> Iterator[_Together]:
        by_task: dict[str, list[_Document]] = {}
        for document in documents:
            by_task.setdefault(document.key.task, []).append(document)
        for of_task in by_task.values():
            for start in range(0, len(of_task), ASKED_TOGETHER):
                yield _Together(of_task[start : start + ASKED_TOGETHER], len(of_task))

    def _tell(self, together: _Together, asked: Sequence[_Document]) -> None:
        if asked:
            answers = tuple(self.answers[document.key.task, document.key.index] for document in asked)
            self._on_batch(AnswerBatch(task=asked[0].key.task, answers=answers, questions=together.questions))

    def _keep(self, answer: QuestionAnswer) -> None:
        self.answers[answer.key.task, answer.key.index] = answer
        self._on_question(answer)


class _Document:
    """The requests of one document."""

    def __init__(self, key: QuestionKey, places: list[int], instances: Sequence[Any]) -> None:
        self.key = key
        self.places = places
        self._instances = instances

    def contexts(self) -> list[list[int]]:
        """Places of requests with the same context, together."""
        groups: dict[str, list[int]] = {}
        for place in self.places:
            groups.setdefault(self._instances[place].args[0], []).append(place)
        return list(groups.values())


class _Together(NamedTuple):
    """Documents of a task that are asked together."""

    documents: Sequence[_Document]
    questions: int


def _documents(instances: Sequence[Any]) -> list[_Document]:
    groups: dict[tuple[str, int], list[int]] = {}
    for place, instance in enumerate(instances):
        groups.setdefault((str(instance.task_name), int(instance.doc_id)), []).append(place)
    return [
        _Document(
            QuestionKey(task=task, index=index, prompt_sha256=digest([instances[place].args for place in places])), places, instances
        )
        for (task, index), places in groups.items()
    ]  # fmt: skip


def _generation(task: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """How answers are generated.

    :raises ConfigError: if the task asks for what our models do not do.
    """
    strange = sorted(set(asked) - GREEDY_KEYS)
    sampled = asked.get("do_sample", float(asked.get("temperature") or 0) > 0)
    if strange or (sampled and {"top_p", "top_k"} & set(asked)):
        named = ", ".join(strange or sorted({"top_p", "top_k"} & set(asked)))
        raise ConfigError(
            f"task '{task}': it asks for generation with {named}, which is not offered here; only {', '.join(sorted(GREEDY_KEYS))}."
        )
    until = asked.get("until") or ()
    return {
        "stop": (until,) if isinstance(until, str) else tuple(until),
        "max_new_tokens": int(asked.get("max_gen_toks") or DEFAULT_NEW_TOKENS),
        "temperature": float(asked.get("temperature") or 1.0) if sampled else 0.0,
    }


def _as_its_model(asked: _Asked) -> Any:
    """Our model as the harness wants one."""
    api: Any = importlib.import_module("lm_eval.api.model")

    class OurModel(api.LM):  # type: ignore[misc]  # an untyped class
        """Knows nothing of tokens: requests are text, and so are answers."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            return [(score.logprob, bool(score.is_greedy)) for score in asked.score(requests, rolling=False)]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            return [score.logprob for score in asked.score(requests, rolling=True)]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return asked.generate(requests)

    return OurModel()


# ----------------------------------------------------------------------------------------------------------- its results


def _outcome(
    name: str, found: Mapping[str, Any], size: int, answers: Mapping[tuple[str, int], QuestionAnswer]
) -> TaskOutcome:
    values = {
        _metric(key): value for key, value in found["results"][name].items()
        if "," in key and "_stderr," not in key and isinstance(value, (int, float)) and not math.isnan(value)
    }  # fmt: skip
    by_document: dict[int, list[Mapping[str, Any]]] = {}
    for sample in found["samples"][name]:
        by_document.setdefault(sample["doc_id"], []).append(sample)
    questions = tuple(_question(answers[name, index], samples) for index, samples in sorted(by_document.items()))
    means = {
        metric: [question.values[metric] for question in questions if metric in question.values] for metric in values
    }
    return TaskOutcome(
        task=name,
        version=str(found["versions"].get(name, "")),
        harness=harness_version(),
        metrics={metric: float(value) for metric, value in values.items()},
        standard_errors={
            metric: statistics.stdev(each) / math.sqrt(len(each)) for metric, each in means.items()
            if len(each) == len(questions) > 1 and math.isclose(statistics.fmean(each), values[metric], rel_tol=1e-9, abs_tol=1e-12)
        },
        higher_is_better={
            metric: bool(found["higher_is_better"].get(name, {}).get(metric.partition(",")[0], True)) for metric in values
        },
        shots=int(found["n-shot"].get(name, 0)),
        n=len(questions),
        size=size,
        questions=questions,
    )  # fmt: skip


def _metric(key: str) -> str:
    return key.removesuffix(",none")


def _question(answer: QuestionAnswer, samples: Sequence[Mapping[str, Any]]) -> QuestionOutcome:
    """:param samples: the document as each filter of answers left it."""
    values: dict[str, float] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            value = sample[metric]
            if isinstance(value, (bool, int, float)) or hasattr(value, "dtype"):
                values[_metric(f"{metric},{sample['filter']}")] = float(value)
    first = samples[0]
    return QuestionOutcome(
        answer=answer,
        doc=_plain(first["doc"]),
        doc_sha256=str(first["doc_hash"]),
        asked=tuple(
            (str(arguments[0]), str(arguments[1])) if answer.scores and len(arguments) > 1 else (str(arguments[0]), "")
            for arguments in first["arguments"]
        ),
        target=str(first["target"]),
        values=values,
    )


def _plain(doc: Any) -> JsonObject:
    """A row as JSON; what JSON cannot hold (a picture) as its text."""
    import json

    plain: JsonObject = (
        json.loads(json.dumps(dict(doc), default=str)) if isinstance(doc, Mapping) else {"text": str(doc)}
    )
    return plain
