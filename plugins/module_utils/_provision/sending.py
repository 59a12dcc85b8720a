# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide whether a purchase may be sent, what its answer means, and what its end notes and tells people.

`purchase.next_step` decides the next step. This file adds its inputs: prices and limits (USD per hour), answers,
refusals and lost answers. `ending_of` words each end that `next_step` decides on: what happened, what is billed, and
what to do next. Pure, like `purchase`.
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
from .entry import BOOT_MARK, ORDERED, TOKEN, Entry
from .messages import NO_REASON, NOTHING_BOUGHT, NOTHING_SENT, REPAIR, described, may_be_bought
from .ownership import Machine
from .purchase import ANSWERED_NO, OURS, PHASE_OF_ERROR, PUT_OFF, Decision, History, NextStep, Reason, class_of
from .search import price_to_buy_at
from .waiting import NO_MARK

Json = t.Mapping[str, t.Any]


ACCOUNT_UNREAD = "So max_account_price_per_hour cannot be checked."


@dataclass(frozen=True)
class Terms:
    """The agreed terms of a purchase.

    price_per_hour: the planned price of the offer (USD per hour), None without a plan.
    max_price_per_hour: the limit for the offer (USD per hour), None without one.
    offer: the planned properties of the offer (`storage.noted_offer`); empty without a plan.
    max_account_price_per_hour: the limit for all machines of the account (USD per hour); None without one, or if a
        shared registry compares it.
    procure_timeout: seconds that the request may take. settle_timeout: seconds for which its outcome is queried.
    retries: how often the purchase may be sent again. host: its host, for messages.
    listed_before: ids of resources that were listed before the plan, and named no offer.
    is_planned: whether a plan sends the purchase; it then looks up the machines of all its hosts together.
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
        """Return the highest of the fresh price, the planned one, and the one at which an open purchase was ``sent``.

        All in USD per hour. If the fresh price is unknown, so is the result.
        """
        return price_to_buy_at(fresh, self.price_per_hour, sent)

    def looks_after(self, answer: Json) -> bool:
        """Whether the status of a purchase that failed at once is queried here; a plan does that for all its hosts."""
        return not self.is_planned and answer["status"] == _states.FAILED and is_made(answer)

    def price_refusal(self, offer_id: str, price: float | None) -> str:
        """Return why the offer may not be bought at this price, or an empty text."""
        limit = self.max_price_per_hour
        if limit is None or search.passes_max_price(price, limit):
            return ""
        if price is None:
            return unknown_price(offer_id)
        return f"Offer {offer_id} costs {usd(price)}, which is above max_price_per_hour ({usd(limit)})."

    def page_refusal(self, offer_id: str, page: Json) -> str:
        """Return why the offer may not be bought as its own page describes it, or an empty text."""
        if currency := foreign_currency(page):
            return f"Offer {offer_id} is sold in {currency}. Only prices in USD are compared and counted."
        differences = search.other_than_planned(self.offer, page)
        return differences and f"Offer {offer_id} differs from what the search found. Its own page says: {differences}."

    def refusals(self, offer_id: str, price: float | None, page: Json) -> t.Iterator[tuple[str, str]]:
        """Return why the offer may not be bought at this price and as its page describes it, with error classes."""
        reasons = {"price": self.price_refusal(offer_id, price), "conflict": self.page_refusal(offer_id, page)}
        return ((reason, error_class) for error_class, reason in reasons.items() if reason)

    def account_refusal(self, offer_id: str, price: float | None, account: AccountPrices) -> str:
        """Return why the offer may not be bought under the account's limit, or an empty text.

        The sum is the same as in a plan, except that a purchase without a plan may not know other hosts' registries.
        """
        limit, own = self.max_account_price_per_hour, CeilingPart(self.host or offer_id, price, State.ORDERED)
        count = Count((own, *account.registered, *account.foreign))
        subject = f"With offer {offer_id} all machines of the account"
        return "" if limit is None else count.refusal_above(subject, "max_account_price_per_hour", limit)


def unknown_price(offer_id: str) -> str:
    """Return a refusal: a limit, or a sealed plan, needs the price of the offer."""
    return f"The API names no price in USD for offer {offer_id}, so max_price_per_hour cannot be checked."


def registry_refusal(*, file: bool, url: bool, host: str, has_total: bool) -> str:
    """Return why the options that name the registry contradict each other, or an empty text."""
    refusals = applicable(
        {
            "A purchase is noted in one registry: give either registry_file or registry_url. The environment variable"
            " COMPUTE_INDEX_REGISTRY_URL also sets registry_url.": url and file,
            "registry_url needs the name of the host: set host or resource_name.": url and not host,
            "max_total_price_per_hour needs registry_url, since only a shared registry knows all purchases.": (
                has_total and not url
            ),
        }
    )
    return next(iter(refusals), "")


def precedence(entry: Entry, offer_id: str, terms: Terms) -> tuple[str, Terms, list[str]]:
    """Return the offer to buy, its terms, and a warning if the task names another offer.

    An offer that the host has bought, or may have, takes precedence, so that a newer search buys no second machine. It
    is sent again only within the task's limit or, without one, at the price at which it was sent before.
    """
    if entry.held_by or not (entry.offer_id and entry.may_have_bought) or entry.offer_id == offer_id:
        return offer_id, terms, []
    limit = entry.price_per_hour if terms.max_price_per_hour is None else terms.max_price_per_hour
    has = "has bought" if entry.is_made else "may have bought"
    warning = (
        f"The registry says that {terms.host or 'the host'} {has} offer {entry.offer_id}, so the task's offer"
        f" {offer_id} is not bought. For one more machine, name another host, with an entry of its own."
    )
    return entry.offer_id, replace(terms, price_per_hour=None, max_price_per_hour=limit, offer=entry.offer), [warning]


def claimed_by_another(claim: object, host: str) -> str:
    """The message if another purchase of this host is open. ``claim``: a sentence about that purchase."""
    return (
        f"{claim} {NOTHING_SENT} If another run is buying for {host or 'this host'}, let it finish. Then run again to"
        " continue with that offer."
    )


def planned_for_another_account(offer_id: str, planned: str | None, account: str) -> str:
    """The message if the purchase was ``planned`` with another account than the host's; else empty."""
    if planned in (None, "", account):
        return ""
    return (
        f"Offer {offer_id} was planned with another token or api_url than this host's. All hosts of a play use one"
        f" account: set the same token and api_url for all of them. {NOTHING_SENT}"
    )


