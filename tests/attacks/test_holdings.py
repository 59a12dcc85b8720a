# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holdings grow by proof: statuses that name other machines, and machines that are linked to other offers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from attack import Attacked, Cases, assert_told, failed, failures
from books import Machine, Offer, moment
from standin import Answer, Proceed, Request, StandIn


def names(offer: Offer, *machines: Machine) -> None:
    """Let the offer's status name these machines from now on."""
    offer.status = {"resource_ids": [machine.resource_id for machine in machines]}


def names_once_bought(account: StandIn, offer: Offer, *machines: Machine) -> None:
    """The same as soon as it is bought; the purchase itself answers with the right ids."""

    def buy(_request: Request, proceed: Proceed) -> Answer:
        answer = proceed()
        names(offer, *machines)
        return answer

    account.on("POST", "/procure_offer", buy, sent=offer.offer_id)


def without_ids(_request: Request, proceed: Proceed) -> Answer:
    """An answer to a purchase that names no machine."""
    answer = proceed()
    return Answer(answer.status, {**answer.body, "resource_ids": None})


def answers_with(account: StandIn, offer: Offer, *machines: Machine, status: str = "procured") -> None:
    """Let the purchase itself name these machines, and no other."""

    def buy(_request: Request, proceed: Proceed) -> Answer:
        answer = proceed()
        return Answer(200, {**answer.body, "status": status, "resource_ids": [each.resource_id for each in machines]})

    account.on("POST", "/procure_offer", buy, sent=offer.offer_id)


STAYING = ("swapped", "silent", "shown", "second", "fine")


@pytest.mark.first
def test_a_status_never_turns_a_colleagues_machine_into_the_hosts(account: StandIn, project: Attacked) -> None:
    release = {"provision_on_failure": "release"}
    ssh = {
        host: project.fake_ssh(host, cloud_init="echo 'status: error'; exit 1")
        for host in ("unfit", "unnamed", "undated", "misled")
    }
    project.declare(
        {
            "unfit": {**release, **project.through(ssh["unfit"])},
            "unnamed": {**release, **project.through(ssh["unnamed"])},
            "undated": {**release, **project.through(ssh["undated"])},
            "misled": {**release, **project.through(ssh["misled"])},
            "failing": release,
            "failed": release,
            "swapped": {},
            "silent": {},
            "shown": {},
            "second": {},
            "cluster": {},
            "fine": {},
        }
    )
    colleague = account.run("colleague")
    # Neither says with which offer it was bought. One is older; of the other the API does not say when it was made.
    old = account.run("old", shown={"offer_history": []})
    old.began -= 86_400
    undated = account.run("ageless", shown={"offer_history": [], "created_at": None})
    offers = {host: account.sell(host) for host in ("unfit", "unnamed", "undated", *STAYING)}
    offers["failing"] = account.sell("failing", fails="no capacity")
    offers["cluster"] = account.sell("cluster", machines=2)
    names_once_bought(account, offers["unfit"], colleague)
    names_once_bought(account, offers["unnamed"], old)
    names_once_bought(account, offers["undated"], undated)
    names_once_bought(account, offers["failing"], colleague)
    offers["failed"] = account.sell("failed", fails="no capacity")
    unlisted = account.run("unlisted", unlisted=True)
    offers["misled"] = account.sell("misled")
    answers_with(account, offers["misled"], unlisted)
    answers_with(account, offers["failed"], colleague, status="failed")

    first = project.role("provision")
    check = Cases()
    wrong = {"unfit": colleague, "unnamed": old, "undated": undated, "failing": colleague, "failed": colleague}
    wrong["misled"] = unlisted
    for host, other in wrong.items():
        with check(host):
            purchase = offers[host].purchase
            assert purchase and failed(first, host) and other.runs, "a colleague's machine was ended (P1)"
            assert project.owned(host) == purchase.ids, "what was bought is forgotten (P1)"
            assert_told(first, host, purchase.machines[0])
            before, _ids, _names = failures(first, host).partition("ids:")
            assert other.resource_id in failures(first, host) and "again" not in before
    second = Machine("second-2", [offers["second"].offer_id])
    account.machines.append(second)
    names(offers["second"], second)
    names(offers["swapped"], colleague)
    names(offers["silent"], old)
    offers["shown"].status = {"instances": [{"resource_id": colleague.resource_id, "external_ip": "192.0.2.7"}]}
    cluster = offers["cluster"].purchase
    assert cluster
    names(offers["cluster"], cluster.machines[1])
    again = project.role("provision", "swapped:silent:shown:second:cluster:fine")
    for host, other in (("swapped", colleague), ("silent", old), ("shown", colleague)):
        with check(host):
            purchase = offers[host].purchase
            assert purchase and failed(again, host), "the host became a colleague's machine, green (P2b)"
            assert project.owned(host) == purchase.ids
            assert_told(again, host, purchase.machines[0])
            assert other.resource_id in failures(again, host)
    with check("second"):
        purchase = offers["second"].purchase
        assert purchase and not failed(again, "second"), failures(again, "second")
        assert set(project.owned("second")) == {*purchase.ids, second.resource_id}, "one is billed and in no file (P2a)"
    with check("cluster"):
        assert not failed(again, "cluster"), failures(again, "cluster")
        assert set(project.owned("cluster")) == set(cluster.ids), "a machine that the status omits was dropped (P2c)"
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


