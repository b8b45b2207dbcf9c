"""The command line: one table of options, each with a flag, an environment variable and an ini twin."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from ..given import Given


class Option:
    """One option. Not a dataclass: making one takes longer than all else in this module, and every pytest run pays."""

    __slots__ = ("flags", "help", "kind", "metavar", "name")

    def __init__(
        self,
        name: str,
        flags: tuple[str, ...],
        kind: Literal["list", "one", "number", "flag", "name", "names", "maybe"],
        metavar: str,
        text: str,
        /,
    ) -> None:
        """
        :param name: of the setting; the ini twin is ``llmci_<name>``, the environment variable ``LLMCI_<NAME>``.
        :param kind: ``name`` and ``names`` may stand without a value, for :data:`UNNAMED`; the latter may be given several times.
            ``maybe`` may, too: for ``yes``.
        """
        self.name, self.flags, self.kind, self.metavar, self.help = name, flags, kind, metavar, text


OPTIONS = (
    Option("models", ("--llm-models", "--llmci-models"), "list", "SPEC[,SPEC]",
           "models, [alias=]backend:target[@revision][+key=value...]; @file.yaml reads a list, @paper is packaged; arms the plugin"),
    Option("prompts", ("--llm-prompts", "--llmci-prompts"), "list", "NAME|FILE", "prompt sets: paper, or a .yaml .json .jsonl .csv .txt file"),
    Option("suite", ("--llmci-suite",), "list", "NAME[:PATH][,...]",
           "built-in suites to run: inference, load, arc_challenge, hellaswag, mmlu, ..., or a file of your own questions; alone it runs only these"),
    Option("task_data", ("--llmci-task-data",), "one", "DIR", "folder with the files of benchmark tasks, such as arc_challenge.jsonl"),
    Option("limit", ("--llmci-limit",), "number", "N", "first N questions of each benchmark task: no score of the benchmark, and labelled so"),
    Option("shard", ("--llmci-shard",), "one", "I/N", "measure one of N parts of the matrix, by model; llmci merge makes one run of them all"),
    Option("shard_costs", ("--llmci-shard-costs",), "one", "RUN|FILE",
           "how long models take, to balance shards by: a run, or a metrics.json that all of them have (default: the newest whole run, else sizes)"),
    Option("resume", ("--llmci-resume",), "maybe", "RUN",
           "go on with RUN (default: the latest): take over its finished cells and answers to benchmark tasks where they are the same, measure the rest"),
    Option("rounds", ("--llmci-rounds",), "number", "N", "measured rounds a cell (default 5)"),
    Option("max_rounds", ("--llmci-max-rounds",), "number", "N", "most rounds that a cell with an undecided budget may get (default 20)"),
    Option("warmup", ("--llmci-warmup",), "number", "N", "unmeasured rounds before the first one (default 1)"),
    Option("block", ("--llmci-block",), "number", "N", "rounds added at a time to an undecided cell (default 5)"),
    Option("time_limit", ("--llmci-time-limit",), "one", "10m", "wall limit of the measuring; cells after it are inconclusive"),
    Option("max_new_tokens", ("--llmci-max-new-tokens",), "number", "N", "tokens an answer (default: exactly 50 in suites, up to 256 in own tests)"),
    Option("seed", ("--llmci-seed",), "number", "N", "seed of sampling (default 0)"),
    Option("temperature", ("--llmci-temperature",), "number", "X", "0 is greedy (default)"),
    Option("samples", ("--llmci-samples",), "number", "N", "judge each cell's checks on up to N sampled outputs beyond its rounds; needs a temperature"),
    Option("min_pass_rate", ("--llmci-min-pass-rate",), "one", "0.8|80%", "share of the samples that must pass, decided by an exact binomial bound (default 0.8)"),
    Option("threads", ("--llmci-threads",), "number", "N|auto", "CPU threads of a model's process (default 1)"),
    Option("batch", ("--llmci-batch",), "number", "N",
           "questions or prompts that a model works on at once where nothing is timed: benchmarks, llm.score_many, llm.generate_many, cells of tests with timed=False (default: 16 questions, 1 prompt)"),
    Option("max_latency", ("--llmci-max-latency",), "list", "[GLOB:]2s", "budget on the median latency of every cell"),
    Option("max_memory", ("--llmci-max-memory",), "list", "[GLOB:]2GiB", "budget on the peak resident memory of every cell"),
    Option("budget", ("--llmci-budget",), "list", "EXPR", "budget: [model-glob:]metric[.stat] OP value, such as 'ttft.median <= 300ms'"),
    Option("load", ("--llmci-load",), "list", "SCENARIO",
           "load of the suite load: single-stream, concurrency=N, rate=R (Poisson), rate=LOW..HIGH (sweep) or offline, with requests=N (default: single-stream, concurrency=8, offline)"),
    Option("objective", ("--llmci-objective",), "list", "LIMITS", "what an answer under load must keep to count as goodput, such as 'ttft<=500ms itl<=50ms'"),
    Option("check", ("--llmci-check",), "list", "CHECK",
           "check of every answer, beside those of its test or prompt row: NAME[:ARGUMENT], such as max_words:120; llmci doctor --checks lists them"),
    Option("versus", ("--llmci-versus",), "list", "SPEC|git:REV|BASELINE",
           "compare with another spec ([alias=]SPEC, or +key=value for every model), commit or baseline, measured alternately in one session"),
    Option("versus_python", ("--llmci-versus-python",), "one", "PATH|auto",
           "with git:REV, the environment of the reference; auto builds it from REV's lock file or requirements"),
    Option("detect", ("--llmci-detect",), "list", "METRIC=5%", "smallest change that must be found (default 5%% of every gated time)"),
    Option("inconclusive", ("--llmci-inconclusive",), "one", "fail|warn|pass", "what an undecided cell does to the build (default warn: exit 0)"),
    Option("isolation", ("--llmci-isolation",), "one", "worker|inline", "a process a model (default), or pytest's own process"),
    Option("timeout", ("--llmci-timeout",), "one", "300s", "limit of one inference; the model's process is killed after it"),
    Option("load_timeout", ("--llmci-load-timeout",), "one", "1800s", "limit of loading a model, started anew while a download makes progress"),
    Option("memory_limit", ("--llmci-memory-limit",), "one", "4GiB", "resident memory at which a model's process is killed (default none)"),
    Option("memory", ("--llmci-memory",), "one", "auto|exact|off",
           "growth of memory (peak_rss_delta) in a pass of its own: where a budget or a baseline that holds it asks (default), for every cell, never"),
    Option("timing", ("--llmci-timing",), "one", "exclusive|parallel", "timed work holds a machine-wide lock (default), or may overlap"),
    Option("anchor", ("--llmci-anchor",), "flag", "",
           "time a small frozen model beside every round (25 ms), so that stored baselines that have it, too, are compared by ratios: what can be seen is about half as large"),
    Option("output", ("--llmci-output",), "one", "DIR", "where run folders go (default llmci-results)"),
    Option("save_baseline", ("--llmci-save-baseline",), "name", "NAME",
           "keep what this session measures as the baseline NAME (default main), in place of the one before"),
    Option("update_baseline", ("--llmci-update-baseline",), "name", "NAME", "add this session to the baseline NAME; the newest ten are kept"),
    Option("baseline", ("--llmci-baseline",), "names", "NAME|PATH|mlflow:NAME@ALIAS", "compare with the baseline NAME (default main), a file or folder of one, or the promoted run of a registered model"),
    Option("baselines", ("--llmci-baselines",), "one", "DIR", "where baselines are kept (default llmci-baselines, beside the settings)"),
    Option("scores", ("--llmci-scores",), "list", "FILE|paper",
           "published benchmark scores to show beside the results, marked as published: a leaderboard's CSV, or the paper's five"),
    Option("prices", ("--llmci-prices",), "list", "[GLOB:]NAME|FILE[#NAME]",
           "what a model costs to run, for the metric cost: a price of the packaged table, such as gcp-a100, or of a TOML or CSV file"),
    Option("sink", ("--llmci-sink",), "list", "NAME[:TARGET]", "further destinations of the results, such as pytest-benchmark:FILE; llmci report --help lists them; csv and json are always written"),
    Option("mlflow", ("--llmci-mlflow",), "maybe", "URI",
           "log the run to MLflow at the end: to its default store, or to this one; required[:URI] fails the session if that fails"),
    Option("mlflow_experiment", ("--llmci-mlflow-experiment",), "one", "NAME", "experiment of MLflow (default LLM_CI_CD_Benchmark)"),
    Option("redact", ("--llmci-redact",), "flag", "", "write and show hashes of prompts and outputs, and not their texts"),
    Option("replay", ("--llmci-replay",), "one", "RUN",
           "judge checks and budgets again on the stored outputs of a run (latest, latest~1, an id, a folder), without any model; arms the plugin"),
    Option("plan", ("--llmci-plan",), "flag", "", "print cells, loads and predicted time; measure nothing"),
)  # fmt: skip
UNNAMED = "main"
"""The baseline that is meant where none is named."""
ARMING = "llmci_armed"
ARMING_FLAGS = ("--llmci", *OPTIONS[0].flags, "--llmci-replay")
"""On the command line, any of these arms the plugin."""
VARIABLES = ("SIGNING_KEY", "LOCK_FILE", "CACHE_DIR", "SINK_PROCESS")
"""What ``LLMCI_`` may precede besides: no settings."""
GATES = ("budget", "max_latency", "max_memory", "check")
"""What is asked of answers: where two places differ in it, it is said which of them counts."""
FLAG_HINT = "--llm-models=SPEC (or --llmci, which takes the models from the settings)"


def add_options(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register everything in the group ``llmci``."""
    words = _words(pluginmanager)
    group = parser.getgroup("llmci", "LLM benchmarks (pytest-llmci)")
    group.addoption(
        "--llmci",
        action="store_true",
        default=None,
        dest=ARMING,
        help="measure models, as the settings say (or LLMCI=1)",
    )
    for option in OPTIONS:
        _add_option(group, option, words)
        parser.addini("llmci_" + option.name, f"twin of {option.flags[0]}", type=_ini_type(option), default=None)


