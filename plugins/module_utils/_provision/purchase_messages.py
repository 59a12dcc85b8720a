# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a purchase says: what happened, what it means for money, and what to do next.

`ending` has the sentence for each end that `purchase.follow` decides on.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .. import _states
from .._wording import usd
from .counted import Count
from .purchase import Do, Past, Step, Why

Machine = t.Mapping[str, t.Any]

NOTHING_BOUGHT = "Nothing was bought."
NOTHING_SENT = "Nothing was sent."
NO_REASON = "the API gives no reason"
AGAIN = "Run the same again later: it asks first and buys only this very offer, if it is still free."
_NO_MACHINE = "this account lists no machine of it"
SETTLED = "The offer's status says that it was bought."
_ADOPT = "If it is this host's, provision_adopt: true takes it; else set another resource_name."
_ENTRY = "If it is this host's, provision_adopt: true takes it; if it is not, remove the registry entry."
# Of a purchase without a registry and without a name, which no role makes
_USE = (
    "If it is yours, compute_index.supply.offer_status shows how to reach it, and compute_index.supply.delete_resource"
    " ends it."
)


def _described(machine: Machine) -> str:
    name = f"called {machine['name']}" if machine["name"] else "without a name"
    return f"{machine['resource_id'] or 'a machine without an id'} ({name}, {usd(machine['price_per_hour'])})"


def billed(ids: t.Iterable[str]) -> str:
    """What a failed offer has left."""
    text = ", ".join(ids)
    return f"These resources may be billed nevertheless: {text}." if text else ""


def ended(text: object) -> str:
    """A sentence with one full stop at its end, whoever has written it."""
    return f"{str(text).rstrip('.')}."


# Before anything is sent


TWO_REGISTRIES = (
    "A purchase is noted in one registry: give registry_file or registry_url, which the environment variable"
    " COMPUTE_INDEX_REGISTRY_URL sets, too."
)


def claimed(claim: object, host: str) -> str:
    """Another purchase of this host is open."""
    return (
        f"{claim} {NOTHING_SENT} If another run for {host or 'this host'} is at work, let it end. Then run again: it"
        " goes on with that offer."
    )


def another_account(offer_id: str) -> str:
    """A host of the play has another token or API address than the one that was planned with."""
    return (
        f"Offer {offer_id} was planned with another token or api_url than this host has. All hosts of a play use one"
        f" account: set both for all of them. {NOTHING_SENT}"
    )


ACCOUNT_UNREAD = "So whether max_account_price_per_hour holds is not known."


def above(offer_id: str, price: float | None, ceiling: float) -> str:
    """The offer alone would cost more than was agreed to (USD per hour), or nobody knows."""
    if price is None:
        return f"The API names no price for offer {offer_id}, so it cannot be compared with max_price_per_hour."
    return f"Offer {offer_id} costs {usd(price)}, which is above max_price_per_hour ({usd(ceiling)})."


def above_account(offer_id: str, count: Count, ceiling: float) -> str:
    """All machines of the account would cost more than was agreed to, with this one."""
    return (
        f"With offer {offer_id} all machines of the account would cost {count.told}, and max_account_price_per_hour is"
        f" {usd(ceiling)}. {count.names}"
    )


def above_registered(offer_id: str, whose: str, count: Count, ceiling: float, where: str) -> str:
    """All that the shared registry (``where``) knows of a project or an account would cost more, with this offer."""
    return (
        f"With offer {offer_id} all machines of {whose} would cost {count.told}, where at most {usd(ceiling)} are"
        f" allowed. {count.names} {where} counts what is live and what is being bought."
    )


def refusal(error_class: str) -> str:
    """What a refusal of the purchase means, after the API's own words."""
    reasons = {
        "conflict": "Somebody else has bought the offer, or it is being bought.",
        "expired": "The offer has expired; search again.",
        "not_found": "The offer is gone; search again.",
        "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN).",
    }
    return f"{reasons.get(error_class, '')} {NOTHING_BOUGHT}".strip()


def not_held(where: str) -> str:
    """The registry has changed under a run that was suspended or cut off."""
    return f"{where} does not say any more that this run is buying: another run has taken that over, or ended it."


# Ends without a machine of ours


