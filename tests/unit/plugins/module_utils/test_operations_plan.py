# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of many hosts, which Ansible keeps several times each for as long as the play goes on."""

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


class Offers:
    """A market with so many offers that fit, on an account with these machines: as a list has them, and their pages."""

    account = "account"
    ahead = 0.0

    def __init__(
        self, count: int, *, storage: float = 0.0, listed: Iterable[Any] = (), pages: Mapping[str, Any] | None = None
    ) -> None:
        self._listed, self._pages, self.read = list(listed), pages or {}, list[str]()
        self._offers = [offer(number, region="EU", contract_type="ondemand") for number in range(count)]
        self.filters: Any = None
        self._storage = storage  # USD per hour, which an offer's own page leaves out

    def offer(self, offer_id: str) -> dict[str, Any]:
        (found,) = (each for each in self._offers if each["offer_id"] == offer_id)
        return {**found, "price_per_hour": found["price_per_hour"] - self._storage}

    def search_offers(self, spec: dict[str, Any]) -> tuple[list[dict[str, Any]], int, Any]:
        assert spec == SPEC
        return self._offers, len(self._offers), self.filters

    def resources(self) -> list[dict[str, Any]]:
        return self._listed

    def resource(self, resource_id: str, *, force_refresh: bool, retries: int | None) -> Any:
        assert force_refresh
        self.read.append(resource_id)
        found = self._pages[resource_id]
        if isinstance(found, Exception):
            raise found
        return found


GONE, BUSY = ApiError("answered 404.", "not_found"), ApiError("answered 500.", "unavailable", transient=True)
LISTED = machine(1, "gpu-0", offer(9)["offer_id"])
ENDED = {"gpu-0": [{"offer_id": LISTED["offer_id"], "outcome": "created", "ended": [LISTED["resource_id"]]}]}


@pytest.mark.parametrize(
    ("page", "attempts", "action", "by_name", "adopts"),
    [
        pytest.param({**LISTED, "status": "deleted"}, {}, "buy", "buy", "buy", id="it is gone, and the list lags"),
        pytest.param({**LISTED, "status": "deleting"}, {}, "buy", "buy", "buy", id="it is ending"),
        pytest.param(LISTED, {}, "stop", "wait", "wait", id="it runs"),
        pytest.param({**LISTED, "name": "train"}, {}, "buy", "buy", "buy", id="it has another name by now"),
        pytest.param(GONE, {}, "stop", "stop", "stop", id="only the list has it"),
        pytest.param(BUSY, {}, "stop", "stop", "stop", id="its page cannot be read"),
        pytest.param(GONE, ENDED, "buy", "buy", "buy", id="this play has ended it"),
        pytest.param(LISTED, ENDED, "buy", "buy", "buy", id="this play has ended it, whatever is shown"),
    ],
)
def test_a_list_that_lags_behind_an_end_decides_nothing(
    tmp_path: Path, page: Any, attempts: Any, action: str, by_name: str, adopts: str
) -> None:
    def found(**fields: Any) -> Any:
        api = Offers(10, listed=[LISTED], pages={LISTED["resource_id"]: page})
        (each,) = planned(tmp_path, 1, api=api, attempts=attempts, **fields)["plans"]
        return each

    first, named, adopted = found(), found(registry_dir=""), found(adopt=True)
    actions = (first["action"], named["action"], adopted["action"])
    assert actions == (action, by_name, adopts), first["refusal"]
    if action == by_name == "stop":
        assert all(
            LISTED["resource_id"] in each["refusal"] and "Run again" in each["refusal"] for each in (named, adopted)
        )


