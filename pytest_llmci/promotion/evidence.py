"""What a run proves of one of its models: that it is whole, that it passed, that it is not worse than what is in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..engine.comparisons.compare_runs import compare_stored
from ..engine.comparisons.comparison import Accept
from ..engine.comparisons.explain_runs import headline
from ..engine.comparisons.runs_comparison import WHOLE_CELL, RunsComparison
from ..engine.comparisons.stored_run import StoredRun
from ..errors import ConfigError, LogTamperedError
from ..proof.verify import Proof, verify_run
from ..records import FooterRecord, GateRecord, VerdictRecord, WorkerRecord
from ..store.log import LOG_NAME, LogReader
from ..store.manifest import MANIFEST_NAME
from ..store.verify import Verification
from ..text import how_many, one_line
from .base import Finding, Standing

_SHOWN: Final = 3
_KINDS: Final = ("worker", "verdict", "gate", "footer")
_WEIGHTS: Final = ("revision", "manifest_sha256", "file_sha256")
"""What a process says of the weights that it loaded; the files of a commit beside them."""


def whole_run(folder: Path, key: bytes | None = None) -> Proof:
    """A run, once it is known that it is what was written and that its session came to an end.

    :param key: with which it must be signed; None: it need not be.
    :raises LogTamperedError: if it is not, or was cut off. Nothing that such a run says is evidence, so nothing of it is registered.
    :raises ConfigError: if its session is still running.
    :raises StoreError: if it cannot be read.
    """
    found = verify_run(folder, key=key)
    if found.log.state == "running":
        raise ConfigError(f"{folder.name} is still being written: promote it when its session has ended.")
    if found.log.state == "killed":
        raise LogTamperedError(
            f"refused: {found.log.path}: no footer: its session was killed or the end was cut off. What it would have found is not known;"
            " measure again."
        )
    if not found.ok:
        raise LogTamperedError(f"refused: the run does not verify: {found.message.rstrip('.')}.")
    return found


def own_evidence(folder: Path, run: StoredRun, alias: str, proof: Proof) -> list[Finding]:
    """What a run says of one of its models by itself.

    :param run: the same, as it was read.
    :param proof: of :func:`whole_run`.
    """
    told = _Told(folder, alias)
    return [
        _verified(proof),
        _ended(told.footer, proof.log),
        _measured(run, alias),
        *told.findings(),
    ]


def _verified(proof: Proof) -> Finding:
    log = proof.log
    if log.state == "recovered":
        text = "its session was killed and the log closed later: what was not measured is not known; measure again"
        return Finding(name="log", standing="fails", text=text)
    parts = [f"{log.lines} lines, whole (digest {log.digest[:16]})"]
    parts += [f"{how_many(len(proof.manifest.files), 'file')} as {MANIFEST_NAME} says"] if proof.manifest else []
    parts += ["signed"] if proof.signature == "valid" else []
    return Finding(name="log", standing="holds", text=", ".join(parts))


def _ended(footer: FooterRecord | None, log: Verification) -> Finding:
    status = footer.exit_status if footer else None
    if status == 0:
        return Finding(name="ended", standing="holds", text="its session passed (exit status 0)")
    if log.state == "recovered" or status is None:
        return Finding(name="ended", standing="fails", text="its session did not come to an end")
    text = f"its session failed (exit status {status}): measure this model in a session that passes"
    return Finding(name="ended", standing="fails", text=text)


def _measured(run: StoredRun, alias: str) -> Finding:
    cells = [cell for (model, _), found in run.cells.items() if model == alias for cell in found]
    silent = [cell.id for cell in cells if not cell.answers]
    rounds = sum(cell.rounds for cell in cells)
    if silent or not cells:
        what = (
            f"{len(silent)} of {len(cells)} cells gave no answer ({_listed(silent)})"
            if cells
            else "nothing was measured"
        )
        return Finding(name="cells", standing="fails", text=what)
    return Finding(
        name="cells", standing="holds", text=f"{how_many(len(cells), 'cell')}, {how_many(rounds, 'measured round')}"
    )


class _Told:
    """What the log tells of verdicts, without its rounds."""

    def __init__(self, folder: Path, alias: str) -> None:
        self.footer: FooterRecord | None = None
        self._gates: list[GateRecord] = []
        self._verdicts: dict[tuple[str, str], VerdictRecord] = {}
        self._loaded: dict[str, set[str]] = {}
        """Fact or file -> what the processes said of it."""
        for record in LogReader(folder / LOG_NAME, _KINDS):
            if isinstance(record, FooterRecord):
                self.footer = record
            elif isinstance(record, GateRecord) and record.model in ("", alias):
                self._gates.append(record)
            elif isinstance(record, WorkerRecord) and record.model == alias and record.role in ("timing", "memory"):
                for name, value in _loaded(record):
                    self._loaded.setdefault(name, set()).add(value)
            elif isinstance(record, VerdictRecord) and record.model == alias:
                there = self._verdicts.get((record.cell, record.test))
                if there is None or record.attempt >= there.attempt:
                    self._verdicts[record.cell, record.test] = record

    def findings(self) -> Iterator[Finding]:
        changed = sorted(name for name, values in self._loaded.items() if len(values) > 1)
        if changed:
            text = f"its processes loaded different weights ({_listed(changed)}): they were changed meanwhile; measure again"
            yield Finding(name="weights", standing="fails", text=text)
        verdicts = list(self._verdicts.values())
        failed = {each.cell: _why(each) for each in verdicts if each.verdict == "failed"}
        if failed:
            some = "; ".join(f"{cell}: {why}" if why else cell for cell, why in list(failed.items())[:_SHOWN])
            yield Finding(
                name="verdicts",
                standing="fails",
                text=f"{len(failed)} of {how_many(len(verdicts), 'cell')} failed: {some}",
            )
        checks = [(each.cell, check.name, check.passed) for each in verdicts for check in each.checks]
        wrong = [f"{name} of {cell}" for cell, name, passed in checks if not passed]
        yield _tally("checks", len(checks), wrong, [])
        budgets = [(each.cell, budget) for each in verdicts for budget in each.budgets]
        missed = [f"{budget.budget} of {cell}" for cell, budget in budgets if budget.verdict == "failed"]
        open_ones = [f"{budget.budget} of {cell}" for cell, budget in budgets if budget.verdict == "inconclusive"]
        yield _tally("budgets", len(budgets), missed, open_ones)
        gates = [each.name for each in self._gates if each.outcome == "failed"]
        yield _tally("gates", len(self._gates), gates, [])
        undecided = [each.cell for each in verdicts if each.verdict == "inconclusive" and not _open(each)]
        if undecided:
            yield Finding(name="verdicts", standing="undecided", text=f"could not be told: {_listed(undecided)}")


def _loaded(record: WorkerRecord) -> Iterator[tuple[str, str]]:
    yield from ((name, str(record.info[name])) for name in _WEIGHTS if record.info.get(name))
    files = record.info.get("snapshot_files")
    for checksum, _, name in (str(line).partition("  ") for line in (files if isinstance(files, list) else [])):
        yield name, checksum


def _open(verdict: VerdictRecord) -> bool:
    return any(budget.verdict == "inconclusive" for budget in verdict.budgets)


def _why(verdict: VerdictRecord) -> str:
    if verdict.error is not None:
        return one_line(verdict.error.message)
    regressed = [each.metric for each in verdict.comparisons if each.verdict == "regressed" and not each.accepted]
    return f"{', '.join(regressed)} regressed" if regressed else ""


def _tally(name: str, number: int, failed: Sequence[str], undecided: Sequence[str]) -> Finding:
    if not number:
        return Finding(name=name, standing="holds", text="there were none")
    if not failed and not undecided:
        return Finding(name=name, standing="holds", text=f"{number} of {number} passed")
    parts = [f"{len(failed)} of {number} failed ({_listed(failed)})"] if failed else []
    parts += [f"{len(undecided)} of {number} undecided ({_listed(undecided)})"] if undecided else []
    return Finding(name=name, standing="fails" if failed else "undecided", text="; ".join(parts))


# ------------------------------------------------------------------------------------------- against what is in use


def compare_with_champion(
    candidate: StoredRun,
    champion: StoredRun,
    *,
    name: str,
    detect: Mapping[str, float] | None = None,
    accepted: Accept = lambda *_: "",
) -> tuple[list[Finding], RunsComparison | None]:
    """Whether a model is not worse than the one in use.

    Both runs hold one model, of the same alias: see :func:`one_model`. What was asked and the machine must be the same;
    what is on trial may differ, and is named.

    :param name: of the champion, for people.
    :returns: the conditions, and the comparison; None where nothing could be compared.
    """
    try:
        found = compare_stored([champion], candidate, detect=detect, accepted=accepted, name=name)
    except ConfigError as error:
        return [
            Finding(name="champion", standing="fails", text=f"not comparable with {name}: {one_line(str(error))}")
        ], None
    return list(_against(found, name)), found


def _against(found: RunsComparison, name: str) -> Iterator[Finding]:
    alike = list(_incomparable(found))
    for text in alike:
        yield Finding(name="champion", standing="fails", text=f"not comparable with {name}: {text}")
    worse = list(_worse(found))
    changed = f"; changed: {'; '.join(found.changed)}" if found.changed else ""
    standing: Standing = "fails" if worse else "undecided" if found.undecided else "holds"
    if worse:
        yield Finding(name="champion", standing=standing, text=f"worse than {name}: {_listed(worse)}{changed}")
    elif not alike:
        words = "not proven to be as good as" if standing == "undecided" else "not worse than"
        yield Finding(name="champion", standing=standing, text=f"{words} {name} ({headline(found)}){changed}")


def _incomparable(found: RunsComparison) -> Iterator[str]:
    """Why the two are not measures of the same question on the same machine."""
    if found.hardware:
        yield f"other hardware: {'; '.join(found.hardware)}; measure both on one machine"
    asked = [
        f"prompt {cell.prompt_id}: {result.reason}"
        for cell in found.cells for result in cell.results
        if result.metric == WHOLE_CELL and result.verdict == "not comparable"
    ]  # fmt: skip
    if asked:
        yield f"something else was asked: {_listed(asked)}"


def _worse(found: RunsComparison) -> Iterator[str]:
    """What became worse, a phrase each."""
    for name, result in [
        *((f"prompt {cell.prompt_id}", each) for cell in found.cells for each in cell.results),
        *found.models,
    ]:
        if result.verdict == "lost coverage":
            yield f"{name} is not measured any more ({result.reason})"
        elif result.verdict == "regressed" and not result.accepted:
            change = f" {result.change:+.1%}" if result.change is not None else ""
            yield f"{result.metric} of {name}{change}" + (
                f" ({result.reason})" if result.change is None and result.reason else ""
            )


def one_model(run: StoredRun, alias: str, called: str = "") -> StoredRun:
    """The run with one of its models alone, under another alias where one is given."""
    called = called or alias
    own = run.models.get(alias)
    cells = {
        (called, prompt): tuple(replace(cell, model=called, id=f"{called}-{prompt}") for cell in found)
        for (model, prompt), found in run.cells.items()
        if model == alias
    }
    models = {called: replace(own, spec=replace(own.spec, alias=called))} if own else {}
    return replace(run, models=models, cells=cells)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
