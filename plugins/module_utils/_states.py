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
# Names of what keeps data, too, or of a part of a machine: the last word alone, and only of what nobody logs in to.
_MAY_BE_STORAGE = frozenset(
    {
        *("nfs", "efs", "fs", "sharedfs", "s3", "objectstore", "store", "pvc", "drive"),
        *("ssd", "hdd", "nvme", "ceph", "lustre"),
    }
)
_OF_OTHER = frozenset(  # the last word, as in "volume_snapshot"
    {
        *("network", "subnet", "vpc", "ip", "ipv4", "ipv6", "address", "interface", "firewall", "balancer", "router"),
        *("key", "keypair", "snapshot", "image", "backup", "license", "securitygroup"),
    }
)
_OF_MACHINES = frozenset(
    {
        *("vm", "machine", "instance", "server", "container", "node", "cluster", "compute", "gpu", "pod", "host"),
        *("metal", "baremetal"),
    }
)
_SHORT = 4  # letters of a word that could be the end of another one by chance
# What follows only adds to what is named before: "vm with disk" is a machine.
_ADDS = frozenset({"with", "without", "and", "plus"})
_JOINS = _ADDS | {"for", "in", "of", "on", "from"}
# Says how something else is, as in "gpu-storage-optimized".
_ADJECTIVE = re.compile(r"(?:storage|disk|volume)s?[^a-z0-9]*(?:optimi[sz]ed|intensive|dense|less)")
_TWO_WORDS = re.compile(r"file[^a-z0-9]+system")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLURAL = re.compile(r"(?<=ss)es$|(?<=[^sf])s$")  # an "nfs" is one


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
    snapshot. An unknown word, or none, is a machine: it counts, and ends, as one. Of words that name storage first and
    a machine ("storage_instance"), only beside what is not known ("h100 with disk"), or only perhaps ("nvme"), nobody
    knows what they mean: it is a machine if it ``is_used`` as one.
    """
    words = _head(_words(resource_type))
    stored = list(map(_is_of_storage, words))
    if any(stored):
        is_added = not _ADDS.isdisjoint(words[1:])  # to what is not known, see `_head`
        is_doubtful = is_added or (not stored[-1] and any(map(_is_of_machines, words)))
        return MACHINE if is_doubtful and is_used else STORAGE
    if _ends_in(words, _MAY_BE_STORAGE):
        return MACHINE if is_used or any(map(_is_of_machines, words)) else STORAGE
    return OTHER if _ends_in(words, _OF_OTHER) else MACHINE


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
    return is_machine(resource) and (not words or any(map(_is_of_machines, words)))


def _words(resource_type: object) -> list[str]:
    """The words of a type in small letters and the singular: ``block``, ``disk`` of "Block-Disks"."""
    text = _CAPITAL.sub(" ", resource_type).lower() if isinstance(resource_type, str) else ""
    plain = _ADJECTIVE.sub(" ", _TWO_WORDS.sub("filesystem", text))
    return [_PLURAL.sub("", name) for name in re.split(r"[^a-z0-9]+", plain) if name]


def _head(words: t.Sequence[str]) -> t.Sequence[str]:
    """The words that say what something is: those before "with disk", unless they say nothing."""
    end = next((place for place, name in enumerate(words) if name in _JOINS), len(words))
    head = words[:end]
    is_known = any(_is_of_storage(name) or _is_of_machines(name) for name in head) or _ends_in(head, _OF_OTHER)
    return head if is_known else words


def _is_of_storage(name: str) -> bool:
    return any(part in name for part in _OF_STORAGE)


def _is_of_machines(name: str) -> bool:
    return _ends_in([name], _OF_MACHINES)


def _ends_in(words: t.Sequence[str], table: t.Collection[str]) -> bool:
    """Whether the last word, or a long end of all of them written as one, is in the table."""
    is_end = any("".join(words).endswith(name) for name in table if len(name) > _SHORT)
    return is_end or bool(words and words[-1] in table)