def _words(pluginmanager: pytest.PytestPluginManager) -> list[str]:
    """What ``addopts``, ``PYTEST_ADDOPTS`` and the command line say, in the order in which pytest reads them."""
    config: Any = pluginmanager.getplugin("pytestconfig")
    try:
        words = list(config.getini("addopts"))
    except (ValueError, AttributeError):  # handed to pytest.main as an object: the settings are not read yet
        words = []
    return [*words, *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *map(str, config.invocation_params.args)]


def _stands_before_a_path(option: Option, words: list[str]) -> bool:
    """Whether the option is written without a value and something follows that argparse would take for it.

    In ``--llmci-save-baseline tests/`` the folder is meant to be collected; only ``=`` gives a name. argparse cannot tell the
    two apart, so that the option must be declared without a value there.
    """
    return any(word in option.flags and not after.startswith("-") for word, after in itertools.pairwise(words))


def _add_option(group: pytest.OptionGroup, option: Option, words: list[str]) -> None:
    dest = "llmci_" + option.name
    if option.kind in ("name", "names", "maybe"):
        const = "yes" if option.kind == "maybe" else UNNAMED
        given: dict[str, Any] = {"const": const, "default": None, "dest": dest, "help": option.help}
        is_one = option.kind != "names"
        if _stands_before_a_path(option, words):
            group.addoption(*option.flags, action="store_const" if is_one else "append_const", **given)
        else:
            action = "store" if is_one else "append"
            group.addoption(*option.flags, action=action, nargs="?", metavar=option.metavar, **given)
        return
    if option.kind == "flag":
        group.addoption(*option.flags, action="store_true", default=None, dest=dest, help=option.help)
    elif option.kind == "list":
        group.addoption(
            *option.flags, action="append", default=None, dest=dest, metavar=option.metavar, help=option.help
        )
    else:
        group.addoption(*option.flags, default=None, dest=dest, metavar=option.metavar, help=option.help)