def orphaned(offer_id: str) -> str:
    """The message if Ansible was killed while this process continued."""
    return f"Ansible itself has ended, so the purchase of offer {offer_id} was not sent, or not again."


# Answers


def is_made(answer: Json) -> bool:
    """Whether an answer that looks like a success is one. An id or a time of purchase is sufficient proof."""
    bought = answer["resource_ids"] or answer["odd_ids"] or answer["procured_at"]
    is_free = _states.is_for_sale_or_expired(answer["status"])
    return bool(bought) or not (answer["status"] == _states.FAILED or answer["error"] or is_free)


def after(history: History, retries: int, refused: int | None, *, busy: bool) -> History:
    """Return the history after an answer that is no success.

    A purchase without an answer is sent again once.

    retries: how often the purchase may be sent again.
    refused: the HTTP status of a refusal; None if the answer was lost, or leaves the outcome open.
    busy: whether the answer asks to come back, and soon enough.
    """
    may_send = history.sends < retries and (busy or history.sends == 0)
    # Of several refusals the one that proves least counts.
    refused = history.refused if history.refused in (PUT_OFF, ANSWERED_NO) and refused is not None else refused
    is_open = history.unanswered or refused is None
    busy = busy and may_send
    return replace(history, sends=history.sends + 1, unanswered=is_open, refused=refused, may_send=may_send, busy=busy)


def after_objection(history: History, error_class: str) -> History:
    """Return the history once the purchase must not be sent, or not again, for a reason of this class.

    If the offer is gone since a 429, that purchase may have bought it, so it counts as unanswered.
    """
    is_own = history.may_be_under_way and error_class in PHASE_OF_ERROR
    return replace(history, unanswered=history.unanswered or is_own, may_send=False, busy=False)


