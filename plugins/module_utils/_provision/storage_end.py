# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which storage ends with a machine, and its data with it: never more than its host, or a person, has said.

`decommission`, a sweep and a machine that is given back go by this. What a machine uses that does not end stays, too.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .. import _states
from .._wording import amount
from . import storage
from .ended import NotEnded, Row, left_of, unknown_cost
from .ending import Action, ApiView, End, EndRequest, stopped
from .holdings import linked_to
from .messages import described, ids_of
from .ownership import Machine, OwnershipClaim, holders_of, id_of, machines_in, offer_of
from .spending import Bill, cents, dollars
from .storage import Storage


def with_storage(one: EndRequest, end: End, kept: t.Iterable[Storage], api_view: ApiView) -> End:
    """The same end with what the host has kept of earlier machines. If nothing may end, no storage ends either."""
    items = storage.together(kept, end.storage)
    if end.action is Action.STOP or not items:
        return end
    lost = tuple(item.resource_id for item in items if item.resource_id in one.forget)
    if refuted := [item for item in lost if item not in api_view.unknown]:
        return stopped(
            one.host,
            f"The API does not say that it does not know {ids_of(refuted)}, so it cannot be forgotten. Leave"
            " decommission_forget out; -e decommission_storage=end ends it with its data.",
        )
    ends = _wanted(items, is_asked=not one.is_swept) if one.ends_storage else []
    account = api_view.account
    used = _used(machines_in(account.owned), end.ids, items)
    reasons = {**_held(account.claims.values(), one.host), **used} if ends else {}
    over = tuple(dict.fromkeys((*(item for item in ends if item not in reasons), *lost)))
    spared = {item: reasons[item] for item in ends if item in reasons}
    return replace(end, storage=items, storage_ends=over, storage_lost=lost, storage_spared=spared)


def of_released(
    plan: Row, items: t.Iterable[Storage], ended: t.Container[str], machines: t.Iterable[Machine] | None
) -> tuple[str, ...]:
    """The ids of the storage that ends since the machines with these ids were given back, and have ended.

    ``machines``: all of the account; None if they cannot be listed, and then none ends. Nor does any of a host without
    a registry, which would prove whose it is.
    """
    if not (plan["ends_storage"] and plan["registry"]) or machines is None:
        return ()
    items = list(items)
    used = _used(machines, ended, items)
    return tuple(item for item in _wanted(items, is_asked=False) if item not in used)


def _wanted(items: t.Iterable[Storage], *, is_asked: bool) -> list[str]:
    """What ends if its host ends storage: unless a person asks for it, nothing that an earlier machine has left."""
    return [item.resource_id for item in items if is_asked or not item.kept_since]


def _used(machines: t.Iterable[Machine], ended: t.Container[str], items: t.Iterable[Storage]) -> dict[str, str]:
    """Why storage with these ids does not end: it is a machine, or a machine uses it that goes on.

    What was bought with the same offer as was noted is the host's, whatever the API calls it by now.
    """
    bought = {(item.resource_id, item.offer_id) for item in items if item.offer_id}
    live = [item for item in machines if _states.is_machine(item) and _states.is_live(item["status"])]
    others = [machine for machine in live if machine["resource_id"] not in ended]
    odd = [machine for machine in others if (id_of(machine), offer_of(machine)) not in bought]
    used = {item: f"a machine uses it: {described([machine])}" for machine in others for item in linked_to(machine)}
    return {**used, **{id_of(machine): f"it is a machine: {described([machine])}" for machine in odd}}


def _held(claims: t.Iterable[OwnershipClaim], host: str) -> dict[str, str]:
    """The same of what another host has, too. A host's own kept storage has a claim of its own."""
    holders = holders_of((claim for claim in claims if claim.storage_of != host), host)
    return {item: f"{holder} has it as well" for item, holder in holders.items()}


def to_end(
    plan: Row, items: t.Iterable[Storage], ends: t.Sequence[str], why: str, ahead: float | None
) -> dict[str, t.Any]:
    """What the role provision needs to end storage of a host, and to note that.

    ``why``: for the ledger. ``ahead``: seconds by which the API's clock is ahead of this one, None if unknown.
    """
    stays = [item.resource_id for item in items if item.resource_id not in ends]
    known = {"host": plan["host"], "registry": plan["registry"], "why": why, "ahead": ahead}
    return {**known, "storage_ends": list(ends), "storage_stays": stays, "storage_lost": []}


def not_ended(plan: Row, answers: t.Mapping[str, Row]) -> NotEnded:
    """What is left of the storage that was told to end. ``answers``: those of `delete_resource`, by ids."""
    return left_of({**plan, "ids": plan["storage_ends"]}, answers)


def has_cost(host: str, bills: t.Sequence[Bill]) -> dict[str, t.Any]:
    """What storage has cost at most that has just ended, and a line about it; nothing if no registry knew it."""
    known = [bill for bill in bills if bill.end is not None and bill.is_known(bill.end)]
    if not bills or len(known) < len(bills):
        return {"cost": unknown_cost(host)} if bills else {}
    millionths = sum(bill.cost(0.0, bill.until(0.0)) for bill in known)
    has_cost_alone = f"Alone it has cost at most USD {amount(cents(millionths))}."  # since its machine has ended
    return {"usd": dollars(millionths), "cost": f"The storage of {host} has ended. {has_cost_alone}"}
