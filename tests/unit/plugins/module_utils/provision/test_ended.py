# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After an end: which machines may still run, what the registry keeps, the cost, and the lines about each host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import ended
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ended import NotEnded
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import Action, End, EndRequest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock, utc_rounded_up
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import NOWHERE, Folder
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage, storage_variables

from provision_samples import entry, machine, machine_id, offer_id

NOON = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0
OFFER, M, N = offer_id(1), machine_id(1), machine_id(2)
DISK = Storage("d1", "data", price_per_hour=0.05, kept_since="2026-11-01T00:00:00Z")
MADE = {"provision_purchase": "made"}
PLAN = {
    "storage": [],
    "host": "gpu-1",
    "ids": [M],
    "gone": [],
    "forgotten": [],
    "price_per_hour": 2.0,
    "in_doubt": [],
    "resource_ids": [M],
    "offer_id": OFFER,
    "began": "",
}


RAW = {"host": "gpu-1", "name": "gpu-1", "declares": True, "listed_id": "", "resource_id": ""}


def known(ids: Any = (M,), purchase: str = "made", **fields: Any) -> Any:
    """An entry at 2 USD per hour."""
    return entry(OFFER, ids, purchase, **{"provision_price_per_hour": 2.0, **fields})


@pytest.mark.parametrize(
    ("entry_", "plan", "left", "changes"),
    [
        (known(), {}, [], {}),
        (known([M, N]), {}, [N], {"provision_resource_ids": [N], **MADE}),
        (known([M, N]), {"in_doubt": [N], "resource_ids": [M, N]}, [N], {"provision_resource_ids": [N], **MADE}),
        # A new id in doubt may be a stranger's, so it is not noted.
        (known((), "sent"), {"in_doubt": [N], "resource_ids": []}, [N], {"provision_resource_ids": None, **MADE}),
        (known((), "made"), {"in_doubt": [N], "resource_ids": []}, [M, N], {"provision_resource_ids": [M], **MADE}),
        # An open purchase becomes made or refused, since a shared registry ends only confirmed purchases.
        (known((), "sent"), {}, [], {**MADE, "provision_resource_ids": [M]}),
        (known((), "sent"), {"ids": [], "gone": [M]}, [], MADE),
        (known((), "sent"), {"ids": [], "forgotten": [M]}, [], MADE),
        (known((), "sent"), {"ids": []}, [], {"provision_purchase": "refused"}),
        (
            known((), "sent"),
            {"ids": [], "storage": [Storage("new").variables]},
            [],
            {**MADE, **storage_variables([Storage("new")]), "provision_storage_ends": None},
        ),
        # Only the API knows when the machine was made.
        (
            known(),
            {"began": utc_rounded_up(NOON)},
            [],
            {"provision_journaled_at": utc_rounded_up(NOON), "provision_clock": "api"},
        ),
        (known(provision_journaled_at=utc_rounded_up(NOON)), {"began": utc_rounded_up(NOON)}, [], {}),
    ],
)
def test_entry_changes(entry_: Any, plan: dict[str, Any], left: list[str], changes: dict[str, Any]) -> None:
    assert ended.entry_changes(entry_, {**PLAN, **plan}, left) == changes


@pytest.mark.parametrize(
    ("is_swept", "ends_storage", "mark"), [(True, True, True), (True, False, None), (False, True, None)]
)
def test_only_a_sweep_notes_before_the_deletion_that_storage_ends(
    is_swept: bool, ends_storage: bool, mark: bool | None
) -> None:
    """A person repeats the command; a later sweep must know. Without a mark, an earlier one is removed."""
    asked = EndRequest("gpu-1", "gpu-1", known(), is_swept=is_swept, ends_storage=ends_storage)
    changes = {"provision_reaped_at": "now", "provision_storage_ends": mark}
    assert ended.begin_changes(asked, "now") == changes


@pytest.mark.parametrize(("left", "marks"), [([], [True, True]), ([M], [None, True])])
def test_storage_is_marked_to_end_only_if_its_machine_has_ended(left: list[str], marks: list[Any]) -> None:
    items = [Storage("new", is_to_end=True), Storage("old", kept_since=utc_rounded_up(NOON), is_to_end=True)]
    plan = {**PLAN, "storage": [item.variables for item in items]}
    noted = ended.entry_changes(known(), plan, left)["provision_storage"]
    assert [item.get("is_to_end") for item in noted] == marks


