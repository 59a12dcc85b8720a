# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends, who is named and who owns what, with registries on disk and an API that answers from a dictionary."""

from __future__ import annotations

import datetime
import re
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._operations import end as operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import (
    Registries,
    update_ssh_config,
)
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import audit
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import end
from ansible_collections.compute_index.supply.plugins.module_utils._operations.order import named
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ended import outcomes
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending_by_id import jobs
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import DECOMMISSIONED, MOVED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import ADVICE_ON_MISSING
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import NOWHERE, Folder
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import spending_of
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._registry._stores import ledger
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, utc

from ends import after

Json = dict[str, Any]
NOW = 1_800_000_000.0
NOTHING = {"changed": False, "left": [], "usd": None, "cost": "", "storage": []}


def machine(key: str, name: str = "gpu-1", offer: str | None = "o", **fields: Any) -> Json:
    shown = {
        "resource_id": key,
        "name": name,
        "offer_id": offer,
        "status": "running",
        "created_at": None,
        "vendor": "v",
    }
    return {**shown, "price_per_hour": 2.4, **fields}


class Api:
    """The reads of the client. ``hidden``: machines that no list has. ``unread``: the id whose page answers 500.

    ``named``: the ids in the statuses of offers.
    """

    ahead = 0.0

    def __init__(
        self,
        *listed: Json,
        hidden: tuple[Json, ...] = (),
        phases: Json | None = None,
        broken: int = 0,
        unread: str = "",
        named: tuple[str, ...] = (),
    ) -> None:
        self.listed, self.hidden, self.phases = list(listed), hidden, phases or {}
        self.broken, self.unread, self.named = broken, unread, list(named)
        self.asked: list[str] = []

    def resources(self, retries: int | None = None) -> list[Json]:
        self.asked.append("list")
        if self.broken:
            raise ApiError(f"GET /resources answered {self.broken}.", "unavailable")
        return list(self.listed)

    def resource(self, resource_id: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        self.asked.append(resource_id)
        assert force_refresh
        if resource_id == self.unread:
            raise ApiError(f"GET /resources/{resource_id} answered 500.", "unavailable", transient=True)
        for each in (*self.hidden, *self.listed):
            if each["resource_id"] == resource_id:
                return each
        raise ApiError(f"GET /resources/{resource_id} answered 404.", "not_found")


@pytest.fixture(autouse=True)
def statuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at many offers, which has tests of its own."""

    def look(api: Api, offer_ids: set[str]) -> Json:
        wanted = sorted(offer_ids - {""})
        api.asked += wanted
        unknown = {"phase": None, "error_class": "not_found", "msg": "answered 404.", "resource_ids": []}
        known = {key: {"phase": phase, "resource_ids": api.named} for key, phase in api.phases.items()}
        return {offer_id: known.get(offer_id, unknown) for offer_id in wanted}

    monkeypatch.setattr(operation, "offer_statuses", look)


def write(folder: Path, host: str, text: str | None = None, **variables: Any) -> Path:
    file = folder / host / "compute_index_supply.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    named_ = {f"provision_{name}": value for name, value in variables.items()}
    file.write_text(yaml.safe_dump(named_) if text is None else text)
    return file


def params(spec: Json, **given: Any) -> Json:
    return {**{name: option.get("default") for name, option in spec.items()}, **given}


def declared(host: str, folder: Path | str, **more: Any) -> Json:
    known = {
        "id": host,
        "host": host,
        "name": host,
        "resource_id": "",
        "project": "default",
        "registry_dir": str(folder),
        "inventory_dir": None,
    }
    return {**known, "listed_id": "", "declares": False, "known": {}, **more}


def plans(api: Api, *hosts: Json, check_mode: bool = False, **given: Any) -> Json:
    given = {"hosts": list(hosts), "ids": [host["id"] for host in hosts], "here": "/", **given}
    found = end(api, params(steps.END, **given), check_mode)  # type: ignore[arg-type]
    return {**found, "ends": list(found["ends"].values())}


# What ends


def test_each_host_gets_a_plan(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    api = Api(machine("r"))
    answer = plans(api, declared("gpu-1", tmp_path), declared("gpu-2", tmp_path))
    first, second = answer["ends"]
    assert first["lines"] == []
    assert (first["next"], first["ids"], first["registry_file"]) == ("end", ["r"], str(file))
    assert (second["next"], second["lines"]) == ("", ["gpu-2 owns no machine; there is nothing to end"])
    assert answer["decided"] == ["gpu-1", "gpu-2"]
    assert api.asked == ["list", "o", "r"]

    (checked,) = plans(api, declared("gpu-1", tmp_path), check_mode=True)["ends"]
    assert checked["lines"] == ["gpu-1: would end r, USD 2.40/h"]


def test_an_end_is_marked_before_anything_is_told_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    plans(Api(machine("r")), declared("gpu-1", tmp_path), check_mode=True)
    plans(Api(), declared("gpu-1", tmp_path))  # nothing is told to end
    assert "provision_reaped_at" not in yaml.safe_load(file.read_text())
    (marked,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    assert marked["ids"] == ["r"] and "provision_reaped_at" in yaml.safe_load(file.read_text())

    def full(*_args: Any) -> None:
        raise RegistryError("No space left on device.")

    monkeypatch.setattr(HostFile, "compare_and_set", full)
    (unmarked,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    assert (unmarked["next"], unmarked["ids"]) == ("end", ["r"])  # nothing is billed on for it


GUARDED = {"resource_ids": ["r"], "procured_offer_id": "o", "protected_since": "2026-12-01T06:00:00Z"}


@pytest.mark.parametrize(
    ("noted", "more", "refused"),
    [
        (GUARDED, {}, "gpu-1 is protected since 2026-12-01 06:00 UTC."),
        (GUARDED, {"protect": True}, "gpu-1 is protected since 2026-12-01 06:00 UTC."),
        (GUARDED, {"protect": False}, ""),
        (GUARDED, {"protect": "false"}, ""),
        ({**GUARDED, "protected_since": None}, {"protect": True}, "gpu-1 is protected."),
        ({**GUARDED, "protected_since": None}, {"protect": "ture"}, "must be true or false, not 'ture'"),
        ({**GUARDED, "protected_since": None}, {}, ""),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_protected_host_refuses_by_name_and_says_since_when(
    tmp_path: Path, noted: Json, more: Json, refused: str, check_mode: bool
) -> None:
    write(tmp_path, "gpu-1", **noted)
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path, **more), check_mode=check_mode)["ends"]
    assert (plan["next"], plan["ids"]) == (("stop", []) if refused else ("end", ["r"]))
    assert refused in plan["refusal"] and bool(refused) is bool(plan["refusal"])


def test_without_a_registry_the_variable_protects(tmp_path: Path) -> None:
    by_name = {**declared("gpu-1", ""), "protect": True}
    (plan,) = plans(Api(machine("r")), by_name, inventory=[by_name])["ends"]
    assert (plan["next"], "gpu-1 is protected." in plan["refusal"]) == ("stop", True)


def test_what_is_gone_of_a_protected_host_is_forgotten(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", **GUARDED)
    gone = machine("r", status="deleted")
    (plan,) = plans(Api(gone, hidden=(gone,)), declared("gpu-1", tmp_path, protect=True))["ends"]
    assert (plan["next"], plan["gone"]) == ("note", ["r"])


def test_another_hosts_id_ends_no_protected_machine(tmp_path: Path) -> None:
    """``decommission_resource_id`` for a host without an entry, of a machine that a protected host holds."""
    write(tmp_path, "gpu-1", **GUARDED)
    (plan,) = plans(Api(machine("r")), declared("gpu-2", tmp_path, resource_id="r"))["ends"]
    assert (plan["next"], plan["ids"]) == ("stop", [])
    assert "gpu-1" in plan["refusal"]


def test_what_ran_and_is_listed_is_read_by_its_own_id(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", instances=[{"resource_id": "r"}])
    api = Api(machine("r"))
    assert plans(api, declared("gpu-1", tmp_path))["ends"][0]["ids"] == ["r"]
    assert api.asked == ["list", "r"]


def test_a_broken_file_concerns_its_host_alone(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    broken = write(tmp_path, "gpu-2", text="<<<<<<< HEAD\n")
    write(tmp_path, "gpu-3", text="[]\n")
    answer = plans(Api(machine("r")), declared("gpu-1", tmp_path), declared("gpu-2", tmp_path))
    first, second = answer["ends"]
    assert first["next"] == "end"
    assert second["next"] == "stop" and str(broken) in second["refusal"]
    assert second["refusal"].startswith("Nothing was ended for gpu-2.")
    assert [("gpu-3" in text, "gpu-2" in text) for text in answer["warnings"]] == [(True, False)]


def test_what_the_list_lacks_is_looked_up(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    write(tmp_path, "gpu-2", resource_ids=["s"])
    write(tmp_path, "gpu-3", resource_ids=["t"])
    api = Api(hidden=(machine("r"), machine("s", offer="p", status="deleted")))
    hosts = [declared(f"gpu-{number}", tmp_path) for number in (1, 2, 3)]
    first, second, third = plans(api, *hosts)["ends"]
    assert (first["ids"], second["next"], third["next"]) == (["r"], "note", "stop")
    assert "t answered 404" in third["refusal"] and "decommission_forget=t" in third["refusal"]

    (found,) = plans(api, hosts[2], forget=[" T "])["ends"]
    assert (found["next"], found["forgotten"]) == ("note", ["t"])
    assert found["lines"] == ["gpu-3: nothing runs any more of t; forgets t, which the API does not know"]


@pytest.mark.parametrize(
    ("page", "follows"),
    [
        pytest.param("running", "end", id="it runs after all"),
        pytest.param("deleting", "end", id="it is still ending"),
        pytest.param("deleted", "note", id="the list is right"),
        pytest.param(None, "note", id="it has no page any more"),
    ],
)
@pytest.mark.parametrize("entry", [{"resource_ids": ["r"]}, {"procured_offer_id": "o", "purchase": "made"}], ids=str)
def test_what_a_list_calls_gone_speaks_for_itself(tmp_path: Path, page: str | None, follows: str, entry: Json) -> None:
    write(tmp_path, "gpu-1", **entry)
    shown = () if page is None else (machine("r", status=page),)
    api = Api(machine("r", status="deleted"), machine("s", "train", "p", status="deleted"), hidden=shown)
    api.phases = {"o": "ended"}
    (found,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert (found["next"], found["ids"]) == (follows, ["r"] if follows == "end" else []), found["refusal"]
    assert "s" not in api.asked, "whatever is nobody's concern is not read"


def test_a_further_machine_that_is_ending_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    api = Api(machine("r"), machine("s", status="deleting"), machine("t", status="deleted"))
    assert plans(api, declared("gpu-1", tmp_path))["ends"][0]["ids"] == ["r", "s"]


def test_other_hosts_of_the_registry_have_a_say(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    write(tmp_path, "copy", resource_ids=["r"])
    (found,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    assert "copy, gpu-1" in found["refusal"]


def test_without_a_registry_other_hosts_of_the_inventory_have_names() -> None:
    other = {"host": "gpu-1-1", "name": "gpu-1-1", "known": {}}
    api = Api(machine("r", "gpu-1-1"), machine("s", "gpu-1-2"), machine("t", "own"))
    one = declared("gpu-1", "")
    assert plans(api, one)["ends"][0]["ids"] == ["r", "s"]
    (found,) = plans(api, one, inventory=[other])["ends"]
    assert found["next"] == "stop", "an offer of two hosts, or one machine of a number"
    assert plans(api, {**one, "name": "own"})["ends"][0]["ids"] == ["t"]


@pytest.mark.parametrize(
    ("registry", "declares", "ends"), [(True, True, False), (True, False, True), (False, True, True)], ids=str
)
def test_the_inventory_plugin_knows_a_machine_by_its_name(
    tmp_path: Path, registry: bool, declares: bool, ends: bool
) -> None:
    one = declared("gpu-1", tmp_path if registry else "", listed_id="R", declares=declares)
    (found,) = plans(Api(machine("r")), one)["ends"]
    assert (found["next"], found["ids"]) == (("end", ["r"]) if ends else ("stop", []))
    (found,) = plans(Api(machine("r")), {**one, "resource_id": "r"})["ends"]
    assert found["ids"] == ["r"]


def test_facts_of_an_earlier_role_count_without_a_registry() -> None:
    known = {"provision_resource_ids": ["r"], "provision_procured_offer_id": "o"}
    (found,) = plans(Api(machine("r", "x"), phases={"o": "ready"}), declared("gpu-1", "", known=known))["ends"]
    assert (found["ids"], found["registry_file"]) == (["r"], "")


@pytest.mark.parametrize(("minutes", "file"), [(1, "stop"), (29, "stop"), (31, "note")])
@pytest.mark.parametrize("zone", ["+00:00", "Z", ""])
def test_a_young_journal_is_not_forgotten(tmp_path: Path, minutes: int, file: str, zone: str) -> None:
    when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes)
    noted = when.replace(tzinfo=None).isoformat() + zone
    write(tmp_path, "gpu-1", procured_offer_id="o", purchase="sent", journaled_at=noted)
    (found,) = plans(Api(phases={"o": "unbought"}), declared("gpu-1", tmp_path))["ends"]
    assert found["next"] == file, found["refusal"]


def test_the_name_of_the_purchase_counts(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", procured_offer_id="o", resource_name="trainer")
    (found,) = plans(Api(machine("r", "trainer"), phases={"o": "ready"}), declared("gpu-1", tmp_path))["ends"]
    assert found["ids"] == ["r"]


def test_an_api_that_does_not_list_ends_nothing(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    (found,) = plans(Api(broken=500), declared("gpu-1", tmp_path))["ends"]
    assert found["next"] == "stop" and "answered 500" in found["refusal"]


def test_a_strategy_that_takes_hosts_one_by_one_ends_nothing(tmp_path: Path) -> None:
    api = Api()
    answer = plans(api, declared("gpu-1", tmp_path), declared("gpu-2", tmp_path), forbidden="Use linear.")
    assert [(each["next"], each["refusal"]) for each in answer["ends"]] == [("stop", "Use linear.")] * 2
    assert api.asked == []


# What the registry keeps


def gone(key: str) -> Json:
    return {"resource_id": key, "billing_stopped": True, "msg": "deleted"}


def still(key: str) -> Json:
    return {"resource_id": key, "billing_stopped": False, "msg": f"{key} may run.", "error_class": "conflict"}


def test_an_entry_goes_once_all_has_ended(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r", "s"], procured_offer_id="o")
    (plan,) = plans(Api(machine("r"), machine("s")), declared("gpu-1", tmp_path))["ends"]
    assert after(Api(), plan, check_mode=True) == {**NOTHING, "changed": True}
    with pytest.raises(Failure) as failure:
        after(Api(), plan, gone("r"), still("s"))
    assert "s may run. Not known to have ended for gpu-1: s." in str(failure.value)
    assert (failure.value.result["left"], failure.value.result["error_class"]) == (["s"], "conflict")
    kept = yaml.safe_load(file.read_text())
    assert (kept["provision_resource_ids"], kept["provision_procured_offer_id"]) == (["s"], "o")

    (plan,) = plans(Api(machine("s")), declared("gpu-1", tmp_path))["ends"]
    assert after(Api(), plan, gone("s")) == {**NOTHING, "changed": True}
    assert not file.parent.exists()
    assert after(Api(), plan, gone("s")) == NOTHING


@pytest.mark.parametrize("reaped", [None, {"idle": 0}])
def test_a_page_that_cannot_be_read_keeps_only_its_own_machine_from_ending(tmp_path: Path, reaped: Any) -> None:
    lease = {"ends_at": "2020-01-01T00:00:00Z", "price_per_hour": 4.8}
    file = write(tmp_path, "gpu-1", resource_ids=["r", "s"], procured_offer_id="o", **lease)
    api = Api(machine("r"), machine("s"), unread="r")
    host = declared("gpu-1", tmp_path, reaped=reaped, storage="end")
    planned = plans(api, host, check_mode=True)["ends"]
    checked = outcomes(planned, {"gpu-1": after(Api(), planned[0], check_mode=True)})["gpu-1"]
    assert checked["lines"][0] == "gpu-1: would end s, USD 2.40/h" and "So r does not end" in checked["stop"]

    (plan,) = plans(api, host)["ends"]
    assert (plan["ids"], [job["resource_id"] for job in jobs([plan])]) == (["s"], ["s"])
    with pytest.raises(Failure) as failure:
        after(Api(), plan, gone("s"))
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
    ("page", "ends", "words"),
    [
        pytest.param(machine("r"), ["r"], "", id="the purchase's"),
        pytest.param(machine("r", offer=None), ["r"], "", id="of no offer, and younger"),
        pytest.param(machine("r", offer=None, created_at=BEFORE), [], "existed before", id="older than the purchase"),
        pytest.param(machine("r", offer="x"), [], "bought with offer x", id="of another offer"),
    ],
)
def test_an_unreadable_machine_that_only_the_status_names_is_not_noted_as_proved(
    tmp_path: Path, page: Json, ends: list[str], words: str
) -> None:
    file = write(tmp_path, "gpu-1", procured_offer_id="o", purchase="made", journaled_at=BOUGHT)
    host, api = declared("gpu-1", tmp_path), {"phases": {"o": "ready"}, "named": ("r", "s")}
    (plan,) = plans(Api(machine("s"), unread="r", **api), host)["ends"]  # type: ignore[arg-type]
    with pytest.raises(Failure, match="So r does not end") as failure:
        after(Api(), plan, gone("s"))
    assert (plan["ids"], failure.value.result["left"]) == (["s"], ["r"])
    kept = yaml.safe_load(file.read_text())
    assert (kept["provision_procured_offer_id"], kept.get("provision_resource_ids")) == ("o", None)

    (plan,) = plans(Api(machine("s", status="deleted"), hidden=(page,), **api), host)["ends"]  # type: ignore[arg-type]
    assert (plan["ids"], words in plan["refusal"]) == (ends, True)


@pytest.mark.parametrize(
    ("entry", "made", "usd", "said"),
    [
        pytest.param({"price_per_hour": 3.0}, None, 6.0, "USD 6.00", id="registered"),
        pytest.param({"price_per_hour": 2.0}, None, 4.8, "USD 4.80", id="dearer now"),
        pytest.param({}, None, 4.8, "USD 4.80", id="only the API has a price"),
        pytest.param({"journaled_at": None}, NOW - 3600, 2.4, "USD 2.41", id="the API has a beginning"),
        pytest.param({"journaled_at": None}, None, None, "", id="nothing is known"),
        pytest.param({"journaled_at": "yesterday"}, None, None, "unknown", id="no moment"),
    ],
)
def test_an_end_says_what_it_has_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Json, made: float | None, usd: float | None, said: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    kept = {"resource_ids": ["r"], "procured_offer_id": "o", "journaled_at": utc(NOW - 7200), **entry}
    write(tmp_path, "gpu-1", **{name: value for name, value in kept.items() if value is not None})
    api = Api(machine("r", created_at=None if made is None else utc(made)))
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    found = after(Api(), plan, gone("r"))
    assert (
        found["usd"] == (None if usd is None else pytest.approx(usd, abs=0.001))
        and said in found["cost"]
        and bool(said) == bool(found["cost"])
    )


@pytest.mark.parametrize(
    ("machines", "phases", "forget", "bills"),
    [
        pytest.param([machine("r", status="deleted")], {"o": "ended"}, [], ["gone"], id="it was there, and has ended"),
        pytest.param([], {}, ["o"], ["gone"], id="a person says that it is gone"),
        pytest.param([], {"o": "expired"}, [], [], id="nothing came of it"),
    ],
)
def test_a_purchase_that_nobody_settled_is_billed_unless_nothing_came_of_it(
    tmp_path: Path, machines: list[Json], phases: Json, forget: list[str], bills: list[str]
) -> None:
    write(tmp_path, "gpu-1", procured_offer_id="o", purchase="sent", journaled_at="2026-01-31T12:00:00Z")
    (plan,) = plans(Api(*machines, phases=phases), declared("gpu-1", tmp_path), forget=forget)["ends"]
    assert plan["next"] == "note", plan["refusal"]
    after(Api(), plan)
    assert [bill.why for bill in ledger(str(tmp_path)).bills] == bills


def test_what_was_refused_has_cost_nothing(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", procured_offer_id="o", purchase="refused", journaled_at="2026-01-31T12:00:00Z")
    (plan,) = plans(Api(), declared("gpu-1", tmp_path))["ends"]
    assert after(Api(), plan)["cost"] == ""


def test_ssh_forgets_a_host_that_has_ended_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / ".ssh_config"
    for host in ("gpu-1", "gpu-2"):
        machine_of = {"resource_id": host, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
        write(tmp_path, host, resource_ids=[host], procured_offer_id=f"o-{host}", instances=[machine_of])
    assert update_ssh_config(Registries(None, "", read_only=False), [Folder(str(tmp_path)), NOWHERE]) == []
    both = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for host, left in (("gpu-1", ["gpu-2"]), ("gpu-2", [])):
        (plan,) = plans(Api(machine(host, host, f"o-{host}")), declared(host, tmp_path))["ends"]
        before = file.read_text()
        after(Api(), plan, check_mode=True)
        with pytest.raises(Failure):
            after(Api(), plan, still(host))
        assert file.read_text() == before
        after(Api(), plan, gone(host))
        names = [line.split()[1] for line in file.read_text().splitlines() if line.startswith("Host ")] if left else []
        assert names == left
    assert "Host gpu-1\n" in both and not file.exists() and tmp_path.exists()


def test_an_end_is_one_though_ssh_cannot_be_told_of_it(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    (tmp_path / ".ssh_config").mkdir()
    answer = after(Api(), plan, gone("r"))
    assert (answer["changed"], answer["left"]) == (True, [])
    assert str(tmp_path / ".ssh_config") in answer["warnings"][0]


@pytest.mark.parametrize(
    "answers",
    [(), ({"failed": True, "msg": "killed"},), ({**gone("r"), "billing_stopped": "true"},), (gone("s"),)],
    ids=str,
)
def test_nothing_but_a_clear_word_is_an_end(tmp_path: Path, answers: tuple[Json, ...]) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"])
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    with pytest.raises(Failure) as failure:
        after(Api(), plan, *answers)
    assert failure.value.result["left"] == ["r"]
    assert file.exists()


def test_machines_that_come_while_others_end_are_kept(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", procured_offer_id="o", purchase="sent")
    api = Api(machine("r"), phases={"o": "going_on"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert plan["pending"]
    api.listed = [machine("r", status="deleted"), machine("s"), machine("t", offer="x")]
    with pytest.raises(Failure) as failure:
        after(api, plan, gone("r"))
    assert "s (called gpu-1, running, USD 2.40 per hour)" in str(failure.value)
    assert yaml.safe_load(file.read_text())["provision_resource_ids"] == ["s"]
    api.broken = 500
    with pytest.raises(Failure, match="answered 500"):
        after(api, plan, gone("r"))


def test_an_entry_that_another_run_has_written_stays(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")
    (plan,) = plans(Api(machine("r")), declared("gpu-1", tmp_path))["ends"]
    write(tmp_path, "gpu-1", procured_offer_id="p", purchase="sent")
    with pytest.raises(Failure, match="has changed meanwhile"):
        after(Api(), plan, gone("r"))
    assert yaml.safe_load(file.read_text())["provision_procured_offer_id"] == "p"


# Who is named


def ask(api: Api, *parts: tuple[str, list[str]], **given: Any) -> Json:
    matched = [host for _text, hosts in parts for host in hosts]
    given = {"parts": [{"text": text, "hosts": hosts} for text, hosts in parts], "matched": matched, **given}
    return named(api, params(steps.NAMED, **given), False)  # type: ignore[arg-type]


def test_hosts_that_only_the_registry_knows_are_added_to_their_groups() -> None:
    api = Api()
    parts = [("gpu", ["gpu-1", "gpu-9"]), ("lost", ["lost"])]
    found = ask(api, *parts, known=["gpu-1"], registered={"gpu-9": ["gpu", "eu"], "lost": []}, group="all_gpus")
    assert found["hosts"] == ["gpu-1", "gpu-9", "lost"]
    assert found["add"] == [{"name": "gpu-9", "groups": ["gpu", "eu"]}, {"name": "lost", "groups": ["all_gpus"]}]
    assert api.asked == []


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
def test_without_a_registry_a_name_may_be_that_of_a_machine(name: str, given: Json, is_found: bool) -> None:
    api = Api(machine("r", "alice"), machine("s", "ray-1"), machine("t", "ml-bob"))
    if is_found:
        assert ask(api, (name, []), **given)["add"] == [{"name": name, "groups": ["gpu"]}]
    else:
        with pytest.raises(Failure, match="Nothing was ended"):
            ask(api, (name, []), **given)


# Who owns what


def listed(host: str, folder: Path | str, **more: Any) -> Json:
    return {
        "host": host,
        "name": host,
        "registry_dir": str(folder),
        "inventory_dir": None,
        "known": {},
        "declares": False,
        **more,
    }


def look(api: Api, *hosts: Json, **given: Any) -> Json:
    return audit(api, params(steps.AUDIT, hosts=list(hosts), here="/", **given), False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("page", "section"), [("deleted", "gone"), ("deleting", "ending"), (None, "ending"), ("running", "claimed")]
)
def test_what_a_list_calls_ending_speaks_for_itself(tmp_path: Path, page: str | None, section: str) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    api = Api(machine("r", status="deleting"), hidden=() if page is None else (machine("r", status=page),))
    found = look(api, listed("gpu-1", tmp_path, declares=True))["audit"]
    rows = {name: len(found[name]) for name in ("claimed", "orphans", "ending", "gone")}
    assert rows == {"claimed": 0, "orphans": 0, "ending": 0, "gone": 0, section: 1}


@pytest.mark.parametrize(
    ("why", "page", "orphans", "trouble"),
    [
        (DECOMMISSIONED, "deleted", [], ""),
        (DECOMMISSIONED, "running", ["r"], ""),
        (MOVED, "running", ["r"], "gpu-1: moved into a shared registry, which this run does not read"),
        (MOVED, "deleted", [], ""),
    ],
)
def test_what_a_registry_had_and_has_no_more_is_read_before_it_is_an_orphan(
    tmp_path: Path, why: str, page: str, orphans: list[str], trouble: str
) -> None:
    """A list lags behind an end. What was moved into a shared registry is nobody's only for a run that reads files."""
    file = HostFile(str(write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")))
    file.read()
    file.end(why)
    api = Api(machine("r"), machine("s"), hidden=(machine("r", status=page),))
    found = look(api, listed("gpu-1", tmp_path))
    assert [row["resource_id"] for row in found["audit"]["orphans"]] == [*orphans, "s"]
    assert found["trouble"].startswith(trouble) and bool(found["trouble"]) is bool(trouble)
    assert api.asked == ["list", "r"]


def test_an_audit_has_a_section_for_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    write(tmp_path, "gpu-1", resource_ids=["r"])
    write(tmp_path, "gpu-9", resource_ids=["s"])
    write(tmp_path, "gpu-8", resource_ids=["gone"])
    write(tmp_path, "gpu-6", resource_ids=["lost"])
    write(tmp_path, "gpu-7", text="[]")
    api = Api(
        machine("r", created_at=utc(NOW - 10_815)), machine("s", offer="p"),
        machine("t", "stray", "q", status="starting"),
        machine("u", "eve", "a"),
        machine("v", "eve", "b"),
        machine("w", "wish", "c"), machine("x", "ann", "d", price_per_hour=None),
        hidden=(machine("gone", status="deleted"),),
    )  # fmt: skip
    wish, eve = listed("wish", tmp_path, declares=True), listed("eve", "", declares=True)
    found = look(api, listed("gpu-1", tmp_path, declares=True), wish, eve, names=[" ann ", ""])
    assert found["lines"] == [
        "CLAIMED by a host of the inventory (running)",
        "host   USD/h  age   USD  resource",
        "ann        -  -       -  x",
        "gpu-1   2.40  3h   7.21  r",
        "",
        "ONLY THE REGISTRY KNOWS: not in the inventory (running)",
        "host   USD/h  age  USD  resource",
        "gpu-9   2.40  -    -    s",
        "",
        "CONTESTED: several hosts claim it, so you must decide (running)",
        "host  USD/h  age  USD  resource",
        "eve    2.40  -    -    u",
        "eve    2.40  -    -    v",
        "",
        "ORPHANS: billed, and no host claims them (starting)",
        "name   USD/h  age  USD  resource",
        "stray   2.40  -    -    t",
        "",
        "ORPHANS: billed, and no host claims them (running)",
        "name  USD/h  age  USD  resource",
        "wish   2.40  -    -    w",
        "",
        "GONE: claimed, but ended or unknown to the API (deleted)",
        "host   resource",
        "gpu-8  gone",
        "",
        "To end an orphan: compute_index.supply.end_by_id",
        "  -e end_resource_id=<resource> -e end_reason=<why>",
        "",
        "MISSING: the API does not find it. It may be billed, and it counts",
        "host   since (UTC)  USD/h  resource",
        f"gpu-6  {utc(NOW)[5:16].replace('T', ' ')}  -      lost",
        *ADVICE_ON_MISSING,
        "",
        "u: several offers have machines of this name",
        "v: several offers have machines of this name",
        "",
        "USD so far: 7.21 claimed + 0.00 orphans = 7.21",
        "USD per hour: 9.60 claimed + 4.80 orphans = 14.40, and 1 of unknown price",
    ]
    assert "gpu-7" in found["trouble"]
    assert "2 machine(s) are contested: u (eve: several offers" in found["trouble"] and "stray" not in found["trouble"]
    # What the list lacks is read, and others of ours, which show that the account is the right one.
    assert api.asked[0] == "list" and sorted(api.asked[1:]) == ["gone", "lost", "r", "s"]


def test_a_usual_machine_fits_into_a_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    id_, old = "00000000-0000-4000-8000-000000000001", utc(NOW - 86_400 * 30)
    found = look(Api(machine(id_, "gpu-fleet", created_at=old)))
    (line,) = (line for line in found["lines"] if id_ in line)
    assert line == f"gpu-fleet   2.40  30d  1728.00  {id_}"


def test_rows_of_an_audit_fit_a_screen(tmp_path: Path) -> None:
    host, id_ = "a-very-long-name-of-a-host-0000000001.example.com", "00000000-0000-4000-8000-00000000000"
    old = {"created_at": "2026-01-01T00:00:00Z", "price_per_hour": 23.6}
    states = ("provisioning", "running", "deleting")
    claimed = [machine(f"{id_}{number}", status=state, **old) for number, state in enumerate(states)]
    orphans = [machine(f"{id_}{number + 3}", host, "p", status=state, **old) for number, state in enumerate(states)]
    write(tmp_path, host, resource_ids=[row["resource_id"] for row in claimed])
    found = look(Api(*claimed, *orphans), listed(host, tmp_path))
    tables = [line for line in found["lines"] if id_ in line and "name of a host" not in line]
    assert len(tables) == 6 and max(map(len, tables)) <= LINE
    assert found["audit"]["claimed"][0]["hosts"] == [host]


def test_orphans_are_trouble_only_if_asked_for(tmp_path: Path) -> None:
    api = Api(machine("r"))
    assert look(api, listed("localhost", tmp_path))["trouble"] == ""
    found = look(api, listed("localhost", tmp_path), fail_on_orphans=True)
    assert found["trouble"].startswith("1 machine(s) that no host claims cost USD 2.40 per hour: r.")


def test_hosts_without_a_declaration_claim_nothing() -> None:
    assert look(Api(machine("r")), listed("gpu-1", ""))["audit"]["claimed"] == []


def test_an_audit_has_no_limit() -> None:
    with pytest.raises(Failure, match="leave --limit out"):
        look(Api(), limited=True)


def test_an_audit_tells_of_leases_that_nobody_enforces(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", ends_at="2099-01-01T00:00:00Z")
    (told,) = look(Api(machine("r")), listed("gpu-1", tmp_path))["warnings"]
    assert "compute_index.supply.reap does, and must run at least once an hour; it has never run here" in told
    (tmp_path / ".compute_index_supply.swept").write_text(f"{utc(time.time())}\n")
    write(tmp_path, "gpu-2", resource_ids=["s"], procured_offer_id="p", ends_at="2098-01-01T00:00:00Z", at_most=57.6)
    answer = look(Api(machine("r"), machine("s", "gpu-2", "p")), listed("gpu-1", tmp_path))
    assert answer["warnings"] == []
    assert answer["lines"][:4] == [
        "LEASES, what ends first",
        "host   until                 USD at most",
        "gpu-2  2098-01-01 00:00 UTC        57.60",
        "gpu-1  2099-01-01 00:00 UTC            -",
    ]
    assert answer["audit"]["leases"]["gpu-2"] == {"ends_at": "2098-01-01T00:00:00Z", "at_most": 57.6}


def test_an_end_and_the_ledger_say_the_same_cost(tmp_path: Path) -> None:
    """The price rose since the purchase: the higher one counts for the whole time, in both."""
    began = utc(time.time() - 36_000)
    entry = {"purchase": "made", "resource_ids": ["r"], "procured_offer_id": "o", "price_per_hour": 2.0}
    write(tmp_path, "gpu-1", **entry, journaled_at=began)
    (plan,) = plans(Api(machine("r", price_per_hour=5.0)), declared("gpu-1", tmp_path))["ends"]
    said = after(Api(), plan, gone("r"))["usd"]
    found = ledger(str(tmp_path))
    # An end is noted as the second after it; a report rounds each of the (two) days up to a millionth.
    assert 0 <= spending_of(found.bills, found.now + 1).total.millionths - said * 1e6 < 2.5 and 50.0 <= said < 50.1


KEPT = {"resource_id": "v", "name": "data", "price_per_hour": 0.5, "kept_since": utc(NOW)}


def test_storage_that_the_api_does_not_know_any_more_is_forgotten_if_a_person_says_so(tmp_path: Path) -> None:
    """Else it is in every sum for ever: no deletion of it is certain."""
    file = write(tmp_path, "gpu-1", storage=[KEPT])
    (plan,) = plans(Api(), declared("gpu-1", tmp_path), forget=["V"])["ends"]
    assert (plan["next"], plan["storage_ends"], plan["storage_lost"]) == ("storage", ["v"], ["v"])
    assert plan["lines"][0].endswith("forgets v, which the API does not know")
    answer = {"resource_id": "v", "error_class": "not_found", "billing_stopped": False, "msg": "answered 404."}
    assert after(Api(), plan, answer)["changed"]
    assert not file.exists() and not [bill for bill in ledger(str(tmp_path)).bills if bill.runs]


@pytest.mark.parametrize(("is_swept", "why"), [(False, "decommissioned"), (True, "reaped")])
def test_the_ledger_says_whether_a_sweep_has_ended_storage(tmp_path: Path, is_swept: bool, why: str) -> None:
    own = {"resource_ids": ["r"], "procured_offer_id": "o", "purchase": "made", "storage": [{"resource_id": "v"}]}
    write(tmp_path, "gpu-1", **own)
    api = Api(machine("r"), machine("v", "data", kind="storage"))
    (plan,) = plans(api, declared("gpu-1", tmp_path, storage="end"))["ends"]
    assert after(api, {**plan, "reaped": is_swept}, gone("r"), gone("v"))["changed"]
    assert {bill.why for bill in ledger(str(tmp_path)).bills} == {why}


def test_storage_without_a_registry_can_be_forgotten() -> None:
    """An earlier task of the play knows it; the step failed for all hosts."""
    known = {"provision_resource_ids": ["r"], "provision_procured_offer_id": "o", "provision_storage": [KEPT]}
    host = declared("gpu-1", "", known={**known, "provision_purchase": "made"})
    (plan,) = plans(Api(machine("r")), host, forget=["v"])["ends"]
    assert (plan["next"], plan["storage_lost"]) == ("end", ["v"]), plan["refusal"]
    answer = {"resource_id": "v", "error_class": "not_found", "billing_stopped": False, "msg": "answered 404."}
    assert after(Api(), plan, gone("r"), answer)["left"] == []


def test_storage_that_does_not_end_stays_in_an_entry_that_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", storage=[KEPT])
    api = Api(machine("v", "data", kind="storage"))
    (plan,) = plans(api, declared("gpu-1", tmp_path, storage="end"))["ends"]
    answer = {"resource_id": "v", "error_class": "unavailable", "billing_stopped": False, "msg": "answered 503."}
    with pytest.raises(Failure, match=re.escape(f"Its entry stays in {file}. Run again.")):
        after(api, plan, answer)


@pytest.mark.parametrize("more", [{}, {"hidden": True}])
def test_storage_that_the_api_knows_is_not_forgotten(tmp_path: Path, more: Json) -> None:
    write(tmp_path, "gpu-1", storage=[KEPT])
    volume = machine("v", "data", kind="storage")
    api = Api(hidden=(volume,)) if more else Api(volume)
    (plan,) = plans(api, declared("gpu-1", tmp_path), forget=["v"])["ends"]
    assert plan["next"] == "stop" and "decommission_storage=end" in plan["refusal"]


def test_of_two_runs_that_end_a_host_at_once_neither_fails_over_the_storage_that_stays(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made", storage=[{"resource_id": "v"}])
    api = Api(machine("r"), machine("v", "data", kind="storage"))
    first, second = (plans(api, declared("gpu-1", tmp_path))["ends"][0] for _run in range(2))
    for plan in (first, second):
        assert after(api, plan, gone("r"))["left"] == []
    assert [bill.resource_ids for bill in ledger(str(tmp_path)).bills if bill.runs] == [("v",)]


def test_of_two_runs_that_end_storage_at_once_both_see_that_it_has_ended(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made", storage=[{"resource_id": "v"}])
    api = Api(machine("r"), machine("v", "data", kind="storage"))
    both = [plans(api, declared("gpu-1", tmp_path, storage="end"))["ends"][0] for _run in range(2)]
    noted = [after(api, plan, gone("r"), gone("v")) for plan in both]
    assert [result["changed"] for result in noted] == [True, False]
    assert not any(result["left"] for result in noted) and not (tmp_path / "gpu-1").exists()
    assert all(bill.end is not None for bill in ledger(str(tmp_path)).bills)


@pytest.mark.parametrize(("page", "is_kept"), [("deleted", False), ("running", True)])
def test_storage_that_has_ended_before_its_machine_is_not_kept(tmp_path: Path, page: str, is_kept: bool) -> None:
    """But not because of what a list alone says, which may lag or err."""
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made", storage=[{"resource_id": "v"}])
    volume = machine("v", "data", None, kind="storage", status="deleted")
    api = Api(machine("r"), volume, hidden=({**volume, "status": page},))
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert after(api, plan, gone("r"))["left"] == []
    running = [bill.resource_ids for bill in ledger(str(tmp_path)).bills if bill.runs]
    assert running == ([("v",)] if is_kept else []) and bool(plan["storage"]) is is_kept


@pytest.mark.parametrize("given", [{"resource_id": "r"}, {"registry_dir": ""}])
@pytest.mark.parametrize("is_listed", [True, False])
def test_storage_of_a_machine_that_no_registry_knows_is_named_and_stays(
    tmp_path: Path, given: Json, is_listed: bool
) -> None:
    """A person has named the machine by its id, or its name is its identity; that proves nothing of its storage."""
    volume = machine("v", "data", kind="storage", price_per_hour=0.5)
    links = [] if is_listed else [{"resource_id": "v", "kind": "storage"}]
    own = machine("r", "gpu-1", linked_resources=links)
    api = Api(own, volume) if is_listed else Api(own, hidden=(volume,))
    (checked,) = plans(api, declared("gpu-1", tmp_path, storage="end", **given), check_mode=True)["ends"]
    assert checked["lines"][1:] == ["gpu-1: its storage (1 volume, USD 0.50 per hour) stays and is billed"]
    (plan,) = plans(api, declared("gpu-1", tmp_path, storage="end", **given))["ends"]
    assert (plan["ids"], plan["storage"], plan["storage_ends"]) == (["r"], [], []), plan["refusal"]
    told = after(api, plan, gone("r"))["storage"]
    assert told[1] == "  data v, USD 0.50/h" and "end_by_id" in told[2] and all(len(line) <= 80 for line in told)


@pytest.mark.parametrize("listed", [[], [machine("r", status="deleted")]])
def test_a_host_of_which_an_earlier_version_has_left_storage_alone_can_end(tmp_path: Path, listed: list[Json]) -> None:
    """It ended the machine, and could not end the storage, whose id it noted as another machine's."""
    write(tmp_path, "gpu-1", resource_ids=["v"], procured_offer_id="o", instances=[{"resource_id": "r"}])
    api = Api(*listed, machine("v", "data", kind="storage"), phases={"o": "ended"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert plan["next"] == "note", plan["refusal"]
    assert [item["resource_id"] for item in plan["storage"]] == ["v"]


@pytest.mark.parametrize(("status", "ends"), [("running", "end"), ("deleted", "note")])
def test_storage_that_only_an_unlisted_machine_names_stays_with_the_host(
    tmp_path: Path, status: str, ends: str
) -> None:
    """Lists lag: neither the machine is listed, nor what it is linked to. Its own page names that."""
    link = {"resource_id": "v", "kind": "storage"}
    volume = machine("v", "data", kind="storage", price_per_hour=0.5)
    write(
        tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made", instances=[{"resource_id": "r"}]
    )
    api = Api(hidden=(machine("r", status=status, linked_resources=[link]), volume), phases={"o": "ready"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert (plan["next"], [item["resource_id"] for item in plan["storage"]]) == (ends, ["v"])
