"""Stored runs against each other: the candidate's log against one older run, or against several.

Cells are paired by alias and prompt id. What was asked must agree (the protocol); where the machine does not, times are
not compared and all else is; what is on trial (the subject) may differ and is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ...errors import ConfigError, UnknownNameError
from ...measure.memory import GROWTH
from ...measure.starts import START_TIMES
from ...metrics import BESIDE, MetricDef
from ...records import Comparability, ComparisonResult, Json, Mode
from ...stats.looks import SESSION_ALPHA
from ...stats.quality import compare_answers
from ...stats.stored import ANCHORED_SHARE, TimeMetric, Witnesses, environment_shift
from ...store.comparability import Difference
from ..under_load import judged_by_text
from .cell_pairs import Pair, pair_cells
from .cell_samples import Sides
from .compare_questions import METRIC, absent, compare_sides, side_of
from .comparison import (
    AS_MEASURED,
    LEAST_CPU_SHARE,
    Accept,
    ModelComparison,
    accepted_or_not,
    compare_model,
    gated_times,
)
from .exact import LENGTH, PEAK, counted
from .reading import read_runs
from .rules import Rules
from .run_differences import differing, elsewhere, machine_differences, what_changed
from .runs_comparison import CHECKS, WHOLE_CELL, ComparedCell, RunsComparison
from .slowdown import READ, Slowdown, is_explained, slowdown
from .starts import compare_starts
from .stored_run import StoredCell, StoredRun

LEAST_ROUNDS: Final = 3
_NOT_GATED: Final = (PEAK, GROWTH, LENGTH)
"""Compared by rules of their own."""
_SHOWN: Final = 5
_MOST_SLOWDOWNS: Final = 3


def compare_runs(
    base: Sequence[Path], candidate: Path, *, detect: Mapping[str, float] | None = None, only: Sequence[str] = (),
    accepted: Accept = lambda *_: "",
) -> RunsComparison:  # fmt: skip
    """Compare the run in a folder with older ones.

    :param base: run folders; with more than one their spread tells how much sessions of this machine differ.
    :param detect: metric -> smallest change that must be found, 0.05 is 5 %; the empty name is for all times.
    :param only: metrics to judge, instead of the times that suit each model, memory and lengths.
    :param accepted: says which regressions are meant.
    :raises ConfigError: if the runs have no cell in common, all cells differ in what was asked, or a metric cannot be compared.
    :raises StoreError: if a log cannot be read.
    """
    asked = (*only, *(name for name in detect or () if name))
    *runs, last = read_runs([*base, candidate], asked)
    found = compare_stored(runs, last, detect=detect, only=only, accepted=accepted)
    return replace(found, slowdowns=_slowdowns(found))


def _slowdowns(found: RunsComparison) -> tuple[tuple[str, Slowdown], ...]:
    """Read both logs once more, for the phases of calls, where a time became worse."""
    slower = [cell for cell in found.cells if is_explained(cell.results)][:_MOST_SLOWDOWNS]
    if not slower:
        return ()
    sides = read_runs([found.base[-1].folder, found.candidate.folder], READ)
    split = []
    for cell in slower:
        before, now = (run.cells.get((cell.model, cell.prompt_id), ()) for run in sides)
        where = slowdown(before[0].samples, now[0].samples) if before and now else None
        if isinstance(where, Slowdown):
            split.append((cell.id, where))
    return tuple(split)


def compare_stored(
    base: Sequence[StoredRun], candidate: StoredRun, *, detect: Mapping[str, float] | None = None, only: Sequence[str] = (),
    accepted: Accept = lambda *_: "", alpha: float = SESSION_ALPHA, family: int | None = None, name: str = "",
    apart: Collection[str] = (),
) -> RunsComparison:  # fmt: skip
    """:func:`compare_runs` of runs that were read already; their order is that of their start.

    :param alpha: false alarms that ``family`` cells may have together.
    :param family: cells that share them; None: the common ones of these runs.
    :param name: how the older side is called; None of its own if empty.
    :param apart: ids of cells that do not count for their models as a whole.
    """
    older = sorted(base, key=lambda run: run.started)
    if not older:
        raise ConfigError("compare: no older run was given: name one before the candidate.")
    check_metrics((*only, *(name for name in detect or () if name)), candidate.metrics)
    return _Comparing(
        older, candidate, detect or {}, tuple(only), accepted, alpha=alpha, family=family, name=name, apart=apart
    ).result()  # fmt: skip


def check_metrics(names: Sequence[str], metrics: Mapping[str, MetricDef], where: str = "compare") -> None:
    """Refuse what no comparison of stored runs can judge.

    :raises ConfigError: that says why.
    """
    for name in names:
        metric = metrics.get(name)
        if metric is None:
            raise UnknownNameError.build(where, "metric", name, metrics)
        if name in START_TIMES and where == "compare":
            continue
        if name not in _NOT_GATED and (metric.direction == "none" or not metric.is_compared):
            why = (
                "it is not measured round by round"
                if not metric.is_compared
                else "neither more nor less of it is better"
            )
            raise ConfigError(f"{where}: {name} cannot be judged: {why}. Try latency, ttft or tokens_per_s.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """Cells that are judged alike; all of a live run are of one kind."""

    judged_by: tuple[str, ...] = ()
    """Instead of the times that suit the model."""
    imported: bool = False
    by_run: bool = False
    """Whether both sides are several runs of another tool, whose spread tells all that its runs differ by."""

    def sides(self, pair: Pair) -> Sides:
        """The samples of both sides."""
        if self.by_run:
            return Sides(base=pair.base.by_run, candidate=pair.candidate.by_run)
        if self.imported:
            return Sides(base=pair.base.condensed, candidate=pair.candidate.condensed)
        return Sides(base=pair.base.samples, candidate=pair.candidate.samples)


def _kinds(cells: Mapping[str, Pair]) -> dict[_Kind, dict[str, Pair]]:
    found: dict[_Kind, dict[str, Pair]] = {}
    for name, pair in cells.items():
        found.setdefault(_kind(pair), {})[name] = pair
    return found


def _kind(pair: Pair) -> _Kind:
    base, candidate = pair.base, pair.candidate
    if not base.runs or not candidate.runs:
        return _Kind(judged_by=judged_by_text(candidate.load))
    shared = base.numbers.keys() & candidate.numbers.keys()
    own: Sequence[str] = candidate.judged_by
    if "latency" in shared:
        own = ()  # the usual time
    elif "cpu_time" in shared:
        own = ("cpu_time",)
    return _Kind(
        imported=True, by_run=min(len(base.runs), len(candidate.runs)) >= LEAST_ROUNDS,
        judged_by=tuple(name for name in own if name in shared),
    )  # fmt: skip


def _of_imports(base: StoredRun, candidate: StoredRun) -> list[str]:
    """What has to be known where another tool measured."""
    sides = [run for run in (base, candidate) if run.imported]
    if sides and not any(
        fact for run in sides for model in run.models.values() for fact in model.environment.facts.values()
    ):
        return ["the files do not say what machine they are of: both sides are taken to be of the same"]
    return []


class _Comparing:
    def __init__(
        self, older: Sequence[StoredRun], candidate: StoredRun, detect: Mapping[str, float], only: tuple[str, ...],
        accepted: Accept, *, alpha: float, family: int | None, name: str, apart: Collection[str],
    ) -> None:  # fmt: skip
        self._older, self._base, self._candidate = older, older[-1], candidate
        self._detect, self._only, self._accepted = detect, only, accepted
        self._alpha, self._family, self._apart = alpha, family, apart
        self._against = name or (self._base.name if len(older) == 1 else f"{len(older)} runs")
        self._notes: list[str] = []
        self._hardware: dict[str, None] = {}
        self._mode: Mode = "saved"
        self._found: dict[str, ComparedCell] = {}
        self._whole: list[tuple[str, ComparisonResult]] = []
        self._by_run = False

    def result(self) -> RunsComparison:
        pairs, new, lost = pair_cells(self._base, self._candidate)
        if not pairs and not (self._base.answers.keys() & self._candidate.answers.keys()):
            raise ConfigError(self._nothing_common())
        if pairs:
            self._refuse_other_question(pairs)
        by_model: dict[str, list[Pair]] = {}
        for pair in pairs:
            by_model.setdefault(pair.candidate.model, []).append(pair)
        shifts = _shifts([pair for pair in pairs if pair.base.rounds and pair.candidate.rounds])
        for alias, own in by_model.items():
            self._compare_model(alias, own, self._family or len(pairs), shifts)
        for cell in new:
            self._note(cell, self._alone(cell, "new", _why_new(cell, self._base)))
        for cell in lost:
            self._note(cell, self._alone(cell, "lost coverage", f"{self._candidate.name} did not measure it"))
        self._compare_answers(len(pairs))
        self._notes += _of_imports(self._base, self._candidate)
        return RunsComparison(
            by_run=self._by_run, base=tuple(self._older), candidate=self._candidate, mode=self._mode, metrics=self._candidate.metrics,
            cells=tuple(self._found.values()), models=tuple(self._whole), changed=what_changed(self._base, self._candidate),
            hardware=tuple(self._hardware), notes=tuple(dict.fromkeys(self._notes)),
        )  # fmt: skip

    def _compare_answers(self, others: int) -> None:
        """Benchmark tasks, question by question."""
        before, now = self._base.answers, self._candidate.answers
        if METRIC not in (self._only or (METRIC,)):
            return
        alpha = self._alpha / max(1, len(before.keys() & now.keys()) + others)
        for key in dict.fromkeys([*now, *before]):
            alias, task = key
            if key not in before:
                result = absent("new", self._against, f"{self._base.name} has no answers of {alias} to {task}")
            elif key not in now:
                result = absent(
                    "lost coverage", self._against, f"{self._candidate.name} did not answer {task} to its end"
                )
            else:
                sides = (side_of(run.answers[key], self._machine(run, alias)) for run in (self._base, self._candidate))
                result = compare_sides(*sides, against=self._against, alpha=alpha)
            name = f"{alias}-{task}"
            accepted = self._maybe_accepted(name, result)
            self._found[name] = ComparedCell(id=name, model=alias, prompt_id=task, results=(accepted,))

    @staticmethod
    def _machine(run: StoredRun, alias: str) -> Mapping[str, Json]:
        return run.models[alias].environment.facts if alias in run.models else {}

    def _nothing_common(self) -> str:
        sides = [f"{run.name} has {_listed(sorted(map('-'.join, run.cells)))}" for run in (self._base, self._candidate)]
        return (
            f"nothing to compare: no cell is in both runs. {'; '.join(sides)}."
            " Cells are paired by alias and prompt id: give the models the same alias= and take the same prompts."
        )

    def _refuse_other_question(self, pairs: Sequence[Pair]) -> None:
        """One error instead of as many rows as there are cells, where all cells were asked otherwise."""
        found = [pair.differences for pair in pairs]
        common = set.intersection(*({each.name for each in one} for one in found))
        if not common:
            return
        texts = [_told([each for one in found for each in one if each.name == name]) for name in sorted(common)]
        raise ConfigError(
            f"nothing can be compared: {'the only common cell' if len(pairs) == 1 else f'all {len(pairs)} common cells'} of"
            f" {self._base.name} and {self._candidate.name} differ in {'; '.join(texts)}."
            " Measure both with the same prompts and settings."
        )

    def _compare_model(
        self, alias: str, pairs: Sequence[Pair], family: int, shifts: Mapping[TimeMetric, float]
    ) -> None:
        judged: dict[str, Pair] = {}
        for pair in pairs:
            early = self._without_comparison(pair)
            self._note(pair.candidate, *early, pair=pair)
            if not early:
                judged[pair.id] = pair
        self._whole += [(alias, result) for result in self._quality(alias, list(judged.values()))]
        timed = {cell: pair for cell, pair in judged.items() if pair.base.rounds or pair.candidate.rounds}
        if not timed:
            return
        for kind, cells in _kinds(timed).items():
            self._compare_times(alias, cells, kind, family, shifts)

    def _compare_times(
        self, alias: str, timed: Mapping[str, Pair], kind: _Kind, family: int, shifts: Mapping[TimeMetric, float]
    ) -> None:
        machines = machine_differences(self._base.models.get(alias), self._candidate.models.get(alias))
        self._hardware.update(dict.fromkeys(machines))
        alpha = self._alpha * len(timed) / max(family, len(timed))
        rules = Rules(
            against=self._against, mode="saved", alpha=alpha, detect=self._detect, only=self._times() or self._and_asked(kind.judged_by),
            on_cpu=self._on_cpu(alias), shifts=shifts,
            anchored_shifts={each: ANCHORED_SHARE * shift for each, shift in shifts.items()},
            why_no_times=elsewhere(machines) if machines else "",
            each_a_session=kind.by_run, counted=counted(self._candidate.metrics),
        )  # fmt: skip
        self._by_run = self._by_run or kind.by_run
        sides = {cell: kind.sides(pair) for cell, pair in timed.items()}
        if len(self._older) > 1 and not machines:
            sides, rules = self._with_history(alias, timed, sides, rules)
        found = compare_model(sides, rules, self._candidate.metrics, apart=self._apart)
        self._note_frozen(alias, found)
        for cell, results in found.cells.items():
            kept = [self._settled(cell, result, timed[cell]) for result in results if self._is_wanted(result.metric)]
            self._found[cell] = replace(self._found[cell], results=(*self._found[cell].results, *kept))
        before, now = (run.models[alias].starts if alias in run.models else {} for run in (self._base, self._candidate))
        found.model += compare_starts(before, now, rules, self._candidate.metrics, tests=found.tests)
        self._whole += [
            (alias, self._maybe_accepted(alias, result)) for result in found.model if self._is_wanted(result.metric)
        ]

    def _note_frozen(self, alias: str, found: ModelComparison) -> None:
        """Whether times were compared beside a frozen model, and why not where one side has it."""
        results = [result for results in found.cells.values() for result in results if result.metric in BESIDE]
        if any(result.mode == "anchored" for result in results):
            self._mode = "anchored"
        for text in dict.fromkeys(result.reason for result in results if result.reason.startswith(AS_MEASURED)):
            self._notes.append(f"times of {alias}: {text}")

    def _times(self) -> tuple[str, ...]:
        return tuple(name for name in self._only if name not in _NOT_GATED) if self._only else ()

    def _and_asked(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """What an imported cell is judged by, and what else ``--detect`` names."""
        return (
            tuple(dict.fromkeys([*own, *(name for name in self._detect if name and name not in _NOT_GATED)]))
            if own
            else ()
        )

    def _is_wanted(self, metric: str) -> bool:
        return not self._only or metric in self._only

    def _on_cpu(self, alias: str) -> bool:
        return all(run.models[alias].on_cpu for run in (self._base, self._candidate) if alias in run.models)

    def _without_comparison(self, pair: Pair) -> tuple[ComparisonResult, ...]:
        """Why a cell that both sides name cannot be compared at all."""
        if pair.differences:
            reason = "; ".join(map(str, pair.differences))
            return (self._alone(pair.candidate, "not comparable", reason),)
        if pair.base.answers and not pair.candidate.answers:
            return (self._alone(pair.candidate, "lost coverage", pair.candidate.error or "it finished no round"),)
        if not pair.base.answers:
            verdict: Comparability = "new" if pair.candidate.answers else "lost coverage"
            return (
                self._alone(pair.candidate, verdict, f"{self._base.name}: {pair.base.error or 'it finished no round'}"),
            )
        return ()

    def _alone(self, cell: StoredCell, verdict: Comparability, reason: str) -> ComparisonResult:
        return ComparisonResult(
            metric=WHOLE_CELL, mode="exact", verdict=verdict, against=self._against, base=None, candidate=None, change=None,
            rounds=cell.rounds, reason=reason,
        )  # fmt: skip

    def _note(self, cell: StoredCell, *results: ComparisonResult, pair: Pair | None = None) -> None:
        name = pair.id if pair else cell.id
        changed = settled = None
        if pair is not None and not pair.differences and pair.base.outputs and pair.candidate.outputs:
            changed = set(pair.base.outputs) != set(pair.candidate.outputs)
            settled = pair.base.answers > 1 and len(pair.base.outputs) == 1
        if name in self._found:  # of another test
            name = f"{name} ({cell.test})"
        self._found[name] = ComparedCell(
            id=name, model=cell.model, prompt_id=cell.prompt_id, results=results, outputs_changed=changed, outputs_settled=bool(settled)
        )  # fmt: skip

    def _settled(self, cell: str, result: ComparisonResult, pair: Pair) -> ComparisonResult:
        few = pair.base.rounds if pair.base.rounds < LEAST_ROUNDS else 0
        if few and result.mode != "exact" and result.verdict == "inconclusive" and few <= pair.candidate.rounds:
            side = "either side" if pair.candidate.rounds == few else "the reference"
            result = replace(
                result,
                reason=f"{side} has {few} round{'s' if few > 1 else ''}: fewer than {LEAST_ROUNDS} decide nothing",
            )
        return self._maybe_accepted(cell, result)

    def _maybe_accepted(self, name: str, result: ComparisonResult) -> ComparisonResult:
        return accepted_or_not(name, result, self._accepted)

    # ------------------------------------------------------------------------------------------- several older runs

    def _with_history(
        self, alias: str, timed: Mapping[str, Pair], sides: dict[str, Sides], rules: Rules
    ) -> tuple[dict[str, Sides], Rules]:
        """The older runs that hold what the reference holds of a model, of the same machine and asked the same."""
        times = gated_times(sides.values(), rules)
        sessions: list[dict[str, StoredCell]] = []
        for run in self._older[:-1]:
            why, cells = self._usable(run, alias, timed, times)
            if why:
                self._notes.append(f"{run.name} was left out for {alias}: {why}")
            else:
                sessions.append(cells)
        if not sessions:
            return sides, replace(rules, against=self._base.name)
        self._mode = "history"
        joined = {
            cell: replace(side, older=tuple(session[cell].samples for session in sessions))
            for cell, side in sides.items()
        }
        return joined, replace(rules, mode="history", against=f"{len(sessions) + 1} runs")

    def _usable(
        self, run: StoredRun, alias: str, timed: Mapping[str, Pair], times: Sequence[str]
    ) -> tuple[str, dict[str, StoredCell]]:
        machines = machine_differences(run.models.get(alias), self._candidate.models.get(alias))
        if alias not in run.models or machines:
            return elsewhere(machines) if machines else "it has no such model", {}
        found: dict[str, StoredCell] = {}
        for name, pair in timed.items():
            there = [cell for cell in run.cells.get(pair.candidate.key, ()) if not differing(cell, pair.candidate)]
            same = [cell for cell in there if cell.test == pair.candidate.test] or there
            if not same or any(name not in same[0].numbers or min(same[0].numbers[name]) <= 0 for name in times):
                return f"it has no comparable rounds of {name}", {}
            found[name] = same[0]
        return "", found

    # ----------------------------------------------------------------------------------------------------- answers

    def _quality(self, alias: str, pairs: Sequence[Pair]) -> list[ComparisonResult]:
        """The answers of one model that passed their checks, the same questions on both sides."""
        asked = [pair for pair in pairs if pair.base.checks.keys() & pair.candidate.checks.keys()]
        if not asked or (self._only and CHECKS not in self._only):
            return []
        sides = [
            ([_passed(pair.base, pair.candidate) for pair in asked]),
            [_passed(pair.candidate, pair.base) for pair in asked],
        ]
        census = all(pair.base.answers > 1 and len(pair.base.outputs) == 1 for pair in asked)
        change = compare_answers(*sides, deterministic=census)
        lost = [pair.id for pair, before, now in zip(asked, *sides, strict=True) if before and not now]
        before, now = (sum(side) / len(asked) for side in sides)
        verdict: Comparability = change.verdict if census or change.lost else "pass"
        parts = [f"{change.lost} of {len(asked)} lost ({_listed(lost)}), {change.won} won" if change.lost else ""]
        parts.append("" if census or not change.lost else "answers vary, so this may be luck")
        result = ComparisonResult(
            metric=CHECKS, mode="exact", verdict=verdict, against=self._base.name, base=before, candidate=now,
            change=now / before - 1 if before else None, rounds=len(asked), p_value=change.p_value,
            improved=census and change.won > change.lost,
            reason="; ".join(filter(None, parts)),
        )  # fmt: skip
        return [self._maybe_accepted(alias, result)]


def _passed(cell: StoredCell, other: StoredCell) -> bool:
    """Whether it passed all checks that both sides made."""
    return all(passed for name, passed in cell.checks.items() if name in other.checks)


def _why_new(cell: StoredCell, base: StoredRun) -> str:
    return (
        f"{base.name} has no model {cell.model}" if cell.model not in base.models else f"{base.name} did not measure it"
    )


def _shifts(pairs: Sequence[Pair]) -> dict[TimeMetric, float]:
    """What a change of the machine's load could explain, by kind of time. Empty where nothing computed on the CPU."""
    sides = [_witnesses([pair.base for pair in pairs]), _witnesses([pair.candidate for pair in pairs])]
    if any(wall <= 0 or cpu < LEAST_CPU_SHARE * wall for wall, cpu in sides):
        return {}
    base, candidate = (Witnesses(wall_s=[wall], cpu_s=[cpu]) for wall, cpu in sides)
    kinds: tuple[TimeMetric, ...] = ("cpu", "net", "wall")
    return {kind: environment_shift(base, candidate, metric=kind) for kind in kinds}


def _witnesses(cells: Sequence[StoredCell]) -> tuple[float, float]:
    """Wall and CPU time of all rounds that have both; their sums are all that counts."""
    both = [cell.numbers for cell in cells if {"latency", "cpu_time"} <= cell.numbers.keys()]
    return sum(sum(numbers["latency"]) for numbers in both), sum(sum(numbers["cpu_time"]) for numbers in both)


def _told(found: Sequence[Difference]) -> str:
    """One difference of all cells: with its values where they are the same everywhere."""
    texts = set(map(str, found))
    return texts.pop() if len(texts) == 1 and not found[0].name.endswith("sha256") else found[0].name


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "none"
