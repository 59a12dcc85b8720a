# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The purchase: answers that deny it although it was made, outdated states, contradictory prices."""

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

from attack import SPEC, SUPPLY, Attacked, Cases, as_play, assert_remembered, core, failed, failures, offer_path
from books import Machine, Offer
from standin import Answer, Hook, Proceed, Request, StandIn, refuse

PROCURE = ("POST", "/procure_offer")
AGAIN = {"Retry-After": "0"}


def make_and_deny(status: int, **fields: Any) -> Hook:
    """A hook that makes the purchase, and answers with this error."""

    def act(_request: Request, proceed: Proceed) -> Answer:
        assert proceed().status == 200
        return Answer(status, {"detail": "no"}, **fields)

    return act


# By case: status and headers of the answer to a purchase that was made, and whether the machine keeps the host's name
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


def show_as_unsold(_request: Request, proceed: Proceed) -> Answer:
    """A hook: the status shows the offer as not sold."""
    unsold = {"status": "available", "procurement_status": "available", "resource_ids": [], "instances": []}
    return Answer(200, {**proceed().body, **unsold, "procured_at": None})


@pytest.mark.first
def test_denied_purchase_that_was_made_is_found_and_not_repeated(account: StandIn, project: Attacked) -> None:
    project.declare([f"host-{case}" for case in DENIED] + ["host-429-late"])
    for case, (status, headers, keeps_name) in DENIED.items():
        offer = account.sell(f"host-{case}", keeps_name=keeps_name)
        account.on(*PROCURE, make_and_deny(status, headers=headers), times=1, sent=offer.offer_id)
        if case.endswith("-lagging"):
            account.on("GET", f"{offer_path(offer)}/status", show_as_unsold)
    late = account.sell("host-429-late")
    account.on(*PROCURE, lambda request, _p: buy_late(account, late, request), times=1, sent=late.offer_id)
    for offer in list(account.offers):
        # A second offer, which must not be bought
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
    """The hosts that have offers, in their order."""
    return dict.fromkeys(offer.vendor for offer in account.offers)


def assert_one(account: StandIn, project: Attacked, host: str, *runs: Any) -> None:
    """Assert that one machine was bought for the host, and that the last run's failure or the registry names it."""
    bought = account.bought(host)
    assert len(bought) == 1, f"bought {len(bought)} times"
    assert_remembered(project, host, bought[0], *runs)


def buy_late(account: StandIn, offer: Offer, request: Request) -> Answer:
    """Answer 429, but make the purchase a moment later."""

    def buy() -> None:
        time.sleep(1.5)
        if offer.purchase is None:
            account.buy(offer, offer.vendor, request.json)

    threading.Thread(target=buy, daemon=True).start()
    return Answer(429, {"detail": "busy"}, AGAIN)


def test_misleading_answers_around_a_purchase_do_no_harm(account: StandIn, project: Attacked, tmp_path: Path) -> None:
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
    with check("rejected"):
        assert "insufficient credit" in failures(first, "rejected")
        assert "BOUGHT and may be" not in failures(first, "rejected")
    with check("late-list"):
        assert_one(account, project, "late-list", first)
    for host in ("taken", "taken-unnamed"):
        with check(f"{host}"):
            assert not set(ids_of(offers[host])) & set(project.owned(host))
    for host in ("zero-total", "low-total", "other-details", "other-kind", "other-page"):
        with check(f"{host}"):
            assert failed(first, host)
            assert not account.bought(host), "bought an offer that is not as agreed"
    with check("with-storage"):
        assert not failed(first, "with-storage"), failures(first, "with-storage")
        assert "provision_price_per_hour: 5" in project.registry_text("with-storage")
    with check("evil-id"):
        assert len(account.bought("evil-id")) == 1
        assert offers["evil-id"].offer_id in project.registry_text("evil-id") + failures(first, "evil-id")
    with check("no-disk"):
        assert_one(account, project, "no-disk", first)

    account.hooks.clear()
    for host in ("lagging", "late-list"):
        offers[host].status = {}
        for machine in machines_of(offers[host]):
            machine.unlisted = machine.hidden = False
    second = project.playbook(play)
    with check("evil-id, by the registry"):
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
    """Let the API give misleading answers about each of these offers."""
    rejected = {"offer_id": offers["rejected"].offer_id, "status": "rejected", "error": "insufficient credit"}
    account.on(*PROCURE, lambda _r, _p: Answer(200, rejected), sent=offers["rejected"].offer_id)

    outdated = iter(range(3))
    lagging: dict[str, Any] = {
        "status": "available",
        "procurement_status": "available",
        "resource_ids": [],
        "procured_at": None,
    }
    lagging["instances"] = []

    def lag(_request: Request, proceed: Proceed) -> Answer | None:
        if offers["lagging"].purchase is None or next(outdated, None) is None:
            return None
        answer = proceed()
        return Answer(200, {**answer.body, **lagging})

    account.on("GET", f"{offer_path(offers['lagging'])}/status", lag)

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
    """The machines that were bought with an offer."""
    return offer.purchase.machines if offer.purchase else []


