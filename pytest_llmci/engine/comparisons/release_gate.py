"""A scheduled run against the last release: which run that is, whether anything drifted, and the way back."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ...errors import ConfigError
from ...records import ComparisonResult, ModelSpec
from ...specs import rewritten
from ...store.runfolder import resolve_run
from .compare_runs import compare_stored
from .comparison import Accept
from .runs_comparison import RunsComparison, worst
from .stored_run import StoredModel, StoredRun, read_run

OUTPUTS: Final = "outputs"
"""Stands for a metric: answers that the reference never gave."""
_GIT_TIMEOUT_S: Final = 10.0
_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What a scheduled run is judged against."""

    runs: tuple[StoredRun, ...]
    """All runs of the release's commit, oldest first: several tell how much sessions differ."""
    why: str
    """How it was chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseJudgement:
    """What came of it."""

    release: Release
    found: RunsComparison
    drift: tuple[tuple[str, ComparisonResult], ...]
    """Alias -> whether its answers are others than those of the release."""

    @property
    def failed(self) -> bool:
        """Whether something became worse, is not measured any more, or answers otherwise for no known reason."""
        return self.found.failed or worst([result for _, result in self.drift]) == "regressed"

    @property
    def undecided(self) -> bool:
        """Whether something could not be told."""
        return self.found.undecided or worst([result for _, result in self.drift]) == "inconclusive"


def judge_newest(
    runs: Sequence[StoredRun], *, release: str = "", output: Path, detect: Mapping[str, float] | None = None,
    only: Sequence[str] = (), accepted: Accept = lambda *_: "",
) -> ReleaseJudgement:  # fmt: skip
    """Judge the newest of some runs against the release.

    :param runs: in any order.
    :param release: a run or a git tag; empty for the newest run whose commit has a tag, else the oldest.
    :param output: folder of the runs, where ``release`` is looked for.
    :raises ConfigError: if there is no such run, or nothing to compare.
    """
    ordered = sorted(runs, key=lambda run: run.started)
    candidate = ordered[-1]
    chosen = _choose(release, ordered, candidate, output, (*only, *(name for name in detect or () if name)))
    found = compare_stored(chosen.runs, candidate, detect=detect, only=only, accepted=accepted)
    return ReleaseJudgement(release=chosen, found=found, drift=tuple(_drift(found)))


def _choose(
    release: str, runs: Sequence[StoredRun], candidate: StoredRun, output: Path, metrics: Sequence[str]
) -> Release:
    others = [run for run in runs if run is not candidate]
    if release:
        commit = _commit_of(release)
        found = [run for run in others if commit and run.commit == commit]
        if found:
            return Release(runs=tuple(found), why=f"of the tag {release}")
        if commit and not any(run.run_id.startswith(release) for run in others):
            raise ConfigError(
                f"history --gate: none of {len(others)} older runs measured {release} (commit {commit[:10]})."
            )
        folder = resolve_run(release, output)
        named = next((run for run in runs if run.folder == folder), None) or read_run(folder, metrics)
        if named.run_id == candidate.run_id:
            raise ConfigError(f"history --gate: --release {release} is the newest run itself: name an older one.")
        return Release(runs=tuple(_of_one_commit(named, others)), why="named with --release")
    if not others:
        raise ConfigError("history --gate: there is one run only: nothing to judge it against.")
    tags = _tags()
    tagged = [run for run in others if run.commit in tags]
    if tagged:
        return Release(
            runs=tuple(_of_one_commit(tagged[-1], others)), why=f"the newest with a tag, {tags[tagged[-1].commit]}"
        )
    return Release(runs=(others[0],), why="the oldest, as no older run measured a tagged commit")


def _of_one_commit(run: StoredRun, runs: Sequence[StoredRun]) -> list[StoredRun]:
    alike = [other for other in runs if other.commit == run.commit and not _dirty(other) and other.run_id != run.run_id]
    return sorted([*(alike if run.commit and not _dirty(run) else []), run], key=lambda each: each.started)


def _dirty(run: StoredRun) -> bool:
    git = run.environment.get("git")
    return isinstance(git, dict) and bool(git.get("dirty"))


# --------------------------------------------------------------------------------------------------------------- drift


def _drift(found: RunsComparison) -> list[tuple[str, ComparisonResult]]:
    """Per model: answers that changed though the release, asked several times, always answered the same."""
    results = []
    base = found.base[-1]
    for alias in dict.fromkeys(cell.model for cell in found.cells):
        settled = [cell for cell in found.cells if cell.model == alias and cell.outputs_settled]
        changed = [cell.id for cell in settled if cell.outputs_changed]
        if not settled:
            continue
        why = _known_reason(base, found.candidate, alias)
        reason = ""
        if changed:
            reason = f"{len(changed)} of {len(settled)} cells answer otherwise ({_listed(changed)}); " + (
                f"{why} may be why" if why else "nothing that is known of changed"
            )
        results.append(
            (
                alias,
                ComparisonResult(
                    metric=OUTPUTS, mode="exact", verdict="pass" if not changed else "inconclusive" if why else "regressed",
                    against=base.name, base=float(len(settled)), candidate=float(len(settled) - len(changed)),
                    change=-len(changed) / len(settled), rounds=len(settled), reason=reason,
                ),
            )
        )  # fmt: skip
    return results


def _known_reason(base: StoredRun, candidate: StoredRun, alias: str) -> str:
    """What changed that may change answers: code, model, libraries or machine."""
    one, other = base.models.get(alias), candidate.models.get(alias)
    if one is None or other is None:
        return "its model is not known on both sides, which"
    differences = [*one.subject.differences(other.subject), *one.environment.differences(other.environment)]
    return ", ".join(dict.fromkeys(each.name for each in differences))


# ------------------------------------------------------------------------------------------------------------ the way back


def rollback_lines(judged: ReleaseJudgement) -> list[str]:
    """The commands that bring the release back: the code, then the models."""
    before, now = judged.release.runs[-1], judged.found.candidate
    aliases = sorted({cell.model for cell in judged.found.cells} & before.models.keys())
    specs = [pinned_spec(before.models[alias]) for alias in aliases]
    return way_back(before.commit, now.commit, specs)


def way_back(before: str, now: str, specs: Sequence[ModelSpec], *, to: str = "the release") -> list[str]:
    """The commands that bring back code and models of an earlier state.

    :param before: its commit; empty where none is known.
    :param now: the commit of today's state.
    :param to: what the earlier state is called.
    """
    lines = []
    if before and before != now:
        lines.append(f"git checkout {before[:12]}                  # the code of {to}")
        if now:
            lines.append(
                f"git revert --no-edit {before[:12]}..{now[:12]}   # or undo what came after it, on your branch"
            )
    if specs:
        texts = shlex.join(["--llm-models=" + ",".join(spec.text for spec in specs)])
        lines.append(f"pytest --llmci {texts}   # the model{'' if len(specs) == 1 else 's'} of {to}")
    return lines


def pinned_spec(model: StoredModel) -> ModelSpec:
    """The spec with the revision that was loaded: a branch may have moved since."""
    spec, loaded = model.spec, model.subject.facts.get("revision")
    revision = loaded if isinstance(loaded, str) and loaded else spec.revision
    return rewritten(replace(spec, revision=revision if spec.target else ""))


# ---------------------------------------------------------------------------------------------------------------- git


def _git(*arguments: str) -> str:
    """What git says in the working directory; empty where it says nothing or is not there."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def _commit_of(name: str) -> str:
    """The commit of a tag; empty if there is none of that name."""
    return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/tags/{name}^{{commit}}").strip()


def _tags() -> dict[str, str]:
    """Commit -> the tag that it carries."""
    found = {}
    for line in _git(
        "for-each-ref", "refs/tags", "--format=%(objectname) %(*objectname) %(refname:short)"
    ).splitlines():
        tagged, _, rest = line.partition(" ")
        peeled, _, name = rest.partition(" ")
        found[peeled or tagged] = name
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
