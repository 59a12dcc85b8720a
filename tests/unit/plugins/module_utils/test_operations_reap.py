# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps, with registries on disk and an API that answers from a list."""

from __future__ import annotations

import errno
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._operations import end as end_operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import LastSweeps, Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import end
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reap import reap, reaped
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import utc_rounded_up
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import place_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import token_digest
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, folded_lines

from provision_samples import made_entry

Json = dict[str, Any]
HOUR = 3600.0


class Api:
    """An API with these machines, whose clock is ``ahead`` seconds ahead."""

    def __init__(self, *machines: Json, ahead: float | None = 0.0) -> None:
        self.machines, self.ahead = list(machines), ahead

    def resources(self, retries: int | None = None) -> list[Json]:
        return [each for each in self.machines if each.get("is_listed", True)]

    def resource(self, resource_id: str, **_how: Any) -> Json:
        for each in self.machines:
            if each["resource_id"] == resource_id:
                return each
        raise ApiError("The API answered 404.", "not_found", status_code=404)

    def offer_status(self, _offer_id: str, **_how: Any) -> Json:
        raise ApiError("The API answered 404.", "not_found", status_code=404)


@pytest.fixture(autouse=True)
def offer_statuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_operation, "offer_statuses", lambda _api, offers: {each: {} for each in offers})


def machine(key: str, name: str, created: float | None = None, **fields: Any) -> Json:
    moment = None if created is None else utc_rounded_up(created)
    return {
        **{"resource_id": key, "name": name, "offer_id": f"o-{key}", "status": "running", "created_at": moment},
        **{"vendor": "v", "price_per_hour": 2.0, **fields},
    }


def write(folder: Path, host: str, key: str, hours: float | None, leased: str = "8h", **variables: Any) -> Path:
    """Write the entry of a host whose lease ends in ``hours``; None for one without a lease."""
    file = folder / host / "compute_index_supply.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    lease = {}
    if hours is not None:
        lease = {"provision_leased": leased, "provision_ends_at": utc_rounded_up(time.time() + hours * HOUR)}
    file.write_text(yaml.safe_dump({**made_entry(key), **lease, **variables}))
    return file


def end_by_another_run(file: Path) -> None:
    """End the purchase of the entry, as another run would."""
    other = HostFile(str(file))
    other.read()
    other.end("reaped")


def declared(host: str, folder: Path | str, **fields: Any) -> Json:
    known = {"host": host, "name": host, "prefix": "", "project": "default", "registry_dir": str(folder)}
    rest = {"inventory_dir": None, "declares": False}
    limits = dict.fromkeys(("lease", "lease_max", "max_bill", "budget", "idle_after"), "")
    return {**known, **rest, **limits, "protect": None, "known": {}, **fields}


def params(spec: Json, *hosts: Json, **given: Any) -> Json:
    defaults = {name: option.get("default") for name, option in spec.items()}
    return {**defaults, "hosts": list(hosts), "here": "/", "api_url": "https://api.example.com", **given}


def sweep(api: Api, *hosts: Json, check_mode: bool = False, **given: Any) -> Json:
    return reap(api, params(steps.REAP, *hosts, **given), check_mode)  # type: ignore[arg-type]


@pytest.mark.parametrize(("host", "is_added"), [("gpu-1", False), ("localhost", True)])
def test_due_host_outside_inventory_comes_with_its_registry_dir(tmp_path: Path, host: str, is_added: bool) -> None:
    write(tmp_path, "gpu-1", "r", -1.0)
    (found,) = sweep(Api(machine("r", "gpu-1")), declared(host, tmp_path))["due"]
    assert found.get("registry_dir") == (str(tmp_path) if is_added else None)


@pytest.mark.parametrize(("why", "fails"), [("moved", True), ("decommissioned", False)])
def test_sweep_of_files_fails_for_machines_moved_into_shared_registry(tmp_path: Path, why: str, fails: bool) -> None:
    """For example a timer without that registry's URL: it would never end these machines."""
    file = HostFile(str(write(tmp_path, "gpu-1", "r", -1.0)))
    file.read()
    file.end(why)
    answer = sweep(Api(machine("r", "gpu-1")), declared("gpu-1", tmp_path))
    assert due_hosts(answer) == [] and ("COMPUTE_INDEX_REGISTRY_URL" in answer["trouble"]) is fails


def due_hosts(answer: Json) -> list[str]:
    return [each["host"] for each in answer["due"]]


def plan_end(
    api: Api,
    host: str,
    folder: Path | str,
    check_mode: bool = False,
    activity: Json | None = None,
    storage: str = "keep",
    **reaped: Any,
) -> Json:
    """The plan of the role for a host that a sweep hands to it."""
    swept_host = {**declared(host, folder), "id": host, "resource_id": "", "listed_id": "", "wait_timeout": "5m"}
    swept_host.update(activity=activity, before={"rc": 3 if "grace" in reaped else 0}, storage=storage)
    swept_host["reaped"] = {"grace": 1800.0, "lease": "", "place": str(folder), **reaped}
    given = params(steps.END, swept_host, ids=[host])
    (found,) = end(api, given, check_mode)["ends"].values()  # type: ignore[arg-type]
    return dict(found)