BILL = Bill("", "gpu-1", OFFER, price_per_hour=2.0, begin=NOON, end=NOON + 5 * HOUR)


@pytest.mark.parametrize(
    ("bills", "usd", "cost"),
    [
        ([BILL], 10.0, "USD 10.00"),
        ([BILL, BILL], 20.0, "USD 20.00"),
        # The clock was wrong at the purchase.
        ([BILL, BILL._replace(end=NOON - 60)], None, "unknown"),
        ([BILL._replace(price_per_hour=None)], None, "unknown"),
        ([BILL._replace(end=None)], None, "unknown"),
        ([None], None, ""),
        ([], None, ""),
    ],
)
def test_cost_of(bills: Any, usd: float | None, cost: str) -> None:
    found = ended.cost_of(bills)
    assert (found.get("usd"), found.get("cost", "")) == (usd, cost)


@pytest.mark.parametrize(
    ("entry_", "machines", "expected"),
    [
        (
            known(provision_journaled_at=utc_rounded_up(NOON), provision_clock="api"),
            [],
            (2.0, utc_rounded_up(NOON)),
        ),
        (
            known(provision_journaled_at=utc_rounded_up(NOON)),
            [machine(1, price_per_hour=5.0)],
            (5.0, utc_rounded_up(NOON)),
        ),
        (
            entry(),
            [machine(1, created_at=utc_rounded_up(NOON), price_per_hour=5.0)],
            (5.0, utc_rounded_up(NOON)),
        ),
        (known((), "refused"), [], (None, "")),
        # The API may use any time zone, or an invalid text.
        (
            entry(),
            [
                machine(1, created_at="2026-11-01T12:30:00Z"),
                machine(2, created_at="2026-11-01T14:00:00+02:00"),
                machine(3, created_at="1 day ago"),
            ],
            (6.0, "2026-11-01T12:00:00Z"),
        ),
        (entry(), [machine(1, created_at="1 day ago")], (2.0, "")),
        # An unknown price is not free of charge.
        (entry(), [], (None, "")),
        (known(), [machine(1, created_at=None, price_per_hour=None)], (2.0, "")),
    ],
)
def test_price_and_begin(entry_: Any, machines: Any, expected: tuple[Any, ...]) -> None:
    found = ended.price_and_begin(entry_, End(Action.END, tuple(machines)))
    assert (found["price_per_hour"], found["began"]) == expected


def test_price_includes_storage_that_came_along_and_machines_that_had_ended() -> None:
    items = (Storage("new", price_per_hour=0.5), Storage("unpriced"), DISK)
    end = End(Action.END, (machine(1, price_per_hour=5.0),), price_when_gone=1.0, storage=items)
    assert ended.price_and_begin(known(), end)["price_per_hour"] == 6.5


@pytest.mark.parametrize("action", [Action.NOTHING, Action.STORAGE, Action.STOP])
def test_price_and_begin_are_unknown_unless_the_purchase_ends(action: Action) -> None:
    assert ended.price_and_begin(known(), End(action, (machine(1),))) == {"price_per_hour": None, "began": ""}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([{"resource_id": M, "billing_stopped": True}], NotEnded((), (), over=(M,))),
        ([], NotEnded((M,), ("The answer to a deletion is unknown.",))),
        ([{"resource_id": M, "billing_stopped": "yes", "msg": "no"}], NotEnded((M,), ("no",))),
        ([{"resource_id": M, "msg": "no", "error_class": "auth"}], NotEnded((M,), ("no",), "auth")),
    ],
)
def test_not_ended(answers: list[dict[str, Any]], expected: NotEnded) -> None:
    assert ended.not_ended(PLAN, [M], {answer["resource_id"]: answer for answer in answers}) == expected


@pytest.mark.parametrize(
    ("error_class", "lost", "is_over"),
    [("not_found", ["d1"], True), ("not_found", ["d2"], False), ("not_found", [], False), ("auth", ["d1"], False)],
)
def test_unknown_storage_is_over_only_if_a_person_forgets_it(error_class: str, lost: list[str], is_over: bool) -> None:
    found = ended.not_ended({**PLAN, "storage_lost": lost}, ["d1"], {"d1": {"error_class": error_class}})
    assert (found.ids, found.over) == (((), ("d1",)) if is_over else (("d1",), ()))


