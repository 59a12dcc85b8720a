# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A list that shows machines long after their end, and 404s that prove no end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from attack import Attacked, Cases, failed, failures
from books import Machine
from standin import Answer, Proceed, Request, StandIn, refuse


def list_all_as_running(account: StandIn) -> None:
    """Let every list show all machines as running, even ended ones."""

    def lag(request: Request, _proceed: Proceed) -> Answer:
        offer_id = request.query.get("offer_id")
        listed = [machine for machine in account.machines if not offer_id or offer_id in machine.offers]
        return Answer(200, [{**account.resource(machine), "status": "running"} for machine in listed])

    account.on("GET", "/resources", lag)


def hide_ended(account: StandIn, names: tuple[str, ...]) -> None:
    """Let the pages of machines with these names answer 404 once they have ended."""

    def hide(request: Request, _proceed: Proceed) -> Answer | None:
        machine = account.machine(request.path.rpartition("/")[2])
        return None if machine is None or machine.runs or machine.name not in names else refuse(404, "Not found")

    account.on("GET", "/resources/.*", hide)


def test_outdated_list_hides_no_end_and_revives_no_machine(account: StandIn, project: Attacked) -> None:
    release: dict[str, Any] = {"provision_on_failure": "release"}
    by_name: dict[str, Any] = {"provision_registry_dir": ""}
    project.declare({"released": release, "page-gone": release, "adopts": {"provision_adopt": True}, "named": by_name})
    for host in ("released", "page-gone"):
        account.sell(host, 2.0, fails="no capacity")
        account.sell(host, 2.5)
    account.sell("adopts", 2.0)
    account.sell("named", 2.0)
    account.sell("named", 2.5)
    (dead,) = account.buy(account.sell("adopts"), "adopts").machines
    dead.state, dead.ended = "deleted", time.time()
    list_all_as_running(account)
    hide_ended(account, ("page-gone",))

    def running(host: str) -> list[Machine]:
        return [machine for each in account.bought(host) for machine in each.machines if machine.runs]

    first = project.role("provision")
    check = Cases()
    for host in ("released", "page-gone"):
        with check(f"{host} gets the next offer"):
            assert not failed(first, host), failures(first, host)
            assert len(account.bought(host)) == 2 and project.owned(host) == [
                each.resource_id for each in running(host)
            ]
    with check("adopts buys, and adopts no ended machine"):
        assert not failed(first, "adopts"), failures(first, "adopts")
        assert project.owned("adopts") == [each.resource_id for each in running("adopts")] != []
    with check("named buys"):
        assert not failed(first, "named") and len(running("named")) == 1, failures(first, "named")

    second = project.role("decommission", "named:released:page-gone")
    for host in ("named", "released", "page-gone"):
        with check(f"{host} ends without waiting for the list"):
            assert not failed(second, host) and running(host) == [], failures(second, host)
    third = project.role("provision", "named")
    with check("named buys again"):
        assert not failed(third, "named") and len(running("named")) == 1, failures(third, "named")
    fourth = project.role("decommission", "named:released")
    for host in ("named", "released"):
        with check(f"{host} ends again, although the list has ended machines with its name"):
            assert not failed(fourth, host) and running(host) == [], failures(fourth, host)
    check.judge(first, second, third, fourth)


@pytest.mark.first
def test_doubtful_404_is_no_proof_of_an_end(account: StandIn, project: Attacked) -> None:
    hosts = ["lost", "page", "gateway", "listed"]
    project.declare(hosts)
    machines = {}
    for host in hosts:
        purchase = account.buy(account.sell(host), host)
        project.register(host, purchase)
        machines[host] = purchase.machines[0]

    def path_of(host: str) -> str:
        return f"/resources/{machines[host].resource_id}"

    deleted: set[str] = set()

    def ignore_delete(host: str, answer: Answer) -> None:
        """Let the DELETE of the host's machine have this answer, and do nothing."""

        def ignore(_request: Request, _proceed: Proceed) -> Answer:
            deleted.add(host)
            return answer

        account.on("DELETE", path_of(host), ignore)

    # ``lost``: its DELETE gets a 502, and its page is shown five times before a 404. The DELETEs of the other hosts are
    # accepted, but do nothing.
    ignore_delete("lost", Answer(502, b"bad gateway"))
    looks = dict.fromkeys(hosts, 0)

    def look(_request: Request, _proceed: Proceed) -> Answer | None:
        looks["lost"] += 1
        return refuse(404, "Not found") if looks["lost"] > 5 else None

    account.on("GET", path_of("lost"), look)
    html = Answer(404, b"<h1>404 Not Found</h1>", {"Content-Type": "text/html"})
    odd = {"page": html, "gateway": Answer(404, {"message": "no Route matched"}), "listed": refuse(404, "Not found")}
    for host, answer in odd.items():
        ignore_delete(host, Answer(200, {"status": "deleting"}))

        def answered(_request: Request, _proceed: Proceed, host: str = host, answer: Answer = answer) -> Answer | None:
            looks[host] += host in deleted
            # ``listed``: one 404, while the list still shows the machine
            is_odd = host in deleted and (looks[host] == 1 or host != "listed")
            return answer if is_odd else None

        account.on("GET", path_of(host), answered)

    run = project.role("decommission", decommission_wait_timeout=1)
    check = Cases()
    for host, machine in machines.items():
        with check(host):
            assert machine.runs and host in deleted, "no DELETE was sent, or the stand-in ended the machine"
            assert failed(run, host), "green although the machine runs"
            assert machine.resource_id in failures(run, host)
            assert project.owned(host) == [machine.resource_id], "the machine is forgotten"
    check.judge(run)