def outcome_unsent(history: History) -> Decision | None:
    """Return the end of a purchase that must not be sent, or not again; None while an earlier one may be under way."""
    if history.may_be_under_way:
        return None
    return Decision.REJECTED if history.was_sent else Decision.NOT_SENT


# What the registry notes of an end


def needs_claim(step: NextStep, history: History, billed: t.Collection[str]) -> bool:
    """Whether only a run that still holds the purchase may report this end: a refusal frees the host.

    That a purchase was made, and failed with resources that may be ``billed``, is a fact, even from another run.
    """
    return step.decision is Decision.REJECTED and history.sends > 0 and not (step.reason is Reason.FAILED and billed)


def freed(step: NextStep, history: History, billed: t.Collection[str], owner: str) -> bool | None:
    """Return whether the registry notes this end as billed until now (True) or void (False); None frees no host.

    ``billed``: ids of a failed offer that may be billed. ``owner``: of its machines, by their names.
    """
    is_failed = step.reason is Reason.FAILED
    if step.decision is Decision.UNKNOWN or step.reason is Reason.UNREADABLE or (is_failed and billed):
        return None
    # If a refused offer has a machine of our name, the refusal came from a gateway.
    is_ours = history.made or history.may_be_ours or (history.refused is not None and owner == OURS)
    return is_ours and (is_failed or step.reason is Reason.ENDED)


# The messages of an end

# If the task was cut off
MAY_BE_SENT = "The purchase may have been sent. Run the same again: it asks the API first and buys nothing twice."
SETTLED = "The offer's status says that it was bought."
_RUN_AGAIN = (
    "Run the same again (compute_index.supply.provision for this host): it asks the API first, and buys only this"
    " offer, if it is still free."
)
# Advice for each end whose outcome is unknown, with fields of its story
_ADVICE: t.Mapping[Reason, str] = {
    Reason.UNREADABLE: _RUN_AGAIN,
    Reason.SILENT: _RUN_AGAIN,
    Reason.LATELY: "The offer is gone, but the purchase may still be under way. Run the same again after"
    " {story.since}: if it is still unbought then, another offer may be bought.",
    Reason.UNPROVEN: "Nothing proves whose it is: {story.machines_in_words}. Run the same again: if another host has"
    " it, this host is free. If it is this host's for certain, provision_adopt: true takes it over (if the API names"
    " its offer), or compute_index.supply.delete_resource ends it. If it is not, set another resource_name, or remove"
    " the registry entry.",
    Reason.CONTRADICTED: "Does api_token belong to the account that bought it?",
    Reason.OVERTAKEN: "Another run may hold it now: {taken_over} Run the same again: it reads {story.where} first.",
}
# Advice for an error class, after the API's own words
_ADVICE_BY_CLASS = {
    "expired": "The offer has expired; search again.",
    "not_found": "The offer is gone; search again.",
    "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN).",
    QUOTA: "Waiting does not raise a quota: end a machine, or ask the vendor or the API's support for more.",
}


class ApiAnswer(t.Protocol):
    """An error that the API's client raises. Its text is a sentence."""

    error_class: str
    status_code: int | None
    retry_after: float | None


@dataclass(frozen=True)
class Story:
    """The facts about a purchase when it ends, for its messages.

    where: the registry.
    price_per_hour: in USD, None if unknown.
    machines: machines of the offer that the API lists.
    ids: ids that may be billed, from the list, the offer's status, or the registry.
    since: when the offer was first seen as gone; if that is too recent, when it will have been gone for long enough.
    error: the answer to the newest purchase, None if it was a success.
    asked: the offer's status in words, or the error with which the query failed.
    listing: the error with which the list failed, None if it did not.
    objection, objection_class: why the purchase was not sent again, and the error class.
    reason: why the offer failed.
    taken_over: why this run no longer holds the purchase.
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
    def answer(self) -> str:
        """What the newest answer, or else the registry, says about the purchase."""
        if self.error is not None:
            return str(self.error)
        if self.history.made:
            return f"{self.where or 'the API'} says that it was bought."
        if self.history.unanswered:
            return f"{self.where} says that it was sent, but not its outcome."
        return "its purchase was refused." if self.history.was_sent else "no purchase of it is noted for this host."

    @property
    def newest_error(self) -> ApiAnswer | None:
        """The error that answered this run's newest purchase or, if nothing was sent, its newest look."""
        is_look_failed = not (self.history.sends or isinstance(self.asked, str))
        return self.error or (t.cast(ApiAnswer, self.asked) if is_look_failed else None)

    @property
    def why_not_sent_again(self) -> str:
        """A sentence with the objection; empty without one."""
        return f"It was not sent again: {sentence(self.objection)}" if self.objection else ""

    @property
    def machines_in_words(self) -> str:
        """The machines of the offer, as the newest look showed them."""
        return described(self.machines) or "this account lists no machine of it"


