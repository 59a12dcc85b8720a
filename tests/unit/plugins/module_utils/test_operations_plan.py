# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step plan: what each host buys or why it stops, by registry, keys, budgets, adopted machines and storage."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations import _missing
from ansible_collections.compute_index.supply.plugins.module_utils._operations import plan as operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import plan
from ansible_collections.compute_index.supply.plugins.module_utils._provision.acceptance import Report, bundle
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import SharedHost
from ansible_collections.compute_index.supply.plugins.module_utils._spec import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc

from provision_samples import SPEC, machine, machine_id, offer, raw
from samples import BASE


class FakeMarket:
    """A market with ``count`` fitting offers, on an account with these machines.

    ``storage``: USD per hour that an offer's details leave out. ``listed``: the account's list. ``pages``: the machines
    or errors that reads by id return. ``read``: the ids that were read.
    """

    account = "account"
    ahead = 0.0

    def __init__(
        self, count: int, *, storage: float = 0.0, listed: Iterable[Any] = (), pages: Mapping[str, Any] | None = None
    ) -> None:
        self._listed, self._pages, self.read = list(listed), pages or {}, list[str]()
        self._offers = [offer(number, region="EU", contract_type="ondemand") for number in range(count)]
        self.filters: Any = None
        self._storage = storage

    def offer(self, offer_id: str) -> dict[str, Any]:
        (details,) = (each for each in self._offers if each["offer_id"] == offer_id)
        return {**details, "price_per_hour": details["price_per_hour"] - self._storage}

    def search_offers(self, spec: dict[str, Any]) -> tuple[list[dict[str, Any]], int, Any]:
        assert spec == SPEC
        return self._offers, len(self._offers), self.filters

    def resources(self) -> list[dict[str, Any]]:
        return self._listed

    def resource(self, resource_id: str, *, force_refresh: bool, retries: int | None) -> Any:
        assert force_refresh
        self.read.append(resource_id)
        page = self._pages[resource_id]
        if isinstance(page, Exception):
            raise page
        return page


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6rQ9Zb0yJxk1mS7JbJm9m0m7nq0oXo3k0a9b8c7d6e a comment"
SHA = "SHA256:own"
BOUGHT = {"provision_procured_offer_id": offer(9)["offer_id"], "provision_purchase": "sent"}
OF_FILE = "SHA256:iFSyHHHALyCZKmIrfpSHtkt8smQ1wNTknvdLLgbUZCo"


def planned(
    folder: Path,
    count: int,
    *,
    job_keys: str | None = None,
    by_job: bool = False,
    no_login: str = "",
    serial: bool = False,
    storage: float = 0.0,
    first: Mapping[str, Any] | None = None,
    elsewhere: Iterable[dict[str, Any]] = (),
    untold: Iterable[str] = (),
    api: FakeMarket | None = None,
    attempts: Mapping[str, Any] | None = None,
    others: Mapping[str, Any] | None = None,
    quote: bool = False,
    check_mode: bool = True,
    forbidden: str = "",
    here: str = "/",
    sources: Iterable[str] = (),
    registry_url: str = "",
    **fields: Any,
) -> dict[str, Any]:
    """The result of plan for ``count`` hosts and as many offers. ``first``: what only the first host declares."""
    fields = {"registry_dir": str(folder), **fields}
    hosts = [raw(host=f"gpu-{n}", name=f"gpu-{n}", id=str(n), **fields) for n in range(count)]
    hosts[0].update(first or {})
    params = {
        "api_token": "token",
        "api_url": BASE,
        "attempts": attempts or {},
        "by_job": by_job,
        "connection": "",
        "decided": [],
        "elsewhere": list(elsewhere),
        "failed": [],
        "forbidden": forbidden,
        "forks": 5,
        "here": here,
        "hosts": hosts,
        "identity_file": "",
        "in_batches": False,
        "ids": [host["id"] for host in hosts],
        "inventory": {},
        "job_keys": job_keys,
        "no_login": no_login,
        "one_tells_all": True,
        "others": others or {},
        "plan_file": None,
        "quote": quote,
        "registry_fingerprint": "",
        "registry_url": registry_url,
        "sealed": {},
        "serial": serial,
        "slice_of": "",
        "sources": list(sources),
        "untold": list(untold),
    }
    return plan(cast(Market, api or FakeMarket(count, storage=storage)), params, check_mode)


def show_status(monkeypatch: pytest.MonkeyPatch, phase: str, *resource_ids: str) -> None:
    """Let the status of every offer be this one."""
    status = {
        "phase": phase,
        "ready": phase == "ready",
        "resource_ids": list(resource_ids),
        "connections": [],
        "msg": "",
    }
    for module in (operation, _missing):
        monkeypatch.setattr(module, "offer_statuses", lambda _api, ids: {each: status for each in ids if each})


NOT_FOUND, UNAVAILABLE = (
    ApiError("answered 404.", "not_found"),
    ApiError("answered 500.", "unavailable", transient=True),
)
LISTED = machine(1, "gpu-0", offer(9)["offer_id"])
ENDED = {"gpu-0": [{"offer_id": LISTED["offer_id"], "outcome": "created", "ended": [LISTED["resource_id"]]}]}


