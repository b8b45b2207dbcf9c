"""Which files are test files of ours; imported in every session that meets one, so it knows nothing but names."""

from __future__ import annotations

from typing import Final

SUFFIXES: Final = (".llm.yaml", ".llm.yml")


def has_suffix(name: str) -> bool:
    """Whether a file that is named on the command line is read as a test file.

    >>> has_suffix("cases.llm.yaml"), has_suffix("cases.yaml")
    (True, False)
    """
    return name.endswith(SUFFIXES)


def is_test_file(name: str) -> bool:
    """Whether a file is collected where a folder is: as with pytest's own, ``test_`` comes first or ``_test`` last.

    >>> is_test_file("test_chat.llm.yaml"), is_test_file("chat_test.llm.yml"), is_test_file("chat.llm.yaml")
    (True, True, False)
    """
    return has_suffix(name) and (name.startswith("test_") or stem(name).endswith("_test"))


def stem(name: str) -> str:
    """The name without our suffix.

    >>> stem("test_chat.llm.yaml")
    'test_chat'
    """
    return name.removesuffix(".yaml").removesuffix(".yml").removesuffix(".llm")
