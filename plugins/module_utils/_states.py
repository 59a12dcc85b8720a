# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's words for states and kinds, and what they mean for waiting and billing.

The documented vocabularies are contradictory and open (API page "offer status"). An undocumented word means "in
progress" for an offer and "live, so probably billed" for a resource.
"""

from __future__ import annotations

import re
import typing as t

# Phases of an offer
UNBOUGHT = "unbought"
GOING_ON = "going_on"
READY = "ready"
FAILED = "failed"
EXPIRED = "expired"
ENDED = "ended"  # it was bought, and all its machines have been deleted since

_NOT_BOUGHT_YET = frozenset({"available", "pending"})
_GONE = frozenset({"deleted", "terminated"})
_ENDING = frozenset({"deleting", "terminating"})  # still billed; "terminating" is not documented, "terminated" is
_NO_LONGER_LIVE = _GONE | _ENDING | {"failed"}

# Seconds after a resource was made in which the API may still link it to its own purchase: a purchase takes minutes,
# with eight GPUs up to 25. A later link is to something else.
LINKED_LATER = 3600.0

# Kinds of a resource. The vocabulary of ``resource_type`` is not documented (API page "get-resource").
KINDS = MACHINE, STORAGE, OTHER = "machine", "storage", "other"
_OF_STORAGE = ("storage", "disk", "volume", "filesystem", "bucket")  # any part of a word: a forgotten volume is billed
_OF_PARTS = ("ssd", "hdd", "nvme")  # endings of the last word: storage, or a part of a machine
_MAY_BE_STORAGE = ("fs", "s3", "store", "pvc", "drive", "lustre", "ceph", *_OF_PARTS)  # endings of the last word
_OF_OTHER = (  # the whole last word, as in "vm_snapshot"
    *("network", "subnet", "vpc", "ip", "ipv4", "ipv6", "address", "interface", "firewall", "balancer", "router"),
    *("key", "keypair", "snapshot", "image", "backup", "license"),
)
_OF_MACHINES = (  # endings of a word, as in "gpuinstance"
    *("vm", "machine", "instance", "server", "container", "node", "cluster", "compute", "gpu", "pod", "host", "metal"),
)
# Parts that do not tell the kind: adjectives such as "disk-optimized", and additions such as "with ssd"
_ADDED = re.compile(
    r"(?:storage|disk|volume)s?[^a-z0-9]*(?:optimi[sz]ed|intensive|dense|less)|[^a-z0-9](?:with|without|and|plus)[^a-z0-9].*"
)
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def word(value: object) -> str | None:
    """A state in lower case without surrounding blanks, or None if the API gave no text."""
    return value.strip().lower() or None if isinstance(value, str) else None


def phase(procurement_status: str | None, offer_status: str | None, *, has_machines: bool) -> str:
    """The phase of an offer. ``has_machines``: whether it has resources, instances or a time of purchase.

    Understands both documented vocabularies of ``procurement_status``. ``pending`` and ``available`` mean "not bought"
    only if nothing else shows a purchase.
    """
    if procurement_status == "ready":
        return READY
    if "failed" in (procurement_status, offer_status):
        return FAILED
    if has_machines or offer_status == "procured" or procurement_status not in (None, *_NOT_BOUGHT_YET):
        return GOING_ON
    if offer_status == "expired":
        return EXPIRED
    if procurement_status is not None or offer_status == "available":
        return UNBOUGHT
    return GOING_ON


def is_for_sale_or_expired(offer_status: str | None) -> bool:
    """Whether an offer's status says that no one has bought it."""
    return offer_status in ("available", EXPIRED)


def is_live(resource_status: str | None) -> bool:
    """Whether a resource exists and may be used: it has not failed, is not being deleted, and is not gone."""
    return resource_status not in _NO_LONGER_LIVE


def is_gone(resource_status: str | None) -> bool:
    """Whether the vendor has confirmed the end of a resource."""
    return resource_status in _GONE


def is_ending(resource_status: str | None) -> bool:
    """Whether a resource is gone or being deleted."""
    return is_under_deletion(resource_status) or is_gone(resource_status)


def is_under_deletion(resource_status: str | None) -> bool:
    """Whether a resource is being deleted, and may still be billed."""
    return resource_status in _ENDING


def kind_of(resource_type: object, *, is_used: bool = False) -> str:
    """The kind of a resource, read from its ``resource_type`` regardless of case, separators and plural.

    `STORAGE` keeps data and outlives a machine. `OTHER` is also billed: a network, an address, a key, a snapshot.
    Usually the last word decides. If only an earlier word names storage ("storage_server"), or the last word is
    ambiguous ("fs"), the resource is a machine if it ``is_used`` as one. A part of a machine is also a machine if
    another word names one ("gpu nvme", but not "cluster_fs"). Unknown words and missing types count as `MACHINE`, so
    that they are noticed and ended.
    """
    words = _words(resource_type)
    last, text = words[-1], "".join(words)
    if any(part in last for part in _OF_STORAGE) or text.endswith(_OF_STORAGE):
        return STORAGE
    if any(part in text for part in _OF_STORAGE):
        return MACHINE if is_used else STORAGE
    if last.endswith(_MAY_BE_STORAGE):
        is_machine_with = last.endswith(_OF_PARTS) and _names_machine(words)
        return MACHINE if is_used or is_machine_with else STORAGE
    return OTHER if last in _OF_OTHER else MACHINE


def is_machine(resource: t.Mapping[str, t.Any]) -> bool:
    """Whether the reader found that a resource is a machine; unread resources count as machines."""
    return bool(resource.get("kind", MACHINE) == MACHINE)


def may_be_reached(resource: t.Mapping[str, t.Any]) -> bool:
    """Whether it is safe to log in to a resource: its ``resource_type`` names a machine, or is missing.

    With an unknown type a resource counts as a machine only for costs: it could be any service with an address.
    """
    words = _words(resource.get("resource_type"))
    return is_machine(resource) and (words == [""] or _names_machine(words))


def _names_machine(words: t.Iterable[str]) -> bool:
    return any(name.endswith(_OF_MACHINES) for name in words)


def _words(resource_type: object) -> list[str]:
    """The words of a type in lower case and singular (``block``, ``disk`` for "Block-Disks"); at least one."""
    text = _CAPITAL.sub(" ", resource_type).lower() if isinstance(resource_type, str) else ""
    plural = filter(None, re.split(r"[^a-z0-9]+", _ADDED.sub(" ", text)))
    return [re.sub(r"(?<=ss)es$|(?<=[^sf])s$", "", name) for name in plural] or [""]
