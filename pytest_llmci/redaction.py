"""What may stand in a file: every record passes here on its way to the log and loses what nobody else should read.

Secrets are always masked. Under ``--llmci-redact`` the texts of prompts and outputs, and whatever may quote them, make way for
their hashes. A record says of each text whether it is still the original, so that nobody takes a mask for tampering.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, TypeVar

from .records import (
    AnswersRecord,
    CheckResult,
    ErrorInfo,
    FooterRecord,
    HeaderRecord,
    LoadRecord,
    Prompt,
    QuestionsRecord,
    RoundsRecord,
    SampleResult,
    VerdictRecord,
    Withheld,
    WorkerRecord,
    from_json,
    to_json,
)
from .secrets import Secrets, is_secret_name
from .slugs import slug

R = TypeVar("R")
HASHED: Final = "sha256:"
"""Before the 64 hex digits that stand in the place of a text."""
WITHHELD: Final = "withheld (--llmci-redact)"
_OF_OURS: Final = frozenset(
    {"crashed", "timeout", "given_up", "protocol", "memory", "not_found", "missing_extra", "option", "config", "spawn", "python", "corrupt",
     "disk", "unsupported", "unloaded", "context", "killed", "interrupted", "server_died", "server_silent", "endpoint_unreachable",
     "endpoint_tls", "endpoint_redirect"}
)  # fmt: skip
"""Kinds of errors whose messages quote no prompt and no output."""
_FOREIGN_FACTS: Final = ("last words", "stderr")
_FATAL: Final = "Fatal Python error"


def text_sha256(text: str) -> str:
    """64 hex digits; lone surrogates are hashed as they are."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hashed(text: str) -> str:
    """What stands in the place of a text.

    >>> hashed("")[:20]
    'sha256:e3b0c44298fc1'
    """
    return text if text.startswith(HASHED) and len(text) == len(HASHED) + 64 else HASHED + text_sha256(text)


def hashed_id(text: str) -> str:
    """The id of a prompt that has none of its own, where an id made of its words would give it away."""
    return f"prompt-{text_sha256(text)[:12]}"


def hashed_check(name: str) -> str:
    """The name of a check with its argument, which may be a part of the expected answer, as a hash.

    >>> hashed_check("valid"), hashed_check("contains:Paris")
    ('valid', 'contains:#5dd272b4f316')
    """
    kind, colon, argument = name.partition(":")
    return name if not argument or argument.startswith("#") else f"{kind}{colon}#{text_sha256(argument)[:12]}"


