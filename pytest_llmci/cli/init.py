"""``llmci init``: the settings and prompts with which a project starts, its workflow for GitHub Actions, its stage of DVC, test files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

from ..engine.scaffold import MODEL, PROMPTS, STAGES, TEST_FILE, WORKFLOW, Wanted, scaffold, test_file, write_files
from ..errors import ConfigError
from ..testfiles.names import SUFFIXES
from ..testfiles.schema import packaged_path
from ..text import how_many
from . import Command
from .main import printable


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("--github", action="store_true", help=f"write {WORKFLOW} as well")
    parser.add_argument("--dvc", action="store_true", help=f"add a stage to {STAGES} that measures, for dvc repro")
    parser.add_argument(
        "--model", default=MODEL, metavar="SPEC", help="the model of the project (default: %(default)s)"
    )
    parser.add_argument(
        "--prompts", default="", metavar="NAME|FILE", help=f"prompts that are there (default: {PROMPTS} is written)"
    )
    parser.add_argument("--branch", default="", metavar="NAME", help="main branch (default: what git says)")
    parser.add_argument(
        "--llm-yaml", nargs="?", const=TEST_FILE, default="", metavar="FILE",
        help=f"write a test file without Python (default: {TEST_FILE}) and its JSON Schema instead",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="source", default="", metavar="FILE",
        help="write test files without Python that say what a promptfooconfig.yaml says, and tell what was not translated",
    )  # fmt: skip
    parser.add_argument(
        "--judge",
        default="",
        metavar="SPEC",
        help="with --from: the model that judges where a model was to (llm-rubric)",
    )
    parser.add_argument(
        "--embedding", default="", metavar="MODEL",
        help="with --from: the word vectors for likeness (similar), such as minishlab/potion-base-8M",
    )  # fmt: skip
    parser.add_argument("--schema", action="store_true", help="print where the JSON Schema of such test files is")
    parser.add_argument("--force", action="store_true", help="write over files and settings that are there")


def _run(options: Namespace) -> int:
    others = [name for name, _ in _ALONE if getattr(options, name)]
    if others:
        given = [
            f"--{name.replace('_', '-')}" for name in ("github", "dvc", "prompts", "branch") if getattr(options, name)
        ]
        if len(others) > 1 or given:
            flags = [flag for name, flag in _ALONE if name in others] + given
            raise ConfigError(f"{flags[0]} and {flags[1]} do not go together; call llmci init twice.")
    if (options.judge or options.embedding) and not options.source:
        raise ConfigError(f"{'--judge' if options.judge else '--embedding'} goes with --from promptfooconfig.yaml.")
    if options.schema:
        _print([packaged_path()])
        return 0
    if options.llm_yaml:
        return _write_test_file(options)
    return _convert(options) if options.source else _start(options)


def _write_test_file(options: Namespace) -> int:
    files = test_file(options.llm_yaml, options.model)
    write_files(Path.cwd(), files, force=options.force)
    _print([*(f"wrote {name}" for name in files), "", "Next:", *_trying(files)])
    return 0


def _convert(options: Namespace) -> int:
    from ..testfiles.promptfoo.convert import convert

    found = convert(Path(options.source), options.source, judge=options.judge, embedding=options.embedding)
    write_files(Path.cwd(), found.files, force=options.force)
    counts = f"{how_many(found.tests, 'test')}, {how_many(found.rows, 'prompt')}, {how_many(found.checks, 'check')}"
    lines = [*(f"wrote {name}" for name in found.files), f"{counts}, {how_many(found.models, 'model')}"]
    for title, texts in (("not translated", found.left), ("translated, but not quite the same", found.differs)):
        if texts:
            lines += ["", f"{title} ({len(texts)}):", *(f"  {text}" for text in texts)]
    if not found.models:
        lines += ["", "no model of it can be run here: give --llm-models, or the key 'models'"]
    _print([*lines, "", "Next:", *_trying(found.files, models=bool(found.models))])
    return 0


def _trying(files: Iterable[str], *, models: bool = True) -> list[str]:
    name = " ".join(name for name in files if name.endswith(SUFFIXES))
    flag = "--llmci" if models else "--llm-models=SPEC"
    return [f"  pytest {flag} --llmci-plan {name}    # what would be measured", f"  pytest {flag} {name}"]


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(printable(line))


def _start(options: Namespace) -> int:
    wanted = Wanted(
        folder=Path.cwd(), model=options.model, prompts=options.prompts, github=options.github, branch=options.branch,
        force=options.force, dvc=options.dvc,
    )  # fmt: skip
    written = scaffold(wanted)
    lines = [*(f"wrote {name}" for name in written.files), *(f"note: {text}" for text in written.kept)]
    lines += [
        "no conftest.py is needed: pytest finds the plugin by itself",
        "",
        "Next:",
        *_next(options.github, options.dvc),
    ]
    _print(lines)
    return 0


def _next(github: bool, dvc: bool) -> list[str]:
    steps = ["  pytest --llmci --llmci-plan    # what would be measured", "  pytest --llmci                 # measure"]
    if dvc:
        steps.append("  dvc repro && git add .         # measure, and keep the run in DVC's cache")
    if github:
        return [*steps, "  commit and push: a pull request is then compared with the branch that it is for"]
    return [*steps, "  llmci init --github            # and have every pull request compared"]


_ALONE = (("schema", "--schema"), ("llm_yaml", "--llm-yaml"), ("source", "--from"))
"""Options that each do one thing, and nothing else with it."""
COMMAND = Command(configure=_configure, run=_run, own_output=True)
