"""What the results API answers, as typed models: FastAPI makes the OpenAPI page of them. Numbers are SI; null where there is none."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, Field

from ..dashboard.source import RunRow
from ..engine.comparisons.runs_comparison import ComparedCell, RunsComparison
from ..engine.reports.report import CellSummary, ModelSummary, SessionReport
from ..records import BudgetResult, CheckResult, ComparisonResult, GateRecord, Missing

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A part of a list."""

    total: int = Field(description="items in the whole list")
    offset: int = Field(description="items left out before the first one")
    limit: int = Field(description="most items in a page")
    items: list[T]


class Health(BaseModel):
    """That the API answers, and whether it can read its runs."""

    status: str = Field(description="ok, or unhealthy with HTTP status 503")
    version: str = Field(description="of pytest-llmci")
    runs: int | None = Field(description="null where they cannot be read")
    newest: str | None = Field(description="id of the newest run")
    reason: str = Field(default="", description="why they cannot be read")


class Run(BaseModel):
    """A run in the list."""

    id: str
    started: str = Field(description="UTC, ISO 8601")
    state: str = Field(description="passed, failed, stopped, killed or running")
    commit: str
    models: list[str]
    medians: dict[str, dict[str, float]] = Field(description="alias of a model -> metric -> its median")

    @classmethod
    def of(cls, row: RunRow) -> Run:
        medians = {alias: dict(numbers) for alias, numbers in row.metrics.items()}
        return cls(
            id=row.id, started=row.started, state=row.state, commit=row.commit, models=list(row.models), medians=medians
        )


class Model(BaseModel):
    """A model of a run."""

    alias: str
    spec: str
    cells: int
    valid_cells: int = Field(description="whose output passed every check")
    failed_cells: int
    rounds: int
    noisy_rounds: int
    process_deaths: int
    statistics: dict[str, dict[str, float]] = Field(description="metric -> statistic -> number")

    @classmethod
    def of(cls, model: ModelSummary) -> Model:
        return cls(
            alias=model.alias, spec=model.spec, cells=len(model.cells), valid_cells=model.valid_cells, failed_cells=model.failed_cells,
            rounds=model.rounds, noisy_rounds=model.noisy_rounds, process_deaths=model.deaths, statistics=model.statistics,
        )  # fmt: skip


class Gate(BaseModel):
    """A verdict over a whole model or session."""

    name: str
    outcome: str
    message: str
    model: str

    @classmethod
    def of(cls, gate: GateRecord) -> Gate:
        return cls(name=gate.name, outcome=gate.outcome, message=gate.message, model=gate.model)


class RunDetails(Run):
    """A run, its models and gates."""

    verdict: str = Field(description="one line")
    digest: str = Field(description="of the last line of its log")
    lines: int
    provenance: str
    results: list[Model]
    gates: list[Gate]

    @classmethod
    def made(cls, row: RunRow, report: SessionReport, verdict: str) -> RunDetails:
        return cls(
            **Run.of(row).model_dump(), verdict=verdict, digest=report.digest, lines=report.lines, provenance=report.provenance,
            results=[Model.of(model) for model in report.models], gates=[Gate.of(gate) for gate in report.gates],
        )  # fmt: skip


class Statistic(BaseModel):
    """A metric of a cell."""

    n: int
    median: float | None
    reason: str = Field(description="why there is no number")


class Cell(BaseModel):
    """One model with one prompt, as one test measured it."""

    id: str
    model: str
    prompt_id: str
    test: str
    verdict: str | None
    rounds: int
    noisy_rounds: int
    provenance: str
    error: str | None
    prompt: str
    outputs: list[str] = Field(description="distinct answers")
    metrics: dict[str, Statistic]

    @classmethod
    def of(cls, cell: CellSummary, metrics: list[str]) -> Cell:
        found = {}
        for name in metrics:
            summary = cell.summary(name)
            median = summary.median
            missing = isinstance(median, Missing)
            found[name] = Statistic(
                n=summary.n,
                median=None if missing else float(median),
                reason=median.reason if isinstance(median, Missing) else "",
            )
        return cls(
            id=cell.id, model=cell.model, prompt_id=cell.prompt_id, test=cell.test, verdict=cell.verdict, rounds=cell.rounds,
            noisy_rounds=cell.noisy_rounds, provenance=cell.provenance, error=cell.error.message if cell.error else None,
            prompt=cell.prompt, outputs=[output.text for output in cell.outputs], metrics=found,
        )  # fmt: skip


