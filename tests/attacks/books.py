# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in of the API writes down: what is for sale, who bought it, which machines are billed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

Json = dict[str, Any]
#: A port of loopback on which nothing listens: machines need no SSH unless a test says so.
NOWHERE = ("127.0.0.1", 9)


def new_id() -> str:
    """An id as the API makes them."""
    return str(uuid4())


def moment(seconds: float | None) -> str | None:
    """A time of the books in the API's form."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Disk:
    """Persistent storage that an offer brings beside its machines, and what the API shows of it."""

    price: float | None = 0.1  # USD an hour
    word: str = "block_disk"
    #: "ids": by the purchase, the status and the list; "list"; or "link", of the machine alone.
    shown: str = "ids"
    names_offer: bool = True
    shows_price: bool = True
    #: It ends with the last machine; else it stays until it is deleted by its id.
    ends: bool = False


@dataclass
class Offer:
    """Something for sale, and how its purchase goes."""

    price: float | None = 2.0  # USD per GPU and hour
    vendor: str = "acme"
    gpus: int = 1
    gpu_type: str = "nvidia-h100-sxm5-80gb"
    region: str = "EU"
    contract: str = "ondemand"
    machines: int = 1
    lifetime: float = 1800.0
    boot_seconds: float = 0.0
    keeps_name: bool = True
    #: Why its procurement fails; its machines exist nevertheless.
    fails: str = ""
    #: What it brings beside machines, to those who ask for it.
    disk: Disk | None = None
    #: Fields that the search, the details, and the status show instead.
    listed: Json = field(default_factory=dict)
    details: Json = field(default_factory=dict)
    status: Json = field(default_factory=dict)
    offer_id: str = field(default_factory=new_id)
    created: float = field(default_factory=time.time)
    purchase: Purchase | None = None

    @property
    def expired(self) -> bool:
        """Whether it cannot be bought any more, because of its age."""
        return self.purchase is None and time.time() > self.created + self.lifetime

    @property
    def total(self) -> float | None:
        """USD an hour of all its GPUs."""
        return None if self.price is None else round(self.price * self.gpus, 6)

    @property
    def total_with_disk(self) -> float | None:
        """USD an hour of all that it brings."""
        extra = self.disk.price if self.disk and self.disk.price else 0.0
        return None if self.total is None else round(self.total + extra, 6)


@dataclass
class Machine:
    """A resource: it is billed from its beginning to its end, whatever is said of it."""

    name: str | None
    offers: list[str]
    price: float | None = 2.0  # USD an hour
    state: str = "running"
    address: tuple[str, int] = NOWHERE
    vendor: str = "acme"
    region: str = "EU"
    #: What kind of resource it is, and what is linked to it.
    word: str = "vm"
    links: list[Machine] = field(default_factory=list, repr=False, compare=False)
    #: Fields that are shown instead.
    shown: Json = field(default_factory=dict)
    #: Not in the list of all; nor found by its id.
    unlisted: bool = False
    hidden: bool = False
    resource_id: str = field(default_factory=new_id)
    began: float = field(default_factory=time.time)
    ended: float | None = None

    @property
    def runs(self) -> bool:
        """Whether it is billed."""
        return self.ended is None

    @property
    def billed_seconds(self) -> float:
        """How long it was billed."""
        return (self.ended or time.time()) - self.began


@dataclass
class Purchase:
    """A purchase that was made."""

    offer: Offer
    name: str | None
    machines: list[Machine]
    body: Json
    made: float = field(default_factory=time.time)
    disks: list[Machine] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The resources that it says it brought."""
        is_shown = self.offer.disk is not None and self.offer.disk.shown == "ids"
        return [resource.resource_id for resource in (*self.machines, *(self.disks if is_shown else ()))]
