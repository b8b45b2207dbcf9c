from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from sample_run import header, rounds, usual_records, verdict, write_log

from pytest_llmci.cli import COMMANDS, Command
from pytest_llmci.cli.main import build_parser, main, printable
from pytest_llmci.registry import import_target
from pytest_llmci.sinks import SINKS
from pytest_llmci.store.log import LogWriter
from pytest_llmci.store.spool import SpoolWriter
from pytest_llmci.store.verify import verify_log

NAME = "20260101T000000Z-abcdef"
DERIVED = ("results.csv", "summary.csv", "results.json", "metrics.json")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run in the default place, seen from the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "llmci-results" / NAME
    (folder / "spool").mkdir(parents=True)
    write_log(folder, usual_records())
    return folder


def test_every_command_can_be_loaded() -> None:
    for name, (target, summary) in COMMANDS.items():
        assert isinstance(import_target(target, name), Command)
        assert summary


def test_verify_a_whole_log(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["verify"],
        ["verify", NAME],
        ["verify", str(run)],
        ["verify", "latest", "--output", str(run.parent)],
    ):
        assert main(arguments) == 0
        shown = capsys.readouterr()
        assert shown.out.startswith("ok: ")
        assert "log.jsonl: 10 lines, whole, with footer" in shown.out
        assert shown.err == ""


def test_folders_may_lie_in_the_home(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(run.parent.parent))
    monkeypatch.chdir("/")
    assert main(["report", "--output=~/llmci-results", "--sink=csv:~/tables", "--sink=json:~/tables"]) == 0
    assert (tmp_path / "tables" / "results.csv").is_file()
    assert (tmp_path / "tables" / "results.json").is_file()


def test_verify_names_what_was_changed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"120000000", b"020000000"))
    assert main(["verify"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("FAILED: ")
    assert "line 3 (rounds, a-tcp) was changed" in shown.out
    assert shown.out.count("\n") == 1


def test_verify_a_running_and_a_killed_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    assert main(["verify", str(tmp_path)]) == 1
    assert "still running" in capsys.readouterr().out
    writer.release()
    assert main(["verify", str(tmp_path)]) == 1
    assert (
        "no footer: its session was killed or the end was cut off; llmci report closes the log"
        in capsys.readouterr().out
    )


def test_report_writes_the_derived_files_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == ["wrote"] * 4 + ["copied"]
    first = {name: (run / name).read_bytes() for name in DERIVED}
    (run / "results.csv").write_text("scribble")
    (run / "metrics.json").unlink()
    assert main(["report", NAME]) == 0
    assert {name: (run / name).read_bytes() for name in DERIVED} == first
    assert {name: (run.parent / "latest" / name).read_bytes() for name in DERIVED} == first


def test_report_of_an_older_run_leaves_latest_alone(run: Path) -> None:
    newer = run.parent / "20260102T000000Z-abcdef"
    newer.mkdir()
    write_log(newer, [])
    assert main(["report", "latest~1"]) == 0
    assert (run / "results.csv").is_file()
    assert not (run.parent / "latest").exists()


def test_report_to_a_chosen_sink(run: Path, tmp_path: Path) -> None:
    assert main(["report", "--sink", f"csv:{tmp_path / 'there'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["results.csv", "summary.csv"]
    assert not (run / "results.json").exists()


def test_report_recovers_a_killed_session_first(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = run / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:5]) + lines[5][:40])
    spool = SpoolWriter(run / "spool" / "gw0.jsonl")
    spool.append(rounds("r1"))
    spool.append(verdict("v2", prompt_id="dns"))
    spool.release()
    assert main(["report"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        f"{NAME}: the session was killed: recovered 6 lines, 1 of them from the spool,"
        " an unfinished line kept in log.jsonl.partial"
    )
    assert verify_log(log).state == "recovered"
    assert json.loads((run / "results.json").read_text())["run"]["recovered"] is True
    assert main(["report"]) == 0
    assert "killed" not in capsys.readouterr().out
    assert main(["verify"]) == 0


def test_report_refuses_a_changed_log(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"120000000", b"020000000"))
    assert main(["report"]) == 1
    shown = capsys.readouterr()
    assert "error: " in shown.err
    assert "line 3 (rounds, a-tcp) was changed" in shown.err
    assert not (run / "results.csv").exists()


def test_report_refuses_a_running_session(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "log.jsonl").unlink()
    writer = LogWriter(run / "log.jsonl")
    writer.append(header())
    assert main(["report"]) == 4
    assert "another session is writing this log" in capsys.readouterr().err
    writer.release()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "nothing"], "no run 'nothing'"),
        (["report", "--sink", "cvs"], "--sink: unknown sink 'cvs'. Did you mean 'csv'?"),
        (["report", "--output", "nowhere"], "no run 'latest' in 'nowhere'"),
        (["verfy"], "invalid choice: 'verfy'"),
        ([], "the following arguments are required: COMMAND. Try: llmci --help"),
        (["compare"], "the following arguments are required: RUN. Try: llmci compare --help"),
        (["verify", "--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_4(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 4
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_a_log_that_is_none_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "log.jsonl").write_bytes(b"\x00\xff\x1b[31m")
    assert main(["report"]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["verify"]) == 1
    assert "line 1 is cut off" in capsys.readouterr().out


def test_commands_are_listed_by_the_alphabet() -> None:
    assert list(COMMANDS) == sorted(COMMANDS)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, (_, summary) in COMMANDS.items():
        assert name in shown
        assert summary in " ".join(shown.split())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("pytest-llmci ")
    assert main(["report", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--sink NAME[:TARGET]" in shown
    for entry in SINKS:
        assert f"  {entry.name} " in shown
        assert entry.summary in " ".join(shown.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_says_what_it_is_and_the_help_fits(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out.partition("sinks, also for")[0]
    assert max(map(len, shown.splitlines())) <= 80
    commands: Any = build_parser([name])._subparsers
    parsers: list[ArgumentParser] = [commands._group_actions[0].choices[name]]
    while parsers:
        for action in parsers.pop()._actions:
            if isinstance(action.choices, dict):  # commands of a command
                parsers += action.choices.values()
            else:
                assert action.help and not action.help.startswith("("), action.option_strings or action.dest


def test_nothing_printed_steers_the_terminal() -> None:
    assert printable("one\ntwo\x1b[31m\x07") == "one two\\x1b[31m\\x07"


def test_it_works_where_pytest_is_absent(run: Path) -> None:
    blocked = "import sys; sys.modules['pytest'] = None; sys.modules['_pytest'] = None;"
    script = f"{blocked} from pytest_llmci.cli.main import main; sys.exit(main(['report']) or main(['verify']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=run.parents[1], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_imports_nothing_heavy() -> None:
    script = "import sys, pytest_llmci.cli.main; print({'numpy', 'pytest', 'jsonschema', 'psutil'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes of a POSIX shell")
def test_a_reader_that_leaves_is_no_error_and_costs_no_work(tmp_path: Path) -> None:
    run = tmp_path / "20260101T000000Z-abcdef"
    run.mkdir()
    write_log(run, usual_records())
    read, write = os.pipe()
    os.close(read)  # nobody will read a line
    command = [sys.executable, "-u", "-m", "pytest_llmci.cli.main", "report", "--output", str(tmp_path)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    assert (tmp_path / "latest" / "results.json").is_file()


def test_only_commands_about_runs_take_their_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--output=x"]) == 4
    assert "--output" in capsys.readouterr().err
    assert main(["report", "init", "--output=nowhere"]) == 4
    assert "nowhere" in capsys.readouterr().err