_SCALARS_MAY_BE_TYPED = tuple(int(part) for part in pytest.__version__.split(".")[:2]) >= (9, 2)


def _ini_type(option: Option) -> Any:
    """A native TOML file may write ``llmci_rounds = 5`` where pytest can take it; older ones want text."""
    if option.kind in ("list", "names"):
        return "linelist"
    if option.kind == "flag":
        return "bool"
    if option.kind == "number" and _SCALARS_MAY_BE_TYPED:
        return int | float | str
    return "string"


def any_set(config: pytest.Config, *names: str) -> bool:
    """Whether one of pytest's own options is on; the plugin that brings it may be blocked (``-p no:setuponly``)."""
    return any(getattr(config.option, name, False) for name in names)


def is_armed(config: pytest.Config) -> bool:
    """Whether this session measures: by flag, by environment, or because models were named on the command line.

    :raises pytest.UsageError: if a flag that was typed would have no effect. What stands in ``addopts``, ``PYTEST_ADDOPTS`` or the
        settings is for the sessions that are armed.
    """
    named = any(config.getoption(name, None) for name in (ARMING, "llmci_models"))
    if named or config.getoption("llmci_replay", None) is not None:
        return True
    value = os.environ.get("LLMCI", "").strip().lower()
    if not value:
        _refuse_flags_without_effect(config)
        _refuse_cells_without_models(config)
        return False
    from ..given import OFF, ON

    if value in ON + OFF:
        return value in ON
    raise pytest.UsageError(f"LLMCI: '{value}' is neither 1 nor 0.")


