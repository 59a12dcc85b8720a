# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a purchase may be sent, what its answer means, and when it may be sent again.

`purchase.follow` decides what follows from what is known; here is what adds to that: prices and limits (USD per hour),
answers, refusals and lost answers. Pure, like it.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field, replace

from .. import _states
from .._wording import usd
from . import search
from .counted import CeilingPart, Count, State
from .entry import Entry
from .messages import NOTHING_SENT
from .purchase import THEIRS, Do, NextStep, Past, Why, is_put_off
from .sums import highest_known_price

Json = t.Mapping[str, t.Any]


_TWO_REGISTRIES = (
    "A purchase is noted in one registry: give registry_file or registry_url, which the environment variable"
    " COMPUTE_INDEX_REGISTRY_URL sets, too."
)
ACCOUNT_UNREAD = "So whether max_account_price_per_hour holds is not known."


@dataclass(frozen=True)
class Repeats:
    """How often a purchase may still be sent again.

    returns: after an answer that asks to come back. resends: after an answer that never came.
    pause: seconds before the next return, doubled by each. longest: seconds; for more than that nothing returns.
    """

    returns: int
    resends: int
    pause: float
    longest: float


ONCE = Repeats(returns=0, resends=0, pause=0.0, longest=0.0)


@dataclass(frozen=True)
class Terms:
    """What was agreed on for a purchase.

    price_per_hour: the price of the offer that the purchase was planned with (USD per hour), None without a plan.
    max_price_per_hour: the limit of the offer (USD per hour), None for none.
    offer: what the offer sells, as far as the purchase was planned with that (`planning.kept_of`).
    max_account_price_per_hour: the limit of all machines of the account together; None for none, and where a shared
        registry compares it.
    procure_timeout, settle_timeout: seconds that the purchase may take, and for which its outcome is asked for.
    repeats: how often it may be sent again. host: the host that it is for, in messages.
    listed_before: the ids of resources that were listed before it was planned, and named no offer.
    """

    price_per_hour: float | None = None
    max_price_per_hour: float | None = None
    offer: Json = field(default_factory=dict)
    max_account_price_per_hour: float | None = None
    procure_timeout: float = 600.0
    settle_timeout: float = 30.0
    repeats: Repeats = ONCE
    host: str = ""
    listed_before: frozenset[str] = frozenset()

    def price_that_counts(self, fresh: float | None) -> float | None:
        """The higher of the fresh and the planned price (USD per hour). An unknown fresh one stays unknown."""
        return None if fresh is None else highest_known_price(fresh, self.price_per_hour)

    def refusal(self, offer_id: str, price: float | None) -> str:
        """Why the offer may not be bought at this price; empty if it may. An unknown price passes no limit."""
        limit = self.max_price_per_hour
        if limit is None or (price is not None and price <= limit):
            return ""
        return _above(offer_id, price, limit)

    def other_refusal(self, offer_id: str, page: Json) -> str:
        """Why the offer may not be bought as its own page describes it now; empty if it may."""
        odd = search.other_than_planned(self.offer, page)
        return odd and f"Offer {offer_id} is not what it was found as. Its own page says: {odd}."

    def account_refusal(self, offer_id: str, price: float | None, resources: t.Iterable[Json]) -> str:
        """Why the offer may not be bought beside all resources of the account; empty if it may."""
        limit = self.max_account_price_per_hour
        billed = [
            CeilingPart.of_machine(resource, State.LIVE)
            for resource in resources
            if not _states.is_gone(resource["status"])
        ]
        count = Count((CeilingPart(self.host or offer_id, price, State.ORDERED), *billed))
        return "" if limit is None or not count.sum.exceeds(limit) else _above_account(offer_id, count, limit)


def _above(offer_id: str, price: float | None, ceiling: float) -> str:
    """The offer alone costs more than was agreed to (USD per hour), or has no known price."""
    if price is None:
        return f"The API names no price for offer {offer_id}, so it cannot be compared with max_price_per_hour."
    return f"Offer {offer_id} costs {usd(price)}, which is above max_price_per_hour ({usd(ceiling)})."


def _above_account(offer_id: str, count: Count, ceiling: float) -> str:
    """All machines of the account would cost more than was agreed to, with this one."""
    return (
        f"With offer {offer_id} all machines of the account would cost {count.told}, and max_account_price_per_hour is"
        f" {usd(ceiling)}. {count.names}"
    )


def registry_refusal(*, file: bool, url: bool, host: str, has_total: bool) -> str:
    """Why the options that name the registry do not fit together; empty if they do."""
    if url and file:
        return _TWO_REGISTRIES
    if url and not host:
        return "registry_url needs the name of the host: set host or resource_name."
    return "" if url or not has_total else "max_total_price_per_hour needs registry_url, which knows what is bought."


