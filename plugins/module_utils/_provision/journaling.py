# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a purchase changes in its host's registry entry: before it is sent, once it is made, or if nothing came of it.

Variables have the names that they have in the registry. In changes, None removes one.
"""

from __future__ import annotations

import typing as t

from .._moments import seconds_of
from .entry import LISTED_BEFORE, MADE, REFUSED, SENT, Entry, Variables, read_entry
from .storage import Storage, changes_of

OFFER, PURCHASE, STATUS = "provision_procured_offer_id", "provision_purchase", "provision_refused_status"
JOURNALED, EXPIRED = "provision_journaled_at", "provision_expired_seen_at"
_IDS, _PRICE = "provision_resource_ids", "provision_price_per_hour"


def facts_of(body: Variables, project: str, note: Variables) -> dict[str, t.Any]:
    """What an entry keeps of an order beside its offer. ``body``: of the request. ``note``: what the plan adds.

    Of the usual project the name alone is kept.
    """
    named = {"provision_resource_name": body["resource_name"]} if "resource_name" in body else {}
    return {**note, **named, **({} if project == "default" else {"provision_project": project})}


def is_about(variables: Variables, offer_id: str) -> bool:
    """Whether an entry is about the purchase of this offer."""
    return read_entry(variables).offer_id == offer_id


def forbids(entry: Entry, offer_id: str) -> bool:
    """Whether an entry forbids buying the offer now: another run is buying, or another offer may have been bought."""
    return bool(entry.held_by) or (entry.may_have_bought and entry.offer_id != offer_id)


def is_journaled(variables: Variables, offer_id: str) -> bool:
    """Whether an entry has the moment at which this offer's purchase was noted."""
    return is_about(variables, offer_id) and JOURNALED in variables


def says(variables: Variables | None, changes: Variables) -> bool:
    """Whether an entry says all of this already, so that nothing needs to be written."""
    return variables is not None and all(variables.get(name) == value for name, value in changes.items())


def sent(facts: Variables, price_per_hour: float | None, *further: Variables) -> dict[str, t.Any]:
    """The journal of a purchase that is about to be sent. ``price_per_hour``: USD, of the whole offer."""
    entry = {**facts, _PRICE: price_per_hour}
    for item in further:
        entry.update(item)
    entry[PURCHASE] = SENT
    return {name: value for name, value in entry.items() if value is not None}


def made(before: Variables, facts: Variables, ids: t.Collection[str], strange: t.Collection[str]) -> dict[str, t.Any]:
    """The changes once a purchase was made; none if the entry has them already. What it says of this purchase stays.

    ``facts``: with the offer's id. ``strange``: ids that only seem to belong to it, since they were listed before.
    """
    about_this = is_about(before, facts[OFFER])
    changes: dict[str, t.Any] = {} if about_this else dict.fromkeys(before)
    changes.update({name: value for name, value in facts.items() if not (about_this and name in before)})
    changes.update({OFFER: facts[OFFER], PURCHASE: MADE, STATUS: None, EXPIRED: None})
    if ids:
        changes[_IDS] = list(ids)
    if strange:
        changes[LISTED_BEFORE] = list(strange)
    return {} if says(before, changes) else changes


def is_same(before: Variables, now: Variables) -> bool:
    """Whether an entry still has the purchase that it had before: no other run has begun a new one."""
    return bool(now) and now.get(JOURNALED) == before.get(JOURNALED)


def freed(offer_id: str, status: int | None, *, is_made: bool, kept: t.Collection[Storage]) -> list[dict[str, t.Any]]:
    """What to note, one after the other, once nothing came of a purchase.

    ``status``: of the HTTP answer that refused it. ``is_made``: it was made and failed later, so it may have been
    billed until now. ``kept``: storage that it has left.
    """
    began = [{OFFER: offer_id, PURCHASE: MADE, **changes_of(kept, ())}] if is_made else []
    ended = {PURCHASE: REFUSED, EXPIRED: None, _IDS: None}
    return [*began, ended if status is None else {**ended, STATUS: status}]


def waited(variables: Variables, earliest: float) -> float:
    """Seconds that have passed, by every clock, since the offer was seen as gone and since its purchase was noted.

    ``earliest``: the earliest time that any clock shows now, in seconds since the epoch. If a clock was behind when it
    noted one of these moments, and was set right since, that time has not passed.
    """
    moments = [seconds_of(variables.get(name)) for name in (EXPIRED, JOURNALED)]
    return max(0.0, earliest - max((moment for moment in moments if moment is not None), default=earliest))