@pytest.mark.parametrize(
    ("page", "attempts", "action", "action_by_name", "action_if_adopting"),
    [
        pytest.param({**LISTED, "status": "deleted"}, {}, "buy", "buy", "buy", id="deleted"),
        pytest.param({**LISTED, "status": "deleting"}, {}, "buy", "buy", "buy", id="deleting"),
        pytest.param(LISTED, {}, "stop", "wait", "wait", id="running"),
        pytest.param({**LISTED, "name": "train"}, {}, "buy", "buy", "buy", id="renamed"),
        pytest.param(NOT_FOUND, {}, "stop", "stop", "stop", id="404"),
        pytest.param(UNAVAILABLE, {}, "stop", "stop", "stop", id="unreadable"),
        pytest.param(NOT_FOUND, ENDED, "buy", "buy", "buy", id="404, ended by this play"),
        pytest.param(LISTED, ENDED, "buy", "buy", "buy", id="running, ended by this play"),
    ],
)
def test_listed_machine_of_the_hosts_name_is_judged_by_its_own_page(
    tmp_path: Path, page: Any, attempts: Any, action: str, action_by_name: str, action_if_adopting: str
) -> None:
    """With a registry, without one (the name decides), and with provision_adopt."""

    def plan_of_host(**fields: Any) -> Any:
        api = FakeMarket(10, listed=[LISTED], pages={LISTED["resource_id"]: page})
        (plan,) = planned(tmp_path, 1, api=api, attempts=attempts, **fields)["plans"]
        return plan

    noted, named, adopted = plan_of_host(), plan_of_host(registry_dir=""), plan_of_host(adopt=True)
    actions = (noted["action"], named["action"], adopted["action"])
    assert actions == (action, action_by_name, action_if_adopting), noted["refusal"]
    if action == action_by_name == "stop":
        for plan in (named, adopted):
            assert LISTED["resource_id"] in plan["refusal"] and "Run again" in plan["refusal"]


@pytest.mark.parametrize("is_quote", [False, True])
def test_purchase_made_without_an_inventory_is_not_repeated_with_one(tmp_path: Path, is_quote: bool) -> None:
    """Both in one folder. The refusal needs no request."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    HostFile(str(tmp_path / "host_vars" / "gpu-0" / "compute_index_supply.yml")).note(BOUGHT)
    api = SimpleNamespace(account="account", ahead=0.0)
    where = {"here": str(tmp_path), "sources": [str(inventory)], "inventory_dir": str(inventory)}

    (refused,) = planned(tmp_path, 1, api=cast(Any, api), quote=is_quote, registry_dir=None, **where)["plans"]
    assert refused["action"] == "stop" and f"-e provision_registry_dir={tmp_path}/host_vars." in refused["refusal"]
    assert refused["refusal"].endswith("Nothing was sent.")
    chosen = planned(tmp_path, 1, quote=is_quote, registry_dir="host_vars", **where)
    assert chosen["plans"][0]["action"] == "buy", "the user has chosen a registry"


@pytest.mark.parametrize("wanted", [None, "registry"])
def test_purchase_is_not_repeated_if_the_inventories_come_in_another_order(tmp_path: Path, wanted: str | None) -> None:
    """Ansible says that a host of both inventories belongs to the first one, whose folder has the registry."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    registry = first / (wanted or "host_vars")
    HostFile(str(registry / "gpu-0" / "compute_index_supply.yml")).note(BOUGHT)
    where = {"here": str(tmp_path), "inventory_dir": str(second), "sources": [str(second), str(first)]}
    (refused,) = planned(tmp_path, 1, registry_dir=wanted, **where)["plans"]
    assert refused["action"] == "stop" and f"-e provision_registry_dir={registry}." in refused["refusal"]


def test_purchase_that_the_registry_of_another_host_remembers_is_not_repeated(tmp_path: Path) -> None:
    """A host may have been moved from one group to another, with another registry."""
    HostFile(str(tmp_path / "old" / "gpu-0" / "compute_index_supply.yml")).note(BOUGHT)
    of_host = {"registry_dir": str(tmp_path / "new")}
    plans = {plan["host"]: plan for plan in planned(tmp_path / "old", 2, first=of_host)["plans"]}
    assert plans["gpu-0"]["action"] == "stop" and f"gpu-0 has offer {offer(9)['offer_id']}" in plans["gpu-0"]["refusal"]
    assert plans["gpu-1"]["action"] == "buy"


def test_unreadable_entry_in_another_registry_folder_stops_the_host(tmp_path: Path) -> None:
    """A merge in git may have broken it, and it may note a purchase."""
    inventory, broken = tmp_path / "inventory", tmp_path / "host_vars" / "gpu-0" / "compute_index_supply.yml"
    inventory.mkdir()
    broken.parent.mkdir(parents=True)
    broken.write_text("<<<<<<< HEAD\n")
    where = {"here": str(tmp_path), "sources": [str(inventory)], "inventory_dir": str(inventory)}
    (refused,) = planned(tmp_path, 1, registry_dir=None, **where)["plans"]
    assert refused["action"] == "stop" and str(broken) in refused["refusal"]
    assert f"-e provision_registry_dir={inventory}/host_vars." in refused["refusal"]
    assert planned(tmp_path, 1, registry_dir="host_vars", **where)["plans"][0]["action"] == "buy"


