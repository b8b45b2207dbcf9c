"""promptfoo's tests: variables and assertions, from the configuration itself and the files that it names."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ...delimited import read_lines
from ...errors import ConfigError
from ..nodes import Place, Value
from .assertions import ASSERTIONS
from .report import NotTranslated, Report
from .sources import PREFIX, Sources

OPTIONS: Final = ("prefix", "suffix", "disableVarExpansion", "disableDefaultAsserts")
FOR_JUDGES: Final = ("provider", "rubricPrompt", "factuality")
"""Options that only assertions heed which are not translated anyway."""
TEXT_FILES: Final = (".txt", ".md", ".json")
MOST_COMBINATIONS: Final = 10_000
_EXPECTED: Final = re.compile(r"(not-)?([a-z][a-z:-]*?)(?:\((\d+(?:\.\d+)?)\))?(?::(.*))?\Z", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assertion:
    """One assertion, its variables not yet filled in."""

    kind: str
    place: Place
    value: Any = None
    threshold: float | None = None
    hindrance: str = ""
    """Why it cannot be translated, whatever its type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One test."""

    place: Place
    description: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    assertions: tuple[Assertion, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    hindrance: str = ""
    """Why none of its assertions can be translated."""
    left_out: str = ""
    """Why it cannot be translated at all."""

    def over(self, default: Case) -> Case:
        """With what holds for all tests where this one says nothing."""
        assertions = self.assertions
        if not self.options.get("disableDefaultAsserts", default.options.get("disableDefaultAsserts")):
            assertions = (*default.assertions, *self.assertions)
        return replace(
            self, values={**default.values, **self.values}, assertions=assertions, options={**default.options, **self.options},
            hindrance=self.hindrance or default.hindrance, left_out=self.left_out or default.left_out,
        )  # fmt: skip

    def combinations(self) -> Iterator[Case]:
        """A case for each combination of variables that hold lists."""
        lists = {name: value for name, value in self.values.items() if isinstance(value, list)}
        if not lists or self.options.get("disableVarExpansion"):
            yield self
            return
        if math.prod(map(len, lists.values())) > MOST_COMBINATIONS:
            yield replace(self, left_out=f"its variables make more than {MOST_COMBINATIONS} combinations")
            return
        for chosen in itertools.product(*lists.values()):
            yield replace(self, values={**self.values, **dict(zip(lists, chosen, strict=True))})


class CaseReader:
    """Reads tests; what it cannot take along is in the report."""

    def __init__(self, sources: Sources, report: Report, templates: Mapping[str, Value]) -> None:
        """:param templates: promptfoo's ``assertionTemplates``."""
        self._sources = sources
        self._report = report
        self._templates = templates

    def cases(self, value: Value) -> Iterator[Case]:
        """All tests that ``tests`` holds or names."""
        for entry in value.entries():
            if entry.is_mapping:
                yield self.case(entry)
                continue
            try:
                yield from self._of_reference(str(entry.plain))
            except NotTranslated as error:
                self._report.leave(entry.place, str(error))

    def default(self, value: Value) -> Case:
        """``defaultTest``: a test, or a file with one."""
        if value.is_mapping:
            return self.case(value)
        try:
            for path in self._sources.paths(str(value.plain)):
                for top in self._sources.nodes(path):
                    if top.is_mapping:
                        return self.case(top)
            raise NotTranslated(f"{value.plain}: it holds no test")
        except NotTranslated as error:
            self._report.leave(value.place, str(error))
            return Case(place=value.place)

    def scenarios(self, value: Value) -> Iterator[Case]:
        """The tests of each scenario with each of its data."""
        for entry in value.entries():
            keys = {name: part for name, (_, part) in entry.items().items()} if entry.is_mapping else {}
            if "config" not in keys or "tests" not in keys:
                self._report.leave(entry.place, "a scenario without 'config' and 'tests' in place")
                continue
            for data in self.cases(keys["config"]):
                yield from (test.over(data) for test in self.cases(keys["tests"]))

    def _of_reference(self, reference: str) -> Iterator[Case]:
        if reference.startswith(("huggingface://", "http://", "https://", "az://")):
            raise NotTranslated(f"{reference}: tests from a network")
        for path in self._sources.paths(reference):
            if path.suffix == ".csv":
                yield from self._of_table(path)
            elif path.suffix in (".yaml", ".yml", ".json", ".jsonl"):
                for top in self._sources.nodes(path):
                    yield from self.cases(top)
            else:
                raise NotTranslated(f"{reference}: tests of '{path.suffix}' files are not read")

    # ------------------------------------------------------------------------------------------------------- one test

    def case(self, value: Value) -> Case:
        """One test."""
        found = Case(place=value.place)
        for name, (place, part) in value.items().items():
            if name == "vars":
                found = self._with_values(found, part)
            elif name == "assert":
                found = replace(found, assertions=tuple(self._assertions(part)))
            elif name == "options" and part.is_mapping:
                found = self._with_options(found, part)
            elif name == "description":
                found = replace(found, description=str(part.plain))
            elif name == "threshold":
                found = replace(found, hindrance=_threshold(part.plain))
            elif name in ("provider", "providers", "prompts"):
                found = replace(
                    found, left_out=f"it is for some {'prompts' if name == 'prompts' else 'models'} only ('{name}')"
                )
            elif name == "providerOutput":
                found = replace(found, left_out="it judges an answer of old ('providerOutput')")
            elif name not in ("metadata", "assertScoringFunction"):
                self._report.leave(place, f"'{name}' of a test has no counterpart")
            elif name == "assertScoringFunction":
                found = replace(found, hindrance="the test decides by a function of its own ('assertScoringFunction')")
        return found

    def _with_values(self, case: Case, part: Value) -> Case:
        if not part.is_mapping:
            return replace(case, left_out=f"its variables are in {part.plain}, which is not read")
        values = {}
        for name, (_, value) in part.items().items():
            try:
                values[name] = self._variable(value.plain)
            except NotTranslated as error:
                case = replace(case, left_out=f"variable '{name}': {error}")
        return replace(case, values=values)

    def _variable(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._variable(each) for each in value]
        if not isinstance(value, str) or not value.startswith(PREFIX):
            return value
        texts = []
        for path in self._sources.paths(value):
            if path.suffix.lower() not in TEXT_FILES:
                raise NotTranslated(f"{value}: values of '{path.suffix}' files are not read")
            texts.append(self._sources.text(path).strip())
        return texts[0] if len(texts) == 1 else texts

    def _with_options(self, case: Case, part: Value) -> Case:
        options = dict(case.options)
        for name, (place, value) in part.items().items():
            if name in OPTIONS:
                options[name] = value.plain
            elif name in ("transform", "postprocess"):
                case = replace(case, hindrance=f"what is judged is not the answer but what '{name}' makes of it")
            elif name not in FOR_JUDGES:
                self._report.leave(place, f"'{name}' of a test's options has no counterpart")
        return replace(case, options=options)

    # ----------------------------------------------------------------------------------------------------- assertions

    def _assertions(self, value: Value) -> Iterator[Assertion]:
        for entry in value.entries():
            try:
                yield from self._assertion(entry)
            except NotTranslated as error:
                self._report.leave(entry.place, str(error))

    def _assertion(self, entry: Value) -> Iterator[Assertion]:
        if not entry.is_mapping:
            raise NotTranslated(f"an assertion must be a mapping with 'type', found {entry.kind}")
        keys = {name: value for name, (_, value) in entry.items().items()}
        if "$ref" in keys:
            name = str(keys["$ref"].plain).rpartition("/")[2]
            if name not in self._templates:
                raise NotTranslated(f"there is no assertion template '{name}'")
            yield from self._assertion(self._templates[name])
            return
        kind = str(keys["type"].plain) if "type" in keys else ""
        if kind == "assert-set":
            reason = _threshold(keys["threshold"].plain) if "threshold" in keys else ""
            if reason or "assert" not in keys:
                raise NotTranslated(f"assert-set: {reason or 'it holds no assertions'}")
            yield from self._assertions(keys["assert"])
            return
        threshold = keys["threshold"].plain if "threshold" in keys else None
        value, hindrance = self._value(keys["value"].plain) if "value" in keys else (None, "")
        if "weight" in keys and keys["weight"].plain == 0:
            hindrance = "its weight is 0, so nothing can fail"
        elif "transform" in keys:
            hindrance = "what is judged is not the answer but what 'transform' makes of it"
        elif isinstance(threshold, bool) or not isinstance(threshold, (int, float, type(None))):
            hindrance = "its threshold is no number"
        known = threshold if isinstance(threshold, (int, float)) else None
        yield Assertion(kind=kind, place=entry.place, value=value, threshold=known, hindrance=hindrance)

    def _value(self, value: Any) -> tuple[Any, str]:
        """The value, from its file where it names one, and why there is none."""
        if not isinstance(value, str) or not value.startswith(PREFIX):
            return value, ""
        try:
            (path,) = self._sources.paths(value)[:1]
            if path.suffix in (".json", ".yaml", ".yml"):
                return next(iter(self._sources.nodes(path))).plain, ""
            return self._sources.text(path).strip(), ""
        except (NotTranslated, ConfigError) as error:
            return None, str(error)

    # ---------------------------------------------------------------------------------------------------------- tables

    def _of_table(self, path: Path) -> Iterator[Case]:
        shown = self._sources.shown(path)
        lines = read_lines(self._sources.text(path), shown)
        if not lines:
            raise NotTranslated(f"{shown}: it is empty")
        header = [cell.strip() for cell in lines[0].cells]
        for line in lines[1:]:
            place = Place(file=shown, line=line.number, column=1)
            yield self._of_row(dict(zip(header, line.cells, strict=False)), place)

    def _of_row(self, row: Mapping[str, str], place: Place) -> Case:
        case = Case(place=place)
        options: dict[str, Any] = {}
        values: dict[str, Any] = {}
        assertions: list[Assertion] = []
        for name, cell in row.items():
            if name.startswith("__expected"):
                if cell.strip():
                    assertions.append(expected(cell, replace(place, key=name)))
            elif name in ("__prefix", "__suffix"):
                options[name.removeprefix("__")] = cell
            elif name == "__description":
                case = replace(case, description=cell)
            elif name == "__threshold" and cell.strip():
                case = replace(case, hindrance=_threshold(_number(cell)))
            elif name == "__providerOutput" and cell:
                case = replace(case, left_out="it judges an answer of old ('__providerOutput')")
            elif name.startswith("__config") and cell.strip():
                self._report.leave(replace(place, key=name), "a threshold in a column of its own is not read")
            elif not name.startswith("__"):
                values[name] = cell
        return replace(case, values=values, options=options, assertions=tuple(assertions))


def expected(text: str, place: Place) -> Assertion:
    """The assertion that a cell of a table writes: ``contains: Paris``, ``latency(2000)``; else the whole cell has to be the answer."""
    for prefixes, kind in (
        (("javascript:", "fn:", "eval:"), "javascript"),
        (("grade:",), "llm-rubric"),
        (("python:", PREFIX), "python"),
    ):
        if text.startswith(prefixes):
            return Assertion(kind=kind, place=place)
    found = _EXPECTED.match(text)
    if found is None or found[2] not in ASSERTIONS:
        return Assertion(kind="equals", place=place, value=text)
    negation, kind, threshold, value = found.groups()
    return Assertion(
        kind=f"{negation or ''}{kind}", place=place, value=value.strip() if value is not None else None,
        threshold=float(threshold) if threshold else None,
    )  # fmt: skip


def _threshold(value: Any) -> str:
    """Why a share of assertions that is enough cannot be translated; empty where all have to pass."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1:
        return ""
    return f"a part of its assertions is enough ('threshold: {value}'); here each has to pass"


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
