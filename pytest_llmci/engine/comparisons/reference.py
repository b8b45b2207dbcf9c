"""The other side of a comparison: which models, prompts, settings and code the candidate is measured against."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import ConfigError
from ...records import ModelSpec, Prompt
from ...registry import Registry
from ...settings import Settings, Sourced
from ...slugs import slug
from ...specs import parse_spec, rewritten, split_list, split_options
from ..limits import Preflight
from ..places import Places

_FOR_ONE = re.compile(r"(?P<alias>[A-Za-z0-9][A-Za-z0-9_.-]*)=(?P<rest>.*)\Z", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What this session measures, as it stands in the working tree."""

    specs: tuple[ModelSpec, ...]
    """Every model that is measured, those that only a marker names included."""
    settings: Settings
    registry: Registry
    places: Places
    sys_path: tuple[str, ...]
    prompts: tuple[Prompt, ...] = ()
    """Every prompt that is measured."""
    unselected: frozenset[str] = frozenset()
    """Ids of prompts that are there, and that this session leaves out, as by ``-k``."""
    marker_prompts: tuple[Sourced, ...] = ()
    """Prompt sets and files that markers name."""
    make_id: Callable[[str], str] = slug
    """Makes of the text of a prompt without an id one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What the candidate is compared with."""

    name: str
    """As shown: ``origin/main``, ``bf16``."""
    specs: Mapping[str, ModelSpec]
    """Alias -> the reference of that model, under the candidate's alias. A model without one is new, or not compared."""
    prompts: tuple[Prompt, ...] | None = None
    """Every prompt as the reference has it; None: the candidate's. A prompt whose id is not among them is new."""
    settings: Settings | None = None
    """None: the candidate's."""
    sys_path: tuple[str, ...] | None = None
    """Where the reference's processes look for modules; None: where the candidate's do."""
    folder: Path | None = None
    """Top of the worktree; None where the code is the candidate's."""
    start_in: Path | None = None
    """Working directory of the reference's processes; None: the candidate's."""
    notes: tuple[str, ...] = ()
    """What to tell before anything is measured, a sentence each."""
    changed: tuple[str, ...] = ()
    """Files that differ from the candidate's; paths from the top of the repository."""
    nothing_to_compare: str = ""
    """Why nothing that is measured differs; empty where something does."""
    on_purpose: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Alias -> keys of its spec that differ from the candidate's because the user asked for it: subject, not protocol."""


def reference_of_spec(text: str, origin: str, candidate: Candidate) -> Reference:
    """Another model in the place of the candidate's.

    :param text: ``alias=SPEC`` or ``alias=+key=value`` for one model (several by commas), ``SPEC`` in a session of one model,
        ``+key=value`` for all of them.
    :param origin: what named it, for messages: ``--llmci-versus``.
    :raises ConfigError: if it names no model of the session, or one that cannot be loaded.
    """
    own = {spec.alias: spec for spec in candidate.specs}
    specs: dict[str, ModelSpec] = {}
    for part in [text.strip()] if text.strip().startswith("+") else split_list(text):
        for spec in _read(part, own, origin, candidate.registry):
            if spec.alias in specs:
                raise ConfigError(f"{origin}: '{text}' gives model '{spec.alias}' two references; keep one.")
            specs[spec.alias] = spec
    if not specs:
        raise ConfigError(f"{origin}: the value is empty; write a model, such as +dtype=bfloat16, or git:origin/main.")
    check_loadable(specs.values(), candidate, candidate.sys_path)
    left = [alias for alias in own if alias not in specs]
    return Reference(
        name=_name(text, specs),
        specs=specs,
        notes=(f"without a reference, so not compared: {', '.join(left)}",) if left else (),
        on_purpose={alias: keys_that_differ(own[alias], spec) for alias, spec in specs.items()},
    )


def _read(part: str, own: Mapping[str, ModelSpec], origin: str, registry: Registry) -> list[ModelSpec]:
    if part.startswith("+"):
        return [with_options(spec, part, origin) for spec in own.values()]
    match = _FOR_ONE.match(part)
    alias = match["alias"] if match else ""
    if match and alias in own:
        if match["rest"].startswith("+"):
            return [with_options(own[alias], match["rest"], origin)]
    elif len(own) != 1:
        known = ", ".join(own) or "none"
        said = (
            f"'{alias}' is no model of this session"
            if match
            else f"'{part}' does not say which model it is the reference of"
        )
        raise ConfigError(f"{origin}: {said}; write alias=SPEC with one of {known}, or +key=value for all of them.")
    spec = parse_spec(part, registry.names("backend"), origin)
    return [replace(spec, alias=alias if alias in own else next(iter(own)))]


def with_options(spec: ModelSpec, text: str, where: str) -> ModelSpec:
    """A spec with ``+key=value`` pairs added or replaced.

    :raises ConfigError: if the text is not made of such pairs.
    """
    head, options = split_options(text, where)
    if head or not options:
        raise ConfigError(f"{where}: '{text}' must have the form +key=value.")
    return rewritten(replace(spec, options={**spec.options, **absolute_python(options)}))


def absolute_python(options: Mapping[str, str], base: Path | None = None) -> dict[str, str]:
    """Options whose interpreter is the same wherever a process starts."""
    python = options.get("python")
    if python is None or not (os.sep in python or "/" in python or (base or Path()).joinpath(python).is_dir()):
        return dict(options)
    return {**options, "python": os.path.abspath((base or Path()) / Path(python).expanduser())}


def check_loadable(specs: Iterable[ModelSpec], candidate: Candidate, sys_path: Sequence[str]) -> None:
    """Refuse what can be known to fail before anything is loaded.

    :raises ConfigError: one line.
    """
    limits = Preflight(
        candidate.registry, sys_path, isolation=candidate.settings.isolation, threads=candidate.settings.threads,
        memory=candidate.settings.memory,
    )  # fmt: skip
    for spec in specs:
        limits.check(spec, ())


def _name(text: str, specs: Mapping[str, ModelSpec]) -> str:
    """How the reference is called: as it was written, without the alias of an only model."""
    shown = text.strip()
    return shown.removeprefix(f"{next(iter(specs))}=") if len(specs) == 1 else shown


def keys_that_differ(own: ModelSpec, other: ModelSpec) -> tuple[str, ...]:
    """Parts and options in which a spec differs from the candidate's, sorted."""
    parts = [name for name in ("backend", "target", "revision") if getattr(own, name) != getattr(other, name)]
    options = own.options.keys() | other.options.keys()
    return tuple(sorted([*parts, *(key for key in options if own.options.get(key) != other.options.get(key))]))