class Redactor:
    """Takes out of records and texts what must not be written.

    :param secrets: what is known to be one; more are learnt from the records of models' starts.
    :param redact: whether texts of prompts and outputs make way for hashes.
    """

    def __init__(self, secrets: Secrets, *, redact: bool = False) -> None:
        self.secrets = secrets
        self.redact = redact

    def text(self, text: str) -> str:
        """A message, command or setting without secrets."""
        return self.secrets.hide(text)

    def shown(self, text: str) -> str:
        """A prompt or an output as people may see it."""
        return hashed(text) if self.redact else self.secrets.hide_in_prose(text)

    def prompt_id(self, text: str) -> str:
        """The id of a prompt that has none of its own: made of its words, unless those must not be told."""
        told = not self.redact and self.secrets.hide_in_prose(text) == text
        return slug(text) if told else hashed_id(text)

    def record(self, record: R) -> R:
        """The record as it may be written; itself where nothing is to be hidden. Doing it twice changes nothing more."""
        found: Any = record
        if isinstance(found, RoundsRecord):  # by far the most frequent ones first
            found = self._rounds(found)
        elif isinstance(found, VerdictRecord):
            found = self._verdict(found)
        elif isinstance(found, FooterRecord):
            pass
        elif isinstance(found, QuestionsRecord):
            found = self._questions(found)
        elif isinstance(found, AnswersRecord):
            found = self._answers(found)
        elif isinstance(found, LoadRecord):
            found = self._load(found)
        else:
            found = self._rare(found)
        masked: R = found
        return masked

    def stored_record(self, record: R, stored: bytes) -> R:
        """:meth:`record` of what another process of this session has written, after a redactor of the same settings.

        That has hidden all that it can tell by its look, so that a block or a verdict is looked through for secrets alone that are known
        here and may not be known there.

        :param stored: the record as it was written.
        """
        if isinstance(record, (RoundsRecord, VerdictRecord)) and not self.secrets.may_be_known_in(stored):
            return record
        return self.record(record)

    # -------------------------------------------------------------------------------------------------- blocks of rounds

    def _rounds(self, block: RoundsRecord) -> RoundsRecord:
        if self.redact:
            block = replace(
                block,
                prompt=HASHED + block.prompt_sha256, prompt_withheld="redacted", messages=[], variables={},
                outputs=[HASHED + digest for digest in block.output_sha256], outputs_withheld=["redacted"] * len(block.outputs),
                output_token_ids=[], error=_without_quotes(block.error),
            )  # fmt: skip
        if block.error is None and not self._may_be_in_block(block):
            return block
        prose = self.secrets.hide_in_prose
        prompt, outputs = prose(block.prompt), [prose(text) for text in block.outputs]
        messages = [replace(message, content=prose(message.content)) for message in block.messages]
        variables = {name: prose(value) for name, value in block.variables.items()}
        changed = prompt != block.prompt or messages != block.messages
        ids = block.output_token_ids
        known: list[Withheld] = block.outputs_withheld or [""] * len(outputs)
        withheld: list[Withheld] = [
            "masked" if after != before else was
            for before, after, was in zip(block.outputs, outputs, known, strict=True)
        ]
        rest = replace(
            block,
            prompt="",
            outputs=[],
            messages=[],
            variables={},
            md5=[],
            output_sha256=[],
            output_of_round=[],
            token_ns=[],
            values={},
        )
        written = replace(
            _masked(rest, self.secrets),
            prompt=prompt, messages=[] if changed else messages, prompt_withheld="masked" if changed else block.prompt_withheld,
            variables=variables,
            outputs=outputs, outputs_withheld=withheld if any(withheld) else [],
            output_token_ids=[[] if masked else tokens for tokens, masked in zip(ids, withheld, strict=True)] if ids else [],
            md5=block.md5, output_sha256=block.output_sha256, output_of_round=block.output_of_round, token_ns=block.token_ns,
            values=block.values,
        )  # fmt: skip
        return block if written == block else written

    def _may_be_in_block(self, block: RoundsRecord) -> bool:
        """A quick look: most texts of a block are those of the block before."""
        return self.secrets.may_be_in_any(
            (*block.reasons.values(), block.prompt, *block.noisy, *block.warmup_failed, *block.variables.values(), *block.outputs,
             *[message.content for message in block.messages], block.test, block.cell)
        )  # fmt: skip

    def _load(self, load: LoadRecord) -> LoadRecord:
        """Its requests are numbers; a server's words on a failure may quote a prompt."""
        messages = load.run.messages
        if self.redact:
            messages = dict.fromkeys(messages, f"the message is {WITHHELD}")
        messages = {kind: self.secrets.hide_in_prose(text) for kind, text in messages.items()}
        told = (load.cell, load.test, load.scenario)
        cell, test, scenario = map(self.secrets.hide_in_prose, told)
        if messages == load.run.messages and (cell, test, scenario) == told:
            return load
        return replace(load, cell=cell, test=test, scenario=scenario, run=replace(load.run, messages=messages))

    def _questions(self, batch: QuestionsRecord) -> QuestionsRecord:
        """Answers that were generated may quote the question; all else of a batch is numbers and hashes."""
        if self.redact and batch.outputs and batch.outputs_withheld != "redacted":
            hashes = [hashed(text) for text in batch.outputs]
            return replace(batch, outputs=hashes, outputs_withheld="redacted")
        if not self.secrets.may_be_in("\n".join([*batch.outputs, batch.test, batch.cell, batch.task.source])):
            return batch
        outputs = [self.secrets.hide_in_prose(text) for text in batch.outputs]
        withheld: Withheld = "masked" if outputs != batch.outputs else batch.outputs_withheld
        return replace(_masked(replace(batch, outputs=[]), self.secrets), outputs=outputs, outputs_withheld=withheld)

    def _answers(self, batch: AnswersRecord) -> AnswersRecord:
        if self.redact and batch.outputs and batch.outputs_withheld != "redacted":
            outputs = [[hashed(text) for text in texts] for texts in batch.outputs]
            return replace(batch, outputs=outputs, outputs_withheld="redacted")
        said = [text for texts in batch.outputs for text in texts]
        if not self.secrets.may_be_in("\n".join([*said, batch.test, batch.cell, batch.task])):
            return batch
        outputs = [[self.secrets.hide_in_prose(text) for text in texts] for texts in batch.outputs]
        withheld: Withheld = "masked" if outputs != batch.outputs else batch.outputs_withheld
        return replace(_masked(replace(batch, outputs=[]), self.secrets), outputs=outputs, outputs_withheld=withheld)

    def _verdict(self, verdict: VerdictRecord) -> VerdictRecord:
        if self.redact:
            checks = [
                CheckResult(
                    name=hashed_check(check.name), passed=check.passed, message=WITHHELD, judged_by=check.judged_by
                )
                for check in verdict.checks
            ]
            verdict = replace(
                verdict, checks=checks, error=_without_quotes(verdict.error), samples=_without_messages(verdict.samples)
            )
        quotes = (
            verdict.error is not None
            or verdict.samples is not None
            or not all(check.passed for check in verdict.checks)
        )
        if not quotes and not self.secrets.may_be_in_any(_texts_of_verdict(verdict)):
            return verdict
        return _masked(verdict, self.secrets)

    # ------------------------------------------------------------------------------------------------------- rare records

    def _rare(self, record: R) -> R:
        """Headers, starts of processes, gates: few, and full of what people wrote."""
        if isinstance(record, WorkerRecord):
            self.secrets.learn_options(record.spec.options, os.environ)
        if isinstance(record, HeaderRecord):
            command = self.secrets.hide_in_command(record.command)
            return _masked(record if command == record.command else replace(record, command=command), self.secrets)
        return _masked(record, self.secrets)


