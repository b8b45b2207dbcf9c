"""The summary in the terminal: one line a model, and what to do next."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path

from ...records import ComparisonResult, Missing, Number
from ...text import how_many, one_line, sentence, shortened, shown_path, told_noisy, wrapped
from ...units import format_bytes, format_duration, format_rate
from ..comparisons.streak import TOO_MANY
from ..schedule import OUT_OF_TIME
from .elsewhere import elsewhere_text
from .explain import UNDECIDED
from .load_table import load_lines, under_load
from .report import CellSummary, ModelSummary, SessionReport
from .retries import retry_text
from .task_table import task_lines

MOST_MODELS = 50
"""Rows of the table; the rest is in summary.csv."""
MAIN_FILES = ("results.csv", "summary.csv", "log.jsonl")
"""What people open first."""
MOST_FILES = 8
"""Names that the last line lists."""
MANY_FILES = 5
"""Files of one folder from which on the folder stands for them."""
OPTION_ROOM = 36
"""Columns of an option that makes a build fail, in front of what it does."""
MOST_REASONS = 3
"""Why cells of an earlier run were not taken over."""
USUAL_ROUNDS = 20
"""That an undecided cell gets unless told otherwise."""
NARROWEST_NAME = 12
"""Columns below which no name is cut."""
DISPENSABLE = ("load", "slowest", "1st token", "tokens/s", "score", "peak RAM")
"""Columns of the table that a narrow screen does without, in this order."""


def summary_lines(
    report: SessionReport, saved: Path, *, width: int, gated: bool, hints: bool, further: Sequence[Path] = (), streak: int = 0,
) -> list[str]:  # fmt: skip
    """The table, its footnote, hints and the place of the files.

    :param further: what was written beyond the files of every run.
    :param streak: how many runs in a row could not decide, this one included.
    """
    loaded = under_load(report)
    timed = [
        model
        for model in report.models
        if any(not cell.load for cell in model.cells) or not (model.cells or model.tasks)
    ]
    shown = report.models if len(loaded) < len(report.cells) or not loaded else timed
    lines = [*_replayed(report, width), *(_table(shown[:MOST_MODELS], width) if timed else [])]
    if len(report.models) > MOST_MODELS:
        lines.append(f"... and {len(report.models) - MOST_MODELS} more models, in summary.csv")
    lines += [
        *(wrapped(_footnote(report), width) if timed else []),
        *_said(elsewhere_text(report), width),
        *_said(retry_text(report), width),
        *_resumed(report, width),
        *task_lines(report, width),
        *load_lines(report, width),
        *_templated(report, width),
        *_said(score_note(report.models[:MOST_MODELS]), width),
        *_costs(report, width),
        *_judged(report, width),
        *_memory(report.models[:MOST_MODELS], width),
        *(_own_cost(report.models, width) if timed else []),
        *_samples(report, width),
        *_calls(report, width),
        *_benchmarks(report, width),
    ]
    lines += _compared(report, width)
    hints = hints and bool(
        report.count("rounds") or report.tasks or loaded
    )  # nothing measured: nothing that could be gated
    if hints and not gated and loaded and not timed and not report.count("failed"):
        budget = "--llmci-budget='request_latency_p95<=2s'"
        lines += _ways_to_gate(
            {budget: "fail above a limit", "--llmci-save-baseline": "keep it, then --llmci-baseline"}
        )
    elif (
        hints
        and not gated
        and not timed
        and report.tasks
        and not any(task.verdict == "failed" for task in report.tasks)
    ):
        example = report.tasks[0].facts.suite if report.tasks[0].facts else "arc_challenge"
        budget = f"--llmci-budget='score.{example}>=30'"
        lines += _ways_to_gate({budget: "fail below 30 %", "--llmci-save-baseline": "keep it, then --llmci-baseline"})
    elif hints and not gated and not report.replayed_run and not report.count("failed"):
        lines += _ways_to_gate(
            {
                "--llmci-max-latency=2s": "fail above a limit",
                "--llmci-versus=git:origin/main": "what did this branch do?",
                "--llmci-save-baseline": "keep this run, then --llmci-baseline",
            }
        )
    lines += [
        "",
        *_undecided(report, width, streak),
        *_place(
            saved,
            report.folder,
            further,
            width,
            questions=any(task.answers for task in report.tasks),
            requests=bool(report.loads),
        ),
    ]
    return [line for before, line in pairwise(["-", *lines]) if line or before]  # one blank line is enough


def _said(text: str, width: int) -> list[str]:
    """A sentence in lines that fit; no line, not an empty one, where there is nothing to say."""
    return wrapped(text, width) if text else []


def _replayed(report: SessionReport, width: int) -> list[str]:
    """That nothing of this was measured now."""
    text = f"Replayed: run {report.replayed_run}, judged again. Nothing was measured."
    return wrapped(text, width) if report.replayed_run else []


def _resumed(report: SessionReport, width: int) -> list[str]:
    """How many cells are those of an earlier run, and why others that it holds are not."""
    texts = list(filter(None, [taken_over_text(report)]))
    why: dict[str, int] = {}
    for reason in [cell.not_resumed for cell in report.cells] + [task.not_resumed for task in report.tasks]:
        if reason:
            why[reason] = why.get(reason, 0) + 1
    texts += [
        f"Measured anew: {how_many(number, 'cell')}: {one_line(reason)}."
        for reason, number in sorted(why.items(), key=lambda item: -item[1])[:MOST_REASONS]
    ]
    if not texts and report.header.settings.get("resume") and not any(task.answers for task in report.tasks):
        texts = ["Taken over: nothing, as the run to go on with measured none of these cells to its end."]
    return [line for text in texts for line in wrapped(text, width, rest="  ")]


def taken_over_text(report: SessionReport) -> str:
    """How many cells are those of an earlier run; empty where none is."""
    cells = [cell for cell in report.cells if cell.resumed_from]
    runs = ", ".join(sorted({cell.resumed_from for cell in cells}))
    told = f"{how_many(len(cells), 'cell')} of {len(report.cells)}, {how_many(sum(cell.rounds for cell in cells), 'round')}"
    return f"Taken over from {runs}: {told}." if cells else ""


def _table(models: Sequence[ModelSummary], width: int) -> list[str]:
    columns: list[tuple[str, Callable[[ModelSummary], str]]] = [
        ("latency", lambda m: _shown(m.summary("latency").median, format_duration)),
        ("slowest", lambda m: _shown(m.summary("latency").max, format_duration)),
        ("1st token", lambda m: _shown(m.summary("ttft").median, format_duration)),
        ("tokens/s", lambda m: _shown(m.summary("tokens_per_s").median, format_rate)),
        ("peak RAM", lambda m: _shown(m.summary("peak_rss").max, format_bytes)),
        ("load", lambda m: _shown(m.load_time, format_duration)),
        *score_column(models),
        ("valid", lambda m: f"{m.valid_cells}/{m.checked_cells}" if m.checked_cells else "n/a"),
    ]
    rows = [[title for title, _ in columns], *([read(model) for _, read in columns] for model in models)]
    best = _best(models)
    if best is not None:
        rows[best + 1][0] = "*" + rows[best + 1][0]
    names = ["model", *(one_line(model.alias) for model in models)]
    rows = _that_fit(rows, min(max(map(len, names)), NARROWEST_NAME), width)
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    gap = 3 if max(map(len, names)) + sum(widths) + 3 * len(widths) <= width else 2
    room = max(NARROWEST_NAME, width - sum(widths) - gap * len(widths))
    names = [shortened(name, room) for name in names]
    longest = max(map(len, names))
    return [
        name.ljust(longest) + "".join(" " * gap + cell.rjust(wide) for cell, wide in zip(row, widths, strict=True))
        for name, row in zip(names, rows, strict=True)
    ]


def _that_fit(rows: list[list[str]], name: int, width: int) -> list[list[str]]:
    """The columns that a narrow screen has room for beside a name; the others are in summary.csv."""
    for title in DISPENSABLE:
        if name + sum(2 + max(len(row[number]) for row in rows) for number in range(len(rows[0]))) <= width:
            break
        if title in rows[0]:
            at = rows[0].index(title)
            rows = [row[:at] + row[at + 1 :] for row in rows]
    return rows


def _templated(report: SessionReport, width: int) -> list[str]:
    """Which prompts the model saw inside its chat template, and which as they are."""
    asked = [cell for cell in report.cells if cell.prompt and (cell.rounds or cell.outputs)]
    templated = sum(cell.templated for cell in asked)
    if not templated:
        return []
    if templated == len(asked):
        which, rest = "the cell" if templated == 1 else "all cells", ""
    else:
        which, rest = f"{templated} of {len(asked)} cells", "; the others went to the model as they are"
    return wrapped(f"chat template: applied in {which}{rest}.", width)


def score_column(models: Sequence[ModelSummary]) -> list[tuple[str, Callable[[ModelSummary], str]]]:
    """Heading and reader of the models' scores; nothing where none has one."""
    if not any(model.published or model.measured_scores for model in models):
        return []
    return [("score", _score)]