@pytest.mark.parametrize(
    ("content", "refusal"),
    [("<<<<<<< HEAD\n", "holds no mapping"), ("provision_project: red\nprovision_resource_ids: [r]\n", "project red")],
    ids=["unreadable", "of another project"],
)
def test_host_without_a_usable_entry_stops(tmp_path: Path, content: str, refusal: str) -> None:
    """It may have its machine. The other hosts of the play go on."""
    path = tmp_path / "gpu-0" / "compute_index_supply.yml"
    path.parent.mkdir()
    path.write_text(content)
    api = FakeMarket(2, pages={"r": LISTED})
    stopped, other = planned(tmp_path, 2, api=api, check_mode=False, protect=True)["plans"]
    assert (stopped["action"], other["action"]) == ("stop", "buy"), other["refusal"]
    assert refusal in stopped["refusal"] and str(path) in stopped["refusal"]
    assert stopped["refusal"].endswith("Nothing was sent.") and path.read_text() == content


@pytest.mark.parametrize(
    ("outcomes", "attempts_left"), [([], 3), (["rejected"], 2), (["rejected"] * 2, 1), (["not_sent"] * 3, 3)]
)
def test_offers_that_a_host_has_tried_are_left_out_and_counted(
    tmp_path: Path, outcomes: list[str], attempts_left: int
) -> None:
    tried = [{"offer_id": offer(number)["offer_id"], "outcome": each} for number, each in enumerate(outcomes)]
    (host_plan,) = planned(tmp_path, 1, api=FakeMarket(5), attempts={"gpu-0": tried})["plans"]
    assert (host_plan["action"], host_plan["offer_id"]) == ("buy", offer(len(tried))["offer_id"])
    assert host_plan["attempts_left"] == attempts_left


@pytest.mark.parametrize("is_quote", [False, True])
def test_plan_and_quote_warn_about_a_filter_that_was_not_applied(tmp_path: Path, is_quote: bool) -> None:
    api = FakeMarket(2)
    api.filters = {"compute": SPEC["compute"]}
    warnings = planned(tmp_path, 2, api=api, quote=is_quote)["warnings"]
    assert sum("lacks region: it may have ignored that." in text for text in warnings) == 1, warnings


@pytest.mark.parametrize(
    ("failing", "action"), [((), "buy"), ((0,), "stop"), ((1,), "stop"), ((0, 1), "stop")], ids=str
)
def test_host_buys_nothing_if_one_of_its_searches_fails(tmp_path: Path, failing: tuple[int, ...], action: str) -> None:
    """Its offers could be the better choice."""
    searches = [{**SPEC, "vendor": "crusoe"}, {**SPEC, "vendor": "nebius"}]

    class Failing(FakeMarket):
        def search_offers(self, spec: dict[str, Any]) -> tuple[list[dict[str, Any]], int, Any]:
            if any(spec["vendor"] == searches[number]["vendor"] for number in failing):
                raise UNAVAILABLE
            return super().search_offers({key: value for key, value in spec.items() if key != "vendor"})

    api = Failing(4)
    for each in api._offers[2:]:
        each.update(vendor="crusoe")
    (host_plan,) = planned(tmp_path, 1, api=api, spec=searches)["plans"]
    assert host_plan["action"] == action, host_plan["refusal"]
    assert ("answered 500." in host_plan["refusal"]) is (action == "stop")


def test_machines_of_other_names_are_not_read_by_their_ids(tmp_path: Path) -> None:
    api = FakeMarket(
        1, listed=[machine(1, "train"), machine(2, "gpu-00"), machine(3, None), machine(4, "gpu-0", status="deleted")]
    )
    assert planned(tmp_path, 1, api=api)["plans"][0]["action"] == "buy" and api.read == []


@pytest.mark.parametrize(
    ("fields", "actions", "first_step", "serial", "all_skip_first"),
    [
        ({}, ["buy", "buy"], "", False, True),
        ({}, ["buy", "buy"], "", True, False),  # a host of another batch may need it
        ({"host_key_trust": "seeded", "reach": True}, ["buy", "buy"], "seeded", False, False),
        ({"max_price_per_hour": 0.01}, ["stop", "stop"], "stop", False, False),
        ({"invalid": ["provision_reach is no truth"]}, ["stop", "stop"], "stop", False, False),
    ],
)
def test_plan_names_its_first_step_and_whether_all_hosts_skip_it(
    tmp_path: Path, fields: Any, actions: list[str], first_step: str, serial: bool, all_skip_first: bool
) -> None:
    answer = planned(tmp_path, 2, serial=serial, **fields)
    assert [each["action"] for each in answer["plans"]] == actions
    assert {(each["first"], each["next"]) for each in answer["plans"]} == {(first_step, "")}
    assert (answer["common"]["all_skip_first"], answer["common"]["all_skip_next"]) == (all_skip_first, not serial)
    assert answer["common"]["acquires"] is ("buy" in actions)