@dataclass(frozen=True)
class Ending:
    """A failure: its message and error class, the ids that may be billed, and the API's answer that caused it."""

    msg: str
    error_class: str
    ids: t.Sequence[str] = ()
    error: ApiAnswer | None = None

    @property
    def answer(self) -> dict[str, t.Any]:
        """The fields of a result that come from the API's answer."""
        error = self.error
        return {} if error is None else {"status_code": error.status_code, "retry_after": error.retry_after}


def ending_of(step: NextStep, story: Story) -> Ending:
    """Return the failure for a step that ends a purchase without a machine of ours."""
    reason = t.cast(Reason, step.reason)
    if step.decision is Decision.UNKNOWN:
        return Ending(_unknown(reason, story), "unknown_outcome", story.ids, story.newest_error)
    if reason is Reason.FAILED:
        billed = f"These resources may still be billed, at {usd(story.price_per_hour)}: {', '.join(story.ids)}."
        left = billed if story.ids else "No resource of it is known."
        msg = f"Offer {story.offer_id} failed: {sentence(story.reason or NO_REASON)} {left}"
        return Ending(msg, class_of(story.reason), story.ids)
    if reason in (Reason.TAKEN, Reason.ENDED):
        offer_id, machines = story.offer_id, story.machines_in_words
        ended = f"Offer {offer_id} was bought, and its machines have ended: {machines}. It is no longer billed."
        taken = f"Someone else has bought offer {offer_id}: {machines}. {NOTHING_BOUGHT}"
        msg = joined(str(story.error or ""), ended if reason is Reason.ENDED else taken)
        return Ending(msg, "conflict", error=story.newest_error)
    return _not_bought(reason, story)


def _unknown(reason: Reason, story: Story) -> str:
    """The message if the outcome is unknown, or answers contradict each other."""
    listing = "" if story.listing is None else str(story.listing)
    is_known = story.ids or reason is not Reason.OVERTAKEN  # another run may even have ended the machine
    billed = may_be_bought(story.price_per_hour, story.ids) if is_known else "No machine of it is known."
    found = f"Offer {story.offer_id}: {story.answer} Now: {sentence(story.asked)}"
    advice = _ADVICE[reason].format(story=story, taken_over=sentence(story.taken_over))
    return joined(found, listing, story.why_not_sent_again, billed, "Do not buy another offer instead.", advice)


def _not_bought(reason: Reason, story: Story) -> Ending:
    """The failure if the purchase was refused, or the offer is expired, unknown to the API, or unreadable."""
    by_reason = {Reason.EXPIRED: "expired", Reason.NOT_FOUND: "not_found"}
    error = story.newest_error
    error_class = by_reason.get(reason) or story.objection_class or (error.error_class if error else "conflict")
    found = joined(str(error or f"Offer {story.offer_id}: {sentence(story.asked)}"), story.why_not_sent_again)
    if reason in by_reason and story.history.may_be_under_way:
        found = f"Offer {story.offer_id} has been gone since {story.since}, unbought, so its purchase did not happen."
    return Ending(joined(found, _ADVICE_BY_CLASS.get(error_class, ""), NOTHING_BOUGHT), error_class, error=error)


def not_sold(offer_id: str, answer: Json) -> str:
    """The message for an answer that looks like a success, but says that the offer was not sold."""
    why = answer["error"] or f"it answered '{answer['status']}'"
    return f"The API did not sell offer {offer_id}: {sentence(why)}"