@pytest.mark.parametrize(
    ("in_doubt", "expected"),
    [([], NotEnded((), (), over=(M,))), ([N], NotEnded((N,), ("Whose is it?",), over=(M,)))],
)
def test_machine_in_doubt_may_not_have_ended(in_doubt: list[str], expected: NotEnded) -> None:
    plan = {**PLAN, "in_doubt": in_doubt, "refusal": "Whose is it?"}
    assert ended.machines_not_ended(plan, {M: {"billing_stopped": True}}) == expected


@pytest.mark.parametrize(
    ("fields", "is_late"),
    [
        *(({}, True), ({"status": "deleted"}, False), ({"offer_id": offer_id(2)}, False), ({"resource_id": M}, False)),
        *(({"kind": "storage"}, False), ({"resource_id": None}, False)),
    ],
)
def test_late_machines_are_new_live_machines_of_the_offer(fields: dict[str, Any], is_late: bool) -> None:
    found = ended.late_machines(PLAN, [machine(2, offer=OFFER, **fields)])
    assert (found.ids, bool(found.sentences)) == ((N,) if is_late else (), is_late)


@pytest.mark.parametrize(
    ("entry_", "by_name", "age"),
    [
        (known((), "sent", provision_journaled_at=utc_rounded_up(NOON - 60)), False, 60.0),
        (known((), "sent", provision_journaled_at=utc_rounded_up(NOON - 60)), True, 0.0),
        (known((), "sent", provision_journaled_at=utc_rounded_up(NOON + DAY - 60), provision_clock="api"), False, 60.0),
        (known((), "sent"), False, None),
        (known(provision_journaled_at=utc_rounded_up(NOON - 60)), True, 60.0),
    ],
)
def test_age_of_purchase_is_by_the_clock_that_noted_it(entry_: Any, by_name: bool, age: float | None) -> None:
    request = ended.end_request(RAW, entry_, NOWHERE if by_name else Folder("/registry"))
    assert ended.with_age(request, Clock.of(NOON, DAY)).age == age


@pytest.mark.parametrize(
    ("has_registry", "fields", "entry_", "expected_id"),
    [
        (True, {}, known(), ""),
        (True, {}, entry(), ""),
        (True, {"declares": False}, known(), ""),
        (True, {"declares": False}, entry(), "listed"),
        (False, {}, entry(), "listed"),
        (False, {"listed_id": None}, entry(), ""),
        (True, {"resource_id": " Given "}, known(), "given"),
        (False, {"resource_id": "given"}, entry(), "given"),
    ],
)
def test_id_of_inventory_counts_only_without_a_registry(
    has_registry: bool, fields: dict[str, Any], entry_: Any, expected_id: str
) -> None:
    place = Folder("/registry") if has_registry else NOWHERE
    assert ended.end_request({**RAW, "listed_id": "Listed", **fields}, entry_, place).resource_id == expected_id


@pytest.mark.parametrize(
    ("has_registry", "storage", "ends_storage"),
    [(True, "end", True), (True, "keep", False), (True, None, False), (False, "end", False)],
)
def test_storage_ends_only_if_a_registry_knows_it(has_registry: bool, storage: Any, ends_storage: bool) -> None:
    place = Folder("/registry") if has_registry else NOWHERE
    assert ended.end_request({**RAW, "storage": storage}, known(), place).ends_storage is ends_storage


@pytest.mark.parametrize(("noted", "name"), [("old", "old"), ("", "gpu-1")])
def test_end_request_has_the_name_at_the_purchase(noted: str, name: str) -> None:
    assert ended.end_request(RAW, known(provision_resource_name=noted), Folder("/registry")).name == name


@pytest.mark.parametrize(
    ("of_host", "of_play", "expected"),
    [(False, False, False), (True, False, True), (False, True, True), (None, False, False)],
)
def test_check_mode_of_host_or_play_counts(of_host: bool | None, of_play: bool, expected: bool) -> None:
    assert ended.is_checked({"check_mode": of_host}, of_play) is expected


