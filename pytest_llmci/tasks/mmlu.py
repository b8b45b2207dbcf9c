"""MMLU: multiple choice questions of 57 subjects, a test each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .base import Doc, Hub, Task, with_choices
from .counting import count_acc
from .rows import LETTERS, csv_rows, json_rows, place_of, place_of_label, refuse_empty, text_of, texts_of

SIZES: Final[Mapping[str, int]] = {
    "abstract_algebra": 100, "anatomy": 135, "astronomy": 152, "business_ethics": 100, "clinical_knowledge": 265,
    "college_biology": 144, "college_chemistry": 100, "college_computer_science": 100, "college_mathematics": 100,
    "college_medicine": 173, "college_physics": 102, "computer_security": 100, "conceptual_physics": 235, "econometrics": 114,
    "electrical_engineering": 145, "elementary_mathematics": 378, "formal_logic": 126, "global_facts": 100,
    "high_school_biology": 310, "high_school_chemistry": 203, "high_school_computer_science": 100,
    "high_school_european_history": 165, "high_school_geography": 198, "high_school_government_and_politics": 193,
    "high_school_macroeconomics": 390, "high_school_mathematics": 270, "high_school_microeconomics": 238,
    "high_school_physics": 151, "high_school_psychology": 545, "high_school_statistics": 216, "high_school_us_history": 204,
    "high_school_world_history": 237, "human_aging": 223, "human_sexuality": 131, "international_law": 121,
    "jurisprudence": 108, "logical_fallacies": 163, "machine_learning": 112, "management": 103, "marketing": 234,
    "medical_genetics": 100, "miscellaneous": 783, "moral_disputes": 346, "moral_scenarios": 895, "nutrition": 306,
    "philosophy": 311, "prehistory": 324, "professional_accounting": 282, "professional_law": 1534,
    "professional_medicine": 272, "professional_psychology": 612, "public_relations": 110, "security_studies": 245,
    "sociology": 201, "us_foreign_policy": 100, "virology": 166, "world_religions": 171,
}  # fmt: skip
"""Questions of the test part of each subject."""
_CHOICES: Final = 4
_COLUMNS: Final = 2 + _CHOICES
_SHAPES: Final = (
    "a CSV file a subject (question, four choices, letter of the right one; with or without a header), or JSON Lines with question,"
    " choices and answer"
)


def doc_of(row: Mapping[str, object], where: str) -> Doc:
    """A row as the hub has it."""
    choices = texts_of(row, "choices", where)
    if len(choices) != _CHOICES:
        raise ConfigError(f"{where}: 'choices' holds {len(choices)}; a question of MMLU has {_CHOICES}.")
    gold = place_of(row, "answer", _CHOICES, where)
    return Doc(where=where, question=text_of(row, "question", where), choices=choices, gold=(gold,))


def read(path: Path) -> list[Doc]:
    """All questions of a file."""
    docs = _csv(path) if path.suffix == ".csv" else [doc_of(row, where) for where, row in json_rows(path)]
    refuse_empty(docs, path)
    return docs


def _csv(path: Path) -> list[Doc]:
    docs = []
    for number, (where, cells) in enumerate(csv_rows(path)):
        if len(cells) != _COLUMNS:
            raise ConfigError(f"{where}: {len(cells)} columns; expected {_COLUMNS}: question, four choices, answer.")
        *texts, key = cells
        if number == 0 and key.strip().lower() == "answer":  # a header, which the original has not
            continue
        question = text_of({"question": texts[0]}, "question", where)
        choices = texts_of({"choices": texts[1:]}, "choices", where)
        letters = list(LETTERS[:_CHOICES])
        known = letters if key.strip().upper() in letters else [str(place) for place in range(_CHOICES)]
        gold = place_of_label(key.strip().upper(), known if key.strip().isdigit() else letters, "answer", where)
        docs.append(Doc(where=where, question=question, choices=choices, gold=(gold,)))
    return docs


def subject_of(path: Path) -> str:
    """The subject that a file is of, by its name.

    :raises ConfigError: if it is none of MMLU.
    """
    subject = path.stem
    for ending in ("_test", "_dev", "_val"):
        subject = subject.removesuffix(ending)
    if subject not in SIZES:
        from ..errors import UnknownNameError

        raise UnknownNameError.build(str(path), "subject of MMLU", subject, SIZES)
    return subject


def _examples_of(path: Path) -> Path:
    name = f"{subject_of(path)}_dev{path.suffix}"
    beside = path.parent / name
    return beside if beside.exists() else path.parent.parent / "dev" / name


def _describe(subject: str) -> str:
    return f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"


def _ask(doc: Doc, _subject: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    listed = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, doc.choices, strict=False))
    return with_choices(f"{doc.question.strip()}\n{listed}Answer:", LETTERS[: len(doc.choices)])


TASK: Final = Task(
    name="mmlu", title="MMLU, test", summary="exam questions of 57 subjects, a test each", version="1.0", metrics=("acc",), main="acc",
    size=sum(SIZES.values()), sizes=SIZES, files=("test/*_test.csv", "*/test/*_test.csv", "*_test.csv"), shapes=_SHAPES,
    hub=Hub(path="cais/mmlu", name="", split="test", examples_split="dev"), read=read, doc=doc_of, ask=_ask, count=count_acc,
    describe=_describe, examples="first", examples_of=_examples_of, shown_choices=True,
)  # fmt: skip
