# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Persistent storage: how it is found, shown in several forms, and billed until it is deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from simulator import Offer, volume

Make = Callable[..., Any]
NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
SEARCH = "compute: {gpu_type: H100}\nstorage: [{type: block_disk, size: 730GB, persistent: true}]"


class Purchased:
    """A machine for 2 USD per hour with a volume for 0.10 USD, purchased at noon. ``hours``: the time since then."""

    def __init__(self, simulate: Make, **settings: Any) -> None:
        self.hours = 0.0
        offer = Offer(gpu_price_per_hour=2.0, storage=[volume(730, 0.1, persistent=True)])
        self.api = simulate([offer], lambda: NOON + timedelta(hours=self.hours), sync_seconds=0, **settings)
        self.answer = self.api.buy(offer, resource_name="gpu-1").json()
        (self.purchase,) = self.api.simulator.purchases
        self.machine = self.purchase.resources[0].resource_id
        self.volume = self.purchase.volumes[0].resource_id

    @property
    def listed(self) -> list[str]:
        """The ids in the list of resources."""
        return [each["resource_id"] for each in self.api.get("/resources")]

    def read(self, resource_id: str) -> Any:
        return self.api.get(f"/resources/{resource_id}")

    def delete(self, resource_id: str) -> int:
        return int(self.api("DELETE", f"/resources/{resource_id}").status_code)

    def status_code(self, resource_id: str) -> int:
        """The status of the answer to a read."""
        return int(self.api("GET", f"/resources/{resource_id}").status_code)


@pytest.mark.parametrize(
    ("search", "count"), [(SEARCH, 1), ("compute: {gpu_type: H100}", 0), (SEARCH.replace("true", "false"), 0)]
)
def test_offers_with_persistent_storage_match_only_such_searches(simulate: Make, search: str, count: int) -> None:
    api = simulate([Offer(gpu_price_per_hour=2.0, storage=[volume(730, 0.1, persistent=True)])])
    offers = api.search(search).json()["offers"]
    assert len(offers) == count
    for each in offers:
        assert (each["total_price_per_hour"], each["storage_details"][0]["persistent"]) == (2.1, True)


@pytest.mark.parametrize(
    ("shown", "named", "listed", "links"),
    [("ids", True, True, True), ("list", False, True, False), ("links", False, False, True)],
)
def test_storage_is_shown_as_set(simulate: Make, shown: str, named: bool, listed: bool, links: bool) -> None:
    purchased = Purchased(simulate, storage_shown=shown)
    ids = [purchased.machine, purchased.volume] if named else [purchased.machine]
    assert purchased.answer["resource_ids"] == purchased.api.status(purchased.purchase.offer)["resource_ids"] == ids
    assert purchased.listed == ([purchased.machine, purchased.volume] if listed else [purchased.machine])
    (instance,) = purchased.api.status(purchased.purchase.offer)["instances"]
    assert instance["status"] == "running"
    for resource_id, other in ((purchased.machine, purchased.volume), (purchased.volume, purchased.machine)):
        linked = purchased.read(resource_id)["linked_resources"]
        assert [each["resource_id"] for each in linked] == ([other] if links else [])
    described = purchased.read(purchased.volume)
    assert (described["name"], described["access"], described["status"]) == ("gpu-1-data", None, "active")
    assert (described["pricing_total_hourly"], purchased.read(purchased.machine)["pricing_total_hourly"]) == (0.1, 2.0)


@pytest.mark.parametrize("word", ["storage", "block_disk", "filesystem", "volume"])
def test_storage_has_the_set_resource_type(simulate: Make, word: str) -> None:
    purchased = Purchased(simulate, storage_word=word)
    assert purchased.read(purchased.volume)["resource_type"] == word
    assert purchased.read(purchased.machine)["linked_resources"][0]["resource_type"] == word
    assert purchased.read(purchased.machine)["resource_type"] == "vm"