@pytest.mark.parametrize(("check_mode", "retries"), [(False, 7), (True, 0)])
def test_check_mode_polls_once(tmp_path: Path, check_mode: bool, retries: int) -> None:
    answer = planned(tmp_path, 1, check_mode=check_mode, poll_retries=7)
    ((purchase,),) = (row["purchases"] for row in answer["plans"])
    assert answer["common"]["poll"]["retries"] == purchase["poll"]["retries"] == retries


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"max_price_per_hour": 4.0}),
        # The offer's details leave out the storage.
        ({"storage": 0.5, "offer_id": offer(0)["offer_id"]}, {"price_per_hour": 1.5}),
        ({"cluster_name": "pod", "project": "research"}, {"cluster_name": "pod", "project": "research"}),
        ({"max_account_price_per_hour": "20"}, {"max_account_price_per_hour": 20.0}),
        # With files, the total becomes a limit of this purchase.
        ({"max_total_price_per_hour": "3"}, {"max_price_per_hour": 3.0}),
    ],
)
def test_plan_fills_the_options_of_the_purchase(tmp_path: Path, fields: Any, expected: dict[str, Any]) -> None:
    ((purchase,),) = (each["purchases"] for each in planned(tmp_path, 1, **fields)["plans"])
    assert set(purchase) == {"label", "cluster", "poll", "options", "note"}
    # The task sets the other options itself; the plan has all of these, perhaps empty.
    own = {"ssh_public_key", "cloud_init", "registry_url", "note", "plan", "listed_before"}
    assert set(purchase["options"]) == {*PROCURE_OFFER} - own - {"procure_timeout", "settle_timeout", "account_name"}
    file = str(tmp_path / "gpu-0" / "compute_index_supply.yml")
    assert {name: value for name, value in purchase["options"].items() if value not in (None, {})} == {
        **{"offer_id": offer(0)["offer_id"], "resource_name": "gpu-0", "max_price_per_hour": 4.0, "host": "gpu-0"},
        **{"price_per_hour": 2.0, "project": "default", "account": "account", "registry_file": file, **expected},
    }
    assert purchase["note"]["provision_groups"] == ["gpu"] and purchase["note"]["provision_offer"]["gpu_type"]


def test_offer_given_by_id_is_planned_at_the_price_of_the_search(tmp_path: Path) -> None:
    first = {"offer_id": offer(0)["offer_id"]}
    options = [one["purchases"][0]["options"] for one in planned(tmp_path, 2, storage=0.5, first=first)["plans"]]
    assert [(each["offer_id"], each["price_per_hour"]) for each in options] == [
        (offer(0)["offer_id"], 2.0),
        (offer(1)["offer_id"], 2.0),
    ]


def note_bad_machine(tmp_path: Path, request: pytest.FixtureRequest, is_shared: bool) -> str:
    """Note a bad machine in the cheapest place, its evidence and its end. Return the registry's URL, or ``""``."""
    url = request.getfixturevalue("registry_url") if is_shared else ""
    place = SharedProject("default") if is_shared else Folder(str(tmp_path))
    purchase = {
        "provision_procured_offer_id": offer(9)["offer_id"],
        "provision_resource_ids": [machine_id(9)],
        "provision_journaled_at": utc(time.time() - 600),
        "provision_price_per_hour": 2.0,
        "provision_offer": {"vendor": "nebius", "region": "EU"},
    }
    with Registries(url, BASE, read_only=False) as registries:
        store = registries.at(place)
        owner = store.host("gpu-9")
        assert owner is not None
        owner.read()
        owner.claim({**purchase, "provision_resource_ids": None, "provision_purchase": "sent"})
        owner.note({**purchase, "provision_purchase": "made"})
        reasons = ["GPU 3: xid: Xid 79 (fell off the bus) (bad)"]
        report = Report.of("gpu-9", [{"item": "gpu-9", "verdict": "bad", "reasons": reasons}])
        assert store.keep_evidence("gpu-9", bundle(report, {}, *store.entry("gpu-9")))
        owner.end("released")
    return url


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("is_quote", [False, True])
def test_place_of_a_bad_machine_is_avoided_after_it_has_ended(
    tmp_path: Path, request: pytest.FixtureRequest, is_shared: bool, is_quote: bool
) -> None:
    """By all hosts of the registry, in later runs. A plan warns of it, and a quote prints it."""
    url = note_bad_machine(tmp_path, request, is_shared)
    api = FakeMarket(4)
    api._offers[2].update(vendor="crusoe")
    options: Any = {"api": api, "registry_url": url, "quote": is_quote}
    result = planned(tmp_path, 1, **options)
    assert [one["offer_id"] for one in result["plans"]] == [offer(2)["offer_id"]]
    output = " ".join(" ".join(result["lines" if is_quote else "warnings"]).split())
    assert "nebius EU is avoided until 20" in output and "test: GPU 3: xid: Xid 79 (fell off the bus)." in output
    again = planned(tmp_path, 1, avoid="0", **options)
    assert [one["offer_id"] for one in again["plans"]] == [offer(0)["offer_id"]]
    assert "avoided" not in str(again.get("lines")) + str(again["warnings"])