@pytest.mark.parametrize("is_quote", [False, True])
def test_what_was_bought_without_an_inventory_is_not_bought_again_with_one(tmp_path: Path, is_quote: bool) -> None:
    """The two ways to begin, one after the other, in one folder. Nothing is asked."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    bought = {"provision_procured_offer_id": offer(9)["offer_id"], "provision_purchase": "sent"}
    HostFile(str(tmp_path / "host_vars" / "gpu-0" / "compute_index_supply.yml")).note(bought)
    api = SimpleNamespace(account="account", ahead=0.0)
    where = {"here": str(tmp_path), "sources": [str(inventory)], "inventory_dir": str(inventory)}

    (refused,) = planned(tmp_path, 1, api=cast(Any, api), quote=is_quote, registry_dir=None, **where)["plans"]
    assert refused["action"] == "stop" and f"-e provision_registry_dir={tmp_path}/host_vars." in refused["refusal"]
    assert refused["refusal"].endswith("Nothing was sent.")
    told = planned(tmp_path, 1, quote=is_quote, registry_dir="host_vars", **where)
    assert told["plans"][0]["action"] == "buy", "the user has said which registry is meant"


def test_an_entry_of_another_registry_that_cannot_be_read_may_have_bought(tmp_path: Path) -> None:
    """A merge of a colleague's may have left it so; what is broken is not the same as nothing."""
    inventory, broken = tmp_path / "inventory", tmp_path / "host_vars" / "gpu-0" / "compute_index_supply.yml"
    inventory.mkdir()
    broken.parent.mkdir(parents=True)
    broken.write_text("<<<<<<< HEAD\n")
    where = {"here": str(tmp_path), "sources": [str(inventory)], "inventory_dir": str(inventory)}
    (refused,) = planned(tmp_path, 1, registry_dir=None, **where)["plans"]
    assert refused["action"] == "stop" and str(broken) in refused["refusal"]
    assert f"-e provision_registry_dir={inventory}/host_vars." in refused["refusal"]
    assert planned(tmp_path, 1, registry_dir="host_vars", **where)["plans"][0]["action"] == "buy"


@pytest.mark.parametrize("is_quote", [False, True])
def test_plan_and_quote_say_which_filter_was_not_applied(tmp_path: Path, is_quote: bool) -> None:
    api = Offers(2)
    api.filters = {"compute": SPEC["compute"]}
    warnings = planned(tmp_path, 2, api=api, quote=is_quote)["warnings"]
    assert sum("without region: it may have ignored that." in text for text in warnings) == 1, warnings


def test_machines_of_other_names_are_not_read_by_their_ids(tmp_path: Path) -> None:
    api = Offers(
        1, listed=[machine(1, "train"), machine(2, "gpu-00"), machine(3, None), machine(4, "gpu-0", status="deleted")]
    )
    assert planned(tmp_path, 1, api=api)["plans"][0]["action"] == "buy" and api.read == []


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6rQ9Zb0yJxk1mS7JbJm9m0m7nq0oXo3k0a9b8c7d6e a comment"
SHA = "SHA256:own"
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
    api: Offers | None = None,
    attempts: Mapping[str, Any] | None = None,
    others: Mapping[str, Any] | None = None,
    quote: bool = False,
    check_mode: bool = True,
    here: str = "/",
    sources: Iterable[str] = (),
    registry_url: str = "",
    **fields: Any,
) -> dict[str, Any]:
    """The plans of so many hosts, with as many offers. ``first``: what only the first of them declares."""
    fields = {"registry_dir": str(folder), **fields}
    hosts = [raw(host=f"gpu-{n}", name=f"gpu-{n}", id=str(n), **fields) for n in range(count)]
    hosts[0].update(first or {})
    params = {
        **{
            "hosts": hosts,
            "ids": [one["id"] for one in hosts],
            "decided": [],
            "others": others or {},
            "attempts": attempts or {},
        },
        **{
            "sources": list(sources),
            "here": here,
            "inventory": {},
            "connection": "",
            "identity_file": "",
            "forbidden": "",
        },
        **{
            "quote": quote,
            "failed": [],
            "registry_fingerprint": "",
            "slice_of": "",
            "forks": 5,
            "api_token": "token",
            "sealed": {},
            "plan_file": None,
            "serial": serial,
            "one_tells_all": True,
        },
        **{
            "by_job": by_job,
            "job_keys": job_keys,
            "no_login": no_login,
            "elsewhere": list(elsewhere),
            "untold": list(untold),
        },
        **{"registry_url": registry_url, "api_url": BASE},
    }
    return plan(cast(Market, api or Offers(count, storage=storage)), params, check_mode)