def _refuse_cells_without_models(config: pytest.Config) -> None:
    """pytest would say of the id of a suite's cell that there is no such file; by ``--pyargs`` a package may have its name."""
    here = config.invocation_params.dir
    if config.option.pyargs or all(os.path.exists(here / str(each).partition("::")[0]) for each in config.args):
        return
    from .suite_ids import take_suite_ids

    for cell in take_suite_ids(config).given:
        raise pytest.UsageError(f"{cell}: a suite needs a model: add {FLAG_HINT}.")


def _refuse_flags_without_effect(config: pytest.Config) -> None:
    typed = [str(argument).partition("=")[0] for argument in config.invocation_params.args]
    ours = {flag for option in OPTIONS for flag in option.flags}.intersection(typed)
    if ours and not config.option.help and not hasattr(config, "workerinput"):
        flag = next(text for text in typed if text in ours)
        raise pytest.UsageError(f"{flag}: no model is asked anything without {FLAG_HINT}; add it, or take {flag} away.")


def gather(config: pytest.Config) -> dict[str, Given]:
    """Every option that was given, by precedence: command line, environment, ini, ``[tool.llmci]``."""
    file = config.inipath.name if config.inipath else "ini"
    held = vars(
        config
    )  # its own name for what the file holds has changed; without it, pytest's warning is all there is
    _refuse_misspelt(held.get("_inicfg") or held.get("inicfg") or (), file)
    _refuse_misspelt_variables(os.environ)
    overridden = [text.partition("=") for text in config.getoption("override_ini", None) or ()]
    emptied = [name for name, equals, value in overridden if equals and not value.strip()]
    table = {name: given for name, given in _tool_table(config.rootpath).items() if f"llmci_{name}" not in emptied}
    return gather_from(lambda name: config.getoption(name, None), config.getini, file, table)


def _refuse_misspelt(settings: Iterable[str], file: str) -> None:
    """pytest warns of a key that it does not know, and goes on: a gate must not be lost so quietly.

    :raises UnknownNameError: for one that was meant for us.
    """
    from ..errors import UnknownNameError

    known = {f"llmci_{option.name}" for option in OPTIONS}
    for name in settings:
        if name.startswith("llmci_") and name not in known:
            raise UnknownNameError.build(file, "setting", name, known)


