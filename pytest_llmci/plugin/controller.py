"""What only the controlling process does: the run folder, the log, the gates, the derived files."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..clock import SystemClock, utc_text
from ..engine.reports.report import SessionReport
from ..engine.reports.report_builder import ReportBuilder, build_report
from ..engine.score_gate import score_gates
from ..engine.seen import Seen
from ..errors import ConfigError, LLMCIError, StoreError
from ..records import (
    SCHEMA_VERSION,
    ErrorInfo,
    GateRecord,
    HeaderRecord,
    Json,
    LogRecord,
    ShardRecord,
    VerdictRecord,
    WorkerRecord,
    from_json,
    log_record_type,
    to_json,
)
from ..settings import plain_settings
from ..sinks.finish import Finished, finish_run
from ..store.environment import environment
from ..store.log import LogWriter
from ..store.record_bytes import decode_record
from ..store.runfolder import create_run_folder, discard_run_folder, models_wrote
from ..store.spool import read_spool
from ..text import one_line
from ..version import version
from .armed import RECORDS_ATTRIBUTE
from .coverage import COLLECTED_ATTRIBUTE, USES_ATTRIBUTE
from .fixtures import MARKER
from .gates import emit_gate, forget_failure, judge_coverage
from .github import write_summary
from .holding import unpacked
from .options import any_set
from .planning import REFUSAL
from .replaying import reason_of
from .tracking import Tracking

if TYPE_CHECKING:
    from .armed import ArmedPlugin
    from .baselines import BaselineKeeper


class Controller:
    """Owns the log of the session."""

    def __init__(self, config: pytest.Config, plugin: ArmedPlugin, keeper: BaselineKeeper) -> None:
        self._config = config
        self._plugin = plugin
        self.keeper = keeper
        self._log: LogWriter | None = None
        self._report = ReportBuilder()
        self._uids: set[str] = set()
        self._writing = threading.RLock()  # an observer may ask for more
        self._parallel_collected: Mapping[str, Any] = {}
        self.awaited: set[str] | None = None
        """Node ids that the parallel workers collected and have not reported; None before that is known, or without any."""
        self._lost: dict[str, tuple[str, str]] = {}
        """Node id of a test whose parallel worker died in it -> kind of the error, and what happened."""
        self.clock = SystemClock()
        self.seen = Seen()
        self._tracking = Tracking(plugin.settings.destinations)
        self.run_folder: Path | None = None
        self.token = secrets.token_hex(8)
        self.store_error: str | None = None
        self.unfinished = ""
        """Why the log could not be closed, or what derives from it not be written; empty if all went well."""
        self.finished: Finished | None = None
        self.gates: list[GateRecord] = []
        self.of_models: list[GateRecord] = []
        """Verdicts over models as a whole, which the processes that measure them reach."""
        self.not_replayed: dict[str, int] = {}
        """Why tests of a replay were skipped -> how many."""
        self.complaints: list[str] = []
        """Of observers that raised; shown once, at the end."""
        self._refused = False
        self._recorded = False
        """Whether the log holds more than what every log holds: a start of a model, a block, a verdict."""
        self._loop_ended = False
        self._closed = False

    # -------------------------------------------------------------------------------------------------------- writing

    @property
    def measures(self) -> bool:
        """False where nothing will run: ``--collect-only``, ``--setup-plan``, ``--llmci-plan``."""
        return not (any_set(self._config, "collectonly", "setuponly", "setupplan") or self._plugin.settings.plan)

    def open_log(self) -> Path:
        """Create the run folder and write the header.

        :raises ConfigError: if the folder cannot be written.
        """
        if self.run_folder is None:
            self.run_folder = create_run_folder(self._plugin.planner.output_folder, self.clock)
            self._plugin.run_folder = self.run_folder
            if self._is_distributing():
                (self.run_folder / "spool" / self.token).touch()
            redactor = self._plugin.redactor
            self._log = LogWriter(
                self.run_folder / "log.jsonl", protect=redactor.record, protect_stored=redactor.stored_record
            )
            self._write_now(self._header(self.run_folder))
        return self.run_folder

    def _header(self, folder: Path) -> HeaderRecord:
        replayed = self._plugin.replayed
        facts = environment() if replayed is None else dict(replayed.header.environment)  # where its numbers come from
        try:
            told = self._config.hook.pytest_llmci_environment(config=self._config)
            facts = {**{key: str(value) for more in told for key, value in (more or {}).items()}, **facts}
        except Exception as error:  # noqa: BLE001  # an observer must not fail a build
            self._complain(f"pytest_llmci_environment: {type(error).__name__}: {error}")
        prices = self._plugin.planner.prices
        return HeaderRecord(
            schema_version=SCHEMA_VERSION, run_id=folder.name, started=utc_text(self.clock.utc()), version=version(),
            command=["pytest", *map(str, self._config.invocation_params.args)], settings=self._settings(), environment=facts,
            metrics=list(self._plugin.planner.metrics.values()), prices=prices.prices if prices else [],
        )  # fmt: skip

    def _settings(self) -> dict[str, Json]:
        plain = plain_settings(self._plugin.settings)
        if self._plugin.replayed is not None:
            plain |= {"provenance": "replayed", "replayed_run": self._plugin.replayed.run_id}
        return plain

    def write(self, record: LogRecord, stored: bytes | None = None) -> None:
        """Append a record to the log and tell the observers; from any thread, as a test's own threads have rows, too.

        :param stored: the record as a parallel worker has it in its spool.
        :raises StoreError: if the log cannot be written; the log is the record of what happened, so that is a failure.
        """
        with self._writing:
            joined = self._joined(record)
            self._write(joined, stored if joined is record else None)

    def _joined(self, record: LogRecord) -> LogRecord:
        """Join what others published of a model, and what it costs, to the start of its process."""
        if not isinstance(record, WorkerRecord) or record.role in ("reference", "judge"):
            return record
        scores, prices = self._plugin.published, self._plugin.planner.prices
        published = scores.find(record.spec) if scores else None
        price = prices.of(record.spec.alias) if prices else None
        if (published, price) == (record.published, record.price):
            return record  # as a parallel worker wrote it, which need not be written anew
        return replace(record, published=published, price=price)

    def _write(self, record: LogRecord, stored: bytes | None) -> None:
        uid = getattr(record, "uid", None)
        if uid:
            if uid in self._uids:
                return
            self._uids.add(uid)
        self.seen.note(record)
        if isinstance(record, GateRecord) and record.uid:
            self.of_models.append(record)
        self._recorded = self._recorded or not isinstance(record, (GateRecord, ShardRecord))
        try:
            self.open_log()
            record = self._write_now(record, stored)
        except (StoreError, ConfigError) as error:
            self.store_error = self.store_error or str(error)
            raise StoreError(str(error)) from error
        self._tell(record)

    def _write_now(self, record: LogRecord, stored: bytes | None = None) -> LogRecord:
        """:returns: the record as it was written."""
        assert self._log is not None
        record = self._log.append(record, stored)
        self._report.take(record)
        return record

    def _tell(self, record: LogRecord) -> None:
        tell = self._config.hook.pytest_llmci_record
        if not tell.get_hookimpls():
            return
        try:
            tell(config=self._config, record=record)
        except Exception as error:  # noqa: BLE001  # an observer must not fail a build
            self._complain(f"pytest_llmci_record: {type(error).__name__}: {error}")

    def _complain(self, text: str) -> None:
        text = self._plugin.redactor.text(text)
        if text not in self.complaints:
            self.complaints.append(text)

    def take(self, data: Mapping[str, Any]) -> None:
        """Move a record of a parallel worker into the log; what cannot be written fails the coverage gate."""
        try:
            self.write(from_json(log_record_type(data), data))
        except StoreError as error:
            self.store_error = self.store_error or str(error)

    def _take_stored(self, body: bytes) -> None:
        """The same of a record as it stands in the worker's spool."""
        try:
            self.write(decode_record(body), body)
        except StoreError as error:
            self.store_error = self.store_error or str(error)

    # ---------------------------------------------------------------------------------------------------------- hooks

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Parallel workers are told where the run folder is when they are started."""
        if self.measures and self._is_distributing():
            self._open_or_refuse()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """The folder must be there before the first test, and only if there is something to run."""
        if self.measures and not self._is_distributing():
            self._open_or_refuse()
            if self._plugin.shard is not None:
                self.write(self._plugin.shard)

    def _open_or_refuse(self) -> None:
        try:
            self.open_log()
        except (ConfigError, StoreError) as error:
            raise pytest.UsageError(str(error)) from error

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A parallel worker refused what was asked for: nothing runs, and that is all there is to say."""
        self._refused = self._refused or (report.failed and report.nodeid == REFUSAL)

    def _is_distributing(self) -> bool:
        return self._config.pluginmanager.hasplugin("dsession")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what is not as it should be; take what travelled with a report of a parallel worker."""
        if hasattr(report, "node"):  # pytest-xdist says so where it comes from one
            self._take_along(report)
        if not report.passed:
            if reason := reason_of(report):
                self.not_replayed[reason] = self.not_replayed.get(reason, 0) + 1
            self.seen.failed_tests += report.failed and MARKER in report.keywords
        if report.when == "call":
            self._tracking.note()

    def _take_along(self, report: pytest.TestReport) -> None:
        """Take what travelled with a report, and let go of it."""
        for other in unpacked(report):
            self._config.hook.pytest_runtest_logreport(report=other)
        if self.awaited:
            self.awaited.discard(report.nodeid)
        self.take_collected(report.__dict__.pop(COLLECTED_ATTRIBUTE, ""))
        self.seen.note_uses(report.__dict__.pop(USES_ATTRIBUTE, (0, 0)))
        if str(report.when) == "???" and report.failed:  # by pytest-xdist, in place of a worker that died
            self._lost[report.nodeid] = "crashed", f"the parallel worker died in this test: {report.longreprtext}"
        for text in report.__dict__.pop(RECORDS_ATTRIBUTE, "").splitlines():
            self._take_stored(text.encode("ascii"))

    def take_collected(self, told: str) -> None:
        """What a parallel worker collected; each collects the same.

        :param told: empty where it was told before.
        """
        if not told or self._parallel_collected:
            return
        self._parallel_collected = json.loads(told)
        if shard := self._parallel_collected.get("shard"):
            self.take(shard)

    @property
    def collected(self) -> Mapping[str, Any]:
        """What was collected, here or in the parallel workers."""
        return self._parallel_collected if self._is_distributing() else self._plugin.collected.to_json()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """After the loop, the gates."""
        if self._plugin.settings.plan:
            self._config.option.collectonly = True  # nothing runs; the plan is printed in place of the tree
        try:
            result = yield
        except BaseException as error:
            gate = GateRecord(name="coverage", outcome="skipped", message="not run: the session was stopped early")
            shown = isinstance(error, (session.Failed, session.Interrupted))
            self._emit(session, gate, shown=shown and self.measures and not self._refused)
            raise
        self._loop_ended = True
        if self.measures and not self._refused:
            self._emit_gates(session)
        return result

    def _emit_gates(self, session: pytest.Session) -> None:
        self._sweep_spools()
        self._note_lost_rows()
        self.seen.note_uses(self._plugin.take_uses())
        gate = judge_coverage(
            self.seen, self.collected, store_error=self.store_error, never_run=len(self.awaited or ()),
            replayed=self._plugin.replayed.run_id if self._plugin.replayed is not None else "",
        )  # fmt: skip
        for one in map(self._plugin.redactor.record, self.of_models):
            if one.outcome == "failed":
                self._plugin.terminal.tests_ended()
                emit_gate(session, one, self._plugin.room)
            else:
                forget_failure(self._config, one)
        self._emit(session, gate, shown=gate.outcome != "passed" or bool(self.collected.get("idle_shard")))
        for one in self._score_gates():
            self._emit(session, one, shown=one.outcome != "passed")
        all_was_judged = gate.outcome == "passed" and not self.collected.get("left_out_by")
        if all_was_judged or self.collected.get("all_deselected"):  # the latter is no failure to be repeated
            forget_failure(self._config, gate)

    def _note_lost_rows(self) -> None:
        """A row for each cell whose parallel worker died before it was judged, and for each that no worker was left for."""
        lost = dict.fromkeys(self.awaited or (), ("given_up", "never ran: a parallel worker was lost and not replaced"))
        lost |= self._lost
        rows = self.collected.get("rows", ()) if lost else ()
        for test, cell, model, prompt_id, task in rows:
            if test in lost and (test, cell) not in self._report.verdicts:
                kind, message = lost[test]
                self.take(
                    to_json(
                        VerdictRecord(
                            uid=f"lost-{len(self._uids)}", cell=cell, model=model, prompt_id=prompt_id, test=test, task=task,
                            verdict="failed", error=ErrorInfo(kind=kind, message=one_line(message)),
                        )
                    )
                )  # fmt: skip

    def _score_gates(self) -> list[GateRecord]:
        tasks, planner = self._report.tasks(), self._plugin.planner
        asked = {task.cell for task in tasks}
        cells = [*self._plugin.collected.tasks.values()]
        if not cells and asked:  # parallel workers collect, and this process does not
            suites = dict.fromkeys(test.suite for test in planner.tasks)
            cells = [cell for suite in suites for cell in planner.task_cells(suite) if cell.id in asked]
        return score_gates(tasks, planner.budgets, [budget for cell in cells for budget in cell.budgets])

    def _emit(self, session: pytest.Session, gate: GateRecord, *, shown: bool) -> None:
        gate = self._plugin.redactor.record(gate)
        self.gates.append(gate)
        if self.run_folder is not None:
            try:
                self.write(gate)
            except StoreError as error:
                self.store_error = self.store_error or str(error)
        if shown:
            self._plugin.terminal.tests_ended()
            emit_gate(session, gate, self._plugin.room)

    def _sweep_spools(self) -> None:
        """What a parallel worker recorded and could not report because it died."""
        if self.run_folder is None:
            return
        for path in sorted((self.run_folder / "spool").glob("*.jsonl")):
            try:
                for record in read_spool(path, self._uids):
                    self.write(record)
            except (StoreError, OSError) as error:
                self.store_error = self.store_error or str(error)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
        """Close the log and write what derives from it, also where something else that ends here raises, as by Ctrl-C."""
        try:
            result = yield
        except BaseException:
            self._finish(session, None)
            raise
        self._finish(session, int(exitstatus))
        return result

    def _finish(self, session: pytest.Session, exit_status: int | None) -> None:
        with suppress(StoreError):  # noted by write; closing the log fails for the same reason
            self._plugin.finish()
        if self._refused:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        self._sweep_spools()
        if self._discarded() or self._log is None or self.run_folder is None:
            return
        self._closed = True
        try:
            self._log.close(exit_status)
        except (LLMCIError, OSError) as error:
            self._could_not_finish(session, f"results were lost: {error}")
            return
        try:
            log = self._log
            self.finished = finish_run(
                self.run_folder,
                self._plugin.registry,
                self._plugin.settings.destinations,
                read=lambda folder: self._read_along(log) or build_report(folder),
                hide=self._plugin.redactor.text,
            )
        except (LLMCIError, OSError) as error:
            again = f"'llmci report {self.run_folder}' writes"
            self._could_not_finish(
                session,
                f"{error} Once there is room, {again} what the log holds."
                if self.store_error
                else f"{error} Nothing is lost: the log is whole, so that {again} the rest once there is room.",
            )
            return
        self.finished.warnings += [*self.complaints, *self.keeper.warnings]
        if not self.keeper.keep(
            self.finished.report, self.collected.get("prompts", ()), exit_status if self._loop_ended else None
        ):
            session.exitstatus = max(int(session.exitstatus), int(pytest.ExitCode.TESTS_FAILED))
        try:
            self._config.hook.pytest_llmci_report(config=self._config, report=self.finished.report)
        except Exception as error:  # noqa: BLE001  # an observer must not fail a build
            self.finished.warnings.append(f"pytest_llmci_report: {type(error).__name__}: {error}")
        if warning := write_summary(self.finished.report, os.environ):
            self.finished.warnings.append(warning)
        self._send(session, self.finished, self.run_folder, exit_status)

    def _send(self, session: pytest.Session, finished: Finished, folder: Path, exit_status: int | None) -> None:
        """Last of all, what may wait for a server: everything else is on disk by then."""
        if not finished.apart:
            return
        from ..sinks.apart import Sent, later, send_apart

        for sink in finished.apart:
            variables = self._tracking.variables(sink)
            if exit_status in (None, pytest.ExitCode.INTERRUPTED):
                sent = Sent(warning=later(folder, sink, variables, "the session was stopped early"))
            else:
                sent = send_apart(folder, sink, variables=variables)
            finished.sent += sent.results
            if sent.warning:
                finished.warnings.append(sent.warning)
                if self._plugin.settings.mlflow_required and sink == self._plugin.settings.mlflow:
                    session.exitstatus = max(int(session.exitstatus), int(pytest.ExitCode.TESTS_FAILED))

    def _read_along(self, log: LogWriter) -> SessionReport | None:
        """The report of what was written; None where the log must be read to know what it says, as after Ctrl-C."""
        if log.footer is None or not log.exact or self._report.lines != log.footer.lines or self.run_folder is None:
            return None
        self._report.take(log.footer)
        return self._report.build(self.run_folder, digest=log.digest)

    def pytest_unconfigure(self) -> None:
        """The same for a session that never finishes, as by Ctrl-C while the parallel workers start."""
        self._plugin.shut_down()
        if self._closed or self._discarded() or self._log is None:
            return
        with suppress(StoreError):  # then it is like the log of a session that was killed
            self._log.close()

    def _discarded(self) -> bool:
        """Whether the session was stopped before there was anything to keep; its folder is then removed.

        An empty run would take the place of the one before in ``latest/``.
        """
        came_through = self._loop_ended and not self._refused
        if self.run_folder is None or came_through or self._recorded or self._plugin.measured:
            return False
        if models_wrote(self.run_folder):  # perhaps why one did not start
            return False
        if self._log is not None:
            self._log.release()
        discard_run_folder(self.run_folder)
        self._log = self.run_folder = self._plugin.run_folder = None
        return True

    def _could_not_finish(self, session: pytest.Session, text: str) -> None:
        self.unfinished = text
        session.exitstatus = max(int(session.exitstatus), int(pytest.ExitCode.TESTS_FAILED))

    def pytest_keyboard_interrupt(self) -> None:
        """Ctrl-C: the models die first."""
        self._plugin.shut_down()