def _score(model: ModelSummary) -> str:
    """As it was measured here, over whole benchmarks; else as others published it, in brackets."""
    measured = model.summary("score").mean if "score" in model.metrics else Missing("")
    if not isinstance(measured, Missing):
        return f"{measured:.1f}"
    return f"({format_rate(model.published.value)})" if model.published else "n/a"


def score_note(models: Sequence[ModelSummary]) -> str:
    """That a score was not measured here, and whose it is; empty where all were."""
    shown = [model for model in models if model.published and not model.measured_scores]
    sources = dict.fromkeys(one_line(model.published.source) for model in shown if model.published)
    if not sources:
        return ""
    return f"score: per cent; in brackets as published ({', '.join(sources)}), not measured here."


def _costs(report: SessionReport, width: int) -> list[str]:
    """Of models with a price: what they cost, where there is more than one as a table."""
    if not any(model.price for model in report.models):
        return []
    from .costs import REQUESTS_A_DAY, chosen_rows, cost_table

    rows = chosen_rows(report)[:MOST_MODELS]
    return [
        "",
        *cost_table(rows, requests=REQUESTS_A_DAY, width=width, today=date.fromisoformat(report.header.started[:10])),
        "",
    ]


def _judged(report: SessionReport, width: int) -> list[str]:
    """How many verdicts on outputs are opinions, and whose."""
    checks = [check for cell in report.cells for check in cell.checks]
    judges = dict.fromkeys(one_line(check.judged_by) for check in checks if check.judged_by)
    count = sum(bool(check.judged_by) for check in checks)
    are = "is an opinion" if count == 1 else "are opinions"
    text = f"valid: {count} of {len(checks)} verdicts on outputs {are} of {', '.join(judges)}."
    return wrapped(text, width) if count else []


