# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a purchase may be sent (again), what its answer means, and what its end notes and tells people.

`purchase.next_step` decides what follows from what is known; here is what adds to that: prices and limits (USD per
hour), answers, refusals and lost answers. `ending_of` has the sentence for each end that `next_step` decides on: what
happened, what is billed, and what to do next. Pure, like it.
"""

from __future__ import annotations

import hashlib
import hmac
import typing as t
from dataclasses import dataclass, field, replace

from .. import _states
from .._text import QUOTA, applicable, foreign_currency, gpus_of, joined, sentence, usd
from . import search
from .ceilings import AccountPrices, CeilingPart, Count, State
from .entry import BOOT_MARK, ORDERED, Entry
from .messages import NO_REASON, NOTHING_BOUGHT, NOTHING_SENT, REPAIR, described, may_be_bought
from .ownership import Machine
from .purchase import ANSWERED_NO, OURS, PHASE_OF_ERROR, PUT_OFF, Decision, History, NextStep, Reason, class_of
from .search import highest_known_price
from .waiting import NO_MARK

Json = t.Mapping[str, t.Any]


ACCOUNT_UNREAD = "So whether max_account_price_per_hour holds is not known."


@dataclass(frozen=True)
class Terms:
    """What was agreed on for a purchase.

    price_per_hour: the price of the offer that the purchase was planned with (USD per hour), None without a plan.
    max_price_per_hour: the limit of the offer (USD per hour), None for none.
    offer: what the offer sells, as far as the purchase was planned with that (`storage.noted_offer`).
    max_account_price_per_hour: the limit of all machines of the account together; None for none, and where a shared
        registry compares it.
    procure_timeout, settle_timeout: seconds that the purchase may take, and for which its outcome is asked for.
    retries: how often it may be sent again. host: the host that it is for, in messages.
    listed_before: the ids of resources that were listed before it was planned, and named no offer.
    is_planned: whether a plan sends it, which looks at what was bought for all of its hosts together.
    """

    price_per_hour: float | None = None
    max_price_per_hour: float | None = None
    offer: Json = field(default_factory=dict)
    max_account_price_per_hour: float | None = None
    procure_timeout: float = 600.0
    settle_timeout: float = 30.0
    retries: int = 0
    host: str = ""
    listed_before: frozenset[str] = frozenset()
    is_planned: bool = False

    def price_that_counts(self, fresh: float | None, sent: float | None = None) -> float | None:
        """The highest of the fresh and the planned price, and of that at which an open purchase was ``sent``.

        In USD per hour. An unknown fresh one stays unknown.
        """
        return None if fresh is None else highest_known_price(fresh, self.price_per_hour, sent)

    def looks_after(self, answer: Json) -> bool:
        """Whether a purchase that was made, and failed at once, is looked at here. A plan looks for all hosts."""
        return not self.is_planned and answer["status"] == _states.FAILED and is_made(answer)

    def price_refusal(self, offer_id: str, price: float | None) -> str:
        """Why the offer may not be bought at this price; empty if it may. An unknown price passes no limit."""
        limit = self.max_price_per_hour
        if limit is None or (price is not None and price <= limit):
            return ""
        if price is None:
            return f"The API names no price in USD for offer {offer_id}, to compare it with max_price_per_hour."
        return f"Offer {offer_id} costs {usd(price)}, which is above max_price_per_hour ({usd(limit)})."

    def page_refusal(self, offer_id: str, page: Json) -> str:
        """Why the offer may not be bought as its own page describes it now; empty if it may."""
        if currency := foreign_currency(page):
            return f"Offer {offer_id} is sold in {currency}. Only prices in USD are compared and counted."
        odd = search.other_than_planned(self.offer, page)
        return odd and f"Offer {offer_id} is not what it was found as. Its own page says: {odd}."

    def refusals(self, offer_id: str, price: float | None, page: Json) -> t.Iterator[tuple[str, str]]:
        """Why the offer may not be bought at this price, and as its own page describes it, with the error classes."""
        reasons = {"price": self.price_refusal(offer_id, price), "conflict": self.page_refusal(offer_id, page)}
        return ((reason, error_class) for error_class, reason in reasons.items() if reason)

    def account_refusal(self, offer_id: str, price: float | None, account: AccountPrices) -> str:
        """Why the offer may not be bought beside all that is billed on the account; empty if it may.

        That is counted as in a plan, but a purchase without one may know nothing of the registries of other hosts.
        """
        limit, own = self.max_account_price_per_hour, CeilingPart(self.host or offer_id, price, State.ORDERED)
        count = Count((own, *account.registered, *account.foreign))
        whose = f"With offer {offer_id} all machines of the account"
        return "" if limit is None else count.above(whose, "max_account_price_per_hour", limit)


def registry_refusal(*, file: bool, url: bool, host: str, has_total: bool) -> str:
    """Why the options that name the registry do not fit together; empty if they do."""
    refusals = applicable(
        {
            "A purchase is noted in one registry: give registry_file or registry_url, which the environment variable"
            " COMPUTE_INDEX_REGISTRY_URL sets, too.": url and file,
            "registry_url needs the name of the host: set host or resource_name.": url and not host,
            "max_total_price_per_hour needs registry_url, which knows what is bought.": has_total and not url,
        }
    )
    return next(iter(refusals), "")


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


def claimed_by_another(claim: object, host: str) -> str:
    """Another purchase of this host is open."""
    return (
        f"{claim} {NOTHING_SENT} If another run for {host or 'this host'} is at work, let it end. Then run again: it"
        " goes on with that offer."
    )


def planned_for_another_account(offer_id: str, planned: str | None, account: str) -> str:
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


def is_made(answer: Json) -> bool:
    """Whether an answer that looks like a success is one: with an id or a time of purchase it is, whatever it says."""
    bought = answer["resource_ids"] or answer["odd_ids"] or answer["procured_at"]
    is_free = _states.is_for_sale_or_expired(answer["status"])
    return bool(bought) or not (answer["status"] == _states.FAILED or answer["error"] or is_free)


def after(history: History, retries: int, refused: int | None, *, busy: bool) -> History:
    """What is known after an answer that is no success.

    retries: how often the purchase may be sent again. refused: the HTTP status of a refusal; None if the answer was
    lost, or leaves open what became of the purchase. busy: whether it asks to come back, and soon enough. One without
    an answer is sent again once.
    """
    again = history.sends < retries and (busy or history.sends == 0)
    # Of several refusals the one that proves least counts.
    refused = history.refused if history.refused in (PUT_OFF, ANSWERED_NO) and refused is not None else refused
    is_open = history.unanswered or refused is None
    return replace(
        history, sends=history.sends + 1, unanswered=is_open, refused=refused, again=again, busy=busy and again
    )


def after_objection(history: History, error_class: str) -> History:
    """What is known once it must not be sent (again), for a reason of this class.

    If the offer is gone since it was put off, that may have bought it: it counts as not answered.
    """
    is_own = history.refused == PUT_OFF and error_class in PHASE_OF_ERROR
    return replace(history, unanswered=history.unanswered or is_own, again=False, busy=False)


def outcome_unsent(history: History) -> Decision | None:
    """The end of a purchase that must not be sent (again); None while an earlier one may be under way.

    What was put off may have bought the offer, which the API may show only later.
    """
    if history.unanswered or history.refused == PUT_OFF:
        return None
    return Decision.REJECTED if history.was_sent else Decision.NOT_SENT


# What the registry notes of an end


def needs_claim(step: NextStep, history: History, left: t.Collection[str]) -> bool:
    """Whether this end may only be told by a run that still holds the purchase: its refusal makes room for another one.

    What was made, and has failed with something ``left``, is a fact whoever says it.
    """
    return step.decision is Decision.REJECTED and history.sends > 0 and not (step.reason is Reason.FAILED and left)


def freed(step: NextStep, history: History, left: t.Collection[str], whose: str) -> bool | None:
    """Whether the registry notes that this end was billed until now, or came to nothing; None if it frees no host.

    ``left``: the ids that may be billed of an offer that failed. ``whose``: its machines are, by their names.
    """
    if step.decision is Decision.UNKNOWN or step.reason is Reason.UNREADABLE or (step.reason is Reason.FAILED and left):
        return None
    # Of a refused offer with a machine of our name a gateway has lied.
    is_ours = history.made or history.may_be_ours or (history.refused is not None and whose == OURS)
    return is_ours and step.reason in (Reason.ENDED, Reason.FAILED)


# What people read of an end

# If the task was cut off
MAY_BE_SENT = "The purchase may have been sent. Run the same again: it asks the API first and buys nothing twice."
SETTLED = "The offer's status says that it was bought."
_RUN_AGAIN = (
    "Run the same again (compute_index.supply.provision for this host): it asks first, and buys only this very offer,"
    " if it is still free."
)
# What to do about each end that leaves open whether something was bought, in parts of its story
_ADVICE: t.Mapping[Reason, str] = {
    Reason.UNREADABLE: _RUN_AGAIN,
    Reason.SILENT: _RUN_AGAIN,
    Reason.LATELY: "The offer is gone, but the purchase may still be under way. Run the same again after {since}: if it"
    " is still unbought then, another offer may be bought.",
    Reason.UNPROVEN: "Nothing proves whose it is: {machines}. If it is this host's, provision_adopt: true takes it, and"
    " compute_index.supply.delete_resource ends it. If it is not, set another resource_name, or remove the registry"
    " entry.",
    Reason.CONTRADICTED: "Does api_token belong to the account that bought it?",
    Reason.OVERTAKEN: "It may be in other hands: {taken_over} Run the same again: it goes by what {where} says then.",
}
# What a class of errors means, after the API's own words
_MEANINGS = {
    "expired": "The offer has expired; search again.",
    "not_found": "The offer is gone; search again.",
    "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN).",
    QUOTA: "Waiting does not raise a quota: end a machine, or ask the vendor or the API's support for more.",
}


class ApiAnswer(t.Protocol):
    """What the API answered, as its client raises it. Its text is a sentence."""

    error_class: str
    status_code: int | None
    retry_after: float | None


@dataclass(frozen=True)
class Story:
    """What is known of a purchase when it ends.

    where: the registry. price_per_hour: USD per hour, None if unknown.
    machines: those that the API lists for the offer. ids: of these and the status, or noted, what may be billed.
    since: when the offer was first seen as gone; or, if that was lately, when it will have been long ago.
    error: the answer to the newest purchase, None if it was a success.
    asked: what the newest look has shown, or the error why it could not be read. listing: why nothing could be listed.
    objection: why the purchase was not sent again, and the class of that. reason: why the offer failed.
    taken_over: why this run does not hold the purchase any more.
    """

    offer_id: str
    history: History
    where: str | None = None
    price_per_hour: float | None = None
    machines: t.Sequence[Machine] = ()
    ids: t.Sequence[str] = ()
    since: str = ""
    error: ApiAnswer | None = None
    asked: object = ""
    listing: ApiAnswer | None = None
    objection: str = ""
    objection_class: str = ""
    reason: str | None = None
    taken_over: object = ""

    @property
    def said(self) -> str:
        """What is known of the purchase itself, from the newest answer or from the registry."""
        if self.error is not None:
            return str(self.error)
        if self.history.made:
            return f"{self.where or 'the API'} says that it was bought."
        if self.history.unanswered:
            return f"{self.where} says that it was sent, and not what became of it."
        return "its purchase was refused." if self.history.was_sent else "no purchase of it is noted for this host."

    @property
    def newest(self) -> ApiAnswer | None:
        """The newest answer that was an error: to a purchase of this run, or else to the look."""
        is_missing = not (self.history.sends or isinstance(self.asked, str))
        return self.error or (t.cast(ApiAnswer, self.asked) if is_missing else None)

    @property
    def kept(self) -> str:
        """Why it was not sent again, in a sentence; empty without an objection."""
        return f"It was not sent again: {sentence(self.objection)}" if self.objection else ""

    @property
    def shown(self) -> str:
        """Its machines, as the newest look has shown them."""
        return described(self.machines) or "this account lists no machine of it"

    @property
    def parts(self) -> dict[str, str]:
        """Parts of the sentences of `_ADVICE`."""
        return {
            "where": str(self.where),
            "machines": self.shown,
            "since": self.since,
            "taken_over": sentence(self.taken_over),
        }


@dataclass(frozen=True)
class Ending:
    """A failure: its message and class, the ids that may be billed, and the answer whose status it has."""

    msg: str
    error_class: str
    ids: t.Sequence[str] = ()
    error: ApiAnswer | None = None

    @property
    def answer(self) -> dict[str, t.Any]:
        """The fields of a result that come from that answer."""
        error = self.error
        return {} if error is None else {"status_code": error.status_code, "retry_after": error.retry_after}


def ending_of(step: NextStep, story: Story) -> Ending:
    """The failure for a step that ends a purchase without a machine of ours."""
    reason = t.cast(Reason, step.reason)
    if step.decision is Decision.UNKNOWN:
        return Ending(_unknown(reason, story), "unknown_outcome", story.ids, story.newest)
    if reason is Reason.FAILED:
        billed = f"These resources may still be billed, at {usd(story.price_per_hour)}: {', '.join(story.ids)}."
        left = billed if story.ids else "No resource of it is known."
        msg = f"Offer {story.offer_id} failed: {sentence(story.reason or NO_REASON)} {left}"
        return Ending(msg, class_of(story.reason), story.ids)
    if reason in (Reason.TAKEN, Reason.ENDED):
        ended = f"Offer {story.offer_id} was bought, and its machines have ended: {story.shown}. It is billed no more."
        taken = f"Someone else has bought offer {story.offer_id}: {story.shown}. {NOTHING_BOUGHT}"
        told = (str(story.error or ""), ended if reason is Reason.ENDED else taken)
        return Ending(joined(*told), "conflict", error=story.newest)
    return _not_bought(reason, story)


def _unknown(reason: Reason, story: Story) -> str:
    """It may be bought, since nobody knows or since answers do not agree."""
    listing = "" if story.listing is None else str(story.listing)
    is_known = story.ids or reason is not Reason.OVERTAKEN  # another run may even have ended it
    billed = may_be_bought(story.price_per_hour, story.ids) if is_known else "No machine of it is known."
    told = f"Offer {story.offer_id}: {story.said} Asked now: {sentence(story.asked)}"
    rest = f"Do not buy another offer instead. {_ADVICE[reason].format(**story.parts)}"
    return joined(told, listing, story.kept, billed, rest)


def _not_bought(reason: Reason, story: Story) -> Ending:
    """The purchase was refused; or the offer is expired, not known to the API, or not readable."""
    by_reason = {Reason.EXPIRED: "expired", Reason.NOT_FOUND: "not_found"}
    answered = story.newest.error_class if story.newest else "conflict"
    error_class = by_reason.get(reason) or story.objection_class or answered
    told = joined(str(story.newest or f"Offer {story.offer_id}: {sentence(story.asked)}"), story.kept)
    if reason in by_reason and story.history.may_be_under_way:
        told = f"Offer {story.offer_id} has been gone since {story.since}, unbought, so its purchase did not happen."
    return Ending(joined(told, _MEANINGS.get(error_class, ""), NOTHING_BOUGHT), error_class, error=story.newest)


def not_sold(offer_id: str, answer: Json) -> str:
    """An answer to a purchase that looks like a success, and says no."""
    why = answer["error"] or f"it answered '{answer['status']}'"
    return f"The API did not sell offer {offer_id}: {sentence(why)}"


def bought_before(offer_id: str) -> str:
    """It was bought by an earlier run."""
    return f"Offer {offer_id} is bought already."


def bought_not_noted(offer_id: str, price: float | None, ids: list[str], said: object) -> str:
    """The registry could not be written after the purchase."""
    return (
        f"Offer {offer_id} was BOUGHT and is billed at {usd(price)}, resources: {', '.join(ids) or 'not known yet'}."
        f" But that could not be noted: {said} {REPAIR}"
    )


def bought_with_odd_ids(offer_id: str, price: float | None, ids: list[str], odd: t.Iterable[object]) -> str:
    """The API's answer names machines by what is no id."""
    return (
        f"Offer {offer_id} was BOUGHT and is billed at {usd(price)}, resources: {', '.join(ids) or 'no id is known'}."
        f" The API also names what is no id, and is not used: {', '.join(repr(str(item)) for item in odd)}. See what it"
        " is with compute_index.supply.resource_info."
    )