class Error(t.Protocol):
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
    past: Past
    name: str = ""
    where: str | None = None
    price_per_hour: float | None = None
    machines: t.Sequence[Machine] = ()
    ids: t.Sequence[str] = ()
    since: str = ""
    error: Error | None = None
    denial: str = ""
    asked: object = ""
    missing: Error | None = None
    listing: Error | None = None
    objection: str = ""
    reason: str | None = None
    taken_over: object = ""

    @property
    def said(self) -> str:
        """What the API answered to the newest purchase."""
        if self.error is not None:
            return str(self.error)
        if self.past.sends:
            return f"The API answered that it was not made: {ended(self.denial)}"
        if self.past.refused_before:
            return f"{self.where} says that it was {self.answer}."
        return f"{self.where} says that it was sent before, and not what became of it."

    @property
    def answer(self) -> str:
        """How the purchase was answered, in a word or two."""
        if self.past.unanswered or not self.past.was_refused:
            return "not answered"
        return "put off" if self.past.put_off else "refused"

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
        machines = "; ".join(map(_described, self.alive)) or ", ".join(self.ids)
        return {
            "offer": self.offer_id,
            "name": self.name,
            "where": str(self.where),
            "witness": f"{self.where} says" if self.where else "The API itself said",
            "price": usd(self.price_per_hour),
            "ids": ", ".join(self.ids) or "no id is known",
            "machines": machines or "machines that the API does not list",
            "others": f"no machine of it is called {self.name}, but {machines}" if machines else _NO_MACHINE,
            "said": self.said,
            "refused": f"{self.error} " if self.error else "",
            "answer": self.answer,
            "left": self.left,
            "taken_over": ended(self.taken_over),
            "take": _ADOPT if self.where or self.name else _USE,
            "decide": _ENTRY if self.where else _ADOPT,
            "asked": str(self.asked),
            "seen": ended(self.asked),
            "kept": f" It was not sent again: {ended(self.objection)}" if self.objection else "",
            "listing": f" {self.listing}" if self.listing else "",
            "cause": ended(self.reason or NO_REASON),
            "since": self.since,
        }


@dataclass(frozen=True)
class Ending:
    """A failure: its message and class, the ids that may be billed, and the answer whose status it has."""

    msg: str
    error_class: str
    ids: t.Sequence[str] = ()
    error: Error | None = None

    @property
    def answer(self) -> dict[str, t.Any]:
        """The fields of a result that come from that answer."""
        error = self.error
        return {} if error is None else {"status_code": error.status_code, "retry_after": error.retry_after}


def asked(status: t.Mapping[str, t.Any]) -> str:
    """What a look at the offer's status has shown."""
    if status["phase"] == _states.UNBOUGHT:
        return "the API still calls it unbought"
    return f"the API calls it '{status['procurement_status'] or status['status']}'"


def ending(step: Step, story: Story) -> Ending:
    """The failure for a step that ends a purchase without a machine of ours."""
    why = t.cast(Why, step.why)
    newest = story.error or (None if story.past.sends else story.missing)
    if step.do is Do.UNKNOWN:
        # What the API has answered to a purchase of this run says more than that the status cannot be read.
        why = Why.SILENT if why is Why.UNREADABLE and story.past.sends else why
        return Ending(_UNKNOWN[why].format(**story.parts), "unknown_outcome", story.ids, newest)
    if why is Why.FAILED:
        left = billed(story.ids) or ("No resource of it is known." if story.past.sends else NOTHING_BOUGHT)
        return Ending("Offer {offer} failed: {cause} ".format(**story.parts) + left, "conflict", story.ids)
    if why is Why.TAKEN:
        return Ending(_TAKEN.format(**story.parts), "conflict", error=newest)
    if why is Why.ENDED:
        return Ending(_ENDED.format(**story.parts), "conflict", error=newest)
    if why is Why.REFUSED:
        return _refused(story)
    return _gone(why, story)


def _refused(story: Story) -> Ending:
    """By an error, or by an answer that looks like a success."""
    error = story.error
    if error is not None:
        return Ending(f"{error} {refusal(error.error_class)}", error.error_class, error=error)
    return Ending(f"The API did not sell offer {story.offer_id}: {ended(story.denial)} {NOTHING_BOUGHT}", "conflict")


def _gone(why: Why, story: Story) -> Ending:
    """Expired, not known to the API, or not readable, and nothing was sent; or a purchase was never answered."""
    if story.past.unanswered:
        msg = (
            f"Offer {story.offer_id} has been gone since {story.since}, unbought, so the purchase that was never"
            f" answered did not happen. {NOTHING_BOUGHT} Search again."
        )
        return Ending(msg, "not_found" if why is Why.NOT_FOUND else "expired")
    if story.missing is not None:
        advice = " The API does not know this offer; search again." if why is Why.NOT_FOUND else ""
        return Ending(f"{story.missing}{advice} {NOTHING_BOUGHT}", story.missing.error_class, error=story.missing)
    msg = f"Offer {story.offer_id} has expired; offers live 30 minutes. {NOTHING_BOUGHT} Search again."
    return Ending(msg, "expired")