def report_sweep(answer: Json, *rows: Json, check_mode: bool = False) -> Json:
    """The last step of a sweep. ``answer``: of its first step; ``rows``: the result for each host."""
    sweep_facts = {"trouble": [answer["trouble"]], "kept": answer["kept"], "at": answer["at"]}
    return reaped(params(steps.REAPED, *rows, **sweep_facts), check_mode)


# Sweeps


@pytest.mark.parametrize("hours", [3.0, -1.0])
def test_sweep_with_token_of_another_account_enforces_no_leases(tmp_path: Path, hours: float) -> None:
    """Its mark would tell purchases that their leases are enforced."""
    write(tmp_path, "gpu-1", "r1", hours)
    write(tmp_path, "gpu-2", "r2", 3.0)
    answer = sweep(Api(machine("x", "theirs")), declared("gpu-1", tmp_path), check_mode=True)
    assert answer["kept"] == [] and "names for gpu-1, gpu-2. Is the token" in answer["trouble"]
    # One machine shows that the account is right, even if the list lags; the other machine is missing.
    for listed in (True, False):
        api = Api(machine("r2", "gpu-2", is_listed=listed))
        answer = sweep(api, declared("gpu-1", tmp_path), check_mode=True)
        assert answer["kept"] == [str(tmp_path)] and not answer["trouble"]


@pytest.mark.parametrize(
    ("hours", "third", "due", "is_kept"),
    [
        (3.0, None, [], True),
        (-1.0, None, [], True),  # its own sweep may be about to end it
        (-3.0, None, [], False),
        # A machine that the same token bought shows that it is one of this account's tokens.
        (-1.0, "running", ["gpu-2"], True),
        (-1.0, "deleted", ["gpu-2"], True),
    ],
)
def test_sweep_leaves_machines_that_another_account_has_bought(
    tmp_path: Path, hours: float, third: str | None, due: list[str], is_kept: bool
) -> None:
    """Two accounts use one folder: the API does not know the other's machines, but they are not missing."""
    theirs = {"provision_ordered": {"token": token_digest("theirs")}, "provision_instances": [{"resource_id": "x"}]}
    write(tmp_path, "gpu-1", "r1", 3.0, provision_ordered={"token": token_digest("ours")})
    write(tmp_path, "gpu-2", "r2", hours, **theirs)
    api = Api(machine("r1", "gpu-1"))
    if third:
        write(tmp_path, "gpu-3", "r3", 3.0, **theirs)
        api.machines.append(machine("r3", "gpu-3", status=third))
    answer = sweep(api, declared("gpu-1", tmp_path), api_token="ours")
    assert due_hosts(answer) == due
    line = "Not checked: gpu-2. Another token bought them: sweep with it as well."
    assert (line in answer["lines"]) is (not due)
    assert any("gpu-2: MISSING" in text for text in answer["warnings"]) is bool(due)
    assert answer["kept"] == ([str(tmp_path)] if is_kept else [])
    assert ("sweep with that token as well" in answer["trouble"]) is (not is_kept)
    report = nullcontext() if is_kept else pytest.raises(Failure, match="The lease of gpu-2 was over at ")
    with report:
        report_sweep(answer)


@pytest.mark.parametrize("swept_ago", [None, 0.5, 2.0])
@pytest.mark.parametrize("is_lost", [False, True])
def test_sweep_that_finds_only_another_accounts_hosts_needs_that_accounts_sweep(
    tmp_path: Path, swept_ago: float | None, is_lost: bool
) -> None:
    """The last machine of this account has ended. If one is lost instead, the token may be a third account's."""
    write(tmp_path, "gpu-2", "r2", 3.0, provision_ordered={"token": token_digest("theirs")})
    if is_lost:
        write(tmp_path, "gpu-1", "r1", 3.0, provision_ordered={"token": token_digest("ours")})
    if swept_ago is not None:
        (tmp_path / _files.SWEPT).write_text(utc_rounded_up(time.time() - swept_ago * HOUR))
    answer = sweep(Api(machine("x", "other")), declared("gpu-1", tmp_path), api_token="ours")
    assert answer["kept"] == [] and "Not checked: gpu-2." in " ".join(answer["lines"])
    is_ours = "Is the token of the right account?" in answer["trouble"]
    is_theirs = "Another token bought the machines that" in answer["trouble"]
    assert (is_ours, is_theirs) == (is_lost, not is_lost and swept_ago != 0.5)
    assert not any("MISSING" in text for text in answer["warnings"])


PROTECTED = {"provision_protected_since": "2026-12-01T06:00:00Z"}