def test_end_request_without_registry_names_twin_in_another_project() -> None:
    raw = {**RAW, "name": "team-a-gpu-1"}
    request = ended.end_request({**raw, "project": "team-a"}, known(), NOWHERE)
    assert (request.by_name, request.twin) == (True, "host a-gpu-1 of project team")
    assert ended.end_request({**raw, "host": "a-gpu-1", "project": "team"}, known(), NOWHERE).twin == ""


@pytest.mark.parametrize(
    ("end", "lines"),
    [
        (End(Action.END, (machine(1),), by_sweep="its lease was over"), ["gpu-1: its lease was over"]),
        (
            End(Action.FORGET, forgotten=("x",), by_sweep="its lease was over"),
            [
                f"gpu-1: nothing of {M} runs any more; forgets x, which the API does not know; its lease was over",
            ],
        ),
        (End(Action.NOTHING, by_sweep="gpu-1 has got more time"), ["gpu-1 has got more time"]),
        (End(Action.END, (machine(1),)), []),
        (End(Action.END, (machine(1),), storage=(DISK,)), []),
        (End(Action.FORGET), [f"gpu-1: nothing of {M} runs any more"]),
        (
            End(Action.STORAGE, storage=(DISK,), storage_ends=("d1",), by_sweep="its lease was over"),
            ["gpu-1 owns no machine; its storage (1 volume, USD 0.05 per hour) ends; its lease was over"],
        ),
    ],
)
def test_lines_of_end(end: End, lines: list[str]) -> None:
    assert ended.lines_of_end("gpu-1", known(), end, would=False) == lines


@pytest.mark.parametrize(
    ("ids", "gone", "what"), [((M,), (N,), M), ((), (N,), N), ((), (), OFFER)], ids=["noted", "gone", "offer"]
)
def test_line_of_purchase_that_is_over_names_its_machines_or_offer(
    ids: tuple[str, ...], gone: tuple[str, ...], what: str
) -> None:
    lines = ended.lines_of_end("gpu-1", known(ids), End(Action.FORGET, gone=gone), would=False)
    assert lines == [f"gpu-1: nothing of {what} runs any more"]


@pytest.mark.parametrize(("declared", "named"), [("/other", "/other"), ("", "no registry")])
def test_host_of_another_registry_does_not_end(declared: str, named: str) -> None:
    assert f"/registry says that its lease is over, but its own variables name {named}:" in ended.remembered_elsewhere(
        "/registry", declared
    )


def test_check_mode_lists_machines_and_storage_that_would_end() -> None:
    end = End(Action.END, (machine(1),), storage=(DISK,), storage_ends=("d1",))
    assert ended.lines_of_end("gpu-1", known(), end, would=True) == [
        f"gpu-1: would end {M}, USD 2.00/h",
        "gpu-1: its storage (1 volume, USD 0.05 per hour) would end",
    ]
    stays = ended.lines_of_end("gpu-1", known(), replace(end, storage_ends=()), would=True)
    assert stays[1:] == ["gpu-1: its storage (1 volume, USD 0.05 per hour) stays and is billed"]


def planned_end(entry_: Any, end: End, *, check_mode: bool = False, **fields: Any) -> dict[str, Any]:
    return ended.end_plan({**RAW, "id": "1", **fields}, entry_, Folder("/registry"), end, None, check_mode)


def test_plan_saves_the_price_of_machines_that_are_not_ending_yet() -> None:
    machines = (machine(1, price_per_hour=3.0), machine(2, status="deleting"))
    assert planned_end(known(), End(Action.END, machines))["saves"] == 3.0


@pytest.mark.parametrize(
    ("entry_", "storage", "registry", "file"),
    [
        (known(), False, "/registry", "/registry/gpu-1/compute_index_supply.yml"),
        (known(), True, "/registry", "/registry/gpu-1/compute_index_supply.yml"),
        (entry(), True, "/registry", ""),
        (entry(), False, "", ""),
    ],
)
def test_plan_names_the_registry_that_has_something_of_the_host(
    entry_: Any, storage: bool, registry: str, file: str
) -> None:
    plan = planned_end(entry_, End(Action.END, storage=(DISK,) if storage else ()))
    assert (plan["registry"], plan["registry_file"]) == (registry, file)