def plans(folder: Path, count: int) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", planned(folder, count)["plans"])


@pytest.mark.parametrize(
    ("fields", "actions", "first", "serial", "all_skip_first"),
    [
        ({}, ["buy", "buy"], "", False, True),
        ({}, ["buy", "buy"], "", True, False),  # another batch may have one
        ({"host_key_trust": "seeded", "reach": True}, ["buy", "buy"], "seeded", False, False),
        ({"max_price_per_hour": 0.01}, ["stop", "stop"], "stop", False, False),
        ({"invalid": ["provision_reach is no truth"]}, ["stop", "stop"], "stop", False, False),
    ],
)
def test_what_comes_before_a_purchase(
    tmp_path: Path, fields: Any, actions: list[str], first: str, serial: bool, all_skip_first: bool
) -> None:
    answer = planned(tmp_path, 2, serial=serial, **fields)
    assert [each["action"] for each in answer["plans"]] == actions
    assert {(each["first"], each["next"]) for each in answer["plans"]} == {(first, "")}
    assert (answer["common"]["all_skip_first"], answer["common"]["all_skip_next"]) == (all_skip_first, not serial)
    assert answer["common"]["acquires"] is ("buy" in actions)


@pytest.mark.parametrize(("check_mode", "retries"), [(False, 7), (True, 0)])
def test_check_mode_looks_once(tmp_path: Path, check_mode: bool, retries: int) -> None:
    answer = planned(tmp_path, 1, check_mode=check_mode, poll_retries=7)
    ((purchase,),) = (row["purchases"] for row in answer["plans"])
    assert answer["common"]["poll"]["retries"] == purchase["poll"]["retries"] == retries


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, {"max_price_per_hour": 4.0}),
        # The offer's own page says less.
        ({"storage": 0.5, "offer_id": offer(0)["offer_id"]}, {"price_per_hour": 1.5}),
        ({"cluster_name": "pod", "project": "research"}, {"cluster_name": "pod", "project": "research"}),
        ({"max_account_price_per_hour": "20"}, {"max_account_price_per_hour": 20.0}),
        # A file knows nothing of other controllers.
        ({"max_total_price_per_hour": "3"}, {"max_price_per_hour": 3.0}),
    ],
)
def test_what_a_purchase_is_told(tmp_path: Path, fields: Any, told: dict[str, Any]) -> None:
    ((purchase,),) = (each["purchases"] for each in planned(tmp_path, 1, **fields)["plans"])
    assert set(purchase) == {"label", "cluster", "poll", "options", "note"}
    # The rest is of one host's own templates, or no business of a plan; a plan has all others, also if it says nothing.
    own = {"ssh_public_key", "cloud_init", "registry_url", "note", "plan", "listed_before"}
    assert set(purchase["options"]) == {*PROCURE_OFFER} - own - {"procure_timeout", "settle_timeout", "account_name"}
    file = str(tmp_path / "gpu-0" / "compute_index_supply.yml")
    assert {name: value for name, value in purchase["options"].items() if value not in (None, {})} == {
        **{"offer_id": offer(0)["offer_id"], "resource_name": "gpu-0", "max_price_per_hour": 4.0, "host": "gpu-0"},
        **{"price_per_hour": 2.0, "project": "default", "account": "account", "registry_file": file, **told},
    }
    assert purchase["note"]["provision_groups"] == ["gpu"] and purchase["note"]["provision_offer"]["gpu_type"]


def test_the_price_that_a_search_shows_is_that_of_an_id_too(tmp_path: Path) -> None:
    first = {"offer_id": offer(0)["offer_id"]}
    options = [one["purchases"][0]["options"] for one in planned(tmp_path, 2, storage=0.5, first=first)["plans"]]
    assert [(each["offer_id"], each["price_per_hour"]) for each in options] == [
        (offer(0)["offer_id"], 2.0),
        (offer(1)["offer_id"], 2.0),
    ]


