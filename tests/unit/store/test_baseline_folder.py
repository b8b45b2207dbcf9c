from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sample_baseline import HERE, LATER, MACHINE, NOW, baseline

from pytest_llmci.errors import ConfigError
from pytest_llmci.store.baseline_file import load, save
from pytest_llmci.store.baseline_folder import choose, find, list_baselines, prune
from pytest_llmci.store.comparability import environment_part
from pytest_llmci.text import shown_path


def test_the_file_of_this_machine_is_chosen(tmp_path: Path) -> None:
    save(baseline(facts=LATER, days_old=0), tmp_path)
    path = save(baseline(), tmp_path).path
    chosen = choose(tmp_path, "main", HERE, now=NOW)
    assert (chosen.name, chosen.path, chosen.differences, chosen.warnings) == ("main", path, (), ())
    assert chosen.same_environment
    assert choose(tmp_path, "main", environment_part(MACHINE), now=NOW).path == path


def test_else_the_one_that_is_most_like_it(tmp_path: Path) -> None:
    save(baseline(facts={**LATER, "machine": "arm64"}, days_old=0), tmp_path)
    path = save(baseline(facts=LATER), tmp_path).path
    chosen = choose(tmp_path, "main", HERE, now=NOW)
    assert chosen.path == path
    assert list(map(str, chosen.differences)) == ["cores_allowed: 8 -> 2", "cpu_model: Another -> A processor"]
    assert not chosen.same_environment


def test_the_accelerator_counts_once_it_is_known(tmp_path: Path) -> None:
    one = save(baseline(device_name="One", days_old=2), tmp_path).path
    two = save(baseline(device_name="Two", days_old=1), tmp_path).path
    assert choose(tmp_path, "main", HERE, now=NOW).path == two  # the newest, as long as nobody knows
    chosen = choose(tmp_path, "main", environment_part(MACHINE, {"device_name": "One"}), now=NOW)
    assert (chosen.path, chosen.differences) == (one, ())


@pytest.mark.parametrize(("days", "warns"), [(89, False), (91, True)])
def test_an_old_one_warns(tmp_path: Path, days: int, warns: bool) -> None:
    save(baseline(days_old=days), tmp_path)
    warnings = choose(tmp_path, "main", HERE, now=NOW, measuring="pytest --llmci").warnings
    assert bool(warnings) is warns
    if warns:
        assert "baseline main is 91 days old" in warnings[0]
        assert warnings[0].endswith("pytest --llmci --llmci-save-baseline=main")


def test_a_path_names_a_file_or_a_folder(tmp_path: Path) -> None:
    path = save(baseline(), tmp_path / "kept").path
    nowhere = tmp_path / "nowhere"
    for text, base in [
        (str(path), None),
        (str(path.parent), None),
        (f"main/{path.name}", path.parents[1]),
        ("./main", path.parents[1]),
        (path.name, path.parent),
    ]:
        assert choose(nowhere, text, HERE, base=base, now=NOW).path == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("release", "there is no baseline 'release'; {root} holds main, old. Make one: pytest -x --llmci-save-baseline=release"),
        ("./release", "'./release' is no baseline's file and no folder of them; {root} holds main, old. Make one: .*=main"),
        ("mlflow:x@y", "there is no baseline 'mlflow:x@y'; .*=main"),
        ("", "there is no baseline ''; .*=main"),
    ],
)  # fmt: skip
def test_none_of_that_name(tmp_path: Path, name: str, message: str) -> None:
    save(baseline(name="main"), tmp_path)
    save(baseline(name="old"), tmp_path)
    with pytest.raises(ConfigError, match=message.format(root=re.escape(shown_path(tmp_path)))) as caught:
        find(tmp_path, name, tmp_path, "pytest -x")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(
        ConfigError, match="holds none. Make one: add --llmci-save-baseline=main to the pytest command that measures"
    ):
        find(tmp_path / "empty", "main")


def test_listing_tells_what_cannot_be_read(tmp_path: Path) -> None:
    save(baseline(name="b"), tmp_path)
    path = save(baseline(name="a"), tmp_path).path
    path.write_text("{}", "utf-8")
    tmp_path.joinpath("accepted.toml").write_text("", "utf-8")
    found = list_baselines(tmp_path)
    assert [(file.name, file.record is None) for file in found] == [("a", True), ("b", False)]
    assert "is no baseline" in found[0].error
    assert list_baselines(tmp_path / "nowhere") == []


def test_old_sessions_go_and_files_without_any(tmp_path: Path) -> None:
    save(baseline(name="old", days_old=100), tmp_path)
    save(baseline("dns", days_old=100), tmp_path)
    kept = save(baseline(days_old=10), tmp_path, append=True).path
    before = kept.read_bytes()
    dry = prune(tmp_path, now=NOW, dry_run=True)
    assert kept.read_bytes() == before
    found = prune(tmp_path, now=NOW)
    assert found == dry
    assert [(each.path.parent.name, len(each.sessions), each.deleted) for each in found] == [
        ("main", 1, False),
        ("old", 1, True),
    ]
    assert not (tmp_path / "old").exists()
    record = load(kept)
    assert len(record.sessions) == 1
    assert [row.id for row in record.prompts.values()] == ["tcp"]
    assert prune(tmp_path, now=NOW) == []


def test_pruning_one_name(tmp_path: Path) -> None:
    save(baseline(name="old", days_old=100), tmp_path)
    save(baseline(days_old=100), tmp_path)
    assert [each.path.parent.name for each in prune(tmp_path, name="main", now=NOW)] == ["main"]
    assert [file.name for file in list_baselines(tmp_path)] == ["old"]
    with pytest.raises(ConfigError, match="there is no baseline 'main'"):
        prune(tmp_path, name="main", now=NOW)


def test_pruning_leaves_what_it_cannot_read(tmp_path: Path) -> None:
    path = save(baseline(days_old=100), tmp_path).path
    path.write_text("{}", "utf-8")
    assert prune(tmp_path, timedelta(days=1), now=NOW) == []
    assert path.exists()
