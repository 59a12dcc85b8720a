# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Persistent storage: sold to those who ask for it, shown in several forms, and billed until it is deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from simulator import Offer, volume

Make = Callable[..., Any]
NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
SEARCH = "compute: {gpu_type: H100}\nstorage: [{type: block_disk, size: 730GB, persistent: true}]"


class Bought:
    """A machine for 2 USD per hour with a volume for 0.10, bought at noon; the clock then moves by ``hours``."""

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
        return [each["resource_id"] for each in self.api.get("/resources")]

    def read(self, resource_id: str) -> Any:
        return self.api.get(f"/resources/{resource_id}")

    def delete(self, resource_id: str) -> int:
        return int(self.api("DELETE", f"/resources/{resource_id}").status_code)

    def code(self, resource_id: str) -> int:
        return int(self.api("GET", f"/resources/{resource_id}").status_code)


@pytest.mark.parametrize(
    ("search", "count"), [(SEARCH, 1), ("compute: {gpu_type: H100}", 0), (SEARCH.replace("true", "false"), 0)]
)
def test_only_who_asks_for_it_is_offered_persistent_storage(simulate: Make, search: str, count: int) -> None:
    api = simulate([Offer(gpu_price_per_hour=2.0, storage=[volume(730, 0.1, persistent=True)])])
    offers = api.search(search).json()["offers"]
    assert len(offers) == count
    for each in offers:
        assert (each["total_price_per_hour"], each["storage_details"][0]["persistent"]) == (2.1, True)


@pytest.mark.parametrize(
    ("shown", "named", "listed", "links"),
    [("ids", True, True, True), ("list", False, True, False), ("links", False, False, True)],
)
def test_where_it_is_shown(simulate: Make, shown: str, named: bool, listed: bool, links: bool) -> None:
    bought = Bought(simulate, storage_shown=shown)
    ids = [bought.machine, bought.volume] if named else [bought.machine]
    assert bought.answer["resource_ids"] == bought.api.status(bought.purchase.offer)["resource_ids"] == ids
    assert bought.listed == ([bought.machine, bought.volume] if listed else [bought.machine])
    (instance,) = bought.api.status(bought.purchase.offer)["instances"]
    assert instance["status"] == "running"
    for resource_id, other in ((bought.machine, bought.volume), (bought.volume, bought.machine)):
        linked = bought.read(resource_id)["linked_resources"]
        assert [each["resource_id"] for each in linked] == ([other] if links else [])
    described = bought.read(bought.volume)
    assert (described["name"], described["access"], described["status"]) == ("gpu-1-data", None, "active")
    assert (described["pricing_total_hourly"], bought.read(bought.machine)["pricing_total_hourly"]) == (0.1, 2.0)


@pytest.mark.parametrize("word", ["storage", "block_disk", "filesystem", "volume"])
def test_what_it_is_called(simulate: Make, word: str) -> None:
    bought = Bought(simulate, storage_word=word)
    assert bought.read(bought.volume)["resource_type"] == word
    assert bought.read(bought.machine)["linked_resources"][0]["resource_type"] == word
    assert bought.read(bought.machine)["resource_type"] == "vm"


@pytest.mark.parametrize("named", [True, False])
def test_whether_it_names_its_offer(simulate: Make, named: bool) -> None:
    bought = Bought(simulate, storage_names_offer=named)
    history = bought.read(bought.volume)["offer_history"]
    assert (history and history[0]["offer_id"]) == (bought.purchase.offer_id if named else None)
    filtered = bought.api.get("/resources", params={"offer_id": bought.purchase.offer_id})
    assert (bought.volume in [each["resource_id"] for each in filtered]) is named


def test_whether_it_has_a_price(simulate: Make) -> None:
    bought = Bought(simulate, storage_price=False)
    assert bought.read(bought.volume)["pricing_total_hourly"] is None
    assert bought.read(bought.machine)["pricing_total_hourly"] == 2.0


@pytest.mark.parametrize("shown", ["ids", "list", "links"])
@pytest.mark.parametrize(
    ("after", "code", "billed", "usd"),
    [("stays", 200, True, 0.3), ("ends", 200, False, 0.1), ("hidden", 404, True, 0.3)],
)
def test_what_becomes_of_it_when_its_machine_ends(
    simulate: Make, shown: str, after: str, code: int, billed: bool, usd: float
) -> None:
    bought = Bought(simulate, storage_shown=shown, storage_after_machine=after)
    bought.hours = 1
    assert bought.delete(bought.machine) == 200
    bought.hours = 3
    simulator = bought.api.simulator
    assert bought.code(bought.volume) == code
    assert simulator.billed == ([bought.volume] if billed else [])
    assert bought.listed == ([bought.volume] if after == "stays" and shown != "links" else [])
    assert simulator.meter == pytest.approx({bought.machine: 2.0, bought.volume: usd})
    assert simulator.bill == pytest.approx({bought.purchase.offer_id: 2.0 + usd})
    if after == "stays":
        assert bought.read(bought.volume)["status"] == "active"
        assert bought.delete(bought.volume) == 200
        assert (bought.delete(bought.volume), simulator.billed) == (409, [])
        bought.hours = 9
        assert simulator.meter[bought.volume] == pytest.approx(usd)


def test_it_can_end_before_its_machine(simulate: Make) -> None:
    bought = Bought(simulate)
    assert bought.delete(bought.volume) == 200
    assert bought.api.simulator.billed == [bought.machine]
    assert bought.api.status(bought.purchase.offer)["procurement_status"] == "ready"


def test_a_cluster_has_one_volume_which_stays_until_its_last_machine_ends(simulate: Make) -> None:
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
def test_a_purchase_that_fails_leaves_it_as_its_machine(simulate: Make, bills: bool, status: str) -> None:
    offer = Offer(outcome="fails", failed_bills=bills, storage=[volume(730, 0.1, persistent=True)])
    api = simulate([offer])
    api.buy(offer)
    (disk,) = api.simulator.purchases[0].volumes
    assert disk.status_at(api.simulator.market.clock()) == status


def test_what_is_not_persistent_is_part_of_its_machine(simulate: Make) -> None:
    offer = Offer(gpu_price_per_hour=2.0, storage=[volume(730, 0.1)])
    api = simulate([offer])
    api.buy(offer)
    assert [each["pricing_total_hourly"] for each in api.get("/resources")] == [2.1]
