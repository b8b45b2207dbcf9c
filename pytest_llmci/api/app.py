"""The addresses of the results API. Nothing is written, and no path of a client is opened: an id is looked up in the list of runs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from ..clock import Clock, SystemClock
from ..dashboard.source import RunRow, Source
from ..engine.comparisons.compare_runs import compare_runs
from ..engine.comparisons.explain_runs import headline
from ..engine.reports.headlines import verdict_line
from ..engine.reports.report import CellSummary, SessionReport
from ..engine.reports.report_builder import build_report
from ..errors import ConfigError, LLMCIError, SinkError
from ..records import Verdict
from ..store.log import LOG_NAME
from ..text import one_line
from ..version import version
from .models import Cell, CellVerdict, ComparedPair, Comparison, Gate, Health, Page, Problem, Run, RunDetails

READING: Final = ("GET", "HEAD")
PAGE: Final = 50
MOST: Final = 500
MOST_KEPT: Final = 8
"""Reports of finished runs that are kept: one may take hundreds of megabytes."""
_PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)
T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=MOST, description=f"most items, 1 to {MOST}")]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1, description="items to leave out before the first one")]
OfModel = Annotated[str, Query(description="only cells of this model")]
Judged = Annotated[
    Literal[Verdict, ""], Query(description="only cells with this verdict: " + ", ".join(get_args(Verdict)))
]
PROBLEM_TYPE: Final = "application/problem+json"


def _told(status: int, description: str) -> dict[int | str, dict[str, object]]:
    """An answer of the OpenAPI document that is a problem."""
    return {status: {"description": description, "content": {PROBLEM_TYPE: {"schema": Problem.model_json_schema()}}}}


Unreadable: Final = _told(503, "The place of the runs does not answer")
Asked: Final = _told(422, "A parameter is not what it must be") | Unreadable
Problems: Final = _told(404, "No such run") | Asked
AGAIN_NS: Final = 2 * 10**9
"""A place that did not answer is asked again after this long: each try may take seconds, and clients queue for it."""


class Reports:
    """Runs that were read; a finished one is read once."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source, self._lock, self._clock = source, threading.Lock(), clock
        self._kept: OrderedDict[str, SessionReport] = OrderedDict()
        self._silent: tuple[int, str] | None = None
        """When the place last did not answer, and what was said."""

    def rows(self) -> list[RunRow]:
        """Every run, the newest first.

        :raises LLMCIError: if their place does not answer.
        """
        with self._lock:
            if self._silent is not None and self._clock.now_ns() - self._silent[0] < AGAIN_NS:
                raise SinkError(self._silent[1])
            try:
                found = self._source.rows()
            except LLMCIError as error:
                self._silent = self._clock.now_ns(), str(error)
                raise SinkError(str(error)) from error
            self._silent = None
            return found

    def row(self, run_id: str) -> RunRow:
        """The run of that id.

        :raises HTTPException: if none is listed; nothing but the list is asked.
        """
        for row in self.rows():
            if row.id == run_id:
                return row
        raise HTTPException(404, "there is no run of that id; /runs lists them")

    def report(self, row: RunRow) -> SessionReport:
        """The run, read from its log."""
        with self._lock:
            kept = self._kept.get(row.id)
            if kept is None:
                kept = build_report(self._folder(row))
                if row.state != "running":
                    self._kept[row.id] = kept
            if row.id in self._kept:
                self._kept.move_to_end(row.id)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return kept

    def _folder(self, row: RunRow) -> Path:
        """:raises HTTPException: if the run was there when they were listed, and is not any more."""
        folder = self._source.folder(row.id)
        if not (folder / LOG_NAME).is_file():
            raise HTTPException(404, "the run of that id is gone; /runs lists those that are there")
        return folder

    def compare(self, base: RunRow, candidate: RunRow) -> Comparison:
        """Two of them, all cells in one page."""
        with self._lock:
            found = compare_runs([self._folder(base)], self._folder(candidate))
        cells = [ComparedPair.of(cell) for cell in found.cells]
        return Comparison.of(
            found, headline(found), Page(total=len(cells), offset=0, limit=max(1, len(cells)), items=cells)
        )


def page_of(items: Sequence[T], limit: int, offset: int) -> Page[T]:
    """A part of a list."""
    return Page(total=len(items), offset=offset, limit=limit, items=list(items[offset : offset + limit]))


