# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a purchase may be sent (again), what its answer means, and what its end notes and tells people.

`purchase.next_step` decides what follows from what is known; here is what adds to that: prices and limits (USD per
hour), answers, refusals and lost answers. `ending_of` has the sentence for each end that `next_step` decides on: what
happened, what is billed, and what to do next. Pure, like it.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import typing as t
from dataclasses import dataclass, field, replace

from .. import _states
from .._text import QUOTA, applying, foreign_currency, gpus_of, sentence, usd
from . import search
from .boot import NO_MARK
from .ceilings import AccountPrices, CeilingPart, Count, State
from .entry import BOOT_MARK, ORDERED, Entry
from .failover import class_of
from .lease import Clock, clocks_differ
from .messages import NO_REASON, NOTHING_BOUGHT, NOTHING_SENT, REPAIR, described
from .ownership import Machine
from .prices import highest_known_price
from .purchase import OURS, PHASE_OF_ERROR, PUT_OFF, THEIRS, UNSEEN, Decision, History, NextStep, Reason

Json = t.Mapping[str, t.Any]


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

    @classmethod
    def of(cls, retries: int, pause: float, longest: float, *, as_module: bool) -> Repeats:
        """By the option ``api_retries``; a process that does not see that Ansible was killed sends nothing again."""
        return cls(0 if as_module else max(0, retries), 0 if as_module else 1, pause, longest)


ONCE = Repeats(returns=0, resends=0, pause=0.0, longest=0.0)


