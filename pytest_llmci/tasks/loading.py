"""From what the user asked for, ``arc_challenge``, ``mmlu:DIR`` or ``mine.jsonl``, to the questions of each test."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ConfigError, MissingExtraError, UnknownNameError
from ..settings import FILES_OF_QUESTIONS, SUITES, suite_name
from . import TASKS
from .base import Doc, QuestionSet, Task, build_questions
from .hub import address, announcement, hub_docs, is_there, nowhere
from .lm_eval_bridge import EXTRA, harness_version
from .mmlu import subject_of
from .own import own_task

HARNESS_FILES: Final = (".yaml", ".yml")
"""Endings of a task of lm-evaluation-harness."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One entry of ``--llmci-suite`` that is no built-in suite of timed cells."""

    name: str
    """As node ids begin."""
    place: str
    """File or folder as written; empty for none."""
    shots: int | None
    """Examples in the prompt; None for those of the harness."""
    origin: str
    text: str
    """As written."""

    @property
    def is_file(self) -> bool:
        """Whether it is a file of the user's own rather than a known task."""
        return self.place == self.text.partition("+")[0]

    @property
    def is_harness_file(self) -> bool:
        """Whether it is a task file of lm-evaluation-harness."""
        return self.is_file and self.place.lower().endswith(HARNESS_FILES)


def parse_asked(text: str, origin: str) -> Asked:
    """Read ``NAME[:PATH][+shots=N]``, or the path of a file.

    :raises ConfigError: if it is none of them.

    >>> parse_asked("mmlu:data/mmlu+shots=5", "--llmci-suite").shots
    5
    >>> parse_asked("sets/mine.jsonl", "--llmci-suite").name
    'mine'
    """
    head, plus, option = text.partition("+")
    shots = _shots(option, f"{origin}: '{text}'") if plus else None
    name, colon, place = head.partition(":")
    if not colon and head.lower().endswith(FILES_OF_QUESTIONS):
        return Asked(name=suite_name(text), place=head, shots=shots, origin=origin, text=text)
    if not name or (colon and not place):
        raise ConfigError(f"{origin}: '{text}' is not of the form NAME[:PATH][+shots=N], nor a file of questions.")
    return Asked(name=name, place=place, shots=shots, origin=origin, text=text)


