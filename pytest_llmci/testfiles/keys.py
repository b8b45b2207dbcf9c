"""The keys of a test file: one table, of which the reader, the JSON Schema and the documentation are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["text", "load", "texts", "name", "prompts", "checks", "whole", "number", "yes_no", "marks", "tests"]
Level = Literal["both", "file", "test"]

EXTENSION: Final = "x-"
"""Keys of a file that begin so are for anchors that its tests share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What one key may hold."""

    kind: Kind
    help: str
    level: Level = "both"
    """``both``: in a test, and in the file for all of its tests."""
    least: float | None = None
    above: float | None = None
    """Like ``least``, but not itself allowed."""
    most: float | None = None


KEYS: Final[Mapping[str, Key]] = {
    "name": Key(kind="name", level="test", help="first part of the test's id; a file without tests may have one, too"),
    "description": Key(kind="text", help="for people; not read"),
    "models": Key(kind="texts", help="model specs, or aliases of the session's models; without them those of --llm-models"),
    "prompts": Key(
        kind="prompts", help="rows of the shape of a prompt file, and names of sets and files; without them those of --llm-prompts"
    ),
    "checks": Key(kind="checks", help="what each answer has to pass, beside the default check; [] for no check at all"),
    "budgets": Key(kind="texts", help="limits such as latency.p95 <= 2s"),
    "rounds": Key(kind="whole", least=1, help="measured rounds of each cell"),
    "max_rounds": Key(kind="whole", least=1, help="the most that an undecided cell may get"),
    "warmup": Key(kind="whole", least=0, help="unmeasured rounds before the first"),
    "max_new_tokens": Key(kind="whole", least=1, help="most tokens of an answer"),
    "temperature": Key(kind="number", least=0, help="0 decodes greedily"),
    "seed": Key(kind="whole", least=0, help="of what is drawn at a temperature above 0"),
    "samples": Key(kind="whole", least=1, help="most sampled outputs that the checks are judged on; needs a temperature"),
    "min_pass_rate": Key(kind="number", above=0, most=1, help="share of the samples that must pass"),
    "timed": Key(kind="yes_no", help="false: one round, and only budgets that do not vary by chance"),
    "load": Key(kind="load", help="ask each prompt many times, as in service: rate=4, concurrency=8, offline; each round is a run of it"),
    "marks": Key(kind="marks", help="pytest's markers: slow, or skip: REASON, xfail: REASON"),
    "tests": Key(kind="tests", level="file", help="named tests; what stands beside them holds for each"),
}  # fmt: skip
"""Name -> what it may hold."""

ADDED: Final = ("checks", "budgets", "marks")
"""Those of the file and of the test are added up; of all others the test's own takes the place of the file's."""
ROW_FACTS: Final[Mapping[str, tuple[Kind, str]]] = {
    "id": ("name", "part of the test's id; made from the text if absent"),
    "prompt": ("text", "the text; it goes to the model raw"),
    "messages": ("texts", "instead of prompt: role and content of each, through the model's chat template"),
    "system": ("text", "a first message of the role system; a text goes through the chat template then"),
    "template": ("text", "instead of prompt: a text with {{name}} where values of variables stand"),
    "prompt_file": ("text", "a file whose text is the prompt"),
    "template_file": ("text", "a file whose text is the template"),
    "reference": ("text", "the expected answer"),
    "tags": ("texts", "a text or a list"),
    "checks": ("checks", "checks of this row's answers, beside those of its test"),
    "max_new_tokens": ("whole", "most tokens of the answer to this row"),
}
"""Key of an inline row -> kind and help, for the schema; what a row may hold is settled by ``prompts``."""


def known_keys(level: Literal["file", "test"]) -> list[str]:
    """Keys that may stand there, in the table's order; a file without ``tests`` is one test and may have its name."""
    return [name for name, key in KEYS.items() if key.level in ("both", level) or (name, level) == ("name", "file")]


def table() -> str:
    """The keys as a table of Markdown."""
    kinds: dict[Kind, str] = {
        "text": "text", "load": "text", "texts": "text or list", "name": "ASCII letters, digits, `.` `_` `-`", "prompts": "list",
        "checks": "check or list",
        "whole": "whole number", "number": "number", "yes_no": "`true` or `false`", "marks": "marker or list", "tests": "list of mappings",
    }  # fmt: skip
    levels = {"both": "file, test", "file": "file", "test": "test"}
    rows = [f"| `{name}` | {levels[key.level]} | {kinds[key.kind]} | {key.help} |" for name, key in KEYS.items()]
    return "\n".join(["| key | stands in | holds | |", "|---|---|---|---|", *rows]) + "\n"