def ids_of(offer: Offer) -> list[str]:
    """The ids of the machines that were bought with an offer."""
    return [machine.resource_id for machine in machines_of(offer)]


@pytest.mark.first
@core
def test_rescue_buys_nothing_while_a_purchase_may_be_made(account: StandIn, project: Attacked) -> None:
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
            assert len(account.bought(host)) == 1, "bought another offer although the first may be bought"
            assert "MAY BE BOUGHT and billed at USD 2.00" in failures(run, host)
            assert "may still arrive" in failures(run, host), "treats the open purchase as not made"
    with check("by-file is registered"):
        assert account.bought("by-file")[0].offer.offer_id in project.registry_text("by-file")
    check.judge(run)


def blanks() -> Iterator[bytes]:
    """A body that is sent one blank at a time."""
    for _half in range(200):
        time.sleep(0.5)
        yield b" "


def overtake(account: StandIn, offer: Offer, name: str | None) -> Answer:
    """Refuse the purchase, since a colleague on the same account has bought the offer."""
    if offer.purchase is None:
        account.buy(offer, name)
    return refuse(409, "Offer already procured")


@pytest.mark.first
def test_module_defaults_change_no_plan(account: StandIn, project: Attacked) -> None:
    """module_defaults of the play neither replace options of the plan nor add options that it leaves out."""
    project.declare(["gpu-1", "dear"])
    account.sell("gpu-1")
    # Its own page has a higher price than the search.
    account.sell("dear", details={"gpu_price_per_hour": 50.0, "total_price_per_hour": 50.0})
    theirs = {"max_price_per_hour": 99, "max_total_price_per_hour": 99, "cluster_name": "theirs", "host": "theirs"}
    theirs |= {"registry_file": "theirs.yml", "project": "theirs", "account": "theirs", "resource_name": "theirs"}
    theirs |= {"note": {"provision_lease": "1h"}, "plan": {"max_price_per_hour": 99}}
    run = project.playbook(project.play_of("provision", module_defaults={f"{SUPPLY}.procure_offer": theirs}))
    (purchase,) = account.purchases
    assert (purchase.name, failed(run, "gpu-1"), failed(run, "dear")) == ("gpu-1", False, True), run.output
    assert project.owned("gpu-1") == purchase.ids and "theirs" not in project.registry_text("gpu-1")


@pytest.mark.first
def test_answers_without_end_cost_nothing(account: StandIn, project: Attacked) -> None:
    hosts = ["dripping", "bomb", "redirected"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)

    def drip(_request: Request, _proceed: Proceed) -> Answer:
        return Answer(200, blanks())

    def explode(_request: Request, proceed: Proceed) -> Answer:
        # A valid answer, but with 64 MiB of blanks
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
    with check("the play ends"):
        assert "ENDED BY THE TEST" not in run.output
    for host in hosts:
        with check(host):
            assert failures(run, host)
            assert not account.bought(host)
    with check("redirected elsewhere"):
        assert not account.requests_to("POST", "/evil")
    check.judge(run)


def test_html_answer_of_any_status_is_no_refusal(account: StandIn, project: Attacked) -> None:
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
                assert first.offer_id in project.registry_text(host) and failed(runs[-1], host)
    cases.judge(*runs)
