"""promptfoo's prompts: texts, chats and files of them, as templates that its tests fill in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...delimited import read_lines
from ...errors import ConfigError
from ...prompts.rows import ROLES
from ...slugs import slug
from ..nodes import Place, Value
from .render import render
from .report import NotTranslated, Report
from .sources import CODE, PREFIX, Sources

FILES: Final = (".txt", ".md", ".j2", ".json", ".yaml", ".yml", ".csv")


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """One prompt."""

    name: str
    place: Place
    text: str | None = None
    messages: tuple[Mapping[str, Any], ...] = ()

    def filled(self, values: Mapping[str, Any], prefix: str, suffix: str, missing: set[str]) -> dict[str, Any]:
        """The part of a row that says what the model gets.

        :raises NotTranslated: if its template is more than names, or nothing is left.
        """
        if self.text is not None:
            text = render(prefix + self.text + suffix, values, missing)
            return _content(text)
        if prefix or suffix:
            raise NotTranslated("a prefix or suffix to a chat")
        messages = [
            {"role": str(message["role"]), "content": render(message["content"], values, missing)}
            for message in self.messages
        ]
        _refuse_odd(messages)
        return {"messages": messages}


def read_prompts(value: Value, sources: Sources, report: Report) -> list[Template]:
    """All prompts, with unique names."""
    found: list[Template] = []
    for entry in value.entries():
        try:
            found += _of_entry(entry, sources)
        except NotTranslated as error:
            report.leave(entry.place, str(error))
    return _named(found)


def _of_entry(entry: Value, sources: Sources) -> Iterator[Template]:
    if not entry.is_mapping:
        if not isinstance(entry.plain, str):
            raise NotTranslated(f"a prompt must be a text, found {entry.kind}")
        yield from _of_text(entry.plain, entry.place, sources)
        return
    keys = {name: value for name, (_, value) in entry.items().items()}
    if not {"id", "raw", "label", "file"} & keys.keys() and all(not value.is_mapping for value in keys.values()):
        for path in keys:  # a file and its label, as older configurations have it
            yield from _of_text(path if path.startswith(PREFIX) else PREFIX + path, entry.place, sources)
        return
    label = str(keys["label"].plain) if "label" in keys else ""
    named = keys.get("raw") or keys.get("file") or keys.get("id")
    if named is None or not isinstance(named.plain, str):
        raise NotTranslated("a prompt without 'raw', or 'id' with a file")
    text = named.plain
    if named is keys.get("id") and "raw" not in keys and not _is_file(text, sources):
        text = label or text
    for template in _of_text(text, entry.place, sources):
        yield Template(
            name=label or template.name, place=template.place, text=template.text, messages=template.messages
        )


def _is_file(text: str, sources: Sources) -> bool:
    if text.startswith(PREFIX):
        return True
    if len(text) > 300 or "\n" in text or not text.partition(":")[0].lower().endswith((*FILES, *CODE)):
        return False
    return (sources.folder / text).exists() or text.lower().endswith(CODE)


def _of_text(text: str, place: Place, sources: Sources) -> Iterator[Template]:
    if not _is_file(text, sources):
        if not text.strip():
            raise NotTranslated("the prompt is empty")
        yield Template(name="", place=place, text=text)
        return
    for path in sources.paths(text):
        yield from _of_file(path, place, sources)


def _of_file(path: Path, place: Place, sources: Sources) -> Iterator[Template]:
    kind, name = path.suffix.lower(), path.stem
    if kind in (".yaml", ".yml", ".json"):
        for top in sources.nodes(path):
            messages = top.plain
            if not is_chat(messages):
                raise NotTranslated(f"{sources.shown(path)}: it is no list of messages with role and content")
            yield Template(name=name, place=place, messages=tuple(messages))
    elif kind == ".csv":
        yield from _of_table(sources.text(path), path, place, sources)
    elif kind == ".txt":
        parts: list[list[str]] = [[]]
        for line in sources.text(path).splitlines():
            if line.strip() == "---":
                parts.append([])
            else:
                parts[-1].append(line)
        for part in parts:
            if text := "\n".join(part).strip():
                yield Template(name=name, place=place, text=text)
    elif kind in FILES:
        yield Template(name=name, place=place, text=sources.text(path).strip())
    else:
        raise NotTranslated(f"{sources.shown(path)}: prompts of '{kind}' files are not read")


def _of_table(text: str, path: Path, place: Place, sources: Sources) -> Iterator[Template]:
    try:
        lines = read_lines(text, sources.shown(path))
    except ConfigError as error:
        raise NotTranslated(str(error)) from error
    header = [cell.strip() for cell in lines[0].cells] if lines else []
    if "prompt" not in header:
        if any(len(line.cells) > 1 for line in lines):
            raise NotTranslated(f"{sources.shown(path)}: it has no column 'prompt'")
        header = ["prompt"]
    else:
        lines = lines[1:]
    for line in lines:
        row = dict(zip(header, line.cells, strict=False))
        if row.get("prompt", "").strip():
            yield Template(name=row.get("label", "") or path.stem, place=place, text=row["prompt"].strip())


def _content(text: str) -> dict[str, Any]:
    """A text that is JSON of a chat goes through the chat template, any other raw."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if is_chat(found):
            _refuse_odd(found)
            return {"messages": [{"role": each["role"], "content": each["content"]} for each in found]}
    if not text.strip():
        raise NotTranslated("nothing is left of the prompt once its variables are filled in")
    return {"prompt": text}


def is_chat(found: object) -> bool:
    """Whether a value is a list of messages with texts."""
    return (
        isinstance(found, list)
        and bool(found)
        and all(
            isinstance(each, Mapping) and isinstance(each.get("role"), str) and isinstance(each.get("content"), str)
            for each in found
        )
    )


def _refuse_odd(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        if message["role"] not in ROLES and "{{" not in message["role"]:
            raise NotTranslated(f"a message of the role '{message['role']}'")
        if not message["content"].strip():
            raise NotTranslated("a message without a text")


def _named(found: list[Template]) -> list[Template]:
    names: dict[str, int] = {}
    out = []
    for number, template in enumerate(found, 1):
        name = slug(template.name, longest=40) or (f"prompt-{number}" if len(found) > 1 else "prompt")
        count = names[name] = names.get(name, 0) + 1
        out.append(
            Template(
                name=name if count == 1 else f"{name}-{count}",
                place=template.place,
                text=template.text,
                messages=template.messages,
            )
        )
    return out
