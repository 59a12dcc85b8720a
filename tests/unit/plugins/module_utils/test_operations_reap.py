# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps and extensions, with registries on disk and an API that answers from a list."""

from __future__ import annotations

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
from ansible_collections.compute_index.supply.plugins.module_utils._operations import extend as extend_operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import LastSweeps, Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import end
from ansible_collections.compute_index.supply.plugins.module_utils._operations.extend import extend
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reap import reap, reaped
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import utc_rounded_up
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import place_of
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, folded_lines

from provision_samples import made_entry

Json = dict[str, Any]
HOUR = 3600.0


class Api:
    """An account with these machines, whose clock is so far ahead."""

    def __init__(self, *machines: Json, ahead: float | None = 0.0) -> None:
        self.machines, self.ahead = list(machines), ahead

    def resources(self, retries: int | None = None) -> list[Json]:
        return list(self.machines)

    def resource(self, resource_id: str, **_how: Any) -> Json:
        for each in self.machines:
            if each["resource_id"] == resource_id:
                return each
        raise ApiError("The API answered 404.", "not_found", status_code=404)

    def offer_status(self, _offer_id: str, **_how: Any) -> Json:
        raise ApiError("The API answered 404.", "not_found", status_code=404)


@pytest.fixture(autouse=True)
def statuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_operation, "offer_statuses", lambda _api, offers: {each: {} for each in offers})


def machine(key: str, name: str, created: float | None = None, **fields: Any) -> Json:
    moment = None if created is None else utc_rounded_up(created)
    return {
        **{"resource_id": key, "name": name, "offer_id": f"o-{key}", "status": "running", "created_at": moment},
        **{"vendor": "v", "price_per_hour": 2.0, **fields},
    }


def write(folder: Path, host: str, key: str, hours: float | None, leased: str = "8h", **more: Any) -> Path:
    """The entry of a host whose lease is over in so many hours."""
    file = folder / host / "compute_index_supply.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    ends = (
        {}
        if hours is None
        else {"provision_leased": leased, "provision_ends_at": utc_rounded_up(time.time() + hours * HOUR)}
    )
    file.write_text(yaml.safe_dump({**made_entry(key), **ends, **more}))
    return file


def go(file: Path) -> None:
    """Another run has ended what the entry names."""
    other = HostFile(str(file))
    other.read()
    other.end("reaped")


def described(host: str, folder: Path | str, **more: Any) -> Json:
    known = {"host": host, "name": host, "prefix": "", "project": "default", "registry_dir": str(folder)}
    rest = {"inventory_dir": None, "declares": False}
    limits = dict.fromkeys(("lease", "lease_max", "max_bill", "budget", "idle_after"), "")
    return {**known, **rest, **limits, "protect": None, "known": {}, **more}


def params(spec: Json, *hosts: Json, **given: Any) -> Json:
    defaults = {name: option.get("default") for name, option in spec.items()}
    return {**defaults, "hosts": list(hosts), "here": "/", "api_url": "https://api.example.com", **given}


def swept(api: Api, *hosts: Json, check_mode: bool = False, **given: Any) -> Json:
    return reap(api, params(steps.REAP, *hosts, **given), check_mode)  # type: ignore[arg-type]


@pytest.mark.parametrize(("host", "is_added"), [("gpu-1", False), ("localhost", True)])
def test_a_host_that_no_inventory_has_ends_by_the_folder_that_remembers_it(
    tmp_path: Path, host: str, is_added: bool
) -> None:
    write(tmp_path, "gpu-1", "r", -1.0)
    (found,) = swept(Api(machine("r", "gpu-1")), described(host, tmp_path))["due"]
    assert found.get("registry_dir") == (str(tmp_path) if is_added else None)


@pytest.mark.parametrize(("why", "is_red"), [("moved", True), ("decommissioned", False)])
def test_a_sweep_of_files_fails_for_machines_that_were_moved_into_a_shared_registry(
    tmp_path: Path, why: str, is_red: bool
) -> None:
    """As a timer whose environment does not name it: nothing would end them."""
    file = HostFile(str(write(tmp_path, "gpu-1", "r", -1.0)))
    file.read()
    file.end(why)
    answer = swept(Api(machine("r", "gpu-1")), described("gpu-1", tmp_path))
    assert due(answer) == [] and ("COMPUTE_INDEX_REGISTRY_URL" in answer["trouble"]) is is_red