@pytest.mark.parametrize(
    ("entry", "protect", "is_spared"),
    [({}, True, True), (PROTECTED, None, True), (PROTECTED, False, False), ({}, None, False), ({}, "ture", True)],
)
def test_sweep_spares_protected_machine_and_fails(tmp_path: Path, entry: Json, protect: Any, is_spared: bool) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0, **entry)
    write(tmp_path, "gpu-2", "r2", -1.0)
    api = Api(machine("r1", "gpu-1"), machine("r2", "gpu-2"))
    answer = sweep(api, declared("gpu-1", tmp_path, protect=protect))
    assert due_hosts(answer) == (["gpu-2"] if is_spared else ["gpu-1", "gpu-2"])
    assert [each["host"] for each in answer["reap"]["protected"]] == (["gpu-1"] if is_spared else [])
    assert ("Over, but protected: gpu-1." in answer["lines"]) is is_spared
    assert answer["trouble"].startswith("The lease of gpu-1 was over at ") is is_spared
    assert ("gpu-1 is protected" in answer["trouble"] or "counts as protected" in answer["trouble"]) is is_spared
    # The leases of the other hosts are enforced, so no purchase must warn about missing sweeps.
    assert answer["kept"] == [str(tmp_path)]
    # The end reads the variables again; here the host no longer declares any, so only its entry counts.
    plan = plan_end(api, "gpu-1", tmp_path)
    assert plan["next"] == ("stop" if entry else "end")


def test_sweep_does_not_ask_protected_machine_for_activity(tmp_path: Path) -> None:
    for number in (1, 2):
        idle = {"provision_idles": "1h", "provision_instances": [{"resource_id": f"r{number}"}]}
        write(tmp_path, f"gpu-{number}", f"r{number}", None, **idle, **(PROTECTED if number == 1 else {}))
    answer = sweep(Api(machine("r1", "gpu-1"), machine("r2", "gpu-2")), declared("gpu-2", tmp_path))
    assert (answer["hosts"], answer["trouble"]) == (["gpu-2"], "")


def test_sweep_by_name_spares_protected_machine() -> None:
    api = Api(machine("r1", "gpu-1", time.time() - 9 * HOUR))
    for protect, hosts in ((True, []), (None, ["gpu-1"])):
        host = declared("gpu-1", "", declares=True, lease="8h", protect=protect)
        answer = sweep(api, host, by_name=True)
        assert (due_hosts(answer), bool(answer["trouble"])) == (hosts, not hosts)


def test_sweep_finds_only_leases_that_are_over(tmp_path: Path) -> None:
    for number, hours in enumerate((-1.0, 1.0, None), start=1):
        write(tmp_path, f"gpu-{number}", f"r{number}", hours)
    api = Api(*(machine(f"r{number}", f"gpu-{number}") for number in (1, 2, 3)), machine("r9", "other"))
    answer = sweep(api, declared("gpu-1", tmp_path))
    assert (due_hosts(answer), answer["trouble"]) == (["gpu-1"], "")
    text = "\n".join(answer["lines"])
    assert "1 with time left; the next until" in text and "(gpu-2)." in text
    assert max(map(len, folded_lines(answer["lines"]))) <= LINE
    assert answer["reap"]["unclaimed"] == 1


@pytest.mark.parametrize("check_mode", [True, False])
def test_sweep_finds_no_lease_of_machine_that_it_notes_as_gone(tmp_path: Path, check_mode: bool) -> None:
    gone = write(tmp_path, "gpu-1", "r1", -1.0)
    write(tmp_path, "gpu-2", "r2", 1.0)
    api = Api(machine("r1", "gpu-1", status="deleted"), machine("r2", "gpu-2"))
    answer = sweep(api, declared("gpu-1", tmp_path), check_mode=check_mode)
    assert (due_hosts(answer), gone.exists()) == (["gpu-1"] if check_mode else [], check_mode)


def test_sweep_writes_its_mark_except_in_check_mode(tmp_path: Path) -> None:
    mark = tmp_path / ".compute_index_supply.swept"
    answer = sweep(Api(), declared("gpu-1", tmp_path))
    assert not mark.exists()
    report_sweep(answer, check_mode=True)
    assert not mark.exists()
    report_sweep(answer)
    assert mark.read_text() == f"{utc_rounded_up(answer['at'])}\n"
    # A host_vars folder that does not exist yet also gets it: the first purchase may require a sweep.
    report_sweep(sweep(Api(), declared("gpu-1", tmp_path / "host_vars")))
    assert (tmp_path / "host_vars" / mark.name).exists()
    report_sweep(sweep(Api(), declared("gpu-1", tmp_path / "no" / "where")))
    assert not (tmp_path / "no").exists()


def test_advice_on_missing_sweeps_differs_in_awx_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = LastSweeps(Registries(None, "https://api.example.com", read_only=True))
    for name in ("AWX_HOST", "JOB_ID"):
        assert "reap_timer" in sweeps.trouble(place_of(str(tmp_path)), refused=False)
        monkeypatch.setenv(name, "7")
    assert "Enable the schedule" in sweeps.trouble(place_of(str(tmp_path)), refused=False)


