# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases end only machines that the run itself bought, and never a machine that was in use."""

from __future__ import annotations

from typing import Any

import pytest

from attack import Attacked, Cases, assert_names_machine, failed, failures, offer_path
from books import Machine, Offer
from standin import Answer, Proceed, Request, StandIn, refuse

pytestmark = pytest.mark.first


def unfiltered(account: StandIn, offer: Offer, *others: Machine) -> None:
    """Let the API ignore the offer filter of its list, and also show these machines."""

    def ignore(_request: Request, _proceed: Proceed) -> Answer:
        bought = offer.purchase.machines if offer.purchase else []
        return Answer(200, [account.resource(m) for m in (*others, *bought) if m.state != "deleted"])

    account.on("GET", "/resources", ignore, sent=offer.offer_id)


def test_release_ends_only_machines_of_the_failed_purchase(account: StandIn, project: Attacked) -> None:
    release: dict[str, Any] = {"provision_on_failure": "release"}
    ssh, never = project.fake_ssh("strange-key"), project.fake_ssh("never-known")
    (never / "strange").touch()
    project.declare(
        {
            "shared": release,
            "unfiltered": release,
            "unlistable": release,
            "vanishing": release,
            "forbidden": release,
            "slow": release,
            "keep": {},
            "settled": release,
            "strange-key": {**release, **project.ssh_variables(ssh)},
            "never-known": {**release, **project.ssh_variables(never)},
        }
    )
    released = ("shared", "unfiltered", "unlistable", "vanishing")
    failing = {host: account.sell(host, fails="no capacity") for host in (*released, "keep")}
    going_on = {host: account.sell(host, boot_seconds=1000) for host in ("forbidden", "slow")}
    fine = {host: account.sell(host) for host in ("settled", "strange-key")}
    between = account.sell("never-known")
    # A colleague's machine with a volume of this offer, one of another offer, and two that show no offer
    old = account.add_machine("old")
    old.offers.append(failing["shared"].offer_id)
    named = account.add_machine("named")
    silent, neighbour = (account.add_machine(name, overrides={"offer_history": []}) for name in ("silent", "neighbour"))
    unfiltered(account, failing["unfiltered"], silent, named)
    unfiltered(account, failing["keep"], neighbour)
    account.on(
        "POST",
        "/procure_offer",
        lambda _request, proceed: hide_offers(account, failing["keep"], proceed),
        sent=failing["keep"].offer_id,
    )
    # Any list fails once the offer is bought.
    bought = failing["unlistable"]
    account.on("GET", "/resources", lambda _r, _p: Answer(500) if bought.purchase else None, sent=bought.offer_id)
    # The list shows the machine of `vanishing`, but its own page answers 404.
    lost, hidden = failing["vanishing"], going_on["forbidden"]
    for method in ("GET", "DELETE"):
        account.on(method, "/resources/.*", lambda r, _p: refuse(404, "Not found") if is_of(lost, r) else None)
    account.on("GET", f"{offer_path(hidden)}/status", lambda _r, _p: Answer(403) if hidden.purchase else None)

    first = project.role("provision")

    check = Cases()
    with check("strangers"):
        assert old.runs, "the machine with a volume of the offer was ended"
    with check("strangers in a list without its filter"):
        assert silent.runs, "a machine that does not belong to the offer was ended"
        assert named.runs, "a machine of another offer was ended"
    for host in (*released, "slow"):
        offer = {**failing, **going_on}[host]
        with check(host):
            assert failed(first, host) and offer.purchase
            (machine,) = offer.purchase.machines
            if machine.runs:
                assert_names_machine(first, host, machine)
                assert "othing is billed" not in failures(first, host)
            assert host != "slow" or not machine.runs, "a machine that never became ready was not released"
            assert old.resource_id not in failures(first, host), "names a machine that it has not bought"
    with check("forbidden"):
        purchase = going_on["forbidden"].purchase
        assert purchase and purchase.machines[0].runs, "a single 403 counted as a failed machine"
        assert purchase.ids[0] in project.registry_text("forbidden")
        assert_names_machine(first, "forbidden", purchase.machines[0])
    with check("never-known"):
        assert failed(first, "never-known") and between.purchase
        (machine,) = between.purchase.machines
        assert machine.runs, "ended because of another host key, which an attacker may have sent"
        assert project.owned("never-known") == between.purchase.ids
        assert_names_machine(first, "never-known", machine)
    with check("keep"):
        purchase = failing["keep"].purchase
        assert purchase and failed(first, "keep")
        assert set(project.owned("keep")) <= set(purchase.ids), "owns machines of others"
        assert_names_machine(first, "keep", purchase.machines[0])
    for host, offer in fine.items():
        with check(f"{host} at first"):
            assert not failed(first, host), failures(first, host)
            assert offer.purchase and project.owned(host) == offer.purchase.ids

    (ssh / "strange").touch()
    fine["settled"].status = {"procurement_status": "maintenance", "instances": []}
    second = project.role("provision", "settled:strange-key")
    for host, offer in fine.items():
        with check(f"{host} in use"):
            assert failed(second, host)
            assert offer.purchase and offer.purchase.machines[0].runs, "a machine in use was ended"
            assert project.owned(host) == offer.purchase.ids
            assert_names_machine(second, host, offer.purchase.machines[0])

    third = project.role("decommission", "keep")
    with check("keep is ended"):
        assert neighbour.runs, "a machine that does not belong to the offer was ended"
    check.judge(first, second, third)


def test_unusable_machine_is_released_after_an_earlier_release(account: StandIn, project: Attacked) -> None:
    ssh = project.fake_ssh("gpu-1", cloud_init="echo 'status: error'; exit 1")
    project.declare({"gpu-1": {**project.ssh_variables(ssh), "provision_on_failure": "release"}})
    offers = [account.sell("gpu-1", 2.0, fails="no capacity"), account.sell("gpu-1", 2.5)]
    run = project.role("provision")
    assert failed(run, "gpu-1"), run.output
    machines = [machine for offer in offers if offer.purchase for machine in offer.purchase.machines]
    assert len(machines) == 2, "the second offer was not tried after the first release"
    assert not [machine.resource_id for machine in machines if machine.runs], run.output
    assert project.owned("gpu-1") == []


def is_of(offer: Offer, request: Request) -> bool:
    """Whether the request is about a machine of the offer."""
    return offer.purchase is not None and request.path.rpartition("/")[2] in offer.purchase.ids


def hide_offers(account: StandIn, offer: Offer, proceed: Proceed) -> Answer:
    """Buy, and let the API show no offer of the machines."""
    answer = proceed()
    for machine in offer.purchase.machines if offer.purchase else ():
        machine.overrides = {"offer_history": []}
    return answer