def due(answer: Json) -> list[str]:
    return [each["host"] for each in answer["due"]]


def ended(
    api: Api, host: str, folder: Path | str, check_mode: bool = False, activity: Json | None = None, **reaped: Any
) -> Json:
    """What the role decides for a host that a sweep sends to it."""
    declared = {**described(host, folder), "id": host, "resource_id": "", "listed_id": "", "wait_timeout": "5m"}
    declared.update(activity=activity, before={"rc": 3 if "grace" in reaped else 0})
    declared["reaped"] = {"grace": 1800.0, "lease": "", "place": str(folder), **reaped}
    given = params(steps.END, declared, ids=[host])
    (found,) = end(api, given, check_mode)["ends"].values()  # type: ignore[arg-type]
    return dict(found)


def report(answer: Json, *rows: Json, check_mode: bool = False) -> Json:
    """The end of a sweep whose look had this answer, and in which this became of its hosts."""
    told = {"trouble": [answer["trouble"]], "kept": answer["kept"], "at": answer["at"]}
    return reaped(params(steps.REAPED, *rows, **told), check_mode)


# Sweeps


@pytest.mark.parametrize("hours", [3.0, -1.0])
def test_a_sweep_with_another_accounts_token_keeps_no_lease(tmp_path: Path, hours: float) -> None:
    """It left the mark by which purchases believe that their leases are enforced."""
    write(tmp_path, "gpu-1", "r1", hours)
    write(tmp_path, "gpu-2", "r2", 3.0)
    answer = swept(Api(machine("x", "theirs")), described("gpu-1", tmp_path))
    assert answer["kept"] == [] and "no machine of gpu-1, gpu-2" in " ".join(answer["warnings"])
    # One that is listed shows that the account is right; the other is missing.
    answer = swept(Api(machine("r2", "gpu-2")), described("gpu-1", tmp_path))
    assert answer["kept"] == [str(tmp_path)] and not answer["warnings"]


SINCE = {"provision_protected_since": "2026-12-01T06:00:00Z"}


@pytest.mark.parametrize(
    ("noted", "protect", "is_spared"),
    [({}, True, True), (SINCE, None, True), (SINCE, False, False), ({}, None, False), ({}, "ture", True)],
)
def test_a_protected_machine_outlives_its_lease_and_the_sweep_fails(
    tmp_path: Path, noted: Json, protect: Any, is_spared: bool
) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0, **noted)
    write(tmp_path, "gpu-2", "r2", -1.0)
    api = Api(machine("r1", "gpu-1"), machine("r2", "gpu-2"))
    answer = swept(api, described("gpu-1", tmp_path, protect=protect))
    assert due(answer) == (["gpu-2"] if is_spared else ["gpu-1", "gpu-2"])
    assert [each["host"] for each in answer["reap"]["protected"]] == (["gpu-1"] if is_spared else [])
    assert ("Over, but protected: gpu-1." in answer["lines"]) is is_spared
    assert answer["trouble"].startswith("The lease of gpu-1 was over at ") is is_spared
    assert ("gpu-1 is protected" in answer["trouble"] or "counts as protected" in answer["trouble"]) is is_spared
    # The others' leases are kept, so nobody must be told that no sweep comes.
    assert answer["kept"] == [str(tmp_path)]
    # What a host declares between the sweep and its end counts in the end.
    late = ended(api, "gpu-1", tmp_path)
    assert late["next"] == ("stop" if noted else "end")


def test_a_protected_machine_is_not_asked_whether_it_is_idle(tmp_path: Path) -> None:
    for number in (1, 2):
        more = {"provision_idles": "1h", "provision_instances": [{"resource_id": f"r{number}"}]}
        write(tmp_path, f"gpu-{number}", f"r{number}", None, **more, **(SINCE if number == 1 else {}))
    answer = swept(Api(machine("r1", "gpu-1"), machine("r2", "gpu-2")), described("gpu-2", tmp_path))
    assert (answer["hosts"], answer["trouble"]) == (["gpu-2"], "")


def test_a_protected_machine_that_only_its_name_tells_is_spared() -> None:
    api = Api(machine("r1", "gpu-1", time.time() - 9 * HOUR))
    for protect, hosts in ((True, []), (None, ["gpu-1"])):
        one = described("gpu-1", "", declares=True, lease="8h", protect=protect)
        answer = swept(api, one, by_name=True)
        assert (due(answer), bool(answer["trouble"])) == (hosts, not hosts)


