# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which storage ends with a host's machine, and which stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import ended
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ended import not_ended
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import (
    Action,
    ApiView,
    End,
    EndRequest,
    hosts_ending_only_storage,
    storage_after_release,
    with_storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, OwnershipClaim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage, read_storage

from provision_samples import machine

OLD, NEW = Storage("old", kept_since="2026-11-01T00:00:00Z"), Storage("new")
EMPTY = ApiView(Account(()))
LOST = ApiView(Account(()), unknown={"old": "GET answered 404."})


def request(*, ends_storage: bool = True, **fields: Any) -> EndRequest:
    return EndRequest("gpu-1", "gpu-1", Entry(), ends_storage=ends_storage, **fields)


@pytest.mark.parametrize(
    ("fields", "end", "ids"),
    [
        ({"ends_storage": False}, End(Action.END, storage=(NEW,)), ()),
        ({}, End(Action.END, storage=(NEW,)), ("new", "old")),
        ({}, End(Action.NOTHING), ("old",)),
        ({}, End(Action.STOP), ()),
        # No storage ends while a machine is in doubt.
        ({}, End(Action.END, storage=(NEW,), in_doubt=("m",)), ()),
        # A sweep ends only the storage that was bought with the machine.
        ({"is_swept": True}, End(Action.END, storage=(NEW,)), ("new",)),
        ({"is_swept": True}, End(Action.FORGET, storage=(NEW,)), ("new",)),
        ({"is_swept": True}, End(Action.NOTHING), ()),  # the lease was extended
    ],
)
def test_storage_that_ends_depends_on_host_and_sweep(fields: dict[str, Any], end: End, ids: tuple[str, ...]) -> None:
    found = with_storage(request(**fields), end, [OLD], EMPTY)
    assert found.storage_ends == ids
    assert found.action is (Action.STORAGE if ids and end.action is Action.NOTHING else end.action)


@pytest.mark.parametrize(
    ("ends_storage", "action", "ids"), [(True, Action.STORAGE, ("old",)), (False, Action.NOTHING, ())]
)
def test_sweep_ends_storage_that_an_earlier_sweep_could_not_end(
    ends_storage: bool, action: Action, ids: tuple[str, ...]
) -> None:
    marked = replace(OLD, is_to_end=True)
    found = with_storage(request(ends_storage=ends_storage, is_swept=True), End(Action.NOTHING), [marked], EMPTY)
    assert (found.action, found.storage_ends) == (action, ids)


def test_registry_keeps_mark_of_storage_that_is_to_end() -> None:
    marked = replace(OLD, is_to_end=True)
    assert [read_storage([item.variables]) for item in (marked, OLD)] == [(marked,), (OLD,)]
    assert marked.entry("gpu-1")["provision_ends_at"] == OLD.kept_since
    assert "provision_ends_at" not in OLD.entry("gpu-1")


@pytest.mark.parametrize(("view", "action", "ids"), [(LOST, "storage", ("old",)), (EMPTY, "stop", ())])
def test_storage_can_be_forgotten_if_api_does_not_know_it(view: ApiView, action: str, ids: tuple[str, ...]) -> None:
    forgets = request(ends_storage=False, forget=frozenset({"old"}))
    found = with_storage(forgets, End(Action.NOTHING), [OLD], view)
    assert (found.action.value, found.storage_ends, found.storage_lost) == (action, ids, ids)


@pytest.mark.parametrize(
    ("storage_lost", "error_class", "is_over"),
    [(["old"], "not_found", True), ([], "not_found", False), (["old"], "unavailable", False)],
)
def test_forgotten_storage_is_over_if_api_does_not_know_it(
    storage_lost: list[str], error_class: str, is_over: bool
) -> None:
    answer = {"resource_id": "old", "error_class": error_class, "msg": "404"}
    found = not_ended({"storage_lost": storage_lost}, ["old"], {"old": answer})
    assert (found.over, found.ids) == ((("old",), ()) if is_over else ((), ("old",)))


@pytest.mark.parametrize(
    ("status", "ends_too", "ids"),
    [("running", False, ("new",)), ("deleted", False, ("new", "old")), ("running", True, ("new", "old"))],
)
def test_storage_used_by_another_machine_does_not_end(status: str, ends_too: bool, ids: tuple[str, ...]) -> None:
    """Someone may have attached it to another machine."""
    user = machine(1, "train", status=status, linked_resources=[{"resource_id": "old", "kind": "storage"}])
    end = End(Action.END, machines=(user,) if ends_too else (), storage=(NEW,))
    found = with_storage(request(), end, [OLD], ApiView(Account.of([], [user])))
    assert found.storage_ends == ids
    assert ("train" in " ".join(ended.lines_of_end("gpu-1", Entry(), found, would=False))) is (ids == ("new",))


USER = machine(1, "train", linked_resources=[{"resource_id": "new", "kind": "storage"}])


@pytest.mark.parametrize(
    ("plan", "machines", "ids"),
    [
        ({}, [], ("new",)),  # storage of an earlier machine stays, as in a sweep
        ({"ends_storage": False}, [], ()),
        ({"registry": ""}, [], ()),
        ({}, [USER], ()),
        ({}, [machine(2, resource_id="new", kind="storage")], ("new",)),
        ({}, [{**USER, "status": "deleted"}], ("new",)),
        ({}, [{**USER, "resource_id": "ended"}], ("new",)),
        ({}, None, ()),
    ],
)
def test_storage_of_released_machine_ends_if_host_ends_storage(plan: Any, machines: Any, ids: Any) -> None:
    plan = {"ends_storage": True, "registry": "host_vars", **plan}
    assert storage_after_release(plan, [OLD, NEW], {"ended"}, machines) == ids


@pytest.mark.parametrize(
    ("claims", "resources", "reason"),
    [
        pytest.param([], [machine(1, resource_id="old")], "it is a machine: ", id="machine without owner"),
        pytest.param(
            [OwnershipClaim("gpu-2", "b", resource_ids=frozenset({"old"}))],
            [],
            "gpu-2 also holds it",
            id="another host's machine",
        ),
        pytest.param(
            [OwnershipClaim("gpu-2", "b", storage_ids=frozenset({"old"}))],
            [],
            "gpu-2 also holds it",
            id="another host's storage",
        ),
        pytest.param([OwnershipClaim("gpu-1", "a", storage_ids=frozenset({"old"}))], [], "", id="own storage"),
        pytest.param(
            [OwnershipClaim("gpu-1 (storage old)", "d", storage_ids=frozenset({"old"}), storage_of="gpu-1")],
            [],
            "",
            id="own kept storage",
        ),
    ],
)
def test_storage_held_by_another_host_or_listed_as_machine_does_not_end(
    claims: list[OwnershipClaim], resources: list[Any], reason: str
) -> None:
    """A person may have copied the id from another host's entry."""
    found = with_storage(request(), End(Action.END, storage=(NEW,)), [OLD], ApiView(Account.of(claims, resources)))
    assert found.storage_ends == (("new",) if reason else ("new", "old"))
    (line,) = ended.lines_of_end("gpu-1", Entry(), found, would=False)
    assert f"; old does not end, since {reason}" in line if reason else "does not end" not in line


@pytest.mark.parametrize(("storage_hosts", "ids"), [((), ("new",)), ({"gpu-2"}, ("new", "old"))])
def test_storage_ends_if_other_host_only_has_storage_that_ends(storage_hosts: Any, ids: tuple[str, ...]) -> None:
    view = ApiView(Account.of([OwnershipClaim("gpu-2", "b", storage_ids=frozenset({"old"}))], []))
    assert with_storage(request(), End(Action.END, storage=(NEW,)), [OLD], view, storage_hosts).storage_ends == ids


@pytest.mark.parametrize(
    ("ends_storage", "entry", "expected"),
    [(True, Entry(), {"gpu-1"}), (False, Entry(), set()), (True, Entry(offer_id="o"), set())],
)
def test_hosts_ending_only_storage(ends_storage: bool, entry: Entry, expected: set[str]) -> None:
    found = replace(request(ends_storage=ends_storage), entry=entry)
    assert hosts_ending_only_storage([found]) == expected


@pytest.mark.parametrize(("offer", "ids"), [("other", ()), (None, ()), ("o", ("new",))])
def test_storage_listed_as_machine_ends_only_if_it_names_the_noted_offer(offer: str | None, ids: Any) -> None:
    item, resources = replace(NEW, offer_id="o"), [machine(1, resource_id="new", offer_id=offer)]
    assert storage_after_release({"ends_storage": True, "registry": "/r"}, [item], ["r"], resources) == ids
    view = ApiView(Account.of([], resources))
    assert with_storage(request(), End(Action.END, storage=(item,)), [], view).storage_ends == ids
