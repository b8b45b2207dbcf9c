"""Accuracy scoring: our scorer beside lm-evaluation-harness on the same questions and the same loaded model.

    python -m benchmarks.log_likelihood [--model smollm2] [--questions FILE.jsonl] [--count 200] [--rounds 3] [--check]

Needs lm-eval (``pip install "pytest-llmci[eval]"``). Both score every choice of every question, tokenising included, on one
thread in this process; CPU time, ways in turn, ours twice (A/A control). lm-eval runs at the best of ``--batches``, which
are tried beforehand, and at its default of 1. Then all log-probabilities are compared, and which choice each question gets.

A line of ``--questions`` is ``{"query": "...", "choices": ["...", ...]}``; without it questions are generated, in three shapes: four
answers of some words each, the letters of four answers, and the letters behind five worked examples.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.pairs import Targets, in_turn, machine_line, paired_ratio
from pytest_llmci import backends
from pytest_llmci.backends.base import LoadContext
from pytest_llmci.records import ContinuationScore, ScoreRequest
from pytest_llmci.registry import Registry
from pytest_llmci.specs import parse_spec

TARGET, TARGET_OF_DEFAULT = 0.40, 0.25
CLOSE = 1e-3
"""Largest difference of two log-probabilities that are the same."""
OURS, AGAIN = "ours", "ours again"
_TEXT = (
    "the river carries small stones past seven green hills where a farmer counts his sheep and asks why water freezes at night when"
    " plants need light heat moves through metal faster than wood an engine burns fuel gravity pulls every planet around the sun cells"
    " divide rocks erode sound travels in waves and most animals breathe oxygen"
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded model."""

    backend: Any
    context_length: int


@dataclass(frozen=True, slots=True)
class Compared:
    """The numbers of both, question by question."""

    worst: float
    ranks_differ: int
    choices: int


def generated(count: int, shape: str) -> list[ScoreRequest]:
    """Questions without meaning, of the lengths that real ones have."""
    chance, vocabulary = random.Random(7), _TEXT.split()

    def words(least: int, most: int) -> str:
        return " ".join(chance.choices(vocabulary, k=chance.randint(least, most)))

    def question() -> tuple[str, list[str]]:
        return f"Question: {words(15, 35)}?", [words(2, 8) for _ in range(4)]

    def lettered() -> str:
        asked, answers = question()
        listed = "\n".join(f"{letter}. {answer}" for letter, answer in zip("ABCD", answers, strict=True))
        return f"{asked}\n{listed}\nAnswer:"

    examples = "\n\n".join(f"{lettered()} {chance.choice('ABCD')}" for _ in range(5)) + "\n\n"
    requests = []
    for number in range(count):
        if shape == "text":
            asked, answers = question()
            context, choices = f"{asked}\nAnswer:", [f" {answer}" for answer in answers]
        else:
            context, choices = (examples if shape == "few-shot" else "") + lettered(), [f" {each}" for each in "ABCD"]
        requests.append(ScoreRequest(context=context, continuations=tuple(choices), id=f"{shape}-{number}"))
    return requests


def read_questions(path: Path, count: int) -> list[ScoreRequest]:
    """Questions of a file."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()][:count]
    return [
        ScoreRequest(context=f"{row['query']}\nAnswer:", continuations=tuple(f" {each}" for each in row["choices"]), id=str(number))
        for number, row in enumerate(rows)
    ]  # fmt: skip


def load(text: str) -> Opened:
    """A backend, ready to answer."""
    registry = Registry()
    backends.register(registry)
    spec = parse_spec(text, registry.names("backend"), "--model")
    factory: Any = registry.load("backend", spec.backend, "--model")
    backend = factory(spec)
    backend.prepare()
    folder = str(Path(tempfile.gettempdir(), "llmci-benchmark-cache"))
    return Opened(backend, backend.load(LoadContext(threads=1, cache_dir=folder, say=print)).context_length)


def our_scores(backend: Any, requests: Sequence[ScoreRequest], batch: int) -> list[Sequence[ContinuationScore]]:
    """Ours."""
    found: dict[int, Sequence[ContinuationScore]] = {}
    backend.score_many(requests, batch, on_batch=lambda numbers: None, on_scores=found.__setitem__)
    return [found[number] for number in range(len(requests))]


def harness(opened: Opened, batch: int) -> Any:
    """lm-eval's model class around the same weights and tokenizer."""
    huggingface: Any = importlib.import_module("lm_eval.models.huggingface")
    model, tokenizer = opened.backend.model, opened.backend.tokenizer
    return huggingface.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=opened.context_length)


