"""The whole translation: a configuration becomes one test file, or one for each way of decoding that its providers have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ... import checks
from ...check_texts import check_text
from ...checks import parse_check
from ...errors import ConfigError, MissingExtraError
from ...registry import Registry
from ...slugs import slug
from ...text import one_line, plain
from ..nodes import Faults, Place, Value, read_nodes
from ..read import read_tests
from .assertions import Asked, counterpart, difference, translate
from .cases import Assertion, Case, CaseReader
from .prompts import Template, read_prompts
from .providers import Decoding, Provider, groups, read_providers, talks
from .render import as_text, render
from .report import NotTranslated, Report, in_order
from .sources import Sources

READ: Final = ("prompts", "providers", "targets", "tests", "scenarios", "defaultTest", "evaluateOptions")
NO_MEANING: Final = ("description", "tags", "$schema", "assertionTemplates", "metadata")
"""Keys without which the tests are the same."""
RUNNING: Final = "it is about how promptfoo runs"
WHY: Final[Mapping[str, str]] = {
    "redteam": "attacks on a model are not generated here",
    "nunjucksFilters": "only {{name}} is filled in",
    "derivedMetrics": "there are no metrics of assertions",
    "env": "the environment is yours to set",
    "extensions": "they are code; conftest.py holds such code",
    "tracing": "traces are not recorded",
    "outputPath": "each run has its folder in llmci-results",
    "sharing": "nothing is sent anywhere",
    "commandLineOptions": RUNNING, "writeLatestResults": RUNNING,
}  # fmt: skip
"""Key of a configuration -> why it is not translated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """What came of it."""

    files: Mapping[str, str]
    """Name -> text."""
    tests: int
    rows: int
    checks: int
    models: int
    left: tuple[str, ...]
    """What was not translated, with place and reason."""
    differs: tuple[str, ...]
    """What was, and does not mean quite the same."""


