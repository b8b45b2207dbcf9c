"""The pages of the dashboard. Texts of models are shown as texts: nothing that comes from a run is taken for markup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from ..engine.comparisons.compare_runs import compare_runs
from ..engine.comparisons.explain_comparison import wide_rows
from ..engine.comparisons.explain_runs import known_metrics, text_lines
from ..engine.comparisons.history import Series, read_history
from ..engine.reports.frames import Run
from ..engine.reports.headlines import verdict_line
from ..engine.reports.report_builder import build_report
from ..errors import LLMCIError
from ..metrics import MetricDef
from ..plots import plots_of, register
from ..plots.base import encode
from ..plots.run_data import RunData
from ..registry import Registry
from ..text import one_line, plain
from .source import RunRow, Source, open_source

if TYPE_CHECKING:
    import pandas as pd

_FOR_PEOPLE: Final[Mapping[str, tuple[str, float]]] = {
    "latency": ("latency (ms)", 1e3),
    "ttft": ("1st token (ms)", 1e3),
    "tokens_per_s": ("tokens/s", 1.0),
    "peak_rss": ("peak RAM (MiB)", 2.0**-20),
    "cpu_percent": ("CPU (%)", 1.0),
    "cost": ("USD for 1,000", 1e3),
    "score": ("score (%)", 1.0),
}
"""Metric -> heading and factor from SI."""
LIVE_S: Final = "2s"
"""How often a running session is read again."""
MOST_RUNS_OF_HISTORY: Final = 300
_COMPARED: Final = ("cell", "metric", "before", "now", "change", "interval", "verdict")


def show(source_text: str) -> None:
    """Draw the page that is chosen."""
    import streamlit as st

    st.set_page_config(page_title="llmci", layout="wide")
    try:
        source = _opened(source_text)
        rows = source.rows()
    except LLMCIError as error:
        st.error(one_line(str(error)))
        return
    st.sidebar.title("llmci")
    st.sidebar.text(one_line(source.shown))
    st.sidebar.caption("1 run" if len(rows) == 1 else f"{len(rows)} runs")
    page = st.sidebar.radio("Page", list(PAGES), label_visibility="collapsed")
    if not rows:
        st.info("No run yet. pytest --llm-models=... --llmci-suite=inference makes one.")
        return
    try:
        PAGES[page](source, rows)
    except LLMCIError as error:
        st.error(one_line(str(error)))


def _opened(text: str) -> Source:
    import streamlit as st

    opened: Source = st.cache_resource(show_spinner=False)(open_source)(text)
    return opened


# ----------------------------------------------------------------------------------------------------------- the list


def _runs(source: Source, rows: Sequence[RunRow]) -> None:
    import streamlit as st

    st.header("Runs")
    chosen = st.dataframe(
        runs_table(rows), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row", key="runs",
    )  # fmt: skip
    picked = chosen["selection"]["rows"]
    st.caption("Each number is the median over the models of a run, of each its median over the cells.")
    if not picked:
        st.caption("Choose a row to look into the run.")
    if picked:
        _one_run(source, rows[picked[0]])


def runs_table(rows: Sequence[RunRow]) -> pd.DataFrame:
    """A row a run: when, what became of it, and each metric as its median over the models' medians."""
    import pandas

    table = [
        {
            "started": row.started[:19].replace("T", " "), "state": row.state,
            **{name: _median_of(row, name) for name in _FOR_PEOPLE},
            "models": ", ".join(map(one_line, row.models)), "commit": row.commit[:10], "run": row.id,
        }
        for row in rows
    ]  # fmt: skip
    return _for_people(pandas.DataFrame(table).dropna(axis="columns", how="all"))


def _median_of(row: RunRow, metric: str) -> float | None:
    values = [of[metric] for of in row.metrics.values() if metric in of]
    return median(values) if values else None


def _for_people(frame: pd.DataFrame) -> pd.DataFrame:
    """Metrics in the units that people expect, with four digits."""
    for name, (heading, factor) in _FOR_PEOPLE.items():
        if name in frame:
            frame[name] = (frame[name] * factor).map(lambda value: float(f"{value:.4g}"))
            frame = frame.rename(columns={name: heading})
    return frame