def test_unreadable_evidence_is_a_warning(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    note_bad_machine(tmp_path, request, False)
    (file,) = (tmp_path / ".evidence").iterdir()
    (tmp_path / ".evidence" / "half.json.tmp").write_text("{")
    file.write_text(file.read_text()[:100])
    lost = tmp_path / ".evidence" / "lost.json"
    lost.symlink_to(tmp_path / "nowhere")
    result = planned(tmp_path, 1)
    assert result["plans"][0]["action"] == "buy"
    warning, of_lost = sorted(
        (text for text in result["warnings"] if "evidence" in text), key=lambda text: "lost" in text
    )
    assert str(lost) in of_lost
    lost.unlink()
    assert warning == f"The evidence {file} cannot be read, so its vendor and region may not be avoided."


def test_plan_of_a_host_does_not_grow_with_the_number_of_hosts(tmp_path: Path) -> None:
    few, many = (planned(tmp_path, count)["plans"] for count in (5, 100))
    assert {one["action"] for one in (*few, *many)} == {"buy"}
    assert len({one["offer_id"] for one in many}) == 100
    assert len(json.dumps(many)) / 100 < 1.1 * len(json.dumps(few)) / 5


@pytest.mark.parametrize(
    ("fields", "buys"),
    [
        ({}, False),
        ({"connection": "ssh"}, False),
        ({"connection": "ansible.builtin.ssh"}, False),
        ({"connection": "ansible.netcommon.libssh"}, True),
        ({"reach": "false"}, True),
    ],
)
def test_host_without_a_way_to_log_in_buys_nothing(tmp_path: Path, fields: dict[str, Any], buys: bool) -> None:
    (host_plan,) = planned(tmp_path, 1, no_login="There is no ssh.", **fields)["plans"]
    assert (host_plan["action"] == "buy") == buys, host_plan["refusal"]
    if not buys:
        assert host_plan["refusal"] == "There is no ssh. Nothing was sent."


@pytest.mark.parametrize("quote", [False, True])
def test_forbidden_strategy_stops_all_hosts_without_request(tmp_path: Path, quote: bool) -> None:
    api = SimpleNamespace(account="account", ahead=0.0)
    answer = planned(tmp_path, 2, api=cast(Any, api), quote=quote, check_mode=False, forbidden="Use linear.")
    plans = [(host_plan["action"], host_plan["refusal"]) for host_plan in answer["plans"]]
    assert (plans, answer["changed"]) == ([("stop", "Use linear.")] * 2, False)


@pytest.mark.parametrize(
    ("fields", "identity_file"),
    [
        ({}, "{here}/gpu"),
        ({"identity_file": "mine"}, "/mine"),
        ({"has_ssh_public_key": True}, ""),  # the key itself is given, not its file
        ({"ssh_public_key_file": "alone.pub"}, ""),
        ({"ssh_public_key_file": "gpu"}, ""),
    ],
)
def test_private_key_is_found_next_to_the_public_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], identity_file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gpu", "gpu.pub", "alone.pub"):
        Path(name).write_text(f"{KEY}\n")
    given = {"has_ssh_public_key": False, "ssh_public_key_file": "gpu.pub", **fields}
    (plan,) = planned(tmp_path / "registry", 1, **given)["plans"]
    assert plan["identity_file"] == identity_file.format(here=tmp_path)


@pytest.mark.parametrize(("quote", "action"), [(False, "stop"), (True, "buy")])
def test_only_a_quote_needs_no_public_key(tmp_path: Path, quote: bool, action: str) -> None:
    """Without the key, no one could log in to the machine."""
    given = {"has_ssh_public_key": False, "ssh_public_key_file": str(tmp_path / "none.pub")}
    (host_plan,) = planned(tmp_path / "registry", 1, quote=quote, **given)["plans"]
    assert (host_plan["action"], "There is no SSH public key" in host_plan["refusal"]) == (action, not quote)


@pytest.mark.parametrize(
    ("job_keys", "fields", "buys"),
    [
        (None, {}, True),
        (f"256 {SHA} a credential (ED25519)\n", {}, True),
        (f"2048 SHA256:another x (RSA)\n256 {SHA} y (ED25519)\n", {}, True),
        ("2048 SHA256:another x (RSA)\n", {}, False),
        (f"256 {SHA}er x (ED25519)\n", {}, False),
        ("The agent has no identities.\n", {}, False),
        ("", {}, False),
        ("", {"reach": "false"}, True),
        ("", {"identity_file": "/runner/key"}, True),
        ("", {"ssh_fingerprint": "", "ssh_public_key_file": "none.pub"}, True),
        ("", {"ssh_fingerprint": "", "ssh_public_key_file": "/proc/self/mem"}, True),
        (f"256 {SHA} x (ED25519)\n", {"ssh_fingerprint": "", "ssh_public_key_file": "key.pub"}, False),
        (f"256 {OF_FILE} x (ED25519)\n", {"ssh_fingerprint": "", "ssh_public_key_file": "key.pub"}, True),
    ],
)
def test_job_without_the_key_of_the_machines_buys_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_keys: str | None, fields: dict[str, Any], buys: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.pub").write_text(f"{KEY}\n")
    (host_plan,) = planned(tmp_path / "registry", 1, job_keys=job_keys, **fields)["plans"]
    assert (host_plan["action"] == "buy") == buys, host_plan["refusal"]
    if not buys:
        assert "This job cannot log in to the machines that it would buy" in host_plan["refusal"]
        assert host_plan["refusal"].endswith("Nothing was sent.")


@pytest.mark.parametrize("quote", [True, False])
@pytest.mark.parametrize(
    ("registry", "is_lost"),
    [
        (None, True),
        ("registry", True),
        ("../registry", True),
        ("{job}/project/host_vars", True),
        ("", False),
        ("{stays}", False),
    ],
)
def test_job_that_would_lose_its_registry_is_refused(
    tmp_path: Path, registry: str | None, is_lost: bool, quote: bool
) -> None:
    """Also a quote, although it checks no keys; otherwise it would be approved."""
    job = tmp_path / "job"
    (job / "inventory").mkdir(parents=True)
    (job / "inventory" / "hosts").touch()
    keys = None if quote else f"256 {SHA} a credential (ED25519)"
    folder = registry and registry.format(job=job, stays=tmp_path / "stays")
    where = {"here": str(job / "project"), "sources": [str(job / "inventory" / "hosts")]}
    (host_plan,) = planned(tmp_path, 1, registry_dir=folder, quote=quote, by_job=True, job_keys=keys, **where)["plans"]
    assert ("nothing would remember the machine" in host_plan["refusal"]) is is_lost, host_plan