def test_what_is_over_and_what_is_not(tmp_path: Path) -> None:
    for number, hours in enumerate((-1.0, 1.0, None), start=1):
        write(tmp_path, f"gpu-{number}", f"r{number}", hours)
    api = Api(*(machine(f"r{number}", f"gpu-{number}") for number in (1, 2, 3)), machine("r9", "other"))
    answer = swept(api, described("gpu-1", tmp_path))
    assert (due(answer), answer["trouble"]) == (["gpu-1"], "")
    text = "\n".join(answer["lines"])
    assert "1 with time left; the next until" in text and "(gpu-2)." in text
    assert max(map(len, folded_lines(answer["lines"]))) <= LINE
    assert answer["reap"]["unclaimed"] == 1


def test_a_sweep_is_noted_but_not_in_check_mode(tmp_path: Path) -> None:
    mark = tmp_path / ".compute_index_supply.swept"
    answer = swept(Api(), described("gpu-1", tmp_path))
    assert not mark.exists()
    report(answer, check_mode=True)
    assert not mark.exists()
    report(answer)
    assert mark.read_text() == f"{utc_rounded_up(answer['at'])}\n"
    # Before the first purchase, too, which may ask for it.
    report(swept(Api(), described("gpu-1", tmp_path / "host_vars")))
    assert (tmp_path / "host_vars" / mark.name).exists()
    report(swept(Api(), described("gpu-1", tmp_path / "no" / "where")))
    assert not (tmp_path / "no").exists()


def test_who_is_to_run_sweeps_depends_on_where_this_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = LastSweeps(Registries(None, "https://api.example.com", read_only=True))
    for name in ("AWX_HOST", "JOB_ID"):
        assert "reap_timer" in sweeps.trouble(place_of(str(tmp_path)), refused=False)
        monkeypatch.setenv(name, "7")
    assert "Enable the schedule" in sweeps.trouble(place_of(str(tmp_path)), refused=False)


@pytest.mark.parametrize(
    ("failed", "idle", "said"),
    [
        ("gpu-1: answered 403", 0, "gpu-1: answered 403"),
        (None, 0, "gpu-1: its lease is over, and this sweep did not finish."),
        ("", 0, ""),
        # What was not to end by its lease fails a sweep, and the leases are kept.
        ("gpu-1: answered 403", 60.0, "gpu-1: answered 403"),
        (None, 60.0, ""),
    ],
)
def test_leases_are_kept_by_a_sweep_whose_ends_succeed(
    tmp_path: Path, failed: str | None, idle: float, said: str
) -> None:
    """Else `provision_lease_unswept: refuse` would buy although every sweep fails."""
    places = [tmp_path / "one", tmp_path / "other"]
    for number, place in enumerate(places, start=1):
        write(place, f"gpu-{number}", f"r{number}", -1.0)
    api = Api(machine("r1", "gpu-1"), machine("r2", "gpu-2"))
    answer = swept(api, *(described(f"gpu-{number}", place) for number, place in enumerate(places, start=1)))
    own = {"host": "gpu-1", "place": str(places[0]), "idle": idle, "failed": failed, "activity": {"state": "active"}}
    with pytest.raises(Failure) if said else nullcontext() as caught:
        report(answer, own, {**own, "host": "gpu-2", "place": str(places[1]), "failed": "", "idle": 0})
    assert not said or said in str(caught.value)  # type: ignore[union-attr]
    marks = [(place / ".compute_index_supply.swept").exists() for place in places]
    assert marks == [not said or idle > 0, True]


@pytest.mark.parametrize("trouble", ["unreadable lease", "unreadable file", "clocks", "unreadable folder"])
def test_leases_that_a_sweep_could_not_read_are_not_kept(tmp_path: Path, trouble: str) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    write(own, "gpu-1", "r1", None, **({"provision_ends_at": "soon"} if trouble == "unreadable lease" else {}))
    other.mkdir()
    if trouble == "unreadable file":
        write(own, "gpu-2", "r2", 1.0).write_text("<<<<<<< HEAD\n")
    if trouble == "unreadable folder":
        own = own / "gpu-1" / "compute_index_supply.yml"
    ahead = HOUR if trouble == "clocks" else 0.0
    answer = swept(Api(machine("r1", "gpu-1"), ahead=ahead), described("gpu-1", own), described("gpu-3", other))
    assert answer["kept"] == ([] if trouble == "clocks" else [str(other)])
    with pytest.raises(Failure):
        report(answer)
    assert (other / ".compute_index_supply.swept").exists() is (trouble != "clocks")


