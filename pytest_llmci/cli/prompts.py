"""``llmci prompts``: what is in a prompt set, whether all of it is right, and how long it is for a model."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from .. import checks as all_checks
from ..checks import parse_check
from ..engine.prompt_tokens import Counted, count_prompts
from ..errors import ConfigError, MissingExtraError, UnknownNameError
from ..matrix import check_prompt_ids
from ..prompts import READERS, known_sets, read_prompts
from ..records import JsonObject, Prompt, to_json
from ..registry import Registry
from ..runner.token_counts import TokenCount
from ..settings import TEST_MAX_NEW_TOKENS
from ..text import clipped, how_many, one_line, shortened, width
from . import Command
from .main import EXIT_BAD_INPUT, EXIT_FAILED, printable

WHERE: Final = "llmci prompts"
NARROWEST: Final = 80
LONGEST_ID: Final = 40
LONGEST_LIST: Final = 24
"""Columns of tags and of checks, where the terminal is narrow."""
BESIDE_LISTS: Final = 64
"""What the other columns take of a wide terminal before tags and checks are shortened."""


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "sets",
        metavar="SET|FILE",
        nargs="*",
        help=f"packaged sets ({', '.join(known_sets())}), or files ({', '.join(READERS)}); without any the packaged sets are listed."
        " FILE+prompt=COLUMN+reference=COLUMN names the columns of a file of another project, +limit=N takes the first N rows",
    )
    parser.add_argument(
        "--validate", action="store_true",
        help="list no prompt; exit with 1 if a model of --model cannot take one of them",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="SPEC",
        help="load a model and let its tokenizer count, inside its chat template where that applies; says which prompts do not fit into"
        " its context, and works out the text of generated prompts of a length in tokens",
    )  # fmt: skip
    parser.add_argument(
        "--max-new-tokens", metavar="N", type=int, default=TEST_MAX_NEW_TOKENS,
        help="tokens of an answer that must fit into the context beside a prompt that says none (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON, with whole texts")
    parser.description = (
        "List prompt sets, tell every fault in them with file, row and key, and count tokens. Checks that a conftest.py registers are not"
        " known here: they are warnings."
    )
    parser.epilog = "Exit status: 0 all is well, 1 with --validate and --model where the model cannot take a prompt, 4 a fault in a set."


@dataclass(slots=True)
class _Set:
    """One set as it is shown."""

    name: str
    prompts: list[Prompt]
    faults: list[str]
    shape: str = ""
    warnings: list[str] = field(default_factory=list)
    counts: list[TokenCount] = field(default_factory=list)


def _run(options: Namespace) -> int:
    if options.max_new_tokens < 1:
        raise ConfigError(f"--max-new-tokens: {options.max_new_tokens} must be a whole number of at least 1.")
    found = [_read(name) for name in options.sets or known_sets()]
    _check_ids(found)
    counted = _count(found, options) if options.model else None
    if options.json:
        print(json.dumps(_json(found, counted), indent=1))
    else:
        for line in _lines(found, counted, options):
            print(printable(line))
    sys.stdout.flush()
    for each in found:
        for text in (
            *(f"warning: {warning}" for warning in each.warnings),
            *(f"fault: {fault}" for fault in each.faults),
        ):
            print(printable(text), file=sys.stderr)
    if any(each.faults for each in found):
        return EXIT_BAD_INPUT
    refused = (
        options.validate
        and any(each.counts and each.warnings for each in found)
        and _any_refused(found, counted, options)
    )
    return EXIT_FAILED if refused else 0


def _read(name: str) -> _Set:
    try:
        read = read_prompts(name, WHERE)
    except ConfigError as error:  # it cannot even be taken apart; the other sets are looked at all the same
        return _Set(name, [], [str(error).removeprefix(f"{WHERE}: ")])
    found = _Set(name, [*read.prompts], [str(fault) for fault in read.faults], read.shape)
    registry = Registry()
    all_checks.register(registry)
    seen: set[str] = set()
    for prompt in read.prompts:
        for check in prompt.checks:
            if check in seen:
                continue
            seen.add(check)
            try:
                parse_check(check, registry, f"{prompt.source}, key 'checks'")
            except (UnknownNameError, MissingExtraError) as error:  # a conftest.py may add the one, pip the other
                found.warnings.append(str(error))
            except ConfigError as error:
                found.faults.append(str(error))
    return found


def _check_ids(found: Sequence[_Set]) -> None:
    try:
        check_prompt_ids([prompt for each in found for prompt in each.prompts])
    except ConfigError as error:
        found[-1].faults.append(str(error))


# ----------------------------------------------------------------------------------------------------------------- tokens


def _count(found: Sequence[_Set], options: Namespace) -> Counted:
    here = os.getcwd()
    counted = count_prompts(
        options.model, [prompt for each in found for prompt in each.prompts], where="--model",
        sys_path=list(dict.fromkeys([here, *(entry or here for entry in sys.path)])), say=_say,
    )  # fmt: skip
    start = 0
    for each in found:
        end = start + len(each.prompts)
        each.prompts, each.counts = [*counted.prompts[start:end]], [*counted.counts[start:end]]
        each.warnings += [
            text
            for prompt, count in zip(each.prompts, each.counts, strict=True)
            if (text := _refusal(prompt, count, counted, options.max_new_tokens))
        ]
        start = end
    return counted


def _say(text: str) -> None:
    print(printable(f"llmci: {text}"), file=sys.stderr, flush=True)


def _refusal(prompt: Prompt, count: TokenCount, counted: Counted, max_new_tokens: int) -> str:
    """Why the model cannot take a prompt; empty where it can."""
    if count.tokens is None:
        return f"{prompt.source}: {count.fault}"
    wanted, limit = prompt.max_new_tokens or max_new_tokens, counted.context_length
    if limit is None or count.tokens + wanted <= limit:
        return ""
    return (
        f"{prompt.source}: '{prompt.id}' has {count.tokens:,} tokens, and with {wanted:,} new ones that is more than {counted.model}'s"
        f" context of {limit:,}; shorten it, or ask for a shorter answer."
    )


def _any_refused(found: Sequence[_Set], counted: Counted | None, options: Namespace) -> bool:
    return counted is not None and any(
        _refusal(prompt, count, counted, options.max_new_tokens)
        for each in found
        for prompt, count in zip(each.prompts, each.counts, strict=True)
    )


# ---------------------------------------------------------------------------------------------------------------- as text


def _lines(found: Sequence[_Set], counted: Counted | None, options: Namespace) -> Iterator[str]:
    for number, each in enumerate(found):
        if number and not options.validate:
            yield ""
        yield f"{each.name}: {_summary(each, counted)}"
        if each.shape:
            yield f"  read as {each.shape}"
        if not options.validate:
            yield from _table(each, counted)


def _summary(each: _Set, counted: Counted | None) -> str:
    parts = [how_many(len(each.prompts), "prompt")]
    known = [count.tokens for count in each.counts if count.tokens is not None]
    if counted is not None and known:
        parts.append(f"{min(known):,} to {max(known):,} tokens for {counted.model}, {sum(known):,} in all")
        if counted.context_length is not None:
            parts.append(f"context {counted.context_length:,}")
    parts.append(how_many(len(each.faults), "fault") if each.faults else "no fault")
    if each.warnings:
        parts.append(how_many(len(each.warnings), "warning"))
    return ", ".join(parts)


def _table(each: _Set, counted: Counted | None) -> Iterator[str]:
    if not each.prompts:
        return
    counts: Sequence[TokenCount | None] = each.counts or [*itertools.repeat(None, len(each.prompts))]
    head = ["id", "kind", "tokens" if counted else "words", "tags", "checks", "begins"]
    room = max(NARROWEST, shutil.get_terminal_size((NARROWEST, 24)).columns)
    longest = max(LONGEST_LIST, room - BESIDE_LISTS)
    rows = [head, *(_row(prompt, count, longest) for prompt, count in zip(each.prompts, counts, strict=True))]
    kept = [column for column in range(len(head)) if column not in (3, 4) or any(row[column] for row in rows[1:])]
    widths = {column: max(width(row[column]) for row in rows) for column in kept[:-1]}
    for row in rows:
        line = "  "
        for column in kept[:-1]:
            gap = " " * (widths[column] - width(row[column]))
            line += (gap + row[column] if column == 2 else row[column] + gap) + "  "
        yield (line + clipped(row[-1], max(16, room - len(line)))).rstrip()


def _row(prompt: Prompt, count: TokenCount | None, longest: int) -> list[str]:
    tags, checks = (shortened(one_line(", ".join(texts)), longest) for texts in (prompt.tags, prompt.checks))
    begin = one_line(_asked(prompt)[:400])
    return [shortened(prompt.id, LONGEST_ID), _kind(prompt, count), _length(prompt, count), tags, checks, begin]


def _kind(prompt: Prompt, count: TokenCount | None) -> str:
    """``text`` goes to the model as it is, ``chat`` is messages; ``+template``: counted inside the chat template."""
    messages = prompt.fill.messages if prompt.fill and prompt.is_open else prompt.messages
    kind = "chat" if messages else "text"
    return f"{kind}+template" if count is not None and count.templated else kind


def _length(prompt: Prompt, count: TokenCount | None) -> str:
    if count is not None:
        return "n/a" if count.tokens is None else f"{count.tokens:,}"
    return f"{prompt.fill.tokens:,}t" if prompt.fill and prompt.is_open else f"{_words(prompt):,}"


def _words(prompt: Prompt) -> int:
    return len((prompt.text or "").split()) + sum(len(message.content.split()) for message in prompt.messages)


def _asked(prompt: Prompt) -> str:
    """What tells prompts apart: the last thing that is said, and not the system prompt of all of them."""
    return prompt.messages[-1].content if prompt.messages else prompt.shown


# ---------------------------------------------------------------------------------------------------------------- as JSON


def _json(found: Sequence[_Set], counted: Counted | None) -> JsonObject:
    model: JsonObject | None = None
    if counted is not None:
        model = {"alias": counted.model, "context_length": counted.context_length}
    return {"model": model, "sets": [_set_json(each) for each in found]}


def _set_json(each: _Set) -> JsonObject:
    counts: Sequence[TokenCount | None] = each.counts or [*itertools.repeat(None, len(each.prompts))]
    rows = [_prompt_json(prompt, count) for prompt, count in zip(each.prompts, counts, strict=True)]
    return {
        "name": each.name,
        "read_as": each.shape,
        "prompts": [*rows],
        "faults": [*each.faults],
        "warnings": [*each.warnings],
    }


def _prompt_json(prompt: Prompt, count: TokenCount | None) -> JsonObject:
    row = {key: value for key, value in to_json(prompt).items() if key not in ("sha256", "fill")}
    row["wanted_tokens"] = prompt.fill.tokens if prompt.fill else None
    row["words"] = None if prompt.is_open else _words(prompt)
    if count is not None:
        row |= {"tokens": count.tokens, "templated": count.templated, "refused": count.fault}
    return row


COMMAND = Command(configure=_configure, run=_run, own_output=True)
