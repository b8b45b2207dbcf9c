"""Keys and passwords in texts: what they are, and the text without them.

Two kinds are found. Values that this process knows to be secret (environment variables of a telling name, ``+key=`` of a
model's spec) are taken out wherever they turn up. What looks like one by its place (``user:password@`` and signatures in
URLs, Authorization headers, ``--api-key=...``) or by its form (``sk-...``, ``hf_...``) needs not be known. A value that may
as well be an ordinary word or number is left alone: a mask in the middle of a model's answer helps nobody.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, unquote

LEAST_LENGTH: Final = 8
"""Characters; what is shorter turns up in ordinary texts, and is guessed anyway."""
LEAST_CUT: Final = 6
"""Characters of the beginning of a secret that are masked where the rest of it was cut off."""
_LONG_WORD: Final = 16
"""A single word of so many letters, or a number of so many digits, is hardly an ordinary one."""
_WORDS: Final = frozenset(
    {"key", "keys", "apikey", "token", "secret", "secrets", "password", "passwd", "passphrase", "pass", "credential",
     "credentials", "signature", "pat"}
)  # fmt: skip
_ENDINGS: Final = ("apikey", "token", "secret", "password", "passwd")
_NOT_VALUES: Final = frozenset(
    {"file", "path", "dir", "sock", "home", "env", "name", "type", "provider", "helper", "url"}
)
"""Last words of names whose values say where a secret is, or whose; ``key_env`` is one."""
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def is_secret_name(name: str) -> bool:
    """Whether a variable or option of that name is likely to hold a secret.

    >>> [is_secret_name(name) for name in ("OPENAI_API_KEY", "PGPASSWORD", "dbPassword", "key_env", "MONKEYS", "SSH_AUTH_SOCK")]
    [True, True, True, False, False, False]
    """
    parts = [part.lower() for part in _PART.findall(name)]
    if not parts or parts[-1] in _NOT_VALUES or name.upper().startswith("LLMCI_"):
        return False
    return any(part in _WORDS or part.endswith(_ENDINGS) for part in parts)


def is_secret_value(value: str) -> bool:
    """Whether a value can be told from ordinary text.

    >>> [is_secret_value(value) for value in ("1", "true", "test", "production", "20260101", "s3cr3t-value")]
    [False, False, False, False, False, True]
    """
    if len(value) < LEAST_LENGTH or (len(value) < _LONG_WORD and (_is_word(value) or _is_number(value))):
        return False
    return not (value.isspace() or value.startswith("[secret"))


def _is_word(value: str) -> bool:
    return value.isalpha() and value in (value.lower(), value.upper(), value.capitalize())


def _is_number(value: str) -> bool:
    return value.replace(".", "").replace("-", "").replace(":", "").isdigit()


# ------------------------------------------------------------------------------------- told by their place or their form

_VALUE = r"[^\s\"'<>&\\,;)\]}\[]"
_USERINFO: Final = re.compile(r"(?<=://)([^\s/\"'<>\[?#]*)@")
_SIGNED: Final = re.compile(
    r"(?i)(?<=[?&])(x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|sig|signature|[a-z_.-]*(?:token|key|secret|password|passwd|pwd))"
    rf"=({_VALUE}+)"
)
_HEADER: Final = re.compile(
    r"(?i)\b((?:proxy-)?authorization|x-api-key|api-key|x-auth-token|private-token)"
    rf"(\\?[\"']?\s*[:=]\s*\\?[\"']?)((?:bearer|basic|token|digest|apikey)\s+)?({_VALUE}+)"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)([A-Za-z0-9._~+/=-]{16,})")
_FORM: Final = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|xox[abprs]-[A-Za-z0-9-]{20,}|AKIA[A-Z0-9]{16}\b|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+)"
)
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_ASSIGNED: Final = re.compile(r"([A-Za-z0-9_-]+)(=[\"']?)([^\s\"'&,;+(\[]+)")
_OPTION: Final = re.compile(r"(?<=\+)([A-Za-z0-9_-]+)=([^\s+,\"'\[]+)")
_CUT: Final = re.compile(r"\s*(?:\.\.|…|[\"'\\]|\Z)")
_HINTS: Final = (
    "://", "uthorization", "UTHORIZATION", "earer ", "EARER ", "api-key", "Api-Key", "API-KEY", "-token", "-Token", "sk-", "hf_",
    "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AKIA", "eyJ", "PRIVATE KEY",
)  # fmt: skip
"""A text without any of these holds nothing that the patterns for prose would find."""
_SHORT: Final = 1000
_MOST_CLEAN: Final = 1000
"""Texts that are remembered, and characters of one, at most: a megabyte."""


def _label(name: str = "") -> str:
    return f"[secret {name}]" if name else "[secret]"


def _hide_userinfo(match: re.Match[str]) -> str:
    user, colon, password = match[1].partition(":")
    if colon and password:
        return f"{user}:{_label()}@"
    return f"{_label()}@" if is_secret_value(user) and len(user) >= _LONG_WORD else match[0]


def _hide_last(match: re.Match[str]) -> str:
    """The match with its last group masked, if that is like a secret."""
    value = match[match.lastindex or 0]
    return match[0][: -len(value)] + _label() if is_secret_value(unquote(value)) else match[0]


def _hide_assigned(match: re.Match[str]) -> str:
    value = match[3]
    unlike_code = any(char.isdigit() for char in value) or len(value) >= 2 * _LONG_WORD
    hides = unlike_code and is_secret_name(match[1]) and is_secret_value(value)
    return f"{match[1]}{match[2]}{_label()}" if hides else match[0]


def _hide_option(match: re.Match[str]) -> str:
    """What a user names ``+key=`` is one, however short; ``+key=value`` is how messages write the form of an option."""
    hides = is_secret_name(match[1]) and match[0] != "key=value"
    return f"{match[1]}={_label()}" if hides else match[0]


def _in_common(one: str, other: str) -> int:
    """Characters that both texts begin with."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def without_credentials(text: str) -> str:
    """The text with stars for all that its addresses say of user and password, however short: for what names a store.

    >>> without_credentials("sent to http://ann:p@ss@host:5000/x?n=1&api_key=12")
    'sent to http://***@host:5000/x?n=1&api_key=***'
    """
    return _SIGNED.sub(r"\1=***", _USERINFO.sub("***@", text))


