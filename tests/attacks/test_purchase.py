# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The purchase itself: answers that say no although it was made, states that lag, prices that contradict."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attack import SPEC, SUPPLY, Attacked, Cases, as_play, assert_remembered, core, failed, failures, of
from books import Machine, Offer
from standin import Answer, Hook, Proceed, Request, StandIn, refuse

PROCURE = ("POST", "/procure_offer")
AGAIN = {"Retry-After": "0"}


def instead(status: int, **fields: Any) -> Hook:
    """The purchase is made, and this is what is answered."""

    def act(_request: Request, proceed: Proceed) -> Answer:
        assert proceed().status == 200
        return Answer(status, {"detail": "no"}, **fields)

    return act


# Each is bought, once, and its first answer says that it was not.
DENIED: dict[str, tuple[int, dict[str, str], bool]] = {
    "409": (409, {}, True),
    "409-unnamed": (409, {}, False),
    "409-lagging": (409, {}, False),
    "410": (410, {}, True),
    "410-unnamed": (410, {}, False),
    "404": (404, {}, True),
    "404-unnamed": (404, {}, False),
    "422": (422, {}, True),
    "400-unnamed": (400, {}, False),
    "429": (429, AGAIN, True),
    "429-unnamed": (429, AGAIN, False),
    "503": (503, AGAIN, True),
    "503-unnamed": (503, AGAIN, False),
}


def lag(_request: Request, proceed: Proceed) -> Answer:
    """The status says that the offer was never sold."""
    unsold = {"status": "available", "procurement_status": "available", "resource_ids": [], "instances": []}
    return Answer(200, {**proceed().body, **unsold, "procured_at": None})


@pytest.mark.first
def test_an_answer_that_says_no_although_it_was_bought(account: StandIn, project: Attacked) -> None:
    project.declare([f"host-{case}" for case in DENIED] + ["host-429-late"])
    for case, (status, headers, keeps_name) in DENIED.items():
        offer = account.sell(f"host-{case}", keeps_name=keeps_name)
        account.on(*PROCURE, instead(status, headers=headers), times=1, sent=offer.offer_id)
        if case.endswith("-lagging"):
            account.on("GET", f"{of(offer)}/status", lag)
    late = account.sell("host-429-late")
    account.on(*PROCURE, lambda request, _p: take_up_late(account, late, request), times=1, sent=late.offer_id)
    for offer in list(account.offers):
        # What is bought in its stead is one too many.
        account.sell(offer.vendor, 2.5)
    hosts = [*project_hosts(account)]

    first = project.role("provision")
    check = Cases()
    for host in hosts:
        with check(f"{host} at first"):
            assert_one(account, project, host, first)
            assert "othing was bought" not in failures(first, host)
            assert "othing is billed" not in failures(first, host)
    second = project.role("provision")
    for host in hosts:
        with check(f"{host} again"):
            assert_one(account, project, host, second)
    named = [host for host in hosts if not host.endswith(("-unnamed", "-lagging"))]
    third = project.role("provision", ":".join(named), provision_adopt=True)
    for host in named:
        with check(f"{host} adopted"):
            assert_one(account, project, host, third)
            assert not failed(third, host), failures(third, host)
            assert project.owned(host) == account.bought(host)[0].ids
    check.judge(first, second, third)


def project_hosts(account: StandIn) -> dict[str, None]:
    """The hosts for which something is sold."""
    return dict.fromkeys(offer.vendor for offer in account.offers)


def assert_one(account: StandIn, project: Attacked, host: str, *runs: Any) -> None:
    """One machine was bought for the host, and the last run's failure, or the registry, names it."""
    bought = account.bought(host)
    assert len(bought) == 1, f"bought {len(bought)} times"
    assert_remembered(project, host, bought[0], *runs)


def take_up_late(account: StandIn, offer: Offer, request: Request) -> Answer:
    """Refuse as too busy, and buy nevertheless, some time later."""

    def buy() -> None:
        time.sleep(1.5)
        if offer.purchase is None:
            account.buy(offer, offer.vendor, request.json)

    threading.Thread(target=buy, daemon=True).start()
    return Answer(429, {"detail": "busy"}, AGAIN)