def kept_evidence(tmp_path: Path, request: pytest.FixtureRequest, is_shared: bool) -> str:
    """The address of a registry whose host had a bad machine, of the market's cheapest place, and gave it back."""
    url = request.getfixturevalue("registry_url") if is_shared else ""
    place = SharedProject("default") if is_shared else Folder(str(tmp_path))
    bought = {
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
        owner.claim({**bought, "provision_resource_ids": None, "provision_purchase": "sent"})
        owner.note({**bought, "provision_purchase": "made"})
        reasons = ["GPU 3: xid: Xid 79 (fell off the bus) (bad)"]
        report = Report.of("gpu-9", [{"item": "gpu-9", "verdict": "bad", "reasons": reasons}])
        assert store.keep_evidence("gpu-9", bundle(report, {}, *store.entry("gpu-9")))
        owner.end("released")
    return url


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("is_quote", [False, True])
def test_the_place_of_a_bad_machine_is_avoided_also_once_it_has_ended(
    tmp_path: Path, request: pytest.FixtureRequest, is_shared: bool, is_quote: bool
) -> None:
    """For each host of the registry, in whichever later run, and the quote says why."""
    url = kept_evidence(tmp_path, request, is_shared)
    api = Offers(4)
    api._offers[2].update(vendor="crusoe")
    how: Any = {"api": api, "registry_url": url, "quote": is_quote}
    result = planned(tmp_path, 1, **how)
    assert [one["offer_id"] for one in result["plans"]] == [offer(2)["offer_id"]]
    told = " ".join(" ".join(result["lines" if is_quote else "warnings"]).split())
    assert "nebius EU is avoided until 20" in told and "test: GPU 3: xid: Xid 79 (fell off the bus)." in told
    now = planned(tmp_path, 1, avoid="0", **how)
    assert [one["offer_id"] for one in now["plans"]] == [offer(0)["offer_id"]]
    assert "avoided" not in str(now.get("lines")) + str(now["warnings"])


def test_evidence_that_cannot_be_read_is_named(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kept_evidence(tmp_path, request, False)
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
    assert warning == f"The evidence {file} cannot be read, so the vendor and region of its machine may not be avoided."


def test_a_plan_is_no_larger_among_many(tmp_path: Path) -> None:
    few, many = plans(tmp_path, 5), plans(tmp_path, 100)
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
def test_where_nobody_could_log_in_nothing_is_bought(tmp_path: Path, fields: dict[str, Any], buys: bool) -> None:
    (found,) = planned(tmp_path, 1, no_login="There is no ssh.", **fields)["plans"]
    assert (found["action"] == "buy") == buys, found["refusal"]
    if not buys:
        assert found["refusal"] == "There is no ssh. Nothing was sent."


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, "{here}/gpu"),
        ({"identity_file": "mine"}, "/mine"),
        ({"has_ssh_public_key": True}, ""),  # of a key that is given itself nobody knows the file
        ({"ssh_public_key_file": "alone.pub"}, ""),
        ({"ssh_public_key_file": "gpu"}, ""),
    ],
)
def test_the_private_key_is_the_one_beside_the_public_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gpu", "gpu.pub", "alone.pub"):
        Path(name).write_text(f"{KEY}\n")
    given = {"has_ssh_public_key": False, "ssh_public_key_file": "gpu.pub", **fields}
    (plan,) = planned(tmp_path / "registry", 1, **given)["plans"]
    assert plan["identity_file"] == found.format(here=tmp_path)


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
def test_a_job_that_has_not_the_machines_key_buys_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_keys: str | None, fields: dict[str, Any], buys: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.pub").write_text(f"{KEY}\n")
    (found,) = planned(tmp_path / "registry", 1, job_keys=job_keys, **fields)["plans"]
    assert (found["action"] == "buy") == buys, found["refusal"]
    if not buys:
        assert "This job cannot log in to the machines that it would buy" in found["refusal"]
        assert found["refusal"].endswith("Nothing was sent.")


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
def test_a_job_whose_registry_is_lost_with_it_is_quoted_nothing(
    tmp_path: Path, registry: str | None, is_lost: bool, quote: bool
) -> None:
    """A quote does not ask for its keys, and would be approved."""
    job = tmp_path / "job"
    (job / "inventory").mkdir(parents=True)
    (job / "inventory" / "hosts").touch()
    keys = None if quote else f"256 {SHA} a credential (ED25519)"
    folder = registry and registry.format(job=job, stays=tmp_path / "stays")
    where = {"here": str(job / "project"), "sources": [str(job / "inventory" / "hosts")]}
    (found,) = planned(tmp_path, 1, registry_dir=folder, quote=quote, by_job=True, job_keys=keys, **where)["plans"]
    assert ("nothing would remember the machine" in found["refusal"]) is is_lost, found