@pytest.mark.parametrize(
    ("failed", "idle", "expected_failure"),
    [
        ("gpu-1: answered 403", 0, "gpu-1: answered 403"),
        (None, 0, "gpu-1: its lease is over, and this sweep did not finish."),
        ("", 0, ""),
        # If an idle machine does not end, the sweep fails, but the leases are enforced.
        ("gpu-1: answered 403", 60.0, "gpu-1: answered 403"),
        (None, 60.0, ""),
    ],
)
def test_sweep_leaves_no_mark_if_end_of_lease_failed(
    tmp_path: Path, failed: str | None, idle: float, expected_failure: str
) -> None:
    """Otherwise `provision_lease_unswept: refuse` would buy although every sweep fails."""
    places = [tmp_path / "first", tmp_path / "second"]
    for number, place in enumerate(places, start=1):
        write(place, f"gpu-{number}", f"r{number}", -1.0)
    api = Api(machine("r1", "gpu-1"), machine("r2", "gpu-2"))
    answer = sweep(api, *(declared(f"gpu-{number}", place) for number, place in enumerate(places, start=1)))
    row = {"host": "gpu-1", "place": str(places[0]), "idle": idle, "failed": failed, "activity": {"state": "active"}}
    with pytest.raises(Failure) if expected_failure else nullcontext() as caught:
        report_sweep(answer, row, {**row, "host": "gpu-2", "place": str(places[1]), "failed": "", "idle": 0})
    assert not expected_failure or expected_failure in str(caught.value)  # type: ignore[union-attr]
    marks = [(place / ".compute_index_supply.swept").exists() for place in places]
    assert marks == [not expected_failure or idle > 0, True]


@pytest.mark.parametrize("trouble", ["unreadable lease", "unreadable file", "clocks", "unreadable folder"])
def test_sweep_leaves_no_mark_where_leases_are_unreadable(tmp_path: Path, trouble: str) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    write(own, "gpu-1", "r1", None, **({"provision_ends_at": "soon"} if trouble == "unreadable lease" else {}))
    other.mkdir()
    if trouble == "unreadable file":
        write(own, "gpu-2", "r2", 1.0).write_text("<<<<<<< HEAD\n")
    if trouble == "unreadable folder":
        own = own / "gpu-1" / "compute_index_supply.yml"
    ahead = HOUR if trouble == "clocks" else 0.0
    answer = sweep(Api(machine("r1", "gpu-1"), ahead=ahead), declared("gpu-1", own), declared("gpu-3", other))
    assert answer["kept"] == ([] if trouble == "clocks" else [str(other)])
    with pytest.raises(Failure):
        report_sweep(answer)
    assert (other / ".compute_index_supply.swept").exists() is (trouble != "clocks")


