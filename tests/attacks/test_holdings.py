# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holdings need proof: statuses that name other machines, and machines that are linked to other offers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from attack import Attacked, Cases, assert_names_machine, failed, failures
from books import Machine, Offer, moment
from standin import Answer, Proceed, Request, StandIn


def name_in_status(offer: Offer, *machines: Machine) -> None:
    """Let the offer's status name these machines from now on."""
    offer.status = {"resource_ids": [machine.resource_id for machine in machines]}


def name_in_status_once_bought(account: StandIn, offer: Offer, *machines: Machine) -> None:
    """Let the offer's status name these machines once it is bought; the purchase itself answers with the right ids."""

    def buy(_request: Request, proceed: Proceed) -> Answer:
        answer = proceed()
        name_in_status(offer, *machines)
        return answer

    account.on("POST", "/procure_offer", buy, sent=offer.offer_id)


def without_ids(_request: Request, proceed: Proceed) -> Answer:
    """Buy, and answer without the machine's id."""
    answer = proceed()
    return Answer(answer.status, {**answer.body, "resource_ids": None})


def name_in_answer(account: StandIn, offer: Offer, *machines: Machine, status: str = "procured") -> None:
    """Let the answer to the purchase name only these machines."""

    def buy(_request: Request, proceed: Proceed) -> Answer:
        answer = proceed()
        return Answer(200, {**answer.body, "status": status, "resource_ids": [each.resource_id for each in machines]})

    account.on("POST", "/procure_offer", buy, sent=offer.offer_id)


# Hosts whose machine becomes ready
READY = ("swapped", "silent", "instances", "second", "fine")


@pytest.mark.first
def test_status_never_gives_a_host_a_colleagues_machine(account: StandIn, project: Attacked) -> None:
    release = {"provision_on_failure": "release"}
    ssh = {
        host: project.fake_ssh(host, cloud_init="echo 'status: error'; exit 1")
        for host in ("unfit", "unnamed", "undated", "misled")
    }
    project.declare(
        {
            "unfit": {**release, **project.ssh_variables(ssh["unfit"])},
            "unnamed": {**release, **project.ssh_variables(ssh["unnamed"])},
            "undated": {**release, **project.ssh_variables(ssh["undated"])},
            "misled": {**release, **project.ssh_variables(ssh["misled"])},
            "failing": release,
            "failed": release,
            "swapped": {},
            "silent": {},
            "instances": {},
            "second": {},
            "cluster": {},
            "fine": {},
        }
    )
    colleague = account.add_machine("colleague")
    # The API shows no offer of these two machines. One is older than the purchase, and the other has no date.
    old = account.add_machine("old", overrides={"offer_history": []})
    old.began -= 86_400
    undated = account.add_machine("ageless", overrides={"offer_history": [], "created_at": None})
    offers = {host: account.sell(host) for host in ("unfit", "unnamed", "undated", *READY)}
    offers["failing"] = account.sell("failing", fails="no capacity")
    offers["cluster"] = account.sell("cluster", machines=2)
    name_in_status_once_bought(account, offers["unfit"], colleague)
    name_in_status_once_bought(account, offers["unnamed"], old)
    name_in_status_once_bought(account, offers["undated"], undated)
    name_in_status_once_bought(account, offers["failing"], colleague)
    offers["failed"] = account.sell("failed", fails="no capacity")
    unlisted = account.add_machine("unlisted", unlisted=True)
    offers["misled"] = account.sell("misled")
    name_in_answer(account, offers["misled"], unlisted)
    name_in_answer(account, offers["failed"], colleague, status="failed")

    first = project.role("provision")
    check = Cases()
    wrong = {"unfit": colleague, "unnamed": old, "undated": undated, "failing": colleague, "failed": colleague}
    wrong["misled"] = unlisted
    for host, other in wrong.items():
        with check(host):
            purchase = offers[host].purchase
            assert purchase and failed(first, host) and other.runs, "a colleague's machine was ended"
            assert project.owned(host) == purchase.ids, "forgot the bought machine"
            assert_names_machine(first, host, purchase.machines[0])
            before, _ids, _names = failures(first, host).partition("ids:")
            assert other.resource_id in failures(first, host) and "again" not in before
    second = Machine("second-2", [offers["second"].offer_id])
    account.machines.append(second)
    name_in_status(offers["second"], second)
    name_in_status(offers["swapped"], colleague)
    name_in_status(offers["silent"], old)
    offers["instances"].status = {"instances": [{"resource_id": colleague.resource_id, "external_ip": "192.0.2.7"}]}
    cluster = offers["cluster"].purchase
    assert cluster
    name_in_status(offers["cluster"], cluster.machines[1])
    again = project.role("provision", "swapped:silent:instances:second:cluster:fine")
    for host, other in (("swapped", colleague), ("silent", old), ("instances", colleague)):
        with check(host):
            purchase = offers[host].purchase
            assert purchase and failed(again, host), "green with a colleague's machine"
            assert project.owned(host) == purchase.ids
            assert_names_machine(again, host, purchase.machines[0])
            assert other.resource_id in failures(again, host)
    with check("second"):
        purchase = offers["second"].purchase
        assert purchase and not failed(again, "second"), failures(again, "second")
        assert set(project.owned("second")) == {*purchase.ids, second.resource_id}, "a billed machine is not registered"
    with check("cluster"):
        assert not failed(again, "cluster"), failures(again, "cluster")
        assert set(project.owned("cluster")) == set(cluster.ids), "a machine that the status omits was dropped"
    with check("fine"):
        assert not failed(again, "fine")

    end = project.role("decommission", "swapped:second:cluster:fine")
    for host in ("swapped", "second", "cluster", "fine"):
        with check(f"{host} is ended"):
            purchase = offers[host].purchase
            assert purchase and not failed(end, host), failures(end, host)
            assert not any(machine.runs for machine in purchase.machines)
    with check("ends"):
        assert colleague.runs and old.runs and not second.runs
    check.judge(first, again, end)


