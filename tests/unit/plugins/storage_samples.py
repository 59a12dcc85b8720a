# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Persistent storage in each form in which the API may show it, for the random worlds of tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._api.client import read_resource
from hypothesis import strategies as st

from provision_samples import machine_id

Json = dict[str, Any]
PRICE = 0.25  # USD per hour


@dataclass(frozen=True)
class Form:
    """How the API shows storage, like the switches of the simulator. ``word``: its ``resource_type``.

    ``appears_in``: ``ids`` (answers name it like a machine), ``list`` (only the list does), or ``links`` (only its
    machine's page does). ``names_offer``: whether its page names the offer with which it was bought.
    """

    appears_in: str = "ids"
    word: str = "block_disk"
    names_offer: bool = True

    @property
    def is_listed(self) -> bool:
        return self.appears_in != "links"

    @property
    def is_linked(self) -> bool:
        """Whether its machine's page names it."""
        return self.appears_in != "list"

    @property
    def is_provable(self) -> bool:
        """Whether its own page or its machine's shows with which purchase it was bought."""
        return self.names_offer or self.is_linked

    def link(self, resource_id: str) -> Json:
        """Its item among the linked resources of its machine's page."""
        return {"resource_id": resource_id, "resource_type": self.word, "link_type": "storage"}


FORMS = st.builds(
    Form,
    st.sampled_from(["ids", "list", "links"]),
    st.sampled_from(["storage", "block_disk", "filesystem", "Volume"]),
    st.booleans(),
)


@dataclass
class Volume:
    """A volume as it really is. ``offer_id``: its purchase; empty if it has no owner, or was bought long before."""

    number: int
    owner: str
    form: Form = Form()
    name: str = "data"
    offer_id: str = ""
    created_at: str = "2026-01-31T12:00:30Z"
    status: str = "active"

    @property
    def id(self) -> str:
        return machine_id(self.number)

    @property
    def is_billed(self) -> bool:
        return self.status != "deleted"

    @property
    def page(self) -> Json:
        """Its page, as the tolerant reader returns it."""
        offers = [{"offer_id": self.offer_id, "role": "primary"}] if self.offer_id and self.form.names_offer else []
        fields = {"resource_id": self.id, "resource_type": self.form.word, "name": self.name, "status": self.status}
        origin = {"vendor": "nebius", "vendor_region": "eu-north1", "created_at": self.created_at}
        return read_resource({**fields, **origin, "pricing_total_hourly": PRICE, "offer_history": offers})

    @property
    def entry_item(self) -> Json:
        """Its item in a host's registry entry."""
        return {"resource_id": self.id, "price_per_hour": PRICE}


def listed(volumes: Iterable[Volume]) -> list[Json]:
    """The pages of the storage in the account's list."""
    return [volume.page for volume in volumes if volume.form.is_listed]


def linked(machine: Json, volumes: Iterable[Volume]) -> Json:
    """A machine as the tolerant reader returns it, with links to the volumes that its page shows."""
    links = [volume.form.link(volume.id) for volume in volumes if volume.form.is_linked and volume.is_billed]
    return {**machine, "linked_resources": read_resource({**machine, "linked_resources": links})["linked_resources"]}


def ids_of(volumes: Iterable[Volume]) -> set[str]:
    return {volume.id for volume in volumes}
