"""vLLM's serving benchmark: one cell a run; one more, ``-requests``, where the file holds single requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ..engine.imported import STATISTICS, ImportedCell
from ..errors import ConfigError
from ..records import Json
from .base import Imported, Numbers, count, mapping, number, plain, requests_failed, text
from .source import Source

_MARKS: Final = frozenset({"completed", "duration", "request_throughput", "mean_ttft_ms"})
_ASKED: Final = (
    "backend", "endpoint_type", "tokenizer_id", "best_of", "use_beam_search", "num_prompts", "request_rate", "burstiness",
    "max_concurrency", "random_input_len", "random_output_len", "ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps",
)  # fmt: skip
_DISTRIBUTIONS: Final = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "latency"}
"""What vLLM calls them, in milliseconds -> our metric."""
_JUDGED: Final = ("output_throughput", "ttft_median", "tpot_median")
_LISTS: Final = ("ttfts", "itls", "output_lens", "errors")
_CSV_MARKS: Final = frozenset({"Successful requests", "Benchmark duration (s)"})
_NOT_IN_A_TABLE: Final = "requests asked for are not in the table: a row whose requests failed in part cannot be told"
_CSV: Final = (
    ("duration", "Benchmark duration (s)", "s"),
    ("request_throughput", "Request throughput (req/s)", "/s"),
    ("output_throughput", "Output token throughput (tok/s)", "tok/s"),
    ("total_throughput", "Total Token throughput (tok/s)", "tok/s"),
)


class VllmServe:
    """Reads ``vllm bench serve --save-result`` (with ``--save-detailed`` too, or appended lines) and tables of its numbers as CSV."""

    def recognises(self, source: Source) -> bool:
        if source.kind == "text":
            return set(source.csv_header) >= _CSV_MARKS
        return mapping(source.first).keys() >= _MARKS

    def read(self, source: Source) -> Imported:
        if source.kind == "text":
            rows = _rows(source)
            return Imported(cells=[_of_row(row, source.stem) for row in rows], tool="vLLM", notes=[_NOT_IN_A_TABLE])
        cells: list[ImportedCell] = []
        notes: list[str] = []
        for place, record in enumerate(source.records(), start=1):
            run = mapping(record)
            if not run.keys() >= _MARKS:
                lacking = ", ".join(sorted(_MARKS - run.keys()))
                raise ConfigError(
                    f"import: {source.path}: run {place} has no {lacking}: vllm bench serve writes them all."
                )
            whole = _run(run)
            notes += ["generated texts are left out"] if run.get("generated_texts") else []
            cells.append(whole)
            if not whole.error and (requests := _requests(run, whole, notes)):
                cells.append(requests)
        return Imported(cells=cells, tool="vLLM", notes=list(dict.fromkeys(notes)))


def _run(run: Mapping[str, object]) -> ImportedCell:
    completed, asked = count(run.get("completed")), count(run.get("num_prompts"))
    failed = count(run.get("failed"))
    numbers = Numbers()
    numbers.take("duration", run.get("duration"), "s", "duration")
    for metric, unit in (("request_throughput", "/s"), ("output_throughput", "tok/s")):
        numbers.take(metric, run.get(metric), unit, metric)
    numbers.take("total_throughput", run.get("total_token_throughput"), "tok/s", "total_token_throughput")
    numbers.take("requests", asked, "", "num_prompts", zero=True)
    lost = failed if failed is not None else _fewer(asked, completed)
    numbers.take("failed_requests", lost, "", "num_prompts - completed", zero=True)
    numbers.take("sample_size", completed, "", "completed", zero=True)
    means = {name: _mean(run.get(f"total_{name}_tokens"), completed) for name in ("input", "output")}
    numbers.take("prompt_tokens_mean", means["input"], "", "total_input_tokens / completed")
    numbers.take("output_tokens_mean", means["output"], "", "total_output_tokens / completed")
    for field, metric in _DISTRIBUTIONS.items():
        for statistic in STATISTICS:
            name = f"{statistic}_{field}_ms"
            if name in run:
                numbers.take(f"{metric}_{statistic}", run[name], "ms", name, zero=statistic == "std")
    numbers.only_aggregates("latency", "ttft", "tpot", "itl")
    error = requests_failed(asked, completed, failed or None)  # it cuts none short: what is not completed has failed
    if not error and count(run.get("total_output_tokens")) == 0:
        error = "no token was generated"
    settings = {name: plain(run[name]) for name in _ASKED if name in run}
    settings["prompt_tokens_mean"] = float(f"{means['input']:.3g}") if means["input"] else None
    return ImportedCell(
        model=text(run.get("model_id")), prompt_id=_id(run, means["input"]), about=_about(run, means["input"]), asked=settings,
        values=numbers.values, reasons=numbers.reasons, units=numbers.units, judged_by=_JUDGED, info=_info(run), error=error,
        facts=_evidence(run, asked, completed) if error else {},
    )  # fmt: skip


def _info(run: Mapping[str, object]) -> dict[str, Json]:
    date = text(run.get("date"))  # of a clock whose zone is not known: no moment to sort by
    return {"date": date} if date else {}


def _fewer(asked: int | None, completed: int | None) -> int | None:
    return None if asked is None or completed is None else max(0, asked - completed)


def _mean(total: object, completed: int | None) -> float | None:
    whole = number(total)
    return whole / completed if whole and completed else None


def _id(run: Mapping[str, object], tokens: float | None) -> str:
    parts = [str(run["num_prompts"])] if run.get("num_prompts") is not None else []
    parts += [f"in{tokens:.3g}"] if tokens else []
    parts += [f"r{run['request_rate']}"] if run.get("request_rate") is not None else []
    parts += [f"c{run['max_concurrency']}"] if run.get("max_concurrency") is not None else []
    return "-".join(["serve", *parts])


def _about(run: Mapping[str, object], tokens: float | None) -> str:
    said = ", ".join(
        f"{name} {run[name]}"
        for name in ("num_prompts", "request_rate", "max_concurrency")
        if run.get(name) is not None
    )
    return f"vllm bench serve: {said or 'settings unknown'}" + (f", about {tokens:.3g} prompt tokens" if tokens else "")


def _evidence(run: Mapping[str, object], asked: int | None, completed: int | None) -> dict[str, str]:
    errors = run.get("errors")
    texts = [each for each in errors if isinstance(each, str) and each] if isinstance(errors, list) else []
    # The last line of a traceback is the error itself.
    first = {"first error": texts[0].strip().splitlines()[-1][:300]} if texts and texts[0].strip() else {}
    return {"requests": str(asked), "completed": str(completed), **first}


def _requests(run: Mapping[str, object], whole: ImportedCell, notes: list[str]) -> ImportedCell | None:
    """Every request that ended well as a round; None where the file holds none."""
    lists = [run.get(name) for name in _LISTS]
    if not all(isinstance(each, list) for each in lists):
        return None
    columns: list[list[Any]] = [each for each in lists if isinstance(each, list)]
    asked = count(run.get("num_prompts"))
    if len(set(map(len, columns))) > 1 or (asked is not None and len(columns[0]) != asked):
        notes.append("single requests are left out: their lists are not as long as the run has requests")
        return None
    prompts = run.get("input_lens")
    rows = _finished(columns)
    numbers = Numbers()
    for metric, unit in _REQUEST_METRICS:
        numbers.take_column(metric, [row.get(metric) for _, row in rows], unit, "of " + ", ".join(_LISTS[:3]))
    if isinstance(prompts, list) and len(prompts) == len(columns[0]):
        numbers.take_column("prompt_tokens", [prompts[place] for place, _ in rows], "", "input_lens")
    if not numbers.values:
        return None
    return ImportedCell(
        model=whole.model, prompt_id=f"{whole.prompt_id}-requests", about=f"{whole.about}: single requests", asked=whole.asked,
        values=numbers.values, reasons=numbers.reasons, units=numbers.units, info=whole.info,
    )  # fmt: skip


_REQUEST_METRICS: Final = (
    ("latency", "s"), ("ttft", "s"), ("itl", "s"), ("tpot", "s"), ("tokens_per_s", "/s"), ("output_tokens", ""),
)  # fmt: skip


def _finished(columns: Sequence[list[Any]]) -> list[tuple[int, dict[str, float]]]:
    """Position and numbers of the requests without an error; the latency is the first token's time and all gaps behind it."""
    found: list[tuple[int, dict[str, float]]] = []
    for place, (ttft, gaps, tokens, error) in enumerate(zip(*columns, strict=True)):
        first, made = number(ttft), count(tokens)
        steps = [number(gap) for gap in gaps] if isinstance(gaps, list) else [None]
        known = [step for step in steps if step is not None and step >= 0]
        if error or not first or first <= 0 or not made or len(known) < len(steps) or (made > 1 and not known):
            continue
        spent = sum(known)
        row = {
            "latency": first + spent,
            "ttft": first,
            "output_tokens": float(made),
            "tokens_per_s": made / (first + spent),
        }
        if known and spent > 0:
            row["itl"] = spent / len(known)
        if made > 1 and spent > 0:
            row["tpot"] = spent / (made - 1)
        found.append((place, row))
    return found