def test_what_is_seen_after_a_purchase(account: StandIn, project: Attacked, tmp_path: Path) -> None:
    wanted: dict[str, Any] = {
        "rejected": {},
        "lagging": {"provision_poll_retries": 10},
        "late-list": {},
        "taken": {},
        "taken-unnamed": {},
        "zero-total": {},
        "low-total": {"provision_spec": {**SPEC, "compute": {"gpu_type": "H100", "gpu_count": 8}}},
        "with-storage": {"provision_max_price_per_hour": 6},
        "other-details": {},
        "other-kind": {},
        "other-page": {},
        "evil-id": {},
        "no-disk": {},
    }
    project.declare(wanted)
    offers = {host: account.sell(host, gpus=8 if host == "low-total" else 1) for host in wanted}
    elsewhere = account.sell("nobody", 2.2)
    touched = tmp_path / "touched"
    prepare_answers(account, project, offers, elsewhere, touched)

    connect = {"name": "Connect", "ansible.builtin.raw": "true", "ignore_unreachable": True, "when": "EVIL"}
    connect["when"] = "inventory_hostname == 'evil-id'"
    play = project.play_of("provision", post_tasks=[connect])
    first = project.playbook(play)

    check = Cases()
    with check("rejected (19e)"):
        assert "insufficient credit" in failures(first, "rejected")
        assert "BOUGHT and may be" not in failures(first, "rejected")
    with check("late-list (15)"):
        assert_one(account, project, "late-list", first)
    for host in ("taken", "taken-unnamed"):
        with check(f"{host} (2b)"):
            assert not set(ids_of(offers[host])) & set(project.owned(host))
    for host in ("zero-total", "low-total", "other-details", "other-kind", "other-page"):
        with check(f"{host} (22, 24)"):
            assert failed(first, host)
            assert not account.bought(host), "bought what was not agreed to"
    with check("with-storage (22)"):
        assert not failed(first, "with-storage"), failures(first, "with-storage")
        assert "provision_price_per_hour: 5" in project.noted("with-storage")
    with check("evil-id (5)"):
        assert len(account.bought("evil-id")) == 1
        assert offers["evil-id"].offer_id in project.noted("evil-id") + failures(first, "evil-id")
    with check("no-disk (19a)"):
        assert_one(account, project, "no-disk", first)

    account.hooks.clear()
    for host in ("lagging", "late-list"):
        offers[host].status = {}
        for machine in machines_of(offers[host]):
            machine.unlisted = machine.hidden = False
    second = project.playbook(play)
    with check("evil-id, by the registry (5)"):
        assert not touched.exists(), "an id of the API ran a command on the controller"
        assert len(account.bought("evil-id")) == 1
    for host in ("lagging", "late-list"):
        with check(f"{host} again"):
            assert len(account.bought(host)) == 1
            assert not failed(second, host), failures(second, host)
            assert project.owned(host) == account.bought(host)[0].ids
    for host in ("no-disk", "rejected"):
        with check(f"{host} again"):
            assert len(account.bought(host)) <= 1
    with check("taken again"):
        assert not set(ids_of(offers["taken"])) & set(project.owned("taken"))
    check.judge(first, second)