def test_budget_counts_all_registry_folders_of_the_project(tmp_path: Path) -> None:
    """The other host of the project has a registry folder of its own, and is not in this play."""
    other = raw(host="gpu-9", registry_dir=str(tmp_path / "b"))
    bought = {"provision_procured_offer_id": "o", "provision_purchase": "sent", "provision_price_per_hour": 1e7}
    file = HostFile(f"{tmp_path}/b/gpu-9/compute_index_supply.yml")
    file.claim({**bought, "provision_journaled_at": utc(time.time())})
    file.close()
    (alone,) = planned(tmp_path / "a", 1, budget=5000, lease="1h")["plans"]
    (together,) = planned(tmp_path / "a", 1, budget=5000, lease="1h", elsewhere=[other])["plans"]
    (apart,) = planned(tmp_path / "a", 1, budget=5000, lease="1h", elsewhere=[{**other, "project": "red"}])["plans"]
    assert (alone["action"], together["action"], apart["action"]) == ("buy", "stop", "buy"), together["refusal"]
    assert "Project default would cost" in together["refusal"]


def test_budget_counts_this_month_although_a_clock_was_behind(tmp_path: Path) -> None:
    """By the clock of one purchase, which was weeks behind the API's, the month of the others would be over."""
    for host, price, ahead in (("over", 1e7, 0.0), ("late", 0.01, 40 * 86_400.0)):
        file = HostFile(f"{tmp_path}/{host}/compute_index_supply.yml", ahead=lambda ahead=ahead: ahead)  # type: ignore[misc]
        bought = {"provision_procured_offer_id": f"o-{host}", "provision_price_per_hour": price}
        file.claim({**bought, "provision_clock": "api", "provision_journaled_at": utc(time.time())})
        file.note({**bought, "provision_purchase": "made", "provision_resource_ids": [host]})
        file.close()
    file = HostFile(f"{tmp_path}/over/compute_index_supply.yml")
    file.read()
    file.end()
    (host_plan,) = planned(tmp_path, 1, budget=2000, lease="1h")["plans"]
    assert (host_plan["action"], host_plan["error_class"]) == ("stop", "price"), host_plan["refusal"]
    assert planned(tmp_path, 1, budget=1e6, lease="1h")["plans"][0]["action"] == "buy"


def test_budget_refuses_while_a_registry_of_the_project_is_unread(tmp_path: Path) -> None:
    limits = {"lease": "1h", "untold": ["gpu-9: its registry is not read."]}
    (host_plan,) = planned(tmp_path, 1, budget=5000, **limits)["plans"]
    (free,) = planned(tmp_path, 1, **limits)["plans"]
    assert (host_plan["action"], free["action"]) == ("stop", "buy")
    assert "provision_budget cannot be checked: gpu-9: its registry is not read." in host_plan["refusal"]


@pytest.mark.parametrize("shown", ["list", "links"])
def test_adopted_machine_counts_with_its_storage(tmp_path: Path, shown: str) -> None:
    """A machine's own price does not include its storage."""
    links = [{"resource_id": machine_id(2), "kind": "storage"}]
    own = {**LISTED, **({"linked_resources": links} if shown == "links" else {})}
    volume = machine(2, "data", LISTED["offer_id"] if shown == "list" else None, kind="storage", price_per_hour=0.25)
    listed = [own, volume] if shown == "list" else [own]
    api = FakeMarket(10, listed=listed, pages={LISTED["resource_id"]: own, machine_id(2): volume})
    (host_plan,) = planned(tmp_path, 1, api=api, check_mode=False, adopt=True)["plans"]
    entry = read_entry(HostFile(str(tmp_path / "gpu-0" / "compute_index_supply.yml")).read())
    assert host_plan["action"] == "wait", host_plan["refusal"]
    assert host_plan["price_per_hour"] == entry.price_per_hour == 2.25
    assert (entry.resource_ids, entry.all_ids) == ((LISTED["resource_id"],), (LISTED["resource_id"], machine_id(2)))
    (dear,) = planned(tmp_path / "b", 1, api=api, adopt=True, max_price_per_hour=2.2)["plans"]
    assert dear["action"] == "stop" and "USD 2.25 per hour, above provision_max_price_per_hour" in dear["refusal"]
    limits = {"max_price_per_hour": 5, "max_bill": 16, "lease": "8h"}
    (bound,) = planned(tmp_path / "c", 1, api=api, adopt=True, **limits)["plans"]
    assert "above provision_max_bill (USD 16.00 with the lease 8h, so USD 2.00 per hour)" in bound["refusal"]


@pytest.mark.parametrize(("contract", "action"), [("ondemand", "wait"), ("spot", "stop")])
def test_adopted_machine_is_compared_with_the_page_of_its_offer(tmp_path: Path, contract: str, action: str) -> None:
    """The list of machines does not name the contract."""
    api = FakeMarket(10, listed=[LISTED], pages={LISTED["resource_id"]: LISTED})
    api._offers[9].update(contract_type=contract)
    (host_plan,) = planned(tmp_path, 1, api=api, adopt=True)["plans"]
    assert host_plan["action"] == action, host_plan["refusal"]
    assert ("contract_type spot instead of ondemand" in host_plan["refusal"]) is (action == "stop")


