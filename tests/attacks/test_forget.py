# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gone means that the API said so: no machine is forgotten just because the API does not show it."""

from __future__ import annotations

import pytest

from attack import Attacked, Cases, failed, failures, offer_path
from standin import Answer, StandIn, refuse

pytestmark = pytest.mark.first

HIDDEN = "page-404", "blind", "unknown"


def test_only_machines_that_the_api_calls_gone_are_forgotten(account: StandIn, project: Attacked) -> None:
    hosts = [*HIDDEN, "capitals", "deaf", "gone-later", "deleted", "listed-404", "fine"]
    project.declare(hosts)
    offers = {host: account.sell(host) for host in hosts}
    for host, offer in offers.items():
        project.register(host, account.buy(offer, host))
    machines = {host: offer.purchase.machines[0] for host, offer in offers.items() if offer.purchase}
    machines["page-404"].hidden = True
    for host in ("blind", "unknown"):
        machines[host].hidden = machines[host].unlisted = True
    entry = project.registry_text("capitals")
    project.registry_file("capitals").write_text(
        entry.replace(machines["capitals"].resource_id, machines["capitals"].resource_id.upper())
    )
    account.on(
        "DELETE", f"/resources/{machines['deaf'].resource_id}", lambda _r, _p: Answer(200, {"status": "deleting"})
    )
    for host in ("unknown", "listed-404"):
        account.on("GET", f"{offer_path(offers[host])}/status", lambda _r, _p: refuse(404, "Offer not found"))
    machines["deleted"].state, machines["deleted"].ended = "deleted", machines["deleted"].began
    for host in hosts:
        account.sell(host, 2.5)

    check = Cases()
    first = project.role("provision", "page-404:blind:unknown:listed-404:deleted:fine")
    for host in (*HIDDEN, "listed-404"):
        with check(f"{host} is not bought again"):
            assert len(account.bought(host)) == 1
            assert project.owned(host) == [machines[host].resource_id]
    with check("unknown stops, and names the remedy"):
        assert failed(first, "unknown")
        assert machines["unknown"].resource_id in failures(first, "unknown")
        assert "decommission_forget" in failures(first, "unknown")
        assert str(project.registry_file("unknown")) in failures(first, "unknown"), "the registry file is not named"
    for host in ("fine", "listed-404"):  # the API may forget old offers, and the machine runs
        with check(host):
            assert not failed(first, host), failures(first, host)
    with check("deleted"):
        assert not failed(first, "deleted") and len(account.bought("deleted")) == 2, failures(first, "deleted")

    later = machines["gone-later"]

    def vanish(_request: object, _proceed: object) -> Answer | None:
        return refuse(404, "Not found") if not later.runs else None

    account.on("GET", f"/resources/{later.resource_id}", vanish)
    second = project.role("decommission")
    for host in (*HIDDEN, "deaf"):
        with check(f"{host} is not forgotten"):
            if machines[host].runs:
                assert failed(second, host), "green although the machine runs"
                assert project.owned(host) == [machines[host].resource_id]
                assert machines[host].resource_id in failures(second, host)
    for host in ("blind", "unknown"):
        with check(f"{host} names the remedy"):
            assert "decommission_forget" in failures(second, host)
    for host in ("capitals", "gone-later", "fine", "listed-404"):
        with check(f"{host} is ended"):
            assert not failed(second, host), failures(second, host)
            assert not machines[host].runs and not project.owned(host)

    third = project.role("decommission", "blind", decommission_forget=machines["blind"].resource_id)
    with check("blind is forgotten on request"):
        assert not failed(third, "blind"), failures(third, "blind")
        assert not project.owned("blind")
        assert project.owned("page-404"), "forgot another machine"
    check.judge(first, second, third)
