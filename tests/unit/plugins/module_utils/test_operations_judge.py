# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps judge, reached and release: purchases without a result, other runs, and storage of released machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import storage_ended
from ansible_collections.compute_index.supply.plugins.module_utils._operations.judge import (
    _Observer,
    judge,
    reached,
    release,
    release_begins,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import namesakes
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, Place, SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import Verdict
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._registry._stores import ledger

from provision_samples import entry, machine, machine_id, offer_id, planned
from samples import BASE

X, Y = offer_id(1), offer_id(2)
MAYBE = "MAY BE BOUGHT and billed at USD 2.00 per hour. Resource ids: none known yet."
CONNECTION = {"resource_id": machine_id(1), "ansible_host": "10.0.0.1", "ansible_port": 22, "ansible_user": "root"}
NO_API: Any = None  # no request is sent


def stop_message(purchase: dict[str, Any], registry: str | None, folder: Path) -> str:
    """The message with which gpu-1 stops, whose task should buy X, after this result. ``registry``: the file's text."""
    file = folder / "gpu-1" / "compute_index_supply.yml"
    if registry:
        file.parent.mkdir()
        file.write_text(registry)
    plan = {
        "host": "gpu-1",
        "action": "buy",
        "offer_id": X,
        "registry": "" if registry is None else str(folder),
        "resource_ids": [],
        "price_per_hour": 2.0,
        "attempts": [],
        "round": "1",
        "wanted": False,
        "unused": True,
        "may_release": True,
        "spared": "",
        "attempts_left": 3,
        "advice": "",
    }
    params = {"plans": [plan], "purchases": {"gpu-1": purchase}, "offers": {}, "before": {}, "inventory": {}}
    answer = judge(NO_API, params, False)
    (verdict,) = answer["verdicts"]
    assert (answer["round"], answer["all_skip_next"]) == ("1", False)
    assert (verdict["host"], verdict["next"], verdict["release"]) == ("gpu-1", "stop", [])
    return str(verdict["stop"])


KILLED = {"failed": True, "msg": "MODULE FAILURE\nSee stdout/stderr for the exact error"}
REFUSED = {"failed": True, "msg": "cloud_init is empty. Nothing was sent.", "outcome": "not_sent"}


def journal(offer: str, purchase: str = "sent") -> str:
    return f"provision_procured_offer_id: {offer}\nprovision_purchase: {purchase}\n"


@pytest.mark.parametrize(
    ("purchase", "registry", "begin", "end"),
    [
        (KILLED, journal(X), f"The task that was buying offer {X} ended without a result (MODULE FAILURE See", MAYBE),
        (KILLED, None, f"The task that was buying offer {X} ended", MAYBE),
        (KILLED, "[", f"The task that was buying offer {X} ended without a result (The registry file ", MAYBE),
        ({}, journal(X), f"The task that was buying offer {X} ended", MAYBE),
        # It ended before it noted its purchase.
        (KILLED, "", "MODULE FAILURE", "Nothing is billed for gpu-1."),
        (KILLED, journal(Y, "refused"), "MODULE FAILURE", "Nothing is billed for gpu-1."),
        # The purchase of an earlier run may still be executed.
        (REFUSED, journal(X), REFUSED["msg"], f"was sent for gpu-1 before, and its outcome is not known. It {MAYBE}"),
        (REFUSED, journal(X, "refused"), REFUSED["msg"], "Nothing is billed for gpu-1."),
        (REFUSED, "", REFUSED["msg"], "Nothing is billed for gpu-1."),
    ],
)
def test_purchase_without_a_result_names_what_may_be_billed(
    tmp_path: Path, purchase: dict[str, Any], registry: str | None, begin: str, end: str
) -> None:
    msg = stop_message(purchase, registry, tmp_path)
    assert msg.startswith(begin) and end in msg, msg


def test_next_round_is_skipped_for_all_hosts_if_none_needs_it() -> None:
    params = {"plans": [], "purchases": {}, "offers": {}, "before": {}, "inventory": {}}
    assert judge(NO_API, params, True)["all_skip_next"] is True


def params_of(plan: dict[str, Any], purchase: dict[str, Any], url: str | None, here: Path) -> dict[str, Any]:
    """The options of judge after one purchase of gpu-1."""
    where = {"registry_url": url, "api_url": BASE, "here": str(here)}
    return {"plans": [plan], "purchases": {"gpu-1": purchase}, "offers": {}, "before": {}, "inventory": {}, **where}


@pytest.mark.parametrize(
    ("action", "outcome"),
    [("keep", None), ("later", None), ("stop", None), ("buy", "planned")],
    ids=["keep", "later", "stop", "check mode"],
)
def test_host_that_neither_buys_nor_waits_gets_no_verdict(tmp_path: Path, action: str, outcome: str | None) -> None:
    plan = planned(registry=str(tmp_path), round="1", action=action)
    purchase = {"outcome": outcome, "resource_ids": []} if outcome else {}
    answer = judge(NO_API, params_of(plan, purchase, None, tmp_path), check_mode=bool(outcome))
    assert (answer["verdicts"], answer["changed"], answer["all_skip_next"]) == ([], False, True)


class Account:
    """An API that lists these machines; None: the list fails. ``pages``: other machines, or other pages of these."""

    ahead = 0.0

    def __init__(self, machines: list[dict[str, Any]] | None, *pages: dict[str, Any]) -> None:
        self.machines, self.pages = machines, {each["resource_id"]: each for each in (*(machines or ()), *pages)}

    def resource(self, resource_id: str, *, force_refresh: bool, retries: int) -> dict[str, Any]:
        assert force_refresh
        return self.pages[resource_id]

    def resources(self) -> list[dict[str, Any]]:
        if self.machines is None:
            raise ApiError("GET /resources answered 500.", "unavailable", status_code=500)
        return self.machines


def test_related_machines_include_all_namesakes_of_a_purchase() -> None:
    """Namesakes have the name of the host, or a name that the API gave to its machines."""
    own = {**machine(1, "gpu-1"), "resource_id": "5"}
    numbered = {**machine(1, "gpu-1-2"), "resource_id": "6"}
    others = [
        {**machine(number, name), "resource_id": f"r-{number}"}
        for number, name in ((2, "gpu-1"), (3, "gpu-1-2"), (4, "gpu-2"), (5, None))
    ]
    many = [{**machine(9, f"other-{number}"), "resource_id": f"o-{number}"} for number in range(1000)]
    listed = [*others[:2], own, *many, numbered, *others[2:]]
    api: Any = Account(listed)
    bought = ("gpu-1", offer_id(1), ["5", "6"])
    related_machines = _Observer(api, api, []).related_machines(*bought) or []
    assert [each["resource_id"] for each in related_machines] == ["r-2", "r-3", "5", "6"]
    assert namesakes(related_machines, *bought) == namesakes(listed, *bought)
    assert [each["resource_id"] for each in namesakes(related_machines, *bought)] == ["r-2", "r-3"]


MADE = {"outcome": "created", "resource_ids": [machine_id(1)]}
FAILED = {"phase": "failed", "ready": False, "resource_ids": [machine_id(1)], "connections": [], "msg": "It failed."}


@pytest.mark.parametrize(
    ("state", "verdict"), [("running", Verdict.STOP), ("deleting", Verdict.STOP), ("deleted", Verdict.AGAIN)]
)
def test_failed_machine_is_replaced_only_if_its_own_page_shows_deleted(state: str, verdict: Verdict) -> None:
    """The list may be wrong, and a machine that may be billed is not replaced."""
    own = machine(1, "gpu-1", X, status="deleted")
    api: Any = Account([own], {**own, "status": state})
    case = JudgedHost(planned(may_release=False), MADE, FAILED, entry(X, [machine_id(1)], "made"), has_entry=True)
    assert _Observer(api, api, []).observed(case).verdict(False) is verdict


def test_failed_machine_is_not_replaced_while_its_own_page_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise ApiError("GET /resources answered 502.", "unavailable", transient=True)

    monkeypatch.setattr(Account, "resource", fail)
    api: Any = Account([machine(1, "gpu-1", X, status="deleted")])
    case = JudgedHost(planned(may_release=False), MADE, FAILED, entry(X, [machine_id(1)], "made"), has_entry=True)
    judged = _Observer(api, api, []).observed(case)
    assert (judged.verdict(False), judged.remaining) == (Verdict.STOP, (machine_id(1),))


@pytest.mark.parametrize(
    "listed",
    [None, [machine(1, "gpu-1", X), {**machine(2, "gpu-1", X), "resource_id": None}]],
    ids=["unreadable list", "another machine without an id"],
)
def test_failed_purchase_releases_its_known_machine(listed: list[dict[str, Any]] | None) -> None:
    api: Any = Account(listed, machine(1, "gpu-1", X))
    case = JudgedHost(planned(), MADE, FAILED, entry(X, [machine_id(1)], "made"), has_entry=True)
    case = _Observer(api, Registries(None, "", read_only=False), [planned()]).observed(case)
    assert (case.verdict(False), case.billed) == (Verdict.RELEASE, (machine_id(1),))


@pytest.mark.parametrize(("state", "count"), [("running", 1), ("deleted", 0), ("deleting", 0)])
def test_namesake_counts_only_if_its_own_page_shows_running(state: str, count: int) -> None:
    """The list may still show a machine that was released before."""
    own, before = machine(1, "gpu-1", X), machine(2, "gpu-1", offer_id(2))
    ready = {**FAILED, "phase": "ready", "ready": True}
    bought = JudgedHost(planned(), MADE, ready, entry(X, [machine_id(1)], "made"))

    def observed(plan: Any, *pages: dict[str, Any]) -> JudgedHost:
        api: Any = Account([own, before], *pages)
        return _Observer(api, Registries(None, "", read_only=False), [plan]).observed(bought)

    plan = {**planned(), "attempts": []}
    assert len(observed(plan, {**before, "status": state}).namesakes) == count
    assert observed({**plan, "attempts": [{"ended": [machine_id(2)]}]}).namesakes == []


@pytest.fixture(params=[False, True], ids=["file", "database"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str | None, Place]:
    """The URL of a shared registry, None for files, and the place of hosts there."""
    if request.param:
        return request.getfixturevalue("registry_url"), SharedProject("default")
    return None, Folder(str(tmp_path))


def test_machine_of_another_offer_is_removed_from_the_registry(tmp_path: Path, store: tuple[str | None, Place]) -> None:
    """The purchase has noted all ids of its answer; the wrong one must not end with the host's machine."""
    url, place = store
    ids = [machine_id(1), machine_id(2)]
    plan = planned(registry=place.text, round="1", unused=True)
    where = {"registry_url": url, "api_url": BASE, "here": str(tmp_path)}
    answered = {"purchases": {"gpu-1": {**MADE, "resource_ids": ids}}, "offers": {X: {"resource_ids": ids[:1]}}}
    params = {"plans": [plan], **answered, "before": {}, "inventory": {}, **where}

    def of_host() -> Any:
        return Registries(url, BASE, str(tmp_path), read_only=False).at(place).host("gpu-1")

    noting = of_host()
    noting.claim({"provision_procured_offer_id": X, "provision_purchase": "sent"})
    noting.note({"provision_procured_offer_id": X, "provision_purchase": "made", "provision_resource_ids": ids})
    api: Any = Account([machine(1, "gpu-1", X), machine(2, "colleague", Y)])
    (verdict,) = judge(api, params, False)["verdicts"]
    assert machine_id(2) in verdict["stop"] and "bought with offer" in verdict["stop"]
    assert of_host().read()["provision_resource_ids"] == [machine_id(1)]


def test_machine_of_another_offer_stops_a_host_without_a_registry(tmp_path: Path) -> None:
    purchase = {**MADE, "resource_ids": [machine_id(1), machine_id(2)]}
    params = params_of(planned(registry="", round="1"), purchase, None, tmp_path)
    api: Any = Account([machine(1, "gpu-1", X), machine(2, "colleague", Y)])
    (verdict,) = judge(api, params, False)["verdicts"]
    assert verdict["next"] == "stop" and machine_id(2) in verdict["stop"]


def ready_cluster(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The API and the options of judge for two ready machines of gpu-1, which are noted in a registry file."""
    ids = [machine_id(1), machine_id(2)]
    noted = {"provision_procured_offer_id": X, "provision_purchase": "made", "provision_resource_ids": ids}
    HostFile(str(folder / "gpu-1" / "compute_index_supply.yml")).note(noted)
    connections = [{**CONNECTION, "resource_id": each} for each in ids]
    status = {"phase": "ready", "ready": True, "resource_ids": ids, "connections": connections, "msg": ""}
    plan = planned(registry=str(folder), round="1", reach=False, verify="", groups=["gpu"])
    params = params_of(plan, {**MADE, "resource_ids": ids}, None, folder)
    api: Any = Account([machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X)])
    return api, {**params, "offers": {X: status}}


@pytest.mark.parametrize("check_mode", [False, True])
def test_ready_cluster_is_published_with_its_further_machines(tmp_path: Path, check_mode: bool) -> None:
    answer = judge(*ready_cluster(tmp_path), check_mode)
    assert (tmp_path / ".ssh_config").exists() is not check_mode
    assert [each["name"] for each in answer["further"]["gpu-1"]] == ["gpu-1-1"]
    published = answer["ansible_stats"]["data"]["provision_hosts"]["gpu-1"]
    assert published["resource_ids"] == [machine_id(1), machine_id(2)]


@pytest.mark.parametrize(("owned", "stops"), [([machine_id(3)], True), ([], True), ([machine_id(2)], False)])
def test_ready_cluster_stops_if_the_inventory_has_its_names(tmp_path: Path, owned: list[str], stops: bool) -> None:
    api, params = ready_cluster(tmp_path)
    (verdict,) = judge(api, {**params, "inventory": {"gpu-1-1": owned}}, False)["verdicts"]
    assert ("would be named gpu-1-1" in verdict["stop"]) is stops


def test_machines_and_offers_of_hosts_at_another_step_stay(tmp_path: Path) -> None:
    further = {"gpu-1": [{"name": "gpu-1-1"}], "gpu-2": [{"name": "gpu-2-1"}]}
    params = params_of(planned(registry=str(tmp_path), round="1"), KILLED, None, tmp_path)
    params["before"] = {"further": further, "offers": {Y: FAILED}}
    answer = judge(NO_API, params, False)
    assert (answer["further"], answer["offers"]) == ({"gpu-2": further["gpu-2"]}, {Y: FAILED})
    assert "ansible_stats" not in answer, "nothing replaces what another job has published"


def test_entry_of_a_failed_purchase_without_resources_is_removed(tmp_path: Path) -> None:
    file = HostFile(str(tmp_path / "gpu-1" / "compute_index_supply.yml"))
    file.note({"provision_procured_offer_id": X, "provision_purchase": "made", "provision_price_per_hour": 2.0})
    params = params_of(planned(registry=str(tmp_path), round="1"), {"outcome": "existing"}, None, tmp_path)
    params["offers"] = {X: {**FAILED, "resource_ids": []}}
    api: Any = Account([])
    assert judge(api, params, False)["changed"] and file.read() is None


@pytest.mark.parametrize("is_broken", [True, False], ids=["broken file", "one failed read"])
def test_ready_machine_with_an_unreadable_registry_stops_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_broken: bool
) -> None:
    """It is unknown whether the registry has the purchase, so nothing is noted."""
    file = tmp_path / "gpu-1" / "compute_index_supply.yml"
    file.parent.mkdir()
    file.write_text("[" if is_broken else journal(X))
    content, original = file.read_text(), HostFile.read

    def fail_once(self: HostFile) -> Any:
        monkeypatch.setattr(HostFile, "read", original)
        raise RegistryError(f"The registry file {file} cannot be read.")

    if not is_broken:
        monkeypatch.setattr(HostFile, "read", fail_once)
    plan = planned(registry=str(tmp_path), round="1", reach=False)
    purchase = {"failed": True, "outcome": "created", "resource_ids": [machine_id(1)], "msg": "It was BOUGHT."}
    status = {"phase": "ready", "ready": True, "resource_ids": [machine_id(1)], "msg": "It is ready."}
    status["connections"] = [CONNECTION]
    params = {**params_of(plan, purchase, None, tmp_path), "offers": {X: status}}
    api: Any = Account([machine(1, "gpu-1", X)])
    (verdict,) = judge(api, params, False)["verdicts"]
    assert verdict["next"] == "stop" and str(file) in verdict["stop"]
    assert f"Resource ids: {machine_id(1)}. Repair the registry, and run the same again" in verdict["stop"]
    assert file.read_text() == content


@pytest.mark.parametrize(
    ("before", "is_new", "ids"),
    [([], True, [1, 2]), ([machine_id(2)], True, [1]), ([machine_id(2)], False, [1, 2])],
    ids=["not listed before", "listed before", "purchase of an earlier run"],
)
def test_machine_that_was_listed_before_the_purchase_is_not_noted(
    tmp_path: Path, before: list[str], is_new: bool, ids: list[int]
) -> None:
    file = HostFile(str(tmp_path / "gpu-1" / "compute_index_supply.yml"))
    file.note(
        {"provision_procured_offer_id": X, "provision_purchase": "made", "provision_resource_ids": [machine_id(1)]}
    )
    plan = planned(registry=str(tmp_path), round="1", reach=False, verify="", is_new=is_new)
    status = {"phase": "ready", "ready": True, "resource_ids": [machine_id(1), machine_id(2)]}
    status["connections"] = [CONNECTION]
    params = {**params_of(plan, MADE, None, tmp_path), "offers": {X: {**status, "msg": ""}}}
    params["without_offer"] = before
    api: Any = Account([machine(1, "gpu-1", X), machine(2, "vm-2")])
    judge(api, params, False)
    assert (file.read() or {})["provision_resource_ids"] == [machine_id(number) for number in ids]


@pytest.mark.parametrize("outcome", ["not_sent", "rejected"])
@pytest.mark.parametrize("offer", [X, Y], ids=["same offer", "other offer"])
def test_purchase_of_another_run_stays_noted_and_stops_the_host(
    tmp_path: Path, store: tuple[str | None, Place], offer: str, outcome: str
) -> None:
    """This run has bought nothing, and is judged after all hosts have bought."""
    url, place = store
    plan = planned(registry=place.text, round="1", unused=True, attempts_left=3)
    purchase = {"failed": True, "outcome": outcome, "error_class": "price", "msg": "It is too expensive."}
    params = params_of(plan, purchase, url, tmp_path)

    def of_host() -> Any:
        return Registries(url, BASE, str(tmp_path), read_only=False).at(place).host("gpu-1")

    other_run = of_host()
    other_run.claim({"provision_procured_offer_id": offer, "provision_purchase": "sent"})
    ids = {"provision_resource_ids": [machine_id(1)], "provision_storage": [{"resource_id": machine_id(2)}]}
    other_run.note({"provision_procured_offer_id": offer, "provision_purchase": "made", **ids})
    api: Any = Account([machine(1, "gpu-1", offer)])
    before = of_host().read()
    (verdict,) = judge(api, params, False)["verdicts"]
    assert verdict["next"] == "stop"
    assert of_host().read() == before and before["provision_storage"]
    expected = f"The registry now names offer {offer} of another run for gpu-1: {machine_id(1)}."
    assert verdict["stop"] == f"It is too expensive. {expected} No other offer is tried: run again."


@pytest.mark.parametrize("offer", [X, Y], ids=["same offer", "other offer"])
def test_open_purchase_of_another_run_stays_noted_and_stops_the_host(
    tmp_path: Path, store: tuple[str | None, Place], offer: str
) -> None:
    """The purchase of this run was refused; the other run was killed while it bought."""
    url, place = store
    plan = planned(registry=place.text, round="1", unused=True, attempts_left=3)
    purchase = {"failed": True, "outcome": "rejected", "error_class": "conflict", "msg": "No.", "resource_ids": []}
    params = params_of(plan, purchase, url, tmp_path)

    def of_host() -> Any:
        return Registries(url, BASE, str(tmp_path), read_only=False).at(place).host("gpu-1")

    other_run = of_host()
    other_run.claim({"provision_procured_offer_id": offer, "provision_purchase": "sent"})
    other_run.close()
    api: Any = Account([])
    (verdict,) = judge(api, params, False)["verdicts"]
    assert verdict["next"] == "stop" and f"now names offer {offer} of another run for gpu-1" in verdict["stop"]
    assert (of_host().read() or {}).get("provision_procured_offer_id") == offer


@pytest.mark.parametrize(("offer", "is_verified"), [(X, True), (Y, False)], ids=["same offer", "other offer"])
def test_reached_machine_is_noted_only_for_its_own_offer(
    tmp_path: Path, store: tuple[str | None, Place], offer: str, is_verified: bool
) -> None:
    """While this run waited for its machine, someone ended it, and another run bought one for the host."""
    url, place = store
    plan = planned(registry=place.text, round="1", verify="specs")
    other_run = Registries(url, BASE, str(tmp_path), read_only=False).at(place).host("gpu-1")
    assert other_run
    other_run.claim({"provision_procured_offer_id": offer, "provision_purchase": "sent"})
    ids = {"provision_resource_ids": [machine_id(1)], "provision_bootstrap_host_key": "ssh-ed25519 A"}
    other_run.note({"provision_procured_offer_id": offer, "provision_purchase": "made", **ids})
    assert reached(params_of(plan, {}, url, tmp_path), False)["changed"] is is_verified
    noted = other_run.read() or {}
    assert noted.get("provision_verified", False) is is_verified
    assert ("provision_bootstrap_host_key" in noted) is not is_verified


@pytest.mark.parametrize("content", [None, "["], ids=["no entry", "broken entry"])
@pytest.mark.parametrize("verify", ["specs", ""])
def test_reached_machine_that_cannot_be_noted(tmp_path: Path, content: str | None, verify: str) -> None:
    """Its test would be repeated, so that is a failure; without a test there is nothing to note but shared keys."""
    file = tmp_path / "gpu-1" / "compute_index_supply.yml"
    if content:
        file.parent.mkdir()
        file.write_text(content)
    params = params_of(planned(registry=str(tmp_path), round="1", verify=verify), {}, None, tmp_path)
    if content and verify:
        with pytest.raises(Failure, match=r"gpu-1/compute_index_supply\.yml"):
            reached(params, False)
    else:
        result = reached(params, False)
        assert (result["changed"], len(result.get("warnings", []))) == (False, bool(content))
    assert file.exists() is bool(content)


def test_refused_purchase_without_an_entry_notes_nothing(tmp_path: Path, store: tuple[str | None, Place]) -> None:
    url, place = store
    purchase = {"failed": True, "outcome": "rejected", "error_class": "quota", "msg": "No credit.", "resource_ids": []}
    params = params_of(planned(registry=place.text, round="1", unused=True, attempts_left=1), purchase, url, tmp_path)
    api: Any = Account([])
    (verdict,) = judge(api, params, False)["verdicts"]
    assert "No credit." in verdict["stop"]
    assert not (tmp_path / "gpu-1").exists()


# Storage of the purchase

MACHINE, VOLUME = machine_id(1), machine_id(2)
DISK = {**machine(2, "gpu-1-data", X, kind="storage", linked_resources=[]), "price_per_hour": None}
SOLD = {"storage_details": [{"name": "data", "hourly_cost": 0.05, "persistent": True}]}


class SellingAccount(Account):
    """An API that has sold a machine with storage.

    ``shown``: it shows the storage among the ``ids`` of the answer, in the ``list``, or by the machine's ``links``.
    """

    ahead = 0.0

    def __init__(self, shown: str, state: str) -> None:
        links = [{"resource_id": VOLUME, "kind": "storage", "linked_until": None}] if shown == "links" else []
        own = machine(1, "gpu-1", X, status=state, kind="machine", linked_resources=links)
        super().__init__([own] if shown == "links" else [own, DISK], DISK)


def failed_purchase(shown: str, state: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The API and the options of judge after a purchase that has failed. ``folder``: where its journal is."""
    file = folder / "gpu-1" / "compute_index_supply.yml"
    file.parent.mkdir()
    file.write_text(journal(X) + "provision_journaled_at: '2026-01-31T11:59:00Z'\n")
    ids = [MACHINE, VOLUME] if shown == "ids" else [MACHINE]
    params = {
        "plans": [planned(registry=str(folder), offer=SOLD, round="1", unused=True)],
        "purchases": {"gpu-1": {**MADE, "resource_ids": ids}},
        "offers": {X: {**FAILED, "resource_ids": ids}},
        "before": {"attempts": [{"offer_id": X, "msg": "It failed."}]},
        "inventory": {},
    }
    api: Any = SellingAccount(shown, state)
    return api, params


def entry_in(folder: Path) -> dict[str, Any]:
    """The registry's entry of gpu-1."""
    entry: dict[str, Any] = yaml.safe_load((folder / "gpu-1" / "compute_index_supply.yml").read_text())
    return entry


def note_unanswered(folder: Path, params: Any) -> None:
    """Change the options to a purchase without an answer, whose status says that it was made and failed."""
    params["purchases"]["gpu-1"] = {**MADE, "outcome": "rejected", "error_class": "conflict", "msg": "It failed."}
    params["plans"][0]["is_new"] = True
    noted = {"provision_purchase": "made", "provision_resource_ids": [MACHINE]}
    HostFile(str(folder / "gpu-1" / "compute_index_supply.yml")).note({"provision_procured_offer_id": X, **noted})


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("shown", ["ids", "list", "links"])
def test_storage_of_a_released_machine_is_kept(tmp_path: Path, shown: str, answered: bool) -> None:
    api, params = failed_purchase(shown, "failed", tmp_path)
    if not answered:
        note_unanswered(tmp_path, params)
    (verdict,) = judge(api, params, False)["verdicts"]
    assert (verdict["next"], verdict["release"]) == ("give_back", [MACHINE])
    assert entry_in(tmp_path)["provision_storage_ids"] == [VOLUME]

    api = SellingAccount(shown, "deleted")
    result = release(api, {**params, "deleted": [{"resource_id": MACHINE, "billing_stopped": True}]}, False)
    assert result["over"] and result["again"]
    for text in (result["money"], result["stop"], result["attempts"][-1]["msg"]):
        assert f"gpu-1-data {VOLUME}, USD 0.05 per hour" in text and "decommission_storage=end" in text
    assert "Nothing is billed" not in result["stop"]
    known = entry_in(tmp_path)
    (storage,) = known["provision_storage"]
    assert storage["resource_id"] == VOLUME and storage["price_per_hour"] == 0.05 and storage["kept_since"]
    assert "provision_resource_ids" not in known


def test_release_leaves_the_entry_of_another_run(tmp_path: Path) -> None:
    """While the machine of this run was ended, another run has bought one for the host."""
    file = HostFile(str(tmp_path / "gpu-1" / "compute_index_supply.yml"))
    ids = {"provision_resource_ids": [machine_id(2)]}
    file.note({"provision_procured_offer_id": Y, "provision_purchase": "made", **ids})
    before = file.read()
    params = params_of(planned(registry=str(tmp_path), round="1"), MADE, None, tmp_path)
    params |= {"offers": {X: FAILED}, "deleted": [{"resource_id": MACHINE, "billing_stopped": True}]}
    api: Any = Account([machine(1, "gpu-1", X, status="deleted"), machine(2, "gpu-1", Y)])
    assert release(api, params, False)["over"] and file.read() == before


@pytest.mark.parametrize("is_over", [True, False])
def test_storage_ends_after_its_released_machine(tmp_path: Path, is_over: bool) -> None:
    api, params = failed_purchase("ids", "failed", tmp_path)
    params["plans"][0]["ends_storage"] = True
    judge(api, params, False)
    api = SellingAccount("ids", "deleted" if is_over else "failed")
    deleted = [{"resource_id": MACHINE, "billing_stopped": is_over, "msg": "It runs."}]
    result = release(api, {**params, "deleted": deleted}, False)
    end = result["storage"]
    assert (result["over"], end["storage_ends"]) == (is_over, [VOLUME] if is_over else [])
    if not is_over:
        return
    assert f"Its storage also ends: {VOLUME}." in result["stop"] and "keeps its storage" not in result["stop"]
    # The registry keeps it until its billing has stopped.
    attached = {"resource_id": VOLUME, "billing_stopped": False, "msg": "It is still attached."}
    with pytest.raises(Failure) as failure:
        storage_ended(api, {**params, "end": end, "deleted": [attached]}, False)
    assert failure.value.result["left"] == [VOLUME] and entry_in(tmp_path)["provision_storage_ids"] == [VOLUME]
    gone = {"resource_id": VOLUME, "billing_stopped": True}
    assert storage_ended(api, {**params, "end": end, "deleted": [gone]}, False)["changed"]
    assert not (tmp_path / "gpu-1").exists()
    (_machine, bill) = ledger(str(tmp_path)).bills
    assert (bill.resource_ids, bill.runs, bill.why) == ((VOLUME,), False, "released")


@pytest.mark.parametrize("is_killed", [True, False])
def test_storage_of_a_release_that_was_killed_ends_with_the_next_sweep(tmp_path: Path, is_killed: bool) -> None:
    """After the deletion, before the step release: a later run only notes that the machine has ended."""
    api, params = failed_purchase("ids", "failed", tmp_path)
    params["plans"][0]["ends_storage"] = True
    judge(api, params, False)
    assert release_begins(params, False) == {"changed": True}
    if is_killed:
        file = HostFile(str(tmp_path / "gpu-1" / "compute_index_supply.yml"))
        file.read()
        file.end()
    else:
        deleted = [{"resource_id": MACHINE, "billing_stopped": True}]
        release(SellingAccount("ids", "deleted"), {**params, "deleted": deleted}, False)
    entry = entry_in(tmp_path)
    (storage,) = entry["provision_storage"]
    assert storage["is_to_end"] and storage["kept_since"] and "provision_storage_ends" not in entry
    assert release_begins(params, False) == {"changed": False} and entry_in(tmp_path) == entry


@pytest.mark.parametrize("shown", ["ids", "list", "links"])
def test_storage_of_an_ended_machine_is_kept(tmp_path: Path, shown: str) -> None:
    """The machine has ended already, so its entry is removed at once."""
    api, params = failed_purchase(shown, "deleted", tmp_path)
    (verdict,) = judge(api, params, False)["verdicts"]
    assert verdict["again"] and verdict["release"] == []
    known = entry_in(tmp_path)
    assert [item["resource_id"] for item in known["provision_storage"]] == [VOLUME]
    assert known["provision_storage"][0]["kept_since"] and "provision_procured_offer_id" not in known


def test_last_attempt_names_remaining_storage(tmp_path: Path) -> None:
    api, params = failed_purchase("ids", "deleted", tmp_path)
    params["plans"][0]["attempts_left"] = 1
    (verdict,) = judge(api, params, False)["verdicts"]
    assert VOLUME in verdict["stop"] and "Nothing is billed" not in verdict["stop"]