def _one_run(source: Source, row: RunRow) -> None:
    import streamlit as st

    run = _read(source.folder(row.id), row.state)
    st.subheader(row.id)
    st.text(verdict_line(run.report))
    models = _compact(
        run.models(), ("model", "cells", "valid_cells", "failed_cells", "rounds", "noisy_rounds"), ".median"
    )
    st.dataframe(models, hide_index=True)
    cells = run.cells()
    st.dataframe(cells, hide_index=True, width="stretch")
    cell = st.selectbox("Answers of", cells["cell"].tolist())
    rounds = run.to_frame()
    for output in dict.fromkeys(rounds[(rounds.cell == cell) & (rounds.status == "ok")].output):
        st.code(plain(output), language=None, wrap_lines=True)


def _compact(frame: pd.DataFrame, first: Sequence[str], ending: str) -> pd.DataFrame:
    """Some columns, and those of one statistic under the metrics' names."""
    columns = [
        *first,
        *(name for name in frame.columns if name.endswith(ending) and name.removesuffix(ending) in _FOR_PEOPLE),
    ]
    return _for_people(frame[columns].rename(columns=lambda name: name.removesuffix(ending)))


def _read(folder: Path, state: str) -> Run:
    """A finished run is read once; one that goes on, each time."""
    import streamlit as st

    if state == "running":
        return Run(build_report(folder))
    run: Run = st.cache_resource(show_spinner="Reading the run", max_entries=20)(_finished)(str(folder))
    return run


def _finished(folder: str) -> Run:
    return Run(build_report(Path(folder)))


# ------------------------------------------------------------------------------------------------------ two of them


def _compare(source: Source, rows: Sequence[RunRow]) -> None:
    import pandas
    import streamlit as st

    st.header("Compare two runs")
    ids = [row.id for row in rows if row.state != "running"]
    if len(ids) < 2:
        st.info("There are not two finished runs.")
        return
    left, right = st.columns(2)
    base = left.selectbox("Before", ids, index=1)
    candidate = right.selectbox("Now", ids, index=0)
    if base == candidate:
        st.info("Choose two different runs.")
        return
    found = compare_runs([source.folder(base)], source.folder(candidate))
    changed = wide_rows([(cell.id, cell.results) for cell in found.cells], found.models, known_metrics(found))
    (st.error if found.failed else st.warning if found.undecided else st.success)(
        "worse" if found.failed else "something could not be decided" if found.undecided else "no change for the worse"
    )
    if changed:
        st.dataframe(pandas.DataFrame(changed, columns=list(_COMPARED)), hide_index=True, width="stretch")
    st.code("\n".join(text_lines(found)), language=None)


# ---------------------------------------------------------------------------------------------------------- over time


def _history(source: Source, rows: Sequence[RunRow]) -> None:
    import streamlit as st

    st.header("History")
    finished = [row for row in rows if row.state != "running"][:MOST_RUNS_OF_HISTORY]
    if not finished:
        st.info("No run has ended yet.")
        return
    folders = [source.folder(row.id) for row in finished]
    run = _read(folders[0], finished[0].state)
    names = [metric.name for metric in run.metrics if metric.scope == "round" and metric.direction != "none"]
    metric = st.selectbox("Metric", names, index=names.index("latency") if "latency" in names else 0)
    aliases = list(dict.fromkeys(alias for row in finished for alias in row.models))
    models = st.multiselect("Models", aliases, default=aliases[:5])
    prompts = st.multiselect(
        "Prompts", sorted({cell.prompt_id for cell in run.report.cells}), placeholder="all together"
    )
    if not models:
        st.info("Choose a model.")
        return
    history = read_history(folders, [metric])
    series = [each for each in history.series if each.model in models]
    table = cells_over_time(history.runs, models, prompts, metric) if prompts else models_over_time(series)
    st.altair_chart(
        _chart(table, series[0].metric if series else run.metrics[0], [] if prompts else series),
        width="stretch",
    )
    for each in series:
        for point, change in () if prompts else each.changes:
            st.text(f"{one_line(each.model)}: {change.change:+.1%} since {point.run.run_id}")
        if each.note and not prompts:
            st.caption(one_line(f"{each.model}: {each.note}"))
    for text in history.skipped:
        st.warning(one_line(text))