def _best(models: Sequence[ModelSummary]) -> int | None:
    """The fastest of those with any valid answer, where there is more than one to compare."""
    medians = [
        (value, number)
        for number, model in enumerate(models)
        if not isinstance(value := model.summary("latency").median, Missing)
        and (model.valid_cells or not model.checked_cells)
    ]
    return min(medians)[1] if len(medians) > 1 else None


def _shown(value: Number, write: Callable[[float], str]) -> str:
    return "n/a" if isinstance(value, Missing) else write(value)


def _footnote(report: SessionReport) -> str:
    rounds, noisy = report.count("rounds"), report.count("noisy")
    if not rounds:
        if report.count("failed") or any(cell.error for cell in report.cells):
            return "No cell was measured to its end."
        late = any(cell.verdict == "inconclusive" for cell in report.cells)
        return f"No cell was measured: {'out of time (--llmci-time-limit)' if late else 'no llm_result, no --llmci-suite'}."
    parts = [_sample(report.models)]
    together = max(cell.repeats for cell in report.cells)
    if together > 1:
        parts.append(f"Answers too short to be timed alone: up to {together} rounds make one sample of the comparison.")
    if noisy:
        parts.append(f"{sentence(told_noisy(noisy, rounds))}.")
    other = report.count("other_length")
    if other:
        differ = "answers differs" if other == 1 else "answers differ"
        parts.append(f"{other} of {rounds} {differ} in length from the cell's others: compare latency_per_token.")
    deaths = report.count("deaths")
    if deaths:
        parts.append(f"{deaths} process{' was' if deaths == 1 else 'es were'} lost.")
    if _best(report.models) is not None:
        parts.append("* best")
    return " ".join(parts)


