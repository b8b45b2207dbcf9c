from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pytest_llmci import backends
from pytest_llmci.records import Json, ModelSpec
from pytest_llmci.registry import Registry
from pytest_llmci.runner.host import ModelHost
from pytest_llmci.runner.loop import NoProgress
from pytest_llmci.runner.origin import MOST_MODULES


def listed(folder: Path, *statements: str, named: tuple[str, ...] = (), owned: tuple[str, ...] = ()) -> dict[str, str]:
    """What a fresh process lists after these statements, with ``folder`` on its path."""
    code = "\n".join(
        ["import json, sys", f"sys.path.insert(0, {str(folder)!r})", *statements, "from pytest_llmci.runner.origin import module_files",
         f"print(json.dumps(module_files({named!r}, {owned!r})))"]
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_users_modules_are_listed_with_links_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "helper.py").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert listed(tmp_path / "link", "import helper") == {"helper": str(tmp_path / "real" / "helper.py")}


def test_libraries_and_our_own_modules_are_not_unless_they_are_named(tmp_path: Path) -> None:
    assert listed(tmp_path, "import json.decoder, packaging.version, pytest_llmci.records") == {}
    found = listed(tmp_path, "import packaging.version, packaging.tags", named=("packaging.version",))
    assert found.keys() == {"packaging", "packaging.version"}


def test_a_module_of_the_standard_library_that_is_a_link_to_elsewhere_is_a_library(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text("")
    (tmp_path / "stdlib").mkdir()
    (tmp_path / "stdlib" / "linked.py").symlink_to(tmp_path / "elsewhere.py")
    planted = f"import os; os.__file__ = {str(tmp_path / 'stdlib' / 'os.py')!r}"
    paths = f"sys.path.insert(0, {str(tmp_path / 'stdlib')!r})"
    assert "linked" not in listed(tmp_path, planted, paths, "import linked")
    assert "linked" in listed(tmp_path, paths, "import linked")


def test_all_of_an_owned_package_is_listed_wherever_it_is(tmp_path: Path) -> None:
    found = listed(tmp_path, "import packaging.version, packaging.tags, json", owned=("packaging",))
    assert {"packaging", "packaging.tags", "packaging.version"} <= found.keys()
    assert {name.partition(".")[0] for name in found} == {"packaging"}


def test_modules_without_a_file_are_none(tmp_path: Path) -> None:
    """torch.ops calls itself '_ops.py', wherever the process stands; a main module under another name is ours."""
    made = "for n, f in (('ops', '_ops.py'), ('__mp_main__', '/x/worker.py')): m = type(sys)(n); m.__file__ = f; sys.modules[n] = m"
    assert listed(tmp_path, made) == {}


def test_there_is_an_end_to_it(tmp_path: Path) -> None:
    many = "for n in range(2000): m = type(sys)(f'm{n}'); m.__file__ = f'/x/{n}.py'; sys.modules[m.__name__] = m"
    assert len(listed(tmp_path, many)) == MOST_MODULES


def test_a_model_says_where_its_callable_came_from(tmp_path: Path) -> None:
    (tmp_path / "origin_pipeline.py").write_text("import origin_helping\ndef answer(prompt): return 'x'\n")
    (tmp_path / "origin_helping.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    try:
        info = loaded(ModelSpec(alias="a", backend="py", target="origin_pipeline:answer", text="x"), isolated=True)
        inline = loaded(ModelSpec(alias="a", backend="py", target="origin_pipeline:answer", text="x"), isolated=False)
    finally:
        sys.path.remove(str(tmp_path))
        for name in ("origin_pipeline", "origin_helping"):
            sys.modules.pop(name, None)
    files = info["module_files"]
    assert isinstance(files, dict)
    assert files["origin_pipeline"] == str(tmp_path / "origin_pipeline.py") and files["origin_helping"] == str(
        tmp_path / "origin_helping.py"
    )
    assert "module_files" not in inline, "pytest's own process has every test imported"


def loaded(spec: ModelSpec, *, isolated: bool) -> dict[str, Json]:
    registry = Registry()
    backends.register(registry)
    host = ModelHost(registry, threads=1, cache_dir="", progress=NoProgress(), isolated=isolated)
    return host.load(spec, lambda _: None).info