class Secrets:
    """The secrets that a process knows, and the masks over them and over what looks like one.

    :param values: secret -> name that stands in its place.
    """

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values: dict[str, str] = {}
        self._clean: set[str] = set()
        """Texts in which nothing was found, by what is known so far."""
        self._plain: set[str] = set()
        """Texts of which :meth:`hide` hides nothing, likewise."""
        for value, name in (values or {}).items():
            self.learn(value, name)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Secrets:
        """Those in environment variables: values of a telling name, and passwords in URLs under any name."""
        found = cls()
        for name, value in environ.items():
            if is_secret_name(name):
                found.learn(value, name)
            if "://" in value:
                for userinfo in _USERINFO.findall(value):
                    found.learn(unquote(userinfo.partition(":")[2]), name)
        return found

    def learn(self, value: str, name: str = "", *, certain: bool = False) -> None:
        """Mask that value from now on, if it can be told from ordinary text.

        :param name: what stands in the mask.
        :param certain: somebody said that it is a secret: four characters are enough then, and it may be a word.
        """
        value = value.strip()
        told = len(value) >= LEAST_LENGTH // 2 if certain else is_secret_value(value)
        if not told or os.path.exists(value):
            return
        lines = [line.strip() for line in value.splitlines()]
        # Logs are masked line by line, and messages are often one line: keys of several lines are known by each.
        for part in dict.fromkeys([value, *(line for line in lines if len(line) >= _LONG_WORD)]):
            for form in dict.fromkeys((part, quote(part, safe=""), part.replace("\\", "\\\\").replace("\n", "\\n"))):
                self._values.setdefault(form, name)
        self._values = dict(sorted(self._values.items(), key=lambda item: -len(item[0])))
        self._clean.clear()
        self._plain.clear()

    def learn_options(self, options: Mapping[str, str], environ: Mapping[str, str]) -> None:
        """Learn from a model's ``+key=value`` pairs: ``+api_key=``, and the variable that ``+key_env=`` names."""
        for name, value in options.items():
            if name.endswith("_env") and value in environ:
                self.learn(environ[value], value, certain=True)
            elif is_secret_name(name):
                self.learn(value, f"+{name}", certain=True)

    def may_be_in(self, text: str) -> bool:
        """A quick look: False if :meth:`hide_in_prose` would find nothing."""
        for hint in _HINTS:  # no generator: every record comes here
            if hint in text:
                return True
        return bool(self._values) and any(value in text for value in self._values)

    def may_be_in_any(self, texts: Iterable[str]) -> bool:
        """:meth:`may_be_in` for several texts; most of them stood in the record before, and are not looked at again."""
        new = {*texts} - self._clean
        if not new:
            return False
        if self.may_be_in("\n".join(new)):
            return True
        if len(self._clean) + len(new) > _MOST_CLEAN:  # those of later records are rather those of the last ones
            self._clean.clear()
        self._clean.update([text for text in new if len(text) < _SHORT])
        return False

    def may_be_known_in(self, written: bytes) -> bool:
        """Whether JSON in ASCII may hold a value that this process knows, or the beginning of one; what only looks like one is not
        looked for."""
        for value in self._values:
            begin = value[:LEAST_CUT]
            spelt_alike = begin.isascii() and begin.isprintable() and '"' not in begin and "\\" not in begin
            if not spelt_alike or begin.encode("ascii") in written:
                return True
        return False

    def hide_in_prose(self, text: str) -> str:
        """The text of a prompt or an answer without what is surely a secret; code with ``key=...`` in it stays whole."""
        if not self.may_be_in(text):
            return text
        for value, name in self._values.items():
            if value in text:
                text = text.replace(value, _label(name))
        text = _USERINFO.sub(_hide_userinfo, text)
        text = _SIGNED.sub(_hide_last, text)
        text = _HEADER.sub(_hide_last, text)
        text = _BEARER.sub(_hide_last, text)
        text = _PRIVATE_KEY.sub(_label(), text)
        return _FORM.sub(_label(), text)

    def hide(self, text: str) -> str:
        """The text of a command, a setting or a message without secrets.

        >>> Secrets().hide("--llm-models=openai:gpt+key=hunter2 --api-key=abcd1234efgh https://me:pa55@host/x?sig=AbCd1234%3D")
        '--llm-models=openai:gpt+key=[secret] --api-key=[secret] https://me:[secret]@host/x?sig=[secret]'
        """
        if text in self._plain:  # the start of one model says much the same as that of another
            return text
        hidden = self._hide_cut(self.hide_in_prose(text))
        if "=" in hidden:
            hidden = _ASSIGNED.sub(_hide_assigned, _OPTION.sub(_hide_option, hidden))
        if hidden == text and len(text) < _SHORT and len(self._plain) < _MOST_CLEAN:
            self._plain.add(text)
        return hidden

    def _hide_cut(self, text: str) -> str:
        """Mask also the beginning of a known secret where a quotation was cut: before dots, a quote or the end."""
        for value, name in self._values.items():
            begin = value[:LEAST_CUT]
            place = text.find(begin)
            while place >= 0:
                end = place + _in_common(value, text[place : place + len(value)])
                if _CUT.match(text, end):
                    text = text[:place] + _label(name) + text[end:]
                    end = place
                place = text.find(begin, end + 1)
        return text

    def hide_in_command(self, words: Iterable[str]) -> list[str]:
        """The words of a command line; the one after ``--api-key`` is its value.

        >>> Secrets().hide_in_command(["pytest", "--api-key", "abcd1234efgh", "-x"])
        ['pytest', '--api-key', '[secret]', '-x']
        """
        hidden: list[str] = []
        before = ""
        for word in words:
            is_value = (
                before.startswith("--") and "=" not in before and is_secret_name(before) and not word.startswith("-")
            )
            hidden.append(_label() if is_value else self.hide(word))
            before = word
        return hidden