def _sample(models: Sequence[ModelSummary]) -> str:
    """What the latencies of the table are the medians of, or why there are none."""
    found = [model.summary("latency") for model in models if model.rounds]
    counts = [latency.n for latency in found if latency.n]
    if not counts:
        return f"No latency: {next(latency.median.reason for latency in found if isinstance(latency.median, Missing))}."
    fewest, most = min(counts), max(counts)
    span = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"latency: median of {span} round{'' if most == 1 else 's'}{' a model' if len(models) > 1 else ''}."


def _own_cost(models: Sequence[ModelSummary], width: int) -> list[str]:
    """What the harness adds to a latency, and which part of a median latency that is at most."""
    pairs = [
        (model.summary("own_latency").max, model.summary("latency").median)
        for model in models
        if "own_latency" in model.metrics
    ]
    costs = [own for own, _ in pairs if not isinstance(own, Missing)]
    if not costs:
        return []
    text = f"Own cost: {format_duration(max(costs))} in 50 tokens"
    shares = [
        own / whole for own, whole in pairs if not isinstance(own, Missing) and not isinstance(whole, Missing) and whole
    ]
    if shares:
        most = "at most " if len(shares) > 1 else ""
        share = (
            f"{most}{100 * max(shares):.2g} % of a median latency"
            if max(shares) < 0.5
            else "as much as the fastest answers take"
        )
        text = f"{text}, {share}"
    return wrapped(f"{text}.", width)


def _memory(models: Sequence[ModelSummary], width: int) -> list[str]:
    """What the table has no room for: growth by the memory pass, and memory of child processes."""
    lines = []
    for metric, label in (
        ("peak_rss_delta", "Memory that an answer takes, at most"),
        ("children_peak_rss", "Memory of child processes, at most"),
    ):
        known = [(model.alias, model.summary(metric).max) for model in models if metric in model.metrics]
        shown = [
            f"{one_line(alias)} {format_bytes(value)}"
            for alias, value in known
            if not isinstance(value, Missing) and value
        ]
        if shown:
            lines += wrapped(f"{label}: {', '.join(shown)}.", width, rest="  ")
    return lines


def _calls(report: SessionReport, width: int) -> list[str]:
    """Single inferences in test bodies are no measurement of a cell, and the table does not hold them."""
    calls = sum(cell.blocks for cell in report.cells if not cell.rounds and cell.error is None)
    if not calls:
        return []
    text = f"{calls} single call{'' if calls == 1 else 's'} in test bodies: recorded and checked, not gated on time, not in this table."
    return wrapped(text, width)


def _samples(report: SessionReport, width: int) -> list[str]:
    """Sampled outputs are beyond the rounds of the table."""
    found = [cell.samples for cell in report.cells if cell.samples is not None]
    if not found:
        return []
    counts = [
        f"{number} {word}"
        for verdict, word in (("pass", "passed"), ("failed", "failed"), ("inconclusive", "undecided"))
        if (number := sum(result.verdict == verdict for result in found))
    ]
    drawn, passed = sum(result.n for result in found), sum(result.passed for result in found)
    cells = f"{len(found)} cell{'' if len(found) == 1 else 's'}"
    text = f"Samples: {passed} of {drawn} outputs of {cells} pass their checks; {', '.join(counts)}. They are not timed and not compared."
    return wrapped(text, width, rest="  ")