def convert(path: Path, shown: str, *, judge: str = "", embedding: str = "") -> Converted:
    """Translate a configuration.

    :param shown: its name, for places.
    :param judge: spec of the model that is to judge where a model was to; without one that is not translated.
    :param embedding: model of word vectors, likewise.
    :raises ConfigError: if it cannot be read, or nothing in it can be translated.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: is not UTF-8, as a configuration of promptfoo must be.") from error
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise ConfigError(f"{shown}: only configurations in YAML and JSON are read; one in JavaScript is code.")
    return _Conversion(path, shown, judge, embedding).convert(text)


class _Conversion:
    def __init__(self, path: Path, shown: str, judge: str, embedding: str) -> None:
        self._judge, self._embedding = judge, embedding
        self._path = path
        self._repeat = 1
        self._shown = shown
        self._report = Report()
        self._sources = Sources(path.parent)
        self._as_message = False
        """Whether a plain text is a message: where all models are behind servers and get it so."""
        self._registry = Registry()
        checks.register(self._registry)

    def convert(self, text: str) -> Converted:
        keys = self._keys(text)
        prompts = read_prompts(keys["prompts"], self._sources, self._report)
        providers = [
            each
            for name in ("providers", "targets")
            if name in keys
            for each in read_providers(keys[name], self._report)
        ]
        chatting = [keys[name].place for name in ("providers", "targets") if name in keys and talks(keys[name])]
        self._as_message = bool(chatting) and not providers
        if chatting and providers and any(prompt.text is not None for prompt in prompts):
            self._report.note(
                chatting[0],
                "chat models behind a server get a plain text as a user's message; here it goes to the model raw",
            )
        tests = self._tests(prompts, self._cases(keys))
        if self._sources.faults:
            raise ConfigError(self._sources.faults.lines()[0])
        if not tests:
            first = next(iter(in_order(self._report.left, self._shown)), "it holds no prompts")
            raise ConfigError(
                f"{self._shown}: nothing in it can be translated, so nothing was written; the first reason: {one_line(first)}."
            )
        files = self._files(tests, providers)
        rows = [row for test in tests.values() for row in test]
        return Converted(
            files=files, tests=len(tests), rows=len(rows), checks=sum(len(row.get("checks", ())) for row in rows), models=len(providers),
            left=tuple(map(one_line, in_order(self._report.left, self._shown))),
            differs=tuple(map(one_line, in_order(self._report.differs, self._shown))),
        )  # fmt: skip

    def _keys(self, text: str) -> dict[str, Value]:
        faults = Faults()
        top = read_nodes(text, self._shown, faults)
        if top is None:
            raise ConfigError(faults.lines()[0])
        found = top.items() if top.is_mapping else {}
        if faults:
            raise ConfigError(faults.lines()[0])
        if "prompts" not in found:
            raise ConfigError(f"{self._shown}: no configuration of promptfoo: it has no key 'prompts'.")
        for name, (place, _) in found.items():
            if name not in READ and name not in NO_MEANING:
                self._report.leave(place, WHY.get(name, "this key is not known"))
        if "evaluateOptions" in found:
            self._options(*found["evaluateOptions"])
        return {name: value for name, (_, value) in found.items()}

    def _options(self, place: Place, value: Value) -> None:
        if not value.is_mapping:
            self._report.leave(place, RUNNING)
            return
        for name, (at, each) in value.items().items():
            if name != "repeat":
                self._report.leave(at, RUNNING)
            elif isinstance(each.plain, int) and not isinstance(each.plain, bool) and each.plain >= 1:
                self._repeat = each.plain
            else:
                self._report.leave(at, "it is no whole number from 1")

    def _cases(self, keys: Mapping[str, Value]) -> list[Case]:
        templates = keys.get("assertionTemplates")
        known = (
            {name: value for name, (_, value) in templates.items().items()}
            if templates is not None and templates.is_mapping
            else {}
        )
        reader = CaseReader(self._sources, self._report, known)
        default = reader.default(keys["defaultTest"]) if "defaultTest" in keys else Case(place=keys["prompts"].place)
        cases = list(reader.cases(keys["tests"])) if "tests" in keys else []
        cases += reader.scenarios(keys["scenarios"]) if "scenarios" in keys else []
        cases = cases or ([] if {"tests", "scenarios"} & keys.keys() else [default])
        found = [case.over(default) if case is not default else case for case in cases]
        return [each for case in found for each in case.combinations()]

    # ----------------------------------------------------------------------------------------------------------- tests

    def _tests(self, prompts: Sequence[Template], cases: Sequence[Case]) -> dict[str, list[dict[str, Any]]]:
        """Name of a prompt -> its rows, one a case."""
        translated = [(case, self._checks(case)) for case in cases if self._can_be_left_in(case)]
        ids = _ids([case for case, _ in translated])
        found: dict[str, list[dict[str, Any]]] = {}
        for prompt in prompts:
            rows = [
                row
                for (case, texts), name in zip(translated, ids, strict=True)
                if (row := self._row(prompt, case, name, texts)) is not None
            ]
            if rows:
                found[prompt.name] = rows
        return found

    def _can_be_left_in(self, case: Case) -> bool:
        if case.left_out:
            self._report.leave(case.place, case.left_out)
        return not case.left_out

    def _row(self, prompt: Template, case: Case, name: str, texts: Sequence[str]) -> dict[str, Any] | None:
        missing: set[str] = set()
        prefix, suffix = (as_text(case.options.get(key)) for key in ("prefix", "suffix"))
        try:
            content = prompt.filled(case.values, prefix, suffix, missing)
        except NotTranslated as error:
            self._report.leave(prompt.place, str(error))
            return None
        if missing:
            self._report.note(
                case.place, f"the prompt names {_listed(missing)}, which has no value here and so becomes nothing"
            )
        if self._as_message and "prompt" in content:
            content = {"messages": [{"role": "user", "content": content["prompt"]}]}
        return {"id": name, **content, **({"checks": [_form(text) for text in texts]} if texts else {})}

    def _checks(self, case: Case) -> list[str]:
        found: list[str] = []
        for assertion in case.assertions:
            try:
                found += self._of_assertion(assertion, case)
            except NotTranslated as error:
                self._report.leave(assertion.place, str(error))
        return list(dict.fromkeys(found))

    def _of_assertion(self, assertion: Assertion, case: Case) -> list[str]:
        counterpart(assertion.kind)  # first of all: a type without one is the plainest reason
        if reason := assertion.hindrance or case.hindrance:
            raise NotTranslated(f"{assertion.kind}: {reason}")
        try:
            value = _filled(assertion.value, lambda text: render(text, case.values))
        except NotTranslated as error:
            raise NotTranslated(f"{assertion.kind}: {error}") from error
        texts = translate(
            assertion.kind,
            Asked(value=value, threshold=assertion.threshold, judge=self._judge, embedding=self._embedding),
        )
        for text in texts:
            try:
                parse_check(text, self._registry, assertion.kind)
            except MissingExtraError:
                self._report.note(
                    assertion.place, f"{assertion.kind}: its check needs pip install 'pytest-llmci[checks]'"
                )
            except ConfigError as error:
                raise NotTranslated(str(error).rstrip(".")) from error
        if differs := difference(assertion.kind):
            self._report.note(assertion.place, f"{assertion.kind}: {differs}")
        return texts

    # ----------------------------------------------------------------------------------------------------------- files

    def _files(self, tests: Mapping[str, list[dict[str, Any]]], providers: list[Provider]) -> dict[str, str]:
        shared = _shared_checks(tests)
        by_decoding = groups(providers) or {Decoding(): []}
        base = f"test_{_stem(self._path)}"
        found = {}
        for decoding, members in by_decoding.items():
            more = f"_{slug(_alias(members[0].spec)).replace('-', '_')}" if len(by_decoding) > 1 else ""
            name = f"{base}{more}.llm.yaml"
            while name in found:
                name = name.replace(".llm.yaml", "_.llm.yaml")
            found[name] = self._head() + _dumped(
                _document(tests, shared, decoding, [each.spec for each in members], self._repeat)
            )
            faults = Faults()
            read_tests(found[name], name, faults)
            if faults:
                raise ConfigError(f"{self._shown}: what it becomes would not load: {faults.lines()[0]}")
        return found

    def _head(self) -> str:
        lines = [f'Converted from {self._shown} by "llmci init --from"; yours to edit. docs/yaml-tests.md']
        for title, found in (("Not translated:", self._report.left), ("Not quite the same:", self._report.differs)):
            if found:
                lines += [title, *(f"  {plain(one_line(text))}" for text in in_order(found, self._shown))]
        return "".join(f"# {line}\n" for line in lines)


def _document(
    tests: Mapping[str, list[dict[str, Any]]],
    shared: Sequence[Any],
    decoding: Decoding,
    models: Sequence[str],
    repeat: int,
) -> dict[str, Any]:
    """A test file as a mapping."""
    rows = {name: [_without(row, shared) for row in listed] for name, listed in tests.items()}
    settings = {
        key: getattr(decoding, key)
        for key in ("max_new_tokens", "temperature", "seed")
        if getattr(decoding, key) is not None
    }
    if repeat > 1:  # each answer has to pass: of those that vary in samples of their own, with a seed each
        settings |= {"samples": repeat, "min_pass_rate": 1} if decoding.temperature else {"rounds": repeat}
    top: dict[str, Any] = {
        **({"models": list(models)} if models else {}),
        **settings,
        **({"checks": list(shared)} if shared else {}),
    }
    if len(rows) == 1:
        ((name, only),) = rows.items()
        return {"name": name, **top, "prompts": only}
    return {**top, "tests": [{"name": name, "prompts": listed} for name, listed in rows.items()]}


def _shared_checks(tests: Mapping[str, list[dict[str, Any]]]) -> list[Any]:
    """Checks that every row has, in the order of the first."""
    rows = [row.get("checks", []) for listed in tests.values() for row in listed]
    return [check for check in rows[0] if all(check in row for row in rows)] if len(rows) > 1 else []


def _without(row: Mapping[str, Any], shared: Sequence[Any]) -> dict[str, Any]:
    kept = [check for check in row.get("checks", ()) if check not in shared]
    return {**{key: value for key, value in row.items() if key != "checks"}, **({"checks": kept} if kept else {})}


def _form(text: str) -> object:
    """A check as people read it best: with an argument that is JSON as a mapping."""
    name, _, argument = text.partition(":")
    if not argument.startswith(("{", "[")):
        return text
    try:
        form = {name: json.loads(argument)}
        return form if check_text(form, name) == text else text
    except (ValueError, ConfigError):
        return text


def _filled(value: Any, fill: Callable[[str], str]) -> Any:
    """A value with each text in it filled in."""
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, list):
        return [_filled(each, fill) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, fill) for key, each in value.items()}
    return value


def _ids(cases: Sequence[Case]) -> list[str]:
    """A unique id for each case: its description, else its values, else its number."""
    taken: dict[str, int] = {}
    found = []
    for number, case in enumerate(cases, 1):
        texts = [as_text(value) for value in case.values.values()]
        name = slug(case.description or " ".join(texts)) or f"case-{number}"
        count = taken[name] = taken.get(name, 0) + 1
        while count > 1 and f"{name}-{count}" in taken:
            count += 1
        found.append(name if count == 1 else f"{name}-{count}")
        taken.setdefault(found[-1], 1)
    return found


def _stem(path: Path) -> str:
    """Of the name of the test file: what is special in the configuration's name, else ``promptfoo``."""
    name = path.stem.removeprefix("promptfooconfig")
    return slug(name).replace("-", "_").replace(".", "_").strip("_").removeprefix("test_") or "promptfoo"


def _alias(spec: str) -> str:
    return spec.partition("=")[0] if "=" in spec else spec.rpartition("/")[2]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _dumped(document: Mapping[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Texts of several lines stay readable, and nothing is an anchor."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, indentless=False)

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return yaml.dump(
        dict(document), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