def models_over_time(series: Sequence[Series]) -> pd.DataFrame:
    """A row a run and model: ``started``, ``line``, ``value`` in SI, ``alike``."""
    import pandas

    return pandas.DataFrame(
        [
            {"started": point.run.started, "run": point.run.run_id, "line": each.model, "value": point.value, "alike": point.alike}
            for each in series for point in each.points if point.value is not None
        ],
        columns=["started", "run", "line", "value", "alike"],
    )  # fmt: skip


def cells_over_time(runs: Sequence[Any], models: Sequence[str], prompts: Sequence[str], metric: str) -> pd.DataFrame:
    """The same with a line for each cell: its median in each run."""
    import pandas

    return pandas.DataFrame(
        [
            {"started": run.started, "run": run.run_id, "line": f"{model}-{prompt}", "value": median(cell.numbers[metric]), "alike": True}
            for run in runs for (model, prompt), cells in run.cells.items() if model in models and prompt in prompts
            for cell in cells if len(cell.numbers.get(metric, ()))
        ],
        columns=["started", "run", "line", "value", "alike"],
    )  # fmt: skip


def _chart(table: pd.DataFrame, metric: MetricDef, series: Sequence[Series]) -> Any:
    import altair as alt
    import pandas

    title = f"{metric.name} ({metric.unit})"
    base = alt.Chart(table).encode(
        x=alt.X("started:T", title="run started (UTC)"), y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        color=alt.Color("line:N", title=None), tooltip=["run:N", "line:N", "value:Q"],
    )  # fmt: skip
    chart = base.mark_line() + base.mark_point(filled=True).encode(
        opacity=alt.condition("datum.alike", alt.value(1.0), alt.value(0.3))
    )
    changes = [{"started": point.run.started} for each in series for point, _ in each.changes]
    if changes:
        chart += alt.Chart(pandas.DataFrame(changes)).mark_rule(strokeDash=[4, 4]).encode(x="started:T")
    return chart


# ----------------------------------------------------------------------------------------------------------- figures


def _plots(source: Source, rows: Sequence[RunRow]) -> None:
    import streamlit as st

    st.header("Plots")
    finished = [row for row in rows if row.state != "running"]
    if not finished:
        st.info("No run has ended yet.")
        return
    chosen = st.selectbox("Run", [row.id for row in finished])
    for name, picture in st.cache_data(show_spinner="Drawing", max_entries=20)(_drawn)(str(source.folder(chosen))):
        st.image(picture, caption=name, width="stretch")


def _drawn(folder: str) -> list[tuple[str, bytes]]:
    """Each figure of a run as PNG."""
    registry = Registry()
    register(registry)
    return [(name, encode(plot, "png")) for name, plot in plots_of(RunData(build_report(Path(folder))), registry)]


# --------------------------------------------------------------------------------------------------------------- live


def _live(source: Source, _: Sequence[RunRow]) -> None:
    import streamlit as st

    st.header("Live")
    st.fragment(run_every=LIVE_S)(_live_part)(source)


def _live_part(source: Source) -> None:
    import streamlit as st

    row = source.rows()[0]
    report = build_report(source.folder(row.id))
    run = Run(report)
    judged = sum(cell.verdict is not None for cell in report.cells)
    st.subheader(f"{row.id}: {row.state}")
    figures = {
        "cells judged": judged, "rounds": report.count("rounds"), "noisy rounds": report.count("noisy"),
        "failed cells": report.count("failed"),
    }  # fmt: skip
    for column, (label, value) in zip(st.columns(len(figures)), figures.items(), strict=True):
        column.metric(label, value)
    if report.models:
        st.dataframe(_compact(run.models(), ("model", "rounds", "failed_cells"), ".median"), hide_index=True)
        newest = run.to_frame().tail(1)
        for _, last in newest.iterrows():
            st.caption(one_line(f"newest answer: {last.cell}, round {last['round']}"))
            st.code(plain(last.output), language=None, wrap_lines=True)
    if row.state != "running":
        st.caption("No session is running; this is the newest run.")


PAGES: Final[Mapping[str, Callable[[Source, Sequence[RunRow]], None]]] = {
    "Runs": _runs,
    "Compare": _compare,
    "History": _history,
    "Plots": _plots,
    "Live": _live,
}