def _shots(option: str, where: str) -> int:
    key, _, value = option.partition("=")
    if key != "shots":
        raise UnknownNameError.build(where, "key", key, ("shots",))
    if not value.isdecimal():
        raise ConfigError(f"{where}: shots={value} is no whole number of examples.")
    return int(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskTest:
    """What one test of a suite asks every model."""

    suite: str
    name: str
    """The task, with the subject where there is one."""
    subject: str
    task: Task
    load: Callable[[], QuestionSet]
    """The questions; those of a file are read already.

    :raises ConfigError: if those of the hub cannot be had.
    """
    harness: str = ""
    """Name or file of the task that lm-evaluation-harness asks; empty for those of our own."""
    limit: int | None = None
    """Questions that the harness asks at most."""
    shots: int | None = None
    """Examples that it is told to put into the prompt."""
    announcement: str = ""
    """What has to be said before anything is fetched; empty for a file."""


def find_task(name: str, where: str) -> Task:
    """The built-in task of that name.

    :raises UnknownNameError: if there is none.
    """
    if name not in TASKS:
        raise UnknownNameError.build(where, "suite", name, (*SUITES, *TASKS))
    return TASKS[name]


def task_tests(asked: Asked, base: Path, *, data: Path | None = None, limit: int | None = None) -> list[TaskTest]:
    """The tests of one entry; its files are read here, so that whatever is wrong with them is said before anything loads.

    :param base: folder that relative paths start from.
    :param data: the folder of ``--llmci-task-data``.
    :param limit: how many questions each test asks at most.
    :raises ConfigError: in one line, if there is no such task or file, or a file is malformed.
    """
    if asked.is_harness_file or (asked.name not in TASKS and not asked.is_file and not asked.place):
        return [_of_harness(asked, base, limit)]
    if asked.is_file:
        return [_of_file(own_task(asked.name), asked, base / Path(asked.place).expanduser(), limit)]
    task = find_task(asked.name, asked.origin)
    if asked.place:
        files = _files_at(task, base / Path(asked.place).expanduser(), asked.origin)
    else:
        files = _files_in(task, data) if data is not None else []
    if files:
        return [_of_file(task, asked, file, limit) for file in files]
    if task.hub is None or not is_there():
        raise ConfigError(
            nowhere(task) if data is None else f"{data}: holds no {task.name}; looked for {', '.join(task.files)}."
        )
    return [_of_hub(task, asked, subject, limit) for subject in (task.sizes or [""])]


def _files_at(task: Task, place: Path, origin: str) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise ConfigError(f"{origin}: {task.name}: there is no file or folder {place}.")
    found = _files_in(task, place)
    if not found:
        raise ConfigError(
            f"{origin}: {place} holds no {task.name}; looked for {', '.join(task.files)}. Or name the file itself."
        )
    return found


def _files_in(task: Task, folder: Path) -> list[Path]:
    """The files of the first pattern that is met: one, or one a subject."""
    if not folder.is_dir():
        raise ConfigError(f"--llmci-task-data: there is no folder {folder}.")
    for pattern in task.files:
        found = sorted(folder.glob(pattern))
        if len(found) > 1 and not task.sizes:
            raise ConfigError(
                f"{folder}: {found[0].relative_to(folder)} and {found[1].relative_to(folder)} are both {task.name}; name one of them."
            )
        if found:
            return found
    return []


def _of_file(task: Task, asked: Asked, path: Path, limit: int | None) -> TaskTest:
    subject = subject_of(path) if task.sizes else ""
    found = file_questions(task, path, subject=subject, shots=asked.shots, limit=limit)
    return TaskTest(suite=asked.name, name=found.name, subject=subject, task=task, load=lambda: found)


def file_questions(
    task: Task, path: Path, *, subject: str = "", shots: int | None = None, limit: int | None = None
) -> QuestionSet:
    """The questions of a file.

    :raises ConfigError: in one line that names file and row.
    """
    wanted = task.shots if shots is None else shots
    if not path.is_file():
        raise ConfigError(f"{task.name}: there is no file {path}.")
    docs = task.read(path)
    examples = _examples(task, path, wanted) if wanted else []
    questions = build_questions(task, docs, subject=subject, shots=wanted, examples=examples, limit=limit)
    return QuestionSet(
        task=task, subject=subject, questions=questions, rows=len(docs), source=path.name,
        source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(), shots=wanted, limit=limit, notes=_notes(docs),
        variants=_variants(docs),
    )  # fmt: skip


def _examples(task: Task, path: Path, shots: int) -> list[Doc]:
    if task.examples == "none":
        raise ConfigError(
            f"{task.name}: +shots={shots}: its prompt has no examples here; through lm-evaluation-harness it may have."
        )
    file = task.examples_of(path)
    if file is None or not file.is_file():
        raise ConfigError(
            f"{task.name}: its prompt has {shots} examples, of {file}, which is not there; add it, or ask"
            f" without: {task.name}:{path}+shots=0."
        )
    return task.read(file)


def _of_hub(task: Task, asked: Asked, subject: str, limit: int | None) -> TaskTest:
    def load() -> QuestionSet:
        wanted = task.shots if asked.shots is None else asked.shots
        docs = hub_docs(task, subject)
        examples = hub_docs(task, subject, examples=True) if wanted else []
        questions = build_questions(task, docs, subject=subject, shots=wanted, examples=examples, limit=limit)
        return QuestionSet(
            task=task, subject=subject, questions=questions, rows=len(docs), source=address(task, subject), shots=wanted, limit=limit,
            notes=_notes(docs), variants=_variants(docs),
        )  # fmt: skip

    if asked.shots and task.examples == "none":
        _examples(task, Path(), asked.shots)
    name = f"{task.name}_{subject}" if subject else task.name
    return TaskTest(suite=asked.name, name=name, subject=subject, task=task, load=load, announcement=announcement(task))


def _harness_is_there() -> bool:
    """Whether lm-eval is installed. Imports nothing."""
    return importlib.util.find_spec("lm_eval") is not None


def _of_harness(asked: Asked, base: Path, limit: int | None) -> TaskTest:
    """A task that lm-evaluation-harness knows, where that is installed."""
    if not _harness_is_there():
        where = f"with the extra eval, every task of lm-evaluation-harness runs: pip install '{EXTRA}'"
        if asked.is_harness_file:
            raise MissingExtraError(f"{asked.origin}: {asked.place}: {where}.")
        unknown = UnknownNameError.build(asked.origin, "suite", asked.name, (*SUITES, *TASKS))
        raise UnknownNameError(f"{unknown} Or, {where}.")
    text = str(base / Path(asked.place).expanduser()) if asked.is_harness_file else asked.name

    def load() -> QuestionSet:
        raise ConfigError(f"{asked.name}: its documents are read by lm-evaluation-harness.")

    return TaskTest(
        suite=asked.name, name=asked.name, subject="", task=own_task(asked.name), load=load, harness=text, limit=limit, shots=asked.shots,
        announcement=f"{asked.name}: through {harness_version()}, which fetches its documents from the hub unless they are in the cache"
        " or are files",
    )  # fmt: skip


def _notes(docs: Sequence[Doc]) -> tuple[str, ...]:
    """What the harness counts without a word: a question that stands in the file twice."""
    twice = _repeated(doc.sha256 for doc in docs)
    return (f"{twice} stand{'s' if twice == 1 else ''} in the file twice",) if twice else ()


def _variants(docs: Sequence[Doc]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(doc.variant for doc in docs if doc.variant))


def _repeated(values: Iterable[str]) -> int:
    seen: set[str] = set()
    count = 0
    for value in values:
        count += value in seen
        seen.add(value)
    return count