def test_a_budget_is_that_of_all_folders_of_the_project(tmp_path: Path) -> None:
    """Two hosts of a project may have registry folders of their own; one of them is not in this play."""
    other = raw(host="gpu-9", registry_dir=str(tmp_path / "b"))
    bought = {"provision_procured_offer_id": "o", "provision_purchase": "sent", "provision_price_per_hour": 1e7}
    file = HostFile(f"{tmp_path}/b/gpu-9/compute_index_supply.yml")
    file.claim({**bought, "provision_journaled_at": utc(time.time())})
    file.close()
    (alone,) = planned(tmp_path / "a", 1, budget=5000, lease="1h")["plans"]
    (found,) = planned(tmp_path / "a", 1, budget=5000, lease="1h", elsewhere=[other])["plans"]
    (apart,) = planned(tmp_path / "a", 1, budget=5000, lease="1h", elsewhere=[{**other, "project": "red"}])["plans"]
    assert (alone["action"], found["action"], apart["action"]) == ("buy", "stop", "buy"), found["refusal"]
    assert "of project default" in found["refusal"]


def test_a_budget_is_that_of_this_month_though_a_clock_was_behind(tmp_path: Path) -> None:
    """What was bought while this computer's clock was weeks behind may run on; by that clock the month were over."""
    for host, price, ahead in (("over", 1e7, 0.0), ("late", 0.01, 40 * 86_400.0)):
        file = HostFile(f"{tmp_path}/{host}/compute_index_supply.yml", ahead=lambda ahead=ahead: ahead)  # type: ignore[misc]
        bought = {"provision_procured_offer_id": f"o-{host}", "provision_price_per_hour": price}
        file.claim({**bought, "provision_clock": "api", "provision_journaled_at": utc(time.time())})
        file.note({**bought, "provision_purchase": "made", "provision_resource_ids": [host]})
        file.close()
    file = HostFile(f"{tmp_path}/over/compute_index_supply.yml")
    file.read()
    file.end()
    (found,) = planned(tmp_path, 1, budget=2000, lease="1h")["plans"]
    assert (found["action"], found["error_class"]) == ("stop", "price"), found["refusal"]
    assert planned(tmp_path, 1, budget=1e6, lease="1h")["plans"][0]["action"] == "buy"


def test_a_budget_refuses_while_it_is_not_known_where_all_of_its_project_is(tmp_path: Path) -> None:
    limits = {"lease": "1h", "untold": ["gpu-9: its registry is not read."]}
    (found,) = planned(tmp_path, 1, budget=5000, **limits)["plans"]
    (free,) = planned(tmp_path, 1, **limits)["plans"]
    assert (found["action"], free["action"]) == ("stop", "buy")
    assert "whether provision_budget holds is not known: gpu-9: its registry is not read." in found["refusal"]


