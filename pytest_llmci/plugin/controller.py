"""What only the controlling process does: the run folder, the log, the gates, the derived files."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..clock import SystemClock, utc_text
from ..errors import ConfigError, StoreError
from ..records import SCHEMA_VERSION, GateRecord, HeaderRecord, Json, LogRecord, from_json, log_record_type
from ..sinks.finish import Finished, finish_run
from ..store.environment import environment
from ..store.log import LogWriter, read_spool
from ..store.runfolder import create_run_folder
from ..version import version
from .armed import COLLECTED_ATTRIBUTE, RECORDS_ATTRIBUTE
from .gates import Seen, emit_gate, judge_coverage

if TYPE_CHECKING:
    from .armed import ArmedPlugin


class Controller:
    """Owns the log of the session."""

    def __init__(self, config: pytest.Config, plugin: ArmedPlugin) -> None:
        self._config = config
        self._plugin = plugin
        self._log: LogWriter | None = None
        self._uids: set[str] = set()
        self._parallel_collected: Mapping[str, Any] = {}
        self.clock = SystemClock()
        self.seen = Seen()
        self.run_folder: Path | None = None
        self.token = secrets.token_hex(8)
        self.store_error: str | None = None
        self.finished: Finished | None = None
        self.gates: list[GateRecord] = []

    # -------------------------------------------------------------------------------------------------------- writing

    @property
    def measures(self) -> bool:
        """False where nothing will run: ``--collect-only`` and ``--llmci-plan``."""
        return not (self._config.option.collectonly or self._plugin.settings.plan)

    def open_log(self) -> Path:
        """Create the run folder and write the header.

        :raises ConfigError: if the folder cannot be written.
        """
        if self.run_folder is None:
            self.run_folder = create_run_folder(self._plugin.output_folder, self.clock)
            self._plugin.run_folder = self.run_folder
            (self.run_folder / "spool" / self.token).touch()
            self._log = LogWriter(self.run_folder / "log.jsonl")
            self._write_now(self._header(self.run_folder))
        return self.run_folder

    def _header(self, folder: Path) -> HeaderRecord:
        facts = environment()
        for more in self._config.hook.pytest_llmci_environment(config=self._config):
            facts.update({key: value for key, value in (more or {}).items() if key not in facts})
        return HeaderRecord(
            schema_version=SCHEMA_VERSION, run_id=folder.name, started=utc_text(self.clock.utc()), version=version(),
            command=["pytest", *map(str, self._config.invocation_params.args)], settings=self._settings(), environment=facts,
            metrics=list(self._plugin.metrics.values()),
        )  # fmt: skip

    def _settings(self) -> dict[str, Json]:
        import dataclasses

        plain: dict[str, Json] = {}
        for entry in dataclasses.fields(self._plugin.settings):
            value: Any = getattr(self._plugin.settings, entry.name)
            if isinstance(value, tuple):
                value = [getattr(item, "text", item) for item in value]
            plain[entry.name] = str(value) if isinstance(value, Path) else value
        return plain

    def write(self, record: LogRecord) -> None:
        """Append a record to the log and tell the observers.

        :raises StoreError: if the log cannot be written; the log is the record of what happened, so that is a failure.
        """
        uid = getattr(record, "uid", None)
        if uid is not None:
            if uid in self._uids:
                return
            self._uids.add(uid)
        self.seen.note(record)
        try:
            self.open_log()
            self._write_now(record)
        except (StoreError, ConfigError) as error:
            self.store_error = self.store_error or str(error)
            raise StoreError(str(error)) from error
        self._tell(record)

    def _write_now(self, record: LogRecord) -> None:
        assert self._log is not None
        self._log.append(record)

    def _tell(self, record: LogRecord) -> None:
        try:
            self._config.hook.pytest_llmci_record(config=self._config, record=record)
        except Exception as error:  # noqa: BLE001  # an observer must not fail a build
            warnings.warn(f"pytest_llmci_record: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)

    def take(self, data: Mapping[str, Any]) -> None:
        """Move a record of a parallel worker into the log; what cannot be written fails the coverage gate."""
        try:
            self.write(from_json(log_record_type(data), data))
        except StoreError as error:
            self.store_error = self.store_error or str(error)

    # ---------------------------------------------------------------------------------------------------------- hooks

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """The folder must be there before the first test, and only if there is something to run."""
        if self.measures and not self._is_distributing():
            try:
                self.open_log()
            except (ConfigError, StoreError) as error:
                raise pytest.UsageError(str(error)) from error

    def _is_distributing(self) -> bool:
        return self._config.pluginmanager.hasplugin("dsession")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what travelled with a report, and let go of it."""
        collected = report.__dict__.pop(COLLECTED_ATTRIBUTE, None)
        if collected is not None:
            self._parallel_collected = collected
        for data in report.__dict__.pop(RECORDS_ATTRIBUTE, ()):
            self.take(data)

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
        except (session.Failed, session.Interrupted, KeyboardInterrupt):
            self._emit(
                GateRecord(name="coverage", outcome="skipped", message="not run: the session was stopped early"),
                shown=self.measures,
            )
            raise
        if self.measures:
            self._emit_gates()
        return result

    def _emit_gates(self) -> None:
        self._sweep_spools()
        gate = judge_coverage(
            self.seen, self.collected, profiles=self._plugin.measured, store_error=self.store_error,
            out_of_time=self.seen.inconclusive > 0,
        )  # fmt: skip
        self._emit(gate, shown=gate.outcome != "passed")

    def _emit(self, gate: GateRecord, *, shown: bool) -> None:
        self.gates.append(gate)
        if self.run_folder is not None:
            try:
                self.write(gate)
            except StoreError as error:
                self.store_error = self.store_error or str(error)
        if shown:
            emit_gate(self._config, gate)

    def _sweep_spools(self) -> None:
        """What a parallel worker recorded and could not report because it died."""
        if self.run_folder is None:
            return
        for path in sorted((self.run_folder / "spool").glob("*.jsonl")):
            for record in read_spool(path):
                try:
                    self.write(record)
                except StoreError:
                    return

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Close the log and write what derives from it."""
        self._plugin.shut_down()
        if self._log is None or self.run_folder is None:
            return
        self._sweep_spools()
        try:
            self._log.close(int(exitstatus))
            self.finished = finish_run(self.run_folder, self._plugin.registry, self._plugin.settings.sinks)
        except (StoreError, ConfigError, OSError) as error:
            self.store_error = str(error)
            session.exitstatus = max(int(exitstatus), int(pytest.ExitCode.TESTS_FAILED))
            return
        try:
            self._config.hook.pytest_llmci_report(config=self._config, report=self.finished.report)
        except Exception as error:  # noqa: BLE001  # an observer must not fail a build
            self.finished.warnings.append(f"pytest_llmci_report: {type(error).__name__}: {error}")

    def pytest_keyboard_interrupt(self) -> None:
        """Ctrl-C: the models die first."""
        self._plugin.shut_down()
