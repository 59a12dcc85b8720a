# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Persistent storage in each form in which the API may show it, for all worlds whose machines have some."""

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
    """How the API shows storage, as the simulator's switches have it. ``word``: its ``resource_type``.

    ``shown``: named like a machine by answers (``ids``), only in the list (``list``), or only linked (``links``).
    ``names_offer``: whether its page names the offer that has brought it.
    """

    shown: str = "ids"
    word: str = "block_disk"
    names_offer: bool = True

    @property
    def is_listed(self) -> bool:
        return self.shown != "links"

    @property
    def is_linked(self) -> bool:
        """Whether its machine names it."""
        return self.shown != "list"

    @property
    def is_provable(self) -> bool:
        """Whether anything tells of its purchase."""
        return self.names_offer or self.is_linked

    def link(self, resource_id: str) -> Json:
        """It as its machine's page names it."""
        return {"resource_id": resource_id, "resource_type": self.word, "link_type": "storage"}


FORMS = st.builds(
    Form,
    st.sampled_from(["ids", "list", "links"]),
    st.sampled_from(["storage", "block_disk", "filesystem", "Volume"]),
    st.booleans(),
)


@dataclass
class Volume:
    """Storage, by the books. ``offer_id``: the one that has brought it; an empty one if it is nobody's, or too old."""

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
    def shown(self) -> Json:
        """Its page, as the tolerant reader returns it."""
        named = [{"offer_id": self.offer_id, "role": "primary"}] if self.offer_id and self.form.names_offer else []
        page = {"resource_id": self.id, "resource_type": self.form.word, "name": self.name, "status": self.status}
        place = {"vendor": "nebius", "vendor_region": "eu-north1", "created_at": self.created_at}
        return read_resource({**page, **place, "pricing_total_hourly": PRICE, "offer_history": named})

    @property
    def noted(self) -> Json:
        """What a registry has of it."""
        return {"resource_id": self.id, "price_per_hour": PRICE}


def listed(volumes: Iterable[Volume]) -> list[Json]:
    """Those that the account's list has."""
    return [volume.shown for volume in volumes if volume.form.is_listed]


def linked(machine: Json, volumes: Iterable[Volume]) -> Json:
    """A machine as the tolerant reader returns it, with these linked to it as far as they are shown there."""
    links = [volume.form.link(volume.id) for volume in volumes if volume.form.is_linked and volume.is_billed]
    return {**machine, "linked_resources": read_resource({**machine, "linked_resources": links})["linked_resources"]}


def ids_of(volumes: Iterable[Volume]) -> set[str]:
    return {volume.id for volume in volumes}
