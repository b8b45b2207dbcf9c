from __future__ import annotations

from pathlib import Path

from sample_run import rounds, worker, write_log

from pytest_llmci.engine.reports.elsewhere import elsewhere_text
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.records import LogRecord


def text_of(folder: Path, machines: dict[str, dict[str, object]]) -> str:
    records: list[LogRecord] = []
    for number, (model, machine) in enumerate(machines.items()):
        info = {"machine": machine} if machine else {}
        records += [
            worker(uid=f"w{number}", model=model, info=info),
            rounds(uid=f"r{number}", model=model, worker=f"w{number}", cell=f"{model}-tcp", test=f"inference::{model}-tcp"),
        ]  # fmt: skip
    write_log(folder, records)
    return elsewhere_text(build_report(folder))


def test_models_of_one_machine_stand_together(tmp_path: Path) -> None:
    epyc, arm = {"cpu_model": "AMD EPYC", "cores_allowed": 4}, {"machine": "aarch64", "cores_allowed": 1}
    found = text_of(tmp_path, {"a": {}, "b": epyc, "c": arm, "d": epyc})
    assert found == "Measured on other machines: b, d (AMD EPYC, 4 CPUs); c (aarch64, 1 CPU)."


def test_the_sessions_own_machine_is_no_other(tmp_path: Path) -> None:
    assert text_of(tmp_path, {"a": {}}) == ""


def test_many_models_are_counted(tmp_path: Path) -> None:
    machine: dict[str, object] = {"cpu_model": "AMD EPYC"}
    found = text_of(tmp_path, dict.fromkeys("abcdefg", machine))
    assert found == "Measured on other machines: a, b, c, d and 3 more (AMD EPYC)."
