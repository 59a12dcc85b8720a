# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An API that returns its ids sometimes in upper and sometimes in lower case."""

from __future__ import annotations

import json
from itertools import count

from attack import Attacked, Cases
from standin import Answer, Proceed, Request, StandIn


def test_ids_in_capitals_are_bought_once_found_and_ended(account: StandIn, project: Attacked) -> None:
    hosts = ["gpu-1", "gpu-2"]
    project.declare(hosts)
    offers = [account.sell(host) for host in hosts]
    answers = count()

    def spell(_request: Request, proceed: Proceed) -> Answer:
        answer = proceed()
        text = json.dumps(answer.body)
        if next(answers) % 3:  # two of three answers have capitals
            machines = [machine.resource_id for machine in account.machines]
            for each in (*machines, *(offer.offer_id for offer in offers)):
                text = text.replace(each, each.upper())
        return Answer(answer.status, json.loads(text), answer.headers)

    for method in ("GET", "POST", "DELETE"):
        account.on(method, "/.*", spell)
    bought = project.role("provision")
    again = project.role("provision")
    owned = {host: project.owned(host) for host in hosts}
    audit = project.playbook("compute_index.supply.audit")
    ended = project.role("decommission")
    check = Cases()
    with check("bought once"):
        assert {machine.resource_id for machine in account.machines} == {each for ids in owned.values() for each in ids}
        assert len(account.machines) == len(hosts)
    with check("the audit knows them"):
        assert "ORPHANS" not in audit.output and "MISSING" not in audit.output
    with check("ended and forgotten"):
        assert not any(machine.runs for machine in account.machines)
        assert not any(map(project.owned, hosts))
    check.judge(bought, again, audit, ended)
