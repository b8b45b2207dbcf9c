from __future__ import annotations

import gc
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from mlflow_stores import fresh_store

from pytest_llmci.tracking import lean
from pytest_llmci.tracking.lean import LEFT_OUT, leanly

ROOT = str(Path(__file__).parents[3])


def in_a_process(code: str, *arguments: str, more: str = "") -> object:
    """What a process prints as JSON at its end."""
    start = f"import json, sys\nsys.path[:0] = {[more, ROOT] if more else [ROOT]!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", start, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_process_of_its_own_logs_without_the_large_packages_and_may_import_them_later(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("pandas")
    told = in_a_process(
        "from pytest_llmci.tracking.connection import connect\n"
        "store = connect(sys.argv[1], 'x', alone=True)\n"
        "from mlflow.entities import Metric\n"
        "run = store.client.create_run('0')\n"
        "store.client.log_batch(run.info.run_id, metrics=[Metric('a', 2.5, 0, 0)])\n"
        f"there = [name for name in {LEFT_OUT!r} if name in sys.modules]\n"
        "import pandas\n"
        "print(json.dumps([store.client.get_run(run.info.run_id).data.metrics, there, hasattr(pandas, 'DataFrame')]))",
        fresh_store(tmp_path),
    )
    assert told == [{"a": 2.5}, [], True]


def test_where_mlflow_cannot_do_without_them_it_is_imported_as_usual(tmp_path: Path) -> None:
    for name in ("pandas", "mlflow"):
        (tmp_path / name).mkdir()
    (tmp_path / "pandas" / "__init__.py").write_text("here = True\n")
    (tmp_path / "mlflow" / "__init__.py").write_text("from . import part\n")
    (tmp_path / "mlflow" / "part.py").write_text("import pandas\nseen = pandas.here\n")
    code = (
        "from pytest_llmci.tracking import lean\n"
        "lean._has_plugins = lambda: False\n"
        "def load():\n    import mlflow\n    return mlflow.part.seen\n"
        "print(json.dumps(lean.leanly(load)))"
    )
    assert in_a_process(code, more=str(tmp_path)) is True


@pytest.mark.parametrize(("plugin", "missing"), [("", True), ("mlflow-some-store", False)])
def test_plugins_of_others_get_everything(plugin: str, missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dist:
        name = plugin

    entry = metadata.EntryPoint("x", "y:z", "mlflow.artifact_repository")
    vars(entry).update(dist=Dist())
    monkeypatch.setattr(metadata, "entry_points", lambda: metadata.EntryPoints([entry] if plugin else []))
    for name in ("mlflow", "pandas"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def load() -> bool:
        return "pandas" in sys.modules and sys.modules["pandas"] is None

    assert leanly(load) is missing
    assert "pandas" not in sys.modules


def test_packages_that_are_loaded_stay_and_the_collector_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "_has_plugins", lambda: False)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    loaded = type(sys)("pandas")
    monkeypatch.setitem(sys.modules, "pandas", loaded)
    assert leanly(lambda: (sys.modules["pandas"] is loaded, gc.isenabled())) == (True, False)
    assert sys.modules["pandas"] is loaded and gc.isenabled()
    gc.unfreeze()


def test_mlflow_that_is_there_already_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", type(sys)("mlflow"))
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    assert leanly(lambda: "pandas" in sys.modules) is False
    gc.unfreeze()
