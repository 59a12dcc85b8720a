# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A list that shows machines long after their end, and 404s that prove none."""

from __future__ import annotations

import time
from typing import Any

import pytest

from attack import Attacked, Cases, failed, failures
from books import Machine
from standin import Answer, Proceed, Request, StandIn, refuse


def show_for_ever(account: StandIn) -> None:
    """Let every list show all machines as running, whatever became of them."""

    def lag(request: Request, _proceed: Proceed) -> Answer:
        asked = request.query.get("offer_id")
        shown = [machine for machine in account.machines if not asked or asked in machine.offers]
        return Answer(200, [{**account.resource(machine), "status": "running"} for machine in shown])

    account.on("GET", "/resources", lag)


def hide_the_dead(account: StandIn, names: tuple[str, ...]) -> None:
    """Let machines of these names have no page once they are gone."""

    def hide(request: Request, _proceed: Proceed) -> Answer | None:
        machine = account.machine(request.path.rpartition("/")[2])
        return None if machine is None or machine.runs or machine.name not in names else refuse(404, "Not found")

    account.on("GET", "/resources/.*", hide)


def test_a_list_that_lags_behind_an_end_hides_no_end_and_revives_nothing(account: StandIn, project: Attacked) -> None:
    release: dict[str, Any] = {"provision_on_failure": "release"}
    by_name: dict[str, Any] = {"provision_registry_dir": ""}
    project.declare(
        {"given-back": release, "page-gone": release, "adopts": {"provision_adopt": True}, "named": by_name}
    )
    for host in ("given-back", "page-gone"):
        account.sell(host, 2.0, fails="no capacity")
        account.sell(host, 2.5)
    account.sell("adopts", 2.0)
    account.sell("named", 2.0)
    account.sell("named", 2.5)
    (dead,) = account.buy(account.sell("adopts"), "adopts").machines
    dead.state, dead.ended = "deleted", time.time()
    show_for_ever(account)
    hide_the_dead(account, ("page-gone",))

    def running(host: str) -> list[Machine]:
        return [machine for each in account.bought(host) for machine in each.machines if machine.runs]

    first = project.role("provision")
    check = Cases()
    for host in ("given-back", "page-gone"):
        with check(f"{host} gets the next offer"):
            assert not failed(first, host), failures(first, host)
            assert len(account.bought(host)) == 2 and project.owned(host) == [
                each.resource_id for each in running(host)
            ]
    with check("adopts buys, and takes no dead machine"):
        assert not failed(first, "adopts"), failures(first, "adopts")
        assert project.owned("adopts") == [each.resource_id for each in running("adopts")] != []
    with check("named buys"):
        assert not failed(first, "named") and len(running("named")) == 1, failures(first, "named")

    second = project.role("decommission", "named:given-back:page-gone")
    for host in ("named", "given-back", "page-gone"):
        with check(f"{host} ends, and waits for no list"):
            assert not failed(second, host) and running(host) == [], failures(second, host)
    third = project.role("provision", "named")
    with check("named buys again"):
        assert not failed(third, "named") and len(running("named")) == 1, failures(third, "named")
    fourth = project.role("decommission", "named:given-back")
    for host in ("named", "given-back"):
        with check(f"{host} ends again, whatever the list has of its name"):
            assert not failed(fourth, host) and running(host) == [], failures(fourth, host)
    check.judge(first, second, third, fourth)


@pytest.mark.first
def test_a_404_ends_nothing_that_was_not_told_to_end(account: StandIn, project: Attacked) -> None:
    hosts = ["lost", "page", "gateway", "listed"]
    project.declare(hosts)
    machines = {}
    for host in hosts:
        purchase = account.buy(account.sell(host), host)
        project.note(host, purchase)
        machines[host] = purchase.machines[0]

    def at(host: str) -> str:
        return f"/resources/{machines[host].resource_id}"

    told: set[str] = set()

    def ignore(host: str, answer: Answer) -> None:
        def take(_request: Request, _proceed: Proceed) -> Answer:
            told.add(host)
            return answer

        account.on("DELETE", at(host), take)

    # A DELETE without an answer, four looks at what runs, and one 404; and DELETEs that are accepted and do nothing.
    ignore("lost", Answer(502, b"bad gateway"))
    looks = dict.fromkeys(hosts, 0)

    def look(_request: Request, _proceed: Proceed) -> Answer | None:
        looks["lost"] += 1
        return refuse(404, "Not found") if looks["lost"] > 5 else None

    account.on("GET", at("lost"), look)
    html = Answer(404, b"<h1>404 Not Found</h1>", {"Content-Type": "text/html"})
    odd = {"page": html, "gateway": Answer(404, {"message": "no Route matched"}), "listed": refuse(404, "Not found")}
    for host, answer in odd.items():
        ignore(host, Answer(200, {"status": "deleting"}))

        def answered(_request: Request, _proceed: Proceed, host: str = host, answer: Answer = answer) -> Answer | None:
            looks[host] += host in told
            is_odd = host in told and (looks[host] == 1 or host != "listed")  # the list has what one look denies
            return answer if is_odd else None

        account.on("GET", at(host), answered)

    run = project.role("decommission", decommission_wait_timeout=1)
    check = Cases()
    for host, machine in machines.items():
        with check(host):
            assert machine.runs and host in told, "the test ended it itself"
            assert failed(run, host), "says that it has ended"
            assert machine.resource_id in failures(run, host)
            assert project.owned(host) == [machine.resource_id], "it is forgotten"
    check.judge(run)
