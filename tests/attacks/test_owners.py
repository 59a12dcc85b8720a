# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name, an offer's id or a copied registry file gives a host no claim to a machine that someone else has bought."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from attack import SPEC, Attacked, Cases, assert_names_machine, failed, failures
from books import Machine, Offer
from standin import Answer, Proceed, Request, StandIn, refuse

pytestmark = pytest.mark.first

CANARY = "canary-5e1f77"


def machine_of(offer: Offer) -> Machine:
    """The machine of an offer with a single machine."""
    assert offer.purchase is not None
    (machine,) = offer.purchase.machines
    return machine


def echo(offer: Offer, request: Request, proceed: Proceed) -> Answer:
    """Buy, and let the API repeat the user data in the answer, the status and the machine."""
    answer, user_data = proceed(), request.json["cloud_init"]
    fields = {"cloudInit": user_data, "request": request.json, "startup_script": user_data, "console_log": user_data}
    offer.status, machine_of(offer).overrides = fields, fields
    return Answer(answer.status, {**answer.body, **fields})


def test_each_machine_belongs_to_one_host(account: StandIn, project: Attacked) -> None:
    own = account.sell("first-owner")
    by_id: dict[str, Any] = {"provision_spec": {}}
    offers = {host: account.sell(host) for host in ("twin-a", "copied", "drift")}
    cluster = account.sell("train", gpus=16, machines=2, listed={"node_count": 2}, details={"node_count": 2})
    early: dict[str, Any] = {
        "twin-a": {"provision_resource_name": "twin"},
        "copied": {},
        "drift": {"provision_files": [{"path": "/etc/canary", "content": CANARY}]},
        "first-owner": {**by_id, "provision_offer_id": own.offer_id},
        "train": {
            **by_id,
            "provision_offer_id": cluster.offer_id,
            "provision_cluster_name": "train",
            "provision_max_price_per_hour": 40,
        },
    }
    account.on("POST", "/procure_offer", lambda r, p: echo(offers["drift"], r, p), sent=offers["drift"].offer_id)
    project.declare(early)
    first = project.role("provision", "gpu", "-v")
    check = Cases()
    for host in early:
        with check(f"{host} at first"):
            assert not failed(first, host), failures(first, host)
            assert len(project.owned(host)) == (2 if host == "train" else 1)

    # The same hosts, and further ones that want the machines of others
    colleagues, raced, twice = account.add_machine("colleague"), account.sell("raced"), account.sell("pair")
    foreign, dear = account.add_machine("foreign", 2.4), account.add_machine("dear", 9.0)
    other_kind, fitting = account.add_machine("other-kind"), account.add_machine("fitting")
    kind = account.offer(other_kind.offers[0])
    assert kind is not None
    kind.gpu_type = "nvidia-l4-pcie-24gb"
    anything = {**SPEC, "vendor": "elsewhere"}
    late: dict[str, Any] = {
        "twin-b": {"provision_resource_name": "twin"},
        "copy": {},
        "second-owner": {**by_id, "provision_offer_id": own.offer_id},
        "train-1": {},
        "mine": {**by_id, "provision_offer_id": colleagues.offers[0]},
        "raced": {**by_id, "provision_offer_id": raced.offer_id},
        "pair-1": {**by_id, "provision_offer_id": twice.offer_id},
        "pair-2": {**by_id, "provision_offer_id": f"{twice.offer_id.upper()} "},
        "foreign": {"provision_spec": anything},
        "dear": {"provision_spec": anything, "provision_adopt": True},
        "other-kind": {"provision_spec": anything, "provision_adopt": True},
        "fitting": {"provision_spec": anything, "provision_adopt": True},
    }
    # Without a registry the name claims the machine.
    nameless = {"provision_spec": anything, "provision_registry_dir": ""}
    late |= {"by-name": nameless, "by-name-dear": nameless}
    account.add_machine("by-name"), account.add_machine("by-name-dear", 9.0)
    for host in ("twin-b", "train-1", "copy"):
        account.sell(host)
    for _each in range(4):
        account.sell("elsewhere", 2.1)
    account.on("POST", "/procure_offer", lambda _r, _p: taken(account, raced), sent=raced.offer_id)
    changed = {"provision_spec": {**SPEC, "region": "US"}, "provision_max_price_per_hour": 1}
    project.declare({**early, **late, "drift": changed})
    shutil.copytree(project.registry_file("copied").parent, project.registry_file("copy").parent)
    before = {host: project.owned(host) for host in early}
    second = project.role("provision", "gpu", "-v")

    for host in ("twin-b", "copy", "copied", "second-owner", "mine", "raced", "foreign", "dear", "other-kind"):
        with check(host):
            assert failed(second, host), "takes a machine that is another host's, or of an unclear owner"
    for host in ("twin-b", "second-owner", "mine", "raced", "foreign", "dear", "other-kind"):
        with check(f"{host} owns nothing"):
            assert not project.owned(host)
            named = {"foreign", "dear", "other-kind"} & {host}
            assert len(account.bought(host)) == len(named), (
                "bought again although a machine of an unclear owner has its name"
            )
    with check("one of two"):
        assert len(account.bought("twin")) == 1
        assert not set(project.owned("train-1")) & set(before["train"]), "a host has a machine of a cluster"
    with check("one offer, two hosts"):
        owners = [host for host in ("pair-1", "pair-2") if not failed(second, host) or project.owned(host)]
        assert len(owners) < 2, "two hosts own one offer"
    with check("foreign names the machine"):
        assert_names_machine(second, "foreign", foreign)
        assert "provision_adopt" in failures(second, "foreign")
    with check("by name"):
        assert not failed(second, "by-name"), failures(second, "by-name")
        assert failed(second, "by-name-dear"), "takes a machine above the agreed price"
        assert len(account.bought("by-name")) == len(account.bought("by-name-dear")) == 1
    with check("fitting is adopted"):
        assert not failed(second, "fitting"), failures(second, "fitting")
        assert project.owned("fitting") == [fitting.resource_id] and len(account.bought("fitting")) == 1
    with check("user data"):
        assert CANARY not in first.output + second.output, "shows user data that the API has repeated"
    with check("drift"):
        assert not failed(second, "drift") and project.owned("drift") == before["drift"]
        assert_drift(second.output)

    third = project.role("provision", "drift", "--check", "--diff")
    with check("drift, in check mode"):
        assert not failed(third, "drift")
        assert_drift(third.output)

    mine = ["mine", "raced", "foreign", "dear", "other-kind", "second-owner", "twin-b", "train-1", "copy"]
    fourth = project.role("decommission", ":".join(mine))
    theirs = {
        "colleague": colleagues,
        "foreign": foreign,
        "dear": dear,
        "other-kind": other_kind,
        "raced": machine_of(raced),
    }
    kept = {
        **theirs,
        "twin": machine_of(offers["twin-a"]),
        "copied": machine_of(offers["copied"]),
        "first-owner": machine_of(own),
    }
    for host, machine in kept.items():
        with check(f"{host} lives"):
            assert machine.runs, "someone else's machine was ended"
    with check("train lives"):
        assert cluster.purchase and all(machine.runs for machine in cluster.purchase.machines)
    check.judge(first, second, third, fourth)


def taken(account: StandIn, offer: Offer) -> Answer:
    """Refuse the purchase, since a colleague has bought the offer."""
    if offer.purchase is None:
        account.buy(offer, "colleague-2")
    return refuse(409, "Offer already procured")


def assert_drift(output: str) -> None:
    """Assert that the output names the declared and the owned region."""
    lines = " ".join(line for line in output.splitlines() if "drift" in line or "declare" in line.lower())
    assert "US" in lines and "EU" in lines, "the drift of the region is not shown"
    assert "declare" in output.lower()
