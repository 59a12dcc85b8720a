# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audits, with registries on disk and an API that answers from a dictionary."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import audit
from ansible_collections.compute_index.supply.plugins.module_utils._operations.spend import spend
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import DECOMMISSIONED, MOVED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import ADVICE_ON_MISSING
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import token_digest
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, utc

from end_samples import NOW, Api, machine, write
from ends import params

Json = dict[str, Any]


def audited_host(host: str, folder: Path | str, **fields: Any) -> Json:
    return {
        "host": host,
        "name": host,
        "registry_dir": str(folder),
        "inventory_dir": None,
        "known": {},
        "declares": False,
        **fields,
    }


def run_audit(api: Api, *hosts: Json, **given: Any) -> Json:
    return audit(api, params(steps.AUDIT, hosts=list(hosts), here="/", **given), False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("page_status", "section"), [("deleted", "gone"), ("deleting", "ending"), (None, "ending"), ("running", "claimed")]
)
def test_audit_reads_page_of_machine_listed_as_deleting(tmp_path: Path, page_status: str | None, section: str) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"])
    pages = () if page_status is None else (machine("r", status=page_status),)
    api = Api(machine("r", status="deleting"), unlisted=pages)
    found = run_audit(api, audited_host("gpu-1", tmp_path, declares=True))["audit"]
    rows = {name: len(found[name]) for name in ("claimed", "orphans", "ending", "gone")}
    assert rows == {"claimed": 0, "orphans": 0, "ending": 0, "gone": 0, section: 1}