def result_of_purchase(outcome: str, facts: t.Mapping[str, t.Any], body: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The result of a purchase that was made or, in check mode, would be made, with its ``diff``.

    ``facts``: of the task's result. ``body``: of the request.
    """
    offer = facts["offer"]
    after = {
        "offer_id": body["offer_id"],
        "status": facts["status"],
        "gpus": gpus_of(offer["gpu_count"], offer["gpu_type"]),
        "contract_type": offer["contract_type"],
        "vendor": offer["vendor"],
        "region": offer["vendor_region"] or offer["region"],
        "price_per_hour": facts["price_per_hour"],
        "resource_ids": facts["resource_ids"],
        "cloud_init_sha256": facts["cloud_init_sha256"],
        **{name: body[name] for name in ("resource_name", "cluster_name") if name in body},
    }
    headers = {"before_header": "machine (none)", "after_header": f"machine (offer {body['offer_id']})"}
    verb = "would be bought" if outcome == "planned" else "was bought"
    return {
        "changed": True,
        "outcome": outcome,
        "msg": f"Offer {body['offer_id']} {verb} at {usd(facts['price_per_hour'])}.",
        "diff": {**headers, "before": {}, "after": after},
    }


# What tells whether an order is the one that a sealed plan was quoted with, or that an open purchase was sent with:
# digests of its parts, and nothing of the order itself. User data may contain a password that is short enough to be
# guessed, so a digest is keyed with the API's token: who reads only the plan or the registry cannot try guesses.

_TOKEN = "token"  # the part by which digests of another token are recognised
_USER_DATA = "cloud_init"
_OTHER = {_USER_DATA: "other user data (cloud_init)"}  # where the name alone says nothing to a person
_HOST_KEY = "provision_bootstrap_host_key"
_OFFER = "offer_id"  # which the plan or the registry itself names


def order_digests(order: t.Mapping[str, str], token: str, note: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The digest of each part of an order, the body of POST /procure_offer. ``note``: what is kept with its purchase.

    User data that contain a host key, which each run makes anew, differ whatever the user gave, so they have no digest.
    """
    left_out = {_OFFER, _USER_DATA} if _HOST_KEY in note else {_OFFER}
    parts = {_TOKEN: "", **{name: value for name, value in order.items() if name not in left_out}}
    texts = {name: f"{name}={value}".encode("utf-8", "surrogatepass") for name, value in parts.items()}
    return {name: hmac.new(token.encode(), text, hashlib.sha256).hexdigest() for name, text in texts.items()}


def check_sealed(sealed: t.Mapping[str, str], now: t.Mapping[str, str]) -> None:
    """Raise ValueError if the digests of an order are not those of its plan; empty ones are those of no plan."""
    differing = sorted(name for name in {*sealed, *now} if sealed.get(name) != now.get(name))
    if sealed and differing:
        others = [_OTHER.get(part, f"another {part}") for part in differing]
        raise ValueError(f"The plan was quoted with {' and '.join(others)}.")  # the caller says what to do


def noted_order(digests: t.Mapping[str, str], user_data: str | None) -> dict[str, t.Any]:
    """What the registry notes of an order, with its `order_digests`."""
    return {ORDERED: dict(digests), BOOT_MARK: boot_mark(user_data)}


def ordered_otherwise(entry: Entry, order: t.Mapping[str, t.Any]) -> list[str]:
    """A warning if a purchase that is noted was ordered otherwise; digests with another token say nothing.

    ``order``: of now, as `noted_order` has it.
    """
    first, now = entry.ordered, order.get(ORDERED) or {}
    if not entry.may_have_bought or first == now or first.get(_TOKEN) != now.get(_TOKEN, ""):
        return []
    return [
        f"Offer {entry.offer_id} was ordered before with another key, name or user data: its machine was or will be"
        " bought as first ordered."
    ]


def boot_mark(user_data: str | None) -> bool | None:
    """What the registry notes of user data: whether they leave a mark at their end, as all do that do not deny it."""
    return (bool(user_data) and NO_MARK not in str(user_data)) or None