def _benchmarks(report: SessionReport, width: int) -> list[str]:
    """What another tool measured is in its own table."""
    measured = [record for record in report.benchmarks if record.round_s]
    if not measured:
        return []
    many, rounds = len(measured), sum(len(record.round_s) for record in measured)
    text = (
        f"{many} test{'' if many == 1 else 's'} of {measured[0].tool} with {rounds} round{'' if rounds == 1 else 's'}:"
        " in log.jsonl and results.json; the way to the model's process is in their times."
    )
    return wrapped(text, width)


def _compared(report: SessionReport, width: int) -> list[str]:
    """What the comparison found."""
    cells = [(cell.id, cell.comparisons) for cell in report.cells if cell.comparisons]
    if not cells:
        return []
    from ..comparisons.explain_comparison import by_block_words, compared_lines, shared_words

    whole = [(gate.model, result) for gate in report.gates for result in gate.comparisons]
    metrics = {metric.name: metric for metric in report.metrics}
    against = one_line(cells[0][1][0].against)
    better = {cell for cell, results in cells for result in results if result.improved}
    offer = (
        f"Better in {len(better)} of {len(cells)} cells. Where a baseline is compared with, renew it, or it hides the next regression up"
        " to the size of this gain: --llmci-save-baseline"
    )
    lines = ["", f"Compared with {against}:", *compared_lines(cells, whole, metrics, width=width)]
    places = dict.fromkeys(result.shared for _, results in cells for result in results if result.shared)
    lines += [line for place in places for line in wrapped(f"{shared_words(place)}.", width)]
    units = dict.fromkeys(result.by_block for _, results in cells for result in results if result.by_block)
    lines += [line for why in units for line in wrapped(f"{by_block_words(why)}.", width)]
    return [*lines, *(wrapped(offer, width) if better else [])]


def _undecided(report: SessionReport, width: int, streak: int) -> list[str]:
    """What each undecided cell lacks; not a pass."""
    cells = [cell for cell in report.cells if cell.verdict == "inconclusive"]
    if not cells:
        return []
    from ..comparisons.explain_comparison import doubt

    of_a_worse_model = [cell for cell in cells if _is_told_by_its_model(cell, _worse_as_a_whole(report, cell.model))]
    if of_a_worse_model:
        worse = [result for cell in of_a_worse_model for result in _worse_as_a_whole(report, cell.model)]
        known = ", which is accepted" if all(result.accepted for result in worse) else ""
        were, whose = ("was", "its") if len(of_a_worse_model) == 1 else ("were", "their")
        of_all = f"{len(of_a_worse_model)} of {how_many(len(report.cells), 'cell')}"
        alone = f"{of_all} {were} not decided alone: {whose} model as a whole regressed{known}."
        cells = [cell for cell in cells if cell not in of_a_worse_model]
        if not cells:
            return [*wrapped(alone, width), ""]
    lines = [f"INCONCLUSIVE is not a pass: {len(cells)} of {how_many(len(report.cells), 'cell')} could not be decided."]
    for cell in cells[:5]:
        reasons = [f"{budget.budget}: {budget.reason}" for budget in cell.budgets if budget.verdict == "inconclusive"]
        reasons += [cell.samples.reason] if cell.samples and cell.samples.verdict == "inconclusive" else []
        reasons += [doubt(result) for result in cell.comparisons if result.verdict in UNDECIDED]
        text = f"{cell.id}: {'; '.join(reasons) or 'not measured: out of time (--llmci-time-limit)'}"
        lines += wrapped(text, width, first="  ", rest="    ")
    if len(cells) > 5:
        lines.append(f"  ... and {len(cells) - 5} more, in results.json")
    open_ones = [result for cell in cells for result in cell.comparisons if result.verdict == "inconclusive"]
    lines += _what_may_decide([each for each in open_ones if each.mode == "interleaved" and each.change is not None])
    if any(result.mode in ("saved", "history") for result in open_ones):
        text = "numbers of another session say little; both sides measured in one session decide: --llmci-versus=git:REV, or a spec"
        lines += wrapped(text, width, first="  ", rest="    ")
    if streak >= TOO_MANY and open_ones:
        text = (
            f"The last {streak} runs could not decide. This set-up cannot see what is asked for: allow more rounds, tag fewer prompts"
            " 'gate', look for a larger change (--llmci-detect), or take a quieter machine ('llmci calibrate' measures it)."
        )
        lines += wrapped(text, width, first="  ", rest="  ")
    policy = report.header.settings.get("inconclusive")
    return [*lines, *(["  --llmci-inconclusive=fail makes it red"] if policy != "fail" else []), ""]