def test_a_lease_that_cannot_be_read_ends_nothing_and_is_no_success(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", None, provision_leased="8h", provision_ends_at="soon")
    (tmp_path / "gpu-2").mkdir()
    (tmp_path / "gpu-2" / "compute_index_supply.yml").write_text("- no mapping")
    answer = swept(Api(machine("r1", "gpu-1")), described("gpu-1", tmp_path))
    assert answer["due"] == []
    assert "The lease of gpu-1 cannot be read" in answer["trouble"] and "gpu-2" in answer["trouble"]


@pytest.mark.parametrize(
    ("noted_by", "hours", "ahead", "is_due"),
    [
        # By the clock that noted the end, whatever the other one says.
        (None, -0.5, -1.0, True),
        (None, 0.5, 1.0, False),
        ("api", -0.5, -1.0, False),
        ("api", 0.5, 1.0, True),
        ("api", 24.5, 24.0, False),
        # That one cannot be read: by the others.
        ("api", -0.5, None, True),
        ("database", -0.5, -1.0, False),
        ("database", -1.1, -24.0, True),
    ],
)
def test_a_lease_ends_by_the_clock_that_noted_it(
    tmp_path: Path, noted_by: str | None, hours: float, ahead: float | None, is_due: bool
) -> None:
    write(tmp_path, "gpu-1", "r1", hours, **({"provision_clock": noted_by} if noted_by else {}))
    api = Api(machine("r1", "gpu-1"), ahead=None if ahead is None else ahead * HOUR)
    answer = swept(api, described("gpu-1", tmp_path))
    assert (due(answer) == ["gpu-1"]) is is_due
    assert (ended(api, "gpu-1", tmp_path)["ids"] == ["r1"]) is is_due
    # A sweep by clocks that differ is red, and names both times.
    assert ("The clocks differ: it is 20" in answer["trouble"]) is (ahead is not None)


@pytest.mark.parametrize("created", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00Z", "now"])
@pytest.mark.parametrize("hours", [-1.1, -0.9])
def test_a_creation_that_moves_delays_an_end_by_an_hour_at_most(tmp_path: Path, created: str, hours: float) -> None:
    """A resync says that all machines were made just now: a lease must not follow it for ever."""
    write(tmp_path, "gpu-1", "r1", hours)
    write(tmp_path, "gpu-2", "r2", -0.1)
    moment = utc_rounded_up(time.time()) if created == "now" else created
    api = Api(machine("r1", "gpu-1", created_at=moment), machine("r2", "gpu-2"))
    answer = swept(api, described("gpu-1", tmp_path))
    assert ("gpu-1" in due(answer)) is (hours < -1 or created != "now")
    assert "gpu-2" in due(answer) and answer["trouble"] == ""


def test_without_a_registry_it_is_only_told(tmp_path: Path) -> None:
    api = Api(machine("r1", "gpu-1", time.time() - 9 * HOUR), machine("r2", "gpu-2"), machine("r3", "gpu-3"))
    hosts = [described(f"gpu-{n}", "", declares=True, lease="8h" if n < 3 else "") for n in (1, 2, 3)]
    answer = swept(api, *hosts)
    assert answer["due"] == []
    assert any(line.startswith("Over, by their names alone: gpu-1.") for line in answer["lines"])
    assert "gpu-2" in answer["trouble"] and "does not say when it was made" in answer["trouble"]
    assert due(swept(api, *hosts, by_name=True)) == ["gpu-1"]


def test_a_sweep_is_about_all(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="leave --limit out"):
        swept(Api(), described("gpu-1", tmp_path), limited=True)


# Ends


def test_an_end_is_marked_before_anything_is_told_to_end(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", "r1", -1.0)
    api = Api(machine("r1", "gpu-1"))
    shown = ended(api, "gpu-1", tmp_path, check_mode=True)
    assert shown["lines"][0] == "gpu-1: would end r1, USD 2.00/h"
    assert shown["lines"][1].startswith("gpu-1: its lease was over at 20")
    assert "provision_reaped_at" not in yaml.safe_load(file.read_text())
    assert (ended(api, "gpu-1", tmp_path)["ids"], "provision_reaped_at" in yaml.safe_load(file.read_text())) == (
        ["r1"],
        True,
    )


def test_what_got_more_time_since_the_sweep_looked_stays(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0)
    found = ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path)
    assert (found["next"], found["ids"]) == ("", [])
    assert "has got more time meanwhile" in found["lines"][0]


def test_an_extension_at_the_same_moment_wins_or_loses_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the sweep's look and its mark another run moves the end: nothing ends."""
    file = write(tmp_path, "gpu-1", "r1", -1.0)
    mark = HostFile.compare_and_set

    def late(self: HostFile, changes: Json) -> Json:
        other = HostFile(str(file))
        other.read()
        mark(other, {"provision_ends_at": utc_rounded_up(time.time() + HOUR)})
        return mark(self, changes)

    monkeypatch.setattr(HostFile, "compare_and_set", late)
    found = ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path)
    assert (found["next"], found["ids"]) == ("", [])
    assert "has got more time meanwhile" in found["lines"][0]
    assert "provision_reaped_at" not in yaml.safe_load(file.read_text())


def test_the_command_before_the_end_delays_it_no_longer_than_its_grace(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    api = Api(machine("r1", "gpu-1"))
    found = ended(api, "gpu-1", tmp_path, grace=2 * HOUR)
    assert (found["next"], found["ids"]) == ("stop", []) and "reap_before_end failed" in found["refusal"]
    assert ended(api, "gpu-1", tmp_path, grace=str(0.9 * HOUR))["ids"] == ["r1"]


def test_by_its_name_alone(tmp_path: Path) -> None:
    api = Api(machine("r1", "gpu-1", time.time() - 9 * HOUR))
    assert ended(api, "gpu-1", "", lease="8h")["ids"] == ["r1"]
    for lease in ("10h", ""):
        assert ended(api, "gpu-1", "", lease=lease)["ids"] == []


def test_a_host_whose_variables_lead_elsewhere_is_no_success(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    (due_,) = swept(Api(machine("r1", "gpu-1")), described("localhost", tmp_path))["due"]
    found = ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path / "another", place=due_["sweep"]["place"])
    assert found["next"] == "stop" and f"by the registry {tmp_path}, but" in found["refusal"]
    assert ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path, place=due_["sweep"]["place"])["ids"] == ["r1"]


# Durations


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"grace": "-5"},
            "30m or 2h, from 0 seconds to 744 hours, not '-5'.",
        ),
        ({"grace": "soon"}, "reap_grace must be a duration"),
        ({"grace": True}, "reap_grace must be a duration"),
        ({"grace": ["30m"]}, "reap_grace must be a duration"),
        ({"grace": "40d"}, "from 0 seconds to 744 hours, not '40d'"),
        (
            {"before_end_timeout": 0},
            "from 1 seconds to 24 hours, not '0",
        ),
        (
            {"before_end_timeout": "0s"},
            "from 1 seconds to 24 hours, not '0",
        ),
        ({"before_end_timeout": "none"}, "reap_before_end_timeout must be a duration"),
        ({"before_end_timeout": "2d"}, "from 1 seconds to 24 hours, not '2d'"),
    ],
)
def test_a_mistyped_duration_ends_nothing(tmp_path: Path, given: Json, said: str) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    with pytest.raises(Failure) as caught:
        swept(Api(machine("r1", "gpu-1")), described("gpu-1", tmp_path), **given)
    assert said in str(caught.value) and str(caught.value).endswith("Nothing was ended.")


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
def test_durations_have_units(tmp_path: Path, given: Json, grace: float, seconds: int) -> None:
    write(tmp_path, "gpu-1", "r1", -1.0)
    (due_,) = swept(Api(machine("r1", "gpu-1")), described("gpu-1", tmp_path), **given)["due"]
    assert (due_["sweep"]["grace"], due_["sweep"]["seconds"]) == (grace, seconds)