def harness_scores(lm: Any, requests: Sequence[ScoreRequest]) -> list[list[tuple[float, bool]]]:
    """lm-eval's."""
    api: Any = importlib.import_module("lm_eval.api.instance")
    asked = [
        api.Instance(request_type="loglikelihood", doc={}, arguments=(request.context, continuation), idx=0)
        for request in requests
        for continuation in request.continuations
    ]
    answers = iter(lm.loglikelihood(asked, disable_tqdm=True))
    return [[next(answers) for _ in request.continuations] for request in requests]


@dataclass(slots=True)
class Timed:
    """A way to score, and what it gave last."""

    call: Callable[[], Any]
    gave: Any = None

    def cpu_s(self) -> float:
        """CPU seconds of this process."""
        begin = time.process_time()
        self.gave = self.call()
        return time.process_time() - begin


def compared(ours: Sequence[Sequence[ContinuationScore]], theirs: Sequence[Sequence[tuple[float, bool]]]) -> Compared:
    """How far the numbers are apart, and how many questions rank their choices otherwise."""
    worst, ranks, choices = 0.0, 0, 0
    for one, other in zip(ours, theirs, strict=True):
        mine, its = [score.logprob for score in one], [value for value, _ in other]
        worst = max(worst, *(abs(left - right) for left, right in zip(mine, its, strict=True)))
        order = sorted(range(len(mine)), key=mine.__getitem__)
        ranks += order != sorted(range(len(its)), key=its.__getitem__)
        choices += len(mine)
    return Compared(worst, ranks, choices)


def measure(
    name: str, requests: list[ScoreRequest], opened: Opened, options: argparse.Namespace, targets: Targets
) -> None:
    """One set of questions."""
    tried = {batch: Timed(partial(harness_scores, harness(opened, batch), requests)) for batch in options.batches}
    ours = Timed(partial(our_scores, opened.backend, requests, options.batch))
    print(f"\n{name}: {len(requests)} questions; {machine_line()}", flush=True)
    our_scores(opened.backend, requests[:8], options.batch)  # the first questions find out what the model can do
    seconds = {batch: way.cpu_s() for batch, way in tried.items()} if len(tried) > 1 else dict.fromkeys(tried, 0.0)
    best = min(seconds, key=seconds.__getitem__)
    if len(tried) > 1:
        print(
            "  lm-eval by batch size, CPU s: " + ", ".join(f"{batch}: {each:.1f}" for batch, each in seconds.items()),
            flush=True,
        )
    theirs = f"lm-eval, batch {best}"
    sides: dict[str, Callable[[], float]] = {OURS: ours.cpu_s, theirs: tried[best].cpu_s, AGAIN: ours.cpu_s}
    found = in_turn(sides, options.rounds, warm=True)
    for side, values in found.items():
        print(f"  {side:<24}{statistics.median(values):>9.2f} CPU s")
    ratio, control = paired_ratio(found[OURS], found[theirs]), paired_ratio(found[AGAIN], found[OURS])
    print(f"  over lm-eval's best: {ratio}; control {control}")
    numbers = compared(ours.gave, tried[best].gave)
    targets.judge("CPU time over lm-eval at its best batch size", ratio.median, TARGET, "x")
    if seconds.get(1):
        targets.judge(
            "over its default, batch 1 (one pass)", statistics.median(found[OURS]) / seconds[1], TARGET_OF_DEFAULT, "x"
        )
    targets.judge(f"largest difference of {numbers.choices} log-probabilities", numbers.worst, CLOSE, "")
    targets.judge("questions whose choices rank otherwise", numbers.ranks_differ, 0, "")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a model that runs in transformers")
    parser.add_argument("--questions", type=Path, help="JSON Lines of query and choices")
    parser.add_argument("--shapes", default="text,letters,few-shot", help="of generated questions")
    parser.add_argument("--count", type=int, default=200, help="questions of each shape")
    parser.add_argument("--batch", type=int, default=16, help="questions that our scorer works on at once")
    parser.add_argument(
        "--batches",
        type=lambda text: [int(each) for each in text.split(",")],
        default=[1, 4, 8, 16, 32],
        help="lm-eval's",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    opened, targets = load(options.model), Targets()
    if options.questions:
        sets = {options.questions.name: read_questions(options.questions, options.count)}
    else:
        sets = {shape: generated(options.count, shape) for shape in options.shapes.split(",")}
    for name, requests in sets.items():
        measure(name, requests, opened, options, targets)
    return targets.status(check=options.check)


if __name__ == "__main__":
    sys.exit(main())