# ---------------------------------------------------------------------------------------------------------------- CSV


def _rows(source: Source) -> Iterator[dict[str, str]]:
    header = source.csv_header
    for place, row in source.csv_rows():
        if len(row) != len(header):
            raise ConfigError(f"import: {source.path}: row {place} has {len(row)} fields and its header {len(header)}.")
        yield dict(zip(header, row, strict=True))


def _of_row(row: Mapping[str, str], stem: str) -> ImportedCell:
    completed = count(row.get("Successful requests"))
    numbers = Numbers()
    for metric, field, unit in _CSV:
        numbers.take(metric, row.get(field), unit, field)
    numbers.take("sample_size", row.get("Successful requests"), "", "Successful requests", zero=True)
    for metric, field in (
        ("prompt_tokens_mean", "Total input tokens"),
        ("output_tokens_mean", "Total generated tokens"),
    ):
        numbers.take(metric, _mean(row.get(field), completed), "", f"{field} / Successful requests")
    for metric, field in (("ttft", "TTFT"), ("tpot", "TPOT"), ("itl", "ITL")):
        for statistic, called in (("mean", "Mean"), ("median", "Median"), ("p99", "P99")):
            name = f"{called} {field} (ms)"
            if name in row:
                numbers.take(f"{metric}_{statistic}", row[name], "ms", name)
    numbers.only_aggregates("latency", "ttft", "tpot", "itl")
    error = requests_failed(None, completed, None)
    if not error and number(row.get("Total generated tokens")) == 0:
        error = "no token was generated"
    name = f"{stem}-{completed}"
    return ImportedCell(
        model="", prompt_id=name, about=f"row of {completed} requests of {stem}", asked={"successful_requests": completed},
        values=numbers.values, reasons=numbers.reasons, units=numbers.units, judged_by=_JUDGED, error=error,
    )  # fmt: skip
