# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays and modules that are killed during their purchases, while others buy and rename before the next run."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from attack import Attacked, Cases, assert_remembered, core, failed, failures, offer_path
from limits import until
from standin import Answer, Proceed, Request, StandIn, refuse

pytestmark = pytest.mark.first

PROCURE = ("POST", "/procure_offer")


def test_killed_play_owns_nothing_of_others_and_buys_nothing_later(account: StandIn, project: Attacked) -> None:
    hosts = ["stolen", "unseen", "busy", "lost", "renamed"]
    project.declare(hosts)
    offers = {host: account.sell(host, keeps_name=host != "unseen") for host in hosts}
    arrived: set[str] = set()
    killed: list[float] = []

    def hold(request: Request, proceed: Proceed) -> Answer:
        name = request.json["resource_name"]
        answer = proceed() if name in ("unseen", "lost", "renamed") else None
        arrived.add(name)
        if name == "busy":
            # By the time of the retry the play is dead.
            until(lambda: len(arrived) == len(hosts))
            return Answer(429, {"detail": "busy"}, {"Retry-After": "2"})
        until(lambda: bool(killed))
        return answer or Answer(cut=True)

    account.on(*PROCURE, hold, times=len(hosts))
    process = project.start("ansible-playbook", "-i", str(project.inventory), project.play_of("provision"), "--forks=8")
    until(lambda: len(arrived) == len(hosts))
    time.sleep(0.4)
    sent = len(account.requests_to(*PROCURE))
    # Kill only the play, as the system does when it is short of memory; its workers do not notice.
    os.kill(process.pid, signal.SIGKILL)
    killed.append(time.monotonic())
    process.wait()
    # Meanwhile a colleague buys one of the offers.
    account.buy(offers["stolen"], "colleague")
    for machine in offers["renamed"].purchase.machines if offers["renamed"].purchase else ():
        machine.name = "the-big-one"
    time.sleep(3.5)
    check = Cases()
    with check("busy"):
        later = account.requests_to(*PROCURE)[sent:]
        assert not later, "the killed play has bought afterwards"
    project.end_leftovers()

    for host in hosts:
        # A second offer, which only the host of the stolen one may buy
        account.sell(host, 2.5)
    # As from a replica that does not have the offer yet
    account.on("GET", f"{offer_path(offers['unseen'])}/status", lambda _r, _p: refuse(404, "Offer not found"), times=1)
    second = project.role("provision")
    stolen = offers["stolen"].purchase
    assert stolen is not None
    with check("stolen"):
        assert not set(project.owned("stolen")) & set(stolen.ids), "owns a colleague's machine"
        assert len(account.bought("stolen")) <= 1
    with check("unseen"):
        assert len(account.bought("unseen")) == 1, "one 404 is no proof that nothing was bought"
        assert_remembered(project, "unseen", account.bought("unseen")[0], second)
    with check("renamed"):
        assert len(account.bought("renamed")) == 1, "bought again although the machine may be the host's"
        assert_remembered(project, "renamed", account.bought("renamed")[0], second)
    with check("lost"):
        assert not failed(second, "lost"), failures(second, "lost")
        assert len(account.bought("lost")) == 1 and project.owned("lost") == account.bought("lost")[0].ids
    with check("busy again"):
        assert len(account.bought("busy")) == 1
        assert not failed(second, "busy"), failures(second, "busy")
    third = project.role("decommission")
    with check("the colleague's machine lives"):
        assert stolen.machines[0].runs
    check.judge(second, third)


def kill_modules(project: Attacked, name: str) -> int:
    """Kill the project's processes of the module of this name, and return their number."""
    killed = 0
    for pid in project.processes():
        # Not the shell that started the module: its command line has the same words, but Ansible needs its result.
        with suppress(OSError):
            program, *words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if "python" in program and any(f"AnsiballZ_{name}" in word for word in words):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


@core
def test_killed_purchase_module_names_what_may_be_billed(account: StandIn, project: Attacked) -> None:
    # By host: whether its purchase is made. The last host has no registry.
    arrives = {"made": True, "lost": False, "made-by-name": True}
    project.declare({host: {"provision_registry_dir": ""} if "by-name" in host else {} for host in arrives})
    offers = {host: account.sell(host) for host in arrives}
    arrived: set[str] = set()
    killed: list[int] = []

    def kill_all(request: Request, proceed: Proceed) -> Answer:
        name = request.json["resource_name"]
        if arrives[name]:
            proceed()
        arrived.add(name)
        if len(arrived) == len(arrives):
            killed.append(kill_modules(project, "procure_offer"))
        until(lambda: bool(killed))
        return Answer(cut=True)

    account.on(*PROCURE, kill_all, times=len(arrives))
    play = project.play_of("provision")
    by_module = {"COMPUTE_INDEX_IN_PROCESS": "0"}
    first = project.run("ansible-playbook", "-i", str(project.inventory), play, **by_module)
    check = Cases()
    with check("killed"):
        assert killed == [len(arrives)], "killed too few or too many processes"
    for host, offer in offers.items():
        # A cheaper offer, which must not be bought
        account.sell(host, 1.5)
        with check(f"{host} at first"):
            failure = failures(first, host)
            for words in (offer.offer_id, "MAY BE BOUGHT and billed at USD 2.00 per hour", "Run again"):
                assert words in failure, f"{words} is missing: {failure}"
            assert "othing was bought" not in failure and "othing is billed" not in failure
    second = project.run("ansible-playbook", "-i", str(project.inventory), play, **by_module)
    for host, offer in offers.items():
        with check(f"{host} again"):
            assert not failed(second, host), failures(second, host)
            assert [purchase.offer for purchase in account.bought(host)] == [offer], "not bought once, or another offer"
            if "by-name" not in host:
                assert project.owned(host) == account.bought(host)[0].ids
    check.judge(first, second)
