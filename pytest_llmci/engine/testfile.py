"""From a test file to planned cells: what its values mean to this session. Each fault has its place in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..errors import ConfigError
from ..matrix import check_prompt_ids, expand
from ..prompts import load_prompts
from ..records import Cell, ModelSpec, Prompt
from ..slugs import slug
from ..stats.budget_expression import Budget
from ..testfiles.nodes import Faults, Place
from ..testfiles.read import FileTest, InlinePrompt, Mark, Text, decoded, read_tests
from .marker_values import MarkerValues
from .planner import Planner
from .schedule import CellPlan

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTest:
    """A test of a file, and its cells in this session."""

    name: str
    line: int
    cells: tuple[tuple[Cell, CellPlan], ...]
    budgets: tuple[Budget, ...] = ()
    marks: tuple[Mark, ...] = ()
    missing: str = ""
    """What the session does not say and the file leaves to it, so that there are no cells: models or prompts."""


def read_file(
    path: Path, file: str, planner: Planner, faults: Faults, *, make_id: Callable[[str], str] = slug
) -> tuple[PlannedTest, ...]:
    """The tests of a file; none of them counts where ``faults`` says something afterwards.

    :param file: its name, for places and ids.
    :param make_id: makes of the text of a prompt without an id one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        faults.add(Place(file=file, line=1, column=1), f"cannot be read: {error.strerror or error}.")
        return ()
    text = decoded(content, file, faults)
    tests = read_tests(text, file, faults, folder=path.parent, make_id=make_id) if text is not None else ()
    reader = _Planned(planner, path, faults, make_id)
    return tuple(reader.test(test) for test in tests)


def prompts_of_file(path: Path, file: str, where: str, *, make_id: Callable[[str], str] = slug) -> tuple[Prompt, ...]:
    """Every prompt that the tests of a file ask, those of sets and files that it names among them.

    :param file: its name, as the prompts' source has it.
    :param where: what asks for it, for messages.
    :raises ConfigError: if the file cannot be read; one line.
    """
    faults = Faults()
    text = decoded(path.read_bytes(), file, faults)
    tests = read_tests(text, file, faults, folder=path.parent, make_id=make_id) if text is not None else ()
    if faults:
        raise ConfigError(f"{where}: {faults.lines()[0]}")
    found: list[Prompt] = []
    for entry in (entry for test in tests for entry in test.prompts or ()):
        if isinstance(entry, InlinePrompt):
            found.append(entry.prompt)
        else:
            found += load_prompts(entry.text, where, path.parent, make_id=make_id)
    return tuple(dict.fromkeys(found))


class _Planned:
    def __init__(self, planner: Planner, path: Path, faults: Faults, make_id: Callable[[str], str]) -> None:
        self._planner = planner
        self._path = path
        self._faults = faults
        self._make_id = make_id

    def test(self, test: FileTest) -> PlannedTest:
        models, prompts = self._models(test), self._prompts(test)
        for check in test.checks or ():
            self._try(check.place, self._planner.known_check, check.text, str(check.place))
        budgets = self._budgets(test)
        planned = PlannedTest(name=test.name, line=test.place.line, cells=(), budgets=budgets, marks=test.marks)
        if self._faults:
            return planned
        if missing := _missing(test, models, prompts):
            return replace(planned, missing=missing)
        cells = self._try(test.place_of("models", "prompts"), expand, models, prompts) or ()
        return replace(planned, cells=tuple(self._plans(test, cells, budgets)))

    def _try(self, place: Place, read: Callable[..., T], *arguments: object) -> T | None:
        """What could be read; else nothing, and a fault there."""
        try:
            return read(*arguments)
        except ConfigError as error:
            self._faults.add(place, str(error).removeprefix("marker llmci: "))
            return None

    def _models(self, test: FileTest) -> tuple[ModelSpec, ...]:
        if test.models is None:
            return self._planner.specs
        found: dict[str, ModelSpec] = {}
        for named in test.models:
            for spec in (
                self._try(named.place, self._planner.model, named.text, str(named.place), self._path.parent) or ()
            ):
                if found.setdefault(spec.alias, spec) is not spec:
                    self._faults.add(
                        named.place, f"a model called '{spec.alias}' is listed already; name it: other={named.text}."
                    )
        return tuple(found.values())

    def _prompts(self, test: FileTest) -> tuple[Prompt, ...]:
        if test.prompts is None:
            return self._planner.prompts
        found: list[Prompt] = []
        for entry in test.prompts:
            if isinstance(entry, InlinePrompt):
                found.append(entry.prompt)
                self._check_row(test, entry.prompt, entry.checks, entry.place)
            else:
                rows = self._try(entry.place, self._named, entry) or ()
                found += rows
                for row in rows:
                    self._check_row(
                        test, row, [Text(text=check, place=entry.place) for check in row.checks], entry.place
                    )
        if not self._faults:  # two rows of the file itself are told of with their own places
            self._try(test.place_of("prompts"), check_prompt_ids, found)
        return tuple(found)

    def _named(self, entry: Text) -> tuple[Prompt, ...]:
        return load_prompts(entry.text, str(entry.place), self._path.parent, make_id=self._make_id)

    def _check_row(self, test: FileTest, row: Prompt, checks: Iterable[Text], place: Place) -> None:
        if row.checks and test.checks == ():
            self._faults.add(
                place,
                f"the prompt '{row.id}' has checks, and checks: [] switches all of them off; take one of the two away.",
            )
        for check in checks:
            self._try(check.place, self._planner.known_check, check.text, str(check.place))

    def _budgets(self, test: FileTest) -> tuple[Budget, ...]:
        found: dict[str, Budget] = {}
        for number, written in enumerate(test.budgets):
            budget = self._try(written.place, self._planner.read_budget, written.text, str(written.place))
            if budget is None:
                continue
            if number >= test.excused and test.values.get("timed") is False and not budget.metric.deterministic:
                self._faults.add(
                    written.place,
                    f"'{budget.text}' can never be judged: with timed: false no time is measured; take one of the two away.",
                )
            found.setdefault(budget.text, replace(budget, origin=f"{written.place.file}:{written.place.line}"))
        return tuple(found.values())

    def _plans(
        self, test: FileTest, cells: Iterable[Cell], budgets: Sequence[Budget]
    ) -> Iterable[tuple[Cell, CellPlan]]:
        inline = {id(entry.prompt) for entry in test.prompts or () if isinstance(entry, InlinePrompt)}
        checks = None if test.checks is None else tuple(check.text for check in test.checks)
        place = test.place_of("load", "budgets", "max_rounds", "rounds")
        for cell in cells:
            row = cell.prompt
            values = MarkerValues(**test.values, checks=(*checks, *row.checks) if checks else checks)
            if id(row) in inline and row.max_new_tokens:
                values = replace(values, max_new_tokens=row.max_new_tokens)
            if self._try(test.place_of("checks", "prompts"), self._planner.checks, values, row, cell.id) is None:
                continue
            plan = self._try(place, self._planner.test_plan, cell, values, budgets)
            if plan is not None:
                yield cell, plan


def _missing(test: FileTest, models: Sequence[ModelSpec], prompts: Sequence[Prompt]) -> str:
    where = f"{test.place.file}::{test.name}"
    if not models:
        return f"{where}: no model: give --llm-models=SPEC, llmci_models in the settings, or the key 'models'."
    if not prompts:
        return (
            f"{where}: no prompts: give --llm-prompts=NAME|FILE, llmci_prompts in the settings, or the key 'prompts'."
        )
    return ""
