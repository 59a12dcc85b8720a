# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the end of one resource by its id reads: it says what ends, and that the data of storage ends with it."""

from __future__ import annotations

import typing as t

from .. import _states
from .._wording import usd

Resource = t.Mapping[str, t.Any]  # as the tolerant reader returns it
# What it is called, what ends with it, and how it is if it does not end; of one that was never read its kind is unknown
_UNREAD = ("Resource", "", "exist")
_WORDS = {
    _states.MACHINE: ("Machine", "", "run"),
    _states.STORAGE: ("Storage", " with all its data", "exist"),
    _states.OTHER: _UNREAD,
}
_SHOWN = ("resource_id", "kind", "name", "vendor", "status", "price_per_hour")


def _words_of(resource: Resource | None) -> tuple[str, str, str]:
    return _WORDS[resource["kind"]] if resource else _UNREAD


def named(resource_id: str, resource: Resource | None) -> str:
    """What a sentence about it begins with, as "Storage <id>"."""
    return f"{_words_of(resource)[0]} {resource_id}"


def deletion(resource_id: str, resource: Resource | None, verb: str) -> str:
    """The beginning of a sentence about its end; ``verb``: as "is deleted"."""
    return f"{named(resource_id, resource)} {verb}{_words_of(resource)[1]}"


def planned(resource_id: str, resource: Resource) -> str:
    """What check mode says."""
    return f"{deletion(resource_id, resource, 'would be deleted')}, which saves {usd(resource['price_per_hour'])}."


def still(resource: Resource | None) -> str:
    """What may be billed on after a failure, in USD per hour."""
    price = resource["price_per_hour"] if resource else None
    return f"It may still {_words_of(resource)[2]} and be billed at {usd(price)}."


def not_gone(resource_id: str, resource: Resource | None, seconds: float, why: str) -> str:
    """The failure after waiting for so long."""
    return f"{named(resource_id, resource)} is not gone after {seconds:g} seconds: {why}. {still(resource)}"


def doubtful(resource_id: str, resource: Resource | None, lost: Exception) -> str:
    """The failure if the answer to the deletion is ``lost`` and no look shows whether it was accepted."""
    subject = named(resource_id, resource)
    return f"Whether {subject[0].lower()}{subject[1:]} is being deleted is not known: {lost} {still(resource)}"


def alive(resource: Resource) -> str:
    """What the API says of a resource that is not gone; empty if it is."""
    if _states.is_gone(resource["status"]):
        return ""
    return f"the API still says '{resource['status']}'" if resource["status"] else "no state is told"


def difference(resource: Resource) -> dict[str, t.Any]:
    """The ``diff`` of a deletion."""
    header = f"resource {resource['resource_id']}"
    before = {name: resource[name] for name in _SHOWN}
    return {"before_header": header, "after_header": f"{header} (none)", "before": before, "after": {}}
