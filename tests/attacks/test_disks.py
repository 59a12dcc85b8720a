# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the stand-in's own persistent storage, without the collection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from books import Disk
from standin import TOKEN, Request, StandIn


def ask(account: StandIn, method: str, path: str, body: str = "") -> Any:
    """The body of the stand-in's answer, without HTTP."""
    return account.proceed(Request(method, path, {}, body.encode(), {"authorization": f"Bearer {TOKEN}"})).body


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("shown_in", ["ids", "list", "link"])
def test_stand_in_sells_and_shows_disks_that_may_outlive_machines(shown_in: str, ends: bool) -> None:
    account = StandIn()
    offer = account.sell(disk=Disk(0.25, "volume", shown_in, names_offer=False, shows_price=False, ends=ends))
    assert ask(account, "POST", "/get_offers", "compute: {gpu_type: H100}")["offers"] == []
    with_storage = "{compute: {gpu_type: H100}, storage: [{type: block_disk, size: 1TB, persistent: true}]}"
    (listed,) = ask(account, "POST", "/get_offers", with_storage)["offers"]
    assert listed["total_price_per_hour"] == 2.25
    order = json.dumps({"offer_id": offer.offer_id, "resource_name": "gpu-1"})
    ids = ask(account, "POST", "/procure_offer", order)["resource_ids"]
    machine, disk = account.machines
    assert ids == ([machine.resource_id, disk.resource_id] if shown_in == "ids" else [machine.resource_id])
    page = ask(account, "GET", f"/resources/{disk.resource_id}")
    assert (page["resource_type"], page["pricing_total_hourly"], page["access"]) == (
        "volume",
        None,
        None,
    )
    assert page["offer_history"] == []
    links = ask(account, "GET", f"/resources/{machine.resource_id}")["linked_resources"]
    assert [link["resource_id"] for link in links] == ([] if shown_in == "list" else [disk.resource_id])
    ask(account, "DELETE", f"/resources/{machine.resource_id}")
    assert (machine.runs, disk.runs) == (False, not ends)
    active = [item["resource_id"] for item in ask(account, "GET", "/resources") if item["status"] == "active"]
    assert active == ([] if ends or shown_in == "link" else [disk.resource_id])
    ask(account, "DELETE", f"/resources/{disk.resource_id}")
    assert not disk.runs