@dataclass(frozen=True)
class Terms:
    """What was agreed on for a purchase.

    price_per_hour: the price of the offer that the purchase was planned with (USD per hour), None without a plan.
    max_price_per_hour: the limit of the offer (USD per hour), None for none.
    offer: what the offer sells, as far as the purchase was planned with that (`storage.noted_offer`).
    ends_at: when its lease is over, as that is noted; empty without one.
    max_account_price_per_hour: the limit of all machines of the account together; None for none, and where a shared
        registry compares it.
    procure_timeout, settle_timeout: seconds that the purchase may take, and for which its outcome is asked for.
    repeats: how often it may be sent again. host: the host that it is for, in messages.
    listed_before: the ids of resources that were listed before it was planned, and named no offer.
    is_planned: whether a plan sends it, which looks at what was bought for all of its hosts together.
    """

    price_per_hour: float | None = None
    max_price_per_hour: float | None = None
    offer: Json = field(default_factory=dict)
    ends_at: str = ""
    max_account_price_per_hour: float | None = None
    procure_timeout: float = 600.0
    settle_timeout: float = 30.0
    repeats: Repeats = ONCE
    host: str = ""
    listed_before: frozenset[str] = frozenset()
    is_planned: bool = False

    def price_that_counts(self, fresh: float | None, sent: float | None = None) -> float | None:
        """The highest of the fresh and the planned price, and of that at which an open purchase was ``sent``.

        In USD per hour. An unknown fresh one stays unknown.
        """
        return None if fresh is None else highest_known_price(fresh, self.price_per_hour, sent)

    def looks_afterwards(self, ids: t.Collection[str], are_anothers: t.Callable[[], bool]) -> bool:
        """Whether what a purchase has bought must be looked for, beside these ids that its answer names."""
        return not ids or (not self.is_planned and are_anothers())

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

    def refusals(self, offer_id: str, price: float | None, page: Json, clock: Clock) -> t.Iterator[tuple[str, str]]:
        """Why the offer may not be bought now, at this price and as its own page describes it, with the error classes.

        The plan has compared the clocks, but a clock may have been set since.
        """
        reasons = {
            "price": self.price_refusal(offer_id, price),
            "conflict": self.page_refusal(offer_id, page),
            "unavailable": clocks_differ(clock) if self.ends_at else "",
        }
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
    refusals = applying(
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


def is_held_without_purchase(claimed: Entry, noted: Entry) -> bool:
    """Whether another run holds the host and has noted nothing that could be waited for: to read it anew is no help."""
    return bool(claimed.held_by) and not noted.is_open


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


class AnswerMeaning(enum.Enum):
    """What an answer to a purchase means that looks like a success."""

    MADE = "made"
    FAILED = "failed"  # made, and failed at once
    DENIED = "denied"  # a refusal all the same


def meaning_of(answer: Json, *, unanswered: bool) -> AnswerMeaning:
    """What the answer means. With an id or a time of purchase it is one, whatever else it says.

    ``unanswered``: an earlier purchase of the offer may be under way. A failure that names nothing says nothing of it.
    """
    failed = answer["status"] == _states.FAILED
    bought = answer["resource_ids"] or answer["odd_ids"] or answer["procured_at"]
    if failed and (bought or not unanswered):
        return AnswerMeaning.FAILED
    denied = failed or answer["error"] or _states.is_for_sale_or_expired(answer["status"])
    return AnswerMeaning.DENIED if denied and not bought else AnswerMeaning.MADE


def after(
    history: History, repeats: Repeats, refused: int | None, busy: bool, retry_after: float
) -> tuple[History, Repeats, float]:
    """What is known after an answer that is no success, what may still be sent, and the seconds to wait before that.

    refused: the HTTP status of a refusal; None if the answer was lost, or leaves open what became of the purchase.
    busy: whether it asks to come back. retry_after: after how many seconds, 0 if it does not say.
    """
    lost = refused is None
    pause = max(repeats.pause, retry_after)
    again = repeats.returns > 0 and pause <= repeats.longest if busy else repeats.resends > 0
    returns = busy and again
    history = replace(
        history,
        sends=history.sends + 1,
        lost=history.lost or lost,
        refused=refused,
        busy=returns,
        again=again,
        put_off=history.put_off or refused == PUT_OFF,
    )
    if returns:
        return history, replace(repeats, returns=repeats.returns - 1, pause=repeats.pause * 2), pause
    return history, replace(repeats, resends=repeats.resends - int(lost)), 0.0


def after_objection(history: History, error_class: str) -> History:
    """What is known once it must not be sent (again), for a reason of this class.

    If the offer is gone since it was put off, that may have bought it: it counts as not answered.
    """
    is_own = history.put_off and error_class in PHASE_OF_ERROR
    return replace(history, lost=history.lost or is_own, again=False, busy=False)


def outcome_unsent(history: History) -> Decision | None:
    """The end of a purchase that must not be sent (again); None while an earlier one may be under way."""
    if history.unanswered:
        return None
    return Decision.REJECTED if history.sends else Decision.NOT_SENT


# What the registry notes of an end


class Note(enum.Enum):
    """What an end without a machine changes in the registry."""

    NOTHING = "nothing"
    FREE = "free"  # nothing came of the purchase
    FREE_MADE = "free_made"  # it was or may have been made, and nothing is left of it
    LEFT = "left"  # it failed, and something of it may be billed


def needs_claim(step: NextStep, history: History, left: t.Collection[str]) -> bool:
    """Whether this end may only be told by a run that still holds the purchase: its refusal makes room for another one.

    What was made, and has failed with something ``left``, is a fact whoever says it.
    """
    return step.decision is Decision.REJECTED and history.sends > 0 and not (step.reason is Reason.FAILED and left)


def note_of(step: NextStep, history: History, left: t.Collection[str], whose: str = UNSEEN) -> Note:
    """What the registry notes of this end; ``left``: the ids that may be billed of an offer that failed.

    ``whose``: its machines are, by their names.
    """
    if step.decision is Decision.UNKNOWN or step.reason is Reason.UNREADABLE:
        return Note.NOTHING
    if step.reason is Reason.ENDED:
        return Note.FREE_MADE if history.unanswered or history.put_off or _is_billed(history, whose) else Note.FREE
    if step.reason is not Reason.FAILED:
        return Note.FREE
    if not left:
        return Note.FREE_MADE
    # Of an offer that nothing of ours can have bought, what is left is somebody else's.
    return Note.LEFT if history.was_sent or history.made else Note.NOTHING


def _is_billed(history: History, whose: str) -> bool:
    """Whether a refused offer has a machine of our name: it was billed to us, whatever a gateway has answered."""
    return history.was_refused and whose == OURS


def leaves_storage(note: Note, history: History, whose: str) -> bool:
    """Whether the storage of an offer without a machine is the host's: nobody else can have bought it.

    It was bought for certain; or no machine had another name (``whose``), and the purchase was never answered, or was
    refused, and one had ours.
    """
    is_ours = history.made or _is_billed(history, whose) or (history.unanswered and whose != THEIRS)
    return note is Note.FREE_MADE and is_ours


# What people read of an end

_RUN_AGAIN = "Run the same again later: it asks first and buys only this very offer, if it is still free."
SETTLED = "The offer's status says that it was bought."
_ADOPT = "If it is this host's, provision_adopt: true takes it; else set another resource_name."
_ENTRY = "If it is this host's, provision_adopt: true takes it; if it is not, remove the registry entry."
# Of a purchase without a registry and without a name, which no role makes
_USE = (
    "If it is yours, compute_index.supply.offer_status shows how to reach it, and compute_index.supply.delete_resource"
    " ends it."
)
_DESCRIBED = ("resource_id", "name", "price_per_hour")


# What a refusal of the purchase means, after the API's own words
_MEANINGS_OF_REFUSALS = {
    "conflict": "Someone else has bought the offer, or it is being bought.",
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

    name: as which its machine was ordered. where: the registry. price_per_hour: USD per hour, None if unknown.
    machines: those that the API lists for the offer. ids: of these and the status, or noted, what may be billed.
    since: when the offer was first seen as gone; or, if that was lately, when it will have been long ago.
    error: the answer to the newest purchase, None if it was a success. denial: the words of a success that says no.
    asked: what the newest look has shown. missing: why it could not be read. listing: why nothing could be listed.
    objection: why the purchase was not sent again. reason: why the offer failed, in the API's words.
    taken_over: why this run does not hold the purchase any more.
    """

    offer_id: str
    history: History
    name: str = ""
    where: str | None = None
    price_per_hour: float | None = None
    machines: t.Sequence[Machine] = ()
    ids: t.Sequence[str] = ()
    since: str = ""
    error: ApiAnswer | None = None
    denial: str = ""
    asked: object = ""
    missing: ApiAnswer | None = None
    listing: ApiAnswer | None = None
    objection: str = ""
    reason: str | None = None
    taken_over: object = ""

    @property
    def said(self) -> str:
        """What the API answered to the newest purchase."""
        if self.error is not None:
            return str(self.error)
        if self.history.sends:
            return f"The API answered that it was not made: {sentence(self.denial)}"
        if self.history.refused_before:
            return f"{self.where} says that it was {self.answer}."
        return f"{self.where} says that it was sent before, and not what became of it."

    @property
    def answer(self) -> str:
        """How the purchase was answered, in a word or two."""
        if self.history.unanswered or not self.history.was_refused:
            return "not answered"
        return "put off" if self.history.put_off else "refused"

    @property
    def alive(self) -> t.Sequence[Machine]:
        """The machines that are listed and may be billed; all of them, if none may be."""
        return [machine for machine in self.machines if not _states.is_gone(machine["status"])] or self.machines

    @property
    def left(self) -> str:
        """What may be billed of the offer, as far as the newest look has shown it."""
        if self.ids:
            return f"It MAY BE BILLED at {usd(self.price_per_hour)} ({', '.join(self.ids)})."
        return "Its machines have ended." if self.machines else "No machine of it is known that is billed."

    @property
    def parts(self) -> dict[str, str]:
        """Parts of the sentences below."""
        shown = ({name: machine[name] for name in _DESCRIBED} for machine in self.alive)
        machines = described(shown) or ", ".join(self.ids)
        return {
            "offer": self.offer_id,
            "name": self.name,
            "where": str(self.where),
            "witness": f"{self.where} says" if self.where else "The API itself said",
            "price": usd(self.price_per_hour),
            "ids": ", ".join(self.ids) or "no id is known",
            "machines": machines or "machines that the API does not list",
            "others": f"no machine of it is called {self.name}, but {machines}"
            if machines
            else "this account lists no machine of it",
            "said": self.said,
            "refused": f"{self.error} " if self.error else "",
            "answer": self.answer,
            "left": self.left,
            "taken_over": sentence(self.taken_over),
            "take": _ADOPT if self.where or self.name else _USE,
            "decide": _ENTRY if self.where else _ADOPT,
            "asked": str(self.asked),
            "seen": sentence(self.asked),
            "kept": f" It was not sent again: {sentence(self.objection)}" if self.objection else "",
            "listing": f" {self.listing}" if self.listing else "",
            "cause": sentence(self.reason or NO_REASON),
            "since": self.since,
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
    newest = story.error or (None if story.history.sends else story.missing)
    if step.decision is Decision.UNKNOWN:
        # What the API has answered to a purchase of this run says more than that the status cannot be read.
        reason = Reason.SILENT if reason is Reason.UNREADABLE and story.history.sends else reason
        return Ending(_SENTENCES[reason].format(**story.parts), "unknown_outcome", story.ids, newest)
    if reason is Reason.FAILED:
        return _failed(story)
    if reason in (Reason.TAKEN, Reason.ENDED):
        return Ending(_SENTENCES[reason].format(**story.parts), "conflict", error=newest)
    if reason is Reason.REFUSED:
        return _refusal(story)
    return _gone_unbought(reason, story)


def _failed(story: Story) -> Ending:
    """The offer failed, whoever had bought it; and what of it may be billed."""
    left = "No resource of it is known." if story.history.sends else NOTHING_BOUGHT
    left = f"These resources may be billed nevertheless: {', '.join(story.ids)}." if story.ids else left
    msg = f"Offer {story.offer_id} failed: {sentence(story.reason or NO_REASON)} {left}"
    return Ending(msg, class_of(story.reason), story.ids)


def _refusal(story: Story) -> Ending:
    """By an error, or by an answer that looks like a success."""
    error = story.error
    if error is not None:
        meaning = f"{_MEANINGS_OF_REFUSALS.get(error.error_class, '')} {NOTHING_BOUGHT}".strip()
        return Ending(f"{error} {meaning}", error.error_class, error=error)
    msg = f"The API did not sell offer {story.offer_id}: {sentence(story.denial)} {NOTHING_BOUGHT}"
    return Ending(msg, class_of(story.denial))


def _gone_unbought(reason: Reason, story: Story) -> Ending:
    """Expired, not known to the API, or not readable, and nothing was sent; or a purchase may have been under way."""
    if story.history.may_be_under_way:
        msg = (
            f"Offer {story.offer_id} has been gone since {story.since}, unbought, so the purchase that was"
            f" {story.answer} did not happen. {NOTHING_BOUGHT} Search again."
        )
        return Ending(msg, "not_found" if reason is Reason.NOT_FOUND else "expired")
    if story.missing is not None:
        advice = " The API does not know this offer; search again." if reason is Reason.NOT_FOUND else ""
        return Ending(f"{story.missing}{advice} {NOTHING_BOUGHT}", story.missing.error_class, error=story.missing)
    msg = f"Offer {story.offer_id} has expired; offers live 30 minutes. {NOTHING_BOUGHT} Search again."
    return Ending(msg, "expired")


# In the parts of the purchase's story; but for the first two it is not known what became of it.
_SENTENCES: t.Mapping[Reason, str] = {
    Reason.TAKEN: f"{{refused}}Someone else has bought offer {{offer}}: {{others}}. {NOTHING_BOUGHT} Search again.",
    Reason.ENDED: "{refused}Offer {offer} was bought, and its machines have ended: {machines}. Nothing of it is billed"
    " any more. Search again.",
    Reason.UNREADABLE: "{asked} {where} says that offer {offer} is bought, or that a purchase of it was sent: it"
    f" MAY BE BILLED. Nothing was sent now. {_RUN_AGAIN}",
    Reason.SILENT: "The purchase of offer {offer} was sent, but its outcome is not known: {said} Asked afterwards:"
    " {seen}{kept} It MAY BE BOUGHT and billed at {price}. Do not buy another offer instead. "
    f"{_RUN_AGAIN}",
    Reason.LATELY: "The purchase of offer {offer} was sent and {answer}, and the offer is gone now, unbought as far"
    " as the API says. The purchase may still be under way, and MAY BE BILLED. Do not buy another offer instead."
    " Run the same again after {since}: if it is still unbought then, another offer may be bought.",
    Reason.UNPROVEN: "{refused}Offer {offer} is bought, and its machine is called {name}: {machines}. But no"
    " purchase of this host is without an answer, so it is another project's, or a gateway sent a refused request"
    " twice. It MAY BE BILLED for this host. Nothing else was bought. {take}",
    Reason.ANOTHER: "The purchase of offer {offer} was sent and {answer}. The offer is bought, but no machine of"
    " it is called {name}: {machines}. Someone else was faster, or the API does not keep names and it is this host's:"
    " it MAY BE BILLED. Nothing else was bought. {decide}",
    Reason.NAMELESS: "Offer {offer} is bought, but by whom is not known: no name of a machine tells it"
    " ({ids}).{listing} It MAY BE THIS HOST'S and billed at {price}. Do not buy another offer instead."
    " Run the same again later, or see in the list of resources whose it is. {take}",
    Reason.OVERTAKEN: "The purchase of offer {offer} was sent: {said} But it may be in other hands: {taken_over} {left}"
    " Nothing else was bought. Run the same again: it goes by what {where} says then.",
    Reason.CONTRADICTED: "{witness} that offer {offer} was bought ({ids}). Asked now: {seen} It MAY BE"
    " BILLED all the same. Nothing was sent now. Does api_token belong to the account that bought it?",
    Reason.UNLISTED: "Offer {offer} failed: {cause} It MAY BE BILLED nevertheless, since its resources cannot be"
    f" listed:{{listing}} {_RUN_AGAIN}",
}


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


# What is remembered of an order, to tell later whether it was ordered otherwise. The registry keeps a digest of each
# part, and nothing of the order itself. User data may contain a password that is short enough to be guessed, so a
# digest is keyed with the API's token: who reads only the registry cannot try guesses. Digests of another token say
# nothing.

_TOKEN = "token"  # the part by which digests of another token are recognised
_USER_DATA = "cloud_init"
_OTHER = {_USER_DATA: "other user data (cloud_init)"}  # where the name alone says nothing to a person
_HOST_KEY = "provision_bootstrap_host_key"
_OFFER = "offer_id"  # which the digests are noted for


def order_digests(order: t.Mapping[str, str], token: str, note: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The digest of each part of an order, the body of POST /procure_offer. ``note``: what is kept with its purchase.

    User data that contain a host key, which each run makes anew, differ whatever the user gave, so they have no digest.
    """
    left_out = {_OFFER, _USER_DATA} if _HOST_KEY in note else {_OFFER}
    parts = {_TOKEN: "", **{name: value for name, value in order.items() if name not in left_out}}
    texts = {name: f"{name}={value}".encode("utf-8", "surrogatepass") for name, value in parts.items()}
    return {name: hmac.new(token.encode(), text, hashlib.sha256).hexdigest() for name, text in texts.items()}


def differing_parts(noted: t.Mapping[str, t.Any], now: t.Mapping[str, str]) -> list[str]:
    """The parts in which two orders differ, by their digests; none if nothing was noted, or with another token."""
    return [] if noted.get(_TOKEN) != now.get(_TOKEN) else _unlike(noted, now)


def _unlike(noted: t.Mapping[str, t.Any], now: t.Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*noted, *now} if noted.get(name) != now.get(name))


def leaves_mark(user_data: str | None) -> bool:
    """Whether user data leave the mark at their end: all do, but for those that say that they leave none."""
    return bool(user_data) and NO_MARK not in str(user_data)


@dataclass(frozen=True)
class OrderDigests:
    """What is remembered of an order: its ``digests``, and whether its user data leave a mark at their end (`boot`).

    ``sealed``: the digests that it has in a plan (`sealed`); empty without a plan.
    """

    digests: t.Mapping[str, str] = field(default_factory=dict)
    leaves_mark: bool = False
    sealed: t.Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        body: t.Mapping[str, str],
        token: str,
        note: t.Mapping[str, t.Any],
        sealed: t.Mapping[str, str] | None = None,
    ) -> OrderDigests:
        """That of the body of POST /procure_offer. ``note``: what is kept with its purchase."""
        return cls(order_digests(body, token, note), leaves_mark(body.get(_USER_DATA)), sealed or {})

    def check(self) -> None:
        """Raise ValueError if it is not as its plan has it. Another token is a difference, too."""
        if parts := _unlike(self.sealed, self.digests) if self.sealed else []:
            others = [_OTHER.get(part, f"another {part}") for part in parts]
            raise ValueError(f"The plan was quoted with {' and '.join(others)}.")  # the caller says what to do

    def to_note(self, entry: Entry) -> dict[str, t.Any]:
        """What the registry keeps while the order is sent (again): what was ordered first may still arrive."""
        first = entry.first_ordered
        mark = entry.boot_mark if first else self.leaves_mark
        return {ORDERED: dict(first or self.digests), BOOT_MARK: mark or None}

    def warnings(self, entry: Entry) -> list[str]:
        """What people must know if the purchase of an entry was ordered otherwise."""
        parts = differing_parts(entry.first_ordered, self.digests)
        warning = (
            f"Offer {entry.offer_id} was first ordered with another {' and another '.join(parts)}. Its machine was or"
            " will be bought as first ordered. If you need it as ordered now, end it with"
            " compute_index.supply.decommission, then run again."
        )
        return [warning] if parts else []
