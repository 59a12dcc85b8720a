# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The searches of all hosts of a play; those that wait for offers, and what was seen meanwhile.

The looks of one task follow each other in one process, which remembers them.
"""

from __future__ import annotations

import contextlib
import typing as t
from functools import partial

from .._ansible.on_api import ADVICE
from .._ansible.operation import Failure, Params, Result
from .._api.client import ApiError
from .._api.market import Market
from .._provision import candidates, choosing, messages, planning
from .._provision.candidates import Case, SearchResult
from .._provision.choosing import MarketLook, Offers
from .._provision.declaration import Declaration
from .._provision.planning import Plan
from .._provision.search import Offer
from .offer_info import find

_Value = t.TypeVar("_Value")
_HISTORY: dict[str, list[MarketLook]] = {}  # by the first declaration of those that wait


class Searches:
    """Each different search of these cases is sent once, or until it has brought an offer for each of them."""

    def __init__(self, api: Market, cases: t.Sequence[Case], warnings: list[str]) -> None:
        self._api = api
        self._cases = cases
        self._warnings = warnings
        self._sent: list[tuple[t.Any, SearchResult]] = []
        self._found: list[tuple[t.Any, SearchResult]] = []

    def of(self, host: Declaration) -> SearchResult:
        """What the host's searches find, best first, without what is not what was asked for."""
        return _once(self._found, (host.choices, host.order), lambda: self._choose(host))

    def _choose(self, host: Declaration) -> SearchResult:
        seen = []
        for choice in host.choices:
            answer = self._search(choice.spec)
            if answer.said:
                return answer
            offers = choosing.in_region(choice, answer.offers)
            seen.append(Offers(offers, [] if offers else choosing.in_region(choice, self._beyond(choice.spec))))
        return SearchResult.of(host, seen)

    def _beyond(self, spec: t.Mapping[str, t.Any]) -> list[Offer]:
        """What there is beyond each limit of a search, only to say so."""
        return [offer for wider in choosing.without_limits(spec) for offer in self._search(wider).offers]

    def _search(self, spec: t.Mapping[str, t.Any]) -> SearchResult:
        """The offers that fit, cheapest first, or why there is no answer."""
        return _once(self._sent, spec, lambda: self._ask(spec))

    def _ask(self, spec: t.Mapping[str, t.Any]) -> SearchResult:
        try:
            found, _total, warnings = find(self._api, spec)
        except Failure as error:
            return SearchResult(said=str(error))
        except ApiError as error:
            said = messages.joined(str(error), ADVICE.get(error.error_class, ""))
            return SearchResult(said=said, is_passing=error.passing)
        self._warnings += warnings
        offers, reason = choosing.fitting(spec, found)
        if reason:
            return SearchResult(said=reason)
        is_short = partial(candidates.is_short, self._cases, spec)
        return SearchResult(choosing.pooled(offers, is_short, partial(self._again, spec)))

    def _again(self, spec: t.Mapping[str, t.Any]) -> list[Offer]:
        """What the same search brings now; nothing if that fails."""
        with contextlib.suppress(Failure, ApiError):
            return choosing.fitting(spec, find(self._api, spec)[0])[0]
        return []


def _once(known: list[tuple[t.Any, _Value]], key: t.Any, make: t.Callable[[], _Value]) -> _Value:
    """What was made for an equal key before, else what is made now. A search cannot be hashed."""
    for item, value in known:
        if item == key:
            return value
    known.append((key, make()))
    return known[-1][1]


def waiting(cases: t.Sequence[Case], plans: t.Sequence[Plan], params: Params, now: float, trouble: str = "") -> Result:
    """What to say if another look is worth waiting for, empty if not. ``trouble``: why nothing can be looked at now."""
    history = _HISTORY.setdefault(_key(params), [])
    if not choosing.may_wait(params, len(history)):
        return {}
    lacking = planning.lacking(cases, plans, now, trouble)
    if not lacking:
        return {}
    look = MarketLook.of(now, [price for _case, draft in lacking for price in draft.market])
    history.append(look)
    return {"waiting": planning.line_of_waiting(lacking, history[0].moment, now, trouble or look.said)}


def with_history(plans: t.Sequence[Plan], params: Params) -> list[Plan]:
    """The plans, in which those that have waited in vain say what was seen."""
    history = _HISTORY.get(_key(params))
    if not history:
        return list(plans)
    text = choosing.waited(history)
    return [draft.after_waiting(text) for draft in plans]


def _key(params: Params) -> str:
    return str(next(iter(params["ids"]), ""))
