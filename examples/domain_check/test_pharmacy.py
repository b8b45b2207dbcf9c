"""Run with ``--llm-models=SPEC --llm-prompts=prompts.yaml``: the rows of prompts.yaml say which checks their answers must pass."""

from __future__ import annotations

import pytest

from pytest_llmci import CellResult


@pytest.mark.llmci(timed=False)
def test_doses_and_a_doctor(llm_result: CellResult) -> None:
    from pharmacy_checks import sends_to_a_doctor  # type: ignore[import-not-found]  # beside this file, not in a package

    assert llm_result.output.passes(sends_to_a_doctor)