def _refuse_misspelt_variables(environment: Iterable[str]) -> None:
    """A variable may hold a key or be somebody else's: one that is nearly called like a setting is refused.

    :raises UnknownNameError: naming that setting.
    """
    from difflib import get_close_matches

    from ..errors import UnknownNameError

    known = [option.name.upper() for option in OPTIONS]
    for name in environment:
        prefix, _, rest = name.partition("LLMCI_")
        if not prefix and rest not in known and rest not in VARIABLES and get_close_matches(rest, known, cutoff=0.8):
            raise UnknownNameError.build("environment", "variable", name, [f"LLMCI_{each}" for each in known])


def gather_from(
    typed: Callable[[str], Any], ini: Callable[[str], Any], file: str, table: Mapping[str, Given]
) -> dict[str, Given]:
    """Every option that was given in one of these places, the first one first; the environment is the second.

    :param typed: what the command line says of ``llmci_<name>``; None where it says nothing.
    :param ini: the same for the ini file, as pytest reads the type of that option.
    :param file: the ini file, for messages.
    :param table: ``[tool.llmci]``.
    """
    from dataclasses import replace

    found: dict[str, Given] = {}
    for option in OPTIONS:
        name = "llmci_" + option.name
        places = (
            _from_command_line(typed(name), option), _from_environment(option), _from_ini(ini(name), f"{file}: {name}"),
            table.get(option.name),
        )  # fmt: skip
        given = [place for place in places if place is not None]
        if given:
            other = next((place.origin for place in given[1:] if place.value != given[0].value), "")
            found[option.name] = replace(given[0], instead_of=other) if other else given[0]
    return found


def replaced_gates(given: Mapping[str, Given]) -> list[str]:
    """What the header says of gates that stand in the settings and do not count."""
    replaced = (given[name] for name in GATES if name in given)
    return [f"{each.origin} takes the place of {each.instead_of}" for each in replaced if each.instead_of]


def _from_command_line(value: Any, option: Option) -> Given | None:
    from ..given import Given

    if value is None:
        return None
    if option.kind == "flag":
        return Given("yes", option.flags[0])
    return Given(tuple(value) if option.kind in ("list", "names") else value, option.flags[0])


def _from_environment(option: Option) -> Given | None:
    from ..given import Given

    name = "LLMCI_" + option.name.upper()
    value = os.environ.get(name)
    if value is None or not value.strip():
        return None
    return Given(tuple(value.splitlines()) if option.kind in ("list", "names") else value, name)


def _from_ini(value: Any, origin: str) -> Given | None:
    from ..given import Given

    is_empty = value in (None, []) or (isinstance(value, str) and not value.strip())
    return None if is_empty else Given(_as_text(value), origin)


def _as_text(value: object) -> str | tuple[str, ...]:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return tuple(map(str, value)) if isinstance(value, list) else str(value)


def _tool_table(root: Path) -> Mapping[str, Given]:
    """``[tool.llmci]`` of the root directory's ``pyproject.toml``: the same names, with lists and numbers as TOML has them."""
    path = root / "pyproject.toml"
    if not path.is_file():
        return {}
    text = path.read_text("utf-8", "replace")
    return _read_tool_table(text, path) if "tool.llmci" in text else {}


def _read_tool_table(text: str, path: Path) -> Mapping[str, Given]:
    import tomllib

    from ..errors import UnknownNameError

    try:
        table = tomllib.loads(text).get("tool", {}).get("llmci", {})
    except tomllib.TOMLDecodeError as error:
        raise pytest.UsageError(f"{path}: {error}") from error
    known = [option.name for option in OPTIONS]
    where = f"{path.name}: [tool.llmci]"
    for name in table:
        if name not in known:
            raise UnknownNameError.build(where, "key", name, known)
    return read_table(table, where)


def read_table(table: Mapping[str, object], where: str) -> Mapping[str, Given]:
    """The options of a TOML table.

    :param where: the file and the table, for messages.
    :raises ConfigError: naming a key whose value is of another type.
    """
    from ..errors import ConfigError
    from ..given import Given

    found = {}
    for name, value in table.items():
        if isinstance(value, dict) or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
            raise ConfigError(f"{where}: '{name}' must be text, a number or a list of texts.")
        found[name] = Given(_as_text(value), f"{where} {name}")
    return found
