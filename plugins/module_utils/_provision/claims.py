# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What registries note of a purchase: before it is sent, once it is made, or if nothing came of it.

Each host has an entry. Variables have the names that they have there; in changes, None removes one. In a registry that
several controllers share, an entry is kept in a *claim*.

A claim is written before a purchase is sent, and stays for ever; its state says what became of it:

- ``buying``: claimed. It is marked before its purchase is sent, and only while its run holds it (for a minute, which
  that run renews), so what is neither marked nor held has sent nothing and never will.
- ``live``: bought, and the host's.
- ``ending``: its end was begun. It is billed, and keeps the host's name, until the end is confirmed.
- ``stray``: bought, but the host has another purchase. It is billed, and a person ends it.
- ``void``: nothing was bought. Only this state frees the offer.
- ``ended``: bought once, and gone.

Pure: knows no Ansible, no HTTP, no SQL, no clock.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._moments import seconds_of
from .._wording import usd
from .entry import LISTED_BEFORE, MADE, REFUSED, SENT, Entry, Variables, read_entry
from .messages import described
from .ownership import Machine, is_named, offer_of
from .purchase import Do, NextStep, OfferLook, Past, Why, is_put_off
from .storage import Storage, changes_of

OFFER, PURCHASE, STATUS = "provision_procured_offer_id", "provision_purchase", "provision_refused_status"
JOURNALED, EXPIRED = "provision_journaled_at", "provision_expired_seen_at"
_IDS, _PRICE = "provision_resource_ids", "provision_price_per_hour"
BUYING, LIVE, ENDING, STRAY, VOID, ENDED = STATES = ("buying", "live", "ending", "stray", "void", "ended")
OPEN = (BUYING, LIVE, ENDING)  # a host has one of these at most
COUNTED = (*OPEN, STRAY)  # may be billed, so it counts in each sum; see `counts`
OVER = (VOID, ENDED)


@dataclass(frozen=True)
class ClaimChange:
    """What a claim becomes once machines are noted under it.

    state: its state from then on; None if the machines belong to the rival instead.
    frees_rival: the rival did not buy this offer, since it can be sold only once.
    """

    state: str | None
    frees_rival: bool = False


def counts(state: str, *, is_sent: bool, is_held: bool) -> bool:
    """Whether something may be billed under a claim, now or soon: it is in each sum, and in the way of others.

    ``is_sent``: it was marked as sent. ``is_held``: its run holds it at this moment.
    """
    return state in COUNTED and (state != BUYING or is_sent or is_held)


def needs_settling(state: str, *, is_sent: bool, is_held: bool) -> bool:
    """Whether the run that has sent a purchase is gone, so that any other may find out what became of it."""
    return state == BUYING and is_sent and not is_held


def past_of(named: bool, refused: int | None, expired_long: bool) -> Past:
    """What is known of a purchase that another run has sent, for `purchase.follow`; it is never sent again here.

    ``named``: a name was asked for. ``refused``: the HTTP status that has answered it, None if nothing has.
    ``expired_long``: its offer was seen as gone so long ago that nothing can be under way any more.
    """
    past = Past(by_name=False, named=named, again=False)
    if refused is None:
        return replace(past, sent_before=True, expired_long=expired_long)
    return replace(past, sends=1, refused=refused, put_off=is_put_off(refused))


def settled(step: NextStep, offer_look: OfferLook) -> str:
    """The state of a claim after a look at its offer, by what follows from that: it is freed only by an answer.

    It stays ``buying`` also if the offer is unbought: a purchase may be under way, and only the host's own run may send
    it again. What a failed purchase has left is billed, and so the host's.
    """
    if step.do in (Do.CREATED, Do.EXISTING) or (step.why is Why.FAILED and offer_look.left):
        return LIVE
    return VOID if step.do in (Do.REJECTED, Do.NOT_SENT) and offer_look.phase is not None else BUYING


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


def settled_as_not_made(host: str, offer_id: str, stays: str = "") -> str:
    """A purchase whose run has died was not made, or has failed; ``stays``: what that has left of storage."""
    if stays:
        return f"Offer {offer_id} was bought for {host} by a run that has ended, and has failed. {stays}"
    return f"The purchase of offer {offer_id} for {host}, whose run has ended, was not made. It counts no more."


def still_counts(host: str, offer_id: str, price: float | None, since: str, run: str, words: str) -> str:
    """A purchase whose run has died, and whose outcome is not known."""
    return (
        f"Offer {offer_id} for {host} counts with {usd(price)}: it was sent at {since}, in a run of"
        f" {run or 'an unknown user'}, and its outcome is not known ({words.rstrip('.')}). It MAY BE BILLED. Run"
        f" compute_index.supply.provision for {host}: only that may send it again."
    )


def is_held(state: str | None, *, same_epoch: bool) -> bool:
    """Whether a claim is still that of the run that has made it; ``state``: None if the claim is lost.

    ``same_epoch``: no other run has taken it over. That its purchase was made any run may have noted; ended or freed it
    is in other hands.
    """
    return same_epoch and state in (BUYING, LIVE)


def not_held(where: str) -> str:
    """The registry has changed under a run that was suspended or cut off."""
    return f"{where} does not say any more that this run is buying: another run has taken that over, or ended it."


def came_late(machine: Machine | None, offer_id: str, name: str, refused: int | None) -> bool:
    """Whether a machine that no host has is what a freed claim of this offer has bought after all.

    It must live and have the ``name`` that was asked for. If the purchase was ``refused`` (the HTTP status, None if it
    was not), it is rather somebody else's; unless it was only put off. None is a machine that the API does not know.
    """
    if machine is None or not _states.is_live(machine["status"]) or not (refused is None or is_put_off(refused)):
        return False
    return is_named(machine, name, numbered=True) and offer_of(machine) in ("", offer_id)