def test_a_run_that_ends_within_the_hour_comes_with_its_purchase_and_its_end(tmp_path: Path) -> None:
    file = write(tmp_path, "run-train", "r1", 0.5, provision_groups=["gpu", "supply_run"])
    write(tmp_path, "run-later", "r2", 1.5, provision_groups=["gpu", "supply_run"])
    write(tmp_path, "gpu-1", "r3", 0.5)
    answer = swept(Api(machine("r1", "run-train"), machine("r2", "run-later")), described("gpu-1", tmp_path))
    (found,) = answer["runs"]
    assert (found["host"], answer["due"]) == ("run-train", [])
    assert found["sweep"]["offer_id"] == yaml.safe_load(file.read_text())["provision_procured_offer_id"]
    assert abs(found["sweep"]["ends_at"] - time.time() - 0.5 * HOUR) < 60


@pytest.mark.parametrize(("hours", "idle", "due"), [(-1.0, "", True), (8.0, "1h", False)])
def test_what_ends_comes_before_a_run_of_its_name_in_another_registry(
    tmp_path: Path, hours: float, idle: str, due: bool
) -> None:
    """Both would be one host of the play, which would end neither, or ask for the other."""
    one, two = tmp_path / "one", tmp_path / "two"
    more = {"provision_idles": idle, "provision_instances": [{"resource_id": "r1"}]} if idle else {}
    write(one, "run-train", "r1", hours, **more)
    write(two, "run-train", "r2", 0.5, provision_groups=["supply_run"])
    api = Api(machine("r1", "run-train"), machine("r2", "run-train"))
    answer = swept(api, described("gpu-1", one), described("gpu-2", two))
    assert [str(one) in item["sweep"]["place"] for item in answer["due"]] == [True] and answer["runs"] == []
    assert (answer["reap"]["over"] != []) is due