def test_unreadable_lease_ends_nothing_and_fails_sweep(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", None, provision_leased="8h", provision_ends_at="soon")
    (tmp_path / "gpu-2").mkdir()
    (tmp_path / "gpu-2" / "compute_index_supply.yml").write_text("- no mapping")
    answer = sweep(Api(machine("r1", "gpu-1")), declared("gpu-1", tmp_path))
    assert answer["due"] == []
    assert "The lease of gpu-1 cannot be read" in answer["trouble"] and "gpu-2" in answer["trouble"]


@pytest.mark.parametrize(
    ("noted_by", "hours", "ahead", "is_due"),
    [
        # This computer noted the end, so the API's clock does not count.
        (None, -0.5, -1.0, True),
        (None, 0.5, 1.0, False),
        ("api", -0.5, -1.0, False),
        ("api", 0.5, 1.0, True),
        ("api", 24.5, 24.0, False),
        # The clock that noted the end cannot be read, so the others count.
        ("api", -0.5, None, True),
        ("database", -0.5, -1.0, False),
        ("database", -1.1, -24.0, True),
    ],
)
def test_lease_ends_by_clock_that_noted_it(
    tmp_path: Path, noted_by: str | None, hours: float, ahead: float | None, is_due: bool
) -> None:
    write(tmp_path, "gpu-1", "r1", hours, **({"provision_clock": noted_by} if noted_by else {}))
    api = Api(machine("r1", "gpu-1"), ahead=None if ahead is None else ahead * HOUR)
    answer = sweep(api, declared("gpu-1", tmp_path))
    assert (due_hosts(answer) == ["gpu-1"]) is is_due
    assert (plan_end(api, "gpu-1", tmp_path)["ids"] == ["r1"]) is is_due
    # A sweep fails if the clocks differ.
    assert ("The clocks differ: it is 20" in answer["trouble"]) is (ahead is not None)


@pytest.mark.parametrize("created", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00Z", "now"])
@pytest.mark.parametrize("hours", [-1.1, -0.9])
def test_new_creation_time_delays_end_of_lease_by_at_most_an_hour(tmp_path: Path, created: str, hours: float) -> None:
    """After a resync the API may say that all machines are new. A lease must not follow such a time forever."""
    write(tmp_path, "gpu-1", "r1", hours)
    write(tmp_path, "gpu-2", "r2", -0.1)
    moment = utc_rounded_up(time.time()) if created == "now" else created
    api = Api(machine("r1", "gpu-1", created_at=moment), machine("r2", "gpu-2"))
    answer = sweep(api, declared("gpu-1", tmp_path))
    assert ("gpu-1" in due_hosts(answer)) is (hours < -1 or created != "now")
    assert "gpu-2" in due_hosts(answer) and answer["trouble"] == ""


def test_sweep_without_registry_ends_machines_only_with_by_name(tmp_path: Path) -> None:
    api = Api(machine("r1", "gpu-1", time.time() - 9 * HOUR), machine("r2", "gpu-2"), machine("r3", "gpu-3"))
    hosts = [declared(f"gpu-{n}", "", declares=True, lease="8h" if n < 3 else "") for n in (1, 2, 3)]
    answer = sweep(api, *hosts)
    assert answer["due"] == []
    assert any(line.startswith("Over, but known only by name: gpu-1.") for line in answer["lines"])
    assert "gpu-2" in answer["trouble"] and "does not say when it was made" in answer["trouble"]
    assert due_hosts(sweep(api, *hosts, by_name=True)) == ["gpu-1"]


def test_sweep_refuses_limit(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="leave --limit out"):
        sweep(Api(), declared("gpu-1", tmp_path), limited=True)


# Ends


def test_end_of_lease_marks_entry_before_any_deletion(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", "r1", -1.0)
    api = Api(machine("r1", "gpu-1"))
    checked = plan_end(api, "gpu-1", tmp_path, check_mode=True)
    assert checked["lines"][0] == "gpu-1: would end r1, USD 2.00/h"
    assert checked["lines"][1].startswith("gpu-1: its lease was over at 20")
    assert "provision_reaped_at" not in yaml.safe_load(file.read_text())
    assert plan_end(api, "gpu-1", tmp_path)["ids"] == ["r1"]
    assert "provision_reaped_at" in yaml.safe_load(file.read_text())


@pytest.mark.parametrize(
    ("error", "ids"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ["r1"]),
        (OSError(errno.EROFS, "Read-only file system"), ["r1"]),
        (TimeoutError("another process has held the lock"), []),  # it may be extending the lease
    ],
)
def test_lease_that_is_over_ends_although_no_run_can_note_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, ids: list[str]
) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    write(tmp_path, "gpu-2", "r2", 1.0)
    api = Api(machine("r1", "gpu-1"), machine("r2", "gpu-2"))

    def fail(*_args: Any) -> None:
        raise error

    monkeypatch.setattr(_files, "write_durably", fail)
    assert plan_end(api, "gpu-1", tmp_path)["ids"] == ids
    assert plan_end(api, "gpu-2", tmp_path)["ids"] == []


def test_machine_extended_since_sweep_does_not_end(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0)
    found = plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path)
    assert (found["next"], found["ids"]) == ("", [])
    assert "got more time meanwhile, so it stays" in found["lines"][0]


def test_machine_extended_concurrently_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run moves the end between the sweep's look and its mark."""
    file = write(tmp_path, "gpu-1", "r1", -1.0)
    compare_and_set = HostFile.compare_and_set

    def race(self: HostFile, changes: Json) -> Json:
        other = HostFile(str(file))
        other.read()
        compare_and_set(other, {"provision_ends_at": utc_rounded_up(time.time() + HOUR)})
        return compare_and_set(self, changes)

    monkeypatch.setattr(HostFile, "compare_and_set", race)
    found = plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path)
    assert (found["next"], found["ids"]) == ("", [])
    assert "got more time meanwhile, so it stays" in found["lines"][0]
    assert "provision_reaped_at" not in yaml.safe_load(file.read_text())


def test_failed_reap_before_end_delays_end_only_for_grace(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    api = Api(machine("r1", "gpu-1"))
    found = plan_end(api, "gpu-1", tmp_path, grace=2 * HOUR)
    assert (found["next"], found["ids"]) == ("stop", []) and "reap_before_end failed" in found["refusal"]
    assert plan_end(api, "gpu-1", tmp_path, grace=str(0.9 * HOUR))["ids"] == ["r1"]


def test_end_by_name_needs_lease_that_is_over(tmp_path: Path) -> None:
    api = Api(machine("r1", "gpu-1", time.time() - 9 * HOUR))
    assert plan_end(api, "gpu-1", "", lease="8h")["ids"] == ["r1"]
    for lease in ("10h", ""):
        assert plan_end(api, "gpu-1", "", lease=lease)["ids"] == []


def test_end_stops_if_host_has_another_registry_than_sweep(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    (due_host,) = sweep(Api(machine("r1", "gpu-1")), declared("localhost", tmp_path))["due"]
    found = plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path / "another", place=due_host["sweep"]["place"])
    assert found["next"] == "stop" and f"The registry {tmp_path} says that its lease is over" in found["refusal"]
    assert plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path, place=due_host["sweep"]["place"])["ids"] == ["r1"]