def precedence(entry: Entry, offer_id: str, terms: Terms) -> tuple[str, Terms, list[str]]:
    """The offer to buy, on which terms, and a warning if it is another one than the task names.

    What the host has bought, or may have, takes precedence: to ask again with a newer search buys nothing beside it. It
    is sent again only within the task's limit, or else at the price at which it was sent.
    """
    if entry.held_by or not (entry.offer_id and entry.may_have_bought) or entry.offer_id == offer_id:
        return offer_id, terms, []
    limit = entry.price_per_hour if terms.max_price_per_hour is None else terms.max_price_per_hour
    has = "has bought" if entry.is_made else "may have bought"
    warning = (
        f"By its registry {terms.host or 'the host'} {has} offer {entry.offer_id}, so offer {offer_id}, which the task"
        " names, is not bought. For one more machine, name another host, with an entry of its own."
    )
    return entry.offer_id, replace(terms, price_per_hour=None, max_price_per_hour=limit, offer=entry.offer), [warning]


def claimed(claim: object, host: str) -> str:
    """Another purchase of this host is open."""
    return (
        f"{claim} {NOTHING_SENT} If another run for {host or 'this host'} is at work, let it end. Then run again: it"
        " goes on with that offer."
    )


def another_account(offer_id: str, planned: str | None, account: str) -> str:
    """A host of the play has another token or API address than it was ``planned`` with; empty if it has not."""
    if planned in (None, "", account):
        return ""
    return (
        f"Offer {offer_id} was planned with another token or api_url than this host has. All hosts of a play use one"
        f" account: set both for all of them. {NOTHING_SENT}"
    )


def orphaned(offer_id: str) -> str:
    """Ansible was killed while this process went on."""
    return f"Ansible itself has ended, so the purchase of offer {offer_id} was not sent (any more)."


# Answers


class AnswerMeaning(enum.Enum):
    """What an answer to a purchase means that looks like a success."""

    MADE = "made"
    FAILED = "failed"  # made, and failed at once
    DENIED = "denied"  # a refusal all the same


def meaning_of(answer: Json) -> AnswerMeaning:
    """What the answer means. With an id or a time of purchase it is one, whatever else it says."""
    if answer["status"] == _states.FAILED:
        return AnswerMeaning.FAILED
    bought = answer["resource_ids"] or answer["odd_ids"] or answer["procured_at"]
    denied = answer["error"] or _states.is_for_sale_or_expired(answer["status"])
    return AnswerMeaning.DENIED if denied and not bought else AnswerMeaning.MADE


def after(
    past: Past, repeats: Repeats, refused: int | None, busy: bool, retry_after: float
) -> tuple[Past, Repeats, float]:
    """What is known after an answer that is no success, what may still be sent, and the seconds to wait before that.

    refused: the HTTP status of a refusal; None if the answer was lost, or leaves open what became of the purchase.
    busy: whether it asks to come back. retry_after: after how many seconds, 0 if it does not say.
    """
    lost = refused is None
    pause = max(repeats.pause, retry_after)
    again = repeats.returns > 0 and pause <= repeats.longest if busy else repeats.resends > 0
    returns = busy and again
    put_off = past.put_off or is_put_off(refused)
    past = replace(past, sends=past.sends + 1, lost=past.lost or lost, refused=refused, busy=returns, again=again)
    past = replace(past, put_off=put_off)
    if returns:
        return past, replace(repeats, returns=repeats.returns - 1, pause=repeats.pause * 2), pause
    return past, replace(repeats, resends=repeats.resends - int(lost)), 0.0


def end_of(past: Past) -> Do | None:
    """The end of a purchase that must not be sent (again); None while an earlier one may be under way."""
    if past.unanswered:
        return None
    return Do.REJECTED if past.sends else Do.NOT_SENT


# What the registry notes of an end


class Note(enum.Enum):
    """What an end without a machine changes in the registry."""

    NOTHING = "nothing"
    FREE = "free"  # nothing came of the purchase
    FREE_MADE = "free_made"  # it was or may have been made, and nothing is left of it
    LEFT = "left"  # it failed, and something of it may be billed


def needs_claim(step: NextStep, past: Past, left: t.Collection[str]) -> bool:
    """Whether this end may only be told by a run that still holds the purchase: its refusal makes room for another one.

    What was made, and has failed with something ``left``, is a fact whoever says it.
    """
    return step.do is Do.REJECTED and past.sends > 0 and not (step.why is Why.FAILED and left)


def note_of(step: NextStep, past: Past, left: t.Collection[str]) -> Note:
    """What the registry notes of this end; ``left``: the ids that may be billed of an offer that failed."""
    if step.do is Do.UNKNOWN or step.why is Why.UNREADABLE:
        return Note.NOTHING
    if step.why is Why.ENDED:
        return Note.FREE_MADE if past.unanswered or past.put_off else Note.FREE
    if step.why is not Why.FAILED:
        return Note.FREE
    if not left:
        return Note.FREE_MADE
    # Of an offer that nothing of ours can have bought, what is left is somebody else's.
    return Note.LEFT if past.sends or past.unanswered or past.made else Note.NOTHING


def leaves_storage(note: Note, past: Past, whose: str) -> bool:
    """Whether the storage of an offer without a machine is the host's: nobody else can have bought it.

    It was bought for certain; or the purchase was never answered, and no machine had another name (``whose``).
    """
    return note is Note.FREE_MADE and (past.made or (past.unanswered and whose != THEIRS))
