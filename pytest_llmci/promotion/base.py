"""What a promotion is decided by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ..records import Json

Standing: TypeAlias = Literal["holds", "fails", "undecided"]
Policy: TypeAlias = Literal["regression", "inconclusive"]
"""What refuses, as ``--fail-on`` of ``llmci compare``: what is worse; or also what could not be told."""
POLICIES: Final[tuple[Policy, ...]] = ("regression", "inconclusive")
DEFAULT_ALIAS: Final = "champion"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One condition of a promotion, and how it stands."""

    name: str
    """``log``, ``ended``, ``cells``, ``checks``, ``budgets``, ``gates``, ``champion``."""
    standing: Standing
    text: str
    """One line."""

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All conditions together."""

    findings: tuple[Finding, ...]
    policy: Policy = "regression"

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What speaks against the promotion."""
        return self._those("fails")

    @property
    def undecided(self) -> tuple[Finding, ...]:
        """What could not be told."""
        return self._those("undecided")

    @property
    def approved(self) -> bool:
        """Whether the model may have the alias."""
        return not self.failures and not (self.undecided and self.policy == "inconclusive")

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """Why it is refused; empty if it is not."""
        return () if self.approved else (self.failures or self.undecided)

    def and_also(self, findings: Sequence[Finding]) -> Evidence:
        """With more conditions."""
        return Evidence(findings=(*self.findings, *findings), policy=self.policy)

    def _those(self, standing: Standing) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.standing == standing)

    @property
    def data(self) -> list[Json]:
        """For JSON."""
        return [{"name": each.name, "standing": each.standing, "text": each.text} for each in self.findings]