# Durations


@pytest.mark.parametrize(
    ("given", "expected_message"),
    [
        ({"grace": "-5"}, "30m or 2h, from 0 seconds to 744 hours, not '-5'."),
        ({"grace": "soon"}, "reap_grace must be a duration"),
        ({"grace": True}, "reap_grace must be a duration"),
        ({"grace": ["30m"]}, "reap_grace must be a duration"),
        ({"grace": "40d"}, "from 0 seconds to 744 hours, not '40d'"),
        ({"before_end_timeout": 0}, "from 1 second to 24 hours, not '0"),
        ({"before_end_timeout": "0s"}, "from 1 second to 24 hours, not '0"),
        ({"before_end_timeout": "none"}, "reap_before_end_timeout must be a duration"),
        ({"before_end_timeout": "2d"}, "from 1 second to 24 hours, not '2d'"),
    ],
)
def test_sweep_refuses_mistyped_durations(tmp_path: Path, given: Json, expected_message: str) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    with pytest.raises(Failure) as caught:
        sweep(Api(machine("r1", "gpu-1")), declared("gpu-1", tmp_path), **given)
    assert expected_message in str(caught.value) and str(caught.value).endswith("Nothing was ended.")


@pytest.mark.parametrize(
    ("given", "grace", "seconds"),
    [
        ({}, 1800, 300),
        ({"grace": "", "before_end_timeout": ""}, 1800, 300),
        ({"grace": "1h", "before_end_timeout": "3s"}, 3600, 3),
        ({"grace": 30, "before_end_timeout": 300}, 1800, 300),
        ({"grace": 0, "before_end_timeout": 1.5}, 0, 2),
        ({"grace": "90s", "before_end_timeout": "2m"}, 90, 120),
    ],
)
def test_sweep_durations_have_units(tmp_path: Path, given: Json, grace: float, seconds: int) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    (due_host,) = sweep(Api(machine("r1", "gpu-1")), declared("gpu-1", tmp_path), **given)["due"]
    assert (due_host["sweep"]["grace"], due_host["sweep"]["seconds"]) == (grace, seconds)


def test_sweep_lists_runs_that_end_within_an_hour(tmp_path: Path) -> None:
    file = write(tmp_path, "run-train", "r1", 0.5, provision_groups=["gpu", "supply_run"])
    write(tmp_path, "run-later", "r2", 1.5, provision_groups=["gpu", "supply_run"])
    write(tmp_path, "gpu-1", "r3", 0.5)
    answer = sweep(Api(machine("r1", "run-train"), machine("r2", "run-later")), declared("gpu-1", tmp_path))
    (found,) = answer["runs"]
    assert (found["host"], answer["due"]) == ("run-train", [])
    assert found["sweep"]["offer_id"] == yaml.safe_load(file.read_text())["provision_procured_offer_id"]
    assert abs(found["sweep"]["ends_at"] - time.time() - 0.5 * HOUR) < 60


@pytest.mark.parametrize(("hours", "idle", "is_over"), [(-1.0, "", True), (8.0, "1h", False)])
def test_due_host_takes_precedence_over_run_of_same_name(
    tmp_path: Path, hours: float, idle: str, is_over: bool
) -> None:
    """As one host of the play they would prevent each other's end, or the sweep would ask the wrong machine."""
    first, second = tmp_path / "first", tmp_path / "second"
    variables = {"provision_idles": idle, "provision_instances": [{"resource_id": "r1"}]} if idle else {}
    write(first, "run-train", "r1", hours, **variables)
    write(second, "run-train", "r2", 0.5, provision_groups=["supply_run"])
    api = Api(machine("r1", "run-train"), machine("r2", "run-train"))
    answer = sweep(api, declared("gpu-1", first), declared("gpu-2", second))
    assert [str(first) in item["sweep"]["place"] for item in answer["due"]] == [True] and answer["runs"] == []
    assert (answer["reap"]["over"] != []) is is_over


def test_host_variables_override_durations_of_sweep(tmp_path: Path) -> None:
    """A mistyped one prevents only the end of its host, and is reported."""
    for number in (1, 2, 3):
        write(tmp_path, f"gpu-{number}", f"r{number}", -1.0)
    own = {"gpu-1": {"reap_grace": "2h"}, "gpu-2": {"reap_grace": "{{ hours }}h"}}
    api = Api(*(machine(f"r{number}", f"gpu-{number}") for number in (1, 2, 3)))
    answer = sweep(api, declared("gpu-1", tmp_path), own=own, grace="10m")
    graces = {each["host"]: each["sweep"]["grace"] for each in answer["due"]}
    assert graces == {"gpu-1": 2 * HOUR, "gpu-3": 600.0}
    assert answer["trouble"].startswith("gpu-2: reap_grace must be a duration") and answer["kept"] == []