def test_a_machine_that_was_linked_to_the_offer_later_is_not_the_hosts(account: StandIn, project: Attacked) -> None:
    """The host's journal has no id yet, since answer, status and list name none. Of ``held`` it has one."""
    project.declare(["new", "held"], provision_lease="8h")
    own = account.sell("held")
    offer = account.sell("new", keeps_name=False, status={"resource_ids": [], "instances": []})
    account.on("POST", "/procure_offer", lag(account, offer), sent=offer.offer_id)
    bought = project.role("provision")
    colleague = account.run("colleague")
    colleague.shown = {
        "offer_history": [
            {"offer_id": colleague.offers[0], "role": "primary", "created_at": "2026-01-01T00:00:00Z"},
            {"offer_id": offer.offer_id, "role": "attached", "created_at": "2099-01-01T00:00:00Z"},
        ]
    }
    # The whole history of this one is that link.
    attached = account.run("attached")
    link = {"offer_id": own.offer_id, "role": "attached", "created_at": moment(time.time())}
    attached.shown = {"created_at": moment(time.time() - 7200), "offer_history": [link]}
    audit = project.playbook("compute_index.supply.audit")
    end = project.role("decommission")
    assert offer.purchase and own.purchase
    (machine,), (ended,) = offer.purchase.machines, own.purchase.machines
    check = Cases()
    with check("the host's own"):
        assert "made" in project.noted("new") or "sent" in project.noted("new"), "its purchase is forgotten"
        assert failed(end, "new") or not machine.runs
    with check("what is held"):
        assert not failed(end, "held") and not ended.runs, failures(end, "held")
    with check("what was only attached"):
        assert attached.runs, "a machine that was linked to the offer was ended"
        assert attached.resource_id not in audit.output.partition("ORPHANS")[0], "claimed for the host"
    with check("the colleague's"):
        assert colleague.runs, "a colleague's machine was ended (E1)"
        assert colleague.resource_id not in audit.output.partition("ORPHANS")[0], "claimed for the host (E1)"
    check.judge(bought, audit, end)


def lag(account: StandIn, offer: Offer) -> Any:
    """A purchase whose answer names no machine, and whose machine is not listed yet."""

    def buy(request: Request, proceed: Proceed) -> Answer:
        answer = without_ids(request, proceed)
        for machine in offer.purchase.machines if offer.purchase else ():
            machine.unlisted = True
        return answer

    return buy


FAILED_AT_ONCE = {"status": "failed", "error": "no capacity"}
# How a purchase is answered, and how old a colleague's machine is then that says of no offer.
MUTE = {
    "old": (FAILED_AT_ONCE, 7200.0, {}),
    "instance": (FAILED_AT_ONCE, 7200.0, {}),
    "new": ({"status": "provisioning_in_progress"}, 0.0, {}),
    "undated": ({"status": "procured"}, 0.0, {"created_at": None}),
    "held": ({"status": "procured"}, 0.0, {}),
    "lost": (None, 0.0, {}),
}


def test_a_machine_that_says_of_no_offer_is_not_given_back_for_another(account: StandIn, project: Attacked) -> None:
    theirs, offers = {}, {}
    for host, (answered, age, shown) in MUTE.items():
        offers[host] = account.sell(host, fails="no capacity")
        theirs[host] = account.run(f"colleague-{host}", 3.0)
        theirs[host].began -= age
        theirs[host].shown = {"offer_history": [], **shown}
        fails_beside(account, offers[host], theirs[host], answered, in_instances=host == "instance")
    # Another host's own, which no list has.
    theirs["held"].unlisted = True
    project.note("holder", next(each for each in account.purchases if theirs["held"] in each.machines))
    project.declare([*MUTE, "holder"], provision_on_failure="release", provision_max_attempts=1)
    plays = [project.play_of(role, "gpu:!holder") for role in ("provision", "provision", "decommission")]
    cases, runs = Cases(), []
    for play in plays:
        runs.append(project.playbook(play))
        for host in MUTE:
            with cases(f"{host}, run {len(runs)}"):
                purchase = offers[host].purchase
                assert purchase is not None
                (own,) = purchase.machines
                assert theirs[host].runs, "a colleague's machine was ended"
                assert theirs[host].resource_id not in project.owned(host) or host == "held"
                assert own.resource_id in project.owned(host) if own.runs else len(runs) > 1, "it is forgotten"
                assert failed(runs[-1], host) is (len(runs) < 3)
                assert own.runs is (len(runs) < 3)
    cases.judge(*runs)


def fails_beside(account: StandIn, offer: Offer, other: Machine, answered: Any, *, in_instances: bool) -> None:
    """Let a purchase be answered like that (None: not at all), and its status name this other machine."""

    def buy(_request: Request, proceed: Proceed) -> Answer:
        proceed()
        named = {"resource_id": other.resource_id, "status": "running"}
        offer.status = {"resource_ids": [], "instances": [named]} if in_instances else {}
        if not in_instances:
            names(offer, other)
        return Answer(200, {"offer_id": offer.offer_id, **answered}) if answered else Answer(500, {"detail": "Error"})

    account.on("POST", "/procure_offer", buy, sent=offer.offer_id)