_TAKEN = f"{{refused}}Somebody else has bought offer {{offer}}: {{others}}. {NOTHING_BOUGHT} Search again."
_ENDED = (
    "{refused}Offer {offer} was bought, and its machines have ended: {machines}. Nothing of it is billed any more."
    " Search again."
)
# The ends of which it is not known what became of the purchase, in the parts of its story.
_UNKNOWN: t.Mapping[Why, str] = {
    Why.UNREADABLE: "{asked} {where} says that offer {offer} is bought, or that a purchase of it was sent: it"
    f" MAY BE BILLED. Nothing was sent now. {AGAIN}",
    Why.SILENT: "The purchase of offer {offer} was sent, but its outcome is not known: {said} Asked afterwards:"
    " {seen}{kept} It MAY BE BOUGHT and billed at {price}. Do not buy another offer instead. "
    f"{AGAIN}",
    Why.LATELY: "The purchase of offer {offer} was sent and not answered, and the offer is gone now, unbought as"
    " far as the API says. The purchase may still be under way, and MAY BE BILLED. Do not buy another offer instead."
    " Run the same again after {since}: if it is still unbought then, another offer may be bought.",
    Why.UNPROVEN: "{refused}Offer {offer} is bought, and its machine is called {name}: {machines}. But no"
    " purchase of this host is without an answer, so it is another project's, or a gateway sent a refused request"
    " twice. It MAY BE BILLED for this host. Nothing else was bought. {take}",
    Why.ANOTHER: "The purchase of offer {offer} was sent and {answer}. The offer is bought, but no machine of"
    " it is called {name}: {machines}. Somebody else was faster, or the API does not keep names and it is this host's:"
    " it MAY BE BILLED. Nothing else was bought. {decide}",
    Why.NAMELESS: "Offer {offer} is bought, but by whom is not known: no name of a machine tells it"
    " ({ids}).{listing} It MAY BE THIS HOST'S and billed at {price}. Do not buy another offer instead."
    " Run the same again later, or see in the list of resources whose it is. {take}",
    Why.OVERTAKEN: "The purchase of offer {offer} was sent: {said} But it may be in other hands: {taken_over} {left}"
    " Nothing else was bought. Run the same again: it goes by what {where} says then.",
    Why.CONTRADICTED: "{witness} that offer {offer} was bought ({ids}). Asked now: {seen} It MAY BE"
    " BILLED all the same. Nothing was sent now. Does api_token belong to the account that bought it?",
    Why.UNLISTED: "Offer {offer} failed: {cause} It MAY BE BILLED nevertheless, since its resources cannot be"
    f" listed:{{listing}} {AGAIN}",
}


# What another run has left open


def host_of(host: str, project: str) -> str:
    """A host, with its project where that is not the usual one."""
    return host if project in ("", "default") else f"{host} of project {project}"


def settled_as_made(host: str, offer_id: str, price: float | None, ids: list[str]) -> str:
    """A purchase whose run has died was made."""
    return (
        f"The run that bought offer {offer_id} for {host} has ended without noting it. It is BOUGHT and billed at"
        f" {usd(price)}, resources: {', '.join(ids) or 'not known yet'}; that is noted now. Run"
        f" compute_index.supply.provision for {host} to use it, or compute_index.supply.decommission to end it."
    )


def settled_as_not_made(host: str, offer_id: str) -> str:
    """A purchase whose run has died was not made."""
    return f"The purchase of offer {offer_id} for {host}, whose run has ended, was not made. It counts no more."


def still_counts(host: str, offer_id: str, price: float | None, since: str, run: str, words: str) -> str:
    """A purchase whose run has died, and whose outcome is not known."""
    return (
        f"Offer {offer_id} for {host} counts with {usd(price)}: it was sent at {since}, in a run of"
        f" {run or 'an unknown user'}, and its outcome is not known ({words.rstrip('.')}). It MAY BE BILLED. Run"
        f" compute_index.supply.provision for {host}: only that may send it again."
    )


# Bought, and yet a failure


def disagreed(
    host: str, offer_id: str, price_per_hour: float | None, ids: t.Sequence[str], contradictions: t.Iterable[object]
) -> str:
    """A purchase that is known to be made, and answers of the API that do not agree about what it bought."""
    return (
        f"Offer {offer_id} is BOUGHT for {host or 'this host'} and billed at {usd(price_per_hour)}. Resource ids:"
        f" {', '.join(ids) or 'none known yet'}. But {'; '.join(map(str, contradictions))}. Nothing of that was"
        " registered, changed or ended. Ask the API's support to correct it, then run again."
        " compute_index.supply.decommission ends only what the host holds."
    )


def not_shown_yet(ids: t.Sequence[str]) -> str:
    """Resources that the offer's status names, and that the API does not show by their ids."""
    return (
        f"The offer's status names {', '.join(ids)}, which the API does not show yet. It is billed, and blocks the"
        " host; run again to look once more."
    )


def not_noted(offer_id: str, price: float | None, ids: list[str], said: object) -> str:
    """The registry could not be written after the purchase."""
    return (
        f"Offer {offer_id} was BOUGHT and is billed at {usd(price)}, resources: {', '.join(ids) or 'not known yet'}."
        f" But that could not be noted: {said} Repair the registry, and run the same again: it buys nothing twice."
    )


def odd_ids(offer_id: str, price: float | None, ids: list[str], odd: t.Iterable[object]) -> str:
    """The API's answer names machines by what is no id."""
    return (
        f"Offer {offer_id} was BOUGHT and is billed at {usd(price)}, resources: {', '.join(ids) or 'no id is known'}."
        f" The API also names what is no id, and is not used: {', '.join(repr(str(item)) for item in odd)}. See what it"
        " is with compute_index.supply.resource_info."
    )


def orphaned(offer_id: str) -> str:
    """Ansible was killed while this process went on."""
    return f"Ansible itself has ended, so the purchase of offer {offer_id} was not sent (any more)."
