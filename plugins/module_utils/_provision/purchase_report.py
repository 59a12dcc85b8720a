# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the end of a purchase tells people: what happened, what is billed, and what to do next.

`ending` has the sentence for each end that `purchase.follow` decides on.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .. import _states
from .._text import QUOTA
from .._wording import usd
from .failover import class_of
from .messages import NO_REASON, NOTHING_BOUGHT, described, sentence
from .ownership import Machine
from .purchase import Do, NextStep, Past, Why

_AGAIN = "Run the same again later: it asks first and buys only this very offer, if it is still free."
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
_REFUSALS = {
    "conflict": "Someone else has bought the offer, or it is being bought.",
    "expired": "The offer has expired; search again.",
    "not_found": "The offer is gone; search again.",
    "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN).",
    QUOTA: "Waiting does not raise a quota: end a machine, or ask the vendor or the API's support for more.",
}


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
            return f"The API answered that it was not made: {sentence(self.denial)}"
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
    error: Error | None = None

    @property
    def answer(self) -> dict[str, t.Any]:
        """The fields of a result that come from that answer."""
        error = self.error
        return {} if error is None else {"status_code": error.status_code, "retry_after": error.retry_after}


def ending(step: NextStep, story: Story) -> Ending:
    """The failure for a step that ends a purchase without a machine of ours."""
    why = t.cast(Why, step.why)
    newest = story.error or (None if story.past.sends else story.missing)
    if step.do is Do.UNKNOWN:
        # What the API has answered to a purchase of this run says more than that the status cannot be read.
        why = Why.SILENT if why is Why.UNREADABLE and story.past.sends else why
        return Ending(_SENTENCES[why].format(**story.parts), "unknown_outcome", story.ids, newest)
    if why is Why.FAILED:
        left = "No resource of it is known." if story.past.sends else NOTHING_BOUGHT
        left = f"These resources may be billed nevertheless: {', '.join(story.ids)}." if story.ids else left
        return Ending("Offer {offer} failed: {cause} ".format(**story.parts) + left, class_of(story.reason), story.ids)
    if why in (Why.TAKEN, Why.ENDED):
        return Ending(_SENTENCES[why].format(**story.parts), "conflict", error=newest)
    if why is Why.REFUSED:
        return _refused(story)
    return _gone(why, story)


def _refused(story: Story) -> Ending:
    """By an error, or by an answer that looks like a success."""
    error = story.error
    if error is not None:
        meaning = f"{_REFUSALS.get(error.error_class, '')} {NOTHING_BOUGHT}".strip()
        return Ending(f"{error} {meaning}", error.error_class, error=error)
    msg = f"The API did not sell offer {story.offer_id}: {sentence(story.denial)} {NOTHING_BOUGHT}"
    return Ending(msg, class_of(story.denial))


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


# In the parts of the purchase's story; but for the first two it is not known what became of it.
_SENTENCES: t.Mapping[Why, str] = {
    Why.TAKEN: f"{{refused}}Someone else has bought offer {{offer}}: {{others}}. {NOTHING_BOUGHT} Search again.",
    Why.ENDED: "{refused}Offer {offer} was bought, and its machines have ended: {machines}. Nothing of it is billed any"
    " more. Search again.",
    Why.UNREADABLE: "{asked} {where} says that offer {offer} is bought, or that a purchase of it was sent: it"
    f" MAY BE BILLED. Nothing was sent now. {_AGAIN}",
    Why.SILENT: "The purchase of offer {offer} was sent, but its outcome is not known: {said} Asked afterwards:"
    " {seen}{kept} It MAY BE BOUGHT and billed at {price}. Do not buy another offer instead. "
    f"{_AGAIN}",
    Why.LATELY: "The purchase of offer {offer} was sent and not answered, and the offer is gone now, unbought as"
    " far as the API says. The purchase may still be under way, and MAY BE BILLED. Do not buy another offer instead."
    " Run the same again after {since}: if it is still unbought then, another offer may be bought.",
    Why.UNPROVEN: "{refused}Offer {offer} is bought, and its machine is called {name}: {machines}. But no"
    " purchase of this host is without an answer, so it is another project's, or a gateway sent a refused request"
    " twice. It MAY BE BILLED for this host. Nothing else was bought. {take}",
    Why.ANOTHER: "The purchase of offer {offer} was sent and {answer}. The offer is bought, but no machine of"
    " it is called {name}: {machines}. Someone else was faster, or the API does not keep names and it is this host's:"
    " it MAY BE BILLED. Nothing else was bought. {decide}",
    Why.NAMELESS: "Offer {offer} is bought, but by whom is not known: no name of a machine tells it"
    " ({ids}).{listing} It MAY BE THIS HOST'S and billed at {price}. Do not buy another offer instead."
    " Run the same again later, or see in the list of resources whose it is. {take}",
    Why.OVERTAKEN: "The purchase of offer {offer} was sent: {said} But it may be in other hands: {taken_over} {left}"
    " Nothing else was bought. Run the same again: it goes by what {where} says then.",
    Why.CONTRADICTED: "{witness} that offer {offer} was bought ({ids}). Asked now: {seen} It MAY BE"
    " BILLED all the same. Nothing was sent now. Does api_token belong to the account that bought it?",
    Why.UNLISTED: "Offer {offer} failed: {cause} It MAY BE BILLED nevertheless, since its resources cannot be"
    f" listed:{{listing}} {_AGAIN}",
}


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


def bought(outcome: str, facts: t.Mapping[str, t.Any], body: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The result of a purchase that was made or, in check mode, would be made, with its ``diff``.

    ``facts``: of the task's result. ``body``: of the request.
    """
    offer = facts["offer"]
    after = {
        "offer_id": body["offer_id"],
        "status": facts["status"],
        "gpus": f"{offer['gpu_count']} x {offer['gpu_type']}",
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