def _without_quotes(error: ErrorInfo | None) -> ErrorInfo | None:
    """The error without what foreign code says of it, which may quote the prompt."""
    if error is None:
        return None
    facts = {
        label: text for label, text in error.facts.items() if label not in _FOREIGN_FACTS or text.startswith(_FATAL)
    }
    message = error.message if error.kind in _OF_OURS else f"{error.kind}: the message is {WITHHELD}"
    return ErrorInfo(kind=error.kind, message=message, facts=facts)


def _without_messages(samples: SampleResult | None) -> SampleResult | None:
    """The samples without what checks say of them, which may quote the text."""
    if samples is None:
        return None
    failures = [replace(each, check=hashed_check(each.check), message=WITHHELD) for each in samples.failures]
    return replace(samples, failures=failures)


def _texts_of_verdict(verdict: VerdictRecord) -> list[str]:
    texts = [verdict.test, verdict.cell]
    for check in verdict.checks:
        texts += (check.name, check.message)
    for budget in verdict.budgets:
        texts += (budget.budget, budget.origin, budget.reason)
    for each in verdict.comparisons:
        texts += (each.against, each.reason, each.accepted)
    if (found := verdict.slowdown) is not None:
        texts += (found.against, found.reason, *(part.reason for part in found.parts))
    return texts


def _masked(record: R, secrets: Secrets) -> R:
    """The record with every text in it masked."""
    if _is_plain(record, secrets.hide):
        return record
    kind: Any = type(record)
    before = to_json(record)
    after = _hidden(before, secrets.hide)
    return record if after == before else from_json(kind, after)


def _is_plain(value: Any, hide: Callable[[str], str]) -> bool:
    """Whether :func:`_hidden` would change nothing of a record, without making plain data of it: the start of one model is like that
    of thousands."""
    if isinstance(value, str):
        return hide(value) == value
    if value is None or isinstance(value, (int, float)):
        return True
    if isinstance(value, (list, tuple)):
        return all(_is_plain(entry, hide) for entry in value)
    names = value if isinstance(value, Mapping) else value.__dataclass_fields__
    for name in names:
        entry = value[name] if names is value else getattr(value, name)
        if not _is_plain(entry, hide) or (isinstance(entry, str) and entry and _holds_secret(name)):
            return False
    return True


def _hidden(value: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {
            name: "[secret]" if isinstance(entry, str) and entry and _holds_secret(name) else _hidden(entry, hide)
            for name, entry in value.items()
        }
    if isinstance(value, list):
        return [_hidden(entry, hide) for entry in value]
    return value


@lru_cache(maxsize=1024)  # the same names in record after record
def _holds_secret(name: str) -> bool:
    """Whether an option or setting of that name is a secret by itself; a ``token_source`` is none."""
    return is_secret_name(name.rpartition("_")[2])


def masked_row(row: Prompt, redactor: Redactor) -> Prompt:
    """A prompt's row as it may be stored; its hash stays that of the original."""
    if row.sha256:
        return row
    digest = text_sha256(row.shown)
    if redactor.redact:
        return Prompt(
            id=row.id, tags=row.tags, checks=tuple(map(hashed_check, row.checks)), max_new_tokens=row.max_new_tokens, source=row.source,
            sha256=digest,
        )  # fmt: skip
    prose = redactor.secrets.hide_in_prose
    messages = tuple(replace(message, content=prose(message.content)) for message in row.messages)
    text = None if row.text is None else prose(row.text)
    reference = None if row.reference is None else prose(row.reference)
    variables = {name: prose(value) for name, value in row.variables.items()}
    is_whole = (text, messages) == (row.text, row.messages)
    return replace(
        row,
        text=text,
        messages=messages,
        reference=reference,
        variables=variables,
        fill=None,
        sha256="" if is_whole else digest,
    )