@pytest.mark.parametrize(("rival", "action"), [(("default", "gpu-0"), "wait"), (("red", "b"), "stop")])
def test_machine_adopted_by_another_run_stops_only_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry_url: str, rival: tuple[str, str], action: str
) -> None:
    """If the other run was for the same host, the host has its machine."""
    show_status(monkeypatch, "ready", LISTED["resource_id"])
    other = SharedHost(Database(registry_url, {"host": "h", "user": "u", "run": "other"}), *rival, BASE, run="other")

    class AdoptedMeanwhile(FakeMarket):
        """The other run adopts the machine between this run's read of the registry and its note."""

        def resources(self) -> list[dict[str, Any]]:
            if read_entry(other.read()).is_empty:
                ids = {"provision_resource_ids": [LISTED["resource_id"]], "provision_adopted": True}
                other.note({"provision_procured_offer_id": LISTED["offer_id"], "provision_price_per_hour": 2.0, **ids})
            return super().resources()

    api = AdoptedMeanwhile(10, listed=[LISTED], pages={LISTED["resource_id"]: LISTED})
    options: Any = {"api": api, "check_mode": False, "adopt": True, "registry_url": registry_url}
    first, second = (planned(tmp_path, 2, **options) for _run in range(2))
    plans = first["plans"]
    assert [item["action"] for item in plans] == [action, "buy"], [item["refusal"] for item in plans]
    assert (first["changed"], second["changed"]) == (False, False)
    assert ("is contested" in plans[0]["refusal"]) is (action == "stop")


@pytest.mark.parametrize(("owner", "action"), [("gpu-0", "wait"), ("gpu-9", "stop")])
def test_machine_of_an_ended_entry_is_adopted_only_by_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry_url: str, owner: str, action: str
) -> None:
    """The registry has each offer once. Another host that wants the machine stops; the rest of the play goes on."""
    show_status(monkeypatch, "ready", LISTED["resource_id"])
    other = SharedHost(Database(registry_url, {"host": "h", "user": "u", "run": "o"}), "default", owner, BASE, run="o")
    ids = {"provision_resource_ids": [LISTED["resource_id"]], "provision_purchase": "made"}
    other.note({"provision_procured_offer_id": LISTED["offer_id"], "provision_price_per_hour": 2.0, **ids})
    other.end()
    api = FakeMarket(10, listed=[LISTED], pages={LISTED["resource_id"]: LISTED})
    plans = planned(tmp_path, 2, api=api, check_mode=False, adopt=True, registry_url=registry_url)["plans"]
    assert [item["action"] for item in plans] == [action, "buy"], [item["refusal"] for item in plans]
    refusal = "host gpu-9 of project default has also bought the offer; it counts as ended: if it still runs, let that"
    assert (refusal in plans[0]["refusal"]) is (action == "stop")


@pytest.mark.parametrize("refused", [None, 409])
@pytest.mark.parametrize("store", ["files", "postgresql"])
def test_storage_of_an_unanswered_purchase_that_failed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, store: str, refused: int | None
) -> None:
    """If it was refused, the storage belongs to someone else."""
    bought, url = offer(9)["offer_id"], ""
    registry: Any = HostFile(str(tmp_path / "gpu-0" / "compute_index_supply.yml"))
    if store == "postgresql":
        url = request.getfixturevalue("registry_url")
        dead = Database(url, {"host": "h", "user": "u", "run": "dead"})
        registry = SharedHost(dead, "default", "gpu-0", BASE, run="dead")
    show_status(monkeypatch, "failed")
    registry.read()
    registry.claim(
        {
            **{"provision_procured_offer_id": bought, "provision_purchase": "sent", "provision_price_per_hour": 2.0},
            **{"provision_journaled_at": utc(time.time()), "provision_refused_status": refused},
        }
    )
    registry.close()
    volume = machine(2, "data", bought, kind="storage")
    api = FakeMarket(1, listed=[volume], pages={machine_id(2): volume})
    (host_plan,) = planned(tmp_path, 1, api=api, check_mode=False, registry_url=url)["plans"]
    ledger = dead.ledger("default") if url else _stores.ledger(str(tmp_path))
    kept = {item for bill in ledger.bills if bill.runs for item in bill.resource_ids}
    assert (host_plan["action"], kept) == ("buy", set() if refused else {machine_id(2)}), host_plan["refusal"]


@pytest.mark.parametrize(("quote", "check_mode", "noted"), [(False, False, 1), (True, False, 0), (False, True, 0)])
def test_protection_is_noted_in_an_entry_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quote: bool, check_mode: bool, noted: int
) -> None:
    show_status(monkeypatch, "ready", LISTED["resource_id"])
    path = tmp_path / "gpu-0" / "compute_index_supply.yml"
    before = {"provision_procured_offer_id": LISTED["offer_id"], "provision_resource_ids": [LISTED["resource_id"]]}
    HostFile(str(path)).note(before)
    api = FakeMarket(10, listed=[LISTED], pages={LISTED["resource_id"]: LISTED})
    answer = planned(tmp_path, 1, api=api, quote=quote, check_mode=check_mode, protect=True)
    after = HostFile(str(path)).read() or {}
    assert before.items() <= after.items() and ("provision_protected_since" in after) == noted
    assert answer["changed"] is not quote