def prepare_answers(
    account: StandIn, project: Attacked, offers: dict[str, Offer], elsewhere: Offer, touched: Path
) -> None:
    """Bend what the API says of each of these offers."""
    rejected = {"offer_id": offers["rejected"].offer_id, "status": "rejected", "error": "insufficient credit"}
    account.on(*PROCURE, lambda _r, _p: Answer(200, rejected), sent=offers["rejected"].offer_id)

    seen = iter(range(3))
    lagging: dict[str, Any] = {
        "status": "available",
        "procurement_status": "available",
        "resource_ids": [],
        "procured_at": None,
    }
    lagging["instances"] = []

    def lag(_request: Request, proceed: Proceed) -> Answer | None:
        if offers["lagging"].purchase is None or next(seen, None) is None:
            return None
        answer = proceed()
        return Answer(200, {**answer.body, **lagging})

    account.on("GET", f"{of(offers['lagging'])}/status", lag)

    def vanish(_request: Request, proceed: Proceed) -> Answer:
        answer = proceed()
        offers["late-list"].status = {"instances": []}
        for machine in machines_of(offers["late-list"]):
            machine.unlisted = machine.hidden = True
        return answer

    account.on(*PROCURE, vanish, sent=offers["late-list"].offer_id)

    for host, name in (("taken", "colleague"), ("taken-unnamed", None)):
        offers[host].keeps_name = name is not None
        account.on(*PROCURE, lambda _r, _p, host=host, name=name: overtake(account, offers[host], name),  # type: ignore[misc]
                   times=1, sent=offers[host].offer_id)  # fmt: skip

    zero, low = {"gpu_price_per_hour": 30, "total_price_per_hour": 0}, {"total_price_per_hour": 1.0}
    low["gpu_price_per_hour"] = 30
    offers["zero-total"].listed = offers["zero-total"].details = zero
    offers["low-total"].listed = offers["low-total"].details = low
    offers["with-storage"].listed = {"storage_price_per_hour": 3.0, "total_price_per_hour": 5.0}
    offers["with-storage"].details = {"total_price_per_hour": None}
    answer = {"offer_id": elsewhere.offer_id}
    offers["other-details"].details = answer
    less = {"gpu_type": "nvidia-l4-pcie-24gb", "gpu_family": "L4", "contract_type": "spot"}
    offers["other-kind"].listed = offers["other-kind"].details = less
    offers["other-page"].details = {**less, "contract_type": "ondemand"}

    def be_evil(_request: Request, proceed: Proceed) -> Answer:
        answer = proceed()
        (machine,) = machines_of(offers["evil-id"])
        machine.resource_id = f"x -oProxyCommand='touch {touched}'"
        return Answer(answer.status, {**answer.body, "resource_ids": [machine.resource_id]})

    account.on(*PROCURE, be_evil, sent=offers["evil-id"].offer_id)

    def take_the_disk(_request: Request, proceed: Proceed) -> Answer:
        shutil.rmtree(project.registry_file("no-disk").parent, ignore_errors=True)
        project.registry_file("no-disk").parent.touch()
        return proceed()

    account.on(*PROCURE, take_the_disk, sent=offers["no-disk"].offer_id)


def machines_of(offer: Offer) -> list[Machine]:
    """What was bought with an offer."""
    return offer.purchase.machines if offer.purchase else []


def ids_of(offer: Offer) -> list[str]:
    """Their ids."""
    return [machine.resource_id for machine in machines_of(offer)]


@pytest.mark.first
@core
def test_a_rescue_buys_nothing_beside_what_may_be_bought(account: StandIn, project: Attacked) -> None:
    hosts = {"by-file": {}, "by-name": {"provision_registry_dir": ""}}
    project.declare(hosts)
    unseen = {"status": "available", "procurement_status": "available", "resource_ids": [], "instances": []}
    for host in hosts:
        offer = account.sell(host)
        account.sell("second-choice", 2.5)

        def lose(_request: Request, proceed: Proceed, offer: Offer = offer) -> Answer:
            proceed()
            offer.status = {**unseen, "procured_at": None}
            for machine in machines_of(offer):
                machine.unlisted = True
            return Answer(500)

        account.on(*PROCURE, lose, times=1, sent=offer.offer_id)
    first, last = (as_play(role)["tasks"] for role in ("provision", "decommission"))
    again = [{**task, "vars": {"provision_spec": {**SPEC, "vendor": "second-choice"}}} for task in first]
    play = as_play("provision", tasks=[{"name": "Try", "block": first, "rescue": again, "always": last}])
    run = project.playbook(project.book(play))
    check = Cases()
    for host in hosts:
        with check(host):
            assert len(account.bought(host)) == 1, "another offer is bought beside one that may be bought"
            assert "MAY BE BOUGHT and billed at USD 2.00" in failures(run, host)
            assert "may still arrive" in failures(run, host), "says of what may be bought that there is nothing"
    with check("by-file is noted"):
        assert account.bought("by-file")[0].offer.offer_id in project.noted("by-file")
    check.judge(run)


