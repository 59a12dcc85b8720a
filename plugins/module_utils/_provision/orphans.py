# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""May a machine end that a person names by its id alone? Only if no host owns it."""

from __future__ import annotations

import typing as t

from .._wording import end_option
from . import ownership
from .messages import described
from .ownership import Machine, OwnershipClaim

_SHOWN = ("resource_id", "name", "status", "vendor", "price_per_hour", "created_at")
_REASON = 5  # letters that a reason has at least


def check_reason(text: str) -> str:
    """The reason in one line. Raises ValueError for one that says nothing."""
    reason = " ".join(text.split())
    if len(reason) < _REASON:
        raise ValueError(
            f"must say why the machine may end, in {_REASON} letters or more. Quote words with blanks between them, as"
            " in -e 'end_reason=\"left by a test\"'"
        )
    return reason


def known_as(resource_id: str, claims: t.Iterable[OwnershipClaim], strays: t.Container[str]) -> str:
    """What the registry calls the machine if it was bought beside a host's own; empty if it does not know it."""
    known = [claim for claim in claims if claim.host in strays and resource_id in claim.all_ids]
    names = ", ".join(claim.host for claim in known)
    why = (
        "storage that a machine has left"
        if any(claim.storage_of for claim in known)
        else "bought beside the host's own machine"
    )
    return f"The registry has it as {names}: {why}. " if known else ""


def ended(machine: Machine, reason: str, by: str) -> dict[str, t.Any]:
    """What a workflow gets of a machine that ends without an owner."""
    return {**{name: machine.get(name) for name in _SHOWN}, "by": by, "why": reason}


def objection(
    resource_id: str, machines: t.Sequence[Machine], claims: t.Iterable[OwnershipClaim], strays: t.Container[str] = ()
) -> str:
    """Why the machine of this id may not end, empty if it may. ``machines``: of the account, and this one.

    ``strays``: claims of this project for what was bought beside a host's own machine, which a person ends by its id.
    A purchase that is noted without any machine may have bought it, as long as nobody knows what it has bought.
    """
    claims = [claim for claim in claims if claim.host not in strays]
    owned = ownership.owners(machines, claims)
    found = next((item for item in owned if ownership.id_of(item[0]) == resource_id), None)
    machine, owner = found or ({"resource_id": resource_id}, ownership.Owners())
    hosts = owner.hosts or tuple(claim.host for claim in claims if resource_id in claim.all_ids)
    if hosts:
        return _owned_by(machine, hosts)
    open_ = [claim.host for claim in claims if found and _may_have_bought(claim, machine)]
    return _may_be_bought_by(machine, open_) if open_ else ""


def _owned_by(machine: Machine, hosts: t.Iterable[str]) -> str:
    """A person names a machine by its id that hosts own."""
    names = list(hosts)
    message = f"{described([machine])} is owned by {', '.join(names)}, says the registry. Nothing was ended."
    if any(" " in name for name in names):
        return f"{message} Ask the people of that project."
    return f"{message} To end it: compute_index.supply.decommission {end_option(names)}."


def _may_be_bought_by(machine: Machine, hosts: t.Iterable[str]) -> str:
    """A person names a machine by its id, and a purchase of a host that is under way may have bought it."""
    return (
        f"{described([machine])} may be what {', '.join(hosts)} may just be buying. Nothing was ended. Run"
        " compute_index.supply.audit with audit_settle: true, and then the same again."
    )


def _may_have_bought(claim: OwnershipClaim, machine: Machine) -> bool:
    """Whether a purchase of which no machine is known may be this one's; of one that says of no offer, by its name."""
    offer = ownership.offer_of(machine)
    is_open = bool(claim.offer_id) and not claim.resource_ids and (claim.unanswered or claim.bought)
    return is_open and (claim.offer_id == offer if offer else ownership.is_named(machine, claim.name, numbered=True))


def cannot_tell_owner(resource_id: str, why: str) -> str:
    """Registries cannot be read, so it is not known whether a machine has an owner."""
    return f"Whether a host owns {resource_id} is not known: {why} Nothing was ended."
