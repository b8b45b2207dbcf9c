"""What differs between a commit and the working tree, in words; and whether anything that is measured does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from ...backends.module_source import find_module
from ...records import Prompt
from ...settings import Settings
from ...store.checkout import Checkout, Facts
from ...text import how_many
from .reference import Candidate, Reference

GENERATION_SETTINGS: Final = ("max_new_tokens", "seed", "temperature", "threads")
"""Of those that are read at the old commit, what is neither a model nor a prompt."""
_DOCUMENTS: Final = frozenset({
    "readme", "changelog", "changes", "history", "news", "license", "licence", "contributing", "authors", "security", "citation",
    "code_of_conduct", ".gitignore", ".gitattributes", ".editorconfig",
})  # fmt: skip
_DOCUMENT_FOLDERS: Final = frozenset({".github", ".gitlab"})
_MOST_NAMED: Final = 3


def notes(candidate: Candidate, checkout: Checkout, reference: Reference) -> Iterator[str]:
    """What to tell before anything is measured, a sentence each."""
    yield from _of_commits(checkout, reference.name)
    yield from _of_settings(candidate.settings, reference.settings or candidate.settings)
    then = candidate.prompts if reference.prompts is None else reference.prompts
    yield from _of_prompts(candidate.prompts, [prompt for prompt in then if prompt.id not in candidate.unselected])
    yield from _of_files(checkout, reference)


def _of_commits(checkout: Checkout, name: str) -> Iterator[str]:
    facts = checkout.facts
    apart = f", {how_many(facts.ahead, 'commit')} before HEAD" if facts.ahead else ""
    differ = "no file differs" if not facts.changed else f"{how_many(len(facts.changed), 'changed file')}"
    stands_for = f"{facts.short} is" if _is_digest(name, facts) else f"{name} is {facts.short}"
    yield f"{stands_for} '{facts.subject}'{apart}; {differ} in the working tree"
    if facts.behind:
        base = f": git:{facts.merge_base[: len(facts.short)]} leaves them out" if facts.merge_base else ""
        yield f"{name} has {how_many(facts.behind, 'commit')} that HEAD has not{base}"


def _is_digest(name: str, facts: Facts) -> bool:
    """Whether the commit was named by its digest, as that of a baseline is."""
    return facts.commit.startswith(name)


def _of_settings(today: Settings, then: Settings) -> Iterator[str]:
    differing = [name for name in GENERATION_SETTINGS if getattr(then, name) != getattr(today, name)]
    if differing:
        said = (f"{name} {_value(getattr(then, name))} -> {_value(getattr(today, name))}" for name in differing)
        yield f"settings that differ: {', '.join(said)}"


def _of_prompts(today: Sequence[Prompt], then: Sequence[Prompt]) -> Iterator[str]:
    if not today:
        return
    old_ids, ids, old = {prompt.id for prompt in then}, {prompt.id for prompt in today}, set(map(_asked, then))
    groups = {
        "new prompts": [prompt.id for prompt in today if prompt.id not in old_ids],
        "prompts that are no more": [prompt.id for prompt in then if prompt.id not in ids],
        "prompts that ask something else": [p.id for p in today if p.id in old_ids and _asked(p) not in old],
    }
    yield from (f"{said}: {_some(names)}" for said, names in groups.items() if names)


def _of_files(checkout: Checkout, reference: Reference) -> Iterator[str]:
    facts = checkout.facts
    if facts.dependencies and not any("python" in spec.options for spec in reference.specs.values()):
        yield (
            f"{_some(facts.dependencies)} changed: both sides run with today's environment, since git:REV compares code, prompts and"
            " settings; to compare environments add +python=/path/to/venv or --llmci-versus-python=auto"
        )
    tests = [name for name in facts.changed if _is_test(name)]
    if tests:
        yield f"{_some(tests)} changed: code in a test is not compared, the tests of today ask both sides"
    if facts.submodules:
        yield f"submodules are empty at {reference.name}: {_some(facts.submodules)}; what needs them fails there"
    if checkout.pointers:
        yield f"only pointers of Git LFS at {reference.name}: {_some(checkout.pointers)}; git lfs fetch origin {facts.short} brings them"


def nothing_to_compare(candidate: Candidate, checkout: Checkout, reference: Reference) -> str:
    """Why nothing differs where the models themselves are the same; empty if something may."""
    then, prompts = reference.settings or candidate.settings, set(map(_asked, reference.prompts or ()))
    if any(getattr(then, name) != getattr(candidate.settings, name) for name in GENERATION_SETTINGS):
        return ""
    if any(_asked(prompt) not in prompts for prompt in candidate.prompts):
        return ""
    facts = checkout.facts
    commit = facts.short if _is_digest(reference.name, facts) else f"{reference.name} ({facts.short})"
    said = f"{commit} and the working tree have the same models, prompts and settings, and"
    if not _runs_own_code(candidate, checkout):
        return f"{said} no code of the repository is measured"
    if all(map(is_documentation, facts.changed)):
        return f"{said} {'only documentation differs' if facts.changed else 'no file differs'}"
    return ""


def _runs_own_code(candidate: Candidate, checkout: Checkout) -> bool:
    """Whether a callable, or a backend or an instrument that may be the repository's, is measured."""
    if any(spec.backend == "py" for spec in candidate.specs):
        return True
    registry = candidate.registry
    used = (registry.get("backend", spec.backend, spec.text) for spec in candidate.specs)
    modules = {entry.target.partition(":")[0] for entry in (*used, *registry.entries("instrument"))}
    return any(
        _may_be_own(module, candidate, checkout) for module in modules if module.partition(".")[0] != "pytest_llmci"
    )


def _may_be_own(module: str, candidate: Candidate, checkout: Checkout) -> bool:
    found = find_module(module, candidate.sys_path)
    return found is None or found.origin is None or Path(found.origin).resolve().is_relative_to(checkout.root)


def is_documentation(name: str) -> bool:
    """Whether a file is neither code nor a prompt. A Markdown file elsewhere may be a prompt.

    >>> is_documentation("README.md"), is_documentation(".github/a.yml"), is_documentation("docs/a.md")
    (True, True, False)
    """
    path = PurePosixPath(name)
    is_known = bool({path.name.lower(), path.stem.lower()} & _DOCUMENTS)
    return path.parts[0] in _DOCUMENT_FOLDERS or (len(path.parts) == 1 and is_known)


def _is_test(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".py" and (
        path.stem.startswith("test_") or path.stem.endswith("_test") or path.stem == "conftest"
    )


def _asked(prompt: Prompt) -> Prompt:
    """What a prompt asks, without the line that it stands on."""
    return replace(prompt, source="")


def _value(value: object) -> str:
    return "default" if value is None else str(value)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