@pytest.mark.parametrize("phase", ["ended", "failed"])
def test_storage_of_a_machine_ended_elsewhere_stays_in_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Its id may be noted among those of the machines, as earlier versions did."""
    bought, ids = offer(9)["offer_id"], [machine_id(1), machine_id(2)]
    show_status(monkeypatch, phase, *ids)
    path = tmp_path / "gpu-0" / "compute_index_supply.yml"
    HostFile(str(path)).note({"provision_procured_offer_id": bought, "provision_resource_ids": ids})
    gone, volume = machine(1, "gpu-0", bought, status="deleted"), machine(2, "data", bought, kind="storage")
    api = FakeMarket(1, listed=[gone, volume], pages={machine_id(1): gone, machine_id(2): volume})
    (host_plan,) = planned(tmp_path, 1, api=api, check_mode=False)["plans"]
    entry = read_entry(HostFile(str(path)).read())
    assert (host_plan["action"], entry.is_empty) == ("buy", True), host_plan["refusal"]
    assert [item.resource_id for item in entry.kept_storage] == [machine_id(2)]


def test_failed_purchase_stays_while_page_of_machine_listed_as_deleted_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought = offer(9)["offer_id"]
    show_status(monkeypatch, "failed", machine_id(1))
    path = tmp_path / "gpu-0" / "compute_index_supply.yml"
    HostFile(str(path)).note({"provision_procured_offer_id": bought, "provision_resource_ids": [machine_id(1)]})
    api = FakeMarket(1, listed=[machine(1, "gpu-0", bought, status="deleted")], pages={machine_id(1): UNAVAILABLE})
    (host_plan,) = planned(tmp_path, 1, api=api, check_mode=False)["plans"]
    assert host_plan["action"] != "buy" and read_entry(HostFile(str(path)).read()).resource_ids == (machine_id(1),)


def test_plan_above_a_ceiling_changes_nothing(tmp_path: Path) -> None:
    answer = planned(tmp_path, 2, check_mode=False, max_total_price_per_hour=0.5)
    actions = [host_plan["action"] for host_plan in answer["plans"]]
    assert (actions, answer["changed"]) == (["stop", "stop"], False)


@pytest.mark.parametrize(("ceiling", "action"), [(2.2, "stop"), (2.25, "buy")])
@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
@pytest.mark.parametrize("is_listed", [True, False])
def test_storage_of_a_machine_ended_elsewhere_counts_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_listed: bool, option: str, ceiling: float, action: str
) -> None:
    """In this plan, although its end is noted only afterwards."""
    bought, volume = offer(9)["offer_id"], machine(2, "data", None, kind="storage", price_per_hour=0.25)
    show_status(monkeypatch, "ended")
    file = HostFile(str(tmp_path / "gpu-0" / "compute_index_supply.yml"))
    noted = {"provision_storage": [{"resource_id": machine_id(2), "price_per_hour": 0.25}]}
    file.note({"provision_procured_offer_id": bought, "provision_resource_ids": [machine_id(1)], **noted})
    gone = machine(1, "gpu-0", bought, status="deleted")
    api = FakeMarket(
        1, listed=[gone, *([volume] if is_listed else [])], pages={machine_id(1): gone, machine_id(2): volume}
    )
    limits = {option: ceiling}
    for _run in range(2):
        (host_plan,) = planned(tmp_path, 1, api=api, check_mode=False, **limits)["plans"]
        assert host_plan["action"] == action, host_plan["refusal"]
        assert action == "buy" or "USD 2.25 per hour together" in host_plan["refusal"]


@pytest.mark.parametrize(
    ("listed", "ceiling", "action"),
    [
        pytest.param(5.0, 6.5, "stop", id="dearer"),
        pytest.param(5.0, 7.0, "buy", id="dearer, below the ceiling"),
        pytest.param(1.0, 3.5, "stop", id="cheaper"),
        pytest.param(None, 4.0, "buy", id="no listed price"),
    ],
)
@pytest.mark.parametrize(("owner", "others"), [("gpu-0", {}), ("gpu-7", {"gpu-7": 2.0}), ("gpu-7", {"gpu-7": None})])
def test_live_machine_counts_at_the_higher_of_noted_and_listed_price(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: str,
    others: dict[str, Any],
    listed: float | None,
    ceiling: float,
    action: str,
) -> None:
    bought = offer(9)["offer_id"]
    show_status(monkeypatch, "ready", machine_id(1))
    noted = {"provision_resource_ids": [machine_id(1)], "provision_price_per_hour": 2.0, "provision_purchase": "made"}
    HostFile(str(tmp_path / owner / "compute_index_supply.yml")).note({"provision_procured_offer_id": bought, **noted})
    api = FakeMarket(3, listed=[machine(1, owner, bought, price_per_hour=listed)])
    count = 1 if others else 2
    buyer = planned(tmp_path, count, api=api, others=others, max_total_price_per_hour=ceiling)["plans"][-1]
    assert (buyer["host"], buyer["action"]) == (f"gpu-{count - 1}", action), buyer["refusal"]
    assert action == "buy" or f"{owner} USD {max(2.0, listed or 0.0):.2f} (live" in buyer["refusal"]


@pytest.mark.parametrize(("count", "quote", "warns"), [(5, False, False), (6, False, True), (6, True, False)])
def test_more_purchases_than_forks_are_a_warning(tmp_path: Path, count: int, quote: bool, warns: bool) -> None:
    warnings = planned(tmp_path, count, quote=quote)["warnings"]
    assert any("6 hosts buy, 5 at a time: a purchase may take minutes" in text for text in warnings) is warns