def _ways_to_gate(ways: Mapping[str, str]) -> list[str]:
    """:param ways: option -> what it does."""
    room = max(OPTION_ROOM, *(len(option) + 2 for option in ways))
    told = (f"  add  {option:<{room}}{what}" for option, what in ways.items())
    return ["", "Nothing was gated: no budget and nothing to compare with. To make a build fail:", *told]


def _worse_as_a_whole(report: SessionReport, model: str) -> list[ComparisonResult]:
    """In what a model regressed, judged over all its cells."""
    results = (result for gate in report.gates if gate.model == model for result in gate.comparisons)
    return [result for result in results if result.verdict == "regressed"]


def _is_told_by_its_model(cell: CellSummary, worse: Sequence[ComparisonResult]) -> bool:
    """Whether all that a cell leaves open is why its model failed, or was left open since the model had failed."""
    from ..comparisons.interleaved import NOT_ALONE

    if not worse or any(each.verdict == "inconclusive" for each in cell.budgets):
        return False
    if cell.samples and cell.samples.verdict == "inconclusive":
        return False
    told = {(result.metric, result.against) for result in worse}
    open_ones = [result for result in cell.comparisons if result.verdict in UNDECIDED]
    return bool(open_ones) and all(
        result.reason == NOT_ALONE or (result.metric, result.against) in told for result in open_ones
    )


def _what_may_decide(results: Sequence[ComparisonResult]) -> list[str]:
    """:param results: undecided ones that have numbers; without any, more of them help nobody."""
    if any(result.reason.startswith(OUT_OF_TIME) for result in results):
        return ["  more time may decide: a longer --llmci-time-limit"]
    if not results:
        return []
    from ...stats.by_block import LEAST_BLOCKS

    most = max(each.rounds for each in results)
    blocks = [LEAST_BLOCKS * -(-each.rounds // each.pairs) for each in results if each.by_block and each.pairs]
    return [f"  more rounds may decide: --llmci-max-rounds={max(2 * max(USUAL_ROUNDS, most), *blocks, 0)}"]


def _place(
    saved: Path, run: Path, further: Sequence[Path], width: int, *, questions: bool, requests: bool
) -> list[str]:
    inside = [path.relative_to(run).as_posix() for path in further if path.is_relative_to(run)]
    outside = [shown_path(path) for path in further if not path.is_relative_to(run)]
    more = [*(["questions.csv"] if questions else []), *(["requests.csv"] if requests else [])]
    texts = [f"Saved in {shown_path(saved)} ({_listed([*MAIN_FILES, *more, *_gathered(inside)])})"]
    texts += [f"Also written: {_listed(_gathered(outside))}"] if outside else []
    return [line for text in texts for line in wrapped(text, width, rest="  ")]


def _gathered(names: Sequence[str]) -> list[str]:
    """The names, of a folder with many its own and how many files it has."""
    counts = Counter(os.path.dirname(name) for name in names)
    many = {folder for folder, count in counts.items() if folder and count >= MANY_FILES}
    folders = {folder: f"{folder}/ ({counts[folder]} files)" for folder in many}
    return list(dict.fromkeys(folders.get(os.path.dirname(name), name) for name in names))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_FILES
    return ", ".join(map(one_line, names[:MOST_FILES])) + (f" and {more} more" if more > 0 else "")