def test_machine_linked_to_the_offer_later_is_not_claimed(account: StandIn, project: Attacked) -> None:
    """``new`` has a journal without an id, since answer, status and list name none; ``held`` has an id."""
    project.declare(["new", "held"], provision_lease="8h")
    own = account.sell("held")
    offer = account.sell("new", keeps_name=False, status={"resource_ids": [], "instances": []})
    account.on("POST", "/procure_offer", lag(account, offer), sent=offer.offer_id)
    bought = project.role("provision")
    colleague = account.add_machine("colleague")
    colleague.overrides = {
        "offer_history": [
            {"offer_id": colleague.offers[0], "role": "primary", "created_at": "2026-01-01T00:00:00Z"},
            {"offer_id": offer.offer_id, "role": "attached", "created_at": "2099-01-01T00:00:00Z"},
        ]
    }
    # The history of this machine has only the link.
    attached = account.add_machine("attached")
    link = {"offer_id": own.offer_id, "role": "attached", "created_at": moment(time.time())}
    attached.overrides = {"created_at": moment(time.time() - 7200), "offer_history": [link]}
    audit = project.playbook("compute_index.supply.audit")
    end = project.role("decommission")
    assert offer.purchase and own.purchase
    (machine,), (ended,) = offer.purchase.machines, own.purchase.machines
    check = Cases()
    with check("the machine of the host"):
        assert "made" in project.registry_text("new") or "sent" in project.registry_text("new"), (
            "its purchase is forgotten"
        )
        assert failed(end, "new") or not machine.runs
    with check("the held machine"):
        assert not failed(end, "held") and not ended.runs, failures(end, "held")
    with check("the attached machine"):
        assert attached.runs, "a machine that was linked to the offer was ended"
        assert attached.resource_id not in audit.output.partition("ORPHANS")[0], "claimed for the host"
    with check("the colleague's machine"):
        assert colleague.runs, "a colleague's machine was ended"
        assert colleague.resource_id not in audit.output.partition("ORPHANS")[0], "claimed for the host"
    check.judge(bought, audit, end)


def lag(account: StandIn, offer: Offer) -> Any:
    """A hook: a purchase whose answer names no machine, and whose machine is not listed yet."""

    def buy(request: Request, proceed: Proceed) -> Answer:
        answer = without_ids(request, proceed)
        for machine in offer.purchase.machines if offer.purchase else ():
            machine.unlisted = True
        return answer

    return buy


FAILED_AT_ONCE = {"status": "failed", "error": "no capacity"}
# By host: the answer to its purchase (None: lost), and age in seconds and fields of a colleague's machine without an
# offer history
WITHOUT_HISTORY = {
    "old": (FAILED_AT_ONCE, 7200.0, {}),
    "instance": (FAILED_AT_ONCE, 7200.0, {}),
    "new": ({"status": "provisioning_in_progress"}, 0.0, {}),
    "undated": ({"status": "procured"}, 0.0, {"created_at": None}),
    "held": ({"status": "procured"}, 0.0, {}),
    "lost": (None, 0.0, {}),
}


def test_machine_without_offer_history_is_not_released_for_another(account: StandIn, project: Attacked) -> None:
    theirs, offers = {}, {}
    for host, (answer, age, overrides) in WITHOUT_HISTORY.items():
        offers[host] = account.sell(host, fails="no capacity")
        theirs[host] = account.add_machine(f"colleague-{host}", 3.0)
        theirs[host].began -= age
        theirs[host].overrides = {"offer_history": [], **overrides}
        name_another(account, offers[host], theirs[host], answer, in_instances=host == "instance")
    # The machine of another host, which no list shows
    theirs["held"].unlisted = True
    project.register("holder", next(each for each in account.purchases if theirs["held"] in each.machines))
    project.declare([*WITHOUT_HISTORY, "holder"], provision_on_failure="release", provision_max_attempts=1)
    plays = [project.play_of(role, "gpu:!holder") for role in ("provision", "provision", "decommission")]
    cases, runs = Cases(), []
    for play in plays:
        runs.append(project.playbook(play))
        for host in WITHOUT_HISTORY:
            with cases(f"{host}, run {len(runs)}"):
                purchase = offers[host].purchase
                assert purchase is not None
                (own,) = purchase.machines
                assert theirs[host].runs, "a colleague's machine was ended"
                assert theirs[host].resource_id not in project.owned(host) or host == "held"
                assert own.resource_id in project.owned(host) if own.runs else len(runs) > 1, "the machine is forgotten"
                assert failed(runs[-1], host) is (len(runs) < 3)
                assert own.runs is (len(runs) < 3)
    cases.judge(*runs)


def name_another(account: StandIn, offer: Offer, other: Machine, answer: Any, *, in_instances: bool) -> None:
    """Let the purchase have this answer (None: an error), and the offer's status name another machine."""

    def buy(_request: Request, proceed: Proceed) -> Answer:
        proceed()
        instance = {"resource_id": other.resource_id, "status": "running"}
        offer.status = {"resource_ids": [], "instances": [instance]} if in_instances else {}
        if not in_instances:
            name_in_status(offer, other)
        return Answer(200, {"offer_id": offer.offer_id, **answer}) if answer else Answer(500, {"detail": "Error"})

    account.on("POST", "/procure_offer", buy, sent=offer.offer_id)
