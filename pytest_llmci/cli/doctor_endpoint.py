"""``llmci doctor SPEC``: what the server of a model offers, a line a finding."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from ..backends import BACKENDS
from ..backends.openai.endpoint import shown
from ..backends.openai.examine import Finding, examine
from ..errors import ConfigError
from ..records import to_json
from ..secrets import without_credentials
from ..specs import parse_spec
from ..text import one_line, wrapped
from .main import EXIT_FAILED, printable
from .screen import text_columns

_LABEL: Final = 13
_MARKS: Final = {"ok": "ok", "lacks": "lacks", "failed": "FAILED"}


def run_endpoints(specs: Sequence[str], *, as_json: bool) -> int:
    """Examine the servers, print what was found; the exit status: 1 where something can be measured of none.

    :raises ConfigError: if a spec is none of a model behind a server.
    """
    found: dict[str, list[Finding]] = {}
    for text in specs:
        spec = parse_spec(text, [entry.name for entry in BACKENDS], "doctor")
        if spec.backend != "openai":
            raise ConfigError(
                f"doctor: '{without_credentials(text)}' runs on this machine, which llmci doctor alone examines; expected a model behind a"
                " server, such as openai:http://127.0.0.1:8000/v1#name."
            )
        name = shown(spec)
        found[name] = []
        if not as_json:
            print(printable(name))
        for finding in examine(spec):
            found[name].append(finding)
            for line in () if as_json else _lines(finding):
                print(printable(line), flush=True)
        if not as_json:
            print()
    if as_json:
        print(json.dumps({name: [to_json(each) for each in findings] for name, findings in found.items()}, indent=1))
    failed = any(each.state == "failed" for findings in found.values() for each in findings)
    return EXIT_FAILED if failed else 0


def _lines(finding: Finding) -> Iterator[str]:
    head = f"  {_MARKS[finding.state]:<6} {finding.name:<{_LABEL}} "
    yield from wrapped(one_line(finding.text), text_columns(), first=head, rest=" " * len(head))
