"""From what was measured, and a price, to USD.

A machine that is paid by the hour is taken to serve one request after the other, as it was measured: batching would make
each request cheaper, an idle machine dearer. Tokens are paid as they are counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

from ..records import Missing, Number, Price

OLD_AFTER_DAYS = 365
"""Age at which a price is flagged."""
SECONDS_A_DAY = 86_400
_NO_COUNT = "this model source does not count tokens, which the price '{}' is for"


def request_cost(price: Price, latency_s: float, prompt_tokens: float | None, output_tokens: float | None) -> Number:
    """USD of one request.

    :param latency_s: from the request to its last token, in seconds.
    """
    if price.usd_per_hour is not None:
        return price.usd_per_hour / 3600 * latency_s
    if prompt_tokens is None or output_tokens is None:
        return Missing(_NO_COUNT.format(price.name))
    return (
        (price.usd_per_million_input_tokens or 0.0) * prompt_tokens
        + (price.usd_per_million_output_tokens or 0.0) * output_tokens
    ) / 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class DailyCost:
    """What a number of requests a day costs, in USD."""

    busy: float
    """Only the time or the tokens of the requests."""
    machines: int | None
    """Machines that serve so many one after the other; None where tokens are paid."""
    whole: float
    """Those machines for the whole day; :attr:`busy` where tokens are paid."""


def daily_cost(price: Price, request_usd: float, latency_s: float, requests: int) -> DailyCost:
    """The scenario "so many requests a day".

    :param request_usd: mean cost of a request.
    :param latency_s: mean latency, in seconds.
    """
    busy = request_usd * requests
    if price.usd_per_hour is None:
        return DailyCost(busy=busy, machines=None, whole=busy)
    machines = max(1, math.ceil(latency_s * requests / SECONDS_A_DAY))
    return DailyCost(busy=busy, machines=machines, whole=machines * 24 * price.usd_per_hour)


def per_million_tokens(request_usd: float, output_tokens: float) -> Number:
    """USD of a million output tokens, what their prompts cost included.

    :param request_usd: mean cost of a request.
    :param output_tokens: mean number of its output tokens.
    """
    return request_usd / output_tokens * 1e6 if output_tokens else Missing("the model produced no token")


def doubt(price: Price, today: date) -> str:
    """Why a price may no longer hold; empty if nothing speaks against it."""
    if not price.date:
        return "its date is not told"
    given = date.fromisoformat(price.date)
    if given > today:
        return f"its date, {price.date}, is in the future"
    days = (today - given).days
    return f"of {price.date}, older than a year" if days > OLD_AFTER_DAYS else ""
