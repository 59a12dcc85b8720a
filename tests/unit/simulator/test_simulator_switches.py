# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switches of the simulator's settings: gaps and contradictions of the documentation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from simulator import Offer

Make = Callable[..., Any]


class Clock:
    """A clock that only advances on demand."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def offer() -> Offer:
    return Offer()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vocabulary": "A"}, ["available", "provisioning_started", "provisioning_in_progress", "ready"]),
        ({"vocabulary": "B"}, ["pending", "provisioning", "provisioning", "ready"]),
        ({"vocabulary": "B", "odd_word": "warming_up"}, ["pending", "provisioning", "warming_up", "ready"]),
    ],
)
def test_vocabulary_sets_the_words_while_provisioning(
    simulate: Make, until: Make, offer: Offer, clock: Clock, settings: dict[str, str], words: list[str]
) -> None:
    api = simulate([offer], clock, provision_seconds=90, progress_field="message", **settings)
    answers = [api.status(offer)]
    api.buy(offer)
    for seconds in (0, 30):
        clock.advance(seconds)
        answers.append(api.status(offer))
    clock.advance(60)
    answers.append(until(lambda: (now := api.status(offer))["procurement_status"] == "ready" and now))
    assert [each["procurement_status"] for each in answers] == words
    assert [each["status"] for each in answers] == ["available", "procured", "procured", "procured"]
    assert [each["message"] for each in answers[1:]] == ["0/1 instances running"] * 2 + ["1/1 instances running"]
    assert answers[1]["instances"] == [{"external_ip": None, "ssh_command": None, "status": "provisioning"}]


@pytest.mark.parametrize(("listed", "count"), [(True, 2), (False, 1)])
def test_lists_clusters_decides_whether_searches_find_clusters(simulate: Make, listed: bool, count: int) -> None:
    api = simulate([Offer(gpu_count=8), Offer(gpu_count=24, node_count=3)], lists_clusters=listed)
    assert len(api.search("compute: {gpu_type: H100, gpu_count: 8}").json()["offers"]) == count


def test_machines_of_a_cluster_start_one_after_the_other(simulate: Make, until: Make, clock: Clock) -> None:
    offer = Offer(gpu_count=24, node_count=3, gpu_price_per_hour=2)
    api = simulate([offer], clock, provision_seconds=90)
    api.buy(offer, cluster_name="train", resource_name="ignored")
    for number in range(1, 4):
        clock.advance(30)
        progress = f"{number}/3 instances running"
        status = until(lambda: (now := api.status(offer))["progress"] == progress and now)  # noqa: B023
        assert (status["procurement_status"] == "ready") == (number == 3)
    resources = api.get("/resources")
    assert [each["name"] for each in resources] == ["train-1", "train-2", "train-3"]
    assert sum(each["pricing_total_hourly"] for each in resources) == 48
    assert len({each["ssh_command"] for each in status["instances"]}) == 3


@pytest.mark.parametrize("envelope", [None, "resources", "items", "data", "results"])
def test_list_envelope_wraps_lists(simulate: Make, offer: Offer, envelope: str | None) -> None:
    api = simulate([offer], list_envelope=envelope, discovery_envelope=envelope is not None)
    api.buy(offer)
    answer = api.get("/resources")
    (resource,) = answer[envelope] if envelope else answer
    assert resource["resource_id"] in api.simulator.resources
    assert api.get("/available_vendors") == ({"vendors": ["nebius"]} if envelope else ["nebius"])


@pytest.mark.parametrize("envelope", [None, "items"])
def test_page_size_splits_the_list(simulate: Make, envelope: str | None) -> None:
    api = simulate(page_size=2, list_envelope=envelope)
    machines = [each.resource_id for each in api.simulator.populate(5)]
    api("DELETE", f"/resources/{machines.pop()}")
    first = api.get("/resources")
    assert (list(first), first["total_count"], first["next"]) == (
        [envelope or "resources", "total_count", "next"],
        4,
        "/resources?page=2",
    )
    second = api.get(first["next"])
    assert (second["total_count"], second["next"]) == (4, None)
    assert [each["resource_id"] for page in (first, second) for each in page[envelope or "resources"]] == machines
    beyond = api.get("/resources?page=3")
    assert (beyond[envelope or "resources"], beyond["next"]) == ([], None)
    assert api("GET", "/resources?page=0").status_code == 422


def test_page_size_splits_the_list_of_an_offer(simulate: Make) -> None:
    api = simulate(page_size=2)
    api.simulator.populate(1)
    machines = api.simulator.populate(1, gpu_count=24, node_count=3)
    path, answers = f"/resources?offer_id={machines[0].purchase.offer_id}", []
    while path:
        page = api.get(path)
        answers += [each["resource_id"] for each in page["resources"]]
        path = page["next"]
    assert answers == [each.resource_id for each in machines]


def test_page_links_can_be_switched_off(simulate: Make) -> None:
    api = simulate(page_size=2, page_links=False)
    api.simulator.populate(3)
    answer = api.get("/resources")
    assert (set(answer), len(answer["resources"]), answer["total_count"]) == ({"resources", "total_count"}, 2, 3)


@pytest.mark.parametrize("known", [True, False])
def test_spec_known_decides_the_spec_of_a_resource(simulate: Make, known: bool) -> None:
    offer = Offer(gpu_count=16, node_count=2, region="US", contract_type="spot")
    api = simulate([offer], spec_known=known)
    api.buy(offer)
    spec = {
        "gpu_type": "nvidia-h100-sxm5-80gb",
        "gpu_family": "H100",
        "gpu_count": 8,
        "region": "US",
        "contract_type": "spot",
    }
    assert [each["spec"] for each in api.get("/resources")] == [spec if known else {}] * 2


@pytest.mark.parametrize("field", ["resource_ids", "resources", "resource_objects", None])
def test_status_resources_sets_the_field_of_ids(simulate: Make, offer: Offer, field: str | None) -> None:
    api = simulate([offer], status_resources=field)
    (resource_id,) = api.buy(offer).json()["resource_ids"]
    status = api.status(offer)
    if field == "resource_objects":
        assert status["resources"] == [api.get(f"/resources/{resource_id}")]
    elif field:
        assert status[field] == [resource_id]
    assert {"resource_ids", "resources"} & set(status) == (
        {field.replace("resource_objects", "resources")} if field else set()
    )


def test_purchase_settings_change_answer_and_name(simulate: Make, offer: Offer) -> None:
    api = simulate([offer], procure_answer="provisioning_in_progress", procure_returns_ids=False, keeps_name=False)
    answer = api.buy(offer, resource_name="wanted").json()
    assert answer == {
        "offer_id": offer.offer_id,
        "status": "provisioning_in_progress",
        "procured_at": None,
        "resource_ids": None,
        "error": None,
    }
    assert api.get("/resources")[0]["name"] != "wanted"


@pytest.mark.parametrize("status", [409, 400, 200])
def test_second_purchase_status_sets_the_status_code(simulate: Make, offer: Offer, status: int) -> None:
    api = simulate([offer], second_purchase_status=status)
    first, second = api.buy(offer), api.buy(offer)
    assert second.status_code == status
    assert len(api.simulator.purchases) == 1
    if status == 200:
        assert second.json() == first.json()


@pytest.mark.parametrize("purchase_at", ["start", "end"])
def test_purchase_blocks_for_procure_seconds(simulate: Make, until: Make, offer: Offer, purchase_at: str) -> None:
    api = simulate([offer], procure_seconds=5, purchase_at=purchase_at)
    thread = threading.Thread(target=lambda: api.buy(offer))
    begin = time.monotonic()
    thread.start()
    until(lambda: any(each.path == "/procure_offer" for each in api.simulator.requests))
    if purchase_at == "start":
        until(lambda: api.status(offer)["procurement_status"] == "ready")
    else:
        assert api.status(offer)["procurement_status"] == "available"
    assert thread.is_alive()
    thread.join()
    assert time.monotonic() - begin >= 5
    assert api.status(offer)["procurement_status"] == "ready"


ADDRESSES = [
    ({}, "ssh root@127.0.0.1 -p {port}", "ssh root@127.0.0.1 -p {port}", True),
    ({"ssh_command": "ssh -p {port} root@{ip}"}, "ssh -p {port} root@127.0.0.1", "ssh -p {port} root@127.0.0.1", True),
    ({"ssh_command": "ssh root@{ip}"}, "ssh root@127.0.0.1", "ssh root@127.0.0.1", True),
    ({"address_in": "ssh_command"}, "ssh root@127.0.0.1 -p {port}", "ssh root@127.0.0.1 -p {port}", False),
    ({"address_in": "access"}, None, "ssh root@127.0.0.1", True),
]


@pytest.mark.parametrize(("settings", "instance", "access", "has_port"), ADDRESSES)
def test_address_settings_decide_the_place_of_the_address(
    simulate: Make, offer: Offer, settings: dict[str, str], instance: str | None, access: str, has_port: bool
) -> None:
    api = simulate([offer], **settings)
    api.buy(offer)
    (resource,) = api.simulator.resources.values()
    port = resource.address.port
    assert api.status(offer)["instances"] == [
        {"external_ip": "127.0.0.1", "ssh_command": instance and instance.format(port=port), "status": "running"}
    ]
    assert api.get("/resources")[0]["access"] == {
        "external_ip": "127.0.0.1",
        "internal_ip": None,
        "ssh_command": access.format(port=port),
        "ssh_port": port if has_port else None,
    }


def test_resources_are_synced_every_thirty_seconds(simulate: Make, until: Make, offer: Offer, clock: Clock) -> None:
    api = simulate([offer], clock, provision_seconds=60)
    path = f"/resources/{api.buy(offer).json()['resource_ids'][0]}"
    assert api.get(path)["status"] == "provisioning"
    clock.advance(29)
    api.simulator.purchases[0].resources[0].ready_at = clock()
    until(lambda: api.get("/resources")[0]["status"] == "running")
    clock.advance(1)
    assert api.get(path)["status"] == "running"
    api("DELETE", path)
    assert api.get(path)["status"] == "deleted"


def test_force_refresh_shows_the_current_state(simulate: Make, offer: Offer, clock: Clock) -> None:
    api = simulate([offer], clock, delete_seconds=20)
    path = f"/resources/{api.buy(offer).json()['resource_ids'][0]}"
    assert api("DELETE", path).json()["status"] == "deleting"
    assert api.get(path)["status"] == "deleting"
    clock.advance(20)
    assert api.get(path)["status"] == "deleting"
    assert api.get(path, params={"force_refresh": "true"})["status"] == "deleted"


@pytest.mark.parametrize("again", [200, 409])
@pytest.mark.parametrize("readable", [True, False])
def test_deletion_settings(simulate: Make, offer: Offer, clock: Clock, again: int, readable: bool) -> None:
    api = simulate(
        [offer],
        clock,
        delete_seconds=5,
        delete_again_status=again,
        deleted_readable=readable,
        deleted_listed=readable,
        sync_seconds=0,
    )
    path = f"/resources/{api.buy(offer).json()['resource_ids'][0]}"
    assert api("DELETE", path).status_code == 200
    assert api("DELETE", path).status_code == again
    assert [each["status"] for each in api.get("/resources")] == ["deleting"]
    assert len(api.simulator.billed) == 1
    clock.advance(5)
    assert api("DELETE", path).status_code == 409
    assert api("GET", path).status_code == (200 if readable else 404)
    assert [each["status"] for each in api.get("/resources")] == (["deleted"] if readable else [])
    assert not api.simulator.billed
    assert api.status(offer)["instances"] == [{"external_ip": None, "ssh_command": None, "status": "deleted"}]


@pytest.mark.parametrize("deleting", [True, False])
@pytest.mark.parametrize("readable", [True, False])
def test_vanish_ends_a_machine_at_once(simulate: Make, offer: Offer, deleting: bool, readable: bool) -> None:
    api = simulate([offer], delete_seconds=60, deleted_readable=readable)
    (resource_id,) = api.buy(offer).json()["resource_ids"]
    path = f"/resources/{resource_id}"
    if deleting:
        api("DELETE", path)
    assert api.get(path)["status"] == ("deleting" if deleting else "running")
    requests = len(api.simulator.requests)
    api.simulator.vanish(resource_id)
    assert len(api.simulator.requests) == requests
    answer = api("GET", path)
    assert answer.json()["status"] == "deleted" if readable else answer.status_code == 404
    assert api("DELETE", path).status_code == 409
    assert api.get("/resources") == api.simulator.billed == []
    assert api.status(offer)["instances"] == [{"external_ip": None, "ssh_command": None, "status": "deleted"}]


@pytest.mark.parametrize(("form", "end"), [("Z", "Z"), ("offset", "+00:00"), ("naive", "00:00:00")])
def test_offer_settings_change_prices_times_and_counts(
    simulate: Make, offer: Offer, clock: Clock, form: str, end: str
) -> None:
    api = simulate([offer], clock, timestamps=form, total_price=False, gpu_count_required=True, offer_seconds=3600)
    details = api.get(f"/offers/{offer.offer_id}")
    assert details["created_at"].endswith(end)
    assert details["expires_at"].startswith("2030-01-01T01:00:00")
    assert "total_price_per_hour" not in details
    assert api.search("compute: {gpu_type: H100}").json()["detail"][0]["loc"] == ["body", "compute", "gpu_count"]
    assert api.search("compute: {gpu_type: H100, gpu_count: 1}").json()["total_count"] == 1
