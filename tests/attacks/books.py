# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The books of the stand-in: offers, purchases, and billed machines."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

Json = dict[str, Any]
#: A loopback port without a server: machines need no SSH unless a test gives them an address.
NOWHERE = ("127.0.0.1", 9)


def new_id() -> str:
    """A new id in the API's form."""
    return str(uuid4())


def moment(seconds: float | None) -> str | None:
    """The time in the API's form."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Disk:
    """Persistent storage that comes with the machines of an offer, and how the API shows it."""

    price: float | None = 0.1  # USD per hour
    resource_type: str = "block_disk"
    #: "ids": the purchase, the status and the list name it; "list": only the list; "link": only a link of the machine.
    shown_in: str = "ids"
    names_offer: bool = True
    shows_price: bool = True
    #: Whether it ends with the last machine, or stays until it is deleted by its id.
    ends: bool = False


@dataclass
class Offer:
    """An offer, and how its purchase goes."""

    price: float | None = 2.0  # USD per hour and GPU
    vendor: str = "acme"
    gpus: int = 1
    gpu_type: str = "nvidia-h100-sxm5-80gb"
    region: str = "EU"
    contract: str = "ondemand"
    machines: int = 1
    lifetime: float = 1800.0
    boot_seconds: float = 0.0
    keeps_name: bool = True
    #: The error with which its procurement fails, although its machines exist; empty if it succeeds.
    fails: str = ""
    #: Storage that it has in addition to machines; only searches for storage find it.
    disk: Disk | None = None
    #: Fields that override those of the search, the details, and the status
    listed: Json = field(default_factory=dict)
    details: Json = field(default_factory=dict)
    status: Json = field(default_factory=dict)
    offer_id: str = field(default_factory=new_id)
    created: float = field(default_factory=time.time)
    purchase: Purchase | None = None

    @property
    def expired(self) -> bool:
        """Whether it is too old to be bought."""
        return self.purchase is None and time.time() > self.created + self.lifetime

    @property
    def total(self) -> float | None:
        """USD per hour for all its GPUs."""
        return None if self.price is None else round(self.price * self.gpus, 6)

    @property
    def total_with_disk(self) -> float | None:
        """USD per hour for GPUs and storage."""
        extra = self.disk.price if self.disk and self.disk.price else 0.0
        return None if self.total is None else round(self.total + extra, 6)


@dataclass
class Machine:
    """A resource, which is billed from its beginning to its end, whatever the API shows."""

    name: str | None
    offers: list[str]
    price: float | None = 2.0  # USD per hour
    state: str = "running"
    address: tuple[str, int] = NOWHERE
    vendor: str = "acme"
    region: str = "EU"
    resource_type: str = "vm"
    links: list[Machine] = field(default_factory=list, repr=False, compare=False)
    #: Fields that override those that the API shows
    overrides: Json = field(default_factory=dict)
    #: Whether the list leaves it out, and whether its own page answers 404
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
        """The resource ids in its answer."""
        is_shown = self.offer.disk is not None and self.offer.disk.shown_in == "ids"
        return [resource.resource_id for resource in (*self.machines, *(self.disks if is_shown else ()))]