def test_a_host_may_have_durations_of_its_own(tmp_path: Path) -> None:
    """One that is mistyped ends nothing of this host, and is named."""
    for number in (1, 2, 3):
        write(tmp_path, f"gpu-{number}", f"r{number}", -1.0)
    own = {"gpu-1": {"reap_grace": "2h"}, "gpu-2": {"reap_grace": "{{ hours }}h"}}
    api = Api(*(machine(f"r{number}", f"gpu-{number}") for number in (1, 2, 3)))
    answer = swept(api, described("gpu-1", tmp_path), own=own, grace="10m")
    graces = {each["host"]: each["sweep"]["grace"] for each in answer["due"]}
    assert graces == {"gpu-1": 2 * HOUR, "gpu-3": 600.0}
    assert answer["trouble"].startswith("gpu-2: reap_grace must be a duration") and answer["kept"] == []


@pytest.mark.parametrize(("forks", "batch"), [(0, 1), (5, 5), (500, 20)])
def test_not_more_are_asked_at_once_than_answer_within_a_minute(tmp_path: Path, forks: int, batch: int) -> None:
    assert swept(Api(), described("gpu-1", tmp_path), forks=forks)["batches"] == [1, batch]


@pytest.mark.parametrize("wait", ["-5", "soon", "inf", "", None, True, [], "nan"])
def test_a_wait_that_cannot_be_read_ends_nothing_of_this_host(tmp_path: Path, wait: Any) -> None:
    declared = []
    for number in (1, 2):
        write(tmp_path, f"gpu-{number}", f"r{number}", 1.0)
        own = described(f"gpu-{number}", tmp_path, wait_timeout=wait if number == 1 else "5m", reaped={})
        declared.append({**own, "id": f"gpu-{number}", "resource_id": "", "listed_id": ""})
    given = params(steps.END, *declared, ids=["gpu-1", "gpu-2"])
    first, second = end(Api(machine("r1", "gpu-1"), machine("r2", "gpu-2")), given, False)["ends"].values()  # type: ignore[arg-type]
    assert first["next"] == "stop" and "decommission_wait_timeout must be" in first["refusal"]
    assert (second["ids"], second["wait"]) == (["r2"], 300.0)


def test_an_idle_time_that_cannot_be_read_is_named_and_the_others_end(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0, provision_idles="eight hours")
    write(tmp_path, "gpu-2", "r2", -1.0)
    answer = swept(Api(machine("r1", "gpu-1"), machine("r2", "gpu-2")), described("localhost", tmp_path))
    assert due(answer) == ["gpu-2"] and "provision_idle_after of gpu-1 must be a duration" in answer["trouble"]
    assert answer["kept"] == [str(tmp_path)]


# Two sweeps at once