@pytest.mark.parametrize("shown", ["list", "links"])
def test_a_machine_that_is_adopted_brings_its_storage(tmp_path: Path, shown: str) -> None:
    """Its price counts, too: a machine's own price does not include it."""
    links = [{"resource_id": machine_id(2), "kind": "storage"}]
    own = {**LISTED, **({"linked_resources": links} if shown == "links" else {})}
    volume = machine(2, "data", LISTED["offer_id"] if shown == "list" else None, kind="storage", price_per_hour=0.25)
    listed = [own, volume] if shown == "list" else [own]
    api = Offers(10, listed=listed, pages={LISTED["resource_id"]: own, machine_id(2): volume})
    (found,) = planned(tmp_path, 1, api=api, check_mode=False, adopt=True)["plans"]
    entry = read_entry(HostFile(str(tmp_path / "gpu-0" / "compute_index_supply.yml")).read())
    assert (found["action"], found["price_per_hour"], entry.price_per_hour) == ("wait", 2.25, 2.25), found["refusal"]
    assert (entry.resource_ids, entry.all_ids) == ((LISTED["resource_id"],), (LISTED["resource_id"], machine_id(2)))
    (dear,) = planned(tmp_path / "b", 1, api=api, adopt=True, max_price_per_hour=2.2)["plans"]
    assert dear["action"] == "stop" and "USD 2.25 per hour, above provision_max_price_per_hour" in dear["refusal"]
    limits = {"max_price_per_hour": 5, "max_bill": 16, "lease": "8h"}
    (bound,) = planned(tmp_path / "c", 1, api=api, adopt=True, **limits)["plans"]
    assert "above provision_max_bill (USD 16.00 with the lease 8h, so USD 2.00 per hour)" in bound["refusal"]


@pytest.mark.parametrize(("rival", "action"), [(("default", "gpu-0"), "wait"), (("red", "b"), "stop")])
def test_a_machine_that_another_run_adopts_meanwhile_stops_only_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry_url: str, rival: tuple[str, str], action: str
) -> None:
    """The other run may be one for the same host, which then has its machine."""
    status = {"phase": "ready", "ready": True, "resource_ids": [LISTED["resource_id"]], "connections": [], "msg": ""}
    monkeypatch.setattr(operation, "offer_statuses", lambda _api, ids: {each: status for each in ids if each})
    other = SharedHost(Database(registry_url, {"host": "h", "user": "u", "run": "other"}), *rival, BASE, run="other")

    class Overtaken(Offers):
        """The machines are listed once the registry was read, and before anything is noted there."""

        def resources(self) -> list[dict[str, Any]]:
            if read_entry(other.read()).is_empty:
                ids = {"provision_resource_ids": [LISTED["resource_id"]], "provision_adopted": True}
                other.note({"provision_procured_offer_id": LISTED["offer_id"], "provision_price_per_hour": 2.0, **ids})
            return super().resources()

    api = Overtaken(10, listed=[LISTED], pages={LISTED["resource_id"]: LISTED})
    how: Any = {"api": api, "check_mode": False, "adopt": True, "registry_url": registry_url}
    found, again = (planned(tmp_path, 2, **how) for _run in range(2))
    plans = found["plans"]
    assert [item["action"] for item in plans] == [action, "buy"], [item["refusal"] for item in plans]
    assert (found["changed"], again["changed"]) == (False, False)
    assert ("is contested" in plans[0]["refusal"]) is (action == "stop")


@pytest.mark.parametrize(("whose", "action"), [("gpu-0", "wait"), ("gpu-9", "stop")])
def test_what_counted_as_ended_is_taken_over_by_its_own_host_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry_url: str, whose: str, action: str
) -> None:
    """The registry has an offer once. Who may not have it stops, and the others of the play go on."""
    status = {"phase": "ready", "ready": True, "resource_ids": [LISTED["resource_id"]], "connections": [], "msg": ""}
    monkeypatch.setattr(operation, "offer_statuses", lambda _api, ids: {each: status for each in ids if each})
    other = SharedHost(Database(registry_url, {"host": "h", "user": "u", "run": "o"}), "default", whose, BASE, run="o")
    ids = {"provision_resource_ids": [LISTED["resource_id"]], "provision_purchase": "made"}
    other.note({"provision_procured_offer_id": LISTED["offer_id"], "provision_price_per_hour": 2.0, **ids})
    other.end()
    api = Offers(10, listed=[LISTED], pages={LISTED["resource_id"]: LISTED})
    found = planned(tmp_path, 2, api=api, check_mode=False, adopt=True, registry_url=registry_url)["plans"]
    assert [item["action"] for item in found] == [action, "buy"], [item["refusal"] for item in found]
    told = "host gpu-9 of project default has also bought the offer; it counts as ended: if it still runs, let that"
    assert (told in found[0]["refusal"]) is (action == "stop")


