"""An armed session, as every process that runs tests holds it: settings, planner, models, and what was recorded.

What happens while tests are collected is in ``planning.py``, what happens while they run in ``running.py``.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .. import backends, checks, measure, sinks
from ..clock import SystemClock
from ..engine.observer import Silent
from ..engine.places import Places
from ..engine.planner import Planner
from ..engine.reports.explain import WIDTH
from ..errors import ConfigError
from ..given import resolve_settings
from ..records import Cell, Json, LogRecord, ModelSpec, ShardRecord, WorkerRecord, to_json
from ..redaction import Redactor
from ..registry import Registry
from ..secrets import Secrets
from ..settings import Settings, plain_settings
from ..store.environment import environment, machine_elsewhere
from ..store.machines import MACHINE
from ..store.record_bytes import encode_record
from ..store.runfolder import list_runs, resolve_run
from . import ARMED
from .benchmarked import PLUGINS, Benchmarked
from .coverage import COLLECTED_ATTRIBUTE, USES_ATTRIBUTE, Collected
from .not_comparing import NotComparing
from .options import gather, replaced_gates
from .planning import Planning
from .registered import registered_baselines
from .repeat import measuring_command
from .replaying import replaying
from .suite_ids import take_suite_ids
from .timeouts import Stopwatch

if TYPE_CHECKING:
    from ..engine.benchmark import TaskRunner
    from ..engine.replay import ReplayedTasks
    from ..engine.resume import EarlierRun
    from ..engine.session import BenchSession
    from ..engine.stored_answers import StoredAnswers
    from ..leaderboard.published import PublishedScores
    from .controller import Controller
    from .running import Running

RECORDS_ATTRIBUTE = "llmci_records"
"""On a report from a parallel worker: what was recorded during the test."""


def arm(config: pytest.Config) -> None:
    """Set the session up; whatever is wrong with the settings is one line and exit status 4."""
    secrets = Secrets.of(os.environ)
    try:
        plugin = ArmedPlugin(config, secrets)
        if not hasattr(config, "workerinput"):
            sinks.check_builtin(plugin.settings.destinations, plugin.registry, "--llmci-sink")
    except ConfigError as error:
        raise pytest.UsageError(secrets.hide(str(error))) from None  # the cause may hold what is hidden
    config.stash[ARMED] = plugin
    config.pluginmanager.register(plugin, "llmci-armed")
    config.pluginmanager.register(plugin.planning, "llmci-planning")
    if _runs_tests(config, plugin.settings):
        _prepare_to_run(config, plugin)
    if hasattr(config, "workerinput"):
        plugin.join_parallel_session(config.workerinput["llmci"])
        return
    from .baselines import BaselineKeeper
    from .controller import Controller
    from .terminal import Terminal
    from .xdist import ParallelSession, check_parallel_options

    check_parallel_options(config, plugin.settings)
    plugin.terminal = Terminal(config, plugin)
    plugin.observer.target = plugin.terminal
    plugin.controller = Controller(config, plugin, BaselineKeeper(plugin))
    config.pluginmanager.register(plugin.terminal, "llmci-terminal")
    config.pluginmanager.register(plugin.controller, "llmci-controller")
    config.pluginmanager.register(plugin.controller.keeper, "llmci-baselines")
    if config.pluginmanager.hasplugin("dsession") or config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(ParallelSession(config, plugin), "llmci-xdist")


def _runs_tests(config: pytest.Config, settings: Settings) -> bool:
    """Whether tests run in this process, and not only in parallel workers."""
    distributes = getattr(config.option, "dist", "no") != "no" and not settings.plan
    return not config.option.collectonly and (hasattr(config, "workerinput") or not distributes)


def _prepare_to_run(config: pytest.Config, plugin: ArmedPlugin) -> None:
    """What a process that runs no test does not even import."""
    config.pluginmanager.register(plugin.running, "llmci-running")
    config.pluginmanager.register(plugin.running.functions, "llmci-functions")
    config.pluginmanager.register(plugin.running.giving, "llmci-giving")
    config.pluginmanager.register(plugin.observer.stopwatch, "llmci-stopwatch")
    if any(map(config.pluginmanager.hasplugin, PLUGINS)):
        config.pluginmanager.register(Benchmarked(plugin), "llmci-benchmarked")


def build_registry(config: pytest.Config) -> Registry:
    """The built-in names and those of plugins and the root ``conftest.py``."""
    registry = Registry()
    for package in (backends, checks, measure, sinks):
        package.register(registry)
    try:
        config.hook.pytest_llmci_register.call_historic(kwargs={"registry": registry})
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"pytest_llmci_register: {type(error).__name__}: {error}") from error
    return registry


class RedirectedObserver(Silent):
    """Passes on to the terminal, where there is one, and to pytest-timeout."""

    def __init__(self) -> None:
        self.target: Silent = Silent()
        self.hide: Callable[[str], str] = str
        self.stopwatch = Stopwatch(SystemClock())

    def uncharged(self) -> AbstractContextManager[None]:
        return self.stopwatch.stopped()

    def loading(self, spec: ModelSpec) -> None:
        self.target.loading(spec)

    def say(self, text: str) -> None:
        self.target.say(self.hide(text))

    def loaded(self, spec: ModelSpec, seconds: float | None) -> None:
        self.target.loaded(spec, seconds)

    def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
        self.target.round_ended(cell, done, planned, seconds)

    def questions_answered(self, spec: ModelSpec, task: str, done: int, of: int) -> None:
        self.target.questions_answered(spec, task, done, of)

    def pair_begins(self, spec: ModelSpec, pair: int, most: int) -> None:
        self.target.pair_begins(spec, pair, most)

    def tick(self) -> None:
        self.target.tick()


class ControllerWatch(Silent):
    """In a parallel worker: ends it, and its model, when the controller is gone; pytest-xdist alone would let both live on.

    What is to be said, the controller says.
    """

    def __init__(self, plugin: ArmedPlugin, tell: Callable[[str], None]) -> None:
        self._plugin = plugin
        self._tell = tell
        self._parent = os.getppid()

    def say(self, text: str) -> None:
        with suppress(OSError):  # the controller is gone, as the next tick finds
            self._tell(text)

    def tick(self) -> None:
        if os.getppid() != self._parent:
            self._plugin.shut_down()
            os._exit(1)


class ArmedPlugin:
    """What the hooks of one process share, and the end of all models."""

    terminal: Any = None
    controller: Controller | None = None
    shard: ShardRecord | None = None
    """Which part of the matrix this session measures, once that is known; None for all of it."""
    published: PublishedScores | None = None
    """Of ``--llmci-scores``, where this process writes the log."""

    def __init__(self, config: pytest.Config, secrets: Secrets) -> None:
        self.config = config
        self.registry = build_registry(config)
        self.suite_ids = take_suite_ids(config)
        given = gather(config)
        self.replaced = replaced_gates(given)
        self.settings: Settings = self.suite_ids.added_to(resolve_settings(given, self.registry.names("sink")))
        self.redactor = Redactor(secrets, redact=self.settings.redact)
        """What everything passes that is written or shown."""
        base = config.inipath.parent if config.inipath else config.rootpath
        places = Places(command=config.invocation_params.dir, settings=base)
        self.replayed: StoredAnswers | None = None
        """The run that is judged again in place of measuring; None where this session measures."""
        if self.settings.replay:
            self.replayed, self.settings = replaying(config, self.settings, places)
        self.registered: dict[str, Path] = registered_baselines(config, self.settings)
        """Baseline as it was asked for -> its file, of those that MLflow holds."""
        self.planner = Planner(
            self.settings,
            self.registry,
            places,
            import_path(config),
            registered=self.registered,
            make_id=self.redactor.prompt_id,
            measuring=measuring_command(config),
        )
        for spec in self.planner.specs:
            secrets.learn_options(spec.options, os.environ)
        if self.settings.scores and not hasattr(config, "workerinput"):
            from ..leaderboard.published import read_published

            self.published = read_published(self.settings.scores, places.of)
        self.earlier = self._read_earlier()
        """That of ``--llmci-resume``; None where nothing is resumed."""
        self.observer = RedirectedObserver()
        self.observer.hide = self.redactor.text
        self.run_folder: Path | None = None
        self.pending: list[bytes] = []
        """Records that no report has taken along, as they stand in the spool."""
        self.spool: Any = None
        self.elsewhere: dict[str, Json] = {}
        """In a parallel worker on another machine than the controller: the facts of its own."""
        self._writing = threading.Lock()  # a test's own threads have rows written, too
        self.collected = Collected(tells_prompts=bool(self.settings.save_baseline or self.settings.update_baseline))
        self._told_collected = False
        self._session: BenchSession | None = None
        self._running: Running | None = None
        self.comparing = self._kind_of_comparing()
        self.planning = Planning(self)

    def _read_earlier(self) -> EarlierRun | None:
        wanted, origin = self.settings.resume, self.settings.origins.get("resume", "--llmci-resume")
        if not wanted:
            return None
        if self.settings.versus:
            versus = self.settings.origins.get("versus", "--llmci-versus")
            raise ConfigError(
                f"{origin} and {versus}: both sides are measured in one session; take one of the two away."
            )
        output = self.planner.output_folder
        settled = getattr(self.config, "workerinput", {}).get("llmci", {}).get("resume")
        if settled:  # the newest run is this session's, by now
            folder = Path(settled)
        elif wanted != "yes":
            folder = resolve_run(wanted, output)
        else:
            before = list_runs(output)
            if not before:
                raise ConfigError(f"{origin}: there is no run in '{output}'; name one, or leave {origin} away.")
            folder = before[-1]
        from ..engine.resume import EarlierRun

        found = EarlierRun(folder, origin, self.registry, environment())
        found.note_settings(plain_settings(self.settings))
        return found

    def _kind_of_comparing(self) -> NotComparing:
        if not (self.settings.versus or self.planner.baselines):
            return NotComparing()
        from .comparing import Comparing

        return Comparing(self)

    # ------------------------------------------------------------------------------------------------------- session

    @property
    def running(self) -> Running:
        """The hooks around tests, and what fixtures ask; built when the first asks for it."""
        if self._running is None:
            from .running import Running

            self._running = Running(self)
        return self._running

    @property
    def session(self) -> BenchSession:
        """The engine's session, built when the first test needs it."""
        if self._session is None:
            self._session = self._kind_of_session()(
                self.settings, self.registry, self.planner.metrics, clock=SystemClock(), observer=self.observer, emit=self.emit,
                log_folder=self._log_folder(), sys_path=import_path(self.config), process=self.process, together=self._together,
                against=self.comparing.against, baselines=self.comparing.baselines, redactor=self.redactor, prices=self.planner.prices,
                open_model=lambda text: self.planner.open(text, "check"), earlier=self.earlier,
            )  # fmt: skip
            self._session.schedule.select(self.collected.selected)
            self._session.pool.between_models = self.running.settle
        return self._session

    def _kind_of_session(self) -> Callable[..., BenchSession]:
        if self.replayed is None:
            from ..engine.session import BenchSession

            return BenchSession
        from ..engine.replay import ReplaySession

        return functools.partial(ReplaySession, self.replayed)

    @cached_property
    def task_runner(self) -> TaskRunner | ReplayedTasks:
        """Asks benchmark tasks."""
        s = self.settings
        if self.replayed is not None:
            from ..engine.replay import ReplayedTasks, ReplaySession

            assert isinstance(self.session, ReplaySession)
            return ReplayedTasks(self.session, self.replayed)
        from ..engine.benchmark import TaskRunner
        from ..engine.handles import SCORED_AT_ONCE

        compared = bool(s.versus or s.baseline or s.save_baseline or s.update_baseline)
        return TaskRunner(
            self.session,
            SystemClock(),
            batch=s.batch or SCORED_AT_ONCE,
            earlier=self.earlier.answers if self.earlier is not None else None,
            replay=compared,
        )

    @property
    def is_running(self) -> bool:
        """Whether a test has needed the session yet."""
        return self._session is not None

    @property
    def measured(self) -> int:
        """Inferences and profiles of this process so far."""
        return self._session.measured if self._session is not None else 0

    def take_uses(self) -> list[int]:
        """Profiles and requests of this process since it was asked last."""
        return self._session.take_uses() if self._session is not None else [0, 0]

    @property
    def import_path(self) -> list[str]:
        """Where users' modules are found."""
        return import_path(self.config)

    @property
    def process(self) -> str:
        """``main``, or the name of the parallel worker."""
        given = getattr(self.config, "workerinput", {}).get("workerid", "main")
        return str(given)

    @property
    def _together(self) -> str:
        """What the workers of a parallel session have in common; empty elsewhere."""
        return str(getattr(self.config, "workerinput", {}).get("testrunuid", ""))

    def _log_folder(self) -> Path:
        return (self.run_folder or self.planner.output_folder) / "workers"

    # ----------------------------------------------------------------------------------------------------- recording

    def emit(self, record: LogRecord) -> None:
        """Keep a record: at once in the log, or in the spool and with the next report where the controller is elsewhere."""
        if self.controller is not None:
            self.controller.write(record)
            return
        if self.elsewhere and isinstance(record, WorkerRecord):
            record = replace(record, info={**record.info, MACHINE: self.elsewhere})
        with self._writing:
            if self.spool is not None:
                self.pending.append(self.spool.append(record))
            else:
                self.pending.append(encode_record(self.redactor.record(record)))

    def join_parallel_session(self, facts: dict[str, Any]) -> None:
        """In a parallel worker: find the controller's run folder, if we share a file system, and tell which machine this is."""
        self.observer.target = ControllerWatch(self, facts["say"].send)
        self.elsewhere = machine_elsewhere(facts["machine"])
        folder = Path(facts["run"])
        if (folder / "spool" / facts["token"]).exists():
            from ..store.spool import SpoolWriter

            self.run_folder = folder
            path = folder / "spool" / f"{self.process}-{os.getpid()}.jsonl"
            self.spool = SpoolWriter(path, protect=self.redactor.record)

    def send_along(self, report: pytest.TestReport) -> None:
        """In a parallel worker, let the records travel with the report."""
        if self.controller is not None:
            return
        pending, self.pending = self.pending, []  # at once: a thread of the test may be adding one
        if pending:
            # As one text: pytest-xdist sends objects piece by piece, which costs ten times as much.
            setattr(report, RECORDS_ATTRIBUTE, b"\n".join(pending).decode("ascii"))
        if any(uses := self.take_uses()):
            setattr(report, USES_ATTRIBUTE, uses)
        if not self._told_collected:
            setattr(report, COLLECTED_ATTRIBUTE, self.told_collected())
            self._told_collected = True

    @property
    def may_hold_reports(self) -> bool:
        """Whether reports of this parallel worker may wait for each other.

        The controller must know which tests ended, should this process die, and find what they recorded in the spool.
        """
        return self.controller is None and self.spool is not None and bool(self.config.workerinput["llmci"]["holds"])  # type: ignore[attr-defined]  # pytest-xdist's

    @cached_property
    def room(self) -> int:
        """Columns of a failure's text: those of the terminal, which a parallel worker has none of, up to a line that reads well."""
        told: dict[str, Any] = getattr(self.config, "workerinput", {}).get("llmci", {})
        room: int = told["room"] if told else self.terminal.width()
        return min(WIDTH, room)

    def told_collected(self) -> str:
        """What the controller of a parallel session is told of what was collected: one text, as objects are sent piece by piece."""
        shard = to_json(self.shard) if self.shard is not None else None
        return json.dumps({**self.collected.to_json(), "shard": shard, "rows": self.collected.rows()})

    # ------------------------------------------------------------------------------------------------------- the end

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """No model outlives the session; a parallel worker that ran no test still tells what it collected."""
        if self.controller is None:
            if self._running is not None:
                self._running.tell_waiting()
            output: dict[str, Any] = self.config.workeroutput  # type: ignore[attr-defined]  # pytest-xdist's
            output[COLLECTED_ATTRIBUTE] = "" if self._told_collected else self.told_collected()
            output[USES_ATTRIBUTE] = self.take_uses()
            self.comparing.close()  # not behind the yield: once pytest-xdist has told the end, this process may be killed
        try:
            return (yield)
        finally:
            self.finish()

    def pytest_unconfigure(self) -> None:
        """Nor an aborted one."""
        self.shut_down()

    def finish(self) -> None:
        """Record what is left to be judged and end every model; safe to call twice."""
        try:
            if self._running is not None:
                self._running.conclude_rest()
        finally:
            if self._running is not None:
                self._running.relax()
            self.shut_down()

    def shut_down(self) -> None:
        """End every model; safe to call twice."""
        if self._session is not None:
            self._session.close()
        if self.spool is not None:
            self.spool.close()
            self.spool = None
        self.comparing.close()


def import_path(config: pytest.Config) -> list[str]:
    """Where users' modules are found: this process's import path, the root directory added."""
    root = str(config.rootpath)
    entries = [entry or os.getcwd() for entry in sys.path]
    return list(dict.fromkeys([*entries, root]))