@pytest.mark.parametrize(
    ("reaped", "ends", "before", "mark"),
    [(True, True, None, True), (True, False, None, None), (False, True, None, None), (False, False, True, True)],
)
def test_sweep_marks_storage_that_it_ends(reaped: bool, ends: bool, before: bool | None, mark: bool | None) -> None:
    end = End(Action.END, storage=(replace(DISK, is_to_end=before),), storage_ends=("d1",) if ends else ())
    (item,) = planned_end(known(), end, reaped=reaped)["storage"]
    assert item.get("is_to_end") == mark


@pytest.mark.parametrize(("check_mode", "expected"), [(True, False), (False, True)])
def test_plan_shows_storage_that_stays_after_an_end(check_mode: bool, expected: bool) -> None:
    plan = planned_end(known(), End(Action.END, storage=(DISK,)), check_mode=check_mode)
    assert bool(plan["stays"]) is expected and plan["storage_stays"] == ["d1"]


@pytest.mark.parametrize(("ends", "stays"), [([], ["new", "d1"]), (["d1"], ["new"]), (["new", "d1"], [])])
def test_storage_to_end_leaves_the_rest(ends: list[str], stays: list[str]) -> None:
    found = ended.storage_to_end({**PLAN, "registry": "/registry"}, [Storage("new"), DISK], ends, "released", None)
    assert (found["storage_ends"], found["storage_stays"], found["why"]) == (ends, stays, "released")


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (End(Action.NOTHING), "gpu-1 owns no machine; there is nothing to end"),
        (
            End(Action.NOTHING, storage=(DISK,)),
            "gpu-1 owns no machine; its storage (1 volume, USD 0.05 per hour) stays and is billed",
        ),
        (
            End(Action.STORAGE, storage=(DISK,), storage_ends=("d1",)),
            "gpu-1 owns no machine; its storage (1 volume, USD 0.05 per hour) ends",
        ),
    ],
)
def test_line_of_host_without_machine_names_its_storage(end: End, line: str) -> None:
    assert ended.lines_of_end("gpu-1", entry(), end, would=False) == [line]


@pytest.mark.parametrize(
    ("offer", "ids", "is_as_planned"),
    [(OFFER, [M], True), (OFFER, [], False), (OFFER, [M, N], False), (offer_id(2), [M], False), ("", [], False)],
)
def test_entry_is_as_planned_if_offer_and_machines_are_unchanged(
    offer: str, ids: list[str], is_as_planned: bool
) -> None:
    plan = {**PLAN, "offer_id": OFFER, "resource_ids": [M]}
    assert ended.is_as_planned(entry(offer, ids, "made"), plan) is is_as_planned


Json = dict[str, Any]
ID = "00000000-0000-4000-8000-000000000001"
ENDS: Json = {
    **{"host": "gpu-1", "next": "end", "ids": [ID], "check_mode": False, "lines": []},
    **{"refusal": "", "storage_ends": [], "storage_stays": ["kept"], "saves": 2.5},
}
OVER: Json = {"changed": True, "usd": 22.5, "cost": "USD 22.50", "storage": []}
FAILS: Json = {**OVER, "failed": True, "msg": "It may run.", "usd": None, "cost": ""}
STOPS: Json = {**ENDS, "next": "stop", "refusal": "Whose is it?", "ids": []}
STORES: Json = {**ENDS, "storage_ends": ["disk"]}
CHECKED: Json = {**ENDS, "check_mode": True, "lines": [f"gpu-1: would end {ID}, USD 2.50/h"]}
FORGETS: Json = {**ENDS, "next": "note", "ids": [], "lines": ["a sentence"]}  # its machine had ended before
IDLE: Json = {**ENDS, "next": "", "ids": [], "lines": ["a sentence"]}


