# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host stops where it stands, if it is not certain whose a machine is; and what it takes over."""

from __future__ import annotations

import typing as t

from .messages import described, ids_of
from .ownership import Machine


def claimed_twice(host: str, others: t.Iterable[str], offer_id: str, ids: t.Sequence[str]) -> str:
    """Several hosts say that one machine or offer is theirs."""
    parts = [f"offer {offer_id}" if offer_id else "", f"machine {ids_of(ids)}" if ids or not offer_id else ""]
    what = " with ".join(filter(None, parts))
    return (
        f"{host} and {', '.join(others)} claim the same {what}, which belongs to one host. Nothing was bought or"
        " changed. Remove the registry entry, provision_offer_id or provision_resource_name of those that it does not"
        " belong to."
    )


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


def bought_by_another(host: str, name: str, offer_id: str, machines: t.Iterable[Machine], *, was_sent: bool) -> str:
    """An offer of the host is bought, and its machine has another name than the host's."""
    sent = " A purchase of this host was never answered, so it may be this host's." if was_sent else ""
    away = "the registry entry" if was_sent else "provision_offer_id"
    return (
        f"Offer {offer_id} of {host} is bought, but no machine of it is called {name}: {described(machines)}.{sent}"
        f" Nothing was bought. If it is this host's, set provision_adopt: true; if it is not, remove {away}."
    )


def adopted(host: str, machines: t.Sequence[Machine], offer_id: str, *, would: bool) -> str:
    """What the host takes: machines by its name, or else what its purchase without an answer may have bought.

    ``would``: it is not noted now.
    """
    takes = "would take" if would else "takes"
    if not machines:
        return f"{host} {takes} what was bought with its offer {offer_id}, since provision_adopt is set."
    return f"{host} {takes} {described(machines)} by its name."