@pytest.mark.parametrize("refused", [None, 409])
@pytest.mark.parametrize("store", ["files", "postgresql"])
def test_storage_of_a_purchase_that_was_never_answered_and_has_failed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, store: str, refused: int | None
) -> None:
    """One that was refused has bought nothing: the storage is somebody else's."""
    bought, url = offer(9)["offer_id"], ""
    registry: Any = HostFile(str(tmp_path / "gpu-0" / "compute_index_supply.yml"))
    if store == "postgresql":
        url = request.getfixturevalue("registry_url")
        dead = Database(url, {"host": "h", "user": "u", "run": "dead"})
        registry = SharedHost(dead, "default", "gpu-0", BASE, run="dead")
    status = {"phase": "failed", "ready": False, "resource_ids": [], "connections": [], "msg": "It has failed."}
    monkeypatch.setattr(operation, "offer_statuses", lambda _api, ids: {each: status for each in ids if each})
    registry.read()
    registry.claim(
        {
            **{"provision_procured_offer_id": bought, "provision_purchase": "sent", "provision_price_per_hour": 2.0},
            **{"provision_journaled_at": utc(time.time()), "provision_refused_status": refused},
        }
    )
    registry.close()
    volume = machine(2, "data", bought, kind="storage")
    api = Offers(1, listed=[volume], pages={machine_id(2): volume})
    (found,) = planned(tmp_path, 1, api=api, check_mode=False, registry_url=url)["plans"]
    ledger = dead.ledger("default") if url else _stores.ledger(str(tmp_path))
    kept = {item for bill in ledger.bills if bill.runs for item in bill.resource_ids}
    assert (found["action"], kept) == ("buy", set() if refused else {machine_id(2)}), found["refusal"]


@pytest.mark.parametrize("phase", ["ended", "failed"])
def test_storage_of_a_machine_that_has_ended_elsewhere_stays_in_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Earlier versions noted its id among the machines'."""
    bought, ids = offer(9)["offer_id"], [machine_id(1), machine_id(2)]
    status = {"phase": phase, "ready": False, "resource_ids": ids, "connections": [], "msg": "It has ended."}
    monkeypatch.setattr(operation, "offer_statuses", lambda _api, ids: {each: status for each in ids if each})
    path = tmp_path / "gpu-0" / "compute_index_supply.yml"
    HostFile(str(path)).note({"provision_procured_offer_id": bought, "provision_resource_ids": ids})
    gone, volume = machine(1, "gpu-0", bought, status="deleted"), machine(2, "data", bought, kind="storage")
    api = Offers(1, listed=[gone, volume], pages={machine_id(1): gone, machine_id(2): volume})
    (found,) = planned(tmp_path, 1, api=api, check_mode=False)["plans"]
    entry = read_entry(HostFile(str(path)).read())
    assert (found["action"], entry.is_empty) == ("buy", True), found["refusal"]
    assert [item.resource_id for item in entry.kept_storage] == [machine_id(2)]


def test_failed_purchase_stays_while_page_of_machine_listed_as_deleted_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought, ids = offer(9)["offer_id"], [machine_id(1)]
    status = {"phase": "failed", "ready": False, "resource_ids": ids, "connections": [], "msg": "It has failed."}
    monkeypatch.setattr(operation, "offer_statuses", lambda _api, ids: {each: status for each in ids if each})
    path = tmp_path / "gpu-0" / "compute_index_supply.yml"
    HostFile(str(path)).note({"provision_procured_offer_id": bought, "provision_resource_ids": ids})
    api = Offers(1, listed=[machine(1, "gpu-0", bought, status="deleted")], pages={machine_id(1): BUSY})
    (found,) = planned(tmp_path, 1, api=api, check_mode=False)["plans"]
    assert found["action"] != "buy" and read_entry(HostFile(str(path)).read()).resource_ids == (machine_id(1),)