@pytest.mark.parametrize(
    ("plan", "noted", "next_file", "stop", "over"),
    [
        pytest.param(ENDS, OVER, "", "", True, id="ended"),
        pytest.param(FORGETS, OVER, "say", "", True, id="had ended before"),
        pytest.param(ENDS, FAILS, "say", "It may run.", False, id="not ended"),
        pytest.param(STOPS, OVER, "say", "Whose is it?", False, id="stopped"),
        pytest.param(IDLE, OVER, "say", "", False, id="nothing to end"),
        pytest.param(CHECKED, OVER, "say", "", False, id="check mode"),
        pytest.param(ENDS, {**OVER, "storage": ["a line"]}, "say", "", True, id="storage stays"),
        pytest.param(STORES, OVER, "", "", True, id="storage ended"),
        pytest.param(STORES, FAILS, "say", "It may run.", False, id="storage not ended"),
        pytest.param({**STORES, "next": "storage"}, OVER, "", "", True, id="storage alone ended"),
    ],
)
def test_outcome_of_a_host(plan: Json, noted: Json, next_file: str, stop: str, over: bool) -> None:
    outcome = ended.outcomes([plan], {"gpu-1": noted})["gpu-1"]
    assert (outcome["next"], outcome["stop"], outcome["over"]) == (next_file, stop, over)


@pytest.mark.parametrize(
    ("plan", "noted", "labels", "lines"),
    [
        pytest.param(ENDS, OVER, [f"{ID}, USD 22.50"], [], id="ended"),
        pytest.param(ENDS, {**OVER, "usd": None, "cost": "unknown"}, [f"{ID}, unknown"], [], id="cost unknown"),
        pytest.param({**ENDS, "ids": [ID, ID]}, OVER, ["2 resources, USD 22.50"], [], id="cluster"),
        pytest.param(STORES, OVER, ["2 resources, USD 22.50"], [], id="machine and storage"),
        pytest.param(ENDS, {**OVER, "usd": None, "cost": ""}, [ID], [], id="nothing bought"),
        pytest.param(
            {**ENDS, "lines": ["gpu-1: its lease"]}, OVER, [f"{ID}, USD 22.50"], ["gpu-1: its lease"], id="swept"
        ),
        pytest.param(CHECKED, OVER, [], [f"gpu-1: would end {ID}, USD 2.50/h"], id="check mode"),
        pytest.param(ENDS, FAILS, [], [], id="not ended"),
        pytest.param(STOPS, OVER, [], [], id="stopped"),
        pytest.param({**ENDS, "lines": ["a sentence"]}, FAILS, [], [], id="not ended, with a sentence"),
        pytest.param({**STOPS, "lines": ["a sentence"]}, OVER, [], [], id="stopped, with a sentence"),
        pytest.param(IDLE, OVER, [], ["a sentence"], id="nothing to end"),
        pytest.param(FORGETS, {**OVER, "usd": None, "cost": ""}, ["has ended"], ["a sentence"], id="forgotten"),
    ],
)
def test_cost_labels_and_lines_of_a_host_fit_the_screen(
    plan: Json, noted: Json, labels: list[str], lines: list[str]
) -> None:
    found = ended.outcomes([plan], {"gpu-1": noted})
    assert ended.cost_labels([plan], found) == [
        {"host": "gpu-1", "label": label, "storage": ["kept"]} for label in labels
    ]
    assert ended.end_lines([plan], found) == lines
    # As Ansible prints a loop's item, for hosts whose names have six letters, and a list's item.
    printed = [f"ok: [gpu-10 -> gpu-11] => (item={label})" for label in labels]
    printed += [f'        "{line}",' for line in lines]
    assert max(map(len, printed), default=0) <= 80


@pytest.mark.parametrize(
    ("second", "noted", "total"),
    [
        (ENDS, OVER, ["in total at most USD 45.00; saves USD 5.00/h"]),
        (ENDS, {**OVER, "usd": None}, ["in total at most USD 22.50, and 1 of unknown cost; saves USD 5.00/h"]),
        (ENDS, FAILS, []),
        (STOPS, OVER, []),
    ],
)
def test_total_is_shown_for_several_ended_hosts_only(second: Json, noted: Json, total: list[str]) -> None:
    plans = [ENDS, {**second, "host": "gpu-2"}]
    found = ended.outcomes(plans, {"gpu-1": OVER, "gpu-2": noted})
    labels = [row["label"] for row in ended.cost_labels(plans, found) if "in total" in row["label"]]
    assert labels == total


def test_check_mode_shows_total_savings() -> None:
    plans = [CHECKED, {**CHECKED, "host": "gpu-2"}]
    found = ended.outcomes(plans, {"gpu-1": OVER, "gpu-2": OVER})
    assert ended.end_lines(plans, found)[-1] == "in total: would save USD 5.00/h"
    for other in (ENDS, {**IDLE, "check_mode": True}):
        plans = [CHECKED, {**other, "host": "gpu-2"}]
        assert not any("in total" in line for line in ended.end_lines(plans, found))


