"""A backend, a metric, a check, a sink and a plot of a team's own: everything that can be added, on one page.

The model's process imports this module too, so it must be importable without pytest.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pytest_llmci.backends.base import LoadContext, LoadedModel, Stamp, check_options
from pytest_llmci.checks import CheckInput, Exemplar
from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.measure.base import Reading, RoundFacts
from pytest_llmci.metrics import MetricDef
from pytest_llmci.plots.base import label
from pytest_llmci.plots.run_data import RunData
from pytest_llmci.records import CheckResult, Completion, GenerationSettings, ModelSpec, Prompt

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ParrotBackend:
    """Answers with the words of the prompt, last one first."""

    def __init__(self, spec: ModelSpec) -> None:
        check_options(spec, {"shout": "yes: in capitals"})
        self._shout = spec.options.get("shout") == "yes"

    def load(self, context: LoadContext) -> LoadedModel:
        context.say("waking the parrot")
        return LoadedModel(info={"species": "grey"}, footprint_reason="a parrot has no weights")

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> list[str]:
        words = []
        for word in reversed(prompt.shown.split()[: settings.max_new_tokens]):
            words.append(word.upper() if self._shout else word)
            stamp()  # a token has arrived
        return words

    def complete(self, produced: list[str]) -> Completion:
        return Completion(
            text=" ".join(produced), finish_reason="stop", output_tokens=len(produced), token_source="words"
        )

    def close(self) -> None:
        pass


class VoluntarySwitches:
    """How often the process gave the processor up by itself: it waited for something."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="voluntary_switches",
            unit="1",
            direction="lower",
            definition="Times that the process waited during the inference.",
            source="getrusage, ru_nvcsw",
            group="noise",
        ),
    )

    def start(self) -> None:
        self._before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

    def stop(self) -> None:
        self._after = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        return {"voluntary_switches": self._after - self._before}


class MentionsCheck:
    """``mentions:word``: the answer holds the word, whatever its case."""

    exemplars = (
        Exemplar(check="mentions:cracker", text="A CRACKER, please", passes=True),
        Exemplar(check="mentions:cracker", text="A nut", passes=False, says="not in the answer"),
    )

    def __init__(self, argument: str) -> None:
        self._word = argument

    def __call__(self, output: CheckInput) -> CheckResult:
        found = self._word.lower() in output.text.lower()
        message = f"'{self._word}' is {'' if found else 'not '}in the answer"
        return CheckResult(name=f"mentions:{self._word}", passed=found, message=message)


class TsvSink:
    """``tsv`` or ``tsv:FILE``: one line a model."""

    def __init__(self, target: str = "") -> None:
        self._target = target

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        path = Path(self._target) if self._target else folder / "models.tsv"
        lines = [f"{model.alias}\t{model.rounds}\t{model.summary('latency').median}\n" for model in report.models]
        path.write_text("".join(["model\trounds\tlatency\n", *lines]), encoding="utf-8")
        return [path]


@dataclass(frozen=True, kw_only=True)
class WordsPlot:
    """``words``: how long the answers of each model are."""

    words: Mapping[str, float | None]
    name: str = "words"
    inches: tuple[float, float] = (6.0, 3.0)

    @classmethod
    def of(cls, data: RunData) -> WordsPlot:
        return cls(words={model.model: model.mean("output_tokens") for model in data.models})

    def lacking(self) -> str:
        return "" if any(self.words.values()) else "nobody said a word"

    def draw(self, figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.barh([label(model) for model in self.words], [mean or 0.0 for mean in self.words.values()])
        axes.set_xlabel("words in an answer")