def build_app(source: Source, hosts: Collection[str] = (), clock: Clock | None = None) -> FastAPI:
    """The application.

    :param source: the runs.
    :param hosts: names under which it may be asked, against pages that let a name of theirs stand for this machine; empty: any.
    """
    reports = Reports(source, clock or SystemClock())
    app = FastAPI(
        title="pytest-llmci results", version=version(), docs_url=None, redoc_url=None,
        description="Runs, cells, comparisons and verdicts of a folder of runs, or of an MLflow store. Read only. Numbers are SI.",
    )  # fmt: skip

    _guard(app, hosts)
    _describe(app, reports)
    _add_runs(app, reports)
    return app


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Why there is no answer, as :class:`.models.Problem` describes it."""
    told = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(told.model_dump(), status, dict(headers or {}), PROBLEM_TYPE)


def _guard(app: FastAPI, hosts: Collection[str]) -> None:
    """What holds for every address."""

    @app.middleware("http")
    async def only_reading(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        asked = request.method
        if asked not in READING:
            return problem(405, "this API only reads: GET or HEAD", {"Allow": ", ".join(READING)})
        if hosts and (request.url.hostname or "") not in hosts:
            return problem(421, "this API is not asked under that name")
        if asked == "HEAD":
            request.scope["method"] = "GET"
        answer = await call_next(request)
        request.scope["method"] = asked  # to HEAD, the server sends no body
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @app.exception_handler(LLMCIError)
    async def told(_: Request, error: LLMCIError) -> JSONResponse:
        if isinstance(error, SinkError):
            return problem(503, one_line(str(error)), {"Retry-After": str(AGAIN_NS // 10**9)})
        return problem(400 if isinstance(error, ConfigError) else 500, one_line(str(error)))

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return problem(error.status_code, one_line(str(error.detail)), error.headers)

    @app.exception_handler(RequestValidationError)
    async def misasked(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, "; ".join(map(_wrong, error.errors())))


def _wrong(found: Mapping[str, Any]) -> str:
    """What is wrong with a parameter, as pydantic tells it."""
    name = found["loc"][-1]
    return (
        f"{name}: {found['msg']}"
        if found["type"] == "missing"
        else f"{name}={one_line(str(found['input']))}: {found['msg']}"
    )


def _describe(app: FastAPI, reports: Reports) -> None:
    """The page, and whether all is well."""

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        text = (files("pytest_llmci") / "api" / "page.html").read_text("utf-8")
        return HTMLResponse(text, headers={"Content-Security-Policy": _PAGE_POLICY})

    @app.get(
        "/health", summary="Whether the runs can be read", responses={503: {"model": Health, "description": "They cannot"}}
    )  # fmt: skip
    def health(answer: Response) -> Health:
        try:
            rows = reports.rows()
        except LLMCIError as error:
            answer.status_code = 503
            return Health(status="unhealthy", version=version(), runs=None, newest=None, reason=one_line(str(error)))
        return Health(status="ok", version=version(), runs=len(rows), newest=rows[0].id if rows else None)


def _add_runs(app: FastAPI, reports: Reports) -> None:
    """The runs, and what is in them."""

    @app.get("/runs", summary="Runs, the newest first", responses=Asked)
    def runs(limit: Limit = PAGE, offset: Offset = 0) -> Page[Run]:
        return page_of([Run.of(row) for row in reports.rows()], limit, offset)

    @app.get("/runs/{run_id}", summary="A run, its models and gates", responses=Problems)
    def run(run_id: str) -> RunDetails:
        row = reports.row(run_id)
        report = reports.report(row)
        return RunDetails.made(row, report, verdict_line(report))

    @app.get("/runs/{run_id}/cells", summary="What was measured, a cell each", responses=Problems)
    def cells(
        run_id: str, limit: Limit = PAGE, offset: Offset = 0, model: OfModel = "", verdict: Judged = ""
    ) -> Page[Cell]:
        report = reports.report(reports.row(run_id))
        names = [metric.name for metric in report.metrics if metric.of_rounds]
        found = page_of(_cells(report, model, verdict), limit, offset)
        return Page(total=found.total, offset=offset, limit=limit, items=[Cell.of(cell, names) for cell in found.items])

    @app.get("/runs/{run_id}/verdicts", summary="What was judged, a cell each", responses=Problems)
    def verdicts(
        run_id: str, limit: Limit = PAGE, offset: Offset = 0, model: OfModel = "", verdict: Judged = ""
    ) -> Page[CellVerdict]:
        report = reports.report(reports.row(run_id))
        return page_of([CellVerdict.of(cell) for cell in _cells(report, model, verdict)], limit, offset)

    @app.get("/runs/{run_id}/gates", summary="Verdicts over whole models and the session", responses=Problems)
    def gates(run_id: str, limit: Limit = PAGE, offset: Offset = 0) -> Page[Gate]:
        return page_of([Gate.of(gate) for gate in reports.report(reports.row(run_id)).gates], limit, offset)

    @app.get("/comparisons", summary="Two runs against each other", responses=Problems)
    def comparisons(base: str, candidate: str, limit: Limit = PAGE, offset: Offset = 0) -> Comparison:
        found = reports.compare(reports.row(base), reports.row(candidate))
        return found.model_copy(update={"cells": page_of(found.cells.items, limit, offset)})


def _cells(report: SessionReport, model: str, verdict: str) -> list[CellSummary]:
    return [cell for cell in report.cells if model in ("", cell.model) and verdict in ("", cell.verdict)]
