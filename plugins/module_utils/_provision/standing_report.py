# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host stops where it stands: whose a machine is, or what became of an earlier purchase, is not certain."""

from __future__ import annotations

import typing as t

from .._wording import usd
from .machines import Machine
from .messages import NOTHING_SENT, described, ids_of, if_gone, may_be_billed, still_open

_FORGET = "-e decommission_forget=<resource id>"


def claimed_twice(host: str, others: t.Iterable[str], offer_id: str, ids: t.Sequence[str]) -> str:
    """Several hosts say that one machine or offer is theirs."""
    parts = [f"offer {offer_id}" if offer_id else "", f"machine {ids_of(ids)}" if ids or not offer_id else ""]
    what = " with ".join(filter(None, parts))
    return (
        f"{host} and {', '.join(others)} claim the same {what}, which belongs to one host. Nothing was bought or"
        " changed. Remove the registry entry, provision_offer_id or provision_resource_name of those that it does not"
        " belong to."
    )


def no_offer(host: str, ids: t.Iterable[str]) -> str:
    """A registry entry, written by hand, that names machines but no offer."""
    return (
        f"The registry entry of {host} names machine {ids_of(ids)}, but no offer. Add its provision_procured_offer_id:"
        f" compute_index.supply.resource_info shows it. {NOTHING_SENT}"
    )


def cannot_be_asked(host: str, offer_id: str, text: str, price: float | None, ids: t.Iterable[str]) -> str:
    """What became of the registered offer cannot be read."""
    return (
        f"What became of offer {offer_id}, which the registry names for {host}, cannot be read: {text}"
        f" {may_be_billed(price, ids)} Nothing else was bought. Run again."
    )


def gone_missing(host: str, offer_id: str, ids: t.Iterable[str], what: str, file: str) -> str:
    """The registry says bought, the API says something else that is no proof of an end."""
    return (
        f"The registry says that {host} has bought offer {offer_id} (machine {ids_of(ids)}), but {what}. The machine"
        " may be billed all the same, so nothing else was bought. Is the token of the account that bought it? If the"
        f" machine is gone for certain: compute_index.supply.decommission -e decommission_hosts={host} {_FORGET}."
        f"{f' The registry file is {file}.' if file else ''}"
    )


def still_missing(host: str, since: str, ids: t.Sequence[str], price: float | None) -> str:
    """A host that would need a machine, and whose own one is missing."""
    return (
        f"The machine of {host} is MISSING since {since}: the API finds {ids_of(ids)} ({usd(price)}) neither by id nor"
        f" in its list. It may be billed, so nothing else was bought. {if_gone(host, ids)}"
    )


def not_listed(host: str) -> str:
    """The machines of the account cannot be listed."""
    return f"The machines of the account cannot be listed, so {host} may have one already. Nothing was bought."


def namesake(host: str, name: str, machines: t.Iterable[Machine], folder: str) -> str:
    """A machine has the host's name, and the host has a registry that does not know it.

    ``folder``: of that registry, empty if controllers share one.
    """
    here = (
        f" If you bought it from another folder, its registry is there, and not in {folder}: run there, or add -e"
        " provision_registry_dir=<that registry>."
        if folder
        else ""
    )
    return (
        f"There is a machine called {name} that the registry of {host} does not know: {described(machines)}."
        f" Nothing was bought.{here} If it is {host}'s and no registry has it, set provision_adopt: true."
        " If it is someone else's, or you want one more, set a provision_project or another provision_resource_name."
    )


def unseen(host: str, machines: t.Iterable[Machine]) -> str:
    """Machines of the host's name, or of its offer, that only the list shows, and that cannot be read by their ids."""
    return (
        f"The list of machines has {described(machines)} for {host}, and by its id it cannot be read. The list may be"
        " behind an end, or the API behind the list. Nothing was bought and nothing taken over. Run again in a minute."
    )


def several_of_a_name(name: str, machines: t.Iterable[Machine]) -> str:
    """Two offers have machines of one name."""
    return (
        f"Several offers have machines called {name}: {described(machines)}. Nothing was bought. End those that are too"
        " many by their ids (compute_index.supply.delete_resource)."
    )


def no_offer_named(name: str, machines: t.Iterable[Machine]) -> str:
    """The API does not say how a machine of the name was bought."""
    return (
        f"There is a machine called {name}, but the API does not name its offer: {described(machines)}."
        " Nothing was bought."
    )


def bought_by_another(host: str, name: str, offer_id: str, machines: t.Iterable[Machine], *, was_sent: bool) -> str:
    """An offer of the host is bought, and its machine has another name than the host's."""
    sent = " A purchase of this host was never answered, so it may be this host's." if was_sent else ""
    away = "the registry entry" if was_sent else "provision_offer_id"
    return (
        f"Offer {offer_id} of {host} is bought, but no machine of it is called {name}: {described(machines)}.{sent}"
        f" Nothing was bought. If it is this host's, set provision_adopt: true; if it is not, remove {away}."
    )


def open_by_name(host: str, offer_id: str, price: float | None, ids: t.Iterable[str]) -> str:
    """An earlier purchase of a host without a registry was sent by this very run, and never answered."""
    return (
        f"{still_open(host, offer_id, price, ids)} Do not buy another offer instead. There is no registry, so a later"
        " run finds what was bought by its name: run again then."
    )


def adopted(host: str, machines: t.Sequence[Machine], offer_id: str, *, would: bool) -> str:
    """What the host takes: machines by its name, or else what its purchase without an answer may have bought.

    ``would``: it is not noted now.
    """
    takes = "would take" if would else "takes"
    if not machines:
        return f"{host} {takes} what was bought with its offer {offer_id}, since provision_adopt is set."
    return f"{host} {takes} {described(machines)} by its name."
