"""lm-evaluation-harness: one cell a task and measure, with its standard error and number of questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from ..engine.imported import ImportedCell
from ..records import Json
from .base import Imported, Numbers, count, mapping, number, plain, text, utc_of
from .source import Source

_SHARES: Final = frozenset(
    {
        "acc",
        "acc_norm",
        "acc_mutual_info",
        "exact_match",
        "em",
        "f1",
        "mc1",
        "mc2",
        "pass@1",
        "pass_at_1",
        "mcc",
        "likelihood_acc",
    }
)
"""Measures of which more is better, where the file does not say it itself."""
_PERPLEXITIES: Final = frozenset({"ppl", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"})
_PRETRAINED: Final = re.compile(r"(?:^|,)\s*(?:pretrained|model)=([^,]+)")
_REVISION: Final = re.compile(r"(?:^|,)\s*revision=([^,]+)")
_SECRET: Final = re.compile(r"key|token$|secret|password|auth|header|url", re.IGNORECASE)
_DTYPE: Final = re.compile(r"(?:^|,)\s*dtype=([^,]+)")


class _Measure(NamedTuple):
    task: str
    name: str
    filter: str
    metric: str
    """Of ours."""


class LmEval:
    """Reads ``results_*.json`` of its old and its new form."""

    def recognises(self, source: Source) -> bool:
        found = mapping(source.document) if source.kind == "json" else {}
        return isinstance(found.get("results"), dict) and isinstance(found.get("versions"), dict) and "config" in found

    def read(self, source: Source) -> Imported:
        found = mapping(source.document)
        left_out: dict[str, None] = {}
        cells = list(_cells(found, left_out))
        notes = [f"left out, as the file does not say whether more of it is better: {', '.join(left_out)}"] if left_out else []  # fmt: skip
        harness = text(found.get("lm_eval_version"))
        return Imported(cells=cells, tool=f"lm-eval {harness}".strip(), notes=notes, machine=_machine(found))


def _machine(found: Mapping[str, object]) -> dict[str, Json]:
    """The harness's own commit stands under ``git_hash``; of the machine it only tells in a long text, of which one line is taken."""
    lines = text(found.get("pretty_env_info")).splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.strip().startswith("Model name:")]
    return {"cpu_model": models[0]} if models else {}


def _cells(found: Mapping[str, object], left_out: dict[str, None]) -> Iterator[ImportedCell]:
    config, results = mapping(found.get("config")), mapping(found.get("results"))
    limit = config.get("limit")
    for task, measures in results.items():
        better = mapping(mapping(found.get("higher_is_better")).get(task))
        for key, value in mapping(measures).items():
            measure, _, choice = key.partition(",")
            if (
                measure.endswith("_stderr")
                or number(value) is None
                or isinstance(value, str)
                or measure in ("samples", "sample_len")
            ):
                continue  # what is no measure: alias, standard errors, counts
            metric = _metric(measure, better.get(measure), limited=limit is not None)
            if metric is None:
                left_out[measure] = None
                continue
            yield _cell(found, _Measure(task, measure, choice, metric))


def _metric(measure: str, higher: object, *, limited: bool) -> str | None:
    if measure in _PERPLEXITIES and higher is not True:
        return None if limited else "perplexity"
    if higher is True or (higher is None and measure in _SHARES):
        return "limited_score" if limited else "task_score"
    return None


def _cell(found: Mapping[str, object], what: _Measure) -> ImportedCell:
    task, measure, choice, metric = what
    config, result = mapping(found.get("config")), mapping(mapping(found.get("results")).get(task))
    suffix = f",{choice}" if choice else ""
    numbers = Numbers()
    numbers.take(metric, result.get(f"{measure}{suffix}"), "", f"{task}.{measure}", zero=True)
    stderr = result.get(f"{measure}_stderr{suffix}")
    numbers.take("score_stderr", None if stderr == "N/A" else stderr, "", f"{measure}_stderr", zero=True)
    numbers.take("questions", _questions(found, task), "", "n-samples")
    shots = mapping(found.get("n-shot")).get(task, config.get("num_fewshot"))
    asked: dict[str, Json] = {
        "task_version": plain(mapping(found.get("versions")).get(task)), "shots": plain(shots), "limit": plain(config.get("limit")),
        "filter": choice or None, "chat_template": bool(found.get("chat_template")),
        "description": plain(config.get("description_dict") or None),
    }  # fmt: skip
    name = "-".join(part for part in (task, measure, choice if choice != "none" else "") if part)
    arguments = _arguments(config.get("model_args"))
    revision, dtype = _REVISION.search(arguments), _DTYPE.search(arguments)
    info: dict[str, Json] = {"model_args": arguments[:500], "device": plain(config.get("device"))}
    info |= {"revision": revision[1]} if revision else {}
    info |= {"dtype": dtype[1]} if dtype else {}
    return ImportedCell(
        model=_model(found, config, arguments), prompt_id=name, about=f"lm-eval {task}, {measure}, {shots}-shot", asked=asked,
        values=numbers.values, reasons=numbers.reasons, units=numbers.units, judged_by=("task_score", "limited_score", "perplexity"),
        info={name: value for name, value in info.items() if value is not None}, started=utc_of(found.get("date")),
        error="" if metric in numbers.values else f"its {numbers.reasons.get(metric, 'score is missing')}",
    )  # fmt: skip


def _arguments(raw: object) -> str:
    """``key=value,key=value``, whether the file has a text or an object; without what may be a secret."""
    pairs = [f"{key}={value}" for key, value in raw.items()] if isinstance(raw, dict) else text(raw).split(",")
    return ",".join(pair for pair in pairs if not _SECRET.search(pair.partition("=")[0]))


def _model(found: Mapping[str, object], config: Mapping[str, object], arguments: str) -> str:
    pretrained = _PRETRAINED.search(arguments)
    return text(found.get("model_name")) or (pretrained[1] if pretrained else text(config.get("model")))


def _questions(found: Mapping[str, object], task: str) -> int | None:
    """How many were asked; the old form does not say it."""
    return count(mapping(mapping(found.get("n-samples")).get(task)).get("effective"))
