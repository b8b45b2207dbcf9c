"""``llmci init``: the settings and prompts with which a project starts, its workflow for GitHub Actions and its stage of DVC."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..engine.scaffold import MODEL, PROMPTS, STAGES, WORKFLOW, Wanted, scaffold
from . import Command
from .main import printable


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("--github", action="store_true", help=f"write {WORKFLOW} as well")
    parser.add_argument("--dvc", action="store_true", help=f"add a stage to {STAGES} that measures, for dvc repro")
    parser.add_argument("--model", default=MODEL, metavar="SPEC", help="(default: %(default)s)")
    parser.add_argument(
        "--prompts", default="", metavar="NAME|FILE", help=f"prompts that are there (default: {PROMPTS} is written)"
    )
    parser.add_argument("--branch", default="", metavar="NAME", help="main branch (default: what git says)")
    parser.add_argument("--force", action="store_true", help="write over files and settings that are there")


def _run(options: Namespace) -> int:
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
    for line in lines:
        print(printable(line))
    return 0


def _next(github: bool, dvc: bool) -> list[str]:
    steps = ["  pytest --llmci --llmci-plan    # what would be measured", "  pytest --llmci                 # measure"]
    if dvc:
        steps.append("  dvc repro && git add .         # measure, and keep the run in DVC's cache")
    if github:
        return [*steps, "  commit and push: a pull request is then compared with the branch that it is for"]
    return [*steps, "  llmci init --github            # and have every pull request compared"]


COMMAND = Command(configure=_configure, run=_run, own_output=True)