def bought_after_all(host: str, offer_id: str, machines: t.Iterable[Machine], *, would: bool) -> str:
    """A purchase that counted as not made was made all the same; ``would``: that is not noted now."""
    noted = f"compute_index.supply.provision notes it as {host}'s" if would else f"It is {host}'s"
    return (
        f"The purchase of offer {offer_id} for {host} counted as not made, and its machine is there all the same:"
        f" {described(machines)}. {noted}."
    )


def claim_once_made(state: str | None, *, adds: bool, name_is_free: bool, rival: str | None = None) -> ClaimChange:
    """What follows from a proved purchase: never that it is refused, for what is billed must be on record.

    ``state`` is that of the claim; None if there is no such claim (any more), as after a failover. ``adds``: machines
    are named that the claim did not have. ``name_is_free``: no other claim of the host is open. ``rival`` is the state
    of another claim of the same offer, if one is not void: what only says that it is buying has no proof, and yields.
    """
    if rival not in (None, BUYING):
        return ClaimChange(None)
    frees = rival == BUYING
    if state in (LIVE, ENDING, STRAY):
        return ClaimChange(state, frees)
    if state == ENDED:
        return ClaimChange(STRAY if adds else ENDED, frees)
    # A claim that is buying holds the name itself.
    return ClaimChange(LIVE if state == BUYING or name_is_free else STRAY, frees)


# The entry of a host


def facts_of_order(body: Variables, project: str, note: Variables) -> dict[str, t.Any]:
    """What an entry keeps of an order beside its offer. ``body``: of the request. ``note``: what the plan adds.

    Of the usual project the name alone is kept.
    """
    named = {"provision_resource_name": body["resource_name"]} if "resource_name" in body else {}
    return {**note, **named, **({} if project == "default" else {"provision_project": project})}


def is_about(variables: Variables, offer_id: str) -> bool:
    """Whether an entry is about the purchase of this offer."""
    return read_entry(variables).offer_id == offer_id


def forbids_buying(entry: Entry, offer_id: str) -> bool:
    """Whether an entry forbids buying the offer now: another run is buying, or another offer may have been bought."""
    return bool(entry.held_by) or (entry.may_have_bought and entry.offer_id != offer_id)


def is_journaled(variables: Variables, offer_id: str) -> bool:
    """Whether an entry has the moment at which this offer's purchase was noted."""
    return is_about(variables, offer_id) and JOURNALED in variables


def says_already(variables: Variables | None, changes: Variables) -> bool:
    """Whether an entry says all of this already, so that nothing needs to be written."""
    return variables is not None and all(variables.get(name) == value for name, value in changes.items())


def entry_before_sending(
    facts: Variables, price_per_hour: float | None, journaled: Variables, order: Variables
) -> dict[str, t.Any]:
    """The journal of a purchase that is about to be sent. ``price_per_hour``: USD, of the whole offer."""
    entry = {**facts, _PRICE: price_per_hour, **journaled, **order, PURCHASE: SENT}
    return {name: value for name, value in entry.items() if value is not None}


def changes_once_made(
    before: Variables,
    facts: Variables,
    ids: t.Collection[str],
    strange: t.Collection[str],
    disowned: t.Collection[str] = (),
) -> dict[str, t.Any]:
    """The changes once a purchase was made; none if the entry has them already. What it says of this purchase stays.

    ``facts``: with the offer's id. ``strange``: ids that only seem to belong to it, since they were listed before.
    ``disowned``: see `Registry`; with those there is always something to note.
    """
    about_this = is_about(before, facts[OFFER])
    changes: dict[str, t.Any] = {} if about_this else dict.fromkeys(before)
    changes.update({name: value for name, value in facts.items() if not (about_this and name in before)})
    changes.update({OFFER: facts[OFFER], PURCHASE: MADE, STATUS: None, EXPIRED: None})
    if ids:
        changes[_IDS] = list(ids)
    if strange:
        changes[LISTED_BEFORE] = list(strange)
    return {} if says_already(before, changes) and not disowned else changes


def is_same_purchase(before: Variables, now: Variables) -> bool:
    """Whether an entry still has the purchase that it had before: no other run has begun a new one."""
    return bool(now) and now.get(JOURNALED) == before.get(JOURNALED)


def changes_once_freed(
    offer_id: str, status: int | None, *, is_made: bool, kept: t.Collection[Storage]
) -> list[dict[str, t.Any]]:
    """What to note, one after the other, once nothing came of a purchase.

    ``status``: of the HTTP answer that refused it. ``is_made``: it was made and failed later, so it may have been
    billed until now. ``kept``: storage that it has left.
    """
    began = [{OFFER: offer_id, PURCHASE: MADE, **changes_of(kept, ())}] if is_made else []
    ended = {PURCHASE: REFUSED, EXPIRED: None, _IDS: None}
    return [*began, ended if status is None else {**ended, STATUS: status}]


def seconds_gone(variables: Variables, earliest: float) -> float:
    """Seconds that have passed, by every clock, since the offer was seen as gone and since its purchase was noted.

    ``earliest``: the earliest time that any clock shows now, in seconds since the epoch. If a clock was behind when it
    noted one of these moments, and was set right since, that time has not passed.
    """
    moments = [seconds_of(variables.get(name)) for name in (EXPIRED, JOURNALED)]
    return max(0.0, earliest - max((moment for moment in moments if moment is not None), default=earliest))