def blanks() -> Iterator[bytes]:
    """A body that drips, one blank at a time."""
    for _half in range(200):
        time.sleep(0.5)
        yield b" "


def overtake(account: StandIn, offer: Offer, name: str | None) -> Answer:
    """A colleague, on this very account, was faster."""
    if offer.purchase is None:
        account.buy(offer, name)
    return refuse(409, "Offer already procured")


@pytest.mark.first
def test_defaults_of_a_play_change_no_plan(account: StandIn, project: Attacked) -> None:
    """What a plan does not limit or name is not given by the play's module_defaults either, and least what it does."""
    project.declare(["gpu-1", "dear"])
    account.sell("gpu-1")
    # Dearer than it was found, when it is looked at again.
    account.sell("dear", details={"gpu_price_per_hour": 50.0, "total_price_per_hour": 50.0})
    theirs = {"max_price_per_hour": 99, "max_total_price_per_hour": 99, "cluster_name": "theirs", "host": "theirs"}
    theirs |= {"registry_file": "theirs.yml", "project": "theirs", "account": "theirs", "resource_name": "theirs"}
    theirs |= {"note": {"provision_lease": "1h"}, "plan": {"max_price_per_hour": 99}}
    run = project.playbook(project.play_of("provision", module_defaults={f"{SUPPLY}.procure_offer": theirs}))
    (purchase,) = account.purchases
    assert (purchase.name, failed(run, "gpu-1"), failed(run, "dear")) == ("gpu-1", False, True), run.output
    assert project.owned("gpu-1") == purchase.ids and "theirs" not in project.noted("gpu-1")


@pytest.mark.first
def test_answers_without_end_cost_nothing(account: StandIn, project: Attacked) -> None:
    hosts = ["dripping", "bomb", "redirected"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)

    def drip(_request: Request, _proceed: Proceed) -> Answer:
        return Answer(200, blanks())

    def explode(_request: Request, proceed: Proceed) -> Answer:
        # It would be a fine answer, but for the 64 MiB of blanks.
        body = b" " * 2**26 + json.dumps(proceed().body).encode()
        return Answer(200, gzip.compress(body, 1), {"Content-Encoding": "gzip"})

    elsewhere = {"Location": f"http://localhost:{account.url.rpartition(':')[2]}/evil"}
    for host, hook in (
        ("dripping", drip),
        ("bomb", explode),
        ("redirected", lambda _r, _p: Answer(307, None, elsewhere)),
    ):
        account.on("POST", "/get_offers", hook, sent=f"vendor: {host}")
    defaults = {f"group/{SUPPLY}.all": {"api_retries": 0, "api_timeout": 3}}
    run = project.playbook(project.play_of("provision", module_defaults=defaults))
    check = Cases()
    with check("an end (17)"):
        assert "ENDED BY THE TEST" not in run.output
    for host in hosts:
        with check(host):
            assert failures(run, host)
            assert not account.bought(host)
    with check("redirected elsewhere"):
        assert not account.asked("POST", "/evil")
    check.judge(run)


def test_a_page_refuses_no_purchase_whatever_its_status(account: StandIn, project: Attacked) -> None:
    offers = {}
    for status in (404, 409, 410, 429, 503):
        host = f"gpu-{status}"
        offers[host] = [account.sell(host, price, keeps_name=False) for price in (1.0, 2.0)]

        def buy(_request: Request, proceed: Proceed, status: int = status) -> Answer:
            proceed()
            return Answer(status, b"<html>Sorry</html>", {"Content-Type": "text/html"})

        account.on("POST", "/procure_offer", buy, sent=offers[host][0].offer_id)
    project.declare(list(offers))
    cases, runs = Cases(), []
    for _run in range(2):
        runs.append(project.role("provision"))
        for host, (first, second) in offers.items():
            with cases(f"{host}, run {len(runs)}"):
                assert first.purchase and not second.purchase, "two machines were bought"
                assert first.offer_id in project.noted(host) and failed(runs[-1], host)
    cases.judge(*runs)
