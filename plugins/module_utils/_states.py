# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's words for states and kinds, and what they mean for whoever waits or pays.

The vocabularies are contradictory and open (API page "offer status"): a word that nobody documented means "still going
on" for an offer and "alive, so probably billed" for a resource.
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
ENDED = "ended"  # bought, ran, and all its machines have been deleted since

_NOT_BOUGHT_YET = frozenset({"available", "pending"})
_GONE = frozenset({"deleted", "terminated"})
_ENDING = frozenset({"deleting", "terminating"})  # the second as a sibling of "terminated"; neither is gone, or free
_NO_LONGER_LIVE = _GONE | _ENDING | {"failed"}

# Seconds after a resource was made in which the API links what belongs to its purchase, at the latest: a purchase takes
# minutes, of eight GPUs up to 25.
LINKED_LATER = 3600.0

# Kinds of a resource. The vocabulary of ``resource_type`` is not documented (API page "get-resource").
KINDS = MACHINE, STORAGE, OTHER = "machine", "storage", "other"
_OF_STORAGE = ("storage", "disk", "volume", "filesystem", "bucket")  # a part of a word, since a lost volume costs most
_OF_PARTS = ("ssd", "hdd", "nvme")  # how names of a part of a machine end, or of storage: the last word
_MAY_BE_STORAGE = ("fs", "s3", "store", "pvc", "drive", "lustre", "ceph", *_OF_PARTS)  # also names of what keeps data
_OF_OTHER = (  # the last word, as in "vm_snapshot"
    *("network", "subnet", "vpc", "ip", "ipv4", "ipv6", "address", "interface", "firewall", "balancer", "router"),
    *("key", "keypair", "snapshot", "image", "backup", "license"),
)
_OF_MACHINES = (  # the end of a word, as in "gpuinstance"
    *("vm", "machine", "instance", "server", "container", "node", "cluster", "compute", "gpu", "pod", "host", "metal"),
)
# What says nothing of the kind: adjectives such as "disk-optimized", and all that is only added
_ADDED = re.compile(
    r"(?:storage|disk|volume)s?[^a-z0-9]*(?:optimi[sz]ed|intensive|dense|less)|[^a-z0-9](?:with|without|and|plus)[^a-z0-9].*"
)
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


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
    if has_machines or offer_status == "procured" or procurement_status not in (None, *_NOT_BOUGHT_YET):
        return GOING_ON
    if offer_status == "expired":
        return EXPIRED
    if procurement_status is not None or offer_status == "available":
        return UNBOUGHT
    return GOING_ON


def is_for_sale_or_expired(offer_status: str | None) -> bool:
    """Whether an offer's word says that nobody has bought it."""
    return offer_status in ("available", EXPIRED)


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


def kind_of(resource_type: object, *, is_used: bool = False) -> str:
    """The kind of a resource by its ``resource_type``, whatever its case, separators and number: `MACHINE` and so on.

    `STORAGE` keeps data, so it outlives a machine. `OTHER` is bought and billed, too: a network, an address, a key, a
    snapshot. The last word decides. Where only another one names storage ("storage_server"), or the last one may, it is
    a machine if it ``is_used`` as one; a part of a machine also beside a word for one ("gpu nvme", not "cluster_fs").
    An unknown word, or none, is a machine: it counts, and ends, as one.
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


def is_used_as_machine(access: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any]) -> bool:
    """Whether a resource has what only machines have: a login, or GPUs. An address storage may have, too."""
    return bool(access.get("ssh_command") or access.get("ssh_port") or spec.get("gpu_count"))


def is_machine(resource: t.Mapping[str, t.Any]) -> bool:
    """Whether the reader has called a resource a machine; what could not be read counts as one."""
    return bool(resource.get("kind", MACHINE) == MACHINE)


def may_be_reached(resource: t.Mapping[str, t.Any]) -> bool:
    """Whether a resource can be logged in to: its ``resource_type`` is a known word for a machine, or there is none.

    An unknown word is a machine only for money: what has it could be anything that listens at an address.
    """
    words = _words(resource.get("resource_type"))
    return is_machine(resource) and (words == [""] or _names_machine(words))


def _names_machine(words: t.Iterable[str]) -> bool:
    return any(name.endswith(_OF_MACHINES) for name in words)


def _words(resource_type: object) -> list[str]:
    """The words of a type in small letters and the singular: ``block``, ``disk`` of "Block-Disks"; at least one."""
    text = _CAPITAL.sub(" ", resource_type).lower() if isinstance(resource_type, str) else ""
    plural = filter(None, re.split(r"[^a-z0-9]+", _ADDED.sub(" ", text)))
    return [re.sub(r"(?<=ss)es$|(?<=[^sf])s$", "", name) for name in plural] or [""]