@pytest.mark.parametrize(("forks", "batch"), [(0, 1), (5, 5), (500, 20)])
def test_sweep_batch_is_limited_by_forks_and_to_twenty(tmp_path: Path, forks: int, batch: int) -> None:
    assert sweep(Api(), declared("gpu-1", tmp_path), forks=forks)["batches"] == [batch]


@pytest.mark.parametrize("wait", ["-5", "soon", "inf", "", None, True, [], "nan"])
def test_mistyped_wait_timeout_stops_only_its_host(tmp_path: Path, wait: Any) -> None:
    hosts = []
    for number in (1, 2):
        write(tmp_path, f"gpu-{number}", f"r{number}", 1.0)
        host = declared(f"gpu-{number}", tmp_path, wait_timeout=wait if number == 1 else "5m", reaped={})
        hosts.append({**host, "id": f"gpu-{number}", "resource_id": "", "listed_id": ""})
    given = params(steps.END, *hosts, ids=["gpu-1", "gpu-2"])
    first, second = end(Api(machine("r1", "gpu-1"), machine("r2", "gpu-2")), given, False)["ends"].values()  # type: ignore[arg-type]
    assert first["next"] == "stop" and "decommission_wait_timeout must be" in first["refusal"]
    assert (second["ids"], second["wait"]) == (["r2"], 300.0)


def test_mistyped_idle_after_is_reported_and_other_hosts_end(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0, provision_idles="eight hours")
    write(tmp_path, "gpu-2", "r2", -1.0)
    answer = sweep(Api(machine("r1", "gpu-1"), machine("r2", "gpu-2")), declared("localhost", tmp_path))
    assert due_hosts(answer) == ["gpu-2"] and "provision_idle_after of gpu-1 must be a duration" in answer["trouble"]
    assert answer["kept"] == [str(tmp_path)]


@pytest.mark.parametrize(
    ("idles", "instances", "status", "is_kept"),
    [
        ("2h", [], "running", False),
        ("2h", [], "deleted", True),
        ("5h", [], "running", True),  # it may still become ready
        ("", [], "running", True),
        ("2h", [{"resource_id": "r1"}], "running", True),
    ],
)
def test_sweep_fails_for_machine_that_no_run_has_seen_ready(
    tmp_path: Path, idles: str, instances: list[Json], status: str, is_kept: bool
) -> None:
    """Its run was stopped. The sweep cannot ask it whether it is idle, so it would be billed for ever."""
    bought = utc_rounded_up(time.time() - 4 * HOUR)
    known = {"provision_idles": idles, "provision_instances": instances, "provision_journaled_at": bought}
    write(tmp_path, "gpu-1", "r1", None, **known)
    answer = sweep(Api(machine("r1", "gpu-1", status=status)), declared("localhost", tmp_path), check_mode=True)
    assert ("no run has seen its machine ready" not in answer["trouble"]) is is_kept


# Two sweeps at once


def test_concurrent_sweeps_may_both_end_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other sweep marks the entry between this sweep's look and its mark."""
    file = write(tmp_path, "gpu-1", "r1", -1.0)
    compare_and_set, others = HostFile.compare_and_set, [1]

    def race(self: HostFile, changes: Json) -> Json:
        if others and others.pop():
            other = HostFile(str(file))
            other.read()
            compare_and_set(other, {"provision_reaped_at": utc_rounded_up(time.time() - 2)})
        return compare_and_set(self, changes)

    monkeypatch.setattr(HostFile, "compare_and_set", race)
    assert plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path)["ids"] == ["r1"]


def test_entry_ended_by_another_run_stops_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "gpu-1", "r1", -1.0)
    compare_and_set = HostFile.compare_and_set

    def race(self: HostFile, changes: Json) -> Json:
        end_by_another_run(file)
        return compare_and_set(self, changes)

    monkeypatch.setattr(HostFile, "compare_and_set", race)
    found = plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path)
    assert found["ids"] == []
    assert found["next"] == "stop" and "The next sweep looks again." in found["refusal"]


@pytest.mark.parametrize(("storage", "due"), [("end", ["gpu-1"]), ("keep", [])])
def test_sweep_ends_storage_if_another_run_notes_the_end_that_it_began(
    tmp_path: Path, storage: str, due: list[str]
) -> None:
    """A sweep is killed after the deletion of the machine. Then the storage was billed, and no sweep failed."""
    file = write(tmp_path, "gpu-1", "r1", -1.0, provision_storage=[{"resource_id": "v1", "price_per_hour": 0.05}])
    api = Api(machine("r1", "gpu-1"), machine("v1", "gpu-1-data", kind="storage"))
    assert plan_end(api, "gpu-1", tmp_path, storage=storage)["ids"] == ["r1"]
    api.machines[0]["status"] = "deleted"
    end_by_another_run(file)
    assert due_hosts(sweep(api, declared("gpu-1", tmp_path))) == due


# Idle machines

IDLE = {"state": "idle", "idle_seconds": 8 * HOUR, "evidence": "8 GPUs at 0 %, no SSH connection, load 0.02"}


