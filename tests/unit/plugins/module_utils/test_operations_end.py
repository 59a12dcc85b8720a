# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of hosts: their plans, the registry afterwards, and the hosts that an end selects."""

from __future__ import annotations

import contextlib
import datetime
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import (
    Registries,
    update_ssh_config,
)
from ansible_collections.compute_index.supply.plugins.module_utils._operations.order import named
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ended import outcomes
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending_by_id import jobs
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import NOWHERE, Folder
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import spending_of
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._registry._stores import ledger
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc

from end_samples import NOW, Api, declared, ended_answer, failed_answer, machine, plans, write
from ends import note_all, note_end, params

Json = dict[str, Any]


NO_CHANGE = {"changed": False, "left": [], "usd": None, "cost": "", "storage": []}


# Ends


def test_each_host_gets_a_plan(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    api = Api(machine("r"))
    answer = plans(api, declared("gpu-1", tmp_path), declared("gpu-2", tmp_path))
    first, second = answer["ends"]
    assert first["lines"] == []
    assert (first["next"], first["ids"], first["registry_file"]) == ("end", ["r"], str(file))
    assert (second["next"], second["lines"]) == ("", ["gpu-2 owns no machine; there is nothing to end"])
    assert answer["decided"] == ["gpu-1", "gpu-2"]
    assert api.requests == ["list", "o", "r"]

    (checked,) = plans(api, declared("gpu-1", tmp_path), check_mode=True)["ends"]
    assert checked["lines"] == ["gpu-1: would end r, USD 2.40/h"]


def test_machine_that_another_registry_remembers_is_not_reported_as_none(tmp_path: Path) -> None:
    """The folder of another inventory remembers it, or the registry of another host. The API keeps no names."""
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    write(first / "registry", "gpu-1", resource_ids=["r"], procured_offer_id="o")
    reordered = declared("gpu-1", "registry", inventory_dir=str(second))
    moved = declared("gpu-1", second), declared("gpu-2", first / "registry")
    for hosts, sources in (([reordered], [str(second), str(first)]), (moved, [])):
        stopped = plans(Api(machine("r", name="vm")), *hosts, sources=sources)["ends"][0]
        assert (stopped["next"], stopped["ids"]) == ("stop", [])
        assert f"-e provision_registry_dir={first}/registry." in stopped["refusal"]


def test_plan_marks_entry_before_any_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    plans(Api(machine("r")), declared("gpu-1", tmp_path), check_mode=True)
    plans(Api(), declared("gpu-1", tmp_path))  # no machine to delete
    assert "provision_reaped_at" not in yaml.safe_load(file.read_text())
    (marked,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    assert marked["ids"] == ["r"] and "provision_reaped_at" in yaml.safe_load(file.read_text())

    def full(*_args: Any) -> None:
        raise RegistryError("No space left on device.")

    monkeypatch.setattr(HostFile, "compare_and_set", full)
    (unmarked,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    assert (unmarked["next"], unmarked["ids"]) == ("end", ["r"]), "a failed note does not keep a machine billed"


PROTECTED_ENTRY = {"resource_ids": ["r"], "procured_offer_id": "o", "protected_since": "2026-12-01T06:00:00Z"}


@pytest.mark.parametrize(
    ("entry", "variables", "expected_refusal"),
    [
        (PROTECTED_ENTRY, {}, "gpu-1 is protected since 2026-12-01 06:00 UTC."),
        (PROTECTED_ENTRY, {"protect": True}, "gpu-1 is protected since 2026-12-01 06:00 UTC."),
        (PROTECTED_ENTRY, {"protect": False}, ""),
        (PROTECTED_ENTRY, {"protect": "false"}, ""),
        ({**PROTECTED_ENTRY, "protected_since": None}, {"protect": True}, "gpu-1 is protected."),
        ({**PROTECTED_ENTRY, "protected_since": None}, {"protect": "ture"}, "must be true or false, not 'ture'"),
        ({**PROTECTED_ENTRY, "protected_since": None}, {}, ""),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_protected_host_does_not_end(
    tmp_path: Path, entry: Json, variables: Json, expected_refusal: str, check_mode: bool
) -> None:
    write(tmp_path, "gpu-1", **entry)
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path, **variables), check_mode=check_mode)["ends"]
    assert (plan["next"], plan["ids"]) == (("stop", []) if expected_refusal else ("end", ["r"]))
    assert expected_refusal in plan["refusal"] and bool(expected_refusal) is bool(plan["refusal"])


def test_variable_protects_host_without_registry(tmp_path: Path) -> None:
    host = {**declared("gpu-1", ""), "protect": True}
    (plan,) = plans(Api(machine("r")), host, inventory=[host])["ends"]
    assert (plan["next"], "gpu-1 is protected." in plan["refusal"]) == ("stop", True)


def test_deleted_machine_of_protected_host_leaves_its_entry(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", **PROTECTED_ENTRY)
    deleted = machine("r", status="deleted")
    (plan,) = plans(Api(deleted, unlisted=(deleted,)), declared("gpu-1", tmp_path, protect=True))["ends"]
    assert (plan["next"], plan["gone"]) == ("note", ["r"])


def test_resource_id_does_not_end_machine_of_protected_host(tmp_path: Path) -> None:
    """``decommission_resource_id``, for a host without an entry, names the machine of a protected host."""
    write(tmp_path, "gpu-1", **PROTECTED_ENTRY)
    (plan,) = plans(Api(machine("r")), declared("gpu-2", tmp_path, resource_id="r"))["ends"]
    assert (plan["next"], plan["ids"]) == ("stop", [])
    assert "gpu-1" in plan["refusal"]


def test_known_instance_is_read_without_offer_status(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", instances=[{"resource_id": "r"}])
    api = Api(machine("r"))
    assert plans(api, declared("gpu-1", tmp_path))["ends"][0]["ids"] == ["r"]
    assert api.requests == ["list", "r"]


def test_unreadable_registry_file_stops_only_its_host(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    broken = write(tmp_path, "gpu-2", text="<<<<<<< HEAD\n")
    write(tmp_path, "gpu-3", text="[]\n")
    answer = plans(Api(machine("r")), declared("gpu-1", tmp_path), declared("gpu-2", tmp_path))
    first, second = answer["ends"]
    assert first["next"] == "end"
    assert second["next"] == "stop" and str(broken) in second["refusal"]
    assert second["refusal"].startswith("Nothing was ended for gpu-2.")
    assert [("gpu-3" in text, "gpu-2" in text) for text in answer["warnings"]] == [(True, False)]


def test_unlisted_machines_are_read_by_id(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    write(tmp_path, "gpu-2", resource_ids=["s"])
    write(tmp_path, "gpu-3", resource_ids=["t"])
    api = Api(unlisted=(machine("r"), machine("s", offer="p", status="deleted")))
    hosts = [declared(f"gpu-{number}", tmp_path) for number in (1, 2, 3)]
    first, second, third = plans(api, *hosts)["ends"]
    assert (first["ids"], second["next"], third["next"]) == (["r"], "note", "stop")
    assert "t answered 404" in third["refusal"] and "decommission_forget=t" in third["refusal"]

    (found,) = plans(api, hosts[2], forget=[" T "])["ends"]
    assert (found["next"], found["forgotten"]) == ("note", ["t"])
    assert found["lines"] == ["gpu-3: nothing of t runs any more; forgets t, which the API does not know"]


@pytest.mark.parametrize(
    ("page_status", "next_step"),
    [
        pytest.param("running", "end", id="running"),
        pytest.param("deleting", "end", id="deleting"),
        pytest.param("deleted", "note", id="deleted"),
        pytest.param(None, "note", id="no page"),
    ],
)
@pytest.mark.parametrize("entry", [{"resource_ids": ["r"]}, {"procured_offer_id": "o", "purchase": "made"}], ids=str)
def test_own_page_overrides_deleted_status_in_list(
    tmp_path: Path, page_status: str | None, next_step: str, entry: Json
) -> None:
    write(tmp_path, "gpu-1", **entry)
    pages = () if page_status is None else (machine("r", status=page_status),)
    api = Api(machine("r", status="deleted"), machine("s", "train", "p", status="deleted"), unlisted=pages)
    api.phases = {"o": "ended"}
    (found,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert (found["next"], found["ids"]) == (next_step, ["r"] if next_step == "end" else []), found["refusal"]
    assert "s" not in api.requests, "only pages of machines that may end are read"


@pytest.mark.parametrize(
    ("entry", "phase", "ended_ids"),
    [
        pytest.param({"resource_ids": ["r"]}, "ended", [], id="of the registry"),
        pytest.param({"procured_offer_id": "o", "purchase": "made"}, "ended", [], id="of the offer"),
        pytest.param({"procured_offer_id": "o", "purchase": "sent"}, "ended", [], id="of an unanswered purchase"),
        pytest.param({"procured_offer_id": "o", "purchase": "made"}, "ready", ["s"], id="one of the offer"),
        pytest.param(
            {"procured_offer_id": "o", "purchase": "sent"}, "ready", ["s"], id="one of an unanswered purchase"
        ),
        pytest.param({"resource_ids": ["s"], "procured_offer_id": "o"}, "ready", ["s"], id="a further machine"),
        pytest.param({}, "", [], id="of a host without a registry"),
    ],
)
def test_machine_listed_as_deleted_stays_if_its_page_is_unreadable(
    tmp_path: Path, entry: Json, phase: str, ended_ids: list[str]
) -> None:
    """A list may be wrong, and an answer of a gateway proves nothing about the machine."""
    if entry:
        write(tmp_path, "gpu-1", **entry)
    others = [machine(key) for key in ended_ids]
    api = Api(machine("r", status="deleted"), *others, unreadable_id="r", phases={"o": phase}, status_ids=("r",))
    (plan,) = plans(api, declared("gpu-1", tmp_path if entry else ""))["ends"]
    assert (plan["next"], plan["ids"]) == ("end" if ended_ids else "stop", ended_ids)
    assert "So r does not end. It may be billed at USD 2.40 per hour." in plan["refusal"]
    assert "If it is gone for certain: compute_index.supply.decommission" in plan["refusal"]
    if ended_ids:
        with pytest.raises(Failure) as failure:
            note_end(Api(), plan, ended_answer("s"))
        assert failure.value.result["left"] == ["r"]


@pytest.mark.parametrize(("status", "step"), [("deleted", "note"), ("deleting", "stop"), ("running", "stop")])
@pytest.mark.parametrize("entry", [{"resource_ids": ["r"]}, {"purchase": "made"}, {"purchase": "sent"}], ids=str)
def test_person_forgets_machine_with_unreadable_page_if_list_calls_it_deleted(
    tmp_path: Path, entry: Json, status: str, step: str
) -> None:
    """Otherwise, if no page of a deleted machine can be read, its host could never buy again."""
    file = write(tmp_path, "gpu-1", procured_offer_id="o", **entry)
    api = Api(machine("r", status=status), unreadable_id="r", phases={"o": "failed"}, status_ids=("r",))
    (plan,) = plans(api, declared("gpu-1", tmp_path), forget=["r"])["ends"]
    assert (plan["next"], plan["ids"], plan["gone"]) == (step, [], ["r"] if step == "note" else [])
    note_end(Api(), plan)
    assert file.exists() is (step == "stop")


def test_end_includes_further_machine_that_is_deleting(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    api = Api(machine("r"), machine("s", status="deleting"), machine("t", status="deleted"))
    assert plans(api, declared("gpu-1", tmp_path))["ends"][0]["ids"] == ["r", "s"]


def test_machine_claimed_by_another_registry_host_does_not_end(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    write(tmp_path, "copy", resource_ids=["r"])
    (found,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    assert "copy, gpu-1" in found["refusal"]


def test_without_registry_inventory_host_contests_numbered_machine() -> None:
    other = {"host": "gpu-1-1", "name": "gpu-1-1", "known": {}}
    api = Api(machine("r", "gpu-1-1"), machine("s", "gpu-1-2"), machine("t", "own"))
    host = declared("gpu-1", "")
    assert plans(api, host)["ends"][0]["ids"] == ["r", "s"]
    (found,) = plans(api, host, inventory=[other])["ends"]
    assert found["next"] == "stop", "gpu-1-1 may be a machine of the cluster gpu-1 or of the host gpu-1-1"
    assert plans(api, {**host, "name": "own"})["ends"][0]["ids"] == ["t"]


@pytest.mark.parametrize(
    ("has_registry", "declares", "ends"), [(True, True, False), (True, False, True), (False, True, True)], ids=str
)
def test_listed_id_ends_machine_unless_registry_host_is_declared(
    tmp_path: Path, has_registry: bool, declares: bool, ends: bool
) -> None:
    host = declared("gpu-1", tmp_path if has_registry else "", listed_id="R", declares=declares)
    (found,) = plans(Api(machine("r")), host)["ends"]
    assert (found["next"], found["ids"]) == (("end", ["r"]) if ends else ("stop", []))
    (found,) = plans(Api(machine("r")), {**host, "resource_id": "r"})["ends"]
    assert found["ids"] == ["r"]


def test_without_registry_facts_of_earlier_role_identify_machine() -> None:
    known = {"provision_resource_ids": ["r"], "provision_procured_offer_id": "o"}
    (found,) = plans(Api(machine("r", "x"), phases={"o": "ready"}), declared("gpu-1", "", known=known))["ends"]
    assert (found["ids"], found["registry_file"]) == (["r"], "")


@pytest.mark.parametrize(("minutes", "next_step"), [(1, "stop"), (29, "stop"), (31, "note")])
@pytest.mark.parametrize("zone", ["+00:00", "Z", ""])
def test_unanswered_purchase_ends_only_after_30_minutes(
    tmp_path: Path, minutes: int, next_step: str, zone: str
) -> None:
    when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes)
    noted = when.replace(tzinfo=None).isoformat() + zone
    write(tmp_path, "gpu-1", procured_offer_id="o", purchase="sent", journaled_at=noted)
    (found,) = plans(Api(phases={"o": "unbought"}), declared("gpu-1", tmp_path))["ends"]
    assert found["next"] == next_step, found["refusal"]


def test_end_finds_machine_by_name_of_purchase(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", procured_offer_id="o", resource_name="trainer")
    (found,) = plans(Api(machine("r", "trainer"), phases={"o": "ready"}), declared("gpu-1", tmp_path))["ends"]
    assert found["ids"] == ["r"]


def test_unreadable_list_stops_end(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    (found,) = plans(Api(list_error=500), declared("gpu-1", tmp_path))["ends"]
    assert found["next"] == "stop" and "answered 500" in found["refusal"]


def test_forbidden_strategy_stops_all_hosts_without_request(tmp_path: Path) -> None:
    api = Api()
    answer = plans(api, declared("gpu-1", tmp_path), declared("gpu-2", tmp_path), forbidden="Use linear.")
    assert [(each["next"], each["refusal"]) for each in answer["ends"]] == [("stop", "Use linear.")] * 2
    assert api.requests == []


# The registry after an end


def test_entry_is_removed_after_all_machines_ended(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r", "s"], procured_offer_id="o")
    (plan,) = plans(Api(machine("r"), machine("s")), declared("gpu-1", tmp_path))["ends"]
    assert note_end(Api(), plan, check_mode=True) == {**NO_CHANGE, "changed": True}
    with pytest.raises(Failure) as failure:
        note_end(Api(), plan, ended_answer("r"), failed_answer("s"))
    assert "s may run. Not known to have ended for gpu-1: s." in str(failure.value)
    assert (failure.value.result["left"], failure.value.result["error_class"]) == (["s"], "conflict")
    kept = yaml.safe_load(file.read_text())
    assert (kept["provision_resource_ids"], kept["provision_procured_offer_id"]) == (["s"], "o")

    (plan,) = plans(Api(machine("s")), declared("gpu-1", tmp_path))["ends"]
    assert note_end(Api(), plan, ended_answer("s")) == {**NO_CHANGE, "changed": True}
    assert not file.parent.exists()
    assert note_end(Api(), plan, ended_answer("s")) == NO_CHANGE


@pytest.mark.parametrize("reaped", [None, {"idle": 0}])
def test_unreadable_page_stops_only_end_of_its_machine(tmp_path: Path, reaped: Any) -> None:
    lease = {"ends_at": "2020-01-01T00:00:00Z", "price_per_hour": 4.8}
    file = write(tmp_path, "gpu-1", resource_ids=["r", "s"], procured_offer_id="o", **lease)
    api = Api(machine("r"), machine("s"), unreadable_id="r")
    host = declared("gpu-1", tmp_path, reaped=reaped, storage="end")
    planned = plans(api, host, check_mode=True)["ends"]
    checked = outcomes(planned, {"gpu-1": note_end(Api(), planned[0], check_mode=True)})["gpu-1"]
    assert checked["lines"][0] == "gpu-1: would end s, USD 2.40/h" and "So r does not end" in checked["stop"]

    (plan,) = plans(api, host)["ends"]
    assert (plan["ids"], [job["resource_id"] for job in jobs([plan])]) == (["s"], ["s"])
    with pytest.raises(Failure) as failure:
        note_end(Api(), plan, ended_answer("s"))
    assert str(failure.value) == (
        "GET /resources/r answered 500. So r does not end. It may be billed at USD 2.40 per hour. Run again; if its"
        " page stays unreadable, ask the API's support to end it. Not known to have ended for gpu-1: r. Its entry stays"
        f" in {file}. Run again."
    )
    assert failure.value.result["left"] == ["r"]
    assert yaml.safe_load(file.read_text())["provision_resource_ids"] == ["r"]

    (plan,) = plans(Api(machine("r")), host)["ends"]
    assert plan["ids"] == ["r"], "its page can be read again"


BEFORE, BOUGHT = "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"


@pytest.mark.parametrize(
    ("page", "ended_ids", "expected_refusal"),
    [
        pytest.param(machine("r"), ["r"], "", id="of the purchased offer"),
        pytest.param(machine("r", offer=None), ["r"], "", id="of no offer, and younger"),
        pytest.param(machine("r", offer=None, created_at=BEFORE), [], "existed before", id="of no offer, and older"),
        pytest.param(machine("r", offer="x"), [], "bought with offer x", id="of another offer"),
    ],
)
def test_unreadable_machine_named_only_by_status_stays_unproved(
    tmp_path: Path, page: Json, ended_ids: list[str], expected_refusal: str
) -> None:
    file = write(tmp_path, "gpu-1", procured_offer_id="o", purchase="made", journaled_at=BOUGHT)
    host, api = declared("gpu-1", tmp_path), {"phases": {"o": "ready"}, "status_ids": ("r", "s")}
    (plan,) = plans(Api(machine("s"), unreadable_id="r", **api), host)["ends"]  # type: ignore[arg-type]
    with pytest.raises(Failure, match="So r does not end") as failure:
        note_end(Api(), plan, ended_answer("s"))
    assert (plan["ids"], failure.value.result["left"]) == (["s"], ["r"])
    kept = yaml.safe_load(file.read_text())
    assert (kept["provision_procured_offer_id"], kept.get("provision_resource_ids")) == ("o", None)

    (plan,) = plans(Api(machine("s", status="deleted"), unlisted=(page,), **api), host)["ends"]  # type: ignore[arg-type]
    assert (plan["ids"], expected_refusal in plan["refusal"]) == (ended_ids, True)


@pytest.mark.parametrize(
    ("entry", "created", "usd", "expected_cost"),
    [
        pytest.param({"price_per_hour": 3.0}, None, 6.0, "USD 6.00", id="the registry has a higher price"),
        pytest.param({"price_per_hour": 2.0}, None, 4.8, "USD 4.80", id="the API has a higher price"),
        pytest.param({}, None, 4.8, "USD 4.80", id="only the API has a price"),
        pytest.param({"journaled_at": None}, NOW - 3600, 2.4, "USD 2.41", id="only the API has a start time"),
        pytest.param({"journaled_at": None}, None, None, "", id="no start time"),
        pytest.param({"journaled_at": "yesterday"}, None, None, "unknown", id="unreadable start time"),
    ],
)
def test_end_reports_cost(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry: Json,
    created: float | None,
    usd: float | None,
    expected_cost: str,
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    kept = {"resource_ids": ["r"], "procured_offer_id": "o", "journaled_at": utc(NOW - 7200), **entry}
    write(tmp_path, "gpu-1", **{name: value for name, value in kept.items() if value is not None})
    api = Api(machine("r", created_at=None if created is None else utc(created)))
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    found = note_end(Api(), plan, ended_answer("r"))
    assert found["usd"] == (None if usd is None else pytest.approx(usd, abs=0.001))
    assert expected_cost in found["cost"] and bool(expected_cost) == bool(found["cost"])


@pytest.mark.parametrize(
    ("machines", "phases", "forget", "billed_reasons"),
    [
        pytest.param([machine("r", status="deleted")], {"o": "ended"}, [], ["gone"], id="its machine has ended"),
        pytest.param([], {}, ["o"], ["gone"], id="a person forgets it"),
        pytest.param([], {"o": "expired"}, [], [], id="its offer expired"),
    ],
)
def test_unsettled_purchase_is_billed_unless_its_offer_expired(
    tmp_path: Path, machines: list[Json], phases: Json, forget: list[str], billed_reasons: list[str]
) -> None:
    write(tmp_path, "gpu-1", procured_offer_id="o", purchase="sent", journaled_at="2026-01-31T12:00:00Z")
    (plan,) = plans(Api(*machines, phases=phases), declared("gpu-1", tmp_path), forget=forget)["ends"]
    assert plan["next"] == "note", plan["refusal"]
    note_end(Api(), plan)
    assert [bill.why for bill in ledger(str(tmp_path)).bills] == billed_reasons


def test_refused_purchase_has_no_cost(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", procured_offer_id="o", purchase="refused", journaled_at="2026-01-31T12:00:00Z")
    (plan,) = plans(Api(), declared("gpu-1", tmp_path))["ends"]
    assert note_end(Api(), plan)["cost"] == ""


def test_end_removes_only_its_host_from_ssh_config(tmp_path: Path) -> None:
    file = tmp_path / ".ssh_config"
    for host in ("gpu-1", "gpu-2"):
        instance = {"resource_id": host, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
        write(tmp_path, host, resource_ids=[host], procured_offer_id=f"o-{host}", instances=[instance])
    assert update_ssh_config(Registries(None, "", read_only=False), [Folder(str(tmp_path)), NOWHERE]) == []
    with_both_hosts = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for host, remaining in (("gpu-1", ["gpu-2"]), ("gpu-2", [])):
        (plan,) = plans(Api(machine(host, host, f"o-{host}")), declared(host, tmp_path))["ends"]
        before = file.read_text()
        note_end(Api(), plan, check_mode=True)
        with pytest.raises(Failure):
            note_end(Api(), plan, failed_answer(host))
        assert file.read_text() == before
        note_end(Api(), plan, ended_answer(host))
        lines = file.read_text().splitlines() if remaining else []
        assert [line.split()[1] for line in lines if line.startswith("Host ")] == remaining
    assert "Host gpu-1\n" in with_both_hosts and not file.exists() and tmp_path.exists()


def test_end_warns_if_ssh_config_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    (tmp_path / ".ssh_config").mkdir()
    answer = note_end(Api(), plan, ended_answer("r"))
    assert (answer["changed"], answer["left"]) == (True, [])
    assert str(tmp_path / ".ssh_config") in answer["warnings"][0]


@pytest.mark.parametrize(
    "answers",
    [
        (),
        ({"failed": True, "msg": "killed"},),
        ({**ended_answer("r"), "billing_stopped": "true"},),
        (ended_answer("s"),),
    ],
    ids=str,
)
def test_only_true_billing_stopped_with_own_id_counts_as_ended(tmp_path: Path, answers: tuple[Json, ...]) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"])
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    with pytest.raises(Failure) as failure:
        note_end(Api(), plan, *answers)
    assert failure.value.result["left"] == ["r"]
    assert file.exists()


def test_machine_created_during_end_stays_in_entry(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", procured_offer_id="o", purchase="sent")
    api = Api(machine("r"), phases={"o": "going_on"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert plan["pending"]
    api.listed = [machine("r", status="deleted"), machine("s"), machine("t", offer="x")]
    with pytest.raises(Failure) as failure:
        note_end(api, plan, ended_answer("r"))
    assert "s (called gpu-1, running, USD 2.40 per hour)" in str(failure.value)
    assert yaml.safe_load(file.read_text())["provision_resource_ids"] == ["s"]
    api.list_error = 500
    with pytest.raises(Failure, match="answered 500"):
        note_end(api, plan, ended_answer("r"))


def test_entry_stays_if_late_machines_cannot_be_listed(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    api = Api(machine("r", status="deleted"), phases={"o": "going_on"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert (plan["next"], plan["ids"], plan["pending"]) == ("note", [], True)
    api.list_error = 500
    with pytest.raises(Failure, match="answered 500") as failure:
        note_end(api, plan)
    assert failure.value.result["left"] == ["r"]
    assert yaml.safe_load(file.read_text())["provision_resource_ids"] == ["r"]


@pytest.mark.parametrize(
    ("entry", "name", "is_hosts"),
    [
        ({"purchase": "made"}, "colleague", True),
        ({"purchase": "sent"}, "gpu-1", True),
        ({"purchase": "sent"}, "colleague", False),
        ({"purchase": "sent", "refused_status": 409}, "gpu-1", False),
    ],
    ids=str,
)
def test_late_machine_is_noted_only_if_the_host_has_bought_the_offer(
    tmp_path: Path, entry: Json, name: str, is_hosts: bool
) -> None:
    """A noted machine ends in the next run, and a colleague may have bought the offer."""
    file = write(tmp_path, "gpu-1", procured_offer_id="o", **entry)
    api = Api(machine("r", name, status="deleted"), phases={"o": "going_on"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert (plan["next"], plan["pending"]) == ("note", is_hosts)
    api.listed.append(machine("s", name))
    with pytest.raises(Failure, match="Meanwhile the offer brought s") if is_hosts else contextlib.nullcontext():
        note_end(api, plan)
    assert file.exists() is is_hosts


def test_machine_that_did_not_end_stays_in_entry_of_pending_purchase(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", procured_offer_id="o", purchase="sent")
    api = Api(machine("r"), phases={"o": "going_on"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    with pytest.raises(Failure, match="r may run") as failure:
        note_end(api, plan, failed_answer("r"))
    assert failure.value.result["left"] == ["r"]
    assert yaml.safe_load(file.read_text())["provision_resource_ids"] == ["r"]


@pytest.mark.parametrize("protect", [True, None], ids=["stop", "nothing to end"])
def test_plan_that_ends_nothing_keeps_entry(tmp_path: Path, protect: Any) -> None:
    entry = PROTECTED_ENTRY if protect else {"storage": [{"resource_id": "v", "price_per_hour": 0.5}]}
    file = write(tmp_path, "gpu-1", **entry)
    before = file.read_text()
    api = Api(machine("r", "gpu-1" if protect else "other"))
    (plan,) = plans(api, declared("gpu-1", tmp_path, protect=protect))["ends"]
    assert plan["next"] == ("stop" if protect else "")
    result = note_all(Api(), [plan], {})
    assert not result["changed"] and file.read_text() == before


def test_entry_changed_by_another_run_stays(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    write(tmp_path, "gpu-1", procured_offer_id="p", purchase="sent")
    with pytest.raises(Failure, match="was changed meanwhile"):
        note_end(Api(), plan, ended_answer("r"))
    assert yaml.safe_load(file.read_text())["provision_procured_offer_id"] == "p"


@pytest.mark.parametrize(
    ("noted", "error_class", "left"),
    [(True, "not_found", []), (True, "unavailable", ["r"]), (False, "not_found", ["r"])],
)
def test_unknown_machine_is_gone_if_another_run_has_noted_its_end(
    tmp_path: Path, noted: bool, error_class: str, left: list[str]
) -> None:
    """Of two runs at the same time, one only got a 404, and failed: the machine "may be billed" in no registry."""
    file = write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made")
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    if noted:
        other = HostFile(str(file))
        other.read()
        other.end()
    answer = {"resource_id": "r", "failed": True, "error_class": error_class, "msg": "It answered 404."}
    with pytest.raises(Failure) if left else contextlib.nullcontext() as failure:
        note_end(Api(), plan, answer)
    assert (failure.value.result["left"] if failure else []) == left


def test_end_and_ledger_report_same_cost(tmp_path: Path) -> None:
    """The price has risen since the purchase. Both count the higher price for the whole time."""
    began = utc(time.time() - 36_000)
    entry = {"purchase": "made", "resource_ids": ["r"], "procured_offer_id": "o", "price_per_hour": 2.0}
    write(tmp_path, "gpu-1", **entry, journaled_at=began)
    (plan,) = plans(Api(machine("r", price_per_hour=5.0)), declared("gpu-1", tmp_path))["ends"]
    reported = note_end(Api(), plan, ended_answer("r"))["usd"]
    found = ledger(str(tmp_path))
    # The ledger rounds an end up to the next second, and a report rounds each of the (two) days up to a millionth.
    assert (
        0 <= spending_of(found.bills, found.now + 1).total.millionths - reported * 1e6 < 2.5 and 50.0 <= reported < 50.1
    )


# Selected hosts


def select_hosts(api: Api, *parts: tuple[str, list[str]], **given: Any) -> Json:
    matched = [host for _text, hosts in parts for host in hosts]
    given = {"parts": [{"text": text, "hosts": hosts} for text, hosts in parts], "matched": matched, **given}
    return named(api, params(steps.NAMED, **given), False)  # type: ignore[arg-type]


def test_hosts_known_only_to_registry_are_added_to_their_groups() -> None:
    api = Api()
    parts = [("gpu", ["gpu-1", "gpu-9"]), ("lost", ["lost"])]
    found = select_hosts(
        api, *parts, known=["gpu-1"], registered={"gpu-9": ["gpu", "eu"], "lost": []}, group="all_gpus"
    )
    assert found["hosts"] == ["gpu-1", "gpu-9", "lost"]
    assert found["add"] == [{"name": "gpu-9", "groups": ["gpu", "eu"]}, {"name": "lost", "groups": ["all_gpus"]}]
    assert api.requests == []


@pytest.mark.parametrize(
    ("name", "given", "is_found"),
    [
        ("alice", {}, False),
        ("alice", {"by_name": True}, True),
        ("ray", {"by_name": True}, True),
        ("bob", {"by_name": True}, False),
        ("bob", {"by_name": True, "prefix": "ml-"}, True),
        ("al*", {"by_name": True}, False),
        ("bob", {"by_id": True}, True),
    ],
)
def test_unknown_host_needs_machine_of_its_name_or_an_id(name: str, given: Json, is_found: bool) -> None:
    api = Api(machine("r", "alice"), machine("s", "ray-1"), machine("t", "ml-bob"))
    if is_found:
        assert select_hosts(api, (name, []), **given)["add"] == [{"name": name, "groups": ["gpu"]}]
    else:
        with pytest.raises(Failure, match="Nothing was ended"):
            select_hosts(api, (name, []), **given)
