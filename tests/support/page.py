"""What a browser's parser makes of a page, as far as the standard library can tell: elements, their texts, what they name."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

_VOID: Final = frozenset({"meta", "link", "input", "br", "hr", "img"})

_APART: Final = frozenset({"td", "th", "dt", "dd", "li", "caption", "summary"})
"""Behind these a blank stands in the text of what they are in."""


@dataclass
class Element:
    """One element with its own text and that of its children."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None
    text: str = ""

    def inside(self, tag: str) -> Element | None:
        """The nearest ancestor of that kind."""
        element = self.parent
        while element is not None and element.tag != tag:
            element = element.parent
        return element


@dataclass
class ParsedPage(HTMLParser):
    """A page that was fed."""

    source: str
    elements: list[Element] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []
        self.feed(self.source)
        self.close()
        self.unclosed += [element.tag for element in self._open]

    def __hash__(self) -> int:
        return id(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self._open[-1] if self._open else None)
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}, self._open[-1]))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1].tag == tag:
            self._open.pop()
            if tag in _APART:
                self.handle_data(" ")
        else:
            self.unclosed.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements of that kind whose attributes hold these values."""
        return [
            element
            for element in self.elements
            if element.tag == tag
            and all(element.attributes.get(name.rstrip("_")) == value for name, value in attributes.items())
        ]

    def with_class(self, name: str) -> list[Element]:
        """Elements of a class."""
        return [each for each in self.elements if name in each.attributes.get("class", "").split()]


def hashes(source: str, tag: str) -> list[str]:
    """The hashes of all elements of that kind, as a policy names them."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
    return ["'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for text in found]