def with_age(activity: Json | None) -> Json | None:
    """The activity as the machine told it ``age`` seconds ago."""
    if activity is None or activity.get("age", 0.0) is None:
        return activity
    return {**activity, "asked_at": time.time() - activity.get("age", 0.0)}


def test_sweep_checks_activity_of_ready_machines_with_idle_limit(tmp_path: Path) -> None:
    instance = {"resource_id": "r", "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    write(tmp_path, "gpu-1", "r1", 1.0, provision_idles="8h", provision_instances=[instance])
    write(tmp_path, "gpu-2", "r2", None, provision_idles="8h", provision_instances=[instance])
    write(tmp_path, "gpu-3", "r3", -1.0, provision_idles="8h", provision_instances=[instance])
    write(tmp_path, "gpu-4", "r4", None, provision_idles="8h")  # it never got ready
    write(tmp_path, "gpu-5", "r5", None, provision_idles="8h", provision_instances=[instance])
    write(tmp_path, "gpu-6", "r6", None, provision_idles="8h", provision_instances=[instance, instance])  # a cluster
    unreadable_lease = {"provision_ends_at": "soon", "provision_instances": [instance]}
    write(tmp_path, "gpu-7", "r7", None, provision_idles="8h", **unreadable_lease)
    api = Api(*(machine(f"r{number}", f"gpu-{number}") for number in range(1, 8)))
    # The limit is the declared host's own variable, also if that is empty; else the one noted at the purchase.
    hosts = [declared("gpu-2", tmp_path, declares=True, idle_after="90m"), declared("gpu-5", tmp_path, declares=True)]
    answer = sweep(api, *hosts)
    idle = {each["host"]: each["sweep"]["idle"] for each in answer["due"]}
    # A lease that is over comes first, in a batch of its own: it need not wait for machines to answer.
    assert list(idle.items()) == [("gpu-3", 0), ("gpu-1", 28800.0), ("gpu-2", 5400.0)]
    assert (answer["hosts"], answer["batches"]) == (["gpu-3", "gpu-1", "gpu-2"], [1, 1])
    assert "gpu-1, gpu-2 will be asked whether they are idle." in answer["lines"]


@pytest.mark.parametrize(
    ("activity", "ids"),
    [
        (IDLE, ["r1"]),
        ({**IDLE, "idle_seconds": 8 * HOUR - 1}, []),
        ({**IDLE, "state": "active"}, []),
        ({**IDLE, "state": "unknown"}, []),
        ({"unreachable": True}, []),
        (None, []),
        # Evidence that is older than a minute, from the future or without a time does not count.
        ({**IDLE, "age": 59.0}, ["r1"]),
        ({**IDLE, "age": 61.0}, []),
        ({**IDLE, "age": -5.0}, []),
        ({**IDLE, "age": None}, []),
    ],
)
def test_machine_ends_only_with_recent_evidence_of_idle_time(
    tmp_path: Path, activity: Json | None, ids: list[str]
) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0)
    found = plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path, activity=with_age(activity), idle=8 * HOUR)
    assert found["ids"] == ids
    assert ids or "no longer counts as idle" in found["lines"][0]
    assert not ids or found["lines"][0].endswith(": it was idle: 8 GPUs at 0 %, no SSH connection, load 0.02")


def test_idle_machine_with_unreadable_lease_does_not_end(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", None, provision_leased="8h", provision_ends_at="soon")
    assert plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path, activity=with_age(IDLE), idle=8 * HOUR)["ids"] == []


def test_idle_machine_without_limit_does_not_end(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0)
    assert plan_end(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path, activity=with_age(IDLE), idle=0)["ids"] == []


def test_failed_reap_before_end_delays_end_of_idle_machine(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", None)
    api, longer_idle = Api(machine("r1", "gpu-1")), with_age({**IDLE, "idle_seconds": 9 * HOUR})
    assert plan_end(api, "gpu-1", tmp_path, activity=with_age(IDLE), idle=8 * HOUR, grace=1800)["next"] == "stop"
    assert plan_end(api, "gpu-1", tmp_path, activity=longer_idle, idle=8 * HOUR, grace=1800)["ids"] == ["r1"]


@pytest.mark.parametrize(("hours", "swept", "is_named"), [(1, False, True), (1, True, False), (None, False, False)])
def test_sweep_names_folder_nearby_whose_leases_no_sweep_enforces(
    tmp_path: Path, hours: float | None, swept: bool, is_named: bool
) -> None:
    nearby = tmp_path / "inventory" / "host_vars"
    write(nearby, "gpu-1", "r", hours)
    if swept:
        with Registries(None, "https://api.example.com", read_only=False) as registries:
            registries.at(place_of(str(nearby))).note_sweep(time.time())
    found = sweep(Api(machine("r", "gpu-1")), declared("localhost", "", registry_dir=None), here=str(tmp_path))
    assert [f"provision_registry_dir={nearby}." in text for text in found["warnings"]] == [True] * is_named
