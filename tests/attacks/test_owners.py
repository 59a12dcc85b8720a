# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose machine is it? A name, an offer's id or a copied file is no claim to what somebody else has bought."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from attack import SPEC, Attacked, Cases, assert_told, failed, failures
from books import Machine, Offer
from standin import Answer, Proceed, Request, StandIn, refuse

pytestmark = pytest.mark.first

CANARY = "canary-5e1f77"


def only(offer: Offer) -> Machine:
    """The machine of an offer that has one."""
    assert offer.purchase is not None
    (machine,) = offer.purchase.machines
    return machine


def echo(offer: Offer, request: Request, proceed: Proceed) -> Answer:
    """A purchase whose user data the API repeats wherever it speaks of it."""
    answer, user_data = proceed(), request.json["cloud_init"]
    fields = {"cloudInit": user_data, "request": request.json, "startup_script": user_data, "console_log": user_data}
    offer.status, only(offer).shown = fields, fields
    return Answer(answer.status, {**answer.body, **fields})


def test_one_machine_one_host(account: StandIn, project: Attacked) -> None:
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

    # The same, and those who would like to have what others have.
    colleagues, raced, twice = account.run("colleague"), account.sell("raced"), account.sell("pair")
    foreign, dear = account.run("foreign", 2.4), account.run("dear", 9.0)
    other_kind, fitting = account.run("other-kind"), account.run("fitting")
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
    # Without a registry the name is the identity.
    nameless = {"provision_spec": anything, "provision_registry_dir": ""}
    late |= {"by-name": nameless, "by-name-dear": nameless}
    account.run("by-name"), account.run("by-name-dear", 9.0)
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
            assert failed(second, host), "takes what is another host's, or not known to be its own"
    for host in ("twin-b", "second-owner", "mine", "raced", "foreign", "dear", "other-kind"):
        with check(f"{host} owns nothing"):
            assert not project.owned(host)
            named = {"foreign", "dear", "other-kind"} & {host}
            assert len(account.bought(host)) == len(named), "bought beside a machine whose owner is not clear"
    with check("one of two (9)"):
        assert len(account.bought("twin")) == 1
        assert not set(project.owned("train-1")) & set(before["train"]), "a host has a machine of a cluster"
    with check("one offer, two hosts (2e)"):
        owners = [host for host in ("pair-1", "pair-2") if not failed(second, host) or project.owned(host)]
        assert len(owners) < 2, "two hosts own one offer"
    with check("foreign is told (W1)"):
        assert_told(second, "foreign", foreign)
        assert "provision_adopt" in failures(second, "foreign")
    with check("by name (W1)"):
        assert not failed(second, "by-name"), failures(second, "by-name")
        assert failed(second, "by-name-dear"), "takes a machine that is dearer than agreed"
        assert len(account.bought("by-name")) == len(account.bought("by-name-dear")) == 1
    with check("fitting is adopted (W1)"):
        assert not failed(second, "fitting"), failures(second, "fitting")
        assert project.owned("fitting") == [fitting.resource_id] and len(account.bought("fitting")) == 1
    with check("user data (25)"):
        assert CANARY not in first.output + second.output, "user data that the API repeats is shown"
    with check("drift (W2)"):
        assert not failed(second, "drift") and project.owned("drift") == before["drift"]
        assert_drift(second.output)

    third = project.role("provision", "drift", "--check", "--diff")
    with check("drift, in check mode (W2)"):
        assert not failed(third, "drift")
        assert_drift(third.output)

    mine = ["mine", "raced", "foreign", "dear", "other-kind", "second-owner", "twin-b", "train-1", "copy"]
    fourth = project.role("decommission", ":".join(mine))
    theirs = {"colleague": colleagues, "foreign": foreign, "dear": dear, "other-kind": other_kind, "raced": only(raced)}
    kept = {**theirs, "twin": only(offers["twin-a"]), "copied": only(offers["copied"]), "first-owner": only(own)}
    for host, machine in kept.items():
        with check(f"{host} lives"):
            assert machine.runs, "a machine of somebody else was ended"
    with check("train lives"):
        assert cluster.purchase and all(machine.runs for machine in cluster.purchase.machines)
    check.judge(first, second, third, fourth)


def taken(account: StandIn, offer: Offer) -> Answer:
    """A colleague was faster."""
    if offer.purchase is None:
        account.buy(offer, "colleague-2")
    return refuse(409, "Offer already procured")


def assert_drift(output: str) -> None:
    """Both what is declared and what is owned are said: region and ceiling."""
    said = " ".join(line for line in output.splitlines() if "drift" in line or "declare" in line.lower())
    assert "US" in said and "EU" in said, "another region is not told"
    assert "declare" in output.lower()
