"""``not:CHECK``, ``all_of:[...]``, ``any_of:[...]``: checks made of others.

A check that cannot judge (no reference, no model, a missing package) fails the test under ``not`` too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Final

from ..check_texts import argument_text, check_text
from ..errors import CheckError, ConfigError, MissingValue
from ..records import CheckResult
from ..text import one_line
from .arguments import cut_off, excerpt, read_json, require_argument
from .base import BuiltIn, Check, CheckInput, Exemplar, Parse

_LIST: Final = '["contains:Paris","contains:Lutetia"]'


class Not(BuiltIn):
    """Passes where the other check fails."""

    name = "not"
    parses: ClassVar[bool] = True
    exemplars = (
        Exemplar(check="not:contains:Lyon", text="It is Paris.", passes=True),
        Exemplar(check="not:not:json", text="{}", passes=True),
        Exemplar(check="not:contains:Paris", text="It is Paris.", passes=False, says="not to pass 'contains:Paris'"),
        Exemplar(check="not:equals", text="It is Paris.", passes=False, says="no reference"),
    )

    def __init__(self, argument: str, parse: Parse) -> None:
        inner = require_argument(argument.strip(), "not:contains:Paris")
        self._check = parse(check_text(read_json(inner, "not:json"), "not") if inner.startswith("{") else inner)
        self._inner = text_of(self._check, inner)
        self.needs_reference = needs_reference(self._check)
        self.models = models_of(self._check)
        super().__init__(self._inner)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        result = self._check(output)
        if result.passed:
            found = self.failed(f"expected the output not to pass {_shown(self._inner)}, but {result.message}")
        else:
            found = self.passed(f"the output does not pass {_shown(self._inner)}: {result.message}")
        return replace(found, judged_by=result.judged_by)


class _Several(BuiltIn):
    parses: ClassVar[bool] = True

    def __init__(self, argument: str, parse: Parse) -> None:
        example = f"{self.name}:{_LIST}"
        found = read_json(require_argument(argument.strip(), example), example)
        if not isinstance(found, list) or not found:
            raise ConfigError(f"expected a list of checks, at least one; write it like '{example}'.")
        texts = [check_text(each, self.name) for each in found]
        self._checks: list[tuple[str, Check]] = [
            (text_of(check, text), check) for text in texts for check in [parse(text)]
        ]
        self.needs_reference = any(needs_reference(check) for _, check in self._checks)
        self.models = tuple(dict.fromkeys(model for _, check in self._checks for model in models_of(check)))
        super().__init__(argument_text([text for text, _ in self._checks], self.name))


class AllOf(_Several):
    """Passes where each of the checks passes."""

    name = "all_of"
    exemplars = (
        Exemplar(check='all_of:["contains:Paris","max_words:3"]', text="It is Paris.", passes=True),
        Exemplar(
            check='all_of:["contains:Paris","max_words:2"]', text="It is Paris.", passes=False, says="max_words:2"
        ),
    )

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        judges: list[str] = []
        for text, check in self._checks:
            result = check(output)
            if not result.passed:
                return replace(self.failed(f"{_shown(text)}: {result.message}"), judged_by=result.judged_by)
            judges += [result.judged_by] if result.judged_by else []
        return replace(
            self.passed(f"the output passes all {len(self._checks)} checks"), judged_by=", ".join(dict.fromkeys(judges))
        )


class AnyOf(_Several):
    """Passes where at least one of the checks passes."""

    name = "any_of"
    exemplars = (
        Exemplar(check=f"any_of:{_LIST}", text="It was Lutetia.", passes=True),
        Exemplar(check='any_of:["equals","contains:Paris"]', text="It is Paris.", passes=True),
        Exemplar(check=f"any_of:{_LIST}", text="It is Lyon.", passes=False, says="none of 2 checks"),
        Exemplar(check=f"any_of:{_LIST}", text="It is", passes=False, finish_reason="length", says="cut off"),
    )

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        failed: list[str] = []
        judges: list[str] = []
        unjudged: CheckError | MissingValue | None = None
        for text, check in self._checks:
            try:
                result = check(output)
            except (CheckError, MissingValue) as error:
                unjudged = unjudged or error
                continue
            if result.passed:
                return replace(
                    self.passed(f"the output passes {_shown(text)}: {result.message}"), judged_by=result.judged_by
                )
            judges += [result.judged_by] if result.judged_by else []
            failed.append(_shown(text))
        if unjudged is not None:
            raise unjudged
        found = self.failed(
            f"{cut_off(output)}the output passes none of {len(failed)} checks ({', '.join(failed[:3])}{', ...' if len(failed) > 3 else ''})"
            f": {excerpt(output.text)}"
        )
        return replace(found, judged_by=", ".join(dict.fromkeys(judges)))


def _shown(text: str) -> str:
    return f"'{one_line(text[:400])[:40]}'"


def text_of(check: Check, written: str) -> str:
    """The text of a check in its own spelling, where it tells one."""
    return str(getattr(check, "text", written))


def models_of(check: Check) -> tuple[str, ...]:
    """Models besides the tested one that a check asks, by alias or spec."""
    return tuple(getattr(check, "models", ()))


def needs_reference(check: Check) -> bool:
    """Whether a check can judge only where the prompt has a reference."""
    return bool(getattr(check, "needs_reference", False))