def bought_before(offer_id: str) -> str:
    """The message if an earlier run bought the offer."""
    return f"Offer {offer_id} is bought already."


def bought_not_noted(offer_id: str, price: float | None, ids: list[str], error: object) -> str:
    """The message if the registry could not be written after the purchase."""
    return (
        f"Offer {offer_id} was BOUGHT and is billed at {usd(price)}, resources: {', '.join(ids) or 'not known yet'}."
        f" But that could not be noted: {error} {REPAIR}"
    )


def bought_with_odd_ids(offer_id: str, price: float | None, ids: list[str], odd: t.Iterable[object]) -> str:
    """The message if the API's answer names machines by invalid ids."""
    return (
        f"Offer {offer_id} was BOUGHT and is billed at {usd(price)}, resources: {', '.join(ids) or 'no id is known'}."
        f" The API also names invalid ids, which are not used: {', '.join(repr(str(item)) for item in odd)}. Look them"
        " up with compute_index.supply.resource_info."
    )


def result_of_purchase(outcome: str, facts: t.Mapping[str, t.Any], body: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Return the result of a purchase that was made or, in check mode, would be made, with its ``diff``.

    ``facts``: the fields of the result so far. ``body``: the body of the request.
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


# A sealed plan, and an open purchase, keep digests of the parts of their order, and nothing of the order itself, to
# recognise it. User data may contain a password that is short enough to be guessed, so a digest is keyed with the API's
# token: someone who reads only the plan or the registry cannot test guesses.

_USER_DATA = "cloud_init"
_OTHER = {_USER_DATA: "other user data (cloud_init)"}  # for parts whose name alone is not clear to a person
_HOST_KEY = "provision_bootstrap_host_key"
_OFFER = "offer_id"  # the plan or the registry itself names it


def order_digests(order: t.Mapping[str, str], token: str, note: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return a digest of each part of an order, the body of POST /procure_offer.

    User data with a host key have no digest: each run makes a new key, so they would always differ. ``note``: the
    variables that the registry notes with the purchase.
    """
    left_out = {_OFFER, _USER_DATA} if _HOST_KEY in note else {_OFFER}
    parts = {TOKEN: "", **{name: value for name, value in order.items() if name not in left_out}}
    texts = {name: f"{name}={value}".encode("utf-8", "surrogatepass") for name, value in parts.items()}
    return {name: hmac.new(token.encode(), text, hashlib.sha256).hexdigest() for name, text in texts.items()}


def token_digest(token: str | None) -> str:
    """Return the digest by which `order_digests` shows which token was used; empty without a token."""
    return order_digests({}, token, {})[TOKEN] if token else ""


def check_sealed(sealed: t.Mapping[str, str], now: t.Mapping[str, str]) -> None:
    """Raise ValueError if the digests of an order differ from those of its plan; empty ``sealed`` means no plan."""
    differing = sorted(name for name in {*sealed, *now} if sealed.get(name) != now.get(name))
    if sealed and differing:
        others = [_OTHER.get(part, f"another {part}") for part in differing]
        raise ValueError(f"The plan was quoted with {' and '.join(others)}.")  # the caller says what to do


def noted_order(digests: t.Mapping[str, str], user_data: str | None) -> dict[str, t.Any]:
    """Return the variables that the registry notes of an order. ``digests``: of `order_digests`."""
    return {ORDERED: dict(digests), BOOT_MARK: boot_mark(user_data)}


def ordered_otherwise(entry: Entry, order: t.Mapping[str, t.Any]) -> list[str]:
    """Return a warning if a noted purchase was ordered with other parts; digests of another token prove nothing.

    ``order``: today's, from `noted_order`.
    """
    first, now = entry.ordered, order.get(ORDERED) or {}
    if not entry.may_have_bought or first == now or first.get(TOKEN) != now.get(TOKEN, ""):
        return []
    return [
        f"Offer {entry.offer_id} was ordered before with another key, name or user data: its machine was or will be"
        " bought as first ordered."
    ]


def boot_mark(user_data: str | None) -> bool | None:
    """Return True if user data leaves a mark at its end, as it does unless it says otherwise; None if not."""
    return (bool(user_data) and NO_MARK not in str(user_data)) or None