@pytest.mark.parametrize("named", [True, False])
def test_storage_names_its_offer_as_set(simulate: Make, named: bool) -> None:
    purchased = Purchased(simulate, storage_names_offer=named)
    history = purchased.read(purchased.volume)["offer_history"]
    assert (history and history[0]["offer_id"]) == (purchased.purchase.offer_id if named else None)
    filtered = purchased.api.get("/resources", params={"offer_id": purchased.purchase.offer_id})
    assert (purchased.volume in [each["resource_id"] for each in filtered]) is named


def test_storage_may_have_no_price(simulate: Make) -> None:
    purchased = Purchased(simulate, storage_price=False)
    assert purchased.read(purchased.volume)["pricing_total_hourly"] is None
    assert purchased.read(purchased.machine)["pricing_total_hourly"] == 2.0


@pytest.mark.parametrize("shown", ["ids", "list", "links"])
@pytest.mark.parametrize(
    ("after", "status_code", "billed", "usd"),
    [("stays", 200, True, 0.3), ("ends", 200, False, 0.1), ("hidden", 404, True, 0.3)],
)
def test_storage_after_its_machine_ended(
    simulate: Make, shown: str, after: str, status_code: int, billed: bool, usd: float
) -> None:
    purchased = Purchased(simulate, storage_shown=shown, storage_after_machine=after)
    purchased.hours = 1
    assert purchased.delete(purchased.machine) == 200
    purchased.hours = 3
    simulator = purchased.api.simulator
    assert purchased.status_code(purchased.volume) == status_code
    assert simulator.billed == ([purchased.volume] if billed else [])
    assert purchased.listed == ([purchased.volume] if after == "stays" and shown != "links" else [])
    assert simulator.meter == pytest.approx({purchased.machine: 2.0, purchased.volume: usd})
    assert simulator.bill == pytest.approx({purchased.purchase.offer_id: 2.0 + usd})
    if after == "stays":
        assert purchased.read(purchased.volume)["status"] == "active"
        assert purchased.delete(purchased.volume) == 200
        assert (purchased.delete(purchased.volume), simulator.billed) == (409, [])
        purchased.hours = 9
        assert simulator.meter[purchased.volume] == pytest.approx(usd)


def test_storage_can_end_before_its_machine(simulate: Make) -> None:
    purchased = Purchased(simulate)
    assert purchased.delete(purchased.volume) == 200
    assert purchased.api.simulator.billed == [purchased.machine]
    assert purchased.api.status(purchased.purchase.offer)["procurement_status"] == "ready"


def test_volume_of_a_cluster_stays_until_its_last_machine_ends(simulate: Make) -> None:
    offer = Offer(
        gpu_count=16, node_count=2, gpu_price_per_hour=1, storage=[volume(730, 0.1, name="", persistent=True)]
    )
    api = simulate([offer], storage_after_machine="ends")
    api.buy(offer, cluster_name="train")
    first, second, disk = api.simulator.resources.values()
    assert [each.name for each in (first, second, disk)] == ["train-1", "train-2", "train"]
    assert [each["pricing_total_hourly"] for each in api.get("/resources")] == [8, 8, 0.1]
    for machine, billed in ((first, [second, disk]), (second, [])):
        api("DELETE", f"/resources/{machine.resource_id}")
        assert api.simulator.billed == [each.resource_id for each in billed]


@pytest.mark.parametrize(("bills", "status"), [(True, "active"), (False, "deleted")])
def test_storage_of_failed_purchase_is_billed_like_its_machine(simulate: Make, bills: bool, status: str) -> None:
    offer = Offer(outcome="fails", failed_bills=bills, storage=[volume(730, 0.1, persistent=True)])
    api = simulate([offer])
    api.buy(offer)
    (disk,) = api.simulator.purchases[0].volumes
    assert disk.status_at(api.simulator.market.clock()) == status


def test_storage_that_is_not_persistent_is_part_of_its_machine(simulate: Make) -> None:
    offer = Offer(gpu_price_per_hour=2.0, storage=[volume(730, 0.1)])
    api = simulate([offer])
    api.buy(offer)
    assert [each["pricing_total_hourly"] for each in api.get("/resources")] == [2.1]
