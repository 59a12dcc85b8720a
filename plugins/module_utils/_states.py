# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's words for states, and what they mean for whoever waits or pays.

The vocabularies are contradictory and open (API page "offer status"): a word that nobody documented means "still going
on" for an offer and "alive, so probably billed" for a resource.
"""

from __future__ import annotations

# Phases of an offer
UNBOUGHT = "unbought"
GOING_ON = "going_on"
READY = "ready"
FAILED = "failed"
EXPIRED = "expired"
ENDED = "ended"  # bought, ran, and all its machines have been deleted since

_NOT_BOUGHT_YET = frozenset({"available", "pending"})
_GONE = frozenset({"deleted", "terminated"})
_ENDING = frozenset({"deleting", "terminating"})  # the second as a sibling of "terminated"; neither is gone, or free
# Parts of the words for what is no machine (API pages "storage" and "yaml spec"); the vocabulary is not documented.
_STORAGE = ("storage", "disk", "volume", "filesystem", "file_system")
_NO_LONGER_LIVE = _GONE | _ENDING | {"failed"}


def word(value: object) -> str | None:
    """A state as a comparable word; None where the API gave none."""
    return value.strip().lower() or None if isinstance(value, str) else None


def phase(procurement_status: str | None, offer_status: str | None, *, has_machines: bool) -> str:
    """The phase of an offer from its two states and from whether it has resources, instances or a time of purchase.

    Both documented vocabularies of ``procurement_status`` are understood. ``pending`` and ``available`` mean "not
    bought" only as long as nothing else says that it was.
    """
    if procurement_status == "ready":
        return READY
    if "failed" in (procurement_status, offer_status):
        return FAILED
    if procurement_status is not None and procurement_status not in _NOT_BOUGHT_YET:
        return GOING_ON
    if has_machines or offer_status == "procured":
        return GOING_ON
    if offer_status == "expired":
        return EXPIRED
    if procurement_status is not None or offer_status == "available":
        return UNBOUGHT
    return GOING_ON


def is_live(resource_status: str | None) -> bool:
    """Whether a resource exists and may be used; one that is being deleted, is gone or failed does not count."""
    return resource_status not in _NO_LONGER_LIVE


def is_gone(resource_status: str | None) -> bool:
    """Whether the vendor has confirmed the end of a resource."""
    return resource_status in _GONE


def is_ending(resource_status: str | None) -> bool:
    """Whether a resource is gone or on its way there, so that nothing brings it back."""
    return is_under_deletion(resource_status) or is_gone(resource_status)


def is_under_deletion(resource_status: str | None) -> bool:
    """Whether a resource is on its way to its end, and may be billed until it is there."""
    return resource_status in _ENDING


def is_storage(resource_type: object) -> bool:
    """Whether a resource is storage, by its ``resource_type``; an unknown word stands for a machine."""
    return any(part in (word(resource_type) or "") for part in _STORAGE)