class Check(BaseModel):
    """One check of a cell's output."""

    name: str
    passed: bool
    message: str

    @classmethod
    def of(cls, check: CheckResult) -> Check:
        return cls(name=check.name, passed=check.passed, message=check.message)


class Budget(BaseModel):
    """One budget of a cell."""

    budget: str
    metric: str
    limit: float
    observed: float | None
    verdict: str
    reason: str

    @classmethod
    def of(cls, budget: BudgetResult) -> Budget:
        return cls(
            budget=budget.budget, metric=budget.metric, limit=budget.limit, observed=budget.observed, verdict=budget.verdict,
            reason=budget.reason,
        )  # fmt: skip


class Compared(BaseModel):
    """One metric against what it is compared with; changes are relative, 0.05 is 5 %."""

    metric: str
    verdict: str
    against: str
    base: float | None
    candidate: float | None
    change: float | None
    low: float | None
    high: float | None
    accepted: str
    reason: str

    @classmethod
    def of(cls, result: ComparisonResult) -> Compared:
        return cls(
            metric=result.metric, verdict=result.verdict, against=result.against, base=result.base, candidate=result.candidate,
            change=result.change, low=result.low, high=result.high, accepted=result.accepted, reason=result.reason,
        )  # fmt: skip


class CellVerdict(BaseModel):
    """What was judged of a cell."""

    cell: str
    model: str
    test: str
    verdict: str | None
    checks: list[Check]
    budgets: list[Budget]
    comparisons: list[Compared]

    @classmethod
    def of(cls, cell: CellSummary) -> CellVerdict:
        return cls(
            cell=cell.id, model=cell.model, test=cell.test, verdict=cell.verdict, checks=[Check.of(each) for each in cell.checks],
            budgets=[Budget.of(each) for each in cell.budgets], comparisons=[Compared.of(each) for each in cell.comparisons],
        )  # fmt: skip


class ComparedPair(BaseModel):
    """One cell of two runs."""

    cell: str
    model: str
    prompt_id: str
    verdict: str
    outputs_changed: bool | None
    results: list[Compared]

    @classmethod
    def of(cls, cell: ComparedCell) -> ComparedPair:
        return cls(
            cell=cell.id, model=cell.model, prompt_id=cell.prompt_id, verdict=cell.verdict, outputs_changed=cell.outputs_changed,
            results=[Compared.of(each) for each in cell.results],
        )  # fmt: skip


class Comparison(BaseModel):
    """Two runs, as ``llmci compare`` judges them."""

    base: str
    candidate: str
    verdict: str
    headline: str
    counts: dict[str, int] = Field(description="verdict -> cells")
    changed: list[str] = Field(description="what differs in what was on trial")
    hardware: list[str]
    notes: list[str]
    models: dict[str, list[Compared]] = Field(description="alias -> metrics of the model as a whole")
    cells: Page[ComparedPair]

    @classmethod
    def of(cls, found: RunsComparison, headline: str, cells: Page[ComparedPair]) -> Comparison:
        models: dict[str, list[Compared]] = {}
        for alias, result in found.models:
            models.setdefault(alias, []).append(Compared.of(result))
        return cls(
            base=found.base[-1].run_id, candidate=found.candidate.run_id, verdict=found.verdict, headline=headline, counts=found.counts,
            changed=list(found.changed), hardware=list(found.hardware), notes=list(found.notes), models=models, cells=cells,
        )  # fmt: skip


class Problem(BaseModel):
    """Why there is no answer (application/problem+json, RFC 9457)."""

    title: str = Field(description="what the status means")
    status: int
    detail: str = Field(description="one line")