@pytest.mark.parametrize(
    ("why", "page", "orphans", "trouble"),
    [
        (DECOMMISSIONED, "deleted", [], ""),
        (DECOMMISSIONED, "running", ["r"], ""),
        (MOVED, "running", ["r"], "gpu-1: moved into a shared registry that this run does not read"),
        (MOVED, "deleted", [], ""),
    ],
)
def test_audit_reads_page_of_machine_that_left_registry(
    tmp_path: Path, why: str, page: str, orphans: list[str], trouble: str
) -> None:
    """Lists lag. A machine that was moved into a shared registry looks unowned to a run that reads only files."""
    file = HostFile(str(write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o")))
    file.read()
    file.end(why)
    api = Api(machine("r"), machine("s"), unlisted=(machine("r", status=page),))
    found = run_audit(api, audited_host("gpu-1", tmp_path))
    assert [row["resource_id"] for row in found["audit"]["orphans"]] == [*orphans, "s"]
    assert found["trouble"].startswith(trouble) and bool(found["trouble"]) is bool(trouble)
    assert api.requests == ["list", "r"]


def test_audit_with_token_of_another_account_fails(tmp_path: Path) -> None:
    """It shows none of our machines, so it is not complete."""
    write(tmp_path, "gpu-1", resource_ids=["r"])
    write(tmp_path, "gpu-2", resource_ids=["s"])
    host = audited_host("gpu-1", tmp_path)
    assert "names for gpu-1, gpu-2. Is the token" in run_audit(Api(machine("x", "theirs")), host)["trouble"]
    for page in (machine("r"), machine("r", status="deleted")):  # a page shows that the account is right
        assert run_audit(Api(machine("x", "theirs"), unlisted=(page,)), host)["trouble"] == ""


@pytest.mark.parametrize("finds_ours", [True, False])
def test_audit_does_not_call_machine_of_another_account_missing(tmp_path: Path, finds_ours: bool) -> None:
    """A person might forget it, although it is billed."""
    write(tmp_path, "gpu-1", resource_ids=["r"], ordered={"token": token_digest("theirs")})
    if finds_ours:
        write(tmp_path, "gpu-2", resource_ids=["s"])
    found = run_audit(Api(machine("s" if finds_ours else "x")), audited_host("gpu-1", tmp_path), api_token="ours")
    rows = found["audit"]
    assert (rows["missing"], rows["gone"]) == ([], [])
    assert [(row["hosts"], row["resource_id"]) for row in rows["elsewhere"]] == [(["gpu-1"], "r")]
    assert "NOT CHECKED: another token bought it, and this one does not find it" in found["lines"]
    assert ("Another token bought the machines that" in found["trouble"]) is (not finds_ours)


def test_audit_has_section_for_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        unlisted=(machine("gone", status="deleted"),),
    )  # fmt: skip
    wish, eve = audited_host("wish", tmp_path, declares=True), audited_host("eve", "", declares=True)
    found = run_audit(api, audited_host("gpu-1", tmp_path, declares=True), wish, eve, names=[" ann ", ""])
    assert found["lines"] == [
        "CLAIMED by a host (running)",
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
        "An orphan may belong to a colleague, or to a registry not read here.",
        "To end an orphan: compute_index.supply.end_by_id",
        "  -e end_resource_id=<resource> -e end_reason=<why>",
        "",
        "MISSING: the API does not find it. Maybe billed, counts in ceilings",
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
    # Besides the unlisted machines it reads listed ones of the registry: they prove that the token is of this account.
    assert api.requests[0] == "list" and sorted(api.requests[1:]) == ["gone", "lost", "r", "s"]


def test_audit_shows_machine_with_usual_values_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    resource_id, month_ago = "00000000-0000-4000-8000-000000000001", utc(NOW - 86_400 * 30)
    found = run_audit(Api(machine(resource_id, "gpu-fleet", created_at=month_ago)))
    (line,) = (line for line in found["lines"] if resource_id in line)
    assert line == f"gpu-fleet   2.40  30d  1728.00  {resource_id}"


def test_audit_rows_fit_line_width(tmp_path: Path) -> None:
    host, id_ = "a-very-long-name-of-a-host-0000000001.example.com", "00000000-0000-4000-8000-00000000000"
    old = {"created_at": "2026-01-01T00:00:00Z", "price_per_hour": 23.6}
    states = ("provisioning", "running", "deleting")
    claimed = [machine(f"{id_}{number}", status=state, **old) for number, state in enumerate(states)]
    orphans = [machine(f"{id_}{number + 3}", host, "p", status=state, **old) for number, state in enumerate(states)]
    write(tmp_path, host, resource_ids=[row["resource_id"] for row in claimed])
    found = run_audit(Api(*claimed, *orphans), audited_host(host, tmp_path))
    tables = [line for line in found["lines"] if id_ in line and "name of a host" not in line]
    assert len(tables) == 6 and max(map(len, tables)) <= LINE
    assert found["audit"]["claimed"][0]["hosts"] == [host]


def test_orphans_fail_audit_only_with_fail_on_orphans(tmp_path: Path) -> None:
    api = Api(machine("r"))
    assert run_audit(api, audited_host("localhost", tmp_path))["trouble"] == ""
    found = run_audit(api, audited_host("localhost", tmp_path), fail_on_orphans=True)
    assert found["trouble"].startswith("1 orphan(s) cost USD 2.40 per hour: r.")


def test_undeclared_host_claims_no_machine() -> None:
    assert run_audit(Api(machine("r")), audited_host("gpu-1", ""))["audit"]["claimed"] == []


def test_audit_refuses_limit() -> None:
    with pytest.raises(Failure, match="leave --limit out"):
        run_audit(Api(), limited=True)


def test_audit_lists_leases_and_warns_without_sweeps(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", ends_at="2099-01-01T00:00:00Z")
    (warning,) = run_audit(Api(machine("r")), audited_host("gpu-1", tmp_path))["warnings"]
    assert "compute_index.supply.reap does, and must run at least once an hour; it has never run here" in warning
    (tmp_path / ".compute_index_supply.swept").write_text(f"{utc(time.time())}\n")
    write(tmp_path, "gpu-2", resource_ids=["s"], procured_offer_id="p", ends_at="2098-01-01T00:00:00Z", at_most=57.6)
    answer = run_audit(Api(machine("r"), machine("s", "gpu-2", "p")), audited_host("gpu-1", tmp_path))
    assert answer["warnings"] == []
    assert answer["lines"][:4] == [
        "LEASES, next end first",
        "host   until                 USD at most",
        "gpu-2  2098-01-01 00:00 UTC        57.60",
        "gpu-1  2099-01-01 00:00 UTC            -",
    ]
    assert answer["audit"]["leases"]["gpu-2"] == {"ends_at": "2098-01-01T00:00:00Z", "at_most": 57.6}


def test_audit_and_costs_name_folder_nearby_that_has_machines(tmp_path: Path) -> None:
    """Without the inventory with which they were bought, they look like orphans, and cost nothing."""
    nearby = tmp_path / "inventory" / "host_vars"
    write(nearby, "gpu-1", resource_ids=["r"])
    host = audited_host("localhost", "", registry_dir=None)
    found = audit(Api(machine("r")), params(steps.AUDIT, hosts=[host], here=str(tmp_path)), False)  # type: ignore[arg-type]
    assert len(found["audit"]["orphans"]) == 1 and f"{nearby} has machines of gpu-1, and is" in found["warnings"][0]
    spent = spend(params(steps.SPEND, hosts=[{**host, "project": "default"}], here=str(tmp_path)), False)
    assert not spent["spend"]["hosts"] and spent["warnings"] == found["warnings"]