def test_all_hosts_have_the_same_next_file() -> None:
    """So that one host can include it for all, without a worker for each host."""
    plans = [ENDS, {**IDLE, "host": "gpu-2"}, {**STOPS, "host": "gpu-3"}]
    found = ended.outcomes(plans, {plan["host"]: OVER for plan in plans})
    assert [outcome["next"] for outcome in found.values()] == ["say", "say", "say"]


@pytest.mark.parametrize(
    ("stops", "alone", "expected"),
    [(["", ""], True, True), (["", "Why."], True, False), (["", ""], False, False)],
)
def test_one_acts_for_all_unless_a_host_stops(stops: list[str], alone: bool, expected: bool) -> None:
    found = {str(number): {"stop": stop} for number, stop in enumerate(stops)}
    assert ended.one_acts_for_all(found, alone=alone) is expected


@pytest.mark.parametrize(
    ("left", "noted", "message"),
    [
        (["r"], True, "It runs. Not known to have ended for gpu-1: r. Its entry stays in /vars/gpu-1/"),
        (["r", "s"], False, "It runs. Not known to have ended for gpu-1: r, s. Run again."),
        ([], False, "It runs. Everything of gpu-1 has ended. Run again."),
    ],
)
def test_message_of_unfinished_end_names_ids_and_entry(left: list[str], noted: bool, message: str) -> None:
    found = ended.unfinished({"host": "gpu-1", "registry": "/vars"}, ["It runs."], left, noted=noted)
    assert found.startswith(message) and found.endswith(" Run again.")


@pytest.mark.parametrize(
    ("raw", "held_by", "registry_reasons", "reason"),
    [
        ({}, "", {}, ""),
        ({"trouble": "Its variables."}, "alice", {"unread": "Broken."}, "Its variables."),
        ({"wait_timeout": "soon"}, "", {"unread": "Broken."}, "decommission_wait_timeout "),
        ({}, "alice", {"unread": "Broken."}, "Broken."),
        ({}, "alice", {"stale": "A file."}, "A run of alice is buying for gpu-1"),
        ({}, "", {"stale": "A file.", "foreign": "Another project."}, "A file."),
        ({}, "", {"foreign": "Another project."}, "Another project."),
    ],
)
def test_why_nothing_ends_is_the_first_reason(
    raw: dict[str, Any], held_by: str, registry_reasons: dict[str, str], reason: str
) -> None:
    request = EndRequest("gpu-1", "gpu-1", known(provision_held_by=held_by))
    found = ended.why_nothing_ends(raw, request, **{"unread": "", "stale": "", "foreign": "", **registry_reasons})
    assert found.startswith(reason) and bool(found) is bool(reason)


@pytest.mark.parametrize(
    ("plan", "why_ended", "why_storage_ended"),
    [
        ({"ids": [M], "reaped": True}, "reaped", "reaped"),
        ({"ids": [M], "reaped": False}, "decommissioned", "decommissioned"),
        ({"ids": [], "reaped": True}, "gone", "reaped"),
        ({"ids": [], "reaped": False, "why": "released"}, "gone", "released"),
    ],
)
def test_ledger_notes_why_purchase_and_storage_ended(
    plan: dict[str, Any], why_ended: str, why_storage_ended: str
) -> None:
    assert (ended.why_ended(plan), ended.why_storage_ended(plan)) == (why_ended, why_storage_ended)


@pytest.mark.parametrize(
    "fields",
    [{}, {"ids": [], "gone": [M]}, {"ids": []}, {"resource_ids": []}, {"ids": [], "resource_ids": [], "gone": [M]}],
    ids=["ends", "had ended before", "not shown", "only now known", "only now known, had ended before"],
)
def test_all_ids_are_left_if_late_machines_cannot_be_listed(fields: dict[str, Any]) -> None:
    found = ended.late_unknown({**PLAN, **fields}, OSError("HTTP 503."))
    assert found.ids == (M,) and found.sentences[0].endswith("so it may have brought more machines: HTTP 503.")