@pytest.mark.parametrize(("ceiling", "action"), [(2.2, "stop"), (2.25, "buy")])
@pytest.mark.parametrize("whose", ["max_total_price_per_hour", "max_account_price_per_hour"])
@pytest.mark.parametrize("is_listed", [True, False])
def test_storage_of_a_machine_that_has_ended_elsewhere_counts_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_listed: bool, whose: str, ceiling: float, action: str
) -> None:
    """The registry has it as storage alone only after this plan."""
    bought, volume = offer(9)["offer_id"], machine(2, "data", None, kind="storage", price_per_hour=0.25)
    status = {"phase": "ended", "ready": False, "resource_ids": [], "connections": [], "msg": "It has ended."}
    for asking in (operation, _missing):
        monkeypatch.setattr(asking, "offer_statuses", lambda _api, ids: {each: status for each in ids if each})
    file = HostFile(str(tmp_path / "gpu-0" / "compute_index_supply.yml"))
    noted = {"provision_storage": [{"resource_id": machine_id(2), "price_per_hour": 0.25}]}
    file.note({"provision_procured_offer_id": bought, "provision_resource_ids": [machine_id(1)], **noted})
    gone = machine(1, "gpu-0", bought, status="deleted")
    api = Offers(1, listed=[gone, *([volume] if is_listed else [])], pages={machine_id(1): gone, machine_id(2): volume})
    limits = {whose: ceiling}
    for _run in range(2):
        (found,) = planned(tmp_path, 1, api=api, check_mode=False, **limits)["plans"]
        assert found["action"] == action, found["refusal"]
        assert action == "buy" or "USD 2.25 per hour together" in found["refusal"]


@pytest.mark.parametrize(
    ("listed", "ceiling", "action"),
    [
        pytest.param(5.0, 6.5, "stop", id="it has become dearer"),
        pytest.param(5.0, 7.0, "buy", id="and there is room all the same"),
        pytest.param(1.0, 3.5, "stop", id="one that has become cheaper counts as it is noted"),
        pytest.param(None, 4.0, "buy", id="its price is not listed"),
    ],
)
@pytest.mark.parametrize(("owner", "others"), [("gpu-0", {}), ("gpu-7", {"gpu-7": 2.0}), ("gpu-7", {"gpu-7": None})])
def test_a_machine_that_has_become_dearer_counts_at_its_listed_price(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: str,
    others: dict[str, Any],
    listed: float | None,
    ceiling: float,
    action: str,
) -> None:
    bought = offer(9)["offer_id"]
    status = {"phase": "ready", "ready": True, "resource_ids": [machine_id(1)], "connections": [], "msg": ""}
    monkeypatch.setattr(operation, "offer_statuses", lambda _api, ids: {each: status for each in ids if each})
    noted = {"provision_resource_ids": [machine_id(1)], "provision_price_per_hour": 2.0, "provision_purchase": "made"}
    HostFile(str(tmp_path / owner / "compute_index_supply.yml")).note({"provision_procured_offer_id": bought, **noted})
    api = Offers(3, listed=[machine(1, owner, bought, price_per_hour=listed)])
    count = 1 if others else 2
    buyer = planned(tmp_path, count, api=api, others=others, max_total_price_per_hour=ceiling)["plans"][-1]
    assert (buyer["host"], buyer["action"]) == (f"gpu-{count - 1}", action), buyer["refusal"]
    assert action == "buy" or f"{owner} USD {max(2.0, listed or 0.0):.2f} (live" in buyer["refusal"]


@pytest.mark.parametrize(("count", "quote", "is_told"), [(5, False, False), (6, False, True), (6, True, False)])
def test_purchases_that_wait_for_each_other_are_told_of(tmp_path: Path, count: int, quote: bool, is_told: bool) -> None:
    warnings = planned(tmp_path, count, quote=quote)["warnings"]
    assert any("6 hosts buy, 5 at a time: a purchase may take minutes" in text for text in warnings) is is_told