def test_both_sweeps_may_end_what_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look of one and its mark the other marks the entry."""
    file = write(tmp_path, "gpu-1", "r1", -1.0)
    mark, others = HostFile.compare_and_set, [1]

    def late(self: HostFile, changes: Json) -> Json:
        if others and others.pop():
            other = HostFile(str(file))
            other.read()
            mark(other, {"provision_reaped_at": utc_rounded_up(time.time() - 2)})
        return mark(self, changes)

    monkeypatch.setattr(HostFile, "compare_and_set", late)
    assert ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path)["ids"] == ["r1"]


def test_what_another_run_has_ended_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "gpu-1", "r1", -1.0)
    mark = HostFile.compare_and_set

    def late(self: HostFile, changes: Json) -> Json:
        go(file)
        return mark(self, changes)

    monkeypatch.setattr(HostFile, "compare_and_set", late)
    found = ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path)
    assert found["ids"] == []
    assert found["next"] == "stop" and "The next sweep looks again." in found["refusal"]


# Idle machines

IDLE = {"state": "idle", "idle_seconds": 8 * HOUR, "evidence": "8 GPUs at 0 %, no SSH connection, load 0.02"}


def asked(activity: Json | None) -> Json | None:
    """The answer of a machine that was asked so many seconds ago."""
    if activity is None or activity.get("asked", 0.0) is None:
        return activity
    return {**activity, "asked_at": time.time() - activity.get("asked", 0.0)}


def test_those_that_may_be_idle_are_asked(tmp_path: Path) -> None:
    instance = {"resource_id": "r", "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    write(tmp_path, "gpu-1", "r1", 1.0, provision_idles="8h", provision_instances=[instance])
    write(tmp_path, "gpu-2", "r2", None, provision_idles="8h", provision_instances=[instance])
    write(tmp_path, "gpu-3", "r3", -1.0, provision_idles="8h", provision_instances=[instance])
    write(tmp_path, "gpu-4", "r4", None, provision_idles="8h")  # it never got ready
    write(tmp_path, "gpu-5", "r5", None, provision_idles="8h", provision_instances=[instance])
    write(tmp_path, "gpu-6", "r6", None, provision_idles="8h", provision_instances=[instance, instance])  # a cluster
    odd = {"provision_ends_at": "soon", "provision_instances": [instance]}
    write(tmp_path, "gpu-7", "r7", None, provision_idles="8h", **odd)
    api = Api(*(machine(f"r{number}", f"gpu-{number}") for number in range(1, 8)))
    # Who declares a host says how long its machine may be idle; of others it is known from the purchase.
    hosts = [described("gpu-2", tmp_path, declares=True, idle_after="90m"), described("gpu-5", tmp_path, declares=True)]
    answer = swept(api, *hosts)
    idle = {each["host"]: each["sweep"]["idle"] for each in answer["due"]}
    # In this order, and the first alone: what is over waits for no machine.
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
        # Evidence has an age.
        ({**IDLE, "asked": 59.0}, ["r1"]),
        ({**IDLE, "asked": 61.0}, []),
        ({**IDLE, "asked": -5.0}, []),
        ({**IDLE, "asked": None}, []),
    ],
)
def test_only_what_was_idle_for_so_long_ends(tmp_path: Path, activity: Json | None, ids: list[str]) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0)
    found = ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path, activity=asked(activity), idle=8 * HOUR)
    assert found["ids"] == ids
    assert ids or "is not known to be idle any more" in found["lines"][0]
    assert not ids or found["lines"][0].endswith(": it was idle: 8 GPUs at 0 %, no SSH connection, load 0.02")


def test_a_lease_that_cannot_be_read_is_for_a_person_idle_or_not(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", None, provision_leased="8h", provision_ends_at="soon")
    assert ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path, activity=asked(IDLE), idle=8 * HOUR)["ids"] == []


def test_idleness_without_a_limit_ends_nothing(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0)
    assert ended(Api(machine("r1", "gpu-1")), "gpu-1", tmp_path, activity=asked(IDLE), idle=0)["ids"] == []


def test_the_last_command_delays_the_end_of_an_idle_machine_too(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", "r1", None)
    api, late = Api(machine("r1", "gpu-1")), asked({**IDLE, "idle_seconds": 9 * HOUR})
    assert ended(api, "gpu-1", tmp_path, activity=asked(IDLE), idle=8 * HOUR, grace=1800)["next"] == "stop"
    assert ended(api, "gpu-1", tmp_path, activity=late, idle=8 * HOUR, grace=1800)["ids"] == ["r1"]


# More time


def extended(*hosts: Json, check_mode: bool = False, **given: Any) -> Json:
    return extend(params(steps.EXTEND, *hosts, **given), check_mode)


def test_each_host_by_itself(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", "r1", 1.0)
    write(tmp_path, "gpu-2", "r2", None)
    before = file.read_text()
    hosts = [described("gpu-1", tmp_path), described("gpu-2", tmp_path), described("gpu-3", "")]
    shown = extended(*hosts, by="4h", check_mode=True)
    assert (file.read_text(), shown["changed"]) == (before, True)
    answer = extended(*hosts, by="4h")
    assert (answer["changed"], [row["host"] for row in answer["extended"]]) == (True, ["gpu-1"])
    assert answer["extended"][0]["more"] == 8.0
    assert (
        "gpu-2: Its machine has no lease" in answer["trouble"] and "gpu-3: Only a registry keeps" in answer["trouble"]
    )
    assert "compute_index.supply.reap does" in answer["warnings"][0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "extend_by (such as 4h) or extend_until"),
        ({"by": "4h", "until": "2027-01-01T00:00Z"}, "one of them"),
        ({"by": "4 hours"}, "extend_by must be a duration such as 8h, 90m or 3d, not '4 hours'"),
        ({"by": "0h"}, "extend_by must be a duration such as 8h, 90m or 3d, not '0h'"),
        ({"by": "2027-01-01T00:00Z"}, "extend_by must be a duration such as 8h, 90m or 3d, not '2027-01-01T00:00Z'"),
        ({"until": "soon"}, "extend_until must be a time with its zone such as 2026-12-01T06:00Z, not 'soon'"),
        # From the end on it would be more than was meant.
        ({"until": "8h"}, "extend_until must be a time with its zone such as 2026-12-01T06:00Z, not '8h'"),
        ({"until": "2027-01-01"}, "such as 2026-12-01T06:00Z, not '2027-01-01'"),
    ],
)
def test_what_is_no_time(given: Json, said: str) -> None:
    with pytest.raises(Failure) as caught:
        extended(described("gpu-1", "/"), **given)
    assert said in str(caught.value) and "Nothing was extended." in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("lease_max", "soon"), ("max_bill", "3,5"), ("budget", "3,5")])
def test_a_limit_that_cannot_be_read_is_no_limit_to_pass(tmp_path: Path, field: str, value: str) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0)
    answer = extended(described("gpu-1", tmp_path, **{field: value}), by="1h")
    assert answer["extended"] == [] and "gpu-1: " in answer["trouble"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_budget_counts_all_that_its_project_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    """Also what this run has extended before, and the hosts in other folders: here three for an hour, and one more."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    for folder, host in (("a", "gpu-1"), ("a", "gpu-2"), ("b", "gpu-3")):
        write(tmp_path / folder, host, f"r-{host}", 1.0)
    hosts = [described(host, tmp_path / "a", budget="14") for host in ("gpu-1", "gpu-2")]
    answer = extended(*hosts, by="1h", check_mode=check_mode, elsewhere=[described("gpu-3", tmp_path / "b")])
    assert [row["host"] for row in answer["extended"]] == ["gpu-1"], answer["trouble"]
    assert answer["trouble"].startswith("gpu-2: Until ") and "would cost USD 16.00" in answer["trouble"]
    refused = extended(hosts[0], by="1m", check_mode=check_mode, untold=["gpu-9: its registry is not read."])
    assert refused["extended"] == [] and "is not known: gpu-9: its registry is not read." in refused["trouble"]


def test_an_entry_that_changes_meanwhile_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "gpu-1", "r1", 1.0)
    mark, times = HostFile.compare_and_set, []

    def late(self: HostFile, changes: Json) -> Json:
        times.append(1)
        if len(times) == 1:
            file.write_text(file.read_text() + "provision_verified: true\n")
        return mark(self, changes)

    monkeypatch.setattr(HostFile, "compare_and_set", late)
    assert extended(described("gpu-1", tmp_path), by="1h")["changed"]
    entry = yaml.safe_load(file.read_text())
    assert (len(times), entry["provision_verified"]) == (2, True)
    assert extend_operation.BLANK["extended"] == []
